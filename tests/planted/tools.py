"""The tools, and one run of one of them on a tree."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .bugs import ROOT, Bug

TOOLS = {
    "unit": "the unit tests of that module",
    "machine": "the state machine of the client (Hypothesis)",
    "simulation": "`sansio_rt.simulation`, seed after seed",
    "corpus": "the kept inputs of all fuzz targets, without a fuzzer",
    "fuzz": "the coverage-guided fuzzer on that module's target",
    "cancellation": "the tests that cancel at every step",
    "faults": "the tests that break a connection everywhere",
}
"""What is run on each bug, by column."""

_SUITES = {
    "cancellation": ["trio_rt/test_cancellation.py", "trio_rt/test_dial_cancellation.py"],
    "faults": ["trio_rt/test_faults_everywhere.py"],
}
_COPIED = (
    "sansio_rt",
    "trio_rt",
    "tests",
    "fuzz",
    "docs",
    "examples",
    "pyproject.toml",
    "README.md",
)
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?)(?:\[.*)?(?: - .*)?$", re.MULTILINE)
_SUITE_S = 60.0
_HANGS_AFTER_S = 90.0
"""A process that uses no processor time for so long waits for ever."""


@dataclass(frozen=True)
class Run:
    """What became of one tool on one bug.

    Attributes:
        found: Whether it found something.
        seconds: Processor time that it took, start included.
        limit_s: How much it was given.
        what: What it found.
    """

    found: bool
    seconds: float
    limit_s: float
    what: str = ""


class Tree:
    """A copy of the repository in which bugs are planted.

    Args:
        folder: Where it is made.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder
        skip = shutil.ignore_patterns("__pycache__", ".hypothesis", "work", "findings", "*.wav")
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=skip)
            else:
                shutil.copy2(source, folder / name)
        for name in ("work", "findings"):
            (folder / "fuzz" / name).mkdir(exist_ok=True)

    def write(self, file: str, text: str) -> None:
        """Puts text into a file, and drops what was compiled of the one before."""
        path = self.root / file
        path.write_text(text, "utf-8")
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()

    def read(self, file: str) -> str:
        return (self.root / file).read_text("utf-8")


def run(tool: str, bug: Bug, tree: Tree, limit_s: float) -> Run:
    """Runs a tool until it finds something, or its processor time is used up.

    Args:
        tool: A key of `TOOLS`.
        bug: Names the tests and the fuzz target.
        tree: Where it runs.
        limit_s: Processor time, in seconds, of what goes on for ever.
    """
    if tool == "unit" or tool in _SUITES:
        limit_s = max(limit_s, _SUITE_S)  # they come to an end by themselves
    log = tree.root / "tool.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            _command(tool, bug),
            cwd=tree.root,
            # CI: Hypothesis draws the same examples each time, and keeps none.
            env={**os.environ, "CI": "true", "PYTHONPATH": "", "PYTHONHASHSEED": "0"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (round(limit_s),) * 2),
        )
    try:
        hangs = _wait(process.pid)
        if hangs:
            os.killpg(process.pid, signal.SIGKILL)
        _, status, used = os.wait4(process.pid, 0)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = used.ru_utime + used.ru_stime
    if hangs:
        return Run(True, seconds, limit_s, "it hangs")
    if process.returncode in (0, -signal.SIGKILL):
        return Run(False, seconds, limit_s)
    return Run(True, seconds, limit_s, _what(log.read_text("utf-8", "replace"), process.returncode))


def _wait(pid: int) -> bool:
    """Waits until a process has ended; whether it waits itself, for what does not come."""
    used, used_at = -1, time.monotonic()
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        if ticks != used:
            used, used_at = ticks, time.monotonic()
        elif time.monotonic() - used_at > _HANGS_AFTER_S:
            return True
        time.sleep(0.05)
    return False


def _command(tool: str, bug: Bug) -> Sequence[str]:
    if tool in ("machine", "simulation", "corpus"):
        return [sys.executable, "-m", "tests.planted.hunt", tool]
    if tool == "fuzz":
        return [sys.executable, "-m", "tests.planted.hunt", tool, bug.fuzz]
    files = bug.tests if tool == "unit" else _SUITES[tool]
    options = ["-x", "-q", "--tb=no", "-o", "faulthandler_exit_on_timeout=true"]
    return [sys.executable, "-m", "pytest", *options, *(f"tests/{file}" for file in files)]


def _what(words: str, code: int) -> str:
    if (at := words.rfind("FOUND ")) >= 0:
        return words[at + len("FOUND ") :].strip()
    if (failed := _FAILED.search(words)) is not None:
        return failed[1].removeprefix("tests/")
    if "Timeout (" in words:
        return "a test hangs"
    return f"exit code {code}: {' '.join(words[-200:].split())}"
