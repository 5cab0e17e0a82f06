"""RFC 6455 frames, both directions: bytes to messages, payloads to bytes.

Inbound there are two lanes over one splitter. What a session receives is almost only whole,
unfragmented, uncompressed text frames, now and then a ping or a pong between them, masked where the
peer is a client. `FrameReader` takes those straight out of the read. Every other frame is handed to
wsproto, whole or first its header and then its whole payload, and wsproto's verdict on it is final.
Because no partial payload ever reaches wsproto, the outcome does not depend on how the bytes were
split, and with or without the lane it is the same.

Sizes are judged by the header, before a payload is buffered.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable

import msgspec
import numpy as np
from wsproto.frame_protocol import Frame, FrameProtocol, Opcode, ParseFailed

from sansio_rt._errors import FrameError, MessageTooBig, RemoteProtocolError

__all__ = [
    "MAX_CONTROL_PAYLOAD_BYTES",
    "BinaryMessage",
    "CloseFrame",
    "FrameReader",
    "FrameWriter",
    "MessageEvent",
    "Opcode",
    "Ping",
    "Pong",
    "TextMessage",
    "is_utf8",
]

MAX_CONTROL_PAYLOAD_BYTES = 125  # RFC 6455 5.5
MAX_UNANSWERED_PINGS = 16

# First bytes of frames: FIN set, no reserved bit, and the opcode.
_WHOLE_TEXT_FRAME = 0x81
_PING_FRAME = 0x89
_PONG_FRAME = 0x8A
_FAST_LANE = frozenset({_WHOLE_TEXT_FRAME, _PING_FRAME, _PONG_FRAME})
_MASKED = 0x80
_LENGTH_16_FOLLOWS = 126
_LENGTH_64_FOLLOWS = 127
_INCOMPLETE = -1

_uint16 = struct.Struct("!H")
_uint64 = struct.Struct("!Q")


class TextMessage(msgspec.Struct, frozen=True, gc=False):
    """A whole text message, whatever its fragmentation was.

    Attributes:
        data: The message, valid UTF-8; its own object, so that it may be kept.
    """

    data: bytes


class BinaryMessage(msgspec.Struct, frozen=True, gc=False):
    """A whole binary message, whatever its fragmentation was.

    Attributes:
        data: The message.
    """

    data: bytes


class Ping(msgspec.Struct, frozen=True, gc=False):
    """The peer's ping. It has been answered already, or will be with the next `data_to_send`.

    Attributes:
        payload: At most 125 bytes.
    """

    payload: bytes


class Pong(msgspec.Struct, frozen=True, gc=False):
    """The peer's pong, asked for or not.

    Attributes:
        payload: At most 125 bytes; that of the ping which it answers.
    """

    payload: bytes


class CloseFrame(msgspec.Struct, frozen=True, gc=False):
    """The peer's close frame.

    Attributes:
        code: Its close code; 1005 where the frame carried none.
        reason: Its words, may be empty.
    """

    code: int
    reason: str


MessageEvent = TextMessage | BinaryMessage | Ping | Pong


def is_utf8(data: bytes) -> bool:
    """Tell whether `data` is valid UTF-8; ASCII, the common case, costs one scan and no copy."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _masked(payload: bytes, key: bytes) -> bytes:
    """Mask a payload, or take its mask away (RFC 6455 5.3)."""
    size = len(payload)
    repeated = np.frombuffer(key * (size // 4 + 1), np.uint8, size)
    return (np.frombuffer(payload, np.uint8) ^ repeated).tobytes()


class FrameReader:
    """Bytes to whole messages and control frames, for either role.

    How the stream ended, in a close frame or in a broken rule, is in `ending`; nothing is read
    after it.

    Args:
        emit: Takes each message, ping and pong; a queue's `append`.
        client: True where the peer is a server, so that its frames must not be masked; a client's
            must be.
        max_message_bytes: Bound of one message over all its fragments.
        max_message_frames: Bound of the frames of one message.
        fast_lane: Whether the common shapes bypass wsproto.

    Attributes:
        ending: The close frame or the error that ended the stream, None before.
        unanswered_pings: Payloads of the newest pings that were read, oldest first. Who answers them
            takes them out; a flood of pings costs no more than `MAX_UNANSWERED_PINGS` pongs for each
            time that is done (RFC 6455 5.5.3 asks for the newest alone).
    """

    def __init__(
        self,
        emit: Callable[[MessageEvent], None],
        *,
        client: bool,
        max_message_bytes: int,
        max_message_frames: int,
        fast_lane: bool,
    ) -> None:
        self.ending: CloseFrame | RemoteProtocolError | None = None
        self.unanswered_pings: deque[bytes] = deque(maxlen=MAX_UNANSWERED_PINGS)
        self._emit = emit
        self._max_message_bytes = max_message_bytes
        self._max_message_frames = max_message_frames
        self._peer_masks = not client
        self._fast_lane: frozenset[int] = _FAST_LANE if fast_lane else frozenset()
        self._wsproto = FrameProtocol(client, [])
        self._wsproto_has_header = False
        self._fragments: list[bytes] = []
        self._fragments_bytes = 0
        self._partial = bytearray()
        self._needed_bytes = 2

    def receive_data(self, data: bytes) -> None:
        """Read frames from `data`; the beginning of an incomplete one is kept.

        Args:
            data: Bytes in any split. Ignored once `ending` is set.
        """
        position = self._complete_partial(data) if self._partial else 0
        size = len(data)
        while position < size and self.ending is None:
            after = self._take_frame(data, position)
            if after == _INCOMPLETE:
                self._partial += data[position:]
                return
            position = after

    def _complete_partial(self, data: bytes) -> int:
        """Finish the frame that an earlier read began; return how much of `data` that took.

        Only what the frame needs is copied: a read costs its own size, however big the frame.
        """
        partial = self._partial
        used = 0
        while True:
            missing = self._needed_bytes - len(partial)
            partial += data[used : used + missing]
            used += missing
            if used > len(data):
                return len(data)
            if self._take_frame(bytes(partial), 0) != _INCOMPLETE:
                break
        partial.clear()
        return used

    def _take_frame(self, data: bytes, position: int) -> int:
        """Take the frame at `position`; return the position after it, or `_INCOMPLETE`.

        Where it is incomplete, `_needed_bytes` says how many bytes from `position` on come next:
        up to the length, up to the end of the header, or up to the end of the frame.
        """
        available = len(data) - position
        if available < 2:
            self._needed_bytes = 2
            return _INCOMPLETE
        second = data[position + 1]
        payload_bytes = second & 0x7F
        header_bytes = 2 if second < _MASKED else 6
        if payload_bytes >= _LENGTH_16_FOLLOWS:
            header_bytes += 2 if payload_bytes == _LENGTH_16_FOLLOWS else 8
        if available < header_bytes:
            self._needed_bytes = header_bytes
            return _INCOMPLETE
        shortest = True  # RFC 6455 5.2: the minimal number of bytes must encode the length
        if payload_bytes == _LENGTH_16_FOLLOWS:
            (payload_bytes,) = _uint16.unpack_from(data, position + 2)
            shortest = payload_bytes >= _LENGTH_16_FOLLOWS
        elif payload_bytes == _LENGTH_64_FOLLOWS:
            (payload_bytes,) = _uint64.unpack_from(data, position + 2)
            shortest = payload_bytes > 0xFFFF

        body = position + header_bytes
        end = body + payload_bytes
        if (
            (first := data[position]) in self._fast_lane
            and (second >= _MASKED) is self._peer_masks
            and shortest
            and not self._fragments
            and payload_bytes <= self._max_message_bytes
            and (payload_bytes <= MAX_CONTROL_PAYLOAD_BYTES or first == _WHOLE_TEXT_FRAME)
        ):
            if end > len(data):
                self._needed_bytes = end - position
                return _INCOMPLETE
            payload = data[body:end]
            if self._peer_masks:
                payload = _masked(payload, data[body - 4 : body])
            if first != _WHOLE_TEXT_FRAME:
                self._receive_control(payload, is_ping=first == _PING_FRAME)
                return end
            if is_utf8(payload):
                self._emit(TextMessage(payload))
                return end

        return self._take_frame_by_wsproto(data, position, body, end)

    def _take_frame_by_wsproto(self, data: bytes, position: int, body: int, end: int) -> int:
        """Hand a whole frame to wsproto; else its header as soon as it is there, and the rest later."""
        if not self._wsproto_has_header:
            # A continuation adds to what is there. Wsproto judges the header, and before its size.
            is_continuation = data[position] & 0x0F == Opcode.CONTINUATION
            message_bytes = end - body + (self._fragments_bytes if is_continuation else 0)
            fits = message_bytes <= self._max_message_bytes
            if fits and end <= len(data):
                self._ask_wsproto(data[position:end])
                return end
            self._ask_wsproto(data[position:body])
            if self.ending is None and not fits:
                self.ending = MessageTooBig(
                    f"the peer sent a message of at least {message_bytes} bytes, the limit is "
                    f"{self._max_message_bytes}; raise the limit if such messages are wanted",
                    limit_bytes=self._max_message_bytes,
                )
            if self.ending is not None:
                return end
            self._wsproto_has_header = True
        if end > len(data):
            self._needed_bytes = end - position
            return _INCOMPLETE
        self._ask_wsproto(data[body:end])
        self._wsproto_has_header = False
        return end

    def _ask_wsproto(self, piece: bytes) -> None:
        self._wsproto.receive_bytes(piece)
        try:
            for frame in self._wsproto.received_frames():
                self._receive_frame(frame)
        except ParseFailed as failure:
            code = int(failure.code)
            what = "sent text that is not UTF-8" if code == 1007 else "broke RFC 6455"
            self.ending = FrameError(f"the peer {what}: {failure}", close_code=code)

    def _receive_frame(self, frame: Frame) -> None:
        """Sort a frame that wsproto has accepted; its payload is whole."""
        payload = frame.payload
        if isinstance(payload, tuple):
            code, reason = payload
            self.ending = CloseFrame(int(code), reason)
            return
        data = payload.encode() if isinstance(payload, str) else bytes(payload)
        if frame.opcode is Opcode.PING or frame.opcode is Opcode.PONG:
            self._receive_control(data, is_ping=frame.opcode is Opcode.PING)
        else:
            self._receive_fragment(frame.opcode, data, frame.message_finished)

    def _receive_control(self, payload: bytes, *, is_ping: bool) -> None:
        if is_ping:
            self.unanswered_pings.append(payload)
            self._emit(Ping(payload))
        else:
            self._emit(Pong(payload))

    def _receive_fragment(self, opcode: Opcode, data: bytes, finished: bool) -> None:
        """Collect one fragment; wsproto has put the message's opcode into continuations."""
        self._fragments.append(data)
        self._fragments_bytes += len(data)
        if len(self._fragments) > self._max_message_frames:
            self.ending = FrameError(
                f"the peer cut one message into more than {self._max_message_frames} frames",
                close_code=1008,
            )
            return
        if not finished:
            return
        message = b"".join(self._fragments)
        self._fragments.clear()
        self._fragments_bytes = 0
        self._emit(TextMessage(message) if opcode is Opcode.TEXT else BinaryMessage(message))


class FrameWriter:
    """Payloads to frames; a client's are masked with a fresh key each (RFC 6455 5.3).

    Args:
        random_bytes: Source of the masking keys, which gives exactly as many bytes as it is asked
            for; None for a server, which does not mask.
    """

    def __init__(self, random_bytes: Callable[[int], bytes] | None) -> None:
        self._random_bytes = random_bytes
        self._mask_bit = 0 if random_bytes is None else _MASKED

    def control_frame_bytes(self, payload_bytes: int) -> int:
        """Size of the frame of a control payload, in bytes."""
        return payload_bytes + (2 if self._random_bytes is None else 6)

    def frame(self, opcode: Opcode, payload: bytes) -> bytes:
        """Serialize one whole message or control frame into one buffer.

        Args:
            opcode: Text, binary, close, ping or pong.
            payload: The whole payload; the caller has checked what its opcode demands.

        Returns:
            Header, masking key where there is one, and payload.
        """
        size = len(payload)
        first, mask_bit = 0x80 | opcode, self._mask_bit
        if size < _LENGTH_16_FOLLOWS:
            header = bytes((first, mask_bit | size))
        elif size <= 0xFFFF:
            header = bytes((first, mask_bit | _LENGTH_16_FOLLOWS)) + _uint16.pack(size)
        else:
            header = bytes((first, mask_bit | _LENGTH_64_FOLLOWS)) + _uint64.pack(size)
        if self._random_bytes is None:
            return header + payload
        key = self._random_bytes(4)
        return header + key + _masked(payload, key)
