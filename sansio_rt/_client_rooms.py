"""The rooms that a client is made of, and what they share: configuration, formats, checks, the way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec import UnsetType

from . import _dialects, events
from ._audio import AudioFormat
from ._commands import CommandTable
from ._config import (
    Limits,
    SessionConfig,
    Timing,
    format_from_wire,
)
from ._configuration import Configuration
from ._connection import CONNECTED, Connection, ConnectionState
from ._conversation import Conversation
from ._cuts import Cuts
from ._endpoint import Endpoint
from ._errors import LocalProtocolError, SchemaError
from ._history import History
from ._input import Input
from ._replay import Replay
from ._requests import Requests
from ._responses import Responses
from ._retry import RetryPolicy
from ._session_events import (
    MessageBroken,
    RateLimitsReported,
    RawClientEvent,
    SessionEvent,
    UnknownEventReceived,
)
from ._sources import CountingBytes, IdSource, RandomBytes, SequentialIds
from ._tray import Tray

__all__ = ["ClientRooms", "ClientSettings"]


_LIMITS, _TIMING = Limits(), Timing()


class ClientSettings(NamedTuple):
    """What a client is made from; see `ClientProtocol`."""

    endpoint: Endpoint
    config: SessionConfig | None
    tools: Sequence[Any]
    ids: IdSource | None
    random_bytes: RandomBytes | None
    limits: Limits | None
    timing: Timing | None
    frame_ms: int
    retry: RetryPolicy | None


class ClientRooms:
    """All that a client keeps, whatever becomes of its connections; see `ClientProtocol`.

    Attributes:
        endpoint: Where the server is and how it spells things.
        limits: Bounds on what may be held.
        timing: Bounds in time.
        rate_limits: As the service last told them.
        conversation: The mirror of the server's conversation.
        raw_events: Whether `RawServerEvent` and `RawClientEvent` come, too.
        broken_messages: How many messages were no Realtime events.
    """

    def __init__(self, settings: ClientSettings) -> None:
        endpoint, limits, timing = settings.endpoint, settings.limits, settings.timing
        config = settings.config or SessionConfig()
        if settings.tools:
            given = () if isinstance(config.tools, UnsetType) else config.tools
            config = config.merge({"tools": [*given, *settings.tools]})
        self.endpoint = endpoint
        self.limits = limits or _LIMITS
        self.timing = timing or _TIMING
        self.rate_limits: list[events.RateLimit] = []
        self.conversation = Conversation(self.limits)
        self.raw_events = False
        self.broken_messages = 0
        self._commands = CommandTable(self.limits.max_pending_commands)
        self._tray = Tray(settings.ids or SequentialIds(), self._commands, self._check)
        self._happened = self._tray.session_events
        self._random_bytes = settings.random_bytes or CountingBytes()
        self._connection = Connection(endpoint, self.limits, self._random_bytes)
        patience = self.timing.answer_timeout_s
        self._configuration = Configuration(
            self._tray,
            config.with_defaults(
                endpoint.dialect,
                attached=endpoint.call_id is not None,
                model=endpoint.session_model,
            ),
            answer_timeout_s=patience,
        )
        self._check(events.SessionUpdate(session=self.wanted.to_wire()))
        self._requests = Requests(self._tray, answer_timeout_s=patience)
        self._input = Input(
            self._tray,
            self.conversation,
            answer_timeout_s=patience,
            frame_ms=settings.frame_ms,
            keep_s=0.0 if settings.retry is None else self.limits.max_kept_audio_s,
            arbiter=self._requests.arbiter,
        )
        self._replay = Replay(
            self._tray, self.conversation, self._requests, answer_timeout_s=patience
        )
        self._history = History(
            self._tray,
            self.conversation,
            answer_timeout_s=patience,
            sound_of=self._input.whole_turn,
            late=self._replay.kept,
        )
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
            silence_s=self.timing.response_silence_s,
        )
        self._cuts = Cuts(self.conversation, self._history, self._responses.content)
        self._retry = settings.retry
        self._lost_at: float | None = None

    @property
    def state(self) -> ConnectionState:
        """How far the connection has come."""
        return self._connection.state

    @property
    def reconnecting(self) -> bool:
        """Whether a lost connection is being replaced: commands work again after `SessionResumed`."""
        return self._lost_at is not None

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

    def tell_time(self, now: float) -> None:
        """Tells the time and nothing else: what a command's deadline and a metric count from."""
        self._tray.now = now

    def next_event(self) -> SessionEvent | None:
        """The next thing that happened, or None until more bytes, commands or time come."""
        return self._happened.popleft() if self._happened else None

    # --- steps ------------------------------------------------------------------------------

    def _require_connected(self, call: str) -> None:
        state = self._connection.state
        if self._lost_at is not None and state is not ConnectionState.REPLAYING:
            raise LocalProtocolError(
                f"{call}: the session is reconnecting; wait for SessionResumed"
            )
        if state not in CONNECTED:
            raise LocalProtocolError(f"{call}: the session is {state.value}, not connected")

    @property
    def _audio_goes_out(self) -> bool:
        """Whether new audio may be appended: not before what a lost connection left behind."""
        return not (self.reconnecting and self.state is ConnectionState.CONFIGURING)

    def _check(self, event: events.ClientEvent) -> None:
        events.check(event)
        if self.endpoint.dialect.is_beta or (
            type(event) is events.SessionUpdate and not _is_as_known(event.session)
        ):
            _dialects.encode(self.endpoint.dialect, event)  # refuses what it cannot say

    def _send(self, event: events.ClientEvent) -> None:
        if self.raw_events:
            self._tray.session_events.append(RawClientEvent(event))
        self._connection.send(event)

    def _apply_formats(self, config: SessionConfig) -> None:
        self._input.configure(config)
        if isinstance(config.output_audio_format, AudioFormat):
            self._responses.content.audio_format = config.output_audio_format
        if isinstance(config.input_audio_format, AudioFormat):
            self._responses.trials.input_format = config.input_audio_format
        modalities = config.output_modalities
        spoken = isinstance(modalities, UnsetType) or "audio" in modalities
        self._responses.trials.wants_audio = spoken

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

    def _on_broken(self, error: SchemaError) -> None:
        self.broken_messages += 1
        self._tray.session_events.append(MessageBroken(error=error))


def _is_as_known(session: object) -> bool:
    """Whether it has only settings that the GA knows; an application may also give plain JSON."""
    return isinstance(session, events.RealtimeSession) and session.extra is events.NO_EXTRA
