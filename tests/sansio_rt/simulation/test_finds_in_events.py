"""A simulation that finds nothing proves nothing: bugs in what a client tells, and who finds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from finds import TYPES, found

from sansio_rt import (
    AudioDelta,
    CallReady,
    ClientProtocol,
    CommandEnded,
    GenerationEnded,
    GenerationStarted,
    MessageEnded,
    MessageStarted,
    StrayEvent,
    events,
)

ODD = events.UnknownEvent(type="session.sang", data={})


def tamper(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], list[Any]]) -> None:
    """What the client tells goes through a function that gives something else."""
    right = ClientProtocol.next_event

    def next_event(self: ClientProtocol) -> Any:
        event = right(self)
        if event is None:
            return None
        told = change(event)
        self._tray.session_events.extendleft(reversed([Changed(other) for other in told[1:]]))
        if isinstance(event, Changed):
            return event.event
        return told[0] if told else next_event(self)

    monkeypatch.setattr(ClientProtocol, "next_event", next_event)


class Changed(msgspec.Struct):
    """An event that was changed already."""

    event: Any


def dropped(kind: type) -> Callable[[Any], list[Any]]:
    return lambda event: [] if type(event) is kind else [event]


def doubled(kind: type) -> Callable[[Any], list[Any]]:
    return lambda event: [event, event] if type(event) is kind else [event]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (doubled(CommandEnded), "ended twice"),
        (dropped(CommandEnded), "ended without a word"),
        (doubled(GenerationStarted), "began twice"),
        (dropped(GenerationStarted), "belongs to no running response"),
        (doubled(GenerationEnded), "did not run"),
        (dropped(GenerationEnded), "outlived the session"),
        (dropped(MessageStarted), "which is not open"),
        (dropped(MessageEnded), "ended before"),
        (doubled(MessageEnded), "and was not open"),
        (doubled(AudioDelta), "a frame at"),
    ],
)
def test_what_is_told_wrongly(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], list[Any]], name: str
) -> None:
    tamper(monkeypatch, change)
    found(name, TYPES)


def test_a_call_that_is_told_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    tamper(monkeypatch, doubled(CallReady))
    found("was told twice")


def test_sound_that_nobody_spoke(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(event: Any) -> list[Any]:
        if type(event) is AudioDelta:
            frame = msgspec.structs.replace(event.frame, data=bytes(len(event.frame.data)))
            return [msgspec.structs.replace(event, frame=frame)]
        return [event]

    tamper(monkeypatch, change)
    found("is not what was spoken", TYPES)


def test_what_is_said_to_be_strange(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(event: Any) -> list[Any]:
        if type(event) is GenerationEnded:
            return [event, StrayEvent(event=ODD, reason="strange")]
        return [event]

    tamper(monkeypatch, change)
    found("strange", TYPES)


def test_an_end_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(event: Any) -> list[Any]:
        if type(event) is CommandEnded and event.command.outcome is not None:
            event.command.outcome = None
        return [event]

    tamper(monkeypatch, change)
    found("was said to have ended", TYPES)
