"""Tools as tasks, against a server in memory: parity rows T5 to T10.

The clock jumps, except where threads run: there a jump would be a timeout.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import math
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

import sansio_rt
from sansio_rt import (
    CallReady,
    Command,
    CommandEnded,
    CommandKind,
    ConfigurationError,
    ConnectionClosed,
    ConnectionLost,
    GeneratedCall,
    GenerationEnded,
    GenerationOrigin,
    GenerationStarted,
    GenerationStatus,
    LocalProtocolError,
    Outcome,
    RawClientEvent,
    SequentialIds,
    ServerProtocol,
    SessionConfig,
    SessionConfigured,
    Tool,
    events,
    tool,
)
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import Refusal
from trio_rt import ApprovalRequest, ApprovalState, Session, ToolSettings, open_session
from trio_rt._approval import Approvals
from trio_rt._toolbox import Toolbox
from trio_rt.emulator import Call, EnergyDetector
from trio_rt.testing import MemoryServer, memory_server

MANUAL = SessionConfig(turn_detection=None)
TEXT: dict[str, Any] = {"modalities": ["text"]}
BUZZ = (b"\x00\x20" * 24 + b"\x00\xe0" * 24) * 500  # one second of 500 Hz
LONG = "a long answer " * 40


def spoken_at_its_own_pace() -> ServerProtocol:
    return ServerProtocol(ServerSession(pace=1.0, detector=EnergyDetector()))


@asynccontextmanager
async def session_with(
    *replies: Any, server: dict[str, Any] | None = None, **options: Any
) -> AsyncGenerator[tuple[Session, MemoryServer]]:
    options.setdefault("config", MANUAL)
    with trio.fail_after(300):
        async with (
            memory_server(*replies, **(server or {})) as memory,
            open_session(memory.endpoint, dialer=memory, **options) as session,
        ):
            yield session, memory


def outputs(session: Session) -> list[str]:
    """The texts of all outputs in the conversation, in its order."""
    items = (entry.item for entry in session.conversation)
    return [item.output for item in items if isinstance(item, events.FunctionCallOutput)]


def unanswered(session: Session) -> int:
    """How many calls have not exactly one output (T9)."""
    items = [entry.item for entry in session.conversation]
    answers = [item.call_id for item in items if isinstance(item, events.FunctionCallOutput)]
    calls = [item.call_id for item in items if isinstance(item, events.FunctionCall)]
    assert set(answers) <= set(calls)
    return sum(answers.count(call_id) != 1 for call_id in calls)


async def turn(session: Session) -> None:
    """Has the model call, and waits for the reply that uses the outputs."""
    await session.generate_reply(**TEXT)
    follow_up = await session.generations.receive()
    assert follow_up.origin is GenerationOrigin.TOOL_OUTPUTS
    assert (await follow_up.wait()).status is GenerationStatus.COMPLETED
    assert unanswered(session) == 0


async def error_of(*calls: Call, tools: list[Any], **options: Any) -> str:
    """What the model is told of a call that fails."""
    async with session_with(list(calls), "I see.", tools=tools, **options) as (session, _):
        await turn(session)
        assert len(outputs(session)) == 1
        told = json.loads(outputs(session)[0])
        assert list(told) == ["error"]
        return str(told["error"])


async def until(condition: Callable[[], object]) -> None:
    """Waits for what has no event of its own."""
    with trio.fail_after(100):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def say(session: Session, memory: MemoryServer, *server_events: events.ServerEvent) -> None:
    """Has the server say something that the emulator does not say by itself."""
    for event in server_events:
        memory.protocols[-1].session._outbox.emit(event)
    await session.clear_audio()  # its answer takes them along


# --- T5: arguments --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"), [('{"count": "many"}', "count"), ('{"cou', "JSON"), ("[]", "object")]
)
async def test_arguments_that_do_not_fit_come_back_and_nothing_runs(
    arguments: str, told: str, autojump_clock: MockClock
) -> None:  # T5
    class Garbling(ServerSession):
        def call_function(self, response_id: str, name: str, _: str, now: float) -> bool:
            return super().call_function(response_id, name, arguments, now)

    async def add(count: int) -> None:
        raise AssertionError

    server = {"make_protocol": lambda: ServerProtocol(Garbling())}
    assert told in await error_of(Call("add"), tools=[add], server=server)


# --- T6: running ----------------------------------------------------------------------------


async def test_each_output_goes_back_when_its_call_is_done_and_one_reply_follows(
    autojump_clock: MockClock,
) -> None:  # T6
    async def wait(seconds: float) -> float:
        await trio.sleep(seconds)
        return trio.current_time()

    calls = [Call("wait", {"seconds": 10 - index}) for index in range(10)]
    async with session_with(calls, "Done.", tools=[wait]) as (session, _):
        async with session.subscribe(RawClientEvent) as sent:
            began = trio.current_time()
            await turn(session)
            texts = outputs(session)
            assert [round(float(text) - began) for text in texts] == list(range(1, 11))
            kinds = [type(sent.receive_nowait().event) for _ in range(len(sent))]
        kinds = [kind for kind in kinds if kind is not events.SessionUpdate]
        replies = [index for index, kind in enumerate(kinds) if kind is events.ResponseCreate]
        assert replies == [0, 11]
        assert len(session.generations) == 0


async def test_a_call_that_never_ends_is_cut_off_by_its_tools_or_the_sessions_timeout(
    autojump_clock: MockClock,
) -> None:  # T6
    began: list[float] = []

    async def hang() -> None:
        began.append(trio.current_time())
        await trio.sleep(math.inf)

    told = await error_of(Call("hang"), tools=[tool(hang, timeout_s=3)])
    assert told == "hang took longer than 3 seconds"
    assert trio.current_time() - began[0] < 4
    settings = ToolSettings(timeout_s=20)
    told = await error_of(Call("hang"), tools=[hang], tool_settings=settings)
    assert told == "hang took longer than 20 seconds"
    assert 20 <= trio.current_time() - began[1] < 21


def raised(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail


class Unwritable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("not like that"), "fail failed: ValueError: not like that"),
        (KeyError(), "fail failed: KeyError"),
        (ValueError("a" * 5000), "fail failed: ValueError: " + "a" * 1000),
        (
            ValueError("so:\nTraceback (most recent call last):\n  File x"),
            "fail failed: ValueError: so:",
        ),
        (ExceptionGroup("", [OSError("no disk")]), "fail failed: OSError: no disk"),
        (Unwritable(), "fail failed: Unwritable"),
        (OSError("file \udc80"), "fail failed: OSError: file ?"),
        (trio.TooSlowError(), "fail failed: TooSlowError"),
        (sansio_rt.StreamOverflow("x", limit_bytes=1), "fail failed: StreamOverflow: x"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_exceptions_come_back_without_where_they_happened(
    error: BaseException, told: str, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:  # T6
    assert await error_of(Call("fail"), tools=[raised(error)]) == told


async def test_exceptions_can_be_kept_from_the_model(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:  # T6, M3
    settings = ToolSettings(tell_exceptions=False)
    secret = raised(OSError("401 for https://host/?key=k-123"))
    told = await error_of(Call("fail"), tools=[secret], tool_settings=settings)
    assert told == "fail failed: OSError"
    assert "k-123" in caplog.text  # the developer's own log has it


@pytest.mark.parametrize(
    ("result", "output"),
    [
        (None, ""),
        ("as it is", "as it is"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        ("x" * 999_999 + "é", "x" * 999_999 + "é"),
        ("half \udc80", "half ?"),
        (object(), '{"error":"give gave a object, which cannot be told"}'),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_results_of_any_kind(result: Any, output: str, autojump_clock: MockClock) -> None:
    async def give() -> Any:  # T6
        return result

    give_tool = Tool.from_schema("give", "", {"type": "object"}, give)
    async with session_with(Call("give"), "Thanks.", tools=[give_tool]) as (session, _):
        await turn(session)
        assert outputs(session) == [output]


async def test_an_output_above_the_limit_is_cut_and_says_so(autojump_clock: MockClock) -> None:
    async def much() -> str:  # T6
        return "x" * 2_500

    for limit, output in (
        (
            1_000,
            "x" * 1000
            + "\n[cut here: the output has 2,500 characters, these were the first 1,000]",
        ),
        (2_500, "x" * 2_500),
        (None, "x" * 2_500),
    ):
        settings = ToolSettings(max_output_characters=limit)
        async with session_with(Call("much"), "Oh.", tools=[much], tool_settings=settings) as (
            session,
            _,
        ):
            await turn(session)
            assert outputs(session) == [output]


async def test_a_function_that_returns_an_awaitable_is_awaited(autojump_clock: MockClock) -> None:
    async def later(name: str) -> str:
        await trio.sleep(1)
        return f"Hello {name}"

    def greet(name: str) -> Any:  # T6
        return later(name)

    async with session_with(
        Call("greet", {"name": "you"}), "Hi.", tools=[tool(greet, in_thread=False)]
    ) as (session, _):
        await turn(session)
        assert outputs(session) == ["Hello you"]


@pytest.mark.parametrize("change", [{"timeout_s": 0}, {"approval_timeout_s": math.nan}])
@pytest.mark.parametrize("count", [{"max_threads": 0}, {"max_output_characters": 0}])
def test_settings_that_cannot_work_are_refused(
    change: dict[str, Any], count: dict[str, Any]
) -> None:
    for wrong in (change, count):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            ToolSettings(**wrong)


# --- T7: interruption -----------------------------------------------------------------------


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


def numbered_servers() -> dict[str, Any]:
    """Servers whose ids differ from one connection to the next, as those of a service do."""
    numbers = itertools.count()

    def make() -> ServerProtocol:
        return ServerProtocol(ServerSession(pace=1.0, ids=SequentialIds(f"{next(numbers)}_")))

    return {"make_protocol": make}


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


async def test_a_lost_connection_withdraws_what_mcp_servers_asked(
    autojump_clock: MockClock,
) -> None:
    server = numbered_servers()
    async with session_with("Hello.", server=server) as (session, memory):  # T8
        await ask_in_the_conversation(session, memory, mcp_request())
        request = await session.approvals.receive()
        await memory.streams[0].aclose()
        await until(lambda: not request.pending)
        assert request.state is ApprovalState.WITHDRAWN
        assert not request.approve()
        await trio.sleep(100)
        assert mcp_answers(session) == []


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


@asynccontextmanager
async def toolbox_alone(
    *tools: Tool,
) -> AsyncGenerator[tuple[Toolbox, sansio_rt.Generation, list[tuple[str, str, bool]]]]:
    """A toolbox without a session, to which events can come in one piece; and what it answered."""
    answers: list[tuple[str, str, bool]] = []

    async def answer(call_id: str, output: str, reply: bool) -> None:
        await trio.lowlevel.checkpoint()
        answers.append((call_id, output, reply))

    async def answer_mcp(_: object) -> None:
        raise AssertionError

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            approvals = Approvals(nursery, answer_mcp, timeout_s=5)
            toolbox = Toolbox(answer, nursery, approvals, ToolSettings())
            toolbox.declare(tools)
            generation = sansio_rt.Generation(
                "resp_1",
                origin=GenerationOrigin.CALLER,
                in_conversation=True,
                metadata={},
                created_at=0.0,
                requested_at=0.0,
                audio_rate=24_000,
            )
            toolbox.handlers[GenerationStarted](GenerationStarted(generation))
            yield toolbox, generation, answers


def call_of(generation: sansio_rt.Generation, name: str, call_id: str) -> CallReady:
    call = GeneratedCall(f"item of {call_id}", generation, name, call_id)
    call.arguments = "{}"
    return CallReady(call)


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


# --- T8: approval ---------------------------------------------------------------------------


class Till:
    """A tool that needs a yes."""

    def __init__(self, **settings: Any) -> None:
        self.paid: list[int] = []
        self.tool = tool(self.pay, needs_approval=True, **settings)

    async def pay(self, amounts: list[int]) -> str:
        """Pays.

        Args:
            amounts: In euro.
        """
        self.paid += amounts
        return "paid"


PAY = Call("pay", {"amounts": [5, 7]})


async def test_a_tool_runs_after_a_yes(autojump_clock: MockClock) -> None:  # T8
    till = Till(timeout_s=1)
    async with session_with(PAY, "Paid.", tools=[till.tool]) as (session, _):
        await session.generate_reply()
        request = await session.approvals.receive()
        assert (request.name, request.arguments) == ("pay", {"amounts": [5, 7]})
        assert request.call_id
        assert request.mcp_request_id is request.server_label is None
        assert request.pending
        request.arguments["amounts"].append(1000)
        await trio.sleep(30)  # the tool's own time has not begun
        assert till.paid == []
        assert request.approve()
        assert not request.approve()
        assert not request.deny("second thoughts")
        assert request.state is ApprovalState.APPROVED
        follow_up = await session.generations.receive()
        await follow_up.wait()
        assert till.paid == [5, 7]
        assert outputs(session) == ["paid"]


@pytest.mark.parametrize(
    ("reason", "told"), [("", "it was not approved"), ("too much", "too much")]
)
async def test_a_tool_does_not_run_after_a_no(
    reason: str, told: str, autojump_clock: MockClock
) -> None:  # T8
    till = Till()
    async with session_with(PAY, "Sorry.", tools=[till.tool]) as (session, _):
        await session.generate_reply()
        request = await session.approvals.receive()
        assert request.deny(reason)
        follow_up = await session.generations.receive()
        assert (await follow_up.wait()).text == "Sorry."
        assert outputs(session) == [f'{{"error":"pay was not run: {told}"}}']
        assert till.paid == []
        assert request.state is ApprovalState.DENIED


async def test_nobody_asked_is_a_no_after_a_while_and_the_session_goes_on_meanwhile(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:  # T8
    till = Till()
    settings = ToolSettings(approval_timeout_s=30)
    async with session_with(PAY, "Well.", "Sorry.", tools=[till.tool], tool_settings=settings) as (
        session,
        _,
    ):
        began = trio.current_time()
        await session.generate_reply()
        assert (await (await session.generate_reply()).wait()).text == "Well."
        assert trio.current_time() - began < 29
        follow_up = await session.generations.receive()
        assert 30 <= trio.current_time() - began < 31
        assert (await follow_up.wait()).text == "Sorry."
        assert till.paid == []
        assert outputs(session) == [
            '{"error":"pay was not run: nobody approved it within 30 seconds"}'
        ]
        assert "nobody approved it within 30 seconds (read session.approvals)" in caplog.text
        late = await session.approvals.receive()
        assert late.state is ApprovalState.TIMED_OUT
        assert not late.approve()
        await trio.sleep(1)
        assert till.paid == []


@pytest.mark.parametrize("policy", ["cancel", "finish"])
async def test_an_interruption_withdraws_the_question(
    policy: Any, autojump_clock: MockClock
) -> None:  # T7, T8
    till = Till(on_interrupt=policy)
    server = {"make_protocol": spoken_at_its_own_pace}
    async with session_with([PAY, LONG], "?", server=server, tools=[till.tool]) as (session, _):
        await session.generate_reply()
        request = await session.approvals.receive()
        await session.interrupt()
        assert request.state is ApprovalState.WITHDRAWN
        assert not request.approve()
        await trio.sleep(1)
        assert till.paid == []
        assert outputs(session) == [
            '{"error":"pay was cancelled: the reply that called it was interrupted"}'
        ]
        assert len(session.generations) == 0


async def test_what_was_approved_before_the_interruption_finishes(
    autojump_clock: MockClock,
) -> None:
    runs: list[str] = []

    @tool(on_interrupt="finish", needs_approval=True)
    async def pay() -> None:  # T7, T8
        runs.append("pay")

    async with toolbox_alone(pay) as (toolbox, generation, answers):
        toolbox.handlers[CallReady](call_of(generation, "pay", "call_1"))
        request = await toolbox._approvals.stream.receive()
        assert request.approve()
        generation.end(GenerationStatus.CANCELLED, 1.0)
        toolbox.handlers[GenerationEnded](GenerationEnded(generation))
        await trio.sleep(1)
        assert (runs, answers) == (["pay"], [("call_1", "", False)])


async def test_leaving_withdraws_the_question_and_ends_the_stream(
    autojump_clock: MockClock,
) -> None:
    async with session_with(PAY, tools=[Till().tool]) as (session, _):  # T8, T9
        await session.generate_reply()
        request = await session.approvals.receive()
    assert request.state is ApprovalState.WITHDRAWN
    with pytest.raises(trio.EndOfChannel), trio.fail_after(5):
        await session.approvals.receive()


async def test_more_questions_than_can_wait_are_denied(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:  # T8
    calls = [PAY] * 70
    till = Till()
    async with session_with(calls, "Some.", tools=[till.tool]) as (session, _):
        await session.generate_reply()
        await until(lambda: len(outputs(session)) == 6)
        assert "nobody reads session.approvals" in caplog.text
        requests = [session.approvals.receive_nowait() for _ in range(len(session.approvals))]
        assert len(requests) == 64
        assert all(request.approve() for request in requests)
        follow_up = await session.generations.receive()
        await follow_up.wait()
        assert len(till.paid) == 2 * 64
        assert unanswered(session) == 0


def mcp_request(request_id: str = "mcpr_1", arguments: str = '{"path":"/"}') -> Any:
    return events.McpApprovalRequest(
        id=request_id, server_label="files", name="remove", arguments=arguments
    )


def mcp_answers(session: Session) -> list[events.McpApprovalResponse]:
    items = (entry.item for entry in session.conversation)
    return [item for item in items if isinstance(item, events.McpApprovalResponse)]


async def ask_in_the_conversation(session: Session, memory: MemoryServer, item: Any) -> None:
    await say(
        session,
        memory,
        events.ConversationItemAdded(previous_item_id=None, item=item),
        events.ConversationItemDone(previous_item_id=None, item=item),
    )


@pytest.mark.parametrize("decision", ["yes", "no", "nothing"])
async def test_requests_of_mcp_servers_surface_the_same_way(
    decision: str, autojump_clock: MockClock
) -> None:  # T8
    async with session_with("Hello.") as (session, memory):
        await ask_in_the_conversation(session, memory, mcp_request())
        request = await session.approvals.receive()
        assert (request.name, request.arguments) == ("remove", {"path": "/"})
        assert (request.mcp_request_id, request.server_label) == ("mcpr_1", "files")
        assert request.call_id is None
        if decision == "yes":
            request.approve()
        elif decision == "no":
            request.deny("never")
        await until(lambda: mcp_answers(session))
        (answer,) = mcp_answers(session)
        assert answer.approval_request_id == "mcpr_1"
        assert answer.approve is (decision == "yes")
        if decision == "no":
            assert answer.reason == "never"
        if decision == "nothing":
            assert request.state is ApprovalState.TIMED_OUT
            assert answer.reason == "nobody approved it within 60 seconds"
        assert len(session.generations) == 0


async def test_an_mcp_request_that_is_told_again_and_again_is_asked_once(
    autojump_clock: MockClock,
) -> None:  # T8
    item = mcp_request()
    response = events.Response(id="resp_x", status="in_progress", conversation_id="conv_1")
    done = events.Response(id="resp_x", status="completed", conversation_id="conv_1")
    in_response = (
        events.ResponseCreated(response=response),
        events.ResponseOutputItemAdded(response_id="resp_x", output_index=0, item=item),
        events.ResponseOutputItemDone(response_id="resp_x", output_index=0, item=item),
        events.ResponseDone(response=done),
    )
    async with session_with("Hello.") as (session, memory):
        await say(session, memory, *in_response)  # a server that tells of it in the response only
        request = await session.approvals.receive()
        await ask_in_the_conversation(session, memory, item)
        request.approve()
        await ask_in_the_conversation(session, memory, item)
        await trio.sleep(100)
        assert [answer.approve for answer in mcp_answers(session)] == [True]
        assert len(session.approvals) == 0
        assert session._toolbox._approvals._mcp == []


async def test_mcp_arguments_that_nobody_can_read_are_denied(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:  # T8
    async with session_with("Hello.") as (session, memory):
        for index, arguments in enumerate(("[1]", "{", '"' + "[" * 100_000)):
            await ask_in_the_conversation(session, memory, mcp_request(f"mcpr_{index}", arguments))
        await until(lambda: len(mcp_answers(session)) == 3)
        assert not any(answer.approve for answer in mcp_answers(session))
        assert len(session.approvals) == 0
        assert "no JSON object" in caplog.text


async def test_a_decision_that_the_service_does_not_take_is_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:  # T8
    class Refusing(ServerSession):
        def _on_item_create(self, event: Any, now: float) -> None:
            raise Refusal("There is no such request.", code="invalid_value")

    server = {"make_protocol": lambda: ServerProtocol(Refusing())}
    async with session_with("Hello.", server=server) as (session, memory):
        await ask_in_the_conversation(session, memory, mcp_request())
        (await session.approvals.receive()).approve()
        await trio.sleep(1)
        assert "the decision on remove (mcpr_1) was not taken" in caplog.text
        assert (await (await session.generate_reply()).wait()).text == "Hello."


# --- T9: one output -------------------------------------------------------------------------


async def test_an_output_for_an_unknown_call_is_refused_here(autojump_clock: MockClock) -> None:
    async with session_with("Hello.") as (session, memory):  # T9
        with pytest.raises(LocalProtocolError, match="no open function call"):
            await session.send_tool_output("call_nobody_made", "x")
        assert memory.protocols[0].session.items == []


async def test_the_application_may_be_faster_than_the_tool(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:  # T9
    async def slow() -> str:
        await trio.sleep(5)
        return "slow"

    async with session_with(Call("slow"), "Well.", tools=[slow]) as (session, _):
        generation = await session.generate_reply()
        call = await generation.function_calls.receive()
        await call.answer("fast")
        await trio.sleep(10)
        assert outputs(session) == ["fast"]
        assert "the output of slow" in caplog.text


async def test_a_refused_output_costs_only_itself(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:  # T9
    async def now() -> str:
        await trio.sleep(1)
        return "noon"

    async with session_with(Call("now"), "Next.", tools=[now]) as (session, _):
        generation = await session.generate_reply()
        call = await generation.function_calls.receive()
        item = next(e for e in session.conversation if isinstance(e.item, events.FunctionCall))
        assert item.item.call_id == call.call_id
        await session.delete_item(item.id)
        await trio.sleep(5)
        assert "was not taken: the service refused" in caplog.text
        assert (await (await session.generate_reply()).wait()).status is GenerationStatus.COMPLETED


async def test_a_tool_of_a_reply_beside_the_conversation_runs_and_its_output_goes_nowhere(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:  # T9: the conversation has no such call
    noted: list[str] = []

    async def note(text: str) -> str:
        noted.append(text)
        return "noted"

    calls = [Call("note", {"text": "angry"}), Call("unheard_of")]
    async with session_with(calls, "?", tools=[note]) as (session, memory):
        generation = await session.generate_reply(conversation="none")
        await generation.wait()
        await trio.sleep(10)
        assert noted == ["angry"]
        assert "not taken" not in caplog.text  # nothing was sent that the service would refuse
        assert memory.protocols[0].session.items == []
        assert len(session.generations) == 0


# --- T10: threads ---------------------------------------------------------------------------


@asynccontextmanager
async def real_time_session(
    *replies: Any, **options: Any
) -> AsyncGenerator[tuple[Session, MemoryServer]]:
    server = {"make_protocol": lambda: ServerProtocol(ServerSession(pace=None))}
    with trio.fail_after(10):
        async with session_with(*replies, server=server, **options) as both:
            yield both


async def test_a_blocking_function_does_not_block_the_loop() -> None:  # T10
    release = threading.Event()
    threads: list[int] = []

    def block() -> str:
        threads.append(threading.get_ident())
        release.wait(5)
        return "released"

    async with real_time_session(Call("block"), "Done.", tools=[block]) as (session, _):
        await session.generate_reply(**TEXT)
        await until(lambda: threads)
        await session.send_message("Still there?")
        assert outputs(session) == []
        release.set()
        follow_up = await session.generations.receive()
        await follow_up.wait()
        assert outputs(session) == ["released"]
        assert threads != [threading.get_ident()]


async def test_as_many_threads_at_once_as_the_session_may_have() -> None:  # T10
    lock, running, most = threading.Lock(), 0, 0
    all_in = threading.Barrier(3)

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with contextlib.suppress(threading.BrokenBarrierError):
            all_in.wait(0.3)
        with lock:
            running -= 1

    settings = ToolSettings(max_threads=2)
    async with real_time_session(
        [Call("work")] * 4, "Done.", tools=[work], tool_settings=settings
    ) as (session, _):
        await turn(session)
        assert most == 2
        assert outputs(session) == [""] * 4


async def test_a_thread_that_takes_too_long_is_left_alone_and_keeps_its_place() -> None:  # T10
    release = threading.Event()
    ended: list[str] = []

    def block() -> str:
        release.wait(5)
        ended.append("block")
        return "too late"

    settings = ToolSettings(max_threads=1, timeout_s=0.2)
    async with real_time_session(
        [Call("block")] * 2, "Sorry.", tools=[block], tool_settings=settings
    ) as (session, _):
        await turn(session)
        assert outputs(session) == ['{"error":"block took longer than 0.2 seconds"}'] * 2
        release.set()
        await until(lambda: ended)
        await trio.sleep(0.05)
        assert ended == ["block"]  # the second one never got a thread
        assert unanswered(session) == 0


async def test_an_interrupted_thread_is_left_alone() -> None:  # T7, T10
    release = threading.Event()
    began = threading.Event()

    def block() -> str:
        began.set()
        release.wait(5)
        return "too late"

    async with session_with(
        [Call("block"), LONG],
        server={"make_protocol": spoken_at_its_own_pace},
        tools=[block],
    ) as (session, _):
        await session.generate_reply()
        await until(began.is_set)
        await session.interrupt()
        await until(lambda: outputs(session))
        release.set()
        await trio.sleep(0.05)
        assert outputs(session) == [
            '{"error":"block was cancelled: the reply that called it was interrupted"}'
        ]


async def test_a_quick_function_can_stay_on_the_loop(autojump_clock: MockClock) -> None:  # T10
    threads: list[int] = []

    @tool(in_thread=False)
    def quick() -> None:
        threads.append(threading.get_ident())

    async with session_with(Call("quick"), "Done.", tools=[quick]) as (session, _):
        await turn(session)
        assert threads == [threading.get_ident()]


# --- which function a name means ------------------------------------------------------------


async def old() -> str:
    """The old one."""
    return "old"


async def new() -> str:
    """The new one."""
    return "new"


async def test_tools_change_while_calls_run(autojump_clock: MockClock) -> None:
    async def slow() -> str:
        await trio.sleep(10)
        return "slow"

    replies = [Call("slow"), "Slow.", Call("new"), "New.", Call("slow"), "Gone."]
    async with session_with(*replies, tools=[slow]) as (session, _):
        await session.generate_reply(**TEXT)
        await session.update(tools=[new])
        follow_up = await session.generations.receive()
        assert (await follow_up.wait()).text == "Slow."
        await turn(session)
        await turn(session)
        assert outputs(session) == [
            "slow",
            "new",
            '{"error":"there is no tool called \'slow\'; the tools are: new"}',
        ]


async def test_a_reply_keeps_the_tools_that_it_began_with(autojump_clock: MockClock) -> None:
    server = {"make_protocol": spoken_at_its_own_pace}
    async with session_with([LONG, Call("old")], "Done.", server=server, tools=[old]) as (
        session,
        _,
    ):
        generation = await session.generate_reply()
        await session.update(tools=[new])
        await generation.wait()
        await (await session.generations.receive()).wait()
        assert outputs(session) == ["old"]


async def test_a_refused_update_changes_no_tools(autojump_clock: MockClock) -> None:
    async with session_with("Hello.", Call("old"), "Done.", tools=[old]) as (session, _):
        await (await session.generate_reply()).wait()
        with pytest.raises(sansio_rt.CommandRefused, match="voice"):
            await session.update(tools=[new], voice="cedar")
        await turn(session)
        assert outputs(session) == ["old"]


async def test_new_tools_hold_from_the_acknowledgement_on_whoever_runs_first(
    autojump_clock: MockClock,
) -> None:
    # The acknowledgement, a response and its call in one read: the caller of `update` runs after.
    call = events.FunctionCall(id="item_x", call_id="call_x", name="new", arguments="{}")
    response = events.Response(id="resp_x", status="in_progress", conversation_id="conv_1")

    class Hasty(ServerSession):
        def _on_session_update(self, event: Any, now: float) -> None:
            super()._on_session_update(event, now)
            if event.session.instructions == "now":
                for one in (
                    events.ResponseCreated(response=response),
                    events.ResponseOutputItemAdded(response_id="resp_x", output_index=0, item=call),
                    events.ResponseOutputItemDone(response_id="resp_x", output_index=0, item=call),
                ):
                    self._outbox.emit(one)

    ran: list[str] = []

    async def new() -> None:
        ran.append("new")

    server = {"make_protocol": lambda: ServerProtocol(Hasty())}
    async with session_with("Hello.", server=server, tools=[old]) as (session, _):
        await session.update(tools=[new], instructions="now")
        await trio.sleep(1)
        assert ran == ["new"]


async def test_tools_of_one_reply_are_for_its_calls_only(autojump_clock: MockClock) -> None:
    replies = [[Call("new"), Call("old")], "Done.", Call("new"), "Done."]
    async with session_with(*replies, tools=[old]) as (session, _):
        await session.generate_reply(tools=[new])
        await (await session.generations.receive()).wait()
        assert set(outputs(session)) == {
            "new",
            '{"error":"there is no tool called \'old\'; the tools are: new"}',
        }
        await turn(session)
        assert outputs(session)[2:] == [
            '{"error":"there is no tool called \'new\'; the tools are: old"}'
        ]
        assert session._toolbox._of_generation == session._toolbox._asked == {}


async def test_a_busy_reply_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    server = {"make_protocol": spoken_at_its_own_pace}
    async with session_with(LONG, server=server) as (session, _):
        await session.generate_reply()
        with pytest.raises(sansio_rt.GenerationFailed):
            await session.generate_reply(tools=[new], wait_if_busy=False)
        with pytest.raises(sansio_rt.ToolDefinitionError):
            await session.generate_reply(tools=[lambda x: x])
        assert session._toolbox._asked == {}


async def test_a_name_that_nobody_declared_comes_back_with_those_that_there_are(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    raw = events.FunctionTool(name="ask_me", parameters={"type": "object", "properties": {}})
    told = await error_of(Call("made_up"), tools=[old, raw])
    assert told == "there is no tool called 'made_up'; the tools are: ask_me, old"
    assert "'made_up', which nobody declared" in caplog.text
    assert await error_of(Call("x" * 200), tools=[]) == (
        f"there is no tool called '{'x' * 64}'; the tools are: none"
    )


async def test_raw_functions_are_the_applications_wherever_they_were_declared(
    autojump_clock: MockClock,
) -> None:
    raw = events.FunctionTool(name="ask_me", parameters={"type": "object", "properties": {}})

    class Prompted(ServerSession):
        """Has a function of its own, as from a stored prompt."""

        def _on_session_update(self, event: Any, now: float) -> None:
            super()._on_session_update(event, now)
            tools = event.session.tools if isinstance(event.session.tools, list) else []
            echo = msgspec.structs.replace(self.session, tools=[*tools, raw])
            self._outbox.take_messages()
            self._outbox.emit(events.SessionUpdated(session=echo))

    async def answered(session: Session, generation: Any) -> None:
        call = await generation.function_calls.receive()
        await trio.sleep(5)
        await call.answer("the application")
        await (await session.generations.receive()).wait()
        assert outputs(session) == ["the application"]

    for tools, server in (
        ([raw, old], {}),
        ([old], {"make_protocol": lambda: ServerProtocol(Prompted())}),
    ):
        async with session_with(Call("ask_me"), "Thanks.", tools=tools, server=server) as (
            session,
            _,
        ):
            await answered(session, await session.generate_reply())
    async with session_with(Call("ask_me"), "Thanks.", tools=[old]) as (session, _):
        await answered(session, await session.generate_reply(tools=[raw]))
    async with session_with(Call("ask_me"), "Thanks.", tools=[old]) as (session, _):
        await session.send_message("Hi")
        await session.send(events.ResponseCreate(response=events.ResponseParams(tools=[raw])))
        await answered(session, await session.generations.receive())


def test_a_request_says_what_it_is() -> None:
    assert repr(ApprovalRequest("pay", {})) == "<ApprovalRequest pay pending>"
