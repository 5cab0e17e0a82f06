"""The planted bugs of `python -m tests.planted` can still be planted, and each is told on its page."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
try:
    from tests.planted import bugs, report, tools
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
