"""Edits of the conversation through `ClientProtocol`: diff, three-way, text cuts, history."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair import SECOND, Pair, of, only

from sansio_rt import (
    CommandEnded,
    CommandRefused,
    ItemAdded,
    ItemDeleted,
    Limits,
    LocalProtocolError,
    Outcome,
    RawClientEvent,
    ServerErrorReported,
    StrayEvent,
    events,
)
from sansio_rt._past import as_history, same_content


def user(text: str, item_id: str | None = None) -> events.Message:
    part = events.InputText(text=text)
    if item_id is None:
        return events.Message(role="user", content=[part])
    return events.Message(role="user", content=[part], id=item_id)


def filled(*texts: str) -> Pair:
    pair = Pair().connect()
    for text in texts:
        pair.client.send_message(text)
    pair.run()
    return pair


def texts(pair: Pair) -> list[str]:
    return [entry.text for entry in pair.client.conversation]


def server_texts(pair: Pair) -> list[str]:
    return [
        "".join(getattr(part, "text", "") for part in item.content)
        for item in pair.server.session.items
        if isinstance(item, events.Message)
    ]


def test_edits_are_the_fewest_that_do_it() -> None:  # C3, C4
    pair = filled("a", "b", "c", "d")
    a, b, _, d = pair.client.conversation.items()
    pair.client.raw_events = True
    commands = pair.client.update_conversation([user("new"), d, a, b])
    assert len(commands) == 4  # c goes, d moves (which is two), one is new
    pair.run()
    assert all(command.outcome is Outcome.ACKNOWLEDGED for command in commands)
    assert texts(pair) == server_texts(pair) == ["new", "d", "a", "b"]
    assert pair.client.update_conversation(pair.client.conversation.items()) == []
    sent = [type(event.event) for event in of(RawClientEvent, pair.events)]
    assert sent.count(events.ConversationItemDelete) == 2
    assert sent.count(events.ConversationItemCreate) == 2


def test_a_new_item_gets_an_id_that_says_so() -> None:  # C3
    pair = filled("a")
    pair.client.update_conversation([*pair.client.conversation.items(), user("b")])
    pair.run()
    assert pair.client.conversation.ids()[1].startswith("item_")


def test_a_changed_item_is_created_again_under_its_id() -> None:  # C3
    pair = filled("a", "b", "c")
    a, b, c = pair.client.conversation.items()
    pair.client.update_conversation([a, user("B", str(b.id)), c])
    found = pair.run()
    assert texts(pair) == server_texts(pair) == ["a", "B", "c"]
    assert only(ItemAdded, found).entry.id == b.id


def test_an_answered_creation_answers_the_deletion_before_it() -> None:  # C3, C4
    pair = filled("a", "b", "c")
    a, b, c = pair.client.conversation.items()
    # The server does both; what it says of the deletion is lost.
    deletion, creation = pair.client.update_conversation([b, user("changed", a.id), c])
    pair.client.data_to_send()
    added = events.ConversationItemAdded(
        item=user("changed", a.id), previous_item_id=b.id, event_id="e"
    )
    pair.inject(events.encode(added))
    assert (deletion.outcome, creation.outcome) == (Outcome.ACKNOWLEDGED, Outcome.ACKNOWLEDGED)
    assert deletion.result() == a.id
    assert texts(pair) == ["b", "changed", "c"]
    assert [type(event) for event in pair.events[-4:]] == [
        ItemDeleted,
        CommandEnded,
        ItemAdded,
        CommandEnded,
    ]


def test_the_end_of_an_item_does_not_answer_the_creation_of_another_in_its_place() -> None:  # C3
    pair = filled("a")
    (old,) = pair.client.conversation.items()
    pair.lose()
    commands = pair.client.update_conversation([user("b", str(old.id))])
    pair.run()
    done = events.ConversationItemDone(item=old, previous_item_id=None, event_id="e")
    pair.inject(events.encode(done))
    assert [command.outcome for command in commands] == [None, None]


def test_a_creation_does_not_answer_a_deletion_that_came_after_it() -> None:  # C3, C4
    pair = filled("a", "b")
    a, b = pair.client.conversation.items()
    first, creation = pair.client.update_conversation([b, user("changed", a.id)])
    second = pair.client.delete_item(a.id)
    pair.client.data_to_send()
    pair.inject(events.encode(events.ConversationItemDeleted(item_id=a.id, event_id="e")))
    added = events.ConversationItemAdded(item=user("changed", a.id), event_id="e")
    pair.inject(events.encode(added))
    assert (first.outcome, creation.outcome) == (Outcome.ACKNOWLEDGED, Outcome.ACKNOWLEDGED)
    assert second.outcome is None
    assert a.id in pair.client.conversation


def test_what_the_server_added_since_the_snapshot_stays() -> None:  # C5
    pair = filled("a", "b")
    snapshot = pair.client.conversation.items()
    pair.client.generate_reply()
    pair.run()
    pair.speak("answer")
    pair.client.update_conversation(snapshot[1:], base=snapshot)
    pair.run()
    assert texts(pair) == ["b", "answer"]


def test_a_refused_edit_fails_alone() -> None:  # C4
    pair = filled("a")
    (a,) = pair.client.conversation.items()
    pair.server.session.receive_message(
        events.encode(events.ConversationItemCreate(item=user("x", "taken"))), pair.now
    )
    pair.server.session.messages_to_send()  # lost on the way: the client does not know of it
    commands = pair.client.update_conversation([a, user("y", "taken"), user("z", "free")])
    pair.run()
    assert [command.outcome for command in commands] == [Outcome.ACKNOWLEDGED] * 2
    assert texts(pair)[-1] == "z"


def test_edits_that_cannot_be_sent_change_nothing() -> None:
    pair = Pair(client={"limits": Limits(max_pending_commands=3)}).connect()
    pair.client.send_message("a")
    pair.run()
    (a,) = pair.client.conversation.items()
    for items in ([a, a], [a, user("x", "i" * 40)], [user(str(index)) for index in range(9)]):
        with pytest.raises(LocalProtocolError):
            pair.client.update_conversation(items)
    assert not pair.client.commands
    assert pair.client.data_to_send() == b""


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_edit_makes_mirror_and_server_what_was_wanted(data: st.DataObject) -> None:  # C3
    count = data.draw(st.integers(0, 6))
    pair = filled(*(f"item {index}" for index in range(count)))
    items = pair.client.conversation.items()
    kept = data.draw(st.permutations(items))[: data.draw(st.integers(0, count))]
    wanted: list[events.Item] = list(kept)
    for index in range(data.draw(st.integers(0, 3))):
        wanted.insert(data.draw(st.integers(0, len(wanted))), user(f"new {index}"))
    pair.client.update_conversation(wanted)
    pair.run()
    expected = ["".join(part.text for part in item.content) for item in wanted]  # type: ignore[union-attr]
    assert texts(pair) == server_texts(pair) == expected
    assert not of(ServerErrorReported, pair.events)


def test_text_only_answers_are_cut_by_replacing_them() -> None:  # G8
    pair = Pair().connect()
    pair.client.generate_reply(modalities=["text"])
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    session.begin_message(response_id, pair.now)
    session.push_text(response_id, "one two three", pair.now)
    session.end_message(response_id, pair.now)
    session.finish(response_id, pair.now)
    pair.client.send_message("after")
    pair.run()
    entry = next(iter(pair.client.conversation))
    for call in (
        {"audio_end_ms": 100},
        {"heard_text": "two"},
        {"heard_text": "one", "audio_end_ms": 1},
        {},
    ):
        with pytest.raises(LocalProtocolError, match="truncate"):
            pair.client.truncate(entry.id, **call)
    assert pair.client.truncate(entry.id, heard_text="one two three") is None
    command = pair.client.truncate(entry.id, heard_text="one two")
    assert command is not None
    pair.run()
    assert command.outcome is Outcome.ACKNOWLEDGED
    assert texts(pair) == server_texts(pair) == ["one two", "after"]
    pair.client.truncate(entry.id, heard_text="")
    pair.run()
    assert texts(pair) == ["after"]


def test_history_is_what_was_heard() -> None:  # G14
    pair = Pair().connect()
    pair.client.push_audio(SECOND)
    pair.client.commit_audio()
    pair.run()
    user_id = pair.client.conversation.ids()[0]
    pair.server.session.transcribed(user_id, "my question", pair.now)
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two three four", seconds=2)
    answer_id = pair.client.conversation.ids()[1]
    pair.client.truncate(answer_id, audio_end_ms=1000)
    pair.run()
    said, heard = pair.client.conversation.history()
    assert said == user("my question", user_id)
    assert heard == events.Message(
        role="assistant", content=[events.OutputText(text="one two")], id=answer_id
    )


def test_history_items_can_all_be_created_again() -> None:  # C6
    items: list[events.Item] = [
        events.Message(role="user", content=[events.InputAudio(transcript="spoken")], id="u"),
        events.Message(role="user", content=[events.InputAudio()], id="unheard"),
        events.Message(role="assistant", content=[events.OutputAudio(transcript="said")], id="a"),
        events.Message(role="system", content=[events.InputText(text="be kind")], id="s"),
        events.FunctionCall(name="f", call_id="c1", arguments="{}", id="f", status="completed"),
        events.FunctionCallOutput(call_id="c1", output="7", id="o"),
    ]
    for item in items:
        history = as_history(item)
        events.check(events.ConversationItemCreate(item=history))
        if item.id != "unheard":
            assert same_content(item, history)


def test_a_refusal_is_raised_by_its_own_command() -> None:  # X1
    pair = filled("a")
    (item_id,) = pair.client.conversation.ids()
    deletion = events.ConversationItemDelete(item_id=item_id)
    pair.server.session.receive_message(events.encode(deletion), pair.now)
    command = pair.client.send_message("b", previous_item_id=item_id)  # it is not told yet
    pair.run()
    with pytest.raises(CommandRefused):
        command.result()


def test_an_item_that_was_announced_can_be_named_before_it_comes() -> None:  # A2, C7
    pair = filled("a")
    pair.server.receive_data = lambda data, now: None  # type: ignore[method-assign]
    pair.inject(b'{"type":"input_audio_buffer.committed","item_id":"spoken"}')
    assert "spoken" not in pair.client.conversation
    pair.client.send_message("b", previous_item_id="spoken")
    pair.client.retrieve_item("spoken")
    pair.client.delete_item("spoken")
    with pytest.raises(LocalProtocolError, match="being deleted"):
        pair.client.send_message("c", previous_item_id="spoken")


def test_items_that_say_the_same_are_the_same_whatever_the_server_has_added() -> None:  # C3, C5
    pair = filled("a", "b", "c")
    made = [
        user(text, entry.id) for text, entry in zip("abc", pair.client.conversation, strict=True)
    ]
    assert pair.client.update_conversation(made) == []
    a, _, c = made
    (deletion,) = pair.client.update_conversation([a, c], base=made)
    assert deletion.key == made[1].id


def test_an_item_that_says_the_same_as_the_snapshot_does_not_come_back() -> None:  # C5
    pair = filled("a", "b", "c")
    snapshot = pair.client.conversation.items()
    made = [user(text, entry.id) for text, entry in zip("abc", snapshot, strict=True)]
    pair.client.delete_item(str(made[1].id))
    pair.run()
    assert pair.client.update_conversation(made, base=snapshot) == []


def test_an_item_that_already_says_what_it_was_changed_to_is_left_alone() -> None:  # C3, C5
    pair = filled("new")
    (item_id,) = pair.client.conversation.ids()
    snapshot = [user("old", item_id)]
    assert pair.client.update_conversation([user("new", item_id)], base=snapshot) == []


def test_a_cut_names_its_event() -> None:  # X1
    pair = Pair().connect()
    pair.client.raw_events = True
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two", seconds=1)
    command = pair.client.truncate(pair.client.conversation.ids()[-1], audio_end_ms=500)
    pair.run()
    assert command is not None
    (cut,) = [
        told.event
        for told in of(RawClientEvent, pair.events)
        if isinstance(told.event, events.ConversationItemTruncate)
    ]
    assert cut.event_id == command.event_id


@pytest.mark.parametrize(("length", "stays"), [(32, True), (33, False)])
def test_words_that_are_cut_keep_an_id_that_a_client_may_give(length: int, stays: bool) -> None:
    pair = Pair().connect()
    item_id = "i" * length
    part = events.OutputText(text="one two")
    item = events.Message(role="assistant", content=[part], id=item_id)
    added = events.ConversationItemAdded(item=item, previous_item_id=None, event_id="e")
    pair.inject(events.encode(added))
    command = pair.client.truncate(item_id, heard_text="one")
    assert command is not None
    assert (command.key == item_id) is stays
    assert isinstance(command.key, str)
    assert len(command.key) <= 32


def test_an_item_that_nobody_knows_is_deleted_by_an_event_that_is_told() -> None:  # C2
    pair = Pair().connect()
    pair.inject(events.encode(events.ConversationItemDeleted(item_id="nobody", event_id="e")))
    (stray,) = of(StrayEvent, pair.events)
    assert isinstance(stray.event, events.ConversationItemDeleted)


def test_an_empty_place_is_refused_as_what_it_is() -> None:
    pair = filled("a")
    with pytest.raises(LocalProtocolError, match="must not be empty"):
        pair.client.create_item(user("b"), previous_item_id="")
