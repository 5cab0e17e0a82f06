"""The invariants about history: what a server is told of an answer, where it is cut, what edits come to."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from .. import events
from .._commands import Command, Outcome
from .._conversation import item_id_of
from .._diff import ROOT
from .._generations import GeneratedMessage
from .._past import heard_words
from .._session_events import ItemDone, ItemTruncated, MessageStarted, SessionEvent
from ._invariants import Invariant
from ._service import Service, Taken

__all__ = ["Asked", "CutsAreAsAsked", "EditMade", "EditsGiveWhatWasAsked", "HistoryIsAsHeard"]


class EditMade(Struct, frozen=True, kw_only=True):
    """An edit of the conversation: what there was, what was wanted, and what the client made of it."""

    there: Sequence[str]
    """The ids of the items, without those on their way out."""
    wanted: Sequence[events.Item]
    """The items that were wanted; new ones have no id."""
    commands: Sequence[Command]
    """The client's."""


class Asked:
    """What the caller asked of the client about history, for the invariants to compare.

    Attributes:
        cuts: The furthest that each answer was to be cut at, in milliseconds, by item id.
        made: The cuts that the client took: item id, milliseconds, and the command, if it came to one.
        reworded: Ids of answers whose words were cut.
        edits: The edits of the conversation.
    """

    def __init__(self) -> None:
        self.reworded: set[str] = set()
        self.cuts: dict[str, int] = {}
        self.made: list[tuple[str, int, Command | None]] = []
        self.edits: list[EditMade] = []

    def cut(self, item_id: str, end_ms: int) -> None:
        """An answer is to be cut."""
        self.cuts[item_id] = max(end_ms, self.cuts.get(item_id, 0))


class HistoryIsAsHeard(Invariant):
    """No server is told more of an answer than was heard of it.

    The server of a next connection may have been told before the answer was cut: at the end it knows, too.
    """

    event_kinds = (MessageStarted, ItemTruncated, ItemDone)
    message_types = ("conversation.item.create", "conversation.item.delete")

    def __init__(self) -> None:
        self._messages: dict[str, GeneratedMessage] = {}
        self._heard_ms: dict[str, int] = {}
        self._words: dict[str, str] = {}
        self._told: dict[tuple[int, str], str] = {}

    def on_event(self, event: SessionEvent) -> None:
        if type(event) is MessageStarted:
            self._messages[event.message.id] = event.message
        elif type(event) is ItemDone:
            # The words may come when nobody waits for the message any more; the first time they are whole.
            if event.entry.role == "assistant" and event.entry.id not in self._words:
                self._words[event.entry.id] = event.entry.text
        else:
            assert type(event) is ItemTruncated
            self._heard_ms[event.item_id] = event.audio_end_ms

    def on_message(self, service: Service, taken: Taken) -> None:
        if taken.type == "conversation.item.delete":
            deleted = taken.event
            assert isinstance(deleted, events.ConversationItemDelete)
            self._told.pop((service.number, deleted.item_id), None)
        if taken.type != "conversation.item.create":
            return
        created = taken.event
        assert isinstance(created, events.ConversationItemCreate)
        if not isinstance(created.item, events.Message) or created.item.role != "assistant":
            return
        item_id, words = item_id_of(created.item), _words(created.item)
        self._told[service.number, item_id] = words
        if service.connection == self.world.driver.served:
            self._compare(item_id, words)

    def finish(self) -> None:
        service = self.world.service
        for item_id, end_ms, command in self.world.asked.made:
            if item_id in self.world.asked.reworded:
                continue  # what was heard of it was said in another way, too
            # Also where it had no answer.
            if command is None or command.outcome is not Outcome.REFUSED:
                self._heard_ms[item_id] = min(end_ms, self._heard_ms.get(item_id, end_ms))
        for (number, item_id), words in self._told.items():
            if service is not None and number == service.number:
                self._compare(item_id, words)

    def _compare(self, item_id: str, told: str) -> None:
        message, heard_ms = self._messages.get(item_id), self._heard_ms.get(item_id)
        if message is None or heard_ms is None:
            return
        text = max(message.text, self._words.get(item_id, ""), key=len)
        heard = heard_words(text, heard_ms, message.received_ms)
        if len(told) > len(heard):
            self.broken(f"{item_id}: {heard_ms} ms were heard ({heard!r}), {told!r} is told")


class CutsAreAsAsked(Invariant):
    """No answer is cut behind what its caller said that was heard."""

    message_types = ("conversation.item.truncate",)

    def on_message(self, service: Service, taken: Taken) -> None:
        cut = taken.event
        assert isinstance(cut, events.ConversationItemTruncate)
        asked_ms = self.world.asked.cuts.get(cut.item_id, 0)
        if cut.audio_end_ms > asked_ms:
            where = f"server {service.number} is to cut {cut.item_id} at {cut.audio_end_ms} ms"
            self.broken(f"{where}, {asked_ms} ms was asked")


class EditsGiveWhatWasAsked(Invariant):
    """The edits of a conversation make of it what the caller wanted, and are the fewest that do."""

    def finish(self) -> None:
        for edit in self.world.asked.edits:
            self._compare(edit)

    def _compare(self, edit: EditMade) -> None:
        ids = list(edit.there)
        words: dict[str, str] = {}
        deleted = 0
        for command in edit.commands:
            match command.event:
                case events.ConversationItemDelete(item_id=item_id):
                    ids.remove(item_id)
                    deleted += 1
                case events.ConversationItemCreate(item=item, previous_item_id=place):
                    ids.insert(0 if place == ROOT else ids.index(str(place)) + 1, command.key)
                    words[command.key] = _words(item)
                case _:
                    self.broken(f"{command!r} is no edit")
        known = {item_id_of(item) for item in edit.wanted}
        wanted = [item_id_of(item) or _words(item) for item in edit.wanted]
        got = [item_id if item_id in known else words.get(item_id) for item_id in ids]
        if got != wanted:
            self.broken(f"{wanted} was wanted, {got} comes of it")
        least = len(edit.there) - _longest_in_order(edit.there, wanted)
        if deleted > least:
            self.broken(f"{deleted} items were deleted where {least} are enough for {wanted}")


def _longest_in_order(there: Sequence[str], wanted: Sequence[str]) -> int:
    """How many items can stay at most: the plainest way to count them, unlike the client's."""
    places = {item_id: place for place, item_id in enumerate(there)}
    longest: list[tuple[int, int]] = []
    for place in (places[item_id] for item_id in wanted if item_id in places):
        before = max((length for last, length in longest if last < place), default=0)
        longest.append((place, before + 1))
    return max((length for _, length in longest), default=0)


def _words(item: events.Item) -> str:
    return " ".join(str(getattr(part, "text", "")) for part in getattr(item, "content", ()))
