"""The wire: bytes of one WebSocket connection <-> whole messages, in either role.

`Wire` composes the opening handshake (`_handshake`) and the frames (`_frames`) and lives as the
table `TRANSITIONS` says (`_wire_states`). Nothing here waits, and randomness is handed in: the same
calls with the same bytes give the same events and the same output.

How to drive it: after each call send what `data_to_send` gives, and take `next_event` until it
gives None. `WireClosed` is the last event, and it comes exactly once, however the connection ended;
then send what is left, and close the transport (a client lets the server close it first).

`_handshake` alone speaks HTTP here, by h11, and `_frames` alone uses wsproto; none of their exceptions
gets out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import final

from sansio_rt._errors import (
    HandshakeRejected,
    LocalProtocolError,
    RemoteProtocolError,
)
from sansio_rt._frames import (
    MAX_CONTROL_PAYLOAD_BYTES,
    BinaryMessage,
    CloseFrame,
    FrameReader,
    FrameWriter,
    Opcode,
    Ping,
    Pong,
    TextMessage,
    is_utf8,
)
from sansio_rt._handshake import (
    ClientHandshake,
    HandshakeAccepted,
    HandshakeRequest,
    Headers,
    ServerHandshake,
)
from sansio_rt._wire_states import (
    TRANSITIONS,
    WireClosed,
    WireEvent,
    WireFailed,
    WireInput,
    WireRejected,
    WireState,
)

__all__ = [
    "TRANSITIONS",
    "BinaryMessage",
    "HandshakeAccepted",
    "HandshakeRequest",
    "Headers",
    "Ping",
    "Pong",
    "TextMessage",
    "Wire",
    "WireClosed",
    "WireEvent",
    "WireFailed",
    "WireInput",
    "WireRejected",
    "WireState",
]

_NO_CODE = 1005  # RFC 6455 7.4.1: the close frame carried no code
_NO_CLOSE_FRAME = 1006  # RFC 6455 7.4.1: there was no close frame

# Looked up once, since they are asked with each message: before Python 3.12 an enum answers slowly.
_CONNECTING, _OPEN = WireState.CONNECTING, WireState.OPEN
_LOCAL_CLOSING, _REMOTE_CLOSING = WireState.LOCAL_CLOSING, WireState.REMOTE_CLOSING
_TEXT = Opcode.TEXT

# Those of RFC 6455 7.4 and the IANA registry that an endpoint may send and that wsproto knows.
_PROTOCOL_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1014)})


@final
class Wire:
    """One WebSocket connection without its transport; make one with `client` or `server`."""

    def __init__(
        self,
        handshake: ClientHandshake | ServerHandshake,
        random_bytes: Callable[[int], bytes] | None,
        *,
        max_message_bytes: int,
        max_message_frames: int,
        fast_lane: bool,
    ) -> None:
        """Compose a connection; `client` and `server` are the ways to it."""
        self._state = WireState.CONNECTING
        self._events: deque[WireEvent] = deque()
        self._output: list[bytes] = []
        self._output_bytes = 0
        self._handshake: ClientHandshake | ServerHandshake | None = handshake
        self._writer = FrameWriter(random_bytes)
        self._reader = FrameReader(
            self._events.append,
            client=isinstance(handshake, ClientHandshake),
            max_message_bytes=max_message_bytes,
            max_message_frames=max_message_frames,
            fast_lane=fast_lane,
        )

    @classmethod
    def client(
        cls,
        host: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        *,
        subprotocols: Iterable[str] = (),
        random_bytes: Callable[[int], bytes],
        max_message_bytes: int = 16 * 2**20,
        max_message_frames: int = 1024,
        max_head_bytes: int = 64 * 2**10,
        max_rejection_bytes: int = 4 * 2**10,
        fast_lane: bool = True,
    ) -> Wire:
        """Make a client; its request is in `data_to_send` at once.

        Args:
            host: Name or address of the server, with `:port` where it is not the scheme's default.
            target: Path and query of the URL, percent-encoded.
            headers: Further headers, such as the authorization.
            subprotocols: Subprotocols to offer, best first.
            random_bytes: Source of the nonce and of the masking keys, `os.urandom` in earnest; it
                must give exactly as many bytes as it is asked for.
            max_message_bytes: Bound of one incoming message over all its fragments.
            max_message_frames: Bound of the frames of one incoming message.
            max_head_bytes: Bound of all heads of the server's answer together.
            max_rejection_bytes: How much of the body of a rejection is kept.
            fast_lane: Whether common frames bypass wsproto; it changes nothing but the speed.

        Returns:
            A wire in the state `CONNECTING`.

        Raises:
            LocalProtocolError: An argument does not belong into an HTTP request. The message names
                it, without its value.
        """
        handshake = ClientHandshake(
            host,
            target,
            headers=headers,
            subprotocols=subprotocols,
            nonce=random_bytes(16),
            max_head_bytes=max_head_bytes,
            max_body_bytes=max_rejection_bytes,
        )
        wire = cls(
            handshake,
            random_bytes,
            max_message_bytes=max_message_bytes,
            max_message_frames=max_message_frames,
            fast_lane=fast_lane,
        )
        wire._queue(handshake.request)
        return wire

    @classmethod
    def server(
        cls,
        *,
        max_message_bytes: int = 16 * 2**20,
        max_message_frames: int = 1024,
        max_head_bytes: int = 64 * 2**10,
        fast_lane: bool = True,
    ) -> Wire:
        """Make a server; it waits for a request, `HandshakeRequest`.

        A server needs no randomness.

        Args:
            max_message_bytes: Bound of one incoming message over all its fragments.
            max_message_frames: Bound of the frames of one incoming message.
            max_head_bytes: Bound of the client's request.
            fast_lane: As `client` has it.

        Returns:
            A wire in the state `CONNECTING`.
        """
        return cls(
            ServerHandshake(max_head_bytes=max_head_bytes),
            None,
            max_message_bytes=max_message_bytes,
            max_message_frames=max_message_frames,
            fast_lane=fast_lane,
        )

    @property
    def state(self) -> WireState:
        """Where the connection is in its life."""
        return self._state

    @property
    def pending_bytes(self) -> int:
        """How many bytes `data_to_send` would give, for back-pressure."""
        # Pongs are not queued here: they would pile up where the peer pings and does not read.
        pings = self._reader.unanswered_pings
        if not pings or self._state is not _OPEN:
            return self._output_bytes
        return self._output_bytes + sum(
            self._writer.control_frame_bytes(len(each)) for each in pings
        )

    def next_event(self) -> WireEvent | None:
        """Take the next event, or None when there is none before more bytes come."""
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> bytes:
        """Take all queued output, `b""` when there is none.

        In `REMOTE_CLOSING` this moves the connection to `CLOSED`.
        """
        self._queue_pongs()
        if not self._output:
            data = b""
        else:
            data = self._output[0] if len(self._output) == 1 else b"".join(self._output)
            self._output.clear()
        self._output_bytes = 0
        if self._state is _REMOTE_CLOSING:
            self._move(WireInput.ANSWER_TAKEN)
        return data

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes from the transport; then look at `next_event` and `data_to_send`.

        It raises nothing: what the peer did wrong comes out as an event.

        Args:
            data: Bytes in any split. Once the peer's close frame or its mistake has come, and after
                `receive_eof`, they are ignored. `b""` does nothing, it is not the end.
        """
        if not data:
            return
        piece = bytes(data)  # the same object where it is bytes
        if self._state is _CONNECTING:
            piece = self._receive_handshake(piece)
        if self._state is _OPEN or self._state is _LOCAL_CLOSING:
            self._reader.receive_data(piece)
            if self._reader.ending is not None:
                self._end(self._reader.ending)

    def receive_eof(self) -> None:
        """Tell that no more bytes will come, or that nobody waits for them any longer.

        During the handshake this gives a rejection whose body had not ended yet. Without a close
        frame of the peer it gives `WireClosed` with the code 1006. Calling it again does nothing.
        """
        if self._state in (WireState.CLOSED, WireState.REMOTE_CLOSING):
            self._state = WireState.CLOSED
            return
        if isinstance(self._handshake, ClientHandshake):
            rejection = self._handshake.receive_eof()
            if rejection is not None:
                self._events.append(WireRejected(rejection))
        by_peer = self._state is not WireState.LOCAL_CLOSING
        self._move(WireInput.ENDED)
        self._events.append(WireClosed(_NO_CLOSE_FRAME, "", by_peer, clean=False))

    def send_text(self, payload: bytes | bytearray | memoryview) -> None:
        """Queue one text message.

        Args:
            payload: The whole message, UTF-8. It is copied.

        Raises:
            LocalProtocolError: The connection is not open, or the payload is not UTF-8. Nothing was
                queued.
        """
        message = self._checked_payload("send_text", payload)
        if not is_utf8(message):
            raise LocalProtocolError("send_text: the payload is not UTF-8; encode it first")
        self._queue_pongs()
        self._queue(self._writer.frame(_TEXT, message))

    def ping(self, payload: bytes | bytearray | memoryview = b"") -> None:
        """Queue a ping; the peer answers with a `Pong` of the same payload.

        Args:
            payload: At most 125 bytes.

        Raises:
            LocalProtocolError: The connection is not open, or the payload is too long. Nothing was
                queued.
        """
        message = self._checked_payload("ping", payload)
        if len(message) > MAX_CONTROL_PAYLOAD_BYTES:
            raise LocalProtocolError(
                f"ping: {len(message)} bytes are more than {MAX_CONTROL_PAYLOAD_BYTES}"
            )
        self._queue_pongs()
        self._queue(self._writer.frame(Opcode.PING, message))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Queue our close frame; `WireClosed` follows when the peer has answered, or has gone.

        To give up during the handshake, drop the transport and call `receive_eof`.

        Args:
            code: 1000 to 1003, 1007 to 1013, or 3000 to 4999.
            reason: At most 123 bytes of UTF-8.

        Raises:
            LocalProtocolError: The connection is not open, or an argument is not fit for a close
                frame. Nothing was queued.
        """
        self._require_open("close")
        if code not in _PROTOCOL_CLOSE_CODES and not 3000 <= code <= 4999:
            raise LocalProtocolError(
                f"close: {code} may not be sent; take 1000, or one from 3000 to 4999"
            )
        try:
            words = reason.encode()
        except UnicodeEncodeError:
            words = None
        if words is None or len(words) > MAX_CONTROL_PAYLOAD_BYTES - 2:
            raise LocalProtocolError("close: the reason must be at most 123 bytes of UTF-8")
        self._queue_close(code, words)
        self._move(WireInput.CLOSE_QUEUED)

    def accept(
        self, headers: Iterable[tuple[str, str]] = (), *, subprotocol: str | None = None
    ) -> None:
        """Server role: upgrade the connection, after `HandshakeRequest`.

        Args:
            headers: Further headers of the answer.
            subprotocol: One of those that the client offers, or None.

        Raises:
            LocalProtocolError: There is no request to answer, or an argument is not fit. Nothing
                was queued.
        """
        self._queue(self._server_handshake("accept").accept(headers, subprotocol))
        self._handshake = None
        self._move(WireInput.ACCEPTED)

    def reject(
        self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        """Server role: answer with another status, after `HandshakeRequest`; `WireClosed` follows.

        Args:
            status: 300 to 599, except 304.
            headers: Further headers of the answer; its length is added.
            body: The answer's body.

        Raises:
            LocalProtocolError: There is no request to answer, or an argument is not fit. Nothing
                was queued.
        """
        self._queue(self._server_handshake("reject").reject(status, headers, body))
        self._move(WireInput.REJECTED)
        self._events.append(WireClosed(_NO_CLOSE_FRAME, "", by_peer=False, clean=False))

    def _move(self, what: WireInput) -> None:
        self._state = TRANSITIONS[self._state][what]

    def _queue(self, data: bytes) -> None:
        self._output.append(data)
        self._output_bytes += len(data)

    def _queue_pongs(self) -> None:
        """Answer the pings that were read, before anything that is queued later."""
        pings = self._reader.unanswered_pings
        while pings:
            payload = pings.popleft()
            if self._state is WireState.OPEN:
                self._queue(self._writer.frame(Opcode.PONG, payload))

    def _queue_close(self, code: int, words: bytes) -> None:
        self._queue_pongs()  # nothing may follow a close frame
        payload = b"" if code == _NO_CODE else code.to_bytes(2) + words
        self._queue(self._writer.frame(Opcode.CLOSE, payload))

    def _receive_handshake(self, data: bytes) -> bytes:
        """Go on with the handshake; return what came behind it."""
        handshake = self._handshake
        assert handshake is not None
        outcome = handshake.receive_data(data)
        match outcome:
            case None:
                pass
            case HandshakeRequest():
                self._events.append(outcome)
            case HandshakeAccepted():
                self._move(WireInput.ACCEPTED)
                self._events.append(outcome)
            case HandshakeRejected():
                self._move(WireInput.REJECTED)
                self._events.append(WireRejected(outcome))
                self._events.append(WireClosed(_NO_CLOSE_FRAME, "", by_peer=True, clean=False))
            case _:
                if isinstance(handshake, ServerHandshake):
                    self._queue(handshake.refusal)
                self._end(outcome)
        if self._state is WireState.CONNECTING:
            return b""
        self._handshake = None
        return handshake.trailing if isinstance(handshake, ClientHandshake) else b""

    def _end(self, ending: CloseFrame | RemoteProtocolError) -> None:
        """Close as the peer's close frame or its mistake demands; a close frame goes out once."""
        opened = self._state is WireState.OPEN
        if isinstance(ending, CloseFrame):
            if opened:
                self._queue_close(ending.code, b"")
            self._move(WireInput.CLOSE_RECEIVED)
            closed = WireClosed(ending.code, ending.reason, by_peer=opened, clean=True)
        else:
            code = ending.close_code
            if opened and code is not None:
                self._queue_close(code, b"")
            self._move(WireInput.FAILED)
            self._events.append(WireFailed(ending))
            closed = WireClosed(code or _NO_CLOSE_FRAME, "", by_peer=False, clean=False)
        self._events.append(closed)

    def _require_open(self, call: str) -> None:
        if self._state is not _OPEN:
            raise LocalProtocolError(f"{call}: the connection is not open but {self._state.value}")

    def _checked_payload(self, call: str, payload: bytes | bytearray | memoryview) -> bytes:
        self._require_open(call)
        if isinstance(payload, bytes):
            return payload
        try:
            return bytes(memoryview(payload))
        except (TypeError, ValueError):  # no buffer, or a memoryview that was released
            raise LocalProtocolError(
                f"{call}: the payload must be bytes; encode text as UTF-8"
            ) from None

    def _server_handshake(self, call: str) -> ServerHandshake:
        if self._state is WireState.CONNECTING and isinstance(self._handshake, ServerHandshake):
            return self._handshake
        raise LocalProtocolError(f"{call}: only a server may call it, before it has answered")
