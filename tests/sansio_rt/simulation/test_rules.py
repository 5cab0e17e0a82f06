"""Corners of the invariants and of the trace that no planted bug has to reach."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sansio_rt import AudioDelta, CallReady, Command, CommandEnded, CommandKind, Outcome, events
from sansio_rt.simulation import Violation, actions
from sansio_rt.simulation._playback import Playback
from sansio_rt.simulation._rules import (
    CommandsEndOnce,
    ConfigurationHolds,
    QueuesAreBounded,
    StreamsEnd,
    text_of,
)
from sansio_rt.simulation._sound_rules import HeardIsReceivedIsSpoken
from sansio_rt.simulation._trace import brief_message


def command(outcome: Outcome | None = None) -> Command:
    made = Command("event_1", CommandKind.REPLY)
    made.outcome = outcome
    return made


def test_an_ending_and_its_error_belong_together() -> None:
    with pytest.raises(Violation, match="has the error None"):
        CommandsEndOnce().on_event(CommandEnded(command(Outcome.REFUSED)))


def test_an_outstanding_command_is_in_the_table() -> None:
    rule = CommandsEndOnce()
    made = command()
    driver = SimpleNamespace(issued={made.event_id: SimpleNamespace(command=made)})
    rule.world = SimpleNamespace(driver=driver, client=SimpleNamespace(commands=[made]))  # type: ignore[assignment]
    rule.check()
    with pytest.raises(Violation, match="are outstanding"):
        rule.left()
    rule.world.client.commands.clear()  # type: ignore[attr-defined]
    with pytest.raises(Violation, match="is not in the table"):
        rule.check()


def test_a_call_belongs_to_a_running_response() -> None:
    call: Any = SimpleNamespace(generation=SimpleNamespace(id="r"))
    with pytest.raises(Violation, match="no running response"):
        StreamsEnd().on_event(CallReady(call))


def test_commands_are_bounded() -> None:
    rule = QueuesAreBounded()
    limits = SimpleNamespace(max_pending_commands=1)
    rule.world = SimpleNamespace(client=SimpleNamespace(commands=[1, 2], limits=limits))  # type: ignore[assignment]
    with pytest.raises(Violation, match="2 commands"):
        rule.finish()


def test_what_is_wanted_is_acknowledged() -> None:
    rule = ConfigurationHolds()
    client = SimpleNamespace(acknowledged="this", wanted="that")
    rule.world = SimpleNamespace(client=client, service=object())  # type: ignore[assignment]
    with pytest.raises(Violation, match="that is wanted"):
        rule.finish()


def test_sound_comes_from_a_mind() -> None:
    rule = HeardIsReceivedIsSpoken()
    rule.world = SimpleNamespace(services=[])  # type: ignore[assignment]
    message: Any = SimpleNamespace(id="m", generation=SimpleNamespace(id="r"))
    frame: Any = SimpleNamespace(start_sample=0, sample_count=1)
    with pytest.raises(Violation, match="no mind"):
        rule.on_event(AudioDelta(message, 0, frame))


def test_items_without_words_have_none() -> None:
    assert text_of(events.McpListTools(server_label="x", tools=[])) == ""


def test_what_was_never_played_was_not_heard() -> None:
    clock: Any = SimpleNamespace(now=1.0)
    assert Playback(clock).heard_ms("m") == 0
    assert Playback(clock).newest is None


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (b"no JSON", "b'no JSON'"),
        (b"[1]", "b'[1]'"),
        (b'{"type":"x","list":[1,{"a":"b"}],"empty":""}', "x a=b"),
        (b'{"type":"x","delta":"%s"}' % (b"A" * 80), "x <80 characters>"),
    ],
)
def test_messages_become_lines(message: bytes, line: str) -> None:
    assert brief_message(message) == line


def test_a_text_that_is_gone_is_not_cut() -> None:
    client = SimpleNamespace(conversation={})
    world: Any = SimpleNamespace(client=client)
    assert actions.Truncate(at_s=0.0, which=0.0, share=0.5)._cut_text(world, "gone") is None
