"""Deletions that are told late, of an item that was created again since: which one is meant is asked."""

from __future__ import annotations

import pytest
from pair import Pair, agree, of

from sansio_rt import ItemDeleted, Outcome, RetryPolicy, StrayEvent, events

DELETED = events.encode(events.ConversationItemDeleted(item_id="a", event_id="e"))


def words(pair: Pair) -> list[str]:
    return [entry.text for entry in pair.client.conversation]


def moved_untold(*, late: bool) -> Pair:
    """`a` was moved to the end, and its deletion was not told, nor its creation in time if `late`."""
    pair = Pair(client={"retry": RetryPolicy()}).connect()
    for name in "abc":
        pair.client.send_message(name, item_id=name)
    pair.run()
    a, b, c = pair.client.conversation.items()
    pair.client.update_conversation([b, c, a])
    pair.server.receive_data(pair.client.data_to_send(), pair.now)
    deleted, *added = pair.server.session.messages_to_send()
    assert events.decode_server(deleted).type == "conversation.item.deleted"
    if late:
        pair.pass_time(15.0)
    pair.inject(*added)
    assert words(pair) == ["b", "c", "a"]
    assert not pair.client.commands
    pair.client.raw_events = True
    pair.events.clear()
    return pair


def retrievals(pair: Pair) -> int:
    return len(pair.sent(events.ConversationItemRetrieve))


@pytest.mark.parametrize("late", [False, True])
def test_what_was_created_again_stays_where_only_the_answer_was_late(late: bool) -> None:  # C9
    pair = moved_untold(late=late)
    pair.inject(DELETED)
    assert words(pair) == ["b", "c", "a"]
    assert not of(ItemDeleted, pair.events)
    assert retrievals(pair) == 1
    agree(pair)


@pytest.mark.parametrize("late", [False, True])
def test_what_was_created_again_goes_where_somebody_else_deletes_it(late: bool) -> None:  # C2
    pair = moved_untold(late=late)
    pair.server.session.receive_event(events.ConversationItemDelete(item_id="a"), pair.now)
    pair.run()
    assert words(pair) == ["b", "c"]
    assert [event.item_id for event in of(ItemDeleted, pair.events)] == ["a"]
    agree(pair)


def test_the_second_of_two_deletions_is_followed_at_once() -> None:  # C2, C9
    pair = moved_untold(late=False)
    pair.inject(DELETED)
    pair.server.session.receive_event(events.ConversationItemDelete(item_id="a"), pair.now)
    pair.run()
    assert words(pair) == ["b", "c"]
    assert retrievals(pair) == 1
    agree(pair)


def test_a_deletion_of_ours_is_followed_whatever_is_still_to_be_told() -> None:  # C2
    pair = moved_untold(late=False)
    pair.client.delete_item("a")
    pair.run()
    assert words(pair) == ["b", "c"]
    assert retrievals(pair) == 0
    pair.inject(DELETED)  # the one of before: nothing is there that could be meant
    assert retrievals(pair) == 0
    assert of(StrayEvent, pair.events)
    agree(pair)


def test_an_item_that_cannot_be_retrieved_is_gone() -> None:  # C2
    pair = Pair().connect()
    pair.client.send_message("a", item_id="a")
    pair.run()
    pair.server.session.receive_event(events.ConversationItemDelete(item_id="a"), pair.now)
    pair.server.session.messages_to_send()  # which nobody is told
    retrieved = pair.client.retrieve_item("a")
    pair.run()
    assert retrieved.outcome is Outcome.REFUSED
    assert words(pair) == []
    assert [event.item_id for event in of(ItemDeleted, pair.events)] == ["a"]
    agree(pair)


@pytest.mark.parametrize(("named", "left"), [("it", ["a"]), ("a", [])])
def test_an_error_that_names_neither_event_nor_item_says_nothing_of_the_item(
    named: str, left: list[str]
) -> None:  # C7
    """It may be for a retrieval that timed out."""
    pair = Pair().connect()
    pair.client.send_message("a", item_id="item_a")
    pair.run()
    retrieved = pair.client.retrieve_item("item_a")
    pair.client.data_to_send()
    details = events.ErrorDetails(
        type="invalid_request_error",
        code="item_retrieve_invalid_item_id",
        message=f"The item with id 'item_{named}' does not exist.",
    )
    pair.inject(events.encode(events.Error(error=details, event_id="e")))
    assert retrieved.outcome is Outcome.REFUSED
    assert words(pair) == left


def test_a_retrieval_that_fails_for_another_reason_says_nothing_of_the_item() -> None:  # C7
    pair = Pair().connect()
    pair.client.send_message("a", item_id="a")
    pair.run()
    retrieved = pair.client.retrieve_item("a")
    pair.client.data_to_send()
    details = events.ErrorDetails(
        type="server_error", code="busy", message="no", event_id=retrieved.event_id
    )
    pair.inject(events.encode(events.Error(error=details, event_id="e")))
    assert retrieved.outcome is Outcome.REFUSED
    assert words(pair) == ["a"]


def test_what_is_remembered_of_deletions_that_were_not_told_is_bounded() -> None:
    pair = Pair().connect()
    for number in range(200):
        pair.client.send_message("b", item_id=f"b{number}")
        pair.run()
        pair.client.delete_item(f"b{number}")
        pair.client.send_message("b", item_id=f"b{number}")
        pair.server.receive_data(pair.client.data_to_send(), pair.now)
        _, *added = pair.server.session.messages_to_send()
        pair.inject(*added)
    assert len(pair.client._history._untold) == 64
