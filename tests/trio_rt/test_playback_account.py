"""The one rule of `Playback`: what is heard is what the conversation keeps, however it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from playing import BUZZ, FRAME_S, RATE, Card, Recorder, Talk, talk
from trio.testing import MockClock

from sansio_rt import AudioDelta, SessionConfig
from trio_rt._playback import MessageFate, Playback, PlaybackEnd, PlaybackOutcome
from trio_rt.testing import Cut, assert_session_works, cancel_at_every_step


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
