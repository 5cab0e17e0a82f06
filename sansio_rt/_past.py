"""Items as history: what a conversation's items say, and how a client can say them again (parity C6, G14).

A client cannot put assistant audio into a conversation, and a mirror keeps no audio at all, so history
is text: transcripts stand for audio, and an answer that was cut off counts as far as it was heard.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from . import events

__all__ = [
    "as_history",
    "as_spoken",
    "has_speech",
    "heard_words",
    "is_heard_only",
    "is_unchanged",
    "place_of_speech",
    "same_content",
    "with_sound",
    "with_speech",
]

_SPEECH = (events.InputAudio, events.OutputAudio)


def heard_words(text: str, heard_ms: float, received_ms: float) -> str:
    """The part of a text that was heard, cut at a word's end by the share of audio heard.

    Args:
        text: The transcript of the whole audio.
        heard_ms: How much was heard, in milliseconds.
        received_ms: Length of the whole, in milliseconds.
    """
    if received_ms <= 0 or heard_ms >= received_ms:
        return text
    words = text.split(" ")
    return " ".join(words[: int(len(words) * heard_ms / received_ms)])


def as_history(item: events.Item, heard_text: str | None = None) -> events.Item:
    """The item as a client can create it.

    Args:
        item: An item as the server told it.
        heard_text: What was heard of an assistant message that was cut, or None for all of it.

    Returns:
        The item with text for audio, without the fields that are the server's to set. Audio without a
        transcript becomes an empty text, so that the turn stays in its place.
    """
    if isinstance(item, events.Message):
        assistant = item.role == "assistant"
        if heard_text is not None and assistant:
            parts: list[events.Part] = [events.OutputText(text=heard_text)]
        else:
            parts = [_said(part, assistant=assistant) for part in item.content]
        return events.Message(role=item.role, content=parts, id=item.id)
    if isinstance(item, (events.FunctionCall, events.FunctionCallOutput)):
        return msgspec.structs.replace(item, object=UNSET, status=UNSET)
    return item


def _said(part: events.Part, *, assistant: bool) -> events.Part:
    match part:
        case events.InputAudio(audio=str()):
            return part
        case events.InputAudio(transcript=words) | events.OutputAudio(transcript=words):
            text = words if isinstance(words, str) else ""
        case events.AudioPart(transcript=words):
            text = words if isinstance(words, str) else ""
        case events.TextPart(text=text):
            pass
        case _:
            return part
    return events.OutputText(text=text) if assistant else events.InputText(text=text)


def as_spoken(item_id: str, role: str, audio: bytes) -> events.Message:
    """A turn whose words are not known, as it was said.

    Args:
        item_id: Its id.
        role: Whose turn it is.
        audio: Its sound, in the session's input format.
    """
    return events.Message(role=role, content=[_sound(audio)], id=item_id)


def with_speech(given: events.Item, known: events.Item) -> events.Item:
    """An item that a caller wants, with what is known of the speech that it only has a place for.

    Args:
        given: What the caller wants: maybe taken from the conversation before words came, and edited.
        known: The item of that id.
    """
    if not (isinstance(given, events.Message) and isinstance(known, events.Message)):
        return given
    speech = [part for part in known.content if isinstance(part, events.InputAudio)]
    said = speech[:1] or known.content[:1]  # that is what it was put in again as
    places = [place for place, part in enumerate(given.content) if _is_heard_only(part)]
    if not (said and places):
        return given
    content = [*given.content[: places[0]], *said, *given.content[places[0] + 1 :]]
    return msgspec.structs.replace(given, content=content)


def place_of_speech(item: events.Item, known: events.Item) -> int | None:
    """Which part of an item is the speech of the one that is known, as far as its words are; or None."""
    if not (isinstance(item, events.Message) and isinstance(known, events.Message)):
        return None
    words = [part.transcript for part in known.content if isinstance(part, events.InputAudio)]
    for index, part in enumerate(item.content):
        if isinstance(part, events.InputAudio) and not part.audio and part.transcript in words:
            return index
    return None


def with_sound(item: events.Item, place: int, audio: bytes) -> events.Item:
    """A message with its speech as it was said.

    Args:
        item: A message.
        place: Which part of it is the speech.
        audio: Its sound, in the session's input format.
    """
    assert isinstance(item, events.Message)
    content = [*item.content[:place], _sound(audio), *item.content[place + 1 :]]
    return msgspec.structs.replace(item, content=content)


def _sound(audio: bytes) -> events.InputAudio:
    return events.InputAudio(audio=base64.b64encode(audio).decode("ascii"))


def is_heard_only(item: events.Item, *, words_count: bool = True) -> bool:
    """Whether an item has speech of which it has neither the words nor the sound: only the server has.

    Args:
        item: The item.
        words_count: Whether the words that it has are all of them.
    """
    return isinstance(item, events.Message) and any(
        isinstance(part, events.InputAudio)
        and not part.audio
        and not (part.transcript and words_count)
        for part in item.content
    )


def has_speech(item: events.Item) -> bool:
    """Whether an item has sound at the service, which is words at best where it is created again."""
    return isinstance(item, events.Message) and any(type(part) in _SPEECH for part in item.content)


def same_content(one: events.Item, other: events.Item) -> bool:
    """Whether two items of one id say the same, whatever the server has added to one of them."""
    return _content(one) == _content(other)


def is_unchanged(known: events.Item, given: events.Item) -> bool:
    """Whether a caller asks for no change of an item.

    Args:
        known: The item.
        given: What the caller wants: the same, or a turn as it was before its words came.
    """
    if same_content(known, given):
        return True
    return (
        isinstance(known, events.Message)
        and isinstance(given, events.Message)
        and known.role == given.role
        and len(known.content) == len(given.content)
        and all(
            _is_heard_only(part) or _part_content(before) == _part_content(part)
            for before, part in zip(known.content, given.content, strict=True)
        )
    )


def _is_heard_only(part: events.Part) -> bool:
    return isinstance(part, events.InputAudio) and not part.audio and not part.transcript


def _content(item: events.Item) -> object:
    match item:
        case events.Message():
            return item.role, [_part_content(part) for part in item.content]
        case events.FunctionCall():
            return item.name, item.call_id, item.arguments
        case events.FunctionCallOutput():
            return item.call_id, item.output
        case _:
            return item


def _part_content(part: events.Part) -> Sequence[Any]:
    match part:
        case (
            events.InputText(text=text) | events.OutputText(text=text) | events.TextPart(text=text)
        ):
            return "text", text
        case events.InputAudio() | events.OutputAudio() | events.AudioPart():
            if isinstance(part.transcript, str):
                return "text", part.transcript
            return "audio", part.audio
        case _:
            return "part", part
