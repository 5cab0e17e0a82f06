"""What becomes of a conversation's connection: it is lost, and it comes back."""

from __future__ import annotations

from collections.abc import Callable

import trio

from sansio_rt import ConnectionLost, RealtimeError, SessionResumed

from ._problems import SessionFailed

__all__ = ["Link"]

MOST_LOSSES = 3
"""In one turn. A server that breaks off each time that it is asked will not answer the fourth time."""


class Link:
    """Tells of losses on the screen, and lets a turn wait until the connection is back.

    Args:
        warn: Prints a warning.

    Attributes:
        losses: How often the connection was lost so far.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.losses = 0
        self._warn = warn
        self._error: RealtimeError | None = None
        self._losses_before = 0
        self._back = trio.Event()
        self._back.set()
        self._waiting = trio.CancelScope()
        self._turn = trio.CancelScope()

    @property
    def error(self) -> RealtimeError | None:
        """Why it is away, or None where it is not."""
        return self._error

    @property
    def losses_in_turn(self) -> int:
        """How often it was lost in this turn."""
        return self.losses - self._losses_before

    def turn(self) -> trio.CancelScope:
        """A block for one turn, which ends early where the connection is lost too often in it."""
        self._losses_before = self.losses
        self._turn = trio.CancelScope()
        return self._turn

    def too_often(self) -> SessionFailed:
        """Why such a block has ended early."""
        return SessionFailed(
            f"the connection was lost {self.losses_in_turn} times in one turn, the last time because "
            f"{self._error}; the server's own log may tell why"
        )

    def note(self, event: ConnectionLost | SessionResumed) -> None:
        """Takes what happened to the connection."""
        if isinstance(event, SessionResumed):
            self._error = None
            self._back.set()
            items = "1 item" if event.replayed == 1 else f"{event.replayed} items"
            self._warn(f"connected again after {event.away_s:.1f} s, {items} replayed")
            return
        if self._error is None:  # else it is still away, and another try has failed
            self.losses += 1
            self._back = trio.Event()
            how = "is being replaced" if event.planned else f"lost ({event.error})"
            self._warn(f"connection {how}; connecting again")
        self._error = event.error
        self._waiting.cancel()
        if self.losses_in_turn > MOST_LOSSES:
            self._turn.cancel()

    def until_lost(self) -> trio.CancelScope:
        """A block that ends early where the connection is lost meanwhile."""
        self._waiting = trio.CancelScope()
        return self._waiting

    async def back(self) -> None:
        """Waits until the connection is there."""
        await self._back.wait()
