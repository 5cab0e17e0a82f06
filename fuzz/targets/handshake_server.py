"""The server's opening handshake: any request in any pieces, and the rules of admission."""

from __future__ import annotations

from fuzz.drawing import Draw
from fuzz.wire_life import pieces, tell
from sansio_rt import LocalProtocolError, ServerProtocol
from sansio_rt._wire import HandshakeRequest, Wire, WireClosed, WireEvent, WireState

MAX_BYTES = 1024


def fuzz(data: bytes) -> None:
    """Bytes 0 and 1 choose the pieces and the answer; the rest is what the client sends."""
    draw = Draw(data)
    way, answer = draw.byte(), draw.byte()
    stream = draw.rest()
    if answer & 0x80:
        _whole_server(stream, way)
        return
    events, sent = _life(stream, 0, answer)
    assert sum(isinstance(event, HandshakeRequest) for event in events) <= 1
    assert sum(isinstance(event, WireClosed) for event in events) == 1
    assert isinstance(events[-1], WireClosed)
    assert sent == b"" or sent.startswith(b"HTTP/1.1 ")
    # More bytes before the answer are a mistake, so that pieces count from the end of the head on.
    if way & 7 and stream.endswith(b"\r\n\r\n") and stream.count(b"\r\n\r\n") == 1:
        again, sent_again = _life(stream, way, answer)
        assert list(map(tell, again)) == list(map(tell, events))
        assert sent_again == sent


def _life(stream: bytes, way: int, answer: int) -> tuple[list[WireEvent], bytes]:
    wire = Wire.server(max_head_bytes=512)
    events: list[WireEvent] = []
    for piece in pieces(stream, way):
        wire.receive_data(piece)
        while (event := wire.next_event()) is not None:
            events.append(event)
            if isinstance(event, HandshakeRequest):
                _answer(wire, event, answer)
    sent = wire.data_to_send()
    wire.receive_eof()
    events += iter(wire.next_event, None)
    assert wire.state is WireState.CLOSED
    return events, sent


def _answer(wire: Wire, request: HandshakeRequest, answer: int) -> None:
    offered = request.subprotocols
    try:
        if answer & 1:
            wire.reject(300 + (answer & 0x7E) * 2, [("X-Why", "no")], b"no")
        elif answer & 2:
            wire.accept(subprotocol="never-offered")
        else:
            wire.accept([("X-A", "b")], subprotocol=offered[0] if offered else None)
    except LocalProtocolError:
        if not answer & 3 and offered:
            wire.accept()  # what h11 took as a header it must be able to send, but for the token


def _whole_server(stream: bytes, way: int) -> None:
    server = ServerProtocol(api_key="key" if way & 8 else None)
    for piece in pieces(stream, way):
        server.receive_data(piece, 0.0)
        server.data_to_send()
    server.receive_eof(0.0)
    assert server.ending is not None
