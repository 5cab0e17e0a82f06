"""Turns out of session events, stage by stage (M5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair import Loud, Pair
from speaking import LOUD_MS, SILENT_MS, SPEAKING, newest, talk

from sansio_rt import (
    CallReady,
    GenerationEnded,
    GenerationStarted,
    GenerationStatus,
    InputAudioCommitted,
    InputTranscriptCompleted,
    SessionClosed,
    SessionConfig,
    SpeechStarted,
    events,
)
from sansio_rt._metrics import TurnMetrics
from sansio_rt._server_work import ReplyWanted, TranscriptionWanted
from sansio_rt._turn_clock import TurnClock


def turns_of(pair: Any) -> list[TurnMetrics]:
    """The turns that the events so far make."""
    clock = TurnClock()
    return [turn for event in pair.events for turn in clock.handle(event)]


def transcribe(pair: Any) -> None:
    """Tells what was said, where that is wanted: the emulator replies to words."""
    for work in [work for work in pair.work if isinstance(work, TranscriptionWanted)]:
        pair.work.remove(work)
        pair.server.session.transcribed(work.item_id, "Hello.", pair.now)
    pair.run()


def reply(pair: Any, *, call: bool = False) -> None:
    """Answers the oldest wanted reply: 0.2 s to the first audio, 0.3 s to the end."""
    transcribe(pair)
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    pair.pass_time(0.1)
    if call:
        session.call_function(response_id, "look", "{}", pair.now)
        session.finish(response_id, pair.now)
        pair.run()
        return
    session.begin_message(response_id, pair.now)
    session.push_text(response_id, "Hello.", pair.now)
    pair.run()
    pair.pass_time(0.1)
    session.push_audio(response_id, SILENT_MS * 500, pair.now)
    pair.run()
    pair.pass_time(0.1)
    session.end_message(response_id, pair.now)
    session.finish(response_id, pair.now)
    pair.run()


def stages(turn: TurnMetrics) -> Iterator[float]:
    """The times of a turn that are known, in the order in which they should be."""
    names = (
        "speech_started_at",
        "last_word_at",
        "speech_stopped_at",
        "committed_at",
        "created_at",
        "first_token_at",
        "first_audio_at",
        "done_at",
    )
    return (moment for name in names if (moment := getattr(turn, name)) is not None)


def test_a_spoken_turn_has_all_its_stages(spoken: Any) -> None:  # M5
    talk(spoken, LOUD_MS, 600)
    silent_from = spoken.now
    talk(spoken, SILENT_MS, 1200)
    begun = spoken.now
    reply(spoken)
    (turn,) = turns_of(spoken)
    assert turn.item_id == newest(spoken, SpeechStarted).item_id
    assert turn.status is GenerationStatus.COMPLETED
    assert len(turn.response_ids) == 1
    assert turn.requested_at is None  # the server began by itself
    committed_at = newest(spoken, InputAudioCommitted).received_at
    assert turn.created_at == turn.committed_at == committed_at
    assert turn.first_token_at == pytest.approx(begun + 0.2)  # told with their sound
    assert turn.first_audio_at == pytest.approx(begun + 0.2)
    assert turn.done_at == pytest.approx(begun + 0.3)
    assert turn.last_word_to_audio_s == pytest.approx(begun + 0.2 - silent_from, abs=0.06)
    assert turn.transcript_at == pytest.approx(begun)
    assert turn.first_played_at is turn.last_word_to_played_s is None
    times = list(stages(turn))
    assert len(times) == 8
    assert times == sorted(times)


def test_the_user_waits_from_the_last_word_to_the_first_played_sample(spoken: Any) -> None:  # M5
    clock = TurnClock(playback=True)
    talk(spoken, LOUD_MS, 600)
    talk(spoken, SILENT_MS, 1200)
    reply(spoken)
    over = [turn for event in spoken.events for turn in clock.handle(event)]
    assert over == []  # done, but not heard yet
    response_id = newest(spoken, GenerationStarted).generation.id
    assert clock.played("resp_other", spoken.now) == []
    (turn,) = clock.played(response_id, spoken.now + 0.04)
    assert turn.first_played_at == spoken.now + 0.04
    assert turn.last_word_at is not None
    assert turn.last_word_to_played_s == pytest.approx(spoken.now + 0.04 - turn.last_word_at)
    assert clock.played(response_id, spoken.now + 9) == []


def test_the_next_reply_ends_a_turn_whose_answer_nobody_has_heard() -> None:  # M5
    pair = Pair().connect()
    clock = TurnClock(playback=True)
    for _ in range(2):
        pair.client.generate_reply()
        pair.run()
        reply(pair)
    (turn,) = [turn for event in pair.events for turn in clock.handle(event)]
    assert len(turn.response_ids) == 1
    assert turn.first_played_at is None


def test_only_the_first_played_sample_of_a_turn_counts() -> None:  # M5
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    clock = TurnClock()
    for event in pair.events:
        assert clock.handle(event) == []
    response_id = newest(pair, GenerationStarted).generation.id
    for late_s in (0.0, 0.5):
        assert clock.played(response_id, pair.now + late_s) == []
    begun, seen = pair.now, len(pair.events)
    reply(pair)
    (turn,) = [turn for event in pair.events[seen:] for turn in clock.handle(event)]
    assert turn.first_played_at == begun


def test_a_typed_turn_begins_with_its_request() -> None:  # M5
    pair = Pair().connect()
    pair.client.send_message("Hello?")
    pair.pass_time(1.0)
    pair.client.generate_reply()
    pair.run()
    begun = pair.now
    reply(pair)
    (turn,) = turns_of(pair)
    assert (turn.requested_at, turn.item_id, turn.last_word_at) == (begun, None, None)
    assert turn.last_word_to_audio_s is None
    assert turn.first_audio_at == pytest.approx(begun + 0.2)
    assert list(stages(turn)) == sorted(stages(turn))


def test_a_committed_turn_counts_from_the_newest_sample() -> None:  # M5
    pair = Pair().connect()
    pair.client.push_audio(LOUD_MS * 500)
    last_word_at = pair.now
    pair.pass_time(0.3)
    pair.client.commit_audio()
    pair.client.generate_reply()
    pair.run()
    reply(pair)
    (turn,) = turns_of(pair)
    assert turn.last_word_at == last_word_at
    assert turn.last_word_to_audio_s == pytest.approx(0.3 + 0.2)


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_turn_that_calls_a_tool_lasts_until_the_answer(by_hand: bool) -> None:  # M5
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    begun = pair.now
    reply(pair, call=True)
    assert turns_of(pair) == []
    pair.pass_time(2.0)
    pair.client.send_tool_output(newest(pair, CallReady).call.call_id, "4", reply=not by_hand)
    if by_hand:
        pair.client.generate_reply()
    pair.run()
    reply(pair)
    (turn,) = turns_of(pair)
    assert len(set(turn.response_ids)) == 2
    assert turn.requested_at == begun
    assert turn.first_token_at == pytest.approx(begun + 0.1)  # the call
    assert turn.first_audio_at == pytest.approx(begun + 2.3)
    assert turn.done_at == pytest.approx(begun + 2.4)


def test_a_reply_to_something_else_ends_a_turn_that_waits_for_its_tool() -> None:  # M5
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    reply(pair, call=True)
    pair.client.push_audio(LOUD_MS * 500)
    pair.client.commit_audio()
    pair.client.generate_reply()
    pair.run()
    (turn,) = turns_of(pair)
    assert (len(turn.response_ids), turn.first_audio_at) == (1, None)
    reply(pair)
    assert [bool(turn.item_id) for turn in turns_of(pair)] == [False, True]


def test_a_barge_in_ends_one_turn_and_begins_another() -> None:  # M5, G2
    spoken = Pair(SPEAKING, detector=Loud(), pace=1.0).connect()
    talk(spoken, LOUD_MS, 600)
    talk(spoken, SILENT_MS, 1000)
    transcribe(spoken)
    session, response_id = spoken.server.session, spoken.wanted_reply().response_id
    session.begin_message(response_id, spoken.now)
    session.push_audio(response_id, SILENT_MS * 5000, spoken.now)
    talk(spoken, LOUD_MS, 600)
    talk(spoken, SILENT_MS, 1000)
    reply(spoken)
    spoken.pass_time(1.0)
    first, second = turns_of(spoken)
    assert first.status is GenerationStatus.CANCELLED
    assert second.status is GenerationStatus.COMPLETED
    assert first.item_id != second.item_id
    assert second.speech_started_at is not None
    assert first.first_audio_at is not None
    assert first.first_audio_at < second.speech_started_at


def test_speech_that_gets_no_reply_is_a_turn_all_the_same() -> None:  # M5
    pair = Pair().connect()
    for _ in range(2):
        pair.client.push_audio(LOUD_MS * 500)
        pair.client.commit_audio()
        pair.run()
    assert [(turn.response_ids, turn.status) for turn in turns_of(pair)] == [((), None)]
    pair.client.close()
    pair.run()
    turns = turns_of(pair)
    assert len({turn.item_id for turn in turns}) == 2
    assert all(turn.created_at is None and turn.committed_at is not None for turn in turns)


def test_the_end_of_the_session_ends_what_nobody_said_the_end_of() -> None:  # M5
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.client.close()
    pair.run()
    clock = TurnClock()
    told = [event for event in pair.events if not isinstance(event, GenerationEnded)]
    (turn,) = [turn for event in told for turn in clock.handle(event)]
    assert turn.created_at is not None
    assert turn.done_at is None


def test_what_was_said_and_taken_back_is_no_turn(spoken: Any) -> None:  # M5, A3
    talk(spoken, LOUD_MS, 600)
    assert newest(spoken, SpeechStarted)
    spoken.client.clear_audio()
    spoken.run()
    spoken.client.close()
    spoken.run()
    assert turns_of(spoken) == []


def test_a_reply_beside_the_conversation_is_no_turn() -> None:  # M5, G11
    pair = Pair().connect()
    pair.client.generate_reply(conversation="none")
    pair.run()
    reply(pair)
    assert turns_of(pair) == []


def test_a_transcript_that_is_late_is_not_waited_for() -> None:  # M5
    pair = Pair(SessionConfig(turn_detection=None, transcription=SPEAKING.transcription)).connect()
    pair.client.push_audio(LOUD_MS * 500)
    pair.client.commit_audio()
    pair.run()
    item_id = newest(pair, InputAudioCommitted).item_id
    clock = TurnClock()
    over = [turn for event in pair.events for turn in clock.handle(event)]
    late = InputTranscriptCompleted(
        item_id=item_id,
        content_index=0,
        transcript="Hi.",
        confidence=None,
        event=events.ConversationItemInputAudioTranscriptionCompleted(
            item_id=item_id, transcript="Hi."
        ),
        received_at=500.0,
        metrics=events.UNSET,  # type: ignore[arg-type]  # not looked at
    )
    assert clock.handle(late) == over == []
    (turn,) = clock.handle(SessionClosed(error=None, code=1000, reason=""))
    assert turn.transcript_at == 500.0
    assert clock.handle(late) == []


steps = st.lists(
    st.sampled_from(["say", "ask", "beside", "reply", "call", "answer", "cancel", "played"]),
    max_size=14,
)


@given(steps, st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_response_is_in_one_turn_and_its_stages_are_in_order(
    wishes: list[str], playback: bool
) -> None:
    """M5: whatever happens, each response of the conversation is in exactly one turn."""
    pair = Pair().connect()
    pair.events.clear()
    clock, over, seen = TurnClock(playback=playback), [], 0
    for wish in [*wishes, "close"]:
        pair.now += 0.25
        _do(pair, wish)
        pair.run()
        for event in pair.events[seen:]:
            over += clock.handle(event)
        seen = len(pair.events)
        if wish == "played":
            for event in pair.events:
                if type(event) is GenerationStarted:
                    over += clock.played(event.generation.id, pair.now)
    responses = [
        event.generation.id
        for event in pair.events
        if type(event) is GenerationStarted and event.generation.in_conversation
    ]
    assert sorted(id_ for turn in over for id_ in turn.response_ids) == sorted(responses)
    for turn in over:
        assert list(stages(turn)) == sorted(stages(turn))
        for name in ("last_word_to_audio_s", "last_word_to_played_s"):
            assert (getattr(turn, name) or 0.0) >= 0.0


def _do(pair: Any, wish: str) -> None:
    client = pair.client
    wanted = [work for work in pair.work if isinstance(work, ReplyWanted)]
    calls = [event.call for event in pair.events if type(event) is CallReady]
    match wish:
        case "say":
            client.push_audio(LOUD_MS * 200)
            client.commit_audio()
        case "ask":
            client.generate_reply()
        case "beside":
            client.generate_reply(conversation="none")
        case "reply" | "call" if wanted:
            reply(pair, call=wish == "call")
        case "answer" if calls and not calls[-1].answered:
            client.send_tool_output(calls[-1].call_id, "4")
        case "cancel":
            client.interrupt()
            pair.work = [work for work in pair.work if work not in wanted]
        case "close":
            client.close()
        case _:
            pass
