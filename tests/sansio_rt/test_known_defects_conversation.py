"""What other clients get wrong about the conversation: each test is named for it.

The rows are those of the parity table (`# G2`), the rules those of the notes on the service's behaviour
(`# rule 4`).
"""

from __future__ import annotations

import pytest
from pair import SECOND, Pair, of, only
from server_says import created, done, message, refusal, words

from sansio_rt import (
    CommandEnded,
    CommandTimeout,
    InputTranscriptCompleted,
    ItemAdded,
    LocalProtocolError,
    Outcome,
    ServerErrorReported,
    Timing,
    diff,
    events,
)
from sansio_rt._server_work import TranscriptionWanted


def test_the_wait_for_edits_does_not_end_before_the_server_has_made_them() -> None:  # C4
    pair = Pair().connect()
    items = [events.Message(role="user", content=[events.InputText(text=w)]) for w in "abc"]
    commands = pair.client.update_conversation(items)
    request = pair.client.data_to_send()
    assert [command.outcome for command in commands] == [None] * 3
    pair.server.receive_data(request, pair.now)
    answer = pair.server.data_to_send()
    half = answer.index(b"conversation.item.done") + 200
    pair.client.receive_data(answer[:half], pair.now)
    assert [command.outcome for command in commands] == [Outcome.ACKNOWLEDGED, None, None]
    pair.client.receive_data(answer[half:], pair.now)
    assert [command.outcome for command in commands] == [Outcome.ACKNOWLEDGED] * 3


def test_edits_that_nobody_answers_time_out_by_name() -> None:  # C4
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    item = events.Message(role="user", content=[events.InputText(text="a")], id="my_item")
    (command,) = pair.client.update_conversation([item])
    pair.lose()
    pair.run()
    assert pair.client.next_deadline() == pair.now + 2
    assert only(CommandEnded, pair.pass_time(2)).command is command
    with pytest.raises(CommandTimeout, match="my_item") as caught:
        command.result()
    assert caught.value.missing == ("my_item",)


def test_the_diff_is_not_quadratic() -> None:  # C3
    counts = []
    for size in (500, 5_000):
        compared = 0

        def equal(one: events.Message, other: events.Message) -> bool:
            nonlocal compared
            compared += 1
            return one is other

        items = [events.Message(role="user", content=[], id=f"i{index}") for index in range(size)]
        moved = items[::-1]
        assert len(diff(items, moved, equal=equal)) == 2 * (size - 1)
        counts.append(compared)
    assert counts[1] <= 11 * counts[0]


def test_what_the_server_said_meanwhile_is_not_deleted() -> None:  # C5
    pair = Pair().connect()
    pair.client.send_message("a")
    pair.run()
    snapshot = pair.client.conversation.items()
    pair.client.generate_reply()
    pair.run()
    pair.speak("an answer")
    new = events.Message(role="user", content=[events.InputText(text="b")])
    pair.client.update_conversation([*snapshot, new], base=snapshot)
    pair.run()
    assert [entry.text for entry in pair.client.conversation] == ["a", "an answer", "b"]


def interrupted(words: str, *, seconds: int, after_s: float) -> tuple[Pair, str]:
    """An answer that is interrupted, and the id of its item."""
    pair = Pair(pace=1.0).connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak(words, seconds=seconds)
    pair.pass_time(after_s)
    item_id = next(iter(pair.client.generations[0].messages))
    pair.client.interrupt()
    return pair, item_id


def test_history_holds_no_word_that_nobody_heard() -> None:  # G14
    pair, item_id = interrupted("one two three four five six seven eight", seconds=4, after_s=2.0)
    pair.client.truncate(item_id, audio_end_ms=1_000)
    pair.run()
    (heard,) = pair.client.conversation.history()
    assert isinstance(heard, events.Message)
    text = heard.content[0].text  # type: ignore[union-attr]
    assert text
    assert "one two three four five six seven eight".startswith(text)
    assert "five" not in text


def test_a_cut_before_the_end_of_the_answer_keeps_what_was_heard() -> None:  # G14, G10
    # Some clients only truncate; the item's end then comes without a transcript.
    pair = Pair(pace=1.0).connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two three four", seconds=2)
    pair.pass_time(1.9)
    item_id = next(iter(pair.client.generations[0].messages))
    pair.client.truncate(item_id, audio_end_ms=1_000)
    pair.run()
    pair.pass_time(1.0)
    entry = pair.client.conversation.get(item_id)
    assert entry is not None
    assert entry.text == "one two three four"
    assert entry.heard_text == "one two"


def test_a_lost_answer_is_in_the_mirror_as_far_as_it_came() -> None:  # G10, R4
    pair = Pair(pace=1.0).connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two three four", seconds=4)
    pair.pass_time(0.5)
    pair.client.receive_eof(pair.now)
    (entry,) = pair.client.conversation
    assert entry.text.startswith("one")
    assert "four" not in entry.text


def test_truncating_past_the_end_is_never_asked_for() -> None:  # G8, G14, rule 7
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two", seconds=1)
    pair.client.raw_events = True
    entry = list(pair.client.conversation)[-1]
    with pytest.raises(LocalProtocolError, match="beyond the 1000 ms"):
        pair.client.truncate(entry.id, audio_end_ms=60_000)
    assert pair.client.truncate(entry.id, audio_end_ms=1_090) is None  # a player's rounding
    assert pair.client.truncate(entry.id, audio_end_ms=500) is not None
    pair.run()
    assert pair.client.truncate(entry.id, audio_end_ms=800) is None  # it is cut at 500 already
    pair.run()
    assert [event.audio_end_ms for event in pair.sent(events.ConversationItemTruncate)] == [500]
    assert entry.heard_ms == 500
    assert not of(ServerErrorReported, pair.events)


def test_a_millisecond_that_was_heard_is_the_least_that_stays() -> None:  # G8, rule 7
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak()
    (entry,) = pair.client.conversation
    assert pair.client.truncate(entry.id, audio_end_ms=1) is not None
    pair.run()
    assert pair.client.conversation.ids() == [entry.id]
    assert entry.heard_ms == 1


def test_a_cut_of_a_running_answer_is_at_most_what_came() -> None:  # G14
    pair, item_id = interrupted("one two three", seconds=3, after_s=1.05)
    cut = pair.client.truncate(item_id, audio_end_ms=1_200)  # a player is 100 ms ahead
    assert cut is not None
    pair.run()
    assert cut.outcome is Outcome.ACKNOWLEDGED
    entry = pair.client.conversation.get(item_id)
    assert entry is not None
    assert entry.heard_ms == entry.received_ms == 1_100


@pytest.mark.parametrize("audio_end_ms", [0, 0.4])
def test_hearing_nothing_deletes_the_answer(audio_end_ms: float) -> None:  # G8, rule 7
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak()
    (entry,) = pair.client.conversation
    command = pair.client.truncate(entry.id, audio_end_ms=audio_end_ms)  # type: ignore[arg-type]
    assert command is not None
    pair.run()
    assert command.outcome is Outcome.ACKNOWLEDGED
    assert pair.server.session.items == []
    assert len(pair.client.conversation) == 0


def test_a_text_is_not_lost_where_its_id_is_longer_than_a_client_may_choose() -> None:  # G8
    pair = Pair().connect()
    content = [{"type": "output_text", "text": "one two"}]
    item = {"id": "i" * 40, "type": "message", "role": "assistant", "content": content}
    pair.inject(message("conversation.item.added", item=item, previous_item_id=None))
    command = pair.client.truncate("i" * 40, heard_text="one")
    assert command is not None
    pair.inject(message("conversation.item.deleted", item_id="i" * 40))
    assert command.result().text == "one"
    assert len(command.result().id) <= 32


def test_edits_do_not_build_on_an_item_that_is_being_deleted() -> None:  # C4, G8
    pair = Pair().connect()
    part = events.OutputText(text="one two")
    pair.client.send_message("first", item_id="first")
    pair.client.create_item(events.Message(role="assistant", content=[part], id="cut"))
    pair.client.create_item(events.Message(role="assistant", content=[part], id="last"))
    pair.run()
    pair.client.delete_item("first")
    pair.client.truncate("cut", heard_text="one")
    pair.client.delete_item("last")
    new = events.Message(role="user", content=[events.InputText(text="new")], id="new")
    cut, last = pair.client.conversation.items()[1:]
    with pytest.raises(LocalProtocolError, match="'cut'"):
        pair.client.update_conversation([cut, last, new])
    pair.run()
    pair.client.delete_item("cut")
    pair.client.update_conversation([new])
    pair.run()
    assert [str(item.id) for item in pair.server.session.items] == ["new"]
    assert not of(ServerErrorReported, pair.events)
    assert all(e.command.outcome is Outcome.ACKNOWLEDGED for e in of(CommandEnded, pair.events))


def test_an_answer_that_was_replaced_while_it_was_made_stays_replaced() -> None:  # C3
    pair = Pair(pace=1.0).connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two three", seconds=2)
    pair.pass_time(1.0)
    (entry,) = pair.client.conversation
    part = events.OutputText(text="instead")
    pair.client.update_conversation([events.Message(role="assistant", content=[part], id=entry.id)])
    pair.run()
    pair.pass_time(2.0)
    (item,) = pair.server.session.items
    (entry,) = pair.client.conversation
    assert isinstance(item, events.Message)
    assert item.content == [part]
    assert entry.text == "instead"


def test_a_duplicate_id_on_create_is_success() -> None:  # C9, rule 11
    pair = Pair().connect()
    first = pair.client.send_message("a", item_id="mine")
    pair.client.data_to_send()  # lost: the server has it from another connection
    pair.inject(refusal("item_create_duplicate_item_id", first.event_id))
    assert first.outcome is Outcome.ACKNOWLEDGED
    assert not of(ServerErrorReported, pair.events)


def test_a_second_message_of_one_id_is_refused_before_it_is_sent() -> None:  # C9
    pair = Pair().connect()
    pair.client.send_message("a", item_id="mine")
    for _ in range(2):  # on the way, then there
        with pytest.raises(LocalProtocolError, match="mine"):
            pair.client.send_message("b", item_id="mine")
        pair.run()
    assert [entry.text for entry in pair.client.conversation] == ["a"]


def test_deleting_what_is_gone_is_success() -> None:  # C9
    pair = Pair().connect()
    pair.client.send_message("a", item_id="mine")
    pair.run()
    twice = [pair.client.delete_item("mine"), pair.client.delete_item("mine")]
    pair.run()
    assert [command.outcome for command in twice] == [Outcome.ACKNOWLEDGED] * 2
    assert not of(ServerErrorReported, pair.events)


def test_an_item_that_follows_an_unknown_one_goes_to_the_end_with_a_warning() -> None:
    # C2, rule 10: the service itself may name an item that was just deleted.
    pair = Pair().connect()
    pair.client.send_message("a")
    pair.run()
    item = {"id": "i9", "type": "message", "role": "user", "content": []}
    found = pair.inject(message("conversation.item.added", item=item, previous_item_id="gone"))
    assert only(ItemAdded, found).orphaned
    assert pair.client.conversation.ids()[-1] == "i9"


def test_the_place_of_a_message_does_not_hang_on_its_transcript() -> None:  # C8, rule 6
    pair = Pair().connect()
    pair.client.push_audio(SECOND)
    pair.client.commit_audio()
    pair.run()
    heard = only(TranscriptionWanted, pair.work)
    # The reply comes first: a server that needs no transcript for it.
    pair.inject(created("r1"), words("r1", "answer", "It is noon."))
    item = {"id": "answer", "type": "message", "role": "assistant", "content": []}
    pair.inject(
        message("conversation.item.added", item=item, previous_item_id=heard.item_id), done("r1")
    )
    pair.server.session.transcribed(heard.item_id, "what time is it", pair.now)
    pair.run()
    assert only(InputTranscriptCompleted, pair.events)
    assert [(e.role, e.text) for e in pair.client.conversation] == [
        ("user", "what time is it"),
        ("assistant", "It is noon."),
    ]


def test_assistant_audio_goes_into_history_as_its_transcript() -> None:  # C6, rule 12
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("an answer")
    (item,) = pair.client.conversation.items()
    pair.client.update_conversation([])
    pair.run()
    pair.client.update_conversation([item])
    pair.run()
    (entry,) = pair.client.conversation
    assert entry.text == "an answer"
    assert isinstance(entry.item, events.Message)
    assert isinstance(entry.item.content[0], events.OutputText)
