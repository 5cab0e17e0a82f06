"""Replies that meet others, are put on trial, and are asked for again: what each event says (G9, G12)."""

from __future__ import annotations

from typing import Any

import pytest
from pair import MANUAL, Pair, of, only
from server_says import message, refusal

from sansio_rt import (
    CommandKind,
    GenerationEnded,
    GenerationFailed,
    GenerationOrigin,
    GenerationStarted,
    GenerationStatus,
    ItemDeleted,
    Limits,
    ResponseDiscarded,
    RetryPolicy,
    StrayEvent,
    events,
)
from sansio_rt._arbiter import Arbiter, PendingReply
from sansio_rt._commands import Command
from sansio_rt._recovery import Trial, Verdict, verdict_of
from sansio_rt._server_work import ReplyWanted

# --- replies ----------------------------------------------------------------------------------


def test_a_reply_that_met_another_has_no_deadline_until_that_is_over() -> None:  # G12
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.wanted_reply()
    second = pair.lose().client.generate_reply()
    assert second.outcome is None
    assert second.deadline is None or second.deadline > pair.now


def test_a_reply_given_up_on_trial_says_so() -> None:  # G1, G9
    pair = Pair(client={"limits": Limits(max_text_recoveries=2)}).connect().lose()
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


def test_a_session_that_is_over_keeps_the_conversation_as_the_server_had_it() -> None:
    pair = Pair(client={"limits": Limits(max_text_recoveries=1)}).connect()
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    part = {"response_id": "r1", "item_id": "i1", "output_index": 0, "content_index": 0}
    pair.inject(
        message("response.created", response=response),
        message("response.output_text.delta", **part, delta="written"),
        message("response.done", response={**response, "status": "cancelled"}),
    )
    there = pair.client.conversation.ids()
    assert there == list(pair.client._responses.trials.silences.items)
    assert len(there) == 1
    assert not of(ItemDeleted, pair.cut())
    assert pair.client.conversation.ids() == there


@pytest.mark.parametrize("events_told", [3, 4, 5])
def test_neither_text_on_trial_nor_silences_outlive_their_connection(
    events_told: int,
) -> None:  # G9, R3
    limits = Limits(max_text_recoveries=2)
    pair = Pair(client={"limits": limits, "retry": RetryPolicy()}).connect()
    pair.client.send_message("Tell me.")
    pair.run()
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    part = {"response_id": "r1", "item_id": "i1", "output_index": 0, "content_index": 0}
    words = [{"type": "output_text", "text": "written"}]
    item = {"id": "i1", "type": "message", "role": "assistant", "content": words}
    pair.server.receive_data = lambda _data, _now: None  # type: ignore[method-assign]
    for told in (
        message("response.created", response=response),
        message("conversation.item.added", item=item, previous_item_id=None),
        message("response.output_item.added", response_id="r1", output_index=0, item=item),
        message("response.output_text.delta", **part, delta="written"),
        message("response.done", response={**response, "status": "cancelled"}),
    )[:events_told]:
        pair.inject(told)
    pair.cut()
    pair.reconnect()
    assert [entry.text for entry in pair.client.conversation] == ["Tell me."]
    assert [item.id for item in pair.server.session.items] == pair.client.conversation.ids()


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


# --- what nobody hears ------------------------------------------------------------------------


def on_trial(pair: Pair) -> Any:
    """Asks for a reply that is answered in text, which is cancelled; gives its command."""
    command = pair.lose().client.generate_reply()
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
    pair.inject(refusal("response_cancel_not_active", cancel.event_id))
    assert only(ResponseDiscarded, pair.events).metrics.status is GenerationStatus.CANCELLED


def test_what_was_on_trial_at_an_interruption_was_asked_for_by_its_caller() -> None:  # G7
    pair = recovering()
    asked_at = pair.now
    command = pair.lose().client.generate_reply()
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    metadata = {"client_event_id": command.event_id}
    pair.inject(message("response.created", response={**response, "metadata": metadata}))
    pair.now += 1
    pair.client.handle_timer(pair.now)
    pair.client.interrupt()
    pair.inject(message("response.done", response={"id": "r1", "status": "cancelled"}))
    assert only(ResponseDiscarded, pair.events).metrics.requested_at == asked_at


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
        pair = Pair(config, client={"limits": limits}).connect().lose()
        options: dict[str, Any] = {} if asked is None else {"modalities": asked}
        answered_in_text(pair, pair.client.generate_reply(**options))
        kinds = [command.kind for command in pair.client.commands]
        assert (CommandKind.CANCEL in kinds) is tried
        assert bool(of(GenerationStarted, pair.events)) is not tried


def test_an_interruption_says_so_to_who_asked() -> None:  # G7, G9
    pair = recovering()
    command = pair.lose().client.generate_reply()
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    metadata = {"client_event_id": command.event_id}
    pair.inject(message("response.created", response={**response, "metadata": metadata}))
    pair.client.interrupt()
    with pytest.raises(GenerationFailed, match="interrupted before it began"):
        command.result()


def test_a_second_answer_to_one_request_is_not_its_answer() -> None:  # G9
    pair = recovering()
    command = pair.lose().client.generate_reply()
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
    pair = Pair(client={"limits": limits}).connect().lose()
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
