"""What a server does that it should not, as actions: it forgets answers, gives them late, falls mute."""

from __future__ import annotations

from ._plan import Action
from ._watched_session import AnswerFault, check_answer_fault
from ._world import World

__all__ = ["ServerForgets", "ServerMutes"]


class ServerForgets(Action, frozen=True, kw_only=True, tag=True):
    """The server does the next command of a kind, and does not answer it, or much later."""

    answer_to: str
    """The type of the client event: any that is answered, but for `response.create`."""
    late_s: float | None = None
    """How much later it answers; None: never."""

    def __post_init__(self) -> None:
        """Refuses a command that has no answer.

        Raises:
            LocalProtocolError: The message says which have one.
        """
        check_answer_fault(self.answer_to)

    def perform(self, world: World) -> None:
        """Does it."""
        if world.service is not None:
            world.service.session.faults.append(AnswerFault(self.answer_to, self.late_s))


class ServerMutes(Action, frozen=True, kw_only=True, tag=True):
    """The server takes everything and says nothing any more, but for what its WebSocket says by itself."""

    def perform(self, world: World) -> None:
        """Does it."""
        if world.service is not None:
            world.service.session.mute = True
