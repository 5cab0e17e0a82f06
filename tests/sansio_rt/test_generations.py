"""A response as it grows: its words, its calls, its items, and how much it may hold."""

from __future__ import annotations

from typing import Any

import pytest

from sansio_rt import (
    GenerationOrigin,
    GenerationStatus,
    InputAudioCleared,
    Limits,
    RemoteProtocolError,
    events,
)
from sansio_rt._conversation import size_of
from sansio_rt._generations import GeneratedCall, GeneratedMessage, Generation
from sansio_rt._turn_clock import TurnClock


def generation(max_bytes: int = 1_000_000, **fields: Any) -> Generation:
    return Generation(
        "r1",
        origin=GenerationOrigin.CALLER,
        in_conversation=True,
        metadata={},
        created_at=1.0,
        requested_at=0.5,
        audio_rate=24_000,
        limits=Limits(max_response_bytes=max_bytes),
        **fields,
    )


def test_what_has_just_begun_has_nothing() -> None:
    whole = generation()
    message = GeneratedMessage("i1", whole, 0)
    call = GeneratedCall("i2", whole, "look", "c1")
    assert (message.done, message.text, message.received_samples) == (False, "", 0)
    assert (call.done, call.answered, call.arguments) == (False, False, "")
    assert (whole.ended, whole.text, whole.status) == (False, "", GenerationStatus.IN_PROGRESS)
    assert (whole.first_token_at, whole.first_audio_at, whole.ended_at) == (None, None, None)
    assert (whole.reason, whole.error, whole.recoveries) == ("", None, 0)
    assert repr(whole) == "<Generation r1 in_progress (caller)>"


def test_a_final_text_tells_what_the_deltas_did_not() -> None:
    message = GeneratedMessage("i1", generation(), 0)
    message.add_text(0, "one ")
    message.add_text(0, "two")
    message.add_text(1, "other")
    assert message.text == "one two other"
    assert message.finish_text(0, "one two three") == " three"
    assert message.finish_text(1, "corrected words") == ""
    assert message.finish_text(2, "new") == "new"
    assert message.text == "one two three corrected words new"
    assert [message.is_whole(index) for index in range(4)] == [True, True, True, False]


def test_arguments_grow_piece_by_piece() -> None:
    call = GeneratedCall("i1", generation(), "look", "c1")
    for piece in ('{"a"', ":", " 1}"):
        call.add_arguments(piece)
    assert call.arguments == '{"a": 1}'
    assert repr(call) == '<GeneratedCall c1 look({"a": 1})>'


def test_items_are_kept_without_their_audio() -> None:
    whole = generation()
    spoken = events.Message(role="assistant", content=[events.OutputAudio(audio="AAAA")], id="i1")
    whole.keep_item("i1", spoken)
    silent = events.Message(role="assistant", content=[events.OutputAudio()], id="i1")
    assert whole.items == {"i1": silent}
    assert whole._held_bytes == size_of(silent)


def test_a_response_holds_what_the_limit_says_and_no_byte_more() -> None:
    whole = generation(max_bytes=10)
    whole.hold(10)
    with pytest.raises(RemoteProtocolError, match=r"10 bytes \(Limits\.max_response_bytes\)$"):
        whole.hold(1)


@pytest.mark.parametrize("length", [1_000, 5_000])
def test_pieces_count_with_their_length(length: int) -> None:
    whole = generation()
    call = GeneratedCall("i1", whole, "look", "c1")
    message = GeneratedMessage("i2", whole, 0)
    before = whole._held_bytes
    call.add_arguments("x" * length)
    assert whole._held_bytes >= before + length
    before = whole._held_bytes
    message.add_text(0, "x" * length)
    assert whole._held_bytes >= before + length
    before = whole._held_bytes
    message.finish_text(0, "x" * length)
    assert whole._held_bytes >= before + length


def test_first_times_are_those_of_the_first() -> None:
    whole = generation()
    for now in (2.0, 3.0):
        whole.note_token(now)
        whole.note_audio(now + 0.5)
    assert (whole.first_token_at, whole.first_audio_at) == (2.0, 2.5)
    whole.end(GenerationStatus.COMPLETED, 5.0, reason="done")
    assert (whole.ended, whole.ended_at, whole.reason) == (True, 5.0, "done")
    assert whole.metrics.duration_s == 4.5


def test_who_tells_of_playing_once_is_waited_for_from_then_on() -> None:  # M5
    clock = TurnClock()
    assert clock.playback is False
    assert clock.played("nobody's", 1.0) == []
    assert clock.playback is True


def test_nothing_was_said_and_nothing_is_taken_back() -> None:  # M5, A3
    assert TurnClock().handle(InputAudioCleared()) == []


def test_metrics_begin_with_the_request_and_end_with_every_time() -> None:  # M1
    whole = generation()
    begun = whole.metrics
    assert (begun.response_id, begun.requested_at, begun.created_at) == ("r1", 0.5, 1.0)
    assert begun.status is GenerationStatus.IN_PROGRESS
    assert (whole.reason, whole.error, whole.recoveries) == ("", None, 0)
    whole.note_token(2.0)
    whole.note_audio(3.0)
    whole.end(GenerationStatus.CANCELLED, 4.0)
    assert (whole.reason, whole.error) == ("", None)
    ended = whole.metrics
    assert (ended.first_token_s, ended.first_audio_s, ended.duration_s) == (1.5, 2.5, 3.5)
    assert ended.cancelled
