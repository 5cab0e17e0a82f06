"""The on-demand mutation runner: reading mutants, reasons and results."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
try:
    from tests.mutation import mutants, report, run
finally:
    sys.path.remove(str(ROOT))

CODE = """\
def x_delay__mutmut_orig(now):
    if now > 3:
        return now + 1
    return x_delay(0)


def x_delay__mutmut_1(now):
    if now >= 3:
        return now + 1
    return x_delay(0)


def x_delay__mutmut_2(now):
    if now > 3:
        return now - 1
    return x_delay(0)
"""
SPANS = {
    "x_delay__mutmut_orig": (1, 4),
    "x_delay__mutmut_1": (7, 10),
    "x_delay__mutmut_2": (13, 16),
}


def mutant(was: str, now: str, function: str = "f") -> mutants.Mutant:
    return mutants.Mutant("m", function, was, now, mutants.SURVIVED)


def test_a_mutant_is_told_by_what_it_changes() -> None:
    first, second = mutants.mutants_of(CODE, SPANS, "sansio_rt._x.")
    assert (first.name, first.function) == ("sansio_rt._x.x_delay__mutmut_1", "delay")
    assert (first.was, first.now) == ("if now > 3:", "if now >= 3:")
    assert (second.was, second.now) == ("return now + 1", "return now - 1")


def test_a_method_is_named_with_its_class() -> None:
    code = CODE.replace("x_delay", "xǁRetriesǁended")
    spans = {name.replace("x_delay", "xǁRetriesǁended"): span for name, span in SPANS.items()}
    assert next(mutants.mutants_of(code, spans, "")).function == "Retries.ended"


@pytest.mark.parametrize(
    ("was", "now", "wording"),
    [
        ('raise E("it is gone", 3)', 'raise E("XXit is goneXX", 3)', True),
        ('"it is gone"', '"IT IS GONE"', True),
        ('raise E("it is gone", 3)', 'raise E("it is gone", 4)', False),
        ('raise E("it is gone", 3)', "raise E(None, 3)", False),
        ('kind = "event"', 'kind = "EVENT"', False),
        ('raise E("it is gone", 3)', 'raise E("it is gone", )', False),
    ],
)
def test_only_the_wording_of_sentences_is_left_out(was: str, now: str, wording: bool) -> None:
    assert mutants.only_words(mutant(was, now)) is wording


def test_a_reason_explains_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "reasons.toml"
    path.write_text(
        '[[_x]]\nin = "f"\nwas = "a"\nnow = ["b", "c"]\nwhy = "w"\n'
        '[[_y]]\nin = "*"\nwas = "a"\nnow = "*"\nwhy = "w"\n'
    )
    exact, any_of = mutants.read_reasons(path)
    assert exact.explains("_x", mutant("a", "c"))
    for module, other in [
        ("_y", mutant("a", "b")),
        ("_x", mutant("a", "d")),
        ("_x", mutant("z", "b")),
        ("_x", mutant("a", "b", "g")),
    ]:
        assert not exact.explains(module, other)
    assert any_of.explains("_y", mutant("a", "whatever", "g"))
    assert not any_of.explains("_y", mutant("z", "b"))


def test_every_reason_is_about_a_module_that_is_mutated() -> None:
    for reason in mutants.read_reasons():
        assert reason.module in run.MODULES
        assert reason.why
        assert reason.kind in mutants.KINDS
        assert (ROOT / "sansio_rt" / f"{reason.module}.py").exists()


@pytest.mark.parametrize(
    "reason",
    mutants.read_reasons(),
    ids=lambda reason: f"{reason.module}-{reason.function}-{reason.was[:40]}",
)
def test_what_a_reason_is_about_is_still_there(reason: mutants.Reason) -> None:
    lines = (ROOT / "sansio_rt" / f"{reason.module}.py").read_text("utf-8").splitlines()
    if reason.function != "*":
        lines = function_of(lines, reason.function)
    # As `was` has it: each line stripped, and without the name of a function.
    shown = re.sub(r"\bdef \w+", "def ", " ".join(line.strip() for line in lines))
    assert reason.was == "*" or reason.was in shown


def function_of(lines: list[str], path: str) -> list[str]:
    """The lines of a function or `Class.method`."""
    body = ast.parse("\n".join(lines)).body
    *classes, function = path.split(".")
    for name in classes:
        (body,) = (
            node.body for node in body if isinstance(node, ast.ClassDef) and node.name == name
        )
    (found,) = (
        node for node in body if isinstance(node, ast.FunctionDef) and node.name == function
    )
    return lines[found.lineno - 1 : found.end_lineno]


def test_a_reason_that_explains_no_mutant_is_told() -> None:
    results = mutants.Results("_x", (mutant("a", "b"),), 1)
    good, stale, other = (
        mutants.Reason(module, "f", "a", (now,), "w")
        for module, now in [("_x", "b"), ("_x", "c"), ("_y", "c")]
    )
    assert report.stale(results, [good, stale, other]) == [stale]


def test_the_page_tells_each_kind_of_reason_under_its_own_heading() -> None:
    reasons = [
        mutants.Reason("_x", "f", "a", ("b",), f"because {kind}", kind) for kind in mutants.KINDS
    ]
    lists = report._lists(reasons)
    for kind, heading in report.HEADINGS.items():
        assert f"### {heading}\n\n- `_x`, `f`: `` a `` as `` b ``: because {kind}" in lists


def test_the_page_lists_the_reasons_that_there_are() -> None:
    begin, end = report.REASONS
    listed = report.PAGE.read_text("utf-8").partition(begin)[2].partition(end)[0].strip()
    assert listed == report._lists(report.read_reasons()), "python -m tests.mutation --table"


def test_the_score_leaves_out_what_has_a_reason() -> None:
    ended = [mutants.KILLED] * 8 + [mutants.SURVIVED] * 3 + [mutants.SKIPPED] * 5
    results = mutants.Results(
        "_x", tuple(mutants.Mutant("m", "f", "", "", end) for end in ended), 1
    )
    row, score = report._row(results, unread=1)
    assert row == "| `_x` | 16 | 11 | 6 | 8 | 2 | 1 | 88.9 % |"
    assert score == pytest.approx(88.9, abs=0.1)


def test_a_seed_draws_its_own_sample_and_always_the_same() -> None:
    worth = [mutants.Mutant(str(number), "f", "", "") for number in range(50)]
    sample = run.drawn(worth, 10, 6)
    assert len({each.name for each in sample}) == 10
    assert run.drawn(worth, 10, 6) == sample
    assert run.drawn(worth, 10, 7) != sample
    assert run.drawn(worth, 50, 6) == worth


def test_the_modules_exist() -> None:
    for module in run.MODULES:
        assert (ROOT / "sansio_rt" / f"{module}.py").exists(), module


def test_the_tests_that_are_left_out_exist() -> None:
    folder = ROOT / "tests" / "sansio_rt"
    for name in run._LEFT_OUT:
        assert (folder / f"{name}.py").exists(), name
    for place in run._TOO_LONG:
        file, _, test = place.partition("::")
        assert f"def {test}(" in (folder / file).read_text("utf-8"), place
