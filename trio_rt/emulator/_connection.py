"""One connection of the emulator: its reader, its writer and its clock around a server session."""

from __future__ import annotations

import logging
import math
from collections import deque
from dataclasses import dataclass

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import CloseWanted
from trio_rt.emulator._brain import Brain
from trio_rt.emulator._faults import FaultRun
from trio_rt.emulator._performer import Performer, Threads

__all__ = ["Connection", "Farewell"]

FLUSH_TIMEOUT_S = 1.0
"""How long what is queued may take on its way out once the connection is to end."""
UNSENT_BYTES = 64 * 2**20
"""What may wait for a client that does not read; past it the connection is dropped."""
logger = logging.getLogger("trio_rt.emulator")


@dataclass(frozen=True)
class Farewell:
    """How the server ends a connection.

    Attributes:
        code: Close code, or None to drop the connection without a close frame.
        reason: Words of the close frame.
    """

    code: int | None
    reason: str = ""


class _Signal:
    """Wakes one task; what is set before the task waits is not lost."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = trio.Event()


class Connection:
    """One client.

    Args:
        socket: Its WebSocket, accepted.
        session: Its session, connected.
        brain: Serves the session.
        threads: Where the brain works.
        faults: What goes wrong on the way out.
    """

    def __init__(
        self,
        socket: WebSocketConnection,
        session: ServerSession,
        brain: Brain,
        threads: Threads,
        faults: FaultRun,
    ) -> None:
        self._socket = socket
        self._session = session
        self._brain = brain
        self._threads = threads
        self._faults = faults
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._farewell: Farewell | None = None
        self._gone = False
        self._news_to_send = _Signal()
        self._news_of_time = _Signal()
        self._scope = trio.CancelScope()

    async def run(self) -> Farewell:
        """Serve the client until one of the two ends it.

        Returns:
            How the connection is to be ended; nothing is left to do where the client has gone.
        """
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    performer = Performer(
                        self._session, self._brain, self._threads, nursery, self._after
                    )
                    self._performer = performer
                    nursery.start_soon(self._read)
                    nursery.start_soon(self._keep_time)
                    self._after()
                    await self._write()
                    nursery.cancel_scope.cancel()
        finally:
            self._session.close()
        return self._farewell or Farewell(None)

    def end(self, farewell: Farewell) -> None:
        """Send what is queued, then end the connection. The first farewell counts.

        A client that does not read has `FLUSH_TIMEOUT_S` to take what is queued.
        """
        if self._farewell is None:
            self._farewell = farewell
            self._scope.deadline = trio.current_time() + FLUSH_TIMEOUT_S
        self._news_to_send.set()

    async def _read(self) -> None:
        while True:
            try:
                message = await self._socket.get_message()
            except ConnectionClosed:
                self._gone = True
                self._news_to_send.set()
                return
            self._session.receive_message(message, trio.current_time())
            self._after()

    async def _write(self) -> None:
        while not self._gone:
            if self._faults.broken:
                self.end(Farewell(self._faults.plan.close_code, self._faults.plan.close_reason))
                return
            if self._unsent:
                await self._send(self._unsent.popleft())
            elif self._farewell is not None:
                return
            else:
                await self._news_to_send.wait()

    async def _send(self, text: bytes) -> None:
        self._unsent_bytes -= len(text)
        for message in self._faults.send(text):
            await trio.sleep(message.delay_s)
            try:
                await self._socket.send_message(message.text.decode())
            except ConnectionClosed:
                self._gone = True

    async def _keep_time(self) -> None:
        while True:
            deadline = self._session.next_deadline()
            with trio.move_on_at(math.inf if deadline is None else deadline):
                await self._news_of_time.wait()
            if deadline is not None and trio.current_time() >= deadline:
                self._session.handle_timer(trio.current_time())
                self._after()

    def _after(self) -> None:
        """Take what the session has queued; called after everything that was done to it."""
        for message in self._session.messages_to_send():
            self._unsent.append(message)
            self._unsent_bytes += len(message)
        while (work := self._session.next_event()) is not None:
            if isinstance(work, CloseWanted):
                self.end(Farewell(work.code, work.reason))
            else:
                self._performer.perform(work)
        if self._unsent_bytes > UNSENT_BYTES:
            logger.warning("a client does not read; its connection is dropped")
            self._farewell = Farewell(None)
            self._scope.cancel()
        self._news_to_send.set()
        self._news_of_time.set()
