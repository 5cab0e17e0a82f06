"""Where a simulation's decisions come from: handed in, since the core itself knows no chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

__all__ = ["Chance", "Chances"]

T = TypeVar("T")


class Chance(Protocol):
    """What a simulation asks of a source of chance; `random.Random` is one."""

    def random(self) -> float:
        """A number from 0 up to 1."""
        ...

    def uniform(self, a: float, b: float, /) -> float:
        """A number from `a` to `b`."""
        ...

    def randint(self, a: int, b: int, /) -> int:
        """A whole number from `a` to `b`, both possible."""
        ...

    def choice(self, seq: Sequence[T], /) -> T:
        """One of several."""
        ...


Chances = Callable[[str], Chance]
"""Gives the source of one part of a simulation by its name, such as `"network"`.

Each part has its own, so that an action that is left out changes little of what the other parts decide.
"""
