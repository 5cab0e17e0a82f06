"""What must hold in every run, each as a small class; and the base for one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from .._session_events import SessionEvent

if TYPE_CHECKING:
    from ._service import Service, Taken
    from ._world import World

__all__ = ["Invariant", "Violation"]


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
    """

    world: World

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
