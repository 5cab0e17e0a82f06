"""`Playback` and sinks that fail, hang, buffer, or cannot be stopped."""

from __future__ import annotations

import pytest
import trio
from playing import LONG, RATE, Card, Recorder, talk
from trio.testing import MockClock

from sansio_rt import AudioFrame, LocalProtocolError, events
from trio_rt._playback import MessageFate, Playback, PlaybackEnd
from trio_rt._sinks import BufferedSink


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
