"""What a new connection has to be told: the history as heard, then the edits that were never answered.

Source: parity R3, R4, R10, T9, C8, G14. The service has no resume: a session that is lost is gone with
its conversation, so the client says it all again, under the same ids, and then goes on.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Mapping

import msgspec
from msgspec import UNSET

from . import events
from ._commands import Command, CommandKind
from ._conversation import Conversation, ConversationItem
from ._errors import LocalProtocolError
from ._past import as_history
from ._requests import Requests
from ._session_events import ItemDeleted
from ._tray import Tray

__all__ = ["Replay"]


class Replay:
    """Says a conversation again.

    Args:
        tray: Where events are laid down.
        conversation: The mirror; it becomes what is said again.
        requests: Knows the calls that are whole.
        answer_timeout_s: How long the service may take to acknowledge an item.

    Attributes:
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
        self.left_out: list[str] = []
        self.replayed = 0

    @property
    def settled(self) -> bool:
        """Whether everything that was said again was answered, well or not."""
        while self._outstanding and self._outstanding[0].outcome is not None:
            command = self._outstanding.popleft()
            if command.error is not None:
                self._leave_out(command.key)
        return not self._outstanding

    def is_own(self, command: Command) -> bool:
        """Whether a command is one of this replay, which ends with the connection."""
        return command in self._outstanding

    def begin(self, spoken: Mapping[str, bytes]) -> None:
        """Lays everything down.

        Args:
            spoken: Wire audio of user messages whose transcript never came, by item id.
        """
        self.left_out = []
        self.replayed = 0
        self._outstanding.clear()
        calls: set[str] = set()
        for entry in self._conversation:
            if (
                deletion := self._tray.commands.find(CommandKind.DELETE_ITEM, entry.id)
            ) is not None:
                self._drop(entry.id)
                self._tray.acknowledge(deletion, entry.id)
                continue
            item = self._sayable(entry, spoken, calls)
            if item is None or not self._say(item, entry.id):
                self._leave_out(entry.id)
                continue
            entry.item = item
            entry.heard_ms = None
            entry.received_ms = 0.0
        self._repeat_edits()

    def _sayable(
        self, entry: ConversationItem, spoken: Mapping[str, bytes], calls: set[str]
    ) -> events.Item | None:
        """The item as it can be said again, or None where it cannot."""
        item = as_history(entry.item, None if entry.heard_ms is None else entry.heard_text)
        match item:
            case events.Message(role=role):
                if entry.id in spoken:
                    audio = base64.b64encode(spoken[entry.id]).decode("ascii")
                    part = events.InputAudio(audio=audio)
                    return events.Message(role=role, content=[part], id=entry.id)
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

    def _say(self, item: events.Item, item_id: str) -> bool:
        event_id = self._tray.ids("event")
        event = events.ConversationItemCreate(item=item, event_id=event_id)
        try:
            self._tray.check(event)
        except LocalProtocolError:
            return False
        command = Command(event_id, CommandKind.CREATE_ITEM, item_id)
        self._tray.commands.add(command, beyond_limit=True)
        self._lay_down(command, event)
        self._outstanding.append(command)
        self.replayed += 1
        return True

    def _repeat_edits(self) -> None:
        """The creations that were never answered, tool outputs among them, keep their event ids."""
        for command in self._tray.commands:
            event = command.event
            if isinstance(event, events.ConversationItemCreate) and command.deadline is None:
                place = event.previous_item_id
                if isinstance(place, str) and place != "root" and place not in self._conversation:
                    event = msgspec.structs.replace(event, previous_item_id=UNSET)
                self._lay_down(command, event)
            elif command.kind is CommandKind.DELETE_ITEM and command.deadline is None:
                self._tray.acknowledge(command, command.key)  # what is not said again is gone

    def _lay_down(self, command: Command, event: events.ConversationItemCreate) -> None:
        self._tray.commands.start_clock(command, self._tray.now + self._answer_timeout_s)
        self._tray.client_events.append(event)

    def _leave_out(self, item_id: str) -> None:
        self.left_out.append(item_id)
        self._drop(item_id)

    def _drop(self, item_id: str) -> None:
        if self._conversation.remove(item_id) is not None:
            self._tray.session_events.append(ItemDeleted(item_id=item_id))


def _says_something(part: events.Part) -> bool:
    text = getattr(part, "text", None)
    return text != "" if isinstance(text, str) else True
