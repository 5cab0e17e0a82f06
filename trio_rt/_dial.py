"""From an endpoint to a byte stream: name resolution, TCP, proxies, TLS."""

from __future__ import annotations

import functools
import inspect
import os
import ssl
from collections.abc import Mapping
from typing import Any, Literal, Protocol, cast

import trio

from sansio_rt import ConfigurationError, Endpoint
from sansio_rt._proxy import ConnectRequest, Proxy
from sansio_rt._secrets import Secret, hide_frames

from ._errors import TransportError

__all__ = ["Dialer", "ProxySetting", "TcpDialer", "resolve_key"]

ProxySetting = str | Literal[False] | None
"""The URL of a proxy; `""` or False for none; None for what the environment says."""


class Dialer(Protocol):
    """Opens the byte stream of a session; give your own to `open_session` for tunnels and tests."""

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
        """Opens a stream to the endpoint, with TLS where the endpoint is secure.

        Raises:
            TransportError: It cannot be reached.
        """
        ...


class TcpDialer:
    """TCP with happy eyeballs, through a proxy where one is wanted, and TLS for `wss`.

    Args:
        ssl_context: In the place of the default one, which verifies the server's name against the
            system's certificates. An `https` proxy is verified by it, too.
        proxy: See `ProxySetting`; `Proxy.from_environment` says which variables are read.
        env: Environment variables; None: those of the process, as they are at each dial.

    Raises:
        ConfigurationError: `proxy` is no URL of an HTTP proxy.
    """

    @hide_frames(ConfigurationError)
    def __init__(
        self,
        ssl_context: ssl.SSLContext | None = None,
        *,
        proxy: ProxySetting = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._given_context = ssl_context
        self._proxy = Proxy.parse(proxy) if proxy else None
        self._asks_environment = proxy is None
        self._env = env

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
        """Opens the stream; the TLS handshake is done when it returns.

        Raises:
            TransportError: The server or the proxy cannot be reached, or has no valid certificate.
            ProxyRefused: The proxy does not connect to the server.
            FrameError: What was taken for a proxy is none.
            ConfigurationError: The environment names a proxy that cannot be used.
        """
        proxy = self.proxy_for(endpoint)
        stream: trio.abc.Stream
        if proxy is None:
            stream = await _open_tcp(endpoint.host, endpoint.port, "")
        else:
            stream = await self._open_tunnel(proxy, endpoint)
        if not endpoint.is_secure:
            return stream
        return await self._start_tls(stream, endpoint.host, endpoint.port, "")

    def proxy_for(self, endpoint: Endpoint) -> Proxy | None:
        """The proxy that the endpoint is dialled through, or None."""
        if self._asks_environment:
            return Proxy.from_environment(endpoint, os.environ if self._env is None else self._env)
        return self._proxy

    async def _open_tunnel(self, proxy: Proxy, endpoint: Endpoint) -> trio.abc.Stream:
        stream: trio.abc.Stream = await _open_tcp(proxy.host, proxy.port, "the proxy ")
        if proxy.is_secure:
            stream = await self._start_tls(stream, proxy.host, proxy.port, "the proxy ")
        try:
            await _connect(stream, proxy, endpoint)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    @functools.cached_property
    def _ssl_context(self) -> ssl.SSLContext:
        """Made once: reading the system's certificates takes 50 ms, in which nothing else runs."""
        return self._given_context or ssl.create_default_context()

    async def _start_tls(
        self, stream: trio.abc.Stream, host: str, port: int, what: str
    ) -> trio.SSLStream[trio.abc.Stream]:
        tls = trio.SSLStream(stream, self._ssl_context, server_hostname=host, https_compatible=True)
        try:
            await tls.do_handshake()
        except trio.BrokenResourceError as error:
            await trio.aclose_forcefully(tls)
            cause = error.__cause__ or error
            raise TransportError(
                f"TLS with {what}{host}:{port} failed: {_words(cause)}; {_tls_advice(cause)}"
            ) from cause
        except BaseException:
            await trio.aclose_forcefully(tls)
            raise
        return tls


async def _open_tcp(host: str, port: int, what: str) -> trio.SocketStream:
    try:
        return await trio.open_tcp_stream(host, port)
    except OSError as error:
        runs = "that the proxy" if what else "that the server"
        raise TransportError(
            f"cannot reach {what}{host}:{port}: {_words(error)}; check the URL, and {runs} runs"
        ) from error


async def _connect(stream: trio.abc.Stream, proxy: Proxy, endpoint: Endpoint) -> None:
    """Has the proxy open the way to the endpoint; how long that may take is the caller's to say."""
    exchange = ConnectRequest(proxy, endpoint.host, endpoint.port)
    try:
        await stream.send_all(exchange.request)
        while True:
            outcome = exchange.receive_data(await stream.receive_some())
            if isinstance(outcome, Exception):
                raise outcome
            if outcome:
                return
    except trio.BrokenResourceError as error:
        cause = error.__cause__ or error
        raise TransportError(
            f"the connection to the proxy {proxy.url} broke before it answered: {_words(cause)}"
        ) from cause


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    cause: Any = error.__cause__
    if isinstance(cause, BaseExceptionGroup):  # one error for each address that was tried
        tried = cast("BaseExceptionGroup[BaseException]", cause).exceptions
        return "; ".join(dict.fromkeys(map(_words, tried)))
    if isinstance(error, ssl.SSLError):
        return error.reason or "the peer went"
    if isinstance(error, OSError) and error.strerror:
        # trio's own words name the address again; a number below 0 is the resolver's.
        number = error.errno or 0
        return os.strerror(number) if number > 0 else error.strerror
    return str(error) or "the peer went"


def _tls_advice(error: BaseException) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return (
                "check the server's certificate, or hand in an ssl_context that trusts it; do not "
                "switch verification off"
            )
        case ssl.SSLError():
            return "check that the address speaks TLS, and which versions"
        case _:
            return "check the URL, and that the server runs"


async def resolve_key(endpoint: Endpoint) -> Secret | None:
    """Calls the endpoint's key function, sync or async, where it has one (parity E6).

    What the function raises comes out as it is.

    Raises:
        ConfigurationError: It gave no text.
    """
    provider = endpoint.key_provider
    if provider is None:
        return None
    key: Any = provider()
    if inspect.isawaitable(key):
        key = await key
    if isinstance(key, Secret):
        return key
    if not isinstance(key, str):
        raise ConfigurationError(
            f"the key function gave a {type(key).__name__}; it must give the key as a str"
        )
    return Secret(key)
