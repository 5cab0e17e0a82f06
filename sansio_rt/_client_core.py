"""The inside of `ClientProtocol`: rooms put together, bytes and time in, events out.

It composes the connection, the configuration, the input, the responses, the history and the table of
outstanding commands, and routes what the server says to them. The commands are in `_client`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import UnsetType

from . import _dialects, events
from ._audio import AudioFormat
from ._commands import Command, CommandKind, CommandTable
from ._config import (
    Limits,
    SessionConfig,
    Timing,
    format_from_wire,
)
from ._configuration import Configuration
from ._connection import CONNECTED, Connection, ConnectionInput, ConnectionState
from ._conversation import Conversation
from ._endpoint import Endpoint
from ._errors import (
    CommandRefused,
    CommandTimeout,
    ConnectionClosed,
    LocalProtocolError,
    RealtimeError,
    SchemaError,
)
from ._history import History
from ._input import Input
from ._keepalive import Keepalive, Need
from ._refusals import FATAL_CODES, is_benign, is_conflict, kind_of_error, refusal
from ._replay import Replay
from ._requests import Requests
from ._responses import Responses
from ._retry import Retries, RetryPolicy, worth_a_retry
from ._secrets import Secret
from ._session_events import (
    CommandEnded,
    ConnectionLost,
    ErrorScope,
    MessageBroken,
    RateLimitsReported,
    RawClientEvent,
    RawServerEvent,
    ServerErrorReported,
    SessionClosed,
    SessionEvent,
    SessionReady,
    SessionResumed,
    UnknownEventReceived,
)
from ._sources import CountingBytes, IdSource, RandomBytes, SequentialIds
from ._tray import Tray
from ._wire import HandshakeAccepted, WireClosed, WireFailed, WireRejected

__all__ = ["ClientCore"]

MOST_UNCLAIMED_ERRORS = 20
ERROR_WINDOW_S = 60.0
"""So many errors in so short a time that are for no command of ours: something is wrong for good."""


class ClientCore:
    """All of a client but its commands; see `ClientProtocol` for the arguments.

    Attributes:
        endpoint: Where the server is and how it spells things.
        limits: Bounds on what may be held.
        timing: Bounds in time.
        rate_limits: As the service last told them.
        conversation: The mirror of the server's conversation.
        raw_events: Whether `RawServerEvent` and `RawClientEvent` come, too.
        broken_messages: How many messages were no Realtime events.
    """

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
        config = config or SessionConfig()
        if tools:
            given = () if isinstance(config.tools, UnsetType) else config.tools
            config = config.merge({"tools": [*given, *tools]})
        self.endpoint = endpoint
        self.limits = limits or Limits()
        self.timing = timing or Timing()
        self.rate_limits: list[events.RateLimit] = []
        self.conversation = Conversation(self.limits)
        self.raw_events = False
        self.broken_messages = 0
        self._commands = CommandTable(self.limits.max_pending_commands)
        self._tray = Tray(ids or SequentialIds(), self._commands, self._check)
        self._random_bytes = random_bytes or CountingBytes()
        self._connection = Connection(endpoint, self.limits, self._random_bytes)
        patience = self.timing.answer_timeout_s
        self._configuration = Configuration(
            self._tray,
            config.with_defaults(endpoint.dialect, attached=endpoint.call_id is not None),
            answer_timeout_s=patience,
        )
        self._check(events.SessionUpdate(session=self.wanted.to_wire()))
        self._input = Input(
            self._tray,
            self.conversation,
            answer_timeout_s=patience,
            frame_ms=frame_ms,
            keep_s=0.0 if retry is None else self.limits.max_kept_audio_s,
        )
        self._history = History(self._tray, self.conversation, answer_timeout_s=patience)
        self._requests = Requests(self._tray, answer_timeout_s=patience)
        recoveries = self.limits.max_text_recoveries
        if recoveries is None:
            recoveries = 5 if endpoint.dialect.is_beta else 0
        self._responses = Responses(
            self._tray,
            self.conversation,
            self._history,
            self._requests,
            text_recoveries=recoveries,
            limits=self.limits,
        )
        self._replay = Replay(
            self._tray, self.conversation, self._requests, answer_timeout_s=patience
        )
        self._retry = retry
        self._retries = Retries(retry or RetryPolicy(), self._chance)
        self._was_ready = False
        self._lost_at: float | None = None
        self._keepalive = Keepalive(self.timing)
        self._unclaimed_errors: deque[float] = deque(maxlen=MOST_UNCLAIMED_ERRORS)
        self._failure: RealtimeError | None = None
        self._connect_started = 0.0
        self._handlers: Mapping[type, Callable[[Any], None]] = {
            **self._input.handlers,
            **self._history.handlers,
            **self._responses.handlers,
            **self._configuration.handlers,
            events.SessionUpdated: self._on_session_updated,
            events.RateLimitsUpdated: self._on_rate_limits,
            events.Error: self._on_error,
            events.UnknownEvent: self._on_unknown,
            SchemaError: self._on_broken,
            HandshakeAccepted: self._on_accepted,
            WireRejected: self._on_wire_failed,
            WireFailed: self._on_wire_failed,
            WireClosed: self._on_wire_closed,
        }

    # --- the connection ---------------------------------------------------------------------

    @property
    def state(self) -> ConnectionState:
        """How far the connection has come."""
        return self._connection.state

    @property
    def wanted(self) -> SessionConfig:
        """The configuration that was asked for, with what is not answered yet."""
        return self._configuration.wanted

    @property
    def acknowledged(self) -> SessionConfig | None:
        """The configuration that the service accepted last, or None."""
        return self._configuration.acknowledged

    @property
    def session(self) -> events.RealtimeSession | None:
        """The effective configuration as the service last echoed it, or None."""
        return self._configuration.effective

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

    @property
    def reconnecting(self) -> bool:
        """Whether a lost connection is being replaced: commands work again after `SessionResumed`."""
        return self._lost_at is not None

    def tell_time(self, now: float) -> None:
        """Tells the time and nothing else: what a command's deadline and a metric count from."""
        self._tray.now = now

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

    def next_event(self) -> SessionEvent | None:
        """The next thing that happened, or None until more bytes, commands or time come."""
        return self._tray.session_events.popleft() if self._tray.session_events else None

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

    def _require_connected(self, call: str) -> None:
        if self.reconnecting and self.state is not ConnectionState.REPLAYING:
            raise LocalProtocolError(
                f"{call}: the session is reconnecting; wait for SessionResumed"
            )
        if self.state not in CONNECTED:
            raise LocalProtocolError(f"{call}: the session is {self.state.value}, not connected")

    @property
    def _audio_goes_out(self) -> bool:
        """Whether new audio may be appended: not before what a lost connection left behind."""
        return not (self.reconnecting and self.state is ConnectionState.CONFIGURING)

    def _check(self, event: events.ClientEvent) -> None:
        events.check(event)
        if self.endpoint.dialect.is_beta or isinstance(event, events.SessionUpdate):
            _dialects.encode(self.endpoint.dialect, event)  # refuses what it cannot say

    def _send(self, event: events.ClientEvent) -> None:
        if self.raw_events:
            self._tray.session_events.append(RawClientEvent(event))
        self._connection.send(event)

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

    def _on_broken(self, error: SchemaError) -> None:
        self.broken_messages += 1
        self._tray.session_events.append(MessageBroken(error=error))

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
            beta = self.endpoint.dialect.is_beta
            if beta and _dialects.is_beta_refusal(close_code=event.code):
                self._failure = self._wrong_dialect(self._failure)
        self._connection.move(ConnectionInput.ENDED)
        self._finish(event.code, event.reason)

    def _wrong_dialect(self, cause: RealtimeError) -> RealtimeError:
        error = _dialects.wrong_dialect(self.endpoint.dialect)
        error.__cause__ = cause
        return error

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

    def _apply_formats(self, config: SessionConfig) -> None:
        self._input.configure(config)
        if isinstance(config.output_audio_format, AudioFormat):
            self._responses.audio_format = config.output_audio_format
        if isinstance(config.input_audio_format, AudioFormat):
            self._responses.input_format = config.input_audio_format
        modalities = config.output_modalities
        self._responses.wants_audio = isinstance(modalities, UnsetType) or "audio" in modalities

    def _follow_formats(self) -> None:
        """Takes over the formats that the server says, where we left them to it (S8)."""
        audio = None if self.session is None else self.session.audio
        if not isinstance(audio, events.AudioConfig) or self.endpoint.call_id is None:
            return
        told: dict[str, Any] = {}
        if isinstance(audio.input, events.AudioInput):
            told["input_audio_format"] = format_from_wire(audio.input.format)
        if isinstance(audio.output, events.AudioOutput):
            told["output_audio_format"] = format_from_wire(audio.output.format)
        self._apply_formats(self.wanted.merge(told))

    def _on_rate_limits(self, event: events.RateLimitsUpdated) -> None:
        self.rate_limits = list(event.rate_limits)
        self._tray.session_events.append(RateLimitsReported(rate_limits=self.rate_limits))

    def _on_unknown(self, event: events.UnknownEvent) -> None:
        self._tray.session_events.append(UnknownEventReceived(event=event))

    def _on_error(self, event: events.Error) -> None:
        details = event.error
        error = refusal(details)
        code = error.code or ""
        command = self._commands.get(error.event_id or "") or self._guess_command(error)
        beta = self.endpoint.dialect.is_beta
        if beta and _dialects.is_beta_refusal(code=code):
            self._fail(self._wrong_dialect(error))
        elif code in FATAL_CODES:
            self._fail(error)
        elif command is None:
            self._commands.forget_late(error.event_id or "")
            self._on_unclaimed_error(details, error)
        elif is_conflict(command.kind, code):
            self._requests.on_conflict(command, error)
        elif is_benign(command.kind, code):
            if command.kind is CommandKind.CANCEL:
                self._responses.end_unknown(command.key)
            elif command.kind is CommandKind.DELETE_ITEM:
                self._history.note_gone(command.key)
            if command.outcome is None:
                self._tray.acknowledge(command, self.conversation.get(command.key))
        else:
            self._refuse(command, error)

    def _on_unclaimed_error(self, details: events.ErrorDetails, error: CommandRefused) -> None:
        """An error that ends no command of ours: told, and where they do not end, the session does (X4)."""
        scope = ErrorScope.BENIGN if is_benign(None, error.code or "") else ErrorScope.COMMAND
        if scope is ErrorScope.COMMAND:
            now, recent = self._tray.now, self._unclaimed_errors
            recent.append(now)
            if len(recent) == recent.maxlen and now - recent[0] <= ERROR_WINDOW_S:
                scope = ErrorScope.SESSION
        self._tray.session_events.append(ServerErrorReported(error=details, scope=scope))
        if scope is ErrorScope.SESSION:
            self._fail(error)

    def _guess_command(self, error: CommandRefused) -> Command | None:
        """Whom an error is for that names none of our events (server-behaviour, rule 4)."""
        if error.event_id:
            return None
        kind = kind_of_error(error.code or "", error.param or "")
        if kind is CommandKind.REPLY and is_conflict(kind, error.code or ""):
            asking = self._requests.arbiter.asking  # nothing else can collide
            return None if asking is None else asking.command
        # What has no deadline waits here and was not sent.
        asked = [command for command in self._commands if command.deadline is not None]
        if kind is not None:
            return next((command for command in asked if command.kind is kind), None)
        if len(asked) == 1 and error.error_type != "server_error":
            return asked[0]
        return None

    def _refuse(self, command: Command, error: CommandRefused) -> None:
        if command.kind is CommandKind.REPLY:
            self._requests.on_over(command)
        self._tray.refuse(command, error)
        if command.kind is CommandKind.UPDATE:
            self._configuration.undo(command)
            if self._configuration.acknowledged is None:
                self._fail(error)

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
