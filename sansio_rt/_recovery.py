"""Text answered where audio was asked for (parity G9): who is on trial, and what the verdict is.

Models of the beta now and then answer in text although audio was asked for, and then go on so. Where
recovery is on, a response is on trial from its creation to its first content: its events are kept back.
Audio or a call acquits it. Text leads to another try: the response is cancelled, its item deleted, a
short silence is put in as if the caller had spoken, and the same is asked again.
"""

from __future__ import annotations

import base64
import enum

from msgspec import UNSET

from . import events
from ._arbiter import PendingReply
from ._audio import AudioFormat
from ._commands import Command, Outcome
from ._conversation import Conversation
from ._errors import GenerationFailed
from ._generations import Generation, GenerationOrigin
from ._history import History
from ._requests import Requests
from ._tray import Tray

__all__ = ["Silences", "Trial", "Trials", "Verdict", "silent_item", "verdict_of"]

SILENCE_MS = 200

_MOST_KEPT = 256
"""Events of a response without any content; a server that sends so many is not waited for."""


class Verdict(enum.Enum):
    """What an event says about a response on trial."""

    OPEN = "open"
    AUDIO = "audio"
    """Audio, a call, or an end: what came is taken as it is."""
    TEXT = "text"


class Trial:
    """A response whose kind of content is not known yet.

    Attributes:
        reply: The request that it answers, or None where the server began by itself.
        created: Its first event.
        kept: Its further events so far, in order.
        heard_at: When its newest event came.
        item_ids: Its items so far.
    """

    __slots__ = ("created", "heard_at", "item_ids", "kept", "reply")

    def __init__(
        self, created: events.ResponseCreated, reply: PendingReply | None, now: float
    ) -> None:
        self.reply = reply
        self.heard_at = now
        self.created = created
        self.kept: list[events.ServerEvent] = []
        self.item_ids: list[str] = []

    @property
    def id(self) -> str:
        """The response's id."""
        return self.created.response.id

    def take(self, event: events.ServerEvent) -> Verdict:
        """Keeps an event back and judges by it."""
        self.kept.append(event)
        if isinstance(event, events.ResponseOutputItemAdded) and isinstance(event.item.id, str):
            self.item_ids.append(event.item.id)
        return Verdict.AUDIO if len(self.kept) >= _MOST_KEPT else verdict_of(event)


class Trials:
    """The responses on trial, and those that were found to be text and are asked for again.

    Args:
        tray: Where events are laid down.
        conversation: The mirror.
        history: Takes the text out and puts silences in.
        requests: What was asked for.
        text_recoveries: How often a text in the place of audio is asked for again.

    Attributes:
        open: Those on trial, by response id.
        silences: What recoveries have put into the conversation.
        convicted: Those that are cancelled and not done yet, by response id.
        wants_audio: Whether the session's responses are to be spoken.
        input_format: Of the caller's audio.
    """

    def __init__(
        self,
        tray: Tray,
        conversation: Conversation,
        history: History,
        requests: Requests,
        *,
        text_recoveries: int,
    ) -> None:
        self._tray = tray
        self._conversation = conversation
        self._history = history
        self._requests = requests
        self._text_recoveries = text_recoveries
        self.silences = Silences(tray, conversation, history)
        self.open: dict[str, Trial] = {}
        self.convicted: dict[str, Trial] = {}
        self.wants_audio = True
        self.input_format = AudioFormat.PCM16

    def begin(self, created: events.ResponseCreated, reply: PendingReply | None) -> bool:
        """Keeps a new response back until it is known to be spoken; False where it need not be."""
        attempts = 0 if reply is None else reply.attempts
        if attempts >= self._text_recoveries:
            return False
        response = created.response
        asked = UNSET if reply is None else reply.params.output_modalities
        spoken = self.wants_audio if not isinstance(asked, list) else "audio" in asked
        if not spoken or self._requests.is_unwanted(response, reply):
            return False
        if reply is not None:
            reply.command.deadline = None  # the service has answered
        self.open[response.id] = Trial(created, reply, self._tray.now)
        if response.conversation_id is not None:
            self._requests.arbiter.on_trial(response.id)
        return True

    def has(self, reply: PendingReply) -> bool:
        """Whether a request was answered already, by a response on trial or by one that is convicted."""
        for trial in (*self.open.values(), *self.convicted.values()):
            if trial.reply is not None and trial.reply.command is reply.command:
                return True
        return False

    def take(self, response_id: str, event: events.ServerEvent) -> Verdict:
        """Takes an event of a response on trial. One that is judged is not on trial any more."""
        trial = self.open[response_id]
        trial.heard_at = self._tray.now
        verdict = trial.take(event)
        if verdict is not Verdict.OPEN:
            del self.open[response_id]
        if verdict is Verdict.TEXT:
            self.convicted[response_id] = trial
        return verdict

    def drop(self) -> list[Trial]:
        """Ends all of them (a barge-in): they are to be cancelled. Their callers are told."""
        dropped = list(self.open.values())
        self.open.clear()
        for reply in filter(None, (trial.reply for trial in dropped)):
            self._requests.arbiter.forget(reply.command.event_id)
            if reply.command.outcome is None:
                error = GenerationFailed("interrupted before it began")
                self._tray.refuse(reply.command, error)
        return dropped

    def ended(self, response_id: str) -> None:
        """A response is done: where it was text, the same is asked for again."""
        trial = self.convicted.pop(response_id, None)
        if trial is None:
            return
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
            reply = self._requests.arbiter.waiting[-1]
        elif not self._requests.ask_again(reply):
            return
        reply.attempts += 1
        self.silences.put_in(reply.command, self.input_format)

    def clear(self, *, resumes: bool) -> None:
        """Forgets everything: the connection is gone.

        Args:
            resumes: Whether another one is to be told the conversation: not what nobody heard of.
        """
        for trial in (*self.open.values(), *self.convicted.values()) if resumes else ():
            for item_id in trial.item_ids:
                self._history.note_gone(item_id)
        self.open.clear()
        self.convicted.clear()
        self.silences.clear(resumes=resumes)


class Silences:
    """The silences that were put in, and for which reply: they go when that is over, however it ends.

    Attributes:
        items: The reply's command and the silence's own, by item id.

    Args:
        tray: Knows the outstanding commands and chooses ids.
        conversation: The mirror.
        history: Puts them in and takes them out.
    """

    def __init__(self, tray: Tray, conversation: Conversation, history: History) -> None:
        self._tray = tray
        self._conversation = conversation
        self._history = history
        self.items: dict[str, tuple[Command, Command]] = {}

    def put_in(self, command: Command, audio_format: AudioFormat) -> None:
        """Asks for a silence at the end of the conversation.

        Args:
            command: The reply that it is for.
            audio_format: The wire's input format.
        """
        item_id = self._tray.ids("item")
        created = self._history.create(silent_item(item_id, audio_format), beyond_limit=True)
        self.items[item_id] = command, created

    def clean_up(self) -> None:
        """Asks to take out those that are not needed any more."""
        for item_id, (command, created) in list(self.items.items()):
            if created.outcome is Outcome.REFUSED:
                del self.items[item_id]
            elif _is_over(command) and item_id in self._conversation:  # it may come late
                del self.items[item_id]
                self._history.delete(item_id, beyond_limit=True)

    def clear(self, *, resumes: bool) -> None:
        """Forgets them: the connection is gone, and they with it.

        Args:
            resumes: Whether another one is to be told the conversation: not these.
        """
        for item_id, (_, created) in self.items.items() if resumes else ():
            created.event = None  # so that it is not asked for again
            self._history.note_gone(item_id)
        self.items.clear()


def _is_over(command: Command) -> bool:
    if isinstance(command.value, Generation):
        return command.value.ended
    return command.outcome is not None


def verdict_of(event: events.ServerEvent) -> Verdict:
    """What an event says about the response that it belongs to."""
    match event:
        case events.ResponseOutputTextDelta():
            return Verdict.TEXT
        case events.ResponseOutputAudioDelta() | events.ResponseOutputAudioTranscriptDelta():
            return Verdict.AUDIO
        case events.ResponseOutputItemAdded(item=events.FunctionCall()) | events.ResponseDone():
            return Verdict.AUDIO
        case _:
            return Verdict.OPEN


def silent_item(item_id: str, audio_format: AudioFormat) -> events.Message:
    """A user message of a short silence in the wire's input format."""
    silence = bytes(2 * audio_format.rate * SILENCE_MS // 1000)
    if audio_format is not AudioFormat.PCM16:
        # The byte of silence of µ-law is 0xFF, of A-law 0xD5 (ITU-T G.711).
        quiet = b"\xff" if audio_format is AudioFormat.PCMU else b"\xd5"
        silence = quiet * (audio_format.rate * SILENCE_MS // 1000)
    part = events.InputAudio(audio=base64.b64encode(silence).decode("ascii"))
    return events.Message(role="user", content=[part], id=item_id)
