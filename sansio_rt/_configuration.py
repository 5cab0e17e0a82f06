"""The configuration of a session: what is wanted, what was accepted, what is in force (parity S1 to S7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from . import events
from ._commands import Command, CommandKind
from ._config import SessionConfig, tool_choice_to_wire
from ._session_events import SessionConfigured
from ._tray import Tray

__all__ = ["Configuration"]


class Configuration:
    """Wanted, acknowledged and effective configuration.

    Args:
        tray: Where events are laid down.
        wanted: The first configuration.
        answer_timeout_s: How long the service may take to accept an update.

    Attributes:
        wanted: What was asked for, with what is not answered yet.
        acknowledged: What the service accepted last; None before it accepted any.
        effective: The session as the service last echoed it.
    """

    def __init__(self, tray: Tray, wanted: SessionConfig, *, answer_timeout_s: float) -> None:
        self.wanted = wanted
        self.acknowledged: SessionConfig | None = None
        self.effective: events.RealtimeSession | None = None
        self._tray = tray
        self._answer_timeout_s = answer_timeout_s
        # What is not answered yet: the changes of each update.
        self._updates: dict[str, SessionConfig] = {}
        self.handlers: Mapping[type, Callable[[Any], None]] = {
            events.SessionCreated: self._on_told,
            events.SessionUpdated: self._on_updated,
        }

    @property
    def settled(self) -> bool:
        """Whether every update was answered and one accepted: a reply may start on it (S7)."""
        return self.acknowledged is not None and not self._updates

    def begin(self) -> None:
        """A new connection: everything is to be said again."""
        self.acknowledged = None
        self._send(self.wanted, self.wanted, beyond_limit=True)

    def update(self, changes: Mapping[str, Any]) -> Command | None:
        """Sends what differs (S3); None where nothing does.

        Raises:
            ConfigurationError: No such setting, or a value out of range.
        """
        wanted = self.wanted.merge(changes)
        tool_choice_to_wire(wanted.tool_choice, wanted.tools)  # it may be refused for what stays
        difference = wanted.changes_from(self.wanted)
        return self._send(wanted, difference) if difference.given() else None

    def undo(self, command: Command) -> None:
        """An update was refused or never answered: it is not wanted any more."""
        self._updates.pop(command.event_id, None)
        wanted = self.acknowledged
        if wanted is None:
            return
        for later in self._updates.values():
            wanted = wanted.merge(later.given())
        self.wanted = wanted

    def reset(self) -> None:
        """The connection is gone, and with it every unanswered update."""
        self._updates.clear()
        if self.acknowledged is not None:
            self.wanted = self.acknowledged

    def _send(
        self, wanted: SessionConfig, difference: SessionConfig, *, beyond_limit: bool = False
    ) -> Command:
        event_id = self._tray.ids("event")
        event = events.SessionUpdate(session=difference.to_wire(), event_id=event_id)
        self._tray.check(event)
        command = self._tray.commands.add(
            Command(event_id, CommandKind.UPDATE), beyond_limit=beyond_limit
        )
        self._tray.commands.start_clock(command, self._tray.now + self._answer_timeout_s)
        self.wanted = wanted
        self._updates[event_id] = difference
        self._tray.client_events.append(event)
        return command

    def _on_told(self, event: events.SessionCreated | events.SessionUpdated) -> None:
        if isinstance(event.session, events.RealtimeSession):
            self.effective = event.session
            self._tray.session_events.append(SessionConfigured(session=event.session))

    def _answered(self, event: events.SessionUpdated) -> Command | None:
        """The update that an answer is for; a late answer to one that timed out is for none."""
        commands = self._tray.commands
        oldest = commands.find(CommandKind.UPDATE)
        if oldest is not None and oldest.event_id in self._updates:
            asked = events.to_data(self._updates[oldest.event_id].to_wire())
            if _says(events.to_data(event.session), asked):
                commands.expect_none_late(CommandKind.UPDATE)
                return oldest
        return commands.answered(CommandKind.UPDATE, self._tray.now)

    def _on_updated(self, event: events.SessionUpdated) -> None:
        self._on_told(event)
        command = self._answered(event)
        if command is not None:  # answers come in the order of asking
            changes = self._updates.pop(command.event_id)
            before = self.acknowledged
            self.acknowledged = changes if before is None else before.merge(changes.given())
            self._tray.acknowledge(command, self.effective)


def _says(told: Any, asked: Any) -> bool:
    """Whether a session that is told has everything that was asked for."""
    if isinstance(asked, dict) and isinstance(told, dict):
        wanted, there = cast("dict[str, Any]", asked), cast("dict[str, Any]", told)
        return all(_says(there.get(name), value) for name, value in wanted.items())
    return bool(told == asked)
