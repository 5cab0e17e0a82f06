"""What a soak shows: a live table on a terminal, a line now and then on a pipe, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ._soak_figures import MIB, Figures, Finding, Sample, percentile
from ._transcript import one_line

__all__ = ["SoakScreen"]

LINE_EVERY_S = 30.0
"""On a pipe."""
_WORDS = {True: "ok", False: "BAD", None: "--"}
_STYLES = {True: "green", False: "bold red", None: "dim"}


class SoakScreen:
    """Shows how a soak goes, while the block runs.

    Args:
        length_s: How long it will take.
        console: Where to; standard output by default.
    """

    def __init__(self, length_s: float, console: Console | None = None) -> None:
        self._length_s = length_s
        self._console = console or Console(markup=False, highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._next_line_s = 0.0

    def __enter__(self) -> SoakScreen:
        if self._console.is_terminal:
            # Without a thread of its own: it is drawn again with each `show`.
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, figures: Figures, sample: Sample) -> None:
        """Shows how it stands now."""
        if self._live is not None:
            self._live.update(_table(_rows(figures, sample, self._length_s)), refresh=True)
        elif sample.at_s >= self._next_line_s:
            self._next_line_s = sample.at_s + LINE_EVERY_S
            self._console.print(_line(figures, sample))

    def tell(self, figures: Figures, findings: Sequence[Finding]) -> None:
        """Shows all figures and the verdict at the end."""
        last = figures.samples[-1] if figures.samples else None
        if last is not None:
            self._console.print(_table(_rows(figures, last, self._length_s)))
        for example in figures.examples:
            self._console.print(f"unexplained: {one_line(example)}", style="red", markup=False)
        for finding in findings:
            line = f"{_WORDS[finding.good]:>3}  {finding.what}: {finding.words}"
            self._console.print(line, style=_STYLES[finding.good], markup=False)


def _rows(figures: Figures, sample: Sample, length_s: float) -> Iterator[tuple[str, str]]:
    yield "time", f"{sample.at_s:.0f} of {length_s:.0f} s"
    yield "sessions", f"{sample.sessions} open, {figures.opened:,} opened"
    yield "turns", _counts(figures.turns)
    yield "connections", _counts(figures.troubles)
    yield "reconnects", f"{figures.reconnects:,}"
    yield "errors, explained", _counts(figures.errors)
    yield "errors, unexplained", _counts(figures.unexplained)
    for name, values in figures.latencies.items():
        yield f"{name} p50 p95 p99", _latency(values)
    yield "tasks", f"{sample.tasks:,}"
    yield "sockets", "?" if sample.sockets is None else f"{sample.sockets:,}"
    yield "memory", _memory(sample)


def _table(rows: Iterator[tuple[str, str]]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in rows:
        table.add_row(name, value)
    return table


def _line(figures: Figures, sample: Sample) -> str:
    return (
        f"{sample.at_s:.0f} s: {sample.sessions} sessions, {figures.turns.total():,} turns, "
        f"{figures.reconnects:,} reconnects, {figures.errors.total():,} errors explained, "
        f"{figures.unexplained.total():,} unexplained, answer {_latency(figures.latencies['answer'])}, "
        f"{sample.tasks:,} tasks, {sample.sockets} sockets, {_memory(sample)}"
    )


def _counts(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    if not total:
        return "0"
    most = sorted(counts.items(), key=lambda entry: -entry[1])
    return f"{total:,}: " + ", ".join(f"{name} {count:,}" for name, count in most)


def _latency(values: Sequence[float]) -> str:
    found = [percentile(values, share) for share in (0.5, 0.95, 0.99)]
    return " ".join("-" if value is None else f"{value * 1000:.0f}" for value in found) + " ms"


def _memory(sample: Sample) -> str:
    return "? MiB" if sample.rss_bytes is None else f"{sample.rss_bytes / MIB:.1f} MiB"
