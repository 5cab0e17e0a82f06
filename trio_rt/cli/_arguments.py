"""The command line: what may be given, and what it means."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from msgspec import UNSET

from sansio_rt import __version__

from ._problems import ExitCode

__all__ = ["Asked", "make_parser"]

LONGEST_TIMEOUT_S = 24 * 3600
LONGEST_SOAK_MINUTES = 7 * 24 * 60
MOST_SESSIONS = 10_000


@dataclass(frozen=True)
class Asked:
    """One turn of the conversation as it was given.

    Attributes:
        kind: `input` for the name of a WAV file, `text` for words.
        value: That name, or those words.
    """

    kind: Literal["input", "text"]
    value: str


class _AddTurn(argparse.Action):
    """Puts `--input` and `--text` into one list, so that their order stays."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        kind: Literal["input", "text"] = "text" if option_string == "--text" else "input"
        words = str(values)
        if not words.strip():
            parser.error(f"{option_string}: give something, not an empty text")
        namespace.turns = [*namespace.turns, Asked(kind, words)]


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, as all errors of `trio-rt` are."""

    def error(self, message: str) -> NoReturn:
        """Complain and end the program; see `argparse.ArgumentParser.error`."""
        self.exit(ExitCode.BAD_USE, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def make_parser() -> argparse.ArgumentParser:
    """The parser of `trio-rt`."""
    version = _Parser(add_help=False)
    version.add_argument(
        "--version", action="version", version=f"trio-rt {__version__}", help="show the version"
    )
    common = _Parser(add_help=False, parents=[version])
    common.add_argument(
        "--debug", action="store_true", help="show tracebacks and the log of the library"
    )
    # An abbreviated option would break as soon as another with the same beginning is added.
    parser = _Parser(
        prog="trio-rt",
        description="Spoken conversations over the Realtime API, with a local emulator of it.",
        allow_abbrev=False,
        parents=[version],
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    talk = commands.add_parser(
        "talk",
        help="say something to a session and write its spoken answer to a WAV file",
        description="Say something to a session and write its spoken answer to a WAV file. "
        "Inputs and texts are the turns of one conversation, in the order in which they are given; "
        "without any, a spoken sample that comes with the package is the question.",
        allow_abbrev=False,
        parents=[common],
    )
    _add_talk(talk)
    serve = commands.add_parser(
        "serve",
        help="run the emulator as a server for any client of the Realtime API",
        description="Run the emulator as a server for any client of the Realtime API. Its URL is "
        "the first line that it prints. Ctrl-C ends it.",
        allow_abbrev=False,
        parents=[common],
    )
    _add_serve(serve)
    soak = commands.add_parser(
        "soak",
        help="run many sessions for a while, with faults, and look for leaks",
        description="Run many sessions for a while, with faults on purpose, and look for leaks and for "
        "errors that no fault explains. The verdict is the exit code.",
        allow_abbrev=False,
        parents=[common],
    )
    _add_soak(soak)
    return parser


def _add_talk(talk: argparse.ArgumentParser) -> None:
    talk.set_defaults(turns=[])
    turns = talk.add_argument_group("what is said")
    turns.add_argument(
        "--input",
        action=_AddTurn,
        dest="turns",
        metavar="FILE.wav",
        help="a recording, of any rate and number of channels; may be given several times",
    )
    turns.add_argument(
        "--text",
        action=_AddTurn,
        dest="turns",
        metavar="TEXT",
        help="a written message; may be given several times",
    )
    talk.add_argument(
        "--output",
        type=Path,
        default=Path("answer.wav"),
        metavar="FILE.wav",
        help="where all answers go, one after another (default: answer.wav)",
    )
    talk.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")
    talk.add_argument(
        "--timeout",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="the most that one turn may take; connecting has this or 10 s, whichever is less "
        "(default: 60)",
    )
    server = talk.add_argument_group("who answers")
    server.add_argument(
        "--endpoint",
        default="emulator",
        metavar="WHERE",
        help="emulator (the default: runs inside this program, needs no key and no network), "
        "openai, azure, or the URL of any server: ws://... or wss://...",
    )
    server.add_argument(
        "--api-key",
        metavar="KEY",
        help="other users of this machine can see it in the list of processes; for openai and "
        "azure better set OPENAI_API_KEY or AZURE_OPENAI_API_KEY",
    )
    server.add_argument("--model", help="name of the model; of the deployment with azure")
    server.add_argument("--voice", default=UNSET, help="name of the voice that answers")
    server.add_argument(
        "--instructions", default=UNSET, metavar="TEXT", help="how the model should answer"
    )


def _add_serve(serve: argparse.ArgumentParser) -> None:
    serve.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)"
    )
    serve.add_argument(
        "--port", type=_port, default=0, help="port to listen on (default: 0, a free one)"
    )
    serve.add_argument("--api-key", metavar="KEY", help="the key that clients must show")
    serve.add_argument(
        "--voice-activity",
        choices=["silero", "energy"],
        help="how speech is told from silence: silero, a small neural network (the default), or "
        "energy, by loudness alone, for which tones and noise are speech, too",
    )


def _add_soak(soak: argparse.ArgumentParser) -> None:
    soak.add_argument(
        "--sessions", type=_count, default=20, help="how many at a time (default: 20)"
    )
    soak.add_argument("--minutes", type=_minutes, default=3.0, help="for how long (default: 3)")
    soak.add_argument(
        "--faults",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether connections break and servers do wrong (default: they do)",
    )
    soak.add_argument(
        "--seed", type=int, default=0, help="decides what callers do and what fails (default: 0)"
    )
    soak.add_argument(
        "--url",
        metavar="WHERE",
        help="another server than the emulators that are run within this program: ws://... or "
        "wss://...; then only the network fails",
    )
    soak.add_argument("--api-key", metavar="KEY", help="the key for --url")
    soak.add_argument("--model", help="name of the model, for --url")
    soak.add_argument(
        "--json", type=Path, metavar="FILE", help="where to write everything that was counted"
    )


def _seconds(text: str) -> float:
    """A positive number of seconds."""
    seconds = float(text)
    if not (math.isfinite(seconds) and 0 < seconds <= LONGEST_TIMEOUT_S):
        raise argparse.ArgumentTypeError(f"{text}: give more than 0, up to {LONGEST_TIMEOUT_S:,}")
    return seconds


def _count(text: str) -> int:
    """A positive number."""
    count = int(text)
    if not 1 <= count <= MOST_SESSIONS:
        raise argparse.ArgumentTypeError(f"{text} is not within 1 and {MOST_SESSIONS:,}")
    return count


def _minutes(text: str) -> float:
    """A positive number of minutes."""
    minutes = float(text)
    if not (math.isfinite(minutes) and 0 < minutes <= LONGEST_SOAK_MINUTES):
        raise argparse.ArgumentTypeError(
            f"{text}: give more than 0, up to {LONGEST_SOAK_MINUTES:,}"
        )
    return minutes


def _port(text: str) -> int:
    """A TCP port, or 0."""
    port = int(text)
    if not 0 <= port <= 65_535:
        raise argparse.ArgumentTypeError(f"{text} is not within 0 and 65535")
    return port


_seconds.__name__ = "number of seconds"  # argparse says "invalid number of seconds value"
_port.__name__ = "port"
_count.__name__ = "number"
_minutes.__name__ = "number of minutes"
