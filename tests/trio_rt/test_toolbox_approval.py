"""Tools that a human has to approve, here and on MCP servers: parity row T8."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from tool_sessions import (
    LONG,
    call_of,
    numbered_servers,
    outputs,
    say,
    session_with,
    spoken_at_its_own_pace,
    toolbox_alone,
    unanswered,
    until,
)
from trio.testing import MockClock

from sansio_rt import CallReady, GenerationEnded, GenerationStatus, ServerProtocol, events, tool
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import Refusal
from trio_rt import ApprovalState, Session, ToolSettings
from trio_rt.emulator import Call
from trio_rt.testing import MemoryServer


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
