"""Runs as values, shrinking, one's own callers and invariants."""

from __future__ import annotations

import random
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from sansio_rt import LocalProtocolError, RetryPolicy, SessionConfig, SessionResumed
from sansio_rt._generations import GeneratedCall
from sansio_rt._server_work import ReplyWanted
from sansio_rt.simulation import (
    DEFAULT_INVARIANTS,
    Action,
    Call,
    Chance,
    DialFault,
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
    assert str(violation) == "nothing raises ZeroDivisionError: here"
    assert isinstance(violation.__cause__, ZeroDivisionError)


def test_shrinking_does_not_end_with_another_error() -> None:
    class First(Action, frozen=True, kw_only=True):
        def perform(self, world: World) -> None:
            world.given_up.add("first")

    class Second(Action, frozen=True, kw_only=True):
        def perform(self, world: World) -> None:
            if world.given_up:
                raise TypeError("after the first")
            raise KeyError("alone")

    class Caller:
        def plan(self, chance: Chance, kind: Kind) -> Plan:
            made = [First(at_s=0.1), actions.Type(at_s=0.2), Second(at_s=0.3)]
            return Plan(setup=Setup(config=SessionConfig()), actions=made)

    least = simulate(1, Simulation(caller=Caller()))
    assert str(least.violation) == "nothing raises TypeError: after the first"
    assert [type(action) for action in least.plan.actions] == [First, Second]


def test_a_trace_is_rounded_to_microseconds() -> None:
    words = "Ready a_s=0.14999999999997726 b_s=1006.7154850915 c=0.123456 d=1.23456789e-05"
    rounded = "Ready a_s=0.15 b_s=1006.715485 c=0.123456 d=1.23456789e-05"
    assert written([(0.0, words)]) == f"    0.000  {rounded}"


@pytest.mark.parametrize("kind", ["refuse", "", "5", "100", "600", "5030", "٥٠٣"])
def test_a_connect_goes_wrong_in_a_way_that_there_is(kind: str) -> None:
    for make in (DialFault, lambda kind: actions.ConnectFault(at_s=1.0, kind=kind)):
        with pytest.raises(LocalProtocolError, match=r"give 'refused', 'hangs', .* HTTP status"):
            make(kind)


def test_only_an_answer_that_there_is_can_be_forgotten() -> None:
    for answer_to in ("typo", "response.create"):
        with pytest.raises(LocalProtocolError, match=r"give one of 'session\.update', "):
            actions.ServerForgets(at_s=1.0, answer_to=answer_to)


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
