"""What waits, over real sockets on loopback (parity A2, A3, C4, C7, G1 to G15, S4, S6, T6, T9).

Two servers: the emulator, and one whose session the test works by hand, which hears only when told to.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from msgspec import structs

from sansio_rt import (
    CommandRefused,
    CommandTimeout,
    Endpoint,
    GenerationFailed,
    GenerationOrigin,
    GenerationStatus,
    Limits,
    SequentialIds,
    ServerProtocol,
    SessionConfig,
    StreamOverflow,
    Timing,
    events,
)
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import ReplyCancelled, ReplyWanted, TranscriptionWanted
from trio_rt import Generation, Session, ToolSettings, open_session, serve_emulator
from trio_rt.emulator import Brain, Call, Emulator, EnergyDetector

MANUAL = SessionConfig(turn_detection=None)
SECOND = b"\x01\x00" * 24_000
FRAME = b"\x02\x00" * 2_400  # 100 ms


@asynccontextmanager
async def emulated(
    *replies: Any, pace: float | None = None, **options: Any
) -> AsyncGenerator[tuple[Session, Emulator]]:
    options.setdefault("config", MANUAL)
    with trio.fail_after(20):
        async with serve_emulator(Brain.scripted(*replies), pace=pace) as emulator:
            endpoint = Endpoint.url(emulator.url, model="gpt-realtime")
            async with open_session(endpoint, **options) as session:
                yield session, emulator


class ByHand:
    """The server's side of one connection: what it hears waits while it does not listen."""

    def __init__(self) -> None:
        self.session = ServerSession(pace=None, detector=EnergyDetector(), ids=SequentialIds("s"))
        self.protocol = ServerProtocol(self.session)
        self.listens = True
        self.may_read = trio.Event()
        self.may_read.set()
        self.unheard = bytearray()
        self.work: list[Any] = []
        self.stream: trio.abc.Stream | None = None
        self._news = trio.Event()
        self._sending = trio.Lock()

    async def serve(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        try:
            while data := await stream.receive_some():
                await self.may_read.wait()
                self.unheard += data
                if self.listens:
                    await self.hear()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def hear(self) -> None:
        """Takes all that has come and answers."""
        data, self.unheard = bytes(self.unheard), bytearray()
        self.protocol.receive_data(data, time.monotonic())
        await self.flush()

    async def flush(self) -> None:
        while (work := self.protocol.next_event()) is not None:
            self.work.append(work)
        self._news.set()
        self._news = trio.Event()
        async with self._sending:
            data = self.protocol.data_to_send()
            if data and self.stream is not None:
                await self.stream.send_all(data)

    async def do(self, method: Callable[..., object], *arguments: Any) -> None:
        """Calls a method of the session at this moment, and sends what comes of it."""
        method(*arguments, time.monotonic())
        await self.flush()

    async def next(self, kind: type[Any]) -> Any:
        """The next piece of work of a kind."""
        while True:
            for work in self.work:
                if isinstance(work, kind):
                    self.work.remove(work)
                    return work
            await self._news.wait()

    async def say(self, response_id: str, text: str, audio: bytes = b"") -> None:
        await self.do(self.session.begin_message, response_id)
        await self.do(self.session.push_text, response_id, text)
        if audio:
            await self.do(self.session.push_audio, response_id, audio)
        await self.do(self.session.end_message, response_id)
        await self.do(self.session.finish, response_id)

    async def until(self, condition: Callable[[], object]) -> None:
        """Waits for what comes to the socket while nobody listens."""
        while not condition():  # noqa: ASYNC110 - bytes on a socket have no event
            await trio.sleep(0.002)


@asynccontextmanager
async def by_hand(**options: Any) -> AsyncGenerator[tuple[Session, ByHand]]:
    options.setdefault("config", MANUAL)
    hand = ByHand()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            serve = functools.partial(trio.serve_tcp, hand.serve, 0, host="127.0.0.1")
            listeners = await nursery.start(serve)
            port = listeners[0].socket.getsockname()[1]
            endpoint = Endpoint.url(f"ws://127.0.0.1:{port}/v1", model="gpt-realtime")
            async with open_session(endpoint, **options) as session:
                yield session, hand
                hand.listens = True
                await hand.hear()
            nursery.cancel_scope.cancel()


def impatient(answer_timeout_s: float = 0.2, **more: Any) -> Timing:
    return Timing(answer_timeout_s=answer_timeout_s, **more)


async def sound(generation: Generation) -> bytes:
    """All audio of a generation, whose frames follow each other without a gap."""
    whole = bytearray()
    async for message in generation.messages:
        position = 0
        async for frame in message.audio:
            assert frame.start_sample == position
            position += frame.sample_count
            whole += frame.data
    return bytes(whole)


# --- replies ---------------------------------------------------------------------------------


async def test_two_responses_interleaved_delta_by_delta() -> None:  # G4
    async with by_hand() as (session, hand):
        first = await session.generate_reply()
        second = await session.generate_reply(conversation="none")
        wanted = [await hand.next(ReplyWanted) for _ in range(2)]
        assert [work.response_id for work in wanted] == [first.id, second.id]
        sounds: dict[str, bytes] = {}

        async def collect(generation: Generation) -> None:
            sounds[generation.id] = await sound(generation)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, first)
            nursery.start_soon(collect, second)
            for generation in (first, second):
                await hand.do(hand.session.begin_message, generation.id)
            for number in range(20):
                for index, generation in enumerate((first, second)):
                    await hand.do(hand.session.push_text, generation.id, f"{number} ")
                    frame = bytes([number, index]) * 2_400
                    await hand.do(hand.session.push_audio, generation.id, frame)
            for generation in (second, first):
                await hand.do(hand.session.end_message, generation.id)
                await hand.do(hand.session.finish, generation.id)
        for index, generation in enumerate((first, second)):
            expected = b"".join(bytes([number, index]) * 2_400 for number in range(20))
            assert sounds[generation.id] == expected
            outcome = await generation.wait()
            assert outcome.status is GenerationStatus.COMPLETED
            assert outcome.text.split() == [str(number) for number in range(20)]
        assert len(session.conversation) == 1  # the other is beside it


async def test_a_reply_that_times_out_and_is_answered_later_is_never_heard() -> None:  # G1
    async with by_hand(timing=impatient()) as (session, hand):
        hand.listens = False
        with pytest.raises(CommandTimeout, match=r"response\.create"):
            await session.generate_reply()
        hand.listens = True
        await hand.hear()
        wanted = await hand.next(ReplyWanted)
        cancelled = await hand.next(ReplyCancelled)
        assert cancelled.response_id == wanted.response_id
        again = await session.generate_reply()
        assert again.id != wanted.response_id
        await hand.say((await hand.next(ReplyWanted)).response_id, "Heard.", FRAME)
        assert (await again.wait()).text == "Heard."
        assert len(session.generations) == 0
        metrics = {record.response_id: record.status for record in session.metrics.generations}
        assert metrics[wanted.response_id] is GenerationStatus.CANCELLED  # it has cost tokens


async def test_a_response_that_falls_silent_ends_and_the_next_is_asked_for() -> None:  # G5, G12
    async with by_hand(timing=impatient(2.0, response_silence_s=0.2)) as (session, hand):
        first = await session.generate_reply()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.generate_reply)  # waits for the end of the first
            await hand.next(ReplyWanted)
            assert (await first.wait()).status is GenerationStatus.CANCELLED
            second = await hand.next(ReplyWanted)
            await hand.say(second.response_id, "Here.")


async def test_a_cancel_that_is_never_answered_holds_nobody() -> None:  # G5, G15
    async with by_hand(timing=impatient(0.2)) as (session, hand):
        generation = await session.generate_reply()
        hand.listens = False
        with pytest.raises(CommandTimeout, match=r"response\.cancel"):
            await session.interrupt()
        outcome = await generation.wait()
        assert (outcome.status, outcome.reason) == (GenerationStatus.CANCELLED, "no_answer")


async def test_an_interrupt_returns_when_the_response_is_done() -> None:  # G15
    async with by_hand() as (session, hand):
        await session.interrupt()  # nothing runs, nothing is waited for
        generation = await session.generate_reply()
        hand.listens = False
        async with trio.open_nursery() as nursery:
            done = trio.Event()

            async def interrupt() -> None:
                await session.interrupt()
                assert generation.status is GenerationStatus.CANCELLED
                done.set()

            nursery.start_soon(interrupt)
            await hand.until(lambda: hand.unheard)
            assert not done.is_set()
            assert generation.status is GenerationStatus.IN_PROGRESS
            await hand.hear()
            await done.wait()


async def test_an_interrupt_waits_for_a_reply_that_has_not_begun() -> None:  # G15
    async with by_hand() as (session, hand):
        hand.listens = False
        refusals: list[Exception] = []

        async def ask() -> None:
            try:
                await session.generate_reply()
            except GenerationFailed as error:
                refusals.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await hand.until(lambda: hand.unheard)
            returned = trio.Event()

            async def interrupt() -> None:
                await session.interrupt()
                returned.set()

            nursery.start_soon(interrupt)
            await trio.sleep(0.05)
            assert not returned.is_set()
            hand.listens = True
            await hand.hear()
            await returned.wait()
        assert len(refusals) == 1
        wanted = await hand.next(ReplyWanted)
        assert (await hand.next(ReplyCancelled)).response_id == wanted.response_id
        assert len(session.generations) == 0


async def test_text_in_the_place_of_speech_is_asked_for_again() -> None:  # G9
    async with by_hand(limits=Limits(max_text_recoveries=2)) as (session, hand):
        generations: list[Generation] = []

        async def ask() -> None:
            generations.append(await session.generate_reply())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            wrong = await hand.next(ReplyWanted)
            response = hand.session._replies._responses[wrong.response_id]
            response.terms = structs.replace(response.terms, audio=False)
            await hand.do(hand.session.begin_message, wrong.response_id)
            await hand.do(hand.session.push_text, wrong.response_id, "written")
            assert (await hand.next(ReplyCancelled)).response_id == wrong.response_id
            silence = await hand.next(TranscriptionWanted)
            await hand.do(hand.session.transcribed, silence.item_id, "")
            right = await hand.next(ReplyWanted)
            await hand.say(right.response_id, "Spoken.", FRAME)
        (generation,) = generations
        assert generation.id == right.response_id
        assert (await generation.wait()).text == "Spoken."
        await hand.until(lambda: len(hand.session.items) == 1)
        await hand.until(lambda: session.conversation.ids() == [generation_item(hand)])


def generation_item(hand: ByHand) -> str:
    """The id of the last item, the answer: the text and the silence are gone."""
    return str(hand.session.items[-1].id)


# --- tools -----------------------------------------------------------------------------------


def outputs(session: Session) -> dict[str, str]:
    items = [entry.item for entry in session.conversation]
    names = {item.call_id: item.name for item in items if isinstance(item, events.FunctionCall)}
    found = [item for item in items if isinstance(item, events.FunctionCallOutput)]
    assert len({item.call_id for item in found}) == len(found)  # T9
    return {f"{names[item.call_id]} {item.call_id}": item.output for item in found}


async def test_ten_calls_at_once_lead_to_one_reply() -> None:  # T6
    together = trio.Event()
    running = 0

    async def meet(number: int) -> int:
        nonlocal running
        running += 1
        if running == 10:
            together.set()
        await together.wait()
        return number

    calls = [Call("meet", {"number": number}) for number in range(10)]
    async with emulated(calls, "All met.", tools=[meet]) as (session, emulator):
        await session.generate_reply()
        follow_up = await session.generations.receive()
        assert follow_up.origin is GenerationOrigin.TOOL_OUTPUTS
        assert (await follow_up.wait()).text == "All met."
        assert sorted(map(int, outputs(session).values())) == list(range(10))
        assert len(session.generations) == 0
        (server,) = emulator.sessions
        assert sum(isinstance(item, events.FunctionCallOutput) for item in server.items) == 10


async def test_tools_that_hang_raise_and_return_a_megabyte() -> None:  # T6, T10
    async def hang() -> None:
        await trio.sleep_forever()

    def stuck() -> str:  # in a thread, which cannot be stopped
        time.sleep(0.4)
        return "too late"

    def fail() -> None:
        raise ValueError("not like that")

    def huge() -> str:
        return "x" * 1_000_000

    tools = [hang, stuck, fail, huge]
    calls = [Call(function.__name__) for function in tools]
    settings = ToolSettings(timeout_s=0.2, max_output_characters=None)
    async with emulated(calls, "Well.", tools=tools, tool_settings=settings) as (session, _):
        await session.generate_reply()
        follow_up = await session.generations.receive()
        assert (await follow_up.wait()).text == "Well."
        told = {name.split()[0]: output for name, output in outputs(session).items()}
        for name in ("hang", "stuck"):
            assert json.loads(told[name]) == {"error": f"{name} took longer than 0.2 seconds"}
        assert json.loads(told["fail"]) == {"error": "fail failed: ValueError: not like that"}
        assert told["huge"] == "x" * 1_000_000


# --- the conversation ------------------------------------------------------------------------


async def test_what_was_cut_is_history_as_heard_here_and_at_the_server() -> None:  # G8, G14
    def last_answer(request: Any) -> str:
        return (
            f"You heard: {[turn.text for turn in request.history if turn.role == 'assistant'][-1]}"
        )

    words = "one two three four five six seven eight nine ten"
    async with emulated(words, last_answer) as (session, _):
        generation = await session.generate_reply()
        outcome = await generation.wait()
        entry = list(session.conversation)[-1]
        await session.truncate(entry.id, audio_end_ms=int(entry.received_ms / 2))
        heard = entry.heard_text
        assert heard
        assert heard != outcome.text
        assert words.startswith(heard)
        (item,) = session.conversation.history()
        assert isinstance(item, events.Message)
        assert item.content == [events.OutputText(text=heard)]
        again = await session.generate_reply(modalities=["text"])
        assert words not in (await again.wait()).text  # the server has cut its words, too


async def test_an_update_of_the_conversation_waits_for_every_edit() -> None:  # C4
    async with by_hand() as (session, hand):
        for text in "abc":
            await session.send_message(text)
        items = session.conversation.items()
        hand.listens = False
        finished: list[str] = []

        async def edit(name: str, wanted: list[Any]) -> None:
            await session.update_conversation(wanted)
            finished.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(edit, "first", [items[2], items[0]])
            await hand.until(lambda: hand.unheard)
            nursery.start_soon(edit, "second", [items[0]])  # one caller at a time
            await trio.sleep(0.05)
            assert finished == []
            hand.listens = True
            await hand.hear()
        assert finished == ["first", "second"]
        assert [entry.text for entry in session.conversation] == ["a"]
        assert [item.id for item in hand.session.items] == session.conversation.ids()


async def test_edits_without_an_answer_are_named() -> None:  # C4
    async with by_hand(timing=impatient()) as (session, hand):
        await session.send_message("a", item_id="first")
        hand.listens = False
        new = events.Message(role="user", content=[events.InputText(text="b")], id="second")
        with pytest.raises(CommandTimeout) as caught:
            await session.update_conversation([new])
        assert sorted(caught.value.missing) == ["first", "second"]
        hand.listens = True
        await hand.hear()
        await hand.until(lambda: session.conversation.ids() == ["second"])


async def test_commit_clear_and_retrieve() -> None:  # A2, A3, C7
    async with emulated("Fine.") as (session, emulator):
        await session.push_audio(SECOND)
        await session.clear_audio()
        assert await session.commit_audio() is None  # nothing is left, here and there
        await session.push_audio(SECOND)
        item_id = await session.commit_audio()
        assert item_id is not None
        item = await session.retrieve_item(item_id)  # also where the item itself has not come yet
        assert session.conversation.ids() == [item_id]
        assert isinstance(item, events.Message)
        (part,) = item.content
        assert isinstance(part, events.InputAudio)
        assert isinstance(part.audio, str)
        assert len(part.audio) == 4 * len(SECOND) // 3
        await session.delete_item(item_id)
        assert emulator.sessions[0].items == []


# --- the configuration -----------------------------------------------------------------------


async def test_an_update_waits_for_its_answer() -> None:  # S4, S6, S7
    async with by_hand() as (session, hand):
        hand.listens = False
        async with trio.open_nursery() as nursery:
            told: list[events.RealtimeSession | None] = []

            async def update() -> None:
                told.append(await session.update(instructions="Be kind."))

            nursery.start_soon(update)
            await hand.until(lambda: hand.unheard)
            nursery.start_soon(session.generate_reply)
            await trio.sleep(0.02)
            hand.listens = True
            await hand.hear()
            wanted = await hand.next(ReplyWanted)
            assert wanted.instructions == "Be kind."  # the reply has waited for it
        assert told[0] is not None
        assert told[0].instructions == "Be kind."
        await hand.say(wanted.response_id, "Yes.", FRAME)
        with pytest.raises(CommandRefused, match="voice") as caught:
            await session.update(voice="cedar", instructions="Be loud.")
        assert caught.value.code == "cannot_update_voice"
        assert session.config is not None
        assert session.config.instructions == "Be kind."


# --- who does not read -----------------------------------------------------------------------


async def test_audio_that_nobody_reads_holds_up_nothing_and_is_bounded() -> None:  # G11
    limit = 200_000
    async with by_hand(limits=Limits(max_stream_bytes=limit)) as (session, hand):
        generation = await session.generate_reply()
        await hand.next(ReplyWanted)
        texts: list[str] = []

        async def read() -> None:
            async for message in generation.messages:
                texts.extend([piece async for piece in message.text])
                audio = message.audio
                assert len(audio) * len(FRAME) <= limit
                with pytest.raises(StreamOverflow, match="200,000"):
                    while True:
                        await audio.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await hand.do(hand.session.begin_message, generation.id)
            for number in range(60):  # three seconds each: 8.6 MB in all
                await hand.do(hand.session.push_text, generation.id, f"{number} ")
                await hand.do(hand.session.push_audio, generation.id, SECOND * 3)
            await session.send_message("Other things go on.")
            await hand.do(hand.session.end_message, generation.id)
            await hand.do(hand.session.finish, generation.id)
            outcome = await generation.wait()
        assert "".join(texts).split() == [str(number) for number in range(60)]
        assert outcome.metrics.audio_ms == 180_000


async def test_a_slow_server_makes_only_the_pusher_wait() -> None:  # A5
    limits = Limits(max_output_bytes=100_000)
    async with by_hand(limits=limits, timing=Timing(answer_timeout_s=20)) as (session, hand):
        hand.may_read = trio.Event()
        with trio.move_on_after(0.5):
            while True:
                await session.push_audio(SECOND)
        assert 100_000 < session._protocol.pending_bytes < 100_000 + 2 * len(SECOND)
        assert session.rate_limits == []  # everything else goes on
        hand.may_read.set()
        await session.push_audio(SECOND)
        assert await session.commit_audio() is not None
