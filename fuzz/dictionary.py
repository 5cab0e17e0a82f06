"""libFuzzer's dictionary: the words of the protocol, taken from the events themselves."""

from __future__ import annotations

from pathlib import Path

from fuzz import shapes
from sansio_rt import events

# What the handshake and the frames are made of.
_OF_THE_WIRE = (
    b"HTTP/1.1 101 \r\n",
    b"HTTP/1.1 ",
    b"GET /v1/realtime HTTP/1.1\r\n",
    b"Host: h\r\n",
    b"Upgrade: websocket\r\n",
    b"Connection: Upgrade\r\n",
    b"Connection: close\r\n",
    b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Sec-WebSocket-Protocol: realtime\r\n",
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Retry-After: 3\r\n",
    b"\r\n\r\n",
    b"\x81\x00",
    b"\x81\x7e\x00\x7e",
    b"\x01\x01a",
    b"\x80\x01b",
    b"\x88\x02\x03\xe8",
    b"\x89\x00",
    b"\x81\x80\x00\x00\x00\x00",
)


def entries() -> list[bytes]:
    """All words: names and fields of events as JSON has them, and pieces of the wire."""
    found: set[str] = set()
    for server in (True, False):
        for kind in shapes.kinds(server=server):
            for sample in shapes.samples(kind, server=server):
                found |= shapes.words(sample)
    found |= {*events.TRANSLATION_SERVER_EVENTS, *events.TRANSLATION_CLIENT_EVENTS}
    in_json = [f'"{word}"'.encode() for word in sorted(found) if word and len(word) < 60]
    return [*in_json, b'{"type":', b'":null', b'":{"', b'":[{"', *_OF_THE_WIRE]


def write(file: Path) -> Path:
    """Writes the dictionary in libFuzzer's form."""
    lines = ('"' + "".join(f"\\x{byte:02x}" for byte in entry) + '"' for entry in entries())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", "ascii")
    return file
