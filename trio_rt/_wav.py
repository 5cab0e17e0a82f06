"""WAV files: any common form in, PCM16 mono out, nothing written half.

The chunks are read here, because the standard library's `wave` reads neither float nor, before
Python 3.12, `WAVE_FORMAT_EXTENSIBLE`, and cannot tell a truncated file.

Format: RIFF/WAVE, "Multimedia Programming Interface and Data Specifications 1.0" (IBM and
    Microsoft,
1991), and `WAVEFORMATEXTENSIBLE` of the Windows SDK.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sansio_rt._errors import RealtimeError

__all__ = ["Recording", "WavError", "WavWriter", "read_wav", "write_wav"]

_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
# Programs that write to a pipe put a larger size than this for "until the end".
_LONGEST_KNOWN = 0x7FFF_EFFF
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
# Rates outside this are a broken header rather than sound.
_RATES = range(4_000, 384_001)
_MOST_CHANNELS = 64


class WavError(RealtimeError):
    """A file cannot be read or written as WAV. The message names the file and what to do."""


_Samples = NDArray[np.int16] | NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """The sound of a WAV file.

    Attributes:
        samples: Shape (frames, channels): int16 for files of 8 and 16 bits, float32 within about
            [-1, 1] for all others.
        rate: Frames a second.
        truncated: Whether the file's header promises more than the file holds.
    """

    samples: _Samples
    rate: int
    truncated: bool = False

    @property
    def duration_s(self) -> float:
        """How long it is, in seconds."""
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class _Format:
    """The `fmt ` chunk."""

    tag: int
    channels: int
    rate: int
    frame_bytes: int
    bits: int


def read_wav(path: str | os.PathLike[str]) -> Recording:
    """Read a WAV file: 8 to 32 bits or float, any rate, any number of channels.

    Args:
        path: The file. One that ends too early gives what is there.

    Returns:
        Its sound, with at least one frame.

    Raises:
        WavError: There is no such file, it cannot be read, it is no WAV file, it is of a kind that
            is not understood, or it holds no sound.
    """
    path = Path(path)
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError as error:
        raise WavError(f"{path}: there is no such file; check the name") from error
    except IsADirectoryError as error:
        raise WavError(f"{path}: this is a folder; name a WAV file in it") from error
    except OSError as error:
        raise WavError(f"{path}: cannot be read: {error.strerror}") from error
    form, data, truncated = _chunks(path, content)
    samples = _decode(path, form, data[: len(data) - len(data) % form.frame_bytes])
    return Recording(samples.reshape(-1, form.channels), form.rate, truncated)


def _chunks(path: Path, content: memoryview) -> tuple[_Format, memoryview, bool]:
    """The format, the sound's bytes, and whether some of them lack."""
    if not content:
        raise WavError(f"{path}: the file is empty; record it again or name another one")
    if bytes(content[:4]) != b"RIFF" or bytes(content[8:12]) != b"WAVE":
        raise WavError(f"{path}: this is not a WAV file; convert it to WAV first")
    form: _Format | None = None
    position = 12
    while position + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, position)
        body = content[position + 8 : position + 8 + size]
        if name == b"fmt ":
            form = _parse_format(path, body)
        elif name == b"data" and form is not None:
            if len(body) < form.frame_bytes:
                raise WavError(f"{path}: the file holds no sound; record it again")
            return form, body, len(body) < size <= _LONGEST_KNOWN
        position += 8 + size + size % 2  # chunks begin at even positions
    missing = "sound" if form else "format"
    raise WavError(f"{path}: the WAV file ends before its {missing}; copy or record it again")


def _parse_format(path: Path, body: memoryview) -> _Format:
    if len(body) < 16:
        raise WavError(f"{path}: the WAV file ends within its format; copy or record it again")
    tag, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 26:
        (tag,) = struct.unpack_from("<H", body, 24)
    if (tag, bits) not in _DECODERS:
        raise WavError(
            f"{path}: WAV of kind {tag:#06x} with {bits} bits is not understood; convert it to "
            "16-bit PCM first"
        )
    if rate not in _RATES or not 1 <= channels <= _MOST_CHANNELS:
        raise WavError(
            f"{path}: {rate} Hz with {channels} channels is not understood; convert it to mono "
            "with a rate between 8 and 48 kHz first"
        )
    if frame_bytes != channels * bits // 8:
        raise WavError(f"{path}: the WAV header contradicts itself; convert the file again")
    return _Format(tag, channels, rate, frame_bytes, bits)


def _decode(path: Path, form: _Format, data: memoryview) -> _Samples:
    samples = _DECODERS[form.tag, form.bits](data)
    if not np.isfinite(samples).all():
        raise WavError(f"{path}: the sound holds values that are no numbers; convert it again")
    return samples


def _from_8_bits(data: memoryview) -> NDArray[np.int16]:
    return (np.frombuffer(data, np.uint8).astype(np.int16) - 128) << 8


def _from_16_bits(data: memoryview) -> NDArray[np.int16]:
    return np.frombuffer(data, "<i2").astype(np.int16)


def _from_24_bits(data: memoryview) -> NDArray[np.float32]:
    # Three bytes become the upper three of four, whose sign is then the right one.
    widened = np.zeros((len(data) // 3, 4), np.uint8)
    widened[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return _from_32_bits(memoryview(widened.tobytes()))


def _from_32_bits(data: memoryview) -> NDArray[np.float32]:
    return np.frombuffer(data, "<i4").astype(np.float32) / np.float32(2**31)


def _from_floats(data: memoryview) -> NDArray[np.float32]:
    return np.frombuffer(data, "<f4").astype(np.float32)


def _from_doubles(data: memoryview) -> NDArray[np.float32]:
    return np.frombuffer(data, "<f8").astype(np.float32)


_DECODERS: dict[tuple[int, int], Callable[[memoryview], _Samples]] = {
    (_PCM, 8): _from_8_bits,
    (_PCM, 16): _from_16_bits,
    (_PCM, 24): _from_24_bits,
    (_PCM, 32): _from_32_bits,
    (_FLOAT, 32): _from_floats,
    (_FLOAT, 64): _from_doubles,
}


def write_wav(path: str | os.PathLike[str], pcm: bytes, rate: int) -> None:
    """Write a WAV file, whole or not at all.

    Args:
        path: The file; one that exists is replaced at the end.
        pcm: PCM16 mono little-endian.
        rate: Samples a second.

    Raises:
        WavError: It cannot be written.
    """
    with WavWriter(path, rate) as writer:
        writer.write(pcm)


class WavWriter:
    """Writes a WAV file piece by piece; it appears under its name when it is finished, or never.

    A context manager: leaving it without an error finishes the file, with one discards it.

    Args:
        path: The file; one that exists is replaced at the end. Until then the sound is in a file
            beside it.
        rate: Samples a second.

    Raises:
        WavError: The file cannot be written there.
    """

    def __init__(self, path: str | os.PathLike[str], rate: int) -> None:
        self._path = Path(path)
        if self._path.is_dir():
            raise WavError(f"{self._path}: this is a folder; name a file in it to write to")
        try:
            handle, temporary = tempfile.mkstemp(
                prefix=f".{self._path.name}.", suffix=".part", dir=self._path.parent
            )
        except OSError as error:
            raise self._failure(error) from error
        self._temporary = Path(temporary)
        self._file = os.fdopen(handle, "wb")
        self._rate = rate
        self._size = 0
        self._is_open = True
        self.write(_header(rate, 0))
        self._size = 0

    def write(self, pcm: bytes) -> None:
        """Append sound.

        Args:
            pcm: PCM16 mono little-endian.

        Raises:
            WavError: The disk is full, or the like; the file is discarded.
        """
        try:
            self._file.write(pcm)
            self._size += len(pcm)
        except OSError as error:
            self.discard()
            raise self._failure(error) from error

    def finish(self) -> None:
        """End the file and put it under its name. Afterwards there is nothing to do any more.

        Raises:
            WavError: It cannot be put there; it is discarded.
        """
        if not self._is_open:
            return
        try:
            self._file.seek(0)
            self._file.write(_header(self._rate, self._size))
            self._file.close()
            self._temporary.chmod(0o666 & ~_umask())
            self._temporary.replace(self._path)
        except OSError as error:
            self.discard()
            raise self._failure(error) from error
        self._is_open = False

    def discard(self) -> None:
        """Leave no file, and one that was there before as it was. Does nothing after `finish`."""
        if not self._is_open:
            return
        self._is_open = False
        with contextlib.suppress(OSError):  # what could not be written before cannot be now
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.discard()

    def _failure(self, error: OSError) -> WavError:
        return WavError(f"{self._path}: cannot be written: {error.strerror}; choose another place")


def _header(rate: int, size: int) -> bytes:
    """The 44 bytes before PCM16 mono sound of a size in bytes."""
    size = min(size, 0xFFFF_FFFF - _HEADER.size)
    return _HEADER.pack(
        *(b"RIFF", size + _HEADER.size - 8, b"WAVE"),
        *(b"fmt ", 16, _PCM, 1, rate, 2 * rate, 2, 16),
        *(b"data", size),
    )


def _umask() -> int:
    """The mask that an ordinary new file gets; a temporary file is private by itself."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
