"""Where the frames of a WebSocket connection end: found in one direction's bytes as they come."""

from __future__ import annotations

from typing import final

__all__ = ["FrameBoundaries"]

_END_OF_HEAD = b"\r\n\r\n"
_MASK_BIT = 0x80
_LENGTH_16_FOLLOWS = 126
_LENGTH_64_FOLLOWS = 127


@final
class FrameBoundaries:
    """Finds the ends of frames (RFC 6455 5.2) in the bytes of one direction, from the handshake on.

    It keeps no payload, so that a connection of any length may be followed. The first boundary is the end
    of the HTTP head; a body behind it (of a rejected handshake) is not recognised.

    Attributes:
        position: How many bytes were fed.
        frames: How many frames are whole.
    """

    def __init__(self) -> None:
        self.position = 0
        self.frames = 0
        self._in_head = True
        self._kept = b""  # of the head its last bytes, of a frame its header
        self._missing_bytes = 0

    @property
    def handshaken(self) -> bool:
        """Whether the HTTP head is whole."""
        return not self._in_head

    @property
    def whole(self) -> bool:
        """Whether nothing is half there: the last byte fed ended the head or a frame, or none was fed."""
        if self._in_head:
            return self.position == 0
        return not self._kept and not self._missing_bytes

    def feed(self, data: bytes | bytearray) -> list[int]:
        """Follows the stream.

        Args:
            data: What comes next, in any split.

        Returns:
            The boundaries within it or at its end, as bytes from the beginning of the stream.
        """
        ends: list[int] = []
        start, used = self.position, 0
        if self._in_head:
            used = self._take_head(data)
            if not self._in_head:
                ends.append(start + used)
        while used < len(data):
            used += self._take_frame(data[used:])
            if not self._kept and not self._missing_bytes:
                self.frames += 1
                ends.append(start + used)
        self.position += len(data)
        return ends

    def _take_head(self, data: bytes | bytearray) -> int:
        """Looks for the end of the head; returns how many bytes belong to it."""
        seen = self._kept + data
        end = seen.find(_END_OF_HEAD)
        if end < 0:
            self._kept = bytes(seen[-3:])
            return len(data)
        used = end + len(_END_OF_HEAD) - len(self._kept)
        self._in_head = False
        self._kept = b""
        return used

    def _take_frame(self, data: bytes | bytearray) -> int:
        """Goes on with a frame, to its end at most; returns how many bytes that took."""
        used = 0
        while not self._missing_bytes:
            header = self._kept + data[used : used + 1]
            used += 1
            if len(header) == _header_bytes(header):
                self._kept = b""
                self._missing_bytes = _payload_bytes(header)
                if not self._missing_bytes:
                    return used
            else:
                self._kept = bytes(header)
                if used == len(data):
                    return used
        taken = min(self._missing_bytes, len(data) - used)
        self._missing_bytes -= taken
        return used + taken


def _header_bytes(header: bytes | bytearray) -> int:
    """How long a header is, as far as its beginning tells."""
    if len(header) < 2:
        return 2
    length = header[1] & ~_MASK_BIT
    extension = {_LENGTH_16_FOLLOWS: 2, _LENGTH_64_FOLLOWS: 8}.get(length, 0)
    return 2 + extension + (4 if header[1] & _MASK_BIT else 0)


def _payload_bytes(header: bytes | bytearray) -> int:
    length = header[1] & ~_MASK_BIT
    if length == _LENGTH_16_FOLLOWS:
        return int.from_bytes(header[2:4])
    if length == _LENGTH_64_FOLLOWS:
        return int.from_bytes(header[2:10])
    return length
