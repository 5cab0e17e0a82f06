"""Tools whose reply, session or connection ends before they do: parity row T7."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import trio
from tool_sessions import (
    BUZZ,
    LONG,
    MANUAL,
    call_of,
    numbered_servers,
    outputs,
    session_with,
    spoken_at_its_own_pace,
    toolbox_alone,
    unanswered,
    until,
)
from trio.testing import MockClock

from sansio_rt import (
    CallReady,
    Command,
    CommandEnded,
    CommandKind,
    ConnectionClosed,
    ConnectionLost,
    GenerationEnded,
    GenerationOrigin,
    GenerationStarted,
    GenerationStatus,
    Outcome,
    SessionConfig,
    SessionConfigured,
    Tool,
    events,
    tool,
)
from trio_rt.emulator import Call


class Policies:
    """Two tools that wait, one for each policy, and what became of them."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    async def lookup(self) -> str:
        """May be cut off."""
        return await self._work("lookup")

    async def book(self) -> str:
        """Must not be cut off."""
        return await self._work("book")

    async def _work(self, name: str) -> str:
        self.notes.append(f"{name} began")
        try:
            await trio.sleep(20)
        except trio.Cancelled:
            self.notes.append(f"{name} was cut off")
            raise
        self.notes.append(f"{name} is done")
        return f"{name} done"

    @property
    def tools(self) -> list[Tool]:
        return [tool(self.lookup), tool(self.book, on_interrupt="finish")]


@pytest.mark.parametrize("how", ["interrupt", "speech"])
async def test_calls_of_a_cancelled_reply_stop_or_finish_and_no_reply_follows(
    how: str, autojump_clock: MockClock
) -> None:  # T7, T9
    policies = Policies()
    replies = [[Call("lookup"), Call("book"), LONG], "Yes?"]
    server = {"make_protocol": spoken_at_its_own_pace, "transcripts": ["wait"]}
    config = MANUAL if how == "interrupt" else SessionConfig()
    async with session_with(*replies, server=server, config=config, tools=policies.tools) as (
        session,
        _,
    ):
        generation = await session.generate_reply()
        await until(lambda: len(policies.notes) == 2)
        if how == "interrupt":
            await session.interrupt()
        else:
            await session.push_audio(BUZZ)
            await session.push_audio(bytes(48_000))
        outcome = await generation.wait()
        assert outcome.status is GenerationStatus.CANCELLED
        await trio.sleep(1)
        assert outputs(session) == [
            '{"error":"lookup was cancelled: the reply that called it was interrupted"}'
        ]
        await trio.sleep(60)
        assert sorted(policies.notes[:2]) == ["book began", "lookup began"]
        assert policies.notes[2:] == ["lookup was cut off", "book is done"]
        assert outputs(session)[1:] == ["book done"]
        assert unanswered(session) == 0
        # Only the server's own answer to what was said, where something was.
        origins = [
            session.generations.receive_nowait().origin for _ in range(len(session.generations))
        ]
        assert origins == ([GenerationOrigin.SERVER] if how == "speech" else [])


async def test_an_interruption_concerns_the_calls_of_its_own_reply_only(
    autojump_clock: MockClock,
) -> None:  # T7
    async def slow() -> str:
        await trio.sleep(30)
        return "slow"

    server = {"make_protocol": spoken_at_its_own_pace}
    async with session_with(Call("slow"), LONG, "Done.", server=server, tools=[slow]) as (
        session,
        _,
    ):
        await (await session.generate_reply()).wait()
        await session.generate_reply()
        await trio.sleep(1)
        await session.interrupt()
        follow_up = await session.generations.receive()
        assert (await follow_up.wait()).text == "Done."
        assert outputs(session) == ["slow"]


async def test_a_call_that_was_done_before_the_interruption_stays_answered(
    autojump_clock: MockClock,
) -> None:  # T7
    async def quick() -> str:
        return "quick"

    server = {"make_protocol": spoken_at_its_own_pace}
    async with session_with([Call("quick"), LONG], "?", server=server, tools=[quick]) as (
        session,
        _,
    ):
        generation = await session.generate_reply()
        await until(lambda: outputs(session))
        await session.interrupt()
        assert generation.status is GenerationStatus.CANCELLED
        await trio.sleep(60)
        assert outputs(session) == ["quick"]
        assert len(session.generations) == 0


async def test_a_result_in_spite_of_the_interruption_is_the_output(
    autojump_clock: MockClock,
) -> None:  # T7, T9
    async def stubborn() -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(10)
        return "it was done"

    server = {"make_protocol": spoken_at_its_own_pace}
    async with session_with([Call("stubborn"), LONG], "?", server=server, tools=[stubborn]) as (
        session,
        _,
    ):
        await session.generate_reply()
        await trio.sleep(1)
        await session.interrupt()
        await trio.sleep(60)
        assert outputs(session) == ["it was done"]
        assert len(session.generations) == 0


async def test_calls_of_a_session_that_fails_end_and_what_is_late_is_dropped(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:  # T7, T9
    caplog.set_level(logging.INFO, "trio_rt.tools")
    policies = Policies()
    with pytest.raises(ConnectionClosed):
        async with session_with(
            [Call("lookup"), Call("book"), LONG],
            server={"make_protocol": spoken_at_its_own_pace},
            tools=policies.tools,
            retry=None,
        ) as (session, memory):
            await session.generate_reply()
            await until(lambda: len(policies.notes) == 2)
            await memory.streams[0].aclose()
            await trio.sleep(60)
    assert sorted(policies.notes[2:]) == ["book was cut off", "lookup was cut off"]
    assert caplog.text.count("ended before") + caplog.text.count("was not taken") == 2


async def test_calls_of_a_reply_that_was_lost_are_answered_on_the_next_connection(
    autojump_clock: MockClock,
) -> None:  # T7, T9
    policies = Policies()
    replies = [[Call("lookup"), Call("book"), LONG], "Well."]
    server = numbered_servers()
    async with session_with(*replies, server=server, tools=policies.tools) as (session, memory):
        generation = await session.generate_reply()
        await until(lambda: len(policies.notes) == 2)
        await memory.streams[0].aclose()
        assert (await generation.wait()).status is GenerationStatus.LOST
        follow_up = await session.generations.receive()
        assert (await follow_up.wait()).text == "Well."
        assert len(memory.protocols) == 2
        assert policies.notes[2:] == ["lookup was cut off", "book is done"]
        assert outputs(session) == [
            '{"error":"lookup was cancelled: the connection was lost"}',
            "book done",
        ]
        assert unanswered(session) == 0
        assert len(session.generations) == 0


async def test_a_result_that_comes_while_nobody_is_connected_waits_for_the_next_connection(
    autojump_clock: MockClock,
) -> None:  # T9
    gone = trio.Event()
    runs: list[int] = []

    async def slow() -> str:
        runs.append(1)
        await gone.wait()
        return "slow"

    server = numbered_servers()
    async with session_with(Call("slow"), "Well.", server=server, tools=[slow]) as (
        session,
        memory,
    ):
        await (await session.generate_reply()).wait()
        async with session.subscribe(ConnectionLost) as lost:
            await memory.streams[0].aclose()
            await lost.receive()
        gone.set()
        follow_up = await session.generations.receive()
        assert (await follow_up.wait()).text == "Well."
        assert len(memory.protocols) == 2
        assert (runs, outputs(session)) == ([1], ["slow"])
        assert unanswered(session) == 0


async def test_a_result_after_the_session_closed_is_dropped_with_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:  # T9
    leaving = trio.Event()

    async def slow() -> str:
        with trio.CancelScope(shield=True):
            await leaving.wait()
        return "too late"

    async with session_with(Call("slow"), tools=[slow]) as (session, memory):
        generation = await session.generate_reply()
        await generation.wait()
        memory._nursery.start_soon(_set_when, leaving, lambda: session._leaving)
    assert "the output of slow (" in caplog.text
    assert ") was not taken: " in caplog.text


async def _set_when(event: trio.Event, condition: Callable[[], object]) -> None:
    await until(condition)
    event.set()


async def test_tools_that_came_into_force_after_their_caller_had_given_up_run(
    autojump_clock: MockClock,
) -> None:  # S7, T6
    async def late() -> str:
        return "done"

    async with toolbox_alone() as (toolbox, generation, answers):
        update = Command("event_1", CommandKind.UPDATE)
        update.outcome = Outcome.DEADLINE
        entries = [tool(late)]
        toolbox.declare_with(update, entries)
        toolbox.handlers[CommandEnded](CommandEnded(update))
        in_force = events.RealtimeSession(tools=[entry.definition() for entry in entries])
        for session in (events.RealtimeSession(tools=[]), in_force):
            toolbox.handlers[SessionConfigured](SessionConfigured(session=session))
        toolbox._of_generation.clear()
        toolbox.handlers[GenerationStarted](GenerationStarted(generation))
        toolbox.handlers[CallReady](call_of(generation, "late", "call_1"))
        await trio.sleep(1)
        assert answers == [("call_1", "done", True)]


async def test_a_call_that_comes_twice_runs_once(autojump_clock: MockClock) -> None:  # T7
    runs: list[int] = []

    async def count() -> None:
        runs.append(1)

    async with toolbox_alone(tool(count)) as (toolbox, generation, answers):
        on_call = toolbox.handlers[CallReady]
        for _ in range(2):
            on_call(call_of(generation, "count", "call_1"))
        await trio.sleep(1)
        on_call(call_of(generation, "count", "call_1"))
        await trio.sleep(1)
        assert (runs, answers) == ([1], [("call_1", "", True)])


async def test_a_call_and_its_cancellation_in_one_read(autojump_clock: MockClock) -> None:  # T7
    runs: list[str] = []

    @tool(in_thread=False)
    def lookup() -> None:
        """Never waits, so nothing could cut it off."""
        runs.append("lookup")

    @tool(on_interrupt="finish")
    async def book() -> None:
        runs.append("book")

    @tool(on_interrupt="finish", needs_approval=True)
    async def pay() -> None:
        runs.append("pay")

    async with toolbox_alone(lookup, book, pay) as (toolbox, generation, answers):
        for name in ("lookup", "book", "pay"):
            toolbox.handlers[CallReady](call_of(generation, name, name))
        generation.end(GenerationStatus.CANCELLED, 1.0)
        toolbox.handlers[GenerationEnded](GenerationEnded(generation))
        await trio.sleep(1)
        assert runs == ["book"]
        assert sorted(answers) == [
            ("book", "", False),
            *(
                (
                    name,
                    f'{{"error":"{name} was cancelled: the reply that called it was interrupted"}}',
                    False,
                )
                for name in ("lookup", "pay")
            ),
        ]
