"""What the invariants of history find: cuts, edits, and the order of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from finds import TALKS, always, found

from sansio_rt import Command, CommandKind, Outcome, RetryPolicy
from sansio_rt import _history as history
from sansio_rt import _replay as replay
from sansio_rt._history import History
from sansio_rt._past import as_history
from sansio_rt.simulation import Violation, Weather, actions, simulate, written
from sansio_rt.simulation._history_rules import (
    Asked,
    EditMade,
    EditsGiveWhatWasAsked,
    HistoryIsAsHeard,
)

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


def test_an_answer_that_is_moved_whole_while_its_cut_is_not_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    types = [
        actions.Type(at_s=at_s, words="more", role="user", reply=False, patient=True)
        for at_s in (3.0, 3.1)
    ]
    moves = actions.Edit(at_s=4.001, which=0.3, how="move")
    simulation = always(TALKS, *types, CUTS, moves, weather=Weather(latency_s=0.1))
    assert all(simulate(seed, simulation).violation is None for seed in range(20))
    monkeypatch.setattr(History, "_as_heard", lambda _, item: as_history(item))
    monkeypatch.setattr(History, "_follow", lambda *_: None)
    found("is told", simulation)


def test_a_spoken_turn_that_is_moved_as_no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    speaks = actions.Speak(at_s=1.0, length_ms=500)
    moves = actions.Edit(at_s=4.0, which=0.0, how="move")
    simulation = always(speaks, actions.Type(at_s=2.0), moves)
    assert all(simulate(seed, simulation).violation is None for seed in range(5))  # it is refused
    monkeypatch.setattr(History, "_as_heard", lambda _, item: as_history(item))
    found("blocks were lost", simulation)


def test_history_that_is_told_to_nobody_is_not_compared() -> None:
    rule = HistoryIsAsHeard()
    rule._told = {(1, "item"): "some words"}
    rule._messages = {"item": SimpleNamespace(text="some words", received_ms=1_000)}  # type: ignore[dict-item]
    asked = Asked()
    asked.made.append(("item", 0, None))
    refused = Command("cut", CommandKind.TRUNCATE_ITEM)
    refused.outcome = Outcome.REFUSED
    rule.world = SimpleNamespace(service=SimpleNamespace(number=1), asked=Asked())  # type: ignore[assignment]
    rule.world.asked.made.append(("item", 0, refused))
    rule.world.asked.made.append(("item", 0, None))
    rule.world.asked.reworded.add("item")
    rule.finish()
    rule.world.asked.reworded.clear()
    del rule.world.asked.made[1]
    rule.finish()
    rule.world = SimpleNamespace(service=None, asked=asked)  # type: ignore[assignment]
    rule.finish()
    rule.world = SimpleNamespace(service=SimpleNamespace(number=1), asked=asked)  # type: ignore[assignment]
    with pytest.raises(Violation, match="0 ms were heard"):
        rule.finish()
