"""What the server counts: tokens by kind, the part that came from its cache (M1, M6)."""

from __future__ import annotations

import pytest

from sansio_rt import events
from sansio_rt._server_usage import (
    Tally,
    audio_in_tokens,
    audio_out_tokens,
    text_tokens,
    transcription_usage,
    usage,
)


@pytest.mark.parametrize(
    ("count", "unit"), [(audio_in_tokens, 100), (audio_out_tokens, 50)], ids=["heard", "spoken"]
)
def test_every_begun_piece_of_audio_is_a_token(count: object, unit: int) -> None:
    assert callable(count)
    assert [count(units * unit) for units in (0, 1, 60)] == [0, 1, 60]
    assert count(60 * unit + 1) == 61


def test_every_begun_four_characters_are_a_token() -> None:
    assert [text_tokens("x" * length) for length in (0, 1, 4, 5)] == [0, 1, 1, 2]


def test_tallies_add_up_by_kind() -> None:
    assert Tally(1, 20, 300) + Tally(4, 50, 600) == Tally(5, 70, 900)
    assert Tally(1, 20, 300).total == 321


def test_the_cache_holds_whole_blocks_of_what_was_heard_before() -> None:
    assert Tally(200, 64, 63).cached(Tally(130, 500, 500)) == Tally(128, 64, 0)
    assert Tally(0, 0, 200).cached(Tally(0, 0, 130)) == Tally(0, 0, 128)


def test_each_number_of_a_response_has_its_place() -> None:
    assert usage(Tally(1, 20, 300), Tally(4, 50, 600), Tally(7, 80)) == events.Usage(
        total_tokens=408,
        input_tokens=321,
        output_tokens=87,
        input_token_details=events.InputTokenDetails(
            text_tokens=1,
            audio_tokens=20,
            image_tokens=300,
            cached_tokens=654,
            cached_tokens_details=events.CachedTokensDetails(
                text_tokens=4, audio_tokens=50, image_tokens=600
            ),
        ),
        output_token_details=events.OutputTokenDetails(text_tokens=7, audio_tokens=80),
    )


def test_a_transcription_is_counted_as_its_model_does() -> None:
    by_duration = transcription_usage("whisper-1", 1234.5678, "Hello you")
    assert by_duration == events.TranscriptionDuration(seconds=1.235)
    by_tokens = transcription_usage("gpt-4o-transcribe", 1234.0, "Hello you")
    assert by_tokens == events.TranscriptionTokens(
        total_tokens=16,
        input_tokens=13,
        output_tokens=3,
        input_token_details=events.InputTokenDetails(audio_tokens=13, text_tokens=0),
    )
