"""Response events to generations, in odd orders and shapes (G6, G13)."""

from __future__ import annotations

import pytest
from pair import MANUAL, SECOND, Pair, look, of, only
from server_says import ARGUMENTS, PART, WHERE, added, created, done, finished, item, message

from sansio_rt import (
    AudioDelta,
    AudioFormat,
    CallReady,
    GenerationEnded,
    GenerationOrigin,
    GenerationStarted,
    GenerationStatus,
    Limits,
    MessageEnded,
    MessageStarted,
    SessionClosed,
    StrayEvent,
    TextDelta,
    tool,
)
from sansio_rt._requests import METADATA_KEY


@pytest.mark.parametrize(
    "stray",
    [
        message("response.output_audio.delta", **PART, delta="AAAA"),
        message("response.output_text.delta", **PART, delta="x"),
        message("response.output_text.done", **PART, text="x"),
        message("response.output_audio_transcript.done", **PART, transcript="x"),
        message(ARGUMENTS + "delta", **WHERE, call_id="c1", delta="x"),
        message(ARGUMENTS + "done", **WHERE, call_id="c1", arguments="x"),
        added(item=item()),
        finished(item=item()),
        done(),
    ],
)
def test_what_belongs_to_no_running_response_is_told_and_dropped(stray: bytes) -> None:
    pair = Pair().connect()
    only(StrayEvent, pair.inject(stray))
    pair.inject(created(), done())
    only(StrayEvent, pair.inject(stray))  # not after its end, either
    assert len(of(GenerationStarted, pair.events)) == 1
    assert len(of(GenerationEnded, pair.events)) == 1


@pytest.mark.parametrize(
    "stray",
    [
        message("response.output_text.done", **PART, text="x"),
        message(ARGUMENTS + "delta", **WHERE, call_id="c1", delta="x"),
        message(ARGUMENTS + "done", **WHERE, call_id="c1", arguments="x"),
    ],
)
def test_an_end_inside_a_response_of_what_was_not_begun(stray: bytes) -> None:
    pair = Pair().connect()
    pair.inject(created())
    only(StrayEvent, pair.inject(stray))


def test_text_that_no_delta_told_comes_out_once() -> None:
    pair = Pair().connect()
    part = {"type": "output_text", "text": "one two"}
    pair.inject(
        created(),
        added(item=item()),
        message("response.output_text.delta", **PART, delta="one"),
        message("response.output_text.done", **PART, text="one two"),
        finished(item=item(content=[part])),
        done(output=[item(content=[part])]),
    )
    assert [event.text for event in of(TextDelta, pair.events)] == ["one", " two"]
    assert only(GenerationEnded, pair.events).generation.text == "one two"


def test_a_text_that_was_corrected_at_the_end_is_the_final_one() -> None:
    pair = Pair().connect()
    pair.inject(
        created(),
        message("response.output_audio_transcript.delta", **PART, delta="won"),
        message("response.output_audio_transcript.done", **PART, transcript="one"),
        done(),
    )
    assert [event.text for event in of(TextDelta, pair.events)] == ["won"]
    assert only(GenerationEnded, pair.events).generation.text == "one"


def test_items_that_only_the_end_tells_of_are_there() -> None:  # G6
    pair = Pair().connect()
    spoken = {"type": "output_audio", "transcript": "said"}
    call = item("function_call", id="i2", arguments="{}")
    other = {"id": "i3", "type": "mcp_call", "arguments": "{}", "name": "n", "server_label": "s"}
    pair.inject(created(), done(output=[item(content=[spoken]), call, other]))
    assert only(TextDelta, pair.events).text == "said"
    assert only(TextDelta, pair.events).is_transcript
    assert only(CallReady, pair.events).call.arguments == "{}"
    generation = only(GenerationEnded, pair.events).generation
    assert list(generation.items) == ["i1", "i2", "i3"]
    assert [type(event) for event in of(MessageEnded, pair.events)] == [MessageEnded]


def test_an_image_in_an_answer_is_no_text() -> None:
    pair = Pair().connect()
    parts = [{"type": "output_audio", "transcript": None}, {"type": "hologram", "x": 1}]
    pair.inject(created(), added(item=item()), finished(item=item(content=parts)), done())
    assert not of(TextDelta, pair.events)
    assert only(GenerationEnded, pair.events).generation.text == ""


def test_several_parts_of_a_message_do_not_mix() -> None:  # G13
    pair = Pair().connect()
    kind = "response.output_text.delta"
    pair.inject(
        created(),
        message(kind, **WHERE, content_index=0, delta="a"),
        message(kind, **WHERE, content_index=1, delta="b"),
        message(kind, **WHERE, content_index=0, delta="c"),
        message("response.output_text.done", **WHERE, content_index=1, text="B"),
        done(),
    )
    assert only(GenerationEnded, pair.events).generation.text == "ac B"


def test_several_messages_and_calls_of_a_response_have_their_own_positions() -> None:  # G13
    pair = Pair(client={"tools": [tool(look)]}).connect()
    pair.client.generate_reply()
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    for words in ("first", "second"):
        session.begin_message(response_id, pair.now)
        session.push_text(response_id, words, pair.now)
        session.push_audio(response_id, SECOND[:9_600], pair.now)
        session.end_message(response_id, pair.now)
        session.call_function(response_id, "look", "{}", pair.now)
    session.finish(response_id, pair.now)
    found = pair.run()
    messages = [event.message for event in of(MessageStarted, found)]
    assert [entry.text for entry in messages] == ["first", "second"]
    for entry in messages:
        frames = [event.frame for event in of(AudioDelta, found) if event.message is entry]
        assert frames[0].start_sample == 0
        assert frames[-1].end_ms == entry.received_ms == 200
        assert "done" in repr(entry)
    assert [entry.output_index for entry in messages] == [0, 2]
    calls = [event.call for event in of(CallReady, found)]
    assert calls[0].call_id != calls[1].call_id
    assert calls[0].call_id in repr(calls[0])
    cut = pair.client.truncate(messages[1].id, audio_end_ms=100)
    assert cut is not None
    pair.run()
    assert [entry.heard_ms for entry in pair.client.conversation if entry.role] == [None, 100]


def test_arguments_come_whole_whatever_the_deltas_told() -> None:
    pair = Pair().connect()
    pair.inject(
        created(),
        added(item=item("function_call")),
        message(ARGUMENTS + "delta", **WHERE, call_id="c1", delta='{"at'),
        message(ARGUMENTS + "done", **WHERE, call_id="c1", arguments='{"at": 1}'),
        message(ARGUMENTS + "delta", **WHERE, call_id="c1", delta="late"),
        message(ARGUMENTS + "done", **WHERE, call_id="c1", arguments="twice"),
        finished(item=item("function_call", arguments="again", status="completed")),
        done(),
    )
    assert only(CallReady, pair.events).call.arguments == '{"at": 1}'


def test_an_item_that_is_neither_message_nor_call_is_kept_as_it_is() -> None:  # C1
    pair = Pair().connect()
    dance = {"id": "i9", "type": "dance", "steps": 3}
    pair.inject(created(), added(item=dance), finished(item=dance), done())
    generation = only(GenerationEnded, pair.events).generation
    assert list(generation.items) == ["i9"]
    assert not generation.messages
    assert not generation.calls


def test_a_status_that_is_not_known_is_an_end_all_the_same() -> None:
    pair = Pair().connect()
    pair.inject(created(), done(status="exhausted"))
    assert only(GenerationEnded, pair.events).generation.status is GenerationStatus.COMPLETED


def test_a_response_whose_end_is_broken_ends_all_the_same() -> None:  # G5
    pair = Pair().connect()
    pair.inject(created())
    pair.inject(b'{"type":"response.done","response":{"id":"r1","output":7,"status":"failed"}}')
    assert only(GenerationEnded, pair.events).generation.status is GenerationStatus.FAILED
    assert pair.client.generate_reply()
    assert of(GenerationStarted, pair.inject())


def test_g711_answers_have_their_own_clock() -> None:  # A4
    pair = Pair(MANUAL.merge({"output_audio_format": AudioFormat.PCMA})).connect()
    pair.client.generate_reply()
    pair.run()
    found = pair.speak(seconds=0.5)
    assert sum(event.frame.sample_count for event in of(AudioDelta, found)) == 4_000
    assert of(AudioDelta, found)[0].frame.format is AudioFormat.PCMA
    assert only(GenerationEnded, found).generation.metrics.audio_ms == 500


def test_a_response_that_grows_without_end_ends_the_session() -> None:
    pair = Pair(client={"limits": Limits(max_response_bytes=10_000)}).connect()
    piece = message("response.output_text.delta", **PART, delta="x" * 1_000)
    pair.inject(created(), *[piece] * 20)
    assert "max_response_bytes" in str(only(SessionClosed, pair.events).error)
    assert only(GenerationEnded, pair.events).generation.status is GenerationStatus.LOST


def test_a_server_made_response_is_marked_as_such() -> None:  # G2
    pair = Pair().connect()
    pair.inject(created(metadata={"client_event_id": "nobody's"}), done())
    generation = only(GenerationStarted, pair.events).generation
    assert generation.origin is GenerationOrigin.SERVER
    assert not generation.requested
    assert "r1" in repr(generation)


def test_audio_before_its_item_is_heard() -> None:  # G6
    pair = Pair().connect()
    pair.inject(created(), message("response.output_audio.delta", **PART, delta="AAAAAA=="), done())
    assert only(AudioDelta, pair.events).frame.sample_count == 2
    assert only(GenerationEnded, pair.events).generation.metrics.audio_ms == pytest.approx(1 / 12)


def test_a_delta_after_the_whole_text_is_told_and_dropped() -> None:  # G6
    pair = Pair().connect()
    kind = "response.output_text.delta"
    pair.inject(
        created(),
        message(kind, **PART, delta="one"),
        message("response.output_text.done", **PART, text="one"),
        message(kind, **PART, delta="one"),
        done(),
    )
    assert "has ended" in only(StrayEvent, pair.events).reason
    assert only(GenerationEnded, pair.events).generation.text == "one"


def test_an_item_that_ends_twice_ends_once() -> None:  # G6
    pair = Pair().connect()
    pair.inject(created(), added(item=item()), finished(item=item()), finished(item=item()), done())
    assert only(MessageEnded, pair.events)


@pytest.mark.parametrize("error", [{}, {"error": None}])
def test_a_response_that_ended_without_an_error_has_none(error: dict[str, None]) -> None:  # G5
    pair = Pair().connect()
    details = {"type": "cancelled", "reason": "turn_detected", **error}
    pair.inject(created(), done(status="cancelled", status_details=details))
    generation = only(GenerationEnded, pair.events).generation
    assert (generation.reason, generation.error) == ("turn_detected", None)


def test_the_end_of_a_response_that_has_ended_begins_no_other() -> None:  # G6
    pair = Pair().connect()
    pair.inject(created(), done())
    pair.lose()
    command = pair.client.generate_reply()
    pair.run()
    only(StrayEvent, pair.inject(done(metadata={METADATA_KEY: command.event_id})))
    assert command.outcome is None
    assert len(of(GenerationStarted, pair.events)) == 1


def test_a_message_that_only_the_end_tells_has_its_place_in_the_response() -> None:  # G6
    pair = Pair().connect()
    part = {"type": "output_audio", "transcript": "words"}
    output = [item(id=item_id, content=[part]) for item_id in ("i1", "i2")]
    pair.inject(created(), done(output=output))
    started = [told.message for told in of(MessageStarted, pair.events)]
    assert [(each.id, each.output_index) for each in started] == [("i1", 0), ("i2", 1)]
