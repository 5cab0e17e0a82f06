"""Runs mutmut on modules of the core in a copy of the tree."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .mutants import (
    KILLED,
    ROOT,
    SKIPPED,
    SURVIVED,
    WORK,
    Mutant,
    Results,
    mutants_of,
    only_words,
    read_results,
)

MODULES = (
    *("_retry", "_keepalive", "_kept_audio", "_diff", "_past", "_conversation"),
    *("_configuration", "_commands", "_refusals", "_connection", "_replay", "_input"),
    *("_arbiter", "_requests", "_responses", "_generations", "_recovery", "_history", "_cuts"),
    *("_response_content", "_turn_clock", "_frames", "_wire", "_link", "_watch"),
    *("_rotation", "_successor", "_handover", "_client", "_client_core", "_client_life"),
    *("_client_rooms",),
    *("_server", "_server_config", "_server_handshake", "_server_input", "_server_item_checks"),
    *("_server_items", "_server_listener", "_server_message", "_server_outbox"),
    *("_server_refusals", "_server_replies", "_server_response", "_server_rules"),
    *("_server_session", "_server_terms", "_server_turns", "_server_usage", "_server_work"),
)
"""The modules that hold state, or decide by it."""

# Tests that reach everything and take long for what they find, or that are about other modules.
_LEFT_OUT = (
    *("test_wall", "test_events_oracle", "test_events_complete", "test_events_check"),
    *("test_audio", "test_client_machine", "test_dialects", "test_dialects_oracle"),
    *("test_tools_schemas", "test_tools_arguments", "test_tools_docstrings"),
)
# Single ones that take long, or measure how long something takes.
_TOO_LONG = (
    "test_memory.py::test_a_thousand_minutes_of_speech_leave_memory_flat",
    "test_shorten.py::test_any_event_is_shown_on_one_short_line",
    "test_wire_frames.py::test_many_small_frames_in_one_read_cost_linear_time",
    "test_responses_asked.py::test_of_too_many_calls_that_nobody_answers_the_oldest_is_forgotten",
)
_COPIED = ("sansio_rt", "trio_rt", "tests", "docs", "examples", "pyproject.toml", "README.md")
_OPTIONS = [
    "--hypothesis-seed=6",
    *(
        "-p",
        "no:unraisableexception",
    ),  # it collects garbage ten times, which is most of a quick run
]
_NOT_CHECKED, _NOT_IN_SAMPLE = None, 34  # what mutmut writes for these


def run(modules: Sequence[str], *, sample: int, seed: int, again: bool) -> None:
    """Makes mutants of the modules, runs them, and keeps what became of them.

    Args:
        modules: The modules' names.
        sample: How many mutants of a module to run; more are sampled.
        seed: What draws the sample: of one seed it is always the same.
        again: Run only those that survived the last time, on the tests as they are now.
    """
    tree = WORK / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    _copy(tree)
    with (tree / "pyproject.toml").open("a") as settings:
        settings.write(_settings(modules))
    chosen = {module: _choose(tree, module, sample, seed, again=again) for module in modules}
    began = time.monotonic()
    _run_mutmut(tree)
    seconds = time.monotonic() - began
    total = sum(len(each.ended(SURVIVED)) for each in chosen.values())
    for planned in chosen.values():
        share = seconds * len(planned.ended(SURVIVED)) / max(1, total)
        _finish(tree, planned, share).write()


def _copy(tree: Path) -> None:
    skip = shutil.ignore_patterns("__pycache__", "*.wav", ".hypothesis")
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=skip)
        else:
            shutil.copy2(source, tree / name)


def _settings(modules: Sequence[str]) -> str:
    selection = [
        "tests/sansio_rt",
        "--ignore=tests/sansio_rt/simulation",
        *(f"--ignore=tests/sansio_rt/{name}.py" for name in _LEFT_OUT),
        *(f"--deselect=tests/sansio_rt/{name}" for name in _TOO_LONG),
    ]
    return f"""
[tool.mutmut]
source_paths = ["sansio_rt"]
only_mutate = {json.dumps([f"sansio_rt/{module}.py" for module in modules])}
also_copy = ["trio_rt", "docs", "examples", "README.md"]
pytest_add_cli_args = {json.dumps(_OPTIONS)}
pytest_add_cli_args_test_selection = {json.dumps(selection)}
timeout_multiplier = 5.0
timeout_constant = 1.0
use_git_change_detection = false
track_dependencies = false
"""


def _choose(tree: Path, module: str, sample: int, seed: int, *, again: bool) -> Results:
    """Tells mutmut which mutants to run: they are the ones that have survived so far."""
    mutants, hashes = _make(tree, module)
    before = read_results(module) if again else None
    if before is not None:
        # One that was another change the last time is a new one.
        known = {(each.name, each.was, each.now): each.end for each in before.mutants}
        planned = [
            replace(each, end=known.get((each.name, each.was, each.now), _worth_running(each)))
            for each in mutants
        ]
    else:
        worth = [mutant for mutant in mutants if _worth_running(mutant) == SURVIVED]
        names = {mutant.name for mutant in drawn(worth, sample, seed)}
        planned = [
            replace(mutant, end=SURVIVED if mutant.name in names else SKIPPED) for mutant in mutants
        ]
    ends = {
        mutant.name: _NOT_CHECKED if mutant.end == SURVIVED else _NOT_IN_SAMPLE
        for mutant in planned
    }
    meta = tree / "mutants" / "sansio_rt" / f"{module}.py.meta"
    meta.parent.mkdir(parents=True, exist_ok=True)
    meta.write_text(
        json.dumps(
            {
                "exit_code_by_key": ends,
                "hash_by_function_name": hashes,
                "type_check_error_by_key": {},
                "durations_by_key": {},
                "estimated_durations_by_key": {},
            }
        )
    )
    if before is not None:
        return replace(before, mutants=tuple(planned))
    return Results(module, tuple(planned), 0.0, seed)


def drawn(worth: Sequence[Mutant], sample: int, seed: int) -> Sequence[Mutant]:
    """Of these mutants at most as many as `sample`; of one seed always the same."""
    return worth if len(worth) <= sample else random.Random(seed).sample(worth, sample)


def _worth_running(mutant: Mutant) -> str:
    return SKIPPED if only_words(mutant) else SURVIVED


def _make(tree: Path, module: str) -> tuple[list[Mutant], dict[str, str]]:
    """The module's mutants, and mutmut's hash of each function; in `tree` for its settings."""
    here = Path.cwd()
    os.chdir(tree)
    try:
        from mutmut.mutation.file_mutation import mutate_file_contents

        path = Path("sansio_rt") / f"{module}.py"
        mutated = mutate_file_contents(str(path), path.read_text("utf-8"))
    finally:
        os.chdir(here)
    spans = {
        name: (span.start, span.end) for name, span in mutated.line_span_by_function_name.items()
    }
    mutants = list(mutants_of(mutated.code, spans, f"sansio_rt.{module}."))
    return mutants, dict(mutated.hash_by_function_name)


def _run_mutmut(tree: Path) -> None:
    log = WORK / "mutmut.log"
    print(f"running mutmut, see {log}", flush=True)
    with log.open("w") as output:
        done = subprocess.run(
            [sys.executable, "-m", "mutmut", "run", "--max-children", "1"],
            cwd=tree,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if done.returncode != 0:
        print(log.read_text()[-4000:])
        sys.exit(f"mutmut ended with {done.returncode}")


def _finish(tree: Path, planned: Results, seconds: float) -> Results:
    meta = tree / "mutants" / "sansio_rt" / f"{planned.module}.py.meta"
    codes = json.loads(meta.read_text())["exit_code_by_key"]

    def end(mutant: Mutant) -> str:
        if mutant.end != SURVIVED:
            return mutant.end
        # 0: all tests passed; 5, 33: none reaches it; else they failed, crashed or hung.
        return SURVIVED if codes[mutant.name] in (0, 5, 33, None) else KILLED

    ended = tuple(replace(mutant, end=end(mutant)) for mutant in planned.mutants)
    return replace(planned, mutants=ended, seconds=planned.seconds + seconds)
