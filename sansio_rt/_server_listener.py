"""The server's ear: appended audio becomes turns, turns become items of the conversation.

The positions of all its events are milliseconds since the session's first sample.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import events
from ._audio import AudioFormat
from ._server_input import InputBuffer, Sound
from ._server_items import Record, ServerConversation
from ._server_outbox import Outbox
from ._server_turns import Detector, SpeechEnded, SpeechStarted, TurnFinder, TurnSettings
from ._server_work import Refusal, ServerLimits, SpeechDropped, SpeechHeard

__all__ = ["Listener"]

SETTLED_MS = 1000
"""Silence kept behind the server's own commit, beside the prefix padding of the next turn."""
QUIET_S = 60.0
"""The most that a client can commit by itself where turn detection has heard no speech."""


class Listener:
    """Input buffer and turn detection of one session.

    Args:
        outbox: Where its events go.
        conversation: Where committed audio goes.
        limits: The service's numbers.
        detector: Voice activity detection, or None for a server that never hears speech by itself.
        stream_speech: Whether the driver wants utterances while they come in (`SpeechHeard`).
    """

    def __init__(
        self,
        outbox: Outbox,
        conversation: ServerConversation,
        limits: ServerLimits,
        detector: Detector | None,
        *,
        stream_speech: bool,
    ) -> None:
        self._outbox = outbox
        self._conversation = conversation
        self._limits = limits
        self._buffer = InputBuffer()
        self._finder = TurnFinder(detector)
        self._stream_speech = stream_speech
        self._settings: TurnSettings | None = None
        self._utterance: str | None = None
        self._told_ms = 0.0

    @property
    def speaking(self) -> bool:
        """Whether the user's turn goes on."""
        return self._finder.speaking

    def configure(self, audio: AudioFormat, settings: TurnSettings | None) -> None:
        """Take over the session's settings; a new format or way of finding turns forgets the turn.

        Args:
            audio: Format of what is appended from now on.
            settings: How turns are found, or None where the client commits.
        """
        if audio is not self._buffer.format or (settings is None) is not (self._settings is None):
            self._buffer.change_format(audio)
            self._buffer.unsettle()
            self._forget_utterance()
        self._settings = settings

    def append(
        self, data: bytes, wants: events.Transcription | None
    ) -> Iterator[SpeechStarted | Record]:
        """Answer `input_audio_buffer.append`.

        Args:
            data: Wire bytes.
            wants: The transcription that the client asked for.

        Yields:
            A turn's beginning, and the item that a turn has become, each right after its events.

        Raises:
            Refusal: Too much audio, at once or in the buffer.
        """
        self._check_room(data)
        heard = self._buffer.append(data)
        if self._settings is None:
            self._tell_speech()
            return
        samples = self._buffer.format.from_wire(heard)
        for found in self._finder.feed(samples, self._buffer.format.rate, self._settings):
            if isinstance(found, SpeechStarted):
                yield self._begin_turn(found)
            else:
                yield self._end_turn(found, wants)
        if self._finder.speaking:
            self._tell_speech()
        else:
            self._trim(self._settings)

    def commit(self, wants: events.Transcription | None) -> Record:
        """Answer `input_audio_buffer.commit`.

        Args:
            wants: The transcription that the client asked for.

        Raises:
            Refusal: There is not enough audio.
        """
        available_ms = self._buffer.committable_ms
        if available_ms < self._limits.minimum_commit_ms:
            raise Refusal(
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{self._limits.minimum_commit_ms}ms of audio, but buffer only has "
                f"{available_ms:.2f}ms of audio.",
                code="input_audio_buffer_commit_empty",
            )
        record = self._commit_until(self._buffer.end_ms, wants, heard=None)
        self._finder.reset(self._buffer.end_ms)
        return record

    def clear(self) -> None:
        """Answer `input_audio_buffer.clear`."""
        self._buffer.clear()
        self._forget_utterance()
        self._outbox.emit(events.InputAudioBufferCleared())

    def commit_idle(self, silence_ms: int) -> Record:
        """Make a turn of the silence that the idle timeout has waited for.

        Args:
            silence_ms: How much of the latest audio, at most.
        """
        start_ms = max(self._buffer.start_ms, self._buffer.end_ms - silence_ms)
        self._buffer.drop_before(start_ms)
        self._outbox.emit(
            events.InputAudioBufferTimeoutTriggered(
                item_id=self._current_id(),
                audio_start_ms=int(start_ms),
                audio_end_ms=int(self._buffer.end_ms),
            )
        )
        record = self._commit_until(self._buffer.end_ms, None, heard="")
        self._finder.reset(self._buffer.end_ms)
        self._buffer.settle()
        return record

    def _begin_turn(self, found: SpeechStarted) -> SpeechStarted:
        start_ms = max(found.start_ms, round(self._buffer.start_ms))
        self._buffer.drop_before(start_ms)
        self._buffer.unsettle()
        self._told_ms = self._buffer.start_ms
        self._outbox.emit(
            events.InputAudioBufferSpeechStarted(
                item_id=self._current_id(), audio_start_ms=start_ms
            )
        )
        return found

    def _end_turn(self, found: SpeechEnded, wants: events.Transcription | None) -> Record:
        self._outbox.emit(
            events.InputAudioBufferSpeechStopped(
                item_id=self._current_id(), audio_end_ms=found.end_ms
            )
        )
        record = self._commit_until(found.end_ms, wants, heard=None)
        self._buffer.settle()
        return record

    def _commit_until(
        self, end_ms: float, wants: events.Transcription | None, *, heard: str | None
    ) -> Record:
        if heard is None:
            self._tell_speech(end_ms)
        item_id = self._current_id()
        self._utterance = None
        sound = Sound(self._buffer.format, bytearray(self._buffer.take_until(end_ms)))
        self._told_ms = self._buffer.start_ms
        item = events.Message(
            object="realtime.item",
            id=item_id,
            role="user",
            status="completed",
            content=[events.InputAudio(transcript=None)],
        )
        record = Record(item_id, item, sound, heard, wants)
        self._outbox.emit(
            events.InputAudioBufferCommitted(
                item_id=item_id, previous_item_id=self._conversation.last_id
            )
        )
        self._conversation.add(record)
        self._conversation.done(record)
        return record

    def _current_id(self) -> str:
        if self._utterance is None:
            self._utterance = self._outbox.new_id("item")
        return self._utterance

    def _tell_speech(self, until_ms: float | None = None) -> None:
        if not self._stream_speech:
            return
        if until_ms is None:
            until_ms = self._buffer.end_ms
        data = self._buffer.between(self._told_ms, until_ms)
        self._told_ms = until_ms
        if data:
            pcm = Sound(self._buffer.format, bytearray(data)).pcm16()
            self._outbox.ask(SpeechHeard(self._current_id(), pcm, self._buffer.format.rate))

    def _forget_utterance(self) -> None:
        if self._utterance is not None and self._stream_speech:
            self._outbox.ask(SpeechDropped(self._utterance))
        self._utterance = None
        self._told_ms = self._buffer.start_ms
        self._finder.reset(self._buffer.end_ms)

    def _check_room(self, data: bytes) -> None:
        if len(data) > self._limits.append_bytes:
            raise Refusal(
                f"Invalid 'audio': {len(data)} bytes, but one append holds at most "
                f"{self._limits.append_bytes}.",
                code="invalid_value",
                param="audio",
            )
        bounded = self._settings is None or self.speaking
        if bounded and self._buffer.buffered_ms > self._limits.buffered_s * 1000:
            raise Refusal(
                f"The input audio buffer holds {self._limits.buffered_s:g}s of audio already; "
                "commit or clear it.",
                code="invalid_value",
                param="audio",
            )

    def _trim(self, settings: TurnSettings) -> None:
        """Let go of what no commit can want: old sound where nobody speaks."""
        if self._buffer.committable_ms:
            kept_ms = min(QUIET_S, self._limits.buffered_s) * 1000
        else:
            kept_ms = settings.prefix_padding_ms + SETTLED_MS
        self._buffer.drop_before(self._buffer.end_ms - kept_ms)
