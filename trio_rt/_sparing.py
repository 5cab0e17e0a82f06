"""A log that a peer cannot flood: few lines of one kind, short ones, without credentials (parity M3)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from sansio_rt._shorten import shorten_text

__all__ = ["SparingLog"]

MOST_LINES = 20
WINDOW_S = 10.0

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class SparingLog(_Adapter):
    """Writes at most 20 lines of one kind in 10 seconds; the next line says how many were left out.

    A kind is a message before its arguments are put in. All arguments but numbers become text that is
    shortened and in which what looks like a credential is masked. A session has logs of its own.

    Args:
        logger: Where the lines go.
        clock: Seconds; trio's by default.
    """

    def __init__(
        self, logger: logging.Logger, clock: Callable[[], float] = trio.current_time
    ) -> None:
        super().__init__(logger, {})
        self._clock = clock
        self._windows: dict[object, tuple[float, int]] = {}

    def log(self, level: int, msg: object, *args: object, **settings: Any) -> None:
        """Writes a line, or counts it."""
        if not self.isEnabledFor(level):
            return
        now = self._clock()
        began, count = self._windows.get(msg, (now, 0))
        left_out = 0
        if now - began >= WINDOW_S:
            left_out = max(0, count - MOST_LINES)
            began, count = now, 0
        self._windows[msg] = began, count + 1
        if count >= MOST_LINES:
            return
        settings["stacklevel"] = settings.get("stacklevel", 1) + 1
        self.logger.log(level, msg, *map(_short, args), **settings)
        if left_out:
            self.logger.log(level, "%d lines like it were left out before", left_out, **settings)


def _short(argument: object) -> object:
    return argument if isinstance(argument, int | float) else shorten_text(str(argument))
