"""A session that outlives its connections, under a clock that jumps (R2 to R6, R9, R10, N3)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sansio_rt import (
    CommandRefused,
    ConnectionClosed,
    ConnectionLost,
    Endpoint,
    GenerationStatus,
    HandshakeRejected,
    RetryPolicy,
    ServerProtocol,
    SessionConfig,
    SessionResumed,
    Timing,
    events,
)
from sansio_rt._server_session import ServerSession
from sansio_rt._wire import HandshakeRequest, TextMessage, Wire
from trio_rt import Session, TransportError, open_session
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


class Servers:
    """A dialer whose peers follow a script: what each connection does, the last one for ever."""

    def __init__(self, *scripts: str) -> None:
        self.scripts = list(scripts)
        self.dialled: list[float] = []

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.dialled.append(trio.current_time())
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        if script == "refused":
            raise TransportError("nobody listens")
        ours, theirs = trio.testing.memory_stream_pair()
        trio.lowlevel.spawn_system_task(self._serve, theirs, script)
        return ours

    async def _serve(self, stream: trio.StapledStream[Any, Any], script: str) -> None:
        wire = Wire.server()
        answered = False
        try:
            while data := await stream.receive_some():
                wire.receive_data(bytes(data))
                while (event := wire.next_event()) is not None:
                    if isinstance(event, HandshakeRequest):
                        if script.isdigit():
                            wire.reject(int(script))
                        elif script == "hang":
                            await trio.sleep_forever()
                        elif script == "cut":
                            await stream.aclose()
                            return
                        else:
                            wire.accept()
                    elif isinstance(event, TextMessage) and not answered:
                        answered = True
                        wire.send_text(b'{"type":"session.updated","session":{"type":"realtime"}}')
                        if script.startswith("close"):
                            wire.close(int(script.split()[1]))
                        elif script.startswith("error"):
                            code = script.split()[1].encode()
                            wire.send_text(b'{"type":"error","error":{"code":"%s"}}' % code)
                            wire.close(1000)
                await stream.send_all(wire.data_to_send())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


POLICY = RetryPolicy(give_up_after_s=600, retry_first=True)


@pytest.mark.parametrize(
    "script",
    ["close 1000", "close 1001", "close 1011", "cut", "refused", "429", "500", "503", "hang"],
)
async def test_no_server_is_hammered(script: str, autojump_clock: MockClock) -> None:  # R2
    servers = Servers(script)
    with pytest.raises((ConnectionClosed, HandshakeRejected, TransportError, Exception)):
        async with open_session(
            Endpoint.url("ws://localhost/v1"),
            MANUAL,
            dialer=servers,
            retry=POLICY,
            timing=Timing(connect_timeout_s=5),
        ):
            await trio.sleep_forever()
    assert len(servers.dialled) > 10
    for first in servers.dialled:
        within = [at for at in servers.dialled if first <= at < first + 60]
        assert len(within) <= POLICY.max_connects
    assert servers.dialled[-1] - servers.dialled[0] <= 620


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("401", HandshakeRejected),
        ("403", HandshakeRejected),
        ("404", HandshakeRejected),
        ("close 1008", ConnectionClosed),
        ("error invalid_api_key", CommandRefused),
        ("error insufficient_quota", CommandRefused),
    ],
)
@pytest.mark.parametrize("first", [True, False])
async def test_fatal_answers_are_tried_once(
    script: str, error: type[Exception], first: bool, autojump_clock: MockClock
) -> None:  # R2
    servers = Servers(script) if first else Servers("cut", "close 1000", script)
    with pytest.raises(error):
        async with open_session(
            Endpoint.url("ws://localhost/v1"), MANUAL, dialer=servers, retry=POLICY
        ):
            await trio.sleep_forever()
    assert len(servers.dialled) == (1 if first else 3)


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
            assert session._pump is not None
            await session._pump._stream.aclose()
            await trio.sleep_forever()
    gaps = [
        after - before for before, after in zip(servers.dialled, servers.dialled[1:], strict=False)
    ]
    assert gaps == pytest.approx([0.1, 0.2, 0.4, 0.8], abs=0.01)


async def test_leaving_during_an_outage_is_prompt(autojump_clock: MockClock) -> None:  # R6
    servers = Servers("stay", "refused")
    async with open_session(Endpoint.url("ws://localhost/v1"), MANUAL, dialer=servers) as session:
        assert session._pump is not None
        await session._pump._stream.aclose()
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
            assert session._pump is not None
            await session._pump._stream.aclose()
            await session.send_message("waits until it is over")
    assert trio.current_time() - started < 30


async def test_a_peer_that_went_silent_is_replaced(autojump_clock: MockClock) -> None:  # R7
    """A half-open connection: what we send vanishes, and nothing comes."""
    server = {"transcripts": ["x"]}
    timing = Timing(keepalive_interval_s=5, keepalive_timeout_s=5)
    async with session_with("One.", "Two.", server=server, timing=timing) as (session, memory):
        await (await session.generate_reply()).wait()
        assert session._pump is not None

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
