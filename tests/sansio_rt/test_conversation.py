"""The mirror: the chain's order, forms that only move forward, what was heard (C2, C8, C9, G14)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from sansio_rt import Limits, RemoteProtocolError, TranscriptState, events
from sansio_rt._conversation import Conversation, Placement, size_of, without_audio


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
    conversation.set_transcript("a", 7, "for no part", TranscriptState.FAILED)
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
