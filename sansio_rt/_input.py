"""The caller's side of a session: audio on its way in, speech events, transcripts of what was said."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from . import events
from ._arbiter import Arbiter
from ._audio import AudioData, AudioEncoder, AudioFormat
from ._commands import Command, CommandKind, Outcome
from ._config import SessionConfig
from ._conversation import Conversation, TranscriptState
from ._errors import RemoteProtocolError
from ._kept_audio import KeptAudio
from ._metrics import SampleClock, measure_transcription
from ._session_events import (
    InputAudioCleared,
    InputAudioCommitted,
    InputTimedOut,
    InputTranscriptCompleted,
    InputTranscriptDelta,
    InputTranscriptFailed,
    ItemAdded,
    SpeechStarted,
    SpeechStopped,
    StrayEvent,
)
from ._tray import Tray

__all__ = ["MINIMUM_COMMIT_MS", "Input"]

MINIMUM_COMMIT_MS = 100
"""The service commits no less audio than this."""

_MOST_PARTIAL_TRANSCRIPTS = 256
_LONGEST_TRANSCRIPT = 128 * 1024
"""Characters, of two hours of speech without a pause."""
_MOST_UNTRANSCRIBED = 256
_MOST_UNTRANSCRIBED_TURNS = 4
_MOST_COMMITS = 64
_UNTOLD_MS = 2000.0
"""Longer than a turn's padding and the time in which a server finds out that one has begun."""
_TRANSCRIPT_PATIENCE_S = 5.0
_UNSURE = (TranscriptState.PARTIAL, TranscriptState.FAILED)


class _Turn(NamedTuple):
    """A turn whose words are not known: its audio, and whether that is all of it."""

    audio: bytes
    whole: bool


class Input:
    """Audio in, and what the server hears in it.

    Args:
        tray: Where events are laid down.
        conversation: The mirror, told transcripts.
        answer_timeout_s: How long the service may take to answer a commit.
        frame_ms: Length of one append, in milliseconds.
        keep_s: How much audio is kept for another connection, in seconds; 0 keeps none.
        arbiter: Told when the server is about to answer a turn by itself.
    """

    def __init__(
        self,
        tray: Tray,
        conversation: Conversation,
        *,
        answer_timeout_s: float,
        frame_ms: int,
        keep_s: float,
        arbiter: Arbiter,
    ) -> None:
        self._tray = tray
        self._conversation = conversation
        self._answer_timeout_s = answer_timeout_s
        self._frame_ms = frame_ms
        self._encoder = AudioEncoder(AudioFormat.PCM16, frame_ms)
        self._kept = KeptAudio(keep_s)
        self._arbiter = arbiter
        self._commit_marks: dict[str, float] = {}
        # From where on the audio is the next turn's, and where the server says that one begins and ends.
        self._next_turn_ms = 0.0
        self._speech_starts_ms: dict[str, int] = {}
        self._speech_ends_ms: dict[str, int] = {}
        self._untranscribed: dict[str, _Turn] = {}
        self._partial: dict[tuple[str, int], str] = {}
        # What waits at the server beyond what the encoder counts: audio that the connection before had
        # and this one got again, and that of commits which nobody answered.
        self._uncounted_ms = 0.0
        self._commit_counts: deque[tuple[Command, float]] = deque(maxlen=_MOST_COMMITS)
        self._transcribed = False
        self._server_replies = False
        self._detects_turns = False
        self._speaking = False
        # Positions in the audio are the server's: all that was appended since the connection began.
        self._sample_clock = SampleClock()
        self._appended_ms = 0.0
        self._silence_ms: int | None = None
        self._commits: deque[tuple[str, float | None]] = deque(maxlen=_MOST_COMMITS)
        self._speech_ended_at: dict[str, float] = {}
        self.handlers: Mapping[type, Callable[[Any], None]] = {
            events.InputAudioBufferSpeechStarted: self._on_speech_started,
            events.InputAudioBufferSpeechStopped: self._on_speech_stopped,
            events.InputAudioBufferTimeoutTriggered: self._on_timeout,
            events.InputAudioBufferCommitted: self._on_committed,
            events.InputAudioBufferCleared: self._on_cleared,
            events.ConversationItemInputAudioTranscriptionDelta: self._on_delta,
            events.ConversationItemInputAudioTranscriptionCompleted: self._on_completed,
            events.ConversationItemInputAudioTranscriptionFailed: self._on_failed,
        }

    def configure(self, config: SessionConfig) -> None:
        """Takes over the wire's format and whether transcripts are to be expected."""
        audio_format = config.input_audio_format
        if isinstance(audio_format, AudioFormat) and audio_format is not self._encoder.format:
            self._encoder = AudioEncoder(audio_format, self._frame_ms)
            self._kept.configure(audio_format)
            self._untranscribed.clear()  # it would be read in the new format
        self._transcribed = isinstance(config.transcription, events.Transcription)
        self._silence_ms = None
        detection = config.turn_detection
        self._detects_turns = isinstance(detection, (events.ServerVad, events.SemanticVad))
        self._server_replies = (
            isinstance(detection, (events.ServerVad, events.SemanticVad))
            and detection.create_response is not False
        )
        if isinstance(detection, events.ServerVad):
            silence_ms = detection.silence_duration_ms
            self._silence_ms = silence_ms if isinstance(silence_ms, int) else None

    @property
    def pushed_ms(self) -> float:
        """Audio pushed since the last commit or clear, in milliseconds."""
        return self._uncounted_ms + self._encoder.pushed_ms

    def push(self, audio: AudioData, *, rate: int | None, channels: int) -> list[bytes]:
        """Takes audio and gives the frames that are whole now (parity A1)."""
        frames = self._encoder.push(audio, rate=rate, channels=channels)
        self._count_appended(frames)
        self._sample_clock.pushed(self._appended_ms + self._encoder.pending_ms, self._tray.now)
        return frames

    def commit(self) -> tuple[list[bytes], Command | None]:
        """The rest of the audio and the commit, or nothing where there is too little (A2)."""
        self._count_unanswered()
        if self.pushed_ms < MINIMUM_COMMIT_MS:
            return [], None
        self._tray.commands.check_room(1)
        frames = self._encoder.flush()
        self._count_appended(frames)
        command = self._command(CommandKind.COMMIT)
        self._commit_counts.append((command, self.pushed_ms))
        self._restart_count()
        self._commit_marks[command.event_id] = self._kept.end_ms
        while len(self._commit_marks) > _MOST_COMMITS:
            del self._commit_marks[next(iter(self._commit_marks))]
        self._commits.append((command.event_id, self._sample_clock.newest_at))
        return frames, command

    def clear(self) -> Command:
        """Drops what waits here (A3) and makes the command that drops what waits there."""
        self._tray.commands.check_room(1)
        self._encoder.clear()
        self._uncounted_ms = 0.0
        self._kept.clear()
        self._next_turn_ms = self._kept.end_ms
        self._sample_clock.rewind(self._appended_ms)
        return self._command(CommandKind.CLEAR)

    def is_quiet(self, now: float) -> bool:
        """Whether no turn is under way: no speech, no audio for a commit, no words still to be told."""
        if self._speaking or self._conversation.expects_items:
            return False
        if not self._detects_turns and self.pushed_ms:
            return False
        # Of a turn of a connection before no end is known: its words may never come.
        return not self._transcribed or all(
            now - self._speech_ended_at.get(item_id, -math.inf) >= _TRANSCRIPT_PATIENCE_S
            for item_id in self._untranscribed
        )

    def position_at(self, when: float) -> float:
        """Up to which position, in milliseconds, audio was pushed by a time."""
        return self._sample_clock.position_at(when)

    def audio_to_repeat(self, *, quiet_until_ms: float = 0.0) -> list[bytes]:
        """A new connection: the frames to append before anything new (N3).

        Args:
            quiet_until_ms: Up to which position the old server, which lived then, has told of no speech.
                Only the newest of it may be the beginning of a turn that it has not told yet.
        """
        if self._detects_turns:
            self._kept.take_until(quiet_until_ms - _UNTOLD_MS)
        frames = self._kept.take_all()
        self._appended_ms = self._next_turn_ms = 0.0
        self._count_appended(frames)
        self._encoder.restart_count()
        self._uncounted_ms = self._appended_ms
        # It was pushed before, at other positions.
        self._sample_clock.clear()
        self._sample_clock.pushed(self._appended_ms, None)
        return frames

    def take_lost_ms(self) -> float:
        """The audio that was too old to be kept, since the last call, in milliseconds."""
        return self._kept.take_lost_ms()

    def untranscribed(self) -> dict[str, bytes]:
        """Wire audio of user messages whose words are not known, by item id."""
        return {
            item_id: turn.audio
            for item_id, turn in self._untranscribed.items()
            if (entry := self._conversation.get(item_id)) is not None
            and (not entry.text or entry.transcript_state in _UNSURE)
        }

    def whole_turn(self, item_id: str) -> bytes | None:
        """Wire audio of a user message, or None where it was not kept, or the beginning was too old."""
        turn = self._untranscribed.get(item_id)
        return turn.audio if turn is not None and turn.whole else None

    def reset(self, *, keep: bool) -> None:
        """The connection is gone.

        Args:
            keep: Whether the audio that is no message yet is wanted on another connection.
        """
        if not keep:
            self._encoder.clear()
            self._uncounted_ms = 0.0
            self._kept.clear()
            self._untranscribed.clear()
        self._place_committed()
        self._commit_marks.clear()
        self._speech_starts_ms.clear()
        self._speech_ends_ms.clear()
        self._speaking = False
        self._partial.clear()
        self._sample_clock.clear()
        self._appended_ms = 0.0
        self._commits.clear()
        self._commit_counts.clear()
        self._speech_ended_at.clear()

    def _place_committed(self) -> None:
        """Turns that the server had committed and not told as items yet: they are said again, too."""
        for item_id, previous_item_id in self._conversation.take_announced().items():
            if item_id in self._untranscribed:
                content: list[events.Part] = [events.InputAudio(transcript=None)]
                item = events.Message(role="user", content=content, id=item_id, status="completed")
                self._conversation.put(item, previous_item_id)
                entry = self._conversation.get(item_id)
                assert entry is not None
                self._tray.session_events.append(ItemAdded(entry=entry, orphaned=False))

    def _count_unanswered(self) -> None:
        """A commit that timed out can be made again: its audio counts once more."""
        over = [counted for counted in self._commit_counts if counted[0].outcome is not None]
        for counted in over:
            self._commit_counts.remove(counted)
            command, pushed_ms = counted
            if command.outcome is Outcome.DEADLINE:
                self._uncounted_ms += pushed_ms

    def _restart_count(self) -> None:
        """A commit: what is pushed from here on is the next turn's."""
        self._encoder.restart_count()
        self._uncounted_ms = 0.0

    def _count_appended(self, frames: list[bytes]) -> None:
        self._kept.extend(frames)
        audio_format = self._encoder.format
        bytes_per_ms = audio_format.rate * audio_format.bytes_per_sample / 1000
        self._appended_ms += sum(map(len, frames)) / bytes_per_ms

    def _command(self, kind: CommandKind) -> Command:
        command = self._tray.commands.add(Command(self._tray.ids("event"), kind))
        self._tray.commands.start_clock(command, self._tray.now + self._answer_timeout_s)
        return command

    def _on_speech_started(self, event: events.InputAudioBufferSpeechStarted) -> None:
        self._arbiter.turn_owed = False  # this turn's end leads to one
        self._speaking = True
        self._speech_starts_ms = {event.item_id: event.audio_start_ms}
        self._tray.session_events.append(
            SpeechStarted(
                item_id=event.item_id,
                audio_start_ms=event.audio_start_ms,
                transcript_expected=self._transcribed,
                received_at=self._tray.now,
            )
        )

    def _on_speech_stopped(self, event: events.InputAudioBufferSpeechStopped) -> None:
        self._note_speech_ended(event.item_id)
        self._speech_ends_ms = {event.item_id: event.audio_end_ms}
        last_word_at = None
        if self._silence_ms is not None:
            last_word_at = self._sample_clock.time_of(event.audio_end_ms - self._silence_ms)
        self._tray.session_events.append(
            SpeechStopped(
                item_id=event.item_id,
                audio_end_ms=event.audio_end_ms,
                transcript_expected=self._transcribed,
                received_at=self._tray.now,
                last_word_at=last_word_at,
            )
        )

    def _on_timeout(self, event: events.InputAudioBufferTimeoutTriggered) -> None:
        self._tray.session_events.append(
            InputTimedOut(
                item_id=event.item_id,
                audio_start_ms=event.audio_start_ms,
                audio_end_ms=event.audio_end_ms,
            )
        )

    def _on_committed(self, event: events.InputAudioBufferCommitted) -> None:
        self._speaking = False
        self._count_unanswered()
        late = self._tray.commands.late(CommandKind.COMMIT, self._tray.now)
        command = self._tray.commands.answered(CommandKind.COMMIT, self._tray.now)
        if command is None:  # the server's own commit, at the end of a turn
            self._restart_count()
            self._arbiter.turn_owed = self._server_replies
        self._keep_untranscribed(event.item_id, late if command is None else command.event_id)
        self._note_speech_ended(event.item_id)
        previous = event.previous_item_id
        self._conversation.announce(event.item_id, previous if isinstance(previous, str) else None)
        self._tray.session_events.append(
            InputAudioCommitted(
                item_id=event.item_id,
                previous_item_id=previous if isinstance(previous, str) else None,
                transcript_expected=self._transcribed,
                received_at=self._tray.now,
                last_word_at=self._last_word_of(command),
            )
        )
        self._tray.acknowledge(command, event.item_id)

    def _keep_untranscribed(self, item_id: str, commit_id: str | None) -> None:
        """The turn's audio is the server's now; it is kept on until its words are known.

        Args:
            item_id: The turn.
            commit_id: The event id of our commit that made it, which may have timed out, or None.
        """
        mark_ms = None if commit_id is None else self._commit_marks.pop(commit_id, None)
        # Where the server has found the turn's end, it has committed by itself, whatever we asked for.
        end_ms = self._speech_ends_ms.pop(item_id, mark_ms)
        if end_ms is None:
            end_ms = self._kept.end_ms
        start_ms = max(self._speech_starts_ms.pop(item_id, 0), self._next_turn_ms)
        self._next_turn_ms = end_ms
        whole = self._kept.has_all_since(start_ms)
        audio = self._kept.take_until(end_ms)
        if audio:
            self._untranscribed[item_id] = _Turn(audio, whole)
        while len(self._untranscribed) > _MOST_UNTRANSCRIBED_TURNS:
            del self._untranscribed[next(iter(self._untranscribed))]

    def _last_word_of(self, command: Command | None) -> float | None:
        while command is not None and self._commits:
            event_id, last_word_at = self._commits.popleft()
            if event_id == command.event_id:
                return last_word_at
        return None

    def _note_speech_ended(self, item_id: str) -> None:
        """Keeps what a transcript's duration counts from: the first that the server says."""
        ended = self._speech_ended_at
        ended.setdefault(item_id, self._tray.now)
        while len(ended) > _MOST_UNTRANSCRIBED:
            del ended[next(iter(ended))]

    def _on_cleared(self, _: events.InputAudioBufferCleared) -> None:
        self._speaking = False
        self._tray.session_events.append(InputAudioCleared())
        self._tray.acknowledge(self._tray.commands.answered(CommandKind.CLEAR, self._tray.now))

    def _on_delta(self, event: events.ConversationItemInputAudioTranscriptionDelta) -> None:
        part = (event.item_id, event.content_index)
        entry = self._conversation.get(event.item_id)
        if entry is not None and entry.transcript_state is TranscriptState.COMPLETED:
            reason = "a delta of a transcript that is complete"
            self._tray.session_events.append(StrayEvent(event=event, reason=reason))
            return
        text = self._partial.get(part, "") + event.delta
        if len(text) > _LONGEST_TRANSCRIPT:
            raise RemoteProtocolError(
                f"the transcript of one item grew beyond {_LONGEST_TRANSCRIPT:,} characters"
            )
        self._partial[part] = text
        while len(self._partial) > _MOST_PARTIAL_TRANSCRIPTS:
            del self._partial[next(iter(self._partial))]
        self._conversation.set_transcript(*part, text, TranscriptState.PARTIAL)
        self._tray.session_events.append(
            InputTranscriptDelta(
                item_id=event.item_id,
                content_index=event.content_index,
                delta=event.delta,
                text=text,
            )
        )

    def _on_completed(self, event: events.ConversationItemInputAudioTranscriptionCompleted) -> None:
        part = (event.item_id, event.content_index)
        self._partial.pop(part, None)
        self._conversation.set_transcript(*part, event.transcript, TranscriptState.COMPLETED)
        if self._tray.commands.find(CommandKind.CREATE_ITEM, event.item_id) is None:
            self._untranscribed.pop(event.item_id, None)  # else it is put elsewhere as sound
        self._tray.session_events.append(
            InputTranscriptCompleted(
                item_id=event.item_id,
                content_index=event.content_index,
                transcript=event.transcript,
                confidence=_confidence(event.logprobs),
                event=event,
                received_at=self._tray.now,
                metrics=measure_transcription(
                    event,
                    speech_ended_at=self._speech_ended_at.pop(event.item_id, None),
                    now=self._tray.now,
                ),
            )
        )

    def _on_failed(self, event: events.ConversationItemInputAudioTranscriptionFailed) -> None:
        part = (event.item_id, event.content_index)
        text = self._partial.pop(part, "")
        self._conversation.set_transcript(*part, text, TranscriptState.FAILED)
        self._tray.session_events.append(
            InputTranscriptFailed(
                item_id=event.item_id,
                content_index=event.content_index,
                message=str(event.error.message or ""),
            )
        )


def _confidence(logprobs: events.Maybe[list[events.LogProb]]) -> float | None:
    """The geometric mean of the tokens' probabilities; at most 1, whatever the server counted."""
    values = [entry.logprob for entry in logprobs] if isinstance(logprobs, list) else []
    return math.exp(min(0.0, sum(values) / len(values))) if values else None
