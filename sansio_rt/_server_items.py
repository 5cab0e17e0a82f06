"""The server's conversation: items in order, with the sound that belongs to them.

Every method that answers a client event either does all of it and queues its events, or raises
`Refusal` and changes nothing. Codes and sentences are those of the service.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection
from operator import attrgetter
from typing import Any

from msgspec import UNSET, Struct
from msgspec.structs import replace

from . import events
from ._audio import AudioFormat
from ._server_input import Sound
from ._server_item_checks import checked_item
from ._server_outbox import Outbox
from ._server_usage import IMAGE_TOKENS, Tally, audio_in_tokens, audio_out_tokens, text_tokens
from ._server_work import HistoryTurn, Refusal, ServerLimits, TurnRole

__all__ = ["Context", "Record", "ServerConversation", "without_transcript"]

ROOT = "root"
# A user's audio is read from what was recognised, not from a transcript that the client claims.
_WORDS: dict[type, Callable[[Any], Any]] = {
    events.InputText: attrgetter("text"),
    events.InputImage: lambda _part: "[image]",
    events.OutputText: attrgetter("text"),
    events.OutputAudio: attrgetter("transcript"),
}
_MESSAGE_ROLES: dict[str, TurnRole] = {"user": "user", "assistant": "assistant"}
_HAVE_STATUS = (events.Message, events.FunctionCall, events.FunctionCallOutput)
_AUDIO_PARTS = (events.InputAudio, events.OutputAudio)


Reading = tuple[HistoryTurn | None, Tally]
"""An item as a mind reads it, None for kinds that a mind does not know, and its tokens."""


class Record(Struct, eq=False):
    """One item and what the server alone knows of it.

    Attributes:
        id: The item's id.
        item: Its wire form, without audio bytes.
        sound: Its audio, or None for an item without.
        heard: The words of the user's audio; None while they are not known yet, "" where there is
            no audio.
        wants: The transcription that the client asked for when the item was committed, or None.
        truncated: Whether the client has cut it: what is generated later is no part of it.
        done: Whether the client was told that it will not change any more.
    """

    id: str
    item: events.Item
    sound: Sound | None = None
    heard: str | None = ""
    wants: events.Transcription | None = None
    truncated: bool = False
    done: bool = False
    _reading: Reading | None = None

    @property
    def role(self) -> str:
        """`user`, `assistant`, `system`, or "" for what is no message."""
        return self.item.role if isinstance(self.item, events.Message) else ""

    @property
    def settled(self) -> bool:
        """Whether only the client changes it from now on, by cutting it."""
        return self.done and self.heard is not None

    def with_sound(self) -> events.Item:
        """The wire form with the audio in its first audio part."""
        if self.sound is None or not isinstance(self.item, events.Message):
            return self.item
        parts = list(self.item.content)
        for index, part in enumerate(parts):  # pragma: no branch - what sounds has a part for it
            if isinstance(part, _AUDIO_PARTS):
                encoded = base64.b64encode(self.sound.data).decode()
                parts[index] = replace(part, audio=encoded)
                break
        return replace(self.item, content=parts)

    def set_transcript(self, text: str) -> None:
        """Put the words of the user's audio into the item, where `retrieve` finds them."""
        if isinstance(self.item, events.Message):  # pragma: no branch - only messages have audio
            parts = [
                replace(part, transcript=text) if isinstance(part, events.InputAudio) else part
                for part in self.item.content
            ]
            self.item = replace(self.item, content=parts)

    def read(self) -> Reading:
        """The item as a mind reads it, and what it costs as input."""
        # A reply that had to wait for words reads the whole history, of which little has changed.
        if self._reading is not None:
            return self._reading
        turn = self._turn()
        reading = turn, self._tally(turn)
        if self.settled:
            self._reading = reading
        return reading

    def cut(self, audio_end_ms: int) -> None:
        """Forget the audio behind a position, and all of its words."""
        sound, item = self.sound, self.item
        if sound and isinstance(item, events.Message):  # pragma: no branch - no other is cut
            sound.cut(audio_end_ms)
            self.item = without_transcript(item)
        self.truncated = True
        self._reading = None

    def _turn(self) -> HistoryTurn | None:
        item = self.item
        if isinstance(item, events.Message):
            role = _MESSAGE_ROLES.get(item.role, "system")
            words = [_WORDS[type(part)](part) for part in item.content if type(part) in _WORDS]
            return HistoryTurn(role, " ".join(filter(None, [*words, self.heard])))
        if isinstance(item, events.FunctionCall):
            return HistoryTurn(
                "tool_call", item.arguments, name=item.name, call_id=str(item.call_id)
            )
        if isinstance(item, events.FunctionCallOutput):
            return HistoryTurn("tool_output", item.output, call_id=item.call_id)
        return None

    def _tally(self, turn: HistoryTurn | None) -> Tally:
        if self.sound is None:
            images = 0
            if isinstance(self.item, events.Message):
                images = list(map(type, self.item.content)).count(events.InputImage)
            return Tally(text_tokens(turn.text) if turn else 0, image=images * IMAGE_TOKENS)
        count = audio_out_tokens if self.role == "assistant" else audio_in_tokens
        return Tally(audio=count(self.sound.duration_ms))


class Context(Struct, frozen=True):
    """What a reply builds on.

    Attributes:
        turns: The first items as a mind reads them.
        tally: Their tokens.
        unread: The items behind those.
    """

    turns: tuple[HistoryTurn, ...]
    tally: Tally
    unread: list[Record]

    @property
    def unheard(self) -> list[Record]:
        """The spoken items whose words are not known yet."""
        return [record for record in self.unread if record.heard is None]

    def read(self) -> tuple[tuple[HistoryTurn, ...], Tally]:
        """All items as a mind reads them, and their tokens."""
        if not self.unread:
            return self.turns, self.tally
        turns, tally = list(self.turns), self.tally
        for record in self.unread:
            turn, tokens = record.read()
            tally += tokens
            if turn is not None:
                turns.append(turn)
        return tuple(turns), tally


class ServerConversation:
    """The default conversation.

    Args:
        outbox: Where its events go.
        limits: The service's numbers.
    """

    def __init__(self, outbox: Outbox, limits: ServerLimits) -> None:
        self.id = outbox.new_id("conv")
        self._outbox = outbox
        self._limits = limits
        self._order: list[Record] = []
        self._records: dict[str, Record] = {}
        # What replies have read of the first items, none of which will change by itself.
        self._settled = Context((), Tally(), [])
        self._settled_count = 0

    def get(self, item_id: str) -> Record | None:
        """The record of an item, or None."""
        return self._records.get(item_id)

    def records(self) -> list[Record]:
        """All records in order."""
        return self._order.copy()

    def context(self) -> Context:
        """All items, for a reply."""
        new = self._order[self._settled_count :]
        if False in [record.settled for record in new]:
            return Context((), Tally(), self._order.copy())
        if new:
            turns, tally = Context(self._settled.turns, self._settled.tally, new).read()
            self._settled, self._settled_count = Context(turns, tally, []), len(self._order)
        return self._settled

    @property
    def last_id(self) -> str | None:
        """The id of the last item, or None."""
        return self._order[-1].id if self._order else None

    def create(self, event: events.ConversationItemCreate, audio: AudioFormat) -> Record:
        """Answer `conversation.item.create`.

        Args:
            event: The client's event.
            audio: The session's input format, in which a user's audio part is read.

        Raises:
            Refusal: The item or its place is not acceptable.
        """
        index = self._place(event.previous_item_id)
        record = self.accepted(event.item, audio)
        if record.id in self._records:
            raise Refusal(
                f"Error adding item: the item with id '{record.id}' already exists.",
                code="item_create_duplicate_item_id",
                param="item.id",
            )
        self.add(record, index)
        self.done(record)
        return record

    def add(self, record: Record, index: int | None = None) -> None:
        """Put an item into the conversation and tell of it.

        Args:
            record: The item; its id is new.
            index: Where; None is the end.
        """
        order = self._order
        place = len(order) if index is None else index
        previous = order[place - 1].id if place else None
        # Told before it is there: what cannot be represented is not to be.
        self._outbox.emit(events.ConversationItemAdded(previous_item_id=previous, item=record.item))
        order.insert(place, record)
        self._records[record.id] = record
        if place < self._settled_count:
            self._unsettle()

    def done(self, record: Record) -> None:
        """Tell that an item will not change any more; nothing if it was deleted meanwhile.

        Another may have been created under its id since.
        """
        if self._records.get(record.id) is record:
            record.done = True
            index = self._index(record)
            previous = self._order[index - 1].id if index else None
            self._outbox.emit(
                events.ConversationItemDone(previous_item_id=previous, item=record.item)
            )

    def delete(self, event: events.ConversationItemDelete) -> None:
        """Answer `conversation.item.delete`.

        Raises:
            Refusal: There is no such item.
        """
        record = self._known(event.item_id, "delete", "deleting")
        self._order.remove(record)
        del self._records[event.item_id]
        self._unsettle()
        self._outbox.emit(events.ConversationItemDeleted(item_id=event.item_id))

    def retrieve(self, event: events.ConversationItemRetrieve) -> None:
        """Answer `conversation.item.retrieve`, with the item's audio.

        Raises:
            Refusal: There is no such item.
        """
        record = self._known(event.item_id, "retrieve", "retrieving")
        self._outbox.emit(events.ConversationItemRetrieved(item=record.with_sound()))

    def truncate(self, event: events.ConversationItemTruncate) -> None:
        """Answer `conversation.item.truncate`: cut an assistant's audio and forget its transcript.

        Raises:
            Refusal: It is no assistant's audio, or there is less audio than that.
        """
        record = self._known(event.item_id, "truncate", "truncating")
        item, sound = record.item, record.sound
        if (
            not isinstance(item, events.Message)
            or item.role != "assistant"
            or sound is None
            or not sound.data
        ):
            raise Refusal(
                "Only model output audio messages can be truncated",
                code="unsupported_content_type",
                param="item_id",
            )
        if event.content_index != 0:
            raise Refusal(
                f"Invalid value: content_index {event.content_index}; use 0.",
                code="invalid_value",
                param="content_index",
            )
        if event.audio_end_ms <= 0:
            raise Refusal(
                f"Invalid 'audio_end_ms': {event.audio_end_ms}ms leaves nothing; delete the item.",
                code="invalid_value",
                param="audio_end_ms",
            )
        if event.audio_end_ms > sound.duration_ms:
            raise Refusal(
                f"Audio content of {int(sound.duration_ms)}ms is already shorter than "
                f"{event.audio_end_ms}ms",
                code="invalid_value",
                param="audio_end_ms",
            )
        record.cut(event.audio_end_ms)
        self._unsettle()
        self._outbox.emit(
            events.ConversationItemTruncated(
                item_id=record.id, content_index=0, audio_end_ms=event.audio_end_ms
            )
        )

    def accepted(
        self,
        item: events.Item,
        audio: AudioFormat,
        path: str = "item",
        known_calls: Collection[str] = (),
    ) -> Record:
        """Check an item of the client and give it what it lacks.

        Args:
            item: The client's item.
            audio: The session's input format.
            path: JSON path of the item in its event, for the error.
            known_calls: Ids of calls that an output may answer, beside those of the conversation.

        Raises:
            Refusal: It is not acceptable.
        """
        checked, sound = checked_item(item, audio, path)
        given_id = getattr(item, "id", None)
        item_id = (
            given_id if isinstance(given_id, str) and given_id else self._outbox.new_id("item")
        )
        if len(item_id) > self._limits.item_id_characters:
            raise Refusal(
                f"Invalid '{path}.id': string too long. Expected a string with maximum length "
                f"{self._limits.item_id_characters}, but got one with length {len(item_id)}.",
                code="string_above_max_length",
                param=f"{path}.id",
            )
        if type(item) is events.FunctionCallOutput and item.call_id not in known_calls:
            self._check_call(item.call_id, f"{path}.call_id")
        if type(checked) is events.FunctionCall and not checked.call_id:
            checked = replace(checked, call_id=self._outbox.new_id("call"))
        shown: events.Item
        if isinstance(checked, _HAVE_STATUS):
            shown = replace(checked, id=item_id, object="realtime.item", status="completed")
        else:
            shown = replace(checked, id=item_id)
        return Record(item_id, shown, sound, "" if sound is None else None)

    def _index(self, record: Record) -> int:
        # Nearly always it is the last one, and a search through a long history would take its time.
        order = self._order
        return len(order) - 1 if order[-1] is record else order.index(record)

    def _unsettle(self) -> None:
        self._settled, self._settled_count = Context((), Tally(), []), 0

    def _known(self, item_id: str, verb: str, doing: str) -> Record:
        record = self._records.get(item_id)
        if record is None:
            raise Refusal(
                f"Error {doing} item: the item with id '{item_id}' does not exist.",
                code=f"item_{verb}_invalid_item_id",
                param="item_id",
            )
        return record

    def _place(self, previous_item_id: Any) -> int | None:
        if not isinstance(previous_item_id, str):
            return None
        if previous_item_id == ROOT:
            return 0
        if previous_item_id not in self._records:
            raise Refusal(
                f"Error adding item: the previous item with id '{previous_item_id}' "
                "does not exist.",
                code="item_create_invalid_previous_item_id",
                param="previous_item_id",
            )
        return self._index(self._records[previous_item_id]) + 1

    def _check_call(self, call_id: str, path: str) -> None:
        # Nearly always it is one of the last items.
        items = (record.item for record in reversed(self._order))
        if not any(
            isinstance(item, events.FunctionCall) and item.call_id == call_id for item in items
        ):
            raise Refusal(
                f"Tool call ID '{call_id}' not found in conversation.",
                code="invalid_tool_call_id",
                param=path,
            )


def without_transcript(item: events.Message) -> events.Message:
    """The message after a truncation: its audio parts have lost their transcript."""
    parts = [
        replace(part, transcript=UNSET) if isinstance(part, events.OutputAudio) else part
        for part in item.content
    ]
    return replace(item, content=parts)
