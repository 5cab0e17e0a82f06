"""A session that outlives its connections, under a clock that jumps (R2 to R6, R9, R10, N3)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
import trio
from scripted_servers import Servers
from trio.testing import MockClock

from sansio_rt import (
    ConfigurationError,
    ConnectionClosed,
    ConnectionLost,
    Endpoint,
    GenerationStatus,
    RetryPolicy,
    ServerProtocol,
    SessionConfig,
    SessionResumed,
    Timing,
    events,
)
from sansio_rt._metrics import ConnectionMetrics
from sansio_rt._server_session import ServerSession
from trio_rt import KeyUnavailable, Session, SessionHook, TransportError, open_session
from trio_rt.emulator import Call
from trio_rt.testing import MemoryServer, memory_server

MANUAL = SessionConfig(turn_detection=None)
SECOND = b"\x01\x00" * 24_000


@asynccontextmanager
async def session_with(
    *replies: Any, server: dict[str, Any] | None = None, **options: Any
) -> AsyncGenerator[tuple[Session, MemoryServer]]:
    options.setdefault("config", MANUAL)
    with trio.fail_after(600):
        async with (
            memory_server(*replies, **(server or {})) as memory,
            open_session(memory.endpoint, dialer=memory, **options) as session,
        ):
            yield session, memory


def texts(memory: MemoryServer) -> list[str]:
    return [
        " ".join(getattr(part, "text", "?") for part in item.content)
        for item in memory.protocols[-1].session.items
        if isinstance(item, events.Message)
    ]


async def test_a_call_after_a_cut_waits_and_works(autojump_clock: MockClock) -> None:  # R3
    async with session_with("One.", "Two.") as (session, memory):
        await session.send_message("Hi")
        await (await session.generate_reply()).wait()
        async with session.subscribe(ConnectionLost, SessionResumed) as told:
            started = trio.current_time()
            await memory.streams[-1].aclose()
            await session.send_message("Still there?")
            assert trio.current_time() - started < 0.2
            assert isinstance(await told.receive(), ConnectionLost)
            resumed = await told.receive()
            assert isinstance(resumed, SessionResumed)
            assert resumed.replayed == 2
        assert (await (await session.generate_reply()).wait()).text == "Two."
        assert texts(memory) == ["Hi", "One.", "Still there?", "?"]
        assert session.conversation.ids() == [
            item.id for item in memory.protocols[-1].session.items
        ]


async def test_what_runs_is_lost_and_waiting_calls_are_told(
    autojump_clock: MockClock,
) -> None:  # R4
    def slow() -> ServerProtocol:
        return ServerProtocol(ServerSession(pace=1.0))

    async with session_with("long " * 50, server={"make_protocol": slow}) as (session, memory):
        generation = await session.generate_reply()
        message = await generation.messages.receive()
        await message.audio.receive()
        failed: list[BaseException] = []

        async def waits() -> None:
            try:
                await session.generate_reply()
            except ConnectionClosed as error:
                failed.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(waits)
            await trio.sleep(0.1)
            await memory.streams[-1].aclose()
        assert len(failed) == 1
        assert (await generation.wait()).status is GenerationStatus.LOST
        rest = [frame async for frame in message.audio]  # the stream ends, whatever was in it
        assert all(frame.data for frame in rest)
        await session.interrupt()
        assert await session.generate_reply()


async def test_a_tool_that_finishes_during_the_outage(autojump_clock: MockClock) -> None:  # T9
    async def slow(word: str) -> str:
        """Takes its time."""
        await trio.sleep(3)
        return word.upper()

    replies = [Call("slow", {"word": "abc"})], "It is ABC."
    async with session_with(*replies, tools=[slow]) as (session, memory):
        generation = await session.generate_reply()
        await generation.wait()
        memory.refuse_until = trio.current_time() + 10
        await memory.streams[-1].aclose()
        follow_up = await session.generations.receive()
        assert (await follow_up.wait()).text == "It is ABC."
        outputs = [
            item.output
            for item in memory.protocols[-1].session.items
            if isinstance(item, events.FunctionCallOutput)
        ]
        assert outputs == ["ABC"]


async def test_no_spoken_word_is_lost(autojump_clock: MockClock) -> None:  # N3, A5
    async with session_with("Yes.", server={"transcripts": ["all"]}) as (session, memory):
        pieces = [bytes([number, 0]) * 2_400 for number in range(1, 41)]
        for number, piece in enumerate(pieces):
            await session.push_audio(piece)
            await trio.sleep(0.1)
            if number % 13 == 5:
                await memory.streams[-1].aclose()
        item_id = await session.commit_audio()
        assert item_id is not None
        record = memory.protocols[-1].session._conversation.records()[-1]
        assert record.sound is not None
        assert bytes(record.sound.data) == b"".join(pieces)
        assert len(memory.protocols) == 4


async def test_the_first_connection_fails_at_once(autojump_clock: MockClock) -> None:
    servers = Servers("refused")
    with pytest.raises(TransportError, match="nobody listens"):
        async with open_session(Endpoint.url("ws://localhost/v1"), MANUAL, dialer=servers):
            raise AssertionError
    assert len(servers.dialled) == 1


async def test_delays_grow_and_start_anew_after_a_healthy_connection(
    autojump_clock: MockClock,
) -> None:  # R2
    servers = Servers("stay", "cut", "cut", "cut", "stay")
    policy = RetryPolicy(jitter=0)
    with trio.move_on_after(30):
        async with open_session(
            Endpoint.url("ws://localhost/v1"), MANUAL, dialer=servers, retry=policy
        ) as session:
            assert session._connections._serving is not None
            await session._connections._serving._stream.aclose()
            await trio.sleep_forever()
    gaps = [
        after - before for before, after in zip(servers.dialled, servers.dialled[1:], strict=False)
    ]
    assert gaps == pytest.approx([0.1, 0.2, 0.4, 0.8], abs=0.01)


async def test_leaving_during_an_outage_is_prompt(autojump_clock: MockClock) -> None:  # R6
    servers = Servers("stay", "refused")
    async with open_session(Endpoint.url("ws://localhost/v1"), MANUAL, dialer=servers) as session:
        assert session._connections._serving is not None
        await session._connections._serving._stream.aclose()
        await trio.sleep(3)
        left = trio.current_time()
    assert trio.current_time() - left < 1.5


async def test_a_session_that_cannot_be_replaced_fails_with_its_cause(
    autojump_clock: MockClock,
) -> None:
    servers = Servers("stay", "refused")
    policy = RetryPolicy(give_up_after_s=20)
    started = trio.current_time()
    with pytest.raises(TransportError, match="nobody listens"):
        async with open_session(
            Endpoint.url("ws://localhost/v1"), MANUAL, dialer=servers, retry=policy
        ) as session:
            assert session._connections._serving is not None
            await session._connections._serving._stream.aclose()
            await session.send_message("waits until it is over")
    assert trio.current_time() - started < 30


async def test_a_peer_that_went_silent_is_replaced(autojump_clock: MockClock) -> None:  # R7
    """A half-open connection: what we send vanishes, and nothing comes."""
    server = {"transcripts": ["x"]}
    timing = Timing(keepalive_interval_s=5, keepalive_timeout_s=5)
    async with session_with("One.", "Two.", server=server, timing=timing) as (session, memory):
        await (await session.generate_reply()).wait()
        assert session._connections._serving is not None

        async def silence(*_: object) -> bytes:
            await trio.sleep_forever()
            raise AssertionError

        dead = memory.client_streams[-1]
        dead.receive_stream.receive_some = silence
        async with session.subscribe(SessionResumed) as resumed:
            dead_since = trio.current_time()
            await resumed.receive()
            assert trio.current_time() - dead_since < 20
        assert (await (await session.generate_reply()).wait()).text == "Two."


# --- keys that are asked for anew (E6) ----------------------------------------------------------------


class Vault:
    """A key function that fails in one of several ways at some of its calls."""

    def __init__(self, how: str, *, fails: int) -> None:
        self.asked: list[float] = []
        self._how = how
        self._fails = fails

    async def __call__(self) -> str:
        await trio.lowlevel.checkpoint()
        self.asked.append(trio.current_time())
        if 1 < len(self.asked) <= 1 + self._fails:
            if self._how == "hangs":
                await trio.sleep_forever()
            if self._how == "gives it up":
                raise ConfigurationError("there is no such key any more")
            raise OSError("the vault sk-secret is closed")
        return "sk-key"


@asynccontextmanager
async def session_with_key(
    vault: Vault, **options: Any
) -> AsyncGenerator[tuple[Session, MemoryServer]]:
    with trio.fail_after(600):
        async with memory_server("One.", "Two.") as memory:
            endpoint = Endpoint.url("ws://localhost/v1", api_key=vault)
            async with open_session(endpoint, MANUAL, dialer=memory, **options) as session:
                yield session, memory


@pytest.mark.parametrize(("how", "away_s"), [("fails", 3 * 0.1), ("hangs", 3 * 0.1 + 2 * 5)])
async def test_a_key_that_cannot_be_had_is_a_failed_try(
    how: str, away_s: float, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    vault = Vault(how, fails=2)
    policy, timing = RetryPolicy(jitter=0, multiplier=1.0), Timing(connect_timeout_s=5)
    async with session_with_key(vault, retry=policy, timing=timing) as (session, memory):
        async with session.subscribe(SessionResumed) as resumed:
            await memory.streams[-1].aclose()
            assert (await resumed.receive()).away_s == pytest.approx(away_s, abs=0.05)
        assert (await (await session.ask("Hi")).wait()).text == "One."
    assert len(vault.asked) == 4
    assert "sk-secret" not in caplog.text
    assert "the key function" in caplog.text


async def test_a_key_that_cannot_be_had_at_all_ends_the_session_with_its_cause(
    autojump_clock: MockClock,
) -> None:
    vault = Vault("fails", fails=1000)
    with pytest.raises(KeyUnavailable, match="OSError") as caught:
        async with session_with_key(vault, retry=RetryPolicy(give_up_after_s=20)) as (_, memory):
            await memory.streams[-1].aclose()
            await trio.sleep_forever()
    assert isinstance(caught.value.__cause__, OSError)
    assert 4 < len(vault.asked) <= 13


async def test_a_key_function_may_end_the_session(autojump_clock: MockClock) -> None:
    vault = Vault("gives it up", fails=1)
    with pytest.raises(ConfigurationError, match="no such key"):
        async with session_with_key(vault) as (_, memory):
            await memory.streams[-1].aclose()
            await trio.sleep_forever()
    assert len(vault.asked) == 2


class Recorder(SessionHook):
    """Keeps what it is told of connections."""

    def __init__(self) -> None:
        self.connections: list[ConnectionMetrics] = []

    def on_connection(self, connection: ConnectionMetrics) -> None:
        self.connections.append(connection)


async def test_each_connection_is_measured(autojump_clock: MockClock) -> None:  # M1, M5
    recorder = Recorder()
    async with session_with("One.", hooks=[recorder]) as (session, memory):
        for _ in range(2):
            memory.refuse_until = trio.current_time() + 5
            async with session.subscribe(SessionResumed) as resumed:
                await memory.streams[-1].aclose()
                await resumed.receive()
        assert session.metrics.connection is recorder.connections[-1]
    assert len(recorder.connections) == 3
    for earlier, later in pairwise(recorder.connections):
        assert later.started_at - earlier.started_at >= 5
        assert later.configured_s is not None
        assert later.handshake_s is not None
        assert 0 <= later.handshake_s <= later.configured_s < 1
