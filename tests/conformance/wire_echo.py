"""`sansio_rt`'s wire as the echo client and the echo server that Autobahn|Testsuite talks to.

The suite sends what its cases say and expects each message back. All that is here is the sockets: what is
read, refused and answered is the wire's own doing.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import trio

from sansio_rt._frames import Opcode
from sansio_rt._wire import (
    BinaryMessage,
    HandshakeRequest,
    TextMessage,
    Wire,
    WireClosed,
    WireState,
)

AGENT = "sansio_rt"
MAX_MESSAGE_BYTES = 16 * 2**20
"""The largest message of the suite; it is the wire's own default, too."""
MAX_MESSAGE_FRAMES = 2**17
"""The suite cuts 4 MiB into frames of 64 bytes; the wire's default of 1,024 frames would refuse that."""
READ_BYTES = 256 * 2**10
CLOSE_TIMEOUT_S = 2.0
"""How long a client waits for the server to close the connection (RFC 6455 7.1.1)."""


class Echo:
    """One connection that sends back what it gets.

    Args:
        wire: Its protocol.
        stream: Its socket.
        replies: Whether messages are sent back; else they are only kept.

    Attributes:
        texts: The text messages, where they are kept.
    """

    def __init__(self, wire: Wire, stream: trio.abc.Stream, *, replies: bool = True) -> None:
        self.texts: list[str] = []
        self._wire = wire
        self._stream = stream
        self._replies = replies
        self._is_closed = False

    async def run(self) -> None:
        """Goes on until the connection is closed, then closes the socket."""
        wire, stream = self._wire, self._stream
        try:
            await self._send()
            while not self._is_closed:
                data = await stream.receive_some(READ_BYTES)
                if data:
                    wire.receive_data(data)
                else:
                    wire.receive_eof()
                while (event := wire.next_event()) is not None:
                    self._handle(event)
                await self._send()
        except trio.BrokenResourceError:  # the suite drops connections, too
            wire.receive_eof()
        finally:
            await trio.aclose_forcefully(stream)

    async def wait_for_end(self) -> None:
        """Waits until the peer has closed the socket, as a client should."""
        with trio.move_on_after(CLOSE_TIMEOUT_S):
            try:
                while await self._stream.receive_some(READ_BYTES):
                    pass
            except trio.BrokenResourceError:
                pass

    async def _send(self) -> None:
        if data := self._wire.data_to_send():
            await self._stream.send_all(data)

    def _handle(self, event: object) -> None:
        match event:
            case HandshakeRequest():
                self._wire.accept()
            case TextMessage(data) if not self._replies:
                self.texts.append(data.decode())
            case TextMessage(data) if self._wire.state is WireState.OPEN:
                self._wire.send_text(data)
            case BinaryMessage(data) if self._wire.state is WireState.OPEN:
                send_binary(self._wire, data)
            case WireClosed():
                self._is_closed = True
            case _:
                pass


def send_binary(wire: Wire, data: bytes) -> None:
    """Queues a binary message. The wire has no such call, since the Realtime API has text alone."""
    wire._queue(wire._writer.frame(Opcode.BINARY, data))


class _Client(Echo):
    """An echo that lets the server close first."""

    async def _send(self) -> None:
        await super()._send()
        if self._is_closed:
            await self.wait_for_end()


async def call(host: str, port: int, target: str, *, replies: bool = True) -> list[str]:
    """Connects as a client and echoes until the server closes.

    Args:
        host: The server's address.
        port: The server's port.
        target: Path and query.
        replies: Whether messages are sent back; else they are given.

    Returns:
        The text messages that came, where they were not sent back.
    """
    stream = await trio.open_tcp_stream(host, port)
    wire = Wire.client(
        f"{host}:{port}",
        target,
        random_bytes=os.urandom,
        max_message_bytes=MAX_MESSAGE_BYTES,
        max_message_frames=MAX_MESSAGE_FRAMES,
    )
    echo = _Client(wire, stream, replies=replies)
    await echo.run()
    return echo.texts


async def serve(stream: trio.abc.Stream) -> None:
    """Echoes to one client; for `trio.serve_tcp`."""
    wire = Wire.server(max_message_bytes=MAX_MESSAGE_BYTES, max_message_frames=MAX_MESSAGE_FRAMES)
    await Echo(wire, stream).run()


async def run_cases(host: str, port: int, tell: Callable[[int, int], None]) -> int:
    """Runs every case of a fuzzing server and has it write its report.

    Args:
        host: Its address.
        port: Its port.
        tell: Called after each case with its number and how many there are.

    Returns:
        How many cases there were.
    """
    (count,) = await call(host, port, "/getCaseCount", replies=False)
    for number in range(1, int(count) + 1):
        await call(host, port, f"/runCase?case={number}&agent={AGENT}")
        tell(number, int(count))
    await call(host, port, f"/updateReports?agent={AGENT}", replies=False)
    return int(count)
