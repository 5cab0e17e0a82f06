"""The caller's side: audio in, speech events, transcripts (A1 to A4, I1, I2)."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from pair import MANUAL, SECOND, Pair, of, only

from sansio_rt import (
    AudioFormat,
    InputAudioCleared,
    InputAudioCommitted,
    InputTimedOut,
    InputTranscriptCompleted,
    InputTranscriptDelta,
    InputTranscriptFailed,
    Limits,
    Outcome,
    RawClientEvent,
    RetryPolicy,
    SemanticVad,
    ServerVad,
    SessionClosed,
    SpeechStarted,
    SpeechStopped,
    StrayEvent,
    TranscriptState,
    events,
)
from sansio_rt._kept_audio import KeptAudio


def tell(pair: Pair, kind: str, **fields: Any) -> list[Any]:
    return pair.inject(json.dumps({"type": kind, "event_id": "e", **fields}).encode())


def appended(pair: Pair) -> list[bytes]:
    return [
        raw.event.audio
        for raw in of(RawClientEvent, pair.events)
        if isinstance(raw.event, events.InputAudioBufferAppend)
    ]


def pushing(**client: Any) -> Pair:
    pair = Pair(client=client).connect()
    pair.client.raw_events = True
    return pair


def commit_in_vain(pair: Pair) -> None:
    """The commits so far have no answer in time, nor has one more, whose waiting makes that known."""
    pair.pass_time(10.0)
    assert pair.client.commit_audio() is not None
    pair.client.data_to_send()
    pair.pass_time(10.0)
    pair.client._input._count_unanswered()


def test_audio_goes_out_in_frames_of_the_chosen_length() -> None:  # A1
    pair = pushing(frame_ms=20)
    pair.client.push_audio(SECOND[: 48 * 50])
    pair.run()
    assert [len(data) for data in appended(pair)] == [960, 960]
    pair.client.push_audio(SECOND[: 48 * 10])
    pair.run()
    assert b"".join(appended(pair)) == SECOND[: 48 * 60]


def test_any_rate_type_and_number_of_channels_becomes_the_wires() -> None:  # A1
    pair = pushing()
    pair.client.push_audio(np.zeros((8_000, 2), dtype=np.float32), rate=8_000)
    pair.client.commit_audio()
    pair.run()
    assert len(b"".join(appended(pair))) == 48_000


def test_g711_is_what_the_wire_gets_where_it_was_chosen() -> None:  # A4
    config = MANUAL.merge({"input_audio_format": AudioFormat.PCMU})
    pair = Pair(config).connect()
    pair.client.raw_events = True
    pair.client.push_audio(np.zeros(8_000, dtype=np.int16))
    pair.run()
    assert appended(pair) == [b"\xff" * 800] * 10
    assert pair.client._input.pushed_ms == 1_000


def test_a_commit_flushes_first_and_counts_anew() -> None:  # A2
    pair = pushing()
    pair.client.push_audio(SECOND[: 48 * 130])
    assert pair.client._input.pushed_ms == 130
    commit = pair.client.commit_audio()
    assert commit is not None
    assert pair.client._input.pushed_ms == 0
    pair.now += 0.0
    found = pair.run()
    assert [len(data) for data in appended(pair)] == [4_800, 1_440]
    committed = only(InputAudioCommitted, found)
    assert commit.event_id.startswith("event_")
    assert commit.result() == committed.item_id
    assert committed.last_word_at == pair.now
    assert pair.client.commit_audio() is None


def test_clear_drops_here_and_there() -> None:  # A3
    pair = pushing()
    pair.client.push_audio(SECOND[: 48 * 130])
    clear = pair.client.clear_audio()
    assert only(InputAudioCleared, pair.run())
    assert clear.outcome is Outcome.ACKNOWLEDGED
    assert pair.client._input.pushed_ms == 0
    assert pair.client.commit_audio() is None
    tell(pair, "input_audio_buffer.cleared")  # that nobody asked for
    assert len(of(InputAudioCleared, pair.events)) == 2


def test_the_last_place_among_the_commands_is_enough_for_a_clear() -> None:  # A3
    pair = pushing(limits=Limits(max_pending_commands=1))
    assert pair.client.clear_audio().outcome is None


def test_audio_of_a_session_that_was_closed_does_not_count_in_the_next() -> None:  # A2
    pair = pushing()
    pair.client.push_audio(SECOND)
    pair.client.commit_audio()
    pair.client.data_to_send()
    commit_in_vain(pair)
    assert pair.client._input.pushed_ms == 1_000
    pair.client.close()
    pair.run()
    pair.reconnect()
    assert pair.client._input.pushed_ms == 0.0
    assert pair.client.commit_audio() is None


def test_an_answer_to_a_clear_that_timed_out_is_for_nobody() -> None:  # A3
    pair = pushing()
    late = pair.client.clear_audio()
    assert late.deadline == pair.now + 10.0
    pair.client.data_to_send()  # lost on its way
    pair.pass_time(10.0)
    assert late.outcome is Outcome.DEADLINE
    newer = pair.client.clear_audio()
    pair.client.data_to_send()
    tell(pair, "input_audio_buffer.cleared")
    assert newer.outcome is None
    tell(pair, "input_audio_buffer.cleared")
    assert newer.outcome is Outcome.ACKNOWLEDGED


def test_nobody_speaks_in_a_buffer_that_was_cleared() -> None:  # A3, N4
    pair = Pair(MANUAL.merge({"turn_detection": ServerVad()})).connect()
    tell(pair, "input_audio_buffer.speech_started", item_id="i1", audio_start_ms=0)
    assert not pair.client._input.is_quiet(pair.now)
    tell(pair, "input_audio_buffer.cleared")
    assert pair.client._input.is_quiet(pair.now)


def test_the_audio_of_all_commits_that_timed_out_counts_once_more() -> None:  # A2
    pair = pushing()
    for seconds in (1, 2):
        pair.client.push_audio(SECOND * seconds)
        pair.client.commit_audio()
        pair.client.data_to_send()
    commit_in_vain(pair)
    assert pair.client._input.pushed_ms == 3_000


def test_positions_count_from_the_beginning_of_each_connection() -> None:
    pair = Pair(MANUAL.merge({"turn_detection": ServerVad(silence_duration_ms=200)})).connect()
    pair.client.push_audio(SECOND)
    pair.client.close()
    pair.run()
    pair.reconnect()
    pair.now += 1.0
    pair.client.tell_time(pair.now)
    pair.client.push_audio(SECOND)
    assert pair.client._input._appended_ms == 1_000
    found = tell(pair, "input_audio_buffer.speech_stopped", item_id="i1", audio_end_ms=1_200)
    assert only(SpeechStopped, found).last_word_at == pair.now


def test_a_commit_of_the_server_counts_anew_and_is_nobodys_answer() -> None:  # A2
    pair = pushing()
    pair.client.push_audio(SECOND)
    found = tell(pair, "input_audio_buffer.committed", item_id="i1", previous_item_id=None)
    committed = only(InputAudioCommitted, found)
    assert (committed.item_id, committed.previous_item_id) == ("i1", None)
    assert committed.last_word_at is None
    assert committed.transcript_expected
    assert pair.client.commit_audio() is None
    found = tell(pair, "input_audio_buffer.committed", item_id="i2", previous_item_id="i1")
    assert only(InputAudioCommitted, found).previous_item_id == "i1"


def test_a_commit_that_was_refused_leaves_the_next_its_own_time() -> None:
    pair = pushing()
    pair.client.push_audio(SECOND)
    refused = pair.client.commit_audio()
    assert refused is not None
    pair.client.data_to_send()
    error = {"type": "invalid_request_error", "message": "no", "event_id": refused.event_id}
    tell(pair, "error", error=error)
    assert refused.outcome is Outcome.REFUSED
    pair.now += 1.0
    pair.client.tell_time(pair.now)
    pair.client.push_audio(SECOND)
    pair.client.commit_audio()
    assert only(InputAudioCommitted, pair.run()).last_word_at == pair.now


def test_commits_that_nobody_answers_are_forgotten() -> None:
    pair = pushing()
    for _ in range(200):
        pair.client.push_audio(SECOND[:4_800])
        pair.client.commit_audio()
        pair.client.data_to_send()
    assert len(pair.client._input._commit_marks) <= 64
    assert len(pair.client._input._commits) <= 64
    pair.pass_time(10.0)
    pair.client._input._count_unanswered()
    assert pair.client._input.pushed_ms == 64 * 100


@pytest.mark.parametrize(
    ("detection", "known"),
    [
        (ServerVad(silence_duration_ms=200), True),
        (ServerVad(), False),
        (SemanticVad(), False),
    ],
)
def test_the_end_of_speech_says_when_the_last_word_was_pushed(
    detection: ServerVad | SemanticVad, known: bool
) -> None:  # I1, M5
    pair = Pair(MANUAL.merge({"turn_detection": detection})).connect()
    for step in range(10):
        pair.client.tell_time(pair.now + step)
        pair.client.push_audio(SECOND[:9_600])
    pair.run()
    found = tell(pair, "input_audio_buffer.speech_started", item_id="i1", audio_start_ms=100)
    found += tell(pair, "input_audio_buffer.speech_stopped", item_id="i1", audio_end_ms=1_300)
    started, stopped = only(SpeechStarted, found), only(SpeechStopped, found)
    assert (started.item_id, started.audio_start_ms) == ("i1", 100)
    assert started.transcript_expected
    assert stopped.audio_end_ms == 1_300
    assert stopped.last_word_at == (pair.now + 5 if known else None)


def test_no_transcript_is_promised_where_none_was_asked_for() -> None:  # I1
    pair = Pair(MANUAL.merge({"transcription": None})).connect()
    found = tell(pair, "input_audio_buffer.speech_started", item_id="i1", audio_start_ms=0)
    assert not only(SpeechStarted, found).transcript_expected


def test_a_caller_who_stays_silent_is_told_of() -> None:
    pair = pushing()
    found = tell(
        pair,
        "input_audio_buffer.timeout_triggered",
        item_id="i1",
        audio_start_ms=100,
        audio_end_ms=5_100,
    )
    event = only(InputTimedOut, found)
    assert (event.item_id, event.audio_start_ms, event.audio_end_ms) == ("i1", 100, 5_100)


def spoken(pair: Pair, item_id: str) -> None:
    content = [{"type": "input_audio", "transcript": None}]
    item = {"id": item_id, "type": "message", "role": "user", "content": content}
    tell(pair, "conversation.item.added", item=item, previous_item_id=None)


TRANSCRIPTION = "conversation.item.input_audio_transcription."


def test_pieces_of_a_transcript_add_up_part_by_part() -> None:  # I2
    pair = pushing()
    spoken(pair, "i1")
    for piece in ("what ", "time"):
        tell(pair, TRANSCRIPTION + "delta", item_id="i1", content_index=0, delta=piece)
    tell(pair, TRANSCRIPTION + "delta", item_id="i1", content_index=1, delta="other")
    told = of(InputTranscriptDelta, pair.events)
    assert [event.text for event in told] == ["what ", "what time", "other"]
    assert [event.delta for event in told] == ["what ", "time", "other"]
    assert [(event.item_id, event.content_index) for event in told] == [
        ("i1", 0),
        ("i1", 0),
        ("i1", 1),
    ]
    entry = pair.client.conversation.get("i1")
    assert entry is not None
    assert (entry.text, entry.transcript_state) == ("what time", TranscriptState.PARTIAL)


def test_a_whole_transcript_has_a_confidence_where_probabilities_are_told() -> None:  # I2
    pair = pushing()
    spoken(pair, "i1")
    logprobs = [{"token": "a", "logprob": math.log(0.5)}, {"token": "b", "logprob": math.log(0.5)}]
    fields = {"item_id": "i1", "content_index": 0, "transcript": "ab"}
    first = tell(pair, TRANSCRIPTION + "completed", **fields, logprobs=logprobs)
    second = tell(pair, TRANSCRIPTION + "completed", **fields, logprobs=None)
    assert only(InputTranscriptCompleted, first).confidence == pytest.approx(0.5)
    assert only(InputTranscriptCompleted, second).confidence is None
    completed = only(InputTranscriptCompleted, first)
    assert (completed.item_id, completed.content_index) == ("i1", 0)
    assert completed.metrics.item_id == "i1"


def test_a_failed_transcript_closes_the_partial_one() -> None:  # I2
    pair = pushing()
    spoken(pair, "i1")
    tell(pair, TRANSCRIPTION + "delta", item_id="i1", content_index=0, delta="what ")
    error = {"type": "server_error", "message": "too loud"}
    found = tell(pair, TRANSCRIPTION + "failed", item_id="i1", content_index=0, error=error)
    assert only(InputTranscriptFailed, found).message == "too loud"
    entry = pair.client.conversation.get("i1")
    assert entry is not None
    assert (entry.text, entry.transcript_state) == ("what ", TranscriptState.FAILED)
    tell(pair, TRANSCRIPTION + "delta", item_id="i1", content_index=0, delta="anew")
    assert of(InputTranscriptDelta, pair.events)[-1].text == "anew"


def test_a_failure_without_words_has_none() -> None:  # I2
    pair = pushing()
    spoken(pair, "i1")
    error = {"type": "server_error", "message": ""}
    found = tell(pair, TRANSCRIPTION + "failed", item_id="i1", content_index=0, error=error)
    failed = only(InputTranscriptFailed, found)
    assert (failed.item_id, failed.content_index, failed.message) == ("i1", 0, "")


@pytest.mark.parametrize("expected", [True, False])
def test_every_event_of_a_turn_says_whether_a_transcript_follows(expected: bool) -> None:  # I1
    config = MANUAL if expected else MANUAL.merge({"transcription": None})
    pair = Pair(config).connect()
    place = {"item_id": "i1"}
    tell(pair, "input_audio_buffer.speech_started", **place, audio_start_ms=100)
    tell(pair, "input_audio_buffer.speech_stopped", **place, audio_end_ms=900)
    tell(pair, "input_audio_buffer.committed", **place, previous_item_id=None)
    told: list[Any] = [
        event
        for event in pair.events
        if isinstance(event, (SpeechStarted, SpeechStopped, InputAudioCommitted))
    ]
    assert [type(event) for event in told] == [SpeechStarted, SpeechStopped, InputAudioCommitted]
    assert [event.transcript_expected for event in told] == [expected] * 3
    assert {(event.item_id, event.received_at) for event in told} == {("i1", pair.now)}
    assert (told[0].audio_start_ms, told[1].audio_end_ms) == (100, 900)


def test_a_turn_whose_place_is_not_told_has_none() -> None:  # I1
    found = tell(pushing(), "input_audio_buffer.committed", item_id="i1")
    assert only(InputAudioCommitted, found).previous_item_id is None


def turn(pair: Pair) -> str:
    """A second of speech that was committed; gives its item's id."""
    pair.client.push_audio(SECOND)
    pair.client.commit_audio()
    return str(only(InputAudioCommitted, pair.run()).item_id)


def test_words_are_waited_for_a_few_seconds_and_no_longer_than_they_take() -> None:  # N4
    pair = pushing(retry=RetryPolicy())
    first = turn(pair)
    is_quiet = pair.client._input.is_quiet
    assert not is_quiet(pair.now + 4.9)
    assert is_quiet(pair.now + 5.0)
    tell(pair, TRANSCRIPTION + "completed", item_id=first, content_index=0, transcript="said")
    assert is_quiet(pair.now)
    pair.now += 60.0
    turn(pair)
    assert not is_quiet(pair.now + 4.9)
    assert is_quiet(pair.now + 5.0)


def test_words_of_a_connection_that_is_gone_are_not_waited_for() -> None:  # N4, R5
    pair = pushing(retry=RetryPolicy())
    turn(pair)
    pair.now += 1.0
    pair.cut()
    pair.reconnect()
    assert pair.client._input.untranscribed()
    assert pair.client._input.is_quiet(pair.now)


def test_the_oldest_of_very_many_commits_is_answered_all_the_same() -> None:  # A2
    pair = pushing(retry=RetryPolicy())
    commits = []
    for _ in range(65):
        pair.client.push_audio(SECOND[:4_800])
        commits.append(pair.client.commit_audio())
        pair.client.data_to_send()
    tell(pair, "input_audio_buffer.committed", item_id="i1", previous_item_id=None)
    assert commits[0] is not None
    assert commits[0].result() == "i1"


def test_transcripts_that_never_end_are_forgotten() -> None:
    pair = pushing()
    for number in range(300):
        tell(pair, TRANSCRIPTION + "delta", item_id=f"i{number}", content_index=0, delta="x")
        tell(pair, "input_audio_buffer.speech_stopped", item_id=f"i{number}", audio_end_ms=number)
    assert len(pair.client._input._partial) == 256
    assert len(pair.client._input._speech_ended_at) == 256


def test_a_delta_of_a_transcript_that_is_complete_says_so() -> None:  # I2
    pair = pushing()
    spoken(pair, "i1")
    place = {"item_id": "i1", "content_index": 0}
    tell(pair, TRANSCRIPTION + "completed", **place, transcript="whole")
    stray = only(StrayEvent, tell(pair, TRANSCRIPTION + "delta", **place, delta="late"))
    assert stray.reason == "a delta of a transcript that is complete"
    assert stray.event.delta == "late"


def test_a_transcript_of_an_item_that_nobody_knows_begins_anew_after_its_end() -> None:  # I2
    pair = pushing()
    place = {"item_id": "unknown", "content_index": 0}
    tell(pair, TRANSCRIPTION + "delta", **place, delta="one")
    tell(pair, TRANSCRIPTION + "completed", **place, transcript="one")
    found = tell(pair, TRANSCRIPTION + "delta", **place, delta="two")
    assert only(InputTranscriptDelta, found).text == "two"


def test_a_transcript_of_just_the_longest_length_passes() -> None:
    pair = pushing()
    place = {"item_id": "i1", "content_index": 0}
    found = tell(pair, TRANSCRIPTION + "delta", **place, delta="x" * (128 * 1024))
    only(InputTranscriptDelta, found)
    found = tell(pair, TRANSCRIPTION + "delta", **place, delta="x")
    assert not of(InputTranscriptDelta, found)


def test_a_transcript_without_end_ends_the_session() -> None:
    pair = pushing()
    piece = "x" * 900_000
    for _ in range(20):
        if pair.client.commands or of(SessionClosed, pair.events):
            break
        tell(pair, TRANSCRIPTION + "delta", item_id="i1", content_index=0, delta=piece)
    assert "transcript" in str(only(SessionClosed, pair.events).error)


def test_the_audio_of_a_few_turns_is_kept_until_their_words_are_known() -> None:  # N3
    pair = pushing(retry=RetryPolicy())
    for number in range(7):
        pair.client.push_audio(SECOND[:9_600])
        pair.client.commit_audio()
        pair.run()
        if number == 6:
            newest = of(InputAudioCommitted, pair.events)[-1].item_id
            fields = {"item_id": newest, "content_index": 0, "transcript": "said"}
            tell(pair, TRANSCRIPTION + "completed", **fields)
    kept = pair.client._input.untranscribed()
    assert len(kept) == 3
    assert all(len(audio) == 9_600 for audio in kept.values())


def test_kept_audio_is_the_newest_and_counts_what_it_dropped() -> None:  # N3, R10
    kept = KeptAudio(1.0)
    kept.configure(AudioFormat.PCM16)
    kept.extend([bytes(4_800)] * 12)
    assert (kept.end_ms, kept.take_lost_ms(), kept.take_lost_ms()) == (1_200, 200, 0)
    assert len(kept.take_until(250)) == 48 * 50
    assert len(kept.take_until(250)) == 0
    kept.configure(AudioFormat.PCMU)
    kept.extend([bytes(800)])
    assert b"".join(kept.take_all()) == bytes(800)
    assert kept.end_ms == 0
    none = KeptAudio(0.0)
    none.extend([bytes(800)])
    assert none.take_all() == []
