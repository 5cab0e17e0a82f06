"""The next connection alone: what it is told, and what its server may answer (N4, R3)."""

from __future__ import annotations

from collections import deque
from typing import Any

from sansio_rt import (
    CommandRefused,
    CommandTimeout,
    ConnectionClosed,
    LocalProtocolError,
    SequentialIds,
    SessionConfig,
    Timing,
    events,
)
from sansio_rt._connection import TRANSITIONS, ConnectionInput, ConnectionState
from sansio_rt._replay import retold
from sansio_rt._successor import Successor
from sansio_rt._wire import HandshakeAccepted, WireClosed

CONFIG = SessionConfig(instructions="Be brief.")


class Line:
    """A connection that a test answers by hand."""

    def __init__(self) -> None:
        self.state = ConnectionState.CONNECTING
        self.sent: list[Any] = []
        self.said: deque[Any] = deque()

    def next(self) -> Any:
        return self.said.popleft() if self.said else None

    def send(self, event: Any) -> None:
        self.sent.append(event)

    def move(self, what: ConnectionInput) -> None:
        self.state = TRANSITIONS[self.state][what]

    def let_go(self) -> None:
        self.state = ConnectionState.CLOSED


def refuse_long_ids(event: Any) -> None:
    if len(str(event.item.id)) > 32:
        raise LocalProtocolError("too long")


class Told:
    """A successor whose server has accepted the configuration."""

    def __init__(self) -> None:
        self.line = Line()
        line: Any = self.line
        self.successor = Successor(
            line, line, SequentialIds("n"), refuse_long_ids, Timing(), now=0.0
        )
        self.say(HandshakeAccepted(status=101, headers=[]))
        self.follow()
        session = events.RealtimeSession(instructions="Be brief.")
        self.say(events.SessionUpdated(event_id="e", session=session))

    def say(self, *answers: Any) -> None:
        self.line.said += answers
        self.successor.drain()

    def follow(self, *ids: str, config: SessionConfig = CONFIG, spare: int = 0) -> bool:
        items = [item(each) for each in ids]
        return self.successor.follow(config, lambda: items, 0.0, may_stay_untold=spare)

    def refuse(self, event: Any, code: str = "invalid_value") -> None:
        details = events.ErrorDetails(
            type="invalid_request_error", code=code, message="no", event_id=event.event_id
        )
        self.say(events.Error(event_id="e", error=details))


def item(item_id: str) -> events.Message:
    return events.Message(role="user", content=[events.InputText(text=item_id)], id=item_id)


def added(item_id: str) -> events.ConversationItemAdded:
    return events.ConversationItemAdded(event_id="e", item=item(item_id), previous_item_id=None)


def test_it_has_everything_when_everything_was_answered() -> None:
    told = Told()
    assert not told.follow("a", "b")
    assert not told.successor.ready
    told.say(added("a"))
    assert not told.follow("a", "b")  # one is still on its way
    told.say(added("b"))
    assert told.successor.ready
    assert told.follow("a", "b")
    assert [each.id for each in told.successor.told] == ["a", "b"]


def test_it_is_told_nothing_before_it_listens_and_nothing_more_before_it_has_answered() -> None:
    line: Any = Line()
    successor = Successor(line, line, SequentialIds(), refuse_long_ids, Timing(), now=0.0)
    assert not successor.follow(CONFIG, list, 0.0, may_stay_untold=0)
    assert line.sent == []
    told = Told()
    told.follow("a")
    asked = len(told.line.sent)
    assert not told.follow("a", "b")
    assert len(told.line.sent) == asked


def test_each_event_has_an_id_that_says_so() -> None:
    told = Told()
    told.follow("a", "b")
    told.say(added("a"), added("b"))
    told.follow("b")
    assert [str(event.event_id)[:7] for event in told.line.sent] == ["event_n"] * 4


def test_a_server_that_goes_says_with_which_words() -> None:
    told = Told()
    told.say(WireClosed(1012, "restart", by_peer=True, clean=True))
    failure = told.successor.failure
    assert isinstance(failure, ConnectionClosed)
    assert str(failure) == "the server closed the next connection (code 1012)"
    assert (failure.code, failure.reason) == (1012, "restart")


def test_what_its_server_says_unasked_is_for_nobody() -> None:
    told = Told()
    told.follow("a")
    told.say(
        added("another"),
        events.RateLimitsUpdated(event_id="e", rate_limits=[]),
        events.SessionCreated(event_id="e", session=events.TranscriptionSession()),
    )
    assert not told.successor.ready
    assert told.successor.effective is not None
    assert told.successor.failure is None


def test_deletions_are_told_and_answered() -> None:
    told = Told()
    told.follow("a", "b")
    told.say(added("a"), added("b"))
    assert not told.follow("b")
    assert isinstance(told.line.sent[-1], events.ConversationItemDelete)
    told.say(events.ConversationItemDeleted(event_id="e", item_id="a"))
    assert told.follow("b")


def test_a_deletion_of_what_is_not_there_has_succeeded() -> None:  # C9
    told = Told()
    told.follow("a")
    told.say(added("a"))
    told.follow()
    told.refuse(told.line.sent[-1], "item_delete_invalid_item_id")
    assert told.successor.failure is None
    assert told.follow()


def test_an_item_that_is_refused_is_tried_once_more_then_left_out() -> None:  # R3
    told = Told()
    for _ in range(2):
        assert not told.follow("a")
        told.refuse(told.line.sent[-1])
    assert told.successor.left_out == {"a"}
    assert told.follow("a")
    assert told.successor.told == []


def test_an_item_that_is_there_already_has_been_told() -> None:  # C9
    told = Told()
    told.follow("a")
    told.refuse(told.line.sent[-1], "item_create_duplicate_item_id")
    assert told.follow("a")


def test_an_item_that_may_not_be_said_is_left_out_and_the_others_are_not() -> None:
    told = Told()
    assert not told.follow("a", "x" * 40, "b")
    assert told.successor.left_out == {"x" * 40}
    assert [event.item.id for event in told.line.sent[1:]] == ["a", "b"]


def test_what_was_left_out_before_stays_left_out() -> None:
    told = Told()
    first, second = "x" * 40, "y" * 40
    assert told.follow(first)
    assert told.follow(first, second)
    assert told.successor.left_out == {first, second}


def test_a_configuration_that_is_refused_makes_it_useless() -> None:
    told = Told()
    told.follow(config=CONFIG.merge({"instructions": "Be long."}))
    told.refuse(told.line.sent[-1])
    assert isinstance(told.successor.failure, CommandRefused)
    assert told.line.state is ConnectionState.CLOSED
    told.successor.handle_timer(1000.0)
    assert isinstance(told.successor.failure, CommandRefused)  # the first reason is the reason


def test_a_server_that_takes_too_long_makes_it_useless() -> None:
    told = Told()
    told.follow("a")
    told.successor.handle_timer(9.9)
    assert told.successor.failure is None
    told.successor.handle_timer(10.0)
    assert isinstance(told.successor.failure, CommandTimeout)
    assert str(told.successor.failure) == "the next connection did not come up in time"
    assert not told.follow("a")


def test_a_few_edits_may_wait() -> None:
    told = Told()
    assert told.follow("a", "b", spare=2)
    assert told.successor.told == []
    assert not told.follow("a", "b", "c", spare=2)
    assert len(told.successor.told) == 3


def test_what_stays_keeps_its_place_and_what_is_new_at_the_end_depends_on_nothing() -> None:
    before = [item("a"), item("b"), item("c")]
    after = [item("b"), item("new"), item("c"), item("end")]
    gone, new, end = retold(before, after)
    assert isinstance(gone, events.ConversationItemDelete)
    assert isinstance(new, events.ConversationItemCreate)
    assert isinstance(end, events.ConversationItemCreate)
    assert (gone.item_id, new.previous_item_id) == ("a", "b")
    assert not isinstance(end.previous_item_id, str)
