"""Keeps the results, and writes docs/planted-bugs.md out of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from .bugs import BUGS, ROOT
from .tools import TOOLS, Run

NOTHING = "nothing_planted"
"""The name under which the tools run on the tree as it is; what they run on may stand behind theirs."""

PAGE = ROOT / "docs" / "planted-bugs.md"
MARKS = ("<!-- table -->", "<!-- /table -->")
UNFOUND = "**nothing**"
"""What the page says of a bug that no tool found."""
MISSED = "–"  # noqa: RUF001 (a dash for people)
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
    """Writes the table into the page; the names of the bugs that no tool found.

    What was not run stays as the page has it.
    """
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(MARKS[0])
    table, _, after = rest.partition(MARKS[1])
    old = _cells_of(table)
    rows = [
        f"| bug | {' | '.join(TOOLS)} | found by |",
        f"|---|{'---:|' * len(TOOLS)}---|",
    ]
    clean = {**old.get(NOTHING, {}), **_unplanted(results)}
    if clean:
        rows.append(_row(f"`{NOTHING}`: The code as it is.", clean, ""))
    unfound: list[str] = []
    for bug in BUGS:
        new = {tool: _cell(run) for tool, run in results.of(bug.name).items()}
        cells = {**old.get(bug.name, {}), **new}
        cells = {tool: cell for tool, cell in cells.items() if tool in bug.tools and cell}
        if not cells:
            continue
        finders = sum(cell != MISSED for cell in cells.values())
        if not finders:
            unfound.append(bug.name)
        rows.append(_row(f"`{bug.name}`: {bug.what}", cells, str(finders or UNFOUND)))
    PAGE.write_text(f"{before}{MARKS[0]}\n" + "\n".join(rows) + f"\n{MARKS[1]}{after}", "utf-8")
    return unfound


def _unplanted(results: Results) -> dict[str, str]:
    """What the tools found where nothing is planted."""
    cells: dict[str, str] = {}
    for case, run in results.of(NOTHING).items():
        tool = case.partition(" ")[0]
        if cells.get(tool) in (None, MISSED):
            cells[tool] = _cell(run)
    return cells


def _row(head: str, cells: Mapping[str, str], finders: str) -> str:
    return f"| {head} | {' | '.join(cells.get(tool, '') for tool in TOOLS)} | {finders} |"


def _cells_of(table: str) -> dict[str, dict[str, str]]:
    """The cells of a table's rows by tool, by the name of the bug."""
    rows = [row for row in table.splitlines() if row.startswith("| `")]
    return {row.split("`")[1]: dict(zip(TOOLS, _cells(row)[1:-1], strict=True)) for row in rows}


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").rsplit("|", len(TOOLS) + 1)]


def _cell(run: Run) -> str:
    return f"{run.seconds:.1f}" if run.found else MISSED
