"""Tools as tasks, against a server in memory: arguments, running, one output (T5, T6, T9)."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from tool_sessions import error_of, outputs, session_with, turn
from trio.testing import MockClock

import sansio_rt
from sansio_rt import (
    ConfigurationError,
    GenerationStatus,
    LocalProtocolError,
    RawClientEvent,
    ServerProtocol,
    Tool,
    events,
    tool,
)
from sansio_rt._server_session import ServerSession
from trio_rt import ToolSettings
from trio_rt.emulator import Call

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
