"""The life of a wire as a table, and the events that tell where it is."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from sansio_rt._errors import HandshakeRejected, RemoteProtocolError
from sansio_rt._frames import BinaryMessage, Ping, Pong, TextMessage
from sansio_rt._handshake import HandshakeAccepted, HandshakeRequest

__all__ = [
    "TRANSITIONS",
    "WireClosed",
    "WireEvent",
    "WireFailed",
    "WireInput",
    "WireRejected",
    "WireState",
]


class WireState(enum.Enum):
    """Where the connection is in its life."""

    CONNECTING = "connecting"
    """The opening handshake is under way."""
    OPEN = "open"
    """Messages go both ways."""
    LOCAL_CLOSING = "local_closing"
    """We sent a close frame; the peer's messages still come, until its close frame does."""
    REMOTE_CLOSING = "remote_closing"
    """The peer's close frame came; our answer to it waits in `data_to_send`."""
    CLOSED = "closed"
    """Nothing more is read and nothing more can be queued; output may be left to be sent."""

    __hash__ = object.__hash__  # of each there is one; a table is asked at each step


class WireInput(enum.Enum):
    """What moves a connection from one state to another."""

    ACCEPTED = "accepted"
    """The handshake ended well."""
    REJECTED = "rejected"
    """The handshake ended with another HTTP status."""
    CLOSE_QUEUED = "close_queued"
    """We closed."""
    CLOSE_RECEIVED = "close_received"
    """The peer's close frame came."""
    ANSWER_TAKEN = "answer_taken"
    """Our answer to the peer's close frame was handed out."""
    FAILED = "failed"
    """The peer broke the protocol or a limit."""
    ENDED = "ended"
    """The transport's incoming side ended."""

    __hash__ = object.__hash__  # of each there is one; a table is asked at each step


TRANSITIONS: Mapping[WireState, Mapping[WireInput, WireState]] = {
    WireState.CONNECTING: {
        WireInput.ACCEPTED: WireState.OPEN,
        WireInput.REJECTED: WireState.CLOSED,
        WireInput.FAILED: WireState.CLOSED,
        WireInput.ENDED: WireState.CLOSED,
    },
    WireState.OPEN: {
        WireInput.CLOSE_QUEUED: WireState.LOCAL_CLOSING,
        WireInput.CLOSE_RECEIVED: WireState.REMOTE_CLOSING,
        WireInput.FAILED: WireState.CLOSED,
        WireInput.ENDED: WireState.CLOSED,
    },
    WireState.LOCAL_CLOSING: {
        WireInput.CLOSE_RECEIVED: WireState.CLOSED,
        WireInput.FAILED: WireState.CLOSED,
        WireInput.ENDED: WireState.CLOSED,
    },
    WireState.REMOTE_CLOSING: {
        WireInput.ANSWER_TAKEN: WireState.CLOSED,
        WireInput.ENDED: WireState.CLOSED,
    },
    WireState.CLOSED: {},
}
"""State and input to next state. What is missing cannot happen."""


class WireRejected(msgspec.Struct, frozen=True):
    """Client role: the server answered the handshake with another status. `WireClosed` follows.

    Attributes:
        error: Status, reason, the beginning of the body, `Retry-After`.
    """

    error: HandshakeRejected


class WireFailed(msgspec.Struct, frozen=True):
    """The peer broke the protocol or a limit. `WireClosed` follows.

    Attributes:
        error: What it did. Its `close_code` was sent to the peer where the connection was open.
    """

    error: RemoteProtocolError


class WireClosed(msgspec.Struct, frozen=True):
    """The last event of every connection.

    Attributes:
        code: The peer's close code; 1005 where its close frame had none; 1006 where there was no
            close frame; our own code where the peer failed (see `WireFailed`).
        reason: The peer's words, may be empty.
        by_peer: Whether the peer began to close, or went.
        clean: Whether close frames went both ways.
    """

    code: int
    reason: str
    by_peer: bool
    clean: bool


WireEvent = (
    TextMessage
    | BinaryMessage
    | Ping
    | Pong
    | HandshakeRequest
    | HandshakeAccepted
    | WireRejected
    | WireFailed
    | WireClosed
)
