"""Responses that fall silent: nothing may wait for ever for an end that is never told (parity G5).

A connection may live while a response on it is dead: its `response.done` was lost, or could not be read.
The watch only says which responses have been silent for too long; `Responses` cancels those by id, which
is a question as well: `response_cancel_not_active` is an end, and so is no answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

__all__ = ["SilenceWatch"]


class _Heard(Protocol):
    heard_at: float


T = TypeVar("T", bound=_Heard)


class SilenceWatch:
    """Knows when to look, and what is silent then.

    The deadline moves only when it has come, so that an event costs nothing but keeping its time.

    Args:
        patience_s: How long a response may be silent, in seconds; None: for ever.

    Attributes:
        deadline: When to ask `silent`, or None while nothing is watched.
    """

    __slots__ = ("_patience_s", "deadline")

    def __init__(self, patience_s: float | None) -> None:
        self._patience_s = patience_s
        self.deadline: float | None = None

    def begin(self, now: float) -> None:
        """A response began."""
        if self.deadline is None and self._patience_s is not None:
            self.deadline = now + self._patience_s

    def silent(self, running: Iterable[T], now: float) -> list[tuple[T, bool]]:
        """What has been silent for too long, and whether it was so at the last look already.

        The deadline moves on; where nothing runs there is none.

        Args:
            running: All that is running.
            now: The time.
        """
        if self._patience_s is None or self.deadline is None or now < self.deadline:
            return []
        silent: list[tuple[T, bool]] = []
        looks: list[float] = []
        for response in running:
            # Compared as it is set: `now - heard_at` may round to less, and nothing would move on.
            silent_at = response.heard_at + self._patience_s
            if now < silent_at:
                looks.append(silent_at)
            else:
                silent.append((response, now >= silent_at + self._patience_s))
                looks.append(now + self._patience_s)
        self.deadline = min(looks, default=None)
        return silent
