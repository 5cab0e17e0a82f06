"""The codec on events of every type with fields spoilt: the lenient way, unknown fields, odd values."""

from __future__ import annotations

import msgspec

from fuzz.codec_checks import DECODERS, decoded, there_and_back
from fuzz.drawing import Draw
from fuzz.shapes import draw_event
from sansio_rt import LocalProtocolError, events

MAX_BYTES = 96
_IDS = ("id", "")
_encode = msgspec.json.Encoder().encode


def fuzz(data: bytes) -> None:
    """Byte 0 chooses the side; the rest draws an event."""
    draw = Draw(data)
    server = draw.flag()
    event = draw_event(draw, server=server)
    decode = DECODERS[0 if server else 1]
    from_text = decoded(decode, _encode(event))
    make = events.server_event_from if server else events.client_event_from
    from_data = decoded(make, event)  # type: ignore[arg-type]
    assert (from_text is None) == (from_data is None)
    if from_text is None:
        return
    assert from_text == from_data
    there_and_back(decode, from_text)
    if not server and not isinstance(from_text, events.UnknownEvent):
        try:
            events.check(from_text)  # type: ignore[arg-type]
        except LocalProtocolError as refusal:
            assert str(refusal)
