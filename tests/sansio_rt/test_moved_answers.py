"""Answers that are cut while the service moves them: they come to their place as they were heard."""

from __future__ import annotations

from typing import Any

import pytest
from pair import Pair, agree, answered

from sansio_rt import Command, CommandKind, LocalProtocolError, Outcome, RetryPolicy, events
from sansio_rt._conversation import text_of

WORDS = "one two three four"


def moving(**client: Any) -> tuple[Pair, str, Command]:
    """An answer of two seconds that is on its way to the beginning; its id, and what puts it there."""
    pair = Pair(client={"retry": RetryPolicy(), **client}).connect()
    item_id = with_answer(pair)
    delete, create = to_the_beginning(pair)
    assert (delete.key, create.key) == (item_id, item_id)
    return pair, item_id, create


def with_answer(pair: Pair) -> str:
    """Two messages, and an answer to them: of what changes places, that is the fewest."""
    for words in ("Hello.", "Well."):
        pair.client.send_message(words)
    pair.run()
    return answered(pair)


def to_the_beginning(pair: Pair) -> list[Command]:
    *others, answer = pair.client.conversation.items()
    return pair.client.update_conversation([answer, *others])


def told(pair: Pair) -> list[str]:
    """What the service has, as texts."""
    return [
        "".join(getattr(part, "text", "") for part in item.content)
        for item in pair.server.session.items
        if isinstance(item, events.Message)
    ]


def kept(pair: Pair) -> list[str]:
    return [entry.text for entry in pair.client.conversation]


@pytest.mark.parametrize(
    ("end_ms", "words"),
    [(1_000, ["one two", "Hello.", "Well."]), (0, ["Hello.", "Well."]), (100, ["Hello.", "Well."])],
)
def test_an_answer_is_cut_where_it_goes(end_ms: int, words: list[str]) -> None:  # G8, G14
    pair, item_id, create = moving()
    assert pair.client.truncate(item_id, audio_end_ms=end_ms) is create
    pair.run()
    assert create.outcome is Outcome.ACKNOWLEDGED
    assert not pair.client.commands
    assert told(pair) == kept(pair) == words


def test_what_was_heard_least_counts() -> None:  # G8
    pair, item_id, create = moving()
    assert pair.client.truncate(item_id, audio_end_ms=1_000) is create
    assert pair.client.truncate(item_id, audio_end_ms=1_500) is create
    pair.run()
    assert told(pair) == kept(pair) == ["one two", "Hello.", "Well."]


def test_an_answer_that_was_heard_to_its_end_is_not_cut() -> None:  # G8
    pair, item_id, _ = moving()
    assert pair.client.truncate(item_id, audio_end_ms=2_000) is None
    pair.run()
    assert told(pair) == kept(pair) == [WORDS, "Hello.", "Well."]


def test_an_answer_that_was_moved_is_cut_by_its_audio() -> None:  # G8
    pair, item_id, _ = moving()
    pair.run()
    cut = pair.client.truncate(item_id, audio_end_ms=1_000)
    assert cut is not None
    assert cut.kind is CommandKind.CREATE_ITEM
    pair.run()
    assert told(pair) == kept(pair) == ["one two", "Hello.", "Well."]


def test_an_answer_that_is_moved_again_is_cut_by_its_audio() -> None:  # G8
    pair, item_id, _ = moving()
    pair.run()
    answer, *others = pair.client.conversation.items()
    _, create = pair.client.update_conversation([*others, answer])
    assert pair.client.truncate(item_id, audio_end_ms=2_000) is None
    assert pair.client.truncate(item_id, audio_end_ms=1_000) is create
    pair.run()
    assert told(pair) == kept(pair) == ["Hello.", "Well.", "one two"]


def written(text: str) -> Pair:
    pair = Pair(client={"retry": RetryPolicy()}).connect()
    part = events.OutputText(text=text)
    pair.client.create_item(events.Message(role="assistant", content=[part], id="written"))
    pair.client.send_message("Hello.", item_id="hello")
    pair.run()
    return pair


def test_a_text_is_cut_where_it_goes() -> None:  # G8
    pair = written(WORDS)
    pair.client.send_message("Bye.")
    pair.run()
    text, hello, bye = pair.client.conversation.items()
    _, create = pair.client.update_conversation([hello, bye, text])
    with pytest.raises(LocalProtocolError, match="no audio of it was received"):
        pair.client.truncate("written", audio_end_ms=100)
    assert pair.client.truncate("written", heard_text=WORDS) is None
    assert pair.client.truncate("written", heard_text="one two three") is create
    pair.run()
    assert told(pair) == kept(pair) == ["Hello.", "Bye.", "one two three"]


def test_a_text_that_is_being_cut_is_cut_shorter() -> None:  # G8
    pair = written(WORDS)
    cut = pair.client.truncate("written", heard_text="one two three")
    assert pair.client.truncate("written", heard_text="one") is cut
    pair.run()
    assert told(pair) == kept(pair) == ["one", "Hello."]


@pytest.mark.parametrize("heard", ["", "one", WORDS])
def test_words_that_the_caller_puts_in_its_place_stay(heard: str) -> None:  # C3, G8
    pair = written(WORDS)
    _, hello = pair.client.conversation.items()
    new = events.Message(role="assistant", content=[events.OutputText(text="new")], id="written")
    pair.client.update_conversation([new, hello])
    pair.client.truncate("written", heard_text=heard)
    pair.run()
    assert told(pair) == kept(pair) == ["new", "Hello."]


def test_a_reader_of_less_has_no_say_over_a_cut_that_is_on_its_way() -> None:  # G8
    """The cut says less than what was heard later: there is nothing to take away."""
    pair = written(WORDS)
    pair.client.truncate("written", heard_text="one")
    pair.client.truncate("written", heard_text="one two")
    pair.run()
    assert told(pair) == kept(pair) == ["one", "Hello."]


@pytest.mark.parametrize("answers", [0, 1, 3])
def test_the_next_connection_is_told_what_was_heard(answers: int) -> None:  # R3, G14
    """The connection goes before any answer, behind the deletion's, and behind the creation's."""
    pair, item_id, create = moving()
    assert pair.client.truncate(item_id, audio_end_ms=1_000) is create
    pair.server.receive_data(pair.client.data_to_send(), pair.now)
    messages = pair.server.session.messages_to_send()
    pair.inject(*messages[:answers])
    pair.cut()
    pair.reconnect()
    assert told(pair) == kept(pair) == ["one two", "Hello.", "Well."]


def test_a_late_answer_to_a_cut_of_what_was_moved_since_changes_nothing() -> None:  # C9, G14
    pair, item_id, _ = moving()
    pair.run()
    late = f'{{"type":"conversation.item.truncated","event_id":"e","item_id":"{item_id}"'
    pair.inject(f'{late},"content_index":0,"audio_end_ms":1000}}'.encode())
    entry = pair.client.conversation.get(item_id)
    assert entry is not None
    assert (entry.heard_ms, entry.heard_text) == (None, WORDS)


def test_an_answer_that_comes_to_its_place_late_is_cut_all_the_same() -> None:  # C9, G14
    pair, item_id, create = moving()
    assert pair.client.truncate(item_id, audio_end_ms=1_000) is create
    pair.server.receive_data(pair.client.data_to_send(), pair.now)
    deleted, *late = pair.server.session.messages_to_send()
    pair.inject(deleted)
    pair.pass_time(20.0)
    assert create.outcome is Outcome.DEADLINE
    pair.inject(*late)
    assert told(pair) == kept(pair) == ["one two", "Hello.", "Well."]


def test_an_answer_that_was_cut_before_is_told_in_its_place_as_it_was_heard() -> None:  # G14
    """At once, and not whole first."""
    pair = Pair().connect()
    item_id = with_answer(pair)
    cut = pair.client.truncate(item_id, audio_end_ms=1_000)
    assert cut is not None
    assert cut.event_id.startswith("event_")
    _, create = to_the_beginning(pair)
    assert isinstance(create.event, events.ConversationItemCreate)
    assert text_of(create.event.item) == "one two"
    pair.run()
    assert told(pair) == kept(pair) == ["one two", "Hello.", "Well."]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("answers", [slice(0, None), slice(1, None)], ids=["all", "no deletion"])
def test_an_answer_is_cut_where_it_goes_whichever_answers_come(
    answers: slice, *, late: bool
) -> None:  # C9, G14
    """The answer to the deletion may be lost; and all may come when nobody waits for them any more."""
    pair, item_id, create = moving()
    assert pair.client.truncate(item_id, audio_end_ms=1_000) is create
    pair.server.receive_data(pair.client.data_to_send(), pair.now)
    messages = pair.server.session.messages_to_send()
    if late:
        pair.pass_time(15.0)
    pair.inject(*messages[answers])
    assert told(pair) == kept(pair) == ["one two", "Hello.", "Well."]
    assert pair.client.truncate(item_id, audio_end_ms=2_000) is None
    agree(pair)


@pytest.mark.parametrize("answers", [slice(0, None), slice(1, None)], ids=["all", "no deletion"])
def test_an_answer_that_comes_to_its_place_late_is_cut_there_later(
    answers: slice,
) -> None:  # C2, G8
    pair, item_id, _ = moving()
    pair.server.receive_data(pair.client.data_to_send(), pair.now)
    messages = pair.server.session.messages_to_send()
    pair.pass_time(15.0)
    pair.inject(*messages[answers])
    assert told(pair) == kept(pair) == [WORDS, "Hello.", "Well."]
    pair.client.truncate(item_id, audio_end_ms=1_000)
    pair.run()
    assert told(pair) == kept(pair) == ["one two", "Hello.", "Well."]
    agree(pair)


def test_the_next_connection_is_told_what_was_heard_of_what_came_nowhere() -> None:  # R3, G14
    """The deletion was answered late, and the creation never."""
    pair, item_id, create = moving()
    assert pair.client.truncate(item_id, audio_end_ms=1_000) is create
    pair.server.receive_data(pair.client.data_to_send(), pair.now)
    deleted, *_ = pair.server.session.messages_to_send()
    pair.pass_time(15.0)
    pair.inject(deleted)
    pair.cut()
    pair.reconnect()
    assert told(pair) == kept(pair) == ["one two", "Hello.", "Well."]
    agree(pair)


@pytest.mark.parametrize("order", [(500, 1_500), (1_500, 500)])
def test_what_was_heard_least_is_told_to_the_next_connection(order: tuple[int, int]) -> None:
    # G8, G14, R3
    pair = Pair(client={"retry": RetryPolicy()}).connect()
    item_id = answered(pair)
    pair.client.truncate(item_id, audio_end_ms=order[0])
    pair.cut()
    assert pair.client.truncate(item_id, audio_end_ms=order[1]) is None
    pair.reconnect()
    assert told(pair) == kept(pair) == ["one"]
