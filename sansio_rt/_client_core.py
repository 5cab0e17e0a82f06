"""The inside of `ClientProtocol`: bytes and time in, events out.

It routes what the server says to the rooms of `_client_rooms`, and minds the clock. The life of connections
is in `_client_life`, the commands are in `_client`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import events
from ._client_life import ClientLife
from ._client_rooms import ClientSettings
from ._commands import Command, CommandKind
from ._config import SessionConfig
from ._connection import Connection, ConnectionInput, ConnectionState
from ._errors import CommandTimeout, ConnectionClosed, RealtimeError, SchemaError
from ._keepalive import Need
from ._service_errors import ServiceErrors
from ._session_events import CommandEnded, RawServerEvent
from ._wire import HandshakeAccepted, Ping, Pong, WireClosed, WireFailed, WireRejected

__all__ = ["ClientCore"]

# Looked up once, since they are asked with each message: before Python 3.12 an enum answers slowly.
_READY, _REPLAYING = ConnectionState.READY, ConnectionState.REPLAYING
_NOT_TOLD = frozenset({Ping, Pong})  # by the WebSocket, which may outlive the session behind it


class ClientCore(ClientLife):
    """All of a client but its commands."""

    def __init__(self, settings: ClientSettings) -> None:
        super().__init__(settings)
        self._sign_of_life: Command | None = None
        errors = ServiceErrors(
            self._tray,
            self.endpoint.dialect,
            self.conversation,
            self._configuration,
            self._history,
            self._requests,
            self._responses,
            fail=self._fail,
        )
        self._handlers: Mapping[type, Callable[[Any], None]] = {
            **self._input.handlers,
            **self._history.handlers,
            **self._responses.handlers,
            **self._configuration.handlers,
            events.SessionUpdated: self._on_session_updated,
            events.RateLimitsUpdated: self._on_rate_limits,
            events.Error: errors.handle,
            events.UnknownEvent: self._on_unknown,
            SchemaError: self._on_broken,
            HandshakeAccepted: self._on_accepted,
            WireRejected: self._on_wire_failed,
            WireFailed: self._on_wire_failed,
            WireClosed: self._on_wire_closed,
            Pong: self._on_pong,
        }

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Takes bytes of the connection; take `next_event()` and `data_to_send()` afterwards.

        Raises nothing: what the peer did wrong comes out as an event. No bytes are neither an end, which
        `receive_eof` takes, nor a sign of life.
        """
        self._receive(self._connection, data, now)

    def receive_eof(self, now: float) -> None:
        """Takes the end of the stream, orderly or not."""
        self._receive_eof(self._connection, now)

    def data_to_send(self) -> bytes:
        """The bytes to send now; empty where there are none."""
        return self._connection.data_to_send()

    @property
    def pending_bytes(self) -> int:
        """How many bytes `data_to_send` would give."""
        return self._connection.pending_bytes

    def next_deadline(self) -> float | None:
        """When to call `handle_timer` next, or None."""
        deadline = self._commands.next_deadline()
        for other in (
            self._connection.deadline,
            self._keepalive.deadline,
            self._liveness.deadline,
            self._handover.deadline,
            self._requests.arbiter.retry_at,
            self._responses.watch.deadline,
        ):
            if other is not None and (deadline is None or other < deadline):
                deadline = other
        return deadline

    def handle_timer(self, now: float) -> None:
        """Lets time pass: ends what has waited too long."""
        self._tray.now = now
        due_at = self.next_deadline()
        if self._handover.successor is None and (due_at is None or now < due_at):
            return  # but a next connection takes over at any quiet moment
        deadline = self._connection.deadline
        if deadline is not None and now >= deadline:
            self._time_out()
        if self._keepalive.deadline is not None and now >= self._keepalive.deadline:
            self._keep_alive(now)
        self._plan_ahead(now)
        self._requests.arbiter.wake(now)
        for command in self._commands.expire(now):
            if command.kind is CommandKind.UPDATE:
                self._configuration.undo(command)
            elif command.kind is CommandKind.REPLY:
                self._requests.on_expired(command)
            elif command.kind is CommandKind.CREATE_ITEM:
                self._replay.keep(command)
            elif command.kind is CommandKind.CANCEL:
                self._responses.end_unanswered(command.key)
            self._tray.session_events.append(CommandEnded(command))
            if command is self._sign_of_life:
                self._lose("takes audio and answers nothing (Timing.liveness_after_s)")
        if self.state is ConnectionState.REPLAYING and self._replay.stuck:
            self._lose("does not answer what it is told again (Timing.answer_timeout_s)")
        try:
            self._responses.cancel_silent(now)
        except RealtimeError as error:  # what was kept back leads us beyond a limit of ours
            self._fail(error)
        self._flush()

    # --- steps ------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Hands the client events that were laid down to the connection."""
        state = self._connection.state
        self._responses.clean_up()
        if self._requests.arbiter.waiting and state is _READY and self._configuration.settled:
            self._requests.send_ready()
        queue = self._tray.client_events
        while queue:
            self._send(queue.popleft())
        if state is _REPLAYING:
            if self._replay.settled:
                self._on_replayed()
        elif self._handover.successor is not None and state is _READY:
            self._consider_handover()

    def _consider_handover(self) -> None:
        if self._handover.may_happen(self._tray.now):
            self._take_over(None)

    def _receive(
        self, connection: Connection, data: bytes | bytearray | memoryview, now: float
    ) -> None:
        """Takes bytes of any connection of this client: the one that serves, the next, an old one."""
        self._tray.now = now
        connection.receive_data(data)
        if connection is self._connection:
            if data:
                self._keepalive.heard_at = now
            self._drain()
        else:
            self._drain_beside(connection)

    def _receive_eof(self, connection: Connection, now: float) -> None:
        self._tray.now = now
        connection.receive_eof()
        if connection is self._connection:
            self._drain()
        else:
            self._drain_beside(connection)

    def _drain_beside(self, connection: Connection) -> None:
        successor = self._handover.successor
        if successor is not None and connection is successor.connection:
            self._handover.drain(self._tray.now)
            self._flush()
            return
        while (event := connection.next()) is not None:  # it has closed, and waits for the peer to
            if isinstance(event, WireClosed):
                connection.move(ConnectionInput.ENDED)

    def _drain(self) -> None:
        connection, handlers = self._connection, self._handlers
        raw_events, told = self.raw_events, False
        while connection is self._connection and (event := connection.next()) is not None:
            kind = type(event)
            if not told and kind not in _NOT_TOLD:
                told, self._liveness.told_at = True, self._tray.now
            if raw_events and isinstance(event, (events.ServerEventBase, events.UnknownEvent)):
                self._tray.session_events.append(RawServerEvent(event))
            handler = handlers.get(kind)
            if handler is not None:
                try:
                    handler(event)
                except RealtimeError as error:  # the peer led us beyond a limit of ours
                    self._fail(error)
        self._flush()

    def _on_pong(self, _: Pong) -> None:
        self._keepalive.answered()

    def _keep_alive(self, now: float) -> None:
        match self._keepalive.need(now):
            case Need.PING:
                self._connection.ping()
            case Need.GIVE_UP:
                silent_s = now - self._keepalive.heard_at
                self._lose(
                    f"has been silent for {silent_s:.0f} s and answers no ping "
                    "(Timing.keepalive_timeout_s)"
                )
            case None:  # pragma: no branch - there is no other need
                pass

    def _plan_ahead(self, now: float) -> None:
        """Minds what is planned for a connection that serves, and whether it still does."""
        if self.state is not ConnectionState.READY:
            return
        self._handover.handle_timer(now)
        plan = self._handover.rotation.must_break(now)
        if plan is not None and not self._handover.ready:
            self._planned = True
            self._fail(ConnectionClosed(f"replaced as planned: {plan.reason}", by_peer=False))
        elif self._liveness.is_doubtful(now):
            asked = self._sign_of_life
            if asked is None or asked.outcome is not None:
                self._ask_for_life(now)

    def _ask_for_life(self, now: float) -> None:
        """Asks for an answer that costs nothing and changes nothing: an update of no setting."""
        event_id = self._tray.ids("event")
        command = Command(event_id, CommandKind.UPDATE)
        self._sign_of_life = self._commands.add(command, beyond_limit=True)
        self._commands.start_clock(command, now + self.timing.answer_timeout_s)
        self._tray.client_events.append(
            events.SessionUpdate(session=SessionConfig().to_wire(), event_id=event_id)
        )

    def _time_out(self) -> None:
        state = self.state
        if state is ConnectionState.CONNECTING:
            # A rejection whose end is not marked is one all the same.
            self._connection.receive_eof()
            while isinstance(event := self._connection.next(), (WireRejected, WireClosed)):
                if isinstance(event, WireRejected):
                    self._failure = event.error
        if state is not ConnectionState.CLOSING and self._failure is None:
            connecting = state is ConnectionState.CONNECTING
            step = "the WebSocket handshake" if connecting else "the configuration"
            self._failure = CommandTimeout(
                f"the server did not answer {step} within {self.timing.connect_timeout_s:g} s "
                "(Timing.connect_timeout_s)"
            )
        self._connection.drop()
        self._connection.move(ConnectionInput.ENDED)
        self._finish(1006, "")
