"""The far end of a line: what a server's side can do, and the peers that are no service."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Peer", "Rejecting", "Silent"]


class Peer(Protocol):
    """The far end of a line."""

    def receive_data(self, data: bytes) -> None:
        """Takes bytes."""
        ...

    def receive_eof(self) -> None:
        """No more bytes will come."""
        ...

    def data_to_send(self) -> bytes:
        """The bytes to send now."""
        ...

    @property
    def over(self) -> bool:
        """Whether it has nothing more to say and closes the stream."""
        ...

    def next_deadline(self) -> float | None:
        """When `handle_timer` has something to do."""
        ...

    def handle_timer(self) -> None:
        """Does what is due."""
        ...


class Silent:
    """A peer that takes the connection and says nothing, ever."""

    over = False

    def receive_data(self, data: bytes) -> None:
        """Takes bytes."""

    def receive_eof(self) -> None:
        """No more bytes will come."""
        self.over = True

    def data_to_send(self) -> bytes:
        """Nothing."""
        return b""

    def next_deadline(self) -> float | None:
        """Never."""
        return None

    def handle_timer(self) -> None:
        """Nothing is ever due."""


class Rejecting(Silent):
    """A peer that answers the handshake with another status, and closes.

    Args:
        status: The HTTP status.
        retry_after_s: What it asks to wait, or None.
    """

    def __init__(self, status: int, retry_after_s: int | None = None) -> None:
        self._answer = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n"
        if retry_after_s is not None:
            self._answer += f"Retry-After: {retry_after_s}\r\n"
        self._heard = b""
        self._answered = False

    def receive_data(self, data: bytes) -> None:
        """Takes the request."""
        self._heard += data

    def data_to_send(self) -> bytes:
        """The answer, once the request is whole."""
        if self._answered or b"\r\n\r\n" not in self._heard:
            return b""
        self._answered = self.over = True
        return f"{self._answer}\r\n".encode()
