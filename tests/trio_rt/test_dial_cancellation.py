"""Dialling over real sockets, cancelled at every step: no socket and no task is left (N2, R1, R6).

Whether a socket was let go is asked where it matters, at the peer: each of its connections has ended.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trustme

from sansio_rt import Endpoint, SessionConfig
from trio_rt import TcpDialer, open_session, serve_emulator
from trio_rt.emulator import Brain
from trio_rt.testing import Counted, Cut, cancel_at_every_step

AUTHORITY = trustme.CA()
SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
AUTHORITY.issue_cert("127.0.0.1").configure_cert(SERVER)
CLIENT = ssl.create_default_context()
AUTHORITY.configure_trust(CLIENT)

Handler = Callable[[Any], Awaitable[None]]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Peer:
    """A listener that knows which of its connections still stand.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, handler: Handler) -> None:
        self.port = 0
        self._handler = handler
        self._standing = 0
        self._changed = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        self._standing += 1
        with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            await self._handler(stream)
            while await stream.receive_some():
                pass
        await trio.aclose_forcefully(stream)
        self._standing -= 1
        self._changed.set()
        self._changed = trio.Event()

    async def none_stands(self) -> None:
        """Waits until every connection has ended on the client's side."""
        await trio.sleep(0.001)  # one that was made and not accepted yet
        with trio.fail_after(5):
            while self._standing:
                await self._changed.wait()


@asynccontextmanager
async def peer(handler: Handler) -> AsyncGenerator[Peer]:
    async with trio.open_nursery() as nursery:
        it = Peer(handler)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        it.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, it.serve, listeners)
        yield it
        nursery.cancel_scope.cancel()


async def greet(stream: Any) -> None:
    await stream.send_all(b"hello")


async def greet_over_tls(stream: Any) -> None:
    tls = trio.SSLStream(stream, SERVER, server_side=True, https_compatible=True)
    await tls.send_all(b"hello")


async def never_answer(stream: Any) -> None:
    await stream.receive_some(0xFFFF)


def connect_to(port: int) -> Handler:
    """A proxy that leads everybody to one port."""

    async def handler(stream: Any) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            data = await stream.receive_some()
            if not data:
                return
            head += data
        async with await trio.open_tcp_stream("127.0.0.1", port) as inside:
            await stream.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            async with trio.open_nursery() as nursery:

                async def copy(source: Any, target: Any) -> None:
                    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        while data := await source.receive_some():
                            await target.send_all(data)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(copy, stream, inside)
                await copy(inside, stream)

    return handler


async def dial_and_read(dialer: TcpDialer, endpoint: Endpoint) -> None:
    stream = await dialer.dial(endpoint)
    try:
        assert await stream.receive_some() == b"hello"
    finally:
        await trio.aclose_forcefully(stream)


async def tcp(cut: Cut) -> None:
    async with peer(greet) as server:
        with cut:
            await dial_and_read(TcpDialer(), Endpoint.url(f"ws://127.0.0.1:{server.port}"))
        await server.none_stands()


async def tls(cut: Cut) -> None:
    async with peer(greet_over_tls) as server:
        with cut:
            await dial_and_read(TcpDialer(CLIENT), Endpoint.url(f"wss://127.0.0.1:{server.port}"))
        await server.none_stands()


async def tls_through_a_proxy(cut: Cut) -> None:
    async with peer(greet_over_tls) as server, peer(connect_to(server.port)) as proxy:
        dialer = TcpDialer(CLIENT, proxy=f"http://127.0.0.1:{proxy.port}")
        with cut:
            await dial_and_read(dialer, Endpoint.url("wss://127.0.0.1:443"))
        await proxy.none_stands()
        await server.none_stands()


async def a_proxy_that_hangs(cut: Cut) -> None:
    async with peer(never_answer) as proxy:
        dialer = TcpDialer(proxy=f"http://127.0.0.1:{proxy.port}")
        with cut, trio.move_on_after(0.05):
            await dialer.dial(Endpoint.url("wss://127.0.0.1:443"))
        await proxy.none_stands()


async def tls_that_hangs(cut: Cut) -> None:
    async with peer(never_answer) as server:
        with cut, trio.move_on_after(0.05):
            await TcpDialer(CLIENT).dial(Endpoint.url(f"wss://127.0.0.1:{server.port}"))
        await server.none_stands()


async def several_addresses(cut: Cut) -> None:
    """The first one refuses."""
    async with peer(greet) as server:
        trio.socket.set_custom_hostname_resolver(Addresses("127.0.0.9", "127.0.0.1"))
        with cut:
            await dial_and_read(TcpDialer(), Endpoint.url(f"ws://far.test:{server.port}"))
        await server.none_stands()


class Addresses(trio.abc.HostnameResolver):
    """Resolves every name to the same addresses."""

    def __init__(self, *hosts: str) -> None:
        self._hosts = hosts

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        await trio.lowlevel.checkpoint()
        kind = trio.socket.AF_INET, trio.socket.SOCK_STREAM, 6, ""
        return [(*kind, (one, port)) for one in self._hosts]

    async def getnameinfo(self, *_: Any) -> Any:
        raise NotImplementedError


async def a_whole_session(cut: Cut) -> None:
    config = SessionConfig(turn_detection=None, output_modalities=["text"])
    async with serve_emulator(Brain.scripted("Hello."), pace=None) as emulator:
        async with peer(connect_to(emulator.port)) as proxy:
            endpoint = Endpoint.url("ws://far.test/v1", model="m")
            url = f"http://127.0.0.1:{proxy.port}"
            with cut:
                async with open_session(endpoint, config, proxy=url) as session:
                    assert (await (await session.ask("Hi")).wait()).text == "Hello."
            await proxy.none_stands()
            assert not [name for name in cut.new_tasks() if "trio_rt" in name]


SCENARIOS = [
    (tcp, Counted.RUN),
    (tls, Counted.RUN),
    (tls_through_a_proxy, Counted.RUN),
    (a_proxy_that_hangs, Counted.RUN),
    (tls_that_hangs, Counted.RUN),
    (several_addresses, Counted.RUN),
    (a_whole_session, Counted.TASK),
]


@pytest.mark.parametrize(("scenario", "counted"), SCENARIOS)
def test_dialling_may_be_cancelled_anywhere(scenario: Any, counted: Counted) -> None:
    report = cancel_at_every_step(scenario, counted=counted, real_time=True, time_limit_s=20)
    print(scenario.__name__, report)  # noqa: T201 - with `-s` it tells how many steps were tried
    assert report.caught
