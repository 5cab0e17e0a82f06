"""What `trio-rt talk` shows: colours and bars on a terminal, plain lines on a pipe."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ._transcript import Transcript, printable

__all__ = ["ASSISTANT", "TOOL", "YOU", "Screen"]

YOU, ASSISTANT, TOOL = "you", "assistant", "tool"
_STYLES = {YOU: "bold green", ASSISTANT: "bold cyan", TOOL: "bold magenta"}


class Screen:
    """Prints the conversation to standard output, and warnings to standard error.

    Args:
        quiet: Print warnings alone.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._out = _console(quiet=quiet)
        self._errors = _console(stderr=True)
        self._shows_motion = self._out.is_terminal and not quiet
        self._transcript = Transcript(
            begin=lambda who: self._print(f"{who}: ", _STYLES[who], end=""),
            write=lambda words: self._print(words, end=""),
            finish=lambda: self._print(""),
        )

    def line(self, text: str) -> None:
        """Prints a line of its own."""
        self._transcript.interrupt()
        self._print(printable(text), "dim")

    def warn(self, text: str) -> None:
        """Prints a warning."""
        self._transcript.interrupt()
        self._errors.print(f"trio-rt: {printable(text)}", style="yellow")

    def say(self, who: str, text: str) -> None:
        """Prints the next piece of what somebody says, as soon as the line is theirs."""
        self._transcript.add(who, text)

    def end(self, who: str) -> None:
        """Ends what somebody says."""
        self._transcript.end(who)

    def whole(self, who: str, text: str) -> None:
        """Prints something that is said at once."""
        self._transcript.whole(who, text)

    def end_all(self) -> None:
        """Ends what everybody says: a turn is over."""
        self._transcript.end_all()

    @contextmanager
    def working(self, text: str) -> Generator[None]:
        """Shows that something takes a while; on a terminal alone."""
        if not self._shows_motion:
            yield
            return
        with self._out.status(text):
            yield

    @contextmanager
    def sending(self, name: str, duration_s: float) -> Generator[Callable[[float], None]]:
        """Shows how far a recording is sent: a bar on a terminal, and one line when it is done.

        Args:
            name: Of the recording.
            duration_s: Its length in seconds.

        Yields:
            A function to be told how many seconds are sent so far.
        """
        if self._shows_motion:
            with Progress(
                TextColumn("sending {task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.completed:.1f} of {task.total:.1f} s"),
                console=self._out,
                transient=True,
            ) as progress:
                task = progress.add_task(printable(name), total=duration_s)
                yield lambda sent_s: progress.update(task, completed=sent_s)
        else:
            yield lambda sent_s: None  # noqa: ARG005 - nobody looks
        self.line(f"sent {duration_s:.1f} s of {name}")

    def _print(self, text: str, style: str | None = None, *, end: str = "\n") -> None:
        self._out.print(text, style=style, end=end)


def _console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """A console that prints words as they are: no markup, no colours found in them, no wrapping."""
    return Console(
        stderr=stderr, quiet=quiet, markup=False, highlight=False, emoji=False, soft_wrap=True
    )
