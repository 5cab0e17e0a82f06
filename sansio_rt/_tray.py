"""What the rooms of a session have made and nobody has taken yet, and what they share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ._commands import Command, CommandTable
from ._session_events import CommandEnded, SessionEvent

if TYPE_CHECKING:
    from . import events
    from ._errors import RealtimeError
    from ._sources import IdSource

__all__ = ["Tray"]


class Tray:
    """The way out: rooms lay down session events and client events here, in order.

    Attributes:
        now: The newest time that the caller told.
        session_events: For the application.
        client_events: For the server, not yet encoded.
        commands: The outstanding commands.
        ids: Where ids come from.
        check: Refuses a client event that the service would refuse, or that its dialect cannot say, before
            any state has changed.
    """

    __slots__ = ("check", "client_events", "commands", "ids", "now", "session_events")

    def __init__(
        self, ids: IdSource, commands: CommandTable, check: Callable[[events.ClientEvent], None]
    ) -> None:
        self.now = 0.0
        self.check = check
        self.ids = ids
        self.commands = commands
        self.session_events: deque[SessionEvent] = deque()
        self.client_events: deque[events.ClientEvent] = deque()

    def acknowledge(self, command: Command | None, value: object = None) -> None:
        """Ends a command well and says so; None is no command and nothing happens."""
        if command is not None:
            self.session_events.append(CommandEnded(self.commands.acknowledge(command, value)))

    def refuse(self, command: Command, error: RealtimeError) -> None:
        """Ends a command with an error and says so."""
        self.session_events.append(CommandEnded(self.commands.refuse(command, error)))
