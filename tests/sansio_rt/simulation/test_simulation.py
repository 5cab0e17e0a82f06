"""Runs as values, shrinking, one's own callers and invariants, and the command line."""

from __future__ import annotations

import random
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from sansio_rt import RetryPolicy, SessionConfig, SessionResumed
from sansio_rt._generations import GeneratedCall
from sansio_rt._server_work import ReplyWanted
from sansio_rt.simulation import (
    DEFAULT_INVARIANTS,
    Action,
    Call,
    Chance,
    Fail,
    Invariant,
    Kind,
    Plan,
    Say,
    Setup,
    Simulation,
    Step,
    ToolResult,
    TypicalCaller,
    World,
    actions,
    chances_of,
    simulate,
    written,
)
from sansio_rt.simulation.__main__ import main

ROOT = Path(__file__).parents[3]


class NeverBack(Invariant):
    """A connection is never lost."""

    def on_event(self, event: object) -> None:
        if isinstance(event, SessionResumed):
            self.broken("it was")


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = (simulate(7, traced=True) for _ in range(2))
    assert first.plan == second.plan
    assert first.trace == second.trace
    assert first.steps == second.steps > 0
    assert first.virtual_s == second.virtual_s > 0
    assert simulate(8, traced=True).trace != first.trace


def test_the_same_seed_gives_the_same_run_in_another_process() -> None:
    code = (
        "import hashlib; from sansio_rt.simulation import simulate, written; "
        "print(hashlib.sha1(''.join(written(simulate(s, traced=True).trace) "
        "for s in range(4)).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_a_failing_run_is_shrunk_to_what_breaks_it() -> None:
    simulation = Simulation(invariants=[*DEFAULT_INVARIANTS, NeverBack])
    for seed in range(20):
        whole = simulate(seed, simulation, shrink=False)
        if whole.violation is not None and len(whole.plan.actions) > 5:
            break
    least = simulate(seed, simulation)
    assert least.violation is not None
    assert least.violation.name == whole.violation.name == "A connection is never lost"
    assert len(least.plan.actions) <= 2
    assert "SessionResumed" in written(least.trace)
    assert all(action in whole.plan.actions for action in least.plan.actions)


def test_a_run_that_holds_has_nothing_to_shrink() -> None:
    simulation, chances = Simulation(Kind.PLAIN), chances_of(1)
    result = simulation.run(simulation.plan(chances), chances)
    assert result.violation is None
    assert simulation.shrink(result, chances) is result


def test_shrinking_has_a_bound() -> None:
    simulation, chances = Simulation(invariants=[NeverBack]), chances_of(0)
    plan = simulation.plan(chances)
    actions_with_loss = [*plan.actions, actions.Reset(at_s=9.0)]
    setup = Setup(config=SessionConfig(), retry=RetryPolicy())
    result = simulation.run(Plan(setup=setup, actions=actions_with_loss), chances)
    assert result.violation is not None
    assert simulation.shrink(result, chances, most_runs=0) is result


def test_whatever_raises_is_a_violation() -> None:
    class Breaks(Action, frozen=True, kw_only=True):
        def perform(self, world: World) -> None:
            raise ZeroDivisionError("here")

    class Caller:
        def plan(self, chance: Chance, kind: Kind) -> Plan:
            return Plan(setup=Setup(config=SessionConfig()), actions=[Breaks(at_s=0.1)])

    violation = simulate(1, Simulation(caller=Caller())).violation
    assert violation is not None
    assert violation.name == "nothing raises"
    assert violation.details == "ZeroDivisionError: here"
    assert isinstance(violation.__cause__, ZeroDivisionError)


def test_an_action_says_what_it_does() -> None:
    with pytest.raises(NotImplementedError):
        Action(at_s=0.0).perform(None)  # type: ignore[arg-type]


def test_a_mind_and_tools_of_ones_own() -> None:
    class Asks:
        def reply(self, wanted: ReplyWanted, chance: Chance) -> list[Step]:
            if wanted.history[-1].role == "tool_output":
                return [Say(text=f"it is {wanted.history[-1].text}")]
            if wanted.history[-1].text == "fail":
                return [Fail(code="server_error")]
            return [Call(name="look", after_s=0.1)]

    class Answers:
        def run(self, call: GeneratedCall, chance: Chance) -> ToolResult:
            return ToolResult(output="noon")

    class Caller:
        def plan(self, chance: Chance, kind: Kind) -> Plan:
            typed = [actions.Type(at_s=0.1, words="go"), actions.Type(at_s=1.0, words="fail")]
            return Plan(setup=Setup(config=SessionConfig(turn_detection=None)), actions=typed)

    simulation = Simulation(caller=Caller(), mind=Asks(), tools=Answers())
    result = simulate(1, simulation, traced=True)
    assert result.violation is None
    assert "it is noon" in written(result.trace)
    assert "server_error" in written(result.trace)


def test_every_action_is_planned_by_the_caller_that_comes_along() -> None:
    planned: set[type] = set()
    for seed in range(400):
        plan = TypicalCaller().plan(random.Random(seed), Kind.FAULTS)
        assert list(plan.actions) == sorted(plan.actions, key=lambda action: action.at_s)
        planned |= {type(action) for action in plan.actions}
    assert planned == {getattr(actions, name) for name in actions.__all__}


# --- the documents --------------------------------------------------------------------------


@pytest.fixture
def quiz() -> Iterator[types.ModuleType]:
    page = (ROOT / "docs" / "simulation.md").read_text()
    code = page.split("<!-- example -->\n```python\n")[1].split("```")[0]
    module = types.ModuleType("quiz")
    exec(code, module.__dict__)
    sys.modules["quiz"] = module
    yield module
    del sys.modules["quiz"]


def test_the_documents_example_works(quiz: types.ModuleType) -> None:
    invariants = [*DEFAULT_INVARIANTS, quiz.NobodySpeaksFirst]
    simulation = Simulation(caller=quiz.Quizmaster(), invariants=invariants)
    for seed in range(5):
        assert simulate(seed, simulation).violation is None
    kept = simulate(1, simulation, traced=True).trace
    assert "You know everything." in written(kept)


def test_every_invariant_is_in_the_documents() -> None:
    page = (ROOT / "docs" / "simulation.md").read_text()
    for invariant in DEFAULT_INVARIANTS:
        assert f"`{invariant.__name__}`" in page  # type: ignore[attr-defined]


# --- the command line -----------------------------------------------------------------------


def test_the_command_line_runs_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0:3", "--plain"]) == 0
    assert "3 seeds plain, 0 with a violation" in capsys.readouterr().out


def test_the_command_line_shows_one_life(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "3", "--trace"]) == 0
    out = capsys.readouterr().out
    assert "SessionReady" in out
    assert "1 seeds with faults, 0 with a violation" in out


def test_the_command_line_shows_what_breaks(
    capsys: pytest.CaptureFixture[str], quiz: types.ModuleType
) -> None:
    quiz.NeverBack = NeverBack
    options = ["--caller", "quiz:Quizmaster", "--invariant", "quiz:NeverBack", "--seeds", "0:12"]
    assert main([*options, "--no-shrink"]) == 1
    out = capsys.readouterr().out
    assert "A connection is never lost: it was" in out
    assert "Reset(at_s=" in out
    assert "--trace\n" in out
    assert "more failing seeds are not shown" in out
    assert main([*options[:-1], "1", "--trace"]) == 1
    out = capsys.readouterr().out
    assert "client: SessionResumed" in out


def test_several_processes_do_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0:2", "--jobs", "2"]) == 0
    assert "with 2 jobs" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nowhere", "nowhere:Thing", "sansio_rt:Nothing", ":"])
def test_what_cannot_be_imported_is_said(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--caller", name]) == 2
    assert "give module:Name" in capsys.readouterr().err


@pytest.mark.parametrize("seeds", ["", "a:b", "1:b"])
def test_seeds_are_numbers(seeds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--seeds", seeds])
    assert "give A:B" in capsys.readouterr().err
