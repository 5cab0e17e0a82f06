"""Tools that run in threads: parity row T10.

The clock is the real one: while threads run, a jump would be a timeout.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio
from tool_sessions import (
    LONG,
    TEXT,
    outputs,
    session_with,
    spoken_at_its_own_pace,
    turn,
    unanswered,
    until,
)
from trio.testing import MockClock

from sansio_rt import ServerProtocol, tool
from sansio_rt._server_session import ServerSession
from trio_rt import Session, ToolSettings
from trio_rt.emulator import Call
from trio_rt.testing import MemoryServer


@asynccontextmanager
async def real_time_session(
    *replies: Any, **options: Any
) -> AsyncGenerator[tuple[Session, MemoryServer]]:
    server = {"make_protocol": lambda: ServerProtocol(ServerSession(pace=None))}
    with trio.fail_after(10):
        async with session_with(*replies, server=server, **options) as both:
            yield both


async def test_a_blocking_function_does_not_block_the_loop() -> None:  # T10
    release = threading.Event()
    threads: list[int] = []

    def block() -> str:
        threads.append(threading.get_ident())
        release.wait(5)
        return "released"

    async with real_time_session(Call("block"), "Done.", tools=[block]) as (session, _):
        await session.generate_reply(**TEXT)
        await until(lambda: threads)
        await session.send_message("Still there?")
        assert outputs(session) == []
        release.set()
        follow_up = await session.generations.receive()
        await follow_up.wait()
        assert outputs(session) == ["released"]
        assert threads != [threading.get_ident()]


async def test_as_many_threads_at_once_as_the_session_may_have() -> None:  # T10
    lock, running, most = threading.Lock(), 0, 0
    all_in = threading.Barrier(3)

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with contextlib.suppress(threading.BrokenBarrierError):
            all_in.wait(0.3)
        with lock:
            running -= 1

    settings = ToolSettings(max_threads=2)
    async with real_time_session(
        [Call("work")] * 4, "Done.", tools=[work], tool_settings=settings
    ) as (session, _):
        await turn(session)
        assert most == 2
        assert outputs(session) == [""] * 4


async def test_a_thread_that_takes_too_long_is_left_alone_and_keeps_its_place() -> None:  # T10
    release = threading.Event()
    ended: list[str] = []

    def block() -> str:
        release.wait(5)
        ended.append("block")
        return "too late"

    settings = ToolSettings(max_threads=1, timeout_s=0.2)
    async with real_time_session(
        [Call("block")] * 2, "Sorry.", tools=[block], tool_settings=settings
    ) as (session, _):
        await turn(session)
        assert outputs(session) == ['{"error":"block took longer than 0.2 seconds"}'] * 2
        release.set()
        await until(lambda: ended)
        await trio.sleep(0.05)
        assert ended == ["block"]  # the second one never got a thread
        assert unanswered(session) == 0


async def test_an_interrupted_thread_is_left_alone() -> None:  # T7, T10
    release = threading.Event()
    began = threading.Event()

    def block() -> str:
        began.set()
        release.wait(5)
        return "too late"

    async with session_with(
        [Call("block"), LONG],
        server={"make_protocol": spoken_at_its_own_pace},
        tools=[block],
    ) as (session, _):
        await session.generate_reply()
        await until(began.is_set)
        await session.interrupt()
        await until(lambda: outputs(session))
        release.set()
        await trio.sleep(0.05)
        assert outputs(session) == [
            '{"error":"block was cancelled: the reply that called it was interrupted"}'
        ]


async def test_a_quick_function_can_stay_on_the_loop(autojump_clock: MockClock) -> None:  # T10
    threads: list[int] = []

    @tool(in_thread=False)
    def quick() -> None:
        threads.append(threading.get_ident())

    async with session_with(Call("quick"), "Done.", tools=[quick]) as (session, _):
        await turn(session)
        assert threads == [threading.get_ident()]
