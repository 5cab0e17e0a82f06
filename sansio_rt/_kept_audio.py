"""The caller's audio that the server has not turned into a message yet (parity N3, R10).

It is kept so that no spoken word is lost when the connection is: on the next connection it is sent again,
before anything new. Positions count like the server's, in milliseconds of all audio appended in a
connection, so that a turn that the server closed at a position takes just its own audio away.
"""

from __future__ import annotations

from collections import deque

from ._audio import AudioFormat

__all__ = ["KeptAudio"]


class KeptAudio:
    """Appended audio, the newest last, bounded by its length.

    Args:
        limit_s: How much is kept, in seconds; beyond it the oldest goes. 0 keeps nothing.

    Attributes:
        end_ms: Position behind the newest audio.
        lost_ms: How much had to be dropped since the last `take_lost_ms`, in milliseconds.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._set_format(AudioFormat.PCM16)
        self.end_ms = 0.0
        self._dropped_until_ms = 0.0
        self._lost_ms = 0.0

    def configure(self, audio_format: AudioFormat) -> None:
        """Takes over another wire format; what was kept in the old one is dropped."""
        if audio_format is not self._format:
            self.clear()
            self._dropped_until_ms = self.end_ms
            self._set_format(audio_format)

    def extend(self, frames: list[bytes]) -> None:
        """Keeps frames of wire bytes."""
        if not self._limit_s:
            return
        for frame in frames:
            self._frames.append(frame)
            self._bytes += len(frame)
            self.end_ms += len(frame) / self._bytes_per_ms
        limit = self._limit_s * 1000 * self._bytes_per_ms
        while self._bytes > limit:
            dropped = self._frames.popleft()
            self._bytes -= len(dropped)
            self._lost_ms += len(dropped) / self._bytes_per_ms
            self._dropped_until_ms = self.end_ms - self._bytes / self._bytes_per_ms

    def has_all_since(self, position_ms: float) -> bool:
        """Whether nothing behind a position had to be dropped."""
        return position_ms >= self._dropped_until_ms

    def take_until(self, position_ms: float) -> bytes:
        """Takes away the audio up to a position, and returns it."""
        wanted = round(self._bytes - (self.end_ms - position_ms) * self._bytes_per_ms)
        wanted -= wanted % self._sample_bytes
        taken: list[bytes] = []
        while self._frames and wanted > 0:
            frame = self._frames.popleft()
            if len(frame) > wanted:
                self._frames.appendleft(frame[wanted:])
                frame = frame[:wanted]
            wanted -= len(frame)
            self._bytes -= len(frame)
            taken.append(frame)
        return b"".join(taken)

    def take_all(self) -> list[bytes]:
        """Takes everything for a new connection, whose positions begin at 0."""
        frames = list(self._frames)
        self.clear()
        self.end_ms = self._dropped_until_ms = 0.0
        return frames

    def take_lost_ms(self) -> float:
        """How much was dropped since the last call, in milliseconds."""
        lost, self._lost_ms = self._lost_ms, 0.0
        return lost

    def clear(self) -> None:
        """Forgets the audio; positions go on."""
        self._frames.clear()
        self._bytes = 0

    def _set_format(self, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self._sample_bytes = audio_format.bytes_per_sample
        self._bytes_per_ms = audio_format.rate * audio_format.bytes_per_sample // 1000
