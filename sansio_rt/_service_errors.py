"""Whom an `error` of the service is for, and what it ends (parity X1, X4; server-behaviour, rule 4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from . import _dialects, events
from ._commands import Command, CommandKind
from ._configuration import Configuration
from ._conversation import Conversation
from ._endpoint import Dialect
from ._errors import CommandRefused, RealtimeError
from ._history import History
from ._refusals import FATAL_CODES, is_benign, is_conflict, is_not_there, kind_of_error, refusal
from ._requests import Requests
from ._responses import Responses
from ._session_events import ErrorScope, ServerErrorReported
from ._tray import Tray

__all__ = ["ServiceErrors", "wrong_dialect"]

MOST_UNCLAIMED_ERRORS = 20
ERROR_WINDOW_S = 60.0
"""So many errors in so short a time that are for no command of ours: something is wrong for good."""


class ServiceErrors:
    """Routes each error to the command that it answers, or tells it.

    Args:
        tray: Where events are laid down, and the outstanding commands.
        dialect: How the endpoint spells things.
        conversation: The mirror.
        configuration: Told of refused updates.
        history: Told of items that are gone.
        requests: Told of conflicts and refused replies.
        responses: Told of responses that are not active.
        fail: Ends the session with an error.
    """

    def __init__(
        self,
        tray: Tray,
        dialect: Dialect,
        conversation: Conversation,
        configuration: Configuration,
        history: History,
        requests: Requests,
        responses: Responses,
        *,
        fail: Callable[[RealtimeError], None],
    ) -> None:
        self._tray = tray
        self._commands = tray.commands
        self._dialect = dialect
        self._conversation = conversation
        self._configuration = configuration
        self._history = history
        self._requests = requests
        self._responses = responses
        self._fail = fail
        self._unclaimed: deque[float] = deque(maxlen=MOST_UNCLAIMED_ERRORS)

    def handle(self, event: events.Error) -> None:
        """Ends the command that an error is for; tells an error that is for none."""
        details = event.error
        error = refusal(details)
        code = error.code or ""
        command = self._commands.get(error.event_id or "") or self._guess_command(error)
        if self._dialect.is_beta and _dialects.is_beta_refusal(code=code):
            self._fail(wrong_dialect(self._dialect, error))
        elif code in FATAL_CODES:
            self._fail(error)
        elif command is None:
            self._commands.forget_late(error.event_id or "")
            self._on_unclaimed_error(details, error)
        elif is_conflict(command.kind, code):
            self._requests.on_conflict(command, error, sure=bool(error.event_id))
        elif is_benign(command.kind, code):
            if command.kind is CommandKind.CANCEL:
                self._responses.end_unknown(command.key)
            elif command.kind is CommandKind.DELETE_ITEM:
                self._history.note_gone(command.key)
            if command.outcome is None:
                self._tray.acknowledge(command, self._conversation.get(command.key))
        else:
            self._refuse(command, error)

    def _on_unclaimed_error(self, details: events.ErrorDetails, error: CommandRefused) -> None:
        """An error that ends no command of ours: told, and where they do not end, the session does (X4)."""
        code = error.code or ""
        # The server's own turn detection collides, too, where it does not interrupt.
        collision = error.event_id is None and is_conflict(CommandKind.REPLY, code)
        scope = ErrorScope.BENIGN if collision or is_benign(None, code) else ErrorScope.COMMAND
        if scope is ErrorScope.COMMAND:
            now, recent = self._tray.now, self._unclaimed
            recent.append(now)
            if len(recent) == recent.maxlen and now - recent[0] <= ERROR_WINDOW_S:
                scope = ErrorScope.SESSION
        self._tray.session_events.append(ServerErrorReported(error=details, scope=scope))
        if scope is ErrorScope.SESSION:
            self._fail(error)

    def _guess_command(self, error: CommandRefused) -> Command | None:
        """Whom an error is for that names none of our events (server-behaviour, rule 4)."""
        if error.event_id:
            return None
        kind = kind_of_error(error.code or "", error.param or "")
        if kind is CommandKind.REPLY and is_conflict(kind, error.code or ""):
            asking = self._requests.arbiter.asking  # nothing else can collide
            return None if asking is None else asking.command
        # What has no deadline waits here and was not sent, and an interrupt is no event of its own.
        asked = [
            command
            for command in self._commands
            if command.deadline is not None and command.kind is not CommandKind.INTERRUPT
        ]
        if kind is not None:
            return next((command for command in asked if command.kind is kind), None)
        if len(asked) == 1 and error.error_type != "server_error":
            return asked[0]
        return None

    def _refuse(self, command: Command, error: CommandRefused) -> None:
        if command.kind is CommandKind.REPLY:
            self._requests.on_over(command)
        self._tray.refuse(command, error)
        named = error.event_id or command.key in str(error)  # else it may be for another one
        if named and is_not_there(command.kind, error.code or ""):
            self._history.note_gone(command.key)
        if command.kind is CommandKind.UPDATE:
            self._configuration.undo(command)
            if self._configuration.acknowledged is None:
                self._fail(error)


def wrong_dialect(dialect: Dialect, cause: RealtimeError) -> RealtimeError:
    """A refusal of the beta dialect as an error that says what to do (E8)."""
    error = _dialects.wrong_dialect(dialect)
    error.__cause__ = cause
    return error
