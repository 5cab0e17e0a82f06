"""Servers that answer late, or never, or fall mute: what finds it, and scenes that hold all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from finds import CLEAR, TALKS, always, found

from sansio_rt import RetryPolicy, SessionConfig, Timing, events
from sansio_rt._commands import CommandTable
from sansio_rt._keepalive import Liveness
from sansio_rt.simulation import (
    Action,
    Chance,
    Kind,
    Plan,
    Setup,
    Simulation,
    Weather,
    actions,
    simulate,
    written,
)
from sansio_rt.simulation._scenes import SCENES


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
