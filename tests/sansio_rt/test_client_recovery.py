"""Text answered where audio was asked for: asked again, and never heard (G9)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs
from pair import MANUAL, Pair, of, only
from server_says import created, done, message

from sansio_rt import (
    AudioDelta,
    CommandKind,
    Dialect,
    Endpoint,
    GenerationEnded,
    GenerationFailed,
    GenerationStarted,
    GenerationStatus,
    Limits,
    Outcome,
    RawClientEvent,
    StrayEvent,
    TextDelta,
    Timing,
    events,
)
from sansio_rt._client import ClientProtocol
from sansio_rt._server_work import Refusal, TranscriptionWanted


def recovering(times: int) -> Pair:
    return Pair(client={"limits": Limits(max_text_recoveries=times)}).connect()


def write(pair: Pair, text: str) -> list[object]:
    """Answers with text, whatever was asked for, as a broken model does."""
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    response = session._replies.get(response_id)
    assert response is not None
    response.terms = structs.replace(response.terms, audio=False)
    session.begin_message(response_id, pair.now)
    session.push_text(response_id, text, pair.now)
    found = pair.run()
    for work in of(TranscriptionWanted, pair.work):  # nothing is heard in the silences
        session.transcribed(work.item_id, "", pair.now)
        pair.work.remove(work)
    return found + pair.run()


def test_text_is_cancelled_and_the_same_is_asked_again() -> None:
    pair = recovering(5)
    command = pair.client.generate_reply(instructions="Speak.", metadata={"mine": "1"})
    pair.run()
    assert command.outcome is None
    for _ in range(2):
        found = write(pair, "I am text.")
        assert not of(TextDelta, found)
        assert not of(GenerationStarted, found)
    roles = [entry.role for entry in pair.client.conversation]
    assert roles == ["user", "user"]  # two silences, no text
    pair.speak("I speak.")
    generation = command.result()
    assert only(GenerationStarted, pair.events).generation is generation
    assert generation.recoveries == 2
    assert generation.metadata == {"mine": "1"}
    assert generation.status is GenerationStatus.COMPLETED
    assert generation.text == "I speak."
    assert of(AudioDelta, pair.events)
    assert [entry.text for entry in pair.client.conversation] == ["I speak."]
    assert not pair.client.commands
    assert not of(StrayEvent, pair.events)


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_response_on_trial_whose_request_is_refused_after_all_is_nobodys(
    interrupted: bool,
) -> None:
    pair = recovering(5)
    command = pair.client.generate_reply()
    pair.run()
    assert command.outcome is None
    pair.server.session._outbox.refuse(Refusal("no", code="no"), command.event_id)
    pair.run()
    assert command.outcome is Outcome.REFUSED
    if interrupted:
        pair.client.interrupt()
        pair.run()
    else:
        pair.speak("I speak.")
    assert not of(GenerationStarted, pair.events)  # it was cancelled, for nobody wants it
    assert not pair.client.commands


def test_after_so_many_times_text_is_taken() -> None:
    pair = recovering(1)
    command = pair.client.generate_reply()
    pair.run()
    write(pair, "Text.")
    write(pair, "Text again.")
    assert only(GenerationStarted, pair.events).generation.recoveries == 1
    assert command.result().text.strip() == "Text again."


@pytest.mark.parametrize("modalities", [["text"], None])
def test_text_that_was_asked_for_is_no_fault(modalities: list[str] | None) -> None:
    pair = recovering(5) if modalities else Pair().connect()
    settings = {"modalities": modalities} if modalities else {}
    pair.client.generate_reply(**settings)
    found = pair.run()
    assert of(GenerationStarted, found)
    found = write(pair, "Text.")
    assert "".join(event.text for event in of(TextDelta, found)).strip() == "Text."


def test_a_response_of_the_server_is_recovered_too() -> None:
    pair = recovering(5)
    event = events.ResponseCreate(response=events.ResponseParams())
    pair.server.session.receive_message(events.encode(event), pair.now)
    pair.run()
    write(pair, "Text.")
    pair.speak("Spoken.")
    ended = only(GenerationEnded, pair.events).generation
    assert (ended.text, ended.recoveries, ended.requested) == ("Spoken.", 1, False)


def test_an_end_without_content_is_taken_as_it_is() -> None:
    pair = recovering(5)
    command = pair.client.generate_reply()
    pair.run()
    pair.server.session.finish(pair.wanted_reply().response_id, pair.now)
    pair.run()
    assert command.result().status is GenerationStatus.COMPLETED


def piece(kind: str, response_id: str, delta: str = "x") -> bytes:
    place = {"response_id": response_id, "item_id": "i" + response_id, "output_index": 0}
    return message(f"response.{kind}.delta", **place, content_index=0, delta=delta)


def by_hand(**limits: Any) -> Pair:
    """A pair whose server answers nothing by itself."""
    settings = {"max_text_recoveries": 2, **limits}
    pair = Pair(client={"limits": Limits(**settings)}).connect()
    pair.lose()
    pair.client.raw_events = True
    return pair


def asked(pair: Pair) -> list[str]:
    """The ids of the replies that were asked for."""
    pair.run()
    sent = [raw.event for raw in of(RawClientEvent, pair.events)]
    return [str(each.event_id) for each in sent if isinstance(each, events.ResponseCreate)]


def test_a_response_on_trial_keeps_only_its_own_conversation_waiting() -> None:  # G9, G12
    pair = by_hand()
    pair.inject(created("r1", conversation_id=None))
    first = pair.client.generate_reply()
    assert asked(pair) == [first.event_id]
    pair = by_hand()
    pair.inject(created("r1"))
    second = pair.client.generate_reply()
    assert asked(pair) == []
    pair.inject(done("r1"))
    assert asked(pair) == [second.event_id]


def test_each_of_two_replies_on_trial_has_its_own_answer() -> None:  # G1, G9
    pair = by_hand()
    commands = [pair.client.generate_reply(conversation="none") for _ in range(2)]
    names = ("r1", "r2")
    for name, command in zip(names, commands, strict=True):
        pair.inject(created(name, metadata={"client_event_id": command.event_id}))
    pair.inject(*(piece("output_audio_transcript", name) for name in names))
    assert [command.result().id for command in commands] == ["r1", "r2"]


def test_a_response_on_trial_that_falls_silent_is_cancelled() -> None:  # G5, G9
    timing = Timing(response_silence_s=30.0, keepalive_interval_s=None, liveness_after_s=None)
    limits = Limits(max_text_recoveries=2)
    pair = Pair(client={"limits": limits, "timing": timing}).connect()
    item = {"id": "i1", "type": "message", "role": "assistant", "content": []}
    pair.inject(created("r1"))
    pair.pass_time(20)
    pair.inject(message("response.output_item.added", response_id="r1", output_index=0, item=item))
    pair.pass_time(20)
    assert not of(GenerationStarted, pair.events)
    pair.pass_time(10)
    assert only(GenerationEnded, pair.events).generation.status is GenerationStatus.CANCELLED


def test_a_response_is_created_once_on_trial_and_where_nobody_wants_it() -> None:  # G9
    pair = by_hand()
    pair.inject(created("r1"), created("r1"))
    assert only(StrayEvent, pair.events).reason == "a response that was created before"
    pair.inject(piece("output_text", "r1"), created("r1"))  # it is being cancelled
    assert [stray.reason for stray in of(StrayEvent, pair.events)] == [
        "a response that was created before"
    ] * 2
    assert not of(GenerationStarted, pair.events)


@pytest.mark.parametrize("recoveries", [0, 2])
def test_an_answer_that_nobody_waits_for_any_more_is_cancelled_at_once(recoveries: int) -> None:
    pair = by_hand(max_text_recoveries=recoveries)  # G1
    command = pair.client.generate_reply()
    pair.client.abandon(command)
    pair.inject(created("r1", metadata={"client_event_id": command.event_id}))
    assert [each.kind for each in pair.client.commands] == [CommandKind.CANCEL]
    with pytest.raises(GenerationFailed, match=r"^the caller gave up$"):
        command.result()


def test_one_recovery_is_one_for_a_response_of_the_server_too() -> None:  # G9
    pair = by_hand(max_text_recoveries=1)
    pair.inject(created("r1"), piece("output_text", "r1"))
    assert not of(GenerationStarted, pair.events)
    pair.inject(done("r1", "cancelled"))
    (again,) = asked(pair)
    pair.inject(created("r2", metadata={"client_event_id": again}), piece("output_text", "r2"))
    assert only(GenerationStarted, pair.events).generation.id == "r2"


def test_an_interruption_waits_for_what_is_cancelled_already() -> None:  # G7, G9
    pair = by_hand()
    pair.inject(created("r1"), piece("output_text", "r1"))
    (cancel,) = pair.client.commands
    assert cancel.kind is CommandKind.CANCEL
    assert pair.client.interrupt() is cancel


def test_an_interruption_leaves_nothing_asked_for() -> None:  # G7, G9
    pair = by_hand()
    command = pair.client.generate_reply()
    pair.inject(created("r1", metadata={"client_event_id": command.event_id}))
    pair.client.interrupt()
    assert pair.client._requests.arbiter.asked == {}


def test_another_response_that_began_meanwhile_is_waited_for() -> None:  # G9, G12
    pair = by_hand()
    pair.inject(created("r1"), piece("output_text", "r1"), created("r2"), done("r1", "cancelled"))
    (again,) = [each for each in pair.client.commands if each.kind is CommandKind.REPLY]
    assert asked(pair) == []
    pair.inject(done("r2"))
    assert asked(pair) == [again.event_id]
    assert pair.client._requests.arbiter.asked[again.event_id].wait_if_busy is True


def test_a_silence_goes_however_much_is_outstanding() -> None:  # G9
    pair = by_hand(max_pending_commands=1)
    command = pair.client.generate_reply()
    mine = {"metadata": {"client_event_id": command.event_id}}
    pair.inject(created("r1", **mine), piece("output_text", "r1"), done("r1", "cancelled"))
    (silence,) = [each for each in pair.client.commands if each.kind is CommandKind.CREATE_ITEM]
    item = {"id": silence.key, "type": "message", "role": "user", "content": []}
    pair.inject(
        message("conversation.item.added", item=item, previous_item_id=None),
        created("r2", **mine),
        piece("output_audio_transcript", "r2"),
    )
    pair.client.update(instructions="This takes the only room.")
    pair.inject(done("r2"))
    kinds = [each.kind for each in pair.client.commands]
    assert kinds == [CommandKind.UPDATE, CommandKind.DELETE_ITEM]


def test_recovery_is_the_betas_default() -> None:
    endpoint = Endpoint.url("ws://localhost", dialect=Dialect.BETA)
    assert ClientProtocol(endpoint, MANUAL)._responses.trials._text_recoveries == 5
    assert Pair().client._responses.trials._text_recoveries == 0
