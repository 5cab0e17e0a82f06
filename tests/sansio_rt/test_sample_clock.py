"""When which sample was pushed, and so when the last word was (M5)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair import Pair
from speaking import LOUD_MS, SILENCE_MS, SILENT_MS, newest, talk

from sansio_rt import (
    AudioFormat,
    InputAudioCommitted,
    ServerVad,
    SessionConfig,
    SpeechStopped,
    events,
)
from sansio_rt._metrics import SampleClock


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
