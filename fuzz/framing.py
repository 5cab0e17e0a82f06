"""WebSocket frames and opened wires for the targets, written apart from the code that is fuzzed.

The reader here is an oracle: it is strict about what an endpoint may send (RFC 6455, section 5), and it is
short enough to be checked by reading.
"""

from __future__ import annotations

from typing import NamedTuple

from sansio_rt._handshake import ClientHandshake, ServerHandshake
from sansio_rt._wire import Wire, WireState

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
NO_MASK_KEY = bytes(4)


class Frame(NamedTuple):
    """One frame that was sent."""

    opcode: int
    payload: bytes


def frame(payload: bytes, *, opcode: int = TEXT, masked: bool = False) -> bytes:
    """One whole frame; a mask is all zeros, so that the payload can be read as it is."""
    size, bit = len(payload), 0x80 if masked else 0
    if size < 126:
        head = bytes((0x80 | opcode, bit | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, bit | 127)) + size.to_bytes(8, "big")
    return head + (NO_MASK_KEY if masked else b"") + payload


def sent_frames(data: bytes, *, masked: bool) -> list[Frame]:
    """Takes apart what one of our endpoints sent; fails where RFC 6455 does not allow it.

    Args:
        data: All bytes behind the handshake; ours are never fragmented.
        masked: Whether the sender is a client.
    """
    frames: list[Frame] = []
    at = 0
    while at < len(data):
        assert not frames or frames[-1].opcode != CLOSE, "something was sent behind a close frame"
        opcode, size = data[at] & 0x0F, data[at + 1] & 0x7F
        assert data[at] & 0xF0 == 0x80, "a fragment, or a reserved bit"
        assert (data[at + 1] >= 0x80) is masked, "masked by the wrong side"
        at += 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(data[at : at + width], "big")
            assert size > (125 if width == 2 else 65535), "a length is not the shortest"
            at += width
        assert opcode in (TEXT, CLOSE, PING, PONG), f"opcode {opcode}"
        assert opcode == TEXT or size <= 125, "a control frame is too long"
        if masked:
            key, at = data[at : at + 4], at + 4
            assert key == NO_MASK_KEY, "the source of masks was not asked"
        payload = data[at : at + size]
        assert len(payload) == size, "a frame is not whole"
        at += size
        if opcode == TEXT:
            payload.decode()
        if opcode == CLOSE and payload:
            assert len(payload) > 1
            assert int.from_bytes(payload[:2], "big") not in (1004, 1005, 1006, 1015)
            payload[2:].decode()
        frames.append(Frame(opcode, payload))
    return frames


def first_frames(data: bytes, count: int) -> bytes:
    """The bytes of the first frames, whatever they are, and no more: a bound on the work of an input."""
    at, size = 0, len(data)
    for _ in range(count):
        if at + 2 > size:
            return data
        length = data[at + 1] & 0x7F
        width = 0 if length < 126 else 2 if length == 126 else 8
        if width:
            length = int.from_bytes(data[at + 2 : at + 2 + width], "big")
        at += 2 + width + length + (4 if data[at + 1] & 0x80 else 0)
    return data[:at]


class _NoClientHandshake(ClientHandshake):
    """A client's handshake that is over: to make one would cost most of a short life."""

    def __init__(self) -> None:
        self.trailing = b""


class _NoServerHandshake(ServerHandshake):
    """A server's, likewise."""

    def __init__(self) -> None:
        self.refusal = b""


_CLIENT_HANDSHAKE, _SERVER_HANDSHAKE = _NoClientHandshake(), _NoServerHandshake()


def opened_wire(
    *,
    client: bool,
    fast_lane: bool = True,
    max_message_bytes: int = 1 << 20,
    max_message_frames: int = 64,
) -> Wire:
    """A wire as it is right behind its handshake; a client's masks are zeros."""
    wire = Wire(
        _CLIENT_HANDSHAKE if client else _SERVER_HANDSHAKE,
        bytes if client else None,
        max_message_bytes=max_message_bytes,
        max_message_frames=max_message_frames,
        fast_lane=fast_lane,
    )
    # What `Wire` does when a handshake ends well; the handshake targets go the whole way.
    wire._state = WireState.OPEN
    wire._handshake = None
    return wire
