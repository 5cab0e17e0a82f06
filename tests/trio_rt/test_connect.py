"""Connecting over real sockets: TLS, refusals, servers that are not there or no servers at all (R1, E1)."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trustme

import trio_rt
from sansio_rt import (
    CommandRefused,
    CommandTimeout,
    ConfigurationError,
    ConnectionClosed,
    Endpoint,
    FrameError,
    HandshakeRejected,
    RealtimeError,
    SessionConfig,
    Timing,
)
from sansio_rt._wire import Wire
from trio_rt import TransportError, open_session
from trio_rt.testing import memory_server

Handler = Callable[[trio.abc.Stream], Awaitable[None]]
MANUAL = SessionConfig(turn_detection=None)
SOON = Timing(connect_timeout_s=1.0)


@asynccontextmanager
async def listening(
    handler: Handler, ssl_context: ssl.SSLContext | None = None
) -> AsyncGenerator[int]:
    """A server on a free port of loopback that does what the handler says."""

    async def serve(stream: trio.abc.Stream) -> None:
        try:
            await handler(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            if ssl_context is None:
                listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            else:
                listeners = await trio.open_ssl_over_tcp_listeners(0, ssl_context, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, serve, listeners)
            listener = listeners[0]
            tcp = listener if ssl_context is None else listener.transport_listener
            yield tcp.socket.getsockname()[1]
            nursery.cancel_scope.cancel()


def answer(text: bytes) -> Handler:
    async def handler(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(text)
        await stream.send_eof()  # type: ignore[attr-defined]
        await trio.sleep(1)

    return handler


async def hang(stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


async def close_at_once(stream: trio.abc.Stream) -> None:
    await stream.aclose()


async def upgrade_and_close(stream: trio.abc.Stream) -> None:
    wire = Wire.server()
    wire.receive_data(await stream.receive_some())
    wire.accept()
    wire.close(4000, "go away")
    await stream.send_all(wire.data_to_send())
    await trio.sleep(1)


async def refuse_the_key(stream: trio.abc.Stream) -> None:
    wire = Wire.server()
    wire.receive_data(await stream.receive_some())
    wire.accept()
    wire.send_text(b'{"type":"error","error":{"code":"invalid_api_key","message":"bad key"}}')
    await stream.send_all(wire.data_to_send())
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("handler", "error", "words"),
    [
        (answer(b"HTTP/1.1 200 OK\r\n\r\n<html>"), HandshakeRejected, "does not speak WebSocket"),
        (answer(b"HTTP/1.1 401 No\r\n\r\nbad key"), HandshakeRejected, "check the API key"),
        (answer(b"HTTP/1.1 404 No\r\n\r\n"), HandshakeRejected, "check the URL"),
        (answer(b"HTTP/1.1 302 Go\r\nlocation: /x\r\n\r\n"), HandshakeRejected, "redirects"),
        (answer(b"HTTP/1.1 503 No\r\n\r\n"), HandshakeRejected, "try again later"),
        (answer(b"220 smtp.example.com ready\r\n"), ConnectionClosed, "did not answer the WebSoc"),
        (answer(b"220 smtp.example.com\r\n\r\n"), FrameError, "not HTTP/1.1"),
        (close_at_once, RealtimeError, "handshake and went"),
        (hang, CommandTimeout, "did not answer the WebSocket handshake within 1 s"),
        (upgrade_and_close, ConnectionClosed, "go away"),
        (refuse_the_key, CommandRefused, "bad key"),
    ],
)
async def test_servers_that_will_not_serve(
    handler: Handler, error: type[Exception], words: str
) -> None:
    async with listening(handler) as port:
        endpoint = Endpoint.url(f"ws://127.0.0.1:{port}/v1", api_key="sk-secret")
        with pytest.raises(error, match=words) as caught:
            async with open_session(endpoint, MANUAL, timing=SOON):
                raise AssertionError
        assert "sk-secret" not in f"{caught.value!r} {caught.value}"


async def test_nobody_listens() -> None:
    async with listening(hang) as port:
        pass
    endpoint = Endpoint.url(f"ws://127.0.0.1:{port}/v1")
    with pytest.raises(TransportError, match=r"cannot reach 127\.0\.0\.1:\d+.*refused"):
        async with open_session(endpoint):
            raise AssertionError


async def test_no_such_host() -> None:
    endpoint = Endpoint.url("ws://no-such-host.invalid/v1")
    with trio.fail_after(20), pytest.raises(TransportError, match=r"no-such-host\.invalid"):
        async with open_session(endpoint, timing=Timing(connect_timeout_s=15)):
            raise AssertionError


async def test_tls_is_spoken_and_verified() -> None:
    authority = trustme.CA()
    server, client = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.create_default_context(),
    )
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    async with memory_server("Hello over TLS.") as memory:

        async def relay(stream: trio.abc.Stream) -> None:
            """Carries the bytes of the socket to the server in memory."""
            inside = await memory.dial(memory.endpoint)

            async def copy(source: trio.abc.Stream, target: trio.abc.Stream) -> None:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    while data := await source.receive_some():
                        await target.send_all(data)
                nursery.cancel_scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(copy, stream, inside)
                nursery.start_soon(copy, inside, stream)

        async with listening(relay, server) as port:
            endpoint = Endpoint.url(f"wss://localhost:{port}/v1", api_key="sk-secret")
            async with open_session(endpoint, MANUAL, ssl_context=client) as session:
                generation = await session.generate_reply(modalities=["text"])
                assert (await generation.wait()).text == "Hello over TLS."
            for host, context in (("127.0.0.1", client), ("localhost", None)):
                wrong = Endpoint.url(f"wss://{host}:{port}/v1", api_key="sk-secret")
                with pytest.raises(TransportError, match="certificate") as caught:
                    async with open_session(wrong, MANUAL, ssl_context=context):
                        raise AssertionError
                assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


def test_the_environment_gives_key_and_address(monkeypatch: pytest.MonkeyPatch) -> None:  # E1
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match=r"api_key=.*OPENAI_API_KEY"):
        trio_rt.endpoint()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-env")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:9/v1")
    endpoint = trio_rt.endpoint("gpt-x")
    assert (endpoint.host, endpoint.port, endpoint.scheme) == ("localhost", 9, "ws")
    assert ("Authorization", "Bearer sk-from-env") in endpoint.headers()


def test_the_environment_gives_an_azure_resource(monkeypatch: pytest.MonkeyPatch) -> None:  # E2
    for name in ("ENDPOINT", "API_KEY", "AD_TOKEN"):
        monkeypatch.delenv(f"AZURE_OPENAI_{name}", raising=False)
    monkeypatch.delenv("OPENAI_API_VERSION", raising=False)
    with pytest.raises(ConfigurationError, match="AZURE_OPENAI_ENDPOINT"):
        trio_rt.azure_endpoint("mine")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://name.openai.azure.com")
    with pytest.raises(ConfigurationError, match="AZURE_OPENAI_API_KEY"):
        trio_rt.azure_endpoint("mine")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "key-from-env")
    endpoint = trio_rt.azure_endpoint("mine")
    assert endpoint.target == "/openai/v1/realtime?model=mine"
    assert ("api-key", "key-from-env") in endpoint.headers()
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-01-preview")
    assert trio_rt.azure_endpoint("mine").dialect.is_beta


async def test_no_socket_and_no_task_is_left() -> None:  # R6
    left = trio.Event()

    async def watch(stream: trio.abc.Stream) -> None:
        nonlocal left
        wire = Wire.server()
        while data := await stream.receive_some():
            wire.receive_data(data)
            while (event := wire.next_event()) is not None:
                if type(event).__name__ == "HandshakeRequest":
                    wire.accept()
                    for kind in ("session.created", "session.updated"):
                        wire.send_text(b'{"type":"%s","session":{}}' % kind.encode())
            await stream.send_all(wire.data_to_send())
        left.set()

    async with listening(watch) as port:
        living: list[int] = []
        for _ in range(2):
            async with open_session(Endpoint.url(f"ws://127.0.0.1:{port}/v1"), MANUAL):
                pass
            await left.wait()
            left = trio.Event()
            await trio.testing.wait_all_tasks_blocked()
            living.append(trio.lowlevel.current_statistics().tasks_living)
        assert living[0] == living[1]
