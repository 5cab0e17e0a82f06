"""What goes over a line: bytes, or in their place what they would say.

With `Carry.MESSAGES` client and server have wires that hand over events as they were made, requests and
answers of the handshake, pings and close frames, in their order. Everything happens as with bytes, but for
writing and reading JSON, HTTP and frames.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, cast

from .. import events
from .._config import Limits
from .._connection import CONNECTED, Connection
from .._endpoint import Endpoint
from .._errors import HandshakeRejected, SchemaError
from .._frames import CloseFrame
from .._secrets import Secret
from .._server import ServerProtocol
from .._server_session import ServerSession
from .._sources import RandomBytes
from .._wire import (
    TRANSITIONS,
    HandshakeAccepted,
    HandshakeRequest,
    Ping,
    Pong,
    Wire,
    WireClosed,
    WireEvent,
    WireInput,
    WireRejected,
    WireState,
)

__all__ = ["Carry", "HandedConnection", "HandedServer", "HandedWire"]

_NO_CLOSE_FRAME = 1006
# Bound once: an enum finds a member by name more slowly than all else that goes on for a message.
_OPEN, _REMOTE_CLOSING, _CLOSED = WireState.OPEN, WireState.REMOTE_CLOSING, WireState.CLOSED
_EVENTS = frozenset(events.SERVER_EVENTS.values())
_TOLD = _EVENTS - {events.Error}
"""What a client is told as it was handed over: complaints may hold a credential."""


class Carry(enum.Enum):
    """What is carried between client and server."""

    BYTES = "bytes"
    """What goes over a socket."""
    MESSAGES = "messages"
    """Events as they were made: neither written nor framed, nor read again."""


class HandedWire:
    """What a `Wire` is to its owner, for messages that are handed over: it lives by the same table.

    What it gives in the place of bytes is a list of what they would say, which only another such wire
    understands. To everything between them it is like bytes: it has a length, can be cut, and be put behind
    another; an empty one is `b""`.

    Attributes:
        state: Where the connection is in its life.
        events: What has happened and was not taken yet; a handed event is there as it is.

    Args:
        request: What a client asks for; None makes a server.
    """

    def __init__(self, request: HandshakeRequest | None = None) -> None:
        self.state = WireState.CONNECTING
        self._output: list[Any] = [] if request is None else [request]
        self.events: deque[Any] = deque()
        self._takes: dict[type, Callable[[Any], None]] = {
            HandshakeRequest: self.events.append,
            HandshakeAccepted: self._take_accepted,
            WireRejected: self._take_rejected,
            Ping: self._take_ping,
            Pong: self.events.append,
            CloseFrame: self._take_close,
        }

    @property
    def pending_bytes(self) -> int:
        """How much is to be sent: each message counts as one byte."""
        return len(self._output)

    def next_event(self) -> Any:
        """Takes the next event, or None."""
        return self.events.popleft() if self.events else None

    def data_to_send(self) -> Any:
        """Takes what is to be sent."""
        if self.state is _REMOTE_CLOSING:
            self._move(WireInput.ANSWER_TAKEN)
        if not self._output:
            return b""
        output, self._output = self._output, []
        return output

    def receive_data(self, data: Any) -> None:
        """Takes what another such wire has sent."""
        came, takes = self.events, self._takes
        if takes.keys().isdisjoint(map(type, data)) and self._listens:
            came.extend(data)
            return
        said: object
        for said in data:
            if self._listens:
                takes.get(type(said), came.append)(said)

    @property
    def _listens(self) -> bool:
        return self.state is not _REMOTE_CLOSING and self.state is not _CLOSED

    def receive_eof(self) -> None:
        """No more will come."""
        if not self._listens:
            self.state = _CLOSED
            return
        by_peer = self.state is not WireState.LOCAL_CLOSING
        self._move(WireInput.ENDED)
        self.events.append(WireClosed(_NO_CLOSE_FRAME, "", by_peer, clean=False))

    def send_text(self, message: Any) -> None:
        """Queues an event, or a `TextMessage` where it is a text that is none."""
        self._output.append(message)

    def send_all(self, messages: Iterable[Any]) -> None:
        """Queues several."""
        self._output += messages

    def ping(self) -> None:
        """Queues a ping."""
        self._output.append(Ping(b""))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Queues our close frame."""
        self._output.append(CloseFrame(code, reason))
        self._move(WireInput.CLOSE_QUEUED)

    def accept(self, *, subprotocol: str | None = None) -> None:
        """Server role: upgrades the connection."""
        self._output.append(HandshakeAccepted(101, (), subprotocol))
        self._move(WireInput.ACCEPTED)

    def reject(self, status: int, _headers: Any, body: bytes) -> None:
        """Server role: answers with another status."""
        error = HandshakeRejected(status, body=body.decode())
        self._output.append(WireRejected(error))
        self._move(WireInput.REJECTED)
        self.events.append(WireClosed(_NO_CLOSE_FRAME, "", by_peer=False, clean=False))

    def _move(self, what: WireInput) -> None:
        self.state = TRANSITIONS[self.state][what]

    def _take_accepted(self, accepted: HandshakeAccepted) -> None:
        self._move(WireInput.ACCEPTED)
        self.events.append(accepted)

    def _take_rejected(self, rejected: WireRejected) -> None:
        self._move(WireInput.REJECTED)
        self.events.append(rejected)
        self.events.append(WireClosed(_NO_CLOSE_FRAME, "", by_peer=True, clean=False))

    def _take_ping(self, ping: Ping) -> None:
        if self.state is _OPEN:
            self._output.append(Pong(ping.payload))
        self.events.append(ping)

    def _take_close(self, frame: CloseFrame) -> None:
        opened = self.state is _OPEN
        if opened:
            self._output.append(CloseFrame(frame.code, ""))
        self._move(WireInput.CLOSE_RECEIVED)
        self.events.append(WireClosed(frame.code, frame.reason, by_peer=opened, clean=True))


class HandedConnection(Connection):
    """A client's connection whose events are handed over."""

    def __init__(self, endpoint: Endpoint, limits: Limits, random_bytes: RandomBytes) -> None:
        super().__init__(endpoint, limits, random_bytes)
        self._came: deque[Any] = deque()

    def _new_wire(self, api_key: str | Secret | None) -> Wire:
        headers = tuple(self._endpoint.headers(api_key))
        wire = HandedWire(HandshakeRequest(self._endpoint.target, headers))
        self._came = wire.events
        return cast("Wire", wire)

    def drop(self) -> None:
        """Lets go of the wire, and of what came over it."""
        super().drop()
        self._came.clear()

    def next(self) -> events.ServerEvent | SchemaError | WireEvent | None:
        """The next event, as it was handed over."""
        came = self._came
        if came and type(came[0]) in _TOLD and self.state in CONNECTED:
            told: events.ServerEvent = came.popleft()
            return told
        while came and self.state not in CONNECTED and type(came[0]) in _EVENTS:
            came.popleft()  # what comes after our close is for nobody
        return super().next() if came else None

    def send(self, event: events.ClientEvent) -> None:
        """Queues an event; nothing where the connection is not open."""
        wire: Any = self._wire
        if wire is not None and self.state in CONNECTED and wire.state is _OPEN:
            wire.send_text(event)


class HandedServer(ServerProtocol):
    """A server to which a client's events are handed over.

    Args:
        session: A session that nobody else uses.
    """

    def __init__(self, session: ServerSession) -> None:
        self._handed = HandedWire()
        super().__init__(session)

    def _new_wire(self, _max_message_bytes: int, /) -> Wire:
        return cast("Wire", self._handed)

    def data_to_send(self) -> bytes:
        """All that is queued for the client."""
        wire = self._handed
        if wire.state is _OPEN and (messages := self.session.messages_to_send()):
            wire.send_all(messages)
        return cast("bytes", wire.data_to_send())

    def _take_wire_event(self, event: Any, now: float) -> None:
        if isinstance(event, events.ClientEventBase):
            handed: Any = event
            self.session.receive_event(handed, now)
        else:
            super()._take_wire_event(event, now)
