"""Writes docs/mutation.md out of results and reasons."""

from __future__ import annotations

from .mutants import (
    EITHER,
    EQUIVALENT,
    KILLED,
    ROOT,
    SKIPPED,
    SLOW,
    SURVIVED,
    Reason,
    Results,
    read_reasons,
    read_results,
)
from .run import MODULES

PAGE = ROOT / "docs" / "mutation.md"
TABLE = ("<!-- table -->", "<!-- /table -->")
REASONS = ("<!-- reasons -->", "<!-- /reasons -->")
HEADINGS = {
    EQUIVALENT: "What nobody could notice, but for the time that it takes",
    SLOW: "What only tests notice that take too long to be run here",
    EITHER: "What may be one way or the other",
}
GOAL = 90.0


def write_page() -> int:
    """Writes the rows of the modules that have results. The exit code.

    Prints who survived, and which reasons explain nothing any more.
    """
    known = read_reasons()
    old_rows = _rows_of(PAGE.read_text("utf-8"))
    rows: list[str] = []
    below = False
    for module in MODULES:
        results = read_results(module)
        if results is None:
            rows += [row for name, row in old_rows.items() if name == module]
            continue
        unread = [
            mutant
            for mutant in results.ended(SURVIVED)
            if not any(reason.explains(module, mutant) for reason in known)
        ]
        row, score = _row(results, len(unread))
        below |= score < GOAL
        rows.append(row)
        for mutant in unread:
            print(f"{mutant.name}\n  in  {mutant.function}\n  was {mutant.was}\n  now {mutant.now}")
        for reason in stale(results, known):
            print(f"explains no mutant: {_line(reason)}")
    head = (
        "| module | mutants | run | seed | killed | explained | survivors | score |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    page = _replace(PAGE.read_text("utf-8"), TABLE, "\n".join([head, *rows]))
    PAGE.write_text(_replace(page, REASONS, _lists(known)), "utf-8")
    print("\n".join([head, *rows]))
    return int(below)


def _row(results: Results, unread: int) -> tuple[str, float]:
    killed, survived = len(results.ended(KILLED)), len(results.ended(SURVIVED))
    run = killed + survived
    counted = killed + unread
    score = 100 * killed / counted if counted else 100.0
    cells = [
        f"`{results.module}`",
        str(len(results.mutants)),
        str(run),
        str(results.seed) if results.ended(SKIPPED) else "",
        *(str(number) for number in (killed, survived - unread, unread)),
        f"{score:.1f} %",
    ]
    return f"| {' | '.join(cells)} |", score


def _rows_of(page: str) -> dict[str, str]:
    table = page.partition(TABLE[0])[2].partition(TABLE[1])[0].splitlines()
    return {row.split("`")[1]: row for row in table if row.startswith("| `")}


def _replace(page: str, marks: tuple[str, str], text: str) -> str:
    before, _, rest = page.partition(marks[0])
    return f"{before}{marks[0]}\n{text}\n{marks[1]}{rest.partition(marks[1])[2]}"


def stale(results: Results, known: list[Reason]) -> list[Reason]:
    """The reasons of a module that explain none of its mutants, be they run or not."""
    return [
        reason
        for reason in known
        if reason.module == results.module
        and not any(reason.explains(results.module, mutant) for mutant in results.mutants)
    ]


def _lists(known: list[Reason]) -> str:
    lists: list[str] = []
    for kind, heading in HEADINGS.items():
        lines = [f"- {_line(reason)}" for reason in known if reason.kind == kind]
        lists += [f"### {heading}", "\n".join(lines)]
    return "\n\n".join(lists)


def _line(reason: Reason) -> str:
    place = f"`{reason.module}`" + ("" if reason.function == "*" else f", `{reason.function}`")
    if reason.was != "*":
        place += f": `` {reason.was} ``"
    if reason.now != ("*",):
        place += " as " + " or ".join(f"`` {now} ``" for now in reason.now)
    return f"{place}: {reason.why}"
