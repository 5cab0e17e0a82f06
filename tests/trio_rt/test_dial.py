"""Dialling over real sockets: several addresses, TLS, proxies, and peers that reset or hang (R1)."""

from __future__ import annotations

import base64
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trustme

from sansio_rt import ConfigurationError, Endpoint, FrameError, Timing
from sansio_rt._proxy import ProxyRefused
from sansio_rt._secrets import Secret
from sansio_rt._wire import Wire
from trio_rt import ConnectTimeout, TcpDialer, TransportError, open_session
from trio_rt._dial import resolve_key

Handler = Callable[[trio.SocketStream], Awaitable[None]]

AUTHORITY = trustme.CA()
SERVER_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
AUTHORITY.issue_cert("far.test", "proxy.test", "localhost").configure_cert(SERVER_CONTEXT)
CLIENT_CONTEXT = ssl.create_default_context()
AUTHORITY.configure_trust(CLIENT_CONTEXT)

VARIABLES = [f"{kind}_proxy" for kind in ("http", "https", "all", "no")]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@asynccontextmanager
async def listening(handler: Callable[[Any], Awaitable[None]]) -> AsyncGenerator[int]:
    """A server on a free port of loopback that does what the handler says, for each connection."""

    async def serve(stream: trio.SocketStream) -> None:
        try:
            await handler(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, serve, listeners)
            yield listeners[0].socket.getsockname()[1]
            nursery.cancel_scope.cancel()


async def echo(stream: trio.abc.Stream) -> None:
    """Answers with what it got, in capitals."""
    async for data in stream:  # type: ignore[attr-defined]
        await stream.send_all(bytes(data).upper())


async def echo_over_tls(stream: trio.SocketStream) -> None:
    await echo(trio.SSLStream(stream, SERVER_CONTEXT, server_side=True, https_compatible=True))


async def hang(stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


def linger_zero(stream: trio.SocketStream) -> None:
    """Makes closing the stream a reset."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def reset(stream: trio.SocketStream) -> None:
    await stream.receive_some(1)
    linger_zero(stream)


def answer(text: bytes) -> Handler:
    async def handler(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(text)
        await trio.sleep_forever()

    return handler


class ConnectProxy:
    """A small proxy that leads everybody to one port of loopback, whatever they ask for."""

    def __init__(self, port: int, *, over_tls: bool = False) -> None:
        self.heads: list[bytes] = []
        self._port = port
        self._over_tls = over_tls

    async def __call__(self, stream: Any) -> None:
        if self._over_tls:
            stream = trio.SSLStream(stream, SERVER_CONTEXT, server_side=True, https_compatible=True)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await stream.receive_some()
        self.heads.append(head)
        async with await trio.open_tcp_stream("127.0.0.1", self._port) as inside:
            await stream.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")

            async def copy(source: trio.abc.Stream, target: trio.abc.Stream) -> None:
                while data := await source.receive_some():
                    await target.send_all(data)
                nursery.cancel_scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(copy, stream, inside)
                nursery.start_soon(copy, inside, stream)


class Addresses(trio.abc.HostnameResolver):
    """Resolves every name to the same addresses."""

    def __init__(self, *hosts: str) -> None:
        self._hosts = hosts

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in self._hosts]

    async def getnameinfo(self, *_: Any) -> Any:
        raise NotImplementedError


async def says_hello(stream: trio.abc.Stream) -> None:
    async with stream:
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"HELLO"


def far(port: int, scheme: str = "wss") -> Endpoint:
    """A host that only a proxy can find."""
    return Endpoint.url(f"{scheme}://far.test:{port}/v1")


# --- TCP ----------------------------------------------------------------------------------


async def test_the_next_address_is_tried_where_one_refuses() -> None:
    async with listening(echo) as port:
        trio.socket.set_custom_hostname_resolver(Addresses("127.0.0.9", "127.0.0.1"))
        await says_hello(await TcpDialer().dial(far(port, "ws")))


async def test_the_next_address_is_tried_where_one_stalls() -> None:
    """Happy eyeballs: an address that does not answer costs a quarter of a second, not the timeout."""
    stalling = socket.create_server(("127.0.0.8", 0), backlog=0)
    port = stalling.getsockname()[1]
    fillers = []
    for _ in range(2):  # a full backlog: the kernel drops what comes after it
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.8", port))
        fillers.append(filler)
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, echo, listeners)
            trio.socket.set_custom_hostname_resolver(Addresses("127.0.0.8", "127.0.0.1"))
            began = trio.current_time()
            await says_hello(await TcpDialer().dial(far(port, "ws")))
            assert 0.2 < trio.current_time() - began < 2
            nursery.cancel_scope.cancel()
    for one in (stalling, *fillers):
        one.close()


async def test_an_error_names_each_reason_once() -> None:
    async with listening(echo) as port:
        pass
    trio.socket.set_custom_hostname_resolver(Addresses("127.0.0.9", "127.0.0.1"))
    with pytest.raises(TransportError) as caught:
        await TcpDialer().dial(far(port, "ws"))
    text = str(caught.value)
    assert text.startswith(f"cannot reach far.test:{port}: ")
    assert text.count("refused") == 1
    assert isinstance(caught.value.__cause__, OSError)


# --- TLS ----------------------------------------------------------------------------------


async def test_tls_is_spoken() -> None:
    async with listening(echo_over_tls) as port:
        endpoint = Endpoint.url(f"wss://localhost:{port}/v1")
        dialer = TcpDialer(CLIENT_CONTEXT)
        await says_hello(await dialer.dial(endpoint))
        await says_hello(await dialer.dial(endpoint))


@pytest.mark.parametrize(
    ("handler", "host", "context", "words"),
    [
        (echo_over_tls, "127.0.0.1", CLIENT_CONTEXT, "IP address mismatch.*ssl_context"),
        (echo_over_tls, "localhost", None, "unable to get local issuer|self.signed.*ssl_context"),
        (
            answer(b"HTTP/1.1 400 No TLS here\r\n\r\n"),
            "localhost",
            None,
            "check that the address speaks",
        ),
        (reset, "localhost", None, "(?i)reset by peer; check the URL"),
    ],
)
async def test_tls_that_fails(
    handler: Handler, host: str, context: ssl.SSLContext | None, words: str
) -> None:
    async with listening(handler) as port:
        endpoint = Endpoint.url(f"wss://{host}:{port}/v1", api_key="sk-secret")
        with pytest.raises(TransportError, match=words) as caught:
            await TcpDialer(context).dial(endpoint)
    assert f"TLS with {host}:{port} failed" in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)  # the system's, not trio's wrapping


async def test_a_server_that_does_not_answer_tls_is_bounded_by_the_caller() -> None:
    async with listening(hang) as port:
        with trio.move_on_after(0.1) as scope:
            await TcpDialer().dial(Endpoint.url(f"wss://localhost:{port}/v1"))
        assert scope.cancelled_caught


# --- proxies ------------------------------------------------------------------------------


@pytest.mark.parametrize("proxy_over_tls", [False, True])
@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_through_a_proxy(proxy_over_tls: bool, scheme: str) -> None:
    """The server's name is resolved by the proxy, and TLS is spoken with the server itself."""
    async with listening(echo_over_tls if scheme == "wss" else echo) as port:
        proxy = ConnectProxy(port, over_tls=proxy_over_tls)
        async with listening(proxy) as proxy_port:
            if proxy_over_tls:
                url = f"https://us%40er:pass@localhost:{proxy_port}"
            else:
                url = f"http://us%40er:pass@127.0.0.1:{proxy_port}"
            dialer = TcpDialer(CLIENT_CONTEXT, proxy=url)
            await says_hello(await dialer.dial(far(443, scheme)))
    (head,) = proxy.heads
    assert head.startswith(b"CONNECT far.test:443 HTTP/1.1\r\n")
    assert base64.b64encode(b"us@er:pass") in head


async def test_the_certificate_is_the_servers_not_the_proxys() -> None:
    async with listening(echo_over_tls) as port:
        async with listening(ConnectProxy(port)) as proxy_port:
            dialer = TcpDialer(CLIENT_CONTEXT, proxy=f"http://127.0.0.1:{proxy_port}")
            with pytest.raises(TransportError, match=r"TLS with other\.test:443 failed"):
                await dialer.dial(Endpoint.url("wss://other.test/v1"))


async def test_the_environment_is_read_at_each_dial(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(echo) as port:
        proxy = ConnectProxy(port)
        async with listening(proxy) as proxy_port:
            dialer = TcpDialer()
            url = f"http://127.0.0.1:{proxy_port}"
            monkeypatch.setenv("all_proxy", url)
            await says_hello(await dialer.dial(far(80, "ws")))
            await says_hello(await dialer.dial(Endpoint.url(f"ws://127.0.0.1:{port}")))  # loopback
            assert len(proxy.heads) == 1
            monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
            await says_hello(await TcpDialer(env={"all_proxy": url}).dial(far(80, "ws")))
            for none in ("", False):
                trio.socket.set_custom_hostname_resolver(Addresses("127.0.0.1"))
                await says_hello(await TcpDialer(proxy=none).dial(far(port, "ws")))  # type: ignore[arg-type]
            assert len(proxy.heads) == 2
            monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1")
            with pytest.raises(ConfigurationError, match="all_proxy"):
                await dialer.dial(far(80, "ws"))


async def test_loopback_goes_through_a_proxy_that_is_asked_for() -> None:
    async with listening(echo) as port:
        proxy = ConnectProxy(port)
        async with listening(proxy) as proxy_port:
            dialer = TcpDialer(proxy=f"http://127.0.0.1:{proxy_port}")
            await says_hello(await dialer.dial(Endpoint.url("ws://localhost:9/v1")))
    assert len(proxy.heads) == 1


@pytest.mark.parametrize(
    ("handler", "error", "words"),
    [
        (answer(b"HTTP/1.1 407 Who\r\n\r\n"), ProxyRefused, "does not take this user name"),
        (answer(b"HTTP/1.1 503 Busy\r\n\r\n"), ProxyRefused, r"far\.test:443: HTTP 503 Busy"),
        (answer(b"SSH-2.0-x\r\n\r\n"), FrameError, "not HTTP/1.1"),
        (answer(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**20), FrameError, "HTTP/1.1|bytes of headers"),
        (reset, TransportError, "(?i)broke before it answered: connection reset"),
    ],
)
async def test_a_proxy_that_does_not_serve(
    handler: Handler, error: type[Exception], words: str
) -> None:
    async with listening(handler) as port:
        dialer = TcpDialer(proxy=f"http://user:hunter22@127.0.0.1:{port}")
        with pytest.raises(error, match=words) as caught:
            await dialer.dial(far(443))
    assert f"http://127.0.0.1:{port}" in str(caught.value)
    assert "hunter22" not in str(caught.value)


async def test_a_proxy_that_is_not_there_or_hangs() -> None:
    async with listening(hang) as port:
        dialer = TcpDialer(proxy=f"http://127.0.0.1:{port}")
        with trio.move_on_after(0.1) as scope:
            await dialer.dial(far(443))
        assert scope.cancelled_caught
    with pytest.raises(
        TransportError, match=r"cannot reach the proxy 127\.0\.0\.1.*that the proxy"
    ):
        await dialer.dial(far(443))


async def test_a_session_through_a_proxy() -> None:
    told = b'{"type":"session.%s","event_id":"e","session":{"type":"realtime"}}'

    async def serve(stream: trio.abc.Stream) -> None:
        wire = Wire.server()
        wire.receive_data(await stream.receive_some())
        wire.accept()
        wire.send_text(told % b"created")
        wire.send_text(told % b"updated")
        await stream.send_all(wire.data_to_send())
        await stream.receive_some()

    async with listening(serve) as port:
        proxy = ConnectProxy(port)
        async with listening(proxy) as proxy_port:
            url = f"http://127.0.0.1:{proxy_port}"
            async with open_session(far(80, "ws"), proxy=url) as session:
                assert session.config is not None
    assert len(proxy.heads) == 1


async def test_a_session_whose_proxy_hangs_names_the_proxy() -> None:
    async with listening(hang) as port:
        with pytest.raises(
            ConnectTimeout, match=rf"far\.test:443 through the proxy .*:{port} within"
        ):
            async with open_session(
                far(443),
                proxy=f"http://me:hunter22@127.0.0.1:{port}",
                timing=Timing(connect_timeout_s=0.1),
            ):
                raise AssertionError


async def test_proxies_that_cannot_be_used() -> None:
    with pytest.raises(ConfigurationError, match="SOCKS"):
        TcpDialer(proxy="socks5://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="exclude each other"):
        async with open_session(far(443), dialer=TcpDialer(), proxy="http://127.0.0.1:1"):
            raise AssertionError


# --- keys ---------------------------------------------------------------------------------


async def test_the_key_function_may_be_sync_or_async_and_is_called_each_time() -> None:  # E6
    count = 0

    def make() -> str:
        nonlocal count
        count += 1
        return f"key-{count}"

    async def make_slowly() -> str:
        await trio.lowlevel.checkpoint()
        return make()

    for number, provider in ((1, make), (2, make), (3, make_slowly)):
        key = await resolve_key(Endpoint.url("wss://far.test/v1", api_key=provider))
        assert key == Secret(f"key-{number}")
    assert await resolve_key(Endpoint.url("wss://far.test/v1", api_key="sk-fixed")) is None


async def test_a_key_function_that_gives_no_text() -> None:
    endpoint = Endpoint.url("wss://far.test/v1", api_key=lambda: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigurationError, match="gave a NoneType"):
        await resolve_key(endpoint)
