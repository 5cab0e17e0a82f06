"""Text answered where audio was asked for: asked again, and never heard (G9)."""

from __future__ import annotations

import pytest
from msgspec import structs
from pair import MANUAL, Pair, of, only

from sansio_rt import (
    AudioDelta,
    Dialect,
    Endpoint,
    GenerationEnded,
    GenerationStarted,
    GenerationStatus,
    Limits,
    StrayEvent,
    TextDelta,
    events,
)
from sansio_rt._client import ClientProtocol
from sansio_rt._server_work import TranscriptionWanted


def recovering(times: int) -> Pair:
    return Pair(client={"limits": Limits(max_text_recoveries=times)}).connect()


def write(pair: Pair, text: str) -> list[object]:
    """Answers with text, whatever was asked for, as a broken model does."""
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    response = session._replies.get(response_id)
    assert response is not None
    response.settings = structs.replace(response.settings, audio=False)
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


def test_recovery_is_the_betas_default() -> None:
    endpoint = Endpoint.url("ws://localhost", dialect=Dialect.BETA)
    assert ClientProtocol(endpoint, MANUAL)._responses.trials._text_recoveries == 5
    assert Pair().client._responses.trials._text_recoveries == 0
