"""A full conversation with one fault in it, wherever that is: R3, R4, N3, T9, C8, G14.

The application below does what the documentation tells it to: it makes a call again that failed with its
connection, asks again for a reply that was lost, and believes what the session says. After every fault the
server's conversation is what the application believes in, and nothing is answered twice or never.

The ordinary run takes a fixed part of all places. `TRIO_RT_ALL_FAULTS=1` takes them all.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from sansio_rt import (
    CommandTimeout,
    ConnectionClosed,
    EditsFailed,
    Endpoint,
    FrameError,
    GenerationStatus,
    HandshakeRejected,
    LocalProtocolError,
    MessageTooBig,
    SequentialIds,
    ServerProtocol,
    SessionConfig,
    events,
)
from sansio_rt._server_session import ServerSession
from trio_rt import Generation, Session, TransportError, open_session
from trio_rt.emulator import Brain, Call, FaultPlan, Say
from trio_rt.emulator._detection import EnergyDetector
from trio_rt.emulator._ears import GivenEars
from trio_rt.emulator._faults import Fault, MessageFault
from trio_rt.emulator._serve import Emulator
from trio_rt.emulator._voices import ToneVoice
from trio_rt.testing import (
    Direction,
    FaultKind,
    FaultyStream,
    MemoryServer,
    RecordingStream,
    StreamFault,
    StreamPlan,
    WrappingDialer,
    assert_session_works,
    memory_server,
    random_fault,
)
from trio_rt.testing._memory import _NoThreads

T = TypeVar("T")
ALL = bool(os.environ.get("TRIO_RT_ALL_FAULTS"))
IN, OUT = Direction.INCOMING, Direction.OUTGOING

# --- the conversation -----------------------------------------------------------------------------

COMMITTED = SessionConfig(turn_detection=None)
DETECTED = SessionConfig()
CONFIGS = {"committed": COMMITTED, "detected": DETECTED}
LOUD = b"\x00\x20" * 2_400  # 100 ms
QUIET = bytes(4_800)
WORDS = "how are you"
STORY = "Once upon a time there was a princess, who lived in a tower. And so on, and so on."
SCRIPT = {
    "Good evening.": "Good evening to you.",
    WORDS: "I am fine.",
    "How is the weather in Rome?": "It is sunny in Rome.",
    "Tell me a story.": STORY,
    "Goodbye.": "Bye.",
    "Are you there?": "Yes.",
}
GIVEN_UP = (ConnectionClosed, FrameError, CommandTimeout, EditsFailed)
"""What a call fails with whose connection went: the application makes it again."""


class Mind:
    """Answers the last turn of the history by the script, whoever asks and however often."""

    def reply(self, request: Any) -> Sequence[Any]:
        turn = next(turn for turn in reversed(request.history) if turn.role != "assistant")
        if turn.role == "tool_output":
            return [Say(SCRIPT["How is the weather in Rome?"])]
        if "weather" in turn.text:
            return [Call("weather", {"city": "Rome"})]
        return [Say(SCRIPT[turn.text])]


def make_session(numbers: Iterator[int]) -> ServerSession:
    """A server that speaks no faster than a human, so that it can be interrupted."""
    ids = SequentialIds(f"s{next(numbers)}_")
    return ServerSession(ids=ids, detector=EnergyDetector(), pace=1.0)


class Unanswered(Exception):
    """A reply did not come, or not whole, and the application does not ask again."""


class Application:
    """One side of the conversation, and what it believes in.

    Args:
        session: The session.
        detected: Whether the server finds out by itself that a turn of speech is over.
        insists: Whether a call that failed with its connection is made again.

    Attributes:
        said: What the user said, in order.
        story: The message that was interrupted.
        heard_ms: How much of it was heard.
    """

    def __init__(self, session: Session, *, detected: bool, insists: bool) -> None:
        self.said: list[str] = []
        self.story: Any = None
        self.heard_ms = 0
        self._session = session
        self._detected = detected
        self._insists = insists

    async def converse(self) -> None:
        await self.type("Good evening.")
        await self.answer()
        await self.speak()
        await self.use_a_tool()
        await self.edit()
        await self.be_interrupted()
        await self.type("Goodbye.")
        await self.answer()

    async def insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Makes a call again whose connection went while it waited."""
        while True:
            try:
                return await call()
            except GIVEN_UP as error:
                if not self._insists:
                    raise
                await self.doubt(error)
                await trio.sleep(0.05)

    async def doubt(self, error: Exception) -> None:
        """A server that answers nothing, and says nothing against it, is left (R11)."""
        if isinstance(error, (CommandTimeout, EditsFailed)):
            await self._session.restart("no answer", patience_s=0)

    async def type(self, text: str) -> None:
        session, item_id = self._session, f"typed_{len(self.said)}"

        async def send() -> None:
            if item_id not in session.conversation:
                await session.send_message(text, item_id=item_id)

        await self.insist(send)
        self.said.append(text)

    async def answer(self, generation: Generation | None = None) -> bool:
        """Waits for a whole answer; asks again for one that was lost.

        Returns:
            Whether it called a tool, so that another one follows.
        """
        while True:
            if generation is None:
                generation = await self.insist(self._session.generate_reply)
            outcome = await generation.wait()
            called = [call async for call in generation.function_calls]
            if outcome.status is GenerationStatus.COMPLETED:
                return bool(called)
            if not self._insists:
                await trio.sleep(1)  # a session that is over says why
                raise Unanswered(outcome.status)
            if outcome.reason == "no_answer":  # it was silent, and the service did not cancel it
                await self._session.restart(outcome.reason, patience_s=0)
            else:
                assert outcome.status is GenerationStatus.LOST, outcome
                if called:  # what came before it was lost is answered
                    return True
            generation = None

    async def unasked(self) -> Generation:
        for _ in range(2):
            with trio.move_on_after(120):
                return await self._session.generations.receive()
            if self._insists:
                await self._session.restart("no reply", patience_s=0)
        raise Unanswered

    async def speak(self) -> None:
        session = self._session
        self.said.append(WORDS)
        for _ in range(6):
            await session.push_audio(LOUD)
            await trio.sleep(0.1)
        if self._detected:
            for _ in range(4):
                await session.push_audio(QUIET)
                await trio.sleep(0.1)
            await self.answer(await self.unasked())
            return
        await self.insist(
            session.commit_audio
        )  # None where one that was given up was heard after all
        await self.answer()

    async def use_a_tool(self) -> None:
        await self.type("How is the weather in Rome?")
        if await self.answer():
            await self.answer(await self.unasked())
        # Else the reply that called was given up as silent, and the next one had the output already.

    async def edit(self) -> None:
        """Corrects what was typed first, takes out the answer to it, and puts a note before all."""
        session = self._session
        typed, _, *rest = session.conversation.items()
        note = message("system", "It is late.", "note")
        corrected = message("user", "Good night.", typed.id)
        wanted = [note, corrected, *rest]
        await self.insist(partial(session.update_conversation, wanted))
        self.said[0] = "Good night."

    async def be_interrupted(self) -> None:
        session = self._session
        await self.type("Tell me a story.")
        told: Any = None
        while told is None:
            generation = await self.insist(session.generate_reply)
            async for told in generation.messages:
                async for frame in told.audio:
                    if frame.start_ms >= 1_000:
                        break
                break
            if told is None and not self._insists:
                await trio.sleep(1)
                raise Unanswered
        await self.insist(session.interrupt)
        if told.id in session.conversation:
            self.story, self.heard_ms = told, int(min(800, told.received_ms))

            async def truncate() -> None:
                if told.id in session.conversation:
                    await session.truncate(told.id, audio_end_ms=self.heard_ms)

            await self.insist(truncate)


def message(role: str, text: str, item_id: Any) -> events.Message:
    return events.Message(role=role, content=[events.InputText(text=text)], id=item_id)


async def weather(city: str) -> str:
    """Tells the weather."""
    await trio.sleep(0.3)
    return f"sunny in {city}"


BRAIN = Brain(Mind(), ToneVoice(), EnergyDetector, GivenEars([WORDS]))


@asynccontextmanager
async def serving() -> AsyncGenerator[MemoryServer]:
    numbers = itertools.count(1)

    def make() -> ServerProtocol:
        return ServerProtocol(make_session(numbers))

    async with memory_server(brain=BRAIN, make_protocol=make) as memory:
        yield memory


class EmulatorInMemory:
    """An emulator that every dial reaches by a new pair of memory streams."""

    def __init__(self, plan: FaultPlan, nursery: trio.Nursery) -> None:
        numbers = itertools.count(1)
        self.endpoint = Endpoint.url("ws://localhost/v1", model="memory")
        self.emulator = Emulator(
            "localhost", 1, lambda: make_session(numbers), BRAIN, api_key=None, faults=plan
        )
        self.emulator._threads = _NoThreads()
        self._nursery = nursery

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self.emulator.serve_stream, theirs)
        return ours

    @property
    def protocols(self) -> list[Any]:
        """For `assert_session_works`, which is told of servers in memory otherwise."""
        return [SimpleNamespace(session=session) for session in self.emulator.sessions]


@dataclass
class Run:
    """One run of the conversation.

    Attributes:
        up: Whether the session came to be up.
        dials: How many connections there were.
        sizes: Frames and bytes of the first connection's two directions when the conversation was over.
    """

    up: bool = False
    dials: int = 0
    sizes: dict[Direction, tuple[int, int]] = field(default_factory=dict)

    def note(self, dialer: Any) -> None:
        """The conversation is over."""
        for stream in getattr(dialer, "streams", [])[:1]:
            if isinstance(stream, RecordingStream):
                for direction, recording in ((IN, stream.incoming), (OUT, stream.outgoing)):
                    self.sizes[direction] = len(recording.boundaries), len(recording.data)


async def converse(
    run: Run, name: str, wrap: Callable[[trio.abc.Stream], Any], **options: Any
) -> None:
    """The whole conversation over a stream that may fail, and the comparison after it."""
    async with serving() as memory:
        dialer = WrappingDialer(memory, wrap)
        try:
            await talk(run, name, memory, dialer, **options)
        finally:
            run.dials = len(dialer.streams)
            await trio.testing.wait_all_tasks_blocked()
            assert not memory._nursery.child_tasks, "a connection is left at the server"


async def converse_with_emulator(run: Run, name: str, plan: FaultPlan, **options: Any) -> None:
    """The same with an emulator that does something wrong."""
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        server = EmulatorInMemory(plan, nursery)
        try:
            await talk(run, name, server, server, **options)
        except BaseException as error:  # noqa: BLE001 - raised below, outside of the nursery
            failure = error
        run.dials = server.emulator.connections
        await trio.testing.wait_all_tasks_blocked()
        assert not server.emulator._open, "a connection is left at the server"
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def talk(
    run: Run, name: str, server: Any, dialer: Any, *, insists: bool = True, **options: Any
) -> None:
    with trio.fail_after(900):
        async with open_session(
            server.endpoint, CONFIGS[name], dialer=dialer, tools=[weather], **options
        ) as session:
            run.up = True
            application = Application(session, detected=name == "detected", insists=insists)
            await application.converse()
            run.note(dialer)
            await trio.sleep(60)  # by then a silent peer is found out
            await assert_session_works(session, server)
            application.said.append("Are you there?")
            agree(application, session, server)


# --- what both believe ----------------------------------------------------------------------------


def agree(application: Application, session: Session, server: Any) -> None:
    """`assert_session_works` has compared ids and words; this compares what it all means."""
    records = server.protocols[-1].session._conversation.records()
    assert [record.id for record in records] == session.conversation.ids()
    users = [said_by(record) for record in records if record.role == "user"]
    assert users == application.said, (users, application.said)
    assert [said_by(record) for record in records if record.role == "system"] == ["It is late."]
    calls = [record.item for record in records if isinstance(record.item, events.FunctionCall)]
    outputs = [
        record.item for record in records if isinstance(record.item, events.FunctionCallOutput)
    ]
    assert [call.call_id for call in calls] == [output.call_id for output in outputs]
    assert calls
    for call, output in zip(calls, outputs, strict=True):
        assert call.arguments == '{"city": "Rome"}'
        assert output.output == "sunny in Rome" or "connection was lost" in output.output
    assert all(count == 1 for count in Counter(call.call_id for call in calls).values())
    for record in records:
        if record.role == "assistant" and not record.truncated:
            text = said_by(record)
            assert any(answer.startswith(text) for answer in SCRIPT.values()), text
    agree_on_the_story(application, session, records)


def said_by(record: Any) -> str:
    """The words of a message at the server."""
    if record.heard:
        return str(record.heard)
    if not isinstance(record.item, events.Message):
        return ""
    (part,) = record.item.content
    words = getattr(part, "text", None) or getattr(part, "transcript", None)
    return words if isinstance(words, str) else ""


def agree_on_the_story(application: Application, session: Session, records: Any) -> None:
    """What was cut is as long at the server as it was heard, in sound or in words."""
    (place,) = (
        index for index, record in enumerate(records) if said_by(record) == "Tell me a story."
    )
    assert said_by(records[place - 1]) == SCRIPT["How is the weather in Rome?"]
    story = application.story
    assert all(said_by(record) != STORY for record in records)
    if story is None or story.id not in session.conversation:
        return
    (record,) = (record for record in records if record.id == story.id)
    if record.truncated:
        assert record.sound.duration_ms == pytest.approx(application.heard_ms)
        return
    words, received = said_by(record).split(), story.received_text.split()
    assert words == received[: len(words)]
    assert len(words) * story.received_ms <= len(received) * application.heard_ms


# --- runs -----------------------------------------------------------------------------------------


def at_once(function: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any) -> Any:
    """Runs it under a clock that jumps."""
    call = partial(function, *arguments, **options)
    return trio.run(call, clock=MockClock(autojump_threshold=0))


@cache
def sizes(name: str) -> dict[Direction, tuple[int, int]]:
    """Frames and bytes of both directions, where nothing goes wrong."""
    run = Run()
    at_once(converse, run, name, RecordingStream)
    assert run.dials == 1
    return run.sizes


def once(plan: StreamPlan) -> Callable[[trio.abc.Stream], FaultyStream]:
    """Wraps the first connection in the plan; those that follow are good."""
    plans = iter([plan])
    return lambda stream: FaultyStream(stream, next(plans, StreamPlan()))


def frame_faults(name: str, kind: FaultKind, part: int) -> list[StreamFault]:
    """A fault at every boundary of frames, or at each so-many-th of them."""
    step, first = (1, 0) if ALL else (part, list(FaultKind).index(kind) * 3)
    return [
        StreamFault(kind=kind, direction=direction, at_frame=frame, stall_s=7)
        for direction in Direction
        for frame in range(first % step, sizes(name)[direction][0], step)
    ]


# What may come out before there is a session, and what of a session that gave up.
BEFORE: tuple[type[Exception], ...] = (ConnectionClosed, CommandTimeout, FrameError)
CORRUPTED = (HandshakeRejected, MessageTooBig, *BEFORE)
"""Bytes that nobody sent can look like a refusal, or like the beginning of a very big message."""


def survive(fault: StreamFault, name: str, plan: StreamPlan) -> str:
    """One run: it comes to its end with everything agreed, or ends as it is documented to.

    Returns:
        What became of it.
    """
    run = Run()
    corrupted = fault.kind is FaultKind.GARBAGE
    ended: Exception | None = None
    try:
        at_once(converse, run, name, once(plan))
    except CORRUPTED as error:
        ended = error
    except BaseException as error:
        error.add_note(f"{name}: {fault}")
        raise
    if ended is not None and run.up:
        # 1007: what we sent reached the server as no UTF-8; another try would be the same.
        final = isinstance(ended, MessageTooBig) or getattr(ended, "code", 0) == 1007
        assert corrupted, (fault, ended)
        assert final, (fault, ended)
    elif ended is not None:
        assert corrupted or isinstance(ended, BEFORE), (fault, ended)
    if ended is not None:
        assert run.dials == 1
        return "ended" if run.up else "never up"
    assert run.dials <= 4  # an application that doubts the connection asks for another one, too
    return "went on"


@pytest.mark.parametrize("kind", list(FaultKind))
@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_conversation_goes_on_from_any_frame(name: str, kind: FaultKind) -> None:  # R3, N3, T9
    faults = frame_faults(name, kind, 24)
    found = Counter(survive(fault, name, StreamPlan(faults=[fault])) for fault in faults)
    print(f"{name}, {kind.value}: {len(faults)} faults: {dict(found)}")  # noqa: T201
    assert found["went on"] > len(faults) * 0.6
    assert not found["ended"]


@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_conversation_goes_on_from_any_byte(name: str) -> None:  # R3, N3, T9
    found: Counter[tuple[FaultKind, str]] = Counter()
    for seed in range(400 if ALL else 16):
        (_, incoming), (_, outgoing) = sizes(name)[IN], sizes(name)[OUT]
        fault = random_fault(seed, incoming_bytes=incoming, outgoing_bytes=outgoing)
        plan = StreamPlan(faults=[fault], read_bytes=3_000, send_bytes=3_000, seed=seed)
        found[fault.kind, survive(fault, name, plan)] += 1
    print(f"{name}, any byte: {dict(found)}")  # noqa: T201 - with `-s` it tells what was tried
    assert {kind for kind, end in found if end == "ended"} <= {FaultKind.GARBAGE}


ERRORS: dict[FaultKind, tuple[type[Exception], ...]] = {
    FaultKind.CUT: (ConnectionClosed,),
    FaultKind.RESET: (ConnectionClosed,),
    FaultKind.HALF_OPEN: (ConnectionClosed, CommandTimeout, EditsFailed, Unanswered),
    FaultKind.GARBAGE: CORRUPTED,
    FaultKind.STALL: (),
}


@pytest.mark.parametrize("kind", list(FaultKind))
@pytest.mark.parametrize("name", list(CONFIGS))
def test_without_retries_it_ends_with_the_error_that_is_documented(
    name: str, kind: FaultKind
) -> None:  # R4
    faults = frame_faults(name, kind, 48)
    for fault in faults:
        wrap = once(StreamPlan(faults=[fault]))
        run = Run()
        if kind is FaultKind.STALL:
            at_once(converse, run, name, wrap, retry=None, insists=False)
            continue
        with pytest.raises(ERRORS[kind]) as caught:
            at_once(converse, run, name, wrap, retry=None, insists=False)
        if kind is FaultKind.RESET:
            assert isinstance(caught.value.__cause__, TransportError)
        assert run.dials == 1
    print(f"{name}, {kind.value}, no retries: {len(faults)} faults")  # noqa: T201


# --- an emulator that does something wrong --------------------------------------------------------


def messages(name: str, first: int) -> range:
    """The server's messages at which something goes wrong, counted from 1."""
    after = sizes(name)[IN][0] - 2  # the head and the last one are left out
    return range(3, after) if ALL else range(3 + first % 36, after, 48)


@pytest.mark.parametrize("code", [None, 1000, 1001, 1011])
@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_conversation_goes_on_wherever_the_server_closes(name: str, code: int | None) -> None:
    places = messages(name, code or 7)
    for place in places:
        run = Run()
        plan = FaultPlan(close_after=place, close_code=code, connections=1)
        at_once(converse_with_emulator, run, name, plan)
        assert run.dials == 2
    print(f"{name}, closed with {code}: {len(places)} faults")  # noqa: T201


HARMLESS = [Fault.DELAY, Fault.DUPLICATE, Fault.REORDER]


@pytest.mark.parametrize("fault", HARMLESS)
@pytest.mark.parametrize("name", list(CONFIGS))
def test_messages_may_be_late_doubled_or_out_of_order(name: str, fault: Fault) -> None:  # G6
    places = messages(name, HARMLESS.index(fault) * 5)
    for place in places:
        run = Run()
        rule = MessageFault(fault, first=place, delay_s=7)
        at_once(converse_with_emulator, run, name, FaultPlan(messages=[rule], connections=1))
        # One that is to be overtaken is held for good where the server has nothing more to say.
        assert run.dials == 1 or (fault is Fault.REORDER and run.dials == 2)
    print(f"{name}, {fault.value}: {len(places)} faults")  # noqa: T201


@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_server_that_falls_silent_is_left(name: str) -> None:  # R11
    """It answers pings, and nothing else; the application asks for another connection."""
    places = messages(name, 4)
    for place in places:
        run = Run()
        plan = FaultPlan(messages=[MessageFault(Fault.SILENCE, first=place)], connections=1)
        at_once(converse_with_emulator, run, name, plan)
        assert run.dials == 2
    print(f"{name}, silence: {len(places)} faults")  # noqa: T201


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.GARBAGE])
@pytest.mark.parametrize("name", list(CONFIGS))
def test_messages_may_be_lost(name: str, fault: Fault) -> None:  # G5, X2
    """No network loses a message and goes on; a server may. Then calls end as they are documented to."""
    places = messages(name, 4)
    for place in places:
        rule = MessageFault(fault, first=place)
        plan = FaultPlan(messages=[rule], connections=1)
        with suppress(CommandTimeout, EditsFailed, Unanswered, LocalProtocolError):
            at_once(converse_with_emulator, Run(), name, plan, insists=False)
    print(f"{name}, {fault.value}: {len(places)} faults")  # noqa: T201
