"""Replies that are asked for, given up, interrupted, and asked for again (G1, G7, G12, T6)."""

from __future__ import annotations

import pytest
from pair import Pair, look, of, only
from server_says import created, done, finished, item, message

from sansio_rt import (
    CallReady,
    ConnectionLost,
    GenerationEnded,
    GenerationFailed,
    GenerationOrigin,
    GenerationStarted,
    GenerationStatus,
    LocalProtocolError,
    Outcome,
    RawClientEvent,
    RetryPolicy,
    Timing,
    events,
    tool,
)
from sansio_rt._server_work import ReplyWanted


def test_a_reply_that_waits_may_be_given_up_without_a_word() -> None:  # G1
    pair = Pair().connect()
    pair.client.generate_reply()
    waiting = pair.client.generate_reply()
    pair.client.abandon(waiting)
    assert waiting.outcome is Outcome.REFUSED
    with pytest.raises(GenerationFailed, match="gave up"):
        waiting.result()
    pair.run()
    pair.speak()
    assert not of(ReplyWanted, pair.work)
    pair.client.abandon(waiting)  # twice is fine
    assert pair.client.data_to_send() == b""


def test_only_replies_can_be_given_up() -> None:
    pair = Pair().connect()
    command = pair.client.send_message("x")
    with pytest.raises(LocalProtocolError, match="only a reply"):
        pair.client.abandon(command)
    pair.run()
    assert command.outcome is Outcome.ACKNOWLEDGED


def test_giving_up_a_reply_that_has_ended_changes_nothing() -> None:
    pair = Pair().connect()
    command = pair.client.generate_reply()
    pair.run()
    pair.speak()
    pair.client.abandon(command)
    assert pair.client.data_to_send() == b""


def test_an_interruption_takes_what_has_not_begun_with_it() -> None:  # G7, G12
    pair = Pair().connect()
    asked = pair.client.generate_reply()
    waiting = pair.client.generate_reply()
    beside = pair.client.generate_reply(conversation="none")
    interrupt = pair.client.interrupt()  # nothing runs yet, and something is about to
    assert interrupt is not None
    pair.run()
    assert interrupt.result() is None
    assert waiting.outcome is Outcome.REFUSED
    assert asked.outcome is Outcome.REFUSED
    assert beside.outcome is Outcome.ACKNOWLEDGED
    assert not [g for g in of(GenerationStarted, pair.events) if g.generation.in_conversation]
    assert [command.kind for command in pair.client.commands] == []


def test_a_response_beside_the_conversation_is_interrupted_by_its_id() -> None:  # G15
    pair = Pair().connect()
    pair.client.generate_reply(conversation="none")
    pair.run()
    (generation,) = pair.client.generations
    assert pair.client.interrupt() is None
    cancel = pair.client.interrupt(generation.id)
    assert cancel is not None
    pair.run()
    assert cancel.result() is generation
    assert generation.status is GenerationStatus.CANCELLED
    assert pair.client.interrupt(generation.id) is None


def test_a_response_that_the_service_does_not_know_any_more_ends() -> None:  # G15
    pair = Pair().connect()
    pair.inject(created())
    cancel = pair.client.interrupt()
    assert cancel is not None
    pair.run()
    ended = only(GenerationEnded, pair.events).generation
    assert (ended.status, ended.reason) == (GenerationStatus.CANCELLED, "not_active")
    assert cancel.outcome is Outcome.ACKNOWLEDGED


def test_a_reply_that_met_nobody_is_asked_again_soon() -> None:  # G12
    pair = Pair().connect()
    pair.client.raw_events = True
    command = pair.client.generate_reply()
    pair.client.data_to_send()
    error = {"type": "x", "message": "busy", "event_id": command.event_id}
    pair.inject(
        message("error", error=error | {"code": "conversation_already_has_active_response"})
    )
    assert command.outcome is None
    deadline = pair.client.next_deadline()
    assert deadline is not None
    assert deadline - pair.now < 1
    pair.pass_time(deadline - pair.now)
    assert command.outcome is Outcome.ACKNOWLEDGED
    sent = [e.event for e in of(RawClientEvent, pair.events)]
    assert [event.event_id for event in sent] == [command.event_id] * 2  # type: ignore[union-attr]


def test_a_second_error_for_the_same_collision_changes_nothing() -> None:
    pair = Pair().connect()
    command = pair.client.generate_reply()
    pair.client.data_to_send()
    error = {
        "type": "x",
        "message": "busy",
        "code": "conversation_already_has_active_response",
        "event_id": command.event_id,
    }
    pair.inject(created("other"), message("error", error=error), message("error", error=error))
    assert command.outcome is None
    pair.inject(done("other"))
    assert command.outcome is Outcome.ACKNOWLEDGED


def test_tool_outputs_need_no_reply() -> None:  # T6
    pair = Pair(client={"tools": [tool(look)]}).connect()
    pair.client.generate_reply()
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    session.call_function(response_id, "look", "{}", pair.now)
    session.finish(response_id, pair.now)
    call = only(CallReady, pair.run()).call
    output = pair.client.send_tool_output(call.call_id, "seen", reply=False)
    pair.run()
    assert output.result().text == "seen"
    assert len(of(GenerationStarted, pair.events)) == 1


def test_a_cancelled_response_has_no_follow_up() -> None:  # T7
    pair = Pair(client={"tools": [tool(look)]}).connect()
    pair.client.generate_reply()
    pair.run()
    response_id = pair.wanted_reply().response_id
    pair.server.session.call_function(response_id, "look", "{}", pair.now)
    call = only(CallReady, pair.run()).call
    pair.client.interrupt()
    pair.run()
    pair.client.send_tool_output(call.call_id, "seen")
    pair.run()
    assert len(of(GenerationStarted, pair.events)) == 1


def test_a_timed_out_reply_leaves_the_next_one_its_turn() -> None:
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    lost = pair.client.generate_reply()
    pair.client.data_to_send()
    following = pair.client.generate_reply()
    pair.pass_time(2)
    assert lost.outcome is Outcome.DEADLINE
    assert following.outcome is Outcome.ACKNOWLEDGED


def test_of_too_many_calls_that_nobody_answers_the_oldest_is_forgotten() -> None:  # T9
    pair = Pair().connect()
    call = item("function_call", arguments="{}", status="completed")
    pair.inject(
        created(),
        *(
            finished(item=call | {"id": f"i{number}", "call_id": f"c{number}"})
            for number in range(5_000)
        ),
    )
    calls = pair.client._requests.calls
    assert "c0" not in calls
    assert "c4999" in calls
    assert len(calls) < 5_000


@pytest.mark.parametrize("how", ["lost", "lost twice", "expired"])
def test_the_reply_to_tool_outputs_is_owed_until_it_was_asked_for(how: str) -> None:  # T6, R4
    pair = Pair(client={"tools": [tool(look)], "retry": RetryPolicy()}).connect()
    pair.client.generate_reply()
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    session.call_function(response_id, "look", "{}", pair.now)
    session.finish(response_id, pair.now)
    call = only(CallReady, pair.run()).call
    pair.client.send_tool_output(call.call_id, "seen")
    pair.client.data_to_send()
    if how == "expired":
        error = {"type": "x", "code": "session_expired", "message": "old"}
        pair.server._wire.send_text(message("error", error=error))
        pair.client.receive_data(pair.server.data_to_send(), pair.now)
    pair.now = only(ConnectionLost, pair.cut()).reconnect_at
    if how == "lost twice":  # before anything could be asked for
        pair.client.connect(pair.now)
        pair.now = only(ConnectionLost, pair.cut()).reconnect_at
    found = pair.reconnect()
    follow_up = only(GenerationStarted, found).generation
    assert follow_up.origin is GenerationOrigin.TOOL_OUTPUTS
    outputs = [i for i in pair.server.session.items if isinstance(i, events.FunctionCallOutput)]
    assert [output.output for output in outputs] == ["seen"]
