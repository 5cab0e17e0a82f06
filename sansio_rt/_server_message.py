"""The deltas of one message of a response, spoken or written, and what its item becomes."""

from __future__ import annotations

import re
from collections import deque

from msgspec.structs import replace

from . import events
from ._server_input import milliseconds
from ._server_items import Record
from ._server_outbox import Outbox
from ._server_usage import Tally, audio_out_tokens, text_tokens

__all__ = ["CHARACTERS_PER_S", "OutputMessage", "split_words"]

CHARACTERS_PER_S = 15.0
"""How fast speech is taken to go: places words beside the audio, and paces written text."""
_WORD = re.compile(r"\s*\S+(?:\s+\Z)?")


def split_words(text: str) -> list[str]:
    """The words of a text with the space before them; joined they are the text again."""
    return _WORD.findall(text) or ([text] if text else [])


class OutputMessage:
    """A message that is being generated: from `response.content_part.added` on.

    Attributes:
        record: Its item.
        spoken: Whether it has audio.
        output_index: Its place in the response's output.
        spoken_ms: The audio that was sent.

    Args:
        outbox: Where its events go.
        response_id: The response that it belongs to.
        output_index: Its place in the response's output.
        record: Its item; it has a `Sound` if the message is spoken.
    """

    def __init__(self, outbox: Outbox, response_id: str, output_index: int, record: Record) -> None:
        self.record = record
        self.spoken = record.sound is not None
        self.output_index = output_index
        self.spoken_ms = 0.0
        self._outbox = outbox
        self._response_id = response_id
        self._text = ""
        self._waiting: deque[str] = deque()
        self._clause_start_ms = 0.0
        self._clause_characters = 0
        self._message = record.item
        self._refresh()
        outbox.emit(
            events.ResponseContentPartAdded(
                response_id=response_id,
                item_id=record.id,
                output_index=output_index,
                content_index=0,
                part=events.AudioPart(transcript="") if self.spoken else events.TextPart(text=""),
            )
        )

    @property
    def tally(self) -> Tally:
        """Tokens that were sent so far."""
        return Tally(text_tokens(self._text), audio_out_tokens(self.spoken_ms))

    def add_words(self, text: str) -> None:
        """Say words: at once in a written message, beside the audio to come in a spoken one."""
        if not self.spoken:
            self._say(text)
            return
        self._say_all_waiting()
        self._waiting.extend(split_words(text))
        self._clause_start_ms = self.spoken_ms
        self._clause_characters = 0

    def add_sound(self, delta: bytes) -> None:
        """Send one piece of audio, after the words that begin with it."""
        sound = self.record.sound
        if sound is None:  # pragma: no cover - only of a spoken response is sound sent
            return
        elapsed_ms = self.spoken_ms - self._clause_start_ms
        while self._waiting and self._clause_characters / CHARACTERS_PER_S * 1000 <= elapsed_ms:
            self._say(self._waiting.popleft())
        self.spoken_ms += milliseconds(len(delta), sound.format)
        if not self.record.truncated:
            sound.data += delta
        self._outbox.emit(
            events.ResponseOutputAudioDelta(
                response_id=self._response_id,
                item_id=self.record.id,
                output_index=self.output_index,
                content_index=0,
                delta=delta,
            )
        )

    def close(self, status: str) -> None:
        """End the message: the `.done` of its content, its part and its output item.

        Args:
            status: What becomes of the item, `completed` (with all its words) or `incomplete`.
        """
        if status == "completed":
            self._say_all_waiting()
        self._refresh(status)
        part: events.AudioPart | events.TextPart
        if self.spoken:
            part = events.AudioPart(transcript=self._text)
            self._outbox.emit(
                events.ResponseOutputAudioDone(
                    response_id=self._response_id,
                    item_id=self.record.id,
                    output_index=self.output_index,
                    content_index=0,
                )
            )
            self._outbox.emit(
                events.ResponseOutputAudioTranscriptDone(
                    response_id=self._response_id,
                    item_id=self.record.id,
                    output_index=self.output_index,
                    content_index=0,
                    transcript=self._text,
                )
            )
        else:
            part = events.TextPart(text=self._text)
            self._outbox.emit(
                events.ResponseOutputTextDone(
                    response_id=self._response_id,
                    item_id=self.record.id,
                    output_index=self.output_index,
                    content_index=0,
                    text=self._text,
                )
            )
        self._outbox.emit(
            events.ResponseContentPartDone(
                response_id=self._response_id,
                item_id=self.record.id,
                output_index=self.output_index,
                content_index=0,
                part=part,
            )
        )

    def _say_all_waiting(self) -> None:
        while self._waiting:
            self._say(self._waiting.popleft())

    def _say(self, words: str) -> None:
        self._text += words
        self._clause_characters += len(words)
        self._refresh()
        kind = (
            events.ResponseOutputAudioTranscriptDelta
            if self.spoken
            else events.ResponseOutputTextDelta
        )
        self._outbox.emit(
            kind(
                response_id=self._response_id,
                item_id=self.record.id,
                output_index=self.output_index,
                content_index=0,
                delta=words,
            )
        )

    def _refresh(self, status: str = "in_progress") -> None:
        """Bring the item up to what was sent, so that it can be retrieved at any time."""
        part: events.Part
        if not self.spoken:
            part = events.OutputText(text=self._text)
        elif self.record.truncated:
            part = events.OutputAudio()
        else:
            part = events.OutputAudio(transcript=self._text)
        self.record.item = replace(self._message, content=[part], status=status)
