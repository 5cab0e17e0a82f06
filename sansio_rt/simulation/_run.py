"""One seed: planned, run, and where something does not hold, shrunk to the least that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from ._caller import TypicalCaller
from ._carry import Carry
from ._chance import Chances
from ._invariants import Invariant, Violation
from ._mind import Mind, Tools
from ._plan import Action, Caller, Kind, Plan
from ._rules import DEFAULT_INVARIANTS
from ._world import World

__all__ = ["Result", "Simulation"]


class Result(Struct, kw_only=True):
    """What became of one run."""

    plan: Plan
    """What was done."""
    violation: Violation | None
    """What did not hold, or None."""
    steps: int
    """How many steps were taken."""
    virtual_s: float
    """How long it took, in virtual seconds."""
    trace: Sequence[tuple[float, str]] = ()
    """What happened when, if that was asked for."""


class Simulation:
    """What is simulated; the seed is still missing.

    Args:
        kind: What kind of runs.
        caller: Plans them; None: `TypicalCaller()`.
        invariants: Makers of what must hold.
        mind: Thinks of the server's replies; None: `ScriptedMind`.
        tools: Runs the client's tools; None: `VariedTools`.
        carry: What goes between client and server; None: messages in plain runs, bytes where things fail.
    """

    def __init__(
        self,
        kind: Kind = Kind.FAULTS,
        *,
        caller: Caller | None = None,
        invariants: Sequence[Callable[[], Invariant]] = DEFAULT_INVARIANTS,
        mind: Mind | None = None,
        tools: Tools | None = None,
        carry: Carry | None = None,
    ) -> None:
        self.kind = kind
        self.caller: Caller = caller or TypicalCaller()
        self.invariants = invariants
        self.mind = mind
        self.tools = tools
        usual = Carry.MESSAGES if kind is Kind.PLAIN else Carry.BYTES
        self.carry = usual if carry is None else carry

    def plan(self, chances: Chances) -> Plan:
        """The plan of a seed."""
        return self.caller.plan(chances("caller"), self.kind)

    def run(self, plan: Plan, chances: Chances, *, traced: bool = False) -> Result:
        """Runs a plan.

        Args:
            plan: What is done.
            chances: The sources of everything else; the same sources give the same run.
            traced: Whether to keep a trace.
        """
        world = World(
            plan,
            chances,
            [make() for make in self.invariants],
            mind=self.mind,
            tools=self.tools,
            carry=self.carry,
            traced=traced,
        )
        violation: Violation | None = None
        try:
            world.run()
        except Violation as found:
            violation = found
        except Exception as error:  # noqa: BLE001 - whatever the code under test raises is a finding
            # The kind belongs to the name: shrinking must not end with another error than it began with.
            violation = Violation(f"nothing raises {type(error).__name__}", str(error))
            violation.__cause__ = error
        return Result(
            plan=plan,
            violation=violation,
            steps=world.steps,
            virtual_s=world.elapsed_s,
            trace=world.trace,
        )

    def shrink(self, result: Result, chances: Chances, *, most_runs: int = 400) -> Result:
        """The least part of a failing plan that breaks the same invariant.

        Args:
            result: A run that failed.
            chances: The sources of that run.
            most_runs: How many runs to spend on it.

        Returns:
            A run of the shrunk plan; the same one where nothing can be left out.
        """
        violation = result.violation
        if violation is None:
            return result
        best = result
        runs = 0

        def fails(actions: Sequence[Action]) -> bool:
            nonlocal best, runs
            runs += 1
            if runs > most_runs:
                return False
            plan = msgspec.structs.replace(result.plan, actions=actions)
            tried = self.run(plan, chances)
            if tried.violation is None or tried.violation.name != violation.name:
                return False
            best = tried
            return True

        _leave_out(list(result.plan.actions), fails)
        return best


def _leave_out(actions: list[Action], fails: Callable[[Sequence[Action]], bool]) -> None:
    """Leaves out what can be left out: first halves, then smaller and smaller parts (delta debugging)."""
    size = max(1, len(actions) // 2)
    while True:
        start, shorter = 0, False
        while start < len(actions):
            fewer = actions[:start] + actions[start + size :]
            if fails(fewer):
                actions, shorter = fewer, True
            else:
                start += size
        if size == 1 and not shorter:
            return
        size = max(1, size // 2)
