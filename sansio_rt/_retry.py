"""When to connect again: pure state with the time as an argument (parity R2, R8; design, idea 8).

The count of failures starts anew only after a connection has stayed healthy for a while, so that a server
that accepts and closes is not hammered; and whatever a server does, connects within a window are bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from msgspec import Struct

from ._errors import (
    CommandRefused,
    CommandTimeout,
    ConnectionClosed,
    FrameError,
    HandshakeRejected,
    RealtimeError,
)

__all__ = ["Retries", "RetryPolicy", "is_final_close", "worth_a_retry"]

# HTTP statuses that may be another on the next try (RFC 9110, section 15; 425 is RFC 8470).
_PASSING_STATUSES = frozenset({408, 425, 429})

# Close codes that say "not you" or "not this": another try would be the same (RFC 6455, section 7.4; 3000
# and 3003 are IANA's for unauthorized and forbidden).
_FINAL_CLOSE_CODES = frozenset({1003, 1007, 1008, 1009, 1010, 3000, 3003})

# Errors of the service that a new connection mends.
_PASSING_CODES = frozenset({"session_expired", "server_error", "rate_limit_exceeded"})


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How a lost connection is replaced. Times in seconds."""

    first_delay_s: float = 0.1
    """Before the first try."""
    multiplier: float = 2.0
    """Growth of the delay from one try to the next."""
    max_delay_s: float = 10.0
    """The delay grows no further."""
    jitter: float = 0.2
    """Share by which a delay is varied, up and down."""
    healthy_after_s: float = 10.0
    """A connection that stood so long was healthy: the delays start anew."""
    max_connects: int = 12
    """Connects within `window_s`, whatever happens."""
    window_s: float = 60.0
    give_up_after_s: float = 120.0
    """The session fails when it could not be replaced for so long."""
    retry_first: bool = False
    """Whether the very first connection is tried again, too, rather than failing at once."""


def worth_a_retry(error: BaseException | None) -> bool:
    """Whether another connection may do better than the one that ended so.

    Never for a bad key, no quota, a model that is not there, a policy, or a message that was too big:
    it would end the same (server-behaviour, rule 13; parity R2, R12).
    """
    match error:
        case HandshakeRejected(status=status):
            return status >= 500 or status in _PASSING_STATUSES
        case ConnectionClosed(code=code):
            return not is_final_close(code)
        case CommandRefused(code=code, error_type=error_type):
            return code in _PASSING_CODES or error_type in _PASSING_CODES
        case CommandTimeout() | FrameError():
            return True
        case RealtimeError(passing=passing):
            return passing
        case _:
            return False


def is_final_close(code: int) -> bool:
    """Whether a close code says that another connection would end the same."""
    return code in _FINAL_CLOSE_CODES


class Retries:
    """The history of connects, and when the next one may be.

    Args:
        policy: The bounds.
        random: Gives a number from 0 to 1 for the jitter.
    """

    def __init__(self, policy: RetryPolicy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._connects: deque[float] = deque(maxlen=policy.max_connects)
        self._failures = 0
        self._ready_at: float | None = None
        self._lost_at: float | None = None

    @property
    def attempts(self) -> int:
        """Tries since the last healthy connection."""
        return self._failures

    def began(self, now: float) -> None:
        """A connect begins."""
        self._connects.append(now)
        self._ready_at = None

    def may_connect(self, now: float) -> bool:
        """Whether the bound on connects leaves room for one beside the connection that stands."""
        full = len(self._connects) == self._policy.max_connects
        return not full or now >= self._connects[0] + self._policy.window_s

    def began_beside(self, now: float) -> None:
        """A connect begins beside a connection that stands."""
        self._connects.append(now)

    def replaced(self, now: float) -> None:
        """A connection that was made ready beside this one has taken over from it."""
        self._note_health(now)
        self._ready_at = now

    def ready(self, now: float) -> None:
        """The connection is up, configured and replayed."""
        self._ready_at = now

    def ended(self, now: float, error: RealtimeError | None = None) -> float | None:
        """A connection is gone, or could not be made.

        Args:
            now: The time.
            error: Why; a `Retry-After` of a rejected handshake is kept to.

        Returns:
            Seconds to wait before the next connect, or None: it is given up.
        """
        policy = self._policy
        self._note_health(now)
        self._ready_at = None
        if self._lost_at is None:
            self._lost_at = now
        delay = min(policy.first_delay_s * policy.multiplier**self._failures, policy.max_delay_s)
        delay *= 1 + policy.jitter * (2 * self._random() - 1)
        if isinstance(error, HandshakeRejected) and error.retry_after_s is not None:
            delay = max(delay, error.retry_after_s)
        if len(self._connects) == policy.max_connects:
            delay = max(delay, self._connects[0] + policy.window_s - now)
        self._failures += 1
        if now + delay - self._lost_at > policy.give_up_after_s:
            return None
        return delay

    def _note_health(self, now: float) -> None:
        if self._ready_at is not None and now - self._ready_at >= self._policy.healthy_after_s:
            self._failures = 0
            self._lost_at = None
