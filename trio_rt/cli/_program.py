"""From arguments to an exit code: runs the command, and tells in one line what has gone wrong.

What is heavy (the emulator, the session) is imported by the command that needs it, so that a wrong
option is told at once.
"""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import cast

from sansio_rt import RealtimeError

from ._arguments import make_parser
from ._problems import BadUse, ExitCode
from ._transcript import one_line

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Run `trio-rt` with some arguments; gives the exit code. It raises nothing."""
    _print_anything()
    try:
        arguments = make_parser().parse_args(argv)
    except SystemExit as parsed:  # of --help and --version, too
        return parsed.code if isinstance(parsed.code, int) else ExitCode.BAD_USE
    with _logging(arguments):
        try:
            return _run_command(arguments)
        except BaseException as error:  # noqa: BLE001 - the end of the road: each becomes a line
            return _report(error, debug=arguments.debug)


def _run_command(arguments: argparse.Namespace) -> int:
    if arguments.command == "talk":
        from ._talk import talk

        return talk(arguments)
    if arguments.command == "soak":
        from ._soak import soak

        return soak(arguments)
    from ._serve import serve

    return serve(arguments)


def _first_error(error: BaseException) -> BaseException:
    """The error itself, or the first one in a group: what comes after it is its consequence."""
    if isinstance(error, BaseExceptionGroup):
        return _first_error(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])
    return error


def _report(error: BaseException, *, debug: bool) -> int:
    """Tell what has gone wrong, in one line; gives the exit code."""
    first = _first_error(error)
    if debug and not isinstance(first, KeyboardInterrupt):
        traceback.print_exception(error)
    match first:
        case KeyboardInterrupt():
            print("trio-rt: interrupted", file=sys.stderr)  # noqa: T201
            return ExitCode.INTERRUPTED
        case SystemExit(code=int() as code):  # rich ends the program so when nobody reads it
            return code
        case BadUse():
            _complain(str(first))
            return ExitCode.BAD_USE
        case RealtimeError():
            _complain(str(first))
        case _:
            words = f"{type(first).__name__}: {first}" if str(first) else type(first).__name__
            _complain(f"this is a defect of trio-rt: {words} (--debug shows where)")
    return ExitCode.FAILED


def _complain(message: str) -> None:
    print(f"trio-rt: error: {one_line(message)}", file=sys.stderr)  # noqa: T201


def _print_anything() -> None:
    """Let no letter of a transcript fail for want of it in the terminal's character set."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


class _OneLine(logging.Formatter):
    """A record as one line, without the traceback that it may have."""

    def format(self, record: logging.LogRecord) -> str:
        return f"trio-rt: {one_line(record.getMessage())}"


def _is_not_shown_anyway(record: logging.LogRecord) -> bool:
    """Whether `talk` does not say the same on the screen, in its place in the conversation."""
    return "connecting again" not in str(record.msg)


_LEVELS = {"talk": logging.WARNING, "serve": logging.INFO, "soak": logging.CRITICAL}
"""Of the library's log without --debug; what a soak's library logs is counted instead."""


@contextmanager
def _logging(arguments: argparse.Namespace) -> Generator[None]:
    """Show the library's log: everything with --debug, else as `_LEVELS` says."""
    handler = logging.StreamHandler()
    if arguments.debug:
        handler.setFormatter(logging.Formatter("%(relativeCreated)6.0f ms %(name)s: %(message)s"))
        level = logging.DEBUG
    else:
        handler.setFormatter(_OneLine())
        handler.addFilter(_is_not_shown_anyway)
        level = _LEVELS[arguments.command]
    log = logging.getLogger("trio_rt")
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(level)
    log.propagate = False
    try:
        yield
    finally:  # `main` may be called by a program that goes on
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]
