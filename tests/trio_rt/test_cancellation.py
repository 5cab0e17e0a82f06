"""Sessions and their calls, cancelled at every step (N2, R6).

A scenario that cancels a whole session has it inside of `with cut:`; one that cancels a call has only
the call there, and the session must go on. To add one, write a function and name it in a table below.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import pytest
import trio
from trio.testing import MockClock

from sansio_rt import (
    CallReady,
    ConnectionClosed,
    GenerationStatus,
    Limits,
    MessageStarted,
    RawClientEvent,
    RawServerEvent,
    RealtimeError,
    ServerProtocol,
    SessionConfig,
    TextDelta,
    Timing,
    events,
    tool,
)
from sansio_rt._server_session import ServerSession
from trio_rt import Session, Stream, open_session
from trio_rt.emulator import Call
from trio_rt.testing import (
    Cut,
    Direction,
    FaultKind,
    FaultyStream,
    MemoryServer,
    StreamFault,
    StreamPlan,
    WrappingDialer,
    assert_session_left,
    assert_session_works,
    cancel_at_every_step,
    memory_server,
)

T = TypeVar("T")
MANUAL = SessionConfig(turn_detection=None, output_modalities=["text"])
SPOKEN = SessionConfig(turn_detection=None)
FRAME = b"\x01\x00" * 2_400  # 100 ms
PIECES = StreamPlan(send_bytes=256)
SLOW = StreamPlan(
    send_bytes=4096,
    faults=[
        StreamFault(
            kind=FaultKind.STALL, direction=Direction.OUTGOING, at_frame=frame, stall_s=0.05
        )
        for frame in range(1, 40)
    ],
)


async def weather(city: str) -> str:
    """Tells the weather."""
    await trio.sleep(0.5)
    return f"sunny in {city}"


@asynccontextmanager
async def running(
    memory: MemoryServer,
    config: SessionConfig = MANUAL,
    plan: StreamPlan = PIECES,
    **options: Any,
) -> AsyncGenerator[Session]:
    """A session whose frames go out in pieces, so that one could be cut in half."""
    dialer = WrappingDialer(memory, lambda stream: FaultyStream(stream, plan))
    session: Session | None = None
    try:
        async with open_session(memory.endpoint, config, dialer=dialer, **options) as session:
            yield session
    finally:
        if session is not None:  # it came to be up, and is over
            assert not session._protocol.commands, "a command is left"
            assert not session._protocol.generations, "a generation is left"
            assert not session._waiters, "somebody still waits"


@asynccontextmanager
async def conversing(
    *replies: Any,
    config: SessionConfig = MANUAL,
    plan: StreamPlan = PIECES,
    server: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncGenerator[tuple[Session, MemoryServer]]:
    """A session one of whose calls is cancelled; at the end it must still work."""
    async with (
        memory_server(*replies, "I am here.", **(server or {})) as memory,
        running(memory, config, plan, **options) as session,
    ):
        yield session, memory
        await assert_session_works(session, memory)


def unhurried() -> ServerProtocol:
    """A server that speaks no faster than a human."""
    return ServerProtocol(ServerSession(pace=1.0))


UNHURRIED = {"make_protocol": unhurried}
LONG = "This is a rather long answer to a short question. " * 4


# --- whole sessions ---------------------------------------------------------------------------


async def connect(cut: Cut) -> None:
    """And close: each step of leaving is one to cancel at."""
    async with memory_server() as memory:
        with cut:
            async with running(memory):
                pass
        await assert_session_left(cut, memory)


async def a_full_turn_with_a_tool(cut: Cut) -> None:
    async with memory_server([Call("weather", {"city": "Rome"})], "It is sunny.") as memory:
        with cut:
            async with running(memory, tools=[weather]) as session:
                await session.ask("How is the weather in Rome?")
                follow_up = await session.generations.receive()
                assert (await follow_up.wait()).text == "It is sunny."
        await assert_session_left(cut, memory)


async def a_spoken_turn(cut: Cut) -> None:
    async with memory_server("Fine.", transcripts=["How are you?"]) as memory:
        with cut:
            async with running(memory, SPOKEN, SLOW, limits=TIGHT) as session:
                for _ in range(4):
                    await session.push_audio(FRAME)
                await session.commit_audio()
                generation = await session.generate_reply()
                message = await generation.messages.receive()
                assert [frame async for frame in message.audio]
        await assert_session_left(cut, memory)


async def leave_while_it_speaks(cut: Cut) -> None:
    async with memory_server(LONG, **UNHURRIED) as memory:
        generation = None
        with cut:
            async with running(memory, SPOKEN) as session:
                generation = await session.generate_reply()
        await assert_session_left(cut, memory)
        if generation is not None:
            assert (await generation.wait()).status is GenerationStatus.LOST


async def leave_a_dead_peer(cut: Cut) -> None:
    fault = StreamFault(kind=FaultKind.HALF_OPEN, direction=Direction.OUTGOING, at_frame=2)
    async with memory_server("Never heard.") as memory:
        with cut, trio.move_on_after(5):
            async with running(memory, plan=StreamPlan(faults=[fault])) as session:
                await session.ask("Hello?")
        await trio.testing.wait_all_tasks_blocked()
        assert not cut.new_tasks()
        assert cut.left_after_s <= 1.5
        assert all(protocol.ending for protocol in memory.protocols)


async def reconnect_with_replay(cut: Cut) -> None:
    async with memory_server("Hello.", "Welcome back.") as memory:
        with cut:
            async with running(memory) as session:
                await (await session.ask("Hi")).wait()
                await memory.streams[0].aclose()
                await insist(lambda: session.send_message("Are you still there?"))
                generation = await session.generate_reply()
                assert (await generation.wait()).text == "Welcome back."
        await assert_session_left(cut, memory, broken=1)


async def every_call(cut: Cut) -> None:
    """What is tried for each call alone below, cancelled with its session."""
    async with memory_server(LONG, **UNHURRIED) as memory:
        with cut:
            async with running(memory, SPOKEN, SLOW, limits=TIGHT) as session:
                await session.update(instructions="Be kind.")
                for text in ("One.", "Two."):
                    await session.send_message(text)
                one, two = session.conversation.items()
                await session.update_conversation([two, one])
                for _ in range(4):
                    await session.push_audio(FRAME)
                await session.clear_audio()
                generation = await session.generate_reply()
                message = await generation.messages.receive()
                await message.audio.receive()
                await session.interrupt()
                await session.truncate(message.id, audio_end_ms=100)
        await assert_session_left(cut, memory)


async def a_spoken_turn_that_is_broken_off(cut: Cut) -> None:
    async with memory_server("Fine.", transcripts=["How are you?"]) as memory:
        with cut:
            async with running(memory, SPOKEN, StreamPlan(send_bytes=4096)) as session:
                await session.push_audio(FRAME * 2)
                await memory.streams[0].aclose()
                await session.push_audio(FRAME * 2)
                await insist(session.commit_audio)
                await (await session.generate_reply()).wait()
        await assert_session_left(cut, memory, broken=1)


async def a_call_of_a_tool_that_is_broken_off(cut: Cut) -> None:
    async with memory_server([Call("weather", {"city": "Rome"})], "It is sunny.") as memory:
        with cut:
            async with running(memory, tools=[weather]) as session:
                await (await session.ask("How is the weather in Rome?")).wait()
                await memory.streams[0].aclose()
                follow_up = await session.generations.receive()
                assert (await follow_up.wait()).text == "It is sunny."
        await assert_session_left(cut, memory, broken=1)


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Makes a call again whose connection went while it waited."""
    while True:
        with suppress(ConnectionClosed):
            return await call()


async def rotation(cut: Cut) -> None:
    async with memory_server("Hello.", "Still here.") as memory:
        with cut:
            async with running(memory, timing=Timing(rotate_after_s=20.0)) as session:
                await (await session.ask("Hi")).wait()
                await trio.sleep(20.5)
                assert (await (await session.ask("And now?")).wait()).text == "Still here."
        if not cut.caught:
            assert len(memory.protocols) == 2
        await assert_session_left(cut, memory)


async def rotation_at_the_hard_deadline(cut: Cut) -> None:
    timing = Timing(rotate_after_s=0.4, rotation_patience_s=0.2)
    async with memory_server(LONG, **UNHURRIED) as memory:
        generation = None
        with cut:
            async with running(memory, SPOKEN, timing=timing) as session:
                generation = await session.generate_reply()
                assert (await generation.wait()).status is GenerationStatus.LOST
                await session.send_message("Still here.")
        await assert_session_left(cut, memory)
        if generation is not None:
            assert (await generation.wait()).status is GenerationStatus.LOST


SESSIONS = [
    connect,
    a_full_turn_with_a_tool,
    a_spoken_turn,
    leave_while_it_speaks,
    leave_a_dead_peer,
    reconnect_with_replay,
    a_spoken_turn_that_is_broken_off,
    a_call_of_a_tool_that_is_broken_off,
    every_call,
    rotation,
    rotation_at_the_hard_deadline,
]


@pytest.mark.parametrize("scenario", SESSIONS)
def test_a_session_may_be_cancelled_anywhere(scenario: Any) -> None:  # N2, R6
    report = cancel_at_every_step(scenario)
    print(scenario.__name__, report)  # noqa: T201 - with `-s` it tells how many steps were tried
    assert report.caught


# --- single calls -----------------------------------------------------------------------------


async def send_message(cut: Cut) -> None:
    async with conversing() as (session, _):
        with cut:
            await session.send_message("Hi")


async def edit_items(cut: Cut) -> None:
    async with conversing() as (session, _):
        first = await session.send_message("First.")
        with cut:
            await session.retrieve_item(first.id)
            await session.delete_item(first.id)
            await session.create_item(
                events.Message(role="user", content=[events.InputText(text="Again.")], id=first.id)
            )


async def update(cut: Cut) -> None:
    async with conversing() as (session, memory):
        with cut:
            await session.update(instructions="Be kind.")
        await session.update(instructions="Be brief.", max_output_tokens=100)
        in_force = memory.protocols[0].session.session
        assert (in_force.instructions, in_force.max_output_tokens) == ("Be brief.", 100)


async def update_conversation(cut: Cut) -> None:
    async with conversing() as (session, memory):
        for text in ("One.", "Two.", "Three."):
            await session.send_message(text)
        one, _, three = session.conversation.items()
        new = events.Message(role="user", content=[events.InputText(text="New.")], id="item_new")
        wanted = [three, new, one]
        with cut:
            await session.update_conversation(wanted)
        # Whatever the cancelled call has achieved, the next one gets where it should.
        await session.update_conversation(wanted)
        ids = [item.id for item in wanted]
        assert session.conversation.ids() == ids
        assert [item.id for item in memory.protocols[0].session.items] == ids


async def update_conversation_and_back(cut: Cut) -> None:
    async with conversing() as (session, _):
        for text in ("One.", "Two.", "Three."):
            await session.send_message(text)
        before = session.conversation.items()
        new = events.Message(role="user", content=[events.InputText(text="New.")])
        with cut:
            await session.update_conversation([before[2], new])
        await session.update_conversation(before)
        assert session.conversation.ids() == [item.id for item in before]


async def generate_reply(cut: Cut) -> None:
    async with conversing(LONG, config=SPOKEN, server=UNHURRIED) as (session, _):
        with session.subscribe(RawClientEvent, RawServerEvent) as raw:
            with cut:
                await session.generate_reply()
            if cut.caught:
                await nothing_surfaces(session, raw)
            await session.interrupt()


async def generate_reply_in_its_turn(cut: Cut) -> None:
    async with conversing("First.", LONG, config=SPOKEN, server=UNHURRIED) as (session, _):
        first = await session.generate_reply()
        with session.subscribe(RawClientEvent, RawServerEvent) as raw:
            with cut:
                await session.generate_reply()
            if cut.caught:
                await first.wait()
                await nothing_surfaces(session, raw, but=first.id)
            await session.interrupt()


async def nothing_surfaces(session: Session, raw: Stream[Any], but: str = "") -> None:
    """Nobody hears of a reply that was given up, and the server is told to stop."""
    await trio.sleep(5)
    assert len(session.generations) == 0
    assert not session._unclaimed
    # A race can begin it on our side: the caller is gone when the answer comes, and it ends as cancelled.
    for metrics in session.metrics.generations:
        assert metrics.response_id == but or metrics.status is GenerationStatus.CANCELLED
    told = [raw.receive_nowait().event for _ in range(len(raw))]
    created = {e.response.id for e in told if isinstance(e, events.ResponseCreated)}
    done = {e.response.id: e.response.status for e in told if isinstance(e, events.ResponseDone)}
    stopped = {e.response_id for e in told if isinstance(e, events.ResponseCancel)}
    done.pop(but, None)
    assert created == stopped == done.keys()
    assert set(done.values()) <= {"cancelled"}


async def restart(cut: Cut) -> None:
    async with conversing() as (session, memory):
        await session.send_message("Hi")
        with cut:
            await session.restart("no sound")
        await session.send_message("Hi again")  # before or after, on this connection or the next
        await trio.sleep(5)
        assert len(memory.protocols) <= 2


async def interrupt(cut: Cut) -> None:
    async with conversing(LONG, config=SPOKEN, server=UNHURRIED) as (session, _):
        generation = await session.generate_reply()
        message = await generation.messages.receive()
        await message.audio.receive()
        with cut:
            await session.interrupt()
        await session.interrupt()
        await generation.wait()
        assert generation.status in (GenerationStatus.CANCELLED, GenerationStatus.COMPLETED)


async def interrupt_together(cut: Cut) -> None:
    async with conversing(LONG, config=SPOKEN, server=UNHURRIED) as (session, _):
        await session.generate_reply()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.interrupt)
            await trio.lowlevel.checkpoint()
            with cut:
                await session.interrupt()


async def truncate(cut: Cut) -> None:
    async with conversing("A word or two.", config=SPOKEN) as (session, _):
        generation = await session.generate_reply()
        message = await generation.messages.receive()
        await generation.wait()
        with cut:
            await session.truncate(message.id, audio_end_ms=100)
        await session.truncate(message.id, audio_end_ms=50)
        entry = session.conversation.get(message.id)
        assert entry is not None
        assert entry.heard_ms == 50


async def push_audio(cut: Cut) -> None:
    async with conversing(plan=SLOW, config=SPOKEN, limits=TIGHT) as (session, _):
        taken = [bytes([number]) * 4_800 for number in range(4)]
        for frame in taken:
            await session.push_audio(frame)
        assert session._protocol.pending_bytes > TIGHT.max_output_bytes
        other = bytes([9]) * 4_800
        with cut:
            await session.push_audio(other)
        if not cut.caught:
            taken.append(other)
        await session.push_audio(FRAME)
        await committed(session, b"".join([*taken, FRAME]))


async def commit_audio(cut: Cut) -> None:
    async with conversing(plan=SLOW, config=SPOKEN) as (session, _):
        await session.push_audio(FRAME * 3)
        with cut:
            await session.commit_audio()
        other = b"\x02\x00" * 2_400
        item_ids = session.conversation.ids()
        await session.push_audio(other)
        await committed(session, *([other] if item_ids else [FRAME * 3 + other, other]))


async def clear_audio(cut: Cut) -> None:
    async with conversing(plan=SLOW, config=SPOKEN) as (session, _):
        await session.push_audio(FRAME * 3)
        with cut:
            await session.clear_audio()
        await session.clear_audio()
        other = b"\x02\x00" * 2_400
        await session.push_audio(other)
        await committed(session, other)


async def committed(session: Session, *possible: bytes) -> None:
    """Makes a message of what the server has heard, which must be one of these."""
    item_id = await session.commit_audio()
    assert item_id is not None
    item = await session.retrieve_item(item_id)
    assert isinstance(item, events.Message)
    assert isinstance(item.content[0], events.InputAudio)
    assert base64.b64decode(item.content[0].audio) in possible


async def read_audio(cut: Cut) -> None:
    async with conversing("One two three.", config=SPOKEN) as (session, _):
        generation = await session.generate_reply()
        message = await generation.messages.receive()
        frames: list[Any] = []
        with cut:
            async for frame in message.audio:
                frames.append(frame)  # noqa: PERF401 - a comprehension would lose them
        frames += [frame async for frame in message.audio]
        position = 0
        for frame in frames:
            assert frame.start_sample == position
            position += frame.sample_count
        assert message.received_ms == position / 24


async def read_text(cut: Cut) -> None:
    async with conversing("One two three four five.") as (session, _):
        generation = await session.generate_reply()
        pieces: list[str] = []
        with cut:
            async for message in generation.messages:
                async for piece in message.text:
                    pieces.append(piece)  # noqa: PERF401
        if cut.caught:
            message = next(iter(generation._messages.values()), None) or (
                await generation.messages.receive()
            )
            pieces += [piece async for piece in message.text]
        assert "".join(pieces) == "One two three four five."


async def read_parts(cut: Cut) -> None:
    async with conversing(["Look.", Call("ask_me", {})], config=ASKING) as (session, _):
        generation = await session.generate_reply()
        parts: list[Any] = []
        with cut:
            async for part in generation.parts:
                parts.append(part)  # noqa: PERF401
        parts += [part async for part in generation.parts]
        assert isinstance(parts[0], MessageStarted)
        assert isinstance(parts[-1], CallReady)
        assert sum(isinstance(part, TextDelta) for part in parts) == len(parts) - 3


async def wait_for_a_generation(cut: Cut) -> None:
    calls = [Call("weather", {"city": "Oslo"})]
    async with conversing(calls, "Rain.", tools=[weather]) as (session, _):
        first = await session.generate_reply()
        received = None
        with cut:
            await first.wait()
            received = await session.generations.receive()
            await received.wait()
        follow_up = received or await session.generations.receive()
        assert (await follow_up.wait()).text == "Rain."


async def answer_a_call(cut: Cut) -> None:
    async with conversing([Call("ask_me", {})], "Thanks.", config=ASKING) as (session, _):
        generation = await session.generate_reply()
        call = await generation.function_calls.receive()
        with cut:
            await call.answer("42")
        if not call.answered:
            await call.answer("42")
        follow_up = await session.generations.receive()
        assert (await follow_up.wait()).text == "Thanks."


async def send(cut: Cut) -> None:
    async with conversing() as (session, _):
        with cut:
            await session.send(events.InputAudioBufferClear())


async def call_while_it_reconnects(cut: Cut) -> None:
    async with conversing("Hello.") as (session, memory):
        await (await session.ask("Hi")).wait()
        await memory.streams[0].aclose()
        await trio.testing.wait_all_tasks_blocked()
        with cut:
            await session.send_message("Are you still there?")


async def ask(cut: Cut) -> None:
    async with conversing(LONG, config=SPOKEN, server=UNHURRIED) as (session, _):
        with session.subscribe(RawClientEvent, RawServerEvent) as raw:
            with cut:
                await session.ask("Hello?")
            if cut.caught:
                await nothing_surfaces(session, raw)
            await session.interrupt()


async def interrupt_a_generation(cut: Cut) -> None:
    async with conversing(LONG, config=SPOKEN, server=UNHURRIED) as (session, _):
        generation = await session.generate_reply()
        with cut:
            await generation.interrupt()
        await generation.interrupt()
        assert (await generation.wait()).status is GenerationStatus.CANCELLED


async def approve(cut: Cut) -> None:
    door = tool(open_door, needs_approval=True)
    async with conversing([Call("open_door", {})], "It is open.", tools=[door]) as (session, _):
        await session.ask("Open the door!")
        request = None
        with cut:
            request = await session.approvals.receive()
            request.approve()
        if request is None:
            request = await session.approvals.receive()
            request.approve()
        follow_up = await session.generations.receive()
        assert (await follow_up.wait()).text == "It is open."


async def open_door() -> str:
    """Opens the door."""
    await trio.sleep(0.1)
    return "open"


async def generate_reply_while_it_reconnects(cut: Cut) -> None:
    async with conversing("Hello.", LONG, server=UNHURRIED) as (session, memory):
        await (await session.ask("Hi")).wait()
        await memory.streams[0].aclose()
        with cut, suppress(ConnectionClosed):
            await session.generate_reply()
        await trio.sleep(1)
        await session.interrupt()


async def update_conversation_while_it_reconnects(cut: Cut) -> None:
    async with conversing("Hello.") as (session, memory):
        await (await session.ask("Hi")).wait()
        wanted = list(reversed(session.conversation.items()))
        await memory.streams[0].aclose()
        with cut:
            await session.update_conversation(wanted)
        await session.update_conversation(wanted)
        assert session.conversation.ids() == [item.id for item in wanted]


async def subscribe(cut: Cut) -> None:
    async with conversing("Hello.") as (session, _):
        seen: list[Any] = []
        with cut:
            async with session.subscribe(RawServerEvent, events.ResponseDone) as stream:
                await session.generate_reply()
                while not any(isinstance(event, events.ResponseDone) for event in seen):
                    seen.append(await stream.receive())
        assert not session._subscribers
        assert not session._protocol.raw_events


TIGHT = Limits(max_output_bytes=10_000)
ASKING = MANUAL.merge(
    {"tools": [events.FunctionTool(name="ask_me", parameters={"type": "object", "properties": {}})]}
)
CALLS = [
    send_message,
    edit_items,
    update,
    update_conversation,
    update_conversation_and_back,
    generate_reply,
    generate_reply_in_its_turn,
    interrupt,
    interrupt_together,
    truncate,
    push_audio,
    commit_audio,
    clear_audio,
    read_audio,
    read_text,
    read_parts,
    wait_for_a_generation,
    answer_a_call,
    send,
    subscribe,
    ask,
    interrupt_a_generation,
    approve,
    call_while_it_reconnects,
    generate_reply_while_it_reconnects,
    update_conversation_while_it_reconnects,
    restart,
]


@pytest.mark.parametrize("scenario", CALLS)
def test_a_call_may_be_cancelled_anywhere(scenario: Any) -> None:  # N2
    report = cancel_at_every_step(scenario)
    print(scenario.__name__, report)  # noqa: T201 - with `-s` it tells how many steps were tried
    assert report.steps


# --- who waits together with others -----------------------------------------------------------


async def test_two_callers_may_wait_for_the_same_answer(autojump_clock: MockClock) -> None:  # N2
    ended: list[str] = []

    async def stop(session: Session, name: str) -> None:
        await session.interrupt()
        ended.append(name)

    with trio.fail_after(60):
        async with conversing(LONG, config=SPOKEN, server=UNHURRIED) as (session, _):
            await session.generate_reply()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stop, session, "one")
                nursery.start_soon(stop, session, "other")
            assert sorted(ended) == ["one", "other"]


async def test_leaving_wakes_who_waits_for_room(autojump_clock: MockClock) -> None:  # R6
    stuck = StreamPlan(
        faults=[
            StreamFault(
                kind=FaultKind.STALL, direction=Direction.OUTGOING, at_frame=2, stall_s=1000
            )
        ]
    )
    told: list[RealtimeError] = []

    async def push(session: Session) -> None:
        try:
            while True:
                await session.push_audio(FRAME)
        except RealtimeError as error:
            told.append(error)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery, memory_server() as memory:
            async with running(memory, SPOKEN, stuck, limits=TIGHT) as session:
                nursery.start_soon(push, session)
                await trio.sleep(1)
    assert len(told) == 1
