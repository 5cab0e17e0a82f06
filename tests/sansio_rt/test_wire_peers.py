"""Third-party peers: the sans-IO protocols of `websockets` and `wsproto`, each in both roles."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri
from wsproto import WSConnection
from wsproto import events as ws
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.extensions import PerMessageDeflate

from sansio_rt._wire import (
    BinaryMessage,
    HandshakeAccepted,
    HandshakeRequest,
    Ping,
    Pong,
    TextMessage,
    Wire,
    WireClosed,
    WireEvent,
    WireRejected,
    WireState,
)


class CountedBytes:
    """Repeatable bytes for nonces and masks."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, length: int) -> bytes:
        self.count += 1
        return hashlib.sha256(self.count.to_bytes(4, "big")).digest()[:length]


class Peer:
    """What a test asks of another implementation; `seen` is what it has received."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def receive(self, data: bytes) -> None: ...
    def output(self) -> bytes: ...  # type: ignore[empty-body]
    def text(self, parts: Sequence[bytes]) -> None: ...
    def binary(self, data: bytes) -> None: ...
    def ping(self, data: bytes) -> None: ...
    def close(self, code: int, reason: str) -> None: ...
    @property
    def is_closed(self) -> bool: ...  # type: ignore[empty-body]


class WebsocketsPeer(Peer):
    """`websockets` 15, either role."""

    def __init__(self, *, client: bool) -> None:
        super().__init__()
        self.protocol: ClientProtocol | ServerProtocol
        if client:
            uri = parse_uri("ws://localhost/v1/realtime?model=m")
            self.protocol = ClientProtocol(uri, max_size=None)
            self.protocol.send_request(self.protocol.connect())
        else:
            self.protocol = ServerProtocol(max_size=None)
        self.message = b""

    def receive(self, data: bytes) -> None:
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                assert isinstance(self.protocol, ServerProtocol)
                self.protocol.send_response(self.protocol.accept(event))
            elif isinstance(event, Response):
                self.seen.append(event.status_code)
            elif event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self.message += event.data
                if event.fin:
                    self.seen.append(self.message)
                    self.message = b""
            else:
                self.seen.append((Opcode(event.opcode).name, bytes(event.data)))

    def output(self) -> bytes:
        return b"".join(self.protocol.data_to_send())

    def text(self, parts: Sequence[bytes]) -> None:
        first, *rest = parts
        self.protocol.send_text(first, fin=not rest)
        for index, part in enumerate(rest, 1):
            self.protocol.send_continuation(part, fin=index == len(rest))

    def binary(self, data: bytes) -> None:
        self.protocol.send_binary(data)

    def ping(self, data: bytes) -> None:
        self.protocol.send_ping(data)

    def close(self, code: int, reason: str) -> None:
        self.protocol.send_close(code, reason)

    @property
    def is_closed(self) -> bool:
        return self.protocol.state is not State.OPEN and self.protocol.close_rcvd is not None


class WsprotoPeer(Peer):
    """wsproto's own `WSConnection`, either role; as a client it offers compression, in vain."""

    def __init__(self, *, client: bool) -> None:
        super().__init__()
        kind = ConnectionType.CLIENT if client else ConnectionType.SERVER
        self.connection = WSConnection(kind)
        self.out = b""
        self.message = ""
        if client:
            request = ws.Request(
                host="localhost", target="/v1/realtime?model=m", extensions=[PerMessageDeflate()]
            )
            self.out = self.connection.send(request)

    def receive(self, data: bytes) -> None:
        self.connection.receive_data(data)
        for event in self.connection.events():
            if isinstance(event, ws.Request):
                self.out += self.connection.send(ws.AcceptConnection())
            elif isinstance(event, ws.AcceptConnection):
                assert event.extensions == []
                self.seen.append(101)
            elif isinstance(event, ws.TextMessage):
                self.message += event.data
                if event.message_finished:
                    self.seen.append(self.message.encode())
                    self.message = ""
            elif isinstance(event, ws.Ping):
                self.seen.append(("PING", bytes(event.payload)))
                self.out += self.connection.send(event.response())
            elif isinstance(event, ws.Pong):
                self.seen.append(("PONG", bytes(event.payload)))
            elif isinstance(event, ws.CloseConnection):
                reason = (event.reason or "").encode()
                self.seen.append(("CLOSE", int(event.code).to_bytes(2, "big") + reason))
                if self.connection.state is ConnectionState.REMOTE_CLOSING:
                    self.out += self.connection.send(event.response())

    def output(self) -> bytes:
        data, self.out = self.out, b""
        return data

    def text(self, parts: Sequence[bytes]) -> None:
        # wsproto takes text as str, so that its fragments are cut between characters.
        for index, part in enumerate(parts):
            message = ws.TextMessage(part.decode(), message_finished=index == len(parts) - 1)
            self.out += self.connection.send(message)

    def binary(self, data: bytes) -> None:
        self.out += self.connection.send(ws.BytesMessage(data))

    def ping(self, data: bytes) -> None:
        self.out += self.connection.send(ws.Ping(data))

    def close(self, code: int, reason: str) -> None:
        self.out += self.connection.send(ws.CloseConnection(code, reason))

    @property
    def is_closed(self) -> bool:
        return self.connection.state is ConnectionState.CLOSED


PEERS = pytest.mark.parametrize("make_peer", [WebsocketsPeer, WsprotoPeer])
ROLES = pytest.mark.parametrize("client", [True, False], ids=["our client", "our server"])
MakePeer = Callable[..., Peer]


def exchange(wire: Wire, peer: Peer, piece: int = 1 << 20) -> list[WireEvent]:
    """Carry bytes both ways until both are silent."""
    events: list[WireEvent] = []
    for _ in range(20):
        out, back = wire.data_to_send(), peer.output()
        if not out and not back:
            return events
        for start in range(0, len(out), piece):
            peer.receive(out[start : start + piece])
        for start in range(0, len(back), piece):
            wire.receive_data(back[start : start + piece])
        for event in iter(wire.next_event, None):
            events.append(event)
            if isinstance(event, HandshakeRequest):
                wire.accept()
    raise AssertionError("they never fall silent")


def connected(make_peer: MakePeer, *, client: bool) -> tuple[Wire, Peer]:
    peer = make_peer(client=not client)
    if client:
        wire = Wire.client(
            "localhost",
            "/v1/realtime?model=m",
            [("Authorization", "Bearer x")],
            random_bytes=CountedBytes(),
        )
    else:
        wire = Wire.server()
    (event,) = exchange(wire, peer)
    if client:
        assert isinstance(event, HandshakeAccepted)
    else:
        assert isinstance(event, HandshakeRequest)
        assert event.target == "/v1/realtime?model=m"
        assert peer.seen == [101]
    peer.seen.clear()
    assert wire.state is WireState.OPEN
    return wire, peer


@PEERS
@ROLES
def test_whole_conversation(make_peer: MakePeer, client: bool) -> None:
    wire, peer = connected(make_peer, client=client)
    texts = ["", "hi", "\u00e9" * 70, "x" * 66_000, '{"type":"session.update"}']
    for text in texts:
        wire.send_text(text.encode())
        peer.text([text.encode()])
    peer.text([b"first ", b"", "\u00e9nd".encode()])
    peer.binary(b"\x00\xff")
    wire.ping(b"ours")
    peer.ping(b"theirs")
    wanted = [TextMessage(text.encode()) for text in texts]
    assert exchange(wire, peer) == [
        *wanted,
        TextMessage("first \u00e9nd".encode()),
        BinaryMessage(b"\x00\xff"),
        Ping(b"theirs"),
        Pong(b"ours"),
    ]
    assert peer.seen == [text.encode() for text in texts] + [("PING", b"ours"), ("PONG", b"theirs")]


@PEERS
@ROLES
def test_we_close(make_peer: MakePeer, client: bool) -> None:
    wire, peer = connected(make_peer, client=client)
    wire.close(4002, "enough")
    (closed,) = exchange(wire, peer)
    assert closed == WireClosed(4002, closed.reason, by_peer=False, clean=True)  # type: ignore[union-attr]
    assert peer.seen == [("CLOSE", b"\x0f\xa2enough")]
    assert (wire.state, peer.is_closed) == (WireState.CLOSED, True)


@PEERS
@ROLES
def test_the_peer_closes(make_peer: MakePeer, client: bool) -> None:
    wire, peer = connected(make_peer, client=client)
    peer.text([b"last"])
    peer.close(1001, "going")
    assert exchange(wire, peer) == [
        TextMessage(b"last"),
        WireClosed(1001, "going", by_peer=True, clean=True),
    ]
    assert peer.seen == [("CLOSE", b"\x03\xe9")]
    assert (wire.state, peer.is_closed) == (WireState.CLOSED, True)


@PEERS
@ROLES
@settings(max_examples=40, deadline=None)
@given(
    ours=st.lists(st.text(max_size=200), max_size=6),
    theirs=st.lists(st.lists(st.text(max_size=80), min_size=1, max_size=4), max_size=6),
    piece=st.integers(1, 40),
)
def test_any_texts_in_any_fragments_and_reads(
    make_peer: MakePeer, client: bool, ours: list[str], theirs: list[list[str]], piece: int
) -> None:
    wire, peer = connected(make_peer, client=client)
    for text in ours:
        wire.send_text(text.encode())
    for parts in theirs:
        peer.text([part.encode() for part in parts])
    assert exchange(wire, peer, piece) == [TextMessage("".join(parts).encode()) for parts in theirs]
    assert peer.seen == [text.encode() for text in ours]


def test_rejection_by_websockets() -> None:
    server = ServerProtocol()
    wire = Wire.client("localhost", "/", random_bytes=CountedBytes())
    server.receive_data(wire.data_to_send())
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.reject(403, "not for you"))
    wire.receive_data(b"".join(server.data_to_send()))
    rejected, closed = iter(wire.next_event, None)
    assert isinstance(rejected, WireRejected)
    assert (rejected.error.status, rejected.error.body) == (403, "not for you")
    assert isinstance(closed, WireClosed)


def test_websockets_reads_our_rejection() -> None:
    client = ClientProtocol(parse_uri("ws://localhost/"))
    client.send_request(client.connect())
    wire = Wire.server()
    wire.receive_data(b"".join(client.data_to_send()))
    wire.reject(429, [("Retry-After", "2")], b"slow down")
    client.receive_data(wire.data_to_send())
    client.receive_eof()
    (response,) = client.events_received()
    assert isinstance(response, Response)
    assert (response.status_code, response.body) == (429, b"slow down")
    assert response.headers["Retry-After"] == "2"


def test_a_frame_that_is_bad_for_websockets_is_bad_for_us() -> None:
    for opcode, data in ((Opcode.TEXT, b"\xff"), (Opcode.CONT, b"x")):
        bad = Frame(opcode, data).serialize(mask=False)
        wire, _ = connected(WebsocketsPeer, client=True)
        wire.receive_data(bad)
        closed = list(iter(wire.next_event, None))[-1]
        assert isinstance(closed, WireClosed)
        assert closed.code == (1007 if opcode is Opcode.TEXT else 1002)
