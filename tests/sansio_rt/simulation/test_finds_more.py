"""What the invariants of history, answers and changes of connections find, and servers that misbehave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from sansio_rt import (
    Command,
    CommandEnded,
    CommandKind,
    ConnectionClosed,
    ConnectionLost,
    Outcome,
    RealtimeError,
    RetryPolicy,
    SessionClosed,
    SessionConfig,
    Timing,
    events,
)
from sansio_rt import _history as history
from sansio_rt import _replay as replay
from sansio_rt._arbiter import Arbiter
from sansio_rt._commands import CommandTable
from sansio_rt._history import History
from sansio_rt._keepalive import Liveness
from sansio_rt._responses import Responses
from sansio_rt._retry import Retries
from sansio_rt.simulation import (
    Action,
    Chance,
    Kind,
    Plan,
    Setup,
    Simulation,
    Violation,
    Weather,
    actions,
    simulate,
    written,
)
from sansio_rt.simulation._answer_rules import AnswersAreTheirOwn, AsksWhenFree
from sansio_rt.simulation._connection_rules import DelaysGrow, LossesAreReal
from sansio_rt.simulation._history_rules import EditMade, EditsGiveWhatWasAsked, HistoryIsAsHeard
from sansio_rt.simulation._rules import NothingIsStale
from sansio_rt.simulation._scenes import SCENES
from sansio_rt.simulation._service import Taken

MOST_SEEDS = 400
CLEAR = "input_audio_buffer.clear"


class Always:
    """A caller with one plan."""

    def __init__(self, plan: Sequence[Action], **setup: Any) -> None:
        settings = {"config": SessionConfig(turn_detection=None), **setup}
        self._plan = Plan(setup=Setup(**settings), actions=plan)

    def plan(self, chance: Chance, kind: Kind) -> Plan:
        return self._plan


def always(*plan: Action, **setup: Any) -> Simulation:
    return Simulation(caller=Always(plan, **setup))


def found(words: str, simulation: Simulation | None = None) -> None:
    """Some seed breaks an invariant whose details have these words."""
    others: list[str] = []
    for seed in range(MOST_SEEDS):
        violation = simulate(seed, simulation, shrink=False).violation
        if violation is not None and words in str(violation):
            return
        if violation is not None:
            others.append(f"{seed}: {violation}")
    pytest.fail(f"{MOST_SEEDS} seeds broke only {len(others)} times {others[:3]}")


# --- history --------------------------------------------------------------------------------

TALKS = actions.Type(at_s=1.0, words="talk")
CUTS = actions.Truncate(at_s=4.0, which=1.0, share=0.1)


def test_an_answer_that_is_told_whole_although_it_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    right = replay.as_history
    monkeypatch.setattr(replay, "as_history", lambda item, _heard=None: right(item))
    lost = actions.Reset(at_s=5.0)
    found("is told", always(TALKS, CUTS, lost, retry=RetryPolicy()))


def test_an_answer_that_the_next_connection_is_told_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    right = replay.as_history
    monkeypatch.setattr(replay, "as_history", lambda item, _heard=None: right(item))
    changes = actions.Restart(at_s=5.0, patience_s=60.0)
    found("is told", always(TALKS, CUTS, changes, retry=RetryPolicy()))


def test_an_answer_that_was_told_before_it_was_cut_is_corrected() -> None:
    """The next connection is told the whole of it first."""
    plan = [
        TALKS,
        actions.Restart(at_s=3.0, patience_s=60.0),
        actions.Truncate(at_s=3.25, which=1.0, share=0.1),
    ]
    for seed in range(40):
        assert simulate(seed, always(*plan, weather=Weather(latency_s=0.1))).violation is None


def test_an_answer_that_is_cut_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    right = History.truncate
    monkeypatch.setattr(
        History, "truncate", lambda self, item_id, end_ms: right(self, item_id, end_ms + 1)
    )
    found("ms was asked", always(TALKS, CUTS))


def turned_round(right: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def diff(*arguments: Any, **options: Any) -> list[Any]:
        first: list[Any] = []
        for edit in right(*arguments, **options):
            if hasattr(edit, "previous_item_id"):  # each behind the one that the first follows
                edit = type(edit)(edit.item, first[0] if first else edit.previous_item_id)
                first.append(edit.previous_item_id)
            else:
                first.clear()
            yield_to.append(edit)
        edits, yield_to[:] = list(yield_to), []
        return edits

    yield_to: list[Any] = []
    return diff


def test_new_items_that_turn_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "diff", turned_round(history.diff))
    found("comes of it", always(TALKS, actions.Rewrite(at_s=4.0, which=1.0)))


def test_edits_that_nobody_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    right = history.diff

    def wasteful(old: Sequence[Any], new: Sequence[Any], **options: Any) -> list[Any]:
        return [*right(old, [], **options), *right([], new, **options)]

    monkeypatch.setattr(history, "diff", wasteful)
    found("are enough for", always(TALKS, actions.Rewrite(at_s=4.0, which=1.0)))


def test_an_edit_is_a_deletion_or_a_creation() -> None:
    rule = EditsGiveWhatWasAsked()
    edit = EditMade(there=[], wanted=[], commands=[Command("event_1", CommandKind.REPLY)])
    rule.world = SimpleNamespace(asked=SimpleNamespace(edits=[edit]))  # type: ignore[assignment]
    with pytest.raises(Violation, match="is no edit"):
        rule.finish()


def test_a_rewrite_of_nothing_puts_two_in() -> None:
    result = simulate(1, always(actions.Rewrite(at_s=1.0, which=0.5)), traced=True)
    assert result.violation is None
    assert written(result.trace).count("put in") >= 2


def test_an_edit_of_what_is_on_its_way_out_is_not_compared() -> None:
    plan = [TALKS, actions.Delete(at_s=3.0, which=0.0), actions.Rewrite(at_s=3.001, which=0)]
    assert simulate(1, always(*plan, weather=Weather(latency_s=0.1))).violation is None


def test_nobody_edits_while_a_cut_is_not_answered() -> None:
    plan = [TALKS, CUTS, actions.Rewrite(at_s=4.001, which=0)]
    simulation = always(*plan, weather=Weather(latency_s=0.1))
    results = [simulate(seed, simulation, traced=True) for seed in range(20)]
    assert all(result.violation is None for result in results)
    assert any("edit: rewrite: []" in written(result.trace) for result in results)


def test_history_that_is_told_to_nobody_is_not_compared() -> None:
    rule = HistoryIsAsHeard()
    rule._told = {(1, "item"): "words"}
    rule.world = SimpleNamespace(service=None)  # type: ignore[assignment]
    rule.finish()


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


# --- servers that misbehave -----------------------------------------------------------------


def test_an_edit_that_is_never_answered_and_never_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CommandTable, "start_clock", lambda *_arguments: None)
    forgets = actions.ServerForgets(at_s=0.5, answer_to="conversation.item.create")
    found("nothing waits for ever", always(forgets, TALKS))


def test_a_server_that_is_mute_and_nobody_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Liveness, "start", lambda *_arguments: None)
    quiet = Timing(rotate_after_s=None)
    found("the server is mute", always(actions.ServerMutes(at_s=1.0), timing=quiet))


def test_a_server_that_falls_mute_is_replaced() -> None:
    mute = actions.ServerMutes(at_s=1.0)
    plan = [mute, actions.Type(at_s=2.0), actions.Speak(at_s=3.0, length_ms=500)]
    result = simulate(1, always(*plan, retry=RetryPolicy()), traced=True)
    assert result.violation is None
    assert "takes audio and answers nothing" in written(result.trace)


EVERYTHING = [
    actions.Type(at_s=1.0),
    actions.Speak(at_s=3.0, length_ms=300),
    actions.Update(at_s=5.0, changes={"instructions": "Be kind."}),
    actions.Retrieve(at_s=5.1, which=0.5),
    actions.Edit(at_s=5.2, which=0.0, how="move"),
    actions.Truncate(at_s=5.3, which=1.0, share=0.5),
    actions.Clear(at_s=5.4),
    actions.Ask(at_s=5.5),
    actions.Interrupt(at_s=5.6),
    actions.Interrupt(at_s=50.0),
]


@pytest.mark.parametrize("late_s", [None, 11.0, 25.0])
@pytest.mark.parametrize(
    "answer_to",
    [
        "session.update",
        "input_audio_buffer.commit",
        CLEAR,
        "conversation.item.create",
        "conversation.item.delete",
        "conversation.item.truncate",
        "conversation.item.retrieve",
        "response.cancel",
    ],
)
def test_an_answer_that_does_not_come_in_time(answer_to: str, late_s: float | None) -> None:
    forgets = actions.ServerForgets(at_s=0.5, answer_to=answer_to, late_s=late_s)
    for seed in range(4):
        result = simulate(seed, always(forgets, *EVERYTHING, pace=1.0), traced=True)
        assert result.violation is None, written(result.trace)


def test_an_answer_that_would_come_after_the_end_is_not_given() -> None:
    forgets = actions.ServerForgets(at_s=0.5, answer_to=CLEAR, late_s=11.0)
    plan = [forgets, actions.Clear(at_s=1.0), actions.Reset(at_s=2.0), actions.Interrupt(at_s=20.0)]
    assert simulate(1, always(*plan, retry=RetryPolicy())).violation is None


def test_nobody_misbehaves_where_there_is_no_server() -> None:
    plan = [actions.ServerForgets(at_s=0.0, answer_to=CLEAR), actions.ServerMutes(at_s=0.0)]
    assert simulate(1, always(*plan, weather=Weather(latency_s=0.1))).violation is None


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("listens", [False, True])
def test_scenes_hold(scene: Callable[[Chance, float], list[Action]], listens: bool) -> None:
    class Stages:
        def plan(self, chance: Chance, kind: Kind) -> Plan:
            plan = sorted(scene(chance, 1.0), key=lambda action: action.at_s)
            detection = events.ServerVad(silence_duration_ms=200) if listens else None
            setup = Setup(
                config=SessionConfig(turn_detection=detection),
                weather=Weather(latency_s=chance.choice((0.0, 0.02, 0.15))),
                retry=RetryPolicy(),
            )
            return Plan(setup=setup, actions=plan)

    for seed in range(8):
        result = simulate(seed, Simulation(caller=Stages()))
        assert result.violation is None, written(result.trace)
