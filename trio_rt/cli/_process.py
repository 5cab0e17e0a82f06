"""The beginning and the end of a process that is `trio-rt`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import NoReturn

__all__ = ["end_process", "end_when_interrupted"]

_INTERRUPTED = 128 + signal.SIGINT


def end_when_interrupted() -> None:
    """Lets Ctrl-C end the process at once, with one line.

    Python's own way, an exception anywhere, shows a traceback out of whatever is being imported, or
    gets lost in there. This is for the time in which nothing has to be cleaned up: before and after
    `run_until_signal`.
    """
    # Whoever starts a program in the background may have told it to ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_interrupted)


def end_process(code: int) -> NoReturn:
    """Ends the process without waiting for its threads.

    A thread that loads or runs a speech model cannot be told to stop. The interpreter's own end would
    stop it in the middle of C++ code, which aborts the process.

    Args:
        code: The exit code; 1 in the place of 0 where the last words cannot be printed.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads it, the disk is full, it is closed
            code = code or 1
        except RuntimeError:  # interrupted while it was printing
            pass
    os._exit(code)


def _end_interrupted(number: int, frame: object) -> None:  # noqa: ARG001 - as the system calls it
    with contextlib.suppress(OSError):
        os.write(2, b"trio-rt: interrupted\n")
    end_process(_INTERRUPTED)
