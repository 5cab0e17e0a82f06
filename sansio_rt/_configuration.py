"""The configuration of a session: what is wanted, what was accepted, what is in force (parity S1 to S7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, cast

from . import events
from ._commands import Command, CommandKind, Outcome
from ._config import SessionConfig, tool_choice_to_wire
from ._session_events import SessionConfigured
from ._tray import Tray

__all__ = ["Configuration"]

_MOST_UNANSWERED = 16


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
        # What was not answered in time, and may be in force all the same.
        self._unanswered: deque[SessionConfig] = deque(maxlen=_MOST_UNANSWERED)
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

    def adopt(self, effective: events.RealtimeSession | None) -> None:
        """A connection that was told the acknowledged configuration has taken over."""
        if effective is not None:
            self.effective = effective

    def undo(self, command: Command) -> None:
        """An update was refused or not answered in time: it is not wanted any more."""
        changes = self._updates.pop(command.event_id, None)
        if changes is not None and command.outcome is Outcome.DEADLINE:
            self._unanswered.append(changes)
        self._want_what_is_asked()

    def reset(self) -> None:
        """The connection is gone, and with it every unanswered update."""
        self._updates.clear()
        self._unanswered.clear()
        if self.acknowledged is not None:
            self.wanted = self.acknowledged

    def _send(
        self, wanted: SessionConfig, difference: SessionConfig, *, beyond_limit: bool = False
    ) -> Command:
        event_id = self._tray.ids("event")
        event = events.SessionUpdate(session=difference.to_wire(), event_id=event_id)
        if difference is not wanted:  # all of what is wanted was checked before it was wanted
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

    def _answered(self, event: events.SessionUpdated) -> tuple[Command | None, bool]:
        """The update that an answer is for, and whether no answer to an older one can come any more.

        A late answer to one that timed out is for none.
        """
        commands = self._tray.commands
        oldest = commands.find(CommandKind.UPDATE)
        if not self._unanswered:  # then no late answer is on its way
            return oldest, True
        changes = None if oldest is None else self._updates.get(oldest.event_id)
        if changes is None or not _is_in(changes, event):
            command = commands.answered(CommandKind.UPDATE, self._tray.now)
            return command, command is not None
        if self._says_nothing_new(changes):  # it may be the answer to an older one just as well
            return oldest, False
        commands.expect_none_late(CommandKind.UPDATE)
        return oldest, True

    def _says_nothing_new(self, changes: SessionConfig) -> bool:
        """Whether some changes may be in force by what was asked for before and not answered in time."""
        before = [config for config in (self.acknowledged, *self._unanswered) if config is not None]
        return all(
            any(not change.changes_from(config).given() for config in before)
            for change in _one_by_one(changes)
        )

    def _on_updated(self, event: events.SessionUpdated) -> None:
        self._on_told(event)
        command, is_newer = self._answered(event)
        if self._unanswered:
            self._read_unanswered(event)
            if is_newer:  # no answer to an older one comes any more
                self._unanswered.clear()
            self._want_what_is_asked()
        if command is not None:  # answers come in the order of asking
            changes = self._updates.pop(command.event_id, None) or SessionConfig()
            before = self.acknowledged
            self.acknowledged = changes if before is None else before.merge(changes.given())
            self._tray.acknowledge(command, self.effective)

    def _read_unanswered(self, event: events.SessionUpdated) -> None:
        """What was not answered in time and is in force: it is what the session has, wanted or not.

        The service tells the whole session, so that it need not be known whose answer this is. Of two
        updates of one setting the older may come to be in force first, and both are waited for.
        """
        if self.acknowledged is None:
            return
        for changes in self._unanswered:
            for change in _one_by_one(changes):
                if _is_in(change, event):
                    self.acknowledged = self.acknowledged.merge(change.given())

    def _want_what_is_asked(self) -> None:
        """What is wanted is what was accepted, with what is not answered yet."""
        wanted = self.acknowledged
        if wanted is None:
            return
        for later in self._updates.values():
            wanted = wanted.merge(later.given())
        self.wanted = wanted


def _one_by_one(changes: SessionConfig) -> list[SessionConfig]:
    """Each setting of some changes for itself."""
    return [SessionConfig(**{name: value}) for name, value in changes.given().items()]


def _is_in(changes: SessionConfig, event: events.SessionUpdated) -> bool:
    """Whether a session that is told has all of some changes."""
    return _says(events.to_data(event.session), events.to_data(changes.to_wire()))


def _says(told: Any, asked: Any) -> bool:
    """Whether a session that is told has everything that was asked for."""
    if isinstance(asked, dict) and isinstance(told, dict):
        wanted, there = cast("dict[str, Any]", asked), cast("dict[str, Any]", told)
        return all(_says(there.get(name), value) for name, value in wanted.items())
    return bool(told == asked)
