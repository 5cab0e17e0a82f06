"""The life of a connection: both roles together, closing, ends, every call in every state.

Parity: R6 (the WebSocket closing handshake), R12 (16 MiB messages, a clear error above).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sansio_rt._errors import LocalProtocolError, MessageTooBig
from sansio_rt._wire import (
    TRANSITIONS,
    HandshakeAccepted,
    HandshakeRequest,
    Ping,
    Pong,
    TextMessage,
    Wire,
    WireClosed,
    WireEvent,
    WireFailed,
    WireInput,
    WireState,
)

CONNECTING, OPEN, CLOSED = WireState.CONNECTING, WireState.OPEN, WireState.CLOSED
LOCAL_CLOSING, REMOTE_CLOSING = WireState.LOCAL_CLOSING, WireState.REMOTE_CLOSING


class CountedBytes:
    """Repeatable bytes for nonces and masks."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, length: int) -> bytes:
        self.count += 1
        return hashlib.sha256(self.count.to_bytes(4, "big")).digest()[:length]


def take(wire: Wire) -> list[WireEvent]:
    return list(iter(wire.next_event, None))


class Pair:
    """A client and a server, joined in memory; `events` has what each has told."""

    def __init__(self, **limits: int) -> None:
        self.client = Wire.client("h", "/v1/realtime", random_bytes=CountedBytes(), **limits)
        self.server = Wire.server(**limits)
        self.from_client = bytearray()
        self.from_server = bytearray()

    def exchange(self) -> tuple[list[WireEvent], list[WireEvent]]:
        """Carry bytes until both are silent; return the client's and the server's events."""
        for _ in range(20):
            sent = self.client.data_to_send()
            self.from_client += sent
            self.server.receive_data(sent)
            back = self.server.data_to_send()
            self.from_server += back
            self.client.receive_data(back)
            if not sent and not back:
                return take(self.client), take(self.server)
        raise AssertionError("they never fall silent")


def open_pair(**limits: int) -> Pair:
    pair = Pair(**limits)
    assert pair.exchange() == ([], [HandshakeRequest("/v1/realtime", headers_of(pair))])
    pair.server.accept()
    (accepted,), nothing = pair.exchange()
    assert isinstance(accepted, HandshakeAccepted)
    assert nothing == []
    assert (pair.client.state, pair.server.state) == (OPEN, OPEN)
    return pair


def headers_of(pair: Pair) -> tuple[tuple[str, str], ...]:
    lines = pair.from_client.decode().split("\r\n")[1:-2]
    return tuple((name.lower(), value) for name, value in (line.split(": ") for line in lines))


# --- messages ---------------------------------------------------------------------------------


def test_messages_go_both_ways() -> None:
    pair = open_pair()
    big = "\u00e9".encode() * 40_000
    for payload in (b"one", bytearray(b"two"), memoryview(b"three"), b"", big):
        pair.client.send_text(payload)
        pair.server.send_text(payload)
    texts = [TextMessage(text) for text in (b"one", b"two", b"three", b"", big)]
    assert pair.exchange() == (texts, texts)


def test_a_queued_message_is_a_copy() -> None:
    pair = open_pair()
    buffer = bytearray(b"first")
    pair.server.send_text(buffer)
    pair.client.send_text(memoryview(buffer))
    buffer[:] = b"other"
    assert pair.exchange() == ([TextMessage(b"first")], [TextMessage(b"first")])


def test_messages_up_to_16_mib_pass_and_above_there_is_a_clear_error() -> None:  # R12
    limit = 16 * 2**20
    pair = open_pair()
    pair.server.send_text(b"x" * limit)
    ((message,), _) = pair.exchange()
    assert isinstance(message, TextMessage)
    assert len(message.data) == limit
    pair.server.send_text(b"x" * (limit + 1))
    client, server = pair.exchange()
    assert isinstance(client[0], WireFailed)
    assert isinstance(client[0].error, MessageTooBig)
    assert client[0].error.limit_bytes == limit
    assert client[1:] == [WireClosed(1009, "", by_peer=False, clean=False)]
    assert server == [WireClosed(1009, "", by_peer=True, clean=True)]


def test_pings_are_answered_by_both() -> None:
    pair = open_pair()
    pair.client.ping(b"from client")
    pair.server.ping()
    assert pair.exchange() == ([Ping(b""), Pong(b"from client")], [Ping(b"from client"), Pong(b"")])


def test_pending_bytes_is_what_data_to_send_gives() -> None:
    assert Wire.server().pending_bytes == 0
    pair = open_pair()
    assert pair.client.pending_bytes == 0
    pair.server.ping(b"x")
    pair.client.receive_data(pair.server.data_to_send())
    pair.client.send_text(b"hello")
    pending = pair.client.pending_bytes
    assert pending == len(pair.client.data_to_send()) == (6 + 5) + (6 + 1)
    assert (pair.client.pending_bytes, pair.client.data_to_send()) == (0, b"")


def test_same_inputs_give_the_same_outputs() -> None:
    conversations = []
    for _ in range(2):
        pair = open_pair()
        pair.client.send_text(b"hello")
        pair.client.ping(b"x")
        pair.exchange()
        pair.client.close()
        pair.exchange()
        conversations.append((pair.from_client, pair.from_server))
    assert conversations[0] == conversations[1]


# --- closing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("closer", ["client", "server"])
def test_closing_handshake(closer: str) -> None:  # R6
    pair = open_pair()
    first, second = (pair.client, pair.server) if closer == "client" else (pair.server, pair.client)
    first.close(4001, "enough \u00e9")
    assert first.state is LOCAL_CLOSING
    second.receive_data(first.data_to_send())
    assert second.state is REMOTE_CLOSING
    assert take(second) == [WireClosed(4001, "enough \u00e9", by_peer=True, clean=True)]
    answer = second.data_to_send()
    assert second.state is CLOSED
    first.receive_data(answer)
    assert first.state is CLOSED
    assert take(first) == [WireClosed(4001, "", by_peer=False, clean=True)]
    for wire in (first, second):
        wire.receive_data(b"anything")
        wire.receive_eof()
        assert (take(wire), wire.data_to_send(), wire.state) == ([], b"", CLOSED)


def test_messages_still_come_while_our_close_is_not_answered() -> None:
    pair = open_pair()
    pair.server.send_text(b"last words")
    pair.server.ping(b"no answer after a close frame")
    last = pair.server.data_to_send()
    pair.client.close()
    close = pair.client.data_to_send()
    pair.client.receive_data(last)
    assert take(pair.client) == [
        TextMessage(b"last words"),
        Ping(b"no answer after a close frame"),
    ]
    assert pair.client.data_to_send() == b""
    pair.server.receive_data(close)
    assert pair.exchange() == (
        [WireClosed(1000, "", by_peer=False, clean=True)],
        [WireClosed(1000, "", by_peer=True, clean=True)],
    )


def test_a_ping_is_answered_before_our_close_goes_out() -> None:
    pair = open_pair()
    pair.server.ping(b"x")
    pair.client.receive_data(pair.server.data_to_send())
    pair.client.close()
    _, server = pair.exchange()
    assert server == [Pong(b"x"), WireClosed(1000, "", by_peer=True, clean=True)]


def test_both_close_at_once() -> None:
    pair = open_pair()
    pair.client.close(1000)
    pair.server.close(1001)
    assert pair.exchange() == (
        [WireClosed(1001, "", by_peer=False, clean=True)],
        [WireClosed(1000, "", by_peer=False, clean=True)],
    )


def test_a_close_frame_without_code_is_1005_and_answered_alike() -> None:
    pair = open_pair()
    pair.client.receive_data(b"\x88\x00")
    assert take(pair.client) == [WireClosed(1005, "", by_peer=True, clean=True)]
    assert pair.client.data_to_send()[:2] == b"\x88\x80"


def test_end_without_close_frame_is_1006() -> None:
    pair = open_pair()
    pair.client.receive_eof()
    assert take(pair.client) == [WireClosed(1006, "", by_peer=True, clean=False)]
    pair.server.close()
    pair.server.receive_eof()
    assert take(pair.server) == [WireClosed(1006, "", by_peer=False, clean=False)]


def test_end_while_our_answer_to_a_close_waits() -> None:
    pair = open_pair()
    pair.server.close(1001)
    pair.client.receive_data(pair.server.data_to_send())
    pair.client.receive_eof()
    assert pair.client.state is CLOSED
    assert take(pair.client) == [WireClosed(1001, "", by_peer=True, clean=True)]
    pair.server.receive_data(pair.client.data_to_send())
    assert take(pair.server) == [WireClosed(1001, "", by_peer=False, clean=True)]


def test_a_failure_while_our_close_is_not_answered_sends_no_second_close() -> None:
    pair = open_pair()
    pair.client.close()
    pair.client.data_to_send()
    pair.client.receive_data(b"\x83\x00")
    failed, closed = take(pair.client)
    assert isinstance(failed, WireFailed)
    assert closed == WireClosed(1002, "", by_peer=False, clean=False)
    assert (pair.client.data_to_send(), pair.client.state) == (b"", CLOSED)


def test_end_of_stream_at_each_byte_of_a_conversation() -> None:
    pair = open_pair()
    pair.server.send_text(b"hello")
    pair.server.ping(b"x")
    pair.server.send_text("\u00e9".encode() * 100)
    pair.exchange()
    pair.server.close(1001, "bye")
    pair.exchange()
    recorded = bytes(pair.from_server)
    whole: list[WireEvent] = []
    for length in reversed(range(len(recorded) + 1)):
        wire = Wire.client("h", "/v1/realtime", random_bytes=CountedBytes())
        wire.receive_data(recorded[:length])
        wire.receive_eof()
        events = take(wire)
        whole = whole or events
        closed = WireClosed(1006, "", by_peer=True, clean=False)
        if length == len(recorded):
            closed = WireClosed(1001, "bye", by_peer=True, clean=True)
        assert events[-1] == closed
        assert events[:-1] == whole[: len(events) - 1]
        assert wire.state is CLOSED
    assert len(whole) == 5


# --- calls that cannot work -------------------------------------------------------------------

released = memoryview(b"abc")
released.release()

WRONG_CALLS: dict[str, Callable[[Wire], None]] = {
    "str": lambda wire: wire.send_text("text"),  # type: ignore[arg-type]
    "int": lambda wire: wire.send_text(5),  # type: ignore[arg-type]
    "None": lambda wire: wire.send_text(None),  # type: ignore[arg-type]
    "released": lambda wire: wire.send_text(released),
    "not UTF-8": lambda wire: wire.send_text(b"\xff"),
    "a surrogate": lambda wire: wire.send_text(bytearray(b"\xed\xa0\x80")),
    "long ping": lambda wire: wire.ping(b"x" * 126),
    "str ping": lambda wire: wire.ping("x"),  # type: ignore[arg-type]
    "code 0": lambda wire: wire.close(0),
    "code 999": lambda wire: wire.close(999),
    "code 1004": lambda wire: wire.close(1004),
    "code 1005": lambda wire: wire.close(1005),
    "code 1006": lambda wire: wire.close(1006),
    "code 1015": lambda wire: wire.close(1015),
    "code 2000": lambda wire: wire.close(2000),
    "code 5000": lambda wire: wire.close(5000),
    "long reason": lambda wire: wire.close(1000, "\u00e9" * 62),
    "surrogate reason": lambda wire: wire.close(1000, "\ud800"),
    "accept": lambda wire: wire.accept(),
    "reject": lambda wire: wire.reject(404),
}


BYTES = "send_text: the payload must be bytes"
WORDS = {
    **dict.fromkeys(("str", "int", "None", "released"), BYTES),
    **dict.fromkeys(("not UTF-8", "a surrogate"), "send_text: the payload is not UTF-8"),
    "long ping": "ping: 126 bytes are more than 125",
    "str ping": "ping: the payload must be bytes",
    **dict.fromkeys(("long reason", "surrogate reason"), "close: the reason must be at most 123"),
    **{name: f"close: {name[5:]} may not" for name in WRONG_CALLS if name.startswith("code")},
    "accept": "accept: only a server may call it",
    "reject": "reject: only a server may call it",
}


@pytest.mark.parametrize("name", WRONG_CALLS)
@pytest.mark.parametrize("role", ["client", "server"])
def test_a_wrong_call_is_a_local_error_and_changes_nothing(name: str, role: str) -> None:
    pair = open_pair()
    wire: Wire = getattr(pair, role)
    with pytest.raises(LocalProtocolError, match=f"^{WORDS[name]}"):
        WRONG_CALLS[name](wire)
    assert (wire.state, wire.pending_bytes, wire.next_event()) == (OPEN, 0, None)
    pair.client.send_text(b"still")
    pair.server.send_text(b"here")
    assert pair.exchange() == ([TextMessage(b"here")], [TextMessage(b"still")])


CALLS_WHILE_OPEN: dict[str, Callable[[Wire], None]] = {
    "send_text": lambda wire: wire.send_text(b""),
    "ping": lambda wire: wire.ping(),
    "close": lambda wire: wire.close(),
}


@pytest.mark.parametrize("name", CALLS_WHILE_OPEN)
def test_a_call_that_needs_an_open_connection_says_so(name: str) -> None:
    words = f"^{name}: the connection is not open but connecting$"
    with pytest.raises(LocalProtocolError, match=words):
        CALLS_WHILE_OPEN[name](Wire.server())


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1013, 3000, 4999])
def test_a_code_that_may_be_sent_arrives(code: int) -> None:  # R6
    pair = open_pair()
    pair.client.close(code, "why")
    assert pair.exchange()[1] == [WireClosed(code, "why", by_peer=True, clean=True)]


def test_the_longest_control_payloads_pass() -> None:
    pair = open_pair()
    pair.client.ping(b"x" * 125)
    assert pair.exchange()[1] == [Ping(b"x" * 125)]
    pair.client.close(1013, "\u00e9" * 61 + "e")
    assert pair.exchange()[1] == [WireClosed(1013, "\u00e9" * 61 + "e", by_peer=True, clean=True)]


# --- every call in every state ----------------------------------------------------------------


def reachable(state: WireState) -> set[WireState]:
    """The states that one call may lead to; one read can bring several inputs."""
    found = {state}
    for after in TRANSITIONS[state].values():
        found |= reachable(after)
    return found


def test_the_table_is_whole() -> None:
    assert set(TRANSITIONS) == set(WireState)
    used = {what for row in TRANSITIONS.values() for what in row}
    assert used == set(WireInput)
    assert all(
        row.get(WireInput.ENDED) is CLOSED
        for state, row in TRANSITIONS.items()
        if state is not CLOSED
    )


TO_CLIENT = [
    b"\x81\x02hi", b"\x81", b"\x02hi", b"\x89\x01x", b"\x8a\x00", b"\x01\x01a", b"\x80\x01b",
    b"\x82\x01b", b"\x88\x00", b"\x88\x02\x03\xe8", b"\x83\x00", b"\x81\x02\xff\xff",
    b"\x81\x7e\x10\x00", b"HTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 401 No\r\n\r\n", b"garbage\r\n\r\n",
]  # fmt: skip
TO_SERVER = [
    b"\x81\x82\0\0\0\0hi", b"\x89\x80abcd", b"\x88\x80abcd", b"\x81\x02hi", b"\x81\x82",
    b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: h\r\n\r\n",
]  # fmt: skip
CALLS: list[Callable[[Wire], object]] = [
    lambda wire: wire.send_text(b"hello"),
    lambda wire: wire.send_text(b"\xff"),
    lambda wire: wire.ping(b"p"),
    lambda wire: wire.ping(b"p" * 126),
    lambda wire: wire.close(),
    lambda wire: wire.close(1006),
    lambda wire: wire.accept(),
    lambda wire: wire.accept(subprotocol="unasked"),
    lambda wire: wire.reject(404),
]
READS: list[Callable[[Wire], object]] = [
    lambda wire: wire.data_to_send(),
    lambda wire: wire.pending_bytes,
    lambda wire: wire.receive_eof(),
    lambda wire: wire.receive_data(b""),
]


@settings(max_examples=400, deadline=None)
@given(data=st.data(), client=st.booleans(), begin=st.sampled_from(["raw", "handshake", "closing"]))
def test_any_calls_in_any_state(data: st.DataObject, client: bool, begin: str) -> None:
    pair = Pair(max_message_bytes=1000) if begin == "raw" else open_pair(max_message_bytes=1000)
    if begin == "closing":
        (pair.client if client else pair.server).close()
    wire = pair.client if client else pair.server
    chunks = TO_CLIENT if client else [*TO_SERVER, pair.client.data_to_send()]
    receives = [lambda wire, chunk=chunk: wire.receive_data(chunk) for chunk in chunks]
    calls = data.draw(st.lists(st.sampled_from([*CALLS, *READS, *receives]), max_size=12))
    events: list[WireEvent] = []
    for call in calls:
        before, pending = wire.state, wire.pending_bytes
        try:
            call(wire)
        except LocalProtocolError:
            assert call in CALLS
            assert (wire.state, wire.pending_bytes) == (before, pending)
        assert wire.state in reachable(before)
        events += take(wire)
    wire.receive_eof()
    events += take(wire)
    assert wire.state is CLOSED
    assert [isinstance(event, WireClosed) for event in events] == [False] * (len(events) - 1) + [
        True
    ]
    for call in CALLS:
        with pytest.raises(LocalProtocolError):
            call(wire)
