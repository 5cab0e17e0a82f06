"""What a soak counts, and what it makes of that at its end. Pure: times and sizes are handed in."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Figures", "Finding", "Sample", "judge", "percentile", "slope"]

MIB = 2**20
MAX_GROWTH_MIB_PER_MINUTE = 1.0
"""Of resident memory after the warm-up; more is a leak. 200 sessions take about 1,500 turns in a minute, so
that this is 700 bytes for each turn."""
WARM_UP_SHARE = 0.3
"""Of the run; in it the memory grows, since sessions begin and the allocator finds its size."""
SHORTEST_MEMORY_RUN_S = 180.0
"""A shorter run says nothing about the slope."""
MOST_EXAMPLES = 20


@dataclass(frozen=True)
class Sample:
    """The process at one time.

    Attributes:
        at_s: Since the start.
        tasks: Of trio.
        sockets: Open ones; None where the system does not tell.
        files: All open file descriptors; None where the system does not tell.
        rss_bytes: Resident memory; None where the system does not tell.
        sessions: Open sessions.
    """

    at_s: float
    tasks: int
    sockets: int | None
    files: int | None
    rss_bytes: int | None
    sessions: int = 0


@dataclass
class Figures:
    """Everything that is counted.

    Attributes:
        turns: Turns that were answered, by kind.
        errors: Errors by name: those that a trouble explains.
        unexplained: Errors by name: those that nothing explains.
        examples: Some of the unexplained ones, in words.
        troubles: Connections by their trouble.
        reconnects: Connections that were replaced.
        sessions: Sessions that are open now.
        opened: Sessions that were opened so far.
        latencies: Seconds: `connect`, `reconnect`, `answer` (from asking to the first sound), `loop` (by
            how much the event loop was late).
        samples: The process over time.
        leftovers: Objects of closed sessions that are still there, by name.
    """

    turns: Counter[str] = field(default_factory=Counter[str])
    errors: Counter[str] = field(default_factory=Counter[str])
    unexplained: Counter[str] = field(default_factory=Counter[str])
    examples: list[str] = field(default_factory=list[str])
    troubles: Counter[str] = field(default_factory=Counter[str])
    reconnects: int = 0
    sessions: int = 0
    opened: int = 0
    latencies: dict[str, array[float]] = field(
        default_factory=lambda: {
            name: array("d") for name in ("connect", "reconnect", "answer", "loop")
        }
    )
    samples: list[Sample] = field(default_factory=list[Sample])
    leftovers: Counter[str] = field(default_factory=Counter[str])

    def count_error(self, name: str, *, explained: bool, words: str) -> None:
        """Counts an error.

        Args:
            name: Its class.
            explained: Whether a trouble explains it.
            words: What happened, for people; kept where nothing explains it.
        """
        (self.errors if explained else self.unexplained)[name] += 1
        if not explained and len(self.examples) < MOST_EXAMPLES:
            self.examples.append(f"{name}: {words}")

    def record(self) -> dict[str, Any]:
        """All of it as JSON has it; latencies as percentiles."""
        return {
            "turns": dict(self.turns),
            "errors_explained": dict(self.errors),
            "errors_unexplained": dict(self.unexplained),
            "examples": self.examples,
            "troubles": dict(self.troubles),
            "reconnects": self.reconnects,
            "sessions_opened": self.opened,
            "leftovers": dict(self.leftovers),
            "latencies_s": {
                name: {"count": len(values)}
                | {f"p{share}": percentile(values, share / 100) for share in (50, 95, 99)}
                for name, values in self.latencies.items()
            },
            "samples": [asdict(sample) for sample in self.samples],
        }


@dataclass(frozen=True)
class Finding:
    """One point of the verdict.

    Attributes:
        what: What was looked at.
        good: Whether it is as it should be; None where that cannot be told.
        words: What was found, with the bound.
    """

    what: str
    good: bool | None
    words: str


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least a share of all does not exceed; None where there are none."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """The least-squares slope of points; None where they are fewer than two, or at one place."""
    if len(points) < 2:
        return None
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if spread == 0:
        return None
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def judge(figures: Figures, before: Sample, after: Sample) -> list[Finding]:
    """The verdict.

    Args:
        figures: All that was counted; its samples are those of the run.
        before: The process before the first session, with the servers.
        after: The process after the last session, with the servers.
    """
    unexplained = figures.unexplained.total()
    names = ", ".join(f"{name} {count}" for name, count in figures.unexplained.most_common())
    left = ", ".join(f"{name} {count}" for name, count in figures.leftovers.most_common())
    return [
        Finding(
            "turns", figures.turns.total() > 0, f"{figures.turns.total():,} turns were answered"
        ),
        Finding(
            "errors",
            not unexplained,
            f"{unexplained} unexplained{f' ({names})' if names else ''}, "
            f"{figures.errors.total():,} explained",
        ),
        _back("tasks", before.tasks, after.tasks),
        _back("sockets", before.sockets, after.sockets),
        _back("file descriptors", before.files, after.files),
        Finding("sessions", not left, f"left in memory: {left or 'none'}"),
        _memory(figures.samples),
    ]


def _back(what: str, before: int | None, after: int | None) -> Finding:
    if before is None or after is None:
        return Finding(what, None, "this system does not tell")
    return Finding(what, after <= before, f"{before} before the first session, {after} at the end")


def _memory(samples: Sequence[Sample]) -> Finding:
    known = [(sample.at_s, sample.rss_bytes) for sample in samples if sample.rss_bytes is not None]
    if not known:
        return Finding("memory", None, "this system does not tell")
    length_s = known[-1][0]
    if length_s < SHORTEST_MEMORY_RUN_S:
        return Finding(
            "memory", None, f"not judged: that takes {SHORTEST_MEMORY_RUN_S / 60:g} minutes"
        )
    warm = [point for point in known if point[0] >= WARM_UP_SHARE * length_s]
    growth = (slope(warm) or 0.0) * 60 / MIB
    return Finding(
        "memory",
        growth <= MAX_GROWTH_MIB_PER_MINUTE,
        f"{warm[0][1] / MIB:.1f} MiB after the warm-up, {warm[-1][1] / MIB:.1f} MiB at the end, slope "
        f"{growth:+.2f} MiB a minute (bound: {MAX_GROWTH_MIB_PER_MINUTE:g})",
    )
