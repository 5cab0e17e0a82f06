"""The opening handshake in both roles: accepted, rejected, broken, endless, in any split."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sansio_rt._errors import FrameError, HandshakeRejected, LocalProtocolError
from sansio_rt._wire import (
    HandshakeAccepted,
    HandshakeRequest,
    TextMessage,
    Wire,
    WireClosed,
    WireEvent,
    WireFailed,
    WireRejected,
    WireState,
)

GONE = WireClosed(1006, "", by_peer=True, clean=False)
FAILED = WireClosed(1006, "", by_peer=False, clean=False)


def zeros(length: int) -> bytes:
    return bytes(length)


KEY = base64.b64encode(zeros(16))
ACCEPT = base64.b64encode(
    hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
).decode()


def new_client(**settings: object) -> Wire:
    wire = Wire.client("host.example", "/v1/realtime?model=m", random_bytes=zeros, **settings)  # type: ignore[arg-type]
    wire.data_to_send()
    return wire


def take(wire: Wire) -> list[WireEvent]:
    return list(iter(wire.next_event, None))


def comparable(event: WireEvent) -> object:
    """Errors compare by identity; make two runs' events comparable."""
    if isinstance(event, WireRejected | WireFailed):
        return type(event), type(event.error), vars(event.error), str(event.error)
    return event


def split_ways(data: bytes) -> list[list[bytes]]:
    halves = [[data[:cut], data[cut:]] for cut in range(1, len(data), max(1, len(data) // 40))]
    return [[data], [data[i : i + 1] for i in range(len(data))], *halves]


def events_of(
    pieces: Iterable[bytes], *, eof: bool = False, **settings: object
) -> tuple[list[object], WireState]:
    wire = new_client(**settings)
    for piece in pieces:
        wire.receive_data(piece)
    if eof:
        wire.receive_eof()
    return [comparable(event) for event in take(wire)], wire.state


def every_split(data: bytes, *, eof: bool = False, **settings: object) -> list[WireEvent]:
    """The events of an answer, after making sure that they do not depend on the split."""
    wire = new_client(**settings)
    wire.receive_data(data)
    if eof:
        wire.receive_eof()
    whole = take(wire)
    wanted = [comparable(event) for event in whole], wire.state
    for pieces in split_ways(data):
        assert events_of(pieces, eof=eof, **settings) == wanted
    return whole


def answer(*fields: str, status: str = "HTTP/1.1 101 Switching Protocols") -> bytes:
    return "\r\n".join((status, *fields, "", "")).encode("latin-1")


GOOD_FIELDS = ("Upgrade: WebSocket", "Connection: keep-alive, upgrade")
GOOD = answer(*GOOD_FIELDS, f"Sec-WebSocket-Accept: {ACCEPT}", "X-Request-Id: req_1")


# --- the client's request ---------------------------------------------------------------------


def test_request_has_all_that_rfc_6455_asks_for() -> None:
    wire = Wire.client(
        "host.example:8443",
        "/v1/realtime?model=m",
        [("Authorization", "Bearer sk-1"), ("OpenAI-Beta", "realtime=v1")],
        subprotocols=["realtime", "openai-insecure-api-key.sk-2"],
        random_bytes=zeros,
    )
    head, _, rest = wire.data_to_send().partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert rest == b""
    assert lines[0] == "GET /v1/realtime?model=m HTTP/1.1"
    assert dict(line.split(": ", 1) for line in lines[1:]) == {
        "Host": "host.example:8443",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY.decode(),
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "realtime, openai-insecure-api-key.sk-2",
        "Authorization": "Bearer sk-1",
        "OpenAI-Beta": "realtime=v1",
    }
    assert wire.state is WireState.CONNECTING
    assert wire.data_to_send() == b""


@pytest.mark.parametrize(
    "arguments",
    [
        {"headers": [("Authorization", "Bearer SECRET\r\nX-Evil: 1")]},
        {"headers": [("Authorization", "Bearer SECRET\n")]},
        {"headers": [("Authorization", " SECRET")]},
        {"headers": [("Authorization", "SECRET\u20ac")]},
        {"headers": [("Authorization", b"SECRET")]},
        {"headers": [("SECRET header", "x")]},
        {"headers": [("", "SECRET")]},
        {"headers": [("Sec-WebSocket-Key", "SECRET")]},
        {"headers": [("content-LENGTH", "5")]},
        {"subprotocols": ["SECRET key"]},
        {"subprotocols": ["SECRET,b"]},
        {"subprotocols": [""]},
        {"host": "host SECRET"},
        {"host": "host\r\nSECRET: 1"},
        {"host": "user:SECRET@host"},
        {"host": ""},
        {"target": "v1/SECRET"},
        {"target": "/v1 SECRET"},
        {"target": "/v1\r\nSECRET"},
        {"target": "/v1#SECRET"},
        {"target": "/v\xe9?SECRET"},
        {"random_bytes": lambda length: b"short"},
    ],
)
def test_what_is_no_http_is_refused_without_showing_it(arguments: dict[str, object]) -> None:
    usable: dict[str, object] = {"host": "h", "target": "/", "random_bytes": zeros}
    with pytest.raises(LocalProtocolError) as caught:
        Wire.client(**{**usable, **arguments})  # type: ignore[arg-type]
    assert "SECRET" not in str(caught.value).replace("SECRET header", "")
    assert caught.value.__context__ is None


# --- the server's answer ----------------------------------------------------------------------


def test_accepted_handshake_opens_the_connection() -> None:
    accepted, *rest = every_split(GOOD)
    assert isinstance(accepted, HandshakeAccepted)
    assert accepted.status == 101
    assert accepted.subprotocol is None
    assert ("x-request-id", "req_1") in accepted.headers
    assert rest == []


def test_messages_behind_the_answer_are_not_lost() -> None:
    # More of them than the answer's heads may have bytes.
    frames = (b"\x81\x02hi") * 100
    events = every_split(GOOD + frames, max_head_bytes=300)
    assert events[1:] == [TextMessage(b"hi")] * 100


def test_informational_answers_before_are_skipped() -> None:
    early = answer("Link: </x>", status="HTTP/1.1 103 Early Hints")
    assert isinstance(every_split(early * 3 + GOOD)[0], HandshakeAccepted)


def test_chosen_subprotocol_is_told() -> None:
    data = GOOD[:-2] + b"Sec-WebSocket-Protocol: realtime\r\n\r\n"
    (accepted,) = every_split(data, subprotocols=["realtime", "other"])
    assert isinstance(accepted, HandshakeAccepted)
    assert accepted.subprotocol == "realtime"


@pytest.mark.parametrize(
    "fields",
    [
        ("Connection: Upgrade", f"Sec-WebSocket-Accept: {ACCEPT}"),
        ("Upgrade: h2c", "Connection: Upgrade", f"Sec-WebSocket-Accept: {ACCEPT}"),
        ("Upgrade: websocket", f"Sec-WebSocket-Accept: {ACCEPT}"),
        ("Upgrade: websocket", "Connection: close", f"Sec-WebSocket-Accept: {ACCEPT}"),
        GOOD_FIELDS,
        (*GOOD_FIELDS, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        (*GOOD_FIELDS, f"Sec-WebSocket-Accept: {ACCEPT.lower()}"),
        (*GOOD_FIELDS, *[f"Sec-WebSocket-Accept: {ACCEPT}"] * 2),
        (
            *GOOD_FIELDS,
            f"Sec-WebSocket-Accept: {ACCEPT}",
            "Sec-WebSocket-Extensions: permessage-deflate",
        ),
        (*GOOD_FIELDS, f"Sec-WebSocket-Accept: {ACCEPT}", "Sec-WebSocket-Protocol: other"),
        (
            *GOOD_FIELDS,
            f"Sec-WebSocket-Accept: {ACCEPT}",
            "Sec-WebSocket-Protocol: realtime, realtime",
        ),
        (
            *GOOD_FIELDS,
            f"Sec-WebSocket-Accept: {ACCEPT}",
            *["Sec-WebSocket-Protocol: realtime"] * 2,
        ),
    ],
)
def test_a_101_that_breaks_a_rule_fails(fields: Sequence[str]) -> None:
    events = every_split(answer(*fields) + b"\x81\x02hi", subprotocols=["realtime"])
    assert isinstance(events[0], WireFailed)
    assert isinstance(events[0].error, FrameError)
    assert events[1:] == [FAILED]


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46" + b"\r\n\r\n",
        b"HTTP/1.1 200\x00 OK\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\n\r\n",
        b"HTTP/2 101 No\r\n\r\n",
        b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.0 101 Old" + GOOD[len("HTTP/1.1 101 Switching Protocols") :],
    ],
)
def test_garbage_fails(data: bytes) -> None:
    events = every_split(data)
    assert isinstance(events[0], WireFailed)
    assert isinstance(events[0].error, FrameError)
    assert events[1:] == [FAILED]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 5000,
        b"HTTP/1.1 200 OK\r\n" + b"X-More: 1\r\n" * 500,
        b"HTTP/1.1 101 Switching Protocols\r\n" + b"X-More: 1\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 200 + GOOD,
        b"a" * 5000,
    ],
)
def test_endless_heads_are_cut_off(data: bytes) -> None:
    events = every_split(data, max_head_bytes=1000)
    assert isinstance(events[0], WireFailed)
    assert "1000 bytes of headers" in str(events[0].error)
    assert events[1:] == [FAILED]


# --- rejection --------------------------------------------------------------------------------


def rejection(events: list[WireEvent]) -> HandshakeRejected:
    rejected, closed = events
    assert isinstance(rejected, WireRejected)
    assert closed == GONE
    return rejected.error


@pytest.mark.parametrize("status", [200, 204, 301, 304, 400, 401, 404, 429, 500, 503, 999])
def test_every_other_status_is_a_rejection(status: int) -> None:
    data = answer(
        *GOOD_FIELDS,
        f"Sec-WebSocket-Accept: {ACCEPT}",
        "Content-Length: 0",
        status=f"HTTP/1.1 {status} Because",
    )
    error = rejection(every_split(data))
    assert (error.status, error.reason, error.body) == (status, "Because", "")
    assert error.retry_after_s is None


CHUNKED = b"4\r\nwait\r\n8;x=y\r\n a while\r\n0\r\nX-Trailer: 1\r\n\r\n"


@pytest.mark.parametrize(
    ("fields", "body", "eof", "wanted"),
    [
        (["Content-Length: 12"], b"wait a while", False, "wait a while"),
        (["Content-Length: 12"], b"wait a while, and more", False, "wait a while"),
        (["Content-Length: 12"], b"wait", True, "wait"),
        (["Transfer-Encoding: chunked"], CHUNKED, False, "wait a while"),
        (["Transfer-Encoding: chunked"], CHUNKED[:12], True, "wait"),
        (["Transfer-Encoding: chunked"], b"4\r\nwait\r\nzzz\r\n", False, "wait"),
        (["Transfer-Encoding: chunked"], b"4\r\nwaitXX\r\n", False, "wait"),
        ([], b"wait a while", True, "wait a while"),
        ([], b"", True, ""),
        (["Content-Length: 99"], b"x" * 79 + "\u20ac".encode(), False, "x" * 79 + "\ufffd"),
        ([], b"e" * 1000, False, "e" * 80),
    ],
)  # fmt: skip
def test_body_of_a_rejection(fields: list[str], body: bytes, eof: bool, wanted: str) -> None:
    data = answer(*fields, status="HTTP/1.1 429 Too Many Requests") + body
    error = rejection(every_split(data, eof=eof, max_rejection_bytes=80))
    assert (error.status, error.reason, error.body) == (429, "Too Many Requests", wanted)


def test_a_body_may_be_longer_than_the_heads() -> None:
    body = b"b" * 3000
    data = answer("Content-Length: 3000", status="HTTP/1.1 500 Oh") + body
    assert rejection(every_split(data, max_head_bytes=100)).body == body.decode()


def test_a_body_without_end_waits_for_the_end_of_the_stream() -> None:
    wire = new_client()
    wire.receive_data(answer(status="HTTP/1.1 401 Unauthorized") + b"bad key")
    assert (wire.next_event(), wire.state) == (None, WireState.CONNECTING)
    wire.receive_eof()
    assert rejection(take(wire)).body == "bad key"


def test_an_old_server_can_reject() -> None:
    data = answer(status="HTTP/1.0 404 Not Found") + b"no such page"
    assert rejection(every_split(data, eof=True)).body == "no such page"


def test_a_chunked_body_of_tiny_chunks_and_long_extensions_stays_bounded() -> None:
    wire = new_client(max_head_bytes=1000)
    wire.receive_data(answer("Transfer-Encoding: chunked", status="HTTP/1.1 500 Oh"))
    for _ in range(10):
        wire.receive_data(b"1;" + b"x" * 200)
    assert rejection(take(wire)).status == 500


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("20", 20.0), ("1.5", 1.5), ("-1", None), ("inf", None), ("9" * 400, None),
     ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)  # fmt: skip
def test_retry_after(value: str, seconds: float | None) -> None:
    data = answer(f"Retry-After: {value}", "Content-Length: 0", status="HTTP/1.1 429 Slow down")
    assert rejection(every_split(data)).retry_after_s == seconds


def test_a_reason_is_one_line_of_words() -> None:
    data = answer("Content-Length: 0", status="HTTP/1.1 500 Out\tof  luck \t")
    assert rejection(every_split(data)).reason == "Out of luck"


def test_what_could_command_a_terminal_is_taken_out() -> None:
    data = answer("Content-Length: 10", status="HTTP/1.1 500 a\x1b[2Jb") + b"c\x1b]0;\x07d\n\x9be"
    error = rejection(every_split(data))
    assert error.reason == "a[2Jb"
    assert error.body == "c]0;d\n\ufffde"


def test_end_of_stream_before_an_answer_is_a_close_without_code() -> None:
    for length in range(len(GOOD)):
        wire = new_client()
        wire.receive_data(GOOD[:length])
        wire.receive_eof()
        wire.receive_eof()
        assert take(wire) == [GONE]
        assert wire.state is WireState.CLOSED
        wire.receive_data(GOOD)
        assert wire.next_event() is None


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from(
                [b"HTTP/1.1 ", b"101 ", b"200 OK", b"\r\n", b"\r\n\r\n", b"\n", b"\n\n", CHUNKED]
                + [line.encode() + b"\r\n" for line in GOOD_FIELDS]
                + [b"Content-Length: ", b"5", b"Transfer-Encoding: chunked\r\n", b": ", b" x"]
                + [f"Sec-WebSocket-Accept: {ACCEPT}\r\n".encode()]
            ),
        ),
        max_size=20,
    ),
    st.booleans(),
)
def test_any_bytes_give_documented_events_in_any_split(pieces: list[bytes], eof: bool) -> None:
    wanted = events_of([b"".join(pieces)], eof=eof)
    assert events_of(pieces, eof=eof) == wanted
    assert events_of([bytes([byte]) for piece in pieces for byte in piece], eof=eof) == wanted


# --- the server role --------------------------------------------------------------------------

REQUEST_FIELDS = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY.decode(),
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "realtime, Other",
    "Authorization": "Bearer sk-secret",
}


def request(line: str = "GET /v1?api-key=sk-secret HTTP/1.1", **changes: str | None) -> bytes:
    renamed = {name.replace("_", "-"): value for name, value in changes.items()}
    fields = {**REQUEST_FIELDS, **renamed}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join((line, *lines, "", "")).encode()


def asked() -> Wire:
    wire = Wire.server()
    wire.receive_data(request())
    wire.next_event()
    return wire


def test_request_is_told_whole_and_its_repr_keeps_the_secrets() -> None:
    for pieces in split_ways(request()):
        wire = Wire.server()
        for piece in pieces:
            wire.receive_data(piece)
        (event,) = take(wire)
        assert isinstance(event, HandshakeRequest)
        assert event.target == "/v1?api-key=sk-secret"
        assert event.subprotocols == ("realtime", "Other")
        assert ("authorization", "Bearer sk-secret") in event.headers
        assert "sk-secret" not in repr(event)
        assert "authorization" in repr(event)
        assert wire.data_to_send() == b""


def test_accept_opens_and_answers() -> None:
    wire = asked()
    wire.accept([("X-Id", "7")], subprotocol="Other")
    assert wire.state is WireState.OPEN
    head = wire.data_to_send().decode().split("\r\n")
    assert head[0].startswith("HTTP/1.1 101")
    assert f"Sec-WebSocket-Accept: {ACCEPT}" in head
    assert "Sec-WebSocket-Protocol: Other" in head
    assert "X-Id: 7" in head
    for call in (wire.accept, lambda: wire.reject(404)):
        with pytest.raises(LocalProtocolError):
            call()


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (405, request("POST / HTTP/1.1")),
        (405, request("HEAD / HTTP/1.1")),
        (505, request("GET / HTTP/1.0")),
        (426, request(Upgrade=None)),
        (426, request(Upgrade="h2c")),
        (426, request(Connection="keep-alive")),
        (426, request(Sec_WebSocket_Version="8")),
        (426, request(Sec_WebSocket_Version=None)),
        (400, request(Sec_WebSocket_Key=None)),
        (400, request(Sec_WebSocket_Key="c2hvcnQ=")),
        (400, request(Sec_WebSocket_Key="not base64!")),
        (400, request(Sec_WebSocket_Protocol="realtime, gr\u00fcn")),
        (400, request(Sec_WebSocket_Protocol="real time")),
        (400, request(Content_Length="3") + b"abc"),
        (400, request(Content_Length="3")),
        (400, request(Transfer_Encoding="chunked") + b"zz\r\n"),
        (400, request() + b"\x81\x80abcd"),
        (400, request(Host=None)),
        (400, b"GET / HTTP/1.1\r\nno colon\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00"),
        (431, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000),
        (431, b"GET /" + b"x" * 5000),
    ],
)
def test_a_bad_request_is_answered_and_closed(status: int, data: bytes) -> None:
    wire = Wire.server(max_head_bytes=1500)
    wire.receive_data(data)
    failed, closed = take(wire)
    assert isinstance(failed, WireFailed)
    assert isinstance(failed.error, FrameError)
    assert closed == FAILED
    assert wire.state is WireState.CLOSED
    reply = wire.data_to_send()
    assert reply.startswith(b"HTTP/1.1 %d " % status)
    assert b"Connection: close" in reply
    assert (b"Sec-WebSocket-Version: 13" in reply) == (status == 426)
    with pytest.raises(LocalProtocolError):
        wire.accept()


def test_a_client_that_does_not_wait_for_the_answer_is_refused() -> None:
    wire = asked()
    wire.receive_data(b"\x81\x80abcd")
    assert [type(event) for event in take(wire)] == [WireFailed, WireClosed]
    assert wire.data_to_send().startswith(b"HTTP/1.1 400 ")


def test_rejecting_gives_the_client_its_status_and_body() -> None:
    server, client = asked(), new_client()
    server.reject(503, [("Retry-After", "3")], b"later")
    assert take(server) == [WireClosed(1006, "", by_peer=False, clean=False)]
    assert server.state is WireState.CLOSED
    client.receive_data(server.data_to_send())
    error = rejection(take(client))
    assert (error.status, error.reason, error.body) == (503, "Service Unavailable", "later")
    assert error.retry_after_s == 3.0


def test_a_rejection_has_no_body_where_none_is_given() -> None:
    server = asked()
    server.reject(404)
    head, _, body = server.data_to_send().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ")
    assert body == b""


@pytest.mark.parametrize(
    "call",
    [
        lambda wire: wire.accept(subprotocol="unasked"),
        lambda wire: wire.accept([("X", "a\r\nb: c")]),
        lambda wire: wire.accept([("Upgrade", "x")]),
        lambda wire: wire.reject(101),
        lambda wire: wire.reject(304),
        lambda wire: wire.reject(600),
        lambda wire: wire.reject(404, [("X y", "z")]),
    ],
)
def test_a_wrong_answer_changes_nothing(call: object) -> None:
    wire = asked()
    with pytest.raises(LocalProtocolError):
        call(wire)  # type: ignore[operator]
    assert wire.data_to_send() == b""
    assert wire.state is WireState.CONNECTING
    wire.accept()
    assert wire.state is WireState.OPEN


def test_answers_need_a_request_and_the_server_role() -> None:
    for wire in (Wire.server(), new_client()):
        for call in (wire.accept, lambda wire=wire: wire.reject(404)):
            with pytest.raises(LocalProtocolError):
                call()
        assert wire.state is WireState.CONNECTING


def test_a_server_whose_client_goes_before_the_answer_is_closed() -> None:
    for wire in (Wire.server(), asked()):
        wire.receive_eof()
        assert take(wire) == [GONE]
        with pytest.raises(LocalProtocolError):
            wire.accept()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(
    [request(), b"GET / HTTP/1.1\r\n", b"\r\n", b"Host: h\r\n", b"Content-Length: 3\r\n"]
)), max_size=8))  # fmt: skip
def test_any_bytes_to_a_server_give_documented_events(pieces: list[bytes]) -> None:
    wire = Wire.server(max_head_bytes=400)
    for piece in pieces:
        wire.receive_data(piece)
    wire.receive_eof()
    events = take(wire)
    assert sum(isinstance(event, WireClosed) for event in events) == 1
    assert isinstance(events[-1], WireClosed)
    assert (
        wire.data_to_send().startswith(b"HTTP/1.1 ")
        or events == [GONE]
        or (isinstance(events[0], HandshakeRequest))
    )
