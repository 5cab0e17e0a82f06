"""The table of outstanding commands: the one place where anything waits for the service.

Every command that expects an answer has an entry. It leaves in exactly one of four ways (`Outcome`), so
nothing can wait for ever and nothing is answered twice. Commands are matched by the event id that an
`error` names, or by what the answering event tells: the item's id, or the order of asking.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from . import events
from ._errors import CommandTimeout, LocalProtocolError, RealtimeError

if TYPE_CHECKING:
    from ._conversation import ConversationItem

_LATE_ANSWER_S = 30.0  # how long after its deadline a command's answer may still come
_MOST_LATE = 64

__all__ = ["Command", "CommandKind", "CommandTable", "Outcome"]


class CommandKind(enum.Enum):
    """What a command asks for, and so what answers it."""

    UPDATE = "session.update"
    COMMIT = "input_audio_buffer.commit"
    CLEAR = "input_audio_buffer.clear"
    CREATE_ITEM = "conversation.item.create"
    DELETE_ITEM = "conversation.item.delete"
    TRUNCATE_ITEM = "conversation.item.truncate"
    RETRIEVE_ITEM = "conversation.item.retrieve"
    REPLY = "response.create"
    CANCEL = "response.cancel"
    INTERRUPT = "interrupt"
    """No event of its own: it is done when several others are."""

    __hash__ = object.__hash__  # of each there is one; every event of the server looks one up


class Outcome(enum.Enum):
    """The four ways in which a command ends."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    DEADLINE = "deadline"
    CONNECTION_ENDED = "connection ended"


_ACKNOWLEDGED = Outcome.ACKNOWLEDGED


class Command:
    """One event that we sent, or are about to send, and what became of it.

    Attributes:
        event_id: The id that the event carries.
        kind: What it asks for.
        key: What its answer is recognised by beside the event id: an item's or a response's id, or "".
        outcome: How it ended, or None while it is outstanding.
        value: What the acknowledgement brought: an item, a generation, an effective session.
        error: Why it failed, or None.
        abandoned: The caller gave up waiting; a late answer is undone where it can be.
        event: The event itself, of those commands that a lost connection does not end.
        replaces: It creates an item in the place of one that is on its way out.
        moved: The message that it puts elsewhere, as it was when it was taken out, or None.
    """

    __slots__ = (
        "abandoned",
        "deadline",
        "error",
        "event",
        "event_id",
        "key",
        "kind",
        "moved",
        "outcome",
        "replaces",
        "value",
    )

    def __init__(self, event_id: str, kind: CommandKind, key: str = "") -> None:
        self.event_id: Final = event_id
        self.kind: Final = kind
        self.key: Final = key
        self.deadline: float | None = None
        self.outcome: Outcome | None = None
        self.value: Any = None
        self.error: RealtimeError | None = None
        self.abandoned = False
        self.event: events.ClientEvent | None = None
        self.replaces = False
        self.moved: ConversationItem | None = None

    def __repr__(self) -> str:
        state = self.outcome.value if self.outcome else "outstanding"
        return f"<Command {self.kind.value} {self.event_id} {state}>"

    def result(self) -> Any:
        """What the acknowledgement brought.

        Raises:
            RealtimeError: The command failed: `CommandRefused`, `CommandTimeout`, `ConnectionClosed`, ...
            LocalProtocolError: It is still outstanding.
        """
        if self.outcome is None:
            raise LocalProtocolError(f"{self!r} has no result yet; feed the server's bytes first")
        if self.error is not None:
            raise self.error
        return self.value


class CommandTable:
    """Outstanding commands, by event id, and by kind and key in the order of asking.

    Args:
        limit: How many may be outstanding at once.
    """

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._by_id: dict[str, Command] = {}
        self._by_key: dict[tuple[CommandKind, str], dict[str, Command]] = {}
        self._deadlines: list[tuple[float, str]] = []
        # Commands that timed out, and until when their answers may still come.
        self._late: dict[CommandKind, dict[str, float]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Command]:
        return iter(list(self._by_id.values()))

    def add(self, command: Command, *, beyond_limit: bool = False) -> Command:
        """Takes in a command.

        Args:
            command: The command.
            beyond_limit: Whether the limit does not count: for what is bounded otherwise.

        Raises:
            LocalProtocolError: Too many are outstanding; nothing was added.
        """
        if not beyond_limit:
            self.check_room(1)
        self._by_id[command.event_id] = command
        self._by_key.setdefault((command.kind, command.key), {})[command.event_id] = command
        return command

    def check_room(self, count: int) -> None:
        """Refuses where so many more commands would be too many.

        Raises:
            LocalProtocolError: They would.
        """
        if len(self._by_id) + count > self._limit:
            raise LocalProtocolError(
                f"{len(self._by_id)} commands wait for an answer and {count} more would be over "
                f"{self._limit} (Limits.max_pending_commands); wait for some before you send more"
            )

    def start_clock(self, command: Command, deadline: float) -> None:
        """Bounds the wait for a command's answer, from the moment that it was sent."""
        command.deadline = deadline
        heapq.heappush(self._deadlines, (deadline, command.event_id))

    def get(self, event_id: str) -> Command | None:
        """The outstanding command whose event has this id."""
        return self._by_id.get(event_id)

    def find(self, kind: CommandKind, key: str = "") -> Command | None:
        """The oldest outstanding command of a kind with this key."""
        same = self._by_key.get((kind, key))
        return next(iter(same.values())) if same else None

    def is_older(self, one: Command, other: Command) -> bool:
        """Which of two outstanding commands was asked for first."""
        return next(command for command in self if command is one or command is other) is one

    def expect_none_late(self, kind: CommandKind) -> None:
        """No answer to an older command of this kind will come any more: a newer one was answered."""
        self._late.pop(kind, None)

    def answered(self, kind: CommandKind, now: float) -> Command | None:
        """Whom an answer is for that names no command: the oldest of its kind.

        One that timed out may be answered late; such an answer is for nobody.
        """
        late = self._late.get(kind)
        while late:
            if late.pop(next(iter(late))) > now:
                return None
        return self.find(kind)

    def late(self, kind: CommandKind, now: float) -> str | None:
        """The event id of the command that timed out whose answer `answered` would take next, or None."""
        left = self._late.get(kind, {})
        return next((event_id for event_id, until in left.items() if until > now), None)

    def forget_late(self, event_id: str) -> None:
        """Notes the answer to a command that timed out, where the answer names it."""
        for late in self._late.values():
            late.pop(event_id, None)

    def acknowledge(self, command: Command, value: Any = None) -> Command:
        """Ends a command well."""
        command.value = value
        return self._end(command, _ACKNOWLEDGED, None)

    def refuse(self, command: Command, error: RealtimeError) -> Command:
        """Ends a command with the service's refusal."""
        return self._end(command, Outcome.REFUSED, error)

    def expire(self, now: float) -> list[Command]:
        """Ends and returns the commands whose deadline has come."""
        expired: list[Command] = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            command = self._by_id[heapq.heappop(self._deadlines)[1]]
            error = CommandTimeout(
                f"no answer to {command.kind.value} in time ({command.key or command.event_id}); "
                "the connection may be lost, or Timing.answer_timeout_s too short",
                missing=[command.key or command.event_id],
            )
            expired.append(self._end(command, Outcome.DEADLINE, error))
            late = self._late.setdefault(command.kind, {})
            late[command.event_id] = now + _LATE_ANSWER_S
            if len(late) > _MOST_LATE:
                del late[next(iter(late))]
        return expired

    def end_all(
        self, error: RealtimeError, *, keep: Callable[[Command], bool] | None = None
    ) -> list[Command]:
        """Ends and returns the outstanding commands: the connection is gone.

        Args:
            error: Why.
            keep: Says which outlive the connection; their clocks stop.
        """
        ended: list[Command] = []
        self._late.clear()
        for command in self:
            if keep is not None and keep(command):
                command.deadline = None
            else:
                ended.append(self._end(command, Outcome.CONNECTION_ENDED, error))
        return ended

    def next_deadline(self) -> float | None:
        """When `expire` has something to do next, or None."""
        while self._deadlines:
            deadline, event_id = self._deadlines[0]
            command = self._by_id.get(event_id)
            if command is not None and command.deadline == deadline:
                return deadline
            heapq.heappop(self._deadlines)
        return None

    def _end(self, command: Command, outcome: Outcome, error: RealtimeError | None) -> Command:
        del self._by_id[command.event_id]
        key = command.kind, command.key
        same = self._by_key[key]
        del same[command.event_id]
        if not same:
            del self._by_key[key]
        command.outcome = outcome
        command.error = error
        return command
