"""What other clients of this API get wrong, one test each, named for what goes wrong there.

The rows are those of the parity table (`# G2`), the rules those of the notes on the service's behaviour
(`# rule 4`).
"""

from __future__ import annotations

import base64
import gc
import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from pair import ENDPOINT, MANUAL, SECOND, Loud, Pair, of, only
from state_summary import summary

from sansio_rt import (
    AudioDelta,
    CallReady,
    ClientProtocol,
    CommandEnded,
    CommandRefused,
    CommandTimeout,
    ConfigurationError,
    ConnectionClosed,
    ConnectionState,
    Dialect,
    Endpoint,
    ErrorScope,
    GenerationEnded,
    GenerationOrigin,
    GenerationStarted,
    GenerationStatus,
    InputTranscriptCompleted,
    ItemAdded,
    Limits,
    LocalProtocolError,
    MessageBroken,
    MessageEnded,
    Outcome,
    RawClientEvent,
    ServerErrorReported,
    SessionClosed,
    SessionConfig,
    StrayEvent,
    TextDelta,
    Timing,
    ToolDefinitionError,
    UnknownEventReceived,
    diff,
    events,
    tool,
)
from sansio_rt._server_work import ReplyCancelled, ReplyWanted, TranscriptionWanted
from sansio_rt._wire import Wire


def message(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, "event_id": "e", **fields}).encode()


def created(response_id: str, *, metadata: Any = None, conversation_id: Any = "conv") -> bytes:
    response = {"id": response_id, "conversation_id": conversation_id, "metadata": metadata}
    return message("response.created", response={**response, "status": "in_progress"})


def done(response_id: str, status: str = "completed", **fields: Any) -> bytes:
    return message("response.done", response={"id": response_id, "status": status, **fields})


def delta(response_id: str, item_id: str, text: str) -> bytes:
    where = {"response_id": response_id, "item_id": item_id, "output_index": 0, "content_index": 0}
    return message("response.output_audio_transcript.delta", **where, delta=text)


def refusal(code: str | None, event_id: str | None, words: str = "no") -> bytes:
    error = {"type": "invalid_request_error", "code": code, "message": words, "event_id": event_id}
    return message("error", error=error)


def lose(pair: Pair) -> None:
    """Lets what the client sends from here on get lost, until `find`."""
    pair.server.receive_data = lambda data, now: None  # type: ignore[method-assign]


def sent(pair: Pair, kind: type) -> list[Any]:
    return [
        event.event for event in of(RawClientEvent, pair.events) if isinstance(event.event, kind)
    ]


def look(at: str = "it") -> str:
    """Looks."""
    return at


def calling(pair: Pair, count: int) -> tuple[str, list[str]]:
    """A response with so many calls that still goes on: its id and theirs."""
    pair.client.generate_reply()
    pair.run()
    response_id = pair.wanted_reply().response_id
    for _ in range(count):
        pair.server.session.call_function(response_id, "look", "{}", pair.now)
    return response_id, [event.call.call_id for event in of(CallReady, pair.run())]


# --- generations -----------------------------------------------------------------------------


def test_a_generation_is_announced_once_however_often_the_server_says_it() -> None:  # G2
    pair = Pair().connect()
    pair.inject(created("r1"), created("r1"), delta("r1", "i1", "a"), created("r1"))
    pair.inject(done("r1"), done("r1"), created("r1"), delta("r1", "i1", "late"))
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
    assert len(sent(pair, events.ResponseCreate)) == 1  # the cancel is on the way
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
    lose(pair)
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
    asked = [event.event_id for event in sent(pair, events.ResponseCreate)]
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
        delta("r2", "i2", "You should never hear this."),
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
    assert len(sent(pair, events.ResponseCreate)) == 1


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
    assert len(sent(pair, events.ResponseCreate)) == 1


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
    lose(pair)
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
    pair.inject(created("r1"), delta("r1", "i1", "a"), over, delta("r1", "i1", "b"), done("r1"))
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
    assert sent(pair, events.SessionUpdate)[0].session.tool_choice == wanted
    assert sent(pair, events.ResponseCreate)[0].response.tool_choice == wanted
    assert b'"tool_choice":{"type":"function","name":"look"}' in events.encode(
        sent(pair, events.ResponseCreate)[0]
    )
    assert only(ReplyWanted, pair.work).tool_choice == "look"
    with pytest.raises(ConfigurationError, match="no_such_tool"):
        pair.client.generate_reply(tool_choice="no_such_tool")


def test_a_call_is_answered_once_and_never_twice() -> None:  # T9
    pair = Pair(client={"tools": [tool(look)]}).connect()
    response_id, (call_id,) = calling(pair, 1)
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
    response_id, (call_id,) = calling(pair, 1)
    with pytest.raises(LocalProtocolError, match="output"):
        pair.client.send_tool_output(call_id, {"no": "text"})  # type: ignore[arg-type]
    pair.client.send_tool_output(call_id, "seen")
    pair.server.session.finish(response_id, pair.now)
    pair.run()
    assert any(isinstance(item, events.FunctionCallOutput) for item in pair.server.session.items)


def test_there_is_one_reply_for_all_calls_of_a_response() -> None:  # T6
    pair = Pair(client={"tools": [tool(look)]}).connect()
    response_id, call_ids = calling(pair, 3)
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


# --- the conversation ------------------------------------------------------------------------


def test_the_wait_for_edits_does_not_end_before_the_server_has_made_them() -> None:  # C4
    pair = Pair().connect()
    items = [events.Message(role="user", content=[events.InputText(text=w)]) for w in "abc"]
    commands = pair.client.update_conversation(items)
    request = pair.client.data_to_send()
    assert [command.outcome for command in commands] == [None] * 3
    pair.server.receive_data(request, pair.now)
    answer = pair.server.data_to_send()
    half = answer.index(b"conversation.item.done") + 200
    pair.client.receive_data(answer[:half], pair.now)
    assert [command.outcome for command in commands] == [Outcome.ACKNOWLEDGED, None, None]
    pair.client.receive_data(answer[half:], pair.now)
    assert [command.outcome for command in commands] == [Outcome.ACKNOWLEDGED] * 3


def test_edits_that_nobody_answers_time_out_by_name() -> None:  # C4
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    item = events.Message(role="user", content=[events.InputText(text="a")], id="my_item")
    (command,) = pair.client.update_conversation([item])
    lose(pair)
    pair.run()
    assert pair.client.next_deadline() == pair.now + 2
    assert only(CommandEnded, pair.pass_time(2)).command is command
    with pytest.raises(CommandTimeout, match="my_item") as caught:
        command.result()
    assert caught.value.missing == ("my_item",)


def test_the_diff_is_not_quadratic() -> None:  # C3
    counts = []
    for size in (500, 5_000):
        compared = 0

        def equal(one: events.Message, other: events.Message) -> bool:
            nonlocal compared
            compared += 1
            return one is other

        items = [events.Message(role="user", content=[], id=f"i{index}") for index in range(size)]
        moved = items[::-1]
        assert len(diff(items, moved, equal=equal)) == 2 * (size - 1)
        counts.append(compared)
    assert counts[1] <= 11 * counts[0]


def test_what_the_server_said_meanwhile_is_not_deleted() -> None:  # C5
    pair = Pair().connect()
    pair.client.send_message("a")
    pair.run()
    snapshot = pair.client.conversation.items()
    pair.client.generate_reply()
    pair.run()
    pair.speak("an answer")
    new = events.Message(role="user", content=[events.InputText(text="b")])
    pair.client.update_conversation([*snapshot, new], base=snapshot)
    pair.run()
    assert [entry.text for entry in pair.client.conversation] == ["a", "an answer", "b"]


def test_history_holds_no_word_that_nobody_heard() -> None:  # G14
    pair = Pair(pace=1.0).connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two three four five six seven eight", seconds=4)
    pair.pass_time(2.0)
    item_id = next(iter(pair.client.generations[0].messages))
    pair.client.interrupt()
    pair.client.truncate(item_id, audio_end_ms=1_000)
    pair.run()
    (heard,) = pair.client.conversation.history()
    assert isinstance(heard, events.Message)
    text = heard.content[0].text  # type: ignore[union-attr]
    assert text
    assert "one two three four five six seven eight".startswith(text)
    assert "five" not in text


def test_a_cut_before_the_end_of_the_answer_keeps_what_was_heard() -> None:  # G14, G10
    # Some clients only truncate; the item's end then comes without a transcript.
    pair = Pair(pace=1.0).connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two three four", seconds=2)
    pair.pass_time(1.9)
    item_id = next(iter(pair.client.generations[0].messages))
    pair.client.truncate(item_id, audio_end_ms=1_000)
    pair.run()
    pair.pass_time(1.0)
    entry = pair.client.conversation.get(item_id)
    assert entry is not None
    assert entry.text == "one two three four"
    assert entry.heard_text == "one two"


def test_a_lost_answer_is_in_the_mirror_as_far_as_it_came() -> None:  # G10, R4
    pair = Pair(pace=1.0).connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two three four", seconds=4)
    pair.pass_time(0.5)
    pair.client.receive_eof(pair.now)
    (entry,) = pair.client.conversation
    assert entry.text.startswith("one")
    assert "four" not in entry.text


def test_truncating_past_the_end_is_never_asked_for() -> None:  # G8, G14, rule 7
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two", seconds=1)
    pair.client.raw_events = True
    entry = list(pair.client.conversation)[-1]
    with pytest.raises(LocalProtocolError, match="beyond the 1000 ms"):
        pair.client.truncate(entry.id, audio_end_ms=60_000)
    assert pair.client.truncate(entry.id, audio_end_ms=1_090) is None  # a player's rounding
    assert pair.client.truncate(entry.id, audio_end_ms=500) is not None
    pair.run()
    assert pair.client.truncate(entry.id, audio_end_ms=800) is None  # it is cut at 500 already
    pair.run()
    assert [event.audio_end_ms for event in sent(pair, events.ConversationItemTruncate)] == [500]
    assert entry.heard_ms == 500
    assert not of(ServerErrorReported, pair.events)


def test_a_cut_of_a_running_answer_is_at_most_what_came() -> None:  # G14
    pair = Pair(pace=1.0).connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two three", seconds=3)
    pair.pass_time(1.05)
    item_id = next(iter(pair.client.generations[0].messages))
    pair.client.interrupt()
    cut = pair.client.truncate(item_id, audio_end_ms=1_200)  # a player is 100 ms ahead
    assert cut is not None
    pair.run()
    assert cut.outcome is Outcome.ACKNOWLEDGED
    entry = pair.client.conversation.get(item_id)
    assert entry is not None
    assert entry.heard_ms == entry.received_ms == 1_100


@pytest.mark.parametrize("audio_end_ms", [0, 0.4])
def test_hearing_nothing_deletes_the_answer(audio_end_ms: float) -> None:  # G8, rule 7
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak()
    (entry,) = pair.client.conversation
    command = pair.client.truncate(entry.id, audio_end_ms=audio_end_ms)  # type: ignore[arg-type]
    assert command is not None
    pair.run()
    assert command.outcome is Outcome.ACKNOWLEDGED
    assert pair.server.session.items == []
    assert len(pair.client.conversation) == 0


def test_a_text_is_not_lost_where_its_id_is_longer_than_a_client_may_choose() -> None:  # G8
    pair = Pair().connect()
    content = [{"type": "output_text", "text": "one two"}]
    item = {"id": "i" * 40, "type": "message", "role": "assistant", "content": content}
    pair.inject(message("conversation.item.added", item=item, previous_item_id=None))
    command = pair.client.truncate("i" * 40, heard_text="one")
    assert command is not None
    pair.inject(message("conversation.item.deleted", item_id="i" * 40))
    assert command.result().text == "one"
    assert len(command.result().id) <= 32


def test_edits_do_not_build_on_an_item_that_is_being_deleted() -> None:  # C4, G8
    pair = Pair().connect()
    part = events.OutputText(text="one two")
    pair.client.send_message("first", item_id="first")
    pair.client.create_item(events.Message(role="assistant", content=[part], id="cut"))
    pair.client.create_item(events.Message(role="assistant", content=[part], id="last"))
    pair.run()
    pair.client.delete_item("first")
    pair.client.truncate("cut", heard_text="one")
    pair.client.delete_item("last")
    new = events.Message(role="user", content=[events.InputText(text="new")], id="new")
    cut, last = pair.client.conversation.items()[1:]
    with pytest.raises(LocalProtocolError, match="'cut'"):
        pair.client.update_conversation([cut, last, new])
    pair.run()
    pair.client.delete_item("cut")
    pair.client.update_conversation([new])
    pair.run()
    assert [str(item.id) for item in pair.server.session.items] == ["new"]
    assert not of(ServerErrorReported, pair.events)
    assert all(e.command.outcome is Outcome.ACKNOWLEDGED for e in of(CommandEnded, pair.events))


def test_an_answer_that_was_replaced_while_it_was_made_stays_replaced() -> None:  # C3
    pair = Pair(pace=1.0).connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two three", seconds=2)
    pair.pass_time(1.0)
    (entry,) = pair.client.conversation
    part = events.OutputText(text="instead")
    pair.client.update_conversation([events.Message(role="assistant", content=[part], id=entry.id)])
    pair.run()
    pair.pass_time(2.0)
    (item,) = pair.server.session.items
    (entry,) = pair.client.conversation
    assert isinstance(item, events.Message)
    assert item.content == [part]
    assert entry.text == "instead"


def test_a_duplicate_id_on_create_is_success() -> None:  # C9, rule 11
    pair = Pair().connect()
    first = pair.client.send_message("a", item_id="mine")
    pair.client.data_to_send()  # lost: the server has it from another connection
    pair.inject(refusal("item_create_duplicate_item_id", first.event_id))
    assert first.outcome is Outcome.ACKNOWLEDGED
    assert not of(ServerErrorReported, pair.events)


def test_a_second_message_of_one_id_is_refused_before_it_is_sent() -> None:  # C9
    pair = Pair().connect()
    pair.client.send_message("a", item_id="mine")
    for _ in range(2):  # on the way, then there
        with pytest.raises(LocalProtocolError, match="mine"):
            pair.client.send_message("b", item_id="mine")
        pair.run()
    assert [entry.text for entry in pair.client.conversation] == ["a"]


def test_deleting_what_is_gone_is_success() -> None:  # C9
    pair = Pair().connect()
    pair.client.send_message("a", item_id="mine")
    pair.run()
    twice = [pair.client.delete_item("mine"), pair.client.delete_item("mine")]
    pair.run()
    assert [command.outcome for command in twice] == [Outcome.ACKNOWLEDGED] * 2
    assert not of(ServerErrorReported, pair.events)


def test_an_item_that_follows_an_unknown_one_goes_to_the_end_with_a_warning() -> None:
    # C2, rule 10: the service itself may name an item that was just deleted.
    pair = Pair().connect()
    pair.client.send_message("a")
    pair.run()
    item = {"id": "i9", "type": "message", "role": "user", "content": []}
    found = pair.inject(message("conversation.item.added", item=item, previous_item_id="gone"))
    assert only(ItemAdded, found).orphaned
    assert pair.client.conversation.ids()[-1] == "i9"


def test_the_place_of_a_message_does_not_hang_on_its_transcript() -> None:  # C8, rule 6
    pair = Pair().connect()
    pair.client.push_audio(SECOND)
    pair.client.commit_audio()
    pair.run()
    heard = only(TranscriptionWanted, pair.work)
    # The reply comes first: a server that needs no transcript for it.
    pair.inject(created("r1"), delta("r1", "answer", "It is noon."))
    item = {"id": "answer", "type": "message", "role": "assistant", "content": []}
    pair.inject(
        message("conversation.item.added", item=item, previous_item_id=heard.item_id), done("r1")
    )
    pair.server.session.transcribed(heard.item_id, "what time is it", pair.now)
    pair.run()
    assert only(InputTranscriptCompleted, pair.events)
    assert [(e.role, e.text) for e in pair.client.conversation] == [
        ("user", "what time is it"),
        ("assistant", "It is noon."),
    ]


def test_assistant_audio_goes_into_history_as_its_transcript() -> None:  # C6, rule 12
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("an answer")
    (item,) = pair.client.conversation.items()
    pair.client.update_conversation([])
    pair.run()
    pair.client.update_conversation([item])
    pair.run()
    (entry,) = pair.client.conversation
    assert entry.text == "an answer"
    assert isinstance(entry.item, events.Message)
    assert isinstance(entry.item.content[0], events.OutputText)


# --- waiting, and what the server says -------------------------------------------------------


def test_nothing_waits_for_ever() -> None:  # G5, R4
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    pair.client.send_message("there")
    pair.run()
    item_id = pair.client.conversation.ids()[0]
    pair.client.push_audio(SECOND)
    lose(pair)
    commands = [
        pair.client.send_message("a"),
        pair.client.delete_item(item_id),
        pair.client.retrieve_item(item_id),
        pair.client.commit_audio(),
        pair.client.clear_audio(),
        pair.client.update(instructions="x"),
        pair.client.generate_reply(conversation="none"),
    ]
    pair.run()
    pair.pass_time(2)
    pair.pass_time(2)  # the reply waited for the update
    for command in commands:
        assert command is not None
        assert command.outcome is Outcome.DEADLINE, command
    assert not pair.client.commands


@pytest.mark.parametrize(
    "broken",
    [
        b"SGVsbG8gd29ybGQ=",
        b"",
        b"null",
        b'{"type":null}',
        b'{"type":"response.created"}',
        b'{"type":"response.output_audio.delta","response_id":"r","item_id":"i","output_index":0,'
        b'"content_index":0,"delta":"not base64!"}',
        b"[" * 100_000,
        b'{"type":"session.created","session":' + b"[" * 100_000,
    ],
)
def test_no_message_kills_the_reader(broken: bytes) -> None:  # X2
    pair = Pair().connect()
    assert isinstance(only(MessageBroken, pair.inject(broken)).error, Exception)
    pair.inject(created("r1"), delta("r1", "i1", "still here"), done("r1"))
    assert only(GenerationEnded, pair.events).generation.text == "still here"
    assert pair.client.broken_messages == 1


def test_binary_messages_do_not_kill_the_reader() -> None:  # X2
    pair = Pair().connect()
    pair.client.receive_data(b"\x82\x03abc", pair.now)
    assert "binary" in str(only(MessageBroken, pair.run()).error)
    assert pair.client.state is ConnectionState.READY


def test_unknown_types_are_data() -> None:  # X2, C1
    pair = Pair().connect()
    found = pair.inject(message("response.hummed", tune=[1, 2]))
    assert only(UnknownEventReceived, found).event.data["tune"] == [1, 2]
    item = {"id": "i1", "type": "dance", "steps": 3}
    pair.inject(message("conversation.item.added", item=item, previous_item_id=None))
    (entry,) = pair.client.conversation
    assert isinstance(entry.item, events.UnknownItem)
    assert entry.item.data["steps"] == 3


def test_nothing_from_a_peer_raises_in_the_reader_however_much_waits() -> None:  # X2
    # The session's own commands come on top of those that the application may have outstanding.
    limits = Limits(max_pending_commands=2)
    pair = Pair(client={"limits": limits, "tools": [tool(look)]}).connect()
    response_id, (call_id,) = calling(pair, 1)
    pair.client.send_tool_output(call_id, "seen")
    pair.run()
    given_up = pair.client.generate_reply(conversation="none")
    pair.client.abandon(given_up)
    lose(pair)
    pair.client.send_message("a")
    with pytest.raises(LocalProtocolError, match="max_pending_commands"):
        pair.client.send_message("b")
    metadata = {"client_event_id": given_up.event_id}
    pair.client.data_to_send()
    pair.inject(done(response_id), created("r9", metadata=metadata, conversation_id=None))
    assert not of(MessageBroken, pair.events)
    assert pair.client.state is ConnectionState.READY


def test_a_conversation_beyond_its_bound_ends_the_session_and_raises_nothing() -> None:  # X2
    limits = Limits(max_conversation_bytes=50_000)
    pair = Pair(client={"limits": limits}).connect()
    item = {"id": "i1", "type": "message", "role": "assistant", "content": []}
    big = {"id": "i2", "type": "message", "role": "user"}
    big["content"] = [{"type": "input_text", "text": "x" * 60_000}]  # type: ignore[assignment]
    pair.inject(
        created("r1"),
        message("conversation.item.added", item=item, previous_item_id=None),
        delta("r1", "i1", "half a sentence"),
        message("conversation.item.added", item=big, previous_item_id="i1"),
    )
    assert "max_conversation_bytes" in str(only(SessionClosed, pair.events).error)
    assert only(GenerationEnded, pair.events).generation.status is GenerationStatus.LOST


def test_an_event_of_several_megabytes_is_only_big() -> None:  # R12, rule 15
    pair = Pair().connect()
    audio = "A" * (4 * 2**20)
    content = [{"type": "input_audio", "audio": audio, "transcript": "long"}]
    item = {"id": "i1", "type": "message", "role": "user", "content": content}
    pair.inject(message("conversation.item.added", item=item, previous_item_id=None))
    (entry,) = pair.client.conversation
    assert entry.text == "long"
    assert isinstance(entry.item, events.Message)
    assert not isinstance(entry.item.content[0].audio, str)  # type: ignore[union-attr]


def test_errors_without_an_event_id_find_their_command() -> None:  # rule 4
    pair = Pair().connect()
    update = pair.client.update(voice="cedar")
    message_command = pair.client.send_message("a")
    assert update is not None
    pair.client.data_to_send()
    pair.inject(refusal("cannot_update_voice", None, "the voice is fixed"))
    with pytest.raises(CommandRefused, match="the voice is fixed"):
        update.result()
    assert message_command.outcome is None


def test_errors_leave_the_session_open_unless_the_account_is_dead() -> None:  # X1, X4, rule 13
    pair = Pair().connect()
    for code in ("rate_limit_exceeded", "server_error", "some_new_code", None):
        found = pair.inject(refusal(code, None))
        assert only(ServerErrorReported, found).scope is ErrorScope.COMMAND
    assert pair.client.state is ConnectionState.READY
    pair.inject(refusal("insufficient_quota", None, "no money"))
    assert "no money" in str(only(SessionClosed, pair.events).error)


@pytest.mark.parametrize("code", [1000, 1002])
def test_a_close_right_after_the_configuration_is_an_error_that_says_so(code: int) -> None:
    # rule 14: 1000 is no success where we did not close.
    pair = Pair()
    pair.client.connect(pair.now)
    wire = Wire.server()
    wire.receive_data(pair.client.data_to_send())
    while wire.next_event() is not None:
        pass
    wire.accept()
    pair.client.receive_data(wire.data_to_send(), pair.now)
    wire.close(code, "bye")
    pair.client.receive_data(wire.data_to_send(), pair.now)
    pair.client.receive_eof(pair.now)
    error = only(SessionClosed, list(iter(pair.client.next_event, None))).error
    assert isinstance(error, ConnectionClosed)
    assert (error.code, error.reason, error.by_peer) == (code, "bye", True)
    assert not pair.client.commands


def test_a_session_that_expired_says_so() -> None:  # R9, rule 1
    pair = Pair().connect()
    pair.pass_time(3600)
    error = only(SessionClosed, pair.events).error
    assert isinstance(error, CommandRefused)
    assert error.code == "session_expired"


@pytest.mark.parametrize("by_close_code", [True, False])
def test_a_server_that_dropped_the_beta_says_what_to_do(by_close_code: bool) -> None:  # E8, rule 17
    endpoint = Endpoint.url("ws://127.0.0.1:1/v1", dialect=Dialect.BETA)
    client = ClientProtocol(endpoint)
    client.connect(0.0)
    wire = Wire.server()
    wire.receive_data(client.data_to_send())
    while wire.next_event() is not None:
        pass
    wire.accept()
    if not by_close_code:
        wire.send_text(refusal("beta_api_shape_disabled", None))
    wire.close(4000 if by_close_code else 1000, "beta")  # both may come in one read
    client.receive_data(wire.data_to_send(), 0.0)
    error = only(SessionClosed, list(iter(client.next_event, None))).error
    assert "Dialect.GA" in str(error) or "dialect" in str(error)


def test_a_commit_after_the_servers_own_is_no_error() -> None:  # A2, rule 8
    pair = Pair(SessionConfig(), detector=Loud()).connect()
    pair.client.push_audio(np.full(12_000, 0.5, dtype=np.float32))
    pair.client.push_audio(np.zeros(12_000, dtype=np.float32))  # the server commits, in one step
    late = pair.client.commit_audio()
    assert late is not None
    pair.run()
    assert late.outcome is Outcome.ACKNOWLEDGED
    assert not [e for e in of(ServerErrorReported, pair.events) if e.scope is not ErrorScope.BENIGN]
    assert pair.client.commit_audio() is None  # all of it was committed


def test_settings_that_were_not_named_stay_as_they_are() -> None:  # S2, S3, rule 9
    pair = Pair().connect()
    pair.client.raw_events = True
    update = pair.client.update(transcription=None)
    assert update is not None
    pair.run()
    (event,) = sent(pair, events.SessionUpdate)
    assert json.loads(events.encode(event))["session"] == {
        "type": "realtime",
        "audio": {"input": {"transcription": None}},
    }
    effective = update.result()
    assert effective.instructions == "Be brief."
    assert effective.audio.input.transcription is None


def test_metrics_of_nothing_are_unknown_and_divide_by_nothing() -> None:  # M6
    pair = Pair().connect()
    pair.inject(created("r1"), done("r1", "cancelled"))
    metrics = only(GenerationEnded, pair.events).generation.metrics
    assert metrics.first_token_s is None
    assert metrics.first_audio_s is None
    assert metrics.audio_ms is None
    assert metrics.output_tokens is None
    assert metrics.tokens_per_second is None
    assert metrics.duration_s == 0
    assert metrics.cancelled


def test_keys_are_not_shown() -> None:  # M3
    pair = Pair().connect()
    assert "secret-key" not in repr(pair.client.__dict__)
    assert "secret-key" not in repr(pair.client.endpoint)


# --- memory ----------------------------------------------------------------------------------

GENERATIONS = 1_000
KEPT_ITEMS = 20


class MinuteOfSpeech:
    """Bytes of a server that speaks for a minute per response, made once and cut into all the others."""

    RESPONSE, ITEM = b"R" * 20, b"I" * 20

    def __init__(self, *, audio_s_per_delta: int) -> None:
        response_id, item_id = self.RESPONSE.decode(), self.ITEM.decode()
        where = {"response_id": response_id, "item_id": item_id, "output_index": 0}
        audio = base64.b64encode(SECOND * audio_s_per_delta).decode()
        item = {"id": item_id, "type": "message", "role": "assistant", "content": []}
        transcript = "many words " * (60 // audio_s_per_delta)
        content = [{"type": "output_audio", "transcript": transcript}]
        wire = Wire.server()
        client = ClientProtocol(ENDPOINT)
        client.connect(0.0)
        wire.receive_data(client.data_to_send())
        while wire.next_event() is not None:
            pass
        wire.accept()
        wire.data_to_send()
        wire.send_text(created(response_id))
        wire.send_text(message("conversation.item.added", item=item, previous_item_id=None))
        for _ in range(60 // audio_s_per_delta):
            wire.send_text(delta(response_id, item_id, "many words "))
            kind = "response.output_audio.delta"
            wire.send_text(message(kind, **where, content_index=0, delta=audio))
        item = {**item, "content": content}
        wire.send_text(message("response.output_item.done", **where, item=item))
        wire.send_text(message("conversation.item.done", item=item, previous_item_id=None))
        wire.send_text(done(response_id, output=[item]))
        self._template = wire.data_to_send()

    def bytes_of(self, number: int) -> bytes:
        data = self._template.replace(self.RESPONSE, b"%020d" % number)
        return data.replace(self.ITEM, b"i%019d" % number)


def speak_minutes(pair: Pair, speech: MinuteOfSpeech, numbers: range) -> None:
    """So many responses, a minute apart; the conversation keeps the last few items."""
    for number in numbers:
        data = speech.bytes_of(number)
        pair.now += 60.0
        middle = len(data) // 2
        found: list[Any] = []
        for part in (data[:middle], data[middle:]):
            pair.client.receive_data(part, pair.now)
            found += [type(event) for event in iter(pair.client.next_event, None)]
        pair.client.handle_timer(pair.now)
        assert found.count(GenerationStarted) == found.count(GenerationEnded) == 1
        assert StrayEvent not in found
        ids = pair.client.conversation.ids()
        if len(ids) > KEPT_ITEMS:
            pair.client.delete_item(ids[0])
            pair.run()
            pair.inject(message("conversation.item.deleted", item_id=ids[0]))
        pair.events.clear()
        pair.work.clear()


def test_a_thousand_minutes_of_speech_leave_memory_flat() -> None:
    # Audio is not kept, history is text, and what is remembered of the past is bounded.
    speech = MinuteOfSpeech(audio_s_per_delta=10)
    tracemalloc.start()
    try:
        pair = Pair().connect()
        held = []
        for hundred in range(GENERATIONS // 100):
            speak_minutes(pair, speech, range(100 * hundred, 100 * (hundred + 1)))
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    settled = held[2]  # the memories of past ids hold 256, and are full
    assert max(held[3:]) < 1.05 * settled + 20_000, held
    assert held[-1] < 1_000_000


def test_a_minute_of_speech_leaves_only_its_words() -> None:
    pair = Pair().connect()
    before = len(repr(summary(pair.client)))
    speech = MinuteOfSpeech(audio_s_per_delta=10)
    pair.client.receive_data(speech.bytes_of(0), pair.now)
    frames = of(AudioDelta, list(iter(pair.client.next_event, None)))
    assert sum(event.frame.duration_ms for event in frames) == 60_000
    entry = pair.client.conversation.get("i" + "0" * 19)
    assert entry is not None
    assert entry.received_ms == 60_000
    assert len(repr(summary(pair.client))) < before + 10_000
