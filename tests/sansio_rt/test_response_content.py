"""What the events of a response bring, field by field (G6, G13, T6)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pair import Pair, of, only
from server_says import ARGUMENTS, PART, WHERE, created, done, message

from sansio_rt import (
    AudioDelta,
    CallReady,
    GenerationEnded,
    GenerationStarted,
    Limits,
    MessageEnded,
    MessageStarted,
    StrayEvent,
    TextDelta,
)

TRANSCRIPT = "response.output_audio_transcript."


def said(*content: dict[str, Any], item_id: str = "i1", **fields: Any) -> dict[str, Any]:
    return {"id": item_id, "type": "message", "role": "assistant", "content": content, **fields}


def call(item_id: str = "i1", call_id: str = "c1", **fields: Any) -> dict[str, Any]:
    known = {"id": item_id, "type": "function_call", "name": "look", "call_id": call_id}
    return {**known, "arguments": "", **fields}


def added(item: dict[str, Any], index: int = 0) -> bytes:
    kind = "response.output_item.added"
    return message(kind, response_id="r1", output_index=index, item=item)


def finished(item: dict[str, Any], index: int = 0) -> bytes:
    kind = "response.output_item.done"
    return message(kind, response_id="r1", output_index=index, item=item)


def told(*messages: bytes) -> list[Any]:
    """The events of a client that is told this after the beginning of a response."""
    pair = Pair().connect()
    return pair.inject(created(), *messages)


def deltas(found: list[Any]) -> list[tuple[str, int, bool, str]]:
    return [
        (delta.text, delta.content_index, delta.is_transcript, delta.event.type)
        for delta in of(TextDelta, found)
    ]


def test_a_piece_says_where_it_belongs_and_what_it_is() -> None:
    found = told(
        message("response.output_text.delta", **PART, delta="text"),
        message(TRANSCRIPT + "delta", **WHERE, content_index=1, delta="words"),
        message("response.output_audio.delta", **WHERE, content_index=1, delta="AAAAAAAA"),
        message("response.output_audio.delta", **WHERE, content_index=1, delta="AAAA"),
    )
    assert deltas(found) == [
        ("text", 0, False, "response.output_text.delta"),
        ("words", 1, True, "response.output_audio_transcript.delta"),
    ]
    (started,) = of(MessageStarted, found)
    pieces = of(AudioDelta, found)
    assert [(piece.content_index, piece.frame.start_sample) for piece in pieces] == [(1, 0), (1, 3)]
    assert all(piece.message is started.message for piece in pieces + of(TextDelta, found))
    assert started.message.received_samples == 4
    assert started.message.output_index == 0


@pytest.mark.parametrize(
    ("first", "modality"),
    [
        (message("response.output_text.delta", **PART, delta="x"), "text"),
        (message("response.output_text.done", **PART, text="x"), "text"),
        (message(TRANSCRIPT + "delta", **PART, delta="x"), "audio"),
        (message(TRANSCRIPT + "done", **PART, transcript="x"), "audio"),
        (message("response.output_audio.delta", **PART, delta="AAAA"), "audio"),
        (finished(said({"type": "output_text", "text": "x"})), "text"),
        (finished(said({"type": "output_audio", "transcript": "x"})), "audio"),
    ],
)
def test_whatever_brings_something_first_says_how_it_was_said(first: bytes, modality: str) -> None:
    found = told(added(said()), first)
    assert only(MessageStarted, found).message.modalities == {modality}


def test_a_text_that_no_delta_told_comes_with_the_event_that_told_it() -> None:
    kinds = ("response.output_text.done", TRANSCRIPT + "done")
    text, transcript = said(item_id="i1"), said(item_id="i2")
    found = told(
        added(text),
        added(transcript, 1),
        message(kinds[0], **PART, text="text"),
        message(kinds[1], response_id="r1", item_id="i2", output_index=1, content_index=0)[:-1]
        + b',"transcript":"words"}',
        finished(
            said({"type": "output_text", "text": ""}, {"type": "output_text", "text": "more"})
        ),
        done(output=[said({"type": "output_audio", "transcript": "last"}, item_id="i3")]),
    )
    assert deltas(found) == [
        ("text", 0, False, kinds[0]),
        ("words", 0, True, kinds[1]),
        ("more", 1, False, "response.output_item.done"),
        ("last", 0, True, "response.done"),
    ]
    assert [delta.message.id for delta in of(TextDelta, found)] == ["i1", "i2", "i1", "i3"]


def test_the_end_of_a_message_is_that_of_the_message_and_comes_once() -> None:
    found = told(
        added(said(item_id="i1")),
        added(said(item_id="i2"), 1),
        finished(said(item_id="i2"), 1),
        finished(said(item_id="i2"), 1),
        finished(said(item_id="i1")),
        done(),
    )
    ended = [event.message for event in of(MessageEnded, found)]
    assert [(one.id, one.output_index, one.done) for one in ended] == [
        ("i2", 1, True),
        ("i1", 0, True),
    ]
    assert ended == [event.message for event in reversed(of(MessageStarted, found))]


def test_items_are_kept_as_they_ended() -> None:
    found = told(
        added(said(item_id="i1")),
        added(call("i2"), 1),
        finished(said({"type": "output_text", "text": "x"}, item_id="i1", status="completed")),
        finished(call("i2", arguments="{}", status="completed"), 1),
        done(output=[said(), call("i3", "c3", arguments="[]")]),
    )
    items = only(GenerationEnded, found).generation.items
    assert {item_id: item.id for item_id, item in items.items()} == {
        item_id: item_id for item_id in ("i1", "i2", "i3")
    }
    assert items["i1"].status == "completed"
    assert items["i2"].arguments == "{}"


def test_a_call_is_whole_with_whatever_ends_it_first() -> None:  # T6
    found = told(
        added(call("i1", "c1")),
        added(call("i2", "c2"), 1),
        added(call("i3", "c3"), 2),
        added(call("i4", ""), 3),
        message(ARGUMENTS + "delta", **WHERE, call_id="c1", delta='{"a":'),
        message(ARGUMENTS + "delta", **WHERE, call_id="c1", delta="1}"),
        message(ARGUMENTS + "done", **WHERE, call_id="c1", arguments=""),
        finished(call("i2", "c2", arguments='{"b":2}', status="completed"), 1),
        finished(call("i3", "c3", arguments='{"c"', status="incomplete"), 2),
        finished(call("i4", "", arguments="{}", status="completed"), 3),
        done(),
    )
    calls = [event.call for event in of(CallReady, found)]
    assert [(one.item_id, one.call_id, one.name, one.arguments) for one in calls] == [
        ("i1", "c1", "look", '{"a":1}'),
        ("i2", "c2", "look", '{"b":2}'),
        ("i4", "i4", "look", "{}"),
    ]
    assert [one.answered for one in calls] == [False, False, False]
    cut_off = only(GenerationEnded, found).generation.calls["i3"]
    assert (cut_off.done, cut_off.answered) == (True, True)


def test_a_second_call_of_one_id_has_nothing_to_wait_for() -> None:  # T9
    found = told(
        added(call("i1", "c1")),
        added(call("i2", "c1"), 1),
        finished(call("i1", "c1", arguments="{}", status="completed")),
        finished(call("i2", "c1", arguments="{}", status="completed"), 1),
        done(),
    )
    assert only(CallReady, found).call.item_id == "i1"
    calls = only(GenerationEnded, found).generation.calls
    assert [(one.done, one.answered) for one in calls.values()] == [(True, False), (True, True)]


STRAYS = [
    (
        message("response.output_audio.delta", **PART, delta="AAAA"),
        "a delta of a response that is not running",
    ),
    (
        message("response.output_text.delta", **PART, delta="x"),
        "a delta of a response that is not running",
    ),
    (
        message(TRANSCRIPT + "delta", **PART, delta="x"),
        "a delta of a response that is not running",
    ),
    (
        message("response.output_text.done", **PART, text="x"),
        "the end of a text that was not begun",
    ),
    (
        message(TRANSCRIPT + "done", **PART, transcript="x"),
        "the end of a text that was not begun",
    ),
    (
        message(ARGUMENTS + "delta", **WHERE, call_id="c1", delta="x"),
        "arguments of a call that was not begun",
    ),
    (
        message(ARGUMENTS + "done", **WHERE, call_id="c1", arguments="x"),
        "the end of a call that was not begun",
    ),
    (added(said()), "an output item of a response that is not running"),
    (finished(said()), "the end of an output item of a response that is not running"),
]


@pytest.mark.parametrize(("stray", "reason"), STRAYS)
def test_what_fits_nothing_comes_out_as_it_came_with_the_reason(stray: bytes, reason: str) -> None:
    pair = Pair().connect()
    found = only(StrayEvent, pair.inject(stray))
    assert found.reason == reason
    assert found.event.type == json.loads(stray)["type"]


def test_nothing_of_a_response_that_nobody_wants_is_told() -> None:  # G9
    pair = Pair(client={"limits": Limits(max_text_recoveries=2)}).connect()
    pair.lose()
    written = message("response.output_text.delta", **PART, delta="written")
    pair.inject(created(), written)  # so that it is cancelled
    found = pair.inject(*(stray for stray, _ in STRAYS))
    assert found == []


def test_a_delta_behind_a_whole_text_says_so() -> None:
    found = told(
        message("response.output_text.delta", **PART, delta="x"),
        message("response.output_text.done", **PART, text="x"),
        message("response.output_text.delta", **PART, delta="y"),
    )
    stray = only(StrayEvent, found)
    assert (stray.reason, stray.event.delta) == ("a delta of a text that has ended", "y")


@pytest.mark.parametrize(
    ("first", "has_audio"),
    [
        (message("response.output_text.delta", **PART, delta="x"), False),
        (message("response.output_text.done", **PART, text="x"), False),
        (message("response.output_audio.delta", **PART, delta="AAAA"), True),
        (message(ARGUMENTS + "delta", **WHERE, call_id="c1", delta="x"), False),
    ],
)
def test_whatever_comes_first_is_the_first_token(first: bytes, has_audio: bool) -> None:  # M6
    pair = Pair().connect()
    pair.inject(created(), added(call() if b"arguments" in first else said()))
    pair.now += 3.0
    pair.inject(first)
    generation = only(GenerationStarted, pair.events).generation
    if b".delta" in first:
        assert generation.heard_at == pair.now
    pair.now += 1.0
    pair.inject(done())
    assert generation.metrics.first_token_s == 3.0
    assert generation.metrics.first_audio_s == (3.0 if has_audio else None)


def test_a_message_that_only_its_end_tells_of_has_its_place() -> None:  # G6, G13
    found = told(finished(said({"type": "output_text", "text": "x"}), 2))
    (started,) = of(MessageStarted, found)
    assert started.message.output_index == 2
