"""Runs the fuzzer for a target and keeps what it finds."""

from __future__ import annotations

import importlib.util
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fuzz import dictionary, targets
from fuzz.findings import minimise
from fuzz.storage import Storage, name_of, pack

EXECUTION_TIMEOUT_S = 10
INSTRUMENTED = ("sansio_rt",)
MEMORY_LIMIT_MB = 2048
# As `fuzz.engine` has them, which cannot be imported without atheris.
_MARK, _STARTED, _PROGRAM = "FINDING ", "STARTED ", "FUZZ_PROGRAM"
_NATIVE = re.compile(r"Test unit written to (\S+)")
_PROGRESS = re.compile(
    r"#(?P<runs>\d+)\s+(?P<what>\w+)\s+cov: (?P<edges>\d+) ft: (?P<features>\d+) corp: (?P<inputs>\d+)"
)
_RUNS = re.compile(r"stat::number_of_executed_units: (\d+)")


class AtherisMissing(Exception):
    """The fuzzer is not installed."""

    def __init__(self) -> None:
        python = ".".join(map(str, sys.version_info[:2]))
        super().__init__(
            'the fuzzer needs the extra "fuzz": pip install "trio-rt[fuzz]" (atheris; it has wheels for '
            f"Linux on x86-64 and Python 3.11 to 3.13, this is {sys.platform} and Python {python}). "
            "The targets, the corpus and the regressions run without it: pytest tests/fuzz"
        )


@dataclass
class Outcome:
    """What a run came to.

    Attributes:
        target: The target's name.
        executions: How many inputs were run.
        processor_s: Processor time that it took behind its start, in seconds.
        wall_s: Time that it took, in seconds.
        edges_before: Edges that the corpus covers.
        edges: Edges that are covered now.
        inputs: Inputs in the fuzzer's corpus now.
        findings: Kinds of failure and the minimised inputs that show them.
    """

    target: str
    executions: int = 0
    processor_s: float = 0.0
    wall_s: float = 0.0
    edges_before: int = 0
    edges: int = 0
    inputs: int = 0
    findings: dict[Path, str] = field(default_factory=dict[Path, str])

    @property
    def rate(self) -> float:
        """Executions a second of processor time."""
        return self.executions / self.processor_s if self.processor_s else 0.0

    def line(self) -> str:
        """The outcome for people, in a line."""
        return (
            f"{self.target}: {self.executions:,} executions in {self.wall_s:.0f} s, "
            f"{self.rate:,.0f}/s of processor time; edges {self.edges_before:,} -> {self.edges:,}, "
            f"{self.inputs} inputs, {len(self.findings)} findings"
        )


def require_atheris() -> None:
    """Refuses to go on where the fuzzer is not installed.

    Raises:
        AtherisMissing: It is not.
    """
    if importlib.util.find_spec("atheris") is None:
        raise AtherisMissing


def run(
    name: str,
    seconds: int,
    storage: Storage,
    *,
    quiet: bool = False,
    packages: Sequence[str] = INSTRUMENTED,
) -> Outcome:
    """Fuzzes one target.

    Args:
        name: The target.
        seconds: How long.
        storage: Where its inputs are.
        quiet: Whether to print nothing on the way.
        packages: What is instrumented: coverage counts there.

    Raises:
        AtherisMissing: The fuzzer is not installed.
    """
    require_atheris()
    target = targets.load(name)
    work, findings = storage.fill_work(name), storage.findings(name)
    words = dictionary.write(storage.root / "work" / "events.dict")
    outcome, began = Outcome(name), time.monotonic()
    used = _children_s()
    arguments = [
        *(f"-max_total_time={seconds}", f"-max_len={target.max_bytes}", f"-dict={words}"),
        *(f"-timeout={EXECUTION_TIMEOUT_S}", f"-rss_limit_mb={MEMORY_LIMIT_MB}"),
        *("-print_final_stats=1", f"-artifact_prefix={findings}/"),
        str(work),
    ]
    for line in _lines(storage, name, packages, arguments):
        _take(line, outcome, quiet=quiet)
    outcome.wall_s = time.monotonic() - began
    outcome.processor_s += _children_s() - used
    outcome.inputs = sum(1 for _ in work.iterdir())
    outcome.findings = {
        _minimised(name, file, kind): kind for file, kind in outcome.findings.items()
    }
    return outcome


def merge(
    name: str, storage: Storage, *, packages: Sequence[str] = INSTRUMENTED
) -> tuple[int, int]:
    """Packs the fewest inputs that still reach all that the fuzzer's corpus reaches; see `run`.

    Returns:
        How many inputs there were, and how many are kept.

    Raises:
        AtherisMissing: The fuzzer is not installed.
    """
    require_atheris()
    work = storage.fill_work(name)
    before = sum(1 for _ in work.iterdir())
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder)
        limits = [f"-max_len={targets.load(name).max_bytes}", f"-timeout={EXECUTION_TIMEOUT_S}"]
        # Edges alone: how often each is passed would keep five times as many.
        arguments = ["-merge=1", "-use_counters=0", *limits, str(kept), str(work)]
        for _ in _lines(storage, name, packages, arguments):
            pass
        inputs = [file.read_bytes() for file in kept.iterdir()]
    if not inputs:
        return before, 0
    count = pack(storage.corpus(name), inputs)
    shutil.rmtree(work)
    storage.fill_work(name)
    return before, count


def keep(name: str, file: Path, title: str, storage: Storage) -> Path:
    """Makes a finding a regression, named for what it shows."""
    folder = storage.regressions(name)
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(file, folder / title))


def _lines(
    storage: Storage, name: str, packages: Sequence[str], arguments: list[str]
) -> Iterator[str]:
    """What the process that fuzzes says, line by line."""
    command = [sys.executable, "-m", "fuzz.engine", name, str(storage.findings(name))]
    command.append(",".join(packages))
    # To merge, libFuzzer starts itself anew by one word: it gets a program of this target's own.
    program = storage.root / "work" / f"{name}.sh"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', "utf-8")
    program.chmod(0o755)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        _PROGRAM: str(program),
    }
    with subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
    ) as child:
        assert child.stderr is not None
        yield from child.stderr


def _take(line: str, outcome: Outcome, *, quiet: bool) -> None:
    """Reads a line of the child."""
    progress = _PROGRESS.match(line)
    if progress is not None:
        outcome.executions = int(progress["runs"])
        outcome.edges = int(progress["edges"])
        if progress["what"] == "INITED":
            outcome.edges_before = outcome.edges
        if progress["what"] in ("INITED", "pulse", "DONE") and not quiet:
            print(
                f"  {outcome.target}: {outcome.executions:,} executions, {outcome.edges:,} edges, "
                f"{progress['inputs']} inputs",
                flush=True,
            )
    elif line.startswith(_STARTED):
        outcome.processor_s -= float(line.removeprefix(_STARTED))
    elif line.startswith(_MARK):
        file, _, kind = line.removeprefix(_MARK).strip().partition(" ")
        outcome.findings[Path(file)] = kind
        if not quiet:
            print(f"  {outcome.target}: found {kind}", flush=True)
    elif (native := _NATIVE.search(line)) is not None:
        # A time-out, too much memory, or a crash of native code: libFuzzer wrote it and ended.
        outcome.findings[Path(native[1])] = Path(native[1]).name.partition("-")[0]
    elif (counted := _RUNS.search(line)) is not None:
        outcome.executions = int(counted[1])


def _minimised(name: str, file: Path, kind: str) -> Path:
    """The shortest input that shows the same; what ended the process is left as it is."""
    if not file.name.startswith("finding-"):
        return file
    data = minimise(targets.load(name).run, file.read_bytes())
    shorter = file.with_name(f"minimised-{name_of(data)}")
    shorter.write_bytes(data)
    shorter.with_suffix(".txt").write_text(f"{kind}\n\n{data!r}\n", "utf-8")
    return shorter


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
