"""A hostile server costs bounded memory and time, and gives one clear error: issue 5, item 5.

The server is a script of raw bytes at the other end of a memory stream; the client is the whole of it, from
`open_session` down. Memory is what tracemalloc counts: what is still held when a flood has passed, and the
most that was held at any moment. The bounds are generous; what they would catch grows with the flood.
"""

from __future__ import annotations

import logging
import struct
import time
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sansio_rt import (
    CommandRefused,
    CommandTimeout,
    ConfigurationError,
    Endpoint,
    FrameError,
    HandshakeRejected,
    Limits,
    MessageTooBig,
    RealtimeError,
    RemoteProtocolError,
    SessionConfig,
    StreamOverflow,
    Timing,
)
from sansio_rt._wire import Wire
from sansio_rt.events import FunctionTool
from trio_rt import Session, open_session

Serve = Callable[[trio.abc.Stream], Awaitable[None]]

ENDPOINT = Endpoint.url("ws://127.0.0.1:1/v1", api_key="sk-secret-key-of-mine")
MANUAL = SessionConfig(turn_detection=None)
HURRY = Timing(connect_timeout_s=10.0, close_timeout_s=0.1)

MEGABYTE = 2**20
FLOOD = 8_000  # events; tracemalloc makes each of them several times slower than it is


def frame(payload: bytes | str, first: int = 0x81) -> bytes:
    """One frame of a server's, which masks nothing."""
    data = payload.encode() if isinstance(payload, str) else payload
    size = len(data)
    if size < 126:
        return bytes((first, size)) + data
    if size < 2**16:
        return bytes((first, 126)) + struct.pack("!H", size) + data
    return bytes((first, 127)) + struct.pack("!Q", size) + data


CREATED = frame('{"type":"session.created","event_id":"e","session":{"type":"realtime"}}')
UPDATED = frame('{"type":"session.updated","event_id":"e","session":{"type":"realtime"}}')
RESPONSE = frame(
    '{"type":"response.created","event_id":"e","response":'
    '{"id":"r","conversation_id":"c","status":"in_progress","output":[]}}'
)


class Hostile:
    """A dialer to a server that is a function of the stream."""

    def __init__(self, nursery: trio.Nursery, serve: Serve) -> None:
        self.dials = 0
        self.received = bytearray()
        self._nursery = nursery
        self._serve = serve

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.dials += 1
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._run, theirs)
        return ours

    async def _run(self, stream: trio.abc.Stream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._serve(stream)

    async def swallow(self, stream: trio.abc.Stream) -> None:
        """Takes what the client sends."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await stream.receive_some():
                self.received += data


@asynccontextmanager
async def serving(serve: Serve) -> AsyncGenerator[Hostile]:
    """A server for the length of the block; the block's error comes out as it is."""
    failure: Exception | None = None
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            try:
                yield Hostile(nursery, serve)
            except Exception as error:  # noqa: BLE001 - raised below, outside of the nursery
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def connect_to(serve: Serve) -> None:
    """Tries to open a session; raises what comes out."""
    async with serving(serve) as server:
        async with open_session(ENDPOINT, MANUAL, dialer=server, retry=None, timing=HURRY):
            raise AssertionError("it was never to be up")


@asynccontextmanager
async def session_and_flood(
    *pieces: bytes | Iterator[bytes], limits: Limits | None = None, config: SessionConfig = MANUAL
) -> AsyncGenerator[tuple[Session, trio.Event, Hostile]]:
    """A session that is up; setting the event opens the gates."""
    flood = trio.Event()

    async def serve(stream: trio.abc.Stream) -> None:
        wire = Wire.server()
        wire.receive_data(await stream.receive_some())
        wire.accept()
        await stream.send_all(wire.data_to_send() + CREATED + UPDATED)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.swallow, stream)
            await flood.wait()
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                for piece in pieces:
                    for data in [piece] if isinstance(piece, bytes) else piece:
                        await stream.send_all(data)

    async with serving(serve) as server:
        async with open_session(
            ENDPOINT, config, dialer=server, retry=None, timing=HURRY, limits=limits
        ) as session:
            yield session, flood, server


async def ending_of(
    *pieces: bytes | Iterator[bytes], limits: Limits | None = None
) -> BaseException:
    """What comes out of a session whose application waits while the pieces arrive."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        async with session_and_flood(*pieces, limits=limits) as (_, flood, _):
            flood.set()
            await trio.sleep_forever()
    return caught.value


# --- before the connection is up ----------------------------------------------------------


async def test_a_handshake_byte_by_byte_ends_at_the_connect_timeout(
    autojump_clock: MockClock,
) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        for byte in b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"x" * 10_000:
            await stream.send_all(bytes((byte,)))
            await trio.sleep(1)

    began = trio.current_time()
    with pytest.raises(CommandTimeout, match="WebSocket handshake within 10 s") as caught:
        await connect_to(serve)
    assert trio.current_time() - began == pytest.approx(10, abs=0.2)
    assert caught.value.__cause__ is None


async def test_a_server_that_never_accepts_the_configuration(autojump_clock: MockClock) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        wire = Wire.server()
        wire.receive_data(await stream.receive_some())
        wire.accept()
        await stream.send_all(wire.data_to_send() + CREATED)
        while True:  # busy, and no answer
            await stream.send_all(
                frame('{"type":"rate_limits.updated","event_id":"e","rate_limits":[]}')
            )
            await trio.sleep(0.1)

    began = trio.current_time()
    with pytest.raises(CommandTimeout, match="did not answer"):
        await connect_to(serve)
    assert trio.current_time() - began == pytest.approx(10, abs=0.2)


ENDLESS = {
    "headers": (b"HTTP/1.1 101 Switching Protocols\r\n", b"X-Y: zzzzzzzzzzzzzz\r\n" * 1000),
    "one header": (b"HTTP/1.1 101 Switching Protocols\r\nX: ", b"x" * 20_000),
    "a status line": (b"", b"x" * 20_000),
    "informational answers": (b"", b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 500),
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_endless_heads_are_cut_off(what: str) -> None:
    first, more = ENDLESS[what]
    sent = 0

    async def serve(stream: trio.abc.Stream) -> None:
        nonlocal sent
        await stream.receive_some()
        await stream.send_all(first)
        while True:
            await stream.send_all(more)
            sent += len(more)

    with trio.fail_after(5), pytest.raises(FrameError, match=r"bytes of headers|not HTTP/1\.1"):
        await connect_to(serve)
    assert sent < MEGABYTE


async def test_the_endless_body_of_a_rejection_is_cut_off() -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 503 Busy\r\n\r\n")
        while True:
            await stream.send_all(b"<p>busy</p>" * 1000)

    with trio.fail_after(5), pytest.raises(HandshakeRejected, match="503") as caught:
        await connect_to(serve)
    assert len(caught.value.body) <= 4096
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        head = f"HTTP/1.1 {status} Elsewhere\r\nLocation: ws://evil.example/v1\r\nContent-Length: 0\r\n\r\n"
        await stream.send_all(head.encode())
        await trio.sleep_forever()

    async with serving(serve) as server:
        with pytest.raises(HandshakeRejected, match="redirects") as caught:
            async with open_session(ENDPOINT, MANUAL, dialer=server):  # with retries
                raise AssertionError
        assert server.dials == 1
    assert caught.value.status == status


# --- frames -------------------------------------------------------------------------------

FRAMES = {
    "64-bit length": (b"\x81\x7f" + struct.pack("!Q", 2**62), MessageTooBig, "Limits|limit is"),
    "64-bit length, highest bit": (b"\x81\x7f" + b"\xff" * 8, RemoteProtocolError, ""),
    "17 MiB": (b"\x81\x7f" + struct.pack("!Q", 17 * MEGABYTE), MessageTooBig, "16777216"),
    "compressed": (frame(b"x", 0xC1), FrameError, "broke RFC 6455"),
    "compressed, empty": (frame(b"", 0xC1), FrameError, "broke RFC 6455"),
    "reserved opcode": (frame(b"x", 0x83), FrameError, "broke RFC 6455"),
    "masked": (b"\x81\x81\0\0\0\0x", FrameError, "broke RFC 6455"),
    "long ping": (frame(b"x" * 126, 0x89), FrameError, "broke RFC 6455"),
    "fragmented ping": (frame(b"x", 0x09), FrameError, "broke RFC 6455"),
    "continuation of nothing": (frame(b"x", 0x80), FrameError, "broke RFC 6455"),
    "no UTF-8": (frame(b"\xff"), FrameError, "not UTF-8"),
}


@pytest.mark.parametrize("what", FRAMES)
async def test_frames_that_break_the_protocol(what: str) -> None:
    data, kind, words = FRAMES[what]
    error = await ending_of(data)
    assert isinstance(error, kind)
    assert str(error).startswith("the peer")
    assert any(word in str(error) for word in words.split("|"))


@pytest.mark.parametrize("piece", [0, 1, 125])
async def test_a_message_that_never_ends_in_small_frames(piece: int) -> None:
    def fragments() -> Iterator[bytes]:
        yield frame(b"{", 0x01)
        while True:
            yield frame(b" " * piece, 0x00) * 100

    error = await ending_of(fragments())
    assert isinstance(error, FrameError)
    assert "more than 1024 frames" in str(error)


async def test_a_message_that_never_ends_in_big_frames() -> None:
    def fragments() -> Iterator[bytes]:
        yield frame(b"{", 0x01)
        while True:
            yield frame(b" " * 50_000, 0x00)

    tracemalloc.start()
    try:
        error = await ending_of(fragments(), limits=Limits(max_message_bytes=MEGABYTE))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(error, MessageTooBig)
    assert error.limit_bytes == MEGABYTE
    assert peak < 8 * MEGABYTE


# --- floods that a session survives -------------------------------------------------------


def event(text: str) -> Callable[[int], bytes]:
    """A frame with a number in it."""
    return lambda number: frame(text.replace("#", str(number)))


def about(kind: str, rest: str) -> Callable[[int], bytes]:
    return event('{"type":"' + kind + '","event_id":"e#",' + rest + "}")


DELTA = '"item_id":"i","output_index":0,"content_index":0,'

FLOODS: dict[str, Callable[[int], bytes]] = {
    "pings": lambda _: frame(b"", 0x89),
    "long pings": lambda _: frame(b"x" * 125, 0x89),
    "pongs": lambda _: frame(b"x", 0x8A),
    "texts of one byte": lambda _: frame(b"x"),
    "empty texts": lambda _: frame(b""),
    "binary messages": lambda _: frame(b"x", 0x82),
    "events without a type": lambda _: frame(b"{}"),
    "deep nesting": lambda number: frame(b"[" * 20_000) if number < 50 else b"",
    "unknown events": event('{"type":"what.#","x":[#]}'),
    "audio of unknown items": about(
        "response.output_audio.delta", DELTA + '"response_id":"r#","delta":"AAAA"'
    ),
    "text of unknown items": about(
        "response.output_text.delta", DELTA + '"response_id":"r#","delta":"abc"'
    ),
    "arguments of unknown calls": about(
        "response.function_call_arguments.delta",
        '"item_id":"i","output_index":0,"call_id":"c","response_id":"r#","delta":"abc"',
    ),
    "ends of unknown responses": about(
        "response.done", '"response":{"id":"r#","status":"completed","output":[]}'
    ),
    "responses that never end": about(
        "response.created",
        '"response":{"id":"r#","conversation_id":"c","status":"in_progress","output":[]}',
    ),
    "deletions of unknown items": about("conversation.item.deleted", '"item_id":"i#"'),
    "truncations of unknown items": about(
        "conversation.item.truncated", '"item_id":"i#","content_index":0,"audio_end_ms":1'
    ),
    "transcripts of unknown items": about(
        "conversation.item.input_audio_transcription.delta",
        '"item_id":"i#","content_index":0,"delta":"abc"',
    ),
    "speech": about("input_audio_buffer.speech_started", '"item_id":"i#","audio_start_ms":1'),
    "ends of speech": about("input_audio_buffer.speech_stopped", '"item_id":"i#","audio_end_ms":1'),
    "commits": about("input_audio_buffer.committed", '"item_id":"i#","previous_item_id":null'),
    "rate limits": about("rate_limits.updated", '"rate_limits":[]'),
    "sessions": about("session.updated", '"session":{"type":"realtime","instructions":"#"}'),
    "whole responses": lambda number: (
        about(
            "response.created",
            '"response":{"id":"r#","conversation_id":"c","status":"in_progress","output":[]}',
        )(number)
        + about("response.done", '"response":{"id":"r#","status":"completed","output":[]}')(number)
        if number < FLOOD // 8
        else b""
    ),
}


@pytest.mark.parametrize("what", FLOODS)
async def test_a_flood_is_survived_in_bounded_memory(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trio_rt")
    data = b"".join(map(FLOODS[what], range(FLOOD)))
    async with session_and_flood(data, frame("after")) as (session, flood, server):
        before = len(server.received)
        tracemalloc.start()
        began = time.perf_counter()
        try:
            flood.set()
            await wait_all_tasks_blocked()
            held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert time.perf_counter() - began < 5
        # Junk that is small comes many to a read; a read is 256 KiB, whatever the flood is.
        assert held < MEGABYTE
        assert peak < 24 * MEGABYTE
        # Answers: no more than `MAX_UNANSWERED_PINGS` pongs for each read.
        assert len(server.received) - before < 24_000
        assert session.metrics.broken_messages >= 1  # all of it was read
        generation_count = len(session.generations)
        assert generation_count <= 64
    assert len(caplog.records) < 200
    assert all(len(record.getMessage()) < 1000 for record in caplog.records)


ERROR = about("error", '"error":{"type":"x","code":"c#","message":"m"}')


async def test_a_flood_of_errors_ends_the_session(caplog: pytest.LogCaptureFixture) -> None:  # X4
    caplog.set_level(logging.INFO, "trio_rt")
    error = await ending_of(b"".join(map(ERROR, range(FLOOD))))
    assert isinstance(error, CommandRefused)
    assert len(caplog.records) < 50


async def test_what_was_dropped_is_counted() -> None:
    data = b"".join(map(FLOODS["audio of unknown items"], range(500)))
    junk = b"".join(map(FLOODS["texts of one byte"], range(300)))
    async with session_and_flood(data + junk) as (session, flood, _):
        flood.set()
        await wait_all_tasks_blocked()
        assert session.metrics.stray_events == 500
        assert session.metrics.broken_messages == 300


async def test_a_session_works_after_a_flood() -> None:
    added = frame(
        '{"type":"conversation.item.added","event_id":"e","previous_item_id":null,'
        '"item":{"type":"message","role":"user","id":"mine","content":[]}}'
    )
    floods = [
        b"".join(map(make, range(100))) for name, make in FLOODS.items() if "respon" not in name
    ]
    async with session_and_flood(*floods, added) as (session, flood, _):
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                item = await session.send_message("Hi", item_id="mine")
                assert item.id == "mine"

            nursery.start_soon(send)
            await wait_all_tasks_blocked()
            flood.set()


async def test_pings_are_answered_once_for_each_read() -> None:
    """The newest ping counts (RFC 6455, 5.5.3)."""
    data = b"".join(frame(b"%d" % number, 0x89) for number in range(10_000))
    async with session_and_flood(data) as (_, flood, server):
        await wait_all_tasks_blocked()
        before = len(server.received)
        flood.set()
        await wait_all_tasks_blocked()
        pongs = bytes(server.received[before:])
    assert len(pongs) < 20 * 11
    key, payload = pongs[-8:-4], pongs[-4:]
    assert bytes(a ^ b for a, b in zip(key, payload, strict=True)) == b"9999"


async def test_log_lines_are_few_and_short(caplog: pytest.LogCaptureFixture) -> None:  # M3
    caplog.set_level(logging.DEBUG, "trio_rt")
    caplog.set_level(logging.INFO, "trio_rt.events")
    big = "m" * MEGABYTE
    details = f'"error":{{"type":"{big}","code":"{big}","message":"{big}"}}'
    data = frame('{"type":"error","event_id":"e",' + details + "}") + frame("x" + big)
    data += b"".join(map(FLOODS["texts of one byte"], range(1_000)))
    data += b"".join(map(FLOODS["audio of unknown items"], range(1_000)))
    async with session_and_flood(data) as (session, flood, _):
        flood.set()
        await wait_all_tasks_blocked()
        assert session.metrics.stray_events == 1_000
    assert 3 <= len(caplog.records) <= 70
    assert max(len(record.getMessage()) for record in caplog.records) < 1000


async def test_the_words_of_a_refusal_are_bounded() -> None:
    details = '"error":{"type":"x","code":"insufficient_quota","message":"' + "m" * MEGABYTE + '"}'
    error = await ending_of(frame('{"type":"error","event_id":"e",' + details + "}"))
    assert len(str(error)) < 5_000
    assert len(repr(error)) < 5_000


# --- growth that ends a session -----------------------------------------------------------

ITEM = about(
    "conversation.item.added",
    '"previous_item_id":null,"item":{"type":"message","role":"user","id":"i#","content":'
    '[{"type":"input_text","text":"' + "t" * 100 + '"}]}',
)
TEXT = about("response.output_text.delta", DELTA + '"response_id":"r","delta":"abcd"')
EMPTY = about("response.output_text.delta", DELTA + '"response_id":"r","delta":""')
TEXT_DONE = about(
    "response.output_text.done", DELTA.replace('"i"', '"i#"') + '"response_id":"r","text":"a"'
)
MESSAGE = about(
    "response.output_text.delta", DELTA.replace('"i"', '"i#"') + '"response_id":"r","delta":"abcd"'
)
CALL = about(
    "response.output_item.done",
    '"response_id":"r","output_index":0,"item":{"type":"function_call","id":"i#","call_id":"c#",'
    '"name":"nothing","arguments":"{}","status":"completed"}',
)
ARGUMENTS = about(
    "response.function_call_arguments.delta",
    '"item_id":"call","output_index":0,"call_id":"c","response_id":"r","delta":"abcd"',
)
BEGIN_CALL = about(
    "response.output_item.added",
    '"response_id":"r","output_index":0,"item":{"type":"function_call","id":"call","call_id":"c",'
    '"name":"nothing","arguments":"","status":"in_progress"}',
)(0)
TRANSCRIPT = about(
    "conversation.item.input_audio_transcription.delta",
    '"item_id":"i","content_index":0,"delta":"' + "word " * 200 + '"',
)

GROWTH: dict[str, tuple[bytes, Callable[[int], bytes], str]] = {
    "items": (b"", ITEM, "Limits.max_items"),
    "bytes of items": (b"", ITEM, "Limits.max_conversation_bytes"),
    "text of a response": (RESPONSE, TEXT, "Limits.max_response_bytes"),
    "empty texts of a response": (RESPONSE, EMPTY, "Limits.max_response_bytes"),
    "messages of a response": (RESPONSE, MESSAGE, "Limits.max_response_bytes"),
    "calls of a response": (RESPONSE, CALL, "Limits.max_response_bytes"),
    "arguments of a call": (RESPONSE + BEGIN_CALL, ARGUMENTS, "Limits.max_response_bytes"),
    "transcript of an item": (b"", TRANSCRIPT, "131,072 characters"),
}
TIGHT = Limits(max_items=1_000, max_response_bytes=200_000)
TIGHT_BYTES = Limits(max_conversation_bytes=200_000)


@pytest.mark.parametrize("what", GROWTH)
async def test_what_grows_without_end_ends_the_session(what: str) -> None:
    first, make, words = GROWTH[what]
    tracemalloc.start()
    try:
        error = await ending_of(
            first,
            (make(number) for number in range(10**9)),
            limits=TIGHT_BYTES if what == "bytes of items" else TIGHT,
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert type(error) is RemoteProtocolError
    assert words in str(error)
    assert peak < 8 * MEGABYTE


async def test_a_generation_that_nobody_reads_fails_alone() -> None:
    """Audio is not held by the core; what nobody reads is bounded, empty pieces too."""
    for delta in ("AAAA", ""):
        audio = about("response.output_audio.delta", DELTA + f'"response_id":"r","delta":"{delta}"')
        data = RESPONSE + b"".join(map(audio, range(FLOOD)))
        limits = Limits(max_stream_bytes=100_000)
        async with session_and_flood(data, limits=limits) as (session, flood, _):
            flood.set()
            await wait_all_tasks_blocked()
            generation = await session.generations.receive()
            with pytest.raises(StreamOverflow):
                async for _ in generation.parts:
                    pass


async def test_calls_that_the_server_never_lets_end_are_forgotten() -> None:
    """Whole calls wait for their output, also when their response is over; not all of them for ever."""

    whole = (
        about(
            "response.created",
            '"response":{"id":"r#","conversation_id":"c","status":"in_progress","output":[]}',
        ),
        about(
            "response.output_item.done",
            '"response_id":"r#","output_index":0,"item":{"type":"function_call","id":"i",'
            '"call_id":"c#","name":"theirs","arguments":"{}","status":"completed"}',
        ),
        about("response.done", '"response":{"id":"r#","status":"completed","output":[]}'),
    )
    data = b"".join(make(number) for number in range(1_500) for make in whole)
    theirs = FunctionTool(name="theirs", parameters={})  # the application answers it, or forgets to
    config = MANUAL.merge({"tools": [theirs]})
    async with session_and_flood(data, config=config) as (session, flood, _):
        flood.set()
        await wait_all_tasks_blocked()
        assert len(session._protocol._requests.calls) == 1024


# --- what goes out ------------------------------------------------------------------------


async def test_nothing_can_be_put_into_the_request() -> None:  # E5
    """Whatever the names are, the request is one request line and the headers that are meant."""
    endpoint = Endpoint.url(
        "ws://127.0.0.1:1/v1",
        model="gpt\r\nX-Evil: 1\r\n\r\nGET /other HTTP/1.1".replace("\r\n", "%0d%0a"),
        extra_query={"q": "a b&c=d#e?f/\u00fc"},
        extra_headers={"X-Mine": "yes"},
        api_key="sk-key",
    )
    requests: list[bytes] = []

    async def serve(stream: trio.abc.Stream) -> None:
        requests.append(bytes(await stream.receive_some()))
        await stream.aclose()

    async with serving(serve) as server:
        with pytest.raises(RealtimeError):
            async with open_session(endpoint, dialer=server, retry=None):
                raise AssertionError
    line, *headers = requests[0].split(b"\r\n")
    assert line.count(b" ") == 2
    assert line.startswith(b"GET /v1/realtime?")
    assert b"#" not in line
    names = [header.partition(b":")[0].lower() for header in headers if header]
    assert len(names) == len(set(names))
    assert b"x-evil" not in names
    assert b"sec-websocket-extensions" not in names  # compression is never offered


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", "a\r\nEvil: 1"), ("X", "a\0"), ("X: y\r\nEvil", "1"), ("Host", "evil"), ("X", "\u2020")],
)
def test_headers_that_would_inject_are_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match="extra_headers"):
        Endpoint.url("ws://127.0.0.1", extra_headers={name: value})


def test_a_key_travels_in_the_clear_to_this_machine_only() -> None:  # E5
    for url in ("ws://api.example.com", "http://10.0.0.1:8000", "ws://[fd00::1]"):
        with pytest.raises(ConfigurationError, match=r"without encryption.*allow_insecure=True"):
            Endpoint.url(url, api_key="sk-key")
        with pytest.raises(ConfigurationError, match="without encryption"):
            Endpoint.openai(base_url=url, env={"OPENAI_API_KEY": "sk-key"})
        assert not Endpoint.url(url).is_secure  # without a key there is nothing to protect
        assert Endpoint.url(url, api_key="sk-key", allow_insecure=True).host
    for url in ("ws://localhost", "ws://127.0.0.1:9", "ws://[::1]"):
        assert Endpoint.url(url, api_key="sk-key").host
