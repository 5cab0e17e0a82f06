"""`trio-rt talk`: everything that is checked before, and what is opened around a conversation."""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sansio_rt import Endpoint, MissingExtra, SessionConfig, Timing
from trio_rt import open_session, serve_emulator
from trio_rt._wav import WavError, WavWriter
from trio_rt.emulator import Brain

from ._conversation import ANSWER_RATE, Conversation
from ._endpoints import EMULATOR, find_endpoint
from ._interrupt import run_until_signal
from ._problems import BadUse, ExitCode
from ._screen import Screen
from ._summary import summary
from ._tools import get_time, roll_dice
from ._turns import SpokenTurn, Turn, check_output, load_turns

__all__ = ["talk"]

MOST_CONNECT_S = 10.0
"""A server that does not answer for longer than this is not there, however long a turn may take."""


@dataclass(frozen=True)
class _Plan:
    """A conversation that nothing is wrong with, as far as can be told without a connection."""

    turns: list[Turn]
    endpoint: Endpoint | None
    """None for the emulator."""
    brain: Brain | None
    """The emulator's."""
    model: str | None
    config: SessionConfig
    timeout_s: float


def talk(arguments: argparse.Namespace) -> int:
    """Hold the conversation that the command line asks for, and write its answers.

    Args:
        arguments: Of the parser's `talk`.

    Returns:
        The exit code.

    Raises:
        BadUse: Something is wrong with the arguments, the files or what is installed.
        RealtimeError: The session failed.
    """
    plan = _make_plan(arguments)
    check_output(arguments.output, arguments.turns)
    screen = Screen(quiet=arguments.quiet)
    for turn in plan.turns:
        if isinstance(turn, SpokenTurn) and turn.recording.truncated:
            screen.warn(
                f"{turn.name}: the file ends before its header says; "
                f"the {turn.recording.duration_s:.1f} s that are there are used"
            )
    received = run_until_signal(lambda: _hold(plan, screen, arguments.output))
    if received is not None:
        screen.warn("interrupted; nothing was written")
        return 128 + received
    screen.line(f"{arguments.output}: the answers are in this file")
    return ExitCode.DONE


def _make_plan(arguments: argparse.Namespace) -> _Plan:
    brain: Brain | None = None
    endpoint: Endpoint | None = None
    turns = load_turns(arguments.turns)
    if arguments.endpoint == EMULATOR:
        try:
            brain = Brain.local()
        except MissingExtra as error:
            raise BadUse(str(error)) from error
    else:
        endpoint = find_endpoint(
            arguments.endpoint, model=arguments.model, api_key=arguments.api_key
        )
    # The turns are committed here and not found by the server's turn detection. A recording is one
    # question, also one with a pause for thought in it or with noise at its end; it needs no
    # silence behind it, whatever the server's settings are; and it gets exactly one answer, also
    # when nobody speaks in it. What turn detection is for, finding the end of speech in a stream
    # that does not end, does not arise with a file.
    config = SessionConfig(
        turn_detection=None, voice=arguments.voice, instructions=arguments.instructions
    )
    return _Plan(turns, endpoint, brain, arguments.model, config, arguments.timeout)


async def _hold(plan: _Plan, screen: Screen, output: Path) -> None:
    timing = Timing(
        connect_timeout_s=min(plan.timeout_s, MOST_CONNECT_S), answer_timeout_s=plan.timeout_s
    )
    try:
        writer = WavWriter(output, ANSWER_RATE)
    except (WavError, OSError) as error:
        raise BadUse(f"--output {error}") from error
    with writer:  # what is written so far is under another name, and goes if anything fails
        await _converse(plan, screen, writer, timing)


async def _converse(plan: _Plan, screen: Screen, writer: WavWriter, timing: Timing) -> None:
    async with (
        _reach(plan, screen) as endpoint,
        open_session(endpoint, plan.config, tools=[get_time, roll_dice], timing=timing) as session,
    ):
        conversation = Conversation(session, screen, writer, timeout_s=plan.timeout_s)
        await conversation.hold(plan.turns)
        for line in summary(session.metrics):
            screen.line(line)


@asynccontextmanager
async def _reach(plan: _Plan, screen: Screen) -> AsyncGenerator[Endpoint, None]:
    """The endpoint, with the emulator behind it where that is wanted."""
    if plan.endpoint is not None:
        yield plan.endpoint
        return
    assert plan.brain is not None
    async with serve_emulator(plan.brain) as emulator:
        # Loading takes longer than answering; without this the first answer would wait for it.
        with screen.working("loading the emulator's speech models"):
            await emulator.warm_up()
        yield Endpoint.url(emulator.url, model=plan.model)
