"""The server's frames: any bytes of a client; in any pieces and without the fast lane all is the same."""

from __future__ import annotations

from fuzz.framing import first_frames
from fuzz.wire_life import WireLife, pieces, tell

MAX_BYTES = 300
_MOST_FRAMES = 3  # enough for a fragmented message with a ping in it


def fuzz(data: bytes) -> None:
    """Byte 0 chooses what is compared, the bounds and a call, byte 1 the pieces; the rest is the stream."""
    head, stream = data[:2].ljust(2, b"\0"), first_frames(data[2:], _MOST_FRAMES)
    compared, limits, call, way = head[0] & 7, head[0] >> 3 & 7, head[0] >> 6, head[1]
    life = WireLife(client=False, limits=limits)
    if compared == 7:
        for turn, piece in enumerate(pieces(stream, way)):
            life.receive(piece)
            life.call(call + turn)
        life.end()
        life.stay_ended()
        return
    life.receive(stream)
    ended = life.end()
    if compared in (1, 2):
        other = WireLife(client=False, limits=limits, fast_lane=compared == 1)
        for piece in pieces(stream, way):
            other.receive(piece)
        assert list(map(tell, ended)) == list(map(tell, other.end()))
        assert life.output == other.output
