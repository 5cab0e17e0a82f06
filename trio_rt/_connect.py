"""`open_session`: from an endpoint to a running session, and out of it again."""

from __future__ import annotations

import os
import secrets
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import trio

from sansio_rt import (
    ClientProtocol,
    ConfigurationError,
    Endpoint,
    Limits,
    Link,
    RealtimeError,
    RetryPolicy,
    SequentialIds,
    SessionConfig,
    Timing,
)
from sansio_rt._secrets import HiddenText, Secret, hide_frames

from ._connections import Begin
from ._dial import Dialer, ProxySetting, TcpDialer, resolve_key
from ._errors import ConnectTimeout, KeyUnavailable
from ._groups import plain_error
from ._hooks import Hooks, SessionHook
from ._session import Session
from ._toolbox import ToolSettings

__all__ = ["azure_endpoint", "endpoint", "open_session"]


@hide_frames(ConfigurationError)
def endpoint(model: str | None = None, **settings: Any) -> Endpoint:
    """The OpenAI endpoint, with key and base URL from the environment where they are not given.

    Args:
        model: The model.
        settings: The other arguments of `Endpoint.openai`.

    Raises:
        ConfigurationError: No key is given, by argument or `OPENAI_API_KEY`.
    """
    return Endpoint.openai(model, env=os.environ, **settings)


@hide_frames(ConfigurationError)
def azure_endpoint(deployment: str | None = None, **settings: Any) -> Endpoint:
    """The endpoint of an Azure OpenAI resource, with what is not given from the environment.

    Args:
        deployment: Name of the deployment.
        settings: The other arguments of `Endpoint.azure`. The environment has `AZURE_OPENAI_ENDPOINT`
            (the resource), `AZURE_OPENAI_API_KEY` or `AZURE_OPENAI_AD_TOKEN`, and `OPENAI_API_VERSION`.

    Raises:
        ConfigurationError: Something is missing, given twice or not usable; it is named.
    """
    return Endpoint.azure(deployment, env=os.environ, **settings)


DEFAULT_RETRY = RetryPolicy()

L = TypeVar("L", bound=Link | None)


@asynccontextmanager
async def open_session(
    endpoint: Endpoint,
    config: SessionConfig | None = None,
    *,
    tools: Sequence[Any] = (),
    limits: Limits | None = None,
    timing: Timing | None = None,
    frame_ms: int = 100,
    ssl_context: ssl.SSLContext | None = None,
    dialer: Dialer | None = None,
    proxy: ProxySetting = None,
    retry: RetryPolicy | None = DEFAULT_RETRY,
    hooks: Sequence[SessionHook] = (),
    tool_settings: ToolSettings | None = None,
) -> AsyncGenerator[Session]:
    """Connects, configures, and gives the session for the length of the block.

    Leaving the block closes the connection (bounded by `Timing.close_timeout_s`) and leaves no task and
    no socket. The block's own exception comes out as it is. A session that fails cancels the block and
    comes out as one exception with its cause.

    Args:
        endpoint: Where to.
        config: The wanted configuration.
        tools: Functions that the model may call, added to those of `config`; they run as tasks.
        limits: Bounds on what may be held.
        timing: Bounds in time.
        frame_ms: Length of one audio append, in milliseconds.
        ssl_context: For `wss`, in the place of the default one.
        dialer: Opens the byte stream, in the place of TCP and TLS.
        proxy: `http://user:password@host:port` or `https://...` of an HTTP proxy; `""` or False: none;
            None: what the environment says (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`).
        retry: How a lost connection is replaced; the conversation is said again, and what waits for an
            answer of the old connection fails. None: the session ends with its connection.
        hooks: Told metrics and errors as they come to be; see `SessionHook`.
        tool_settings: How tools are run: timeouts, threads, the longest output; see `ToolSettings`.

    Raises:
        ConfigurationError: A setting cannot be used; nothing was sent.
        TransportError: The server cannot be reached, or the network failed.
        ConnectTimeout: The connection was not up in time.
        HandshakeRejected: The server refused the WebSocket, or a proxy the way to it.
        CommandRefused: The service refused the configuration, or the account.
        ConnectionClosed: The server ended the session.
    """
    # It may hold a password, which a traceback with local variables would show.
    proxy = HiddenText(proxy) if isinstance(proxy, str) else proxy
    dialer = _dialer(dialer, ssl_context, proxy)
    protocol = ClientProtocol(
        endpoint,
        config,
        tools=tools,
        ids=SequentialIds(secrets.token_hex(5) + "_"),
        random_bytes=os.urandom,
        limits=limits,
        timing=timing,
        frame_ms=frame_ms,
        retry=retry,
    )
    told = Hooks(hooks)
    body_error: BaseException | None = None
    failure: BaseException | None = None
    session_error: RealtimeError | None = None
    try:
        async with trio.open_nursery() as nursery:
            dial = partial(_dial, protocol, dialer)
            session = Session(protocol, nursery, dial, told, tool_settings)
            try:
                session._start()  # pyright: ignore[reportPrivateUsage]
                await session._wait_ready()  # pyright: ignore[reportPrivateUsage]
                try:
                    yield session
                except BaseException as error:
                    body_error = error
                    raise
            finally:
                await session._leave()  # pyright: ignore[reportPrivateUsage]
                session_error = session.error
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        failure = plain_error(group, body_error, session_error)
    # Raised out here, the error keeps the cause and the context that it had.
    if failure is not None:
        raise failure
    if session_error is not None:
        raise session_error


def _dialer(
    dialer: Dialer | None, ssl_context: ssl.SSLContext | None, proxy: ProxySetting
) -> Dialer:
    if dialer is None:
        return TcpDialer(ssl_context, proxy=proxy)
    if proxy:
        raise ConfigurationError("proxy and dialer exclude each other: a dialer finds its own way")
    return dialer


async def _dial(
    protocol: ClientProtocol, dialer: Dialer, begin: Begin[L]
) -> tuple[trio.abc.Stream, L]:
    """A byte stream, and the protocol's connection that is begun on it."""
    timeout_s = protocol.timing.connect_timeout_s
    started = trio.current_time()
    has_key = False
    with trio.move_on_after(timeout_s):
        api_key = await _key(protocol)
        has_key = True
        stream = await dialer.dial(protocol.endpoint)
        try:
            link = begin(started, api_key)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream, link
    if not has_key:
        raise ConnectTimeout(
            f"the key function gave no key within {timeout_s:g} s (Timing.connect_timeout_s)"
        )
    address = f"{protocol.endpoint.host}:{protocol.endpoint.port}"
    proxy = dialer.proxy_for(protocol.endpoint) if isinstance(dialer, TcpDialer) else None
    way = "" if proxy is None else f" through the proxy {proxy.url}"
    raise ConnectTimeout(
        f"no connection to {address}{way} within {timeout_s:g} s (Timing.connect_timeout_s); check the URL "
        "and the network"
    )


async def _key(protocol: ClientProtocol) -> Secret | None:
    """The key for one connection, where the endpoint has a function for it.

    What the function raises comes out as it is for a first connection. Later it is a try that failed, as if
    the network had: the place where keys come from may be away for the same reason.
    """
    try:
        return await resolve_key(protocol.endpoint)
    except RealtimeError:
        raise
    except Exception as error:
        if protocol.session is None and not protocol.reconnecting:
            raise
        raise KeyUnavailable(
            f"the key function failed: {type(error).__name__}; the cause says why"
        ) from error
