"""The replay alone: what a new connection is told, in which words and at which place (R3, T9, C8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import UNSET

from sansio_rt import (
    Command,
    CommandKind,
    CommandRefused,
    GenerationOrigin,
    ItemAdded,
    ItemDeleted,
    Limits,
    LocalProtocolError,
    Outcome,
    SequentialIds,
    events,
)
from sansio_rt._commands import CommandTable
from sansio_rt._conversation import Conversation
from sansio_rt._generations import GeneratedCall, Generation
from sansio_rt._replay import Replay, retold
from sansio_rt._requests import Requests
from sansio_rt._tray import Tray


def refuse_long_ids(event: Any) -> None:
    if len(str(event.item.id)) > 32:
        raise LocalProtocolError("too long")


class Room:
    """A replay of some items, and what it lays down."""

    def __init__(self, *items: events.Item) -> None:
        self.tray = Tray(SequentialIds(), CommandTable(), refuse_long_ids)
        self.conversation = Conversation(Limits())
        self.requests = Requests(self.tray, answer_timeout_s=10.0)
        self.replay = Replay(self.tray, self.conversation, self.requests, answer_timeout_s=10.0)
        for item in items:
            self.conversation.put(item)

    def begin(self, *told: events.Item, **options: Any) -> list[Any]:
        """The client events of a replay."""
        self.replay.begin(options.pop("spoken", {}), told=told, **options)
        sent = list(self.tray.client_events)
        self.tray.client_events.clear()
        return sent

    def answer(self) -> None:
        for command in self.tray.commands:
            self.tray.acknowledge(command)

    def ask(self, event: Any, *, at: float | None = None) -> Command:
        """An edit of before, which nobody has answered."""
        kind = CommandKind.DELETE_ITEM
        key = getattr(event, "item_id", "")
        if isinstance(event, events.ConversationItemCreate):
            kind, key = CommandKind.CREATE_ITEM, str(event.item.id)
        command = self.tray.commands.add(Command(str(event.event_id), kind, key))
        command.event, command.deadline = event, at
        return command

    def told_events(self, kind: type) -> list[Any]:
        return [event for event in self.tray.session_events if isinstance(event, kind)]


def said(item_id: str, *words: str, role: str = "user", **fields: Any) -> events.Message:
    part = events.OutputText if role == "assistant" else events.InputText
    content: list[events.Part] = [part(text=each) for each in words or (item_id,)]
    return events.Message(role=role, content=content, id=item_id, **fields)


def call(item_id: str, call_id: str = "c1", **fields: Any) -> events.FunctionCall:
    known = {"name": "look", "arguments": "{}", **fields}
    return events.FunctionCall(id=item_id, call_id=call_id, **known)


def output(item_id: str, call_id: str = "c1") -> events.FunctionCallOutput:
    return events.FunctionCallOutput(id=item_id, call_id=call_id, output="y")


def create(
    item: events.Item, event_id: str = "mine", **fields: Any
) -> events.ConversationItemCreate:
    return events.ConversationItemCreate(item=item, event_id=event_id, **fields)


def ids(sent: Sequence[Any]) -> list[str]:
    return [str(event.item.id) for event in sent]


def test_each_item_is_said_with_a_command_of_its_own() -> None:
    room = Room(said("a"), said("b"))
    room.tray.now = 5.0
    sent = room.begin()
    assert ids(sent) == ["a", "b"]
    commands = list(room.tray.commands)
    assert [event.event_id for event in sent] == [command.event_id for command in commands]
    assert all(command.event_id.startswith("event_") for command in commands)
    assert [command.key for command in commands] == ["a", "b"]
    assert {command.kind for command in commands} == {CommandKind.CREATE_ITEM}
    assert all(room.replay.is_own(command) for command in commands)
    assert not room.replay.settled
    room.answer()
    assert room.replay.settled
    assert room.replay.replayed == 2


def test_the_wait_for_the_oldest_answer_is_bounded() -> None:  # R3
    room = Room(said("a"), said("b"))  # a long conversation may take its time
    room.tray.now = 5.0
    room.begin()
    first, second = room.tray.commands
    assert (first.deadline, second.deadline) == (15.0, None)
    room.tray.acknowledge(first)
    room.tray.now = 14.0
    assert not room.replay.settled
    assert second.deadline == 24.0
    room.tray.now = 15.0
    assert not room.replay.settled
    assert second.deadline == 24.0


def test_what_a_connection_was_told_already_is_not_said_again() -> None:  # N4
    told = [said(name) for name in "abcd"]
    room = Room(said("a"), said("d"), said("e"))
    sent = room.begin(*told)
    assert [getattr(event, "item_id", "") for event in sent] == ["b", "c", ""]
    assert ids(sent[2:]) == ["e"]
    deletions = [each for each in room.tray.commands if each.kind is CommandKind.DELETE_ITEM]
    assert [each.key for each in deletions] == ["b", "c"]
    assert [each.event_id for each in deletions] == [event.event_id for event in sent[:2]]
    assert room.replay.replayed == 3


def test_an_item_that_a_server_refused_before_or_that_may_not_be_said_is_not_said() -> None:  # R3
    room = Room(said("a"), said("x" * 40), said("b"), said("c"))
    assert ids(room.begin(refused={"b"})) == ["a", "c"]
    assert room.replay.take_left_out() == ("x" * 40, "b")
    assert room.replay.take_left_out() == ()
    assert room.conversation.ids() == ["a", "c"]
    assert [event.item_id for event in room.told_events(ItemDeleted)] == ["x" * 40, "b"]


def test_an_item_that_the_new_server_refuses_is_left_out() -> None:  # R3
    room = Room(said("a"), said("b"), said("c"))
    room.begin()
    first, second, third = room.tray.commands
    room.tray.acknowledge(first)
    room.tray.refuse(second, CommandRefused("no"))
    assert not room.replay.settled
    assert room.replay.take_left_out() == ("b",)
    room.tray.acknowledge(third)
    assert room.replay.settled
    assert room.conversation.ids() == ["a", "c"]


def test_the_parts_of_a_message_stay_parts_and_what_was_heard_is_one() -> None:  # G14
    room = Room(
        said("a", "one", "two", role="assistant"), said("b", "three four", role="assistant")
    )
    cut = room.conversation.get("b")
    assert cut is not None
    cut.received_ms = 1000.0
    room.conversation.truncate("b", 500)
    whole, heard = room.begin()
    assert [part.text for part in whole.item.content] == ["one", "two"]
    assert [part.text for part in heard.item.content] == ["three"]
    assert (cut.retold_ms, cut.heard_ms, cut.received_ms) == (500, None, 0.0)


def test_messages_without_a_word_are_left_out() -> None:
    unheard = events.Message(
        role="user", content=[events.InputAudio(transcript=None)], id="unheard"
    )
    image = events.Message(role="user", content=[events.InputImage(image_url="data:,")], id="image")
    room = Room(said("a"), said("empty", "", ""), unheard, image, said("half", "", "b"))
    assert [str(item.id) for item in room.replay.items({})] == ["a", "image", "half"]
    sent = room.begin(spoken={"unheard": b"\x01\x00"})
    assert ids(sent) == ["a", "unheard", "image", "half"]
    assert sent[1].item.content == [events.InputAudio(audio="AQA=")]
    assert room.replay.take_left_out() == ("empty",)


@pytest.mark.parametrize("status", ["in_progress", "incomplete"])
def test_a_call_that_was_cut_off_goes_with_its_output(status: str) -> None:  # T9
    room = Room(call("call", status=status), output("output"), said("a"))
    assert ids(room.begin()) == ["a"]
    assert room.replay.take_left_out() == ("call", "output")


def test_a_call_that_was_whole_is_said_with_its_output_and_an_output_alone_is_not() -> None:  # T9
    room = Room(call("call", status="completed"), output("output"), output("lost", "c2"))
    assert ids(room.begin()) == ["call", "output"]
    assert room.replay.take_left_out() == ("lost",)


def test_a_call_that_is_whole_is_said_with_its_arguments_whatever_the_item_says() -> None:  # T9
    room = Room(call("call", status="in_progress", arguments=""))
    running = Generation(
        "r1",
        origin=GenerationOrigin.SERVER,
        in_conversation=True,
        metadata={},
        created_at=0.0,
        requested_at=None,
        audio_rate=24_000,
    )
    whole = GeneratedCall("call", running, "look", "c1")
    whole.arguments = '{"a":1}'
    room.requests.expect_output(whole)
    (sent,) = room.begin()
    assert sent.item.arguments == '{"a":1}'


def test_what_is_the_services_own_is_left_out() -> None:
    own = events.McpCall(id="own", name="n", arguments="{}", server_label="s")
    room = Room(said("a"), own, events.UnknownItem(type="dance", data={"id": "odd"}))
    assert ids(room.begin()) == ["a"]
    assert room.replay.take_left_out() == ("own", "odd")


def test_an_item_that_is_being_deleted_is_gone() -> None:  # C9
    room = Room(said("a"), said("b"))
    gone = room.ask(events.ConversationItemDelete(item_id="b", event_id="mine"))
    assert ids(room.begin()) == ["a"]
    assert gone.result() == "b"
    assert room.conversation.ids() == ["a"]
    assert room.replay.take_left_out() == ()


def test_the_deletion_of_what_is_not_said_again_has_succeeded() -> None:  # C9
    room = Room(said("a"))
    gone = room.ask(events.ConversationItemDelete(item_id="never", event_id="mine"))
    room.begin()
    assert gone.result() == "never"


def test_an_edit_that_nobody_answered_is_made_again_under_its_id() -> None:  # R3
    room = Room(said("a"))
    command = room.ask(create(said("new"), previous_item_id="a"))
    again = room.ask(create(said("timed"), "other"), at=3.0)  # its clock runs: it was sent here
    sent = room.begin()
    assert [event.event_id for event in sent[1:]] == ["mine"]
    assert (sent[1].previous_item_id, sent[1].item.id) == ("a", "new")
    assert command.deadline == 10.0
    assert again.deadline == 3.0
    assert not room.replay.is_own(command)
    assert room.replay.replayed == 1


@pytest.mark.parametrize(
    ("place", "now"),
    [
        (UNSET, UNSET),
        (None, None),
        ("root", "root"),
        ("b", "b"),
        ("never there", UNSET),
        ("x" * 40, "b"),
        ("y" * 40, "b"),
    ],
)
def test_an_edit_goes_where_its_place_is_now(place: Any, now: Any) -> None:  # R3, C3
    room = Room(said("a"), said("b"), said("x" * 40), said("y" * 40))
    room.ask(create(said("new"), previous_item_id=place))
    assert room.begin()[-1].previous_item_id == now


def test_an_edit_at_a_beginning_that_is_gone_goes_to_the_beginning() -> None:  # R3, C3
    room = Room(said("x" * 40), said("b"))
    room.ask(create(said("new"), previous_item_id="x" * 40))
    assert room.begin()[-1].previous_item_id == "root"


def test_edits_that_follow_each_other_still_do() -> None:  # R3, C3
    room = Room(said("a"))
    room.ask(create(said("one"), "e1", previous_item_id="root"))
    room.ask(create(said("two"), "e2", previous_item_id="one"))
    assert [event.previous_item_id for event in room.begin()[1:]] == ["root", "one"]


def test_a_server_may_call_an_item_root() -> None:  # R3, R10
    room = Room(said("root", ""))
    room.ask(create(said("one"), "e1", previous_item_id="root"))
    assert [event.previous_item_id for event in room.begin()] == ["root"]


def test_an_item_called_root_is_left_out() -> None:  # R3, R10
    room = Room(said("one"), said("root", "Who am I?"), said("two"))
    assert [item.id for item in room.replay.items({})] == ["one", "two"]
    assert [event.item.id for event in room.begin()] == ["one", "two"]
    assert room.replay.left_out == ["root"]


def test_an_output_on_its_way_needs_its_call_there_or_on_its_way() -> None:  # T9
    room = Room(call("call", "c1"))
    kept = room.ask(create(output("o1", "c1"), "e1"))
    refused = room.ask(create(output("o2", "c2"), "e2"))
    room.ask(create(call("coming", "c3"), "e3"))
    later = room.ask(create(output("o3", "c3"), "e4"))
    assert ids(room.begin()) == ["call", "o1", "coming", "o3"]
    assert refused.outcome is Outcome.REFUSED
    assert "'c2'" in str(refused.error)
    assert kept.outcome is later.outcome is None


def test_an_output_that_was_not_answered_in_time_goes_behind_its_call() -> None:  # T9
    room = Room(call("call"), said("a"))
    room.replay.keep(room.ask(create(output("o1"))))
    room.replay.keep(room.ask(create(said("no output"), "e2"), at=1.0))
    room.replay.keep(room.ask(create(output("o2", "never called"), "e3"), at=1.0))
    room.tray.commands.end_all(CommandRefused("late"))
    assert ids(room.begin()) == ["call", "o1", "a"]
    (added,) = room.told_events(ItemAdded)
    assert (added.entry.id, added.orphaned) == ("o1", False)
    room.tray.commands.end_all(CommandRefused("lost again"))
    room.tray.session_events.clear()
    assert ids(room.begin()) == ["call", "o1", "a"]
    assert not room.told_events(ItemAdded)


@pytest.mark.parametrize(
    ("place", "order"),
    [
        ("a", ["a", "moved", "b"]),
        ("root", ["moved", "a", "b"]),
        (UNSET, ["a", "b", "moved"]),
        ("gone", ["a", "b", "moved"]),
    ],
)
def test_an_item_that_took_the_place_of_one_is_kept_where_nobody_answers(
    place: Any, order: list[str]
) -> None:  # C3
    room = Room(said("a"), said("b"))
    sound = events.Message(role="user", content=[events.InputAudio(audio="AQA=")], id="moved")
    command = room.ask(create(sound, previous_item_id=place))
    command.replaces = True
    room.replay.keep(command)
    room.tray.commands.end_all(CommandRefused("late"))
    sent = room.begin()
    assert ids(sent) == order
    assert sent[order.index("moved")].item == sound  # with its sound
    (added,) = room.told_events(ItemAdded)
    assert (added.entry.id, added.orphaned) == ("moved", False)


def test_what_was_kept_is_not_said_where_it_is_there_or_was_there() -> None:  # C3, T9
    room = Room(said("a"), said("there"), call("call"))
    for number, item in enumerate((said("there", "new"), said("was there"), output("o1"))):
        command = room.ask(create(item, f"e{number}"), at=1.0)
        command.replaces = True
        room.replay.keep(command)
    del room.replay.kept["was there"]  # its answer came late, and somebody deleted it then
    del room.replay.kept["o1"]
    room.tray.commands.end_all(CommandRefused("late"))
    assert ids(room.begin()) == ["a", "there", "call"]
    assert not room.told_events(ItemAdded)


def test_a_server_that_stops_to_answer_is_told_from_an_answer_that_is_lost() -> None:  # R3
    room = Room(said("a"), said("b"), said("c"))
    room.begin()
    a, b, c = room.tray.commands
    assert not room.replay.stuck
    room.tray.acknowledge(a)
    assert not room.replay.settled
    assert not room.replay.stuck
    room.tray.commands.expire(10.0)
    assert b.outcome is Outcome.DEADLINE
    assert room.replay.stuck
    room.tray.acknowledge(c)  # so it was one answer that was lost
    assert not room.replay.stuck
    assert room.replay.settled
    assert room.replay.take_left_out() == ("b",)
    assert not room.replay.stuck


def test_each_of_what_was_kept_is_looked_at() -> None:  # C3, T9
    room = Room(said("there"), call("call"))
    kept = (output("o0", "never called"), said("there", "new"), said("moved"), output("o1"))
    for number, item in enumerate(kept):
        command = room.ask(create(item, f"e{number}"), at=1.0)
        command.replaces = True
        room.replay.keep(command)
    room.tray.commands.end_all(CommandRefused("late"))
    assert ids(room.begin()) == ["there", "call", "o1", "moved"]


def test_a_long_conversation_is_said_whatever_is_outstanding() -> None:  # R3
    room = Room(said("a"), said("b"), said("c"))
    room.tray.commands = CommandTable(limit=1)
    assert ids(room.begin()) == ["a", "b", "c"]


def test_what_is_replaced_on_the_way_is_lost_by_no_loss_between_both_halves() -> None:  # R3, N4
    room = Room(said("a", "new words"), said("b"))
    old, b = said("a", "old words"), said("b")
    deletion, creation = room.begin(old, b)
    assert (deletion.item_id, creation.item.id) == ("a", "a")
    room.conversation.remove("a")  # the deletion is answered, and then the connection goes
    room.tray.commands.end_all(CommandRefused("lost"))
    assert ids(room.begin()) == ["a", "b"]
    assert not room.replay.left_out


def test_what_is_taken_out_on_the_way_is_lost_by_no_loss_behind_it() -> None:  # R3
    room = Room(said("a"))
    (deletion,) = room.begin(said("a"), said("gone"))
    assert deletion.item_id == "gone"
    room.tray.commands.end_all(CommandRefused("lost"))
    assert ids(room.begin()) == ["a"]


def test_what_is_replaced_and_refused_stays_away() -> None:  # R3
    room = Room(said("a", "new words"), said("b"))
    room.begin(said("a", "old words"), said("b"))
    room.conversation.remove("a")
    for command in room.tray.commands:
        room.tray.refuse(command, CommandRefused("no"))
    assert room.replay.settled
    assert room.replay.take_left_out() == ("a", "a")
    assert ids(room.begin()) == ["b"]


def test_only_what_is_new_at_the_very_end_is_said_without_a_place() -> None:
    events_of = retold([said("b")], [said("a"), said("b"), said("c"), said("d")])
    assert [event.previous_item_id for event in events_of] == ["root", UNSET, UNSET]  # type: ignore[union-attr]
