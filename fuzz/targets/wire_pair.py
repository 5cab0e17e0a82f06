"""A client's wire and a server's: whatever one of them sends, the other one gets, once and in order."""

from __future__ import annotations

from fuzz.drawing import Draw
from fuzz.framing import opened_wire
from fuzz.wire_life import pieces
from sansio_rt import LocalProtocolError
from sansio_rt._wire import Ping, TextMessage, Wire, WireClosed, WireState

MAX_BYTES = 256


def fuzz(data: bytes) -> None:
    """An opening byte, then calls: who, what, and its payload."""
    draw = Draw(data)
    way = draw.byte()
    client, server = opened_wire(client=True), opened_wire(client=False)
    sides = (client, server)
    said: tuple[list[bytes], list[bytes]] = ([], [])
    heard: tuple[list[bytes], list[bytes]] = ([], [])
    while draw.left:
        what = draw.byte()
        who = what & 1
        _act(sides[who], what >> 1, draw, said[who])
        if what & 0x80:
            _carry(client, server, way, heard)
    for _ in range(4):
        _carry(client, server, way, heard)
    assert heard[1] == said[0]
    assert heard[0] == said[1]
    assert (client.state is WireState.OPEN) == (server.state is WireState.OPEN)


def _act(wire: Wire, what: int, draw: Draw, said: list[bytes]) -> None:
    was_open = wire.state is WireState.OPEN
    try:
        match what & 7:
            case 0 | 1 | 2:
                message = draw.take(draw.byte())
                wire.send_text(message)
                said.append(message)
            case 3:
                message = draw.text().encode() * 300  # beyond the short lengths
                wire.send_text(message)
                said.append(message)
            case 4:
                payload = draw.take(draw.byte() & 127)
                wire.ping(payload)
            case 5:
                wire.close(draw.below(5000), draw.text())
            case _:
                message = draw.text().encode()
                wire.send_text(message)
                said.append(message)
    except LocalProtocolError:
        assert not was_open or what & 7 in (0, 1, 2, 4, 5)


def _carry(client: Wire, server: Wire, way: int, heard: tuple[list[bytes], list[bytes]]) -> None:
    for sender, receiver, into in ((client, server, heard[1]), (server, client, heard[0])):
        for piece in pieces(sender.data_to_send(), way):
            receiver.receive_data(piece)
        while (event := receiver.next_event()) is not None:
            assert isinstance(event, TextMessage | Ping | WireClosed) or hasattr(event, "payload")
            if isinstance(event, TextMessage):
                into.append(event.data)
