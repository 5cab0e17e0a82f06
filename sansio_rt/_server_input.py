"""Wire audio on the server: the input buffer, and the sound that belongs to an item."""

from __future__ import annotations

from msgspec import Struct, field

from ._audio import AudioFormat

__all__ = ["InputBuffer", "Sound", "milliseconds"]

_PCM16 = AudioFormat.PCM16  # bound once: an enum is slow to find a member by its name


def milliseconds(size: int, audio: AudioFormat) -> float:
    """How long so many wire bytes last."""
    return size / (48 if audio is _PCM16 else 8)  # bytes a millisecond


class Sound(Struct):
    """Audio as it is on the wire.

    Attributes:
        format: Its format.
        data: The bytes.
    """

    format: AudioFormat
    data: bytearray = field(default_factory=bytearray)

    @property
    def duration_ms(self) -> float:
        """Its length in milliseconds."""
        return milliseconds(len(self.data), self.format)

    def pcm16(self) -> bytes:
        """The samples as PCM16 little-endian, at the format's rate."""
        return self.format.from_wire(bytes(self.data)).astype("<i2", copy=False).tobytes()

    def cut(self, end_ms: int) -> None:
        """Forget what lies behind a position."""
        del self.data[end_ms * self.format.rate // 1000 * self.format.bytes_per_sample :]


class InputBuffer:
    """Wire bytes with a clock that runs through the whole session.

    Positions are milliseconds since the session's first sample. They go on over commits and
    clears, and over a change of the format.

    Attributes:
        format: The format of what is buffered.
    """

    def __init__(self) -> None:
        self.format = AudioFormat.PCM16
        self._data = bytearray()
        self._whole_bytes = 0
        self._start_ms = 0.0
        # After the server's own commit silence leaves nothing to commit, only new speech does.
        self._settled = False

    @property
    def start_ms(self) -> float:
        """Position of the first buffered sample."""
        return self._start_ms

    @property
    def end_ms(self) -> float:
        """Position behind the last whole sample, which is all the audio ever appended."""
        return self._start_ms + milliseconds(self._whole_bytes, self.format)

    @property
    def buffered_ms(self) -> float:
        """How much there is."""
        return milliseconds(self._whole_bytes, self.format)

    @property
    def committable_ms(self) -> float:
        """How much a commit would find."""
        return 0.0 if self._settled else self.end_ms - self._start_ms

    def append(self, data: bytes) -> bytes:
        """Add wire bytes, cut anywhere. Gives the whole samples that they complete."""
        heard = self._whole_bytes
        self._data += data
        self._whole_bytes = len(self._data) - len(self._data) % self.format.bytes_per_sample
        return bytes(self._data[heard : self._whole_bytes])

    def change_format(self, audio: AudioFormat) -> None:
        """Switch to another format; what is buffered in the old one is dropped."""
        if audio is not self.format:
            self.clear()
            self.format = audio

    def drop_before(self, position_ms: float) -> None:
        """Forget what lies before a position; it is no part of the next commit."""
        cut = min(self._offset(position_ms), self._whole_bytes)
        self._start_ms += milliseconds(cut, self.format)
        del self._data[:cut]
        self._whole_bytes -= cut

    def between(self, start_ms: float, end_ms: float) -> bytes:
        """A copy of the wire bytes between two positions."""
        return bytes(
            self._data[self._offset(start_ms) : min(self._offset(end_ms), self._whole_bytes)]
        )

    def take_until(self, position_ms: float) -> bytes:
        """Remove and give what lies before a position."""
        taken = self.between(self._start_ms, position_ms)
        self._start_ms += milliseconds(len(taken), self.format)
        del self._data[: len(taken)]
        self._whole_bytes -= len(taken)
        return taken

    def clear(self) -> None:
        """Drop everything."""
        self._start_ms = self.end_ms
        self._data.clear()
        self._whole_bytes = 0
        self._settled = False

    def settle(self) -> None:
        """The server has committed: silence from here on is nothing to commit."""
        self._settled = True

    def unsettle(self) -> None:
        """Speech has begun, or turn detection is off: what is buffered counts again."""
        self._settled = False

    def _offset(self, position_ms: float) -> int:
        samples = round((position_ms - self._start_ms) * self.format.rate / 1000)
        return max(0, samples) * self.format.bytes_per_sample
