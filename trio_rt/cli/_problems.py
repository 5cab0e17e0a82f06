"""What can go wrong on the command line, and the exit codes for it."""

from __future__ import annotations

import enum

from sansio_rt import RealtimeError

__all__ = ["BadUse", "ExitCode", "SessionFailed"]


class ExitCode(enum.IntEnum):
    """What `trio-rt` tells the shell."""

    DONE = 0
    FAILED = 1
    """The session failed, or the server could not be started."""
    BAD_USE = 2
    """Something that the user must put right, found before any connection was made."""
    INTERRUPTED = 130
    """Ctrl-C: 128 plus the number of the signal, as shells have it."""


class BadUse(Exception):
    """The command cannot work as it was given; the message says which part and what to do."""


class SessionFailed(RealtimeError):
    """The conversation did not give what was asked for; the message says what and what to do."""
