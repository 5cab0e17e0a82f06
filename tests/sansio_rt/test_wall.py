"""The wall of design.md: the core has no socket, clock, thread, event loop, environment or chance.

N1: any event loop can drive it, since it brings none of its own.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "sansio_rt"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# What must not be loaded by importing the core, whoever would have imported it.
NEVER_LOADED = {
    *("asyncio", "trio", "trio_rt", "trio_websocket", "anyio", "curio", "twisted"),
    *("socket", "ssl", "select", "selectors", "socketserver", "http", "urllib.request"),
    *("threading", "concurrent.futures", "multiprocessing", "subprocess", "signal"),
    *("random", "secrets", "logging", "openai", "pydantic", "importlib.metadata"),
    "sansio_rt.simulation",
}
# What no module of the core may import, though a dependency may have loaded it.
NEVER_IMPORTED = NEVER_LOADED | {
    "uuid",
    "os",
    "time",
    "tempfile",
    "io",
    "queue",
    "contextvars",
    "sched",
}
# A simulation is handed its chance, too, but somebody has to make it of a seed, and run many.
OUTSIDE_THE_WALL = {
    "simulation/_seeds.py": {"random"},
    "simulation/_runner.py": {"multiprocessing", "signal"},
    "simulation/__main__.py": {"time"},
}


def test_importing_the_core_loads_nothing_that_waits() -> None:
    code = "import json, sys, sansio_rt; print(json.dumps([sansio_rt.__file__, *sys.modules]))"
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); " + code,
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        # A measured subprocess would load what measures it.
        env={name: value for name, value in os.environ.items() if "COVERAGE" not in name},
    )
    path, *loaded = json.loads(done.stdout)
    assert Path(path).parent == PACKAGE
    assert not NEVER_LOADED & set(loaded)


def imported_by(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return names | {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_of_the_core_waits_or_looks_outside(source: Path) -> None:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, waiting)]
    allowed = OUTSIDE_THE_WALL.get(source.relative_to(PACKAGE).as_posix(), set())
    assert NEVER_IMPORTED & imported_by(tree) == allowed


def test_the_sources_are_found() -> None:
    assert len(SOURCES) > 10
