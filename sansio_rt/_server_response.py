"""One response of the server: its items in the service's order, released at a pace.

What the driver gives is queued as steps. A step is released when its time has come: sound and text
take their own duration, divided by the pace. Only what was released counts: a cancelled response
keeps what the client has got, and nothing of what was still queued.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Any

import msgspec
from msgspec import Struct

from . import events
from ._audio import AudioEncoder, AudioFormat
from ._server_input import Sound, milliseconds
from ._server_items import Record, ServerConversation
from ._server_message import CHARACTERS_PER_S, OutputMessage, split_words
from ._server_outbox import Outbox
from ._server_usage import Tally, text_tokens, usage

__all__ = ["Ending", "ResponseSettings", "ServerResponse"]

ARGUMENT_CHARACTERS = 24
"""Length of one delta of a call's arguments."""


class Ending(enum.Enum):
    """How a response ends: its status, and the reason in its status details."""

    COMPLETED = ("completed", None)
    TURN_DETECTED = ("cancelled", "turn_detected")
    CLIENT_CANCELLED = ("cancelled", "client_cancelled")
    TOKEN_LIMIT = ("incomplete", "max_output_tokens")
    FAILED = ("failed", None)

    @property
    def status(self) -> str:
        """The response's status on the wire."""
        return str(self.value[0])

    @property
    def item_status(self) -> str:
        """The status of an item that was open when the response ended."""
        return "completed" if self is Ending.COMPLETED else "incomplete"

    def details(self, error: events.ErrorDetails | None) -> events.ResponseStatusDetails | None:
        """The `status_details`, or None where there is nothing to tell."""
        if self is Ending.COMPLETED:
            return None
        reason = self.value[1]
        details = events.ResponseStatusDetails(type=self.status)
        if reason is not None:
            details = msgspec.structs.replace(details, reason=reason)
        return details if error is None else msgspec.structs.replace(details, error=error)


class ResponseSettings(Struct, frozen=True):
    """What a response was asked to be.

    Attributes:
        conversation: Where its items go, or None for an out-of-band response.
        audio: Whether its messages are spoken.
        format: The format of its audio.
        voice: Its voice by name, or by id where it is one of the client's own.
        max_tokens: The most output tokens, or None for any number.
        metadata: What the client wants to have back, or None.
        delta_ms: Length of one audio delta.
        pace: How many seconds of speech are released in a second; None releases at once.
    """

    conversation: ServerConversation | None
    audio: bool
    format: AudioFormat
    voice: str
    max_tokens: int | None
    metadata: dict[str, Any] | None
    delta_ms: int
    pace: float | None


class _Begin(Struct, frozen=True):
    pass


class _Words(Struct, frozen=True):
    text: str


class _Delta(Struct, frozen=True):
    data: bytes


class _End(Struct, frozen=True):
    pass


class _Call(Struct, frozen=True):
    name: str
    arguments: str


class _Finish(Struct, frozen=True):
    ending: Ending
    error: events.ErrorDetails | None = None


_Step = _Begin | _Words | _Delta | _End | _Call | _Finish


class ServerResponse:
    """One response, from `response.created` to `response.done`.

    Attributes:
        id: Its id.
        settings: What it was asked to be.
        ending: How it ended, or None while it goes on.
        heard: Tokens of its input.
        cached: The part of them that came from the cache.

    Args:
        outbox: Where its events go.
        settings: What it was asked to be.
        now: The time, in seconds.
    """

    def __init__(self, outbox: Outbox, settings: ResponseSettings, now: float) -> None:
        self.id = outbox.new_id("resp")
        self.settings = settings
        self.ending: Ending | None = None
        self.heard = Tally()
        self.cached = Tally()
        self._outbox = outbox
        self._steps: deque[_Step] = deque()
        self._next_release = now
        self._encoder: AudioEncoder | None = None
        self._open: OutputMessage | None = None
        self._messages: list[OutputMessage] = []
        self._records: list[Record] = []
        self._call_tokens = 0
        output = events.AudioOutput(format=wire_format(settings.format), voice=settings.voice)
        self._audio = events.AudioConfig(output=output)
        outbox.emit(events.ResponseCreated(response=self._wire()))

    @property
    def done(self) -> bool:
        """Whether `response.done` was sent."""
        return self.ending is not None

    @property
    def spoken_ms(self) -> float:
        """The audio that was sent."""
        return sum(message.spoken_ms for message in self._messages)

    @property
    def next_deadline(self) -> float | None:
        """When the next step is to be released, or None where nothing is queued."""
        return self._next_release if self._steps else None

    def begin_message(self, now: float) -> None:
        """Queue the beginning of a message; one that is open ends before it."""
        self._flush_sound(now)
        if self.settings.audio:
            self._encoder = AudioEncoder(self.settings.format, self.settings.delta_ms)
        self._queue(_Begin(), now)

    def push_text(self, text: str, now: float) -> None:
        """Queue words: of a written message, or what the audio that follows says."""
        if self.settings.audio:
            self._queue(_Words(text), now)
            return
        for word in split_words(text):
            self._queue(_Words(word), now)

    def push_audio(self, pcm: bytes, rate: int, now: float) -> None:
        """Queue PCM16 mono; whole samples. A written message leaves it out."""
        if self._encoder is not None:
            for delta in self._encoder.push(pcm, rate=rate):
                self._queue(_Delta(delta), now)

    def end_message(self, now: float) -> None:
        """Queue the end of the open message."""
        self._flush_sound(now)
        self._queue(_End(), now)

    def call_function(self, name: str, arguments: str, now: float) -> None:
        """Queue a function call.

        Args:
            name: The function.
            arguments: JSON text.
            now: The time, in seconds.
        """
        self._flush_sound(now)
        self._queue(_Call(name, arguments), now)

    def finish(self, now: float) -> None:
        """Queue the end of the response; an open message ends before it."""
        self._flush_sound(now)
        self._queue(_Finish(Ending.COMPLETED), now)

    def fail(self, error: events.ErrorDetails, now: float) -> None:
        """Queue the end of the response as failed."""
        self._queue(_Finish(Ending.FAILED, error), now)

    def release(self, now: float) -> None:
        """Release every step whose time has come."""
        pace = self.settings.pace
        while self._steps and (pace is None or self._next_release <= now):
            step = self._steps.popleft()
            if pace is not None:
                self._next_release += self._duration_s(step) / pace
            self._apply(step)
            limit = self.settings.max_tokens
            if limit is not None and self._said().total > limit:
                self.end(Ending.TOKEN_LIMIT)

    def end(self, ending: Ending, error: events.ErrorDetails | None = None) -> None:
        """End now: close what is open, drop what is queued, send `response.done`."""
        if self.done:
            return
        self._steps.clear()
        self._close_message(ending.item_status)
        self.ending = ending
        self._outbox.emit(events.ResponseDone(response=self._wire(error)))

    def _wire(self, error: events.ErrorDetails | None = None) -> events.Response:
        settings = self.settings
        ending = self.ending
        return events.Response(
            object="realtime.response",
            id=self.id,
            status="in_progress" if ending is None else ending.status,
            status_details=None if ending is None else ending.details(error),
            output=[record.item for record in self._records],
            conversation_id=settings.conversation.id if settings.conversation is not None else None,
            output_modalities=["audio" if settings.audio else "text"],
            max_output_tokens="inf" if settings.max_tokens is None else settings.max_tokens,
            audio=self._audio,
            usage=None if ending is None else usage(self.heard, self.cached, self._said()),
            metadata=settings.metadata,
        )

    def _said(self) -> Tally:
        said = Tally.of_all(message.tally for message in self._messages)
        return said + Tally(text=self._call_tokens)

    def _flush_sound(self, now: float) -> None:
        """Queue what is left of the open message's sound, shorter than a delta."""
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            for delta in encoder.flush():
                self._queue(_Delta(delta), now)

    def _queue(self, step: _Step, now: float) -> None:
        if not self._steps:
            # A queue that ran dry starts anew from now; one that did not keeps its schedule.
            self._next_release = max(self._next_release, now)
        self._steps.append(step)

    def _duration_s(self, step: _Step) -> float:
        if isinstance(step, _Delta):
            return milliseconds(len(step.data), self.settings.format) / 1000
        if isinstance(step, _Words) and not self.settings.audio:
            return len(step.text) / CHARACTERS_PER_S
        return 0.0

    def _apply(self, step: _Step) -> None:
        match step:
            case _Begin():
                self._begin_message()
            case _Words(text):
                if self._open is not None:
                    self._open.add_words(text)
            case _Delta(data):
                if self._open is not None:  # pragma: no branch - its message was begun before it
                    self._open.add_sound(data)
            case _End():
                self._close_message("completed")
            case _Call(name, arguments):
                self._call(name, arguments)
            case _Finish(ending, error):  # pragma: no branch - there is no other step
                self.end(ending, error)

    def _begin_message(self) -> None:
        self._close_message("completed")
        item_id = self._outbox.new_id("item")
        item = events.Message(
            object="realtime.item",
            id=item_id,
            role="assistant",
            status="in_progress",
            content=[],
        )
        sound = Sound(self.settings.format) if self.settings.audio else None
        record = Record(item_id, item, sound)
        index = self._add(record)
        self._open = OutputMessage(self._outbox, self.id, index, record)
        self._messages.append(self._open)

    def _close_message(self, status: str) -> None:
        message, self._open = self._open, None
        if message is not None:
            message.close(status)
            self._item_done(message.record, message.output_index)

    def _call(self, name: str, arguments: str) -> None:
        self._close_message("completed")
        item_id = self._outbox.new_id("item")
        call = events.FunctionCall(
            object="realtime.item",
            id=item_id,
            call_id=self._outbox.new_id("call"),
            name=name,
            arguments="",
            status="in_progress",
        )
        record = Record(item_id, call)
        index = self._add(record)
        for start in range(0, len(arguments), ARGUMENT_CHARACTERS):
            self._outbox.emit(
                events.ResponseFunctionCallArgumentsDelta(
                    response_id=self.id,
                    item_id=record.id,
                    output_index=index,
                    call_id=call.call_id,
                    delta=arguments[start : start + ARGUMENT_CHARACTERS],
                )
            )
        self._outbox.emit(
            events.ResponseFunctionCallArgumentsDone(
                response_id=self.id,
                item_id=record.id,
                output_index=index,
                call_id=call.call_id,
                name=name,
                arguments=arguments,
            )
        )
        record.item = msgspec.structs.replace(call, arguments=arguments, status="completed")
        self._call_tokens += text_tokens(name + arguments)
        self._item_done(record, index)

    def _add(self, record: Record) -> int:
        index = len(self._records)
        self._records.append(record)
        self._outbox.emit(
            events.ResponseOutputItemAdded(
                response_id=self.id, output_index=index, item=record.item
            )
        )
        if self.settings.conversation is not None:
            self.settings.conversation.add(record)
        return index

    def _item_done(self, record: Record, index: int) -> None:
        self._outbox.emit(
            events.ResponseOutputItemDone(response_id=self.id, output_index=index, item=record.item)
        )
        if self.settings.conversation is not None:
            self.settings.conversation.done(record)


_WIRE_FORMATS: dict[AudioFormat, events.AudioFormat] = {
    AudioFormat.PCM16: events.PcmFormat(),
    AudioFormat.PCMU: events.PcmuFormat(),
    AudioFormat.PCMA: events.PcmaFormat(),
}


def wire_format(audio: AudioFormat) -> events.AudioFormat:
    """The wire's Struct of a format."""
    return _WIRE_FORMATS[audio]
