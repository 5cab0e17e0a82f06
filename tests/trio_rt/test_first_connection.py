"""A first connection that is tried again (`RetryPolicy.retry_first`): the session begins all the same."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from sansio_rt import RetryPolicy, SessionReady, SessionResumed
from trio_rt import open_session
from trio_rt.testing import memory_server

RETRY = RetryPolicy(retry_first=True)


async def test_a_server_that_is_there_a_little_later(autojump_clock: MockClock) -> None:  # R2
    async with memory_server("Hello.") as server:
        server.refuse_until = trio.current_time() + 3
        with trio.fail_after(30):
            async with open_session(server.endpoint, dialer=server, retry=RETRY) as session:
                generation = await session.ask("Hi")
                assert (await generation.wait()).text == "Hello."
                connect_s = session.metrics.connect_s
    assert connect_s is not None
    assert connect_s < 1  # of the connection that came up


async def test_what_was_tried_again_was_not_resumed(autojump_clock: MockClock) -> None:  # R2
    async with memory_server("Hello.") as server:
        server.refuse_until = trio.current_time() + 3
        with trio.fail_after(30):
            async with open_session(server.endpoint, dialer=server, retry=RETRY) as session:
                async with session.subscribe(SessionReady, SessionResumed) as told:
                    server.streams[-1].send_stream.close()
                    assert isinstance(await told.receive(), SessionResumed)
