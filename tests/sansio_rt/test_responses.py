"""Response events to generations: odd orders, late answers, what the session asks for by itself."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from pair import ENDPOINT, MANUAL, SECOND, Pair, of, only

from sansio_rt import (
    AudioDelta,
    AudioFormat,
    CallReady,
    ClientProtocol,
    CommandEnded,
    CommandKind,
    ConnectionClosed,
    ConnectionLost,
    ConnectionState,
    Endpoint,
    GenerationEnded,
    GenerationFailed,
    GenerationOrigin,
    GenerationStarted,
    GenerationStatus,
    HandshakeRejected,
    ItemAdded,
    ItemDeleted,
    ItemDone,
    Limits,
    LocalProtocolError,
    MessageEnded,
    MessageStarted,
    Outcome,
    RawClientEvent,
    RetryPolicy,
    SessionClosed,
    StrayEvent,
    TextDelta,
    Timing,
    events,
    tool,
)
from sansio_rt._recovery import silent_item
from sansio_rt._server_work import ReplyWanted
from sansio_rt._wire import Wire


def message(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, "event_id": "e", **fields}).encode()


def created(response_id: str = "r1", **fields: Any) -> bytes:
    response = {"id": response_id, "conversation_id": "c", "status": "in_progress", **fields}
    return message("response.created", response=response)


def done(response_id: str = "r1", status: str = "completed", **fields: Any) -> bytes:
    return message("response.done", response={"id": response_id, "status": status, **fields})


WHERE = {"response_id": "r1", "item_id": "i1", "output_index": 0}
PART = {**WHERE, "content_index": 0}
ARGUMENTS = "response.function_call_arguments."


def item(kind: str = "message", **fields: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"id": "i1", "type": kind}
    known |= (
        {"role": "assistant", "content": []}
        if kind == "message"
        else {"name": "look", "call_id": "c1", "arguments": ""}
    )
    return known | fields


def added(**fields: Any) -> bytes:
    return message("response.output_item.added", response_id="r1", output_index=0, **fields)


def finished(**fields: Any) -> bytes:
    return message("response.output_item.done", response_id="r1", output_index=0, **fields)


def look(at: str = "it") -> str:
    """Looks."""
    return at


# --- odd orders and shapes (G6) --------------------------------------------------------------


@pytest.mark.parametrize(
    "stray",
    [
        message("response.output_audio.delta", **PART, delta="AAAA"),
        message("response.output_text.delta", **PART, delta="x"),
        message("response.output_text.done", **PART, text="x"),
        message("response.output_audio_transcript.done", **PART, transcript="x"),
        message(ARGUMENTS + "delta", **WHERE, call_id="c1", delta="x"),
        message(ARGUMENTS + "done", **WHERE, call_id="c1", arguments="x"),
        added(item=item()),
        finished(item=item()),
        done(),
    ],
)
def test_what_belongs_to_no_running_response_is_told_and_dropped(stray: bytes) -> None:
    pair = Pair().connect()
    only(StrayEvent, pair.inject(stray))
    pair.inject(created(), done())
    only(StrayEvent, pair.inject(stray))  # not after its end, either
    assert len(of(GenerationStarted, pair.events)) == 1
    assert len(of(GenerationEnded, pair.events)) == 1


@pytest.mark.parametrize(
    "stray",
    [
        message("response.output_text.done", **PART, text="x"),
        message(ARGUMENTS + "delta", **WHERE, call_id="c1", delta="x"),
        message(ARGUMENTS + "done", **WHERE, call_id="c1", arguments="x"),
    ],
)
def test_an_end_inside_a_response_of_what_was_not_begun(stray: bytes) -> None:
    pair = Pair().connect()
    pair.inject(created())
    only(StrayEvent, pair.inject(stray))


def test_text_that_no_delta_told_comes_out_once() -> None:
    pair = Pair().connect()
    part = {"type": "output_text", "text": "one two"}
    pair.inject(
        created(),
        added(item=item()),
        message("response.output_text.delta", **PART, delta="one"),
        message("response.output_text.done", **PART, text="one two"),
        finished(item=item(content=[part])),
        done(output=[item(content=[part])]),
    )
    assert [event.text for event in of(TextDelta, pair.events)] == ["one", " two"]
    assert only(GenerationEnded, pair.events).generation.text == "one two"


def test_a_text_that_was_corrected_at_the_end_is_the_final_one() -> None:
    pair = Pair().connect()
    pair.inject(
        created(),
        message("response.output_audio_transcript.delta", **PART, delta="won"),
        message("response.output_audio_transcript.done", **PART, transcript="one"),
        done(),
    )
    assert [event.text for event in of(TextDelta, pair.events)] == ["won"]
    assert only(GenerationEnded, pair.events).generation.text == "one"


def test_items_that_only_the_end_tells_of_are_there() -> None:  # G6
    pair = Pair().connect()
    spoken = {"type": "output_audio", "transcript": "said"}
    call = item("function_call", id="i2", arguments="{}")
    other = {"id": "i3", "type": "mcp_call", "arguments": "{}", "name": "n", "server_label": "s"}
    pair.inject(created(), done(output=[item(content=[spoken]), call, other]))
    assert only(TextDelta, pair.events).text == "said"
    assert only(TextDelta, pair.events).is_transcript
    assert only(CallReady, pair.events).call.arguments == "{}"
    generation = only(GenerationEnded, pair.events).generation
    assert list(generation.items) == ["i1", "i2", "i3"]
    assert [type(event) for event in of(MessageEnded, pair.events)] == [MessageEnded]


def test_an_image_in_an_answer_is_no_text() -> None:
    pair = Pair().connect()
    parts = [{"type": "output_audio", "transcript": None}, {"type": "hologram", "x": 1}]
    pair.inject(created(), added(item=item()), finished(item=item(content=parts)), done())
    assert not of(TextDelta, pair.events)
    assert only(GenerationEnded, pair.events).generation.text == ""


def test_several_parts_of_a_message_do_not_mix() -> None:  # G13
    pair = Pair().connect()
    kind = "response.output_text.delta"
    pair.inject(
        created(),
        message(kind, **WHERE, content_index=0, delta="a"),
        message(kind, **WHERE, content_index=1, delta="b"),
        message(kind, **WHERE, content_index=0, delta="c"),
        message("response.output_text.done", **WHERE, content_index=1, text="B"),
        done(),
    )
    assert only(GenerationEnded, pair.events).generation.text == "ac B"


def test_several_messages_and_calls_of_a_response_have_their_own_positions() -> None:  # G13
    pair = Pair(client={"tools": [tool(look)]}).connect()
    pair.client.generate_reply()
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    for words in ("first", "second"):
        session.begin_message(response_id, pair.now)
        session.push_text(response_id, words, pair.now)
        session.push_audio(response_id, SECOND[:9_600], pair.now)
        session.end_message(response_id, pair.now)
        session.call_function(response_id, "look", "{}", pair.now)
    session.finish(response_id, pair.now)
    found = pair.run()
    messages = [event.message for event in of(MessageStarted, found)]
    assert [entry.text for entry in messages] == ["first", "second"]
    for entry in messages:
        frames = [event.frame for event in of(AudioDelta, found) if event.message is entry]
        assert frames[0].start_sample == 0
        assert frames[-1].end_ms == entry.received_ms == 200
        assert "done" in repr(entry)
    assert [entry.output_index for entry in messages] == [0, 2]
    calls = [event.call for event in of(CallReady, found)]
    assert calls[0].call_id != calls[1].call_id
    assert calls[0].call_id in repr(calls[0])
    cut = pair.client.truncate(messages[1].id, audio_end_ms=100)
    assert cut is not None
    pair.run()
    assert [entry.heard_ms for entry in pair.client.conversation if entry.role] == [None, 100]


def test_arguments_come_whole_whatever_the_deltas_told() -> None:
    pair = Pair().connect()
    pair.inject(
        created(),
        added(item=item("function_call")),
        message(ARGUMENTS + "delta", **WHERE, call_id="c1", delta='{"at'),
        message(ARGUMENTS + "done", **WHERE, call_id="c1", arguments='{"at": 1}'),
        message(ARGUMENTS + "delta", **WHERE, call_id="c1", delta="late"),
        message(ARGUMENTS + "done", **WHERE, call_id="c1", arguments="twice"),
        finished(item=item("function_call", arguments="again", status="completed")),
        done(),
    )
    assert only(CallReady, pair.events).call.arguments == '{"at": 1}'


def test_an_item_that_is_neither_message_nor_call_is_kept_as_it_is() -> None:  # C1
    pair = Pair().connect()
    dance = {"id": "i9", "type": "dance", "steps": 3}
    pair.inject(created(), added(item=dance), finished(item=dance), done())
    generation = only(GenerationEnded, pair.events).generation
    assert list(generation.items) == ["i9"]
    assert not generation.messages
    assert not generation.calls


def test_a_status_that_is_not_known_is_an_end_all_the_same() -> None:
    pair = Pair().connect()
    pair.inject(created(), done(status="exhausted"))
    assert only(GenerationEnded, pair.events).generation.status is GenerationStatus.COMPLETED


def test_a_response_whose_end_is_broken_ends_all_the_same() -> None:  # G5
    pair = Pair().connect()
    pair.inject(created())
    pair.inject(b'{"type":"response.done","response":{"id":"r1","output":7,"status":"failed"}}')
    assert only(GenerationEnded, pair.events).generation.status is GenerationStatus.FAILED
    assert pair.client.generate_reply()
    assert of(GenerationStarted, pair.inject())


def test_g711_answers_have_their_own_clock() -> None:  # A4
    pair = Pair(MANUAL.merge({"output_audio_format": AudioFormat.PCMA})).connect()
    pair.client.generate_reply()
    pair.run()
    found = pair.speak(seconds=0.5)
    assert sum(event.frame.sample_count for event in of(AudioDelta, found)) == 4_000
    assert of(AudioDelta, found)[0].frame.format is AudioFormat.PCMA
    assert only(GenerationEnded, found).generation.metrics.audio_ms == 500


def test_a_response_that_grows_without_end_ends_the_session() -> None:
    pair = Pair(client={"limits": Limits(max_response_bytes=10_000)}).connect()
    piece = message("response.output_text.delta", **PART, delta="x" * 1_000)
    pair.inject(created(), *[piece] * 20)
    assert "max_response_bytes" in str(only(SessionClosed, pair.events).error)
    assert only(GenerationEnded, pair.events).generation.status is GenerationStatus.LOST


# --- asking, giving up, interrupting ---------------------------------------------------------


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


# --- text in the place of speech (G9) --------------------------------------------------------


def recovering() -> Pair:
    return Pair(client={"limits": Limits(max_text_recoveries=2)}).connect()


WRITTEN = message("response.output_text.delta", **PART, delta="written")


def test_a_reply_given_up_on_trial_never_speaks() -> None:
    pair = recovering()
    command = pair.client.generate_reply()
    pair.run()
    pair.client.abandon(command)
    pair.speak("You should never hear this.")
    assert command.outcome is Outcome.REFUSED
    assert not of(GenerationStarted, pair.events)
    assert not pair.client.commands


def test_a_reply_given_up_while_it_is_cancelled_is_not_asked_again() -> None:
    pair = recovering()
    pair.server.receive_data = lambda data, now: None  # type: ignore[method-assign]
    command = pair.client.generate_reply()
    pair.inject(created(metadata={"client_event_id": command.event_id}), WRITTEN)
    assert [entry.kind for entry in pair.client.commands] == [
        CommandKind.REPLY,
        CommandKind.CANCEL,
    ]
    pair.client.abandon(command)
    pair.inject(done(status="cancelled"))
    assert command.outcome is Outcome.REFUSED
    assert not pair.client.commands
    assert not of(GenerationStarted, pair.events)


def test_a_reply_that_ended_while_its_answer_was_cancelled_is_not_asked_again() -> None:
    pair = recovering()
    pair.server.receive_data = lambda data, now: None  # type: ignore[method-assign]
    command = pair.client.generate_reply()
    pair.inject(created(metadata={"client_event_id": command.event_id}), WRITTEN)
    error = {"type": "x", "message": "no", "event_id": command.event_id}
    pair.inject(message("error", error=error), done(status="cancelled"))
    assert command.outcome is Outcome.REFUSED
    assert not pair.client.commands


def test_a_silence_goes_also_where_the_next_try_is_interrupted() -> None:
    pair = recovering()
    pair.inject(created(), added(item=item()), WRITTEN)
    pair.inject(done(status="cancelled"))
    silence = only(ItemAdded, pair.events).entry
    assert silence.role == "user"
    pair.client.interrupt()
    pair.run()
    pair.pass_time(20)
    assert only(ItemDeleted, pair.events).item_id == silence.id
    assert len(pair.client.conversation) == 0


def test_a_silence_that_was_refused_is_forgotten() -> None:
    pair = recovering()
    pair.server.receive_data = lambda data, now: None  # type: ignore[method-assign]
    pair.inject(created(conversation_id="c"), WRITTEN, done(status="cancelled"))
    (create,) = [c for c in pair.client.commands if c.kind is CommandKind.CREATE_ITEM]
    pair.inject(message("error", error={"type": "x", "message": "no", "event_id": create.event_id}))
    assert create.outcome is Outcome.REFUSED
    assert pair.client._responses.trials._silences._items == {}


def test_a_broken_model_that_says_nothing_at_all_is_not_waited_for() -> None:
    pair = recovering()
    part = message("response.content_part.added", **PART, part={"type": "text", "text": ""})
    again = added(item=item())
    pair.inject(created(), *[part, again] * 400)
    assert len(of(GenerationStarted, pair.events)) <= 1
    assert len(pair.client._responses.trials.open) <= 1


@pytest.mark.parametrize("by_server", [True, False])
def test_an_interruption_takes_a_response_on_trial_with_it(by_server: bool) -> None:  # G7, G9
    pair = recovering()
    if by_server:
        event = events.ResponseCreate(response=events.ResponseParams())
        pair.server.session.receive_message(events.encode(event), pair.now)
        command = None
    else:
        command = pair.client.generate_reply()
    pair.run()
    pair.client.interrupt()
    pair.run()
    if of(ReplyWanted, pair.work):
        pair.speak("You should never hear this.")
    assert not of(GenerationStarted, pair.events)
    assert not of(AudioDelta, pair.events)
    assert not pair.client.commands
    assert command is None or command.outcome is Outcome.REFUSED


@pytest.mark.parametrize("audio_format", list(AudioFormat))
def test_a_silence_is_silent_in_every_format(audio_format: AudioFormat) -> None:
    part = silent_item("i1", audio_format).content[0]
    assert isinstance(part, events.InputAudio)
    assert isinstance(part.audio, str)
    samples = audio_format.from_wire(base64.b64decode(part.audio))
    assert len(samples) == audio_format.rate // 5
    assert abs(samples).max() <= 8


# --- the conversation and the connection -----------------------------------------------------


def test_an_end_of_an_item_without_its_beginning_is_a_beginning() -> None:  # C2
    pair = Pair().connect()
    user = {"id": "i1", "type": "message", "role": "user", "content": []}
    found = pair.inject(message("conversation.item.done", item=user, previous_item_id=None))
    assert only(ItemAdded, found).entry is only(ItemDone, found).entry


def test_items_without_an_id_are_told_and_dropped() -> None:
    pair = Pair().connect()
    nameless = {"type": "message", "role": "user", "content": []}
    found = pair.inject(
        message("conversation.item.added", item=nameless, previous_item_id=None),
        message("conversation.item.done", item=nameless, previous_item_id=None),
    )
    assert len(of(StrayEvent, found)) == 2
    assert not of(ItemDone, found)
    assert len(pair.client.conversation) == 0


def test_an_item_may_come_back_that_the_mirror_does_not_have() -> None:  # C7
    pair = Pair().connect()
    user = {"id": "i1", "type": "message", "role": "user", "content": []}
    assert not of(ItemAdded, pair.inject(message("conversation.item.retrieved", item=user)))
    assert len(pair.client.conversation) == 0


def test_a_cut_answer_that_only_moves_stays_cut() -> None:  # G14, C4
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two three four", seconds=2)
    for word in ("b", "c"):
        pair.client.send_message(word)
    pair.run()
    answer, b, c = pair.client.conversation.items()
    pair.client.truncate(str(answer.id), audio_end_ms=1_000)
    pair.run()
    pair.client.update_conversation([b, c, answer])
    pair.run()
    assert [entry.text for entry in pair.client.conversation] == ["b", "c", "one two"]


def test_an_event_may_be_sent_as_it_is() -> None:
    pair = Pair().connect()
    pair.client.send(events.InputAudioBufferClear(event_id="mine"))
    pair.run()
    with pytest.raises(LocalProtocolError, match="item_id"):
        pair.client.send(events.ConversationItemDelete(item_id=""))
    assert pair.client.data_to_send() == b""


def test_the_deletion_of_an_unknown_item_is_told() -> None:
    pair = Pair().connect()
    found = pair.inject(message("conversation.item.deleted", item_id="nobody"))
    assert "no such item" in only(StrayEvent, found).reason


def test_an_item_of_a_kind_that_is_not_known_can_be_created() -> None:  # C1
    pair = Pair().connect()
    pair.client.raw_events = True
    command = pair.client.create_item(events.UnknownItem(type="dance", data={"steps": 3}))
    pair.run()
    (event,) = [raw.event for raw in of(RawClientEvent, pair.events)]
    assert isinstance(event, events.ConversationItemCreate)
    assert event.item == events.UnknownItem(type="dance", data={"steps": 3, "id": command.key})
    assert command.outcome is Outcome.REFUSED  # this server does not dance


def test_an_item_comes_back_with_its_audio() -> None:  # C7
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak(seconds=0.1)
    (entry,) = pair.client.conversation
    retrieved = pair.client.retrieve_item(entry.id)
    pair.run()
    assert isinstance(retrieved.result().content[0].audio, str)


@pytest.mark.parametrize("begun", [False, True])
def test_a_stream_that_cannot_be_opened_ends_the_attempt(begun: bool) -> None:  # R1
    pair = Pair()
    why = ConnectionClosed("no route to host")
    if begun:
        pair.client.connect(pair.now)
    pair.client.connect_failed(why, pair.now)
    assert pair.client.state is ConnectionState.CLOSED
    assert only(SessionClosed, list(iter(pair.client.next_event, None))).error is why
    assert pair.client.pending_bytes == 0
    pair.connect()
    pair.client.connect_failed(why, pair.now)  # where there is one, nothing failed
    assert pair.client.state is ConnectionState.READY


def test_closing_before_the_handshake_is_over_is_quiet() -> None:  # R6
    client = ClientProtocol(ENDPOINT)
    client.close()
    assert only(SessionClosed, list(iter(client.next_event, None))).error is None
    client.connect(0.0)
    client.close()
    assert only(SessionClosed, list(iter(client.next_event, None))).error is None
    assert client.state is ConnectionState.CLOSED
    client.receive_data(b"HTTP/1.1 101", 0.0)
    client.receive_eof(0.0)
    assert client.next_event() is None


def test_a_close_while_the_connection_closes_ends_the_reconnecting_too() -> None:  # R6
    pair = Pair(client={"retry": RetryPolicy()}).connect()
    pair.inject(message("error", error={"type": "x", "code": "session_expired", "message": "old"}))
    pair = Pair(client={"retry": RetryPolicy()}).connect()
    pair.client.receive_data(b"", pair.now)
    pair.server.receive_data = lambda data, now: None  # type: ignore[method-assign]
    pair.inject(message("error", error={"type": "x", "code": "session_expired", "message": "old"}))
    assert pair.client.state is ConnectionState.CLOSING
    pair.client.close()
    pair.pass_time(2)
    assert only(SessionClosed, pair.events)
    assert pair.client.state is ConnectionState.CLOSED
    assert not pair.client.reconnecting


def test_an_answer_that_comes_too_late_for_the_close_is_for_nobody() -> None:
    pair = Pair().connect()
    command = pair.client.generate_reply()
    data = pair.client.data_to_send()
    pair.server.receive_data(data, pair.now)
    pair.client.close()
    pair.run()
    assert command.outcome is Outcome.CONNECTION_ENDED
    assert not of(GenerationStarted, pair.events)
    assert len([e for e in of(CommandEnded, pair.events) if e.command is command]) == 1


def test_a_server_made_response_is_marked_as_such() -> None:  # G2
    pair = Pair().connect()
    pair.inject(created(metadata={"client_event_id": "nobody's"}), done())
    generation = only(GenerationStarted, pair.events).generation
    assert generation.origin is GenerationOrigin.SERVER
    assert not generation.requested
    assert "r1" in repr(generation)


def test_a_timed_out_reply_leaves_the_next_one_its_turn() -> None:
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    lost = pair.client.generate_reply()
    pair.client.data_to_send()
    following = pair.client.generate_reply()
    pair.pass_time(2)
    assert lost.outcome is Outcome.DEADLINE
    assert following.outcome is Outcome.ACKNOWLEDGED


# --- the rest --------------------------------------------------------------------------------


def test_audio_before_its_item_is_heard() -> None:  # G6
    pair = Pair().connect()
    pair.inject(created(), message("response.output_audio.delta", **PART, delta="AAAAAA=="), done())
    assert only(AudioDelta, pair.events).frame.sample_count == 2
    assert only(GenerationEnded, pair.events).generation.metrics.audio_ms == pytest.approx(1 / 12)


def test_a_delta_after_the_whole_text_is_told_and_dropped() -> None:  # G6
    pair = Pair().connect()
    kind = "response.output_text.delta"
    pair.inject(
        created(),
        message(kind, **PART, delta="one"),
        message("response.output_text.done", **PART, text="one"),
        message(kind, **PART, delta="one"),
        done(),
    )
    assert "has ended" in only(StrayEvent, pair.events).reason
    assert only(GenerationEnded, pair.events).generation.text == "one"


def test_an_item_that_ends_twice_ends_once() -> None:  # G6
    pair = Pair().connect()
    pair.inject(created(), added(item=item()), finished(item=item()), finished(item=item()), done())
    assert only(MessageEnded, pair.events)


def test_hearing_less_than_a_millisecond_of_an_answer_is_hearing_nothing() -> None:  # G8
    pair = Pair().connect()
    pair.inject(
        created(),
        message("conversation.item.added", item=item(), previous_item_id=None),
        message("response.output_audio.delta", **PART, delta="AAAAAA=="),
    )
    command = pair.client.truncate("i1", audio_end_ms=50)
    assert command is not None
    assert command.kind is CommandKind.DELETE_ITEM


def test_the_cut_finds_its_message_among_several_responses() -> None:  # G4, G8
    pair = Pair().connect()
    second = {**PART, "response_id": "r2", "item_id": "i2"}
    pair.inject(
        created(),
        message("response.output_audio.delta", **PART, delta="AAAA" * 400),
        created("r2", conversation_id=None),
        message("response.output_audio.delta", **second, delta="AAAA" * 800),
        message("conversation.item.added", item=item(), previous_item_id=None),
        message("conversation.item.added", item=item(id="i2"), previous_item_id="i1"),
    )
    for item_id, received_ms in (("i1", 25), ("i2", 50)):
        pair.client.truncate(item_id, audio_end_ms=received_ms + 50)
        entry = pair.client.conversation.get(item_id)
        assert entry is not None
        assert entry.received_ms == received_ms


def test_a_late_answer_is_not_put_on_trial() -> None:  # G1, G9
    limits, timing = Limits(max_text_recoveries=2), Timing(answer_timeout_s=2)
    pair = Pair(client={"limits": limits, "timing": timing}).connect()
    late = pair.client.generate_reply()
    pair.client.data_to_send()
    pair.pass_time(2)
    pair.inject(created(metadata={"client_event_id": late.event_id}))
    (cancel,) = pair.client.commands or [None]
    assert cancel is None or cancel.kind is CommandKind.CANCEL
    pair.inject(done(status="cancelled"))
    assert not of(GenerationStarted, pair.events)
    assert not pair.client.commands


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


def test_what_a_lost_connection_leaves_of_a_text_only_cut() -> None:  # G8
    pair = Pair(client={"retry": RetryPolicy()}).connect()
    part = events.OutputText(text="one two")
    pair.client.create_item(events.Message(role="assistant", content=[part], id="written"))
    pair.run()
    pair.client.receive_eof(pair.now)
    assert pair.client.truncate("written", audio_end_ms=500) is None
    entry = pair.client.conversation.get("written")
    assert entry is not None
    assert entry.heard_ms is None
    assert pair.client.truncate("written", heard_text="one") is None
    assert entry.text == "one"


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


def test_a_server_that_goes_before_the_handshake_is_named() -> None:  # R1
    client = ClientProtocol(ENDPOINT)
    client.connect(0.0)
    client.receive_eof(0.0)
    error = only(SessionClosed, list(iter(client.next_event, None))).error
    assert "did not answer the WebSocket handshake" in str(error)


def test_a_rejection_without_a_marked_end_is_one_all_the_same() -> None:  # R1
    client = ClientProtocol(ENDPOINT, timing=Timing(connect_timeout_s=5))
    client.connect(0.0)
    client.receive_data(b"HTTP/1.1 403 Forbidden\r\n\r\nnot for you", 0.0)
    client.handle_timer(5.0)
    error = only(SessionClosed, list(iter(client.next_event, None))).error
    assert isinstance(error, HandshakeRejected)
    assert (error.status, error.body) == (403, "not for you")


ATTACHED = Endpoint.url("ws://127.0.0.1:1/v1", call_id="rtc_1")


@pytest.mark.parametrize(
    ("audio", "rates"),
    [
        ({"input": {"format": {"type": "audio/pcmu"}}}, (8_000, 24_000)),
        ({"output": {"format": {"type": "audio/pcma"}}}, (24_000, 8_000)),
        (
            {
                "input": {"format": {"type": "audio/pcm", "rate": 24_000}},
                "output": {"format": {"type": "audio/opus"}},
            },
            (24_000, 24_000),
        ),
    ],
)
def test_a_call_that_exists_keeps_its_formats(
    audio: dict[str, Any], rates: tuple[int, int]
) -> None:  # S8
    client = ClientProtocol(ATTACHED)
    client.connect(0.0)
    wire = Wire.server()
    wire.receive_data(client.data_to_send())
    while wire.next_event() is not None:
        pass
    wire.accept()
    session = {"type": "realtime", "audio": audio}
    wire.send_text(message("session.updated", session=session))
    client.receive_data(wire.data_to_send(), 0.0)
    assert client.state is ConnectionState.READY
    assert client._input._encoder.format.rate == rates[0]
    assert client._responses.content.audio_format.rate == rates[1]
