"""What was measured, as lines for people: one for each record. What is not known is not shown."""

from __future__ import annotations

from collections.abc import Iterator

from sansio_rt import ConnectionMetrics, GenerationMetrics, TranscriptionMetrics, TurnMetrics
from trio_rt import SessionMetrics

__all__ = ["summary"]

Figure = tuple[str, float | None]


def summary(metrics: SessionMetrics) -> Iterator[str]:
    """The lines: the connection, what was recognised, each response, each turn."""
    if metrics.connection is not None:
        yield _connection(metrics.connection)
    for transcription in metrics.transcriptions:
        yield _transcription(transcription)
    for generation in metrics.generations:
        yield _generation(generation)
    for number, turn in enumerate(metrics.turns, 1):
        yield _turn(number, turn)


def _connection(connection: ConnectionMetrics) -> str:
    return _line(
        "connection",
        _seconds(
            ("dialled", connection.dialled_s),
            ("handshake", connection.handshake_s),
            ("configured", connection.configured_s),
        ),
    )


def _transcription(transcription: TranscriptionMetrics) -> str:
    return _line(
        f"transcript of {transcription.item_id}",
        _seconds(("after", transcription.duration_s), ("audio", transcription.audio_s)),
        _tokens(
            "in",
            transcription.input_tokens,
            ("text", transcription.input_text_tokens),
            ("audio", transcription.input_audio_tokens),
        ),
        _tokens("out", transcription.output_tokens),
    )


def _generation(generation: GenerationMetrics) -> str:
    audio_s = None if generation.audio_ms is None else generation.audio_ms / 1000
    speed = generation.tokens_per_second
    return _line(
        f"response {generation.response_id}",
        generation.status.value,
        _seconds(
            ("first token", generation.first_token_s),
            ("first audio", generation.first_audio_s),
            ("done", generation.duration_s),
            ("audio", audio_s),
        ),
        _tokens(
            "in",
            generation.input_tokens,
            ("text", generation.input_text_tokens),
            ("audio", generation.input_audio_tokens),
            ("image", generation.input_image_tokens),
            ("cached", generation.cached_tokens),
        ),
        _tokens(
            "out",
            generation.output_tokens,
            ("text", generation.output_text_tokens),
            ("audio", generation.output_audio_tokens),
        ),
        "" if speed is None else f"{speed:.1f} tokens/s",
    )


def _turn(number: int, turn: TurnMetrics) -> str:
    """The stages, counted from the end of what was said, else from the request."""
    moments = (turn.last_word_at, turn.committed_at, turn.requested_at, turn.created_at)
    start = next((moment for moment in moments if moment is not None), None)

    def since(moment: float | None) -> float | None:
        return None if moment is None or start is None else moment - start

    return _line(
        f"turn {number}, from {'the last word' if turn.last_word_at is not None else 'the request'}",
        "" if turn.status is None else turn.status.value,
        _seconds(
            ("committed", since(turn.committed_at)),
            ("transcript", since(turn.transcript_at)),
            ("created", since(turn.created_at)),
            ("first token", since(turn.first_token_at)),
            ("first audio", since(turn.first_audio_at)),
            ("first played", since(turn.first_played_at)),
            ("done", since(turn.done_at)),
        ),
    )


def _line(what: str, *parts: str) -> str:
    return f"{what}: {'; '.join(filter(None, parts)) or 'nothing is known'}"


def _seconds(*figures: Figure) -> str:
    return ", ".join(f"{name} {value:.3f} s" for name, value in figures if value is not None)


def _tokens(way: str, count: int | None, *kinds: tuple[str, int | None]) -> str:
    if count is None:
        return ""
    known = ", ".join(f"{value} {kind}" for kind, value in kinds if value is not None)
    return f"{count} tokens {way}" + (f" ({known})" if known else "")
