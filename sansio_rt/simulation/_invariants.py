"""What must hold in every run, each as a small class; and the base for one's own."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from .._session_events import SessionEvent

if TYPE_CHECKING:
    from ._service import Service, Taken
    from ._world import World

__all__ = ["Invariant", "Violation", "looking_at", "looking_at_event", "looking_at_message"]


class Violation(Exception):
    """An invariant does not hold.

    Attributes:
        name: Which.
        details: What was found instead.
    """

    def __init__(self, name: str, details: str) -> None:
        super().__init__(f"{name}: {details}")
        self.name = name
        self.details = details


class Invariant:
    """Something that must hold. Subclasses look at what they need and call `broken`.

    A fresh object watches each run, so it may keep state. The first line of its docstring is its name.

    Attributes:
        world: The run that it watches.
        event_kinds: The classes of events that `on_event` looks at; None: all.
        message_types: The types of messages that `on_message` looks at; None: all.
    """

    world: World
    event_kinds: ClassVar[tuple[type, ...] | None] = None
    message_types: ClassVar[tuple[str, ...] | None] = None

    @property
    def name(self) -> str:
        """What it says, in a few words."""
        words = (type(self).__doc__ or type(self).__name__).partition("\n")[0]
        return words.rstrip(".")

    def broken(self, details: str) -> NoReturn:
        """Ends the run: it does not hold.

        Args:
            details: What was found instead.

        Raises:
            Violation: Always.
        """
        raise Violation(self.name, details)

    def on_event(self, event: SessionEvent) -> None:
        """The client told something."""

    def on_message(self, service: Service, taken: Taken) -> None:
        """A message of the client has come to the server, which has not looked at it yet."""

    def check(self) -> None:
        """A step was taken."""

    def finish(self) -> None:
        """Everything was done, the network is well, and nothing is under way."""

    def left(self) -> None:
        """The caller has hung up; the session is over."""


# Asked once a run for each kind of event or message, and answered the same for the same invariants.


@functools.lru_cache(maxsize=4096)
def looking_at_event(invariants: tuple[type[Invariant], ...], kind: type) -> tuple[int, ...]:
    """Which of some invariants look at a kind of event, by their place."""
    return _looking(invariants, "on_event", "event_kinds", kind)


@functools.lru_cache(maxsize=4096)
def looking_at_message(invariants: tuple[type[Invariant], ...], kind: str) -> tuple[int, ...]:
    """Which of some invariants look at a type of message, by their place."""
    return _looking(invariants, "on_message", "message_types", kind)


@functools.lru_cache(maxsize=256)
def looking_at(invariants: tuple[type[Invariant], ...], method: str) -> tuple[int, ...]:
    """Which of some invariants have a `check`, `finish` or `left` of their own, by their place."""
    return tuple(
        place
        for place, each in enumerate(invariants)
        if getattr(each, method) is not getattr(Invariant, method)
    )


def _looking(
    invariants: tuple[type[Invariant], ...], method: str, only: str, kind: Any
) -> tuple[int, ...]:
    found: list[int] = []
    for place, each in enumerate(invariants):
        looks = _origin(each, method)
        if looks is Invariant:
            continue
        kinds = getattr(each, only)
        # What a base class names is what that class looks at: a method below it may look at more.
        if kinds is None or kind in kinds or not issubclass(_origin(each, only), looks):
            found.append(place)
    return tuple(found)


def _origin(invariant: type[Invariant], name: str) -> type:
    return next(base for base in invariant.__mro__ if name in vars(base))
