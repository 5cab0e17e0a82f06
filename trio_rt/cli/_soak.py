"""`trio-rt soak`: many sessions for a while, with faults, and a verdict on leaks at the end."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio

from sansio_rt import Endpoint, SessionConfig, __version__
from trio_rt import open_session
from trio_rt._dial import Dialer, TcpDialer

from ._endpoints import find_endpoint
from ._interrupt import run_until_signal
from ._problems import BadUse, ExitCode, SessionFailed
from ._soak_caller import Caller, Pace
from ._soak_figures import Figures, Finding, Sample, judge
from ._soak_mind import make_brain
from ._soak_process import MAX_LATE_S, Pulse, leftovers, look
from ._soak_screen import SoakScreen
from ._soak_troubles import NETWORK, SERVER, Trouble, TroubledDialer, serve_all

__all__ = ["Soak", "soak"]

SAMPLE_EVERY_S = 1.0
COLLECT_EVERY_S = 15.0
WARM_UP_S = 0.3
"""What the servers need until they only wait; a task of theirs would hide one that is left."""
SETTLE_S = 15.0
"""How long the end of the last sessions may take until nothing of them is left."""
TROUBLED_SHARE = 0.4
"""Of the connections; the others show what must not happen without a trouble."""


def soak(arguments: argparse.Namespace) -> int:
    """Soak as the command line asks for.

    Args:
        arguments: Of the parser's `soak`.

    Returns:
        The exit code.

    Raises:
        BadUse: Something is wrong with the arguments.
        SessionFailed: The verdict is bad.
        RealtimeError: The server at `--url` cannot be used.
    """
    record = _open_record(arguments.json)
    troubles = (NETWORK if arguments.url else (*SERVER, *NETWORK)) if arguments.faults else ()
    running = Soak(arguments.sessions, arguments.minutes * 60, arguments.seed, troubles)
    servers = _servers(arguments, troubles)
    screen = SoakScreen(running.length_s)
    with _counted_log(running.figures), screen:
        received = run_until_signal(partial(_run, running, servers, screen))
    if received is not None:
        screen.tell(running.figures, [])
        print("trio-rt: interrupted; nothing was written", file=sys.stderr)  # noqa: T201
        return 128 + received
    screen.tell(running.figures, running.findings)
    if record is not None:
        record.write_text(json.dumps(running.record(), indent=1) + "\n")
    bad = [finding.what for finding in running.findings if finding.good is False]
    if bad:
        raise SessionFailed(f"the verdict is bad: {', '.join(bad)}; --seed repeats what callers do")
    return ExitCode.DONE


@dataclass
class Soak:
    """One soak.

    Attributes:
        count: How many sessions are open at a time.
        length_s: How long new turns are begun.
        seed: Decides what callers do and where troubles come.
        troubles: Those that there are.
        pace: How fast callers live.
        figures: What was counted.
        findings: The verdict, when it is over.
    """

    count: int
    length_s: float
    seed: int
    troubles: Sequence[Trouble]
    pace: Pace = field(default_factory=Pace)
    figures: Figures = field(default_factory=Figures)
    findings: list[Finding] = field(default_factory=list[Finding])
    pulse: Pulse = field(default_factory=lambda: Pulse(SAMPLE_EVERY_S))

    async def run(
        self,
        servers: dict[Trouble, Endpoint],
        dialer: Dialer,
        show: Callable[[Sample], None],
        *,
        fails: bool,
    ) -> None:
        """Runs all callers to their end and judges.

        Args:
            servers: Where the servers are; that of `Trouble.NONE` is the one to talk to.
            dialer: Opens streams.
            show: Told each sample.
            fails: Whether the servers fail when they are asked to.
        """
        await trio.sleep(WARM_UP_S)
        before, held_before = look(0, 0), leftovers()
        began = trio.current_time()
        counts = self.figures.troubles
        make_dialer = partial(_make_dialer, dialer, servers, self.troubles, counts)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, began, show)
            with trio.move_on_at(began + self.length_s + self.pace.longest_end_s) as bound:
                async with trio.open_nursery() as callers:
                    for number in range(self.count):
                        chance = random.Random(f"{self.seed} caller {number}")
                        caller = Caller(
                            servers[Trouble.NONE],
                            make_dialer,
                            self.figures,
                            chance,
                            self.pace,
                            self.pulse,
                            fails=fails,
                        )
                        callers.start_soon(caller.run, began + self.length_s)
            if bound.cancelled_caught:
                words = f"sessions did not end within {self.pace.longest_end_s:g} s"
                starved = self.pulse.starved_since(bound.deadline, trio.current_time())
                self.figures.count_error("stuck", explained=starved, words=words)
            nursery.cancel_scope.cancel()
        after = await _settled(before)
        self.figures.leftovers = leftovers() - held_before  # by whoever else uses the package
        self.findings = [*judge(self.figures, before, after), _machine(self.pulse)]

    def record(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "version": __version__,
            "sessions": self.count,
            "seconds": self.length_s,
            "seed": self.seed,
            "faults": [trouble.value for trouble in self.troubles],
            "verdict": [asdict(finding) for finding in self.findings],
            **self.figures.record(),
        }

    async def _watch(self, began: float, show: Callable[[Sample], None]) -> None:
        next_collect_at = began
        while True:
            if trio.current_time() >= next_collect_at:
                # What nobody holds would otherwise count as growth until the interpreter looks for it.
                gc.collect()
                next_collect_at = trio.current_time() + COLLECT_EVERY_S
            sample = look(trio.current_time() - began, self.figures.sessions)
            self.figures.samples.append(sample)
            show(sample)
            self.pulse.start(trio.current_time())
            await trio.sleep(SAMPLE_EVERY_S)
            self.figures.latencies["loop"].append(self.pulse.beat(trio.current_time()))


def _make_dialer(
    dialer: Dialer,
    servers: dict[Trouble, Endpoint],
    troubles: Sequence[Trouble],
    counts: Counter[str],
    chance: random.Random,
) -> TroubledDialer:
    def choose() -> Trouble:
        troubled = bool(troubles) and chance.random() < TROUBLED_SHARE
        trouble = chance.choice(troubles) if troubled else Trouble.NONE
        counts[trouble.value] += 1
        return trouble

    return TroubledDialer(dialer, choose, servers, chance)


def _machine(pulse: Pulse) -> Finding:
    if not pulse.starved and not pulse.busy:
        return Finding(
            "machine", True, f"the event loop was never late by more than {MAX_LATE_S} s"
        )
    return Finding(
        "machine",
        None,
        f"the event loop was late by more than {MAX_LATE_S} s, by {pulse.worst_s:.1f} s at most: "
        f"{pulse.starved} times for want of the machine, {pulse.busy} times by its own work",
    )


async def _settled(before: Sample) -> Sample:
    """The process when it is as before, or when that has not come in time."""
    with trio.move_on_after(SETTLE_S):
        # The system tells no one when a socket is closed.
        while not _is_back(before, look(0, 0)):  # noqa: ASYNC110
            await trio.sleep(0.1)
    return look(0, 0)


def _is_back(before: Sample, now: Sample) -> bool:
    return now.tasks <= before.tasks and (now.files or 0) <= (before.files or 0)


async def _run(
    running: Soak, servers: Callable[[], Any], screen: SoakScreen, dialer: Dialer | None = None
) -> None:
    async with servers() as found:
        await running.run(
            found,
            dialer or TcpDialer(),
            partial(screen.show, running.figures),
            fails=any(trouble in SERVER for trouble in running.troubles),
        )


def _servers(arguments: argparse.Namespace, troubles: Sequence[Trouble]) -> Callable[[], Any]:
    if arguments.url is None:
        return partial(serve_all, make_brain(), troubles, arguments.seed)
    given = find_endpoint(arguments.url, model=arguments.model, api_key=arguments.api_key)

    @asynccontextmanager
    async def elsewhere() -> AsyncGenerator[dict[Trouble, Endpoint]]:
        async with open_session(given, SessionConfig(transcription=None)):
            pass  # one that is not there is told at once
        yield {Trouble.NONE: given}

    return elsewhere


def _open_record(name: Path | None) -> Path | None:
    """The file for the record, which can be written: that is known before ten minutes have gone."""
    if name is not None:
        was_there = name.exists()
        try:
            name.open("a").close()
            if not was_there:
                name.unlink()  # who is interrupted leaves none
        except OSError as error:
            raise BadUse(f"--json {name}: cannot be written: {error.strerror}") from error
    return name


class _Counting(logging.Handler):
    """Counts what the library logs as an error; the emulator's own are failures on purpose."""

    def __init__(self, figures: Figures) -> None:
        super().__init__(logging.ERROR)
        self._figures = figures

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("trio_rt.emulator"):
            self._figures.count_error("logged", explained=False, words=record.getMessage())


@contextmanager
def _counted_log(figures: Figures) -> Generator[None]:
    log, handler = logging.getLogger("trio_rt"), _Counting(figures)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
