"""Whether the peer is still there (parity R7, R11): pure state with the time as an argument."""

from __future__ import annotations

import enum

from ._config import Timing

__all__ = ["Keepalive", "Need"]


class Need(enum.Enum):
    """What has to be done now."""

    PING = "ping"
    GIVE_UP = "give up"


class Keepalive:
    """Pings a peer that is silent, and gives up one that stays so.

    Any byte of the peer counts as life. The deadline moves only when it has come, so that reading costs
    nothing but keeping the time.

    Args:
        timing: The interval and the patience.

    Attributes:
        deadline: When to ask `need`, or None while nothing is watched.
        heard_at: When the peer was last heard.
    """

    __slots__ = ("_pinged_at", "_timing", "deadline", "heard_at")

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._pinged_at: float | None = None
        self.deadline: float | None = None
        self.heard_at = 0.0

    def start(self, now: float) -> None:
        """The connection is up."""
        self.heard_at = now
        self._pinged_at = None
        interval_s = self._timing.keepalive_interval_s
        self.deadline = None if interval_s is None else now + interval_s

    def stop(self) -> None:
        """The connection is closing, or gone."""
        self.deadline = None

    def need(self, now: float) -> Need | None:
        """What has to be done at the deadline; sets the next one."""
        interval_s = self._timing.keepalive_interval_s
        if self.deadline is None or interval_s is None or now < self.deadline:
            return None
        if self._pinged_at is not None and self.heard_at < self._pinged_at:
            self.deadline = None
            return Need.GIVE_UP
        # Compared as it is set: `now - heard_at` may round to less, and the deadline would stand still.
        silent_at = self.heard_at + interval_s
        if now < silent_at:
            self._pinged_at = None
            self.deadline = silent_at
            return None
        self._pinged_at = now
        self.deadline = now + self._timing.keepalive_timeout_s
        return Need.PING
