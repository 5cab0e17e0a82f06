"""What a simulation is to do: actions, listed up front, so that a run can be replayed and shrunk."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from .._config import SessionConfig, Timing
from .._retry import RetryPolicy
from ._chance import Chance
from ._network import Weather

if TYPE_CHECKING:
    from ._world import World

__all__ = ["Action", "Caller", "Kind", "Plan", "Setup"]


class Kind(enum.Enum):
    """What kind of run is wanted."""

    PLAIN = "plain"
    """Typed turns over a network without faults, one after the other."""
    FAULTS = "faults"
    """Anything, over a network that fails."""


class Setup(Struct, frozen=True, kw_only=True):
    """What holds for a whole run."""

    config: SessionConfig
    """The session's configuration."""
    weather: Weather = Weather()
    """What the network does all the time."""
    pace: float | None = None
    """How many seconds of speech the server releases in a second; None: at once."""
    retry: RetryPolicy | None = None
    """How a lost connection is replaced; None: the session ends with it."""
    timing: Timing = Timing()
    """Bounds in time."""
    session_s: float = 3600.0
    """How long the server lets a session live."""
    varied: bool = True
    """Whether the server's mind does more than to say one short sentence."""


class Action(Struct, frozen=True, kw_only=True):
    """Something that happens at a time. Subclasses say what, in `perform`."""

    at_s: float
    """When, in virtual seconds since the beginning."""

    def perform(self, world: World) -> None:
        """Does it.

        Args:
            world: What it is done to.
        """
        raise NotImplementedError


class Plan(Struct, frozen=True, kw_only=True):
    """A whole run, but for the seed of what the network, the mind and the tools decide."""

    setup: Setup
    actions: Sequence[Action]


class Caller(Protocol):
    """Plans what the caller, the network and the server's operators do."""

    def plan(self, chance: Chance, kind: Kind) -> Plan:
        """Makes a plan.

        Args:
            chance: The source of its decisions; the same source gives the same plan.
            kind: What kind of run is wanted.
        """
        ...
