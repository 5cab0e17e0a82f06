"""The next connection of a client, made ready while the present one serves (parity N4).

It has its own wire, is told the configuration and the conversation, and is kept up to date until it takes
over. What its server says reaches the session only then: before, nothing but whether it has everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from . import events
from ._config import SessionConfig, Timing
from ._connection import Connection, ConnectionInput, ConnectionState
from ._conversation import item_id_of
from ._errors import CommandTimeout, ConnectionClosed, LocalProtocolError, RealtimeError
from ._link import Link
from ._refusals import refusal
from ._replay import retold
from ._sources import IdSource
from ._wire import HandshakeAccepted, WireClosed, WireFailed, WireRejected

__all__ = ["Successor"]

_Said = events.SessionUpdate | events.ConversationItemCreate | events.ConversationItemDelete

_MOST_REFUSALS = 2  # of one item: the first may be for the item that it was to follow


class Successor:
    """A connection that is told everything and says nothing.

    Args:
        connection: Its wire; the handshake is begun.
        link: Its bytes, as the caller has them.
        ids: Source of event ids.
        check: Refuses an event that the service would refuse.
        timing: How long its server may take.
        now: The time.

    Attributes:
        connection: See above.
        link: See above.
        deadline: When its server has taken too long, or None.
        effective: The session as its server echoed it.
        failure: Why it is of no use, or None.
        left_out: Ids of items that its server, or a check of ours, does not take.
        told: The conversation as its server has it.
    """

    def __init__(
        self,
        connection: Connection,
        link: Link,
        ids: IdSource,
        check: Callable[[events.ClientEvent], None],
        timing: Timing,
        now: float,
    ) -> None:
        self.connection = connection
        self.link = link
        self.deadline: float | None = now + timing.connect_timeout_s
        self.effective: events.RealtimeSession | None = None
        self.failure: RealtimeError | None = None
        self.left_out: set[str] = set()
        self.told: list[events.Item] = []
        self._ids = ids
        self._check = check
        self._timing = timing
        self._config: SessionConfig | None = None
        self._asked: SessionConfig | None = None
        self._waiting: dict[str, tuple[type, str]] = {}
        self._refusals: dict[str, int] = {}
        self._handlers: Mapping[type, Callable[[Any], None]] = {
            HandshakeAccepted: self._on_accepted,
            WireRejected: self._on_wire_failed,
            WireFailed: self._on_wire_failed,
            WireClosed: self._on_closed,
            events.SessionCreated: self._on_told,
            events.SessionUpdated: self._on_updated,
            events.ConversationItemAdded: self._on_item,
            events.ConversationItemCreated: self._on_item,
            events.ConversationItemDone: self._on_item,
            events.ConversationItemDeleted: self._on_deleted,
            events.Error: self._on_error,
        }

    @property
    def ready(self) -> bool:
        """Whether its server has answered everything that it was told."""
        return (
            self.connection.state is ConnectionState.REPLAYING
            and self.failure is None
            and not self._waiting
        )

    def has(self, config: SessionConfig | None) -> bool:
        """Whether its server has accepted a configuration."""
        return self._config == config

    def drain(self) -> None:
        """Takes what its connection has received."""
        while (event := self.connection.next()) is not None:
            handle = self._handlers.get(type(event))
            if handle is not None:
                handle(event)

    def handle_timer(self, now: float) -> None:
        """Gives it up where its server takes too long."""
        if self.deadline is not None and now >= self.deadline:
            self._fail(CommandTimeout("the next connection did not come up in time"))

    def follow(
        self,
        config: SessionConfig,
        items: Callable[[], Sequence[events.Item]],
        now: float,
        *,
        may_stay_untold: int,
    ) -> bool:
        """Tells its server what it does not know yet.

        Args:
            config: What the session's configuration is.
            items: Gives the conversation as it can be said.
            now: The time.
            may_stay_untold: So few edits of the conversation are left to be told later.

        Returns:
            Whether its server has everything, but for those edits, and was told nothing.
        """
        state = self.connection.state
        may_speak = state in (ConnectionState.CONFIGURING, ConnectionState.REPLAYING)
        if self.failure is not None or not may_speak or self._waiting:
            return False
        if config != self._config:
            changes = config if self._config is None else config.changes_from(self._config)
            self._asked = config
            self._say(events.SessionUpdate(session=changes.to_wire(), event_id=self._ids("event")))
        else:
            self._tell(items(), may_stay_untold)
        if not self._waiting:
            return True
        self.deadline = now + self._timing.answer_timeout_s
        return False

    def _tell(self, items: Sequence[events.Item], may_stay_untold: int) -> None:
        wanted = [item for item in items if item_id_of(item) not in self.left_out]
        news = retold(self.told, wanted)
        refused = {
            item_id_of(event.item)
            for event in news
            if isinstance(event, events.ConversationItemCreate) and not self._may_say(event)
        }
        if refused:  # the others are to follow what is there
            self.left_out |= refused
            self._tell(items, may_stay_untold)
            return
        if len(news) <= may_stay_untold:
            return
        self.told = wanted
        for event in news:
            item_id = (
                item_id_of(event.item)
                if isinstance(event, events.ConversationItemCreate)
                else event.item_id
            )
            self._say(msgspec.structs.replace(event, event_id=self._ids("event")), item_id)

    def _may_say(self, event: events.ConversationItemCreate) -> bool:
        try:
            self._check(event)
        except LocalProtocolError:
            return False
        return True

    def _say(self, event: _Said, key: str = "") -> None:
        assert isinstance(event.event_id, str)
        self._waiting[event.event_id] = (type(event), key)
        self.connection.send(event)

    def _answered(self, kind: type, key: str = "") -> None:
        for event_id, waits_for in self._waiting.items():
            if waits_for == (kind, key):
                self._end_wait(event_id)
                return

    def _end_wait(self, event_id: str) -> None:
        del self._waiting[event_id]
        if not self._waiting:
            self.deadline = None

    def _fail(self, error: RealtimeError) -> None:
        self.failure = error
        self.deadline = None
        self.connection.let_go()

    def _on_accepted(self, _: HandshakeAccepted) -> None:
        self.connection.move(ConnectionInput.ACCEPTED)

    def _on_wire_failed(self, event: WireRejected | WireFailed) -> None:
        self._fail(event.error)

    def _on_closed(self, event: WireClosed) -> None:
        self._fail(
            ConnectionClosed(
                f"the server closed the next connection (code {event.code})",
                code=event.code,
                reason=event.reason,
            )
        )

    def _on_told(self, event: events.SessionCreated | events.SessionUpdated) -> None:
        if isinstance(event.session, events.RealtimeSession):
            self.effective = event.session

    def _on_updated(self, event: events.SessionUpdated) -> None:
        self._on_told(event)
        self._config = self._asked
        self._answered(events.SessionUpdate)
        if self.connection.state is ConnectionState.CONFIGURING:
            self.connection.move(ConnectionInput.CONFIGURED)

    def _on_item(
        self,
        event: events.ConversationItemAdded
        | events.ConversationItemCreated
        | events.ConversationItemDone,
    ) -> None:
        self._answered(events.ConversationItemCreate, item_id_of(event.item))

    def _on_deleted(self, event: events.ConversationItemDeleted) -> None:
        self._answered(events.ConversationItemDelete, event.item_id)

    def _on_error(self, event: events.Error) -> None:
        """An item that is refused is left out; everything else makes the connection useless."""
        error = refusal(event.error)
        kind, item_id = self._waiting.get(error.event_id or "", (None, ""))
        if kind is events.ConversationItemDelete:
            self._end_wait(error.event_id or "")  # it is gone already
        elif kind is events.ConversationItemCreate:
            self._end_wait(error.event_id or "")
            if error.code == "item_create_duplicate_item_id":
                return
            self.told = [item for item in self.told if item_id_of(item) != item_id]
            self._refusals[item_id] = self._refusals.get(item_id, 0) + 1
            if self._refusals[item_id] == _MOST_REFUSALS:
                self.left_out.add(item_id)
        else:
            self._fail(error)
