"""Items as history: what was said, as far as it was heard (C6, G14)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from sansio_rt import events
from sansio_rt._past import (
    as_history,
    heard_words,
    is_heard_only,
    is_unchanged,
    place_of_speech,
    same_content,
    with_speech,
)


@given(
    st.lists(st.text("abc", min_size=1), max_size=12).map(" ".join),
    st.floats(0, 5_000),
    st.floats(0, 5_000),
)
def test_heard_words_are_whole_words_from_the_beginning_and_no_more_than_their_share(
    text: str, heard_ms: float, received_ms: float
) -> None:
    heard = heard_words(text, heard_ms, received_ms)
    assert text.startswith(heard)
    assert not heard or text[len(heard) : len(heard) + 1] in ("", " ")
    if heard and heard_ms < received_ms:
        words = text.split(" ")
        assert len(heard.split(" ")) <= len(words) * heard_ms / received_ms


def test_all_of_it_was_heard_where_nothing_says_otherwise() -> None:
    assert heard_words("one two", 100, 0) == "one two"
    assert heard_words("one two", 100, 100) == "one two"
    assert heard_words("one two", 99, 100) == "one"
    assert heard_words("one two", 0, 100) == ""


def test_what_was_heard_is_how_the_text_begins_whatever_stands_between_words() -> None:
    assert heard_words("one\ntwo  three four", 75, 100) == "one\ntwo  three"


@pytest.mark.parametrize(
    ("role", "part", "expected"),
    [
        ("user", events.InputAudio(transcript="said"), events.InputText(text="said")),
        ("user", events.InputAudio(), events.InputText(text="")),
        ("user", events.InputAudio(audio="AAAA"), events.InputAudio(audio="AAAA")),
        ("assistant", events.OutputAudio(transcript="said"), events.OutputText(text="said")),
        ("assistant", events.OutputAudio(), events.OutputText(text="")),
        ("assistant", events.AudioPart(transcript="said"), events.OutputText(text="said")),
        ("assistant", events.AudioPart(), events.OutputText(text="")),
        ("assistant", events.TextPart(text="said"), events.OutputText(text="said")),
        ("user", events.TextPart(text="said"), events.InputText(text="said")),
        ("assistant", events.OutputText(text="said"), events.OutputText(text="said")),
        ("user", events.InputImage(image_url="data:,"), events.InputImage(image_url="data:,")),
    ],
)
def test_a_part_as_a_client_can_say_it_again(
    role: str, part: events.Part, expected: events.Part
) -> None:
    item = events.Message(role=role, content=[part], id="i1", status="completed")
    assert as_history(item) == events.Message(role=role, content=[expected], id="i1")


def test_a_cut_answer_counts_as_far_as_it_was_heard() -> None:
    item = events.Message(
        role="assistant", content=[events.OutputAudio(transcript="one two")], id="i1"
    )
    heard = as_history(item, "one")
    assert heard == events.Message(
        role="assistant", content=[events.OutputText(text="one")], id="i1"
    )
    asked = events.Message(role="user", content=[events.InputText(text="one two")], id="i2")
    assert as_history(asked, "one") == asked


def test_calls_outputs_and_other_items() -> None:
    call = events.FunctionCall(
        name="f", call_id="c1", arguments="{}", id="i1", status="completed", object="realtime.item"
    )
    history = as_history(call)
    assert isinstance(history, events.FunctionCall)
    assert (history.name, history.call_id, history.arguments, history.id) == ("f", "c1", "{}", "i1")
    assert history.status is UNSET
    assert same_content(call, history)
    output = events.FunctionCallOutput(call_id="c1", output="7", id="i2", status="completed")
    assert as_history(output) == events.FunctionCallOutput(call_id="c1", output="7", id="i2")
    unknown = events.UnknownItem(type="dance", data={"id": "i3"})
    assert as_history(unknown) is unknown
    assert same_content(unknown, events.UnknownItem(type="dance", data={"id": "i3"}))


def test_content_is_the_same_whatever_carries_the_words() -> None:
    def message(role: str, *parts: events.Part) -> events.Message:
        return events.Message(role=role, content=list(parts), id="i1")

    spoken = message("assistant", events.OutputAudio(transcript="words"))
    assert same_content(spoken, message("assistant", events.OutputText(text="words")))
    assert same_content(spoken, message("assistant", events.AudioPart(transcript="words")))
    assert not same_content(spoken, message("assistant", events.OutputText(text="others")))
    assert not same_content(spoken, message("user", events.InputText(text="words")))
    silent = message("user", events.InputAudio(audio="AAAA"))
    assert same_content(silent, message("user", events.InputAudio(audio="AAAA")))
    assert not same_content(silent, message("user", events.InputAudio(audio="BBBB")))
    image = message("user", events.InputImage(image_url="data:,1"))
    assert same_content(image, message("user", events.InputImage(image_url="data:,1")))
    assert not same_content(image, message("user", events.InputImage(image_url="data:,2")))
    output = events.FunctionCallOutput(call_id="c1", output="7", id="i1")
    assert not same_content(output, events.FunctionCallOutput(call_id="c1", output="8", id="i1"))
    assert not same_content(output, spoken)


def test_a_turn_whose_words_came_since_is_unchanged_and_nothing_else_is() -> None:  # C5
    def message(*parts: events.Part, role: str = "user") -> events.Message:
        return events.Message(role=role, content=list(parts), id="i1")

    note = events.InputText(text="note")
    untold = events.InputAudio(transcript=None)
    told = message(events.InputAudio(transcript="words"), note)
    assert is_unchanged(told, message(untold, note))
    assert is_unchanged(told, told)
    assert is_unchanged(message(events.InputText(text="words")), message(untold))
    assert not is_unchanged(message(untold, note), told)
    assert not is_unchanged(told, message(untold))
    assert not is_unchanged(told, message(untold, events.InputText(text="other")))
    assert not is_unchanged(told, message(events.InputAudio(transcript="others"), note))
    assert not is_unchanged(told, message(events.InputAudio(audio="AAAA"), note))
    assert not is_unchanged(told, message(untold, note, role="system"))
    output = events.FunctionCallOutput(call_id="c1", output="7", id="i1")
    assert not is_unchanged(output, message(untold))
    assert not is_unchanged(told, output)


@pytest.mark.parametrize(
    "item",
    [
        events.FunctionCall(name="f", call_id="c", arguments="{}", id="i"),
        events.FunctionCallOutput(call_id="c", output="6", id="i"),
    ],
)
def test_the_servers_own_fields_are_left_out(item: events.Item) -> None:
    told = msgspec.structs.replace(item, object="realtime.item", status="completed")
    assert as_history(told) == item
    assert same_content(told, item)


def test_other_items_are_the_same_only_as_a_whole() -> None:
    dance = events.UnknownItem(type="dance", data={"id": "i", "steps": 1})
    assert same_content(dance, events.UnknownItem(type="dance", data={"id": "i", "steps": 1}))
    assert not same_content(dance, events.UnknownItem(type="dance", data={"id": "i", "steps": 2}))
    output = events.FunctionCallOutput(call_id="c", output="6", id="i")
    assert not same_content(output, events.FunctionCallOutput(call_id="c", output="7", id="i"))
    assert not same_content(output, events.FunctionCallOutput(call_id="d", output="6", id="i"))


@pytest.mark.parametrize(
    ("part", "only"),
    [
        (events.InputAudio(), True),
        (events.InputAudio(transcript=None), True),
        (events.InputAudio(transcript=""), True),
        (events.InputAudio(transcript="words"), False),
        (events.InputAudio(audio="AQA="), False),
        (events.InputText(text="words"), False),
    ],
)
def test_speech_without_words_and_sound_is_the_servers_only(part: events.Part, only: bool) -> None:
    text = events.InputText(text="and")
    item = events.Message(role="user", content=[text, part], id="i")
    assert is_heard_only(item) is only
    has_sound = isinstance(part, events.InputAudio) and part.audio == "AQA="
    unsure = isinstance(part, events.InputAudio) and not has_sound
    assert is_heard_only(item, words_count=False) is unsure


def turn(*parts: events.Part) -> events.Message:
    return events.Message(role="user", content=list(parts), id="i")


SPEECH, WORDS = events.InputAudio(), events.InputText(text="words")
CALL = events.FunctionCall(name="look", arguments="{}", call_id="c", id="i")


@pytest.mark.parametrize(
    ("wanted", "known", "comes"),
    [
        (turn(SPEECH, WORDS), turn(events.InputAudio(transcript="a")), ["a", "words"]),
        (turn(WORDS, SPEECH), turn(events.InputText(text="a")), ["words", "a"]),
        (turn(SPEECH, SPEECH), turn(events.InputText(text="a")), ["a", ""]),
        (turn(SPEECH, WORDS), turn(), ["", "words"]),
        (turn(SPEECH), turn(events.InputText(text="a"), WORDS), ["a"]),
        (turn(SPEECH), turn(*(events.InputAudio(transcript=words) for words in "ab")), ["a"]),
        (turn(WORDS), turn(events.InputText(text="a")), ["words"]),
    ],
)
def test_an_edit_has_what_is_known_of_the_speech_that_it_has_a_place_for(
    wanted: events.Message, known: events.Message, comes: list[str]
) -> None:
    item = with_speech(wanted, known)
    assert isinstance(item, events.Message)
    said = [getattr(part, "text", None) or getattr(part, "transcript", "") for part in item.content]
    assert [words or "" for words in said] == comes


def test_an_item_of_another_kind_is_unchanged_where_it_is_the_same() -> None:
    assert is_unchanged(CALL, msgspec.structs.replace(CALL, status="completed"))
    assert not is_unchanged(CALL, msgspec.structs.replace(CALL, arguments="[]"))


def test_what_is_no_message_has_no_speech() -> None:
    assert with_speech(CALL, turn(SPEECH)) is CALL
    assert with_speech(turn(SPEECH), CALL) == turn(SPEECH)
    assert place_of_speech(CALL, turn(SPEECH)) is None
    assert place_of_speech(turn(SPEECH), CALL) is None


def test_speech_is_told_from_other_speech_by_its_words() -> None:
    known = turn(events.InputAudio(transcript="Hel"))
    assert place_of_speech(turn(WORDS, events.InputAudio(transcript="Hel")), known) == 1
    assert place_of_speech(turn(events.InputAudio(transcript="Hello")), known) is None
    assert place_of_speech(turn(events.InputAudio(transcript="Hel", audio="AQA=")), known) is None
    assert place_of_speech(turn(WORDS), known) is None
