"""Streams that fail on purpose, and a conversation that is broken at each of its frames."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, check_two_way_stream, memory_stream_pair

from sansio_rt import (
    ConfigurationError,
    ConnectionClosed,
    FrameError,
    RealtimeError,
    SessionConfig,
)
from trio_rt import TransportError, open_session
from trio_rt.testing import (
    Direction,
    FaultKind,
    FaultyStream,
    FrameBoundaries,
    RecordingStream,
    StreamFault,
    StreamPlan,
    WrappingDialer,
    assert_session_works,
    memory_server,
    random_fault,
)

T = TypeVar("T")
IN, OUT = Direction.INCOMING, Direction.OUTGOING
HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
TEXT = SessionConfig(turn_detection=None, output_modalities=["text"])


def frame(size: int, *, masked: bool = False) -> bytes:
    header = bytearray(b"\x81")
    mask_bit = 0x80 if masked else 0
    if size < 126:
        header.append(mask_bit | size)
    elif size < 1 << 16:
        header += bytes([mask_bit | 126]) + size.to_bytes(2)
    else:
        header += bytes([mask_bit | 127]) + size.to_bytes(8)
    return bytes(header) + (b"mask" if masked else b"") + b"x" * size


# --- boundaries -------------------------------------------------------------------------------

sizes = st.sampled_from([0, 1, 2, 125, 126, 127, 300, 65_535, 65_536])


@given(st.lists(st.tuples(sizes, st.booleans()), max_size=6), st.data())
def test_boundaries_are_found_in_any_split(frames: list[tuple[int, bool]], data: Any) -> None:
    pieces = [HEAD, *(frame(size, masked=masked) for size, masked in frames)]
    stream = b"".join(pieces)
    expected = list(itertools.accumulate(map(len, pieces)))
    places = st.lists(st.integers(0, len(stream)), max_size=8)
    cuts = [0, *sorted(data.draw(places)), len(stream)]
    finder = FrameBoundaries()
    found: list[int] = []
    for start, end in itertools.pairwise(cuts):
        found += finder.feed(stream[start:end])
        assert finder.whole == (end == 0 or end in expected)
        assert finder.handshaken == (end >= len(HEAD))
    assert found == expected
    assert finder.frames == len(frames)
    assert finder.position == len(stream)


def test_boundaries_are_found_byte_by_byte() -> None:
    stream = HEAD + frame(3) + frame(200, masked=True) + frame(0)
    finder = FrameBoundaries()
    found = [end for byte in stream for end in finder.feed(bytes([byte]))]
    assert found == FrameBoundaries().feed(stream)
    assert len(found) == 4


# --- faulty streams ---------------------------------------------------------------------------


def faulty(*faults: StreamFault, **plan: Any) -> tuple[FaultyStream, trio.abc.Stream]:
    ours, theirs = memory_stream_pair()
    return FaultyStream(ours, StreamPlan(faults=faults, **plan)), theirs


async def read_all(stream: trio.abc.Stream) -> bytes:
    return b"".join([bytes(data) async for data in stream])


@pytest.mark.parametrize(
    "plan", [StreamPlan(), StreamPlan(read_bytes=30_000, send_bytes=40_000, seed=1)]
)
async def test_it_is_a_proper_stream(plan: StreamPlan) -> None:
    async def pair() -> tuple[FaultyStream, FaultyStream]:
        one, other = memory_stream_pair()
        return FaultyStream(one, plan), FaultyStream(other, plan)

    with trio.fail_after(30):
        await check_two_way_stream(pair, None)


async def test_a_cut_is_seen_on_both_sides() -> None:
    stream, peer = faulty(StreamFault(kind=FaultKind.CUT, at_byte=5))
    await peer.send_all(b"hello world")
    assert await stream.receive_some() == b"hello"
    assert await stream.receive_some() == b""
    assert await stream.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"x")
    assert await read_all(peer) == b""


async def test_a_cut_of_what_is_sent() -> None:
    stream, peer = faulty(StreamFault(kind=FaultKind.CUT, direction=OUT, at_byte=5))
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"hello world")
    assert await read_all(peer) == b"hello"
    assert await stream.receive_some() == b""


async def test_a_reset_breaks_reading_and_sending() -> None:
    stream, peer = faulty(StreamFault(kind=FaultKind.RESET, at_byte=0))
    await peer.send_all(b"hello")
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"x")


async def test_a_reset_wakes_the_reader(autojump_clock: MockClock) -> None:
    stream, _ = faulty(StreamFault(kind=FaultKind.RESET, direction=OUT, at_byte=1))

    async def read() -> None:
        with pytest.raises(trio.BrokenResourceError, match="reset"):
            await stream.receive_some()

    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"x")


async def test_a_half_open_stream_says_nothing(autojump_clock: MockClock) -> None:
    stream, peer = faulty(StreamFault(kind=FaultKind.HALF_OPEN, direction=OUT, at_byte=2))
    await stream.send_all(b"1234")
    await stream.send_all(b"5678")
    assert await peer.receive_some() == b"12"
    await peer.send_all(b"are you there?")
    with trio.move_on_after(1000) as scope:
        await stream.receive_some()
    assert scope.cancelled_caught
    with trio.move_on_after(1000) as scope:
        await peer.receive_some()
    assert scope.cancelled_caught

    async def read() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()

    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            await stream.aclose()
    assert await read_all(peer) == b""
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"x")


@pytest.mark.parametrize("direction", list(Direction))
async def test_a_stall_delays_one_direction(
    direction: Direction, autojump_clock: MockClock
) -> None:
    stream, peer = faulty(
        StreamFault(kind=FaultKind.STALL, direction=direction, at_byte=2, stall_s=7)
    )
    source, target = (peer, stream) if direction is IN else (stream, peer)
    arrivals: list[tuple[float, bytes]] = []

    async def read() -> None:
        start = trio.current_time()
        async for data in target:
            when = trio.current_time() - start
            arrivals.append((when, bytes(data)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await source.send_all(b"hello")
        await source.aclose()
    assert [data for _, data in arrivals] == [b"he", b"llo"]
    assert [when for when, _ in arrivals] == [pytest.approx(0), pytest.approx(7)]


@pytest.mark.parametrize("direction", list(Direction))
async def test_garbage_comes_in_between(direction: Direction) -> None:
    stream, peer = faulty(
        StreamFault(kind=FaultKind.GARBAGE, direction=direction, at_byte=2, garbage=b"??"),
        StreamFault(kind=FaultKind.GARBAGE, direction=direction, at_byte=5, garbage=b"!"),
    )
    source, target = (peer, stream) if direction is IN else (stream, peer)
    await source.send_all(b"he")
    await source.send_all(b"llo")
    await source.send_all(b" world")
    if direction is OUT:
        await source.aclose()
        assert await read_all(target) == b"he??llo! world"
        return
    expected = b"he??llo! world"
    got = b""
    while len(got) < len(expected):
        got += bytes(await target.receive_some())
    assert got == expected


@pytest.mark.parametrize("at_frame", range(4))
@pytest.mark.parametrize("send_bytes", [None, 1, 7])
async def test_faults_at_frames(at_frame: int, send_bytes: int | None) -> None:
    pieces = [HEAD, frame(3), frame(200), frame(0)]
    stream, peer = faulty(
        StreamFault(kind=FaultKind.CUT, direction=OUT, at_frame=at_frame), send_bytes=send_bytes
    )
    with pytest.raises(trio.BrokenResourceError):
        for piece in pieces:
            await stream.send_all(piece)
    assert await read_all(peer) == b"".join(pieces[: at_frame + 1])

    stream, peer = faulty(StreamFault(kind=FaultKind.CUT, at_frame=at_frame), read_bytes=send_bytes)
    await peer.send_all(b"".join(pieces))
    assert await read_all(stream) == b"".join(pieces[: at_frame + 1])


@given(
    st.binary(max_size=200), st.integers(1, 20), st.integers(1, 20), st.none() | st.integers(0, 9)
)
def test_splits_change_nothing(data: bytes, read: int, send: int, seed: int | None) -> None:
    async def main() -> None:
        stream, peer = faulty(read_bytes=read, send_bytes=send, seed=seed)
        await stream.send_all(data)
        await peer.send_all(data)
        got = [b""]
        while sum(map(len, got)) < len(data):
            got.append(await stream.receive_some())
        assert max(map(len, got)) <= read
        assert b"".join(got) == data
        await stream.aclose()
        assert await read_all(peer) == data

    trio.run(main)


def test_random_faults_are_the_same_each_time() -> None:
    faults = [random_fault(seed, incoming_bytes=100, outgoing_bytes=50) for seed in range(200)]
    again = [random_fault(seed, incoming_bytes=100, outgoing_bytes=50) for seed in range(200)]
    assert faults == again
    assert {fault.kind for fault in faults} == set(FaultKind)
    for fault in faults:
        assert fault.at_byte is not None
        assert 0 <= fault.at_byte <= (100 if fault.direction is IN else 50)
    only = random_fault(3, incoming_bytes=1, outgoing_bytes=1, kinds=[FaultKind.CUT])
    assert only.kind is FaultKind.CUT


@pytest.mark.parametrize("places", [{}, {"at_byte": 1, "at_frame": 1}, {"at_byte": -1}])
def test_a_fault_has_one_place(places: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="give one of the two"):
        StreamFault(kind=FaultKind.CUT, **places)


async def test_recordings_know_both_directions() -> None:
    ours, peer = memory_stream_pair()
    stream = RecordingStream(ours)
    await stream.wait_send_all_might_not_block()
    await stream.send_all(HEAD + frame(5, masked=True))
    await peer.send_all(HEAD + frame(200) + frame(3)[:4])
    await stream.receive_some()
    assert stream.outgoing.data == HEAD + frame(5, masked=True)
    assert stream.outgoing.boundaries == [len(HEAD), len(HEAD) + 11]
    assert stream.outgoing.whole
    assert stream.incoming.boundaries == [len(HEAD), len(HEAD) + 204]
    assert not stream.incoming.whole
    await stream.aclose()


# --- a conversation that breaks ---------------------------------------------------------------


async def converse(wrap: Callable[[trio.abc.Stream], Any], **options: Any) -> WrappingDialer[Any]:
    """A full turn of text; leaves nothing behind, however it ends."""
    async with memory_server("It is a fine day.") as memory:
        dialer = WrappingDialer(memory, wrap)
        try:
            with trio.fail_after(60):
                async with open_session(memory.endpoint, TEXT, dialer=dialer, **options) as session:
                    await session.send_message("How is the weather?")
                    generation = await session.generate_reply()
                    await generation.wait()
                    await trio.sleep(15)  # no keepalive ping is due before
        finally:
            await trio.testing.wait_all_tasks_blocked()
            assert not memory._nursery.child_tasks
            assert all(protocol.ending for protocol in memory.protocols)
    return dialer


def frames_of_the_server() -> list[int]:
    dialer = trio.run(converse, RecordingStream, clock=MockClock(autojump_threshold=0))
    recording: RecordingStream = dialer.streams[0]
    assert recording.incoming.whole
    assert recording.outgoing.whole
    return recording.incoming.boundaries


# The head is at 0; nothing is lost with the last frame, which answers our close.
FRAMES = range(len(frames_of_the_server()) - 1)
ERRORS = {
    FaultKind.CUT: ConnectionClosed,
    FaultKind.RESET: ConnectionClosed,
    FaultKind.GARBAGE: FrameError,
}


def test_a_turn_has_the_frames_that_it_should() -> None:
    assert len(FRAMES) > 12


@pytest.mark.parametrize("kind", list(ERRORS))
async def test_a_conversation_that_breaks_at_any_frame_ends_with_its_error(
    kind: FaultKind, autojump_clock: MockClock
) -> None:  # R4
    for at_frame in FRAMES:
        plan = StreamPlan(faults=[StreamFault(kind=kind, at_frame=at_frame)])
        with pytest.raises(ERRORS[kind]) as caught:
            await converse(partial(FaultyStream, plan=plan), retry=None)
        if kind is FaultKind.RESET:
            assert isinstance(caught.value.__cause__, TransportError)


@pytest.mark.parametrize("seed", range(40))
async def test_a_conversation_that_breaks_anywhere_ends(
    seed: int, autojump_clock: MockClock
) -> None:  # R4
    recorded = (await converse(RecordingStream)).streams[0]
    fault = random_fault(
        seed,
        incoming_bytes=len(recorded.incoming.data),
        outgoing_bytes=len(recorded.outgoing.data),
        kinds=[FaultKind.CUT, FaultKind.RESET, FaultKind.GARBAGE, FaultKind.STALL],
    )
    plan = StreamPlan(faults=[fault], read_bytes=100, send_bytes=100, seed=seed)
    with suppress(RealtimeError):
        await converse(partial(FaultyStream, plan=plan), retry=None)


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Makes a call again that failed since its connection was lost."""
    while True:
        with suppress(ConnectionClosed, FrameError):
            return await call()


@pytest.mark.parametrize("kind", list(ERRORS))
async def test_a_conversation_that_breaks_at_any_frame_goes_on(
    kind: FaultKind, autojump_clock: MockClock
) -> None:  # R3
    for at_frame in FRAMES:
        fault = StreamFault(kind=kind, at_frame=at_frame)
        plans = iter([StreamPlan(faults=[fault])])
        dials: list[int] = []

        def wrap(stream: trio.abc.Stream, plans: Any = plans, dials: Any = dials) -> FaultyStream:
            dials.append(1)
            return FaultyStream(stream, next(plans, StreamPlan()))

        ready = done = False
        with trio.fail_after(300), suppress(ERRORS[kind]):
            async with memory_server("It is a fine day.", "Indeed.") as memory:
                dialer = WrappingDialer(memory, wrap)
                async with open_session(memory.endpoint, TEXT, dialer=dialer) as session:
                    ready = True
                    await insist(partial(session.ask, "How is the weather?"))
                    await trio.sleep(15)  # no keepalive ping is due before
                    await assert_session_works(session, memory)
                    done = True
        # Before it is up a session fails; afterwards it finds another connection.
        assert done == ready, f"broken at frame {at_frame}"
        assert len(dials) == 1 + ready
