"""`open_session` against a server in memory, under a clock that jumps."""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sansio_rt import (
    AudioDelta,
    CallReady,
    CommandRefused,
    CommandTimeout,
    ConnectionClosed,
    Endpoint,
    GenerationOrigin,
    GenerationStatus,
    InputTranscriptCompleted,
    Limits,
    LocalProtocolError,
    MessageEnded,
    MessageStarted,
    RawServerEvent,
    ServerProtocol,
    SessionConfig,
    SpeechStarted,
    SpeechStopped,
    StreamOverflow,
    TextDelta,
    Timing,
    events,
    tool,
)
from sansio_rt._server_session import ServerSession
from trio_rt import Session, TransportError, open_session
from trio_rt.emulator import Call, EnergyDetector
from trio_rt.testing import MemoryServer, memory_server

MANUAL = SessionConfig(turn_detection=None)
SECOND = b"\x01\x00" * 24_000


BUZZ = (b"\x00\x20" * 24 + b"\x00\xe0" * 24) * 500  # one second of 500 Hz


@asynccontextmanager
async def session_with(
    *replies: Any, server: dict[str, Any] | None = None, **options: Any
) -> AsyncGenerator[tuple[Session, MemoryServer]]:
    options.setdefault("config", MANUAL)
    with trio.fail_after(60):
        async with (
            memory_server(*replies, **(server or {})) as memory,
            open_session(memory.endpoint, dialer=memory, **options) as session,
        ):
            yield session, memory


async def test_a_text_turn(autojump_clock: MockClock) -> None:
    async with session_with("Hello you.") as (session, _):
        entry = await session.send_message("Hi")
        assert (entry.role, entry.text) == ("user", "Hi")
        generation = await session.generate_reply(modalities=["text"])
        outcome = await generation.wait()
        assert outcome.status is GenerationStatus.COMPLETED
        assert outcome.text == "Hello you."
        assert outcome.metrics.output_tokens
        assert [type(item) for item in outcome.items] == [events.Message]
        assert [item.text for item in session.conversation] == ["Hi", "Hello you."]
        assert session.metrics.generations == (outcome.metrics,)
        assert session.metrics.connect_s is not None


async def test_messages_split_into_text_and_audio(autojump_clock: MockClock) -> None:  # G3, A4
    async with session_with("One two three.") as (session, _):
        generation = await session.generate_reply()
        messages = [message async for message in generation.messages]
        assert len(messages) == 1
        text = [piece async for piece in messages[0].text]
        frames = [frame async for frame in messages[0].audio]
        assert "".join(text) == "One two three."
        assert messages[0].modalities == {"audio"}
        assert frames[0].start_sample == 0
        assert frames[0].samples.dtype == "int16"
        for before, after in itertools.pairwise(frames):
            assert after.start_sample == before.start_sample + before.sample_count
        assert messages[0].received_ms == pytest.approx(frames[-1].end_ms)


async def test_parts_come_merged_in_the_order_of_arrival(autojump_clock: MockClock) -> None:  # G3
    async with session_with(["First.", Call("look", {"at": "it"})]) as (session, _):
        generation = await session.generate_reply()
        parts = [part async for part in generation.parts]
        kinds = [type(part) for part in parts]
        assert kinds[0] is MessageStarted
        assert kinds[-2:] == [MessageEnded, CallReady]
        assert {TextDelta, AudioDelta} <= set(kinds)


async def test_both_views_where_both_were_opened_before_reading(autojump_clock: MockClock) -> None:
    async with session_with("Hello.", "Again.") as (session, _):
        generation = await session.generate_reply()
        parts, messages = generation.parts, generation.messages
        merged = [part async for part in parts]
        split = [message async for message in messages]
        assert len(split) == 1
        assert merged
        other = await session.generate_reply()
        assert [part async for part in other.parts]
        with pytest.raises(LocalProtocolError, match="open both before"):
            _ = other.messages


async def test_a_generation_that_nobody_reads_ends_all_the_same(
    autojump_clock: MockClock,
) -> None:  # G5, G11
    async with session_with("Hello.") as (session, _):
        generation = await session.generate_reply()
        assert (await generation.wait()).status is GenerationStatus.COMPLETED
        assert [message async for message in generation.messages]


async def test_generations_that_nobody_takes_are_bounded_in_bytes(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:  # G11
    limit = 400_000
    talk = "word " * 20
    async with session_with(talk, limits=Limits(max_stream_bytes=limit)) as (session, memory):
        create = events.ResponseCreate(response=events.ResponseParams())
        for _ in range(8):  # the server asks by itself
            protocol = memory.protocols[0]
            protocol.session.receive_message(events.encode(create), trio.current_time())
            await session.send_message("wakes the server")
            await trio.sleep(5)
        waiting = session.generations.waiting
        sizes = [generation.held_bytes for generation in waiting]
        assert max(sizes) > 100_000
        assert sum(sizes) <= limit + max(sizes)
        assert 1 < len(waiting) < 8
        assert "nobody reads session.generations" in caplog.text
        newest = waiting[-1]
        async for generation in session.generations:  # what is left is whole
            assert (
                "".join([m.received_text async for m in generation.messages]).strip()
                == talk.strip()
            )
            if generation is newest:
                break


async def test_an_unread_audio_stream_fails_alone(autojump_clock: MockClock) -> None:  # G11
    words = "many words " * 30
    limits = Limits(max_stream_bytes=20_000)
    async with session_with(words, "Next.", limits=limits) as (session, _):
        generation = await session.generate_reply()
        messages = [message async for message in generation.messages]
        assert "".join([piece async for piece in messages[0].text]).split() == words.split()
        with pytest.raises(StreamOverflow, match="20,000"):
            async for _ in messages[0].audio:
                pass
        again = await session.generate_reply(modalities=["text"])
        assert (await again.wait()).text == "Next."
    async with session_with(words, limits=limits) as (session, _):
        generation = await session.generate_reply()
        await generation.wait()
        with pytest.raises(StreamOverflow):
            await generation.messages.receive()


async def test_speech_makes_a_turn_and_the_server_answers(
    autojump_clock: MockClock,
) -> None:  # I1, I2, G2
    def protocol() -> ServerProtocol:
        return ServerProtocol(ServerSession(detector=EnergyDetector()))

    server = {"transcripts": ["hello there"], "make_protocol": protocol}
    async with (
        session_with("Hi!", server=server, config=SessionConfig()) as (session, _),
        session.subscribe(SpeechStarted, SpeechStopped, InputTranscriptCompleted) as heard,
    ):
        await session.push_audio(BUZZ)
        await session.push_audio(bytes(48_000))
        kinds = [type(await heard.receive()) for _ in range(3)]
        assert kinds == [SpeechStarted, SpeechStopped, InputTranscriptCompleted]
        generation = await session.generations.receive()
        assert generation.origin is GenerationOrigin.SERVER
        assert not generation.requested
        assert (await generation.wait()).text == "Hi!"
        assert [entry.text for entry in session.conversation] == ["hello there", "Hi!"]


async def test_committed_audio_of_any_kind(autojump_clock: MockClock) -> None:  # A1, A2
    async with session_with("Fine.", server={"transcripts": ["a", "b"]}) as (session, _):
        assert await session.commit_audio() is None
        await session.push_audio(bytes(2 * 44_100 * 2), rate=44_100, channels=2)
        item_id = await session.commit_audio()
        assert item_id in session.conversation
        await session.push_audio(SECOND)
        await session.clear_audio()
        assert await session.commit_audio() is None
        with pytest.raises(LocalProtocolError, match="whole number of"):
            await session.push_audio(b"\x00")


async def test_tools_run_as_tasks_and_their_outputs_lead_to_one_reply(
    autojump_clock: MockClock,
) -> None:  # T6, T10
    running = 0
    most = 0

    async def slow(name: str) -> dict[str, str]:
        """Waits, then greets."""
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(5)
        running -= 1
        return {"hello": name}

    calls = [Call("slow", {"name": f"n{index}"}) for index in range(10)]
    async with session_with(calls, "All done.", tools=[slow]) as (session, _):
        first = await session.generate_reply()
        called = [call async for call in first.function_calls]
        assert [call.name for call in called] == ["slow"] * 10
        follow_up = await session.generations.receive()
        assert follow_up.origin is GenerationOrigin.TOOL_OUTPUTS
        assert (await follow_up.wait()).text == "All done."
        assert most == 10
        outputs = [
            entry.text
            for entry in session.conversation
            if isinstance(entry.item, events.FunctionCallOutput)
        ]
        assert sorted(outputs) == [f'{{"hello":"n{index}"}}' for index in range(10)]
        assert len(session.generations) == 0
        assert all(call.answered for call in called)


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        ({"how": "raise"}, '{"error":"touchy failed: ValueError: not like that"}'),
        ({"how": "hang"}, '{"error":"touchy took longer than 3 seconds"}'),
        ({"how": 7}, "how"),
        ({"who": "x"}, "how"),
        ({"how": "big"}, "x" * 1_000_000),
    ],
)
async def test_whatever_a_tool_does_the_model_gets_one_output(
    arguments: dict[str, Any],
    output: str,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: MockClock,
) -> None:  # T5, T6
    @tool(timeout_s=3)
    async def touchy(how: str) -> str:
        """Does what it is told."""
        if how == "raise":
            raise ValueError("not like that")
        if how == "hang":
            await trio.sleep(math.inf)
        return "x" * 1_000_000

    async with session_with([Call("touchy", arguments)], "Well.", tools=[touchy]) as (session, _):
        await session.generate_reply()
        follow_up = await session.generations.receive()
        await follow_up.wait()
        outputs = [
            entry.text
            for entry in session.conversation
            if isinstance(entry.item, events.FunctionCallOutput)
        ]
        assert len(outputs) == 1
        assert output in outputs[0]
        assert "Traceback" not in outputs[0]


async def test_calls_that_no_tool_answers_are_the_applications(
    autojump_clock: MockClock,
) -> None:  # T2
    raw = events.FunctionTool(name="ask_me", parameters={"type": "object", "properties": {}})
    config = MANUAL.merge({"tools": [raw]})
    async with session_with([Call("ask_me", {})], "Thanks.", config=config) as (session, _):
        generation = await session.generate_reply()
        call = await generation.function_calls.receive()
        await call.answer("42")
        follow_up = await session.generations.receive()
        assert (await follow_up.wait()).text == "Thanks."
        with pytest.raises(LocalProtocolError, match="no open function call"):
            await call.answer("43")


async def test_interrupt_returns_when_the_response_is_done(
    autojump_clock: MockClock,
) -> None:  # G7, G15
    def protocol() -> ServerProtocol:
        return ServerProtocol(ServerSession(pace=1.0))

    server = {"make_protocol": protocol}
    async with session_with("a long answer " * 20, server=server) as (session, _):
        generation = await session.generate_reply()
        message = await generation.messages.receive()
        await message.audio.receive()
        await session.interrupt()
        assert generation.status is GenerationStatus.CANCELLED
        assert (await generation.wait()).reason == "client_cancelled"
        await session.interrupt()
        await session.truncate(message.id, audio_end_ms=50)
        entry = session.conversation.get(message.id)
        assert entry is not None
        assert entry.heard_ms == 50


async def test_updates_are_awaited_and_refusals_raised_where_they_were_asked(
    autojump_clock: MockClock,
) -> None:  # S4, S6, X1
    async with session_with("Hello.") as (session, _):
        effective = await session.update(instructions="Be kind.")
        assert effective is not None
        assert effective.instructions == "Be kind."
        assert await session.update(instructions="Be kind.") is None
        await (await session.generate_reply()).wait()
        with pytest.raises(CommandRefused, match="voice"):
            await session.update(voice="cedar")
        assert session.config is not None


async def test_cancelled_callers_leave_a_session_that_works(autojump_clock: MockClock) -> None:
    async with session_with("One.", "Two.", "Three.") as (session, memory):
        with trio.CancelScope() as scope:
            scope.cancel()
            await session.generate_reply()
        with trio.CancelScope() as scope:
            scope.cancel()
            await session.push_audio(SECOND)
        assert memory.protocols[0].session.items == []
        generation = await session.generate_reply()
        assert (await generation.wait()).text == "One."


async def test_a_reply_given_up_on_the_way_is_never_heard(autojump_clock: MockClock) -> None:  # G1
    async with session_with("Late.", "In time.") as (session, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.generate_reply)
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        generation = await session.generate_reply()
        await generation.wait()
        assert generation.status is GenerationStatus.COMPLETED
        assert len(session.generations) == 0
        kept = [record for record in session.metrics.generations if not record.cancelled]
        assert len(kept) == 1  # the other has cost tokens, and that is all


async def test_raw_events_can_be_subscribed_to(autojump_clock: MockClock) -> None:  # M2
    async with session_with("Hello.") as (session, _):
        async with (
            session.subscribe(events.ResponseDone) as done,
            session.subscribe(RawServerEvent) as everything,
        ):
            generation = await session.generate_reply()
            await generation.wait()
            assert (await done.receive()).response.id == generation.id
            assert len(everything) > 5
        assert not session._protocol.raw_events


async def test_leaving_ends_streams_and_waiting_calls(autojump_clock: MockClock) -> None:  # R6, G5
    kept: list[Any] = []

    async def reads_on(session: Session) -> None:
        with pytest.raises(ConnectionClosed, match="was closed"):
            await session.generate_reply()
        kept.append("told")

    def protocol() -> ServerProtocol:
        return ServerProtocol(ServerSession(pace=0.5))

    async with trio.open_nursery() as nursery:
        server = {"make_protocol": protocol}
        async with session_with("long " * 100, server=server) as (session, memory):
            generation = await session.generate_reply()
            nursery.start_soon(reads_on, session)
            await trio.sleep(0.01)
        assert (await generation.wait()).status is GenerationStatus.LOST
        ending = memory.protocols[0].ending
        assert ending is not None
        assert (ending.code, ending.clean) == (1000, True)
        with pytest.raises(trio.EndOfChannel):
            await session.generations.receive()
    assert kept == ["told"]


async def test_a_server_that_goes_cancels_the_block_and_comes_out_as_one_error(
    autojump_clock: MockClock,
) -> None:  # R4
    with pytest.raises(ConnectionClosed, match="without a close frame") as caught:
        async with session_with("Hello.", retry=None) as (_, memory):
            await memory.streams[0].aclose()
            await trio.sleep(30)
    assert caught.value.code == 1006


async def test_the_blocks_own_error_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError):
        async with session_with("Hello.") as (session, _):
            await session.send_message("x")
            _ = 1 / 0


async def test_cancelling_from_outside_closes_properly(autojump_clock: MockClock) -> None:  # R6
    async with memory_server("Hello.") as memory:
        with trio.move_on_after(5) as scope:
            async with open_session(memory.endpoint, MANUAL, dialer=memory):
                await trio.sleep(math.inf)
        assert scope.cancelled_caught
        ending = memory.protocols[0].ending
        await trio.sleep(0.1)
        assert ending is not None
        assert (ending.code, ending.clean) == (1000, True)


class Silent:
    """A dialer whose peer takes everything and says nothing."""

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
        ours, self.theirs = trio.testing.memory_stream_pair()
        return ours


async def test_a_dead_peer_is_left_in_time(autojump_clock: MockClock) -> None:  # R1, R6
    started = trio.current_time()
    with pytest.raises(CommandTimeout, match="within 4 s"):
        async with open_session(
            Endpoint.url("ws://localhost/v1"), dialer=Silent(), timing=Timing(connect_timeout_s=4)
        ):
            pass
    assert trio.current_time() - started == pytest.approx(4)
    async with memory_server("Hello.") as memory:
        async with open_session(memory.endpoint, MANUAL, dialer=memory):
            memory._nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
                left = trio.current_time()
    assert trio.current_time() - left <= 1.5


async def test_a_dialer_that_hangs_is_bounded(autojump_clock: MockClock) -> None:  # R1
    class Hanging:
        async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
            await trio.sleep_forever()
            raise AssertionError

    with pytest.raises(TransportError, match="no connection to localhost:80 within 10 s"):
        async with open_session(Endpoint.url("ws://localhost/v1"), dialer=Hanging()):
            pass


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_keys_come_from_functions_for_each_attempt(
    asynchronous: bool, autojump_clock: MockClock
) -> None:  # E6
    asked: list[int] = []

    def key() -> str:
        asked.append(1)
        return "k-123"

    async def async_key() -> str:
        await trio.sleep(1)
        return key()

    provider: Callable[[], Any] = async_key if asynchronous else key
    async with memory_server("Hello.") as memory:
        endpoint = Endpoint.url("ws://localhost/v1", api_key=provider, model="m")
        async with open_session(endpoint, MANUAL, dialer=memory) as session:
            assert asked == [1]
            assert "k-123" not in repr(session)


async def test_pushing_waits_while_the_socket_is_slow(autojump_clock: MockClock) -> None:  # A5
    limits = Limits(max_output_bytes=100_000)
    async with memory_server("Hello.") as memory:
        lockstep: list[Any] = []

        class Slow:
            async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
                stream = await memory.dial(endpoint)
                assert isinstance(stream, trio.StapledStream)
                send_all = stream.send_stream.send_all

                async def slowly(data: bytes) -> None:
                    await trio.sleep(1)
                    lockstep.append(len(data))
                    await send_all(data)

                stream.send_stream.send_all = slowly
                return stream

        config = MANUAL
        async with open_session(memory.endpoint, config, dialer=Slow(), limits=limits) as session:
            for _ in range(100):
                await session.push_audio(SECOND[:4800])
                assert session._protocol.pending_bytes < limits.max_output_bytes + 10_000
            await session.commit_audio()
        assert len(lockstep) > 5
