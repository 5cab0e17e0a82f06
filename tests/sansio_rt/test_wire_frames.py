"""Incoming frames: each case in every split and in both lanes; limits, floods and random bytes."""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import re
import struct
import time
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.frame_protocol import XorMaskerSimple

from sansio_rt._errors import FrameError, MessageTooBig, RemoteProtocolError
from sansio_rt._frames import FrameReader, FrameWriter, Opcode, is_utf8
from sansio_rt._wire import (
    BinaryMessage,
    Ping,
    Pong,
    TextMessage,
    Wire,
    WireClosed,
    WireEvent,
    WireFailed,
    WireState,
)

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
SMALL = {"max_message_bytes": 70_000, "max_message_frames": 4}


class CountedBytes:
    """Repeatable bytes for nonces and masks."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, length: int) -> bytes:
        self.count += 1
        return hashlib.sha256(self.count.to_bytes(4, "big")).digest()[:length]


def take(wire: Wire) -> list[WireEvent]:
    return list(iter(wire.next_event, None))


def answer_to(request: bytes) -> bytes:
    found = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
    assert found is not None
    accept = hashlib.sha1(found[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(accept) + b"\r\n\r\n"
    )


def opened(*, client: bool = True, **limits: object) -> Wire:
    """A wire of either role that has just opened."""
    first = Wire.client("h", "/", random_bytes=CountedBytes(), **(limits if client else {}))  # type: ignore[arg-type]
    request = first.data_to_send()
    if client:
        first.receive_data(answer_to(request))
        first.next_event()
        return first
    server = Wire.server(**limits)  # type: ignore[arg-type]
    server.receive_data(request)
    server.next_event()
    server.accept()
    server.data_to_send()
    return server


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = None,
    size: int | None = None,
    form: int | None = None,
) -> bytes:
    """A frame, right or wrong: `size` is what its header claims, `form` the bytes that say it."""
    size = len(payload) if size is None else size
    if form is None:
        form = 0 if size < 126 else 2 if size < 65536 else 8
    short = {0: size & 0x7F, 2: 126, 8: 127}[form]
    extended = {0: b"", 2: struct.pack("!H", size & 0xFFFF), 8: struct.pack("!Q", size)}[form]
    masked = b"" if mask is None else mask + bytes(XorMaskerSimple(mask).process(payload))
    head = bytes((fin << 7 | rsv << 4 | opcode, (mask is not None) << 7 | short)) + extended
    return head + (payload if mask is None else masked)


def comparable(event: WireEvent) -> object:
    if isinstance(event, WireFailed):
        return type(event.error), vars(event.error), str(event.error)
    return event


def outcome(
    pieces: Iterable[bytes], *, client: bool = True, eof: bool = False, **limits: object
) -> tuple[list[object], bytes, WireState]:
    wire = opened(client=client, **limits)
    for piece in pieces:
        wire.receive_data(piece)
    if eof:
        wire.receive_eof()
    return [comparable(event) for event in take(wire)], wire.data_to_send(), wire.state


def in_every_way(
    data: bytes, *, client: bool = True, eof: bool = False, **limits: object
) -> list[WireEvent]:
    """The events that `data` gives, after making sure that splits and lanes do not matter."""
    limits = {**SMALL, **limits}
    wire = opened(client=client, **limits)
    wire.receive_data(data)
    if eof:
        wire.receive_eof()
    events = take(wire)
    wanted = [comparable(event) for event in events], wire.data_to_send(), wire.state
    step = max(1, len(data) // 50)
    ways = [[data], [data[:1], data[1:]], [data[:-1], data[-1:]]]
    ways += [[data[:cut], data[cut:]] for cut in [*range(1, min(len(data), 20))]]
    ways += [[data[i : i + step] for i in range(0, len(data), step)]]
    ways += [[bytearray(data)], [memoryview(data)]]
    for fast_lane in (True, False):
        for pieces in ways:
            got = outcome(pieces, client=client, eof=eof, fast_lane=fast_lane, **limits)
            assert got == wanted
    return events


def close_payload(code: int, reason: bytes = b"") -> bytes:
    return struct.pack("!H", code) + reason


def pieces_of(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


# --- messages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 255, 256, 65535, 65536, 70_000])
@pytest.mark.parametrize("client", [True, False])
def test_a_whole_text_message_of_any_size(size: int, client: bool) -> None:
    text = (b"abc\xc3\xa9" * (size // 5 + 1))[: size - size % 5] + b"x" * (size % 5)
    mask = None if client else b"\x01\x80\xff\x00"
    data = frame(TEXT, text, mask=mask)
    assert in_every_way(data, client=client) == [TextMessage(text)]


def test_a_message_in_fragments_with_control_frames_between() -> None:
    text = "h\u00e9llo \U0001f600 w\u00f6rld".encode()
    data = (
        frame(TEXT, text[:2], fin=False)  # cuts a character
        + frame(PING, b"are you there")
        + frame(CONTINUATION, b"", fin=False)
        + frame(CONTINUATION, text[2:9], fin=False)
        + frame(PONG)
        + frame(CONTINUATION, text[9:])
        + frame(TEXT, b"next")
    )
    assert in_every_way(data) == [
        Ping(b"are you there"),
        Pong(b""),
        TextMessage(text),
        TextMessage(b"next"),
    ]


def test_empty_fragments_make_an_empty_message() -> None:
    data = frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION)
    assert in_every_way(data + frame(TEXT)) == [TextMessage(b""), TextMessage(b"")]


def test_binary_messages_pass() -> None:
    data = frame(BINARY, b"\xff\x00") + frame(BINARY, b"a", fin=False) + frame(CONTINUATION, b"b")
    assert in_every_way(data) == [BinaryMessage(b"\xff\x00"), BinaryMessage(b"ab")]


def test_a_message_stays_valid_when_its_read_buffer_is_used_again() -> None:
    wire = opened()
    buffer = bytearray(frame(TEXT, b"first"))
    wire.receive_data(buffer)
    buffer[:] = bytes(len(buffer))
    assert take(wire) == [TextMessage(b"first")]


def test_empty_data_is_not_the_end() -> None:
    wire = opened()
    wire.receive_data(b"")
    assert (take(wire), wire.state) == ([], WireState.OPEN)


# --- what breaks the protocol -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame(TEXT, b"ab\xff"), 1007),
        (frame(TEXT, b"\xed\xa0\x80"), 1007),  # a surrogate
        (frame(TEXT, b"\xc3"), 1007),
        (frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"("), 1007),
        (frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION), 1007),
        (frame(TEXT, b"hi", rsv=4), 1002),  # compressed, which was never agreed on
        (frame(TEXT, b"hi", rsv=2), 1002),
        (frame(TEXT, b"hi", rsv=1), 1002),
        (frame(PING, rsv=4), 1002),
        (frame(3), 1002),
        (frame(7, b"hi"), 1002),
        (frame(11, b"hi"), 1002),
        (frame(15), 1002),
        (frame(TEXT, b"hi", mask=b"abcd"), 1002),
        (frame(PING, b"hi", mask=b"abcd"), 1002),
        (frame(CONTINUATION, b"hi"), 1002),
        (frame(CONTINUATION), 1002),
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
        (frame(TEXT, fin=False) + frame(TEXT), 1002),
        (frame(TEXT, b"a", fin=False) + frame(BINARY, b"b"), 1002),
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"\xff"), 1002),
        (frame(PING, b"hi", fin=False), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(CLOSE, b"x" * 126), 1002),
        (frame(PING, size=1 << 62, form=8), 1002),
        (frame(TEXT, b"hi", form=2), 1002),  # lengths said in more bytes than needed
        (frame(TEXT, b"hi", form=8), 1002),
        (frame(TEXT, b"x" * 125, form=2), 1002),
        (frame(TEXT, b"x" * 65535, form=8), 1002),
        (frame(TEXT, size=1 << 63, form=8), 1002),
        (frame(TEXT, size=(1 << 64) - 1, form=8), 1002),
        (frame(BINARY, size=1 << 63, form=8), 1002),
        (frame(CLOSE, b"x"), 1002),
        (frame(CLOSE, close_payload(999)), 1002),
        (frame(CLOSE, close_payload(1005)), 1002),
        (frame(CLOSE, close_payload(1006)), 1002),
        (frame(CLOSE, close_payload(1004)), 1002),
        (frame(CLOSE, close_payload(2999)), 1002),
        (frame(CLOSE, close_payload(5000)), 1002),
        (frame(CLOSE, close_payload(1000, b"\xff")), 1007),
    ],
)
def test_a_bad_frame_fails_once_and_ends_reading(bad: bytes, code: int) -> None:
    data = frame(TEXT, b"before") + bad + frame(TEXT, b"after") * 3 + frame(CLOSE)
    before, failed, closed = in_every_way(data)
    assert before == TextMessage(b"before")
    assert isinstance(failed, WireFailed)
    assert type(failed.error) is FrameError
    assert failed.error.close_code == code
    assert closed == WireClosed(code, "", by_peer=False, clean=False)

    wire = opened()
    wire.receive_data(data)
    assert wire.state is WireState.CLOSED
    reply = wire.data_to_send()
    assert (reply[0], reply[1]) == (0x88, 0x82)
    assert bytes(a ^ b for a, b in zip(reply[6:], reply[2:4], strict=True)) == close_payload(code)
    wire.receive_data(frame(TEXT, b"more"))
    wire.receive_eof()
    assert (len(take(wire)), wire.data_to_send()) == (3, b"")


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame(TEXT, b"hi"), 1002),
        (frame(PING), 1002),
        (frame(PING, b"long enough for a key"), 1002),
        (frame(CLOSE), 1002),
        (frame(TEXT, b"\xc3", mask=b"abcd"), 1007),
        (frame(TEXT, b"x" * 125, mask=b"abcd", form=2), 1002),
        (frame(PING, b"x" * 126, mask=b"abcd"), 1002),
        (frame(PONG, b"x", mask=b"abcd", rsv=4), 1002),
        (frame(TEXT, size=70_001, mask=b"abcd"), 1009),
    ],
)
def test_a_client_that_does_not_mask_or_breaks_another_rule_fails(bad: bytes, code: int) -> None:
    data = frame(TEXT, b"before", mask=b"wxyz") + bad
    before, failed, closed = in_every_way(data, client=False)
    assert before == TextMessage(b"before")
    assert isinstance(failed, WireFailed)
    assert failed.error.close_code == code
    assert closed == WireClosed(code, "", by_peer=False, clean=False)


def test_what_is_masked_is_read_in_and_between_fragments() -> None:
    data = (
        frame(TEXT, b"He", fin=False, mask=b"wxyz")
        + frame(PING, b"x", mask=b"\0\1\2\3")
        + frame(CONTINUATION, b"llo", mask=b"\xff\0\xff\0")
        + frame(PING, b"between", mask=b"wxyz")
        + frame(PONG, mask=b"wxyz")
        + frame(TEXT, "\u00e9".encode(), mask=b"wxyz")
    )
    assert in_every_way(data, client=False) == [
        Ping(b"x"),
        TextMessage(b"Hello"),
        Ping(b"between"),
        Pong(b""),
        TextMessage("\u00e9".encode()),
    ]


# --- limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, size=70_001),
        frame(BINARY, size=70_001),
        frame(TEXT, size=1 << 40),
        frame(TEXT, size=(1 << 63) - 1),
        frame(TEXT, size=70_001, fin=False),
        frame(TEXT, b"x" * 50_000, fin=False) + frame(CONTINUATION, size=20_001),
        frame(BINARY, b"x" * 70_000, fin=False) + frame(PING) + frame(CONTINUATION, size=1),
    ],
)
def test_too_big_a_message_is_refused_by_its_header(data: bytes) -> None:
    *_, failed, closed = in_every_way(data)
    assert isinstance(failed, WireFailed)
    assert isinstance(failed.error, MessageTooBig)
    assert failed.error.limit_bytes == 70_000
    assert closed == WireClosed(1009, "", by_peer=False, clean=False)


def test_a_ping_amid_a_message_of_the_limit_adds_nothing_to_it() -> None:
    data = (
        frame(TEXT, b"x" * 90, fin=False) + frame(PING, b"y" * 20) + frame(CONTINUATION, b"z" * 10)
    )
    events = in_every_way(data, max_message_bytes=100)
    assert events == [Ping(b"y" * 20), TextMessage(b"x" * 90 + b"z" * 10)]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (frame(TEXT, b"\xff"), "the peer sent text that is not UTF-8: "),
        (frame(3, b""), "the peer broke RFC 6455: "),
    ],
)
def test_a_bad_frame_says_what_is_wrong_with_it(bad: bytes, words: str) -> None:
    failed = in_every_way(bad)[0]
    assert isinstance(failed, WireFailed)
    assert str(failed.error).startswith(words)


def test_a_message_of_the_limit_passes_however_it_is_cut() -> None:
    text = b"x" * 70_000
    cut = frame(TEXT, text[:30_000], fin=False) + frame(CONTINUATION, text[30_000:])
    assert in_every_way(frame(TEXT, text) + cut) == [TextMessage(text), TextMessage(text)]


@pytest.mark.parametrize("piece", [b"", b"x"])
def test_too_many_frames_of_one_message_are_refused(piece: bytes) -> None:
    start = frame(TEXT, piece, fin=False)
    more = frame(CONTINUATION, piece, fin=False)
    last = frame(CONTINUATION, piece)
    assert in_every_way((start + more * 2 + last) * 2) == [TextMessage(piece * 4)] * 2
    for data in (start + more * 4, start + more * 3 + last):
        failed, closed = in_every_way(data)
        assert isinstance(failed, WireFailed)
        assert "more than 4 frames" in str(failed.error)
        assert closed == WireClosed(1008, "", by_peer=False, clean=False)


def unmasked_frames(data: bytes) -> list[tuple[int, bytes]]:
    """Opcode and payload of each of a client's short frames."""
    found = []
    while data:
        size = data[1] & 0x7F
        payload = bytes(XorMaskerSimple(data[2:6]).process(data[6 : 6 + size]))
        found.append((data[0] & 0x0F, payload))
        data = data[6 + size :]
    return found


def test_each_ping_of_one_read_is_answered() -> None:
    wire = opened()
    wire.receive_data(b"".join(frame(PING, b"%d" % i) for i in range(10)))
    assert unmasked_frames(wire.data_to_send()) == [(PONG, b"%d" % i) for i in range(10)]


def test_a_ping_is_answered_before_what_is_sent_because_of_a_later_message() -> None:
    wire = opened()
    pieces = frame(TEXT, b"He", fin=False), frame(PING, b"x"), frame(CONTINUATION, b"llo")
    wire.receive_data(b"".join(pieces))
    wire.send_text(b"echo")
    assert unmasked_frames(wire.data_to_send()) == [(PONG, b"x"), (TEXT, b"echo")]


def test_a_ping_flood_costs_a_few_pongs_the_newest_ones() -> None:
    wire = opened()
    wire.receive_data(b"".join(frame(PING, b"%d" % i * 20) for i in range(5000)))
    assert len(take(wire)) == 5000
    assert wire.pending_bytes == 16 * (2 + 4 + 80)
    pongs = [(PONG, b"%d" % i * 20) for i in range(4984, 5000)]
    assert unmasked_frames(wire.data_to_send()) == pongs
    assert wire.pending_bytes == 0


@pytest.mark.parametrize("client", [True, False])
def test_a_ping_flood_of_a_peer_that_does_not_read_costs_no_more(client: bool) -> None:
    wire = opened(client=client)
    for _ in range(100):
        wire.receive_data(frame(PING, b"x" * 125, mask=None if client else b"mask") * 20)
        assert wire.pending_bytes == 16 * (2 + (4 if client else 0) + 125)
    assert len(wire.data_to_send()) == 16 * (2 + (4 if client else 0) + 125)
    assert wire.pending_bytes == 0


def test_many_small_reads_of_one_big_message_cost_linear_time() -> None:
    # Where every read copied what is there already, 34 GB would be copied: many seconds.
    text = os.urandom(6 * 2**20).hex().encode()
    for data in (frame(TEXT, text), frame(BINARY, text), frame(TEXT, text[:-1] + b"\xff")):
        wire = opened()
        pieces = pieces_of(data, 4096)
        begin = time.perf_counter()
        for piece in pieces:
            wire.receive_data(piece)
        assert time.perf_counter() - begin < 2
        assert len(take(wire)) in (1, 2)


def test_many_small_frames_in_one_read_cost_linear_time() -> None:
    wire = opened()
    data = frame(TEXT, b"x") * 300_000
    begin = time.perf_counter()
    wire.receive_data(data)
    assert time.perf_counter() - begin < 4
    assert len(take(wire)) == 300_000


def test_a_claimed_size_reserves_no_memory() -> None:
    import tracemalloc

    wire = opened(max_message_bytes=1 << 40)
    tracemalloc.start()
    wire.receive_data(frame(TEXT, b"x", size=1 << 39))
    wire.receive_data(b"y")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


# --- both lanes agree -------------------------------------------------------------------------

utf8_edges = st.sampled_from(
    [
        b"\xff",
        b"\xc3",
        b"\xa9",
        "\u00e9".encode(),
        "\U0001f600".encode(),
        b"\xed\xa0\x80",
        b"\xf0\x9f",
    ]
)
payloads = st.one_of(
    st.binary(max_size=8),
    st.lists(st.one_of(utf8_edges, st.just(b"abc")), max_size=4).map(b"".join),
    st.sampled_from([0, 125, 126, 127, 200, 300]).map(lambda size: b"z" * size),
    st.sampled_from([1000, 1001, 1005, 1012, 3000, 0]).map(close_payload),
)
right_frames = st.builds(
    frame,
    st.sampled_from([TEXT, TEXT, TEXT, TEXT, BINARY, PING, PONG]),
    st.one_of(st.text(max_size=8).map(str.encode), st.just(b"q" * 126)),
)
fragmented = st.lists(st.text(max_size=4).map(str.encode), min_size=1, max_size=4).map(
    lambda parts: b"".join(
        frame(TEXT if i == 0 else CONTINUATION, part, fin=i == len(parts) - 1)
        for i, part in enumerate(parts)
    )
)
any_frames = st.builds(
    frame,
    st.integers(0, 15),
    payloads,
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 0, 4, 1]),
    mask=st.sampled_from([None, None, None, b"\x00\x00\x00\x00", b"wxyz"]),
)
claimed = st.builds(
    frame,
    st.sampled_from([TEXT, BINARY, CONTINUATION, PING]),
    payloads,
    size=st.sampled_from([0, 1, 125, 126, 1000, 1001, 65535, 65536, 1 << 63]),
    form=st.sampled_from([0, 2, 8]),
)
streams = st.lists(
    st.one_of(right_frames, right_frames, fragmented, any_frames, claimed, st.binary(max_size=6)),
    max_size=10,
).map(b"".join)


def cut_at(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@settings(max_examples=600, deadline=None)
@given(
    data=streams,
    cuts=st.lists(st.integers(0, 3000), max_size=8),
    other_cuts=st.lists(st.integers(0, 3000), max_size=3),
    eof=st.booleans(),
    client=st.booleans(),
)
def test_lanes_and_splits_never_matter(
    data: bytes, cuts: list[int], other_cuts: list[int], eof: bool, client: bool
) -> None:
    check_lanes(data, cuts, other_cuts, eof=eof, client=client)


@settings(max_examples=300, deadline=None)
@given(
    frames=st.lists(
        st.builds(
            frame,
            st.sampled_from([TEXT, TEXT, TEXT, BINARY, CONTINUATION, PING, PONG, CLOSE, 3]),
            payloads,
            fin=st.sampled_from([True, True, True, False]),
            rsv=st.sampled_from([0, 0, 0, 0, 4]),
            mask=st.sampled_from([b"wxyz", b"wxyz", b"\x00\x00\x00\x00", None]),
            form=st.sampled_from([None, None, None, 2, 8]),
        ),
        max_size=6,
    ),
    cuts=st.lists(st.integers(0, 3000), max_size=8),
    other_cuts=st.lists(st.integers(0, 3000), max_size=3),
)
def test_lanes_and_splits_never_matter_to_a_server(
    frames: list[bytes], cuts: list[int], other_cuts: list[int]
) -> None:
    check_lanes(b"".join(frames), cuts, other_cuts, eof=False, client=False)


def check_lanes(
    data: bytes, cuts: list[int], other_cuts: list[int], *, eof: bool, client: bool
) -> None:
    limits = {"max_message_bytes": 1000, "max_message_frames": 3}
    fast = outcome(cut_at(data, cuts), client=client, eof=eof, **limits)
    slow = outcome(cut_at(data, other_cuts), client=client, eof=eof, fast_lane=False, **limits)
    assert fast == slow
    events = fast[0]
    assert sum(isinstance(event, WireClosed) for event in events) == (fast[2] is not WireState.OPEN)


@pytest.mark.parametrize("client", [True, False])
def test_the_lane_is_really_taken(client: bool) -> None:
    """The differential test would say nothing if both sides went through wsproto."""
    mask = None if client else b"wxyz"
    data = [frame(TEXT, b"x" * size, mask=mask) for size in (0, 125, 126, 65535, 65536)]
    data += [frame(opcode, b"x" * size, mask=mask) for opcode in (PING, PONG) for size in (0, 125)]
    beside = [frame(BINARY, b"x", mask=mask), frame(TEXT, b"x", fin=False, mask=mask)]
    for fast_lane in (True, False):
        asked: list[bytes] = []
        reader = FrameReader(
            lambda event: None,
            client=client,
            max_message_bytes=100_000,
            max_message_frames=9,
            fast_lane=fast_lane,
        )
        original = reader._wsproto.receive_bytes

        def spy(data: bytes, original: object = original, asked: list[bytes] = asked) -> None:
            asked.append(data)
            original(data)  # type: ignore[operator]

        reader._wsproto.receive_bytes = spy  # type: ignore[method-assign]
        for piece in data + beside:
            reader.receive_data(piece)
        assert asked == (beside if fast_lane else data + beside)


@pytest.mark.parametrize("client", [True, False])
@pytest.mark.parametrize(
    ("options", "taken"), [({}, True), ({"fast_lane": True}, True), ({"fast_lane": False}, False)]
)
def test_both_roles_take_the_lane_unless_they_are_told_not_to(
    client: bool, options: dict[str, object], taken: bool
) -> None:
    wire = opened(client=client, **options)
    asked: list[bytes] = []
    original = wire._reader._wsproto.receive_bytes

    def spy(data: bytes) -> None:
        asked.append(data)
        original(data)

    wire._reader._wsproto.receive_bytes = spy  # type: ignore[method-assign]
    wire.receive_data(frame(TEXT, b"x", mask=None if client else b"wxyz"))
    assert take(wire) == [TextMessage(b"x")]
    assert (not asked) is taken


# --- single pieces ----------------------------------------------------------------------------


@given(st.binary(max_size=20))
def test_is_utf8(data: bytes) -> None:
    try:
        data.decode()
        right = True
    except UnicodeDecodeError:
        right = False
    assert is_utf8(data) is right


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 125, 126, 1000, 65535, 65536, 65539])
def test_outgoing_frames_are_read_by_wsproto_and_by_us(size: int) -> None:
    payload = os.urandom(size).hex().encode()[:size]
    assert FrameWriter(None).frame(Opcode.TEXT, payload) == frame(TEXT, payload)
    masked = FrameWriter(lambda length: b"\x9a\x01\xfe\x37"[:length]).frame(Opcode.TEXT, payload)
    assert masked == frame(TEXT, payload, mask=b"\x9a\x01\xfe\x37")


def test_every_frame_of_a_client_has_a_fresh_mask() -> None:
    wire = opened()
    for _ in range(3):
        wire.send_text(b"same")
    data = wire.data_to_send()
    assert len({data[i + 2 : i + 6] for i in (0, 10, 20)}) == 3


def test_errors_are_remote_protocol_errors_only() -> None:
    wire = opened()
    wire.receive_data(frame(3))
    failed = wire.next_event()
    assert isinstance(failed, WireFailed)
    assert isinstance(failed.error, RemoteProtocolError)
