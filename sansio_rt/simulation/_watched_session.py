"""A server session that shows what passes, and that forgets answers, gives them late, or falls mute.

The service is known to do so: an answer may never come, come after the client has stopped waiting, and a
connection may live whose session says nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from .. import events
from .._errors import LocalProtocolError
from .._server_session import ServerSession
from .._server_work import CloseWanted, Refusal
from .._wire import TextMessage
from ._carry import Carry
from ._network import Clock

__all__ = ["AnswerFault", "Taken", "WatchedSession", "check_answer_fault"]


class Taken:
    """A message of the client, as it comes to the server.

    Attributes:
        type: Its type.
        event_id: Its id, or None.

    Args:
        type: See above.
        event_id: See above.
        message: Its text, where it came as one.
        event: The event, where that was handed over.
    """

    __slots__ = ("_event", "_message", "event_id", "type")

    def __init__(
        self,
        type: str,  # noqa: A002 (the wire's word)
        event_id: str | None,
        message: bytes | None = None,
        event: events.ClientEvent | None = None,
    ) -> None:
        self.type = type
        self.event_id = event_id
        self._message = message
        self._event = event

    @property
    def message(self) -> bytes:
        """Its text; that of an event that was handed over is written for you."""
        if self._message is None:
            assert self._event is not None
            self._message = events.encode(self._event)
        return self._message

    @property
    def event(self) -> Any:
        """The event that it is, of the class that belongs to its type."""
        if self._event is None:
            self._event = events.decode_client(self.message)
        return self._event


class _Head(Struct, frozen=True, gc=False):
    type: str
    event_id: str | UnsetType | None = UNSET


_decode_head = msgspec.json.Decoder(_Head).decode


def taken_of(message: bytes) -> Taken:
    """A message that came as text."""
    head = _decode_head(message)
    return Taken(head.type, head.event_id if isinstance(head.event_id, str) else None, message)


class AnswerFault(Struct, frozen=True):
    """What becomes of the answer to one command."""

    answer_to: str
    """The type of the client event: any but `response.create`, which has no single answer."""
    late_s: float | None = None
    """How much later it is given; None: never."""


def check_answer_fault(answer_to: str) -> None:
    """Refuses a command that has no answer.

    Raises:
        LocalProtocolError: The message says which have one.
    """
    if answer_to not in _ANSWERS:
        known = ", ".join(map(repr, _ANSWERS))
        raise LocalProtocolError(f"answer_to={answer_to!r}: give one of {known}")


_OF_ITEM = "conversation.item."
_ANSWERS = {
    "session.update": ("session.updated", "error"),
    "input_audio_buffer.commit": ("input_audio_buffer.committed", _OF_ITEM, "error"),
    "input_audio_buffer.clear": ("input_audio_buffer.cleared", "error"),
    "conversation.item.create": (_OF_ITEM, "error"),
    "conversation.item.delete": (_OF_ITEM, "error"),
    "conversation.item.truncate": (_OF_ITEM, "error"),
    "conversation.item.retrieve": (_OF_ITEM, "error"),
    "response.cancel": ("response.done", "error"),
}
"""How the types of the answers to a command begin."""


class WatchedSession(ServerSession):
    """A session that shows each message before it takes it and as it has made it.

    Attributes:
        clock: Virtual time.
        took: Told each message of the client.
        said: Told each message for the client, those that never get there, too.
        faults: What becomes of answers that are still to be given.
        answered: Event ids of the client whose answer was given.
        withheld: Ids of the items that withheld answers were about.
        commit_withheld: Whether the answer to a commit was withheld.
        late: How many answers are still to be given late.
        mute: Whether it says nothing any more.
        odd: Messages that no session says, to be sent.
    """

    def watch(
        self,
        clock: Clock,
        took: Callable[[Taken], None],
        said: Callable[[events.ServerEvent], None],
        carry: Carry,
        *,
        kinds: Set[type] | None,
    ) -> None:
        """Begins to show what passes.

        Args:
            clock: See above.
            took: See above.
            said: See above.
            carry: Whether messages for the client are written when they leave.
            kinds: The only events that `said` is told of; None: all.
        """
        self.clock, self.took, self.said = clock, took, said
        self._outbox.write = None
        self._writes = carry is Carry.BYTES
        self._kinds = kinds
        self.faults: list[AnswerFault] = []
        self.answered: set[str] = set()
        self.withheld: set[str] = set()
        self.commit_withheld = False
        self.late = 0
        self.mute = False
        self.odd: list[bytes | TextMessage] = []
        self._ready: list[events.ServerEvent] = []

    def receive_message(self, message: str | bytes, now: float) -> None:
        """Shows it first; its answer may get lost."""
        text = message if isinstance(message, bytes) else message.encode()
        self._take(taken_of(text), super().receive_message, message, now)

    def receive_event(self, event: events.ClientEvent, now: float) -> None:
        """Shows it first; its answer may get lost."""
        event_id = getattr(event, "event_id", None)
        event_id = event_id if isinstance(event_id, str) else None
        self._take(Taken(event.type, event_id, None, event), super().receive_event, event, now)

    def _take(
        self, taken: Taken, take: Callable[[Any, float], None], what: Any, now: float
    ) -> None:
        self.took(taken)
        event_id = taken.event_id
        fault = None
        if self.faults and event_id is not None:
            fault = next((fault for fault in self.faults if fault.answer_to == taken.type), None)
        if fault is None or event_id is None:
            take(what, now)
            self._give(event_id, self._made())
            return
        self._replies.release(now)  # else that is done with the answer
        self._ready += self._made()
        take(what, now)
        made = self._made()
        self.faults.remove(fault)
        answers = _ANSWERS[taken.type]
        self._ready += [told for told in made if not told.type.startswith(answers)]
        answer = [told for told in made if told.type.startswith(answers)]
        self._withhold(fault, event_id, answer)

    def messages_to_send(self) -> list[Any]:
        """What was said, and what no session says; nothing where it is mute."""
        messages: list[Any] = self._ready + self._made()
        if messages:
            self._ready = []
        odd, self.odd = self.odd, []
        if self.mute:
            return []
        if self._writes:
            messages = [events.encode(event) for event in messages]
        return messages + odd if odd else messages

    def say(self, message: bytes) -> None:
        """Sends any text message to the client."""
        self.odd.append(message if self._writes else TextMessage(message))

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

    def _made(self) -> list[events.ServerEvent]:
        made: list[events.ServerEvent] = self._outbox.take_messages()
        if made:
            kinds = self._kinds
            for event in made:
                if kinds is None or type(event) in kinds:
                    self.said(event)
        return made

    def _give(self, event_id: str | None, answer: list[events.ServerEvent]) -> None:
        self._ready += answer
        if event_id is not None and not self.mute:
            self.answered.add(event_id)

    def _withhold(
        self, fault: AnswerFault, event_id: str, answer: list[events.ServerEvent]
    ) -> None:
        if fault.answer_to == "input_audio_buffer.commit":
            self.commit_withheld = True
        for event in answer:
            about = getattr(event, "item", event)
            item_id = getattr(about, "id", None) or getattr(about, "item_id", None)
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
