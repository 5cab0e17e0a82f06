"""One response of the server: its items in the service's order, released at a pace.

What the driver gives is queued as steps. A step is released when its time has come: sound and text
take their own duration, divided by the pace. Only what was released counts: a cancelled response
keeps what the client has got, and nothing of what was still queued.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import Struct

from . import events
from ._audio import AudioEncoder
from ._server_input import Sound, milliseconds
from ._server_items import Record, ServerConversation
from ._server_message import CHARACTERS_PER_S, OutputMessage, split_words
from ._server_outbox import Outbox
from ._server_terms import Terms
from ._server_usage import Tally, text_tokens, usage

__all__ = ["Ending", "ResponseSettings", "ServerResponse"]

ARGUMENT_CHARACTERS = 24
"""Length of one delta of a call's arguments."""


class Ending(enum.Enum):
    """How a response ends.

    Attributes:
        status: The response's status on the wire.
        reason: The reason in its status details, or None.
        item_status: The status of an item that was open when the response ended.
    """

    COMPLETED = ("completed", None)
    TURN_DETECTED = ("cancelled", "turn_detected")
    CLIENT_CANCELLED = ("cancelled", "client_cancelled")
    TOKEN_LIMIT = ("incomplete", "max_output_tokens")
    FAILED = ("failed", None)

    def __init__(self, status: str, reason: str | None) -> None:
        self.status = status
        self.reason = reason
        self.item_status = "completed" if status == "completed" else "incomplete"

    def details(self, error: events.ErrorDetails | None) -> events.ResponseStatusDetails | None:
        """The `status_details`, or None where there is nothing to tell."""
        if self is Ending.COMPLETED:
            return None
        details = events.ResponseStatusDetails(type=self.status)
        if self.reason is not None:
            details = msgspec.structs.replace(details, reason=self.reason)
        return details if error is None else msgspec.structs.replace(details, error=error)


class ResponseSettings(Struct, frozen=True):
    """Where a response goes, and how fast.

    Attributes:
        conversation: Where its items go, or None for an out-of-band response.
        metadata: What the client wants to have back, or None.
        delta_ms: Length of one audio delta.
        pace: How many seconds of speech are released in a second; None releases at once.
    """

    conversation: ServerConversation | None
    metadata: dict[str, Any] | None
    delta_ms: int
    pace: float | None


class _Step(Struct, frozen=True):
    """Something to be released: what is done then, and how long it takes until the next."""

    do: Callable[..., None]
    arguments: tuple[Any, ...] = ()
    duration_s: float = 0.0


class ServerResponse:
    """One response, from `response.created` to `response.done`.

    Attributes:
        id: Its id.
        terms: What it was asked to be.
        settings: Where it goes.
        ending: How it ended, or None while it goes on.
        heard: Tokens of its input.
        cached: The part of them that came from the cache.

    Args:
        outbox: Where its events go.
        terms: What it was asked to be.
        settings: Where it goes.
        now: The time, in seconds.
    """

    def __init__(
        self, outbox: Outbox, terms: Terms, settings: ResponseSettings, now: float
    ) -> None:
        self.id = outbox.new_id("resp")
        self.terms = terms
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
        self._shown = self._as_created()
        outbox.emit(events.ResponseCreated(response=self._shown))

    @property
    def spoken_ms(self) -> float:
        """The audio that was sent."""
        return sum([message.spoken_ms for message in self._messages])

    @property
    def next_deadline(self) -> float | None:
        """When the next step is to be released, or None where nothing is queued."""
        return self._next_release if self._steps else None

    def begin_message(self, now: float) -> None:
        """Queue the beginning of a message; one that is open ends before it."""
        self._flush_sound(now)
        terms = self.terms
        if terms.audio:
            self._encoder = AudioEncoder(terms.format, self.settings.delta_ms)
        self._queue(_Step(ServerResponse._begin_message), now)

    def push_text(self, text: str, now: float) -> None:
        """Queue words: of a written message, or what the audio that follows says."""
        if self.terms.audio:
            self._queue(_Step(ServerResponse._add_words, (text,)), now)
            return
        for word in split_words(text):
            duration_s = len(word) / CHARACTERS_PER_S
            self._queue(_Step(ServerResponse._add_words, (word,), duration_s), now)

    def push_audio(self, pcm: bytes, rate: int, now: float) -> None:
        """Queue PCM16 mono; whole samples. A written message leaves it out."""
        if self._encoder is not None:
            self._queue_sound(self._encoder.push(pcm, rate=rate), now)

    def end_message(self, now: float) -> None:
        """Queue the end of the open message."""
        self._flush_sound(now)
        self._queue(_Step(ServerResponse._close_message, ("completed",)), now)

    def call_function(self, name: str, arguments: str, now: float) -> None:
        """Queue a function call.

        Args:
            name: The function.
            arguments: JSON text.
            now: The time, in seconds.
        """
        self._flush_sound(now)
        self._queue(_Step(ServerResponse._call, (name, arguments)), now)

    def finish(self, now: float) -> None:
        """Queue the end of the response; an open message ends before it."""
        self._flush_sound(now)
        self._queue(_Step(ServerResponse.end, (Ending.COMPLETED,)), now)

    def fail(self, error: events.ErrorDetails, now: float) -> None:
        """Queue the end of the response as failed."""
        self._queue(_Step(ServerResponse.end, (Ending.FAILED, error)), now)

    def release(self, now: float) -> None:
        """Release every step whose time has come."""
        steps, pace, limit = self._steps, self.settings.pace, self.terms.max_tokens
        while steps and (pace is None or self._next_release <= now):
            step = steps.popleft()
            if pace is not None:
                self._next_release += step.duration_s / pace
            step.do(self, *step.arguments)
            if limit is not None and self._said().total > limit:
                self.end(Ending.TOKEN_LIMIT)

    def end(self, ending: Ending, error: events.ErrorDetails | None = None) -> None:
        """End now: close what is open, drop what is queued, send `response.done`."""
        if self.ending is not None:
            return
        self._steps.clear()
        self._close_message(ending.item_status)
        self.ending = ending
        shown = msgspec.structs.replace(
            self._shown,
            status=ending.status,
            status_details=ending.details(error),
            output=[record.item for record in self._records],
            usage=usage(self.heard, self.cached, self._said()),
        )
        self._outbox.emit(events.ResponseDone(response=shown))

    def _as_created(self) -> events.Response:
        terms, settings = self.terms, self.settings
        return events.Response(
            object="realtime.response",
            id=self.id,
            status="in_progress",
            status_details=None,
            output=[],
            conversation_id=settings.conversation.id if settings.conversation is not None else None,
            output_modalities=["audio" if terms.audio else "text"],
            max_output_tokens="inf" if terms.max_tokens is None else terms.max_tokens,
            audio=terms.on_wire,
            usage=None,
            metadata=settings.metadata,
        )

    def _said(self) -> Tally:
        said = Tally(text=self._call_tokens)
        for message in self._messages:
            said += message.tally
        return said

    def _flush_sound(self, now: float) -> None:
        """Queue what is left of the open message's sound, shorter than a delta."""
        encoder = self._encoder
        if encoder is not None:
            self._encoder = None
            self._queue_sound(encoder.flush(), now)

    def _queue_sound(self, deltas: Iterable[bytes], now: float) -> None:
        audio = self.terms.format
        for delta in deltas:
            duration_s = milliseconds(len(delta), audio) / 1000
            self._queue(_Step(ServerResponse._add_sound, (delta,), duration_s), now)

    def _queue(self, step: _Step, now: float) -> None:
        # A queue that ran dry starts anew from now; one that did not keeps its schedule.
        if not self._steps and self._next_release < now:
            self._next_release = now
        self._steps.append(step)

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
        terms = self.terms
        sound = Sound(terms.format) if terms.audio else None
        record = Record(item_id, item, sound)
        index = self._add(record)
        self._open = OutputMessage(self._outbox, self.id, index, record)
        self._messages.append(self._open)

    def _add_words(self, text: str) -> None:
        if self._open is not None:
            self._open.add_words(text)

    def _add_sound(self, delta: bytes) -> None:
        if self._open is not None:  # pragma: no branch - its message was begun before it
            self._open.add_sound(delta)

    def _close_message(self, status: str) -> None:
        message = self._open
        if message is not None:
            self._open = None
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
