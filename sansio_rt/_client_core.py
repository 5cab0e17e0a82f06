"""The inside of `ClientProtocol`: connections one after the other, bytes and time in, events out.

It carries the rooms of `_client_rooms` from one connection to the next and routes what the server says to
them. The commands are in `_client`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import _dialects, events
from ._client_rooms import ClientRooms
from ._commands import Command, CommandKind
from ._config import Limits, SessionConfig, Timing
from ._connection import CONNECTED, ConnectionInput, ConnectionState
from ._endpoint import Endpoint
from ._errors import (
    CommandTimeout,
    ConnectionClosed,
    LocalProtocolError,
    RealtimeError,
    SchemaError,
)
from ._keepalive import Keepalive, Need
from ._retry import Retries, RetryPolicy, worth_a_retry
from ._secrets import Secret
from ._service_errors import ServiceErrors, wrong_dialect
from ._session_events import (
    CommandEnded,
    ConnectionLost,
    RawServerEvent,
    SessionClosed,
    SessionReady,
    SessionResumed,
)
from ._sources import IdSource, RandomBytes
from ._wire import HandshakeAccepted, WireClosed, WireFailed, WireRejected

__all__ = ["ClientCore"]


class ClientCore(ClientRooms):
    """All of a client but its commands; see `ClientProtocol` for the arguments."""

    def __init__(
        self,
        endpoint: Endpoint,
        config: SessionConfig | None = None,
        *,
        tools: Sequence[Any] = (),
        ids: IdSource | None = None,
        random_bytes: RandomBytes | None = None,
        limits: Limits | None = None,
        timing: Timing | None = None,
        frame_ms: int = 100,
        retry: RetryPolicy | None = None,
    ) -> None:
        super().__init__(
            endpoint,
            config,
            tools=tools,
            ids=ids,
            random_bytes=random_bytes,
            limits=limits,
            timing=timing,
            frame_ms=frame_ms,
            retry=retry,
        )
        self._retries = Retries(self._retry or RetryPolicy(), self._chance)
        self._was_ready = False
        self._keepalive = Keepalive(self.timing)
        self._failure: RealtimeError | None = None
        self._connect_started = 0.0
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
        }

    def connect(self, now: float, *, api_key: str | Secret | None = None) -> None:
        """Begins a connection: the handshake is in `data_to_send` afterwards.

        Args:
            now: The time.
            api_key: The key, where the endpoint's is a function that the caller has called.

        Raises:
            LocalProtocolError: There is a connection already.
            ConfigurationError: A header cannot be sent as it is.
        """
        if self.state not in (ConnectionState.IDLE, ConnectionState.CLOSED):
            raise LocalProtocolError("connect: a connection is there already; close it first")
        self._connection.open(api_key)
        self._connection.deadline = now + self.timing.connect_timeout_s
        self._tray.now = now
        self._failure = None
        self._connect_started = now
        self._retries.began(now)

    def connect_failed(self, error: RealtimeError, now: float) -> None:
        """There is no byte stream to connect over: counts as a connection that ended.

        Args:
            error: Why; it comes out in `ConnectionLost` or `SessionClosed`.
            now: The time.
        """
        if self.state in CONNECTED or self.state is ConnectionState.CLOSING:
            return
        self._tray.now = now
        self._failure = error
        if self.state is ConnectionState.CONNECTING:
            self._connection.drop()
            self._connection.move(ConnectionInput.ENDED)
        else:  # it did not come to `connect`, and was a try all the same
            self._retries.began(now)
            self._connection.move(ConnectionInput.CLOSE)
        self._finish(1006, "")

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Takes bytes of the connection; take `next_event()` and `data_to_send()` afterwards.

        Raises nothing: what the peer did wrong comes out as an event.
        """
        self._tray.now = self._keepalive.heard_at = now
        self._connection.receive_data(data)
        self._drain()

    def receive_eof(self, now: float) -> None:
        """Takes the end of the stream, orderly or not."""
        self._tray.now = now
        self._connection.receive_eof()
        self._drain()

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
            self._requests.arbiter.retry_at,
        ):
            if other is not None and (deadline is None or other < deadline):
                deadline = other
        return deadline

    def handle_timer(self, now: float) -> None:
        """Lets time pass: ends what has waited too long."""
        self._tray.now = now
        deadline = self._connection.deadline
        if deadline is not None and now >= deadline:
            self._time_out()
        self._keep_alive(now)
        self._requests.arbiter.wake(now)
        for command in self._commands.expire(now):
            if command.kind is CommandKind.UPDATE:
                self._configuration.undo(command)
            elif command.kind is CommandKind.REPLY:
                self._requests.on_over(command)
            self._tray.session_events.append(CommandEnded(command))
        self._flush()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Ends the connection: running generations are lost, waiting commands fail. Twice is fine."""
        over = self.state is ConnectionState.CLOSED and not self.reconnecting
        if over or (self.state is ConnectionState.CLOSING and self._retry is None):
            return
        self._retry = self._lost_at = self._failure = None
        if self.state is ConnectionState.CLOSING:
            return
        shaken_hands = self.state in CONNECTED
        self._connection.close(code, reason)
        if shaken_hands:
            self._let_go(_closed_by_us(code), keep=False)
            self._keepalive.stop()
            self._connection.deadline = self._tray.now + self.timing.close_timeout_s
        else:
            self._connection.drop()
            self._finish(code, reason)

    # --- steps ------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Hands the client events that were laid down to the connection."""
        self._requests.hold = (
            self.state is not ConnectionState.READY or not self._configuration.settled
        )
        self._responses.clean_up()
        self._requests.send_ready()
        queue = self._tray.client_events
        while queue:
            self._send(queue.popleft())
        if self.state is ConnectionState.REPLAYING and self._replay.settled:
            self._on_replayed()

    def _drain(self) -> None:
        connection, handlers = self._connection, self._handlers
        while (event := connection.next()) is not None:
            if self.raw_events and isinstance(event, (events.ServerEventBase, events.UnknownEvent)):
                self._tray.session_events.append(RawServerEvent(event))
            handler = handlers.get(type(event))
            if handler is not None:
                try:
                    handler(event)
                except RealtimeError as error:  # the peer led us beyond a limit of ours
                    self._fail(error)
        self._flush()

    def _keep_alive(self, now: float) -> None:
        match self._keepalive.need(now):
            case Need.PING:
                self._connection.ping()
            case Need.GIVE_UP:
                silent_s = now - self._keepalive.heard_at
                self._failure = ConnectionClosed(
                    f"the server has been silent for {silent_s:.0f} s and answers no ping "
                    "(Timing.keepalive_timeout_s)"
                )
                self._connection.drop()
                self._connection.move(ConnectionInput.ENDED)
                self._finish(1006, "")
            case None:
                pass

    def _on_accepted(self, _: HandshakeAccepted) -> None:
        self._keepalive.start(self._tray.now)
        self._connection.move(ConnectionInput.ACCEPTED)
        self._apply_formats(self.wanted)
        self._configuration.begin()

    def _on_wire_failed(self, event: WireRejected | WireFailed) -> None:
        self._failure = event.error

    def _on_wire_closed(self, event: WireClosed) -> None:
        if self._failure is None and self.state is not ConnectionState.CLOSING:
            words = f": {event.reason}" if event.reason else ""
            how = "closed the connection" if event.clean else "went away without a close frame"
            if self.state is ConnectionState.CONNECTING:
                how = "did not answer the WebSocket handshake and went; check the URL"
            self._failure = ConnectionClosed(
                f"the server {how} (code {event.code}{words})",
                code=event.code,
                reason=event.reason,
                by_peer=event.by_peer,
            )
            dialect = self.endpoint.dialect
            if dialect.is_beta and _dialects.is_beta_refusal(close_code=event.code):
                self._failure = wrong_dialect(dialect, self._failure)
        self._connection.move(ConnectionInput.ENDED)
        self._finish(event.code, event.reason)

    def _on_session_updated(self, event: events.SessionUpdated) -> None:
        self._configuration.handlers[events.SessionUpdated](event)
        accepted = self._configuration.acknowledged
        if accepted is None:
            return
        self._apply_formats(accepted)
        self._follow_formats()
        if self.state is ConnectionState.CONFIGURING:
            self._connection.move(ConnectionInput.CONFIGURED)
            self._connection.deadline = None
            if self._was_ready:
                self._replay.begin(self._input.untranscribed())
                self._flush()
                for frame in self._input.audio_to_repeat():
                    self._send(events.InputAudioBufferAppend(audio=frame))

    def _on_replayed(self) -> None:
        self._connection.move(ConnectionInput.REPLAYED)
        now = self._tray.now
        self._retries.ready(now)
        if self._lost_at is None:
            ready = SessionReady(session=self.session, connect_s=now - self._connect_started)
            self._tray.session_events.append(ready)
        else:
            self._tray.session_events.append(
                SessionResumed(
                    away_s=now - self._lost_at,
                    replayed=self._replay.replayed,
                    left_out=tuple(self._replay.left_out),
                    audio_lost_ms=self._input.take_lost_ms(),
                )
            )
        self._was_ready, self._lost_at = True, None
        self._requests.ask_what_is_owed()
        self._flush()

    def _fail(self, error: RealtimeError) -> None:
        """The session cannot go on: closes the connection with the error as its reason."""
        if self.state in CONNECTED:
            self._failure = error
            self._connection.close(1000, "")
            keep = self._would_retry(error)
            if keep and self._lost_at is None:
                self._lost_at = self._tray.now  # and not when the server has closed, too
            self._let_go(error, keep=keep)
            self._connection.deadline = self._tray.now + self.timing.close_timeout_s

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

    def _finish(self, code: int, reason: str) -> None:
        """The connection is gone: it is replaced where it can be, else the session ends."""
        self._keepalive.stop()
        self._connection.deadline = None
        error, now = self._failure, self._tray.now
        delay_s = self._retries.ended(now, error) if self._would_retry(error) else None
        self._let_go(error or _closed_by_us(code), keep=delay_s is not None)
        if error is None or delay_s is None:
            self._lost_at = None
            self._tray.session_events.append(SessionClosed(error=error, code=code, reason=reason))
            return
        if self._lost_at is None:
            self._lost_at = now
        self._tray.session_events.append(
            ConnectionLost(
                error=error,
                attempt=self._retries.attempts,
                reconnect_at=now + delay_s,
                planned=False,
            )
        )

    def _would_retry(self, error: RealtimeError | None) -> bool:
        policy = self._retry
        return (
            policy is not None and (self._was_ready or policy.retry_first) and worth_a_retry(error)
        )

    def _chance(self) -> float:
        return int.from_bytes(self._random_bytes(4), "big") / 2**32

    def _let_go(self, error: RealtimeError, *, keep: bool) -> None:
        """Ends what waits for this connection.

        Args:
            error: Why.
            keep: Whether another connection takes on history, edits, calls and audio.
        """
        self._responses.lose_all(keep_calls=keep)
        self._input.reset(keep=keep)
        self._configuration.reset()
        self._tray.client_events.clear()
        outlives = self._outlives if keep else None
        for command in self._commands.end_all(error, keep=outlives):
            self._tray.session_events.append(CommandEnded(command))

    def _outlives(self, command: Command) -> bool:
        """Whether a command is asked again on the next connection (R3, R10)."""
        return (
            command.kind in (CommandKind.CREATE_ITEM, CommandKind.DELETE_ITEM)
            and command.event is not None
            and not self._replay.is_own(command)
        )


def _closed_by_us(code: int) -> ConnectionClosed:
    return ConnectionClosed("the session was closed", code=code, by_peer=False)
