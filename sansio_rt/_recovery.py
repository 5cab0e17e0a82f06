"""Text answered where audio was asked for (parity G9): who is on trial, and what the verdict is.

Models of the beta now and then answer in text although audio was asked for, and then go on so. Where
recovery is on, a response is on trial from its creation to its first content: its events are kept back.
Audio or a call acquits it. Text leads to another try: the response is cancelled, its item deleted, a
short silence is put in as if the caller had spoken, and the same is asked again.
"""

from __future__ import annotations

import base64
import enum

from . import events
from ._arbiter import PendingReply
from ._audio import AudioFormat
from ._commands import Command, Outcome
from ._conversation import Conversation
from ._generations import Generation
from ._history import History
from ._tray import Tray

__all__ = ["Silences", "Trial", "Verdict", "silent_item", "verdict_of"]

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
        item_ids: Its items so far.
    """

    __slots__ = ("created", "item_ids", "kept", "reply")

    def __init__(self, created: events.ResponseCreated, reply: PendingReply | None) -> None:
        self.reply = reply
        self.created = created
        self.kept: list[events.ServerEvent] = []
        self.item_ids: list[str] = []

    @property
    def attempts(self) -> int:
        """How often the same was asked before."""
        return 0 if self.reply is None else self.reply.attempts

    def take(self, event: events.ServerEvent) -> Verdict:
        """Keeps an event back and judges by it."""
        self.kept.append(event)
        if isinstance(event, events.ResponseOutputItemAdded) and isinstance(event.item.id, str):
            self.item_ids.append(event.item.id)
        return Verdict.AUDIO if len(self.kept) >= _MOST_KEPT else verdict_of(event)


class Silences:
    """The silences that were put in, and for which reply: they go when that is over, however it ends.

    Args:
        tray: Knows the outstanding commands and chooses ids.
        conversation: The mirror.
        history: Puts them in and takes them out.
    """

    def __init__(self, tray: Tray, conversation: Conversation, history: History) -> None:
        self._tray = tray
        self._conversation = conversation
        self._history = history
        self._items: dict[str, tuple[Command, Command]] = {}

    def put_in(self, command: Command, audio_format: AudioFormat) -> None:
        """Asks for a silence at the end of the conversation.

        Args:
            command: The reply that it is for.
            audio_format: The wire's input format.
        """
        item_id = self._tray.ids("item")
        created = self._history.create(silent_item(item_id, audio_format), beyond_limit=True)
        self._items[item_id] = command, created

    def clean_up(self) -> None:
        """Asks to take out those that are not needed any more."""
        for item_id, (command, created) in list(self._items.items()):
            if created.outcome is Outcome.REFUSED:
                del self._items[item_id]
            elif _is_over(command) and item_id in self._conversation:  # it may come late
                del self._items[item_id]
                self._history.delete(item_id, beyond_limit=True)

    def clear(self) -> None:
        """Forgets them: the connection is gone, and they with it."""
        self._items.clear()


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
