"""The caller's ear: what of the answers was played at a time."""

from __future__ import annotations

from .._session_events import AudioDelta
from ._network import Clock

__all__ = ["Playback"]


class Playback:
    """Plays the answers one after the other, each as soon as its sound is there.

    Args:
        clock: Virtual time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._free_at = 0.0
        self._began: dict[str, float] = {}
        self._received_s: dict[str, float] = {}

    @property
    def newest(self) -> str | None:
        """The message whose sound came last, or None."""
        return next(reversed(self._began), None)

    def take(self, event: AudioDelta) -> None:
        """Queues a piece of sound."""
        message, length_s = event.message, event.frame.duration_ms / 1000
        start = max(self._clock.now, self._free_at)
        self._began.setdefault(message.id, start)
        self._received_s[message.id] = self._received_s.get(message.id, 0.0) + length_s
        self._free_at = start + length_s

    def heard_ms(self, item_id: str) -> int:
        """How much of a message was played, in milliseconds."""
        began = self._began.get(item_id)
        if began is None:
            return 0
        played_s = min(max(0.0, self._clock.now - began), self._received_s[item_id])
        return int(1000 * played_s)

    def stop(self) -> None:
        """Drops what was not played yet."""
        self._free_at = self._clock.now
