"""The codec on events of every type with fields spoilt: the lenient way, unknown fields, odd values."""

from __future__ import annotations

from typing import Any

import msgspec

from fuzz.codec_checks import DECODERS, decoded, there_and_back
from fuzz.drawing import Draw
from fuzz.shapes import draw_event
from sansio_rt import LocalProtocolError, events

MAX_BYTES = 96
_encode = msgspec.json.Encoder().encode


def fuzz(data: bytes) -> None:
    """Byte 0 chooses the side and what is done; the rest draws an event."""
    draw = Draw(data)
    how = draw.byte()
    server, what = how & 1 == 1, how >> 1 & 3
    event = draw_event(draw, server=server)
    decode = DECODERS[0 if server else 1]
    make = events.server_event_from if server else events.client_event_from
    if what == 3 and not server:
        _check(decoded(make, event))  # type: ignore[arg-type]
        return
    text = _encode(event)
    read = decoded(decode, text)
    if what == 1:  # text and plain JSON say the same
        assert read == decoded(make, event)  # type: ignore[arg-type]
    elif read is not None:
        there_and_back(decode, read, text)


def _check(event: Any) -> None:
    """Refuses, and fails in no other way."""
    if event is None or isinstance(event, events.UnknownEvent):
        return
    try:
        events.check(event)
    except LocalProtocolError as refusal:
        assert str(refusal)
