"""`python -m sansio_rt.simulation`: what it shows, what it refuses, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sansio_rt import RetryPolicy, SessionConfig, SessionReady, SessionResumed
from sansio_rt.simulation import (
    Chance,
    Invariant,
    Kind,
    Plan,
    Setup,
    __main__,
    actions,
)
from sansio_rt.simulation.__main__ import main

ROOT = Path(__file__).parents[3]


class NeverBack(Invariant):
    """A connection is never lost."""

    def on_event(self, event: object) -> None:
        if isinstance(event, SessionResumed):
            self.broken("it was")


class NeverReady(Invariant):
    """No session is ever ready."""

    def on_event(self, event: object) -> None:
        if isinstance(event, SessionReady):
            self.broken("it was")


class Raises(Invariant):
    """It has a defect."""

    def on_event(self, event: object) -> None:
        raise KeyError("resp_1")


class LosesOne:
    """Loses its connection once."""

    def plan(self, chance: Chance, kind: Kind) -> Plan:
        setup = Setup(config=SessionConfig(), retry=RetryPolicy())
        return Plan(setup=setup, actions=[actions.Reset(at_s=1.0)])


class Planless:
    """Has a plan half of the time."""

    def plan(self, chance: Chance, kind: Kind) -> Plan:
        if chance.random() < 0.5:
            raise KeyError("no plan")
        return Plan(setup=Setup(config=SessionConfig()), actions=[])


class Interrupted:
    """Is interrupted in the second share of seeds."""

    count = 0

    def plan(self, chance: Chance, kind: Kind) -> Plan:
        Interrupted.count += 1
        if Interrupted.count == 26:
            raise KeyboardInterrupt
        return Plan(setup=Setup(config=SessionConfig()), actions=[])


@pytest.fixture(autouse=True)
def own() -> Iterator[None]:
    module: Any = types.ModuleType("own")
    for thing in (NeverBack, NeverReady, Raises, LosesOne, Planless, Interrupted):
        setattr(module, thing.__name__, thing)
    sys.modules["own"] = module
    yield
    del sys.modules["own"]


# --- what is shown --------------------------------------------------------------------------


def test_seeds_are_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0:3", "--plain"]) == 0
    assert "3 seeds plain, 0 with a violation" in capsys.readouterr().out


def test_one_life_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "3", "--trace"]) == 0
    out = capsys.readouterr().out
    assert "SessionReady" in out
    assert "1 seeds with faults, 0 with a violation" in out


def test_what_breaks_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--caller", "own:LosesOne", "--invariant", "own:NeverBack", "--seeds", "0:12"]
    assert main([*options, "--no-shrink"]) == 1
    out = capsys.readouterr().out
    assert "A connection is never lost: it was" in out
    assert "Reset(at_s=" in out
    assert "2 more failing seeds are not shown" in out
    assert main([*options[:-1], "1", "--trace"]) == 1
    out = capsys.readouterr().out
    assert "client: SessionResumed" in out


def test_what_breaks_can_be_run_again_as_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--plain", "--bytes", "--no-shrink", "--caller", "own:LosesOne"]
    options += ["--invariant", "own:NeverReady", "--invariant", "own:NeverBack"]
    assert main(["--seeds", "7:8", *options]) == 1
    found, *_, again, _ = capsys.readouterr().out.splitlines()
    words = again.split()
    assert words[:3] == ["python", "-m", "sansio_rt.simulation"]
    assert words[3:] == ["--seeds", "7", *options, "--trace"]
    assert main(words[3:]) == 1
    assert capsys.readouterr().out.startswith(f"{found}\n")


@pytest.mark.parametrize("trace", [[], ["--trace"]])
def test_where_an_exception_was_raised_is_shown(
    trace: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--seeds", "0", "--invariant", "own:Raises", *trace]) == 1
    first, *places = capsys.readouterr().out.splitlines()[:4]
    assert first == "seed 0: nothing raises KeyError: 'resp_1'"
    line = Raises.on_event.__code__.co_firstlineno + 1
    assert places[-1] == f"    at {__file__}:{line} in on_event"
    assert all(place.startswith("    at ") for place in places)


def test_a_plan_that_fails_is_told_with_its_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0:4", "--caller", "own:Planless"]) == 1
    out = capsys.readouterr().out
    assert "seed 0: the run cannot begin: KeyError: 'no plan'\n    at " in out
    assert " in plan\n    python -m sansio_rt.simulation --seeds 0 --caller own:Planless" in out
    assert "4 seeds with faults, 2 with a violation" in out


def test_several_processes_do_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0:2", "--jobs", "2"]) == 0
    assert "with 2 jobs" in capsys.readouterr().out


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_is_told_how_far_it_is(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(__main__, "_PROGRESS_EVERY_S", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert main(["--seeds", "10:36", "--plain"]) == 0
    told = "".join(f"{done} of 26 seeds, 0 with a violation\n" for done in (10, 20, 26))
    assert capsys.readouterr().err == (told if terminal else "")


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "No module named 'nowhere'"),
        ("nowhere:Thing", "No module named 'nowhere'"),
        ("sansio_rt:Nothing", "has no attribute 'Nothing'"),
        (":", "give module:Name of something that can be imported"),
        ("json:dumps", "cannot be made without arguments; TypeError: dumps() missing"),
        ("json:JSONDecoder", "makes no caller: it has no method plan"),
    ],
)
def test_a_caller_that_is_none(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--caller", name]) == 2
    err = capsys.readouterr().err
    assert err.startswith(repr(name))
    assert words in err
    assert err.count("\n") == 1


def test_an_invariant_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--invariant", "own:LosesOne"]) == 2
    assert capsys.readouterr().err == "'own:LosesOne' makes no Invariant\n"


def test_why_ones_own_module_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "module_of_a_user.py"
    path.write_text("import nowhere_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["--caller", "module_of_a_user:Caller"]) == 2
    err = capsys.readouterr().err
    assert f"No module named 'nowhere_at_all', at {path}:1 in <module>" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", ""], "give A:B"),
        (["--seeds", "a:b"], "give A:B"),
        (["--seeds", "1:b"], "give A:B"),
        (["--seeds", "5:3"], "'5:3' are no seeds"),
        (["--seeds", "5:5"], "'5:5' are no seeds"),
        (["--jobs", "0"], "'0': give a number from 1 on"),
        (["--jobs", "-1"], "'-1': give a number from 1 on"),
        (["--jobs", "many"], "'many': give a number from 1 on"),
    ],
)
def test_numbers_that_are_none(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


# --- how it ends ----------------------------------------------------------------------------


def test_ctrl_c_tells_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    Interrupted.count = 0
    assert main(["--seeds", "0:100", "--caller", "own:Interrupted"]) == 130
    out = capsys.readouterr().out
    assert out.startswith("interrupted; so far:\n20 seeds with faults, 0 with a violation")


def running(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """One that finds something in each seed, in a group of processes of its own."""
    text = "from sansio_rt.simulation import Invariant\n\nclass Never(Invariant):\n"
    text += "    def check(self):\n        self.broken('x')\n"
    (tmp_path / "own_in_file.py").write_text(text)
    options = ["--no-shrink", "--invariant", "own_in_file:Never", *arguments]
    # A shell's background jobs ignore Ctrl-C, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "sansio_rt.simulation", *options],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    assert process.stdout.readline() == "seed 0: Never: x\n"  # not kept back until the end
    return process


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_ends_all_processes_quietly(jobs: str, tmp_path: Path) -> None:
    with running(tmp_path, "--seeds", "0:1000000", "--jobs", jobs) as process:
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == ""
    assert "interrupted; so far:\n" in out
    assert "with a violation" in out.splitlines()[-1]


def test_when_nobody_reads_it_ends_quietly(tmp_path: Path) -> None:
    process = running(tmp_path, "--seeds", "0:200")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process:
        assert process.stderr.read() == ""
        assert process.wait(20) == 1
