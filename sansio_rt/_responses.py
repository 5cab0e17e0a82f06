"""The response side of a session: from response events to generations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from msgspec import UNSET

from . import events
from ._arbiter import PendingReply
from ._audio import AudioFormat, AudioFrame
from ._commands import CommandKind
from ._config import Limits
from ._conversation import Conversation, item_id_of
from ._errors import GenerationFailed
from ._generations import (
    GeneratedCall,
    GeneratedMessage,
    Generation,
    GenerationOrigin,
    GenerationStatus,
)
from ._history import History
from ._recovery import Silences, Trial, Verdict
from ._requests import METADATA_KEY, Requests, remember
from ._session_events import (
    AudioDelta,
    CallReady,
    GenerationEnded,
    GenerationStarted,
    MessageEnded,
    MessageStarted,
    StrayEvent,
    TextDelta,
)
from ._tray import Tray

__all__ = ["Responses"]

_STATUS = {
    "completed": GenerationStatus.COMPLETED,
    "cancelled": GenerationStatus.CANCELLED,
    "incomplete": GenerationStatus.INCOMPLETE,
    "failed": GenerationStatus.FAILED,
}


class Responses:
    """Generations by response id.

    Args:
        tray: Where events are laid down.
        conversation: The mirror, told how much audio of an item was received.
        history: Edits of the conversation, for recovery.
        requests: What was asked for.
        text_recoveries: How often a text in the place of audio is asked for again.
        limits: How many responses may be open at once, and what one may hold.

    Attributes:
        audio_format: Of the audio that comes in.
        input_format: Of the caller's audio.
        wants_audio: Whether the session's responses are to be spoken.
        open: The running generations that the application knows, by response id.
    """

    def __init__(
        self,
        tray: Tray,
        conversation: Conversation,
        history: History,
        requests: Requests,
        *,
        limits: Limits,
        text_recoveries: int,
    ) -> None:
        self._tray = tray
        self._conversation = conversation
        self._history = history
        self._requests = requests
        self._arbiter = requests.arbiter
        self._text_recoveries = text_recoveries
        self._trials: dict[str, Trial] = {}
        self._convicted: dict[str, Trial] = {}
        self._silences = Silences(tray, conversation, history)
        self._limits = limits
        self._ended: dict[str, None] = {}
        # Responses whose caller gave up before they began: cancelled, and never heard of.
        self._muted: dict[str, Generation] = {}
        self.audio_format = AudioFormat.PCM16
        self.input_format = AudioFormat.PCM16
        self.wants_audio = True
        self.open: dict[str, Generation] = {}
        self.handlers: Mapping[type, Callable[[Any], None]] = {
            events.ResponseOutputAudioDelta: self._on_audio_delta,
            events.ResponseOutputAudioTranscriptDelta: self._on_text_delta,
            events.ResponseOutputTextDelta: self._on_text_delta,
            events.ResponseFunctionCallArgumentsDelta: self._on_arguments_delta,
            events.ResponseFunctionCallArgumentsDone: self._on_arguments_done,
            events.ResponseOutputAudioTranscriptDone: self._on_text_done,
            events.ResponseOutputTextDone: self._on_text_done,
            events.ResponseCreated: self._on_created,
            events.ResponseOutputItemAdded: self._on_item_added,
            events.ResponseOutputItemDone: self._on_item_done,
            events.ResponseDone: self._on_done,
        }

    def active(self) -> Generation | None:
        """The newest running generation of the default conversation, or None."""
        return next((g for g in reversed(self.open.values()) if g.in_conversation), None)

    def message(self, item_id: str) -> GeneratedMessage | None:
        """The message of a running generation with this id, or None."""
        for generation in self.open.values():
            if item_id in generation.messages:
                return generation.messages[item_id]
        return None

    def lose_all(self, *, keep_calls: bool) -> None:
        """The connection is gone: every running generation ends as lost.

        Args:
            keep_calls: Whether calls may still be answered, on a connection that replays them.
        """
        for generation in list(self.open.values()):
            self._end(generation, GenerationStatus.LOST)
        for forgotten in (self._muted, self._trials, self._convicted):
            forgotten.clear()
        self._silences.clear()
        self._requests.lose_all(keep_calls=keep_calls)

    # --- server events ----------------------------------------------------------------------

    def _on_audio_delta(self, event: events.ResponseOutputAudioDelta) -> None:
        generation = self.open.get(event.response_id)
        message = generation.messages.get(event.item_id) if generation is not None else None
        if message is None:
            message = self._late_message(event)
            if message is None:
                return
        start = message.received_samples
        audio = event.delta
        audio_format = self.audio_format
        message.received_samples = start + len(audio) // audio_format.bytes_per_sample
        if not start:
            message.modalities.add("audio")
            message.generation.note_token(self._tray.now)
            message.generation.note_audio(self._tray.now)
        frame = AudioFrame(audio, audio_format.rate, audio_format, start)
        self._tray.session_events.append(AudioDelta(message, event.content_index, frame))

    def _on_text_delta(
        self, event: events.ResponseOutputTextDelta | events.ResponseOutputAudioTranscriptDelta
    ) -> None:
        generation = self.open.get(event.response_id)
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
        if isinstance(event, events.ResponseOutputTextDone):
            self._finish_text(message, event.content_index, event.text, False, event)
        else:
            self._finish_text(message, event.content_index, event.transcript, True, event)

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
        self._finish_call(call, event.arguments)

    def _on_created(self, event: events.ResponseCreated) -> None:
        response = event.response
        if self._is_known(response.id):
            self._stray(event, "a response that was created before")
            return
        running = len(self.open) + len(self._muted) + len(self._trials)
        unasked = self._requests.answered_by(response) is None
        if unasked and running >= self._limits.max_open_responses:
            self._stray(event, "more open responses than Limits.max_open_responses")
            return
        if not self._put_on_trial(event):
            self._begin(response)

    def _on_item_added(self, event: events.ResponseOutputItemAdded) -> None:
        generation = self.open.get(event.response_id)
        if generation is None:
            self._stray(
                event, "an output item of a response that is not running", event.response_id
            )
            return
        self._add_item(generation, event.item, event.output_index)

    def _on_item_done(self, event: events.ResponseOutputItemDone) -> None:
        generation = self.open.get(event.response_id)
        if generation is None:
            self._stray(
                event,
                "the end of an output item of a response that is not running",
                event.response_id,
            )
            return
        self._add_item(generation, event.item, event.output_index)
        item_id = item_id_of(event.item)
        generation.keep_item(item_id, event.item)
        if isinstance(event.item, events.FunctionCall):
            if event.item.status != "incomplete":
                self._finish_call(generation.calls[item_id], event.item.arguments)
        elif isinstance(event.item, events.Message):
            self._take_content(generation.messages[item_id], event.item, event)
            self._finish_message(generation.messages[item_id])

    def _on_done(self, event: events.ResponseDone) -> None:
        response = event.response
        if not self._is_known(response.id) and self._requests.answered_by(response) is not None:
            self._begin(response)  # an end without a beginning, but of what we asked for
        generation = self.open.get(response.id)
        if generation is None:
            # The arbiter must know even then: the conversation is free again.
            self._arbiter.finished(response.id)
            self._stray(event, "the end of a response that is not running", response.id)
            self._forget_muted(response.id)
            return
        reason, error = "", None
        if isinstance(details := response.status_details, events.ResponseStatusDetails):
            reason = details.reason if isinstance(details.reason, str) else ""
            error = details.error if isinstance(details.error, events.ErrorDetails) else None
        status = _STATUS.get(str(response.status), GenerationStatus.COMPLETED)
        if status is GenerationStatus.COMPLETED and isinstance(response.output, list):
            self._take_output(generation, response.output, event)
        self._end(generation, status, reason=reason, error=error, usage=response.usage)
        self._requests.follow_up(generation)

    def _take_output(
        self, generation: Generation, output: list[events.Item], event: events.ResponseDone
    ) -> None:
        """Items that no event before told of, or did not finish."""
        for index, item in enumerate(output):
            item_id = item_id_of(item)
            if item_id in generation.items:
                continue
            self._add_item(generation, item, index)
            generation.keep_item(item_id, item)
            if isinstance(item, events.FunctionCall):
                self._finish_call(generation.calls[item_id], item.arguments)
            elif isinstance(item, events.Message):
                self._take_content(generation.messages[item_id], item, event)

    def _take_content(
        self, message: GeneratedMessage, item: events.Message, event: events.ServerEvent
    ) -> None:
        for index, part in enumerate(item.content):
            match part:
                case events.OutputText(text=text) if text:
                    self._finish_text(message, index, text, False, event)
                case events.OutputAudio(transcript=str(text)) if text:
                    self._finish_text(message, index, text, True, event)
                case _:
                    pass

    # --- steps ------------------------------------------------------------------------------

    def _is_known(self, response_id: str) -> bool:
        known = (self.open, self._ended, self._muted, self._trials)
        return any(response_id in ids for ids in known)

    def _begin(self, response: events.Response) -> None:
        reply = self._requests.answered_by(response)
        unwanted = self._requests.is_unwanted(response)
        generation = self._make(response, reply)
        if reply is not None:
            self._requests.on_over(reply.command)
        self._arbiter.created(response.id, in_conversation=generation.in_conversation)
        if unwanted:
            if reply is not None:
                self._tray.refuse(reply.command, GenerationFailed("the caller gave up"))
            self._muted[response.id] = generation
            self._requests.cancel(generation)
            return
        if reply is not None and reply.attempts:
            generation.recoveries = reply.attempts
        self.open[response.id] = generation
        self._tray.session_events.append(GenerationStarted(generation))
        if reply is not None:
            self._tray.acknowledge(reply.command, generation)

    def _make(self, response: events.Response, reply: PendingReply | None) -> Generation:
        metadata = dict(response.metadata) if isinstance(response.metadata, dict) else {}
        metadata.pop(METADATA_KEY, None)
        return Generation(
            response.id,
            origin=reply.origin if reply else GenerationOrigin.SERVER,
            in_conversation=(
                reply.in_conversation if reply else response.conversation_id is not None
            ),
            metadata=metadata,
            created_at=self._tray.now,
            requested_at=reply.requested_at if reply else None,
            audio_rate=self.audio_format.rate,
            limits=self._limits,
        )

    def _end(self, generation: Generation, status: GenerationStatus, **details: Any) -> None:
        for message in generation.messages.values():
            if not message.done:
                self._finish_message(message)
        for call in generation.calls.values():
            if not call.done:  # cut off: there is nothing to answer
                call.done = call.answered = True
        generation.end(status, self._tray.now, **details)
        del self.open[generation.id]
        remember(self._ended, generation.id)
        self._arbiter.finished(generation.id)
        self._tray.session_events.append(GenerationEnded(generation))
        self._tray.acknowledge(
            self._tray.commands.find(CommandKind.CANCEL, generation.id), generation
        )

    def end_unknown(self, response_id: str) -> None:
        """The service says that a response is not active: its end was never told, and will not be."""
        generation = self.open.get(response_id)
        if generation is not None:
            self._end(generation, GenerationStatus.CANCELLED, reason="not_active")

    def _forget_muted(self, response_id: str) -> None:
        generation = self._muted.pop(response_id, None)
        if generation is not None:
            remember(self._ended, response_id)
            cancel = self._tray.commands.find(CommandKind.CANCEL, response_id)
            self._tray.acknowledge(cancel, generation)
        trial = self._convicted.pop(response_id, None)
        if trial is not None:
            self._ask_again(trial)

    def _put_on_trial(self, created: events.ResponseCreated) -> bool:
        """Keeps a response back until it is known to be spoken (G9); False where it need not be."""
        response = created.response
        reply = self._requests.answered_by(response)
        asked = UNSET if reply is None else reply.params.output_modalities
        spoken = self.wants_audio if not isinstance(asked, list) else "audio" in asked
        trial = Trial(created, reply)
        if not spoken or trial.attempts >= self._text_recoveries:
            return False
        if self._requests.is_unwanted(response):
            return False
        if reply is not None:
            reply.command.deadline = None  # the service has answered
        self._trials[response.id] = trial
        if response.conversation_id is not None:
            self._arbiter.on_trial(response.id)
        return True

    def _judge(self, response_id: str, event: events.ServerEvent) -> None:
        trial = self._trials[response_id]
        verdict = trial.take(event)
        if verdict is Verdict.OPEN:
            return
        del self._trials[response_id]
        if verdict is Verdict.AUDIO:
            self._begin(trial.created.response)
            for kept in trial.kept:
                self.handlers[type(kept)](kept)
            return
        self._convicted[response_id] = trial
        generation = self._make(trial.created.response, trial.reply)
        self._muted[response_id] = generation
        self._requests.cancel(generation)

    def drop_trials(self) -> None:
        """Cancels what has begun and is not known to be spoken yet (a barge-in)."""
        for response_id, trial in list(self._trials.items()):
            del self._trials[response_id]
            generation = self._make(trial.created.response, trial.reply)
            if trial.reply is not None:
                self._arbiter.forget(trial.reply.command.event_id)
                error = GenerationFailed("interrupted before it began")
                self._tray.refuse(trial.reply.command, error)
            self._muted[response_id] = generation
            self._requests.cancel(generation)

    def _ask_again(self, trial: Trial) -> None:
        for item_id in trial.item_ids:
            if item_id in self._conversation:
                self._history.delete(item_id, beyond_limit=True)
        reply = trial.reply
        if reply is None:
            self._requests.request(
                events.ResponseParams(),
                origin=GenerationOrigin.SERVER,
                wait_if_busy=True,
                beyond_limit=True,
            )
            reply = self._arbiter.waiting[-1]
        elif not self._requests.ask_again(reply):
            return
        reply.attempts += 1
        self._silences.put_in(reply.command, self.input_format)

    def clean_up(self) -> None:
        """Takes out what recoveries that are over have left in the conversation."""
        self._silences.clean_up()

    def _add_item(self, generation: Generation, item: events.Item, output_index: int) -> None:
        item_id = item_id_of(item)
        if isinstance(item, events.FunctionCall):
            if item_id not in generation.calls:
                call_id = item.call_id or item_id
                call = GeneratedCall(item_id, generation, item.name, call_id)
                # A call id has one output, so a second item of the same id has nothing to wait for.
                same = any(other.call_id == call_id for other in generation.calls.values())
                call.done = call.answered = same
                generation.calls[item_id] = call
        elif isinstance(item, events.Message) and item_id not in generation.messages:
            self._start_message(generation, item_id, output_index)

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
        generation = self.open.get(event.response_id)
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
        self._requests.expect_output(call)
        self._tray.session_events.append(CallReady(call))

    def _known_message(self, response_id: str, item_id: str) -> GeneratedMessage | None:
        generation = self.open.get(response_id)
        return None if generation is None else generation.messages.get(item_id)

    def _known_call(self, response_id: str, item_id: str) -> GeneratedCall | None:
        generation = self.open.get(response_id)
        return None if generation is None else generation.calls.get(item_id)

    def _stray(self, event: object, reason: str, response_id: str = "") -> None:
        if response_id in self._muted:
            return
        if response_id in self._trials:
            self._judge(response_id, cast("events.ServerEvent", event))
            return
        self._tray.session_events.append(
            StrayEvent(event=cast("events.ServerEvent", event), reason=reason)
        )
