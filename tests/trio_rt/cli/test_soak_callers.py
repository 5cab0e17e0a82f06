"""What a caller of a soak counts when a session misbehaves, and what a soak does without `/proc`."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sansio_rt import (
    Endpoint,
    ErrorScope,
    GenerationStatus,
    MessageBroken,
    RealtimeError,
    SchemaError,
    ServerErrorReported,
    StrayEvent,
    events,
)
from trio_rt.cli import _soak, _soak_process, main
from trio_rt.cli._soak_caller import Caller, Pace
from trio_rt.cli._soak_figures import Figures
from trio_rt.cli._soak_process import Pulse, look
from trio_rt.cli._soak_troubles import Trouble, TroubledDialer


class Nowhere:
    """A dialer that reaches nothing."""

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
        raise OSError("no route")


def caller(figures: Figures) -> Caller:
    def make_dialer(chance: random.Random) -> TroubledDialer:
        return TroubledDialer(Nowhere(), lambda: Trouble.NONE, {}, chance)

    endpoint = Endpoint.url("ws://127.0.0.1:1/v1")
    pace = Pace(turn_timeout_s=3.0, interrupt_timeout_s=2.0, speech_timeout_s=1.0)
    return Caller(endpoint, make_dialer, figures, random.Random(1), pace, Pulse(1.0), fails=False)


class Streamed:
    """A stream of what it was made of; then it stays open, or fails."""

    def __init__(self, *values: Any, error: Exception | None = None) -> None:
        self._values = list(values)
        self._error = error

    def __aiter__(self) -> Streamed:
        return self

    async def __anext__(self) -> Any:
        await trio.lowlevel.checkpoint()
        if self._values:
            return self._values.pop(0)
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    async def receive(self) -> Any:
        await trio.sleep_forever()

    def receive_nowait(self) -> Any:
        if self._values:
            return self._values.pop(0)
        raise trio.WouldBlock


def session(**changes: Any) -> Any:
    async def nothing(*_arguments: Any, **_options: Any) -> None:
        await trio.lowlevel.checkpoint()

    interrupts: list[float] = []

    async def interrupt() -> None:
        interrupts.append(trio.current_time())

    parts: dict[str, Any] = {
        "error": None,
        "push_audio": nothing,
        "interrupt": interrupt,
        "interrupts": interrupts,
        "generations": Streamed("left of an earlier turn"),
    }
    return SimpleNamespace(**parts | changes)


async def test_a_turn_that_does_not_end_is_counted_and_broken_off(
    autojump_clock: MockClock,
) -> None:
    figures = Figures()
    held = session()

    async def turn(_: Any) -> bool:
        await trio.sleep_forever()

    start = trio.current_time()
    await caller(figures)._take_turn(held, "written", turn)
    assert dict(figures.unexplained) == {"turn timed out": 1}
    assert figures.examples == ["turn timed out: written, after 3 s (troubles: none)"]
    assert held.interrupts == [start + 3]
    assert not figures.turns


async def test_an_error_of_a_turn_ends_the_session_only_where_that_has_ended() -> None:
    async def turn(_: Any) -> bool:
        raise RealtimeError("it broke")

    figures = Figures()
    await caller(figures)._take_turn(session(), "written", turn)
    assert figures.examples == ["RealtimeError: written: it broke (troubles: none)"]
    with pytest.raises(RealtimeError, match="it broke"):
        await caller(figures)._take_turn(session(error=RealtimeError("x")), "written", turn)
    assert dict(figures.unexplained) == {"RealtimeError": 1}


async def test_speech_that_no_server_notices_is_counted(autojump_clock: MockClock) -> None:
    figures = Figures()
    assert not await caller(figures)._speak_on(session())
    assert figures.examples == ["speech unanswered: within 1 s (troubles: none)"]


async def test_an_answer_without_sound_is_counted() -> None:
    async def wait() -> Any:
        return SimpleNamespace(status=GenerationStatus.COMPLETED, text="mute")

    figures = Figures()
    silent: Any = SimpleNamespace(parts=Streamed("words"), wait=wait)
    assert not await caller(figures)._hear(silent, 0.0)
    assert figures.examples == ["no audio: the answer was 'mute' (troubles: none)"]
    assert not figures.latencies["answer"]


async def test_an_answer_that_ends_before_it_begins_is_not_cut() -> None:
    truncated: list[str] = []

    async def nothing() -> None:
        await trio.lowlevel.checkpoint()

    async def wait() -> Any:
        return SimpleNamespace(status=GenerationStatus.COMPLETED)

    async def ask(_: str) -> Any:
        return SimpleNamespace(parts=Streamed(), interrupt=nothing, wait=wait)

    held = session(ask=ask, truncate=lambda item_id, **_: truncated.append(item_id))
    assert await caller(Figures())._interrupt(held)
    assert truncated == []


async def test_what_a_session_tells_of_troubles_is_counted() -> None:
    details = events.ErrorDetails(type="server_error", code="odd", message="it is odd")

    def error(scope: ErrorScope) -> ServerErrorReported:
        return ServerErrorReported(error=details, scope=scope)

    told: Any = Streamed(
        error(ErrorScope.BENIGN),
        error(ErrorScope.SESSION),
        MessageBroken(error=SchemaError("no event")),
        StrayEvent(event=events.UnknownEvent(type="x", data={}), reason="fits nothing"),
        error=RealtimeError("why the session ended"),
    )
    figures = Figures()
    await caller(figures)._listen(told)
    assert figures.examples == [
        "server error: odd: it is odd (troubles: none)",
        "broken message: no event (troubles: none)",
        "stray event: fits nothing (troubles: none)",
    ]


# --- what the process and the library tell ----------------------------------------------------


async def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_soak_process, "_FILES", tmp_path / "fd")
    monkeypatch.setattr(_soak_process, "_MEMORY", tmp_path / "statm")
    found = look(1.0, 2)
    assert (found.sockets, found.files, found.rss_bytes) == (None, None, None)
    assert (found.at_s, found.sessions) == (1.0, 2)


async def test_a_descriptor_that_is_gone_is_not_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "3").symlink_to("socket:[17]")
    (tmp_path / "4").symlink_to("/dev/null")
    (tmp_path / "5").touch()  # no link: it cannot be read
    monkeypatch.setattr(_soak_process, "_FILES", tmp_path)
    found = look(1.0, 2)
    assert (found.sockets, found.files) == (1, 2)


def test_what_the_library_logs_as_an_error_is_counted() -> None:
    figures = Figures()
    with _soak._counted_log(figures):
        logging.getLogger("trio_rt.pump").error("it %s", "broke")
        logging.getLogger("trio_rt.pump").warning("nearly")
        logging.getLogger("trio_rt.emulator.serve").error("on purpose")
    logging.getLogger("trio_rt.pump").error("afterwards")
    assert figures.examples == ["logged: it broke"]


@pytest.mark.parametrize(("starved", "busy", "good"), [(0, 0, True), (2, 1, None)])
def test_a_late_loop_leaves_the_machine_unjudged(
    starved: int, busy: int, good: bool | None
) -> None:
    pulse = Pulse(1.0)
    pulse.starved, pulse.busy, pulse.worst_s = starved, busy, 0.7
    finding = _soak._machine(pulse)
    assert finding.good is good
    assert ("by 0.7 s at most: 2 times" in finding.words) == (good is None)


def test_a_soak_that_is_broken_off_tells_its_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken_off(call: Any) -> int:
        call.args[0].figures.count_error("KeyError", explained=False, words="'x'")
        return 2

    monkeypatch.setattr(_soak, "run_until_signal", broken_off)
    assert main(["soak", "--minutes", "1"]) == 130
    assert capsys.readouterr().out.splitlines() == ["unexplained: KeyError: 'x'"]  # no verdict


def test_a_bad_verdict_is_told(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(call: Any) -> None:
        running = call.args[0]
        running.findings = [_soak.Finding("tasks", False, "7"), _soak.Finding("memory", None, "-")]

    monkeypatch.setattr(_soak, "run_until_signal", fails)
    result = run("soak", "--minutes", "1")
    assert result.code == 1
    assert "the verdict is bad: tasks; --seed repeats what callers do" in result.err
