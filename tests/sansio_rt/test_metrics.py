"""Metrics as pure functions over recorded times, turns from session events, and what logs may show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair import Loud, Pair

from sansio_rt import (
    AudioFormat,
    CallReady,
    GenerationEnded,
    GenerationStarted,
    GenerationStatus,
    InputAudioCommitted,
    InputTranscriptCompleted,
    ServerVad,
    SessionClosed,
    SessionConfig,
    SpeechStarted,
    SpeechStopped,
    Transcription,
    events,
)
from sansio_rt._metrics import (
    GenerationMetrics,
    SampleClock,
    TurnMetrics,
    elapsed_s,
    measure_generation,
    measure_transcription,
)
from sansio_rt._server_work import ReplyWanted, TranscriptionWanted
from sansio_rt._shorten import EVENT_LIMIT, shorten, shorten_text
from sansio_rt._turn_clock import TurnClock

SILENCE_MS = 500
SPEAKING = SessionConfig(
    turn_detection=ServerVad(silence_duration_ms=SILENCE_MS),
    transcription=Transcription(model="gpt-4o-mini-transcribe"),
)
LOUD_MS = b"\x00\x20" * 12 + b"\x00\xe0" * 12
SILENT_MS = bytes(48)
KEY = "sk-proj-7Hx9QmZ2Lr4TnV8b"


@pytest.fixture
def spoken() -> Any:
    """A client and a server that hears turns, and the client's clock of them."""
    return Pair(SPEAKING, detector=Loud()).connect()


def talk(pair: Any, sound: bytes, milliseconds: int, *, push_ms: int = 20) -> None:
    """Pushes sound at real time."""
    for _ in range(milliseconds // push_ms):
        pair.pass_time(push_ms / 1000)
        pair.client.push_audio(sound * push_ms)
        pair.run()


def turns_of(pair: Any) -> list[TurnMetrics]:
    """The turns that the events so far make."""
    clock = TurnClock()
    return [turn for event in pair.events for turn in clock.handle(event)]


def newest(pair: Any, kind: type) -> Any:
    return [event for event in pair.events if type(event) is kind][-1]


# --- one generation -----------------------------------------------------------------------------


def measured(usage: Any = events.UNSET, **times: Any) -> GenerationMetrics:
    recorded = {
        "requested_at": 10.0,
        "created_at": 10.25,
        "first_token_at": 10.5,
        "first_audio_at": 11.0,
        "ended_at": 12.0,
        "audio_ms": 1500.0,
    }
    status = times.pop("status", GenerationStatus.COMPLETED)
    return measure_generation("resp_1", status, usage=usage, **(recorded | times))


def test_a_generation_is_measured_from_its_request() -> None:  # M1
    usage = events.Usage(
        total_tokens=132,
        input_tokens=100,
        output_tokens=32,
        input_token_details=events.InputTokenDetails(
            text_tokens=60,
            audio_tokens=30,
            image_tokens=10,
            cached_tokens=50,
            cached_tokens_details=events.CachedTokensDetails(
                text_tokens=40, audio_tokens=8, image_tokens=2
            ),
        ),
        output_token_details=events.OutputTokenDetails(text_tokens=12, audio_tokens=20),
    )
    assert measured(usage) == GenerationMetrics(
        response_id="resp_1",
        status=GenerationStatus.COMPLETED,
        requested_at=10.0,
        created_at=10.25,
        first_token_s=0.5,
        first_audio_s=1.0,
        duration_s=2.0,
        audio_ms=1500.0,
        input_tokens=100,
        input_text_tokens=60,
        input_audio_tokens=30,
        input_image_tokens=10,
        cached_tokens=50,
        cached_text_tokens=40,
        cached_audio_tokens=8,
        cached_image_tokens=2,
        output_tokens=32,
        output_text_tokens=12,
        output_audio_tokens=20,
        total_tokens=132,
        tokens_per_second=16.0,
    )


def test_a_generation_of_the_server_is_measured_from_its_creation() -> None:  # M1
    metrics = measured(requested_at=None)
    assert (metrics.started_at, metrics.first_token_s, metrics.duration_s) == (10.25, 0.25, 1.75)


@pytest.mark.parametrize("usage", [events.UNSET, None, events.Usage()])
def test_what_the_service_does_not_tell_is_unknown(usage: Any) -> None:  # M6
    metrics = measured(usage, first_token_at=None, first_audio_at=None, audio_ms=0.0)
    unknown = [name for name in metrics.__struct_fields__ if getattr(metrics, name) is None]
    assert [name for name in unknown if "token" in name] == [
        name for name in metrics.__struct_fields__ if "token" in name
    ]
    assert metrics.audio_ms is None
    assert metrics.first_audio_s is None


def test_a_count_of_zero_is_known_and_null_is_not() -> None:  # M6
    usage = events.Usage(input_tokens=0, output_tokens=0, total_tokens=None)
    metrics = measured(usage)
    assert (metrics.input_tokens, metrics.output_tokens, metrics.total_tokens) == (0, 0, None)
    assert metrics.tokens_per_second == 0.0


def test_what_took_no_time_has_no_rate() -> None:  # M6
    metrics = measured(events.Usage(output_tokens=5), ended_at=10.0)
    assert (metrics.duration_s, metrics.tokens_per_second) == (0.0, None)


moments = st.none() | st.floats(0, 1e6)


@given(start=moments, end=moments)
def test_a_duration_is_never_negative(start: float | None, end: float | None) -> None:  # M6
    elapsed = elapsed_s(start, end)
    if start is None or end is None or end < start:
        assert elapsed is None
    else:
        assert elapsed == end - start


@given(
    requested_at=moments,
    created_at=st.floats(0, 1e6),
    first_token_at=moments,
    first_audio_at=moments,
    ended_at=st.floats(0, 1e6),
    output_tokens=st.none() | st.integers(0, 10**9),
    status=st.sampled_from(GenerationStatus),
)
def test_no_times_make_a_nonsense_number(output_tokens: Any, **times: Any) -> None:  # M6
    metrics = measured(events.Usage(output_tokens=output_tokens), **times)
    for name in ("first_token_s", "first_audio_s", "duration_s", "tokens_per_second"):
        value = getattr(metrics, name)
        assert value is None or value >= 0
    assert metrics.cancelled is (metrics.status is GenerationStatus.CANCELLED)


def test_a_cancelled_generation_reports_what_it_took() -> None:  # M6
    pair = Pair(pace=1.0).connect()
    command = pair.client.generate_reply()
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    session.begin_message(response_id, pair.now)
    session.push_text(response_id, "It was a dark", pair.now)
    session.push_audio(response_id, SILENT_MS * 5000, pair.now)
    pair.pass_time(0.5)
    pair.client.interrupt()
    pair.run()
    metrics = command.result().metrics
    assert metrics.status is GenerationStatus.CANCELLED
    assert metrics.cancelled
    assert metrics.duration_s == pytest.approx(0.5)
    assert metrics.output_tokens
    assert metrics.input_tokens is not None


def test_a_lost_generation_has_times_and_no_counts() -> None:  # M6
    pair = Pair().connect()
    command = pair.client.generate_reply()
    pair.run()
    generation = command.result()
    pair.now += 2.0
    pair.client.receive_eof(pair.now)
    assert generation.metrics.status is GenerationStatus.LOST
    assert generation.metrics.duration_s == pytest.approx(2.0)
    assert generation.metrics.total_tokens is None


# --- transcripts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        (events.TranscriptionDuration(seconds=2.5), {"audio_s": 2.5}),
        (
            events.TranscriptionTokens(
                total_tokens=9,
                input_tokens=7,
                output_tokens=2,
                input_token_details=events.InputTokenDetails(text_tokens=1, audio_tokens=6),
            ),
            {
                "total_tokens": 9,
                "input_tokens": 7,
                "output_tokens": 2,
                "input_text_tokens": 1,
                "input_audio_tokens": 6,
            },
        ),
        (events.TranscriptionTokens(total_tokens=None), {}),
        (events.UnknownObject(type="words", data={"type": "words", "words": 3}), {}),
        (None, {}),
        (events.UNSET, {}),
    ],
)
def test_transcription_usage_in_tokens_or_seconds(usage: Any, told: dict[str, Any]) -> None:  # M1
    event = events.ConversationItemInputAudioTranscriptionCompleted(
        item_id="item_1", content_index=0, transcript="Hi.", usage=usage
    )
    metrics = measure_transcription(event, speech_ended_at=None, now=3.0)
    known = {
        name: value
        for name in metrics.__struct_fields__
        if (value := getattr(metrics, name)) is not None
    }
    assert known == {"item_id": "item_1", "content_index": 0} | told


def test_a_transcript_counts_from_the_end_of_the_speech(spoken: Any) -> None:  # M1, I2
    talk(spoken, LOUD_MS, 600)
    talk(spoken, SILENT_MS, 700)
    stopped = newest(spoken, SpeechStopped)
    wanted = next(work for work in spoken.work if isinstance(work, TranscriptionWanted))
    spoken.pass_time(0.25)
    spoken.server.session.transcribed(wanted.item_id, "Hello.", spoken.now)
    spoken.run()
    completed = newest(spoken, InputTranscriptCompleted)
    assert completed.metrics.item_id == stopped.item_id
    assert completed.metrics.duration_s == pytest.approx(spoken.now - stopped.received_at)
    assert completed.metrics.duration_s >= 0.25


# --- when which sample was pushed ---------------------------------------------------------------


def test_a_sample_was_pushed_with_the_push_that_brought_it() -> None:  # M5
    clock = SampleClock()
    assert clock.time_of(0) is None
    for number in range(1, 11):
        clock.pushed(100.0 * number, 50.0 + number)
    assert clock.time_of(1) == 51.0
    assert clock.time_of(100) == 51.0
    assert clock.time_of(101) == 52.0
    assert clock.time_of(1000) == clock.newest_at == 60.0
    assert clock.time_of(1050) == 60.0  # the server's window, rounded up
    assert clock.time_of(1500) is None  # never pushed


def test_the_table_of_pushes_is_bounded_and_knows_what_it_forgot() -> None:  # M5, M6
    clock = SampleClock()
    for number in range(1, 50_000):
        clock.pushed(20.0 * number, float(number))
    assert len(clock) == SampleClock.KEPT
    assert clock.time_of(20.0 * 49_990) == 49_990.0
    assert clock.time_of(20.0) is None


@given(st.lists(st.floats(0.05, 300), min_size=1, max_size=60), st.floats(0, 1))
@settings(max_examples=60)
def test_a_time_is_late_by_less_than_a_push(pushes: list[float], where: float) -> None:  # M5
    """At real time, a position's time is that of the sample, or later by one push or 10 ms."""
    clock, position = SampleClock(), 0.0
    for push_ms in pushes:
        position += push_ms
        clock.pushed(position, position / 1000)
    wanted = where * position
    found = clock.time_of(wanted)
    assert found is not None
    assert -1e-9 <= found - wanted / 1000 <= (max(*pushes, 10) + 10) / 1000


def test_where_nobody_knows_when_it_was_said() -> None:  # M6, N3
    """Audio that is sent again on another connection has other positions there."""
    clock = SampleClock()
    clock.pushed(3000.0, None)
    assert clock.time_of(2500.0) is None
    clock.pushed(3100.0, 70.0)
    assert (clock.time_of(2500.0), clock.time_of(3050.0)) == (None, 70.0)
    clock.rewind(3050.0)
    clock.pushed(3150.0, 71.0)
    assert (clock.time_of(3050.0), clock.time_of(3051.0)) == (70.0, 71.0)


def stop_speech(pair: Any, audio_end_ms: int) -> SpeechStopped:
    """The server's word that the speech ended, as it comes from the real service."""
    event = {
        "type": "input_audio_buffer.speech_stopped",
        "event_id": "event_x",
        "item_id": "item_x",
        "audio_end_ms": audio_end_ms,
    }
    pair.inject(json.dumps(event).encode())
    stopped = newest(pair, SpeechStopped)
    assert stopped.audio_end_ms == audio_end_ms
    return stopped


@pytest.mark.parametrize("push_ms", [10, 20, 60])
def test_the_last_word_is_before_the_silence_that_ended_the_turn(spoken: Any, push_ms: int) -> None:
    """M5: the user's last word is where the silence began, not where the server noticed it."""
    talk(spoken, LOUD_MS, 600, push_ms=push_ms)
    silent_from = spoken.now
    talk(spoken, SILENT_MS, 1200, push_ms=push_ms)
    stopped = newest(spoken, SpeechStopped)
    # The server's detector looks at windows of 32 ms.
    assert stopped.last_word_at == pytest.approx(silent_from, abs=(push_ms + 32) / 1000)
    assert stopped.received_at - stopped.last_word_at >= SILENCE_MS / 1000


def test_the_last_word_is_found_at_any_rate_of_the_callers_audio() -> None:  # M5
    pair = Pair(SessionConfig(turn_detection=ServerVad(silence_duration_ms=100))).connect()
    for _ in range(100):
        pair.pass_time(0.02)
        pair.client.push_audio(bytes(2 * 882), rate=44_100)
    first = pair.now - 2.0
    assert stop_speech(pair, 1100).last_word_at == pytest.approx(first + 1.0, abs=0.021)


def test_audio_that_was_dropped_before_it_was_sent_is_not_counted() -> None:  # M5, A3
    pair = Pair(SessionConfig(turn_detection=ServerVad(silence_duration_ms=0))).connect()
    for _ in range(30):  # of each 90 ms nothing is sent, since an append has 100 ms
        pair.client.push_audio(SILENT_MS * 90)
        pair.client.clear_audio()
        pair.run()
    pair.pass_time(1.0)
    pair.client.push_audio(SILENT_MS * 100)
    assert stop_speech(pair, 90).last_word_at == pair.now


def test_positions_begin_anew_with_a_connection() -> None:  # M5
    config = SessionConfig(
        turn_detection=ServerVad(silence_duration_ms=0), input_audio_format=AudioFormat.PCMU
    )
    pair = Pair(config).connect()
    pair.client.push_audio(SILENT_MS * 500)
    pair.client.close()
    pair.client.receive_eof(pair.now)
    other = Pair(config)
    other.client, other.now = pair.client, 500.0
    other.connect()
    assert stop_speech(other, 100).last_word_at is None
    other.pass_time(1.0)
    other.client.push_audio(SILENT_MS * 200)
    assert stop_speech(other, 100).last_word_at == other.now


@pytest.mark.parametrize(
    "detection", [events.SemanticVad(), ServerVad(), ServerVad(silence_duration_ms=None), None]
)
def test_where_the_silence_is_not_known_the_last_word_is_not(detection: Any) -> None:  # M6
    pair = Pair(SessionConfig(turn_detection=detection)).connect()
    pair.client.push_audio(SILENT_MS * 1000)
    assert stop_speech(pair, 900).last_word_at is None


def test_a_commit_of_ours_ends_with_the_newest_sample() -> None:  # M5
    pair = Pair().connect()
    pair.client.push_audio(SILENT_MS * 200)
    first = pair.now
    pair.pass_time(0.5)
    pair.client.commit_audio()
    pair.client.push_audio(SILENT_MS * 200)  # of the next turn
    second = pair.now
    pair.client.commit_audio()
    pair.run()
    committed = [event for event in pair.events if type(event) is InputAudioCommitted]
    assert [event.last_word_at for event in committed] == [first, second]


# --- turns --------------------------------------------------------------------------------------


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


# --- what logs may show -------------------------------------------------------------------------


def test_audio_is_shown_as_its_size() -> None:  # M3
    assert shorten(events.InputAudioBufferAppend(audio=bytes(4800))) == (
        'input_audio_buffer.append {"audio":"<4800 bytes>"}'
    )
    item = events.Message(role="user", content=[events.InputAudio(audio="QUJD" * 4000)])
    shown = shorten(events.ConversationItemCreate(item=item))
    assert "<16000 characters>" in shown
    assert "QUJD" not in shown


def test_long_texts_and_lists_are_cut_and_say_so() -> None:  # M3
    delta = "x" * 100_000
    text = events.ResponseOutputTextDelta(
        response_id="r", item_id="i", output_index=0, content_index=0, delta=delta
    )
    assert len(shorten(text)) < 600
    assert "(100000 characters)" in shorten(text)
    tools = [events.FunctionTool(name=f"tool_{number}") for number in range(500)]
    update = shorten(events.SessionUpdate(session=events.RealtimeSession(tools=tools)))
    assert "500 entries" in update
    assert "tool_499" not in update
    assert "tool_1" in update
    assert shorten_text("short") == "short"


def unknown(**fields: Any) -> Any:
    return events.decode_server(json.dumps({"type": "x.y", "event_id": "e", **fields}).encode())


def test_an_object_of_many_fields_is_cut_and_says_so() -> None:  # M3
    many = {f"field_{number}": number for number in range(30)}
    shown = shorten(unknown(many=many))
    assert "30 fields" in shown
    assert "field_19" in shown
    assert "field_20" not in shown


def test_what_lies_too_deep_is_left_out() -> None:  # M3
    deep: dict[str, Any] = {"bottom": "here"}
    for _ in range(20):
        deep = {"a": deep}
    shown = shorten(unknown(deep=deep))
    assert "…" in shown
    assert "here" not in shown
    assert "here" in shorten(unknown(deep={"a": {"a": {"bottom": "here"}}}))


def test_an_event_is_one_line() -> None:  # M3
    event = events.decode_server(b'{"type":"evil\\nline","a\\nb":"c\\nd","event_id":"e"}')
    assert "\n" not in shorten(event)


SECRETS: dict[str, Any] = {
    "a tool's authorization": events.SessionUpdate(
        session=events.RealtimeSession(
            tools=[
                events.McpTool(
                    server_label="files",
                    authorization="hunter2",
                    headers={"X-Thing": "hunter2"},
                    server_url="https://me:hunter2@host/mcp?api_key=hunter2&token=hunter2",
                )
            ]
        )
    ),
    "a key in an error": events.Error(
        event_id="e", error=events.ErrorDetails(message=f"Incorrect API key provided: {KEY}.")
    ),
    "a header in a text": events.Error(
        event_id="e", error=events.ErrorDetails(message="Authorization: Bearer hunter2")
    ),
    "JSON in a text": events.FunctionCallOutput(call_id="c", output='{"password": "hunter2"}'),
    "an unknown event": {
        "type": "client_secret.created",
        "client_secret": {"value": "hunter2", "expires_at": 1},
        "X-Api-Key": "hunter2",
        "access_token": "hunter2",
        "nested": [{"deep": {"Authorization": ["hunter2"]}}],
        "headers": "hunter2",
        "jwt": "eyJhbGciOi.hunter2.sig",
        "ephemeral": "ek_hunter2",
    },
    "an unknown field": {
        "type": "response.done",
        "event_id": "e",
        "response": {"id": "r"},
        "secret": "hunter2",
    },
    "a key that the cut splits": events.Error(
        event_id="e", error=events.ErrorDetails(message="m" * 190 + " " + KEY)
    ),
}


@pytest.mark.parametrize("name", SECRETS)
def test_no_key_is_ever_shown(name: str) -> None:  # M3
    event = SECRETS[name]
    if isinstance(event, dict):
        event = events.decode_server(json.dumps(event).encode())
    elif isinstance(event, events.FunctionCallOutput):
        event = events.ConversationItemCreate(item=event)
    shown = shorten(event)
    assert "hunter2" not in shown
    assert KEY[8:16] not in shown
    assert "***" in shown


def test_counts_of_tokens_are_shown() -> None:  # M3
    event = events.decode_server(
        b'{"type":"response.done","event_id":"e","response":{"id":"resp_1",'
        b'"usage":{"total_tokens":12345},"max_output_tokens":77}}'
    )
    assert "12345" in shorten(event)
    assert "77" in shorten(event)


texts = st.text(max_size=300)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=25) | st.dictionaries(texts, inner, max_size=25),
    max_leaves=40,
)


@given(st.dictionaries(texts, values, max_size=5))
@settings(max_examples=60)
def test_any_event_is_shown_on_one_short_line(fields: dict[str, Any]) -> None:  # M3, X3
    shown = shorten(events.decode_server(json.dumps(fields | {"type": "some.event"}).encode()))
    assert shown.startswith("some.event {")
    assert "\n" not in shown
    assert len(shown) <= EVENT_LIMIT + 40


@given(st.text(max_size=250), st.text(max_size=250))
def test_a_key_anywhere_in_a_text_is_masked(before: str, after: str) -> None:  # M3
    shown = shorten_text(f"{before} {KEY} {after}")
    assert KEY[3:] not in shown
    assert "7Hx9" not in shown
