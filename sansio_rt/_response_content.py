"""What a response brings while it runs: messages, text, audio and function calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import events
from ._audio import AudioFormat, AudioFrame
from ._conversation import Conversation
from ._generations import GeneratedCall, GeneratedMessage, Generation
from ._requests import Requests
from ._session_events import AudioDelta, CallReady, MessageEnded, MessageStarted, TextDelta
from ._tray import Tray

__all__ = ["ResponseContent"]


class ResponseContent:
    """Fills the running generations.

    Args:
        tray: Where events are laid down.
        conversation: The mirror, told of words and of how much audio was received.
        requests: Told of calls that are whole.
        running: The running generations, by response id.
        stray: Told of events that fit nothing: the event, why, and the id of a response that is not open.

    Attributes:
        audio_format: Of the audio that comes in.
    """

    def __init__(
        self,
        tray: Tray,
        conversation: Conversation,
        requests: Requests,
        running: Mapping[str, Generation],
        stray: Callable[..., None],
    ) -> None:
        self._tray = tray
        self._conversation = conversation
        self._requests = requests
        self._open = running
        self._stray = stray
        self.audio_format = AudioFormat.PCM16
        self.handlers: Mapping[type, Callable[[Any], None]] = {
            events.ResponseOutputAudioDelta: self._on_audio_delta,
            events.ResponseOutputAudioTranscriptDelta: self._on_text_delta,
            events.ResponseOutputTextDelta: self._on_text_delta,
            events.ResponseFunctionCallArgumentsDelta: self._on_arguments_delta,
            events.ResponseFunctionCallArgumentsDone: self._on_arguments_done,
            events.ResponseOutputAudioTranscriptDone: self._on_text_done,
            events.ResponseOutputTextDone: self._on_text_done,
            events.ResponseOutputItemAdded: self._on_item_added,
            events.ResponseOutputItemDone: self._on_item_done,
        }

    def message(self, item_id: str) -> GeneratedMessage | None:
        """The message of a running generation with this id, or None."""
        for generation in self._open.values():
            if item_id in generation.messages:
                return generation.messages[item_id]
        return None

    def take_output(
        self, generation: Generation, output: list[events.Item], event: events.ResponseDone
    ) -> None:
        """Items that no event before told of, or did not finish."""
        for index, item in enumerate(output):
            item_id = item.id or ""
            if item_id in generation.items:
                continue
            self._add_item(generation, item_id, item, index)
            generation.keep_item(item_id, item)
            if isinstance(item, events.FunctionCall):
                self._finish_call(generation.calls[item_id], item.arguments)
            elif isinstance(item, events.Message):
                self._take_content(generation.messages[item_id], item, event)

    def finish(self, generation: Generation) -> None:
        """Ends whatever a response that is over has left open."""
        for message in generation.messages.values():
            if not message.done:
                self._finish_message(message)
        for call in generation.calls.values():
            if not call.done:  # cut off: there is nothing to answer
                call.done = call.answered = True

    # --- server events ----------------------------------------------------------------------

    def _on_audio_delta(self, event: events.ResponseOutputAudioDelta) -> None:
        generation = self._open.get(event.response_id)
        message = generation.messages.get(event.item_id) if generation is not None else None
        if message is None:
            message = self._late_message(event)
            if message is None:
                return
        generation, now = message.generation, self._tray.now
        generation.heard_at = now
        start = message.received_samples
        audio = event.delta
        audio_format = self.audio_format
        message.received_samples = start + len(audio) // audio_format.bytes_per_sample
        if not start:
            message.modalities.add("audio")
            generation.note_token(now)
            generation.note_audio(now)
        frame = AudioFrame(audio, audio_format.rate, audio_format, start)
        self._tray.session_events.append(AudioDelta(message, event.content_index, frame))

    def _on_text_delta(
        self, event: events.ResponseOutputTextDelta | events.ResponseOutputAudioTranscriptDelta
    ) -> None:
        generation = self._open.get(event.response_id)
        message = generation.messages.get(event.item_id) if generation is not None else None
        if message is None:
            message = self._late_message(event)
            if message is None:
                return
        if message.is_whole(event.content_index):
            self._stray(event, "a delta of a text that has ended")
            return
        message.generation.note_token(self._tray.now)
        message.add_text(event.content_index, event.delta)
        is_transcript = type(event) is events.ResponseOutputAudioTranscriptDelta
        message.modalities.add("audio" if is_transcript else "text")
        self._tray.session_events.append(
            TextDelta(message, event.content_index, event.delta, is_transcript, event)
        )

    def _on_text_done(
        self, event: events.ResponseOutputTextDone | events.ResponseOutputAudioTranscriptDone
    ) -> None:
        message = self._known_message(event.response_id, event.item_id)
        if message is None:
            self._stray(event, "the end of a text that was not begun", event.response_id)
            return
        message.generation.heard_at = self._tray.now
        if isinstance(event, events.ResponseOutputAudioTranscriptDone):
            self._finish_text(message, event.content_index, event.transcript, True, event)
        else:
            self._finish_text(message, event.content_index, event.text, False, event)

    def _on_arguments_delta(self, event: events.ResponseFunctionCallArgumentsDelta) -> None:
        call = self._known_call(event.response_id, event.item_id)
        if call is None:
            self._stray(event, "arguments of a call that was not begun", event.response_id)
        elif not call.done:
            call.generation.note_token(self._tray.now)
            call.add_arguments(event.delta)

    def _on_arguments_done(self, event: events.ResponseFunctionCallArgumentsDone) -> None:
        call = self._known_call(event.response_id, event.item_id)
        if call is None:
            self._stray(event, "the end of a call that was not begun", event.response_id)
            return
        call.generation.heard_at = self._tray.now
        self._finish_call(call, event.arguments)

    def _on_item_added(self, event: events.ResponseOutputItemAdded) -> None:
        generation = self._open.get(event.response_id)
        if generation is None:
            self._stray(
                event, "an output item of a response that is not running", event.response_id
            )
            return
        generation.heard_at = self._tray.now
        self._add_item(generation, event.item.id or "", event.item, event.output_index)

    def _on_item_done(self, event: events.ResponseOutputItemDone) -> None:
        generation = self._open.get(event.response_id)
        if generation is None:
            self._stray(
                event,
                "the end of an output item of a response that is not running",
                event.response_id,
            )
            return
        generation.heard_at = self._tray.now
        item = event.item
        item_id = item.id or ""
        self._add_item(generation, item_id, item, event.output_index)
        generation.keep_item(item_id, item)
        if isinstance(item, events.Message):
            message = generation.messages[item_id]
            self._take_content(message, item, event)
            self._finish_message(message)
        elif isinstance(item, events.FunctionCall) and item.status != "incomplete":
            self._finish_call(generation.calls[item_id], item.arguments)

    # --- steps ------------------------------------------------------------------------------

    def _finish_text(
        self,
        message: GeneratedMessage,
        content_index: int,
        text: str,
        is_transcript: bool,
        event: events.ServerEvent,
    ) -> None:
        """Takes the whole text of a part; what no delta told comes out as one."""
        untold = message.finish_text(content_index, text)
        if untold and not message.done:
            message.generation.note_token(self._tray.now)
            message.modalities.add("audio" if is_transcript else "text")
            self._tray.session_events.append(
                TextDelta(message, content_index, untold, is_transcript, event)
            )

    def _take_content(
        self, message: GeneratedMessage, item: events.Message, event: events.ServerEvent
    ) -> None:
        for index, part in enumerate(item.content):
            if type(part) is events.OutputAudio:
                if part.transcript:
                    self._finish_text(message, index, part.transcript, True, event)
            elif type(part) is events.OutputText and part.text:
                self._finish_text(message, index, part.text, False, event)

    def _add_item(
        self, generation: Generation, item_id: str, item: events.Item, output_index: int
    ) -> None:
        if isinstance(item, events.Message):
            if item_id not in generation.messages:
                self._start_message(generation, item_id, output_index)
        elif isinstance(item, events.FunctionCall) and item_id not in generation.calls:
            call_id = item.call_id or item_id
            call = GeneratedCall(item_id, generation, item.name, call_id)
            # A call id has one output, so a second item of the same id has nothing to wait for.
            same = any(other.call_id == call_id for other in generation.calls.values())
            call.done = call.answered = same
            generation.calls[item_id] = call

    def _start_message(
        self, generation: Generation, item_id: str, output_index: int
    ) -> GeneratedMessage:
        message = GeneratedMessage(item_id, generation, output_index)
        generation.messages[item_id] = message
        self._tray.session_events.append(MessageStarted(message))
        return message

    def _late_message(
        self,
        event: events.ResponseOutputAudioDelta
        | events.ResponseOutputTextDelta
        | events.ResponseOutputAudioTranscriptDelta,
    ) -> GeneratedMessage | None:
        """A delta came before its item: begin the message where the response runs (G6)."""
        generation = self._open.get(event.response_id)
        if generation is None:
            self._stray(event, "a delta of a response that is not running", event.response_id)
            return None
        return self._start_message(generation, event.item_id, event.output_index)

    def _finish_message(self, message: GeneratedMessage) -> None:
        if message.done:
            return
        message.done = True
        spoken = "audio" in message.modalities
        entry = self._conversation.set_words(message.id, message.text, spoken=spoken)
        if entry is not None:
            entry.received_ms = message.received_ms
        self._tray.session_events.append(MessageEnded(message))

    def _finish_call(self, call: GeneratedCall, arguments: str) -> None:
        if call.done:
            return
        call.done = True
        call.arguments = arguments or call.arguments
        self._conversation.finish_call(call.item_id, call.arguments)
        self._requests.expect_output(call)
        self._tray.session_events.append(CallReady(call))

    def _known_message(self, response_id: str, item_id: str) -> GeneratedMessage | None:
        generation = self._open.get(response_id)
        return None if generation is None else generation.messages.get(item_id)

    def _known_call(self, response_id: str, item_id: str) -> GeneratedCall | None:
        generation = self._open.get(response_id)
        return None if generation is None else generation.calls.get(item_id)
