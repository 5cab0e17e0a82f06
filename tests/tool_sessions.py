"""Sessions with tools against a server in memory, and what is asked of them in several test files."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

import sansio_rt
from sansio_rt import (
    CallReady,
    GeneratedCall,
    GenerationOrigin,
    GenerationStarted,
    GenerationStatus,
    SequentialIds,
    ServerProtocol,
    SessionConfig,
    Tool,
    events,
)
from sansio_rt._server_session import ServerSession
from trio_rt import Session, ToolSettings, open_session
from trio_rt._approval import Approvals
from trio_rt._toolbox import Toolbox
from trio_rt.emulator import Call, EnergyDetector
from trio_rt.testing import MemoryServer, memory_server

MANUAL = SessionConfig(turn_detection=None)
TEXT: dict[str, Any] = {"modalities": ["text"]}
BUZZ = (b"\x00\x20" * 24 + b"\x00\xe0" * 24) * 500  # one second of 500 Hz
LONG = "a long answer " * 40


def spoken_at_its_own_pace() -> ServerProtocol:
    return ServerProtocol(ServerSession(pace=1.0, detector=EnergyDetector()))


@asynccontextmanager
async def session_with(
    *replies: Any, server: dict[str, Any] | None = None, **options: Any
) -> AsyncGenerator[tuple[Session, MemoryServer]]:
    options.setdefault("config", MANUAL)
    with trio.fail_after(300):
        async with (
            memory_server(*replies, **(server or {})) as memory,
            open_session(memory.endpoint, dialer=memory, **options) as session,
        ):
            yield session, memory


def outputs(session: Session) -> list[str]:
    """The texts of all outputs in the conversation, in its order."""
    items = (entry.item for entry in session.conversation)
    return [item.output for item in items if isinstance(item, events.FunctionCallOutput)]


def unanswered(session: Session) -> int:
    """How many calls have not exactly one output (T9)."""
    items = [entry.item for entry in session.conversation]
    answers = [item.call_id for item in items if isinstance(item, events.FunctionCallOutput)]
    calls = [item.call_id for item in items if isinstance(item, events.FunctionCall)]
    assert set(answers) <= set(calls)
    return sum(answers.count(call_id) != 1 for call_id in calls)


async def turn(session: Session) -> None:
    """Has the model call, and waits for the reply that uses the outputs."""
    await session.generate_reply(**TEXT)
    follow_up = await session.generations.receive()
    assert follow_up.origin is GenerationOrigin.TOOL_OUTPUTS
    assert (await follow_up.wait()).status is GenerationStatus.COMPLETED
    assert unanswered(session) == 0


async def error_of(*calls: Call, tools: list[Any], **options: Any) -> str:
    """What the model is told of a call that fails."""
    async with session_with(list(calls), "I see.", tools=tools, **options) as (session, _):
        await turn(session)
        assert len(outputs(session)) == 1
        told = json.loads(outputs(session)[0])
        assert list(told) == ["error"]
        return str(told["error"])


async def until(condition: Callable[[], object]) -> None:
    """Waits for what has no event of its own."""
    with trio.fail_after(100):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def say(session: Session, memory: MemoryServer, *server_events: events.ServerEvent) -> None:
    """Has the server say something that the emulator does not say by itself."""
    for event in server_events:
        memory.protocols[-1].session._outbox.emit(event)
    await session.clear_audio()  # its answer takes them along


def numbered_servers() -> dict[str, Any]:
    """Servers whose ids differ from one connection to the next, as those of a service do."""
    numbers = itertools.count()

    def make() -> ServerProtocol:
        return ServerProtocol(ServerSession(pace=1.0, ids=SequentialIds(f"{next(numbers)}_")))

    return {"make_protocol": make}


@asynccontextmanager
async def toolbox_alone(
    *tools: Tool,
) -> AsyncGenerator[tuple[Toolbox, sansio_rt.Generation, list[tuple[str, str, bool]]]]:
    """A toolbox without a session, to which events can come in one piece; and what it answered."""
    answers: list[tuple[str, str, bool]] = []

    async def answer(call_id: str, output: str, reply: bool) -> None:
        await trio.lowlevel.checkpoint()
        answers.append((call_id, output, reply))

    async def answer_mcp(_: object) -> None:
        raise AssertionError

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            approvals = Approvals(nursery, answer_mcp, timeout_s=5)
            toolbox = Toolbox(answer, nursery, approvals, ToolSettings())
            toolbox.declare(tools)
            generation = sansio_rt.Generation(
                "resp_1",
                origin=GenerationOrigin.CALLER,
                in_conversation=True,
                metadata={},
                created_at=0.0,
                requested_at=0.0,
                audio_rate=24_000,
            )
            toolbox.handlers[GenerationStarted](GenerationStarted(generation))
            yield toolbox, generation, answers


def call_of(generation: sansio_rt.Generation, name: str, call_id: str) -> CallReady:
    call = GeneratedCall(f"item of {call_id}", generation, name, call_id)
    call.arguments = "{}"
    return CallReady(call)
