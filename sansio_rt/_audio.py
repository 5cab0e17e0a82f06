"""Audio on its way in and out: any PCM to wire frames, and wire bytes to frames with a position.

The wire carries mono audio in one of three formats (`AudioFormat`), little-endian whatever the
machine is. Inward there is one `AudioEncoder` per session; outward there is one `AudioFrame` per
delta.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from ._errors import LocalProtocolError
from ._g711 import alaw_to_pcm16, pcm16_to_alaw, pcm16_to_ulaw, ulaw_to_pcm16
from ._resampler import Resampler, check_rate

__all__ = [
    "AudioChunker",
    "AudioData",
    "AudioEncoder",
    "AudioFormat",
    "AudioFrame",
    "alaw_to_pcm16",
    "pcm16_to_alaw",
    "pcm16_to_ulaw",
    "to_pcm16",
    "ulaw_to_pcm16",
]

AudioData: TypeAlias = bytes | bytearray | memoryview | NDArray[Any]
"""Audio that is accepted: PCM16 little-endian bytes, or an array of int16, float32 or float64."""

MAX_CHANNELS = 64
# Filters and mixes make float audio overshoot 1.0 a little; far above, it is int16 in disguise.
MAX_FLOAT_MAGNITUDE = 2.0
MIN_FRAME_MS = 10
MAX_FRAME_MS = 5_000


class AudioFormat(StrEnum):
    """The audio formats of the wire; the value is the `type` in a session's configuration.

    Attributes:
        rate: Samples per second.
        bytes_per_sample: Bytes that one sample takes on the wire.
    """

    PCM16 = "audio/pcm"
    """16-bit linear, little-endian, 24 kHz, mono."""
    PCMU = "audio/pcmu"
    """G.711 µ-law, 8 kHz, mono."""
    PCMA = "audio/pcma"
    """G.711 A-law, 8 kHz, mono."""

    def __init__(self, wire_type: str) -> None:
        is_pcm = wire_type == "audio/pcm"
        self.rate: Final = 24_000 if is_pcm else 8_000
        self.bytes_per_sample: Final = 2 if is_pcm else 1

    def to_wire(self, samples: NDArray[np.int16]) -> bytes:
        """Turn int16 mono samples at `rate`, shape (n,), into wire bytes."""
        if self is AudioFormat.PCM16:
            return samples.astype("<i2", copy=False).tobytes()
        return pcm16_to_ulaw(samples) if self is AudioFormat.PCMU else pcm16_to_alaw(samples)

    def from_wire(self, data: bytes | bytearray | memoryview) -> NDArray[np.int16]:
        """Turn wire bytes into int16 samples, shape (n,): for PCM16 a view, for G.711 a new array.

        A last byte that is half a PCM16 sample is left out.
        """
        if self is AudioFormat.PCM16:
            return np.frombuffer(data, dtype="<i2", count=len(data) // 2)
        return ulaw_to_pcm16(data) if self is AudioFormat.PCMU else alaw_to_pcm16(data)


class AudioFrame(msgspec.Struct, frozen=True, gc=False):
    """A piece of audio as it came, and where it lies in its item; decoded only when asked for.

    Attributes:
        data: The wire's bytes.
        rate: Samples per second.
        format: The wire's format.
        start_sample: Position of the first sample in the item's audio, counted in samples.
    """

    data: bytes
    rate: int = 24_000
    format: AudioFormat = AudioFormat.PCM16
    start_sample: int = 0

    @property
    def samples(self) -> NDArray[np.int16]:
        """int16 mono samples, shape (n,): a read-only view for PCM16, a decoded array for G.711."""
        return self.format.from_wire(self.data)

    @property
    def sample_count(self) -> int:
        """Samples in this frame."""
        return len(self.data) // self.format.bytes_per_sample

    @property
    def start_ms(self) -> float:
        """Position of the first sample in the item's audio, in milliseconds."""
        return self.start_sample * 1000 / self.rate

    @property
    def duration_ms(self) -> float:
        """Length in milliseconds."""
        return self.sample_count * 1000 / self.rate

    @property
    def end_ms(self) -> float:
        """Position behind the last sample in the item's audio, in milliseconds."""
        return (self.start_sample + self.sample_count) * 1000 / self.rate


def to_pcm16(audio: AudioData, *, channels: int = 1) -> NDArray[np.int16]:
    """Turn any accepted audio into int16 mono samples at the rate it has.

    Several channels are mixed down to their mean. Float samples are taken as -1 to 1 and clipped
    there; above 2 they are refused, because that is audio in another scale.

    Args:
        audio: PCM16 little-endian bytes, or an array of int16, float32 or float64, of shape (n,) or
            (n, channels). Bytes and flat arrays of several channels are interleaved.
        channels: Channels of bytes or of a flat array. An array of shape (n, channels)
            says it itself.

    Returns:
        int16 samples, shape (n,). It is a view where nothing had to be converted.

    Raises:
        LocalProtocolError: Half a sample, another type or shape, NaN or infinity, float out of
            scale.
    """
    if type(channels) is not int or not 1 <= channels <= MAX_CHANNELS:
        raise LocalProtocolError(
            f"channels must be a whole number between 1 and {MAX_CHANNELS}, not {channels!r}"
        )
    if isinstance(audio, bytes | bytearray | memoryview):
        samples: NDArray[Any] = _samples_of_bytes(audio)
    elif isinstance(audio, np.ndarray):  # pyright: ignore[reportUnnecessaryIsInstance]  # input
        samples = audio
        if samples.dtype.kind + str(samples.dtype.itemsize) not in ("i2", "f4", "f8"):
            raise LocalProtocolError(
                f"audio must be an array of int16, float32 or float64, not {samples.dtype}; "
                f"convert it with audio.astype(...) in the right scale"
            )
    else:
        raise LocalProtocolError(
            f"audio must be PCM16 bytes or a NumPy array, not {type(audio).__name__}"
        )
    by_channel = _by_channel(samples, channels)
    return _int16_of_int16(by_channel) if samples.dtype.kind == "i" else _int16_of_float(by_channel)


def _samples_of_bytes(data: bytes | bytearray | memoryview) -> NDArray[np.int16]:
    if isinstance(data, memoryview) and not data.c_contiguous:
        data = bytes(data)
    size = data.nbytes if isinstance(data, memoryview) else len(data)
    if size % 2:
        raise LocalProtocolError(
            f"audio has {size} bytes, which is not a whole number of 16-bit samples; "
            "keep the odd byte and put it before the next piece"
        )
    return np.frombuffer(data, dtype="<i2")


def _by_channel(samples: NDArray[Any], channels: int) -> NDArray[Any]:
    """Give mono samples as shape (n,), several channels as shape (n, channels)."""
    if samples.ndim == 1:
        if channels == 1:
            return samples
        if len(samples) % channels:
            raise LocalProtocolError(
                f"audio has {len(samples)} samples, which is not a multiple of "
                f"channels={channels}; push whole interleaved frames"
            )
        return samples.reshape(-1, channels)
    if samples.ndim != 2 or not 1 <= samples.shape[1] <= MAX_CHANNELS:
        raise LocalProtocolError(
            f"audio must have shape (n,) or (n, channels) with at most {MAX_CHANNELS} channels, "
            f"not {samples.shape}; transpose it with audio.T if channels come first"
        )
    if channels not in (1, samples.shape[1]):
        raise LocalProtocolError(
            f"audio has {samples.shape[1]} channels by its shape, but channels={channels}; "
            "leave channels out"
        )
    return samples[:, 0] if samples.shape[1] == 1 else samples


def _int16_of_int16(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    if samples.ndim == 1:
        return samples.astype(np.int16, copy=False)
    mixed: NDArray[np.float64] = np.rint(samples.mean(axis=1))
    return mixed.astype(np.int16)


def _int16_of_float(samples: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    # One look at the largest magnitude finds NaN (it propagates), infinity and a wrong scale.
    largest = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(largest):
        raise LocalProtocolError("audio holds NaN or infinity; replace such samples, say with 0")
    if largest > MAX_FLOAT_MAGNITUDE:
        raise LocalProtocolError(
            f"audio holds float samples up to {largest:g}, but floats go from -1 to 1; "
            "divide by 32768 if they are in the scale of int16"
        )
    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    scaled: NDArray[np.floating[Any]] = np.clip(np.rint(mono * 32768.0), -32768, 32767)
    return scaled.astype(np.int16)


class AudioChunker:
    """Cuts wire bytes of any lengths into frames of one length.

    Args:
        rate: Samples per second.
        frame_ms: Length of a frame in milliseconds, 10 to 5,000.
        bytes_per_sample: 2 for PCM16, 1 for G.711.

    Raises:
        LocalProtocolError: An argument is out of its range.
    """

    __slots__ = ("_bytes_per_sample", "_frame_bytes", "_given_bytes", "_partial", "_rate")

    def __init__(
        self, rate: int = 24_000, frame_ms: int = 100, *, bytes_per_sample: int = 2
    ) -> None:
        self._rate = check_rate(rate)
        if type(frame_ms) is not int or not MIN_FRAME_MS <= frame_ms <= MAX_FRAME_MS:
            raise LocalProtocolError(
                f"frame_ms must be a whole number of milliseconds "
                f"between {MIN_FRAME_MS} and {MAX_FRAME_MS}, not {frame_ms!r}"
            )
        if bytes_per_sample not in (1, 2):
            raise LocalProtocolError(
                f"bytes_per_sample must be 2 (PCM16) or 1 (G.711), not {bytes_per_sample!r}"
            )
        self._bytes_per_sample = bytes_per_sample
        self._frame_bytes = rate * frame_ms // 1000 * bytes_per_sample
        self._partial = bytearray()
        self._given_bytes = 0

    @property
    def frame_bytes(self) -> int:
        """Length of a whole frame in bytes."""
        return self._frame_bytes

    @property
    def pending_samples(self) -> int:
        """Samples that wait for their frame to fill."""
        return len(self._partial) // self._bytes_per_sample

    @property
    def pushed_samples(self) -> int:
        """Samples given out or waiting since the last `restart_count` or `clear`."""
        return (self._given_bytes + len(self._partial)) // self._bytes_per_sample

    @property
    def pushed_ms(self) -> float:
        """The same in milliseconds."""
        return self.pushed_samples * 1000 / self._rate

    def push(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Take bytes and give the frames that are whole now.

        `bytes` of exactly one frame pass through as the same object when nothing waits.

        Args:
            data: Whole samples in the wire's format, any number of them.

        Returns:
            Frames of `frame_bytes` bytes each, maybe none.

        Raises:
            LocalProtocolError: Half a sample. Nothing was taken.
        """
        if type(data) is memoryview:
            data = bytes(data)
        size = len(data)
        frame_bytes = self._frame_bytes
        if size == frame_bytes and not self._partial:
            self._given_bytes += size
            return [bytes(data)]
        if size % self._bytes_per_sample:
            raise LocalProtocolError(
                f"data has {size} bytes, which is not a whole number of "
                f"{self._bytes_per_sample}-byte samples; push whole samples"
            )
        if len(self._partial) + size < frame_bytes:  # as most pieces of a live stream
            self._partial += data
            return []
        return self._cut(data, size)

    def _cut(self, data: bytes | bytearray, size: int) -> list[bytes]:
        frame_bytes = self._frame_bytes
        frames: list[bytes] = []
        position = 0
        if self._partial:
            position = frame_bytes - len(self._partial)
            self._partial += data[:position]
            frames.append(bytes(self._partial))
            self._partial.clear()
        end = size - (size - position) % frame_bytes
        frames.extend(
            bytes(data[start : start + frame_bytes]) for start in range(position, end, frame_bytes)
        )
        self._partial += data[end:]
        self._given_bytes += len(frames) * frame_bytes
        return frames

    def flush(self) -> bytes:
        """Give what waits, shorter than a frame; empty if nothing does."""
        rest = bytes(self._partial)
        self._partial.clear()
        self._given_bytes += len(rest)
        return rest

    def clear(self) -> None:
        """Drop what waits and start counting anew."""
        self._partial.clear()
        self._given_bytes = 0

    def restart_count(self) -> None:
        """Start counting anew (after a commit); what waits stays and counts for the next one."""
        self._given_bytes = 0


class AudioEncoder:
    """Any audio in, frames of wire bytes out. One per session: it holds what is no whole frame yet.

    A caller may change rate, type and channels from one push to the next; what the old rate still
    had in the resampler comes out first, so no sample is lost and order is kept.

    Args:
        format: The wire's format, an `AudioFormat` or its value (`"audio/pcmu"`).
        frame_ms: Length of a frame in milliseconds, 10 to 5,000.

    Raises:
        LocalProtocolError: An argument is out of its range.
    """

    __slots__ = ("_chunker", "_format", "_resampler")

    def __init__(self, format: AudioFormat | str = AudioFormat.PCM16, frame_ms: int = 100) -> None:  # noqa: A002  # the wire's word
        try:
            self._format = format if type(format) is AudioFormat else AudioFormat(format)
        except ValueError:
            known = ", ".join(AudioFormat)
            raise LocalProtocolError(f"format must be one of {known}, not {format!r}") from None
        self._chunker = AudioChunker(
            self._format.rate, frame_ms, bytes_per_sample=self._format.bytes_per_sample
        )
        # None while audio comes in at the wire's own rate.
        self._resampler: Resampler | None = None

    @property
    def format(self) -> AudioFormat:
        """The wire's format."""
        return self._format

    @property
    def pending_ms(self) -> float:
        """Audio that was pushed and did not come out yet, in milliseconds."""
        return self._ms(self._chunker.pending_samples + self._resampling_samples())

    @property
    def pushed_ms(self) -> float:
        """Audio that was pushed since the last `restart_count` or `clear`, in milliseconds."""
        return self._ms(self._chunker.pushed_samples + self._resampling_samples())

    def push(self, audio: AudioData, *, rate: int | None = None, channels: int = 1) -> list[bytes]:
        """Take audio and give the frames that are whole now.

        Args:
            audio: What `to_pcm16` takes.
            rate: Samples per second of `audio`; None is the wire's own rate.
            channels: Channels of bytes or of a flat array.

        Returns:
            Frames of wire bytes, each `frame_ms` long, maybe none.

        Raises:
            LocalProtocolError: The audio or an argument cannot be used. Nothing was taken.
        """
        wire_rate = self._format.rate
        if rate is None:
            rate = wire_rate
        if rate == wire_rate and self._resampler is None:
            if self._format is AudioFormat.PCM16 and channels == 1 and type(audio) is bytes:
                return self._chunker.push(audio)
            return self._push_samples(to_pcm16(audio, channels=channels))
        check_rate(rate)
        samples = to_pcm16(audio, channels=channels)
        frames = self._change_rate(rate)
        if self._resampler is not None:
            samples = self._resampler.process(samples)
        return frames + self._push_samples(samples)

    def push_wire(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Take bytes in the wire's format (say a phone line's G.711) and give the whole frames.

        Raises:
            LocalProtocolError: Half a sample. Nothing was taken.
        """
        if self._resampler is None:
            return self._chunker.push(data)
        if len(data) % self._format.bytes_per_sample:
            raise LocalProtocolError(
                f"data has {len(data)} bytes, which is not a whole number of samples; "
                "push whole samples"
            )
        return self._change_rate(self._format.rate) + self._chunker.push(data)

    def flush(self) -> list[bytes]:
        """Give all that waits: the resampler's rest and the partial frame. The count goes on."""
        frames = self._end_resampling()
        rest = self._chunker.flush()
        if rest:
            frames.append(rest)
        return frames

    def clear(self) -> None:
        """Drop the partial frame, the resampler's state and the count."""
        self._chunker.clear()
        if self._resampler is not None:
            self._resampler.reset()

    def restart_count(self) -> None:
        """Start `pushed_ms` anew, after a commit; what waits stays and counts for the next one."""
        self._chunker.restart_count()

    def _change_rate(self, rate: int) -> list[bytes]:
        """Be ready for audio at a rate; give the frames that the old rate's rest completes."""
        if self._resampler is not None and self._resampler.input_rate == rate:
            return []
        frames = self._end_resampling()
        wire_rate = self._format.rate
        self._resampler = None if rate == wire_rate else Resampler(rate, wire_rate)
        return frames

    def _end_resampling(self) -> list[bytes]:
        return [] if self._resampler is None else self._push_samples(self._resampler.flush())

    def _push_samples(self, samples: NDArray[np.int16]) -> list[bytes]:
        return self._chunker.push(self._format.to_wire(samples))

    def _resampling_samples(self) -> int:
        return 0 if self._resampler is None else self._resampler.pending_samples

    def _ms(self, samples: int) -> float:
        return samples * 1000 / self._format.rate
