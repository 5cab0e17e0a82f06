"""Runs the fuzzer for a target and keeps what it finds."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fuzz import Refused, dictionary, targets
from fuzz.findings import MARK, PROGRAM, STARTED
from fuzz.storage import Storage, name_of, pack

EXECUTION_TIMEOUT_S = 10
INSTRUMENTED = ("sansio_rt",)
MEMORY_LIMIT_MB = 2048
MINIMISE_S = 60
_LAST_WORDS = 40
_DONE = re.compile(r"^Done \d+ runs", re.MULTILINE)
_NATIVE = re.compile(r"Test unit written to (\S+)")
_PROGRESS = re.compile(
    r"#(?P<runs>\d+)\s+(?P<what>\w+)\s+cov: (?P<edges>\d+) ft: (?P<features>\d+) corp: (?P<inputs>\d+)"
)
_RUNS = re.compile(r"stat::number_of_executed_units: (\d+)")


class AtherisMissing(Refused):
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
        failure: Why the fuzzer could not go on, with its last words; empty where it could.
        interrupted: Whether Ctrl-C ended it.
    """

    target: str
    executions: int = 0
    processor_s: float = 0.0
    wall_s: float = 0.0
    edges_before: int = 0
    edges: int = 0
    inputs: int = 0
    findings: dict[Path, str] = field(default_factory=dict[Path, str])
    failure: str = ""
    interrupted: bool = False

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
            f"{', and the fuzzer FAILED' if self.failure else ''}"
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
    """Fuzzes one target, until the time is over or Ctrl-C.

    Args:
        name: The target.
        seconds: How long.
        storage: Where its inputs are.
        quiet: Whether to print nothing on the way.
        packages: What is instrumented: coverage counts there.

    Raises:
        AtherisMissing: The fuzzer is not installed.
        Refused: There is no such target, or it is broken.
    """
    require_atheris()
    target = targets.load(name)
    work, findings = storage.fill_work(name), storage.findings(name)
    words = dictionary.write(storage.root / "work" / "events.dict")
    outcome, began = Outcome(name), time.monotonic()
    used = _children_s()
    # What hangs or crashes natively ends the process: another one goes on for the time that is left.
    while (left_s := math.ceil(began + seconds - time.monotonic())) > 0:
        arguments = [
            *(f"-max_total_time={left_s}", f"-max_len={target.max_bytes}", f"-dict={words}"),
            *(f"-timeout={EXECUTION_TIMEOUT_S}", f"-rss_limit_mb={MEMORY_LIMIT_MB}"),
            *("-print_final_stats=1", f"-artifact_prefix={findings}/"),
            str(work),
        ]
        take = partial(_take, outcome=outcome, before=outcome.executions, quiet=quiet)
        try:
            ended = _engine(storage, name, packages, arguments, take)
        except KeyboardInterrupt:
            outcome.interrupted = True
            break
        if ended.well:
            break
        if (written := _NATIVE.search(ended.last_words)) is None:
            outcome.failure = ended.told()
            break
        Path(written[1]).with_suffix(".txt").write_text(ended.last_words, "utf-8")
    outcome.wall_s = time.monotonic() - began
    outcome.processor_s += _children_s() - used
    outcome.inputs = sum(1 for _ in work.iterdir())
    _minimise_all(outcome)
    return outcome


def merge(
    name: str, storage: Storage, *, packages: Sequence[str] = INSTRUMENTED
) -> tuple[int, int]:
    """Packs the fewest inputs that still reach all that the fuzzer's corpus reaches; see `run`.

    Returns:
        How many inputs there were, and how many are kept.

    Raises:
        AtherisMissing: The fuzzer is not installed.
        Refused: There is no such target, it is broken, or nothing that is instrumented was reached.
    """
    require_atheris()
    target = targets.load(name)
    work = storage.fill_work(name)
    before = sum(1 for _ in work.iterdir())
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder)
        limits = [f"-max_len={target.max_bytes}", f"-timeout={EXECUTION_TIMEOUT_S}"]
        # Edges alone: how often each is passed would keep five times as many.
        arguments = ["-merge=1", "-use_counters=0", *limits, str(kept), str(work)]
        ended = _engine(storage, name, packages, arguments, lambda line: None)
        inputs = [file.read_bytes() for file in kept.iterdir()]
    if ended.code or not inputs:
        raise Refused(f"{name}: nothing is packed, since {ended.told()}")
    count = pack(storage.corpus(name), inputs)
    shutil.rmtree(work)
    storage.fill_work(name)
    return before, count


def keep(name: str, file: Path, title: str, storage: Storage) -> Path:
    """Makes a finding a regression, named for what it shows.

    Raises:
        Refused: There is no such target, the name is no plain one, or it is taken.
        OSError: The file cannot be read.
    """
    targets.require(name)
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", title) is None:
        raise Refused(f"{title!r} names no regression: letters, digits, _ and - make a name")
    data, kept = file.read_bytes(), storage.regressions(name) / title
    if kept.exists():
        raise Refused(f"there is a regression of that name: {kept}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(data)
    return kept


@dataclass
class _Ended:
    """How a process that fuzzed ended.

    Attributes:
        code: Its exit code.
        last_words: The end of what it said.
    """

    code: int
    last_words: str

    @property
    def well(self) -> bool:
        """Whether its time was over: a target may end it with any code."""
        return self.code == 0 and _DONE.search(self.last_words) is not None

    def told(self) -> str:
        """For people."""
        return f"the fuzzer ended with code {self.code}; its last words:\n{self.last_words}"


def _engine(
    storage: Storage,
    name: str,
    packages: Sequence[str],
    arguments: list[str],
    take: Callable[[str], None],
) -> _Ended:
    """Runs a process that fuzzes, and hands on what it says, line by line."""
    command = [sys.executable, "-m", "fuzz.engine", name, str(storage.findings(name))]
    command.append(",".join(packages))
    # To merge, libFuzzer starts itself anew by one word: it gets a program of this target's own.
    program = storage.root / "work" / f"{name}.sh"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', "utf-8")
    program.chmod(0o755)
    last: deque[str] = deque(maxlen=_LAST_WORDS)
    with subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=_environment() | {PROGRAM: str(program)},
    ) as child:
        assert child.stderr is not None
        try:
            for line in child.stderr:
                last.append(line)
                take(line)
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)  # where no terminal has sent it, too
            for line in child.stderr:
                take(line)
            raise
    return _Ended(child.returncode, "".join(last))


def _environment() -> dict[str, str]:
    """Of a process that finds the same modules as this one."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _take(line: str, outcome: Outcome, *, before: int, quiet: bool) -> None:
    """Reads a line of the child, in front of which there were so many executions."""
    progress = _PROGRESS.match(line)
    if progress is not None:
        outcome.executions = before + int(progress["runs"])
        outcome.edges = int(progress["edges"])
        if progress["what"] == "INITED" and not before:
            outcome.edges_before = outcome.edges
        if progress["what"] in ("INITED", "pulse", "DONE") and not quiet:
            print(
                f"  {outcome.target}: {outcome.executions:,} executions, {outcome.edges:,} edges, "
                f"{progress['inputs']} inputs",
                flush=True,
            )
    elif line.startswith(STARTED):
        outcome.processor_s -= float(line.removeprefix(STARTED))
    elif line.startswith(MARK):
        file, _, kind = line.removeprefix(MARK).strip().partition(" ")
        _found(outcome, Path(file), kind, quiet=quiet)
    elif (native := _NATIVE.search(line)) is not None:
        # A time-out, too much memory, or a crash of native code: libFuzzer wrote it and ended.
        _found(outcome, Path(native[1]), Path(native[1]).name.partition("-")[0], quiet=quiet)
    elif (counted := _RUNS.search(line)) is not None:
        outcome.executions = before + int(counted[1])


def _found(outcome: Outcome, file: Path, kind: str, *, quiet: bool) -> None:
    """Notes the first input of each kind."""
    if kind in outcome.findings.values():
        return
    outcome.findings[file] = kind
    if not quiet:
        print(f"  {outcome.target}: found {kind}", flush=True)


def _minimise_all(outcome: Outcome) -> None:
    """Puts the shortest inputs in the place of those that were found."""
    found, outcome.findings = outcome.findings, {}
    for file, kind in found.items():
        shorter = file
        try:
            shorter = _minimised(outcome.target, file, kind)
        except KeyboardInterrupt:  # the second one, if it ended the run: what is left stays long
            outcome.interrupted = True
        outcome.findings[shorter] = kind


def _minimised(name: str, file: Path, kind: str) -> Path:
    """The shortest input that shows the same; what ends a process is left as it is."""
    if not file.name.startswith(("finding-", "timeout-")):
        return file
    # In a process of its own, since a shorter input may hang or crash natively.
    command = [sys.executable, "-m", "fuzz", "minimise", name, str(file)]
    try:
        done = subprocess.run(
            command, capture_output=True, env=_environment(), timeout=MINIMISE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return file
    if done.returncode:
        return file
    shorter = file.with_name(f"minimised-{name_of(done.stdout)}")
    shorter.write_bytes(done.stdout)
    shorter.with_suffix(".txt").write_text(f"{kind}\n\n{done.stdout!r}\n", "utf-8")
    return shorter


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
