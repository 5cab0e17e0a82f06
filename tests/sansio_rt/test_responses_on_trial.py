"""Responses that are on trial: text in the place of speech (G9)."""

from __future__ import annotations

import base64

import pytest
from pair import Pair, of, only
from server_says import PART, added, created, done, item, message

from sansio_rt import (
    AudioDelta,
    AudioFormat,
    CommandKind,
    GenerationStarted,
    ItemAdded,
    ItemDeleted,
    Limits,
    Outcome,
    Timing,
    events,
)
from sansio_rt._recovery import silent_item
from sansio_rt._server_work import ReplyWanted


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
    pair.lose()
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
    pair.lose()
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
    pair.lose()
    pair.inject(created(conversation_id="c"), WRITTEN, done(status="cancelled"))
    (create,) = [c for c in pair.client.commands if c.kind is CommandKind.CREATE_ITEM]
    pair.inject(message("error", error={"type": "x", "message": "no", "event_id": create.event_id}))
    assert create.outcome is Outcome.REFUSED
    assert pair.client._responses.trials.silences.items == {}


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
