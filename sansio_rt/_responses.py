"""The response side of a session: from response events to generations."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from msgspec import UNSET

from . import events
from ._arbiter import PendingReply
from ._commands import Command, CommandKind
from ._config import Limits
from ._conversation import Conversation
from ._errors import GenerationFailed
from ._generations import Generation, GenerationOrigin, GenerationStatus
from ._history import History
from ._recovery import Trial, Trials, Verdict
from ._requests import METADATA_KEY, Requests, remember
from ._response_content import ResponseContent
from ._session_events import GenerationEnded, GenerationStarted, ResponseDiscarded, StrayEvent
from ._tray import Tray
from ._watch import SilenceWatch

__all__ = ["Responses"]

_COMPLETED = GenerationStatus.COMPLETED
_STATUS = {
    "completed": _COMPLETED,
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
        limits: How many responses may be open at once, and what one may hold.
        text_recoveries: How often a text in the place of audio is asked for again.
        silence_s: How long a response may be silent before it is cancelled; None: for ever.

    Attributes:
        content: What comes within responses, and in which audio format.
        trials: The responses that are not known to be spoken yet.
        watch: Knows when to call `cancel_silent`.
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
        silence_s: float | None,
    ) -> None:
        self._tray = tray
        self._requests = requests
        self._arbiter = requests.arbiter
        self.trials = Trials(tray, conversation, history, requests, text_recoveries=text_recoveries)
        self.watch = SilenceWatch(silence_s)
        self._limits = limits
        self._ended: dict[str, None] = {}
        # Responses whose caller gave up before they began: cancelled, and never heard of.
        self._muted: dict[str, Generation] = {}
        # Responses that were cancelled without any answer: what still comes of them is for nobody.
        self._given_up: dict[str, None] = {}
        self.open: dict[str, Generation] = {}
        self.content = ResponseContent(tray, conversation, requests, self.open, self._stray)
        self.handlers: Mapping[type, Callable[[Any], None]] = {
            **self.content.handlers,
            events.ResponseCreated: self._on_created,
            events.ResponseDone: self._on_done,
        }

    @property
    def idle(self) -> bool:
        """Whether no response runs or is to come, heard or not, and no call waits for its output.

        The conversation has no place for the output of a call beside it: such a one waits for nothing.
        """
        trials = self.trials
        if self.open or self._muted or trials.open or trials.convicted:
            return False
        if self._arbiter.busy or self._arbiter.turn_owed:
            return False
        return not any(call.generation.in_conversation for call in self._requests.calls.values())

    def active(self) -> Generation | None:
        """The newest running generation of the default conversation, or None."""
        return next((g for g in reversed(self.open.values()) if g.in_conversation), None)

    def lose_all(self, *, keep_calls: bool) -> None:
        """The connection is gone: every running generation ends as lost.

        Args:
            keep_calls: Whether calls may still be answered, on a connection that replays them.
        """
        for generation in list(self.open.values()):
            self._end(generation, GenerationStatus.LOST)
            if keep_calls:
                self._requests.follow_up(generation)  # its calls may have their outputs already
        self._muted.clear()
        self.trials.clear(resumes=keep_calls)
        self.watch.deadline = None
        self._requests.lose_all(keep_calls=keep_calls)

    # --- server events ----------------------------------------------------------------------

    def _on_created(self, event: events.ResponseCreated) -> None:
        response = event.response
        if self._is_known(response.id):
            self._stray(event, "a response that was created before")
            return
        reply = self._answered_by(response)
        if reply is None and self._count_running() >= self._limits.max_open_responses:
            self._stray(event, "more open responses than Limits.max_open_responses")
            return
        self.watch.begin(self._tray.now)
        if not self.trials.begin(event, reply):
            self._begin(response, reply)

    def _on_done(self, event: events.ResponseDone) -> None:
        response = event.response
        generation = self.open.get(response.id) or self._begin_late(response)
        if generation is None:
            # The arbiter must know even then: the conversation is free again.
            self._arbiter.finished(response.id)
            self._stray(event, "the end of a response that is not running", response.id)
            self._end_muted(response.id, self._status_of(response), response)
            return
        reason, error = "", None
        if isinstance(details := response.status_details, events.ResponseStatusDetails):
            reason = details.reason if isinstance(details.reason, str) else ""
            error = details.error if isinstance(details.error, events.ErrorDetails) else None
        status = self._status_of(response)
        if status is _COMPLETED and isinstance(response.output, list):
            self.content.take_output(generation, response.output, event)
        self._end(generation, status, reason=reason, error=error, usage=response.usage)
        self._requests.follow_up(generation)

    # --- steps ------------------------------------------------------------------------------

    def _answered_by(self, response: events.Response) -> PendingReply | None:
        """Which request of ours a response is for; a second one for the same is for none."""
        reply = self._requests.answered_by(response)
        return None if reply is None or self.trials.has(reply) else reply

    def _count_running(self) -> int:
        return len(self.open) + len(self._muted) + len(self.trials.open)

    def _begin_late(self, response: events.Response) -> Generation | None:
        """Begins what ends without a beginning, where we asked for it and somebody waits for it."""
        reply = None if self._is_known(response.id) else self._answered_by(response)
        if reply is not None:
            self._begin(response, reply)
        return self.open.get(response.id)

    def _is_known(self, response_id: str) -> bool:
        return (
            response_id in self.open
            or response_id in self._ended
            or response_id in self._muted
            or response_id in self.trials.open
        )

    @staticmethod
    def _status_of(response: events.Response) -> GenerationStatus:
        return _STATUS.get(str(response.status), _COMPLETED)

    def _begin(self, response: events.Response, reply: PendingReply | None) -> None:
        unwanted = self._requests.is_unwanted(response, reply)
        generation = self._make(response, reply)
        if reply is not None:
            self._requests.on_over(reply.command)
        self._arbiter.created(response.id, in_conversation=generation.in_conversation)
        if unwanted:
            if reply is not None:
                self._tray.refuse(reply.command, GenerationFailed("the caller gave up"))
            self._muted[response.id] = generation
            self._requests.cancel_unwanted(reply, generation)
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
            audio_rate=self.content.audio_format.rate,
            limits=self._limits,
        )

    def _end(
        self,
        generation: Generation,
        status: GenerationStatus,
        *,
        reason: str = "",
        error: events.ErrorDetails | None = None,
        usage: events.Maybe[events.Usage] = UNSET,
    ) -> None:
        self.content.finish(generation)
        generation.end(status, self._tray.now, reason=reason, error=error, usage=usage)
        del self.open[generation.id]
        remember(self._ended, generation.id)
        self._arbiter.finished(generation.id)
        self._tray.session_events.append(GenerationEnded(generation))
        self._tray.acknowledge(
            self._tray.commands.find(CommandKind.CANCEL, generation.id), generation
        )

    def end_unknown(self, response_id: str) -> None:
        """The service says that a response is not active: its end was never told, and will not be."""
        self._end_untold(response_id, "not_active")

    def end_unanswered(self, response_id: str) -> None:
        """The service did not answer a cancel in time: nobody waits for that response any longer."""
        remember(self._given_up, response_id)
        self._end_untold(response_id, "no_answer")

    def _end_untold(self, response_id: str, reason: str) -> None:
        generation = self.open.get(response_id)
        if generation is not None:
            self._end(generation, GenerationStatus.CANCELLED, reason=reason)
        elif response_id in self._muted:
            self._arbiter.finished(response_id)
            self._end_muted(response_id, GenerationStatus.CANCELLED)

    def cancel_silent(self, now: float) -> None:
        """Cancels what has been silent for too long: whatever is answered, or not, it ends (G5)."""
        running: Iterator[Trial | Generation] = itertools.chain(
            self.trials.open.values(), self.open.values(), self._muted.values()
        )
        for response, again in self.watch.silent(running, now):
            if isinstance(response, Trial):
                self._acquit(response)  # so that its caller hears how it ends
            generation = self.open.get(response.id) or self._muted[response.id]
            if self._tray.commands.find(CommandKind.CANCEL, generation.id) is not None:
                continue
            if again:
                self.end_unanswered(generation.id)
            else:
                self._requests.cancel(generation)

    def _mute(self, response: events.Response, reply: PendingReply | None) -> None:
        """Cancels a response that began, and lets nobody hear of it."""
        self._muted[response.id] = generation = self._make(response, reply)
        self._requests.cancel(generation)

    def _end_muted(
        self, response_id: str, status: GenerationStatus, response: events.Response | None = None
    ) -> None:
        generation = self._muted.pop(response_id, None)
        if generation is None:
            return
        usage = UNSET if response is None else response.usage
        generation.end(status, self._tray.now, usage=usage)
        self._tray.session_events.append(ResponseDiscarded(metrics=generation.metrics))
        remember(self._ended, response_id)
        cancel = self._tray.commands.find(CommandKind.CANCEL, response_id)
        self._tray.acknowledge(cancel, generation)
        self.trials.ended(response_id)

    def _judge(self, response_id: str, event: events.ServerEvent) -> None:
        trial = self.trials.open[response_id]
        match self.trials.take(response_id, event):
            case Verdict.AUDIO:
                self._acquit(trial)
            case Verdict.TEXT:
                self._mute(trial.created.response, trial.reply)
            case Verdict.OPEN:  # pragma: no branch - there is no other verdict
                pass

    def _acquit(self, trial: Trial) -> None:
        """Takes a response as it is, with the events that were kept back."""
        self.trials.open.pop(trial.id, None)
        reply = trial.reply
        if reply is not None and reply.command.outcome is not None:
            reply = None  # an error of the service has ended what we asked for, for all that
        self._begin(trial.created.response, reply)
        for kept in trial.kept:
            self.handlers[type(kept)](kept)

    def cancel_unheard(self) -> list[Command]:
        """Cancels what runs in the conversation and nobody has heard of: what is on trial, too."""
        for trial in self.trials.drop():
            self._mute(trial.created.response, trial.reply)
        unheard = (
            self._requests.cancel(muted) for muted in self._muted.values() if muted.in_conversation
        )
        return [cancel for cancel in unheard if cancel is not None]

    def clean_up(self) -> None:
        """Ends what has nothing left to wait for, and takes out what recoveries have left behind."""
        if self._requests.interrupts:
            self._requests.end_interrupts()
        if self.trials.silences.items:
            self.trials.silences.clean_up()

    def _stray(self, event: object, reason: str, response_id: str = "") -> None:
        if response_id in self._muted or response_id in self._given_up:
            return
        if response_id in self.trials.open:
            self._judge(response_id, cast("events.ServerEvent", event))
            return
        self._tray.session_events.append(
            StrayEvent(event=cast("events.ServerEvent", event), reason=reason)
        )
