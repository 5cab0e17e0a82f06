"""What goes wrong with the connections of a soak, on purpose: so that an error can be told from a defect.

Every connection has one trouble, or none, and its session knows which: what comes to be without a fitting
trouble is a defect. Some troubles are the server's (an emulator of its own for each), the others are the
network's and need no certain server.
"""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import trio

from sansio_rt import Endpoint
from trio_rt._dial import Dialer
from trio_rt.emulator import Brain, Fault, FaultPlan, MessageFault, serve_emulator
from trio_rt.testing import Direction, FaultKind, FaultyStream, StreamFault, StreamPlan

from ._soak_mind import NoThreads

__all__ = ["NETWORK", "SERVER", "RandomPlan", "Trouble", "TroubledDialer", "explains", "serve_all"]


class Trouble(enum.Enum):
    """What goes wrong with a connection."""

    NONE = "none"
    REFUSED = "refused"
    """The handshake is answered with 429, 500 or 503."""
    CLOSED = "closed"
    """The server closes with a code."""
    GONE = "gone"
    """The server goes without a close frame."""
    DROPPED = "dropped"
    """Messages of the server do not come."""
    GARBLED = "garbled"
    """Texts that are no JSON come in the place of messages."""
    SILENT = "silent"
    """From some message on the server says nothing, but lives."""
    DELAYED = "delayed"
    DOUBLED = "doubled"
    SWAPPED = "swapped"
    CUT = "cut"
    RESET = "reset"
    HALF_OPEN = "half-open"
    """The peer is gone and nobody says so."""
    STALLED = "stalled"
    NOISE = "noise"
    """Bytes that are no frames come in between."""
    STARVED = "starved"
    """The machine gives this process too little time. It is not made on purpose."""


SERVER = (
    Trouble.REFUSED,
    Trouble.CLOSED,
    Trouble.GONE,
    Trouble.DROPPED,
    Trouble.GARBLED,
    Trouble.SILENT,
    Trouble.DELAYED,
    Trouble.DOUBLED,
    Trouble.SWAPPED,
)
"""Those that a server makes."""
_STREAM_FAULTS = {
    Trouble.CUT: FaultKind.CUT,
    Trouble.RESET: FaultKind.RESET,
    Trouble.HALF_OPEN: FaultKind.HALF_OPEN,
    Trouble.STALLED: FaultKind.STALL,
    Trouble.NOISE: FaultKind.GARBAGE,
}
NETWORK = tuple(_STREAM_FAULTS)
"""Those that the network makes."""
_MESSAGE_FAULTS = {
    Trouble.DROPPED: Fault.DROP,
    Trouble.GARBLED: Fault.GARBAGE,
    Trouble.SILENT: Fault.SILENCE,
    Trouble.DELAYED: Fault.DELAY,
    Trouble.DOUBLED: Fault.DUPLICATE,
    Trouble.SWAPPED: Fault.REORDER,
}

# What the troubles of a kind lead to, by the names that `Caller` gives to errors.
_THE_END = frozenset(
    {
        "connection lost",
        "generation lost",
        "ConnectionClosed",
        "GenerationFailed",
        # What a server had heard and not yet answered when it went is not answered by the next one.
        "speech unanswered",
    }
)
_NO_ANSWER = frozenset(
    {
        "CommandTimeout",
        "turn timed out",
        "EditsFailed",
        "speech unanswered",
        # Who waits in vain speaks again, which cuts off the answer that comes late.
        "generation cancelled",
    }
)
# Where messages are missing, doubled or out of order, the client's picture of the conversation is wrong.
_UNSOUND = frozenset(
    {"stray event", "server error", "no audio", "CommandRefused", "LocalProtocolError"}
)

_EXPLAINED: Mapping[Trouble, frozenset[str]] = {
    Trouble.NONE: frozenset(),
    Trouble.REFUSED: frozenset({"connection lost", "HandshakeRejected"}),
    Trouble.CLOSED: _THE_END,
    Trouble.GONE: _THE_END,
    Trouble.CUT: _THE_END,
    Trouble.RESET: _THE_END,
    Trouble.NOISE: _THE_END | {"FrameError", "HandshakeRejected"},
    Trouble.HALF_OPEN: _THE_END | _NO_ANSWER,
    Trouble.STALLED: _THE_END | _NO_ANSWER,
    Trouble.SILENT: _THE_END | _NO_ANSWER,
    Trouble.DROPPED: _THE_END | _NO_ANSWER | _UNSOUND,
    Trouble.GARBLED: _THE_END | _NO_ANSWER | _UNSOUND | {"broken message"},
    Trouble.DELAYED: _NO_ANSWER,
    Trouble.DOUBLED: _UNSOUND,
    Trouble.SWAPPED: _NO_ANSWER | _UNSOUND,
    Trouble.STARVED: _THE_END | _NO_ANSWER | {"ConnectTimeout", "generation cancelled"},
}


def explains(trouble: Trouble, error: str) -> bool:
    """Whether a connection's trouble may lead to an error.

    Args:
        trouble: The connection's.
        error: The name of the error, as it is counted.
    """
    return error in _EXPLAINED[trouble]


PACE = 4.0
"""Seconds of speech that a server sends in a second: on a busy machine, more would pile up."""
_MATCHES = ("*", "response.*", "response.output_audio.*", "conversation.item.*", "response.done")
_CLOSE_CODES = (1000, 1001, 1011, 1012, 1013)
_STATUSES = (429, 500, 503)
_LAST_MESSAGE = 150
"""Up to which of a connection's messages a trouble may wait; some turns."""
_LAST_BYTE = 60_000
_LONGEST_S = 3.0
"""Of a delay or a stall; less than what ends a connection."""


@dataclass(frozen=True)
class RandomPlan(FaultPlan):
    """A plan that has one kind of trouble, at another place for each connection.

    Attributes:
        trouble: The kind; one of `SERVER`, or `NONE`.
        seed: The same one gives the same places.
    """

    trouble: Trouble = Trouble.NONE
    seed: int = 0

    def for_connection(self, number: int) -> FaultPlan:
        """The plan for one connection; see `FaultPlan.for_connection`."""
        chance = random.Random(f"{self.seed} {self.trouble.value} {number}")
        match self.trouble:
            case Trouble.NONE:
                return FaultPlan()
            case Trouble.REFUSED:
                status = chance.choice(_STATUSES)
                headers = [("Retry-After", "1")] if status == 429 else []
                return FaultPlan(refuse_status=status, refuse_headers=headers)
            case Trouble.CLOSED | Trouble.GONE:
                code = chance.choice(_CLOSE_CODES) if self.trouble is Trouble.CLOSED else None
                return FaultPlan(close_after=chance.randint(0, _LAST_MESSAGE), close_code=code)
            case _:
                return FaultPlan(messages=[_message_fault(self.trouble, chance)])


def _message_fault(trouble: Trouble, chance: random.Random) -> MessageFault:
    match = "*" if trouble is Trouble.SILENT else chance.choice(_MATCHES)
    return MessageFault(
        _MESSAGE_FAULTS[trouble],
        match,
        first=chance.randint(1, 3 if match == "response.done" else _LAST_MESSAGE // 3),
        count=chance.randint(1, 3),
        delay_s=chance.uniform(0.1, _LONGEST_S),
    )


def _stream_plan(trouble: Trouble, chance: random.Random) -> StreamPlan:
    fault = StreamFault(
        kind=_STREAM_FAULTS[trouble],
        direction=chance.choice(list(Direction)),
        at_byte=chance.randint(0, _LAST_BYTE),
        stall_s=chance.uniform(0.1, _LONGEST_S),
        garbage=b"\xff" * 16,
    )
    return StreamPlan(faults=[fault])


class TroubledDialer:
    """The dialer of one session: each connection that it opens has a trouble of its own, or none.

    Args:
        dialer: Opens the streams.
        choose: Gives the trouble of the next connection.
        servers: Where those servers are that make a trouble; others are the network's.
        chance: Finds the places of the network's troubles.

    Attributes:
        troubles: Of all connections so far, with the time at which they were dialled.
    """

    def __init__(
        self,
        dialer: Dialer,
        choose: Callable[[], Trouble],
        servers: Mapping[Trouble, Endpoint],
        chance: random.Random,
    ) -> None:
        self.troubles: list[tuple[float, Trouble]] = []
        self._dialer = dialer
        self._choose = choose
        self._servers = servers
        self._chance = chance

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
        """Opens a stream; part of the `Dialer` protocol."""
        trouble = self._choose()
        self.troubles.append((trio.current_time(), trouble))
        stream = await self._dialer.dial(self._servers.get(trouble, endpoint))
        if trouble in _STREAM_FAULTS:
            return FaultyStream(stream, _stream_plan(trouble, self._chance))
        return stream

    def troubles_since(self, moment: float) -> list[Trouble]:
        """Those of the connection that there was at some time, and of all later ones.

        Args:
            moment: By trio's clock.
        """
        before = [trouble for dialled_at, trouble in self.troubles if dialled_at <= moment]
        after = [trouble for dialled_at, trouble in self.troubles if dialled_at > moment]
        return [*before[-1:], *after]


@asynccontextmanager
async def serve_all(
    brain: Brain, troubles: Sequence[Trouble], seed: int
) -> AsyncGenerator[dict[Trouble, Endpoint]]:
    """An emulator for each trouble of a server that is wanted, and one without, in this process.

    Args:
        brain: What they all think and speak with.
        troubles: Which troubles; those of the network need no server.
        seed: Of the places at which the troubles come.

    Yields:
        Where they are.
    """
    async with AsyncExitStack() as stack:
        servers: dict[Trouble, Endpoint] = {}
        for trouble in (Trouble.NONE, *(each for each in troubles if each in SERVER)):
            plan = RandomPlan(trouble=trouble, seed=seed)
            emulator = await stack.enter_async_context(
                serve_emulator(brain, pace=PACE, faults=plan)
            )
            emulator.sessions = deque(maxlen=0)  # what it remembers would count as growth
            emulator._threads = NoThreads()  # pyright: ignore[reportPrivateUsage]
            servers[trouble] = Endpoint.url(emulator.url, model="soak")
        yield servers
