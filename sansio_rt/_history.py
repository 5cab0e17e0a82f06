"""The conversation side of a session: edits that we ask for, and the mirror that follows the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from . import events
from ._commands import Command, CommandKind
from ._conversation import Conversation, ConversationItem, item_id_of, text_of
from ._diff import ROOT, CreateItem, DeleteItem, diff, merge
from ._errors import LocalProtocolError
from ._past import (
    as_history,
    has_speech,
    is_unchanged,
    place_of_speech,
    same_content,
    with_sound,
    with_speech,
)
from ._session_events import ItemAdded, ItemDeleted, ItemDone, ItemTruncated, StrayEvent
from ._tray import Tray

__all__ = ["History", "message_parts", "note_moved"]

Content = str | events.Part | Sequence[str | events.Part]

_MOST_UNTOLD = 64


class History:
    """Edits of the conversation, each acknowledged or refused by its own id.

    Args:
        tray: Where events are laid down.
        conversation: The mirror.
        answer_timeout_s: How long the service may take to acknowledge an edit.
        sound_of: Gives all of the audio of a turn whose words are not known, by its id; None where it is
            not there.
        late: Creations that nobody answered in time, by item id; they are taken out when they are there.
    """

    def __init__(
        self,
        tray: Tray,
        conversation: Conversation,
        *,
        answer_timeout_s: float,
        sound_of: Callable[[str], bytes | None],
        late: MutableMapping[str, Command],
    ) -> None:
        self._tray = tray
        self._late = late
        # Items that were created again before it was told that those of their ids are deleted.
        self._untold: dict[str, None] = {}
        self._sound_of = sound_of
        self._conversation = conversation
        self._answer_timeout_s = answer_timeout_s
        self.handlers: Mapping[type, Callable[[Any], None]] = {
            events.ConversationItemAdded: self._on_added,
            events.ConversationItemCreated: self._on_added,
            events.ConversationItemDone: self._on_done,
            events.ConversationItemDeleted: self._on_deleted,
            events.ConversationItemTruncated: self._on_truncated,
            events.ConversationItemRetrieved: self._on_retrieved,
        }

    def create(
        self,
        item: events.Item,
        *,
        previous_item_id: str | UnsetType = UNSET,
        beyond_limit: bool = False,
    ) -> Command:
        """Asks for an item; its value is the `ConversationItem` of the mirror.

        Args:
            item: The item; an id is chosen where it has none.
            previous_item_id: The item to follow, `root` for the beginning; `UNSET`: the end.
            beyond_limit: Whether the session asks by itself, whatever else is outstanding.

        Raises:
            LocalProtocolError: The id is too long or taken, or the item to follow is not known.
        """
        if isinstance(previous_item_id, str) and previous_item_id:
            self._check_place(previous_item_id)
        item_id, replaces = item_id_of(item), False
        if not item_id:
            item_id = self._tray.ids("item")
            item = _with_id(item, item_id)
        else:
            self._check_free(item_id)
            replaces = self.is_going(item_id)
        command = Command(self._tray.ids("event"), CommandKind.CREATE_ITEM, item_id)
        command.replaces = replaces
        event = events.ConversationItemCreate(
            item=item, previous_item_id=previous_item_id, event_id=command.event_id
        )
        return self._issue(command, event, beyond_limit=beyond_limit)

    def delete(self, item_id: str, *, beyond_limit: bool = False) -> Command:
        """Asks to take out an item.

        Args:
            item_id: The item.
            beyond_limit: Whether the session asks by itself, whatever else is outstanding.

        Raises:
            LocalProtocolError: The mirror has no such item.
        """
        self._check_known(item_id, "delete_item")
        command = Command(self._tray.ids("event"), CommandKind.DELETE_ITEM, item_id)
        event = events.ConversationItemDelete(item_id=item_id, event_id=command.event_id)
        return self._issue(command, event, beyond_limit=beyond_limit)

    def update(
        self, items: Sequence[events.Item], base: Sequence[events.Item] | None
    ) -> list[Command]:
        """Asks for the edits that make the conversation what the caller wants it to be (C3 to C5).

        Args:
            items: The whole conversation as it should be; items without an id are new.
            base: The items that the caller edited; what the server added since is kept. None: those
                that are there now.

        Returns:
            A command for each edit, deletions first.

        Raises:
            LocalProtocolError: Two items have one id, one cannot be sent, or one would have to be put in
                again that only the service has. Nothing was sent.
        """
        there = [entry.item for entry in self._conversation if not self.is_going(entry.id)]
        named = [
            item if item_id_of(item) else _with_id(item, self._tray.ids("item")) for item in items
        ]
        wanted = merge(there if base is None else base, named, there, equal=is_unchanged)
        edits = diff(there, wanted, equal=is_unchanged, hold=has_speech)
        self._tray.commands.check_room(len(edits))
        created = {
            item_id_of(edit.item): self._as_heard(edit.item)
            for edit in edits
            if isinstance(edit, CreateItem)
        }
        for item_id, item in created.items():
            self._check_free(item_id, going=True)
            self._tray.check(events.ConversationItemCreate(item=item))
        return [
            self.delete(edit.item_id)
            if isinstance(edit, DeleteItem)
            else self.create(created[item_id_of(edit.item)], previous_item_id=edit.previous_item_id)
            for edit in edits
        ]

    def truncate(self, item_id: str, audio_end_ms: int) -> Command:
        """Asks to cut an assistant item's audio at what was heard."""
        command = Command(self._tray.ids("event"), CommandKind.TRUNCATE_ITEM, item_id)
        event = events.ConversationItemTruncate(
            item_id=item_id,
            content_index=0,
            audio_end_ms=audio_end_ms,
            event_id=command.event_id,
        )
        return self._issue(command, event)

    def retrieve(self, item_id: str) -> Command:
        """Asks for an item with its audio; the command's value is the item.

        Raises:
            LocalProtocolError: The mirror has no such item.
        """
        self._check_known(item_id, "retrieve_item")
        return self._retrieve(item_id)

    def _retrieve(self, item_id: str, *, beyond_limit: bool = False) -> Command:
        command = Command(self._tray.ids("event"), CommandKind.RETRIEVE_ITEM, item_id)
        event = events.ConversationItemRetrieve(item_id=item_id, event_id=command.event_id)
        return self._issue(command, event, beyond_limit=beyond_limit)

    def replace(self, item_id: str, item: events.Item, *, beyond_limit: bool = False) -> Command:
        """Asks for another item in the place of one; the command is the new one's."""
        entry = self._conversation.get(item_id)
        before = None if entry is None else entry.before
        while before is not None and self.is_going(before.id):
            before = before.before
        if len(item_id) > events.MAX_ID_CHARACTERS:  # the server's own ids may be longer than ours
            item = _with_id(item, self._tray.ids("item"))
        self._check_free(item_id_of(item), going=True)
        self._tray.check(events.ConversationItemCreate(item=item))
        if not beyond_limit:
            self._tray.commands.check_room(2)
        self.delete(item_id, beyond_limit=beyond_limit)
        place = ROOT if before is None else before.id
        return self.create(item, previous_item_id=place, beyond_limit=beyond_limit)

    def _as_heard(self, item: events.Item) -> events.Item:
        """An item to be created: one that only moves keeps to what was heard of it (G14), and its words.

        Raises:
            LocalProtocolError: It moves, and of its words and its sound there is not all that was said.
        """
        entry = self._conversation.get(item_id_of(item))
        if entry is None:
            return as_history(item)
        item = with_speech(item, entry.item)
        if entry.is_heard_only and (place := place_of_speech(item, entry.item)) is not None:
            sound = self._sound_of(entry.id)
            if sound is None:
                raise _only_heard(entry.id)
            item = with_sound(item, place, sound)
        return as_history(item, entry.heard_part if same_content(entry.item, item) else None)

    def note_gone(self, item_id: str) -> bool:
        """The service does not have an item any more (C9); whether the mirror had it."""
        gone = self._conversation.remove(item_id)
        if gone is None:
            return False
        self._tray.session_events.append(ItemDeleted(item_id=item_id))
        note_moved(gone, self._creation_of(item_id))
        return True

    def _creation_of(self, item_id: str) -> Command | None:
        """What asked for an item that has not come, whether anybody waits for the answer or not."""
        command = self._tray.commands.find(CommandKind.CREATE_ITEM, item_id)
        return command or self._late.get(item_id)

    def is_going(self, item_id: str) -> bool:
        """Whether the service was asked to take an item out, and has not answered."""
        return self._tray.commands.find(CommandKind.DELETE_ITEM, item_id) is not None

    def moving(self, item_id: str) -> Command | None:
        """What puts an item elsewhere that the service was asked to take out, or None."""
        if not self.is_going(item_id):
            return None
        return self._tray.commands.find(CommandKind.CREATE_ITEM, item_id)

    def _check_free(self, item_id: str, *, going: bool = False) -> None:
        coming = self._tray.commands.find(CommandKind.CREATE_ITEM, item_id) is not None
        going = going or self.is_going(item_id)
        if coming or (item_id in self._conversation and not going):
            place = "on its way to" if coming else "in"
            raise LocalProtocolError(
                f"an item with the id {item_id!r} is {place} the conversation already; choose "
                f"another id, or {'wait for it' if coming else 'delete it first'}"
            )

    def _check_place(self, previous_item_id: str) -> None:
        """Refuses to follow an item that the service does not have, or will not have by then."""
        coming = self._tray.commands.find(CommandKind.CREATE_ITEM, previous_item_id) is not None
        conversation = self._conversation
        known = previous_item_id in conversation or conversation.is_announced(previous_item_id)
        there = known and not self.is_going(previous_item_id)
        if previous_item_id != ROOT and not coming and not there:
            what = "is being deleted" if known else "is not there"
            raise LocalProtocolError(
                f"previous_item_id={previous_item_id!r}: the item {what}; give one of "
                f"conversation.ids(), {ROOT!r} for the beginning, or leave it out for the end"
            )

    def _check_known(self, item_id: str, call: str) -> None:
        conversation = self._conversation
        if item_id not in conversation and not conversation.is_announced(item_id):
            raise LocalProtocolError(
                f"{call}({item_id!r}): the conversation has no such item; "
                "conversation.ids() lists those that it has"
            )

    def _issue(
        self, command: Command, event: events.ClientEvent, *, beyond_limit: bool = False
    ) -> Command:
        """Checks an edit, then lays it down with its command."""
        self._tray.check(event)
        self._tray.commands.add(command, beyond_limit=beyond_limit)
        command.event = event
        self._tray.commands.start_clock(command, self._tray.now + self._answer_timeout_s)
        self._tray.client_events.append(event)
        return command

    def _on_added(
        self, event: events.ConversationItemAdded | events.ConversationItemCreated
    ) -> None:
        item_id = event.item.id or ""
        if not item_id:
            self._tray.session_events.append(
                StrayEvent(event=event, reason="an item without an id")
            )
            return
        command = self._tray.commands.find(CommandKind.CREATE_ITEM, item_id)
        creation = command or self._late.get(item_id)
        if command is not None:
            self._settle_deletion_before(command)
        elif creation is not None:  # nobody waits for the deletion's answer, either
            self._note_gone_untold(item_id)
        self._late.pop(item_id, None)
        entry = self._conversation.get(item_id)
        if entry is None:
            entry, orphaned = self._conversation.insert(item_id, event.item, event.previous_item_id)
            self._tray.session_events.append(ItemAdded(entry=entry, orphaned=orphaned))
        else:
            self._conversation.renew(entry, event.item)
        self._tray.acknowledge(command, entry)
        moved = None if creation is None else creation.moved
        if moved is not None:
            entry.retold_ms = moved.heard_ms or moved.received_ms or moved.retold_ms
            self._follow(entry, moved.heard_part)

    def _follow(self, entry: ConversationItem, heard: str | None) -> None:
        """An answer has come where it was moved to; what was not heard of it meanwhile is taken away."""
        if heard is None or not entry.text.startswith(heard) or heard == entry.text:
            return
        if heard:
            self.replace(entry.id, as_history(entry.item, heard), beyond_limit=True)
        else:
            self.delete(entry.id, beyond_limit=True)
        entry.heard_words = heard

    def _settle_deletion_before(self, creation: Command) -> None:
        """An item that is created under the id of one that was to go: that one is gone, told or not."""
        deletion = self._tray.commands.find(CommandKind.DELETE_ITEM, creation.key)
        if deletion is not None and self._tray.commands.is_older(deletion, creation):
            self._note_gone_untold(creation.key)
            self._tray.acknowledge(deletion, creation.key)

    def _note_gone_untold(self, item_id: str) -> None:
        if self.note_gone(item_id):
            self._untold[item_id] = None
            while len(self._untold) > _MOST_UNTOLD:
                del self._untold[next(iter(self._untold))]

    def _on_done(self, event: events.ConversationItemDone) -> None:
        item_id = event.item.id or ""
        entry = self._conversation.get(item_id)
        if entry is not None:
            self._conversation.renew(entry, event.item)
        else:  # an end without a beginning is a beginning, too
            self._on_added(
                events.ConversationItemAdded(
                    item=event.item,
                    previous_item_id=event.previous_item_id,
                    event_id=event.event_id,
                )
            )
            entry = self._conversation.get(item_id)
        if entry is not None:
            self._tray.session_events.append(ItemDone(entry=entry))

    def _on_deleted(self, event: events.ConversationItemDeleted) -> None:
        command = self._tray.commands.find(CommandKind.DELETE_ITEM, event.item_id)
        if command is None and self._is_doubtful(event.item_id):
            del self._untold[event.item_id]
            self._retrieve(event.item_id, beyond_limit=True)  # which tells whether it is there
            return
        if not self.note_gone(event.item_id):
            self._tray.session_events.append(
                StrayEvent(event=event, reason="the mirror has no such item")
            )
        self._tray.acknowledge(command, event.item_id)

    def _is_doubtful(self, item_id: str) -> bool:
        """Whether a deletion may be an old one, told late, of an item that was created again since."""
        return item_id in self._untold and item_id in self._conversation

    def _on_truncated(self, event: events.ConversationItemTruncated) -> None:
        self._conversation.truncate(event.item_id, event.audio_end_ms)
        self._tray.session_events.append(
            ItemTruncated(item_id=event.item_id, audio_end_ms=event.audio_end_ms)
        )
        command = self._tray.commands.find(CommandKind.TRUNCATE_ITEM, event.item_id)
        self._tray.acknowledge(command, event.item_id)

    def _on_retrieved(self, event: events.ConversationItemRetrieved) -> None:
        item_id = item_id_of(event.item)
        if item_id in self._conversation:
            self._conversation.put(event.item)
        command = self._tray.commands.find(CommandKind.RETRIEVE_ITEM, item_id)
        self._tray.acknowledge(command, event.item)


def note_moved(entry: ConversationItem, creation: Command | None) -> None:
    """An answer that was cut on its way to another place comes there as it was heard (G14).

    Args:
        entry: The answer, which is taken out.
        creation: What creates an item of its id, or None.
    """
    event = None if creation is None else creation.event
    if creation is None or not isinstance(event, events.ConversationItemCreate):
        return
    coming = text_of(event.item)
    cut = entry.role == "assistant" and coming and entry.text.startswith(coming)
    if not cut and not same_content(entry.item, event.item):
        return  # it says something else
    creation.moved = entry
    heard = entry.heard_part
    if heard is not None and coming.startswith(heard):
        item = as_history(event.item, heard)
        creation.event = msgspec.structs.replace(event, item=item)


def _only_heard(item_id: str) -> LocalProtocolError:
    return LocalProtocolError(
        f"update_conversation: {item_id!r} would be deleted and created elsewhere, and neither all of its "
        "words nor all of its sound are here; wait for its transcript, or put into the list what "
        "retrieve_item gives, which has its sound"
    )


def _with_id(item: events.Item, item_id: str) -> events.Item:
    if isinstance(item, events.UnknownItem):
        return msgspec.structs.replace(item, data=item.data | {"id": item_id})
    return msgspec.structs.replace(item, id=item_id)


def message_parts(content: Content, role: str) -> list[events.Part]:
    """The parts of a message: a string is one text part, of the kind that the role takes (C6).

    Raises:
        LocalProtocolError: There is nothing in it.
    """
    text_part = events.OutputText if role == "assistant" else events.InputText
    if isinstance(content, str) and content:  # as nearly all are
        return [text_part(text=content)]
    given: list[str | events.Part] = (
        [content]
        if isinstance(content, str) or not isinstance(content, Sequence)
        else list(content)
    )
    if not given or given == [""]:
        raise LocalProtocolError("the message is empty; give text, or at least one content part")
    return [text_part(text=part) if isinstance(part, str) else part for part in given]
