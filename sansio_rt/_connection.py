"""One connection of a client: bytes to typed events and back, and how far it has come."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from . import _dialects, events
from ._config import Limits
from ._endpoint import Endpoint
from ._errors import SchemaError
from ._redaction import Redaction
from ._secrets import Secret
from ._sources import RandomBytes
from ._wire import BinaryMessage, TextMessage, Wire, WireEvent, WireState

__all__ = ["CONNECTED", "TRANSITIONS", "Connection", "ConnectionInput", "ConnectionState"]


class ConnectionState(enum.Enum):
    """Where a client's connection is in its life."""

    IDLE = "idle"
    """Nothing was begun yet."""
    CONNECTING = "connecting"
    """The WebSocket handshake is under way."""
    CONFIGURING = "configuring"
    """The configuration was sent and is not accepted yet. No response is asked for."""
    REPLAYING = "replaying"
    """The conversation of a connection that was lost is being said again. No response is asked for."""
    READY = "ready"
    """Everything may be done."""
    CLOSING = "closing"
    """We closed and wait for the peer's close frame."""
    CLOSED = "closed"
    """The connection is gone."""

    __hash__ = object.__hash__  # of each there is one; a table is asked at each step


class ConnectionInput(enum.Enum):
    """What moves a connection from one state to another."""

    CONNECT = "connect"
    ACCEPTED = "accepted"
    """The WebSocket handshake ended well."""
    CONFIGURED = "configured"
    """The server accepted the first configuration."""
    REPLAYED = "replayed"
    """The server has all of the conversation."""
    CLOSE = "close"
    """We want it to end."""
    ENDED = "ended"
    """It is gone: by a close frame, without one, or by our own deadline."""

    __hash__ = object.__hash__  # of each there is one; a table is asked at each step


_S, _I = ConnectionState, ConnectionInput
_OPEN = WireState.OPEN  # looked up once: before Python 3.12 an enum answers slowly

TRANSITIONS: Mapping[ConnectionState, Mapping[ConnectionInput, ConnectionState]] = {
    _S.IDLE: {_I.CONNECT: _S.CONNECTING, _I.CLOSE: _S.CLOSED},
    _S.CONNECTING: {_I.ACCEPTED: _S.CONFIGURING, _I.CLOSE: _S.CLOSED, _I.ENDED: _S.CLOSED},
    _S.CONFIGURING: {_I.CONFIGURED: _S.REPLAYING, _I.CLOSE: _S.CLOSING, _I.ENDED: _S.CLOSED},
    _S.REPLAYING: {_I.REPLAYED: _S.READY, _I.CLOSE: _S.CLOSING, _I.ENDED: _S.CLOSED},
    _S.READY: {_I.CLOSE: _S.CLOSING, _I.ENDED: _S.CLOSED},
    _S.CLOSING: {_I.CLOSE: _S.CLOSING, _I.ENDED: _S.CLOSED},
    _S.CLOSED: {_I.CLOSE: _S.CLOSED},
}
"""State and input to next state. What is missing cannot happen."""

# A tuple, for it is asked with every message: its members are compared by identity, and not hashed.
CONNECTED = (ConnectionState.READY, ConnectionState.REPLAYING, ConnectionState.CONFIGURING)
"""The states in which events can be sent."""


class Connection:
    """The wire with the codec on top.

    Args:
        endpoint: Where the server is and how it spells things.
        limits: Bounds on what a peer may send.
        random_bytes: Source of masks and keys.

    Attributes:
        state: How far it has come.
        deadline: When the present state has lasted too long, or None.
        begun_at: When it was opened.
        unix_begun_at: The same in Unix seconds, where the caller told it.
    """

    def __init__(self, endpoint: Endpoint, limits: Limits, random_bytes: RandomBytes) -> None:
        self.state = ConnectionState.IDLE
        self.deadline: float | None = None
        self.begun_at = 0.0
        self.unix_begun_at: float | None = None
        self._endpoint = endpoint
        self._dialect = endpoint.dialect
        self._limits = limits
        self._random_bytes = random_bytes
        self._redaction = Redaction()
        self._wire: Wire | None = None
        self._salvaged: events.ResponseDone | None = None

    def open(self, api_key: str | Secret | None) -> None:
        """Begins a connection: the handshake is in `data_to_send` afterwards."""
        self._wire = self._new_wire(api_key)
        self._redaction = Redaction(self._endpoint.secrets(api_key))
        self.move(ConnectionInput.CONNECT)

    def _new_wire(self, api_key: str | Secret | None) -> Wire:
        return Wire.client(
            self._endpoint.host_header,
            self._endpoint.target,
            self._endpoint.headers(api_key),
            random_bytes=self._random_bytes,
            max_message_bytes=self._limits.max_message_bytes,
        )

    def move(self, what: ConnectionInput) -> None:
        """Moves to the next state."""
        self.state = TRANSITIONS[self.state][what]

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Takes bytes; take `next` until it is None."""
        if self._wire is not None:
            self._wire.receive_data(data)

    def receive_eof(self) -> None:
        """Takes the end of the stream."""
        if self._wire is not None:
            self._wire.receive_eof()

    def next(self) -> events.ServerEvent | SchemaError | WireEvent | None:
        """The next server event, what was none, or what happened to the connection."""
        if self._wire is None:
            return None
        if self._salvaged is not None:
            salvaged, self._salvaged = self._salvaged, None
            return salvaged
        event = self._wire.next_event()
        while type(event) is TextMessage and self.state not in CONNECTED:
            event = self._wire.next_event()  # what comes after our close is for nobody
        if type(event) is TextMessage:
            try:
                told = _dialects.decode(self._dialect, event.data)
            except SchemaError as error:
                self._salvaged = _salvage(event.data)
                return self._redaction.complaint(error)
            return self._redaction.complaint(told) if type(told) is events.Error else told
        if type(event) is BinaryMessage:
            return SchemaError("a binary message; the Realtime API has text messages only")
        return self._redaction.complaint(event)

    def send(self, event: events.ClientEvent) -> None:
        """Queues an event; nothing where the connection is not open."""
        if self._wire is not None and self.state in CONNECTED and self._wire.state is _OPEN:
            self._wire.send_text(_dialects.encode(self._dialect, event))

    def close(self, code: int, reason: str) -> None:
        """Queues our close frame where the handshake is done, else lets go."""
        # The peer's close frame may be in already, behind the message that makes us close.
        if self._wire is not None and self._wire.state is WireState.OPEN:
            self._wire.close(code, reason)
        self.move(ConnectionInput.CLOSE)

    def ping(self) -> None:
        """Asks the peer for a sign of life."""
        if self._wire is not None and self._wire.state is WireState.OPEN:
            self._wire.ping()

    def drop(self) -> None:
        """Lets go of the wire and whatever it still had to send."""
        self._wire = None

    def let_go(self) -> None:
        """Ends it at once, without a word to the peer."""
        self.drop()
        if self.state is not ConnectionState.CLOSED:
            self.move(ConnectionInput.ENDED)

    def data_to_send(self) -> bytes:
        """The bytes to send now; empty where there are none."""
        return b"" if self._wire is None else self._wire.data_to_send()

    @property
    def pending_bytes(self) -> int:
        """How many bytes `data_to_send` would give."""
        return 0 if self._wire is None else self._wire.pending_bytes


class _EndedResponse(msgspec.Struct):
    id: str
    status: str = "completed"


class _Ending(msgspec.Struct, tag_field="type", tag="response.done"):
    response: _EndedResponse


_decode_ending = msgspec.json.Decoder(_Ending).decode


def _salvage(text: bytes | memoryview) -> events.ResponseDone | None:
    """The end of a response out of a message that is otherwise broken: nothing may wait for it for ever."""
    try:
        ended = _decode_ending(text).response
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return events.ResponseDone(response=events.Response(id=ended.id, status=ended.status))
