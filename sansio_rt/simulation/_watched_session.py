"""A server session that shows what passes, and that forgets answers, gives them late, or falls mute.

The service is known to do so: an answer may never come, come after the client has stopped waiting, and a
connection may live whose session says nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import UNSET, Struct, UnsetType

from .._server_session import ServerSession
from .._server_work import CloseWanted, Refusal
from ._network import Clock

__all__ = ["AnswerFault", "WatchedSession"]


class AnswerFault(Struct, frozen=True):
    """What becomes of the answer to one command."""

    answer_to: str
    """The type of the client event: any but `response.create`, which has no single answer."""
    late_s: float | None = None
    """How much later it is given; None: never."""


class _Item(Struct, frozen=True, gc=False):
    id: str | UnsetType | None = UNSET


class _Told(Struct, frozen=True, gc=False):
    item_id: str | UnsetType | None = UNSET
    item: _Item | UnsetType | None = UNSET


_ERROR = b'{"type":"error"'
_OF_ITEM = b'{"type":"conversation.item.'
_ANSWERS = {
    "session.update": (b'{"type":"session.updated"', _ERROR),
    "input_audio_buffer.commit": (b'{"type":"input_audio_buffer.committed"', _OF_ITEM, _ERROR),
    "input_audio_buffer.clear": (b'{"type":"input_audio_buffer.cleared"', _ERROR),
    "conversation.item.create": (_OF_ITEM, _ERROR),
    "conversation.item.delete": (_OF_ITEM, _ERROR),
    "conversation.item.truncate": (_OF_ITEM, _ERROR),
    "conversation.item.retrieve": (_OF_ITEM, _ERROR),
    "response.cancel": (b'{"type":"response.done"', _ERROR),
}

_decode_told = msgspec.json.Decoder(_Told).decode


class WatchedSession(ServerSession):
    """A session that shows each message before it takes it and as it has made it.

    Attributes:
        clock: Virtual time.
        took: Told each message of the client; gives its type and event id.
        said: Told each message for the client, those that never get there, too.
        faults: What becomes of answers that are still to be given.
        answered: Event ids of the client whose answer was given.
        withheld: Ids of the items that withheld answers were about.
        commit_withheld: Whether the answer to a commit was withheld.
        late: How many answers are still to be given late.
        mute: Whether it says nothing any more.
        odd: Messages that no session says, to be sent.
    """

    clock: Clock
    took: Callable[[bytes], tuple[str, str | None]]
    said: Callable[[bytes], None]

    def watch(
        self,
        clock: Clock,
        took: Callable[[bytes], tuple[str, str | None]],
        said: Callable[[bytes], None],
    ) -> None:
        """Begins to show what passes."""
        self.clock, self.took, self.said = clock, took, said
        self.faults: list[AnswerFault] = []
        self.answered: set[str] = set()
        self.withheld: set[str] = set()
        self.commit_withheld = False
        self.late = 0
        self.mute = False
        self.odd: list[bytes] = []
        self._ready: list[bytes] = []

    def receive_message(self, message: str | bytes, now: float) -> None:
        """Shows it first; its answer may get lost."""
        kind, event_id = self.took(message if isinstance(message, bytes) else message.encode())
        if event_id is None:
            super().receive_message(message, now)
            return
        fault = next((fault for fault in self.faults if fault.answer_to == kind), None)
        if fault is not None:
            self._replies.release(now)  # else that is done with the answer
        self._ready += self._made()
        super().receive_message(message, now)
        made = self._made()
        if fault is None:
            self._give(event_id, made)
            return
        self.faults.remove(fault)
        answers = _ANSWERS[kind]
        self._ready += [told for told in made if not told.startswith(answers)]
        self._withhold(fault, event_id, [told for told in made if told.startswith(answers)])

    def messages_to_send(self) -> list[bytes]:
        """What was said, and what no session says; nothing where it is mute."""
        ready, self._ready = self._ready + self._made(), []
        odd, self.odd = self.odd, []
        return odd if self.mute else ready + odd

    def close(self) -> None:
        """It is over, and what it had to say, too."""
        super().close()
        self._ready.clear()

    def complain(self, code: str, *, close_code: int | None = None) -> None:
        """Sends an error that answers nothing, and closes where a code is given."""
        refusal = Refusal("That is how it is.", code=code, error_type="server_error")
        self._outbox.refuse(refusal, None)
        if close_code is not None:
            self._outbox.ask(CloseWanted(close_code, code))

    def _made(self) -> list[bytes]:
        messages = super().messages_to_send()
        for message in messages:
            self.said(message)
        return messages

    def _give(self, event_id: str, answer: list[bytes]) -> None:
        self._ready += answer
        if not self.mute:
            self.answered.add(event_id)

    def _withhold(self, fault: AnswerFault, event_id: str, answer: list[bytes]) -> None:
        if fault.answer_to == "input_audio_buffer.commit":
            self.commit_withheld = True
        for told in map(_decode_told, answer):
            item_id = told.item.id if isinstance(told.item, _Item) else told.item_id
            if isinstance(item_id, str):
                self.withheld.add(item_id)
        if fault.late_s is None:
            return
        self.late += 1

        def give() -> None:
            self.late -= 1
            if not self.closed:
                self._give(event_id, answer)

        self.clock.at(self.clock.now + fault.late_s, give)
