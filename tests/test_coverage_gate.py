"""The gates that CI holds every module's coverage against."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "coverage_gate.py"
GATE = runpy.run_path(str(SCRIPT))


def module(
    percent: float, lines: tuple[int, ...] = (), branches: tuple[tuple[int, int], ...] = ()
) -> dict[str, Any]:
    return {
        "summary": {"percent_covered": percent},
        "missing_lines": list(lines),
        "missing_branches": [list(branch) for branch in branches],
    }


WHOLE = {"sansio_rt/_a.py": module(100.0), "trio_rt/cli/_b.py": module(95.0)}


def run_gate(
    folder: Path, modules: dict[str, Any], *, branches: bool = True
) -> subprocess.CompletedProcess[str]:
    measured = {"meta": {"branch_coverage": branches}, "files": modules}
    (folder / "coverage.json").write_text(json.dumps(measured))
    return gate(folder, "coverage.json")


def gate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=30)


def test_modules_at_their_gates_pass(tmp_path: Path) -> None:
    result = run_gate(tmp_path, WHOLE)
    assert (result.returncode, result.stdout) == (0, "2 modules reach their gates\n")


def test_each_module_below_its_gate_is_named_with_what_is_missing(tmp_path: Path) -> None:
    modules = {
        **WHOLE,
        "sansio_rt/_c.py": module(99.9, (), ((7, 9), (8, -3))),
        "trio_rt/_d.py": module(94.94, (3, 4, 5, 9), ((2, 3), (5, 6), (11, 14))),
        "trio_rt/_e.py": module(95.1, (3,)),
    }
    result = run_gate(tmp_path, modules)
    assert result.returncode == 1
    assert result.stdout.splitlines() == [
        "sansio_rt/_c.py: 99.9 % of 100 %, not reached: 7->9, 8->exit",
        "trio_rt/_d.py: 94.9 % of 95 %, not reached: 3-5, 9, 11->14",
    ]


def test_an_exclusion_needs_a_reason_in_its_line(tmp_path: Path) -> None:
    (tmp_path / "sansio_rt" / "events").mkdir(parents=True)
    (tmp_path / "sansio_rt" / "events" / "_a.py").write_text(
        "if x:  # pragma: no cover\n"
        "if x:  # pragma: no branch - \n"
        "if x:  # pragma: no cover - only on Windows\n"
        "if x:  # Pragma no  cover - spelled so that nobody finds it\n"
    )
    result = run_gate(tmp_path, WHOLE)
    assert result.returncode == 1
    places = [line.split(": ")[0] for line in result.stdout.splitlines()]
    assert places == [f"sansio_rt/events/_a.py:{number}" for number in (1, 2, 4)]


@pytest.mark.parametrize(
    ("modules", "branches", "complaint"),
    [
        (WHOLE, False, "without branches"),
        ({"trio_rt/_b.py": module(100.0)}, True, "no module of sansio_rt"),
    ],
)
def test_a_measurement_of_no_use_is_no_success(
    tmp_path: Path, modules: dict[str, Any], branches: bool, complaint: str
) -> None:
    result = run_gate(tmp_path, modules, branches=branches)
    assert result.returncode == 2
    assert complaint in result.stderr


def test_no_measurement_is_no_success(tmp_path: Path) -> None:
    assert gate(tmp_path, "coverage.json").returncode == 2
    (tmp_path / "coverage.json").write_text("[]")
    assert gate(tmp_path, "coverage.json").returncode == 2
    assert gate(tmp_path).returncode == 2


def test_the_packages_give_a_reason_for_each_exclusion() -> None:
    assert list(GATE["unexplained"](SCRIPT.parents[1])) == []


def test_the_gates_are_those_of_the_two_packages() -> None:
    assert GATE["GATES"] == {"sansio_rt": 100.0, "trio_rt": 95.0}


def test_ci_holds_the_suite_against_the_gates() -> None:
    script = (SCRIPT.parent / "run").read_text()
    assert "--cov-report=json" in script
    assert f"{os.path.relpath(SCRIPT, SCRIPT.parents[1])} coverage.json" in script
