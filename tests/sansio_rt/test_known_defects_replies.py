"""What other clients get wrong about replies and tools: each test is named for it.

The rows are those of the parity table (`# G2`), the rules those of the notes on the service's behaviour
(`# rule 4`).
"""

from __future__ import annotations

import pytest
from pair import ENDPOINT, MANUAL, Pair, look, of, only
from server_says import created, done, message, refusal, words

from sansio_rt import (
    AudioDelta,
    CallReady,
    ClientProtocol,
    CommandRefused,
    CommandTimeout,
    ConfigurationError,
    ErrorScope,
    GenerationEnded,
    GenerationOrigin,
    GenerationStarted,
    GenerationStatus,
    Limits,
    LocalProtocolError,
    MessageEnded,
    Outcome,
    ServerErrorReported,
    SessionConfig,
    StrayEvent,
    TextDelta,
    Timing,
    ToolDefinitionError,
    events,
    tool,
)
from sansio_rt._server_work import ReplyCancelled, ReplyWanted

# --- generations -----------------------------------------------------------------------------


def test_a_generation_is_announced_once_however_often_the_server_says_it() -> None:  # G2
    pair = Pair().connect()
    pair.inject(created("r1"), created("r1"), words("r1", "i1", "a"), created("r1"))
    pair.inject(done("r1"), done("r1"), created("r1"), words("r1", "i1", "late"))
    assert only(GenerationStarted, pair.events).generation.id == "r1"
    assert only(GenerationEnded, pair.events).generation.text == "a"
    assert [event.text for event in of(TextDelta, pair.events)] == ["a"]
    assert len(of(StrayEvent, pair.events)) == 5


def test_an_answer_without_a_beginning_answers_the_call_that_asked() -> None:  # G6, rule 5
    pair = Pair().connect()
    command = pair.client.generate_reply()
    pair.client.data_to_send()
    metadata = {"client_event_id": command.event_id}
    pair.inject(done("r1", "failed", metadata=metadata, conversation_id="conv"))
    assert command.outcome is Outcome.ACKNOWLEDGED
    assert command.result().status is GenerationStatus.FAILED
    assert len(of(GenerationStarted, pair.events)) == len(of(GenerationEnded, pair.events)) == 1
    pair.client.generate_reply()
    assert only(GenerationStarted, pair.run())  # nothing is taken for active


def test_a_second_reply_never_collides_with_the_first() -> None:  # G12
    pair = Pair().connect()
    commands = [pair.client.generate_reply() for _ in range(5)]
    pair.run()
    for index in range(5):
        assert [command.outcome for command in commands].count(None) == 4 - index
        pair.speak()
    assert not of(ServerErrorReported, pair.events)
    assert all(command.outcome is Outcome.ACKNOWLEDGED for command in commands)


def test_a_reply_after_an_interruption_waits_for_the_end_of_the_first() -> None:  # G12
    pair = Pair().connect()
    pair.client.raw_events = True
    pair.client.generate_reply()
    pair.run()
    pair.client.interrupt()
    second = pair.client.generate_reply()
    assert len(pair.sent(events.ResponseCreate)) == 1  # the cancel is on the way
    pair.run()
    assert second.outcome is Outcome.ACKNOWLEDGED
    assert not of(ServerErrorReported, pair.events)


def test_an_impatient_reply_that_meets_a_response_nobody_saw_is_refused() -> None:  # G12
    pair = Pair().connect()
    command = pair.client.generate_reply(wait_if_busy=False)
    pair.client.data_to_send()
    pair.inject(refusal("conversation_already_has_active_response", command.event_id))
    with pytest.raises(CommandRefused, match="conversation_already_has_active_response"):
        command.result()


def test_a_collision_that_names_no_event_is_that_of_the_reply_in_the_conversation() -> None:
    # G12, rule 4: the reply beside the conversation cannot collide.
    pair = Pair().connect()
    pair.client.raw_events = True
    aside = pair.client.generate_reply(conversation="none")
    main = pair.client.generate_reply()
    pair.lose()
    pair.run()
    pair.inject(
        created("r_other"),
        refusal("conversation_already_has_active_response", None),
        created("r1", metadata={"client_event_id": aside.event_id}, conversation_id=None),
        done("r_other"),
    )
    assert aside.result().id == "r1"
    assert main.outcome is None
    assert only(GenerationEnded, pair.events).generation.id == "r_other"
    asked = [event.event_id for event in pair.sent(events.ResponseCreate)]
    assert asked == [aside.event_id, main.event_id, main.event_id]


def test_a_reply_that_was_refused_for_anothers_collision_never_speaks() -> None:  # G1, G12
    # The server's own turn collided, and its error names nobody; ours is answered after all.
    pair = Pair().connect()
    command = pair.client.generate_reply(wait_if_busy=False)
    pair.client.data_to_send()
    pair.inject(
        created("r1"),
        refusal("conversation_already_has_active_response", None),
        done("r1"),
        created("r2", metadata={"client_event_id": command.event_id}),
        words("r2", "i2", "You should never hear this."),
        done("r2", "cancelled"),
    )
    assert command.outcome is Outcome.REFUSED
    assert only(GenerationStarted, pair.events).generation.id == "r1"
    assert not of(TextDelta, pair.events)


def test_a_patient_reply_is_asked_once_for_anothers_collision() -> None:  # G12
    pair = Pair().connect()
    pair.client.raw_events = True
    command = pair.client.generate_reply()
    pair.client.data_to_send()
    pair.inject(
        created("r1"),
        refusal("conversation_already_has_active_response", None),
        created("r2", metadata={"client_event_id": command.event_id}),
        done("r1"),
        done("r2"),
    )
    assert command.result().id == "r2"
    assert len(of(GenerationStarted, pair.events)) == 2
    assert len(pair.sent(events.ResponseCreate)) == 1


def test_a_collision_that_names_nobody_leaves_time_for_the_answer() -> None:  # G12
    # No other response is known: the service may have refused one of its own before ours begins.
    pair = Pair().connect()
    pair.client.raw_events = True
    command = pair.client.generate_reply()
    pair.client.data_to_send()
    pair.inject(refusal("conversation_already_has_active_response", None))
    pair.pass_time(0.9)
    pair.inject(created("r1", metadata={"client_event_id": command.event_id}), done("r1"))
    pair.pass_time(1)
    assert command.result().id == "r1"
    assert len(pair.sent(events.ResponseCreate)) == 1


def test_a_late_reply_does_not_speak_after_its_caller_gave_up() -> None:  # G1
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    impatient = pair.client.generate_reply()
    request = pair.client.data_to_send()
    pair.pass_time(3)
    with pytest.raises(CommandTimeout):
        impatient.result()
    pair.server.receive_data(request, pair.now)
    pair.run()
    pair.speak("You should never hear this.")
    heard = of(GenerationStarted, pair.events) + of(AudioDelta, pair.events)
    assert not heard
    assert only(ReplyCancelled, pair.work)


def test_a_reply_that_was_given_up_is_not_asked_again_after_a_collision() -> None:  # G1, G12
    pair = Pair().connect()
    event = events.ResponseCreate(response=events.ResponseParams())
    pair.server.session.receive_message(events.encode(event), pair.now)
    command = pair.client.generate_reply()
    pair.client.abandon(command)
    pair.run()
    pair.speak("The server's own.")
    assert command.outcome is Outcome.REFUSED
    assert not of(ReplyWanted, pair.work)
    assert not pair.client.commands


def test_no_reply_starts_on_a_configuration_that_was_refused() -> None:  # S7
    pair = Pair().connect()
    update = pair.client.update(instructions="New.", voice="nobody's voice")
    assert update is not None
    reply = pair.client.generate_reply()
    pair.lose()
    pair.run()
    assert reply.deadline is None  # it was not sent
    del pair.server.receive_data
    pair.inject(
        message(
            "error",
            error={
                "type": "invalid_request_error",
                "code": "invalid_value",
                "message": "no such voice",
                "param": "session.audio.output.voice",
                "event_id": update.event_id,
            },
        )
    )
    with pytest.raises(CommandRefused, match=r"session\.audio\.output\.voice"):
        update.result()
    assert pair.client.wanted.instructions == "Be brief."
    assert reply.outcome is Outcome.ACKNOWLEDGED
    assert only(ReplyWanted, pair.work).instructions == "Be brief."


def test_deltas_after_the_end_of_their_item_are_still_heard() -> None:  # G6, rule 5
    pair = Pair().connect()
    item = {"id": "i1", "type": "message", "role": "assistant", "content": []}
    over = message("response.output_item.done", response_id="r1", output_index=0, item=item)
    pair.inject(created("r1"), words("r1", "i1", "a"), over, words("r1", "i1", "b"), done("r1"))
    assert only(GenerationEnded, pair.events).generation.text == "ab"
    assert len(of(MessageEnded, pair.events)) == 1


def test_every_end_of_a_response_is_told_as_what_it_was() -> None:  # G5
    pair = Pair().connect()
    details = {"type": "incomplete", "reason": "max_output_tokens"}
    error = {"type": "server_error", "code": "overloaded", "message": "later"}
    pair.inject(created("r1"), done("r1", "incomplete", status_details=details))
    pair.inject(
        created("r2"), done("r2", "failed", status_details={"type": "failed", "error": error})
    )
    pair.inject(created("r3"))
    pair.client.receive_eof(pair.now)
    pair.events += iter(pair.client.next_event, None)
    first, second, third = (e.generation for e in of(GenerationEnded, pair.events))
    assert (first.status, first.reason) == (GenerationStatus.INCOMPLETE, "max_output_tokens")
    assert second.status is GenerationStatus.FAILED
    assert second.error is not None
    assert second.error.code == "overloaded"
    assert third.status is GenerationStatus.LOST


def test_cancelling_where_nothing_runs_is_success() -> None:  # G7, G15, rule 3
    pair = Pair().connect()
    assert pair.client.interrupt() is None
    assert pair.client.data_to_send() == b""
    pair.client.generate_reply()
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    session.fail(response_id, "it broke", pair.now)  # its end crosses our cancel
    cancel = pair.client.interrupt()
    assert cancel is not None
    pair.run()
    assert cancel.result().id == response_id
    assert all(e.scope is ErrorScope.BENIGN for e in of(ServerErrorReported, pair.events))


def test_more_responses_than_allowed_leave_the_others_alone() -> None:  # G4, G11
    pair = Pair(client={"limits": Limits(max_open_responses=3)}).connect()
    pair.inject(*(created(f"r{index}", conversation_id=None) for index in range(9)))
    assert len(of(GenerationStarted, pair.events)) == 3
    pair.inject(*(done(f"r{index}") for index in range(9)))
    assert len(of(GenerationEnded, pair.events)) == 3
    assert pair.client.generate_reply()
    pair.inject()
    assert len(of(GenerationStarted, pair.events)) == 4


def test_a_reply_that_was_asked_for_is_never_one_too_many() -> None:  # G1, G4
    pair = Pair(client={"limits": Limits(max_open_responses=2)}).connect()
    commands = [pair.client.generate_reply(conversation="none") for _ in range(4)]
    pair.run()
    assert [command.outcome for command in commands] == [Outcome.ACKNOWLEDGED] * 4


def test_the_recovered_answers_of_a_broken_model_are_bounded() -> None:  # G9, G11
    pair = Pair(client={"limits": Limits(max_open_responses=3, max_text_recoveries=2)}).connect()
    pair.inject(*(created(f"r{index}", conversation_id=None) for index in range(9)))
    assert len(of(StrayEvent, pair.events)) == 6


# --- tools -----------------------------------------------------------------------------------


def test_tools_are_not_silently_dropped() -> None:  # T3
    with pytest.raises(ToolDefinitionError, match="look"):
        SessionConfig(tools=[look, look])

    def positional(first: int, /) -> None:
        """Cannot be called by name."""

    for place in (
        lambda: SessionConfig(tools=[positional]),
        lambda: ClientProtocol(ENDPOINT, tools=[positional]),
        lambda: Pair().connect().client.generate_reply(tools=[positional]),
        lambda: Pair().connect().client.update(tools=[positional]),
    ):
        with pytest.raises(ToolDefinitionError, match="first"):
            place()


def test_a_named_tool_choice_goes_out_in_the_form_that_the_service_takes() -> None:  # T4
    pair = Pair(MANUAL.merge({"tools": [look], "tool_choice": "look"}))
    pair.client.raw_events = True
    pair.connect()
    pair.client.generate_reply(tool_choice="look")
    pair.run()
    wanted = events.ToolChoiceFunction(name="look")
    assert pair.sent(events.SessionUpdate)[0].session.tool_choice == wanted
    assert pair.sent(events.ResponseCreate)[0].response.tool_choice == wanted
    assert b'"tool_choice":{"type":"function","name":"look"}' in events.encode(
        pair.sent(events.ResponseCreate)[0]
    )
    assert only(ReplyWanted, pair.work).tool_choice == "look"
    with pytest.raises(ConfigurationError, match="no_such_tool"):
        pair.client.generate_reply(tool_choice="no_such_tool")


def test_a_call_is_answered_once_and_never_twice() -> None:  # T9
    pair = Pair(client={"tools": [tool(look)]}).connect()
    response_id, (call_id,) = pair.calling(1)
    pair.client.send_tool_output(call_id, "seen")
    pair.server.session.finish(response_id, pair.now)
    pair.run()
    with pytest.raises(LocalProtocolError, match=call_id):
        pair.client.send_tool_output(call_id, "seen again")
    with pytest.raises(LocalProtocolError, match="nobody's call"):
        pair.client.send_tool_output("nobody's call", "seen")
    outputs = [i for i in pair.server.session.items if isinstance(i, events.FunctionCallOutput)]
    assert [item.output for item in outputs] == ["seen"]
    assert len(of(GenerationStarted, pair.events)) == 2


def test_an_output_that_cannot_be_sent_leaves_its_call_to_be_answered() -> None:  # T9
    pair = Pair(client={"tools": [tool(look)]}).connect()
    response_id, (call_id,) = pair.calling(1)
    with pytest.raises(LocalProtocolError, match="output"):
        pair.client.send_tool_output(call_id, {"no": "text"})  # type: ignore[arg-type]
    pair.client.send_tool_output(call_id, "seen")
    pair.server.session.finish(response_id, pair.now)
    pair.run()
    assert any(isinstance(item, events.FunctionCallOutput) for item in pair.server.session.items)


def test_there_is_one_reply_for_all_calls_of_a_response() -> None:  # T6
    pair = Pair(client={"tools": [tool(look)]}).connect()
    response_id, call_ids = pair.calling(3)
    for call_id in reversed(call_ids):
        pair.client.send_tool_output(call_id, "seen")
    pair.run()
    assert len(of(GenerationStarted, pair.events)) == 1  # it goes on
    pair.server.session.finish(response_id, pair.now)
    pair.run()
    follow_up = of(GenerationStarted, pair.events)[1].generation
    assert follow_up.origin is GenerationOrigin.TOOL_OUTPUTS
    assert len(of(GenerationStarted, pair.events)) == 2


def test_a_call_that_was_cut_off_is_not_offered() -> None:  # T9
    pair = Pair().connect()
    call = {"id": "i1", "type": "function_call", "name": "look", "call_id": "c1", "arguments": ""}
    where = {"response_id": "r1", "item_id": "i1", "output_index": 0, "call_id": "c1"}
    pair.inject(
        created("r1"),
        message("response.output_item.added", response_id="r1", output_index=0, item=call),
        message("response.function_call_arguments.delta", **where, delta='{"at'),
        message(
            "response.output_item.done",
            response_id="r1",
            output_index=0,
            item=call | {"status": "incomplete"},
        ),
        done("r1", "cancelled"),
    )
    assert not of(CallReady, pair.events)
    with pytest.raises(LocalProtocolError, match="c1"):
        pair.client.send_tool_output("c1", "seen")


def test_a_call_beside_the_conversation_does_not_make_the_conversation_speak() -> None:  # T6, G4
    pair = Pair(client={"tools": [tool(look)]}).connect()
    pair.client.generate_reply(conversation="none")
    pair.run()
    response_id = pair.wanted_reply().response_id
    pair.server.session.call_function(response_id, "look", "{}", pair.now)
    call = only(CallReady, pair.run()).call
    output = pair.client.send_tool_output(call.call_id, "seen")
    pair.server.session.finish(response_id, pair.now)
    pair.run()
    assert output.outcome is Outcome.REFUSED  # the conversation has no such call
    assert len(of(GenerationStarted, pair.events)) == 1
