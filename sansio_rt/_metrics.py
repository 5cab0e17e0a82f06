"""What was measured: frozen records, and pure functions that make them from recorded times and usage.

Times (`..._at`) are seconds of the clock that the caller handed in, durations (`..._s`) seconds. What is
unknown is None, never 0 or -1, and nothing divides by zero (parity M1, M5, M6).
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Any

from msgspec import UNSET, Struct

from . import events

__all__ = [
    "ConnectionMetrics",
    "GenerationMetrics",
    "GenerationStatus",
    "SampleClock",
    "TranscriptionMetrics",
    "TurnMetrics",
    "elapsed_s",
    "measure_generation",
    "measure_transcription",
]


_UNKNOWN = frozenset((None, UNSET))


class GenerationStatus(enum.Enum):
    """How far a generation has come; all but `IN_PROGRESS` are ends."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    """`Generation.reason` says by whom, `turn_detected` or `client_cancelled`; or why nobody knows:
    `not_active` where the service had told of no end, `no_answer` where it did not answer our cancel."""
    INCOMPLETE = "incomplete"
    """`Generation.reason` says why: `max_output_tokens` or `content_filter`."""
    FAILED = "failed"
    """`Generation.error` has the service's error."""
    LOST = "lost"
    """The connection ended before the response did."""


class GenerationMetrics(Struct, frozen=True, kw_only=True):
    """Times and counts of one generation, however it ended. Token counts are as the service gave them."""

    response_id: str
    status: GenerationStatus = GenerationStatus.IN_PROGRESS
    requested_at: float | None = None
    """When it was asked for, whether it was sent then or waited for another response to end; None where
    the server began by itself."""
    created_at: float | None = None
    first_token_s: float | None = None
    """From the request (else from the creation) to the first text, transcript or call argument."""
    first_audio_s: float | None = None
    """From the request (else from the creation) to the first audio."""
    duration_s: float | None = None
    """From the request (else from the creation) to the end."""
    cancelled: bool = False
    audio_ms: float | None = None
    """Length of the audio received; None where none came."""
    input_tokens: int | None = None
    input_text_tokens: int | None = None
    input_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    cached_tokens: int | None = None
    """Those of the input tokens that came from the cache."""
    cached_text_tokens: int | None = None
    cached_audio_tokens: int | None = None
    cached_image_tokens: int | None = None
    output_tokens: int | None = None
    output_text_tokens: int | None = None
    output_audio_tokens: int | None = None
    total_tokens: int | None = None
    tokens_per_second: float | None = None
    """Output tokens by duration; None where either is unknown or nothing took time."""

    @property
    def started_at(self) -> float | None:
        """What the durations count from: the request, else the creation."""
        return self.created_at if self.requested_at is None else self.requested_at


class TranscriptionMetrics(Struct, frozen=True, kw_only=True):
    """What the transcript of one user message took. The service bills by tokens or by seconds of audio."""

    item_id: str
    content_index: int = 0
    duration_s: float | None = None
    """From the end of the speech (the server's event; the commit, where it detects no turns) to the
    transcript."""
    audio_s: float | None = None
    """Seconds of audio, where the service bills by those."""
    input_tokens: int | None = None
    input_text_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None


class ConnectionMetrics(Struct, frozen=True, kw_only=True):
    """How long a connection took to come up; every duration counts from the start of dialling."""

    started_at: float
    dialled_s: float | None = None
    """To the open byte stream: name resolution, TCP, TLS."""
    handshake_s: float | None = None
    """To the accepted WebSocket handshake."""
    configured_s: float | None = None
    """To the accepted configuration: from here on a reply can be asked for."""


class TurnMetrics(Struct, frozen=True, kw_only=True):
    """The stages of one turn: what the user said, if anything, and the responses to it.

    A turn that calls tools has several responses: "first" is the first of any, `done_at` the end of the
    last.
    """

    item_id: str | None = None
    """The user message of a spoken turn."""
    response_ids: tuple[str, ...] = ()
    status: GenerationStatus | None = None
    """Of the last response; None where none was made."""
    speech_started_at: float | None = None
    """When the server said so, which is a little after the user began."""
    last_word_at: float | None = None
    """When the last sample of the user's speech was pushed; see `SpeechStopped.last_word_at`."""
    speech_stopped_at: float | None = None
    """When the server said so, which is after the silence that it waits for."""
    committed_at: float | None = None
    transcript_at: float | None = None
    """None where the transcript came after the turn had ended: it has its own record."""
    requested_at: float | None = None
    """None where the server began by itself. May be before the speech, where the request had to wait."""
    created_at: float | None = None
    first_token_at: float | None = None
    first_audio_at: float | None = None
    first_played_at: float | None = None
    """When the first sample was played; None where no playback reports."""
    done_at: float | None = None
    last_word_to_audio_s: float | None = None
    """From the user's last word to the first audio received."""
    last_word_to_played_s: float | None = None
    """From the user's last word to the first played sample: what the user waited."""


class SampleClock:
    """When which audio was pushed: a bounded table from positions in the audio to times.

    A position is found as the time of the push that brought it, so it is late by at most the length of
    one push: 20 ms for pushes of 20 ms. Pushes shorter than 10 ms are kept together.
    """

    __slots__ = ("_pushes",)

    KEPT = 1024
    _MERGED_MS = 10.0
    # A server counts in windows of its detector, so its position may be ahead of what was pushed.
    _AHEAD_MS = 100.0

    def __init__(self) -> None:
        self._pushes: deque[tuple[float, float | None]] = deque(maxlen=self.KEPT)

    def __len__(self) -> int:
        return len(self._pushes)

    @property
    def newest_at(self) -> float | None:
        """When the newest audio was pushed, or None."""
        return self._pushes[-1][1] if self._pushes else None

    def pushed(self, position_ms: float, now: float | None) -> None:
        """Notes that the audio up to a position is pushed by now, or that nobody knows since when."""
        pushes = self._pushes
        if len(pushes) > 1 and position_ms - pushes[-2][0] < self._MERGED_MS:
            pushes[-1] = (position_ms, now)
        else:
            pushes.append((position_ms, now))

    def time_of(self, position_ms: float) -> float | None:
        """When the sample at a position was pushed; None where that was never, or too long ago."""
        pushes = self._pushes
        if not pushes or position_ms > pushes[-1][0] + self._AHEAD_MS:
            return None
        found = pushes[-1][1]
        for end_ms, pushed_at in reversed(pushes):
            if end_ms < position_ms:
                return found
            found = pushed_at
        # Older than the table, unless the table still begins with the first push.
        return found if len(pushes) < self.KEPT else None

    def position_at(self, when: float) -> float:
        """Up to which position was pushed by a time; 0 where that is not known."""
        known = (end_ms for end_ms, at in reversed(self._pushes) if at is not None and at <= when)
        return next(known, 0.0)

    def rewind(self, position_ms: float) -> None:
        """What was pushed beyond a position was dropped and never sent."""
        pushes = self._pushes
        cut = None
        while pushes and pushes[-1][0] > position_ms:
            cut = pushes.pop()
        if cut is not None:
            pushes.append((position_ms, cut[1]))

    def clear(self) -> None:
        """Forgets everything: positions begin anew."""
        self._pushes.clear()


def elapsed_s(start: float | None, end: float | None) -> float | None:
    """The time between two moments; None where one is unknown, or the end lies before the start."""
    if start is None or end is None or end < start:
        return None
    return end - start


def measure_generation(
    response_id: str,
    status: GenerationStatus,
    *,
    requested_at: float | None,
    created_at: float,
    first_token_at: float | None,
    first_audio_at: float | None,
    ended_at: float,
    audio_ms: float,
    usage: events.Maybe[events.Usage],
) -> GenerationMetrics:
    """The record of a generation that has ended.

    Args:
        response_id: Whose.
        status: How it ended.
        requested_at: When it was asked for, or None.
        created_at: When the server created it.
        first_token_at: When the first text, transcript or call argument came, or None.
        first_audio_at: When the first audio came, or None.
        ended_at: When it ended.
        audio_ms: Length of its audio; counts only where audio came.
        usage: What the service says that it took.
    """
    start = created_at if requested_at is None else requested_at
    duration_s = elapsed_s(start, ended_at)
    counts = _count_tokens(usage)
    output_tokens = counts.get("output_tokens")
    return GenerationMetrics(
        response_id=response_id,
        status=status,
        requested_at=requested_at,
        created_at=created_at,
        first_token_s=elapsed_s(start, first_token_at),
        first_audio_s=elapsed_s(start, first_audio_at),
        duration_s=duration_s,
        cancelled=status is GenerationStatus.CANCELLED,
        audio_ms=None if first_audio_at is None else audio_ms,
        tokens_per_second=output_tokens / duration_s
        if output_tokens is not None and duration_s
        else None,
        **counts,
    )


def measure_transcription(
    event: events.ConversationItemInputAudioTranscriptionCompleted,
    *,
    speech_ended_at: float | None,
    now: float,
) -> TranscriptionMetrics:
    """The record of a transcript that is whole.

    Args:
        event: The server's event, with the usage.
        speech_ended_at: When the server heard the end of the speech, or when it was committed, or None.
        now: The time.
    """
    usage = event.usage
    told: dict[str, object] = {}
    if isinstance(usage, events.TranscriptionDuration):
        told["audio_s"] = usage.seconds
    elif isinstance(usage, events.TranscriptionTokens):
        told = {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.total_tokens,
        }
        if isinstance(details := usage.input_token_details, events.InputTokenDetails):
            told |= {
                "input_text_tokens": details.text_tokens,
                "input_audio_tokens": details.audio_tokens,
            }
    return TranscriptionMetrics(
        item_id=event.item_id,
        content_index=event.content_index,
        duration_s=elapsed_s(speech_ended_at, now),
        **_known(told),
    )


def _count_tokens(usage: events.Maybe[events.Usage]) -> dict[str, Any]:
    """The counts that the service gave, under the names of `GenerationMetrics`."""
    if not isinstance(usage, events.Usage):
        return {}
    told: dict[str, object] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }
    if isinstance(inputs := usage.input_token_details, events.InputTokenDetails):
        told |= {
            "input_text_tokens": inputs.text_tokens,
            "input_audio_tokens": inputs.audio_tokens,
            "input_image_tokens": inputs.image_tokens,
            "cached_tokens": inputs.cached_tokens,
        }
        if isinstance(cached := inputs.cached_tokens_details, events.CachedTokensDetails):
            told |= {
                "cached_text_tokens": cached.text_tokens,
                "cached_audio_tokens": cached.audio_tokens,
                "cached_image_tokens": cached.image_tokens,
            }
    if isinstance(outputs := usage.output_token_details, events.OutputTokenDetails):
        told |= {
            "output_text_tokens": outputs.text_tokens,
            "output_audio_tokens": outputs.audio_tokens,
        }
    return _known(told)


def _known(told: dict[str, object]) -> dict[str, Any]:
    """What the service gave; null and what it left out stay unknown."""
    if _UNKNOWN.isdisjoint(told.values()):
        return told
    return {name: value for name, value in told.items() if value is not None and value is not UNSET}
