"""One connection's bytes, for callers that carry more than one: the present one and the next."""

from __future__ import annotations

from typing import Protocol, final

from ._connection import Connection, ConnectionState

__all__ = ["Link"]


class _Carrier(Protocol):
    def _receive(
        self, connection: Connection, data: bytes | bytearray | memoryview, now: float
    ) -> None: ...

    def _receive_eof(self, connection: Connection, now: float) -> None: ...


@final
class Link:
    """The byte side of one connection of a `ClientProtocol`, whatever becomes of it.

    `ClientProtocol.connect` and `ClientProtocol.begin_rotation` make them. A caller with one stream at a
    time does not need them: the same verbs of `ClientProtocol` are those of the connection that serves.
    """

    __slots__ = ("_carrier", "_connection")

    def __init__(self, carrier: _Carrier, connection: Connection) -> None:
        self._carrier = carrier
        self._connection = connection

    def __repr__(self) -> str:
        return f"<Link {self._connection.state.value}>"

    @property
    def closing(self) -> bool:
        """Whether it has said goodbye and waits for the peer's: bound that by `Timing.close_timeout_s`."""
        return self._connection.state is ConnectionState.CLOSING

    @property
    def finished(self) -> bool:
        """Whether this connection has nothing more to send or to receive: close its stream."""
        return self._connection.state is ConnectionState.CLOSED and not self.pending_bytes

    @property
    def pending_bytes(self) -> int:
        """How many bytes `data_to_send` would give."""
        return self._connection.pending_bytes

    def data_to_send(self) -> bytes:
        """The bytes to send now; empty where there are none."""
        return self._connection.data_to_send()

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Takes bytes of this connection, as `ClientProtocol.receive_data` does."""
        self._carrier._receive(self._connection, data, now)  # pyright: ignore[reportPrivateUsage]

    def receive_eof(self, now: float) -> None:
        """Takes the end of this connection's stream."""
        self._carrier._receive_eof(self._connection, now)  # pyright: ignore[reportPrivateUsage]
