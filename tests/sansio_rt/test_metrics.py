"""Metrics as pure functions over recorded times: of generations and of transcripts (M1, M6)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pair import Pair
from speaking import LOUD_MS, SILENT_MS, newest, talk

from sansio_rt import GenerationStatus, InputTranscriptCompleted, SpeechStopped, events
from sansio_rt._metrics import (
    GenerationMetrics,
    elapsed_s,
    measure_generation,
    measure_transcription,
)
from sansio_rt._server_work import TranscriptionWanted

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
