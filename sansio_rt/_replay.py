"""What a new connection has to be told: the history as heard, then the edits that were never answered.

Source: parity R3, R4, R10, T9, C8, G14. The service has no resume: a session that is lost is gone with
its conversation, so the client says it all again, under the same ids, and then goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence

import msgspec
from msgspec import UNSET, UnsetType

from . import events
from ._commands import Command, CommandKind, Outcome
from ._conversation import Conversation, ConversationItem, item_id_of
from ._diff import ROOT, CreateItem, DeleteItem, diff
from ._errors import LocalProtocolError
from ._history import note_moved
from ._past import as_history, as_spoken
from ._requests import Requests
from ._session_events import ItemAdded, ItemDeleted
from ._tray import Tray

__all__ = ["Replay", "retold"]

_MOST_KEPT = 1024


class Replay:
    """Says a conversation again.

    Args:
        tray: Where events are laid down.
        conversation: The mirror; it becomes what is said again.
        requests: Knows the calls that are whole.
        answer_timeout_s: How long the service may take to acknowledge an item.

    Attributes:
        kept: Creations to be made again on a next connection, if they are not answered until then, by
            item id.
        left_out: Ids of items that could not be kept.
        replayed: How many items were said again.
    """

    def __init__(
        self,
        tray: Tray,
        conversation: Conversation,
        requests: Requests,
        *,
        answer_timeout_s: float,
    ) -> None:
        self._tray = tray
        self._conversation = conversation
        self._requests = requests
        self._answer_timeout_s = answer_timeout_s
        self._outstanding: deque[Command] = deque()
        # Items that are not said again, and what was before each.
        self._gone: dict[str, str] = {}
        self.kept: dict[str, Command] = {}
        self.left_out: list[str] = []
        self.replayed = 0

    @property
    def settled(self) -> bool:
        """Whether everything that was said again was answered, well or not."""
        outstanding = self._outstanding
        while outstanding and outstanding[0].outcome is not None:
            command = outstanding.popleft()
            if command.error is not None:
                self._leave_out(command.key)
        self._wait_for_next()
        return not outstanding

    @property
    def stuck(self) -> bool:
        """Whether the server has stopped to answer; a single answer that is lost is none of it."""
        outstanding = self._outstanding
        return (
            bool(outstanding)
            and outstanding[0].outcome is Outcome.DEADLINE
            and all(command.outcome in (None, Outcome.DEADLINE) for command in outstanding)
        )

    def _wait_for_next(self) -> None:
        """Bounds the wait for the oldest answer only: a long conversation may take its time."""
        if self._outstanding and self._outstanding[0].deadline is None:
            self._start_clock(self._outstanding[0])

    def take_left_out(self) -> tuple[str, ...]:
        """What could not be kept since the last call, over replays that were interrupted, too."""
        left_out, self.left_out = tuple(self.left_out), []
        return left_out

    def is_own(self, command: Command) -> bool:
        """Whether a command is one of this replay, which ends with the connection."""
        return command in self._outstanding

    def keep(self, command: Command) -> None:
        """A creation was not answered in time: what nobody could make again is kept (C3, T9).

        That is a call's one output, and an item that took the place of one: whoever moved it may not
        have its sound. Where the connection turns out to be lost, it is said on the next one; where it
        lives, the answer may yet come.
        """
        event = command.event
        if isinstance(event, events.ConversationItemCreate) and (
            command.replaces or isinstance(event.item, events.FunctionCallOutput)
        ):
            self.kept[command.key] = command
            while len(self.kept) > _MOST_KEPT:
                del self.kept[next(iter(self.kept))]

    def begin(
        self,
        spoken: Mapping[str, bytes],
        *,
        told: Sequence[events.Item] = (),
        refused: Collection[str] = (),
    ) -> None:
        """Lays everything down that the new connection was not told before.

        Args:
            spoken: Wire audio of user messages whose transcript never came, by item id.
            told: What the new connection has already.
            refused: Ids of items that its server does not take.
        """
        self._gone.clear()
        self.replayed = len(told)
        kept = self._put_kept()
        self._outstanding.clear()
        calls: set[str] = set()
        items: list[events.Item] = []
        for entry in self._conversation:
            if self._tray.commands.find(CommandKind.DELETE_ITEM, entry.id) is not None:
                note_moved(entry, self._tray.commands.find(CommandKind.CREATE_ITEM, entry.id))
                self._drop(entry.id)
                continue
            item = kept.get(entry.id)
            if entry.id in refused:
                item = None
            elif item is None:
                item = self._sayable(entry, spoken, calls)
            if item is None or not self._may_say(item):
                self._leave_out(entry.id)
                continue
            entry.item = item
            entry.retold_ms = entry.heard_ms or entry.received_ms or entry.retold_ms
            entry.heard_ms = entry.cut_ms = entry.heard_words = None
            entry.received_ms = 0.0
            items.append(item)
        there = {item_id_of(item) for item in told}
        for event in retold(told, items):
            said = self._say(event)
            if isinstance(event, events.ConversationItemCreate) and said.key in there:
                again = Command(said.event_id, said.kind, said.key)
                again.event = event
                self.kept[said.key] = again  # it is gone until this is answered
        self._repeat_edits(calls)
        self._wait_for_next()

    def _put_kept(self) -> dict[str, events.Item]:
        """Takes what was kept into the mirror, where it was to go; gives the messages, with their sound."""
        calls = {
            entry.item.call_id: entry.id
            for entry in self._conversation
            if self.kept and isinstance(entry.item, events.FunctionCall)
        }
        messages: dict[str, events.Item] = {}
        for item_id, command in self.kept.items():
            event = command.event
            assert isinstance(event, events.ConversationItemCreate)
            item, place = event.item, event.previous_item_id
            if isinstance(item, events.FunctionCallOutput):
                place = calls.get(item.call_id)
                if place is None:
                    continue
            if item_id in self._conversation:
                continue
            self._conversation.put(item, None if place == ROOT else place or UNSET)
            entry = self._conversation.get(item_id)
            assert entry is not None
            self._tray.session_events.append(ItemAdded(entry=entry, orphaned=False))
            if isinstance(item, events.Message):
                messages[item_id] = item
        self.kept.clear()
        return messages

    def items(self, spoken: Mapping[str, bytes]) -> list[events.Item]:
        """The conversation as it could be said now; nothing is changed.

        Args:
            spoken: As for `begin`.
        """
        calls: set[str] = set()
        sayable = (self._sayable(entry, spoken, calls) for entry in self._conversation)
        return [item for item in sayable if item is not None]

    def _sayable(
        self, entry: ConversationItem, spoken: Mapping[str, bytes], calls: set[str]
    ) -> events.Item | None:
        """The item as it can be said again, or None where it cannot."""
        if entry.id == ROOT:  # which a server may say, and means the beginning where we say it
            return None
        item = as_history(entry.item, entry.heard_part)
        match item:
            case events.Message(role=role):
                if entry.id in spoken:
                    return as_spoken(entry.id, role, spoken[entry.id])
                return item if any(_says_something(part) for part in item.content) else None
            case events.FunctionCall(call_id=call_id):
                whole = self._requests.calls.get(call_id)
                if whole is not None:
                    item = msgspec.structs.replace(item, arguments=whole.arguments)
                elif getattr(entry.item, "status", UNSET) in ("in_progress", "incomplete"):
                    return None
                calls.add(call_id)
                return item
            case events.FunctionCallOutput(call_id=call_id):
                return item if call_id in calls else None
            case _:
                return None  # the service's own (MCP) or unknown: not a client's to say

    def _may_say(self, item: events.Item) -> bool:
        try:
            self._tray.check(events.ConversationItemCreate(item=item))
        except LocalProtocolError:
            return False
        return True

    def _say(self, event: events.ConversationItemCreate | events.ConversationItemDelete) -> Command:
        event_id = self._tray.ids("event")
        if isinstance(event, events.ConversationItemCreate):
            command = Command(event_id, CommandKind.CREATE_ITEM, item_id_of(event.item))
            self.replayed += 1
        else:
            command = Command(event_id, CommandKind.DELETE_ITEM, event.item_id)
            self.replayed -= 1
        self._tray.commands.add(command, beyond_limit=True)
        self._tray.client_events.append(msgspec.structs.replace(event, event_id=event_id))
        self._outstanding.append(command)
        return command

    def _repeat_edits(self, calls: set[str]) -> None:
        """The creations that were never answered, tool outputs among them, keep their event ids."""
        coming: set[str] = set()
        for command in self._tray.commands:
            event = command.event
            if isinstance(event, events.ConversationItemCreate) and command.deadline is None:
                match event.item:
                    case events.FunctionCall(call_id=str(call_id)):
                        calls.add(call_id)
                    case events.FunctionCallOutput(call_id=call_id) if call_id not in calls:
                        self._tray.refuse(command, _without_call(call_id))
                        continue
                    case _:
                        pass
                place = self._place_now(event.previous_item_id, coming)
                self._start_clock(command)
                self._tray.client_events.append(
                    msgspec.structs.replace(event, previous_item_id=place)
                )
                coming.add(command.key)
            elif command.kind is CommandKind.DELETE_ITEM and event is not None:
                self._tray.acknowledge(command, command.key)  # what is not said again is gone

    def _place_now(self, place: str | UnsetType | None, coming: set[str]) -> str | UnsetType | None:
        """Where an item is to go whose place may be gone: then behind what was before that."""
        # A server may call an item by the name that stands for the beginning.
        while isinstance(place, str) and place in self._gone and place not in (*coming, ROOT):
            place = self._gone[place]
        known = not isinstance(place, str) or place == ROOT or place in self._conversation
        return place if known or place in coming else UNSET

    def _start_clock(self, command: Command) -> None:
        self._tray.commands.start_clock(command, self._tray.now + self._answer_timeout_s)

    def _leave_out(self, item_id: str) -> None:
        self.left_out.append(item_id)
        self.kept.pop(item_id, None)
        self._drop(item_id)

    def _drop(self, item_id: str) -> None:
        entry = self._conversation.remove(item_id)
        if entry is not None:
            self._gone[item_id] = ROOT if entry.before is None else entry.before.id
            self._tray.session_events.append(ItemDeleted(item_id=item_id))


def retold(
    told: Sequence[events.Item], items: Sequence[events.Item]
) -> list[events.ConversationItemCreate | events.ConversationItemDelete]:
    """The events that make one conversation of another, as independent of each other as can be.

    An item at the end is only said to be at the end: where the one before it is refused, it is not.
    """
    edits = diff(told, items)
    created = {item_id_of(edit.item) for edit in edits if isinstance(edit, CreateItem)}
    at_end: set[str] = set()
    for item in reversed(items):
        if item_id_of(item) not in created:
            break
        at_end.add(item_id_of(item))
    return [
        events.ConversationItemDelete(item_id=edit.item_id)
        if isinstance(edit, DeleteItem)
        else events.ConversationItemCreate(
            item=edit.item,
            previous_item_id=UNSET if item_id_of(edit.item) in at_end else edit.previous_item_id,
        )
        for edit in edits
    ]


def _without_call(call_id: str) -> LocalProtocolError:
    return LocalProtocolError(
        f"call_id={call_id!r}: the call was cut off with its connection, so that its output has no place"
    )


def _says_something(part: events.Part) -> bool:
    text = getattr(part, "text", None)
    return text != "" if isinstance(text, str) else True
