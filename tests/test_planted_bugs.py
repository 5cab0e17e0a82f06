"""The planted bugs of `python -m tests.planted` can still be planted, and each is told on its page."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
try:
    from tests.planted import __main__, bugs, report, tools
finally:
    sys.path.remove(str(ROOT))

NAMES = [bug.name for bug in bugs.BUGS]


@pytest.mark.parametrize("bug", bugs.BUGS, ids=NAMES)
def test_a_bug_can_be_planted(bug: bugs.Bug) -> None:
    text = (ROOT / bug.file).read_text("utf-8")
    planted = bug.planted(text)
    assert planted != text
    compile(planted, bug.file, "exec")


@pytest.mark.parametrize("bug", bugs.BUGS, ids=NAMES)
def test_what_is_to_find_a_bug_is_there(bug: bugs.Bug) -> None:
    assert bug.tests
    assert [file for file in bug.tests if not (ROOT / "tests" / file).is_file()] == []
    assert (ROOT / "fuzz" / "targets" / f"{bug.fuzz}.py").is_file()
    assert set(bug.tools) <= set(tools.TOOLS)


def test_bugs_have_names_of_their_own() -> None:
    assert len(NAMES) == len(set(NAMES))


def test_every_bug_is_on_the_page_and_was_found() -> None:
    page = report.PAGE.read_text("utf-8")
    assert [name for name in NAMES if f"| `{name}`: " not in page] == []
    assert report.UNFOUND not in page


# --- the program ----------------------------------------------------------------------------

NAME = "key_in_error"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the page for the program to write, and no results of runs before."""
    path = tmp_path / "planted-bugs.md"
    path.write_text(report.PAGE.read_text("utf-8"), "utf-8")
    monkeypatch.setattr(report, "PAGE", path)
    monkeypatch.setattr(report, "_STORED", tmp_path / "build" / "planted.json")
    return path


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """The tools that the program runs, and whether the bug is planted then; they find it if so."""
    made: list[tuple[str, bool]] = []

    def run(tool: str, bug: bugs.Bug, tree: tools.Tree, limit_s: float) -> tools.Run:
        planted = tree.read(bug.file) != (ROOT / bug.file).read_text("utf-8")
        made.append((tool, planted))
        return tools.Run(planted, 77.0, limit_s)

    monkeypatch.setattr(__main__, "run", run)
    return made


def row_of(name: str, page: Path) -> str:
    found = [line for line in page.read_text("utf-8").splitlines() if f"| `{name}`: " in line]
    assert len(found) == 1
    return found[0]


def test_the_page_keeps_what_was_not_run(page: Path, runs: list[tuple[str, bool]]) -> None:
    before = {name: row_of(name, page) for name in NAMES}
    assert __main__.main([NAME, "--tools", "unit,simulation"]) == 0
    assert runs == [("unit", False), ("unit", True)]
    cells = before[NAME].split("|")
    assert row_of(NAME, page).split("|") == [*cells[:2], " 77.0 ", *cells[3:]]
    assert {name for name in NAMES if row_of(name, page) != before[name]} == {NAME}
    assert row_of(report.NOTHING, page).split("|")[2].strip() == report.MISSED


def test_each_tool_is_tried_first_where_nothing_is_planted(
    page: Path, runs: list[tuple[str, bool]]
) -> None:
    """Each time: the tree may be another one."""
    for _ in range(2):
        assert __main__.main([NAME, "--tools", "unit,corpus"]) == 0
    assert runs == 2 * [("unit", False), ("corpus", False), ("unit", True), ("corpus", True)]


def test_a_finding_where_nothing_is_planted_ends_it(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def run(tool: str, bug: bugs.Bug, tree: tools.Tree, limit_s: float) -> tools.Run:
        ran.append(tool)
        return tools.Run(tool == "unit", 5.0, limit_s, "no such module")

    monkeypatch.setattr(__main__, "run", run)
    for _ in range(2):
        assert __main__.main([NAME, "--tools", "unit,corpus"]) == 1
        case = "unit sansio_rt/test_redaction.py"
        assert f"{case} finds something where nothing is planted" in capsys.readouterr().out
        assert "| 5.0 | " in row_of(report.NOTHING, page)
    assert ran == 2 * ["unit", "corpus"]


def test_a_bug_that_nothing_finds_is_told(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(__main__, "run", lambda *_: tools.Run(False, 5.0, 5.0))
    # All tools are run, the fuzzer too where there is none: the page keeps what one that is not has found.
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    assert __main__.main([NAME]) == 1
    assert report.UNFOUND in row_of(NAME, page)
