"""A streaming resampler without drift, over libsoxr.

libsoxr counts in exact ratios: whatever the sizes of the pieces, n samples in make
n x output / input samples out, to the nearest sample, over any length. It works in float32 here,
because its int16 path adds dither from a seed of its own, and equal inputs have to give equal
outputs.
"""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np
import soxr  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # untyped package
from numpy.typing import NDArray

from ._errors import LocalProtocolError

__all__ = ["MAX_RATE", "MIN_RATE", "Resampler", "check_rate"]

MIN_RATE = 4_000
MAX_RATE = 384_000

_EMPTY = np.zeros(0, dtype=np.int16)
_NO_INPUT = np.zeros(0, dtype=np.float32)


class _Stream(Protocol):
    """The part of `soxr.ResampleStream` that is used."""

    def resample_chunk(self, x: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]: ...

    def clear(self) -> None: ...


def check_rate(rate: int, *, name: str = "rate") -> int:
    """Check a sample rate.

    Args:
        rate: Samples per second.
        name: The argument's name for the error's message.

    Returns:
        The rate.

    Raises:
        LocalProtocolError: Not a whole number, or outside 4,000 to 384,000.
    """
    if type(rate) is not int or not MIN_RATE <= rate <= MAX_RATE:
        raise LocalProtocolError(
            f"{name} must be a whole number of samples per second "
            f"between {MIN_RATE} and {MAX_RATE}, not {rate!r}"
        )
    return rate


class Resampler:
    """int16 mono samples at one rate in, int16 mono samples at another rate out, piece by piece.

    Output lags input by the length of the filter (about 20 to 60 ms); `flush` brings the rest.
    Where the rates are equal it gives back the very array that it got.

    Args:
        input_rate: Samples per second that come in.
        output_rate: Samples per second that go out.

    Raises:
        LocalProtocolError: A rate is no whole number between 4,000 and 384,000.
    """

    __slots__ = ("_consumed", "_produced", "_stream", "input_rate", "output_rate")

    def __init__(self, input_rate: int, output_rate: int) -> None:
        self.input_rate = check_rate(input_rate, name="input_rate")
        self.output_rate = check_rate(output_rate, name="output_rate")
        self._consumed = 0
        self._produced = 0
        self._stream: _Stream | None = None
        if input_rate != output_rate:
            stream = soxr.ResampleStream(input_rate, output_rate, 1, dtype="float32", quality="HQ")
            self._stream = cast("_Stream", stream)

    @property
    def pending_samples(self) -> int:
        """Output samples that `flush` would give now.

        Where that is half a sample, `flush` may give one less: libsoxr rounds a half either way.
        """
        if self._stream is None:
            return 0
        expected = (2 * self._consumed * self.output_rate + self.input_rate) // (
            2 * self.input_rate
        )
        return expected - self._produced

    def process(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Take samples and give those that are ready.

        Args:
            samples: int16 mono samples at the input rate, shape (n,), any n.

        Returns:
            int16 mono samples at the output rate, shape (m,); m may be 0.
        """
        if self._stream is None:
            return samples
        if not len(samples):
            return _EMPTY
        made = self._stream.resample_chunk(samples.astype(np.float32))
        self._consumed += len(samples)
        self._produced += len(made)
        return _to_int16(made)

    def flush(self) -> NDArray[np.int16]:
        """End this stretch of sound: give what is left and be ready for a new one."""
        if self._stream is None or not self._consumed:
            return _EMPTY
        made = self._stream.resample_chunk(_NO_INPUT, last=True)
        self.reset()
        return _to_int16(made)

    def reset(self) -> None:
        """Forget what is left; the next sample begins a new stretch of sound."""
        if self._stream is not None and self._consumed:
            self._stream.clear()
            self._consumed = 0
            self._produced = 0


def _to_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    # A filter overshoots at loud edges: saturate instead of wrapping around.
    np.rint(samples, out=samples)
    np.minimum(samples, 32767, out=samples)
    np.maximum(samples, -32768, out=samples)
    return samples.astype(np.int16)
