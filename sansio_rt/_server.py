"""`ServerProtocol`: a server session with its wire, the mirror image of `ClientProtocol`.

For tests and simulation in memory, and for servers that own their sockets.
"""

from __future__ import annotations

from ._server_handshake import Denial, examine
from ._server_session import ServerSession
from ._server_work import CloseWanted, ServerWork
from ._wire import (
    BinaryMessage,
    HandshakeRequest,
    TextMessage,
    Wire,
    WireClosed,
    WireEvent,
    WireState,
)

__all__ = ["ServerProtocol"]

_OPEN = WireState.OPEN  # bound once: an enum is slow to find a member by its name


class ServerProtocol:
    """One connection of an emulated service: bytes in, bytes and requests for the driver out.

    It accepts or rejects the handshake by itself. After every call, also one on `session`, send
    `data_to_send()` and take `next_event()` until it gives None; call `handle_timer` when
    `next_deadline()` has come.

    Attributes:
        session: The session; the driver's answers go to its methods.
        ending: How the connection ended, or None while it goes on.

    Args:
        session: A session that nobody else uses; None makes one with its defaults.
        api_key: The key that a client must show, or None to take any client.
        max_message_bytes: The largest message that is accepted.
    """

    def __init__(
        self,
        session: ServerSession | None = None,
        *,
        api_key: str | None = None,
        max_message_bytes: int = 32 * 2**20,
    ) -> None:
        self.session = session or ServerSession()
        self.ending: WireClosed | None = None
        self._api_key = api_key
        self._wire = self._new_wire(max_message_bytes)

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes of the client.

        Args:
            data: Bytes in any split.
            now: The time, in seconds.
        """
        self._wire.receive_data(data)
        self._take_wire_events(now)

    def receive_eof(self, now: float) -> None:
        """No more bytes will come."""
        self._wire.receive_eof()
        self._take_wire_events(now)

    def data_to_send(self) -> bytes:
        """All bytes that are queued for the client."""
        if self._wire.state is WireState.OPEN:
            for message in self.session.messages_to_send():
                self._wire.send_text(message)
        return self._wire.data_to_send()

    def next_event(self) -> ServerWork | None:
        """The next request for the driver, or None. A wish to close is fulfilled here."""
        while (work := self.session.next_event()) is not None:
            if not isinstance(work, CloseWanted):
                return work
            self.close(work.code, work.reason)
        return None

    def next_deadline(self) -> float | None:
        """When `handle_timer` is to be called, in seconds, or None."""
        return self.session.next_deadline() if self._wire.state is _OPEN else None

    def handle_timer(self, now: float) -> None:
        """Do what is due; see `ServerSession.handle_timer`."""
        if self._wire.state is WireState.OPEN:
            self.session.handle_timer(now)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what is queued and the close frame; nothing where the connection is not open."""
        if self._wire.state is WireState.OPEN:
            for message in self.session.messages_to_send():
                self._wire.send_text(message)
            self._wire.close(code, reason)
            self.session.close()

    def _new_wire(self, max_message_bytes: int, /) -> Wire:
        return Wire.server(max_message_bytes=max_message_bytes)

    def _take_wire_events(self, now: float) -> None:
        while (event := self._wire.next_event()) is not None:
            self._take_wire_event(event, now)

    def _take_wire_event(self, event: WireEvent, now: float) -> None:
        match event:
            case HandshakeRequest():
                self._answer(event, now)
            case TextMessage() | BinaryMessage():
                self.session.receive_message(bytes(event.data), now)
            case WireClosed():
                self.ending = event
                self.session.close()
            case _:
                pass

    def _answer(self, request: HandshakeRequest, now: float) -> None:
        verdict = examine(
            request.target, request.headers, request.subprotocols, api_key=self._api_key
        )
        if isinstance(verdict, Denial):
            kind = ("content-type", "application/json")
            self._wire.reject(verdict.status, (kind,), verdict.body)
            return
        self._wire.accept(subprotocol=verdict.subprotocol)
        self.session.connect(now, model=verdict.model)
