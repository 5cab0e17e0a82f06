"""The arbiter in front of `response.create` (parity G12): who may ask, and who waits."""

from __future__ import annotations

from msgspec import Struct

from . import events
from ._commands import Command
from ._generations import GenerationOrigin

__all__ = ["Arbiter", "PendingReply"]


CONFLICT_RETRY_S = 0.25
"""After a conflict with an unknown response: how long to wait before asking again, in seconds."""
DOUBTFUL_RETRY_S = 1.0
"""The same where the service did not say whose conflict it was."""


class PendingReply(Struct, kw_only=True):
    """A `response.create` that was asked for and is not answered yet."""

    command: Command
    params: events.ResponseParams
    origin: GenerationOrigin
    in_conversation: bool
    wait_if_busy: bool
    requested_at: float = 0.0
    attempts: int = 0
    """How often it was answered in text and asked again."""


class Arbiter:
    """Decides when a `response.create` may be sent (parity G12).

    Attributes:
        waiting: Replies that may not be sent yet, in order.
        asked: Replies that were sent and are not created yet, by event id.
        retry_at: When to ask again after a conflict with a response that we know nothing of, or None.
        turn_owed: Whether a reply is due that nobody called for: the server's to a turn of speech, or one
            of ours that was not answered in time.

    The service allows one active response in the default conversation. The arbiter knows the active
    one, whoever began it, and the one that is asked for and not yet created; out-of-band replies pass.
    """

    def __init__(self) -> None:
        self.waiting: list[PendingReply] = []
        self.asked: dict[str, PendingReply] = {}
        self._asking: str | None = None
        self._active: set[str] = set()
        self.retry_at: float | None = None
        self.turn_owed = False

    @property
    def busy(self) -> bool:
        """Whether the default conversation has an active response, or one is being asked for."""
        return self.retry_at is not None or self._asking is not None or bool(self._active)

    @property
    def asking(self) -> PendingReply | None:
        """The one reply of the conversation that was asked for and that nothing has answered."""
        return self.asked.get(self._asking or "")

    def find(self, event_id: str) -> PendingReply | None:
        """The reply that an event asked for, or will ask for again."""
        asked = self.asked.get(event_id)
        if asked is not None:
            return asked
        return next((reply for reply in self.waiting if reply.command.event_id == event_id), None)

    def submit(self, reply: PendingReply) -> None:
        """Queues a reply; `take_ready` gives it back when it may be sent."""
        self.waiting.append(reply)

    def take_ready(self) -> list[PendingReply]:
        """The replies that may be sent now, in order; they count as asked for from here on."""
        ready: list[PendingReply] = []
        kept: list[PendingReply] = []
        for reply in self.waiting:
            if reply.in_conversation:
                if self.busy:
                    kept.append(reply)
                    continue
                self._asking = reply.command.event_id
            ready.append(reply)
            self.asked[reply.command.event_id] = reply
        self.waiting = kept
        return ready

    def created(self, response_id: str, *, in_conversation: bool) -> None:
        """Notes that a response began, by our event or by the server."""
        if in_conversation:
            for reply in self.waiting:
                reply.command.deadline = None  # its end is what they wait for
            self._active.add(response_id)
            self.retry_at = None
            self.turn_owed = False

    def on_trial(self, response_id: str) -> None:
        """Notes a response of the conversation that may not be what was asked for."""
        self._active.add(response_id)
        self._asking = None

    def again(self, reply: PendingReply) -> None:
        """Takes back a request whose answer was no use; it goes first."""
        self.asked.pop(reply.command.event_id, None)
        if self._asking == reply.command.event_id:
            self._asking = None
        self.waiting.insert(0, reply)

    def finished(self, response_id: str) -> None:
        """Notes that a response ended, so that the next may be asked for."""
        self._active.discard(response_id)
        self.retry_at = None

    def wake(self, now: float) -> None:
        """Lets time pass: what met a response that we know nothing of may be asked again."""
        if self.retry_at is not None and now >= self.retry_at:
            self.retry_at = None

    def conflict(self, event_id: str, now: float, *, sure: bool = True) -> PendingReply | None:
        """Takes back a reply that met an active response; it goes first when that one is done.

        Args:
            event_id: The refused event.
            now: The time.
            sure: Whether the service named that event. Else it may have accepted this one and refused one
                of its own: then it is about to say so.

        Returns:
            The reply where its caller did not want to wait: it is to be refused. Else None.
        """
        reply = self.asked.pop(event_id, None)
        if self._asking == event_id:
            self._asking = None
        if reply is None:
            return None
        if not reply.wait_if_busy:
            return reply
        if not self._active:
            # One that we have not seen, or whose end is on its way: try again soon, until the deadline.
            self.retry_at = now + (CONFLICT_RETRY_S if sure else DOUBTFUL_RETRY_S)
        self.waiting.insert(0, reply)
        return None

    def forget(self, event_id: str) -> None:
        """Drops a reply: it was answered, refused or timed out, or its caller gave up."""
        self.asked.pop(event_id, None)
        if self._asking == event_id:
            self._asking = None
        if self.waiting:
            self.waiting = [reply for reply in self.waiting if reply.command.event_id != event_id]

    def reset(self) -> None:
        """Forgets everything: the connection is gone."""
        self.waiting.clear()
        self.asked.clear()
        self._active.clear()
        self._asking = None
        self.retry_at = None
        self.turn_owed = False
