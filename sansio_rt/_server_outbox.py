"""What leaves a server session: encoded events for the client, requests for the driver."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from . import events
from ._server_work import Refusal, ServerWork
from ._sources import IdSource

__all__ = ["Outbox"]


class Outbox:
    """Two queues that the parts of a session share, and the source of their ids.

    Attributes:
        new_id: Gives ids for events, items, responses and calls.
        write: Makes a message of an event; a simulation may have it stay what it is, with None.

    Args:
        ids: See `new_id`.
    """

    def __init__(self, ids: IdSource) -> None:
        self.new_id = ids
        self.write: Callable[[events.ServerEvent], bytes] | None = events.encode
        self._messages: list[Any] = []
        self._work: deque[ServerWork] = deque()

    def emit(self, event: events.ServerEvent) -> None:
        """Queue one server event, with a fresh event id.

        Args:
            event: A server event's Struct; its `event_id` is set here.
        """
        named = replace(event, event_id=self.new_id("event"))
        self._messages.append(named if self.write is None else self.write(named))

    def refuse(self, refusal: Refusal, event_id: str | None) -> None:
        """Queue an `error` event.

        Args:
            refusal: What was refused and why.
            event_id: The client's id of the event that it answers, if it had one.
        """
        self.emit(
            events.Error(
                error=events.ErrorDetails(
                    type=refusal.error_type,
                    code=refusal.code,
                    message=refusal.message,
                    param=refusal.param,
                    event_id=event_id,
                )
            )
        )

    def ask(self, work: ServerWork) -> None:
        """Queue one request for the driver."""
        self._work.append(work)

    def take_messages(self) -> list[Any]:
        """All queued events, written: bytes, if `write` was left alone. The queue is empty afterwards."""
        messages, self._messages = self._messages, []
        return messages

    def next_work(self) -> ServerWork | None:
        """The oldest request, or None."""
        return self._work.popleft() if self._work else None
