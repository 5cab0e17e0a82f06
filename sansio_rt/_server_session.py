"""The server's side of a Realtime session, message by message, without a socket.

Bytes of whole messages go in, bytes of whole messages come out. What the session cannot do itself
(recognise, think, speak, close) it asks of its driver; see `_server_work`. Time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from . import events
from ._errors import LocalProtocolError, SchemaError
from ._server_config import (
    VOICES,
    audio_format,
    first_session,
    turn_settings,
    updated_session,
)
from ._server_items import Record, ServerConversation
from ._server_listener import Listener
from ._server_message import split_words
from ._server_outbox import Outbox
from ._server_refusals import check_session_type, event_id_of, schema_refusal, unknown_event
from ._server_replies import Replies
from ._server_rules import setting
from ._server_turns import Detector
from ._server_usage import transcription_usage
from ._server_work import (
    CloseWanted,
    Refusal,
    ServerLimits,
    ServerWork,
    TranscriptionWanted,
)
from ._sources import IdSource, SequentialIds

__all__ = ["ServerSession"]


class ServerSession:
    """One session of an emulated service.

    After every call, send `messages_to_send()` and do what `next_event()` asks for; call
    `handle_timer` when `next_deadline()` has come.

    Args:
        detector: Voice activity detection for `server_vad` and `semantic_vad`; None never hears
            speech.
        ids: Source of the ids of events, items, responses and calls; unique over all sessions of
            a service.
        limits: The service's numbers.
        pace: How many seconds of speech are released in a second; None releases all at once.
        voices: The voices that are known; an empty collection lets any name pass.
        stream_speech: Whether the driver wants utterances while they come in (`SpeechHeard`).
        epoch_s: The wall clock's time, in Unix seconds, when `now` is 0; for `expires_at`.
    """

    def __init__(
        self,
        *,
        detector: Detector | None = None,
        ids: IdSource | None = None,
        limits: ServerLimits | None = None,
        pace: float | None = 20.0,
        voices: Collection[str] = VOICES,
        stream_speech: bool = False,
        epoch_s: float = 0.0,
    ) -> None:
        self._limits = limits or ServerLimits()
        self._outbox = Outbox(ids or SequentialIds())
        self._voices = voices
        self._epoch_s = epoch_s
        self._expires: float | None = None
        self._closed = False
        self._unheard: dict[str, Record] = {}
        self._conversation = ServerConversation(self._outbox, self._limits)
        self._listener = Listener(
            self._outbox, self._conversation, self._limits, detector, stream_speech=stream_speech
        )
        self._replies = Replies(
            self._outbox, self._conversation, self._limits, pace=pace, voices=voices
        )
        self._session = first_session(self._outbox.new_id("sess"))
        self._configure_listener()
        self._handlers: dict[type[Any], Callable[[Any, float], None]] = {
            events.SessionUpdate: self._on_session_update,
            events.InputAudioBufferAppend: self._on_append,
            events.InputAudioBufferCommit: self._on_commit,
            events.InputAudioBufferClear: lambda _event, _now: self._listener.clear(),
            events.OutputAudioBufferClear: lambda _event, _now: self._replies.clear_output(),
            events.ConversationItemCreate: self._on_item_create,
            events.ConversationItemDelete: lambda event, _now: self._conversation.delete(event),
            events.ConversationItemRetrieve: lambda event, _now: self._conversation.retrieve(event),
            events.ConversationItemTruncate: lambda event, _now: self._conversation.truncate(event),
            events.ResponseCreate: self._on_response_create,
            events.ResponseCancel: lambda event, now: self._replies.cancel(event.response_id, now),
        }

    @property
    def session(self) -> events.RealtimeSession:
        """The configuration in force."""
        return self._session

    @property
    def items(self) -> list[events.Item]:
        """The default conversation's items in order, without audio."""
        return [record.item for record in self._conversation.records()]

    @property
    def closed(self) -> bool:
        """Whether the session is over; it takes and sends nothing any more."""
        return self._closed

    def connect(self, now: float, *, model: str = "gpt-realtime") -> None:
        """The connection is up: queue `session.created` and start the session's life.

        Args:
            now: The time, in seconds.
            model: The model's name, as the client asked for it.
        """
        self._expires = now + self._limits.session_s
        self._session = msgspec.structs.replace(
            self._session, model=model, expires_at=int(self._epoch_s + self._expires)
        )
        self._outbox.emit(events.SessionCreated(session=self._session))

    def receive_message(self, message: str | bytes, now: float) -> None:
        """Take one whole message of the client; a bad one is answered by an `error` event.

        Args:
            message: The text of the message.
            now: The time, in seconds.
        """
        if self._closed:
            return
        try:
            event = self._read(message)
        except SchemaError as error:
            self._outbox.refuse(schema_refusal(error), event_id_of(message))
        except Refusal as refusal:
            self._outbox.refuse(refusal, event_id_of(message))
        else:
            self._handle(event, now)
        self._replies.release(now)

    def receive_event(self, event: events.ClientEvent, now: float) -> None:
        """Take one event of the client that needs no reading: it was made in this process.

        Args:
            event: One that `receive_message` would take; nobody may change it afterwards.
            now: The time, in seconds.
        """
        if not self._closed:
            self._handle(event, now)
            self._replies.release(now)

    def next_deadline(self) -> float | None:
        """When `handle_timer` is to be called, in seconds, or None."""
        if self._closed:
            return None
        soonest = self._expires
        for when in (self._idle_deadline(), self._replies.next_deadline()):
            if when is not None and (soonest is None or when < soonest):
                soonest = when
        return soonest

    def handle_timer(self, now: float) -> None:
        """Do what is due: release deltas, end an idle user's turn, end a session that is too old.

        Args:
            now: The time, in seconds.
        """
        if self._closed:
            return
        self._replies.release(now)
        if self._expires is not None and now >= self._expires:
            self._expire()
            return
        idle = self._idle_deadline()
        if idle is not None and now >= idle:
            self._on_idle(now)

    def messages_to_send(self) -> list[bytes]:
        """The encoded events that are queued, in order; each is one text message."""
        return self._outbox.take_messages()

    def next_event(self) -> ServerWork | None:
        """The next request for the driver, or None."""
        return self._outbox.next_work()

    def close(self) -> None:
        """The connection is gone: nothing is taken or sent any more; the driver is told to stop."""
        if not self._closed:
            self._closed = True
            self._replies.stop()
            self._outbox.take_messages()

    def transcribed(self, item_id: str, text: str, now: float) -> None:
        """The words of a `TranscriptionWanted`.

        Args:
            item_id: The item.
            text: What was said; "" for nothing.
            now: The time, in seconds.
        """
        record = self._unheard.pop(item_id, None)
        if record is None or self._closed:
            return
        record.heard = text
        if record.wants is not None and self._conversation.get(item_id) is not None:
            self._emit_transcript(record, text)
        self._replies.ask_replies()
        self._replies.release(now)

    def transcription_failed(self, item_id: str, message: str, now: float) -> None:
        """The words of a `TranscriptionWanted` cannot be known.

        Args:
            item_id: The item.
            message: Why, for the client's developer.
            now: The time, in seconds.
        """
        record = self._unheard.pop(item_id, None)
        if record is None or self._closed:
            return
        record.heard = ""
        if record.wants is not None and self._conversation.get(item_id) is not None:
            self._outbox.emit(
                events.ConversationItemInputAudioTranscriptionFailed(
                    item_id=item_id,
                    content_index=0,
                    error=events.ErrorDetails(
                        type="server_error", code="transcription_failed", message=message
                    ),
                )
            )
        self._replies.ask_replies()
        self._replies.release(now)

    def begin_message(self, response_id: str, now: float) -> bool:
        """Begin a message of a reply. Like the calls below it gives False if that is over."""
        response = self._replies.get(response_id)
        if response is not None:
            response.begin_message(now)
            self._replies.release(now)
        return response is not None

    def push_text(self, response_id: str, text: str, now: float) -> bool:
        """Add words to the open message: written ones, or what the audio that follows says."""
        response = self._replies.get(response_id)
        if response is not None:
            response.push_text(text, now)
            self._replies.release(now)
        return response is not None

    def push_audio(self, response_id: str, pcm: bytes, now: float, *, rate: int = 24_000) -> bool:
        """Add sound to the open message.

        Args:
            response_id: The response.
            pcm: PCM16 mono little-endian, whole samples.
            now: The time, in seconds.
            rate: Sample rate of `pcm` in Hz.
        """
        response = self._replies.get(response_id)
        if response is not None:
            response.push_audio(pcm, rate, now)
            self._replies.release(now)
        return response is not None

    def end_message(self, response_id: str, now: float) -> bool:
        """End the open message."""
        response = self._replies.get(response_id)
        if response is not None:
            response.end_message(now)
            self._replies.release(now)
        return response is not None

    def add_message(
        self, response_id: str, text: str, now: float, *, pcm: bytes = b"", rate: int = 24_000
    ) -> bool:
        """Add a whole message to a reply: begin it, add words and sound, and end it.

        Args:
            response_id: The response.
            text: The words; "" for none.
            now: The time, in seconds.
            pcm: The sound, PCM16 mono little-endian, whole samples.
            rate: Sample rate of `pcm` in Hz.
        """
        response = self._replies.get(response_id)
        if response is not None:
            response.begin_message(now)
            response.push_text(text, now)
            response.push_audio(pcm, rate, now)
            response.end_message(now)
            self._replies.release(now)
        return response is not None

    def call_function(self, response_id: str, name: str, arguments: str, now: float) -> bool:
        """Call one of the client's functions; `arguments` is JSON text."""
        response = self._replies.get(response_id)
        if response is not None:
            response.call_function(name, arguments, now)
            self._replies.release(now)
        return response is not None

    def finish(self, response_id: str, now: float) -> bool:
        """The reply is complete."""
        response = self._replies.get(response_id)
        if response is not None:
            response.finish(now)
            self._replies.release(now)
        return response is not None

    def fail(
        self, response_id: str, message: str, now: float, *, code: str = "server_error"
    ) -> bool:
        """The reply cannot be made: the response ends as failed.

        Args:
            response_id: The response.
            message: Why, for the client's developer.
            now: The time, in seconds.
            code: The service's code.
        """
        response = self._replies.get(response_id)
        if response is not None:
            error = events.ErrorDetails(type="server_error", code=code, message=message)
            response.fail(error, now)
            self._replies.release(now)
        return response is not None

    def _read(self, message: str | bytes) -> events.ClientEvent:
        event = events.decode_client(message)
        if isinstance(event, events.UnknownEvent):
            raise unknown_event(event, self._handlers)
        if isinstance(event, events.SessionUpdate):
            check_session_type(message)
        return event

    def _handle(self, event: events.WireObject, now: float) -> None:
        try:
            self._handlers[type(event)](event, now)
        except LocalProtocolError:
            # What it holds came in as JSON and cannot go out as such, for one since it is too deep.
            refusal = Refusal("The event cannot be represented.", code="invalid_value")
            self._outbox.refuse(refusal, _own_id(event))
        except Refusal as refusal:
            self._outbox.refuse(refusal, _own_id(event))

    def _on_session_update(self, event: events.SessionUpdate, _now: float) -> None:
        session = updated_session(
            self._session, event.session, voices=self._voices, spoken=self._replies.spoken
        )
        # Told before it is in force: what cannot be represented is not to be.
        self._outbox.emit(events.SessionUpdated(session=session))
        self._session = session
        self._configure_listener()

    def _configure_listener(self) -> None:
        wanted = setting(self._session, "audio.input.transcription")
        self._transcription = wanted if isinstance(wanted, events.Transcription) else None
        self._turns = turn_settings(self._session)
        self._audio = audio_format(self._session, "audio.input.format")
        self._listener.configure(self._audio, self._turns)

    def _on_append(self, event: events.InputAudioBufferAppend, now: float) -> None:
        settings = self._turns
        for found in self._listener.append(event.audio, self._transcription):
            if isinstance(found, Record):
                self._hear(found)
                if settings is not None and settings.create_response:
                    self._reply_unasked(now)
                continue
            self._replies.quiet_from = None
            if settings is not None and settings.interrupt_response:
                self._replies.interrupt(now)

    def _reply_unasked(self, now: float) -> None:
        try:
            self._create_response(None, now)
        except Refusal as refusal:
            self._outbox.refuse(refusal, None)

    def _on_commit(self, _event: events.InputAudioBufferCommit, _now: float) -> None:
        self._hear(self._listener.commit(self._transcription))

    def _on_item_create(self, event: events.ConversationItemCreate, _now: float) -> None:
        record = self._conversation.create(event, self._audio)
        if record.heard is None:
            self._hear(record)

    def _on_response_create(self, event: events.ResponseCreate, now: float) -> None:
        given = event.response
        self._create_response(given if isinstance(given, events.ResponseParams) else None, now)

    def _create_response(self, given: events.ResponseParams | None, now: float) -> None:
        for record in self._replies.create(self._session, given, now):
            if record.id not in self._unheard:
                self._hear(record)

    def _hear(self, record: Record) -> None:
        """Have the words of a spoken item found; replies that build on it wait for them."""
        if record.sound is None:  # pragma: no cover - what is not spoken was heard from the start
            return
        before = self._unheard.get(record.id)
        self._unheard[record.id] = record
        model = record.wants.model if record.wants is not None else None
        self._outbox.ask(
            TranscriptionWanted(
                item_id=record.id,
                pcm=record.sound.pcm16(),
                rate=record.sound.format.rate,
                model=model if isinstance(model, str) else None,
            )
        )
        if before is not None:  # deleted: the words that come for its id are not for it
            before.heard = ""
            self._replies.ask_replies()

    def _emit_transcript(self, record: Record, text: str) -> None:
        record.set_transcript(text)
        model = record.wants.model if record.wants is not None else None
        # Whisper tells all of it at once, the other models word by word.
        whole = isinstance(model, str) and model.startswith("whisper")
        for delta in [text] if whole and text else split_words(text):
            self._outbox.emit(
                events.ConversationItemInputAudioTranscriptionDelta(
                    item_id=record.id, content_index=0, delta=delta
                )
            )
        duration_ms = record.sound.duration_ms if record.sound is not None else 0.0
        self._outbox.emit(
            events.ConversationItemInputAudioTranscriptionCompleted(
                item_id=record.id,
                content_index=0,
                transcript=text,
                usage=transcription_usage(str(model), duration_ms, text),
            )
        )

    def _idle_deadline(self) -> float | None:
        settings = self._turns
        quiet_from = self._replies.quiet_from
        if settings is None or settings.idle_timeout_ms is None or quiet_from is None:
            return None
        return None if self._listener.speaking else quiet_from + settings.idle_timeout_ms / 1000

    def _on_idle(self, now: float) -> None:
        settings = self._turns
        timeout_ms = settings.idle_timeout_ms if settings is not None else None
        self._replies.quiet_from = None
        self._listener.commit_idle(timeout_ms or 0)
        self._reply_unasked(now)

    def _expire(self) -> None:
        minutes = self._limits.session_s / 60
        self._outbox.refuse(
            Refusal(
                f"Your session hit the maximum duration of {minutes:g} minutes.",
                code="session_expired",
            ),
            None,
        )
        self._closed = True
        self._replies.stop()
        self._outbox.ask(CloseWanted(1001, "session expired"))


def _own_id(event: events.WireObject) -> str | None:
    event_id = getattr(event, "event_id", None)
    return event_id if isinstance(event_id, str) else None
