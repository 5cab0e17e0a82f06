"""Many runs, some always the same and some never: nothing that must hold may break (N6).

SANSIO_RT_SIMULATION_SEEDS=100000 runs more of the random ones.
"""

from __future__ import annotations

import os
import random

import pytest

from sansio_rt.simulation import Kind, Simulation, simulate, written

FIXED = 200
RANDOM = int(os.environ.get("SANSIO_RT_SIMULATION_SEEDS", "100"))
CHUNK = 50


def holds(seed: int) -> None:
    result = simulate(seed)
    if result.violation is not None:
        actions = "\n".join(f"    {action!r}" for action in result.plan.actions)
        pytest.fail(f"seed {seed}: {result.violation}\n{actions}\n{written(result.trace)}")


@pytest.mark.parametrize("first", range(0, FIXED, CHUNK))
def test_what_was_tried_before_holds(first: int) -> None:
    for seed in range(first, first + CHUNK):
        holds(seed)


def test_what_was_never_tried_holds() -> None:
    source = random.SystemRandom()
    for _ in range(RANDOM):
        holds(source.randrange(10**12))


def test_ten_plain_turns_hold() -> None:
    plain = Simulation(Kind.PLAIN)
    for seed in range(5):
        assert simulate(seed, plain).violation is None
