"""The codec on any text: read, refused or unknown; what was read is written and read again as the same."""

from __future__ import annotations

from fuzz.codec_checks import DECODERS, decoded, same, there_and_back

MAX_BYTES = 1024


def fuzz(data: bytes) -> None:
    """Byte 0 chooses the direction and a form of the text; the rest is the text."""
    if not data:
        return
    decode, text = DECODERS[data[0] & 3], data[1:]
    event = decoded(decode, text)
    if event is not None:
        there_and_back(decode, event, text)
    if data[0] & 0xF0 == 0x10:  # another form of the same text
        form = bytearray(text) if data[0] & 4 else memoryview(text)
        other = decoded(decode, form)  # type: ignore[arg-type]
        assert (event is None) == (other is None)
        assert event is None or same(event, other)
