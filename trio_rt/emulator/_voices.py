"""Speech synthesis on this machine.

`HibariVoice` speaks with hibari-tts (Apache-2.0), whose model is in the wheel and runs a hundred
times faster than real time. `ToneVoice` hums one tone for each syllable; it needs nothing and
always hums the same.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from sansio_rt._resampler import Resampler
from trio_rt.emulator import _extras

__all__ = ["HibariVoice", "ToneVoice"]

RATE = 24_000
_WHAT = "a speaking voice"

# The service's voices, as pitch factors on what there is: hibari's wheel holds one voice, a
# woman's.
_PITCHES = {
    "alloy": 1.0,
    "ash": 0.84,
    "ballad": 0.9,
    "cedar": 0.82,
    "coral": 1.08,
    "echo": 0.86,
    "marin": 1.03,
    "sage": 1.05,
    "shimmer": 1.12,
    "verse": 0.88,
}
# What hibari's model can still say clearly.
_SLOWEST, _FASTEST = 0.25, 2.0
# A sentence longer than this many characters is cut at commas, so that its beginning comes early.
_LONG_SENTENCE = 240
_CLAUSE_END = re.compile(r"(?<=[,;:—])\s+")


class _Synthesizer(Protocol):
    """The part of `hibari.Hibari` that is used here; the package has no types."""

    def split_sentences(self, text: str) -> list[str]: ...
    def __call__(self, text: str, speed: float, seed: int) -> NDArray[np.float32]: ...


class HibariVoice:
    """A clear English voice in the pitches of the service's voices. One model serves all sessions.

    Raises:
        MissingExtra: The extra `speech` is not installed.
    """

    def __init__(self) -> None:
        _extras.require(_WHAT, "hibari")
        self._loading = threading.Lock()
        # The model takes several callers at a time, its text analysis makes no promise of that.
        self._speaking = threading.Lock()
        self._synthesizer: _Synthesizer | None = None

    @property
    def rate(self) -> int:
        """Sample rate in Hz: 24000."""
        return RATE

    def speak(self, text: str, *, voice: str, speed: float) -> Iterator[bytes]:
        """Speak a text, sentence by sentence; see `Voice.speak`."""
        synthesizer = self._load()
        pitch = _PITCHES.get(voice, 1.0)
        # Raising the pitch by resampling also shortens the sound, so it is spoken slower before.
        pace = min(_FASTEST, max(_SLOWEST, speed / pitch))
        for sentence in synthesizer.split_sentences(text):
            for clause in _clauses(sentence):
                with self._speaking:
                    samples = _pcm16(synthesizer(clause, pace, 0))
                if len(samples):
                    yield _raise_pitch(samples, pitch).tobytes()

    def warm_up(self) -> None:
        """Load the model and run it once: about half a second."""
        for _ in self.speak("Hello.", voice="alloy", speed=1.0):
            pass

    def _load(self) -> _Synthesizer:
        with self._loading:
            if self._synthesizer is None:
                self._synthesizer = cast("_Synthesizer", _extras.load(_WHAT, "hibari").Hibari())
            return self._synthesizer


def _clauses(sentence: str) -> Iterator[str]:
    """The sentence in pieces of about `_LONG_SENTENCE` characters at most, where it has commas."""
    piece = ""
    for clause in _CLAUSE_END.split(sentence):
        if piece and len(piece) + len(clause) > _LONG_SENTENCE:
            yield piece
            piece = clause
        else:
            piece = f"{piece} {clause}" if piece else clause
    if piece:
        yield piece


class ToneVoice:
    """Hums a tone for each group of vowels, with a pause after each word and after each clause."""

    _SYLLABLE_S = 0.06
    _PAUSE_S = 0.03
    _LONG_PAUSE_S = 0.12
    _LEVEL = 0.3

    @property
    def rate(self) -> int:
        """Sample rate in Hz: 24000."""
        return RATE

    def speak(self, text: str, *, voice: str, speed: float) -> Iterator[bytes]:
        """Hum a text, clause by clause; see `Voice.speak`."""
        pitch_hz = 220 * _PITCHES.get(voice, 1.0)
        for clause in re.findall(r"[^.,;:!?…]*\w[^.,;:!?…]*[.,;:!?…]*", text):
            tones = [self._word(word, pitch_hz, speed) for word in re.findall(r"\w+", clause)]
            pause = self._silence(self._LONG_PAUSE_S / speed)
            yield _pcm16(np.concatenate([*tones, pause])).tobytes()

    def warm_up(self) -> None:
        """Nothing to load."""

    def _word(self, word: str, pitch_hz: float, speed: float) -> NDArray[np.float32]:
        syllables = max(1, len(re.findall(r"[aeiouy]+", word.lower())))
        # Two words of different letters hum at different heights, the same word always at the same.
        pitch_hz *= 1 + sum(map(ord, word)) % 12 / 12
        times_s = np.arange(int(RATE * self._SYLLABLE_S / speed), dtype=np.float32) / RATE
        fade = np.sin(np.linspace(0, np.pi, len(times_s), dtype=np.float32))
        tone = (self._LEVEL * fade * np.sin(2 * np.pi * pitch_hz * times_s)).astype(np.float32)
        return np.concatenate([np.tile(tone, syllables), self._silence(self._PAUSE_S / speed)])

    def _silence(self, duration_s: float) -> NDArray[np.float32]:
        return np.zeros(int(RATE * duration_s), np.float32)


def _pcm16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return (np.clip(samples, -1, 1) * 32767).astype(np.int16)


def _raise_pitch(samples: NDArray[np.int16], factor: float) -> NDArray[np.int16]:
    resampler = Resampler(round(RATE * factor), RATE)
    return np.concatenate([resampler.process(samples), resampler.flush()])
