"""Finding turns in a stream of sound: when the user begins to speak and when they have finished.

A detector says for each short window how likely it is speech; the table below makes turns of that.
Positions are milliseconds since the session's first sample, as in the service's events.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from msgspec import UNSET, Struct
from numpy.typing import NDArray

from . import events
from ._resampler import Resampler

__all__ = ["Detector", "SpeechEnded", "SpeechStarted", "TurnFinder", "TurnSettings"]

ONSET_MS = 64
"""Speech that must stand before a turn begins, so that a click is none."""
HYSTERESIS = 0.15
"""How far below the threshold the probability must fall before speech counts as silence."""
EAGERNESS_SILENCE_MS = {"low": 1200, "medium": 700, "auto": 700, "high": 400}
"""Semantic turn detection is emulated by the silence that each eagerness waits for."""


class Detector(Protocol):
    """Voice activity detection for one stream of sound; it may keep state between windows."""

    @property
    def window_samples(self) -> int:
        """How many samples `probability` takes."""
        ...

    @property
    def rate(self) -> int:
        """Sample rate of the windows in Hz."""
        ...

    def probability(self, window: NDArray[np.float32]) -> float:
        """How likely the next window is speech.

        Args:
            window: Mono samples within [-1, 1], shape (window_samples,).
        """
        ...

    def reset(self) -> None:
        """Forget what was heard."""
        ...


class TurnSettings(Struct, frozen=True):
    """What a session's `turn_detection` says, with nothing left open.

    Attributes:
        threshold: Probability from which a window is speech.
        prefix_padding_ms: Sound before the speech that belongs to it.
        silence_ms: Silence that ends a turn.
        create_response: Whether the end of a turn starts a response.
        interrupt_response: Whether the beginning of a turn cancels the running response.
        idle_timeout_ms: Silence after a reply that counts as a turn of its own, or None.
    """

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_ms: int = 500
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: int | None = None

    @classmethod
    def of(cls, setting: events.ServerVad | events.SemanticVad) -> TurnSettings:
        """Reads the wire's setting; what it leaves out has the service's default."""
        given: dict[str, Any] = {}
        for name, ours in _SETTINGS.items():
            value = getattr(setting, name, None)
            if value is not None and value is not UNSET:
                given[ours] = value
        if isinstance(setting, events.SemanticVad):
            given["silence_ms"] = EAGERNESS_SILENCE_MS.get(str(setting.eagerness), 700)
        return cls(**given)


# What the settings of the wire are called here.
_SETTINGS = {
    "threshold": "threshold",
    "prefix_padding_ms": "prefix_padding_ms",
    "silence_duration_ms": "silence_ms",
    "create_response": "create_response",
    "interrupt_response": "interrupt_response",
    "idle_timeout_ms": "idle_timeout_ms",
}


@dataclass(frozen=True)
class SpeechStarted:
    """The user has begun to speak.

    Attributes:
        start_ms: Where the speech begins, prefix padding included.
    """

    start_ms: int


@dataclass(frozen=True)
class SpeechEnded:
    """The user has finished.

    Attributes:
        end_ms: Where the silence that ended the turn ends.
    """

    end_ms: int


class _State(enum.Enum):
    QUIET = "quiet"
    ONSET = "onset"
    SPEAKING = "speaking"
    FADING = "fading"


# (state, the window is speech, the run of such windows is long enough) -> state
_TRANSITIONS = {
    (_State.QUIET, False, False): _State.QUIET,
    (_State.QUIET, False, True): _State.QUIET,
    (_State.QUIET, True, False): _State.ONSET,
    (_State.QUIET, True, True): _State.SPEAKING,
    (_State.ONSET, False, False): _State.QUIET,
    (_State.ONSET, False, True): _State.QUIET,
    (_State.ONSET, True, False): _State.ONSET,
    (_State.ONSET, True, True): _State.SPEAKING,
    (_State.SPEAKING, True, False): _State.SPEAKING,
    (_State.SPEAKING, True, True): _State.SPEAKING,
    (_State.SPEAKING, False, False): _State.FADING,
    (_State.SPEAKING, False, True): _State.QUIET,
    (_State.FADING, True, False): _State.SPEAKING,
    (_State.FADING, True, True): _State.SPEAKING,
    (_State.FADING, False, False): _State.FADING,
    (_State.FADING, False, True): _State.QUIET,
}
_NO_SAMPLES = np.zeros(0, dtype=np.float32)
_TALKING = (_State.SPEAKING, _State.FADING)


class TurnFinder:
    """Feeds a detector and follows the table.

    Args:
        detector: Says how likely each window is speech; None never hears any.
    """

    def __init__(self, detector: Detector | None) -> None:
        self._detector = detector
        self._state = _State.QUIET
        self._run_ms = 0.0
        self._run_is_speech: bool = False
        self._resampler: Resampler | None = None
        self._rest = _NO_SAMPLES
        self._position_ms = 0.0

    @property
    def speaking(self) -> bool:
        """Whether a turn is going on."""
        return self._state in _TALKING

    def reset(self, position_ms: float) -> None:
        """Forget the turn that goes on and what was heard; the next sample is at `position_ms`."""
        self._state = _State.QUIET
        self._run_ms = 0.0
        self._resampler = None
        self._rest = _NO_SAMPLES
        self._position_ms = position_ms
        if self._detector is not None:
            self._detector.reset()

    def feed(
        self, samples: NDArray[np.int16], rate: int, settings: TurnSettings
    ) -> Iterator[SpeechStarted | SpeechEnded]:
        """Hear the next piece of sound.

        Args:
            samples: PCM16 mono, shape (n,), following the piece before.
            rate: Sample rate in Hz.
            settings: How turns are told.

        Yields:
            What was found, in order. Exhaust it: what is not iterated is not heard.
        """
        if self._detector is None:
            return
        window_ms = self._detector.window_samples * 1000 / self._detector.rate
        for window in self._windows(self._detector, samples, rate):
            self._position_ms += window_ms
            found = self._judge(self._detector.probability(window), window_ms, settings)
            if found is not None:
                yield found

    def _windows(
        self, detector: Detector, samples: NDArray[np.int16], rate: int
    ) -> Iterator[NDArray[np.float32]]:
        if self._resampler is None or self._resampler.input_rate != rate:
            self._resampler = Resampler(rate, detector.rate)
        heard = self._resampler.process(samples).astype(np.float32) / 32768.0
        sound = np.concatenate((self._rest, heard))
        size = detector.window_samples
        whole = len(sound) // size * size
        self._rest = sound[whole:]
        for start in range(0, whole, size):
            yield sound[start : start + size]

    def _judge(
        self, probability: float, window_ms: float, settings: TurnSettings
    ) -> SpeechStarted | SpeechEnded | None:
        before = self._state
        lowered = HYSTERESIS if before in _TALKING else 0.0
        speech = bool(probability >= max(settings.threshold - lowered, 0.01))
        same_run = speech == self._run_is_speech and self._run_ms > 0
        self._run_ms = self._run_ms + window_ms if same_run else window_ms
        self._run_is_speech = speech
        needed_ms = ONSET_MS if speech else settings.silence_ms
        self._state = _TRANSITIONS[before, speech, self._run_ms >= needed_ms]
        if self._state is _State.SPEAKING and before not in _TALKING:
            start_ms = self._position_ms - self._run_ms - settings.prefix_padding_ms
            return SpeechStarted(max(0, round(start_ms)))
        if self._state is _State.QUIET and before in _TALKING:
            return SpeechEnded(round(self._position_ms))
        return None
