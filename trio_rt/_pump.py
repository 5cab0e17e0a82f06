"""The tasks that own a stream, one reads and one writes, and the one that watches the clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from sansio_rt import ClientProtocol, Link

from ._errors import TransportError

__all__ = ["Clock", "Pump"]

READ_BYTES = 256 * 1024

# A stream that cannot be written to may still have the server's last words to be read.
LAST_WORDS_S = 1.0


class Pump:
    """Carries bytes between one stream and one connection of a protocol object.

    The application never calls the stream: it changes the protocol's state and kicks the pump.

    Args:
        stream: The byte stream; closed when the pump ends.
        link: The connection that it carries.
        dispatch: Takes the protocol's events out and hands them on; called after each read.

    Attributes:
        link: See above.
        broken: Why the stream failed, or None.
        ended: Set when the stream is closed and the protocol knows.
    """

    def __init__(self, stream: trio.abc.Stream, link: Link, dispatch: Callable[[], None]) -> None:
        self.broken: TransportError | None = None
        self.ended = trio.Event()
        self._stream = stream
        self.link: Final = link
        self._dispatch = dispatch
        self._scope = trio.CancelScope()
        self._writable = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._sending = False
        self._stopped = False
        self._retired = False

    def kick(self) -> None:
        """Bytes may have been queued: wakes the writer. One whose connection is over ends."""
        if self._writable and self.link.pending_bytes:
            self._writable.unpark()
        elif self.link.finished and not self._sending:
            self.stop()

    def retire(self, patience_s: float) -> None:
        """Another connection serves: says goodbye, and ends when the peer has, or after a while."""
        self._retired = True
        self._scope.deadline = trio.current_time() + patience_s
        self._room.unpark_all()
        self.kick()

    def stop(self) -> None:
        """Ends the pump, whatever it waits for. Nobody waits for room any more."""
        self._stopped = True
        self._scope.cancel()
        self._room.unpark_all()

    async def wait_for_room(self, limit_bytes: int) -> None:
        """Waits until the socket has taken what was queued, or another connection takes it."""
        while not (self._stopped or self._retired) and self.link.pending_bytes > limit_bytes:
            await self._room.park()

    async def drain(self) -> None:
        """Waits until everything that is queued was sent, or cannot be."""
        while not self._stopped and (self._sending or self.link.pending_bytes):
            await self._room.park()

    async def run(self) -> None:
        """Carries bytes until the stream ends or `stop` is called; then tells the protocol of the end."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read()
                    nursery.cancel_scope.cancel()
        finally:
            self._stopped = True
            self._room.unpark_all()
            with trio.move_on_after(LAST_WORDS_S, shield=True):
                await trio.aclose_forcefully(self._stream)
        self.link.receive_eof(trio.current_time())
        self.ended.set()
        self._dispatch()

    async def _read(self) -> None:
        """Reads until the stream ends. Never waits for a consumer."""
        link, stream = self.link, self._stream
        try:
            while data := await stream.receive_some(READ_BYTES):
                link.receive_data(data, trio.current_time())
                self._dispatch()
                self.kick()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._break(error)

    async def _write(self) -> None:
        """Sends what is queued, in one piece each time."""
        link, stream = self.link, self._stream
        try:
            while True:
                data = link.data_to_send()
                if data:
                    self._sending = True
                    await stream.send_all(data)
                    self._sending = False
                    self._room.unpark_all()
                else:
                    await self._writable.park()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._break(error)
        await trio.sleep(LAST_WORDS_S)
        self.stop()

    def _break(self, error: Exception) -> None:
        if self.broken is None:
            cause = error.__cause__ or error
            self.broken = TransportError(f"the connection broke: {cause}")
            self.broken.__cause__ = cause


class Clock:
    """Calls a protocol object at its deadlines.

    Args:
        protocol: The protocol object.
        settle: Hands on what happened and sends what is queued; called after each deadline.
    """

    def __init__(self, protocol: ClientProtocol, settle: Callable[[], None]) -> None:
        self._protocol = protocol
        self._settle = settle
        self._changed = trio.lowlevel.ParkingLot()
        self._watched: float | None = None

    def kick(self) -> None:
        """A deadline may have changed: wakes the clock where one comes earlier than it watches for.

        One that was put off or taken away wakes it at the old time for nothing, which costs less than
        waking it with every command and every answer.
        """
        if not self._changed:
            return
        deadline = self._protocol.next_deadline()
        if deadline is not None and (self._watched is None or deadline < self._watched):
            self._changed.unpark()

    async def run(self) -> None:
        """Watches, for ever."""
        protocol = self._protocol
        while True:
            self._watched = deadline = protocol.next_deadline()
            with trio.move_on_at(float("inf") if deadline is None else deadline):
                await self._changed.park()
                continue
            protocol.handle_timer(trio.current_time())
            self._settle()
