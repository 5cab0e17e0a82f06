"""`Playback`: what a sink is given, in which order, and what becomes of each message."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
from playing import BUZZ, LONG, MANUAL, Recorder, beside_the_conversation, talk
from trio.testing import MockClock

from sansio_rt import (
    AudioDelta,
    CallReady,
    ConfigurationError,
    Limits,
    LocalProtocolError,
    StreamOverflow,
    events,
)
from trio_rt._heard import Part
from trio_rt._playback import MessageFate, Playback, PlaybackEnd
from trio_rt.emulator import Call


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


async def test_a_crowd_is_refused_and_unread_outcomes_are_bounded(
    autojump_clock: MockClock,
) -> None:
    async with talk("One.") as t:
        async with Playback(t.session, Recorder()) as playback:
            generation = await t.session.generate_reply()
            for _ in range(100):
                await t.session.send(events.ResponseCreate(response=beside_the_conversation()))
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


@pytest.mark.parametrize("wrong", [{"frame_ms": 0}, {"settle_timeout_s": 0}])
async def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Playback(None, Recorder(), **wrong)  # type: ignore[arg-type]
