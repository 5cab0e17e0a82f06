"""A call that is the first to notice that time has passed: the loop was late, and the clock had no turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from sansio_rt import SessionConfig, Timing
from trio_rt import Session, open_session
from trio_rt.testing import (
    FaultKind,
    FaultyStream,
    StreamFault,
    StreamPlan,
    WrappingDialer,
    memory_server,
)


async def say(session: Session) -> None:
    await session.send_message("Hi")


async def ask(session: Session) -> None:
    await (await session.generate_reply()).wait()


async def commit(session: Session) -> None:
    await session.push_audio(bytes(48_000))
    await session.commit_audio()


async def edit(session: Session) -> None:
    await session.update_conversation([])


@pytest.mark.parametrize("call", [say, ask, commit, edit])
async def test_a_call_that_finds_the_connection_lost_waits_for_the_next_one(
    call: Callable[[Session], Awaitable[None]], autojump_clock: MockClock
) -> None:  # R3
    plans = [StreamPlan(faults=[StreamFault(kind=FaultKind.HALF_OPEN, at_frame=4)])]
    async with memory_server("Hello.") as server:
        dialer = WrappingDialer(
            server, lambda stream: FaultyStream(stream, plans.pop() if plans else StreamPlan())
        )
        timing = Timing(keepalive_interval_s=5, keepalive_timeout_s=5)
        config = SessionConfig(turn_detection=None)
        with trio.fail_after(100):
            async with open_session(
                server.endpoint, config, dialer=dialer, timing=timing
            ) as session:
                await session.send_message("This reaches the server.")
                await trio.sleep(7)  # by now it was pinged, and does not answer
                autojump_clock.jump(8)
                await call(session)
                assert len(dialer.streams) == 2
