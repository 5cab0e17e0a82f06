"""What a session measures about itself, and whom it tells."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import trio
from msgspec import Struct

from sansio_rt import (
    ClientProtocol,
    CommandEnded,
    CommandRefused,
    ErrorScope,
    GenerationEnded,
    GenerationMetrics,
    InputTranscriptCompleted,
    Outcome,
    RawClientEvent,
    RawServerEvent,
    RealtimeError,
    ResponseDiscarded,
    ServerErrorReported,
    SessionClosed,
    SessionReady,
    SessionResumed,
    StrayEvent,
)
from sansio_rt._metrics import ConnectionMetrics, TranscriptionMetrics, TurnMetrics, elapsed_s
from sansio_rt._shorten import shorten, shorten_text
from sansio_rt._turn_clock import TurnClock

from ._hooks import Detail, ErrorReport, Hooks

__all__ = ["Meter", "SessionMetrics"]

_event_log = logging.getLogger("trio_rt.events")

_KEPT = 256


class SessionMetrics(Struct, frozen=True, kw_only=True):
    """What was measured so far. Of each kind of record the newest 256 are kept, oldest first."""

    connect_s: float | None
    """From dialling the newest connection to its accepted configuration, in seconds."""
    connection: ConnectionMetrics | None
    """The stages of that; for one that replaced another up to the end of the replay."""
    generations: tuple[GenerationMetrics, ...]
    """Of the generations that ended, and of the responses that ended unheard: a reply whose caller gave
    up, a text where audio was asked for. They took tokens, too."""
    transcriptions: tuple[TranscriptionMetrics, ...]
    """Of what the user said."""
    turns: tuple[TurnMetrics, ...]
    """Of the turns that are over."""
    broken_messages: int
    """Messages that were no Realtime events."""
    stray_events: int
    """Events that fitted nothing: late, doubled, out of order."""


class Meter:
    """Makes records of a session's events and hands them to its hooks.

    Args:
        protocol: The session's.
        hooks: Whom to tell.

    Attributes:
        handlers: What is done for which kind of event, after the session has handled it.
        logs_events: Whether raw events are wanted for the log `trio_rt.events`, as its level was when the
            session began.
    """

    def __init__(self, protocol: ClientProtocol, hooks: Hooks) -> None:
        self._protocol = protocol
        self._hooks = hooks
        self._clock = TurnClock()
        self._generations: deque[GenerationMetrics] = deque(maxlen=_KEPT)
        self._transcriptions: deque[TranscriptionMetrics] = deque(maxlen=_KEPT)
        self._turns: deque[TurnMetrics] = deque(maxlen=_KEPT)
        self._connection: ConnectionMetrics | None = None
        self._stray_events = 0
        self._dialled_at: float | None = None
        self.logs_events = _event_log.isEnabledFor(logging.DEBUG)
        handlers: dict[type, Callable[[Any], None]] = {
            **dict.fromkeys(self._clock.handlers, self._measure_turn),
            GenerationEnded: self._on_generation_ended,
            ResponseDiscarded: self._on_discarded,
            InputTranscriptCompleted: self._on_transcript,
            SessionReady: self._on_connected,
            SessionResumed: self._on_connected,
            SessionClosed: self._on_closed,
            StrayEvent: self._on_stray,
        }
        if hooks:
            handlers[CommandEnded] = self._on_command_ended
            handlers[ServerErrorReported] = self._on_server_error
        if self.logs_events:
            handlers[RawServerEvent] = self._on_received
            handlers[RawClientEvent] = self._on_sent
        self.handlers: Mapping[type, Callable[[Any], None]] = handlers

    @property
    def metrics(self) -> SessionMetrics:
        """What was measured so far."""
        connection = self._connection
        return SessionMetrics(
            connect_s=None if connection is None else connection.configured_s,
            connection=connection,
            generations=tuple(self._generations),
            transcriptions=tuple(self._transcriptions),
            turns=tuple(self._turns),
            broken_messages=self._protocol.broken_messages,
            stray_events=self._stray_events,
        )

    def dialled(self, now: float) -> None:
        """The byte stream of a new connection is open."""
        self._dialled_at = now

    def expect_playback(self) -> None:
        """Somebody will report what is played: turns with audio wait for it."""
        self._clock.playback = True

    def played(self, response_id: str, played_at: float) -> None:
        """The first sample of a response was played."""
        self._keep_turns(self._clock.played(response_id, played_at))

    def _measure_turn(self, event: Any) -> None:
        self._keep_turns(self._clock.handle(event))

    def _keep_turns(self, turns: list[TurnMetrics]) -> None:
        for turn in turns:
            self._keep(self._turns, turn)

    def _keep(self, records: deque[Any], record: Detail) -> None:
        records.append(record)
        self._hooks.tell(record)

    def _on_generation_ended(self, event: GenerationEnded) -> None:
        self._keep(self._generations, event.generation.metrics)
        self._measure_turn(event)

    def _on_discarded(self, event: ResponseDiscarded) -> None:
        self._keep(self._generations, event.metrics)

    def _on_transcript(self, event: InputTranscriptCompleted) -> None:
        self._keep(self._transcriptions, event.metrics)
        self._measure_turn(event)

    def _on_connected(self, event: SessionReady | SessionResumed) -> None:
        if event.connect_s is None:  # made beside one that served: nobody waited for it
            return
        started_at = trio.current_time() - event.connect_s
        if self._dialled_at is not None:  # later than the start, whatever the rounding says
            started_at = min(started_at, self._dialled_at)
        self._connection = ConnectionMetrics(
            started_at=started_at,
            dialled_s=elapsed_s(started_at, self._dialled_at),
            handshake_s=event.handshake_s,
            configured_s=event.connect_s,
        )
        self._hooks.tell(self._connection)

    def _on_stray(self, _: StrayEvent) -> None:
        self._stray_events += 1

    # --- errors -----------------------------------------------------------------------------

    def _on_command_ended(self, event: CommandEnded) -> None:
        command = event.command
        if command.error is not None and command.outcome is not Outcome.CONNECTION_ENDED:
            self._report(ErrorScope.COMMAND, command.error)

    def _on_server_error(self, event: ServerErrorReported) -> None:
        code, message = event.error.code, shorten_text(event.error.message)
        self._hooks.tell(
            ErrorReport(
                scope=event.scope, code=code if isinstance(code, str) else None, message=message
            )
        )

    def _on_closed(self, event: SessionClosed) -> None:
        self._measure_turn(event)
        if event.error is not None:
            self._report(ErrorScope.SESSION, event.error)

    def _report(self, scope: ErrorScope, error: RealtimeError) -> None:
        code = error.code if isinstance(error, CommandRefused) else None
        message = shorten_text(str(error))
        self._hooks.tell(ErrorReport(scope=scope, code=code, message=message, error=error))

    # --- raw events -------------------------------------------------------------------------

    def _on_received(self, event: RawServerEvent) -> None:
        _event_log.debug("received %s", shorten(event.event))

    def _on_sent(self, event: RawClientEvent) -> None:
        _event_log.debug("queued %s", shorten(event.event))
