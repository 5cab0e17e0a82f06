"""Whether the peer is still there (parity R7, R11): pure state with the time as an argument."""

from __future__ import annotations

import enum
from collections import deque

from ._config import Timing

__all__ = ["Keepalive", "Liveness", "Need"]

_MOST_PINGS = 8  # that nobody has answered


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
        proved_at: The peer has taken everything that was sent up to then: it has answered a ping.
    """

    __slots__ = ("_pinged_at", "_timing", "_unanswered", "deadline", "heard_at", "proved_at")

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._pinged_at: float | None = None
        # A peer may answer several by one pong; then less is proved than was, which does no harm.
        self._unanswered: deque[float] = deque(maxlen=_MOST_PINGS)
        self.deadline: float | None = None
        self.heard_at = self.proved_at = 0.0

    def start(self, now: float) -> None:
        """The connection is up."""
        self.heard_at = self.proved_at = now
        self._pinged_at = None
        self._unanswered.clear()
        interval_s = self._timing.keepalive_interval_s
        self.deadline = None if interval_s is None else now + interval_s

    def stop(self) -> None:
        """The connection is closing, or gone."""
        self.deadline = None

    def ask(self, now: float) -> None:
        """A ping goes out although the peer is not silent: the answer tells how much it has taken."""
        self._pinged_at = now
        self._unanswered.append(now)
        if self.deadline is not None:
            self.deadline = now + self._timing.keepalive_timeout_s

    def answered(self) -> None:
        """A pong has come."""
        if self._unanswered:
            self.proved_at = self._unanswered.popleft()

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
        self._unanswered.append(now)
        self.deadline = now + self._timing.keepalive_timeout_s
        return Need.PING


class Liveness:
    """Finds a service that takes audio and says nothing, although its WebSocket answers (R11).

    Args:
        after_s: How long a service may say nothing while audio goes out, in seconds; None: for ever.

    Attributes:
        deadline: When to ask `is_doubtful`, or None while nothing is watched.
        appended_at: When audio went out last.
        told_at: When the service said something last.
    """

    __slots__ = ("_after_s", "appended_at", "deadline", "told_at")

    def __init__(self, after_s: float | None) -> None:
        self._after_s = after_s
        self.deadline: float | None = None
        self.appended_at = 0.0
        self.told_at = 0.0

    def start(self, now: float) -> None:
        """The session is up."""
        self.told_at = now
        self.deadline = None if self._after_s is None else now + self._after_s

    def stop(self) -> None:
        """The connection is closing, or gone."""
        self.deadline = None

    def is_doubtful(self, now: float) -> bool:
        """Whether to ask for a sign of life; sets the next deadline."""
        if self.deadline is None or self._after_s is None or now < self.deadline:
            return False
        silent_at = self.told_at + self._after_s
        if now < silent_at:
            self.deadline = silent_at
            return False
        self.deadline = now + self._after_s
        return self.appended_at > self.told_at
