"""Stage times per turn, from what the user said to what was heard (parity M5).

A turn is what the user said, if anything, and every response to it. `TurnClock` reads session events and
gives a `TurnMetrics` for each turn that is over:

    clock = TurnClock()
    while (event := protocol.next_event()) is not None:
        for turn in clock.handle(event):
            print(turn.last_word_to_audio_s)

Which response belongs to which turn:

- A response of the server or of `generate_reply` answers the speech that ended before it. Where there is
  none it begins a turn without speech.
- A response that calls functions leaves its turn open: the response that uses the outputs is part of it.
- A response beside the conversation belongs to no turn.

A turn is over when its last response is done; where playback reports, when its first sample was played,
too. It is also over when the next one's response begins, when the user speaks again before there was any
response, and when the connection ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from ._generations import Generation, GenerationOrigin, GenerationStatus
from ._metrics import TurnMetrics, elapsed_s
from ._session_events import (
    ConnectionLost,
    GenerationEnded,
    GenerationStarted,
    InputAudioCleared,
    InputAudioCommitted,
    InputTranscriptCompleted,
    SessionClosed,
    SessionEvent,
    SpeechStarted,
    SpeechStopped,
)

__all__ = ["TurnClock"]


class _Turn(Struct, eq=False, kw_only=True):
    """A turn under way: the fields of `TurnMetrics` that are not derived."""

    item_id: str | None = None
    response_ids: tuple[str, ...] = ()
    status: GenerationStatus | None = None
    speech_started_at: float | None = None
    last_word_at: float | None = None
    speech_stopped_at: float | None = None
    committed_at: float | None = None
    transcript_at: float | None = None
    requested_at: float | None = None
    created_at: float | None = None
    first_token_at: float | None = None
    first_audio_at: float | None = None
    first_played_at: float | None = None
    done_at: float | None = None
    has_calls: bool = False

    @property
    def heard(self) -> bool:
        """Whether the user has finished."""
        return self.speech_stopped_at is not None or self.committed_at is not None

    def metrics(self) -> TurnMetrics:
        """The record."""
        recorded = {name: getattr(self, name) for name in self.__struct_fields__}
        del recorded["has_calls"]
        return TurnMetrics(
            **recorded,
            last_word_to_audio_s=elapsed_s(self.last_word_at, self.first_audio_at),
            last_word_to_played_s=elapsed_s(self.last_word_at, self.first_played_at),
        )


class TurnClock:
    """Makes a `TurnMetrics` of each turn, from session events alone.

    Times are those of the events, so in the clock that the protocol object was given. It holds a few
    turns at most and costs nothing for text and audio deltas.

    Args:
        playback: Whether somebody will tell `played` for each response with audio that is heard. Such a
            turn waits for it; the first call of `played` sets it, too.

    Attributes:
        playback: As above; may be set at any time.
        handlers: What is done for which kind of event; others need not be handed in.
    """

    def __init__(self, *, playback: bool = False) -> None:
        self.playback = playback
        # Without a response so far; done and still open; and with a response running.
        self._unanswered: _Turn | None = None
        self._waiting: _Turn | None = None
        self._running: dict[str, _Turn] = {}
        self._over: list[TurnMetrics] = []
        self.handlers: Mapping[type, Callable[[Any], None]] = {
            SpeechStarted: self._on_speech_started,
            SpeechStopped: self._on_speech_stopped,
            InputAudioCommitted: self._on_committed,
            InputAudioCleared: self._on_taken_back,
            ConnectionLost: self._on_taken_back,
            InputTranscriptCompleted: self._on_transcript,
            GenerationStarted: self._on_generation_started,
            GenerationEnded: self._on_generation_ended,
            SessionClosed: self._on_closed,
        }

    def handle(self, event: SessionEvent) -> list[TurnMetrics]:
        """Takes a session event and gives the turns that are over with it, oldest first."""
        handler = self.handlers.get(type(event))
        if handler is not None:
            handler(event)
        return self._take()

    def played(self, response_id: str, now: float) -> list[TurnMetrics]:
        """Takes the time at which the first sample of a response was played.

        Later calls for the same turn, and calls for a turn that is over, change nothing.

        Args:
            response_id: Whose audio.
            now: When it was played, by the clock that the protocol object was given.
        """
        self.playback = True
        turn = self._running.get(response_id)
        waiting = self._waiting
        if turn is None and waiting is not None and response_id in waiting.response_ids:
            turn = waiting
        if turn is not None and turn.first_played_at is None:
            turn.first_played_at = now
            if turn is waiting and not turn.has_calls:
                self._close_waiting()
        return self._take()

    # --- speech -----------------------------------------------------------------------------

    def _on_speech_started(self, event: SpeechStarted) -> None:
        self._turn_of(event.item_id).speech_started_at = event.received_at

    def _on_speech_stopped(self, event: SpeechStopped) -> None:
        turn = self._turn_of(event.item_id)
        turn.speech_stopped_at = event.received_at
        turn.last_word_at = event.last_word_at

    def _on_committed(self, event: InputAudioCommitted) -> None:
        turn = self._turn_of(event.item_id)
        turn.committed_at = event.received_at
        if event.last_word_at is not None:
            turn.last_word_at = event.last_word_at

    def _on_taken_back(self, _: InputAudioCleared | ConnectionLost) -> None:
        """What was said is no message yet, and is dropped, or will be said again as another one."""
        turn = self._unanswered
        if turn is not None and turn.committed_at is None:
            self._unanswered = None

    def _on_transcript(self, event: InputTranscriptCompleted) -> None:
        turn = self._find(event.item_id)
        if turn is not None:
            turn.transcript_at = event.received_at

    def _turn_of(self, item_id: str) -> _Turn:
        """The turn of a user message. A new one begins where another got no answer."""
        turn = self._find(item_id)
        if turn is None:
            self._close(self._unanswered)
            turn = self._unanswered = _Turn(item_id=item_id)
        return turn

    def _find(self, item_id: str) -> _Turn | None:
        turns = (self._unanswered, self._waiting, *self._running.values())
        return next((turn for turn in turns if turn is not None and turn.item_id == item_id), None)

    # --- responses --------------------------------------------------------------------------

    def _on_generation_started(self, event: GenerationStarted) -> None:
        generation = event.generation
        if not generation.in_conversation:
            return
        turn = self._answered_by(generation)
        if turn is not self._waiting:
            self._close_waiting()
        else:
            self._waiting = None
        turn.response_ids = (*turn.response_ids, generation.id)
        if turn.created_at is None:
            turn.requested_at = generation.requested_at
            turn.created_at = generation.created_at
        self._running[generation.id] = turn

    def _answered_by(self, generation: Generation) -> _Turn:
        asking, waiting = self._unanswered, self._waiting
        called = waiting is not None and waiting.has_calls
        if waiting is not None and called and generation.origin is GenerationOrigin.TOOL_OUTPUTS:
            return waiting
        if asking is not None and asking.heard:
            self._unanswered = None
            return asking
        if waiting is not None and called and generation.origin is GenerationOrigin.CALLER:
            return waiting  # the application answered the call and asked for the reply itself
        return _Turn()

    def _on_generation_ended(self, event: GenerationEnded) -> None:
        generation = event.generation
        turn = self._running.pop(generation.id, None)
        if turn is None:
            return
        turn.status = generation.status
        turn.done_at = generation.ended_at
        if turn.first_token_at is None:
            turn.first_token_at = generation.first_token_at
        if turn.first_audio_at is None:
            turn.first_audio_at = generation.first_audio_at
        completed = generation.status is GenerationStatus.COMPLETED
        turn.has_calls = completed and bool(generation.calls)
        unheard = turn.first_audio_at is not None and turn.first_played_at is None
        if turn.has_calls or (completed and unheard and self.playback):
            self._close_waiting()
            self._waiting = turn
        else:
            self._close(turn)

    def _on_closed(self, _: SessionClosed) -> None:
        self._close_waiting()
        for turn in self._running.values():
            self._close(turn)
        self._running.clear()
        self._close(self._unanswered)
        self._unanswered = None

    # --- steps ------------------------------------------------------------------------------

    def _close_waiting(self) -> None:
        self._close(self._waiting)
        self._waiting = None

    def _close(self, turn: _Turn | None) -> None:
        if turn is not None:
            self._over.append(turn.metrics())

    def _take(self) -> list[TurnMetrics]:
        over, self._over = self._over, []
        return over
