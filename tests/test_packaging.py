"""What pip installs: exact versions, and one test command for README and CI."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def constraints() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return [Requirement(line.split(" #")[0]) for line in lines if not line.startswith("#")]


def test_constraints_are_names_and_exact_versions() -> None:
    for constraint in constraints():
        assert [specifier.operator for specifier in constraint.specifier] == ["=="], constraint
        assert constraint.url is None, constraint


def test_every_dependency_has_an_exact_version() -> None:
    extras = PROJECT["optional-dependencies"]
    wanted = {
        canonicalize_name(Requirement(line).name)
        for lines in (PROJECT["dependencies"], *extras.values())
        for line in lines
    }
    exact = {canonicalize_name(constraint.name) for constraint in constraints()}
    assert wanted - {PROJECT["name"]} <= exact


def test_readme_has_the_test_command_that_ci_runs() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    block = re.search(r"<!-- test-command -->\s*```\w*\n(.*?)\n```", readme, re.DOTALL)
    assert block is not None
    assert "-c constraints.txt" in block[1]
    assert "-m pytest" in block[1]
    assert "test-command" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_licence_texts_ship_with_the_package() -> None:
    assert PROJECT["license"] == "MIT OR Apache-2.0"
    for name in PROJECT["license-files"]:
        assert (ROOT / name).read_text("utf-8").strip()
