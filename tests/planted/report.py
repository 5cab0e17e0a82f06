"""Keeps the results, and writes docs/planted-bugs.md out of them."""

from __future__ import annotations

import json
from dataclasses import asdict

from .bugs import BUGS, ROOT
from .tools import TOOLS, Run

NOTHING = "nothing_planted"
"""The name under which the tools run on the tree as it is."""

PAGE = ROOT / "docs" / "planted-bugs.md"
MARKS = ("<!-- table -->", "<!-- /table -->")
UNFOUND = "**nothing**"
"""What the page says of a bug that no tool found."""
_STORED = ROOT / "build" / "planted.json"


class Results:
    """What became of the tools on the bugs, over all runs of this program.

    Args:
        runs: Bug, tool, and what became of it.
    """

    def __init__(self, runs: dict[str, dict[str, Run]]) -> None:
        self._runs = runs

    @classmethod
    def read(cls) -> Results:
        """Those that are kept."""
        try:
            stored = json.loads(_STORED.read_text("utf-8"))
        except FileNotFoundError:
            return cls({})
        return cls(
            {bug: {tool: Run(**run) for tool, run in runs.items()} for bug, runs in stored.items()}
        )

    def of(self, bug: str) -> dict[str, Run]:
        return self._runs.get(bug, {})

    def add(self, bug: str, tool: str, run: Run) -> None:
        """Takes in a run, and keeps it."""
        self._runs.setdefault(bug, {})[tool] = run
        _STORED.parent.mkdir(exist_ok=True)
        stored = {
            name: {tool: asdict(run) for tool, run in runs.items()}
            for name, runs in self._runs.items()
        }
        _STORED.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")


def write_page(results: Results) -> list[str]:
    """Writes the table into the page; the names of the bugs that no tool found."""
    rows = [
        f"| bug | {' | '.join(TOOLS)} | found by |",
        f"|---|{'---:|' * len(TOOLS)}---|",
    ]
    unfound: list[str] = []
    for bug in BUGS:
        runs = {tool: run for tool, run in results.of(bug.name).items() if tool in bug.tools}
        if not runs:
            continue
        cells = [_cell(runs.get(tool)) for tool in TOOLS]
        finders = {tool: run for tool, run in runs.items() if run.found}
        if not finders:
            unfound.append(bug.name)
        rows.append(f"| `{bug.name}`: {bug.what} | {' | '.join(cells)} | {_count(finders)} |")
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    PAGE.write_text(f"{before}{MARKS[0]}\n" + "\n".join(rows) + f"\n{MARKS[1]}{after}", "utf-8")
    return unfound


def _cell(run: Run | None) -> str:
    if run is None:
        return ""
    return f"{run.seconds:.1f}" if run.found else "–"  # noqa: RUF001 (a dash for people)


def _count(finders: dict[str, Run]) -> str:
    return str(len(finders)) if finders else UNFOUND
