"""`serve_emulator`: a local server of the Realtime API, on trio-websocket.

The state machine is `sansio_rt`'s `ServerSession`; here are the sockets, the tasks and the threads.
The connection handling is another implementation's on purpose, so that our own client always meets
one.
"""

from __future__ import annotations

import errno
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager

import trio
from trio_websocket import WebSocketConnection, WebSocketRequest, wrap_server_stream

from sansio_rt._errors import MissingExtra, RealtimeError
from sansio_rt._server_config import VOICES
from sansio_rt._server_handshake import Denial, examine
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import ServerLimits
from sansio_rt._sources import SequentialIds
from trio_rt.emulator._brain import Brain
from trio_rt.emulator._connection import Connection, Farewell
from trio_rt.emulator._detection import EnergyDetector
from trio_rt.emulator._faults import FaultPlan, FaultRun
from trio_rt.emulator._minds import LocalMind
from trio_rt.emulator._performer import Threads
from trio_rt.emulator._voices import ToneVoice

__all__ = ["Emulator", "EmulatorError", "serve_emulator"]

HANDSHAKE_TIMEOUT_S = 5.0
"""How long a client may take to send its upgrade request."""
CLOSE_TIMEOUT_S = 1.0
"""How long a client may take to answer our close frame."""
MAX_MESSAGE_BYTES = 32 * 2**20
"""One append of 15 MiB is 20 MiB of base64."""
RECEIVE_BYTES = 65_536
REMEMBERED_SESSIONS = 100
logger = logging.getLogger("trio_rt.emulator")


class EmulatorError(RealtimeError):
    """The emulator cannot listen at its address; the message says why and what to do."""


class Emulator:
    """A running emulator; `serve_emulator` makes it.

    Attributes:
        host: The address that it listens on.
        port: The port that it listens on.
        url: Base URL for clients, `ws://HOST:PORT/v1`.
        http_url: The same for clients that want `http://` and make a WebSocket URL of it.
        sessions: The latest sessions, oldest first, also those that have ended.
        connections: How many connections were tried since the start, refused ones included.
        faults: What goes wrong from the next connection on; may be replaced at any time.
    """

    def __init__(
        self,
        host: str,
        port: int,
        make_session: Callable[[], ServerSession],
        brain: Brain,
        *,
        api_key: str | None,
        faults: FaultPlan,
    ) -> None:
        self.host = host
        self.port = port
        shown = f"[{host}]" if ":" in host else host
        self.url = f"ws://{shown}:{port}/v1"
        self.http_url = f"http://{shown}:{port}/v1"
        self.sessions: deque[ServerSession] = deque(maxlen=REMEMBERED_SESSIONS)
        self.connections = 0
        self.faults = faults
        self._make_session = make_session
        self._brain = brain
        self._api_key = api_key
        self._threads = Threads()
        self._open: set[Connection] = set()
        self._all_closed = trio.Event()

    def __repr__(self) -> str:
        return f"<Emulator {self.url}, {len(self._open)} connections>"

    async def disconnect(self, code: int | None = 1001, reason: str = "") -> None:
        """End every connection that is open now, and wait until they are gone.

        Args:
            code: Close code, or None to drop them without a close frame.
            reason: Words of the close frame.
        """
        for connection in self._open:
            connection.end(Farewell(code, reason))
        while self._open:
            self._all_closed = trio.Event()
            await self._all_closed.wait()
        await trio.lowlevel.checkpoint()

    async def warm_up(self) -> None:
        """Load what the first turn would otherwise wait for; `serve_emulator` does it by itself."""
        try:
            await self._threads.run(self._brain.warm_up)
        except Exception:
            logger.exception("the brain could not be warmed up")

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one client from its upgrade request to the end, on a stream that is there already.

        `serve_emulator` calls it for every connection; a test may call it with one end of a memory
        stream. What goes wrong with the connection is logged, not raised.

        Args:
            stream: Connected to the client. It is closed at the end.
        """
        try:
            async with trio.open_nursery() as nursery:
                await self._serve_client(stream, nursery)
                nursery.cancel_scope.cancel()
        except* Exception:  # trio-websocket lets errors of wsproto out
            logger.warning("a connection has failed", exc_info=True)
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve_client(self, stream: trio.abc.Stream, nursery: trio.Nursery) -> None:
        admitted: tuple[WebSocketConnection, str, FaultPlan] | None = None
        with trio.move_on_after(HANDSHAKE_TIMEOUT_S):
            request = await wrap_server_stream(
                nursery,
                stream,
                max_message_size=MAX_MESSAGE_BYTES,
                receive_buffer_size=RECEIVE_BYTES,
            )
            admitted = await self._admit(request)
        if admitted is None:
            return
        socket, model, plan = admitted
        number = self.connections
        logger.info("connection %d: a session with model %s", number, model)
        session = self._make_session()
        session.connect(trio.current_time(), model=model)
        self.sessions.append(session)
        connection = Connection(socket, session, self._brain, self._threads, FaultRun(plan))
        self._open.add(connection)
        try:
            farewell = await connection.run()
            if farewell.code is not None:
                with trio.move_on_after(CLOSE_TIMEOUT_S):
                    await socket.aclose(farewell.code, farewell.reason)
        finally:
            logger.info("connection %d: ended", number)
            self._open.discard(connection)
            if not self._open:
                self._all_closed.set()

    async def _admit(
        self, request: WebSocketRequest
    ) -> tuple[WebSocketConnection, str, FaultPlan] | None:
        self.connections += 1
        plan = self.faults.for_connection(self.connections)
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers
        ]
        verdict = examine(
            request.path, headers, request.proposed_subprotocols, api_key=self._api_key
        )
        refused = plan.refuse_status or (verdict.status if isinstance(verdict, Denial) else None)
        if refused is not None:
            logger.info("connection %d: refused with HTTP %d", self.connections, refused)
        if plan.refuse_status is not None:
            extra = [(name.encode(), value.encode()) for name, value in plan.refuse_headers]
            await request.reject(
                plan.refuse_status, extra_headers=extra, body=b"refused on purpose"
            )
            return None
        if isinstance(verdict, Denial):
            kind = (b"content-type", b"application/json")
            await request.reject(verdict.status, extra_headers=[kind], body=verdict.body)
            return None
        socket = await request.accept(subprotocol=verdict.subprotocol)
        return socket, verdict.model, plan


@asynccontextmanager
async def serve_emulator(
    brain: Brain | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    api_key: str | None = None,
    pace: float | None = 20.0,
    limits: ServerLimits | None = None,
    voices: Collection[str] = VOICES,
    faults: FaultPlan | None = None,
) -> AsyncGenerator[Emulator, None]:
    """Serve the Realtime API on this machine while the block runs.

    Any client of the API may connect, any number at once. Leaving the block closes all connections
    (code 1001) and leaves no task and no socket.

    Args:
        brain: What hears, thinks and speaks. None: `Brain.local()` where the extra `speech` is
            installed; else the same rules for a mind, tones for a voice, and no recognition.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one, see `Emulator.port`.
        api_key: The key that clients must show; None takes any client.
        pace: How many seconds of speech are sent in a second; None sends all at once.
        limits: The service's numbers, such as the length of a session.
        voices: The voices that are known; an empty collection lets any name pass.
        faults: What goes wrong, for tests of clients.

    Yields:
        The emulator, accepting connections.

    Raises:
        EmulatorError: The address is in use, or not this machine's.
    """
    brain = brain if brain is not None else _default_brain()
    listeners = await _listen(host, port)
    try:
        emulator = Emulator(
            host,
            listeners[0].socket.getsockname()[1],
            _session_factory(brain, pace, limits, voices),
            brain,
            api_key=api_key,
            faults=faults or FaultPlan(),
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(emulator.warm_up)
            nursery.start_soon(trio.serve_listeners, emulator.serve_stream, listeners)
            yield emulator
            with trio.move_on_after(CLOSE_TIMEOUT_S):
                await emulator.disconnect(1001, "the server is shutting down")
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # Only the block itself can fail here: its error comes out as it was raised.
        if len(group.exceptions) != 1:
            raise
        error = group.exceptions[0]
        raise error from error.__cause__
    finally:
        for listener in listeners:
            listener.socket.close()


def _default_brain() -> Brain:
    try:
        return Brain.local()
    except MissingExtra:
        return Brain(LocalMind(), ToneVoice(), EnergyDetector, ears=None)


def _session_factory(
    brain: Brain, pace: float | None, limits: ServerLimits | None, voices: Collection[str]
) -> Callable[[], ServerSession]:
    def make() -> ServerSession:
        return ServerSession(
            detector=brain.make_detector(),
            # Items of one session are replayed into the next one: its ids must not be the same.
            ids=SequentialIds(secrets.token_hex(4)),
            limits=limits,
            pace=pace,
            voices=voices,
            stream_speech=brain.ears is not None,
            epoch_s=time.time() - trio.current_time(),
        )

    return make


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        advice = {
            errno.EADDRINUSE: "another program uses it; take another port, or 0 for a free one",
            errno.EADDRNOTAVAIL: "this machine does not have that address; take 127.0.0.1",
            errno.EACCES: "the system does not allow this port; take one above 1023",
        }.get(error.errno or 0, error.strerror or str(error))
        raise EmulatorError(f"cannot listen on {host}:{port}: {advice}") from error
