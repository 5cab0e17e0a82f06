"""What the two wire targets share: one connection, its bytes in pieces, and calls in between."""

from __future__ import annotations

from fuzz.framing import CLOSE, PONG, Frame, first_frames, opened_wire, sent_frames
from sansio_rt import LocalProtocolError, RemoteProtocolError
from sansio_rt._wire import (
    BinaryMessage,
    Ping,
    Pong,
    TextMessage,
    Wire,
    WireClosed,
    WireEvent,
    WireFailed,
    WireState,
)

_MOST_FRAMES = 3  # enough for a fragmented message with a ping in it
_BYTE_BY_BYTE = 8  # so many; the rest comes in one read
_MESSAGE_LIMITS = (1 << 20, 130, 20, 0)
_FRAME_LIMITS = (64, 2)


def fuzz_wire(data: bytes, *, client: bool) -> None:
    """One connection of either role.

    Args:
        data: Byte 0 chooses what is checked or compared, the bounds and a call, byte 1 the pieces;
            the rest is the stream. One thing is done for an input: the others are a byte away.
        client: The role.
    """
    if len(data) < 2:
        data = data.ljust(2, b"\0")
    head, stream = data[0], first_frames(data[2:], _MOST_FRAMES)
    cut = pieces(stream, data[1])
    what, limits = head & 7, head >> 3 & 7
    life = WireLife(client=client, limits=limits)
    match what:
        case 1:  # the same in one piece, and by turns without the fast lane
            life.read([stream])
            other = WireLife(client=client, limits=limits, fast_lane=head < 128)
            other.read(cut)
            assert list(map(tell, life.events)) == list(map(tell, other.events))
            assert life.output == other.output
        case 7:
            for turn, piece in enumerate(cut, head >> 6):
                life.receive(piece)
                life.call(turn)
            life.read([])
            life.check()
            life.stay_ended()
        case _:
            life.read(cut)
            life.check()


def pieces(data: bytes, way: int) -> list[bytes]:
    """Splits bytes: into one piece (0), the first ones one by one (1), else into three at most.

    Args:
        data: The bytes.
        way: 0 to 255; from 2 on, how long the first two pieces are.
    """
    if way == 0:
        return [data] if data else []
    if way == 1:
        head = data[:_BYTE_BY_BYTE]
        found = [head[at : at + 1] for at in range(len(head))]
        return [*found, data[_BYTE_BY_BYTE:]] if len(data) > _BYTE_BY_BYTE else found
    first = way >> 3
    second = first + (1, 2, 3, 5, 9, 15, 40, 130)[way & 7]
    return [piece for piece in (data[:first], data[first:second], data[second:]) if piece]


class WireLife:
    """One connection from the moment that it is open.

    Args:
        client: Its role.
        limits: Chooses the bounds of messages.
        fast_lane: Whether it has one.
    """

    def __init__(self, *, client: bool, limits: int, fast_lane: bool = True) -> None:
        self.client = client
        self.limit = _MESSAGE_LIMITS[limits & 3]
        self.wire: Wire = opened_wire(
            client=client,
            fast_lane=fast_lane,
            max_message_bytes=self.limit,
            max_message_frames=_FRAME_LIMITS[limits >> 2 & 1],
        )
        self.events: list[WireEvent] = []
        self.output = b""

    def receive(self, data: bytes) -> None:
        self.wire.receive_data(data)
        self.collect()

    def collect(self) -> None:
        while (event := self.wire.next_event()) is not None:
            self.events.append(event)

    def send(self) -> None:
        pending = self.wire.pending_bytes
        data = self.wire.data_to_send()
        assert len(data) == pending
        assert self.wire.pending_bytes == 0
        self.output += data

    def call(self, which: int) -> None:
        """One call of the application; it is refused exactly where the connection is not open."""
        was_open = self.wire.state is WireState.OPEN
        try:
            match which % 4:
                case 0:
                    self.wire.send_text(b"hello")
                case 1:
                    self.wire.ping(b"?")
                case 2:
                    self.wire.close(1000 + (which >> 2), "bye")
                case _:
                    self.send()
                    return
        except LocalProtocolError:
            assert not was_open or which % 4 == 2
        else:
            assert was_open

    def stay_ended(self) -> None:
        """Nothing changes a life that is over."""
        told, sent = len(self.events), self.output
        self.wire.receive_eof()
        self.receive(b"\x81\x01x")
        self.send()
        assert (len(self.events), self.output, self.wire.state) == (told, sent, WireState.CLOSED)

    def read(self, cut: list[bytes]) -> None:
        """The peer sends pieces, and goes."""
        wire = self.wire
        for piece in cut:
            wire.receive_data(piece)
        wire.receive_eof()
        self.events += wire._events  # as `next_event` would give them, at a third of the cost
        wire._events.clear()
        self.output += wire.data_to_send()

    def check(self) -> None:
        """Checks a whole life."""
        assert self.wire.state is WireState.CLOSED
        check_events(self.events, self.limit)
        if self.output:
            check_sent(sent_frames(self.output, masked=self.client), self.events)


def check_events(events: list[WireEvent], limit: int) -> None:
    """What must be true of everything that a wire told."""
    failures = 0
    for event in events:
        match event:
            case TextMessage():
                event.data.decode()
                assert len(event.data) <= limit
            case BinaryMessage():
                assert len(event.data) <= limit
            case Ping() | Pong():
                assert len(event.payload) <= 125
            case WireFailed():
                assert isinstance(event.error, RemoteProtocolError)
                assert str(event.error)
                failures += 1
            case WireClosed():
                assert event is events[-1], "closed twice, or something came behind the end"
                event.reason.encode()
                assert not (event.clean and failures)
            case _:
                pass
    assert isinstance(events[-1], WireClosed), "not closed"
    assert failures <= 1


def check_sent(frames: list[Frame], events: list[WireEvent]) -> None:
    """Whether what was sent fits what was told: a mistake of the peer is answered by its code."""
    pongs = {sent.payload for sent in frames if sent.opcode == PONG}
    if pongs:
        assert pongs <= {event.payload for event in events if isinstance(event, Ping)}
    codes = [int.from_bytes(sent.payload[:2], "big") for sent in frames if sent.opcode == CLOSE]
    assert len(codes) <= 1
    for event in events:
        if isinstance(event, WireFailed) and isinstance(event.error, RemoteProtocolError) and codes:
            assert codes[0] in (event.error.close_code, *range(1000, 1064)), (codes, event.error)


def tell(event: WireEvent) -> object:
    """An event as a value that can be compared; errors are told by their words."""
    if isinstance(event, WireFailed):
        return type(event.error), str(event.error), event.error.__dict__.get("close_code")
    return event
