"""Cuts of answers at what was heard of them (parity G8, G14).

Where the answer is says what a cut is, and both ways to say how much was heard come to the same:

| the answer is | heard so much audio | heard so much text |
|---|---|---|
| at no server, while reconnecting | noted: the next connection is told no more | the same |
| on its way to another place | noted: it is cut there | the same |
| there, with its audio | the service cuts it | that text takes its place |
| there, in words | so many of the words take its place | that text takes its place |

There, one of which nothing was heard is deleted. What was heard counts from the call on, whatever becomes
of the command.
"""

from __future__ import annotations

from typing import Any

from ._commands import Command
from ._conversation import Conversation, ConversationItem
from ._errors import LocalProtocolError
from ._history import History
from ._past import as_history, heard_words
from ._response_content import ResponseContent

__all__ = ["Cuts"]

_AHEAD_MS = 100
"""How far a player's position may be ahead of what was received: one frame of the default length."""


class Cuts:
    """Cuts assistant messages.

    Args:
        conversation: The mirror, told what was heard.
        history: Asks for the edits.
        content: Knows the messages that are still coming.
    """

    def __init__(
        self, conversation: Conversation, history: History, content: ResponseContent
    ) -> None:
        self._conversation = conversation
        self._history = history
        self._content = content

    def cut(
        self,
        item_id: str,
        audio_end_ms: float | None,
        heard_text: str | None,
        *,
        reconnecting: bool,
    ) -> Command | None:
        """Cuts a message at what was heard; see `ClientProtocol.truncate`.

        Args:
            item_id: The message.
            audio_end_ms: How much audio was heard, in milliseconds; or else
            heard_text: The part of the text that was read out.
            reconnecting: Whether there is no connection that serves.
        """
        entry = self._conversation.get(item_id)
        if entry is None or entry.role != "assistant":
            raise LocalProtocolError(
                f"truncate({item_id!r}): the conversation has no such assistant message"
            )
        if (audio_end_ms is None) == (heard_text is None):
            raise LocalProtocolError("truncate: give audio_end_ms or, for text only, heard_text")
        self._check(entry, audio_end_ms, heard_text)
        end_ms = audio_end_ms or 0  # counts where heard_text is None
        if reconnecting:
            self._note_for_next_connection(entry, end_ms, heard_text)
            return None
        moving = self._history.moving(item_id)
        if moving is not None:
            return moving if self._note_for_new_place(entry, end_ms, heard_text) else None
        if heard_text is not None:
            return self._cut_text(entry, heard_text)
        return self._cut_audio(entry, end_ms)

    def _check(self, entry: ConversationItem, audio_end_ms: Any, heard_text: object) -> None:
        if heard_text is not None and not (
            isinstance(heard_text, str) and entry.text.startswith(heard_text)
        ):
            raise LocalProtocolError(
                f"truncate({entry.id!r}): heard_text is not how the message begins"
            )
        if audio_end_ms is not None and not (
            isinstance(audio_end_ms, (int, float)) and audio_end_ms >= 0
        ):
            raise LocalProtocolError(
                f"truncate: audio_end_ms={audio_end_ms!r}: give milliseconds, 0 or more"
            )
        received_ms = self._received_ms(entry)
        if audio_end_ms is not None and received_ms and audio_end_ms > received_ms + _AHEAD_MS:
            raise LocalProtocolError(
                f"truncate({entry.id!r}): audio_end_ms={audio_end_ms!r} is beyond the "
                f"{received_ms:.0f} ms that were received; give the position in this message, in ms"
            )

    def _received_ms(self, entry: ConversationItem) -> float:
        running = self._content.message(entry.id)
        return entry.received_ms if running is None else running.received_ms

    def _note_for_next_connection(
        self, entry: ConversationItem, end_ms: float, heard_text: str | None
    ) -> None:
        """What was heard is all that the next connection is told."""
        if heard_text is not None:
            entry.item, entry.heard_words = as_history(entry.item, heard_text), None
        elif entry.received_ms:
            entry.note_heard(int(min(end_ms, entry.received_ms)))
        elif end_ms < entry.retold_ms:
            heard = heard_words(entry.text, end_ms, entry.retold_ms)
            entry.item, entry.heard_words = as_history(entry.item, heard), None
            entry.retold_ms = float(end_ms)

    def _note_for_new_place(
        self, entry: ConversationItem, end_ms: float, heard_text: str | None
    ) -> bool:
        """Notes how much was heard of what is on its way to another place; whether that was not all."""
        heard = heard_text
        if heard is None:
            length_ms = entry.received_ms or entry.retold_ms
            if not length_ms:
                raise _no_audio(entry)
            heard = heard_words(entry.text, end_ms, length_ms)
        if heard == entry.text:
            return False
        if entry.heard_part is None or entry.heard_part.startswith(heard):
            entry.heard_words = heard
        return True

    def _cut_text(self, entry: ConversationItem, heard_text: str) -> Command | None:
        if heard_text == entry.text:
            return None
        heard = entry.heard_words
        if heard is not None and heard_text.startswith(heard) and self._history.is_going(entry.id):
            return None  # it is being cut as short, or shorter
        if not heard_text:
            return self._delete_unheard(entry)
        command = self._history.replace(entry.id, as_history(entry.item, heard_text))
        entry.heard_words = heard_text
        return command

    def _cut_audio(self, entry: ConversationItem, audio_end_ms: float) -> Command | None:
        received_ms = self._received_ms(entry)
        if audio_end_ms < 1:
            return self._delete_unheard(entry)
        if not received_ms:
            if not entry.retold_ms:
                raise _no_audio(entry)
            return self._cut_text(entry, heard_words(entry.text, audio_end_ms, entry.retold_ms))
        if self._is_no_cut(entry, audio_end_ms, received_ms):
            return None
        end_ms = int(min(audio_end_ms, received_ms))
        if not end_ms:
            return self._delete_unheard(entry)
        command = self._history.truncate(entry.id, end_ms)
        entry.received_ms = received_ms
        entry.note_heard(end_ms)
        return command

    def _is_no_cut(self, entry: ConversationItem, audio_end_ms: float, received_ms: float) -> bool:
        """Whether it ends there already; one that is still coming would go on."""
        if entry.cut_ms is not None:
            return audio_end_ms >= entry.cut_ms
        running = self._content.message(entry.id)
        return audio_end_ms >= received_ms and (running is None or running.done)

    def _delete_unheard(self, entry: ConversationItem) -> Command:
        command = self._history.delete(entry.id)
        entry.heard_words = ""
        return command


def _no_audio(entry: ConversationItem) -> LocalProtocolError:
    return LocalProtocolError(
        f"truncate({entry.id!r}): no audio of it was received; give heard_text to cut text"
    )
