"""From a seed to the sources of chance: the one place of the core where chance itself is known."""

from __future__ import annotations

import random

from ._chance import Chances
from ._run import Result, Simulation

__all__ = ["chances_of", "simulate"]


def chances_of(seed: int) -> Chances:
    """The sources of chance that belong to a seed."""
    return lambda name: random.Random(f"{seed}/{name}")


def simulate(
    seed: int, simulation: Simulation | None = None, *, shrink: bool = True, traced: bool = False
) -> Result:
    """Runs one seed; where something does not hold, finds the least plan that breaks it.

    Args:
        seed: Any number; the same one gives the same run.
        simulation: What is simulated; None: everything, with faults.
        shrink: Whether to shrink a failing run, and to keep the trace of what is left.
        traced: Whether to keep the trace of a run that holds, too.
    """
    simulation = simulation or Simulation()
    chances = chances_of(seed)
    result = simulation.run(simulation.plan(chances), chances, traced=traced)
    if result.violation is None or not shrink:
        return result
    least = simulation.shrink(result, chances)
    return simulation.run(least.plan, chances, traced=True)
