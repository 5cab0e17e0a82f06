"""The mirror: the client's copy of the server's conversation.

A doubly linked list with an index by id, so that inserting and deleting cost the same at any length. The
order is the server's chain (`previous_item_id`), not the order of arrival. For assistant audio the mirror
keeps how much was received and how much was heard; history speaks of what was heard (parity C2, C8, G14).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from . import events
from ._config import Limits
from ._errors import RemoteProtocolError
from ._past import as_history, heard_words, is_heard_only

__all__ = [
    "Conversation",
    "ConversationItem",
    "Placement",
    "TranscriptState",
    "size_of",
    "without_audio",
]

_encode = msgspec.json.Encoder().encode
_OBJECT_BYTES = 512
_MOST_ANNOUNCED = 64
_ENDED = ("incomplete", "completed")
_WITH_AUDIO = (events.InputAudio, events.OutputAudio)
_WORDS: dict[type, str] = {
    events.InputText: "text",
    events.OutputText: "text",
    events.TextPart: "text",
    events.InputAudio: "transcript",
    events.OutputAudio: "transcript",
    events.AudioPart: "transcript",
}
"""Which field of a part has its words: to ask for the type itself is much quicker than `isinstance`."""


class TranscriptState(enum.Enum):
    """What is known of the transcript of a caller's audio."""

    NONE = "none"
    PARTIAL = "partial"
    COMPLETED = "completed"
    FAILED = "failed"


_NO_TRANSCRIPT = TranscriptState.NONE


class Placement(enum.Enum):
    """What taking in an item did to the mirror."""

    INSERTED = "inserted"
    UPDATED = "updated"
    ORPHANED = "orphaned"
    """Inserted at the tail, since the item that it should follow is not known."""


class ConversationItem:
    """One item of the mirror.

    Attributes:
        id: The item's id.
        item: The newest form that the server told, without audio bytes.
        transcript_state: Of the caller's audio, where the item has any.
        size_bytes: What it counts for among `Limits.max_conversation_bytes`.
        received_ms: Assistant audio received so far, in milliseconds.
        heard_ms: How much of it the caller heard, or None where nobody said otherwise: all of it.
        cut_ms: Where the server has cut it, or None where it has not (yet).
        heard_words: What the caller heard of text, or None where nobody said otherwise: all of it.
        retold_ms: Length of the audio that the item's text stands for since another connection was told it
            in words; 0.0 where it has its audio, or never had any.
        before: The item in front of it, or None. Links are the mirror's to change.
        after: The item behind it, or None.
    """

    __slots__ = (
        "after",
        "before",
        "cut_ms",
        "heard_ms",
        "heard_words",
        "id",
        "item",
        "received_ms",
        "retold_ms",
        "size_bytes",
        "transcript_state",
    )

    def __init__(self, item_id: str, item: events.Item) -> None:
        self.id: Final = item_id
        self.item: events.Item = item
        self.transcript_state = _NO_TRANSCRIPT
        self.size_bytes = 0
        self.received_ms = 0.0
        self.heard_ms: int | None = None
        self.cut_ms: int | None = None
        self.heard_words: str | None = None
        self.retold_ms = 0.0
        self.before: ConversationItem | None = None
        self.after: ConversationItem | None = None

    def __repr__(self) -> str:
        return f"<ConversationItem {self.id} {self.role or type(self.item).__name__} {self.text!r}>"

    @property
    def role(self) -> str:
        """`system`, `user`, `assistant`, or "" for items that are no messages."""
        return self.item.role if isinstance(self.item, events.Message) else ""

    @property
    def text(self) -> str:
        """The text and the transcripts of a message, or a call's name, arguments or output."""
        return text_of(self.item)

    @property
    def is_heard_only(self) -> bool:
        """Whether it has speech whose words are not known, or not all of them: only the server has it."""
        state = self.transcript_state
        if state is TranscriptState.COMPLETED:
            return False
        return is_heard_only(self.item, words_count=state is TranscriptState.NONE)

    @property
    def heard_text(self) -> str:
        """The text as far as the caller heard it, cut at a word's end by the share of audio heard."""
        part = self.heard_part
        return self.text if part is None else part

    @property
    def heard_part(self) -> str | None:
        """The part of the text that was heard, or None where nobody said that it was but a part."""
        if self.heard_words is not None:
            return self.heard_words
        if self.heard_ms is None:
            return None
        return heard_words(self.text, self.heard_ms, self.received_ms)

    def note_heard(self, heard_ms: int) -> None:
        """Notes how much of it was heard; what was not heard once is not heard later."""
        self.heard_ms = heard_ms if self.heard_ms is None else min(self.heard_ms, heard_ms)


def text_of(item: events.Item) -> str:
    """What an item says: see `ConversationItem.text`."""
    if isinstance(item, events.Message):
        content = item.content
        if len(content) == 1:  # as nearly all have
            return _part_text(content[0])
        return " ".join(filter(None, map(_part_text, content)))
    match item:
        case events.FunctionCall(name=name, arguments=arguments):
            return f"{name}({arguments})"
        case events.FunctionCallOutput(output=output):
            return output
        case _:
            return ""


def _part_text(part: events.Part) -> str:
    field = _WORDS.get(type(part))
    words = None if field is None else getattr(part, field)
    return words if isinstance(words, str) else ""


class Conversation:
    """The items of the default conversation, in the server's order.

    Args:
        limits: How many it takes, and what they may hold together.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self._max_items = limits.max_items
        self._max_bytes = limits.max_conversation_bytes
        self._bytes = 0
        self._index: dict[str, ConversationItem] = {}
        self._head: ConversationItem | None = None
        self._tail: ConversationItem | None = None
        self._announced: dict[str, str | None] = {}

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._index

    def __iter__(self) -> Iterator[ConversationItem]:
        entry = self._head
        while entry is not None:
            following = entry.after
            yield entry
            entry = following

    def get(self, item_id: str) -> ConversationItem | None:
        """The item of this id, or None."""
        return self._index.get(item_id)

    def ids(self) -> list[str]:
        """The ids in order."""
        return [entry.id for entry in self]

    def items(self) -> list[events.Item]:
        """The items in order, as the server last told them, without audio bytes."""
        return [entry.item for entry in self]

    def history(self) -> list[events.Item]:
        """The items in order as a client can create them again: text for audio, and only what was heard.

        A spoken turn without words is an empty text here. To edit the conversation take `items()`.
        """
        return [as_history(entry.item, entry.heard_part) for entry in self]

    def put(self, item: events.Item, previous_item_id: str | UnsetType | None = UNSET) -> Placement:
        """Takes in an item that the server added or finished.

        Args:
            item: The item; it must have an id.
            previous_item_id: The item before it, None for the head, `UNSET` for the tail.

        Returns:
            What happened. An item that is known already is updated and stays in its place.

        Raises:
            RemoteProtocolError: There are too many, or they are too big.
        """
        item_id = item_id_of(item)
        known = self._index.get(item_id)
        if known is not None:
            self.renew(known, item)
            return Placement.UPDATED
        _, orphaned = self.insert(item_id, item, previous_item_id)
        return Placement.ORPHANED if orphaned else Placement.INSERTED

    def renew(self, entry: ConversationItem, item: events.Item) -> None:
        """Takes over what the server tells of an item that is known.

        Raises:
            RemoteProtocolError: All items hold too much.
        """
        item = without_audio(item)
        if item != entry.item:  # much is told twice as it is
            self._keep(entry, _newer(entry.item, item))

    def insert(
        self, item_id: str, item: events.Item, previous_item_id: str | UnsetType | None = UNSET
    ) -> tuple[ConversationItem, bool]:
        """Takes in an item that is not known yet; arguments and errors are those of `put`.

        Returns:
            Its entry, and whether it is an orphan: the item before it is not known.
        """
        self._announced.pop(item_id, None)
        if len(self._index) >= self._max_items:
            raise RemoteProtocolError(
                f"the conversation grew beyond {self._max_items:,} items (Limits.max_items)"
            )
        item = without_audio(item)
        entry = ConversationItem(item_id, item)
        self._keep(entry, item)
        previous = self._tail
        orphaned = False
        if previous_item_id is None:
            previous = None
        elif previous_item_id is not UNSET:
            known = self._index.get(previous_item_id)
            if known is None:
                orphaned = True
            else:
                previous = known
        self._index[item_id] = entry
        self._link(entry, previous)
        return entry, orphaned

    def announce(self, item_id: str, previous_item_id: str | None) -> None:
        """Notes that the server has made an item of what was said, and is about to tell it.

        Args:
            item_id: The item's id.
            previous_item_id: The item before it, or None for the head.
        """
        if item_id not in self._index:
            self._announced[item_id] = previous_item_id
            while len(self._announced) > _MOST_ANNOUNCED:
                del self._announced[next(iter(self._announced))]

    @property
    def expects_items(self) -> bool:
        """Whether items were announced and have not come."""
        return bool(self._announced)

    def is_announced(self, item_id: str) -> bool:
        """Whether the server has this item and has not told it yet."""
        return item_id in self._announced

    def take_announced(self) -> dict[str, str | None]:
        """The items that were announced and never came, with the items before them."""
        announced, self._announced = self._announced, {}
        return announced

    def finish_call(self, item_id: str, arguments: str) -> None:
        """Writes the final arguments of a function call, which the item itself may tell later or never."""
        entry = self._index.get(item_id)
        if entry is not None and isinstance(entry.item, events.FunctionCall):
            entry.item = msgspec.structs.replace(
                entry.item, arguments=arguments, status="completed"
            )
            self._count(entry, size_of(entry.item))

    def remove(self, item_id: str) -> ConversationItem | None:
        """Takes out an item that the server deleted, or returns None where there is none."""
        entry = self._index.pop(item_id, None)
        if entry is None:
            return None
        self._bytes -= entry.size_bytes
        before, after = entry.before, entry.after
        if before is None:
            self._head = after
        else:
            before.after = after
        if after is None:
            self._tail = before
        else:
            after.before = before
        return entry

    def truncate(self, item_id: str, audio_end_ms: int) -> ConversationItem | None:
        """Notes that an assistant item was cut: it counts as heard up to there.

        One that stands there in words is another: what the late answer was for was taken out before.
        """
        entry = self._index.get(item_id)
        if entry is not None and (entry.received_ms or not entry.retold_ms):
            entry.cut_ms = max(0, audio_end_ms)
            entry.note_heard(entry.cut_ms)
        return entry

    def set_transcript(
        self, item_id: str, content_index: int, transcript: str, state: TranscriptState
    ) -> ConversationItem | None:
        """Writes the transcript of a message's audio part: a late attribute of an item in its place."""
        entry = self._index.get(item_id)
        if entry is None or not isinstance(entry.item, events.Message):
            return None
        content = list(entry.item.content)
        if 0 <= content_index < len(content):
            part = content[content_index]
            if isinstance(part, (events.InputAudio, events.OutputAudio)):
                content[content_index] = msgspec.structs.replace(part, transcript=transcript)
                entry.item = msgspec.structs.replace(entry.item, content=content)
                growth = len(transcript) - len(_part_text(part))
                self._count(entry, entry.size_bytes + growth)
                if self._bytes > self._max_bytes:
                    raise self._too_big()
        entry.transcript_state = state
        return entry

    def set_words(self, item_id: str, text: str, *, spoken: bool) -> ConversationItem | None:
        """Writes what an assistant message said, where no form of the item has told it.

        None may follow (a lost connection), or one without its words (a message that was cut while it
        was made). It comes when a response ends, whatever for, and never raises: the size of a response
        is bounded before.
        """
        entry = self._index.get(item_id)
        if (
            entry is not None
            and isinstance(entry.item, events.Message)
            and entry.item.status != "completed"  # else it was replaced while it was made
            and not entry.text
        ):
            part = events.OutputAudio(transcript=text) if spoken else events.OutputText(text=text)
            entry.item = msgspec.structs.replace(entry.item, content=[part])
            self._count(entry, entry.size_bytes + len(text))
        return entry

    def clear(self) -> None:
        """Forgets everything."""
        self._index.clear()
        self._announced.clear()
        self._head = self._tail = None
        self._bytes = 0

    def _count(self, entry: ConversationItem, size_bytes: int) -> None:
        """Notes what an item holds now."""
        self._bytes += size_bytes - entry.size_bytes
        entry.size_bytes = size_bytes

    def _keep(self, entry: ConversationItem, item: events.Item) -> None:
        """Takes over an item as the server told it.

        Raises:
            RemoteProtocolError: All items hold too much.
        """
        entry.item = item
        self._count(entry, size_of(item))
        if self._bytes > self._max_bytes:
            raise self._too_big()

    def _too_big(self) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"the items of the conversation hold more than {self._max_bytes:,} bytes "
            "(Limits.max_conversation_bytes)"
        )

    def _link(self, entry: ConversationItem, previous: ConversationItem | None) -> None:
        following = self._head if previous is None else previous.after
        entry.before = previous
        entry.after = following
        if previous is None:
            self._head = entry
        else:
            previous.after = entry
        if following is None:
            self._tail = entry
        else:
            following.before = entry


def item_id_of(item: events.Item) -> str:
    """The id of an item, or "" where it has none."""
    return item.id if isinstance(item.id, str) else ""


def size_of(item: events.Item) -> int:
    """About what an item takes: its JSON, and what the objects cost whatever is in them."""
    return _OBJECT_BYTES + len(_encode(item))


def without_audio(item: events.Item) -> events.Item:
    """The item without the audio bytes of its parts, which a mirror has no use for."""
    if isinstance(item, events.Message):
        for part in item.content:
            if _has_audio(part):
                content = [
                    msgspec.structs.replace(part, audio=UNSET) if _has_audio(part) else part
                    for part in item.content
                ]
                return msgspec.structs.replace(item, content=content)
    return item


def _has_audio(part: events.Part) -> bool:
    return type(part) in _WITH_AUDIO and getattr(part, "audio", UNSET) is not UNSET


def _newer(known: events.Item, told: events.Item) -> events.Item:
    """The newer of two forms of an item: status moves forward, what was confirmed is not dropped (C9)."""
    # Of an item without a status, or with one of its own, any form is newer than the one before.
    if getattr(told, "status", None) == "in_progress" and getattr(known, "status", None) in _ENDED:
        return known
    if isinstance(known, events.Message) and isinstance(told, events.Message):
        return _keep_transcripts(known, told)
    return told


def _keep_transcripts(known: events.Message, told: events.Message) -> events.Message:
    """Transcripts that are known stay, where the new form of the item has none yet."""
    if not known.content or known.content == told.content:
        return told
    if not told.content:
        return msgspec.structs.replace(told, content=known.content)
    content = told.content
    for index, (before, after) in enumerate(zip(known.content, told.content, strict=False)):
        if (
            isinstance(before, _WITH_AUDIO)
            and isinstance(after, type(before))
            and not isinstance(after.transcript, str)
            and isinstance(before.transcript, str)
        ):
            kept = msgspec.structs.replace(after, transcript=before.transcript)
            content = [*content[:index], kept, *content[index + 1 :]]
    return told if content is told.content else msgspec.structs.replace(told, content=content)
