"""What the invariants of replies, answers and changes of connections find."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from finds import CLEAR, Always, always, found

from sansio_rt import (
    Command,
    CommandEnded,
    CommandKind,
    ConnectionClosed,
    ConnectionLost,
    Generation,
    GenerationOrigin,
    Limits,
    Outcome,
    RealtimeError,
    RetryPolicy,
    SessionClosed,
    Timing,
    events,
)
from sansio_rt._arbiter import Arbiter
from sansio_rt._commands import CommandTable
from sansio_rt._responses import Responses
from sansio_rt._retry import Retries
from sansio_rt.simulation import Simulation, Violation, actions, simulate
from sansio_rt.simulation._answer_rules import AnswersAreTheirOwn, AsksWhenFree
from sansio_rt.simulation._connection_rules import DelaysGrow, LossesAreReal
from sansio_rt.simulation._rules import NothingIsStale, OneActiveReply
from sansio_rt.simulation._service import Taken

# --- replies and answers --------------------------------------------------------------------


def test_a_reply_that_is_asked_for_while_one_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Arbiter, "created", lambda *_arguments, **_options: None)
    found("was sent while", always(actions.ServerReplies(at_s=1.0), actions.Ask(at_s=1.1)))


def test_a_reply_of_the_clients_own_is_not_timed() -> None:
    rule = AsksWhenFree()
    rule._since = {"r": 0.0}
    rule.world = SimpleNamespace(driver=SimpleNamespace(issued={}))  # type: ignore[assignment]
    asked = events.encode(events.ResponseCreate(response=events.ResponseParams()))
    rule.on_message(SimpleNamespace(), Taken("response.create", None, asked))  # type: ignore[arg-type]


def test_a_reply_that_was_on_its_way_when_another_began_is_none_too_many() -> None:
    command = Command("event_1", CommandKind.REPLY)
    command.deadline = 15.0  # sent at 5 s
    rule = AsksWhenFree()
    rule._since = {"later": 6.0, "elsewhere": 1.0}
    issued = {"event_1": SimpleNamespace(command=command)}
    client = SimpleNamespace(timing=Timing(answer_timeout_s=10.0))
    rule.world = SimpleNamespace(driver=SimpleNamespace(issued=issued), client=client)  # type: ignore[assignment]
    service: Any = SimpleNamespace(spoken={"later": []})
    asked = events.encode(events.ResponseCreate(response=events.ResponseParams()))
    rule.on_message(service, Taken("response.create", "event_1", asked))
    rule._since["later"] = 4.0
    with pytest.raises(Violation, match="was sent while later ran"):
        rule.on_message(service, Taken("response.create", "event_1", asked))


def test_an_answer_that_is_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CommandTable, "answered", lambda self, kind, _now: self.find(kind))
    found(
        "no server has answered it",
        always(
            actions.ServerForgets(at_s=1.0, answer_to=CLEAR, late_s=11.0),
            actions.Clear(at_s=1.1),
            actions.ServerForgets(at_s=11.5, answer_to=CLEAR, late_s=2.0),
            actions.Clear(at_s=11.6),
            actions.Interrupt(at_s=14.0),
        ),
    )


def test_an_answer_to_a_newer_command_may_be_taken_for_an_older_one() -> None:
    plan = [
        actions.ServerForgets(at_s=1.0, answer_to=CLEAR),
        actions.Clear(at_s=1.1),
        actions.Clear(at_s=1.2),
    ]
    assert simulate(1, always(*plan)).violation is None


def test_where_the_server_detects_turns_its_commits_are_anybodys() -> None:
    command = Command("event_1", CommandKind.COMMIT)
    command.outcome = Outcome.ACKNOWLEDGED
    rule = AnswersAreTheirOwn()
    client = SimpleNamespace(wanted=SimpleNamespace(turn_detection=events.ServerVad()))
    rule.world = SimpleNamespace(client=client)  # type: ignore[assignment]
    rule.on_event(CommandEnded(command))


def test_a_response_of_another_server_that_is_cancelled() -> None:
    cancel = events.encode(events.ResponseCancel(response_id="resp_s1_1"))
    service: Any = SimpleNamespace(begun=set(), number=2)
    with pytest.raises(Violation, match="no response of server 2"):
        NothingIsStale().on_message(service, Taken("response.cancel", None, cancel))


# --- connections ----------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["Responses", "calls"])
def test_a_planned_change_that_does_not_wait(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    def idle(self: Responses) -> bool:
        return what == "Responses" or not self.open

    monkeypatch.setattr(Responses, "idle", property(idle))
    found("were under way")


def test_delays_that_start_anew_with_each_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Retries.ready

    def ready(self: Retries, now: float) -> None:
        self._failures = 0
        right(self, now)

    monkeypatch.setattr(Retries, "ready", ready)
    found(
        "came after try",
        always(actions.Reset(at_s=1.0), actions.Reset(at_s=4.0), retry=RetryPolicy()),
    )


def test_delays_that_are_too_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Retries, "ended", lambda self, *_: 0.01)
    monkeypatch.setattr(Retries, "attempts", 3)
    rules = [DelaysGrow]
    caller = Always([actions.Reset(at_s=1.0)], retry=RetryPolicy())
    found("try 3 comes after 0.01 s", Simulation(caller=caller, invariants=rules))


@pytest.mark.parametrize(
    ("error", "closed", "broken"),
    [
        (ConnectionClosed("it closed", code=1001), False, True),
        (ConnectionClosed("it closed", code=1001), True, False),
        (ConnectionClosed("it went", code=1006), False, False),
        (ConnectionClosed("we closed", code=1001, by_peer=False), False, False),
        (RealtimeError("else"), False, False),
    ],
)
def test_a_loss_that_was_none(error: RealtimeError, closed: bool, broken: bool) -> None:
    rule = LossesAreReal()
    session = SimpleNamespace(closed=closed)
    service = SimpleNamespace(connection=2, number=3, session=session)
    rule.world = SimpleNamespace(driver=SimpleNamespace(served=2), services=[service])  # type: ignore[assignment]
    lost = ConnectionLost(error=error, attempt=1, reconnect_at=0.0, planned=False)
    for event in (lost, SessionClosed(error=error, code=1001, reason="")):
        if broken:
            with pytest.raises(Violation, match="server 3 has not closed"):
                rule.on_event(event)
        else:
            rule.on_event(event)
    rule.world.services.clear()
    rule.on_event(lost)


@pytest.mark.parametrize(
    ("outcome", "reason", "answered_by", "broken"),
    [
        (Outcome.ACKNOWLEDGED, "", "active", True),
        (None, "", None, True),
        (Outcome.DEADLINE, "", None, False),
        (Outcome.REFUSED, "", None, False),
        (Outcome.ACKNOWLEDGED, "no_answer", "active", False),
        (Outcome.ACKNOWLEDGED, "", "the first of two", False),
    ],
)
def test_a_reply_that_nobody_waits_for_may_run_beside_another(
    outcome: Outcome | None, reason: str, answered_by: str | None, broken: bool
) -> None:
    generation = None
    if answered_by is not None:
        generation = Generation(
            answered_by,
            origin=GenerationOrigin.CALLER,
            in_conversation=True,
            metadata={},
            created_at=0.0,
            requested_at=None,
            audio_rate=24_000,
            limits=Limits(),
        )
        generation.reason = reason
    command = Command("first", CommandKind.REPLY)
    command.outcome, command.value = outcome, generation
    rule = OneActiveReply()
    issued = {"first": SimpleNamespace(command=command)}
    rule.world = SimpleNamespace(driver=SimpleNamespace(issued=issued))  # type: ignore[assignment]
    service: Any = SimpleNamespace(asked_by="first", active="active")
    taken: Any = SimpleNamespace(event_id="second", event=events.ResponseCreate())
    if broken:
        with pytest.raises(Violation, match="asks for another"):
            rule.on_message(service, taken)
    else:
        rule.on_message(service, taken)
