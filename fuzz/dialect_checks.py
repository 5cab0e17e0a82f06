"""What must hold of a dialect that is not the GA's, there and back."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from fuzz.codec_checks import decoded
from fuzz.drawing import Draw
from fuzz.shapes import Json, draw_event
from sansio_rt import Dialect, LocalProtocolError, SchemaError, UnsupportedByDialect, events
from sansio_rt._dialects import (
    client_from_wire,
    decode,
    encode,
    from_wire,
    server_to_wire,
    to_wire,
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
# Settings by names, and values of `role` and of a part's `type`, that no server of a beta knows.
_GA_SETTINGS = frozenset(
    {"audio", "output_modalities", "max_output_tokens", "truncation", "reasoning", "include"}
    | {"prompt", "parallel_tool_calls"}
)
_GA_WORDS = frozenset({"developer", "output_text", "output_audio"})
_PLACES_OF_SETTINGS = ("session", "response")


def fuzz_dialect(dialect: Dialect, data: bytes) -> None:
    """Byte 0 chooses what is tried; the rest draws an event, or is a server's text."""
    draw = Draw(data)
    how = draw.byte()
    match how & 3:
        case 0:
            _server_text(dialect, draw.rest())
        case 1:
            _server_event(dialect, draw_event(draw, server=True))
        case 2:
            event = draw_event(draw, server=False)
            _client_event(dialect, _thinned(event, draw) if how & 4 else event)
        case _:
            _read_as_it_is(dialect, draw)


def _server_text(dialect: Dialect, text: bytes) -> None:
    """The fast road and the slow one lead to the same event."""
    fast = decoded(lambda message: decode(dialect, message), text)
    try:
        data = _decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        assert fast is None
        return
    if not isinstance(data, dict):
        assert fast is None
        return
    slow = decoded(lambda event: events.server_event_from(from_wire(dialect, event)), data)  # type: ignore[arg-type]
    assert fast == slow or _has_a_name_twice(text), (fast, slow)


def _has_a_name_twice(text: bytes) -> bool:
    """Whether an object in it has a name twice, so that it has no one meaning (RFC 8259, section 4)."""
    twice: list[bool] = []
    json.loads(text, object_pairs_hook=lambda pairs: twice.append(len(dict(pairs)) < len(pairs)))
    return any(twice)


def _server_event(dialect: Dialect, event: Json) -> None:
    """What the server's role writes, the client's reads as it was meant."""
    before = _encode(event)
    try:
        written = server_to_wire(dialect, event)
    except UnsupportedByDialect:
        written = None
    assert _encode(event) == before, "the argument was changed"
    if written is None:
        return
    text = _encode(written)
    _server_text(dialect, text)
    read = from_wire(dialect, _decode(text))
    assert server_to_wire(dialect, read) == _decode(text), "there, back and there is not there"


def _client_event(dialect: Dialect, event: Json) -> None:
    """What the client's role writes, the server's reads, and writing that again is the same."""
    before = _encode(event)
    try:
        written = to_wire(dialect, event)
    except UnsupportedByDialect as refusal:
        assert dialect.value in str(refusal)
        written = None
    assert _encode(event) == before, "the argument was changed"
    if written is not None:
        read = client_from_wire(dialect, _decode(_encode(written)))
        again = to_wire(dialect, read)
        assert _decode(_encode(again)) == _decode(_encode(written)), (written, read, again)
    try:
        made = events.client_event_from(event)
        text = encode(dialect, made)
    except (SchemaError, LocalProtocolError):
        return
    _check_names(made, _decode(text))


def _thinned(event: Json, draw: Draw) -> Json:
    """An event with at most two settings: of many together there is always one that a beta refuses."""
    for place in _PLACES_OF_SETTINGS:
        settings = event.get(place)
        if isinstance(settings, dict) and settings:
            names = list(settings)
            kept = {"type", draw.choice(names), draw.choice(names)}
            inner = {name: value for name, value in settings.items() if name in kept}
            return {**event, place: inner}
    return event


def _check_names(event: events.ClientEvent, written: Any) -> None:
    """What goes to a server of a beta has no word that only the GA knows, where we know the event."""
    assert isinstance(written, dict)
    if isinstance(event, events.UnknownEvent):
        return
    for place in _PLACES_OF_SETTINGS:
        settings = written.get(place)
        if isinstance(settings, dict):
            names = _GA_SETTINGS & settings.keys()
            if written["type"] == "transcription_session.update":
                names -= {"include"}  # which the beta's transcription has, too
            assert not names, written
    item: Any = getattr(event, "item", None)
    if isinstance(item, events.Message):
        told = written["item"]
        assert told["role"] not in _GA_WORDS, written
        if item.role == "assistant":
            assert not _GA_WORDS & {part.get("type") for part in told["content"]}, written


def _read_as_it_is(dialect: Dialect, draw: Draw) -> None:
    """Reading refuses nothing, whatever dialect the event is in, and changes nothing."""
    event: Json = draw_event(draw, server=draw.flag())
    before = _encode(event)
    readings: tuple[Any, ...] = (from_wire(dialect, event), client_from_wire(dialect, event))
    assert all(isinstance(reading, dict) for reading in readings)
    assert _encode(event) == before, "the argument was changed"
