"""`trio-rt soak`: callers take turns, faults explain errors, and what is left at the end is told."""

from __future__ import annotations

import io
import itertools
import json
import random
import re
import socket
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from rich.console import Console
from trio.testing import MockClock

from sansio_rt import Endpoint, SequentialIds, ServerProtocol
from sansio_rt._server_session import ServerSession
from trio_rt.cli._soak import Soak
from trio_rt.cli._soak_caller import Pace
from trio_rt.cli._soak_figures import MIB, Figures, Finding, Sample, judge, percentile, slope
from trio_rt.cli._soak_mind import make_brain
from trio_rt.cli._soak_process import Pulse
from trio_rt.cli._soak_screen import SoakScreen
from trio_rt.cli._soak_troubles import (
    NETWORK,
    SERVER,
    RandomPlan,
    Trouble,
    TroubledDialer,
    explains,
)
from trio_rt.emulator import Brain, EnergyDetector, Fault, FaultPlan, Request, Say
from trio_rt.emulator._voices import ToneVoice
from trio_rt.testing import FaultyStream, memory_server

# --- the figures ----------------------------------------------------------------------------


def test_percentiles_are_values_that_came() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([7.0], 0.5) == 7.0
    assert percentile([], 0.5) is None


def test_slope() -> None:
    assert slope([(x, 3 * x + 1) for x in range(10)]) == pytest.approx(3)
    assert slope([(0, 5), (1, 6), (2, 5), (3, 6)]) == pytest.approx(0.2)
    assert slope([(1, 1)]) is None
    assert slope([(1, 1), (1, 2)]) is None


def sample(at_s: float = 0, rss_mib: float | None = None, **changes: Any) -> Sample:
    fields: dict[str, Any] = {"tasks": 6, "sockets": 5, "files": 11, "sessions": 0} | changes
    return Sample(at_s, rss_bytes=None if rss_mib is None else round(rss_mib * MIB), **fields)


def verdict(figures: Figures, **after: Any) -> dict[str, bool | None]:
    figures.turns["written"] += 1
    return {finding.what: finding.good for finding in judge(figures, sample(), sample(**after))}


def test_a_soak_without_anything_wrong_is_good() -> None:
    found = verdict(Figures(samples=[sample(at, 100 + min(at, 60)) for at in range(300)]))
    assert set(found.values()) == {True}
    assert list(found) == [
        "turns",
        "errors",
        "tasks",
        "sockets",
        "file descriptors",
        "sessions",
        "memory",
    ]


@pytest.mark.parametrize(
    ("what", "after"),
    [("tasks", {"tasks": 7}), ("sockets", {"sockets": 6}), ("file descriptors", {"files": 12})],
)
def test_what_is_left_is_a_leak(what: str, after: dict[str, int]) -> None:
    found = verdict(Figures(), **after)
    assert [name for name, good in found.items() if good is False] == [what]


def test_memory_that_grows_by_more_than_the_bound_is_a_leak() -> None:
    def judged(mib_per_minute: float, length_s: int = 600) -> bool | None:
        samples = [sample(at, 100 + at / 60 * mib_per_minute) for at in range(length_s)]
        return verdict(Figures(samples=samples))["memory"]

    assert judged(0.9) is True
    assert judged(1.1) is False
    assert judged(50, length_s=170) is None  # too short to tell
    assert verdict(Figures(samples=[sample(600)]))["memory"] is None  # the system does not tell


def test_unexplained_errors_and_objects_that_stay_and_no_turns_are_bad() -> None:
    figures = Figures()
    figures.count_error("connection lost", explained=True, words="x")
    assert verdict(figures)["errors"] is True
    figures.count_error("KeyError", explained=False, words="'resp_1'")
    figures.leftovers["Session"] += 1
    found = verdict(figures)
    assert (found["errors"], found["sessions"]) == (False, False)
    assert figures.examples == ["KeyError: 'resp_1'"]
    assert judge(Figures(), sample(), sample())[0] == Finding(
        "turns", False, "0 turns were answered"
    )


def test_the_record_is_json() -> None:
    figures = Figures(samples=[sample(1, 2)])
    figures.latencies["answer"] = array("d", [0.1, 0.3, 0.2])
    record = json.loads(json.dumps(figures.record()))
    assert record["latencies_s"]["answer"] == {"count": 3, "p50": 0.2, "p95": 0.3, "p99": 0.3}
    assert record["latencies_s"]["connect"]["p50"] is None
    assert record["samples"][0]["tasks"] == 6


def test_a_machine_that_is_busy_with_other_things_is_told_from_work_of_its_own() -> None:
    cpu_s = 0.0
    pulse = Pulse(1.0, lambda: cpu_s)
    assert not pulse.starved_since(0, 100)  # it has not begun
    pulse.start(0)
    assert pulse.beat(1.2) == pytest.approx(0.2)
    assert not pulse.starved_since(0, 1.2)
    assert pulse.starved_since(0, 4)  # the beat itself comes late, too
    assert pulse.beat(5.2) == pytest.approx(3)
    assert (pulse.starved, pulse.busy, pulse.worst_s) == (1, 0, pytest.approx(3))
    assert pulse.starved_since(20, 6)  # what was asked for then may still fail
    assert not pulse.starved_since(21, 6)
    cpu_s = 2.5
    pulse.beat(9.2)
    assert (pulse.starved, pulse.busy) == (1, 1)


# --- the troubles ---------------------------------------------------------------------------


def test_a_plan_has_its_trouble_and_the_same_one_each_time() -> None:
    def plans(trouble: Trouble, seed: int = 1) -> list[FaultPlan]:
        plan = RandomPlan(trouble=trouble, seed=seed)
        return [plan.for_connection(number) for number in range(1, 50)]

    for trouble in SERVER:
        assert plans(trouble) == plans(trouble)
        assert plans(trouble) != plans(trouble, seed=2)
    assert set(map(repr, plans(Trouble.NONE))) == {repr(FaultPlan())}
    assert {plan.refuse_status for plan in plans(Trouble.REFUSED)} == {429, 500, 503}
    assert all(plan.close_code for plan in plans(Trouble.CLOSED))
    assert {plan.close_code for plan in plans(Trouble.GONE)} == {None}
    assert {plan.messages[0].fault for plan in plans(Trouble.GARBLED)} == {Fault.GARBAGE}
    assert {plan.messages[0].match for plan in plans(Trouble.SILENT)} == {"*"}


class Streams:
    """A dialer of streams that go nowhere."""

    def __init__(self) -> None:
        self.hosts: list[str] = []

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
        self.hosts.append(endpoint.host)
        return trio.testing.memory_stream_pair()[0]


async def test_a_dialer_knows_the_troubles_of_its_connections(autojump_clock: MockClock) -> None:
    wanted = iter([Trouble.NONE, Trouble.SILENT, Trouble.CUT])
    servers = {Trouble.SILENT: Endpoint.url("ws://silent/v1")}
    streams = Streams()
    dialer = TroubledDialer(streams, lambda: next(wanted), servers, random.Random(1))
    start = trio.current_time()
    found = []
    for _ in range(3):
        found.append(await dialer.dial(Endpoint.url("ws://plain/v1")))
        await trio.sleep(10)
    assert streams.hosts == ["plain", "silent", "plain"]
    assert [isinstance(stream, FaultyStream) for stream in found] == [False, False, True]
    assert dialer.troubles_since(start + 5) == [Trouble.NONE, Trouble.SILENT, Trouble.CUT]
    assert dialer.troubles_since(start + 15) == [Trouble.SILENT, Trouble.CUT]
    assert dialer.troubles_since(start + 99) == [Trouble.CUT]


def test_no_trouble_explains_a_defect() -> None:
    for trouble in Trouble:
        for defect in ("KeyError", "stuck", "generation failed", "StreamOverflow", "logged"):
            assert not explains(trouble, defect)
    assert not any(explains(Trouble.NONE, error) for error in ("connection lost", "no audio"))
    assert not explains(Trouble.CUT, "broken message")


# --- callers --------------------------------------------------------------------------------

FAST = Pace(pause_s=1.0, shortest_session_s=10.0, longest_session_s=40.0)


def listening() -> Callable[[], ServerProtocol]:
    """Makes servers that notice speech, each with ids that no other one has."""
    numbers = itertools.count(1)
    return lambda: ServerProtocol(
        ServerSession(detector=EnergyDetector(), ids=SequentialIds(f"s{next(numbers)}_"))
    )


async def run_soak(
    brain: Brain, troubles: Sequence[Trouble] = (), *, length_s: float = 60, fails: bool = True
) -> Soak:
    soak = Soak(4, length_s, 1, troubles, FAST)
    async with memory_server(brain=brain, make_protocol=listening()) as server:
        found = {Trouble.NONE: server.endpoint}
        await soak.run(found, server, lambda _: None, fails=fails)
    return soak


async def test_callers_take_turns_of_all_kinds(autojump_clock: MockClock) -> None:
    soak = await run_soak(make_brain())
    assert soak.figures.examples == []
    assert not soak.figures.errors
    kinds = {"written", "spoken", "detected", "tool", "interrupted", "failed on purpose"}
    assert set(soak.figures.turns) == kinds
    assert soak.figures.opened > 4  # sessions end and others begin
    assert soak.figures.sessions == 0
    assert len(soak.figures.latencies["answer"]) > 20
    assert max(sample.sessions for sample in soak.figures.samples) == 4
    assert not [finding for finding in soak.findings if finding.good is False]


async def test_the_network_s_troubles_explain_what_happens(autojump_clock: MockClock) -> None:
    soak = await run_soak(make_brain(), NETWORK, length_s=120)
    assert soak.figures.examples == []
    assert soak.figures.errors["connection lost"] > 3
    assert soak.figures.reconnects > 3
    assert set(soak.figures.troubles) == {"none", *(trouble.value for trouble in NETWORK)}
    # The server in memory keeps all connections that it ever had.
    assert not [each for each in soak.findings if each.good is False and each.what != "memory"]


async def test_connections_are_counted_as_they_are_opened(autojump_clock: MockClock) -> None:
    soak = Soak(3, 5.0, 1, (), FAST)
    seen: list[tuple[int, int]] = []

    def show(sample: Sample) -> None:
        seen.append((sample.sessions, soak.figures.troubles.total()))

    async with memory_server(brain=make_brain(), make_protocol=listening()) as server:
        await soak.run({Trouble.NONE: server.endpoint}, server, show, fails=True)
    assert max(sessions for sessions, _ in seen) == 3
    assert [seen for seen in seen if seen[0] > seen[1]] == []


class Unwilling:
    """A mind that fails without having been asked to."""

    def reply(self, request: Request) -> Sequence[Say]:
        raise ValueError("a defect")


async def test_a_failure_without_a_trouble_is_a_defect(autojump_clock: MockClock) -> None:
    brain = Brain(Unwilling(), ToneVoice(), EnergyDetector)
    soak = await run_soak(brain, length_s=10, fails=False)
    assert set(soak.figures.unexplained) == {"generation failed"}
    assert "ValueError: a defect (troubles: none)" in soak.figures.examples[0]
    bad = [finding.what for finding in soak.findings if finding.good is False]
    assert bad in (["errors"], ["turns", "errors"])  # a broken-off answer needs none


async def test_a_socket_that_stays_open_is_told(autojump_clock: MockClock) -> None:
    kept: list[socket.socket] = []
    async with memory_server(brain=make_brain(), make_protocol=listening()) as server:

        class Leaking:
            async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
                kept.append(socket.socket())
                return await server.dial(endpoint)

        soak = Soak(2, 5.0, 1, (), FAST)
        await soak.run({Trouble.NONE: server.endpoint}, Leaking(), lambda _: None, fails=False)
    for each in kept:
        each.close()
    bad = [finding.what for finding in soak.findings if finding.good is False]
    assert bad == ["sockets", "file descriptors"]


async def test_sessions_that_do_not_end_are_told(autojump_clock: MockClock) -> None:
    async with memory_server(brain=make_brain(), make_protocol=listening()) as server:

        class Stuck:
            async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
                with trio.CancelScope() as scope:
                    scope.shield = False
                    while True:  # each wait for a connection is followed by another one
                        with trio.move_on_after(1e6, shield=True):
                            await trio.sleep(100)
                            break
                return await server.dial(endpoint)

        soak = Soak(1, 5.0, 1, (), FAST)
        await soak.run({Trouble.NONE: server.endpoint}, Stuck(), lambda _: None, fails=False)
    assert "stuck" in soak.figures.unexplained


# --- the command ----------------------------------------------------------------------------


def test_a_short_soak_over_sockets(run: Callable[..., Any], tmp_path: Path) -> None:
    record = tmp_path / "soak.json"
    arguments = ("--sessions", "3", "--minutes", "0.02", "--seed", "4", "--no-faults")
    result = run("soak", *arguments, "--json", record)
    assert result.code == 0, result.out
    assert re.match(r"\d+ s: 0 sessions", result.out)  # a busy machine takes its time to begin
    assert " ok  errors: 0 unexplained, 0 explained" in result.out
    assert " --  memory: not judged" in result.out
    told = json.loads(record.read_text())
    assert told["sessions"] == 3
    assert told["sessions_opened"] == 3
    assert told["faults"] == []
    assert {finding["what"] for finding in told["verdict"]} >= {"tasks", "sockets", "memory"}


def test_another_server_that_is_not_there(run: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = run("soak", "--url", f"ws://127.0.0.1:{port}/v1", "--minutes", "0.01")
    assert result.code == 1
    assert "cannot reach" in result.err


def test_another_server(run: Callable[..., Any], serve: Callable[..., Any]) -> None:
    emulator = serve(make_brain())
    result = run(
        "soak", "--url", emulator.url, "--minutes", "0.02", "--sessions", "2", "--no-faults"
    )
    assert result.code == 0, result.out
    assert emulator.connections == 3  # the first one looks whether it is there


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sessions", "0"], "--sessions"),
        (["--sessions", "many"], "--sessions"),
        (["--minutes", "0"], "--minutes: 0: give more than 0, up to 10,080"),
        (["--minutes", "nan"], "--minutes"),
        (["--url", "ftp://localhost"], "--endpoint"),
        (["--json", "/nowhere/soak.json"], "--json"),
    ],
)
def test_bad_use(run: Callable[..., Any], arguments: list[str], words: str) -> None:
    result = run("soak", *arguments)
    assert result.code == 2
    assert words in result.err


def test_what_cannot_be_run_leaves_no_record(run: Callable[..., Any], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    old.write_text("{}")
    for record in (new, old):
        url = f"ws://127.0.0.1:{port}/v1"
        assert run("soak", "--url", url, "--json", record).code == 1
    assert not new.exists()
    assert old.read_text() == "{}"


# --- the screen -----------------------------------------------------------------------------


def shown(*, terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120, soft_wrap=True)
    figures = Figures()
    figures.turns["written"] += 7
    figures.count_error("KeyError", explained=False, words="\x1b[2J[red]'resp_1'")
    with SoakScreen(600, console) as screen:
        for at_s in range(0, 65, 5):
            figures.samples.append(sample(at_s, 100, sessions=3))
            screen.show(figures, figures.samples[-1])
        screen.tell(figures, [Finding("errors", False, "1 unexplained")])
    return file.getvalue()


def test_a_pipe_gets_a_line_now_and_then() -> None:
    text = shown(terminal=False)
    assert [line.split(":")[0] for line in text.splitlines()[:3]] == ["0 s", "30 s", "60 s"]
    assert "60 of 600 s" in text
    assert "unexplained: KeyError: [2J[red]'resp_1'" in text  # shown as it is, without the escape
    assert "BAD  errors: 1 unexplained" in text
    assert "\x1b" not in text


def test_a_terminal_gets_a_table() -> None:
    text = shown(terminal=True)
    assert text.count("3 open") >= 13
    assert "0 s: 3 sessions" not in text
