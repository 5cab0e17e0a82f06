"""What commands carry, what they are called, and what is said when they cannot be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import UNSET
from pair import MANUAL, Pair, of, only

from sansio_rt import (
    ClientProtocol,
    CommandKind,
    ConnectionState,
    Endpoint,
    GenerationEnded,
    GenerationFailed,
    GenerationOrigin,
    GenerationStarted,
    GenerationStatus,
    ItemDeleted,
    Limits,
    LocalProtocolError,
    MessageTooBig,
    Outcome,
    RawClientEvent,
    ResponseDiscarded,
    RetryPolicy,
    RotationDue,
    SequentialIds,
    ServerProtocol,
    SessionClosed,
    SessionResumed,
    StrayEvent,
    Timing,
    events,
)
from sansio_rt._arbiter import Arbiter, PendingReply
from sansio_rt._commands import Command
from sansio_rt._generations import GeneratedMessage
from sansio_rt._recovery import Trial, Verdict, verdict_of
from sansio_rt._server_work import ReplyWanted


def message(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, "event_id": "e", **fields}).encode()


def refuse(pair: Pair, event_id: str, code: str = "x") -> None:
    error = {"type": "invalid_request_error", "code": code, "message": "no", "event_id": event_id}
    pair.inject(message("error", error=error))


def written() -> Pair:
    """A conversation of two messages, whose raw events are shown."""
    pair = Pair(client={"ids": SequentialIds("q")}).connect()
    pair.client.raw_events = True
    for item_id in ("one", "two"):
        pair.client.send_message("Hi", item_id=item_id)
    pair.run()
    return pair


def deaf(pair: Pair) -> Pair:
    """From now on the server takes nothing."""
    pair.server.receive_data = lambda data, now: None  # type: ignore[method-assign]
    return pair


# --- ids and values ---------------------------------------------------------------------------


def test_each_id_tells_what_it_is_of() -> None:
    pair = written()
    pair.client.send_message("no id")
    reply = pair.client.generate_reply()
    pair.run()
    pair.client.interrupt()
    pair.client.update(instructions="Other.")
    pair.client.retrieve_item("one")
    pair.client.delete_item("two")
    interrupt = pair.client.interrupt()
    pair.run()
    sent = [raw.event for raw in of(RawClientEvent, pair.events)]
    assert len(sent) > 6
    assert all(str(event.event_id).startswith("event_q") for event in sent)
    items = [event.item for event in sent if isinstance(event, events.ConversationItemCreate)]
    assert [item.id for item in items][:2] == ["one", "two"]
    assert str(items[2].id).startswith("item_q")
    assert reply.event_id.startswith("event_q")
    assert interrupt.event_id.startswith("event_q")


def test_what_edits_bring() -> None:
    pair = written()
    created = pair.client.send_message("Hi", item_id="three")
    retrieved = pair.client.retrieve_item("one")
    deleted = pair.client.delete_item("two")
    pair.run()
    assert created.result() is pair.client.conversation.get("three")
    item = retrieved.result()
    assert isinstance(item, events.Message)
    assert item.id == "one"
    assert deleted.result() == "two"


def test_a_refused_edit_is_named_by_its_event() -> None:
    pair = deaf(written())
    for command in (pair.client.retrieve_item("one"), pair.client.delete_item("one")):
        refuse(pair, command.event_id)
        assert command.outcome is Outcome.REFUSED


def test_a_cut_brings_the_item_that_was_cut() -> None:
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("One two three four.", seconds=2)
    item_id = pair.client.conversation.ids()[-1]
    cut = pair.client.truncate(item_id, audio_end_ms=1_000)
    pair.run()
    assert cut is not None
    assert cut.result() == item_id


# --- what cannot be ---------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["delete_item", "retrieve_item"])
def test_an_item_that_is_not_there_is_named_with_the_call(call: str) -> None:
    with pytest.raises(LocalProtocolError, match=rf"^{call}\('nobody'\): "):
        getattr(written().client, call)("nobody")


def test_an_id_is_free_when_its_item_is_gone_or_going() -> None:
    pair = written()
    with pytest.raises(LocalProtocolError, match=r"'one' is in the .* or delete it first$"):
        pair.client.send_message("Hi", item_id="one")
    pair.client.send_message("Hi", item_id="three")
    with pytest.raises(LocalProtocolError, match=r"'three' is on its way to .* or wait for it$"):
        pair.client.send_message("Hi", item_id="three")
    pair.client.delete_item("one")
    pair.client.send_message("Again", item_id="one")
    pair.run()
    assert pair.client.conversation.ids() == ["two", "three", "one"]


def test_an_item_that_the_service_does_not_know_is_gone_here_too() -> None:  # C9
    pair = deaf(written())
    delete = pair.client.delete_item("one")
    refuse(pair, delete.event_id, "item_delete_invalid_item_id")
    assert pair.client.conversation.ids() == ["two"]
    assert only(ItemDeleted, pair.events).item_id == "one"


def test_what_the_session_asks_for_by_itself_needs_no_room() -> None:
    pair = deaf(Pair(client={"limits": Limits(max_pending_commands=1)}).connect())
    reply = pair.client.generate_reply()
    with pytest.raises(LocalProtocolError, match="max_pending_commands"):
        pair.client.send_message("Hi")
    interrupt = pair.client.interrupt()
    assert interrupt.event_id.startswith("event_c")
    assert reply.outcome is interrupt.outcome is None


# --- replies ----------------------------------------------------------------------------------


def test_a_reply_that_met_another_has_no_deadline_until_that_is_over() -> None:  # G12
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.wanted_reply()
    second = deaf(pair).client.generate_reply()
    assert second.outcome is None
    assert second.deadline is None or second.deadline > pair.now


def test_a_reply_given_up_on_trial_says_so() -> None:  # G1, G9
    pair = deaf(Pair(client={"limits": Limits(max_text_recoveries=2)}).connect())
    command = pair.client.generate_reply()
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    metadata = {"client_event_id": command.event_id}
    part = {"response_id": "r1", "item_id": "i1", "output_index": 0, "content_index": 0}
    pair.inject(
        message("response.created", response={**response, "metadata": metadata}),
        message("response.output_text.delta", **part, delta="written"),
    )
    pair.client.abandon(command)
    pair.inject(message("response.done", response={**response, "status": "cancelled"}))
    with pytest.raises(GenerationFailed, match="gave up"):
        command.result()


def test_what_is_asked_again_for_the_server_is_the_servers() -> None:  # G9
    limits = Limits(max_text_recoveries=2, max_pending_commands=1)
    pair = Pair(client={"limits": limits}).connect()
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    part = {"response_id": "r1", "item_id": "i1", "output_index": 0, "content_index": 0}
    item = {"id": "i1", "type": "message", "role": "assistant", "content": []}
    added = {"item": item, "previous_item_id": None}
    pair.inject(
        message("response.created", response=response),
        message("conversation.item.added", **added),
        message("response.output_item.added", response_id="r1", output_index=0, item=item),
        message("response.output_text.delta", **part, delta="written"),
        message("response.done", response={**response, "status": "cancelled"}),
    )
    (silence,) = [entry.id for entry in pair.client.conversation if entry.role == "user"]
    assert silence.startswith("item_c")
    pair.server.session.transcribed(silence, "", pair.now)
    pair.run()
    pair.speak("Spoken at last.")
    (started,) = of(GenerationStarted, pair.events)
    assert started.generation.origin is GenerationOrigin.SERVER
    assert silence not in pair.client.conversation


def test_a_reply_that_is_to_be_asked_again_was_not_asked() -> None:
    arbiter = Arbiter()
    command = Command("a", CommandKind.REPLY)
    reply = PendingReply(
        command=command,
        params=events.ResponseParams(),
        origin=GenerationOrigin.CALLER,
        in_conversation=True,
        wait_if_busy=True,
    )
    arbiter.submit(reply)
    arbiter.take_ready()
    arbiter.again(reply)
    assert arbiter.asked == {}
    assert list(arbiter.waiting) == [reply]
    arbiter.take_ready()
    arbiter.forget("a")
    arbiter.again(reply)  # nobody waits for it any more: no error
    assert list(arbiter.waiting) == [reply]


# --- verdicts ---------------------------------------------------------------------------------

WHERE = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}
TEXT = events.ResponseOutputTextDelta(delta="x", **WHERE)  # type: ignore[arg-type]
AUDIO = events.ResponseOutputAudioDelta(delta=b"", **WHERE)  # type: ignore[arg-type]
WORDS = events.ResponseOutputAudioTranscriptDelta(delta="x", **WHERE)  # type: ignore[arg-type]
CALL = events.FunctionCall(name="f", call_id="c", arguments="", id="i")


def item_added(item: events.Item) -> events.ResponseOutputItemAdded:
    return events.ResponseOutputItemAdded(response_id="r", output_index=0, item=item)


@pytest.mark.parametrize(
    ("event", "verdict"),
    [
        (TEXT, Verdict.TEXT),
        (AUDIO, Verdict.AUDIO),
        (WORDS, Verdict.AUDIO),
        (item_added(CALL), Verdict.AUDIO),
        (item_added(events.Message(role="assistant", content=[], id="i")), Verdict.OPEN),
        (events.ResponseDone(response=events.Response(id="r")), Verdict.AUDIO),
        (events.RateLimitsUpdated(rate_limits=[]), Verdict.OPEN),
    ],
)
def test_what_an_event_says_of_a_response_on_trial(
    event: events.ServerEvent, verdict: Verdict
) -> None:  # G9
    assert verdict_of(event) is verdict


def test_a_trial_of_very_many_events_is_over() -> None:
    trial = Trial(events.ResponseCreated(response=events.Response(id="r")), None, 0.0)
    nothing = item_added(events.Message(role="assistant", content=[], id="i"))
    verdicts = [trial.take(nothing) for _ in range(256)]
    assert set(verdicts[:-1]) == {Verdict.OPEN}
    assert verdicts[-1] is Verdict.AUDIO
    assert len(trial.kept) == len(trial.item_ids) == 256


# --- what is shown ----------------------------------------------------------------------------


def test_a_message_shows_whether_it_goes_on() -> None:
    pair = Pair(MANUAL).connect()
    pair.client.generate_reply()
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    session.begin_message(response_id, pair.now)
    session.push_text(response_id, "Hello.", pair.now)
    session.push_audio(response_id, bytes(9_600), pair.now)
    pair.run()
    generation = only(GenerationStarted, pair.events).generation
    (said,) = generation.messages.values()
    assert isinstance(said, GeneratedMessage)
    assert repr(said) == f"<GeneratedMessage {said.id} open 'Hello.'>"
    session.finish(response_id, pair.now)
    pair.run()
    assert repr(said) == f"<GeneratedMessage {said.id} done 'Hello.'>"


def test_a_stray_event_comes_out_as_it_came() -> None:
    pair = Pair().connect()
    part = {"response_id": "r9", "item_id": "i", "output_index": 0, "content_index": 0}
    pair.inject(message("response.output_text.delta", **part, delta="x"))
    stray = only(StrayEvent, pair.events)
    assert isinstance(stray.event, events.ResponseOutputTextDelta)
    assert stray.event.response_id == "r9"


# --- what nobody hears ------------------------------------------------------------------------


def on_trial(pair: Pair) -> Any:
    """Asks for a reply that is answered in text, which is cancelled; gives its command."""
    command = deaf(pair).client.generate_reply()
    pair.now += 1
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    metadata = {"client_event_id": command.event_id}
    pair.client.handle_timer(pair.now)
    pair.inject(
        message("response.created", response={**response, "metadata": metadata}),
        message("response.output_text.delta", **WHERE | {"response_id": "r1"}, delta="written"),
    )
    return command


def recovering() -> Pair:
    return Pair(client={"limits": Limits(max_text_recoveries=2)}).connect()


def test_what_a_discarded_response_took_is_told() -> None:  # M6, G9
    pair = recovering()
    asked_at = pair.now
    on_trial(pair)
    pair.now += 2
    pair.client.handle_timer(pair.now)
    pair.inject(message("response.done", response={"id": "r1", "status": "cancelled"}))
    metrics = only(ResponseDiscarded, pair.events).metrics
    assert metrics.response_id == "r1"
    assert metrics.status is GenerationStatus.CANCELLED
    assert metrics.requested_at == asked_at
    assert metrics.duration_s == 3
    pair.inject(message("response.created", response={"id": "r1", "conversation_id": "c"}))
    assert only(StrayEvent, pair.events).reason == "a response that was created before"


def test_a_discarded_response_that_the_service_does_not_know_was_cancelled() -> None:  # G15
    pair = recovering()
    on_trial(pair)
    (cancel,) = [found for found in pair.client.commands if found.kind is CommandKind.CANCEL]
    refuse(pair, cancel.event_id, "response_cancel_not_active")
    assert only(ResponseDiscarded, pair.events).metrics.status is GenerationStatus.CANCELLED


def test_what_was_on_trial_at_an_interruption_was_asked_for_by_its_caller() -> None:  # G7
    pair = recovering()
    asked_at = pair.now
    command = deaf(pair).client.generate_reply()
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    metadata = {"client_event_id": command.event_id}
    pair.inject(message("response.created", response={**response, "metadata": metadata}))
    pair.now += 1
    pair.client.handle_timer(pair.now)
    pair.client.interrupt()
    pair.inject(message("response.done", response={"id": "r1", "status": "cancelled"}))
    assert only(ResponseDiscarded, pair.events).metrics.requested_at == asked_at


# --- the configuration ------------------------------------------------------------------------


def say(pair: Pair, **session: Any) -> None:
    updated = events.SessionUpdated(session=events.RealtimeSession(**session))
    pair.inject(events.encode(updated))


def test_late_answers_are_taken_over_one_by_one() -> None:  # S7
    pair = deaf(Pair(client={"timing": Timing(answer_timeout_s=2)}).connect())
    pair.client.update(instructions="A")
    pair.client.update(parallel_tool_calls=True)
    pair.pass_time(2)
    say(pair, instructions="A", parallel_tool_calls=False)
    assert pair.client.wanted.instructions == "A"
    assert pair.client.wanted.parallel_tool_calls is UNSET
    say(pair, instructions="A", parallel_tool_calls=True)
    assert pair.client.wanted.parallel_tool_calls is True


def test_what_was_refused_is_not_taken_over_later() -> None:  # S7
    pair = deaf(Pair().connect())
    update = pair.client.update(instructions="A")
    assert update is not None
    refuse(pair, update.event_id)
    say(pair, instructions="A")  # another client's
    assert pair.client.wanted.instructions == "Be brief."


def test_a_connection_that_was_told_nothing_leaves_the_configuration_as_it_is() -> None:
    pair = Pair().connect()
    before = pair.client.session
    assert before is not None
    pair.client._configuration.adopt(None)
    assert pair.client.session is before
    other = events.RealtimeSession(instructions="Other.")
    pair.client._configuration.adopt(other)
    assert pair.client.session is other


# --- counts -----------------------------------------------------------------------------------


def test_counts_without_details_of_the_cache() -> None:  # M6
    pair = Pair().connect()
    usage = {
        "total_tokens": 9,
        "input_tokens": 5,
        "output_tokens": 4,
        "input_token_details": {"text_tokens": 5, "cached_tokens": 1},
    }
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    pair.inject(
        message("response.created", response=response),
        message("response.done", response={**response, "status": "completed", "usage": usage}),
    )
    metrics = only(GenerationEnded, pair.events).generation.metrics
    assert (metrics.input_text_tokens, metrics.cached_tokens) == (5, 1)
    assert (metrics.cached_text_tokens, metrics.output_text_tokens) == (None, None)


# --- the connection ---------------------------------------------------------------------------


def test_the_key_of_each_connect_is_the_one_that_is_sent_and_hidden() -> None:  # E1, M3
    endpoint = Endpoint.url("ws://127.0.0.1:1/v1", api_key=lambda: "", model="m")
    client = ClientProtocol(endpoint, MANUAL, ids=SequentialIds("c"))
    server = ServerProtocol()
    client.connect(0.0, api_key="sk-of-this-connect")
    request = client.data_to_send()
    assert b"Bearer sk-of-this-connect\r\n" in request
    server.receive_data(request, 0.0)
    for _ in range(2):
        client.receive_data(server.data_to_send(), 0.0)
        server.receive_data(client.data_to_send(), 0.0)
    client.receive_data(server.data_to_send(), 0.0)
    assert client.state is ConnectionState.READY
    error = {"type": "x", "message": "this key, sk-of-this-connect, is odd"}
    server._wire.send_text(message("error", error=error))
    client.receive_data(server.data_to_send(), 0.0)
    told = [event for event in iter(client.next_event, None) if "is odd" in repr(event)]
    assert len(told) == 1
    assert "sk-of-this-connect" not in repr(told)


def test_a_message_beyond_the_limit_ends_the_connection() -> None:  # X3
    pair = Pair(client={"limits": Limits(max_message_bytes=20_000)}).connect()
    pair.inject(message("x.y", text="x" * 19_000))
    assert not of(SessionClosed, pair.events)
    pair.inject(message("x.y", text="x" * 21_000))
    closed = only(SessionClosed, pair.events)
    assert isinstance(closed.error, MessageTooBig)
    assert closed.error.limit_bytes == 20_000


# --- text in the place of audio ---------------------------------------------------------------


def answered_in_text(pair: Pair, command: Any, response_id: str = "r1") -> None:
    response = {"id": response_id, "conversation_id": "c", "status": "in_progress"}
    metadata = {"client_event_id": command.event_id}
    pair.inject(
        message("response.created", response={**response, "metadata": metadata}),
        message("response.output_text.delta", **WHERE | {"response_id": response_id}, delta="w"),
    )


def test_a_reply_that_asks_for_audio_is_on_trial_for_itself() -> None:  # G9
    limits = Limits(max_text_recoveries=2)
    config = MANUAL.merge({"output_modalities": ["text"]})
    for asked, tried in ((["audio"], True), (None, False)):
        pair = deaf(Pair(config, client={"limits": limits}).connect())
        options: dict[str, Any] = {} if asked is None else {"modalities": asked}
        answered_in_text(pair, pair.client.generate_reply(**options))
        kinds = [command.kind for command in pair.client.commands]
        assert (CommandKind.CANCEL in kinds) is tried
        assert bool(of(GenerationStarted, pair.events)) is not tried


def test_an_interruption_says_so_to_who_asked() -> None:  # G7, G9
    pair = recovering()
    command = deaf(pair).client.generate_reply()
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    metadata = {"client_event_id": command.event_id}
    pair.inject(message("response.created", response={**response, "metadata": metadata}))
    pair.client.interrupt()
    with pytest.raises(GenerationFailed, match="interrupted before it began"):
        command.result()


def test_a_second_answer_to_one_request_is_not_its_answer() -> None:  # G9
    pair = recovering()
    command = deaf(pair).client.generate_reply()
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    metadata = {"client_event_id": command.event_id}
    created = message("response.created", response={**response, "metadata": metadata})
    pair.inject(created, created.replace(b'"r1"', b'"r2"'))
    part = WHERE | {"response_id": "r2"}
    pair.inject(message("response.output_audio_transcript.delta", **part, delta="x"))
    (started,) = of(GenerationStarted, pair.events)
    assert started.generation.id == "r2"
    assert started.generation.origin is GenerationOrigin.SERVER
    assert command.outcome is None
    part = WHERE | {"response_id": "r1"}
    pair.inject(message("response.output_audio_transcript.delta", **part, delta="x"))
    assert command.result().id == "r1"


def test_what_a_recovery_takes_out_needs_no_room() -> None:  # G9
    limits = Limits(max_text_recoveries=2, max_pending_commands=1)
    pair = deaf(Pair(client={"limits": limits}).connect())
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    item = {"id": "i1", "type": "message", "role": "assistant", "content": []}
    pair.client.send_message("Hi")
    pair.inject(
        message("response.created", response=response),
        message("conversation.item.added", item=item, previous_item_id=None),
        message("response.output_item.added", response_id="r1", output_index=0, item=item),
        message("response.output_text.delta", **WHERE | {"response_id": "r1"}, delta="written"),
        message("response.done", response={**response, "status": "cancelled"}),
    )
    kinds = [command.kind for command in pair.client.commands]
    assert kinds.count(CommandKind.DELETE_ITEM) == 1
    assert kinds.count(CommandKind.CREATE_ITEM) == 2  # the message and the silence
    assert kinds.count(CommandKind.REPLY) == 1


def test_a_reply_that_one_output_asks_for_comes_when_all_are_there() -> None:  # T6
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    for _ in range(2):
        session.call_function(response_id, "look", "{}", pair.now)
    session.finish(response_id, pair.now)
    pair.run()
    first, second = only(GenerationEnded, pair.events).generation.calls.values()
    pair.client.send_tool_output(first.call_id, "1", reply=True)
    pair.run()
    assert not of(ReplyWanted, pair.work)
    pair.client.send_tool_output(second.call_id, "2", reply=False)
    pair.run()
    assert len(of(ReplyWanted, pair.work)) == 1


def test_a_follow_up_waits_for_what_was_asked_for_meanwhile() -> None:  # T6, G12
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    session.call_function(response_id, "look", "{}", pair.now)
    session.finish(response_id, pair.now)
    pair.run()
    (call,) = only(GenerationEnded, pair.events).generation.calls.values()
    pair.client.generate_reply()
    pair.run()
    pair.client.send_tool_output(call.call_id, "1")
    pair.run()
    pair.speak("What was asked for meanwhile.")
    pair.speak("What the output leads to.")
    origins = [event.generation.origin for event in of(GenerationStarted, pair.events)]
    assert origins == [
        GenerationOrigin.CALLER,
        GenerationOrigin.CALLER,
        GenerationOrigin.TOOL_OUTPUTS,
    ]


def test_a_new_connection_is_configured_however_much_is_outstanding() -> None:  # R4
    limits = Limits(max_pending_commands=1)
    pair = Pair(client={"limits": limits, "retry": RetryPolicy()}).connect()
    pair.client.data_to_send()
    kept = pair.client.send_message("Hi")
    pair.client.data_to_send()
    pair.cut()
    pair.pass_time(1.0)
    pair.reconnect()
    assert pair.client.state is ConnectionState.READY
    assert kept.outcome is Outcome.ACKNOWLEDGED


@pytest.mark.parametrize("status", ["cancelled", "failed", "incomplete", "completed"])
def test_an_end_that_says_no_reason_has_none(status: str) -> None:
    pair = Pair().connect()
    response = {"id": "r1", "conversation_id": "c"}
    pair.inject(
        message("response.created", response={**response, "status": "in_progress"}),
        message("response.done", response={**response, "status": status}),
    )
    generation = only(GenerationEnded, pair.events).generation
    assert (generation.status.value, generation.reason, generation.error) == (status, "", None)


# --- losses -----------------------------------------------------------------------------------


def lasting(**client: Any) -> Pair:
    return Pair(client={"retry": RetryPolicy(), **client}).connect()


@pytest.mark.parametrize("patience_s", [-1.0, float("nan")])
def test_a_restart_needs_a_patience_that_is_one(patience_s: float) -> None:  # R11
    pair = lasting()
    with pytest.raises(LocalProtocolError, match="patience_s"):
        pair.client.restart("why not", patience_s=patience_s)
    assert pair.client.state is ConnectionState.READY


def test_a_restart_while_it_reconnects_is_under_way_already() -> None:  # R11
    pair = lasting()
    pair.cut()
    assert pair.client.reconnecting
    pair.client.restart("why not")
    pair.pass_time(1.0)
    resumed = only(SessionResumed, pair.reconnect())
    assert resumed.replayed == 0
    assert not of(RotationDue, pair.pass_time(100.0))


def test_what_the_next_server_refuses_to_be_told_again_is_left_out() -> None:  # R3
    pair = lasting()
    for item_id in ("one", "two"):
        pair.client.send_message("Hi", item_id=item_id)
    pair.run()
    pair.cut()
    pair.pass_time(1.0)
    pair.server = ServerProtocol()
    pair.client.connect(pair.now)
    while pair.client.state is not ConnectionState.REPLAYING:
        pair.server.receive_data(pair.client.data_to_send(), pair.now)
        pair.client.receive_data(pair.server.data_to_send(), pair.now)
    first = next(iter(pair.client.commands))
    pair.client.data_to_send()  # the server never has them
    refuse(pair, first.event_id)
    for command in list(pair.client.commands):
        item = {"id": command.key, "type": "message", "role": "user", "content": []}
        pair.inject(message("conversation.item.added", item=item, previous_item_id=None))
    assert only(SessionResumed, pair.events).left_out == (first.key,)
    assert pair.client.conversation.ids() == ["two"]


def test_an_item_that_no_client_may_say_is_left_out() -> None:  # R3
    pair = lasting()
    item = {"id": "i" * 40, "type": "message", "role": "user", "content": []}
    pair.inject(message("conversation.item.added", item=item, previous_item_id=None))
    assert pair.client.conversation.ids() == ["i" * 40]
    pair.cut()
    pair.pass_time(1.0)
    resumed = only(SessionResumed, pair.reconnect())
    assert resumed.left_out == ("i" * 40,)
    assert pair.client.conversation.ids() == []


def test_outputs_that_nobody_acknowledges_are_kept_in_bounds() -> None:  # T9
    pair = lasting(timing=Timing(answer_timeout_s=1))
    replay = pair.client._replay
    for number in range(5_000):
        command = Command(f"event_{number}", CommandKind.CREATE_ITEM, f"item_{number}")
        output = events.FunctionCallOutput(call_id=f"c{number}", output="", id=command.key)
        command.event = events.ConversationItemCreate(item=output)
        replay.keep_output(command)
    assert 0 < len(replay._outputs) < 5_000
    assert "item_0" not in replay._outputs
    assert "item_4999" in replay._outputs


def test_an_end_of_what_nobody_knows_is_none() -> None:
    pair = Pair().connect()
    pair.client._responses.end_unanswered("nobody")
    assert pair.run() == []


# --- odds and ends ----------------------------------------------------------------------------


def test_a_command_begins_with_nothing() -> None:
    command = Command("event_1", CommandKind.REPLY, "key")
    assert (command.outcome, command.error, command.event, command.value) == (None,) * 4
    assert (command.deadline, command.abandoned) == (None, False)


def test_nothing_is_in_force_before_the_server_has_said_so() -> None:  # S4
    assert Pair().client.session is None


@pytest.mark.parametrize(
    ("role", "part"),
    [
        ("user", events.InputText(text="Hi")),
        ("system", events.InputText(text="Hi")),
        ("assistant", events.OutputText(text="Hi")),
    ],
)
def test_a_text_is_a_part_of_the_kind_that_its_role_takes(role: str, part: Any) -> None:  # C6
    pair = Pair().connect()
    pair.client.send_message("Hi", role=role, item_id="mine")
    pair.run()
    entry = pair.client.conversation.get("mine")
    assert entry is not None
    assert entry.item.content == [part]  # type: ignore[union-attr]


def test_an_end_without_a_beginning_has_its_place_and_its_id() -> None:  # C2
    pair = written()
    item = {"id": "three", "type": "message", "role": "user", "content": []}
    pair.inject(message("conversation.item.done", item=item, previous_item_id="one"))
    assert pair.client.conversation.ids() == ["one", "three", "two"]


def test_the_end_of_an_item_without_an_id_comes_out_as_it_came() -> None:
    pair = written()
    item = {"type": "message", "role": "user", "content": []}
    pair.inject(message("conversation.item.done", item=item, previous_item_id="one"))
    stray = only(StrayEvent, pair.events)
    assert (stray.event.event_id, stray.event.previous_item_id) == ("e", "one")


def test_strays_say_what_is_odd_about_them() -> None:
    pair = Pair(client={"limits": Limits(max_open_responses=1)}).connect()
    item = {"type": "message", "role": "user", "content": []}
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    odd = [
        message("conversation.item.added", item=item, previous_item_id=None),
        message("response.done", response={"id": "r9", "status": "completed"}),
        message("response.created", response=response),
        message("response.created", response=response),
        message("response.created", response={**response, "id": "r2"}),
    ]
    pair.inject(*odd)
    assert [(stray.reason, stray.event.type) for stray in of(StrayEvent, pair.events)] == [
        ("an item without an id", "conversation.item.added"),
        ("the end of a response that is not running", "response.done"),
        ("a response that was created before", "response.created"),
        ("more open responses than Limits.max_open_responses", "response.created"),
    ]


def test_a_place_before_what_is_going_is_kept() -> None:  # C3
    pair = written()
    pair.client.send_message("Hi", item_id="three", role="assistant")
    pair.run()
    pair.client.delete_item("two")
    pair.client.truncate("three", heard_text="H")
    pair.run()
    assert pair.client.conversation.ids() == ["one", "three"]
    assert [item.id for item in pair.server.session.items] == ["one", "three"]


def test_a_text_that_is_cut_twice_at_once_is_cut_once() -> None:  # C3
    pair = written()
    pair.client.send_message("Hello", item_id="three", role="assistant")
    pair.run()
    pair.client.truncate("three", heard_text="Hell")
    outstanding = len(pair.client.commands)
    with pytest.raises(LocalProtocolError, match="'three' is on its way"):
        pair.client.truncate("three", heard_text="He")
    assert len(pair.client.commands) == outstanding
    pair.run()
    assert [entry.text for entry in pair.client.conversation] == ["Hi", "Hi", "Hell"]


def test_a_cut_text_gets_an_id_of_ours_where_the_servers_is_too_long() -> None:  # C3
    pair = deaf(written())
    part = {"type": "output_text", "text": "Hello"}
    item = {"id": "x" * 40, "type": "message", "role": "assistant", "content": [part]}
    pair.inject(message("conversation.item.added", item=item, previous_item_id="two"))
    command = pair.client.truncate("x" * 40, heard_text="He")
    assert command is not None
    assert command.key.startswith("item_q")


def test_a_goodbye_carries_its_words() -> None:  # R6
    pair = Pair().connect()
    pair.client.close(4_000, "had enough")
    pair.run()
    assert pair.server.ending is not None
    assert (pair.server.ending.code, pair.server.ending.reason) == (4_000, "had enough")


def test_every_setting_of_a_reply_is_sent() -> None:  # G1, G3
    def look(at: str) -> str:
        """Looks."""
        return at

    pair = Pair().connect()
    pair.client.raw_events = True
    item = events.Message(role="user", content=[events.InputText(text="Hi")], id="mine")
    command = pair.client.generate_reply(
        instructions="Speak.",
        tools=[look],
        tool_choice="look",
        modalities=["text"],
        input=[item],
        conversation="none",
        metadata={"mine": "1"},
        max_output_tokens=7,
    )
    sent = only(RawClientEvent, list(iter(pair.client.next_event, None))).event
    assert sent.event_id == command.event_id
    params = sent.response
    assert (params.instructions, params.output_modalities) == ("Speak.", ["text"])
    assert [tool.name for tool in params.tools] == ["look"]
    assert params.tool_choice == events.ToolChoiceFunction(name="look")
    assert (params.input, params.conversation, params.max_output_tokens) == ([item], "none", 7)
    assert params.metadata == {"mine": "1", "client_event_id": command.event_id}


def test_a_reply_beside_the_conversation_is_beside_it_whatever_the_server_says() -> None:  # G4
    pair = deaf(Pair().connect())
    command = pair.client.generate_reply(conversation="none")
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    metadata = {"client_event_id": command.event_id}
    pair.inject(message("response.created", response={**response, "metadata": metadata}))
    assert not only(GenerationStarted, pair.events).generation.in_conversation
