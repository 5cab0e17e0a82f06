"""The tool that cancels at every step, and its two assertions about sessions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from sansio_rt import SessionConfig
from trio_rt import Session, open_session
from trio_rt.testing import (
    Counted,
    Cut,
    MemoryServer,
    WrappingDialer,
    assert_session_left,
    assert_session_works,
    cancel_at_every_step,
    memory_server,
)

TEXT = SessionConfig(turn_detection=None, output_modalities=["text"])


# --- the tool ---------------------------------------------------------------------------------


@pytest.mark.parametrize("counted", list(Counted))
def test_every_wait_of_the_block_is_met(counted: Counted) -> None:  # N2
    reached: list[int] = []

    async def scenario(cut: Cut) -> None:
        await trio.sleep(1)
        position = 0
        with cut:
            while position < 4:
                await trio.sleep(1)
                position += 1
        reached.append(position)
        await trio.sleep(1)

    report = cancel_at_every_step(scenario, counted=counted)
    assert len(reached) == report.steps + 1
    assert reached == sorted(reached)
    assert set(reached) == {0, 1, 2, 3, 4}
    assert report.caught == sum(position < 4 for position in reached)


@pytest.mark.parametrize("counted", list(Counted))
def test_a_block_that_was_woken_is_cancelled_before_it_runs(counted: Counted) -> None:
    seen: set[tuple[bool, bool]] = set()

    async def scenario(cut: Cut) -> None:
        event = trio.Event()
        woken = False

        async def wake() -> None:
            await trio.sleep(1)
            event.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wake)
            with cut:
                await event.wait()
                woken = True
                await trio.lowlevel.checkpoint()
            seen.add((event.is_set(), woken))

    report = cancel_at_every_step(scenario, counted=counted)
    assert report.steps >= 4
    # Cancelled between the other task's step and its own, a block that was woken runs on.
    assert seen == {(False, False), (True, True)}


def test_steps_of_other_tasks_count_for_the_run_only() -> None:
    async def scenario(cut: Cut) -> None:
        async def busy() -> None:
            for _ in range(50):
                await trio.sleep(0.1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(busy)
            with cut:
                await trio.sleep(100)

    assert cancel_at_every_step(scenario).steps > 50
    assert cancel_at_every_step(scenario, counted=Counted.TASK).steps < 5
    few = cancel_at_every_step(scenario, every=10).steps
    assert 5 <= few <= 10


def test_what_fails_is_told_with_its_place() -> None:
    async def scenario(cut: Cut) -> None:
        opened = 0
        with cut:
            await trio.lowlevel.checkpoint()
            opened += 1
            await trio.lowlevel.checkpoint()  # cancelled here, it stays open
            opened -= 1
        assert opened == 0, "left open"

    with pytest.raises(AssertionError, match="left open") as caught:
        cancel_at_every_step(scenario, counted=Counted.TASK)
    (note,) = caught.value.__notes__
    assert note == "the scenario was cancelled at <Cut at step 3 of the task>"


def test_a_lost_wake_is_found() -> None:
    async def scenario(cut: Cut) -> None:
        event = trio.Event()
        with cut:
            await trio.sleep(1)
            event.set()
        await event.wait()

    with pytest.raises(trio.TooSlowError):
        cancel_at_every_step(scenario, time_limit_s=10)


def test_errors_of_the_block_come_out() -> None:
    async def scenario(cut: Cut) -> None:
        with cut:
            try:
                await trio.sleep(1)
            finally:
                raise KeyError("cleanup")

    with pytest.raises(KeyError, match="cleanup"):
        cancel_at_every_step(scenario)


def test_one_block_in_each_scenario() -> None:
    async def none(cut: Cut) -> None:
        await trio.sleep(1)

    async def two(cut: Cut) -> None:
        with cut:
            pass
        with cut:
            pass

    async def endless(cut: Cut) -> None:
        with cut:
            for _ in range(100):
                await trio.sleep(1)

    with pytest.raises(RuntimeError, match="did not come to"):
        cancel_at_every_step(none)
    with pytest.raises(RuntimeError, match="twice"):
        cancel_at_every_step(two)
    with pytest.raises(AssertionError, match="more than 20 steps"):
        cancel_at_every_step(endless, max_steps=20)


def test_the_time_to_leave_and_new_tasks_are_known() -> None:
    longest: list[float] = []

    async def scenario(cut: Cut) -> None:
        async with trio.open_nursery() as nursery:
            with cut:
                nursery.start_soon(trio.sleep, 100, name="left behind")
                try:
                    await trio.sleep(1)
                finally:
                    with trio.move_on_after(3, shield=True):
                        await trio.sleep(5)
            longest.append(cut.left_after_s)
            assert cut.new_tasks() == ["left behind"]
            nursery.cancel_scope.cancel()

    assert cancel_at_every_step(scenario, counted=Counted.TASK).caught
    assert max(longest) == pytest.approx(3)


# --- the assertions ---------------------------------------------------------------------------


def once(scenario: Any) -> None:
    """Runs a scenario to its end without cancelling anything."""
    cut = Cut(1_000_000, Counted.TASK)
    trio.run(scenario, cut, clock=trio.testing.MockClock(autojump_threshold=0))


@asynccontextmanager
async def talking(memory: MemoryServer) -> AsyncGenerator[Session]:
    async with open_session(memory.endpoint, TEXT, dialer=memory) as session:
        await session.ask("Hi")
        yield session


def test_a_session_that_was_left_well() -> None:
    async def scenario(cut: Cut) -> None:
        async with memory_server("Hello.") as memory:
            with cut:
                async with talking(memory):
                    pass
            await assert_session_left(cut, memory)

    once(scenario)


def test_tasks_that_are_left_are_found() -> None:
    async def scenario(cut: Cut) -> None:
        async with memory_server("Hello.") as memory, trio.open_nursery() as nursery:
            with cut:
                async with talking(memory):
                    nursery.start_soon(trio.sleep, 100, name="forgotten")
            with pytest.raises(AssertionError, match="forgotten"):
                await assert_session_left(cut, memory)
            nursery.cancel_scope.cancel()

    once(scenario)


def test_streams_that_are_left_open_are_found() -> None:
    class Open(trio.abc.Stream):
        """Never closes."""

        def __init__(self, stream: trio.abc.Stream) -> None:
            self._stream = stream

        async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
            return await self._stream.receive_some(max_bytes)

        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            await self._stream.send_all(data)

        async def wait_send_all_might_not_block(self) -> None:
            raise AssertionError

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    async def scenario(cut: Cut) -> None:
        async with memory_server("Hello.") as memory:
            dialer = WrappingDialer(memory, Open)
            with cut:
                async with open_session(memory.endpoint, TEXT, dialer=dialer):
                    pass
            with pytest.raises(AssertionError, match="left open"):
                await assert_session_left(cut, memory)

    once(scenario)


@pytest.mark.parametrize(
    ("farewell", "words"),
    [
        (b"\x81\xfe\x01", "part of a frame"),
        (b"\x81\x80\x00\x00\x00\x00", "the server saw WireClosed"),
    ],
)
def test_half_frames_and_improper_closes_are_found(farewell: bytes, words: str) -> None:
    async def scenario(cut: Cut) -> None:
        async with memory_server() as memory:
            request = b"GET /v1/realtime?model=m HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            request += b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            request += b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            with cut:
                stream = await memory.dial(memory.endpoint)
                await stream.send_all(request + farewell)
                await stream.receive_some()
                await stream.aclose()
            with pytest.raises(AssertionError, match=words):
                await assert_session_left(cut, memory)

    once(scenario)


def test_a_server_that_still_waits_is_found() -> None:
    async def scenario(cut: Cut) -> None:
        async with memory_server() as memory:
            with cut:
                stream = await memory.dial(memory.endpoint)
            with pytest.raises(AssertionError, match="tasks are left"):
                await assert_session_left(cut, memory)
            await stream.aclose()
            await assert_session_left(cut, memory)

    once(scenario)


def test_sessions_that_do_not_work_are_found() -> None:
    async def scenario(_: Cut) -> None:
        async with memory_server("Hello.") as memory, talking(memory) as session:
            await assert_session_works(session, memory)
            entry = next(iter(session.conversation))
            session.conversation.remove(entry.id)
            with pytest.raises(AssertionError, match="the mirror is"):
                await assert_session_works(session, memory)

    once(scenario)


def test_commands_that_are_never_answered_are_found() -> None:
    async def scenario(_: Cut) -> None:
        async with memory_server("Hello.") as memory, talking(memory) as session:
            session._protocol.send_message("Never sent.")
            session._protocol.data_to_send()  # and thrown away
            with pytest.raises(AssertionError, match="never answered"):
                await assert_session_works(session, memory)

    once(scenario)
