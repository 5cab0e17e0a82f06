"""Keys, tokens and passwords are shown nowhere: M3, E5, issue 5 item 5.

What counts as shown: the words and the repr of an error and of all that led to it; the repr of every local
variable in every frame of its traceback that is not the application's (this file's); what can be reached
from those through attributes and containers; every line of the log, at every level.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Any

import pytest
import rich.console
import rich.traceback
import trio

import trio_rt
from sansio_rt import (
    ClientProtocol,
    CommandRefused,
    ConfigurationError,
    ConnectionClosed,
    Endpoint,
    HandshakeRejected,
    LocalProtocolError,
    RealtimeError,
    SessionConfig,
    Timing,
)
from sansio_rt._secrets import HiddenBytes, HiddenText, Secret
from sansio_rt._wire import Wire
from trio_rt import TransportError, open_session
from trio_rt.testing import memory_server

KEY = "sk-Xq7wVn3LkZp9RtYb"
TOKEN = "gateway-Hj8sDf2mNc5v"  # in a header of the caller's own
IN_QUERY = "Gt6yUi1oPa4z"
PASSWORD = "Ew3rTy7uIo9p"
SECRETS = (KEY, TOKEN, IN_QUERY, PASSWORD, KEY[3:], "RXczclR5N3VJbzlw")  # the password in base64

MANUAL = SessionConfig(turn_detection=None)
SOON = Timing(connect_timeout_s=0.5, close_timeout_s=0.1)


def endpoint_of(url: str = "ws://127.0.0.1:1/v1", **settings: Any) -> Endpoint:
    settings.setdefault("api_key", KEY)
    return Endpoint.url(
        url, extra_headers={"X-Gateway": TOKEN}, extra_query={"api-key": IN_QUERY}, **settings
    )


# --- what a person or a program could see --------------------------------------------------


def causes(error: BaseException | None) -> Iterator[BaseException]:
    if error is not None:
        yield error
        yield from causes(error.__cause__)
        yield from causes(error.__context__)
        if isinstance(error, BaseExceptionGroup):
            for one in error.exceptions:
                yield from causes(one)


def frames(error: BaseException) -> Iterator[FrameType]:
    for one in causes(error):
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename != __file__:
                yield frame


def reachable(value: object, seen: set[int], depth: int = 0) -> Iterator[str]:
    """The reprs of a value and of what a dump of its attributes would reach; our own objects only."""
    if id(value) in seen or depth > 12:
        return
    seen.add(id(value))
    yield repr(value)
    if isinstance(value, Secret | HiddenText | HiddenBytes | type):
        return
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from reachable(key, seen, depth + 1)
            yield from reachable(entry, seen, depth + 1)
    elif isinstance(value, list | tuple | set | frozenset) or type(value).__name__ == "deque":
        for entry in value:  # type: ignore[attr-defined]
            yield from reachable(entry, seen, depth + 1)
    elif type(value).__module__.partition(".")[0] in ("sansio_rt", "trio_rt"):
        slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        for name in [*slots, *getattr(value, "__dict__", {})]:
            yield from reachable(getattr(value, name, None), seen, depth + 1)


def shown_by(error: BaseException, *, dumped: bool) -> Iterator[str]:
    for one in causes(error):
        yield f"{one} {one!r} {vars(one)}"
    seen: set[int] = set()
    for frame in frames(error):
        for name, value in list(frame.f_locals.items()):
            for text in reachable(value, seen) if dumped else [repr(value)]:
                yield f"{frame.f_code.co_qualname}: {name} = {text}"


def check_nothing_is_shown(error: BaseException, *, dumped: bool = True) -> None:
    for text in shown_by(error, dumped=dumped):
        for secret in SECRETS:
            assert secret not in text, text[:2000]


def printed(error: BaseException) -> str:
    """As the standard library and rich print a traceback with local variables."""
    plain = traceback.TracebackException.from_exception(error, capture_locals=True)
    console = rich.console.Console(file=io.StringIO(), width=300)
    assert error.__traceback__ is not None
    console.print(
        rich.traceback.Traceback.from_exception(
            type(error), error, error.__traceback__, show_locals=True
        )
    )
    return "".join(plain.format()) + console.file.getvalue()  # type: ignore[attr-defined]


# --- servers and streams that fail --------------------------------------------------------


class Broken(trio.abc.Stream):
    """A stream that fails when it is written to."""

    async def send_all(self, data: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise trio.BrokenResourceError from ConnectionResetError(104, "Connection reset by peer")

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class Scripted:
    """A dialer whose server is a function of the stream."""

    def __init__(self, serve: Callable[[trio.abc.Stream], Awaitable[None]]) -> None:
        self._serve = serve

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        trio.lowlevel.spawn_system_task(self._serve, theirs)
        return ours


class Failing:
    """A dialer that fails."""

    def __init__(self, error: Exception | None = None, stream: Any = None) -> None:
        self._error = error
        self._stream = stream

    async def dial(self, endpoint: Endpoint) -> Any:
        await trio.lowlevel.checkpoint()
        if self._error is not None:
            raise self._error
        return self._stream


def answers(text: str) -> Scripted:
    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(text.encode())
        await stream.aclose()

    return Scripted(serve)


def upgrades_then(step: Callable[[Wire], None]) -> Scripted:
    async def serve(stream: trio.abc.Stream) -> None:
        wire = Wire.server()
        wire.receive_data(await stream.receive_some())
        wire.accept()
        step(wire)
        await stream.send_all(wire.data_to_send())
        with trio.move_on_after(1):
            while await stream.receive_some():
                pass
        await stream.aclose()

    return Scripted(serve)


async def hang(stream: trio.abc.Stream) -> None:
    await trio.sleep(2)


def error_event(code: str) -> bytes:
    message = f"Incorrect API key provided: {KEY}. Bearer {KEY} is wrong."
    return b'{"type":"error","error":{"code":"%b","message":"%b"}}' % (
        code.encode(),
        message.encode(),
    )


ECHO = f"HTTP/1.1 401 Bad {KEY}\r\n\r\nno such key: {KEY}, {TOKEN}, /v1/realtime?api-key={IN_QUERY}"

FAILURES: dict[str, tuple[Any, type[Exception]]] = {
    "dial": (Failing(TransportError("cannot reach it")), TransportError),
    "a defect of a dialer": (Failing(ZeroDivisionError("oops")), ZeroDivisionError),
    "nobody listens": (None, TransportError),
    "send": (Failing(stream=Broken()), RealtimeError),
    "no answer": (Scripted(hang), RealtimeError),
    "rejection that repeats the key": (answers(ECHO), HandshakeRejected),
    "garbage that repeats the key": (answers(f"{KEY}\r\n\r\n"), RealtimeError),
    "refusal that repeats the key": (
        upgrades_then(lambda wire: wire.send_text(error_event("invalid_api_key"))),
        CommandRefused,
    ),
    "close reason that repeats the key": (
        upgrades_then(lambda wire: wire.close(3000, f"invalid key {KEY}")),
        ConnectionClosed,
    ),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("source", ["text", "function"])
async def test_a_failing_connect_shows_no_secret(
    name: str, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    dialer, kind = FAILURES[name]
    endpoint = endpoint_of(api_key=KEY if source == "text" else lambda: KEY)
    with trio.fail_after(5), pytest.raises(kind) as caught:
        async with open_session(endpoint, MANUAL, dialer=dialer, proxy="", timing=SOON):
            raise AssertionError
    assert list(frames(caught.value))
    # The bytes that a server sent may lie in private buffers; that is the bound of what is promised.
    check_nothing_is_shown(caught.value, dumped="repeats" not in name)
    for secret in SECRETS:
        assert secret not in caplog.text


async def test_a_session_that_works_and_one_that_breaks_log_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with memory_server("Hello.") as server:
        with pytest.raises(RealtimeError) as caught:
            async with open_session(endpoint_of(), MANUAL, dialer=server) as session:
                await session.send_message("Hi")
                generation = await session.generate_reply(modalities=["text"])
                await generation.wait()
                for text in reachable(session, set()):
                    assert not any(secret in text for secret in SECRETS), text[:1000]
                server.protocols[-1]._wire.send_text(error_event("unknown_thing"))
                server.protocols[-1]._wire.send_text(error_event("insufficient_quota"))
                await server.streams[-1].send_all(server.protocols[-1]._wire.data_to_send())
                await trio.sleep_forever()
    check_nothing_is_shown(caught.value)
    assert "trio_rt.events" in {record.name for record in caplog.records}
    for secret in SECRETS:
        assert secret not in caplog.text


async def test_a_proxys_password_is_not_shown() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 407 Who\r\n\r\n")

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, serve, listeners)
            good, bad = f"http://me:{PASSWORD}@127.0.0.1:{port}", f"socks5://me:{PASSWORD}@host:1"
            for proxy, kind in ((good, HandshakeRejected), (bad, ConfigurationError)):
                with pytest.raises(kind) as caught:
                    async with open_session(endpoint_of(), MANUAL, proxy=proxy):
                        raise AssertionError
                check_nothing_is_shown(caught.value)
            nursery.cancel_scope.cancel()


def test_printed_tracebacks_with_local_variables_show_no_secret() -> None:
    """The printers that people use, each with its own way of shortening."""

    async def main() -> None:
        endpoint = endpoint_of()  # a local of the application's: its repr has to be safe
        async with open_session(endpoint, MANUAL, dialer=Failing(stream=Broken()), timing=SOON):
            raise AssertionError

    with pytest.raises(RealtimeError) as caught:
        trio.run(main)
    text = printed(caught.value)
    assert "endpoint" in text  # the local variables are there
    for secret in SECRETS:
        assert secret not in text


# --- keys that cannot be sent -------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", " ", "\u2020", "\u00fc"])
async def test_a_key_that_no_header_can_hold_is_not_shown(end: str) -> None:
    """Also where only the wire refuses it (u-umlaut is latin-1), and where a function gave it."""
    with pytest.raises((ConfigurationError, LocalProtocolError)) as caught:
        async with open_session(
            endpoint_of(api_key=lambda: KEY + end), MANUAL, dialer=Failing(stream=Broken())
        ):
            raise AssertionError
    check_nothing_is_shown(caught.value)


ENVIRONMENT = {"OPENAI_API_KEY": KEY, "AZURE_OPENAI_API_KEY": KEY, "AZURE_OPENAI_AD_TOKEN": TOKEN}


@pytest.mark.parametrize(
    "make",
    [
        lambda: Endpoint.url("ws://127.0.0.1", api_key=KEY + "\n"),
        lambda: Endpoint.url("ws://far.test", api_key=KEY),
        lambda: Endpoint.url("ws://127.0.0.1", api_key=KEY, dialect="gamma"),
        lambda: Endpoint.url(f"wss://me:{PASSWORD}@far.test"),
        lambda: Endpoint.url(f"wss://far test/?key={IN_QUERY}"),
        lambda: Endpoint.url("wss://a", extra_headers={"X": TOKEN + "\r\nY: z"}),
        lambda: Endpoint.url("wss://a", extra_query={"token": IN_QUERY + "\0"}),
        lambda: Endpoint.openai(env=ENVIRONMENT | {"OPENAI_BASE_URL": "gopher://x"}),
        lambda: Endpoint.openai(call_id="", env=ENVIRONMENT),
        lambda: Endpoint.azure("d", env=ENVIRONMENT),
        lambda: Endpoint.azure("d", api_key=KEY, token=TOKEN, resource_url="https://x"),
        lambda: trio_rt.endpoint(api_key=KEY, base_url="gopher://x"),
        lambda: endpoint_of(api_key=KEY + "\n"),
        lambda: trio_rt.TcpDialer(proxy=f"socks5://me:{PASSWORD}@host:1"),
        lambda: endpoint_of(api_key=lambda: KEY).headers(),
    ],
)
def test_what_cannot_be_made_shows_no_secret(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    check_nothing_is_shown(caught.value)


async def test_the_environment_is_not_in_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.environ` shows all of itself."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "gopher://x")
    with pytest.raises(ConfigurationError) as caught:
        trio_rt.endpoint()
    check_nothing_is_shown(caught.value)
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", f"socks5://me:{PASSWORD}@host:1")
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY") as caught:
        async with open_session(endpoint_of("wss://far.test")):
            raise AssertionError
    check_nothing_is_shown(caught.value)


# --- objects ------------------------------------------------------------------------------


def test_no_object_shows_a_secret() -> None:
    endpoint = endpoint_of()
    protocol = ClientProtocol(endpoint)
    protocol.connect(0.0)  # the request waits to be sent
    wire = Wire.client("h", endpoint.target, endpoint.headers(), random_bytes=bytes)
    things = [endpoint, protocol, wire, endpoint.headers(), dataclasses.asdict(endpoint)]
    for text in reachable(things, set()):
        assert not any(secret in text for secret in SECRETS), text[:1000]
    request = protocol.data_to_send()
    assert KEY.encode() in request  # and yet it is sent
    assert TOKEN.encode() in request
    assert IN_QUERY.encode() in request
    assert KEY not in f"{request!r} {request} {request[:400]!r} {[request]}"


def test_hidden_text_is_text_in_every_way_but_its_repr() -> None:
    text, data = HiddenText("Bearer abc"), HiddenBytes(b"GET / HTTP/1.1")
    assert text == "Bearer abc"
    assert f"{text}" == "Bearer abc"
    assert text.encode() == b"Bearer abc"
    assert {text: 1}["Bearer abc"] == 1
    assert bytes(data) == b"GET / HTTP/1.1"
    assert memoryview(data)[:3] == b"GET"
    assert data[0] == ord("G")
    assert data[:3] == b"GET"
    assert "abc" not in f"{[text]} {text[3:]!r} {(text,)!r}"
    assert "GET" not in f"{data} {data!r} {data[:5]!r}"
    for one in (text, data):
        with pytest.raises(TypeError, match="never pickled"):
            one.__reduce_ex__(2)
