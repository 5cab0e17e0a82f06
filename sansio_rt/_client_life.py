"""How a client's connections come and go: connects, losses, handovers, the end.

The rooms of `_client_rooms` are carried from one connection to the next.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from . import _dialects, events
from ._client_rooms import ClientRooms, ClientSettings
from ._commands import Command, CommandKind
from ._connection import CONNECTED, Connection, ConnectionInput, ConnectionState
from ._errors import CommandRefused, ConnectionClosed, LocalProtocolError, RealtimeError
from ._handover import Handover
from ._keepalive import Keepalive, Liveness
from ._link import Link
from ._retry import Retries, RetryPolicy, is_final_close, worth_a_retry
from ._rotation import time_left_s
from ._secrets import Secret
from ._service_errors import wrong_dialect
from ._session_events import (
    CommandEnded,
    ConnectionLost,
    ConnectionReplaced,
    SessionClosed,
    SessionReady,
    SessionResumed,
)
from ._wire import HandshakeAccepted, WireClosed, WireFailed, WireRejected

__all__ = ["ClientLife"]


class ClientLife(ClientRooms, ABC):
    """The connections of a client, one after the other, at times two."""

    _connection_type: type[Connection] = Connection
    """What connections are made of: a simulation may have them carry something else than bytes."""

    def __init__(self, settings: ClientSettings) -> None:
        super().__init__(settings)
        self._retries = Retries(self._retry or RetryPolicy(), self._chance)
        self._was_ready = False
        self._accepted_at = 0.0
        self._planned = False
        self._handed_over = False
        self._failure: RealtimeError | None = None
        self._keepalive = Keepalive(self.timing)
        self._liveness = Liveness(self.timing.liveness_after_s)
        self._handover = Handover(
            self._tray,
            self.timing,
            self._retries,
            self._replay,
            self._configuration,
            self._input,
            self._responses,
        )
        self._link = Link(self, self._connection)

    @property
    def link(self) -> Link:
        """The bytes of the connection that serves."""
        return self._link

    def connect(
        self, now: float, *, api_key: str | Secret | None = None, unix_now: float | None = None
    ) -> Link:
        """Begins a connection: the handshake is in `data_to_send` afterwards.

        Args:
            now: The time.
            api_key: The key, where the endpoint's is a function that the caller has called.
            unix_now: The same time in Unix seconds, which the end of the session that the service tells is
                compared with. None: that end is not foreseen.

        Returns:
            The bytes of this connection.

        Raises:
            LocalProtocolError: There is a connection already.
            ConfigurationError: A header cannot be sent as it is.
        """
        if self.state not in (ConnectionState.IDLE, ConnectionState.CLOSED):
            raise LocalProtocolError("connect: a connection is there already; close it first")
        connection = self._open(now, api_key, unix_now)
        self._connection, self._link = connection, Link(self, connection)
        connection.deadline = now + self.timing.connect_timeout_s
        self._tray.now = now
        self._failure = None
        self._retries.began(now)
        return self._link

    def begin_rotation(
        self, now: float, *, api_key: str | Secret | None = None, unix_now: float | None = None
    ) -> Link | None:
        """Begins the next connection, beside the one that serves: the answer to `RotationDue`.

        It takes over by itself at a quiet moment, which `ConnectionReplaced` tells.

        Args:
            now: The time.
            api_key: As for `connect`.
            unix_now: As for `connect`.

        Returns:
            The bytes of the next connection; None where none is wanted any more, because the old one was
            lost in the meantime: then close the stream.

        Raises:
            ConfigurationError: A header cannot be sent as it is.
        """
        plan = self._handover.rotation.plan
        if (
            self.state is not ConnectionState.READY
            or plan is None
            or not plan.announced
            or self._handover.successor is not None
        ):
            return None
        connection = self._open(now, api_key, unix_now)
        link = Link(self, connection)
        self._handover.begin(connection, link, now)
        self._keepalive.ask(now)
        self._connection.ping()
        return link

    def rotation_failed(self, now: float) -> None:
        """There is no byte stream for a next connection: `RotationDue` comes again later.

        Nothing happens where none is waited for: the connection that asked for one was lost in the
        meantime, or another one is on its way.

        Args:
            now: The time.
        """
        self._handover.dial_failed(now)

    def restart(self, reason: str, *, patience_s: float | None = None) -> None:
        """Replaces the connection and keeps the conversation (R11).

        Nothing happens where a connection is only just being made, as while a lost one is being replaced.

        Args:
            reason: Why, for whoever reads the events.
            patience_s: How long a moment is waited for at which nothing is under way; at its end the old
                connection goes, ready or not. None: `Timing.rotation_patience_s`.

        Raises:
            LocalProtocolError: Not connected, there is no retry policy, or the patience is negative.
        """
        if self._retry is None:
            raise LocalProtocolError("restart: a session without a retry policy has one connection")
        patience_s = self.timing.rotation_patience_s if patience_s is None else patience_s
        if not patience_s >= 0:
            raise LocalProtocolError(f"restart: patience_s={patience_s!r}: give 0 or more seconds")
        if self.reconnecting:
            return
        self._require_connected("restart")
        if self.state is not ConnectionState.READY:
            return
        self._handover.rotation.ask(reason, self._tray.now, patience_s)
        self._handover.handle_timer(self._tray.now)

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

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Ends the connection: running generations are lost, waiting commands fail. Twice is fine."""
        over = self.state is ConnectionState.CLOSED and not self.reconnecting
        if over or (self.state is ConnectionState.CLOSING and self._retry is None):
            return
        self._retry = self._lost_at = self._failure = None
        self._handover.over()
        if self.state is ConnectionState.CLOSING:
            return
        shaken_hands = self.state in CONNECTED
        self._connection.close(code, reason)
        if shaken_hands:
            self._let_go(_closed_by_us(code), keep=False)
            self._stop_watching()
            self._connection.deadline = self._tray.now + self.timing.close_timeout_s
        else:
            self._connection.drop()
            self._finish(code, reason)

    # --- for Link ---------------------------------------------------------------------------

    @abstractmethod
    def _receive(
        self, connection: Connection, data: bytes | bytearray | memoryview, now: float
    ) -> None:
        """Takes bytes of any connection of this client: the one that serves, the next, an old one."""

    @abstractmethod
    def _receive_eof(self, connection: Connection, now: float) -> None:
        """Takes the end of any connection's stream."""

    # --- a connection comes -----------------------------------------------------------------

    @abstractmethod
    def _flush(self) -> None:
        """Hands the client events that were laid down to the connection."""

    def _open(self, now: float, api_key: str | Secret | None, unix_now: float | None) -> Connection:
        connection = self._connection_type(self.endpoint, self.limits, self._random_bytes)
        connection.open(api_key)
        connection.begun_at, connection.unix_begun_at = now, unix_now
        return connection

    def _on_accepted(self, _: HandshakeAccepted) -> None:
        self._accepted_at = self._tray.now
        self._keepalive.start(self._tray.now)
        self._connection.move(ConnectionInput.ACCEPTED)
        self._apply_formats(self.wanted)
        self._configuration.begin()

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
            if self._lost_at is not None:
                self._replay.begin(self._input.untranscribed())
                self._flush()
                self._append(self._input.audio_to_repeat())

    def _append(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self._send(events.InputAudioBufferAppend(audio=frame))
        if frames:
            self._liveness.appended_at = self._tray.now

    def _take_over(self, error: RealtimeError | None) -> None:
        """The next connection becomes the one that serves.

        Args:
            error: What ended the old one; None: it still serves.
        """
        now, plan = self._tray.now, self._handover.rotation.plan
        reason = "" if plan is None else plan.reason
        quiet = error is None and self._handover.is_quiet(now)
        # What was pushed since the last ping that was answered may be on its way, or what is told of it;
        # and a session may be dead whose WebSocket answers.
        proved_at = min(self._keepalive.proved_at, self._liveness.told_at)
        quiet_until_ms = self._input.position_at(proved_at) if quiet else 0.0
        successor, old = self._handover.take(), self._connection
        if old.state in CONNECTED:
            old.close(1000, "")
        self._let_go(
            error or ConnectionClosed(f"replaced as planned: {reason}", by_peer=False), keep=True
        )
        self._failure = None
        self._connection = successor.connection
        self._link = successor.link
        self._lost_at = now
        self._handed_over = True
        self._configuration.adopt(successor.effective)
        self._keepalive.start(now)
        self._liveness.stop()  # until the new one is ready
        self._tray.session_events.append(ConnectionReplaced(reason=reason, error=error))
        self._replay.begin(
            self._input.untranscribed(), told=successor.told, refused=successor.left_out
        )
        queue = self._tray.client_events
        while queue:
            self._send(queue.popleft())
        self._append(self._input.audio_to_repeat(quiet_until_ms=quiet_until_ms))
        self._flush()

    def _on_replayed(self) -> None:
        connection, now = self._connection, self._tray.now
        connection.move(ConnectionInput.REPLAYED)
        if self._handed_over:
            self._retries.replaced(now)
        else:
            self._retries.ready(now)
        self._liveness.start(now)
        if self._retry is not None:
            self._handover.rotation.connected(now, self._time_left_s())
        handshake_s = self._accepted_at - connection.begun_at
        connect_s = now - connection.begun_at
        if (
            self._lost_at is None or not self._was_ready
        ):  # a first one that was tried again is first
            ready = SessionReady(session=self.session, handshake_s=handshake_s, connect_s=connect_s)
            self._tray.session_events.append(ready)
        else:
            self._tray.session_events.append(
                SessionResumed(
                    away_s=now - self._lost_at,
                    replayed=self._replay.replayed,
                    left_out=self._replay.take_left_out(),
                    audio_lost_ms=self._input.take_lost_ms(),
                    planned=self._handed_over,
                    handshake_s=None if self._handed_over else handshake_s,
                    connect_s=None if self._handed_over else connect_s,
                )
            )
        self._was_ready, self._lost_at, self._handed_over = True, None, False
        self._requests.ask_what_is_owed()
        self._flush()

    def _time_left_s(self) -> float | None:
        """What the service leaves of this connection's session, counted from now."""
        begun_at, unix = self._connection.begun_at, self._connection.unix_begun_at
        unix_now = None if unix is None else unix + self._tray.now - begun_at
        return time_left_s(None if self.session is None else self.session.expires_at, unix_now)

    # --- a connection goes ------------------------------------------------------------------

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
        elif isinstance(self._failure, CommandRefused) and is_final_close(event.code):
            # An error and then "do not come back": the last word counts.
            last_word = ConnectionClosed(
                f"the server closed the connection (code {event.code}) after an error: {self._failure}",
                code=event.code,
                reason=event.reason,
                by_peer=event.by_peer,
            )
            last_word.__cause__ = self._failure
            self._failure = last_word if self._would_retry(self._failure) else self._failure
        self._connection.move(ConnectionInput.ENDED)
        self._finish(event.code, event.reason)

    def _lose(self, how: str) -> None:
        """The server is not there any more, although nothing has said so."""
        self._failure = ConnectionClosed(f"the server {how}")
        self._connection.let_go()
        self._finish(1006, "")

    def _stop_watching(self) -> None:
        self._keepalive.stop()
        self._liveness.stop()

    def _fail(self, error: RealtimeError) -> None:
        """The connection cannot go on: closes it with the error as its reason."""
        if self.state in CONNECTED:  # pragma: no branch - what fails now has nothing left to fail
            keep = self._would_retry(error)
            if keep and self._handover.ready:
                self._take_over(error)
                return
            self._failure = error
            self._connection.close(1000, "")
            self._stop_watching()
            self._handover.over()
            if keep and self._lost_at is None:
                self._lost_at = self._tray.now  # and not when the server has closed, too
            self._let_go(error, keep=keep)
            self._connection.deadline = self._tray.now + self.timing.close_timeout_s

    def _finish(self, code: int, reason: str) -> None:
        """The connection is gone: it is replaced where it can be, else the session ends."""
        self._stop_watching()
        self._connection.deadline = None
        error, now = self._failure, self._tray.now
        if self._handover.ready and self._would_retry(error):
            self._take_over(error)
            return
        self._handover.over()
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
                planned=self._planned,
            )
        )
        self._planned = self._handed_over = False

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
