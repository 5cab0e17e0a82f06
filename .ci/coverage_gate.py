"""Holds every module against its coverage gate: all of `sansio_rt`, 95 % of each module of `trio_rt`.

    python .ci/coverage_gate.py coverage.json

The argument is what `coverage json` or `pytest --cov --cov-report=json` wrote, with branches. Names each
module below its gate with what no test reached, and each exclusion without a reason in its line
(`# pragma: no cover - the reason`). Exits with 1 if there is any, with 2 if the measurement is no use.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

GATES = {"sansio_rt": 100.0, "trio_rt": 95.0}
"""What percentage of the lines and branches of each module of a package must be reached."""

_PRAGMA = re.compile(r"#\s*pragma:?\s*no\s*(cover|branch)", re.IGNORECASE)
_PRAGMA_WITH_REASON = re.compile(r"#\s*pragma: no (cover|branch) - \w+")


class Unusable(Exception):
    """The measurement is no use: not there, without branches, or without a package."""


def read_measurement(path: Path) -> dict[str, Any]:
    """The measured modules by path.

    Raises:
        Unusable: there is no such file, it has no branches, or a package of the gates is not in it.
    """
    try:
        measurement = json.loads(path.read_text("utf-8"))
        modules: dict[str, Any] = measurement["files"]
        with_branches = measurement["meta"]["branch_coverage"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unusable(f"{path} is no coverage measurement: {error!r}") from error
    if not with_branches:
        raise Unusable(f"{path} was measured without branches")
    for package in GATES:
        if not any(package_of(name) == package for name in modules):
            raise Unusable(f"{path} has no module of {package}")
    return modules


def package_of(module: str) -> str:
    """The package that a module's path lies in."""
    return PurePosixPath(module.replace("\\", "/")).parts[0]


def below_gate(modules: dict[str, Any]) -> Iterator[str]:
    """One line for each module below its gate, with what was not reached."""
    for name, module in sorted(modules.items()):
        gate = GATES.get(package_of(name), 0.0)
        percent = module["summary"]["percent_covered"]
        if percent < gate:
            yield f"{name}: {percent:.1f} % of {gate:g} %, not reached: {missing(module)}"


def missing(module: dict[str, Any]) -> str:
    """Lines as ranges, then branches between lines that were reached, as `from->to`."""
    lines: list[int] = module["missing_lines"]
    parts: list[str] = []
    for line in lines:
        if parts and int(parts[-1].partition("-")[2] or parts[-1]) == line - 1:
            parts[-1] = f"{parts[-1].partition('-')[0]}-{line}"
        else:
            parts.append(str(line))
    for source, target in module["missing_branches"]:
        if source not in lines and target not in lines:
            parts.append(f"{source}->{'exit' if target < 0 else target}")
    return ", ".join(parts)


def unexplained(root: Path) -> Iterator[str]:
    """One line for each exclusion from the measurement that gives no reason."""
    for package in GATES:
        for path in sorted((root / package).rglob("*.py")):
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
                if _PRAGMA.search(line) and not _PRAGMA_WITH_REASON.search(line):
                    yield f"{path.relative_to(root)}:{number}: an exclusion without a reason"


def main(arguments: Sequence[str]) -> int:
    """Print what is wrong; the exit code."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        modules = read_measurement(Path(arguments[0]))
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    problems = [*below_gate(modules), *unexplained(Path())]
    print("\n".join(problems) or f"{len(modules)} modules reach their gates")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
