"""For tests of programs that use `trio_rt`, and for our own.

`memory_server` is a server without a socket, a thread or real time: with trio's autojump clock a
conversation takes no time at all.

    async with memory_server("Hello.") as server:
        async with open_session(server.endpoint, dialer=server) as session:
            await session.send_message("Hi")
            generation = await session.generate_reply()
            assert (await generation.wait()).text == "Hello."

`cancel_at_every_step` proves that a scenario may be cancelled anywhere. `FaultyStream` breaks a connection
where its plan says, `RecordingStream` tells where that could be, and `WrappingDialer` puts either between a
session and its server.
"""

from ._boundaries import FrameBoundaries as FrameBoundaries
from ._cancellation import CancelReport as CancelReport
from ._cancellation import Counted as Counted
from ._cancellation import Cut as Cut
from ._cancellation import assert_session_left as assert_session_left
from ._cancellation import assert_session_works as assert_session_works
from ._cancellation import cancel_at_every_step as cancel_at_every_step
from ._faults import Direction as Direction
from ._faults import FaultKind as FaultKind
from ._faults import FaultyStream as FaultyStream
from ._faults import Recording as Recording
from ._faults import RecordingStream as RecordingStream
from ._faults import StreamFault as StreamFault
from ._faults import StreamPlan as StreamPlan
from ._faults import WrappingDialer as WrappingDialer
from ._faults import random_fault as random_fault
from ._memory import MemoryServer as MemoryServer
from ._memory import memory_server as memory_server

__all__ = [
    "CancelReport",
    "Counted",
    "Cut",
    "Direction",
    "FaultKind",
    "FaultyStream",
    "FrameBoundaries",
    "MemoryServer",
    "Recording",
    "RecordingStream",
    "StreamFault",
    "StreamPlan",
    "WrappingDialer",
    "assert_session_left",
    "assert_session_works",
    "cancel_at_every_step",
    "memory_server",
    "random_fault",
]
