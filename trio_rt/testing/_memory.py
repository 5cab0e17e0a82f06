"""For tests of programs that use `trio_rt`, and for our own: a server in memory.

No socket, no thread, no real time: with trio's autojump clock a conversation takes no time at all.

    async with memory_server("Hello.") as server:
        async with open_session(server.endpoint, dialer=server) as session:
            await session.send_message("Hi")
            generation = await session.generate_reply()
            assert (await generation.wait()).text == "Hello."
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio
import trio.testing

from sansio_rt import Endpoint, SequentialIds, ServerProtocol
from sansio_rt._server_session import ServerSession

from .._errors import TransportError
from .._groups import plain_error
from ..emulator import Brain
from ..emulator._minds import Reply
from ..emulator._performer import Performer, Threads
from ._boundaries import FrameBoundaries

__all__ = ["MemoryServer", "memory_server"]

T = TypeVar("T")


class _NoThreads(Threads):
    """Calls the brain where it stands, so that a mock clock can tell when nothing moves."""

    async def run(self, function: Callable[[], T], *, mind: bool = False) -> T:  # noqa: ARG002
        await trio.lowlevel.checkpoint()
        return function()


class MemoryServer:
    """A server that every dial reaches by a new pair of memory streams. Made by `memory_server`.

    Attributes:
        endpoint: To be given to `open_session`, with the server itself as `dialer`.
        protocols: The server's side of each connection, in the order of dialling.
        streams: The server's end of each stream; close one to cut its connection.
        client_streams: The client's end of each stream.
        received: How far the frames of each client have come.
        refuse_until: Dialling fails before this time; for outages.
    """

    def __init__(
        self,
        make_protocol: Callable[[], ServerProtocol] | None,
        brain: Brain,
        nursery: trio.Nursery,
    ) -> None:
        self.endpoint = Endpoint.url("ws://localhost/v1", model="memory")
        self.protocols: list[ServerProtocol] = []
        self.streams: list[trio.StapledStream[Any, Any]] = []
        self.client_streams: list[trio.StapledStream[Any, Any]] = []
        self.received: list[FrameBoundaries] = []
        self.refuse_until = -math.inf
        self._make_protocol = make_protocol
        self._brain = brain
        self._nursery = nursery

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:  # noqa: ARG002
        """Opens a connection; part of the `Dialer` protocol."""
        await trio.lowlevel.checkpoint()
        if trio.current_time() < self.refuse_until:
            raise TransportError("the server in memory refuses connections for a while")
        ours, theirs = trio.testing.memory_stream_pair()
        protocol = self._make_protocol() if self._make_protocol else self._plain_protocol()
        self.protocols.append(protocol)
        self.streams.append(theirs)
        self.client_streams.append(ours)
        boundaries = FrameBoundaries()
        self.received.append(boundaries)
        self._nursery.start_soon(self._serve, protocol, theirs, boundaries)
        return ours

    def _plain_protocol(self) -> ServerProtocol:
        ids = SequentialIds(f"s{len(self.protocols) + 1}_")
        return ServerProtocol(ServerSession(ids=ids))

    async def _serve(
        self, protocol: ServerProtocol, stream: trio.abc.Stream, boundaries: FrameBoundaries
    ) -> None:
        news = trio.Event()

        def changed() -> None:
            news.set()

        async with trio.open_nursery() as nursery:
            performer = Performer(protocol.session, self._brain, _NoThreads(), nursery, changed)
            nursery.start_soon(_read, protocol, stream, boundaries, changed)
            try:
                while protocol.ending is None:
                    while (work := protocol.next_event()) is not None:
                        performer.perform(work)
                    data = protocol.data_to_send()
                    if data:
                        await stream.send_all(data)
                        continue
                    deadline = protocol.next_deadline()
                    with trio.move_on_at(float("inf") if deadline is None else deadline):
                        await news.wait()
                    news = trio.Event()
                    protocol.handle_timer(trio.current_time())
                await stream.send_all(protocol.data_to_send())
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the client has gone
            nursery.cancel_scope.cancel()
        protocol.receive_eof(trio.current_time())  # who notices by sending has not read the end
        await stream.aclose()


async def _read(
    protocol: ServerProtocol,
    stream: trio.abc.Stream,
    boundaries: FrameBoundaries,
    changed: Callable[[], None],
) -> None:
    try:
        while data := await stream.receive_some():
            boundaries.feed(data)
            protocol.receive_data(bytes(data), trio.current_time())
            changed()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    protocol.receive_eof(trio.current_time())
    changed()


@asynccontextmanager
async def memory_server(
    *replies: Reply,
    transcripts: Sequence[str] = (),
    brain: Brain | None = None,
    make_protocol: Callable[[], ServerProtocol] | None = None,
) -> AsyncGenerator[MemoryServer]:
    """A scripted server in memory, for the length of the block.

    Args:
        replies: What it says and calls, one for each response; see `ScriptedMind`.
        transcripts: What it understands, one for each spoken turn.
        brain: In the place of `Brain.scripted(*replies, transcripts=...)`.
        make_protocol: Makes the server's side of a connection, with what faults it should have. By
            default one whose ids no other connection has.
    """
    body_error: BaseException | None = None
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            server = MemoryServer(
                make_protocol, brain or Brain.scripted(*replies, transcripts=transcripts), nursery
            )
            try:
                yield server
            except BaseException as error:
                body_error = error
                raise
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        failure = plain_error(group, body_error)
    # Raised out here, the error keeps the cause and the context that it had.
    if failure is not None:
        raise failure
