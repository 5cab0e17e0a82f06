"""Streams that fail on purpose, and streams that write down what passes."""

from __future__ import annotations

import enum
import operator
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, final

import trio

from sansio_rt import ConfigurationError, Endpoint

from .._dial import Dialer
from ._boundaries import FrameBoundaries

__all__ = [
    "Direction",
    "FaultKind",
    "FaultyStream",
    "Recording",
    "RecordingStream",
    "StreamFault",
    "StreamPlan",
    "WrappingDialer",
    "random_fault",
]

StreamT = TypeVar("StreamT", bound=trio.abc.Stream)


class FaultKind(enum.Enum):
    """What happens to a stream."""

    CUT = "cut"
    """The connection ends: reading gives the end of the stream, sending fails. The peer sees it, too."""
    RESET = "reset"
    """As `CUT`, but reading fails with `trio.BrokenResourceError`."""
    HALF_OPEN = "half-open"
    """The peer is gone and nobody says so: reading waits for ever, what is sent vanishes."""
    STALL = "stall"
    """This direction waits for some seconds, then goes on."""
    GARBAGE = "garbage"
    """Bytes come in between that nobody sent."""


class Direction(enum.Enum):
    """Which of a stream's two directions."""

    INCOMING = "incoming"
    """What the owner of the stream reads."""
    OUTGOING = "outgoing"
    """What the owner of the stream sends."""


_FATES = frozenset({FaultKind.CUT, FaultKind.RESET, FaultKind.HALF_OPEN})
"""What concerns the whole connection and is for ever."""


@dataclass(frozen=True, kw_only=True)
class StreamFault:
    """One fault and its place; give `at_byte` or `at_frame`.

    Attributes:
        kind: What happens.
        direction: In which direction its place is.
        at_byte: After so many bytes of that direction.
        at_frame: After so many whole WebSocket frames of that direction; 0 is the end of the HTTP head.
        stall_s: How long a `STALL` lasts, in seconds.
        garbage: The bytes of `GARBAGE`. The default is a frame with reserved bits (RFC 6455 5.2).

    Raises:
        ConfigurationError: Both places are given, or none, or one is negative.
    """

    kind: FaultKind
    direction: Direction = Direction.INCOMING
    at_byte: int | None = None
    at_frame: int | None = None
    stall_s: float = 1.0
    garbage: bytes = b"\xff" * 16

    def __post_init__(self) -> None:
        places = [place for place in (self.at_byte, self.at_frame) if place is not None]
        if len(places) != 1 or places[0] < 0:
            raise ConfigurationError(
                f"StreamFault(at_byte={self.at_byte}, at_frame={self.at_frame}): give one of the two, from "
                "0 on"
            )


@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """What a `FaultyStream` does.

    Attributes:
        faults: In any order.
        read_bytes: The most that one `receive_some` gives; None for as much as there is.
        send_bytes: The most that is handed on at once; None for all. What is sent in pieces can be
            cancelled in between, as on a socket.
        seed: With it the sizes are chosen at random from 1 on, the same ones each time.
    """

    faults: Sequence[StreamFault] = ()
    read_bytes: int | None = None
    send_bytes: int | None = None
    seed: int | None = None


def random_fault(
    seed: int, *, incoming_bytes: int, outgoing_bytes: int, kinds: Sequence[FaultKind] = ()
) -> StreamFault:
    """A fault at a random place of a conversation of known length.

    Args:
        seed: The same one gives the same fault.
        incoming_bytes: How many bytes come in without a fault; see `RecordingStream`.
        outgoing_bytes: How many are sent.
        kinds: To choose from; none are all of them.
    """
    chance = random.Random(seed)
    direction = chance.choice(list(Direction))
    size = incoming_bytes if direction is Direction.INCOMING else outgoing_bytes
    return StreamFault(
        kind=chance.choice(list(kinds or FaultKind)),
        direction=direction,
        at_byte=chance.randint(0, size),
        stall_s=chance.uniform(0.01, 30.0),
        garbage=chance.randbytes(chance.randint(1, 64)),
    )


class _Lane:
    """One direction of a faulty stream: finds the places of its faults in what passes."""

    def __init__(self, faults: Sequence[StreamFault]) -> None:
        self._faults = list(faults)
        self._boundaries = FrameBoundaries()
        self._seen = 0  # boundaries so far; the head's is number 0 of `at_frame`

    def split(self, data: bytes) -> list[bytes | StreamFault]:
        """The data with the faults at their places in it; `b""` at first gives those before all data."""
        start = self._boundaries.position
        ends = self._boundaries.feed(data)
        due: list[tuple[int, StreamFault]] = []
        for fault in self._faults:
            if fault.at_byte is not None:
                place = fault.at_byte
            else:
                index = (fault.at_frame or 0) - self._seen
                place = ends[index] if 0 <= index < len(ends) else -1
            if start <= place <= start + len(data):
                due.append((place, fault))
        self._seen += len(ends)
        due.sort(key=lambda one: one[0])
        pieces: list[bytes | StreamFault] = []
        done = 0
        for place, fault in due:
            self._faults.remove(fault)
            pieces += [data[done : place - start], fault]
            done = place - start
        pieces.append(data[done:])
        return [piece for piece in pieces if piece != b""]


@final
class FaultyStream(trio.abc.Stream):
    """A stream that fails where its plan says.

    Args:
        stream: What it wraps; closing closes that one, too.
        plan: The faults and the splits.
    """

    def __init__(self, stream: trio.abc.Stream, plan: StreamPlan) -> None:
        self._stream = stream
        self._plan = plan
        self._chance = None if plan.seed is None else random.Random(plan.seed)
        self._lanes = {
            direction: _Lane([fault for fault in plan.faults if fault.direction is direction])
            for direction in Direction
        }
        self._waiting = deque(self._lanes[Direction.INCOMING].split(b""))
        self._fate: FaultKind | None = None
        self._closed = trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receives what there is, as far as the plan lets it through.

        Raises:
            trio.BrokenResourceError: The plan reset the connection, or the stream itself broke.
            trio.ClosedResourceError: It was closed here.
            ValueError: `max_bytes` is not positive.
        """
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        await trio.lowlevel.checkpoint()
        while self._fate is None and not self._closed.is_set():
            if not self._waiting:
                data = await self._read()
                if data == b"":
                    return b""
                if data is not None:
                    self._waiting.extend(self._lanes[Direction.INCOMING].split(data))
                continue
            piece = self._waiting.popleft()
            if isinstance(piece, bytes):
                return self._cut_off(piece, max_bytes)
            await self._happen(piece)
        return await self._read_no_more()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Sends the data, as far as the plan lets it through.

        Raises:
            trio.BrokenResourceError: The plan ended the connection, or the stream itself broke.
            trio.ClosedResourceError: It was closed here.
        """
        await trio.lowlevel.checkpoint()
        for piece in self._lanes[Direction.OUTGOING].split(bytes(data)):
            if isinstance(piece, StreamFault):
                await self._happen(piece)
            else:
                await self._write(piece)
        if self._closed.is_set():
            raise trio.ClosedResourceError
        if self._fate in (FaultKind.CUT, FaultKind.RESET):
            raise trio.BrokenResourceError("the plan of faults ended the connection")

    async def wait_send_all_might_not_block(self) -> None:
        """As of the wrapped stream."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Closes it and the wrapped stream; twice is fine."""
        self._closed.set()
        await self._stream.aclose()

    async def _read(self) -> bytes | None:
        """Bytes of the wrapped stream; None where a fault came meanwhile."""
        try:
            data = await self._stream.receive_some(None)
        except trio.ClosedResourceError:
            if self._fate is None:
                raise
            return None
        return None if self._fate is not None else bytes(data)

    async def _read_no_more(self) -> bytes:
        if self._fate is FaultKind.HALF_OPEN:
            await self._closed.wait()
        if self._closed.is_set():
            raise trio.ClosedResourceError
        if self._fate is FaultKind.RESET:
            raise trio.BrokenResourceError("the plan of faults reset the connection")
        return b""

    def _cut_off(self, piece: bytes, max_bytes: int | None) -> bytes:
        """What may be given at once; the rest waits."""
        size = self._size(self._plan.read_bytes, len(piece))
        if max_bytes is not None:
            size = min(size, max_bytes)
        if size < len(piece):
            self._waiting.appendleft(piece[size:])
        return piece[:size]

    async def _write(self, piece: bytes) -> None:
        done = 0
        try:
            while self._fate is None and done < len(piece):
                size = self._size(self._plan.send_bytes, len(piece) - done)
                await self._stream.send_all(piece[done : done + size])
                done += size
        except trio.ClosedResourceError:
            if self._fate is None:
                raise

    def _size(self, most: int | None, there: int) -> int:
        size = there if most is None else min(most, there)
        return size if self._chance is None else self._chance.randint(1, size)

    async def _happen(self, fault: StreamFault) -> None:
        if self._fate is not None:
            return
        if fault.kind in _FATES:
            self._fate = fault.kind
            if fault.kind is not FaultKind.HALF_OPEN:
                await trio.aclose_forcefully(self._stream)
        elif fault.kind is FaultKind.STALL:
            with trio.move_on_after(fault.stall_s):
                await self._closed.wait()
        elif fault.direction is Direction.INCOMING:
            self._waiting.appendleft(fault.garbage)
        else:
            await self._write(fault.garbage)


@final
class Recording:
    """What went in one direction.

    Attributes:
        data: All bytes.
        boundaries: The ends of the HTTP head and of each WebSocket frame, in bytes from the beginning.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        self.boundaries: list[int] = []
        self._finder = FrameBoundaries()

    @property
    def whole(self) -> bool:
        """Whether it ends with a whole frame."""
        return self._finder.whole

    def add(self, data: bytes | bytearray) -> None:
        """Takes in what came next."""
        self.data += data
        self.boundaries += self._finder.feed(data)


@final
class RecordingStream(trio.abc.Stream):
    """A stream that writes down what passes, for finding the places of faults.

    Attributes:
        incoming: What was read.
        outgoing: What was sent.

    Args:
        stream: What it wraps; closing closes that one, too.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.incoming = Recording()
        self.outgoing = Recording()
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As of the wrapped stream."""
        data = await self._stream.receive_some(max_bytes)
        self.incoming.add(data)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As of the wrapped stream."""
        await self._stream.send_all(data)
        self.outgoing.add(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        """As of the wrapped stream."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Closes the wrapped stream."""
        await self._stream.aclose()


@final
class WrappingDialer(Generic[StreamT]):
    """A dialer that wraps what another one opens.

    Attributes:
        streams: The wrapped streams, in the order of dialling.

    Args:
        dialer: Opens the streams, such as a `MemoryServer`.
        wrap: Wraps one: `RecordingStream`, or `lambda stream: FaultyStream(stream, plan)`.
    """

    def __init__(self, dialer: Dialer, wrap: Callable[[trio.abc.Stream], StreamT]) -> None:
        self.streams: list[StreamT] = []
        self._dialer = dialer
        self._wrap = wrap

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
        """Opens a stream; part of the `Dialer` protocol."""
        stream = self._wrap(await self._dialer.dial(endpoint))
        self.streams.append(stream)
        return stream
