"""Which function a name means: of the session, of a reply, before and after an update."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
from tool_sessions import LONG, TEXT, error_of, outputs, session_with, spoken_at_its_own_pace, turn
from trio.testing import MockClock

import sansio_rt
from sansio_rt import ServerProtocol, events
from sansio_rt._server_session import ServerSession
from trio_rt import ApprovalRequest, Session
from trio_rt.emulator import Call


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
