"""Connections that are replaced as planned, while the old one serves (N4, R5, R8, R11)."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
import pytest
import trio
from pair import Loud
from trio.testing import MockClock

from sansio_rt import (
    ConnectionClosed,
    ConnectionLost,
    ConnectionReplaced,
    Endpoint,
    GenerationStatus,
    LocalProtocolError,
    RetryPolicy,
    SequentialIds,
    ServerProtocol,
    SessionConfig,
    SessionResumed,
    Timing,
    events,
)
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import ServerLimits
from trio_rt import Session, TransportError, open_session, serve_emulator
from trio_rt.emulator import Brain
from trio_rt.testing import MemoryServer, memory_server

MANUAL = SessionConfig(turn_detection=None)
TYPED = SessionConfig(turn_detection=None, output_modalities=["text"])
HOURLY = Timing(rotate_after_s=60.0, rotation_patience_s=10.0)
BLOCK = 2_400
"""Samples of 100 ms."""


@asynccontextmanager
async def session_with(
    *replies: Any, server: dict[str, Any] | None = None, **options: Any
) -> AsyncGenerator[tuple[Session, MemoryServer]]:
    options = {"config": TYPED, "timing": HOURLY, **options}
    with trio.fail_after(100_000):
        async with (
            memory_server(*replies, **(server or {})) as memory,
            open_session(memory.endpoint, dialer=memory, **options) as session,
        ):
            yield session, memory


def agree(session: Session, memory: MemoryServer) -> None:
    there = [item.id for item in memory.protocols[-1].session.items]
    assert session.conversation.ids() == there


def serving(memory: MemoryServer) -> int:
    """How many connections the server has."""
    return sum(protocol.ending is None for protocol in memory.protocols)


async def test_an_old_connection_is_replaced_and_nobody_notices(
    autojump_clock: MockClock,
) -> None:  # N4, R5
    async with session_with("One.", "Two.") as (session, memory):
        await (await session.ask("Hi")).wait()
        async with session.subscribe(ConnectionLost, ConnectionReplaced, SessionResumed) as told:
            await trio.sleep(61)
            assert isinstance(await told.receive(), ConnectionReplaced)
            resumed = await told.receive()
            assert isinstance(resumed, SessionResumed)
            assert (resumed.planned, resumed.replayed, resumed.away_s) == (True, 2, 0.0)
            assert len(told) == 0
        assert len(memory.protocols) == 2
        assert serving(memory) == 1
        assert (await (await session.ask("And now?")).wait()).text == "Two."
        agree(session, memory)


async def test_an_answer_that_runs_is_not_cut(autojump_clock: MockClock) -> None:  # R5
    unhurried = {"make_protocol": lambda: ServerProtocol(ServerSession(pace=1.0))}
    words = "This is a rather long answer to a short question. " * 8
    async with session_with(words, server=unhurried, config=MANUAL) as (session, memory):
        await trio.sleep(55)
        generation = await session.generate_reply()
        message = await generation.messages.receive()
        times = [trio.current_time() async for _ in message.audio]
        outcome = await generation.wait()
        assert outcome.status is GenerationStatus.COMPLETED
        assert times[-1] - times[0] > 8  # it spoke on while it was due
        pace_s = times[2] - times[1]
        assert all(after - before < pace_s + 0.02 for before, after in itertools.pairwise(times))
        await trio.sleep(1)
        assert len(memory.protocols) == 2
        agree(session, memory)


async def test_at_its_hard_deadline_an_answer_is_lost_and_the_session_goes_on(
    autojump_clock: MockClock,
) -> None:  # R8
    class Slow(ServerSession):
        def finish(self, response_id: str, now: float) -> None:
            pass

    slow = {"make_protocol": lambda: ServerProtocol(Slow())}
    timing = Timing(rotate_after_s=20.0, rotation_patience_s=5.0)
    async with session_with("Never done.", server=slow, timing=timing) as (session, memory):
        await trio.sleep(15)
        generation = await session.generate_reply()
        assert (await generation.wait()).status is GenerationStatus.LOST
        assert 24.9 <= trio.current_time() <= 25.5
        await session.send_message("Still here.")
        agree(session, memory)


async def test_dials_that_fail_cost_nothing(autojump_clock: MockClock) -> None:  # R8
    async with session_with("One.") as (session, memory):
        memory.refuse_until = trio.current_time() + 300
        with session.subscribe(ConnectionLost) as lost:
            await trio.sleep(200)
            await session.send_message("Hello?")
            assert len(memory.protocols) == 1
            await trio.sleep(155)
            assert len(memory.protocols) == 2
            assert len(lost) == 0
        agree(session, memory)


async def test_a_next_connection_that_is_never_answered_is_given_up(
    autojump_clock: MockClock,
) -> None:  # R8
    async with memory_server() as memory:
        theirs: list[trio.abc.Stream] = []

        class Mute:
            async def dial(self, endpoint: Any) -> trio.abc.Stream:
                if not memory.protocols or theirs:
                    return await memory.dial(endpoint)
                ours, other = trio.testing.memory_stream_pair()
                theirs.append(other)
                return ours

        async with open_session(memory.endpoint, TYPED, dialer=Mute(), timing=HOURLY) as session:
            await trio.sleep(71)
            assert len(memory.protocols) == 1
            (mute,) = theirs
            while await mute.receive_some():
                pass  # what was said to it, then its end
            await trio.sleep(20)
            assert len(memory.protocols) == 2
            await session.send_message("Hi")
            agree(session, memory)


async def test_the_present_connection_may_go_while_the_next_is_made(
    autojump_clock: MockClock,
) -> None:  # R8
    async with memory_server("One.") as memory:
        dials = 0

        class Slow:
            async def dial(self, endpoint: Any) -> trio.abc.Stream:
                nonlocal dials
                dials += 1
                if dials == 2:
                    await trio.sleep(5)
                return await memory.dial(endpoint)

        async with open_session(memory.endpoint, TYPED, dialer=Slow(), timing=HOURLY) as session:
            await session.send_message("Hi")
            await trio.sleep(62)
            assert dials == 2
            await memory.streams[0].aclose()
            started = trio.current_time()
            await session.send_message("Again.")
            assert trio.current_time() - started < 0.2
            await trio.sleep(10)
            assert [protocol.ending is None for protocol in memory.protocols] == [
                False,
                True,
                False,
            ]
            ids = [item.id for item in memory.protocols[1].session.items]
            assert session.conversation.ids() == ids


async def test_the_next_connection_serves_at_once_where_the_present_one_breaks(
    autojump_clock: MockClock,
) -> None:  # R8
    unhurried = {"make_protocol": lambda: ServerProtocol(ServerSession(pace=1.0))}
    words = "This is a rather long answer to a short question. " * 8
    async with session_with(words, "Yes.", server=unhurried, config=MANUAL) as (session, memory):
        await trio.sleep(58)
        generation = await session.ask("Hi")
        await trio.sleep(5)
        assert len(memory.protocols) == 2
        with session.subscribe(ConnectionLost, ConnectionReplaced) as told:
            await memory.streams[0].aclose()
            assert (await generation.wait()).status is GenerationStatus.LOST
            started = trio.current_time()
            await session.send_message("Are you there?")
            assert trio.current_time() - started < 0.05
            (replaced,) = [told.receive_nowait() for _ in range(len(told))]
            assert isinstance(replaced.error, TransportError | ConnectionClosed)
        assert len(memory.protocols) == 2
        agree(session, memory)


async def test_before_a_session_expires_it_is_replaced(autojump_clock: MockClock) -> None:  # R5, R9
    import time

    def make() -> ServerProtocol:
        limits = ServerLimits(session_s=1800.0)
        epoch_s = time.time() - trio.current_time()
        return ServerProtocol(ServerSession(limits=limits, epoch_s=epoch_s))

    timing = Timing(rotate_after_s=None)
    async with session_with(server={"make_protocol": make}, timing=timing) as (session, memory):
        with session.subscribe(ConnectionLost) as lost:
            for hour in range(3):
                await session.send_message(f"Half hour {hour}.")
                await trio.sleep(1760)
            assert len(lost) == 0
        assert len(memory.protocols) == 4
        agree(session, memory)


# --- restart --------------------------------------------------------------------------------


async def test_a_restart_returns_when_the_next_connection_serves(
    autojump_clock: MockClock,
) -> None:  # R11
    async with session_with("One.", "Two.") as (session, memory):
        await (await session.ask("Hi")).wait()
        await session.restart("the caller hears nothing")
        assert len(memory.protocols) == 2
        assert trio.current_time() < 1
        assert (await (await session.ask("Better?")).wait()).text == "Two."
        agree(session, memory)


async def test_a_restart_during_an_outage_waits_for_its_end(autojump_clock: MockClock) -> None:
    async with session_with("One.") as (session, memory):
        memory.refuse_until = trio.current_time() + 3
        await memory.streams[0].aclose()
        await trio.sleep(0.05)
        await session.restart("now")
        assert len(memory.protocols) == 2
        await session.send_message("Hi")


async def test_a_restart_without_a_server_ends_in_a_reconnect(autojump_clock: MockClock) -> None:
    async with session_with("One.") as (session, memory):
        await session.send_message("Hi")
        memory.refuse_until = trio.current_time() + 20
        with session.subscribe(ConnectionLost) as lost:
            await session.restart("no sound", patience_s=5)
            assert lost.receive_nowait().planned
        assert 20 <= trio.current_time() <= 40
        agree(session, memory)


async def test_a_session_with_one_connection_cannot_restart(autojump_clock: MockClock) -> None:
    async with session_with(retry=None) as (session, _):
        with pytest.raises(LocalProtocolError, match="retry policy"):
            await session.restart("why not")
        await session.send_message("Hi")


async def test_a_restart_tells_why_the_session_ended(autojump_clock: MockClock) -> None:
    with pytest.raises(TransportError):
        async with session_with(retry=RetryPolicy(give_up_after_s=3.0)) as (session, memory):
            memory.refuse_until = trio.current_time() + 1000
            await session.restart("now", patience_s=1)


async def test_over_sockets_the_conversation_goes_on() -> None:  # N4, R6
    with trio.fail_after(20):
        async with serve_emulator(Brain.scripted("One.", "Two."), pace=None) as emulator:
            endpoint = Endpoint.url(emulator.url, model="any")
            async with open_session(endpoint, MANUAL) as session:
                await (await session.ask("Hi")).wait()
                await session.restart("to see")
                assert (await (await session.ask("And now?")).wait()).text == "Two."
                roles = [getattr(item, "role", "") for item in session.conversation.items()]
                assert roles == ["user", "assistant"] * 2


# --- long calls -----------------------------------------------------------------------------


class Recorder:
    """Ears that keep what they hear."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def transcribe(self, pcm: bytes, rate: int) -> str:
        assert rate == 24_000
        self.heard.append(pcm)
        return f"turn {len(self.heard)}"

    def blocks(self) -> Counter[int]:
        """How often each block was heard; a block is 100 ms of samples of one value."""
        samples = np.frombuffer(b"".join(self.heard), dtype="<i2")
        values, counts = np.unique(samples, return_counts=True)
        assert not any(counts % BLOCK), "a block was cut"
        return Counter(dict(zip(values.tolist(), (counts // BLOCK).tolist(), strict=True)))


def block(value: int) -> bytes:
    return np.full(BLOCK, value, dtype="<i2").tobytes()


async def insist(call: Callable[[], Awaitable[Any]]) -> Any:
    while True:
        with suppress(ConnectionClosed):
            return await call()


async def test_eight_hours_with_rotations_and_outages(autojump_clock: MockClock) -> None:
    """N3, N4, R5: every sample of the caller is heard exactly once."""
    brain = Brain.scripted("I see.")
    ears = Recorder()
    brain.ears = ears  # type: ignore[assignment]
    config = TYPED.merge({"transcription": events.Transcription(model="whisper-1")})
    spoken = 0
    outages = {15: 3.0, 50: 25.0, 83: 0.0}
    async with (
        memory_server(brain=brain) as memory,
        open_session(memory.endpoint, config, dialer=memory) as session,
    ):
        with session.subscribe(ConnectionLost, SessionResumed) as told:
            for turn in range(120):
                for piece in range(20):
                    if turn in outages and piece == 7:
                        memory.refuse_until = trio.current_time() + outages[turn]
                        await memory.streams[-1].aclose()
                    spoken += 1
                    await session.push_audio(block(spoken))
                    await trio.sleep(0.1)
                assert await insist(session.commit_audio)
                generation = await insist(session.generate_reply)
                assert (await generation.wait()).text == "I see."
                await trio.sleep(236)
            assert trio.current_time() > 7.8 * 3600
            happened = [told.receive_nowait() for _ in range(len(told))]
        agree(session, memory)
        assert len(session.conversation) == 240
    resumed = [event for event in happened if isinstance(event, SessionResumed)]
    assert sum(isinstance(event, ConnectionLost) for event in happened) >= 3
    assert sum(event.planned for event in resumed) >= 20
    assert sum(not event.planned for event in resumed) == 3
    assert not any(event.audio_lost_ms for event in resumed)
    assert ears.blocks() == Counter(range(1, spoken + 1))


async def test_a_microphone_that_never_stops(autojump_clock: MockClock) -> None:
    """N3, N4: turns found by the server are whole, wherever connections are replaced."""
    brain = Brain.scripted("I see.")
    heard: list[int] = []
    numbers = itertools.count()

    class Ears:
        """Counts the loud samples of each turn, found piece by piece."""

        def transcribe(self, pcm: bytes, rate: int) -> str:
            heard.append(int((np.abs(np.frombuffer(pcm, "<i2")) > 1000).sum()))
            return "words"

        def stream(self) -> Any:
            return Whole(self)

    class Whole:
        def __init__(self, ears: Ears) -> None:
            self.ears = ears
            self.pcm = b""

        def feed(self, pcm: bytes, rate: int) -> None:
            self.pcm += pcm

        def text(self) -> str:
            return self.ears.transcribe(self.pcm, 24_000)

        def close(self) -> None:
            pass

    brain.ears = Ears()  # type: ignore[assignment]
    config = SessionConfig(output_modalities=["text"])
    timing = Timing(rotate_after_s=7.3, rotation_patience_s=30.0)
    turns = 12

    def make() -> ServerProtocol:
        ids = SequentialIds(f"s{next(numbers)}_")
        return ServerProtocol(ServerSession(detector=Loud(), ids=ids))

    async with (
        memory_server(brain=brain, make_protocol=make) as memory,
        open_session(memory.endpoint, config, dialer=memory, timing=timing) as session,
    ):
        for _ in range(turns):
            for piece in range(50):  # 1.5 s of speech, 3.5 s of silence
                await session.push_audio(block(8000 if piece < 15 else 0))
                await trio.sleep(0.1)
        await trio.sleep(5)
        assert len(memory.protocols) >= 5
        agree(session, memory)
        users = [
            item for item in session.conversation.items() if getattr(item, "role", "") == "user"
        ]
        assert len(users) == turns
    assert heard == [15 * BLOCK] * turns
