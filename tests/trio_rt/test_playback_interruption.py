"""`Playback` that ends early: speech, stops and cancels, and what is cut and deleted then."""

from __future__ import annotations

import pytest
import trio
from playing import BUZZ, FRAME_S, LONG, Recorder, beside_the_conversation, talk
from trio.testing import MockClock

from sansio_rt import AudioFrame, GenerationStatus, LocalProtocolError, SessionConfig, events
from trio_rt import Generation
from trio_rt._playback import MessageFate, Playback, PlaybackEnd, PlaybackOutcome


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
            t.session._protocol.send(events.ResponseCreate(response=beside_the_conversation()))
            t.session._protocol.push_audio(BUZZ)
            t.session._protocol.send(events.ResponseCreate(response=beside_the_conversation()))
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
