"""The client's side: drives `ClientProtocol` as `trio_rt` does, and keeps what it told.

It dials, carries bytes, waits with commands while a lost connection is being replaced, and connects again
when the protocol says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from .._client import ClientProtocol
from .._commands import Command, CommandKind
from .._connection import ConnectionState
from .._errors import LocalProtocolError, RealtimeError
from .._link import Link
from .._session_events import (
    CommandEnded,
    ConnectionLost,
    ConnectionReplaced,
    RotationDue,
    SessionClosed,
    SessionEvent,
    SessionReady,
    SessionResumed,
)
from ..events._common import is_array
from ._carry import Carry, HandedConnection
from ._network import Clock, Line
from ._trace import brief_event

EPOCH_S = 1.8e9
"""The wall clock's time, in Unix seconds, when virtual time is 0."""

__all__ = ["EPOCH_S", "Carried", "Driver", "Issued", "Unreachable"]

_CLOSING = ConnectionState.CLOSING  # bound once: asked for with each command


class Unreachable(RealtimeError):
    """There was no byte stream to connect over; the next try may find one."""

    passing = True


class Issued(Struct):
    """A command that the caller made, and what is known of it."""

    command: Command
    label: str
    connection: int
    """In which connection it was made, counted from 1."""
    ended_at: float | None = None
    """When that was, or None."""


class Network(Protocol):
    """What opens lines."""

    def dial(self, done: Callable[[Line], None], failed: Callable[[RealtimeError], None]) -> None:
        """Opens a line; tells later how that went."""
        ...


class Carried(Struct, eq=False):
    """A connection: its bytes on the client's side, and the line that carries them."""

    link: Link
    line: Line
    number: int
    """Which of the client's connections it is, from 1."""


class _Told(dict[type, list[Callable[[Any], None]]]):
    """Who is told of events, by kind; asked for once each."""

    def __init__(self, find: Callable[[type], list[Callable[[Any], None]]]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, kind: type) -> list[Callable[[Any], None]]:
        found = self[kind] = self._find(kind)
        return found


class Driver:
    """Everything around one `ClientProtocol`.

    Attributes:
        client: The protocol object.
        serving: The connection that serves, or None.
        next: The one that is made ready beside it, or None.
        connections: How many lines were opened.
        dials: When each of the tries began.
        issued: The caller's commands by event id.
        waiting: Calls that wait for the session to be resumed, by what they are.
        served: The number of the connection that serves, or served last.
        closed: The session's last event, or None.
        ready: Whether the session was ready once.
        refused: Calls that the client refused: what, and why.

    Args:
        client: The protocol object.
        clock: Virtual time.
        network: Opens lines.
        looking_at: Gives those that are told of the client's events of a kind.
        carry: What goes over the line.
        note: Writes a line of the trace, or None.
    """

    def __init__(
        self,
        client: ClientProtocol,
        clock: Clock,
        network: Network,
        looking_at: Callable[[type], Sequence[Callable[[Any], None]]],
        note: Callable[[str], None] | None,
        *,
        carry: Carry = Carry.BYTES,
    ) -> None:
        self.client = client
        if carry is Carry.MESSAGES:
            client._connection_type = HandedConnection  # pyright: ignore[reportPrivateUsage]
        self.serving: Carried | None = None
        self.next: Carried | None = None
        self.connections = 0
        self.served = 0
        self.dials: list[float] = []
        self.issued: dict[str, Issued] = {}
        self.waiting: deque[tuple[str, Callable[[], Any]]] = deque()
        self.closed: SessionClosed | None = None
        self.ready = False
        self.refused: list[tuple[str, LocalProtocolError]] = []
        self._carried: dict[int, Carried] = {}
        self._clock = clock
        self._network = network
        self._looking_at = looking_at
        self._told = _Told(self._those_told)
        self._time_told = -1.0
        self._note = note
        self._handlers: Mapping[type, Callable[[Any], None]] = {
            CommandEnded: self._on_command_ended,
            ConnectionLost: self._on_lost,
            RotationDue: self._rotate,
            ConnectionReplaced: self._on_replaced,
            SessionClosed: self._on_closed,
            SessionReady: self._on_ready,
            SessionResumed: self._on_ready,
        }

    # --- connections ------------------------------------------------------------------------

    @property
    def line(self) -> Line | None:
        """The serving connection's bytes, or None."""
        return None if self.serving is None else self.serving.line

    @property
    def carries_others(self) -> bool:
        """Whether there are connections beside the one that serves: to come, or on their way out."""
        return len(self._carried) > (self.serving is not None)

    def connect(self) -> None:
        """Begins a connection."""
        if self.closed is not None:
            return
        started = self._clock.now

        def done(line: Line) -> None:
            if self.closed is None:
                link = self.client.connect(started, unix_now=EPOCH_S + started)
                self.serving = self._carry(link, line)
                self.served = self.serving.number
            else:
                line.up.finish()

        def failed(error: RealtimeError) -> None:
            if self.closed is None:
                self.client.connect_failed(error, self._clock.now)

        self.dials.append(started)
        self._network.dial(done, failed)

    def _rotate(self, _: RotationDue | None = None) -> None:
        """Begins the next connection beside the one that serves."""
        started = self._clock.now

        def done(line: Line) -> None:
            link = None
            if self.closed is None:
                link = self.client.begin_rotation(started, unix_now=EPOCH_S + started)
            if link is None:
                line.up.finish()
            else:
                self.next = self._carry(link, line)

        def failed(_: RealtimeError) -> None:
            if self.closed is None:
                self.client.rotation_failed(self._clock.now)

        self.dials.append(started)
        self._network.dial(done, failed)

    def _carry(self, link: Link, line: Line) -> Carried:
        self.connections += 1
        carried = Carried(link, line, self.connections)
        self._carried[id(line)] = carried
        return carried

    def receive_data(self, line: Line, data: bytes) -> None:
        """Takes bytes of a line."""
        carried = self._carried.get(id(line))
        if carried is not None:
            carried.link.receive_data(data, self._clock.now)

    def receive_eof(self, line: Line) -> None:
        """A line has ended."""
        carried = self._carried.get(id(line))
        if carried is not None:
            self._let_go(carried)

    def hang_up(self) -> None:
        """The caller leaves."""
        self.waiting.clear()
        self.client.handle_timer(self._clock.now)
        self.client.close()

    def _let_go(self, carried: Carried | None) -> None:
        """Closes a stream, as a pump does when it ends, and tells the protocol."""
        if carried is None or self._carried.pop(id(carried.line), None) is None:
            return
        if carried is self.serving:
            self.serving = None
        if carried is self.next:
            self.next = None
        carried.line.up.finish()
        carried.link.receive_eof(self._clock.now)

    def _retire(self, carried: Carried | None) -> None:
        """Another connection serves: this one ends when its peer has closed, or after a while."""
        if carried is not None:
            patience_s = self.client.timing.close_timeout_s
            self._clock.at(self._clock.now + patience_s, lambda: self._let_go(carried))

    # --- steps ------------------------------------------------------------------------------

    def take_events(self) -> None:
        """Takes what happened, and tells of it."""
        next_event, told = self.client.next_event, self._told
        while (event := next_event()) is not None:
            for on_event in told[type(event)]:
                on_event(event)

    def _those_told(self, kind: type) -> list[Callable[[Any], None]]:
        first: list[Callable[[Any], None]] = [] if self._note is None else [self._write]
        if kind in self._handlers:
            first.append(self._handlers[kind])
        return [*first, *self._looking_at(kind)]

    def _write(self, event: SessionEvent) -> None:
        assert self._note is not None  # else this is told of no event
        self._note(f"client: {brief_event(event)}")

    def flush(self) -> bool:
        """Sends what is queued; whether that was anything."""
        sent = False
        if self.next is not None and self.next.link.closing:
            carried, self.next = self.next, None
            self._retire(carried)
        for carried in list(self._carried.values()):
            data = carried.link.data_to_send()
            if data:
                carried.line.up.send(data)
                sent = True
            elif carried.link.finished:
                self._let_go(carried)
                sent = True
        return sent

    def handle_timer(self) -> None:
        """Lets the protocol do what is due."""
        self._time_told = self._clock.now
        self.client.handle_timer(self._time_told)

    def _on_command_ended(self, event: CommandEnded) -> None:
        issued = self.issued.get(event.command.event_id)
        if issued is not None:
            issued.ended_at = self._clock.now

    def _on_lost(self, event: ConnectionLost) -> None:
        self._let_go(self.serving)
        self._clock.at(event.reconnect_at, self.connect)

    def _on_replaced(self, _: ConnectionReplaced) -> None:
        old, self.serving, self.next = self.serving, self.next, None
        self.served = self._serving_number
        self._retire(old)

    def _on_closed(self, event: SessionClosed) -> None:
        self.closed = event
        self.waiting.clear()
        for carried in list(self._carried.values()):
            self._let_go(carried)

    def _on_ready(self, _: SessionReady | SessionResumed) -> None:
        self.ready = True
        waiting, self.waiting = self.waiting, deque()
        for label, call in waiting:
            self.ask(label, call)

    def what_waits(self) -> str:
        """What of the client's is not done yet, in words; empty where nothing is."""
        client = self.client
        if client.state is not ConnectionState.READY or client.reconnecting:
            return f"the client is {client.state.value}"
        if self.waiting:
            return f"calls: {', '.join(label for label, _ in self.waiting)}"
        if client.commands:
            return f"commands: {client.commands}"
        if client.generations:
            return f"generations: {client.generations}"
        return ""

    # --- commands ---------------------------------------------------------------------------

    @property
    def must_wait(self) -> bool:
        """Whether a command has to wait until the session is ready again."""
        client = self.client
        return not self.ready or client.reconnecting or client.state is _CLOSING

    def ask(self, label: str, call: Callable[[], Any]) -> None:
        """Makes a command, or waits until one can be made.

        Args:
            label: What it is, for people.
            call: Calls the client and gives its command, its commands, or None.
        """
        if self.closed is not None:
            return
        if self.next is not None and self._time_told != self._clock.now and not self.must_wait:
            self.handle_timer()  # the next connection takes over at any quiet moment; else none is due
        if self.must_wait:
            self.waiting.append((label, call))
            return
        self.tell(label, call)

    def tell(self, label: str, call: Callable[[], Any]) -> None:
        """Makes a call at once; a refusal of the client's own is kept in `refused`."""
        self.client.tell_time(self._clock.now)
        try:
            made = call()
        except LocalProtocolError as error:
            self.refused.append((label, error))
            if self._note is not None:
                self._note(f"caller: {label}: refused: {error}")
            return
        if self._note is not None and label != "push":
            self._note(f"caller: {label}: {made!r}"[:200])
        if type(made) is Command:
            self._keep(made, label)
        elif is_array(made):
            for command in made:
                self._keep(command, label)

    def _keep(self, command: Command, label: str) -> None:
        if command.event_id not in self.issued:
            self.issued[command.event_id] = Issued(command, label, self._serving_number)

    @property
    def _serving_number(self) -> int:
        """That of the client's own link: it may have been replaced and not have said so yet."""
        link = self.client.link
        if self.serving is not None and self.serving.link is link:
            return self.serving.number
        for carried in self._carried.values():
            if carried.link is link:
                return carried.number
        return 0

    def newest(self, kind: CommandKind) -> Command | None:
        """The caller's newest outstanding command of a kind."""
        return next(
            (
                issued.command
                for issued in reversed(self.issued.values())
                if issued.command.kind is kind and issued.command.outcome is None
            ),
            None,
        )
