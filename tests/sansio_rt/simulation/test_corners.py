"""Corners of the world, the driver and the service that no plan reaches for certain."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from sansio_rt import (
    Command,
    CommandKind,
    LocalProtocolError,
    MessageBroken,
    Outcome,
    RealtimeError,
    RetryPolicy,
    SchemaError,
    SessionClosed,
    SessionConfig,
    SessionResumed,
    events,
)
from sansio_rt.simulation import (
    Invariant,
    Plan,
    Setup,
    Simulation,
    Violation,
    World,
    _world,
    actions,
    simulate,
)
from sansio_rt.simulation import chances_of as chances
from sansio_rt.simulation._driver import Driver, Unreachable
from sansio_rt.simulation._excuses import excuse_lost
from sansio_rt.simulation._history_rules import Asked
from sansio_rt.simulation._network import Line
from sansio_rt.simulation._peers import Rejecting
from sansio_rt.simulation._rules import NothingIsStray, OneActiveReply, OutputsAreGivenOnce
from sansio_rt.simulation._service import Service, Taken


def world(*, traced: bool = False) -> World:
    """One whose session is ready and in which nothing is left to do."""
    setup = Setup(config=SessionConfig(turn_detection=None), retry=RetryPolicy())
    made = World(Plan(setup=setup, actions=[]), chances(1), traced=traced)
    made.driver.connect()
    made._wait_for_quiet()
    assert made.what_waits() == ""
    return made


# --- the driver -----------------------------------------------------------------------------


class Dials:
    """A network that opens no line before the test says so."""

    def __init__(self) -> None:
        self.done: Callable[[Line], None]
        self.failed: Callable[[RealtimeError], None]

    def dial(self, done: Callable[[Line], None], failed: Callable[[RealtimeError], None]) -> None:
        self.done, self.failed = done, failed


class Way:
    """One direction of a line, which notes its end."""

    finished = False

    def finish(self) -> None:
        self.finished = True


def closed_while_dialling(dial: Callable[[Driver], None]) -> tuple[Dials, Driver, list[str]]:
    """A driver whose session has ended while a line was being opened, and the client's calls since."""
    dials, told = Dials(), list[str]()

    def told_of(name: str) -> Callable[..., None]:
        return lambda *_arguments, **_options: told.append(name)

    names = ("connect", "connect_failed", "begin_rotation", "rotation_failed")
    client: Any = SimpleNamespace(**{name: told_of(name) for name in names})
    clock: Any = SimpleNamespace(now=1.0)
    driver = Driver(client, clock, dials, lambda _: None, None)
    dial(driver)
    driver.closed = SessionClosed(error=None, code=1000, reason="")
    return dials, driver, told


@pytest.mark.parametrize("dial", [Driver.connect, Driver._rotate])
def test_a_line_that_opens_too_late_is_closed_and_a_failure_is_not_told(
    dial: Callable[[Driver], None],
) -> None:
    dials, driver, told = closed_while_dialling(dial)
    late: Any = SimpleNamespace(up=Way())
    dials.done(late)
    assert late.up.finished
    assert (driver.serving, driver.next, driver.connections) == (None, None, 0)
    dials.failed(Unreachable("nobody listens there"))
    assert told == []


def test_a_session_that_is_over_does_not_connect_again() -> None:
    dials, driver, _ = closed_while_dialling(lambda _driver: None)
    driver.connect()
    assert not hasattr(dials, "done")
    assert driver.dials == []


@pytest.mark.parametrize("traced", [True, False])
def test_a_refused_call_is_kept_and_shown_in_the_trace(traced: bool) -> None:
    made = world(traced=traced)

    def refuses() -> None:
        raise LocalProtocolError("not like this")

    made.driver.tell("odd call", refuses)
    assert [label for label, _ in made.driver.refused] == ["odd call"]
    told = [words for _, words in made.trace if words.startswith("caller: odd call: refused: ")]
    assert len(told) == traced


def test_a_command_that_is_made_when_the_connection_is_gone_belongs_to_none() -> None:
    made = world()
    made.driver._let_go(made.driver.serving)
    command = Command("event_1", CommandKind.REPLY)
    made.driver._keep(command, "late")
    assert made.driver.issued["event_1"].connection == 0


# --- the world ------------------------------------------------------------------------------


def test_a_command_belongs_to_the_connection_that_the_client_has_taken_over_untold() -> None:
    driver = world().driver
    serving = driver.serving
    assert serving is not None
    other: Any = SimpleNamespace(link=object(), number=serving.number + 1)
    driver.serving, driver._carried = other, {1: other, 2: serving}
    driver._keep(Command("event_1", CommandKind.CREATE_ITEM), "early")
    assert driver.issued["event_1"].connection == serving.number


def test_rounds_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    made = world()
    monkeypatch.setattr(_world, "MOST_ROUNDS", 3)
    monkeypatch.setattr(made.driver, "flush", lambda: True)
    with pytest.raises(Violation, match="4 rounds in no time"):
        made._settle()


def test_a_call_that_nobody_makes_waits() -> None:
    made = world()
    made.driver.waiting.append(("reply", lambda: None))
    assert made.what_waits() == "calls: reply"


def test_what_the_client_says_is_lost_need_not_be_heard() -> None:
    made = world()
    made.pushed = {1: 24, 2: 24}
    resumed = SessionResumed(away_s=1.0, replayed=0, left_out=(), audio_lost_ms=0.0)
    excuse_lost(made, resumed)
    assert made.cleared == set()
    excuse_lost(
        made, SessionResumed(away_s=1.0, replayed=0, left_out=("item_1",), audio_lost_ms=20.0)
    )
    assert made.cleared == {1, 2}
    assert made.deleted == {"item_1"}


def test_an_answer_that_is_cut_at_its_beginning_is_deleted() -> None:
    def cut(heard: str) -> set[str]:
        asked = Command("event_1", CommandKind.DELETE_ITEM)
        made: Any = SimpleNamespace(
            client=SimpleNamespace(
                truncate=lambda *_arguments, **_options: asked,
                conversation={"item_1": SimpleNamespace(heard_text=heard)},
            ),
            driver=SimpleNamespace(ask=lambda _label, call: call()),
            asked=Asked(),
            deleted=set(),
        )
        actions._cut(made, "item_1", 0)
        return made.deleted  # type: ignore[no-any-return]

    assert cut("") == {"item_1"}
    assert cut("a word") == set()


def test_runs_that_are_over_are_forgotten() -> None:
    """Many are made in one process."""
    runs: list[weakref.ref[World]] = []

    class Kept(Invariant):
        def left(self) -> None:
            runs.append(weakref.ref(self.world))

    simulation = Simulation(invariants=[Kept])
    for seed in range(30):
        simulate(seed, simulation)
    gc.collect()
    assert len(runs) == 30
    assert [run() for run in runs if run() is not None] == []


# --- the service ----------------------------------------------------------------------------


def service_of(made: World) -> Service:
    assert made.service is not None
    return made.service


def test_a_closed_session_takes_and_says_nothing_more() -> None:
    service = service_of(world())
    service.session.close()
    assert service.session.closed
    items = list(service.session.items)
    message = events.Message(role="user", content=[events.InputText(text="late")])
    service.receive_event(events.ConversationItemCreate(item=message))
    service.complain("server_error", close_code=1011)
    assert list(service.session.items) == items
    assert service.session.messages_to_send() == []
    assert service.errors == []


@pytest.mark.parametrize("retry_after_s", [None, 7])
def test_a_peer_that_rejects_says_when_to_come_again_where_it_knows(
    retry_after_s: int | None,
) -> None:
    peer = Rejecting(503, retry_after_s)
    assert peer.data_to_send() == b""
    peer.receive_data(b"GET / HTTP/1.1\r\n\r\n")
    answer = peer.data_to_send()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert (b"Retry-After: 7\r\n" in answer) == (retry_after_s is not None)
    assert peer.over


# --- rules ----------------------------------------------------------------------------------


def test_words_that_name_an_output_are_none() -> None:
    rule = OutputsAreGivenOnce()
    part = events.InputText(text="function_call_output")
    message = events.Message(role="user", content=[part])
    created = events.encode(events.ConversationItemCreate(item=message))
    service: Any = SimpleNamespace(number=1)
    for _ in range(2):
        rule.on_message(service, Taken("conversation.item.create", None, created))
    assert not rule._given


@pytest.mark.parametrize("outcome", [None, Outcome.DEADLINE])
def test_a_reply_that_nobody_waits_for_may_have_another_beside_it(outcome: Outcome | None) -> None:
    first = Command("event_1", CommandKind.REPLY)
    first.outcome = outcome
    rule = OneActiveReply()
    issued = {"event_1": SimpleNamespace(command=first)}
    rule.world = SimpleNamespace(driver=SimpleNamespace(issued=issued))  # type: ignore[assignment]
    service: Any = SimpleNamespace(asked_by="event_1")
    second = Taken("response.create", "event_2", events.encode(events.ResponseCreate()))
    if outcome is None:
        with pytest.raises(Violation, match="event_2 asks for another"):
            rule.on_message(service, second)
    else:
        rule.on_message(service, second)


def test_a_message_that_cannot_be_read_is_odd_or_a_defect() -> None:
    rule: Invariant = NothingIsStray()
    rule.on_event(MessageBroken(error=SchemaError("no event", excerpt="odd")))
    with pytest.raises(Violation, match="no event"):
        rule.on_event(MessageBroken(error=SchemaError("no event", excerpt="{}")))
