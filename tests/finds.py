"""A simulation with bugs planted: whether one of its seeds finds them, for several test files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from sansio_rt import SessionConfig
from sansio_rt.simulation import (
    Action,
    Chance,
    Kind,
    Plan,
    Setup,
    Simulation,
    actions,
    simulate,
)

MOST_SEEDS = 400


class Always:
    """A caller with one plan."""

    def __init__(self, plan: Sequence[Action], **setup: Any) -> None:
        settings = {"config": SessionConfig(turn_detection=None), **setup}
        self._plan = Plan(setup=Setup(**settings), actions=plan)

    def plan(self, chance: Chance, kind: Kind) -> Plan:
        return self._plan


def always(*plan: Action, **setup: Any) -> Simulation:
    return Simulation(caller=Always(plan, **setup))


def found(words: str, simulation: Simulation | None = None) -> None:
    """Some seed breaks an invariant whose name or details have these words."""
    others: list[str] = []
    for seed in range(MOST_SEEDS):
        violation = simulate(seed, simulation, shrink=False).violation
        if violation is not None and words in str(violation):
            return
        if violation is not None:
            others.append(f"{seed}: {violation}")
    pytest.fail(f"{MOST_SEEDS} seeds broke only {len(others)} times {others[:3]}")


TYPES = always(actions.Type(at_s=1.0))
TALKS = actions.Type(at_s=1.0, words="talk")
CLEAR = "input_audio_buffer.clear"
