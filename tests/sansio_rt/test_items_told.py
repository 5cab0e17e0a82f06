"""Items as a server tells them: without a beginning, without an id, again, and cut (C1, C2, C7, G8)."""

from __future__ import annotations

import pytest
from pair import Pair, of, only
from server_says import PART, created, item, message

from sansio_rt import (
    CommandKind,
    InputAudioCleared,
    ItemAdded,
    ItemDone,
    LocalProtocolError,
    Outcome,
    RawClientEvent,
    RetryPolicy,
    StrayEvent,
    events,
)


def test_an_end_of_an_item_without_its_beginning_is_a_beginning() -> None:  # C2
    pair = Pair().connect()
    user = {"id": "i1", "type": "message", "role": "user", "content": []}
    found = pair.inject(message("conversation.item.done", item=user, previous_item_id=None))
    assert only(ItemAdded, found).entry is only(ItemDone, found).entry


def test_items_without_an_id_are_told_and_dropped() -> None:
    pair = Pair().connect()
    nameless = {"type": "message", "role": "user", "content": []}
    found = pair.inject(
        message("conversation.item.added", item=nameless, previous_item_id=None),
        message("conversation.item.done", item=nameless, previous_item_id=None),
    )
    assert len(of(StrayEvent, found)) == 2
    assert not of(ItemDone, found)
    assert len(pair.client.conversation) == 0


def test_an_item_may_come_back_that_the_mirror_does_not_have() -> None:  # C7
    pair = Pair().connect()
    user = {"id": "i1", "type": "message", "role": "user", "content": []}
    assert not of(ItemAdded, pair.inject(message("conversation.item.retrieved", item=user)))
    assert len(pair.client.conversation) == 0


def test_a_cut_answer_that_only_moves_stays_cut() -> None:  # G14, C4
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two three four", seconds=2)
    for word in ("b", "c"):
        pair.client.send_message(word)
    pair.run()
    answer, b, c = pair.client.conversation.items()
    pair.client.truncate(str(answer.id), audio_end_ms=1_000)
    pair.run()
    pair.client.update_conversation([b, c, answer])
    pair.run()
    assert [entry.text for entry in pair.client.conversation] == ["b", "c", "one two"]


def test_an_event_may_be_sent_as_it_is() -> None:
    pair = Pair().connect()
    pair.client.send(events.InputAudioBufferClear(event_id="mine"))
    assert of(InputAudioCleared, pair.run())
    with pytest.raises(LocalProtocolError, match="item_id"):
        pair.client.send(events.ConversationItemDelete(item_id=""))
    assert pair.client.data_to_send() == b""


def test_the_deletion_of_an_unknown_item_is_told() -> None:
    pair = Pair().connect()
    found = pair.inject(message("conversation.item.deleted", item_id="nobody"))
    assert "no such item" in only(StrayEvent, found).reason


def test_an_item_of_a_kind_that_is_not_known_can_be_created() -> None:  # C1
    pair = Pair().connect()
    pair.client.raw_events = True
    command = pair.client.create_item(events.UnknownItem(type="dance", data={"steps": 3}))
    pair.run()
    (event,) = [raw.event for raw in of(RawClientEvent, pair.events)]
    assert isinstance(event, events.ConversationItemCreate)
    assert event.item == events.UnknownItem(type="dance", data={"steps": 3, "id": command.key})
    assert command.outcome is Outcome.REFUSED  # this server does not dance


def test_an_item_comes_back_with_its_audio() -> None:  # C7
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak(seconds=0.1)
    (entry,) = pair.client.conversation
    retrieved = pair.client.retrieve_item(entry.id)
    pair.run()
    assert isinstance(retrieved.result().content[0].audio, str)


def test_hearing_less_than_a_millisecond_of_an_answer_is_hearing_nothing() -> None:  # G8
    pair = Pair().connect()
    pair.inject(
        created(),
        message("conversation.item.added", item=item(), previous_item_id=None),
        message("response.output_audio.delta", **PART, delta="AAAAAA=="),
    )
    command = pair.client.truncate("i1", audio_end_ms=50)
    assert command is not None
    assert command.kind is CommandKind.DELETE_ITEM


def test_the_cut_finds_its_message_among_several_responses() -> None:  # G4, G8
    pair = Pair().connect()
    second = {**PART, "response_id": "r2", "item_id": "i2"}
    pair.inject(
        created(),
        message("response.output_audio.delta", **PART, delta="AAAA" * 400),
        created("r2", conversation_id=None),
        message("response.output_audio.delta", **second, delta="AAAA" * 800),
        message("conversation.item.added", item=item(), previous_item_id=None),
        message("conversation.item.added", item=item(id="i2"), previous_item_id="i1"),
    )
    for item_id, received_ms in (("i1", 25), ("i2", 50)):
        pair.client.truncate(item_id, audio_end_ms=received_ms + 50)
        entry = pair.client.conversation.get(item_id)
        assert entry is not None
        assert entry.received_ms == received_ms


def test_what_a_lost_connection_leaves_of_a_text_only_cut() -> None:  # G8
    pair = Pair(client={"retry": RetryPolicy()}).connect()
    part = events.OutputText(text="one two")
    pair.client.create_item(events.Message(role="assistant", content=[part], id="written"))
    pair.run()
    pair.client.receive_eof(pair.now)
    assert pair.client.truncate("written", audio_end_ms=500) is None
    entry = pair.client.conversation.get("written")
    assert entry is not None
    assert entry.heard_ms is None
    assert pair.client.truncate("written", heard_text="one") is None
    assert entry.text == "one"
