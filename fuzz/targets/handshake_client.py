"""The client's opening handshake: any answer in any pieces is accepted, rejected or refused."""

from __future__ import annotations

from fuzz.framing import sent_frames
from fuzz.wire_life import pieces, tell
from sansio_rt._wire import (
    HandshakeAccepted,
    Wire,
    WireClosed,
    WireEvent,
    WireRejected,
    WireState,
)

MAX_BYTES = 1024
ACCEPT = "ICX+Yqv66kxgM0FcWaLWlFLwTAI="  # for the nonce of zeros, by RFC 6455, section 4.2.2


def fuzz(data: bytes) -> None:
    """Byte 0 chooses the pieces; the rest is what the server answers."""
    way, stream = data[0] if data else 0, data[1:]
    events, state = _life(stream, 0, way)
    accepted = [event for event in events if isinstance(event, HandshakeAccepted)]
    rejected = [event for event in events if isinstance(event, WireRejected)]
    closed = [event for event in events if isinstance(event, WireClosed)]
    assert len(accepted) + len(rejected) <= 1
    assert len(closed) == 1
    assert state is WireState.CLOSED
    if accepted:
        assert ACCEPT.encode() in stream
    for event in rejected:
        assert event.error.status != 101
        assert len(event.error.body) <= 64
        assert event.error.reason.isprintable()
        assert str(event.error)
    if way & 7:
        again, _ = _life(stream, way, way)
        assert list(map(_tell, again)) == list(map(_tell, events))


def _life(stream: bytes, how: int, way: int) -> tuple[list[WireEvent], WireState]:
    wire = Wire.client(
        "example.org",
        "/v1/realtime?model=m",
        subprotocols=("realtime",) if way & 8 else (),
        random_bytes=bytes,
        max_head_bytes=512,
        max_rejection_bytes=64,
    )
    assert wire.data_to_send().startswith(b"GET /v1/realtime?model=m HTTP/1.1\r\n")
    for piece in pieces(stream, how):
        wire.receive_data(piece)
    wire.receive_eof()
    sent_frames(wire.data_to_send(), masked=True)
    return list(iter(wire.next_event, None)), wire.state


def _tell(event: WireEvent) -> object:
    if isinstance(event, WireRejected):
        return type(event.error), str(event.error), event.error.retry_after_s
    return tell(event)
