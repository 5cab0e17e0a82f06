"""`Playback`: what a sink was given, what counts as heard, and what the conversation says afterwards."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from sansio_rt import (
    AudioDelta,
    AudioFormat,
    AudioFrame,
    CallReady,
    ConfigurationError,
    GenerationStatus,
    Limits,
    LocalProtocolError,
    MissingExtra,
    RawClientEvent,
    ServerProtocol,
    SessionConfig,
    StreamOverflow,
    events,
)
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import ServerLimits
from trio_rt import Generation, Session, open_session
from trio_rt._heard import Part
from trio_rt._playback import MessageFate, Playback, PlaybackEnd, PlaybackOutcome
from trio_rt._sinks import BufferedSink, ClockSink, SoundCardError, SoundCardSink, WavSink
from trio_rt._wav import WavError, read_wav
from trio_rt.emulator import Call, EnergyDetector
from trio_rt.testing import (
    Cut,
    MemoryServer,
    assert_session_works,
    cancel_at_every_step,
    memory_server,
)

MANUAL = SessionConfig(turn_detection=None)
BUZZ = (b"\x00\x20" * 24 + b"\x00\xe0" * 24) * 500  # one second of 500 Hz: speech to the detector
LONG = "many words that take their time " * 5
RATE = 24_000
FRAME_S = 0.02


class Recorder:
    """A sink in real time that keeps what it was given, and when."""

    def __init__(self) -> None:
        self.frames: list[AudioFrame] = []
        self.begun: list[float] = []
        self._clock = ClockSink()

    async def __call__(self, frame: AudioFrame, /) -> None:
        self.begun.append(trio.current_time())
        await self._clock(frame)
        self.frames.append(frame)

    @property
    def data(self) -> bytes:
        return b"".join(frame.data for frame in self.frames)

    @property
    def played_ms(self) -> float:
        return len(self.data) / 2 * 1000 / RATE


class Card(Recorder):
    """A buffered sink: it takes up to so much at once and plays it in real time."""

    def __init__(self, buffer_s: float = 0.1, latency_s: float = 0.0) -> None:
        super().__init__()
        self.latency_s = latency_s
        self.dropped = 0
        self._buffer_s = buffer_s
        self._ends = -math.inf

    async def __call__(self, frame: AudioFrame, /) -> None:
        self.begun.append(trio.current_time())
        end = max(self._ends, trio.current_time()) + frame.duration_ms / 1000
        await trio.sleep_until(max(trio.current_time(), end - self._buffer_s))
        self._ends = end
        self.frames.append(frame)

    async def drain(self) -> None:
        await trio.sleep_until(max(trio.current_time(), self._ends))

    async def discard(self) -> int:
        await trio.lowlevel.checkpoint()
        left_s = max(0.0, self._ends - trio.current_time())
        self.dropped = math.ceil(left_s * RATE - 1e-6)
        return self.dropped


class Talk:
    """A session, its server, and what the client sent."""

    def __init__(self, session: Session, memory: MemoryServer, sent: Any) -> None:
        self.session = session
        self.memory = memory
        self._sent = sent

    def cuts(self) -> list[tuple[str, int]]:
        """The truncations (item, milliseconds) and deletions (item, 0) since the last call."""
        found: list[tuple[str, int]] = []
        while len(self._sent):
            event = self._sent.receive_nowait().event
            if isinstance(event, events.ConversationItemTruncate):
                found.append((event.item_id, event.audio_end_ms))
            elif isinstance(event, events.ConversationItemDelete):
                found.append((event.item_id, 0))
        return sorted(found)

    def kinds(self) -> list[str]:
        kinds = []
        while len(self._sent):
            event = self._sent.receive_nowait().event
            if not isinstance(event, events.InputAudioBufferAppend):
                kinds.append(type(event).__name__)
        return kinds

    def at_server(self, item_id: str) -> float | None:
        """Length of the item's audio at the server in milliseconds; None where it has no such item."""
        record = self.memory.protocols[0].session._conversation.get(item_id)
        return None if record is None or record.sound is None else record.sound.duration_ms


@asynccontextmanager
async def talk(
    *replies: Any,
    pace: float | None = None,
    delta_ms: int = 100,
    config: SessionConfig = MANUAL,
    **options: Any,
) -> AsyncGenerator[Talk]:
    def protocol() -> ServerProtocol:
        limits = ServerLimits(delta_ms=delta_ms)
        return ServerProtocol(ServerSession(detector=EnergyDetector(), pace=pace, limits=limits))

    with trio.fail_after(120):
        async with (
            memory_server(*replies, transcripts=["hello"], make_protocol=protocol) as memory,
            open_session(memory.endpoint, config, dialer=memory, **options) as session,
            session.subscribe(RawClientEvent) as sent,
        ):
            yield Talk(session, memory, sent)


async def test_all_is_played_in_order_in_frames_of_20_ms_and_nothing_is_cut(
    autojump_clock: MockClock,
) -> None:  # N8, G14
    sink = Recorder()
    async with talk(["First, a clause.", "Second message."], delta_ms=250) as t:
        async with Playback(t.session, sink) as playback, t.session.subscribe(AudioDelta) as audio:
            started = trio.current_time()
            outcome = await playback.play(await t.session.generate_reply())
            received = b""
            while len(audio):
                received += audio.receive_nowait().frame.data
        assert sink.data == received
        assert max(frame.duration_ms for frame in sink.frames) == 20
        assert [frame.start_sample for frame in sink.frames].count(0) == 2
        assert trio.current_time() - started == pytest.approx(sink.played_ms / 1000)
        assert outcome.end is PlaybackEnd.FINISHED
        assert not outcome.interrupted
        assert [m.fate for m in outcome.messages] == [MessageFate.WHOLE] * 2
        assert outcome.heard_ms == pytest.approx(sink.played_ms)
        assert all(m.heard_ms == m.received_ms for m in outcome.messages)
        assert (outcome.first_played_at, outcome.error) == (pytest.approx(started), None)
        assert t.cuts() == []


async def test_the_callers_speech_stops_within_a_frame_and_cuts_at_the_heard_sample(
    autojump_clock: MockClock,
) -> None:  # N8, G8, I4
    sink = Recorder()
    async with talk(LONG, config=SessionConfig()) as t:
        async with Playback(t.session, sink) as playback:
            generation = await t.session.generate_reply()
            async with trio.open_nursery() as nursery:

                async def speak() -> None:
                    await trio.sleep(1.011)
                    await t.session.push_audio(BUZZ)
                    await trio.testing.wait_all_tasks_blocked()
                    assert len(sink.begun) == 51  # 50 whole frames, and the one in the sink's hands

                nursery.start_soon(speak)
                outcome = await playback.play(generation)
            assert trio.current_time() - outcome.ended_at <= FRAME_S + 1e-9
        assert outcome.end is PlaybackEnd.BARGE_IN
        (message,) = outcome.messages
        assert message.heard_ms == pytest.approx(1020)
        assert message.fate is MessageFate.CUT
        assert t.cuts() == [(message.item_id, 1020)]
        assert t.at_server(message.item_id) == pytest.approx(1020)
        entry = t.session.conversation.get(message.item_id)
        assert entry is not None
        assert entry.heard_ms == 1020


async def test_a_running_response_is_cancelled_before_its_message_is_cut(
    autojump_clock: MockClock,
) -> None:  # N8, G7, G8
    async with talk(LONG, pace=2.0) as t:
        async with Playback(t.session, Recorder()) as playback:
            generation = await t.session.generate_reply()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(playback.play, generation)
                await trio.sleep(0.5)
                assert playback.playing is generation
                assert generation.status is GenerationStatus.IN_PROGRESS
                (outcome,) = await playback.interrupt()
            assert generation.status is GenerationStatus.CANCELLED
            assert playback.playing is None
            assert [len(m.audio) for m in generation._messages.values()] == [0]  # let go of
        assert outcome.end is PlaybackEnd.STOPPED
        (message,) = outcome.messages
        assert 480 <= message.heard_ms <= 520 < message.received_ms
        assert t.kinds() == ["ResponseCreate", "ResponseCancel", "ConversationItemTruncate"]
        assert t.at_server(message.item_id) == pytest.approx(message.heard_ms, abs=1)


async def test_what_was_heard_to_its_end_when_the_response_stopped_is_not_cut(
    autojump_clock: MockClock,
) -> None:  # G14
    """A server as slow as the sink: all that ever arrived was heard."""
    async with talk(LONG, pace=0.5) as t:
        async with Playback(t.session, Recorder()) as playback:
            generation = await t.session.generate_reply()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(playback.play, generation)
                await trio.sleep(0.55)
                (outcome,) = await playback.interrupt()
        (message,) = outcome.messages
        assert message.heard_ms == message.received_ms > 0
        assert message.fate is MessageFate.WHOLE
        assert t.kinds() == ["ResponseCreate", "ResponseCancel"]


@pytest.mark.parametrize("pace", [None, 4.0])
async def test_of_several_messages_each_has_its_own_fate(
    pace: float | None, autojump_clock: MockClock
) -> None:  # G13
    async with talk(["One two.", "Three four five six.", "Seven.", "Eight."], pace=pace) as t:
        async with Playback(t.session, Recorder()) as playback:
            generation = await t.session.generate_reply()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(playback.play, generation)
                await trio.sleep(0.5)
                (outcome,) = await playback.interrupt()
        first, second, *unheard = outcome.messages
        assert (first.fate, second.fate) == (MessageFate.WHOLE, MessageFate.CUT)
        assert 0 < second.heard_ms < second.received_ms
        assert outcome.heard_ms == pytest.approx(500)
        assert unheard
        for message in unheard:
            assert (message.heard_ms, message.fate) == (0, MessageFate.DELETED)
            assert message.item_id not in t.session.conversation
        assert first.item_id in t.session.conversation
        cuts = [(second.item_id, int(second.heard_ms)), *((m.item_id, 0) for m in unheard)]
        assert t.cuts() == sorted(cuts)


async def test_written_answers_have_nothing_to_play_and_stay(autojump_clock: MockClock) -> None:
    async with talk("Only in writing. " * 10, pace=1.0) as t:
        async with Playback(t.session, Recorder()) as playback:
            generation = await t.session.generate_reply(modalities=["text"])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(playback.play, generation)
                await trio.sleep(1)
                (outcome,) = await playback.interrupt()
            assert (outcome.messages, outcome.first_played_at) == ((), None)
            again = await t.session.generate_reply(modalities=["text"])
            outcome = await playback.play(again)
            assert (outcome.end, outcome.messages) == (PlaybackEnd.FINISHED, ())
        assert t.cuts() == []
        assert all(entry.text for entry in t.session.conversation)


async def test_nothing_heard_yet_deletes_the_message(autojump_clock: MockClock) -> None:  # G8
    async def hanging(frame: AudioFrame) -> None:
        await trio.sleep_forever()

    async with talk(LONG, pace=2.0) as t:
        async with Playback(t.session, hanging) as playback:
            generation = await t.session.generate_reply()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(playback.play, generation)
                await trio.sleep(0.5)
                playback.stop()
        (outcome,) = [o async for o in playback.outcomes]
        assert [m.fate for m in outcome.messages] == [MessageFate.DELETED]
        assert outcome.first_played_at is None
        assert t.session.conversation.ids() == []


async def test_generations_of_the_server_are_played_one_after_the_other(
    autojump_clock: MockClock,
) -> None:  # N8, G2
    sink = Recorder()
    look = events.FunctionTool(name="look", parameters={"type": "object", "properties": {}})
    config = MANUAL.merge({"tools": [look]})
    async with talk("One.", "Two.", [Call("look", {})], "Four.", config=config) as t:
        # One began before the block did.
        await t.session.push_audio(BUZZ)
        await t.session.commit_audio()
        await t.session.send(events.ResponseCreate())
        await trio.sleep(1)
        async with (
            t.session.subscribe(CallReady) as calls,
            Playback(t.session, sink) as playback,
        ):
            assert len(t.session.generations) == 0
            asked = await t.session.generate_reply()
            outcome = await playback.play(asked)
            await t.session.send(events.ResponseCreate())
            call = (await calls.receive()).call
            await t.session.send_tool_output(call.call_id, "nothing there")
            await trio.sleep(0.1)
            await playback.drain()
            assert len(t.session.generations) == 0
        outcomes = [outcome async for outcome in playback.outcomes]
        assert [len(o.messages) for o in outcomes] == [1, 1, 0, 1]
        assert outcomes[1] == outcome
        assert {o.end for o in outcomes} == {PlaybackEnd.FINISHED}
        assert sum(o.heard_ms for o in outcomes) == pytest.approx(sink.played_ms)
        starts = [o.first_played_at for o in outcomes if o.first_played_at is not None]
        assert starts == sorted(starts)
        assert t.cuts() == []


async def test_without_automatic_the_application_has_the_generations(
    autojump_clock: MockClock,
) -> None:
    async with talk("One.") as t:
        async with Playback(t.session, Recorder(), automatic=False) as playback:
            await t.session.send(events.ResponseCreate())
            await trio.sleep(0.1)
            generation = t.session.generations.receive_nowait()
            parts = generation.parts  # opened before, so that both can read
            outcome = await playback.play(generation)
            assert sum(1 for part in [p async for p in parts] if isinstance(part, AudioDelta)) > 1
            assert outcome.end is PlaybackEnd.FINISHED


async def test_speech_interrupts_what_was_there_before_it_and_not_what_comes_after(
    autojump_clock: MockClock,
) -> None:  # I4
    async with talk(LONG, "Fine.", config=SessionConfig()) as t:
        async with Playback(t.session, Recorder()) as playback:
            first = await t.session.generate_reply()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(playback.play, first)
                await trio.sleep(0.3)
                await t.session.push_audio(BUZZ)
                await t.session.push_audio(bytes(48_000))
                outcomes = [await playback.outcomes.receive() for _ in range(2)]
            assert outcomes[0].response_id == first.id
            assert [o.end for o in outcomes] == [PlaybackEnd.BARGE_IN, PlaybackEnd.FINISHED]
            # M5: from the end of the speech to the first played sample of its answer.
            assert outcomes[1].first_played_at == pytest.approx(0.32, abs=0.05)
        assert len(t.cuts()) == 1


async def test_that_holds_for_what_came_in_one_piece(autojump_clock: MockClock) -> None:
    async with talk("One.", "Two.", config=SessionConfig()) as t:
        async with Playback(t.session, Recorder()) as playback:
            # Before anybody can read: an answer, speech, another answer.
            t.session._protocol.send(events.ResponseCreate(response=_beside()))
            t.session._protocol.push_audio(BUZZ)
            t.session._protocol.send(events.ResponseCreate(response=_beside()))
            await t.session.send(events.ConversationItemRetrieve(item_id="none"))
            outcomes = [await playback.outcomes.receive() for _ in range(2)]
        assert [o.end for o in outcomes] == [PlaybackEnd.BARGE_IN, PlaybackEnd.FINISHED]


@pytest.mark.parametrize("by_whom", ["server", "application"])
async def test_a_cancelled_response_falls_silent_with_audio_in_hand(
    by_whom: str, autojump_clock: MockClock
) -> None:  # I5
    sink = Recorder()
    async with talk(LONG, pace=3.0, config=SessionConfig()) as t:
        async with Playback(t.session, sink, barge_in=False) as playback:
            generation = await t.session.generate_reply()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(playback.play, generation)
                await trio.sleep(0.5)
                if by_whom == "server":
                    await t.session.push_audio(BUZZ)
                else:
                    await t.session.interrupt()
                outcome = await playback.outcomes.receive()
                assert sink.begun[-1] <= 0.5 + FRAME_S
        assert outcome.end is PlaybackEnd.CANCELLED
        assert outcome.messages[0].fate is MessageFate.CUT
        assert t.cuts() == [(outcome.messages[0].item_id, int(outcome.heard_ms))]


async def test_speech_without_barge_in_leaves_a_whole_answer_alone(
    autojump_clock: MockClock,
) -> None:
    async with talk("One two three.", config=SessionConfig()) as t:
        async with Playback(t.session, Recorder(), barge_in=False, automatic=False) as playback:
            generation = await t.session.generate_reply()
            await generation.wait()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(playback.play, generation)
                await trio.sleep(0.2)
                await t.session.push_audio(BUZZ)
                assert (await playback.outcomes.receive()).end is PlaybackEnd.FINISHED
        assert t.cuts() == []


async def test_a_response_that_was_cancelled_before_is_not_played(
    autojump_clock: MockClock,
) -> None:
    sink = Recorder()
    async with talk(LONG, pace=1.0) as t:
        async with Playback(t.session, sink) as playback:
            generation = await t.session.generate_reply()
            await trio.sleep(0.5)
            await generation.interrupt()
            await trio.testing.wait_all_tasks_blocked()
            outcome = await playback.play(generation)
        assert outcome.end is PlaybackEnd.CANCELLED
        assert [m.fate for m in outcome.messages] == [MessageFate.DELETED]
        assert sink.frames == []


async def test_a_stop_takes_those_that_wait_along(autojump_clock: MockClock) -> None:
    sink = Recorder()
    async with talk("One two three.", "Four five six.", "Seven.") as t:
        async with Playback(t.session, sink) as playback:
            results: list[PlaybackOutcome] = []

            async def play(generation: Generation) -> None:
                results.append(await playback.play(generation))

            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    generation = await t.session.generate_reply()
                    await generation.wait()
                    nursery.start_soon(play, generation)
                    await trio.sleep(0.1)
                with pytest.raises(LocalProtocolError, match="plays or waits already"):
                    await playback.play(generation)
                assert "1 waiting" in repr(playback)
                playback.stop()
            fates = {m.fate for o in results for m in o.messages}
            assert fates == {MessageFate.CUT, MessageFate.DELETED}
            assert await playback.interrupt() == []
            outcome = await playback.play(await t.session.generate_reply())
            assert outcome.end is PlaybackEnd.FINISHED


async def test_a_cancelled_play_has_cut_when_it_returns(autojump_clock: MockClock) -> None:  # N8
    sink = Recorder()
    async with talk(LONG, LONG, pace=3.0) as t:
        async with Playback(t.session, sink) as playback:
            for again in range(2):
                generation = await t.session.generate_reply()
                before = trio.current_time()
                with trio.move_on_after(0.305) as scope:
                    await playback.play(generation)
                assert scope.cancelled_caught
                assert trio.current_time() - before <= 0.305 + FRAME_S
                ((_, audio_end_ms),) = t.cuts()
                assert audio_end_ms == pytest.approx(sink.played_ms - again * 320) == 320
                assert generation.status is GenerationStatus.CANCELLED


async def test_cancelling_everything_is_bounded_with_a_server_that_is_silent(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as outer:
        async with talk(["One.", LONG], pace=3.0) as t:
            playback = Playback(t.session, Recorder(), settle_timeout_s=1.5)
            generation = await t.session.generate_reply()
            await trio.sleep(0.5)
            t.memory._nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                with trio.move_on_after(0.75):
                    async with playback:
                        await playback.play(generation)
                assert 3.0 <= trio.current_time() - 1.25 <= 3.4
                (outcome,) = [o async for o in playback.outcomes]
                assert outcome.end is PlaybackEnd.STOPPED
                assert 740 <= outcome.heard_ms <= 780
                first, second = outcome.messages
                assert first.fate is MessageFate.WHOLE
                assert second.fate is MessageFate.UNCHANGED
                # The cut was sent all the same.
                assert t.kinds() == ["ResponseCreate", "ResponseCancel", "ConversationItemTruncate"]
        outer.cancel_scope.cancel()


async def test_nothing_is_taken_while_the_block_is_left(autojump_clock: MockClock) -> None:
    """A server that has gone silent makes the leaving last."""
    refused: list[str] = []

    async def plays_late(playback: Playback, generation: Generation) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
            with pytest.raises(LocalProtocolError, match="not running") as caught:
                await playback.play(generation)
            refused.append(str(caught.value))

    async with trio.open_nursery() as outer:
        async with talk("One.", LONG) as t:
            other = await t.session.generate_reply()
            await t.session.send(events.ResponseCreate())
            async with Playback(t.session, Recorder()) as playback:
                await trio.sleep(0.5)
                t.memory._nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await trio.testing.wait_all_tasks_blocked()
                outer.start_soon(plays_late, playback, other)
            with trio.CancelScope(shield=True):
                await trio.sleep(5)
        outer.cancel_scope.cancel()
    assert refused


class CardFell(Exception):
    pass


class Failing(Recorder):
    async def __call__(self, frame: AudioFrame, /) -> None:
        if len(self.frames) == 10:
            raise CardFell
        await super().__call__(frame)


async def test_what_a_sink_raises_comes_out_of_play_and_the_session_goes_on(
    autojump_clock: MockClock,
) -> None:
    sink = Failing()
    async with talk(LONG, "Next.") as t:
        async with Playback(t.session, sink) as playback:
            with pytest.raises(CardFell):
                await playback.play(await t.session.generate_reply())
            ((_, audio_end_ms),) = t.cuts()
            assert audio_end_ms == 200
            outcome = await playback.outcomes.receive()
            assert outcome.end is PlaybackEnd.FAILED
            assert isinstance(outcome.error, CardFell)
            sink.frames.clear()
            generation = await t.session.generate_reply()
            assert (await generation.wait()).text == "Next."


async def test_what_a_sink_raises_for_nobody_ends_the_block(autojump_clock: MockClock) -> None:
    async with talk(LONG, "Next.") as t:
        with pytest.raises(CardFell):
            async with Playback(t.session, Failing()):
                await t.session.send(events.ResponseCreate())
                await trio.sleep(100)
        assert [audio_end_ms for _, audio_end_ms in t.cuts()] == [200]
        assert trio.current_time() < 1
        generation = await t.session.generate_reply()
        assert (await generation.wait()).text == "Next."


async def test_the_blocks_own_error_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    async with talk(LONG) as t:
        playback = Playback(t.session, Recorder())
        with pytest.raises(ZeroDivisionError):
            async with playback:
                await t.session.send(events.ResponseCreate())
                await trio.sleep(0.5)
                _ = 1 / 0
        assert [audio_end_ms for _, audio_end_ms in t.cuts()] == [500]
        with pytest.raises(LocalProtocolError, match="not running"):
            await playback.play(await t.session.generate_reply())
        with pytest.raises(LocalProtocolError, match="one block"):
            await playback.__aenter__()


async def test_a_sink_that_hangs_is_left_after_a_grace(autojump_clock: MockClock) -> None:
    class Hanging(Recorder):
        async def __call__(self, frame: AudioFrame, /) -> None:
            if len(self.frames) == 10:
                await trio.sleep_forever()
            await super().__call__(frame)

    async with talk(LONG) as t:
        async with Playback(t.session, Hanging()) as playback:
            generation = await t.session.generate_reply()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(playback.play, generation)
                await trio.sleep(5)
                (outcome,) = await playback.interrupt()
        assert trio.current_time() == pytest.approx(5.2)
        assert outcome.heard_ms == 200
        assert [audio_end_ms for _, audio_end_ms in t.cuts()] == [200]


async def test_a_buffered_sink_says_what_was_not_played(autojump_clock: MockClock) -> None:
    """The buffer holds the end of one message and the beginning of the next: neither was heard."""
    card = Card(buffer_s=0.4, latency_s=0.03)
    assert isinstance(card, BufferedSink)
    async with talk(["One.", "Two three four.", "Five."]) as t:
        async with Playback(t.session, card) as playback:
            generation = await t.session.generate_reply()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(playback.play, generation)
                await trio.sleep(0.105)
                (outcome,) = await playback.interrupt()
        first, *others = outcome.messages
        assert card.played_ms > first.received_ms  # some of the second message was taken, too
        assert 105 <= first.heard_ms <= 125 < first.received_ms
        assert first.fate is MessageFate.CUT
        assert {m.fate for m in others} == {MessageFate.DELETED}
        assert card.played_ms - card.dropped * 1000 / RATE == pytest.approx(first.heard_ms)
        assert outcome.first_played_at == pytest.approx(0.03)


async def test_what_a_buffered_sink_took_and_did_not_play_was_not_heard(
    autojump_clock: MockClock,
) -> None:
    async with talk("One.") as t:
        async with Playback(t.session, Card(buffer_s=5)) as playback:
            generation = await t.session.generate_reply()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(playback.play, generation)
                await trio.testing.wait_all_tasks_blocked()
                (outcome,) = await playback.interrupt()
        assert [m.fate for m in outcome.messages] == [MessageFate.DELETED]
        assert (outcome.heard_ms, outcome.first_played_at) == (0, None)


async def test_a_buffered_sink_is_waited_for_before_the_end(autojump_clock: MockClock) -> None:
    card = Card(buffer_s=0.5)
    async with talk("One two.") as t:
        async with Playback(t.session, card) as playback:
            outcome = await playback.play(await t.session.generate_reply())
            assert trio.current_time() == pytest.approx(outcome.heard_ms / 1000)
            assert outcome.end is PlaybackEnd.FINISHED
        assert t.cuts() == []


async def test_out_of_band_answers_are_in_no_conversation_to_cut(
    autojump_clock: MockClock,
) -> None:
    async with talk(LONG) as t:
        async with Playback(t.session, Recorder()) as playback:
            generation = await t.session.generate_reply(conversation="none")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(playback.play, generation)
                await trio.sleep(0.19)
                (outcome,) = await playback.interrupt()
        assert [m.fate for m in outcome.messages] == [MessageFate.UNCHANGED]
        assert outcome.heard_ms == 200
        assert t.cuts() == []


async def test_audio_that_was_lost_costs_that_generation_only(autojump_clock: MockClock) -> None:
    limits = Limits(max_stream_bytes=40_000)
    async with talk(LONG, LONG, "Next.", pace=4.0, limits=limits) as t:
        async with Playback(t.session, Recorder()) as playback:
            with pytest.raises(StreamOverflow, match="40,000"):
                await playback.play(await t.session.generate_reply())
            await t.session.send(events.ResponseCreate())
            await trio.sleep(1)
            generation = await t.session.generate_reply()
            assert (await playback.play(generation)).end is PlaybackEnd.FINISHED
        outcomes = [outcome async for outcome in playback.outcomes]
        ends = [outcome.end for outcome in outcomes]
        assert ends == [PlaybackEnd.FAILED, PlaybackEnd.FAILED, PlaybackEnd.FINISHED]
        cut = [(m.item_id, int(m.heard_ms)) for outcome in outcomes[:2] for m in outcome.messages]
        assert all(heard_ms > 0 for _, heard_ms in cut)
        assert t.cuts() == sorted(cut)


async def test_the_connection_may_go_while_it_plays(autojump_clock: MockClock) -> None:
    playback = None
    with pytest.raises(Exception, match="without a close frame"):
        async with talk(LONG, retry=None) as t:
            playback = Playback(t.session, Recorder())
            async with playback:
                await t.session.send(events.ResponseCreate())
                await trio.sleep(0.5)
                await t.memory.streams[0].aclose()
                await trio.sleep(50)
    assert playback is not None
    assert trio.current_time() < 2
    (outcome,) = [o async for o in playback.outcomes]
    assert outcome.messages[0].fate is MessageFate.UNCHANGED
    assert outcome.heard_ms == pytest.approx(500, abs=20)


@pytest.mark.parametrize("pace", [None, 3.0])
@pytest.mark.parametrize("heard_s", [1.9, 0.01, -1.0])
async def test_what_was_heard_is_kept_when_the_connection_was_replaced(
    pace: float | None, heard_s: float, autojump_clock: MockClock
) -> None:  # R3, G14
    """The new connection is told text for audio; of an answer that still played, only what was heard."""

    async def late(frame: AudioFrame) -> None:
        await trio.sleep_until(5 - heard_s)
        await clock(frame)

    clock = Recorder()
    async with talk("one two three four five six " * 3, pace=pace) as t:
        async with Playback(t.session, late) as playback:
            generation = await t.session.generate_reply()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(playback.play, generation)
                await trio.sleep(1)
                await t.memory.streams[0].aclose()
                await trio.sleep(4)
                (outcome,) = await playback.interrupt()
        (message,) = outcome.messages
        assert message.heard_ms == pytest.approx(max(0, heard_s * 1000), abs=20)
        said = [entry.text for entry in t.session.conversation]
        if heard_s > 1:
            assert message.fate is MessageFate.CUT
            (text,) = said
            assert 0 < len(text) < len(generation.text)
            assert generation.text.startswith(text)
        else:
            assert message.fate is MessageFate.DELETED
            assert said == []


async def test_a_crowd_is_refused_and_unread_outcomes_are_bounded(
    autojump_clock: MockClock,
) -> None:
    async with talk("One.") as t:
        async with Playback(t.session, Recorder()) as playback:
            generation = await t.session.generate_reply()
            for _ in range(100):
                await t.session.send(events.ResponseCreate(response=_beside()))
            await trio.sleep(0.01)
            with pytest.raises(LocalProtocolError, match="64 generations wait"):
                await playback.play(generation)
            playback.stop()
            await playback.drain()
            for _ in range(3):
                await playback.play(await t.session.generate_reply())
            assert len(playback.outcomes) == 64


def test_a_message_is_written_only_if_nothing_of_it_is_audio() -> None:
    def part(received_ms: float, *modalities: str) -> Part:
        message: Any = SimpleNamespace(received_ms=received_ms, modalities=set(modalities))
        return Part(message)

    assert part(0, "text").is_written
    assert not part(10, "text", "audio").is_written
    assert not part(0, "audio").is_written
    assert not part(0).is_written
    assert not part(0).is_whole


def _beside() -> events.ResponseParams:
    return events.ResponseParams(conversation="none")


@pytest.mark.parametrize("wrong", [{"frame_ms": 0}, {"settle_timeout_s": 0}])
async def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Playback(None, Recorder(), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("whole_block", [True, False])
def test_cancelled_anywhere_it_leaves_a_session_that_works(whole_block: bool) -> None:
    async def scenario(cut: Cut) -> None:
        sink = Recorder()
        async with talk(["One.", "Two."], pace=3.0, delta_ms=60) as t:
            generation = await t.session.generate_reply()
            playback = Playback(t.session, sink)
            if whole_block:
                with cut:
                    async with playback:
                        await playback.play(generation)
            else:
                async with playback:
                    with cut:
                        await playback.play(generation)
                    assert playback.playing is None
            assert cut.left_after_s <= FRAME_S + 1e-9
            outcomes = [outcome async for outcome in playback.outcomes]
            for outcome in outcomes:
                check_cuts(t, outcome, 20)
                assert outcome.heard_ms == pytest.approx(sink.played_ms)
            assert outcomes or not sink.frames
            if not outcomes:
                await generation.interrupt()
            await assert_session_works(t.session, t.memory)

    report = cancel_at_every_step(scenario, every=1 if whole_block else 3)
    assert report.caught > 20


async def test_a_sink_that_cannot_be_stopped_is_not_waited_for_by_play(
    autojump_clock: MockClock,
) -> None:
    class Stubborn(Recorder):
        async def __call__(self, frame: AudioFrame, /) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(30)

    async with talk(LONG) as t:
        async with Playback(t.session, Stubborn()) as playback:
            with trio.move_on_after(1):
                await playback.play(await t.session.generate_reply())
            assert trio.current_time() == pytest.approx(5.4)
        assert trio.current_time() == pytest.approx(30)
        (outcome,) = [o async for o in playback.outcomes]
        assert (outcome.end, outcome.heard_ms) == (PlaybackEnd.STOPPED, 0)


async def test_a_card_that_fails_to_fall_silent_is_an_error_of_the_sink(
    autojump_clock: MockClock,
) -> None:
    class Deaf(Card):
        async def discard(self) -> int:
            raise CardFell

    async with talk(LONG) as t:
        async with Playback(t.session, Deaf()) as playback:
            generation = await t.session.generate_reply()
            async with trio.open_nursery() as nursery:

                async def play() -> None:
                    with pytest.raises(CardFell):
                        await playback.play(generation)

                nursery.start_soon(play)
                await trio.sleep(1)
                playback.stop()


# --- sinks -------------------------------------------------------------------------------------


def frame_of(samples: int, rate: int = RATE, start: int = 0) -> AudioFrame:
    data = np.arange(start, start + samples).astype("<i2").tobytes()
    return AudioFrame(data, rate, AudioFormat.PCM16, start)


async def test_a_clock_sink_keeps_time_and_hands_on(autojump_clock: MockClock) -> None:
    inner = []

    async def keep(frame: AudioFrame) -> None:
        inner.append(trio.current_time())

    sink = ClockSink(keep)
    for index in range(3):
        await sink(frame_of(480, start=index * 480))
    assert trio.current_time() == pytest.approx(0.06)
    assert inner == pytest.approx([0, 0.02, 0.04])
    with trio.move_on_after(0.005):
        await sink(frame_of(480))
    await sink(frame_of(480))  # what was cancelled took no time, and coming late costs none
    assert trio.current_time() == pytest.approx(0.08)
    await trio.sleep(1)
    await sink(frame_of(480))
    assert trio.current_time() == pytest.approx(1.1)


async def test_a_wav_sink_writes_a_whole_file_or_none(tmp_path: Any) -> None:
    path = tmp_path / "heard.wav"
    async with WavSink(path) as sink:
        for index in range(200):
            await sink(frame_of(480, start=index * 480))
        assert not path.exists()
    samples = read_wav(path).samples[:, 0]
    assert np.array_equal(samples, np.arange(96_000).astype("<i2"))
    with pytest.raises(ConfigurationError, match="make it with rate=8000"):
        async with WavSink(path) as sink:
            await sink(AudioFrame(b"\xff" * 80, 8000, AudioFormat.PCMU, 0))
    assert len(read_wav(path).samples) == 96_000
    with trio.CancelScope() as scope:
        async with WavSink(tmp_path / "other.wav"):
            scope.cancel()
    assert [found.name for found in tmp_path.iterdir()] == ["heard.wav"]
    with pytest.raises(WavError):
        WavSink(tmp_path / "no" / "folder.wav")


async def test_a_wav_of_what_was_really_heard(tmp_path: Any, autojump_clock: MockClock) -> None:
    path = tmp_path / "heard.wav"
    # The file is written in a thread, which a clock that jumps does not wait for: outside, at the end.
    async with WavSink(path) as wav, talk(LONG) as t:
        async with Playback(t.session, ClockSink(wav)) as playback:
            await t.session.send(events.ResponseCreate())
            await trio.sleep(1)
        (outcome,) = [o async for o in playback.outcomes]
    assert len(read_wav(path).samples) * 1000 / RATE == outcome.heard_ms == pytest.approx(1000)


class PortAudioError(Exception):
    pass


class FakeStream:
    """As `sounddevice.RawOutputStream`, with a buffer that plays when it is told to."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.latency = 0.05
        self.capacity = 2_400
        self.held = 1_200  # silence, to begin with
        self.calls: list[str] = []
        self.written = b""
        self.broken = False

    @property
    def write_available(self) -> int:
        return self.capacity - self.held

    def start(self) -> None:
        self.calls.append("start")

    def abort(self) -> None:
        self.calls.append("abort")
        self.held = 0

    def close(self) -> None:
        self.calls.append("close")

    def write(self, data: bytes) -> bool:
        if self.broken:
            raise PortAudioError("Unanticipated host error [-9999]")
        self.written += data
        self.held = min(self.capacity, self.held + len(data) // 2)
        return False


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[FakeStream]:
    made: list[FakeStream] = []

    class Package:
        @staticmethod
        def RawOutputStream(**settings: Any) -> FakeStream:  # noqa: N802
            if settings["device"] == "nowhere":
                raise ValueError("No output device matching 'nowhere'")
            made.append(FakeStream(**settings))
            return made[-1]

    Package.PortAudioError = PortAudioError  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "sounddevice", Package)
    return made


async def test_a_sound_card_says_what_it_has_not_played(streams: list[FakeStream]) -> None:
    async with SoundCardSink(device=3) as sink:
        assert isinstance(sink, BufferedSink)
        (stream,) = streams
        assert stream.settings == {
            "samplerate": RATE,
            "device": 3,
            "channels": 1,
            "dtype": "int16",
            "latency": "low",
        }
        assert sink.latency_s == 0.05
        stream.held = 0
        for index in range(4):
            await sink(frame_of(480, start=index * 480))
        assert np.array_equal(np.frombuffer(stream.written, "<i2"), np.arange(1920))
        stream.held = 1_500
        assert await sink.discard() == 1_500
        assert await sink.discard() == 0
        stream.held = 2_400  # an idle card's silence is none of ours
        await sink(frame_of(480))
        assert await sink.discard() == 480
        with pytest.raises(ConfigurationError, match="rate=8000"):
            await sink(AudioFrame(b"\xff" * 80, 8000, AudioFormat.PCMU, 0))
        stream.broken = True
        with pytest.raises(SoundCardError, match=r"3 cannot be used: Unanticipated"):
            await sink(frame_of(480))
    assert stream.calls[0] == "start"
    assert stream.calls[-1] == "close"
    with pytest.raises(ConfigurationError, match="open it first"):
        await sink(frame_of(480))


async def test_a_sound_card_is_drained_for_as_long_as_it_plays(
    streams: list[FakeStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(trio, "sleep", sleep)
    async with SoundCardSink() as sink:
        streams[0].held = 0
        await sink(frame_of(1_200))
        await sink.drain()
        streams[0].held = 0
        await sink.drain()
    assert slept == [0.05, 0]


async def test_playing_on_a_sound_card(streams: list[FakeStream]) -> None:
    async with talk("One two.") as t, SoundCardSink() as sink:
        async with Playback(t.session, sink) as playback:
            outcome = await playback.play(await t.session.generate_reply())
    assert outcome.end is PlaybackEnd.FINISHED
    assert len(streams[0].written) / 2 == outcome.heard_ms * 24


async def test_sound_cards_that_are_not_there(
    streams: list[FakeStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SoundCardError, match="'nowhere' cannot be used: No output device"):
        async with SoundCardSink("nowhere"):
            pass
    monkeypatch.setitem(__import__("sys").modules, "sounddevice", None)
    with pytest.raises(MissingExtra, match=r"trio-rt\[sound\]"):
        async with SoundCardSink():
            pass


# --- the one rule ------------------------------------------------------------------------------

HOW: dict[str, PlaybackEnd] = {
    "speech": PlaybackEnd.BARGE_IN,
    "stop": PlaybackEnd.STOPPED,
    "interrupt": PlaybackEnd.STOPPED,
    "cancel": PlaybackEnd.STOPPED,
    "leave": PlaybackEnd.STOPPED,
    "cancelled response": PlaybackEnd.CANCELLED,
}


async def interrupted_talk(
    words: list[int],
    delta_ms: int,
    frame_ms: int,
    pace: float | None,
    how: str,
    at_s: float,
    buffer_s: float | None,
) -> None:
    sink = Recorder() if buffer_s is None else Card(buffer_s)
    replies = ["word " * count + "." for count in words]
    server_vad = SessionConfig()
    async with talk(replies, delta_ms=delta_ms, pace=pace, config=server_vad) as t:
        async with t.session.subscribe(AudioDelta) as audio:
            async with Playback(t.session, sink, frame_ms=frame_ms) as playback:
                generation = await t.session.generate_reply()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(playback.play, generation)
                    await trio.sleep(at_s)
                    stopped_at = trio.current_time()
                    if how != "leave":
                        await HOW_TO[how](t, playback, nursery)
                        await playback.drain()
                    else:
                        nursery.cancel_scope.cancel()
            outcome = await playback.outcomes.receive()
            received: dict[str, bytes] = {}
            while len(audio):
                delta = audio.receive_nowait()
                received.setdefault(delta.message.id, b"")
                received[delta.message.id] += delta.frame.data
        check_account(outcome, sink, received)
        check_cuts(t, outcome, frame_ms)
        if outcome.interrupted:
            assert outcome.end is HOW[how]
            assert all(begun <= stopped_at + 1e-9 for begun in sink.begun)
        else:
            assert sink.data == b"".join(received.values())


async def _speech(t: Talk, playback: Playback, nursery: trio.Nursery) -> None:
    await t.session.push_audio(BUZZ)
    await trio.testing.wait_all_tasks_blocked()


async def _stop(t: Talk, playback: Playback, nursery: trio.Nursery) -> None:
    playback.stop()


async def _interrupt(t: Talk, playback: Playback, nursery: trio.Nursery) -> None:
    await playback.interrupt()


async def _cancel(t: Talk, playback: Playback, nursery: trio.Nursery) -> None:
    nursery.cancel_scope.cancel()


async def _cancel_response(t: Talk, playback: Playback, nursery: trio.Nursery) -> None:
    await t.session.interrupt()


HOW_TO: dict[str, Callable[[Talk, Playback, trio.Nursery], Any]] = {
    "speech": _speech,
    "stop": _stop,
    "interrupt": _interrupt,
    "cancel": _cancel,
    "cancelled response": _cancel_response,
}


def check_account(outcome: PlaybackOutcome, sink: Recorder, received: dict[str, bytes]) -> None:
    """Heard <= played <= received; in order; every sample given at most once."""
    for frame in sink.frames:
        assert frame.sample_count > 0
    everything = b"".join(received.values())
    assert everything.startswith(sink.data)
    dropped = sink.dropped if isinstance(sink, Card) else 0
    heard = sum(round(m.heard_ms * RATE / 1000) for m in outcome.messages)
    assert heard == len(sink.data) // 2 - dropped
    told = {m.item_id: m for m in outcome.messages}
    for item_id, data in received.items():
        message = told[item_id]
        assert message.received_ms == pytest.approx(len(data) / 2 * 1000 / RATE)
        assert 0 <= message.heard_ms <= message.received_ms
    # A message begins when the one before it is over.
    heard_whole = [m.heard_ms == m.received_ms for m in outcome.messages]
    begun = [m.heard_ms > 0 for m in outcome.messages]
    for index in range(1, len(begun)):
        assert heard_whole[index - 1] or not begun[index]


def check_cuts(t: Talk, outcome: PlaybackOutcome, frame_ms: int) -> None:
    """The server knows what was heard, and nothing that was heard to its end was touched."""
    expected: list[tuple[str, int]] = []
    for message in outcome.messages:
        at_server = t.at_server(message.item_id)
        if message.fate is MessageFate.WHOLE:
            assert message.heard_ms == message.received_ms == pytest.approx(at_server)
            continue
        expected.append((message.item_id, int(message.heard_ms)))
        if message.fate is MessageFate.DELETED:
            assert int(message.heard_ms) == 0
            assert at_server is None
        else:
            assert message.fate is MessageFate.CUT
            assert at_server is not None
            assert abs(at_server - message.heard_ms) <= min(1, frame_ms)
    assert t.cuts() == sorted(expected)


@settings(max_examples=80, deadline=None)
@given(
    words=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    delta_ms=st.sampled_from([10, 20, 33, 100, 250]),
    frame_ms=st.sampled_from([3, 7, 20]),
    pace=st.sampled_from([None, 0.6, 1.0, 3.0, 20.0]),
    how=st.sampled_from([*HOW_TO, "leave"]),
    at_s=st.floats(0.0001, 2.5),
    buffer_s=st.sampled_from([None, 0.01, 0.15]),
)
def test_what_is_heard_is_what_the_conversation_keeps(**case: Any) -> None:  # N8, G8, G13, G14
    async def main() -> None:
        await interrupted_talk(**case)

    trio.run(main, clock=MockClock(autojump_threshold=0))
