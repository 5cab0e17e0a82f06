"""The mirror: the chain's order, forms that only move forward, what was heard (C2, C8, C9, G14)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from sansio_rt import Limits, RemoteProtocolError, TranscriptState, events
from sansio_rt._conversation import (
    Conversation,
    Placement,
    item_id_of,
    size_of,
    without_audio,
)


def user(item_id: str, *parts: events.Part, status: str = "completed") -> events.Message:
    return events.Message(role="user", content=list(parts), id=item_id, status=status)


def filled(*ids: str) -> Conversation:
    conversation = Conversation()
    for item_id in ids:
        conversation.put(user(item_id))
    return conversation


def backwards(conversation: Conversation) -> list[str]:
    entries = list(conversation)
    found = []
    entry = entries[-1] if entries else None
    while entry is not None:
        found.append(entry.id)
        entry = entry.before
    return found


@pytest.mark.parametrize(
    ("previous", "order", "placement"),
    [
        (None, ["new", "a", "b"], Placement.INSERTED),
        (UNSET, ["a", "b", "new"], Placement.INSERTED),
        ("a", ["a", "new", "b"], Placement.INSERTED),
        ("b", ["a", "b", "new"], Placement.INSERTED),
        ("unknown", ["a", "b", "new"], Placement.ORPHANED),
    ],
)
def test_an_item_comes_where_the_server_says(
    previous: Any, order: list[str], placement: Placement
) -> None:  # C2, C8
    conversation = filled("a", "b")
    assert conversation.put(user("new"), previous) is placement
    assert conversation.ids() == order
    assert backwards(conversation) == order[::-1]


@pytest.mark.parametrize("gone", ["a", "b", "c"])
def test_an_item_goes_from_any_place(gone: str) -> None:
    conversation = filled("a", "b", "c")
    entry = conversation.remove(gone)
    assert entry is not None
    assert entry.id == gone
    rest = [item_id for item_id in "abc" if item_id != gone]
    assert conversation.ids() == rest
    assert backwards(conversation) == rest[::-1]
    assert gone not in conversation
    assert conversation.get(gone) is None
    assert conversation.remove(gone) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7), st.integers(-1, 7)), max_size=40))
def test_any_edits_are_those_of_a_list(steps: list[tuple[bool, int, int]]) -> None:
    conversation, model = Conversation(), list[str]()
    for adds, item, previous in steps:
        item_id, previous_id = f"i{item}", None if previous < 0 else f"i{previous}"
        if not adds:
            assert (conversation.remove(item_id) is not None) is (item_id in model)
            if item_id in model:
                model.remove(item_id)
        elif item_id in model:
            assert conversation.put(user(item_id), previous_id) is Placement.UPDATED
        else:
            conversation.put(user(item_id), previous_id)
            if previous_id is None:
                model.insert(0, item_id)
            elif previous_id in model:
                model.insert(model.index(previous_id) + 1, item_id)
            else:
                model.append(item_id)
        assert conversation.ids() == model
        assert backwards(conversation) == model[::-1]
        assert len(conversation) == len(model)
    conversation.clear()
    assert conversation.ids() == []
    assert conversation.put(user("again")) is Placement.INSERTED


def test_iterating_survives_the_removal_of_what_it_has_given() -> None:
    conversation = filled("a", "b", "c")
    for entry in conversation:
        conversation.remove(entry.id)
    assert len(conversation) == 0


def test_the_text_of_every_kind_of_item() -> None:
    items: dict[str, events.Item] = {
        "one two": user("m", events.InputText(text="one"), events.InputAudio(transcript="two")),
        "": user("e", events.InputImage(image_url="data:,"), events.InputAudio()),
        "f({})": events.FunctionCall(name="f", call_id="c", arguments="{}", id="f"),
        "7": events.FunctionCallOutput(call_id="c", output="7", id="o"),
    }
    conversation = Conversation()
    for text, item in items.items():
        conversation.put(item)
        entry = conversation.get(str(item.id))
        assert entry is not None
        assert entry.text == entry.heard_text == text
        assert entry.id in repr(entry)
    conversation.put(events.UnknownItem(type="dance", data={"id": "d"}))
    assert [(entry.role, entry.text) for entry in conversation][-1] == ("", "")
    assert conversation.get("m").role == "user"  # type: ignore[union-attr]


def test_status_only_moves_forward() -> None:  # C9
    conversation = Conversation()
    words = events.InputText(text="words")
    conversation.put(user("a", words, status="completed"))
    conversation.put(user("a", status="in_progress"))
    (item,) = conversation.items()
    assert item == user("a", words)
    conversation.put(user("a", events.InputText(text="newer"), status="incomplete"))
    assert [entry.text for entry in conversation] == ["newer"]


def test_what_was_confirmed_is_not_dropped() -> None:  # C9
    conversation = Conversation()
    conversation.put(user("a", events.InputAudio(transcript="said"), events.InputText(text="x")))
    conversation.put(user("a", events.InputAudio(), events.InputText(text="y")))
    assert [entry.text for entry in conversation] == ["said y"]
    conversation.put(user("a"))
    assert [entry.text for entry in conversation] == ["said y"]
    conversation.put(user("a", events.InputAudio(transcript="corrected")))
    assert [entry.text for entry in conversation] == ["corrected"]
    conversation.put(user("a", events.InputText(text="typed")))
    assert [entry.text for entry in conversation] == ["typed"]


def test_forms_of_other_items_are_taken_as_they_come() -> None:
    conversation = Conversation()
    conversation.put(events.FunctionCall(name="f", call_id="c", arguments="", id="f"))
    conversation.put(events.FunctionCall(name="f", call_id="c", arguments="{}", id="f"))
    dance = events.UnknownItem(type="dance", data={"id": "d", "steps": 1})
    conversation.put(dance)
    conversation.put(events.UnknownItem(type="dance", data={"id": "d", "steps": 2}))
    assert next(iter(conversation)).text == "f({})"
    assert conversation.items()[1] == events.UnknownItem(type="dance", data={"id": "d", "steps": 2})


def test_no_audio_is_kept() -> None:
    conversation = Conversation()
    loud = events.InputAudio(audio="AAAA" * 100, transcript="said")
    conversation.put(user("a", loud, events.InputText(text="x")))
    (item,) = conversation.items()
    assert item == user("a", events.InputAudio(transcript="said"), events.InputText(text="x"))
    call = events.FunctionCall(name="f", call_id="c", arguments="{}")
    assert without_audio(call) is call


def test_a_transcript_is_a_late_attribute() -> None:  # I2, C8
    conversation = Conversation()
    conversation.put(user("a", events.InputText(text="x"), events.InputAudio()))
    partial = TranscriptState.PARTIAL
    assert conversation.set_transcript("a", 1, "sa", partial) is conversation.get("a")
    assert [(e.text, e.transcript_state) for e in conversation] == [("x sa", partial)]
    conversation.set_transcript("a", 1, "said", TranscriptState.COMPLETED)
    assert [e.text for e in conversation] == ["x said"]
    conversation.set_transcript("a", 0, "for a text part", TranscriptState.COMPLETED)
    for index in (7, -1, -(2**40)):
        conversation.set_transcript("a", index, "for no part", TranscriptState.FAILED)
    assert [e.text for e in conversation] == ["x said"]
    assert conversation.set_transcript("nobody", 0, "said", partial) is None
    conversation.put(events.FunctionCall(name="f", call_id="c", arguments="", id="f"))
    assert conversation.set_transcript("f", 0, "said", partial) is None


def test_history_is_what_was_heard() -> None:  # G14
    conversation = Conversation()
    spoken = events.OutputAudio(transcript="one two three four")
    conversation.put(events.Message(role="assistant", content=[spoken], id="a"))
    entry = conversation.get("a")
    assert entry is not None
    entry.received_ms = 1000.0
    assert conversation.truncate("a", 500) is entry
    assert entry.heard_text == "one two"
    assert entry.text == "one two three four"
    assert conversation.history() == [
        events.Message(role="assistant", content=[events.OutputText(text="one two")], id="a")
    ]
    assert conversation.truncate("nobody", 500) is None


def test_words_are_written_only_where_none_are_known() -> None:  # G10
    conversation = Conversation()
    conversation.put(events.Message(role="assistant", content=[], id="spoken"))
    conversation.put(events.Message(role="assistant", content=[], id="written"))
    conversation.set_words("spoken", "said", spoken=True)
    conversation.set_words("written", "typed", spoken=False)
    conversation.set_words("written", "other words", spoken=False)
    spoken, written = conversation.items()
    assert spoken.content == [events.OutputAudio(transcript="said")]  # type: ignore[union-attr]
    assert written.content == [events.OutputText(text="typed")]  # type: ignore[union-attr]
    assert conversation.set_words("nobody", "said", spoken=True) is None
    conversation.put(events.FunctionCallOutput(call_id="c", output="", id="o"))
    conversation.set_words("o", "said", spoken=True)
    assert conversation.get("o").text == ""  # type: ignore[union-attr]


def test_the_number_of_items_is_bounded() -> None:
    conversation = Conversation(Limits(max_items=2))
    conversation.put(user("a"))
    conversation.put(user("b"))
    conversation.put(user("b"))
    with pytest.raises(RemoteProtocolError, match="max_items"):
        conversation.put(user("c"))
    assert conversation.ids() == ["a", "b"]
    conversation.remove("a")
    conversation.put(user("c"))


def test_what_the_items_hold_is_bounded() -> None:
    limit = 4 * size_of(user("a"))
    conversation = Conversation(Limits(max_conversation_bytes=limit))
    for _ in range(100):  # what goes makes room
        conversation.put(user("a", events.InputText(text="x" * 500)))
        conversation.remove("a")
    conversation.put(user("b", events.InputAudio()))
    for _ in range(100):  # a newer form takes the place of the older one
        conversation.put(user("b", events.InputAudio()))
        conversation.set_transcript("b", 0, "x" * 500, TranscriptState.PARTIAL)
    with pytest.raises(RemoteProtocolError, match="max_conversation_bytes"):
        conversation.set_transcript("b", 0, "x" * limit, TranscriptState.PARTIAL)
    conversation.clear()
    with pytest.raises(RemoteProtocolError, match="max_conversation_bytes"):
        conversation.put(user("c", events.InputText(text="x" * limit)))


def check_sizes(conversation: Conversation) -> None:
    """What each item counts for, give or take an object, is what it takes, and they add up."""
    for entry in conversation:
        assert abs(entry.size_bytes - size_of(entry.item)) <= 64  # the JSON around late words
    assert conversation._bytes == sum(entry.size_bytes for entry in conversation)


def test_what_each_item_counts_for_follows_its_forms() -> None:
    conversation = Conversation()
    check_sizes(conversation)
    for item_id in ("a", "b", "c"):
        conversation.put(user(item_id, events.InputAudio()))
        check_sizes(conversation)
    for words in ("x" * 300, "x" * 500, "y"):
        conversation.set_transcript("a", 0, words, TranscriptState.PARTIAL)
        check_sizes(conversation)
    conversation.put(user("b", events.InputText(text="x" * 400)))
    check_sizes(conversation)
    conversation.put(events.Message(role="assistant", content=[], id="said"))
    conversation.set_words("said", "x" * 600, spoken=True)
    check_sizes(conversation)
    conversation.put(events.FunctionCall(name="f", call_id="c", arguments="", id="f"))
    conversation.finish_call("f", "x" * 600)
    check_sizes(conversation)
    conversation.remove("b")
    check_sizes(conversation)
    conversation.clear()
    assert conversation._bytes == 0


def test_items_may_hold_what_the_limit_says_and_no_byte_more() -> None:
    item = user("a", events.InputText(text="words"))
    Conversation(Limits(max_conversation_bytes=size_of(item))).put(item)
    with pytest.raises(RemoteProtocolError, match=r" \(Limits\.max_conversation_bytes\)$"):
        Conversation(Limits(max_conversation_bytes=size_of(item) - 1)).put(item)
    spoken = user("a", events.InputAudio())
    conversation = Conversation(Limits(max_conversation_bytes=size_of(spoken) + 5))
    conversation.put(spoken)
    conversation.set_transcript("a", 0, "words", TranscriptState.PARTIAL)
    with pytest.raises(RemoteProtocolError, match=r" \(Limits\.max_conversation_bytes\)$"):
        conversation.set_transcript("a", 0, "words!", TranscriptState.PARTIAL)


def test_a_new_item_has_nothing_but_what_the_server_told() -> None:
    (entry,) = filled("a")
    assert entry.transcript_state is TranscriptState.NONE
    assert (entry.received_ms, entry.heard_ms) == (0.0, None)
    assert (entry.before, entry.after) == (None, None)


def test_an_item_shows_who_said_what() -> None:
    conversation = Conversation()
    conversation.put(user("a", events.InputText(text="Hello")))
    conversation.put(events.FunctionCallOutput(call_id="c", output="6", id="o"))
    assert [repr(entry) for entry in conversation] == [
        "<ConversationItem a user 'Hello'>",
        "<ConversationItem o FunctionCallOutput '6'>",
    ]


def test_words_of_a_message_that_is_complete_stay_away() -> None:
    conversation = Conversation()
    conversation.put(events.Message(role="assistant", content=[], id="a", status="completed"))
    conversation.set_words("a", "said", spoken=True)
    assert [entry.text for entry in conversation] == [""]


def test_a_form_of_another_kind_takes_the_place_of_the_one_before() -> None:  # C9
    conversation = Conversation()
    known = events.UnknownItem(type="dance", data={"id": "a", "status": "completed"})
    conversation.put(known)
    told = user("a", events.InputText(text="x"), status="in_progress")
    conversation.put(told)
    assert conversation.items() == [told]
    output = events.FunctionCallOutput(call_id="c", output="", id="a", status="completed")
    conversation.put(output)
    assert conversation.items() == [output]


def test_an_item_without_an_id_has_an_empty_one() -> None:
    assert item_id_of(events.Message(role="user", content=[])) == ""
    assert item_id_of(user("a")) == "a"


def test_what_was_heard_to_its_end_is_history_as_it_was_said() -> None:  # G14
    conversation = Conversation()
    parts = [events.OutputAudio(transcript="one two"), events.OutputText(text="three")]
    conversation.put(events.Message(role="assistant", content=parts, id="a"))
    (item,) = conversation.history()
    assert isinstance(item, events.Message)
    assert item.content == [events.OutputText(text="one two"), events.OutputText(text="three")]


def test_what_is_there_is_not_announced_and_of_too_many_the_oldest_is_forgotten() -> None:
    conversation = filled("a")
    conversation.announce("a", None)
    assert not conversation.expects_items
    for number in range(2_000):
        conversation.announce(f"i{number}", "a")
    announced = conversation.take_announced()
    assert 0 < len(announced) < 2_000
    assert "i0" not in announced
    assert announced["i1999"] == "a"
    assert not conversation.expects_items


def test_a_call_that_is_whole_is_complete() -> None:
    conversation = Conversation()
    conversation.put(events.FunctionCall(name="f", call_id="c", arguments="", id="f"))
    conversation.finish_call("f", "{}")
    conversation.finish_call("nobody", "{}")
    done = events.FunctionCall(name="f", call_id="c", arguments="{}", id="f", status="completed")
    assert conversation.items() == [done]
    conversation.put(
        events.FunctionCall(name="f", call_id="c", arguments="", id="f", status="in_progress")
    )
    assert conversation.items() == [done]  # an older form


@pytest.mark.parametrize(("told_ms", "heard_ms"), [(-5, 0), (0, 0), (1, 1)])
def test_nobody_hears_less_than_nothing(told_ms: int, heard_ms: int) -> None:  # G14
    conversation = filled("a")
    entry = conversation.truncate("a", told_ms)
    assert entry is not None
    assert entry.heard_ms == heard_ms


def test_kinds_without_a_status_are_taken_as_they_come() -> None:
    conversation = Conversation()
    for label in ("files", "mail"):
        conversation.put(events.McpListTools(server_label=label, id="m"))
    assert conversation.items() == [events.McpListTools(server_label="mail", id="m")]


def test_what_was_not_heard_once_is_not_heard_later() -> None:  # G14
    entry = filled("a").get("a")
    assert entry is not None
    assert (entry.heard_ms, entry.retold_ms) == (None, 0.0)
    for told_ms, heard_ms in ((2_000, 2_000), (1_000, 1_000), (1_500, 1_000)):
        entry.note_heard(told_ms)
        assert entry.heard_ms == heard_ms


def test_the_transcript_of_one_part_stays_where_the_other_part_has_news() -> None:  # C2, C8
    conversation = Conversation(Limits())

    def message(*transcripts: str | None) -> events.Message:
        parts: list[events.Part] = [events.InputAudio(transcript=words) for words in transcripts]
        return events.Message(role="user", content=parts, id="i")

    conversation.put(message("one", None, "three"))
    conversation.put(message(None, "two", None))
    entry = conversation.get("i")
    assert entry is not None
    assert entry.item == message("one", "two", "three")
