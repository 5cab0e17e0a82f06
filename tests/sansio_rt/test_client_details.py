"""What commands carry, what they are called, and what is said when they cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from pair import MANUAL, Pair, of, only
from server_says import message, refusal

from sansio_rt import (
    CommandKind,
    GenerationEnded,
    GenerationStarted,
    ItemDeleted,
    Limits,
    LocalProtocolError,
    Outcome,
    RawClientEvent,
    SequentialIds,
    StrayEvent,
    events,
)
from sansio_rt._commands import Command
from sansio_rt._generations import GeneratedMessage


def written() -> Pair:
    """A conversation of two messages, whose raw events are shown."""
    pair = Pair(client={"ids": SequentialIds("q")}).connect()
    pair.client.raw_events = True
    for item_id in ("one", "two"):
        pair.client.send_message("Hi", item_id=item_id)
    pair.run()
    return pair


# --- ids and values ---------------------------------------------------------------------------


def test_each_id_tells_what_it_is_of() -> None:
    pair = written()
    pair.client.send_message("no id")
    reply = pair.client.generate_reply()
    pair.run()
    pair.client.interrupt()
    pair.client.update(instructions="Other.")
    pair.client.retrieve_item("one")
    pair.client.delete_item("two")
    interrupt = pair.client.interrupt()
    pair.run()
    sent = [raw.event for raw in of(RawClientEvent, pair.events)]
    assert len(sent) > 6
    assert all(str(event.event_id).startswith("event_q") for event in sent)
    items = [event.item for event in sent if isinstance(event, events.ConversationItemCreate)]
    assert [item.id for item in items][:2] == ["one", "two"]
    assert str(items[2].id).startswith("item_q")
    assert reply.event_id.startswith("event_q")
    assert interrupt.event_id.startswith("event_q")


def test_what_edits_bring() -> None:
    pair = written()
    created = pair.client.send_message("Hi", item_id="three")
    retrieved = pair.client.retrieve_item("one")
    deleted = pair.client.delete_item("two")
    pair.run()
    assert created.result() is pair.client.conversation.get("three")
    item = retrieved.result()
    assert isinstance(item, events.Message)
    assert item.id == "one"
    assert deleted.result() == "two"


def test_a_refused_edit_is_named_by_its_event() -> None:
    pair = written().lose()
    for command in (pair.client.retrieve_item("one"), pair.client.delete_item("one")):
        pair.inject(refusal("x", command.event_id))
        assert command.outcome is Outcome.REFUSED


def test_a_cut_brings_the_item_that_was_cut() -> None:
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("One two three four.", seconds=2)
    item_id = pair.client.conversation.ids()[-1]
    cut = pair.client.truncate(item_id, audio_end_ms=1_000)
    pair.run()
    assert cut is not None
    assert cut.result() == item_id


# --- what cannot be ---------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["delete_item", "retrieve_item"])
def test_an_item_that_is_not_there_is_named_with_the_call(call: str) -> None:
    with pytest.raises(LocalProtocolError, match=rf"^{call}\('nobody'\): "):
        getattr(written().client, call)("nobody")


def test_an_id_is_free_when_its_item_is_gone_or_going() -> None:
    pair = written()
    with pytest.raises(LocalProtocolError, match=r"'one' is in the .* or delete it first$"):
        pair.client.send_message("Hi", item_id="one")
    pair.client.send_message("Hi", item_id="three")
    with pytest.raises(LocalProtocolError, match=r"'three' is on its way to .* or wait for it$"):
        pair.client.send_message("Hi", item_id="three")
    pair.client.delete_item("one")
    pair.client.send_message("Again", item_id="one")
    pair.run()
    assert pair.client.conversation.ids() == ["two", "three", "one"]


def test_an_item_that_the_service_does_not_know_is_gone_here_too() -> None:  # C9
    pair = written().lose()
    delete = pair.client.delete_item("one")
    pair.inject(refusal("item_delete_invalid_item_id", delete.event_id))
    assert pair.client.conversation.ids() == ["two"]
    assert only(ItemDeleted, pair.events).item_id == "one"


def test_what_the_session_asks_for_by_itself_needs_no_room() -> None:
    pair = Pair(client={"limits": Limits(max_pending_commands=1)}).connect().lose()
    reply = pair.client.generate_reply()
    with pytest.raises(LocalProtocolError, match="max_pending_commands"):
        pair.client.send_message("Hi")
    interrupt = pair.client.interrupt()
    assert interrupt.event_id.startswith("event_c")
    assert reply.outcome is interrupt.outcome is None


# --- what is shown ----------------------------------------------------------------------------


def test_a_message_shows_whether_it_goes_on() -> None:
    pair = Pair(MANUAL).connect()
    pair.client.generate_reply()
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    session.begin_message(response_id, pair.now)
    session.push_text(response_id, "Hello.", pair.now)
    session.push_audio(response_id, bytes(9_600), pair.now)
    pair.run()
    generation = only(GenerationStarted, pair.events).generation
    (said,) = generation.messages.values()
    assert isinstance(said, GeneratedMessage)
    assert repr(said) == f"<GeneratedMessage {said.id} open 'Hello.'>"
    session.finish(response_id, pair.now)
    pair.run()
    assert repr(said) == f"<GeneratedMessage {said.id} done 'Hello.'>"


def test_a_stray_event_comes_out_as_it_came() -> None:
    pair = Pair().connect()
    part = {"response_id": "r9", "item_id": "i", "output_index": 0, "content_index": 0}
    pair.inject(message("response.output_text.delta", **part, delta="x"))
    stray = only(StrayEvent, pair.events)
    assert isinstance(stray.event, events.ResponseOutputTextDelta)
    assert stray.event.response_id == "r9"


# --- counts -----------------------------------------------------------------------------------


def test_counts_without_details_of_the_cache() -> None:  # M6
    pair = Pair().connect()
    usage = {
        "total_tokens": 9,
        "input_tokens": 5,
        "output_tokens": 4,
        "input_token_details": {"text_tokens": 5, "cached_tokens": 1},
    }
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    pair.inject(
        message("response.created", response=response),
        message("response.done", response={**response, "status": "completed", "usage": usage}),
    )
    metrics = only(GenerationEnded, pair.events).generation.metrics
    assert (metrics.input_text_tokens, metrics.cached_tokens) == (5, 1)
    assert (metrics.cached_text_tokens, metrics.output_text_tokens) == (None, None)


@pytest.mark.parametrize("status", ["cancelled", "failed", "incomplete", "completed"])
def test_an_end_that_says_no_reason_has_none(status: str) -> None:
    pair = Pair().connect()
    response = {"id": "r1", "conversation_id": "c"}
    pair.inject(
        message("response.created", response={**response, "status": "in_progress"}),
        message("response.done", response={**response, "status": status}),
    )
    generation = only(GenerationEnded, pair.events).generation
    assert (generation.status.value, generation.reason, generation.error) == (status, "", None)


def test_an_end_of_what_nobody_knows_is_none() -> None:
    pair = Pair().connect()
    pair.client._responses.end_unanswered("nobody")
    assert pair.run() == []


# --- odds and ends ----------------------------------------------------------------------------


def test_a_command_begins_with_nothing() -> None:
    command = Command("event_1", CommandKind.REPLY, "key")
    assert (command.outcome, command.error, command.event, command.value) == (None,) * 4
    assert (command.deadline, command.abandoned) == (None, False)


@pytest.mark.parametrize(
    ("role", "part"),
    [
        ("user", events.InputText(text="Hi")),
        ("system", events.InputText(text="Hi")),
        ("assistant", events.OutputText(text="Hi")),
    ],
)
def test_a_text_is_a_part_of_the_kind_that_its_role_takes(role: str, part: Any) -> None:  # C6
    pair = Pair().connect()
    pair.client.send_message("Hi", role=role, item_id="mine")
    pair.run()
    entry = pair.client.conversation.get("mine")
    assert entry is not None
    assert entry.item.content == [part]  # type: ignore[union-attr]


def test_an_end_without_a_beginning_has_its_place_and_its_id() -> None:  # C2
    pair = written()
    item = {"id": "three", "type": "message", "role": "user", "content": []}
    pair.inject(message("conversation.item.done", item=item, previous_item_id="one"))
    assert pair.client.conversation.ids() == ["one", "three", "two"]


def test_the_end_of_an_item_without_an_id_comes_out_as_it_came() -> None:
    pair = written()
    item = {"type": "message", "role": "user", "content": []}
    pair.inject(message("conversation.item.done", item=item, previous_item_id="one"))
    stray = only(StrayEvent, pair.events)
    assert (stray.event.event_id, stray.event.previous_item_id) == ("e", "one")


def test_strays_say_what_is_odd_about_them() -> None:
    pair = Pair(client={"limits": Limits(max_open_responses=1)}).connect()
    item = {"type": "message", "role": "user", "content": []}
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    odd = [
        message("conversation.item.added", item=item, previous_item_id=None),
        message("response.done", response={"id": "r9", "status": "completed"}),
        message("response.created", response=response),
        message("response.created", response=response),
        message("response.created", response={**response, "id": "r2"}),
    ]
    pair.inject(*odd)
    assert [(stray.reason, stray.event.type) for stray in of(StrayEvent, pair.events)] == [
        ("an item without an id", "conversation.item.added"),
        ("the end of a response that is not running", "response.done"),
        ("a response that was created before", "response.created"),
        ("more open responses than Limits.max_open_responses", "response.created"),
    ]


def test_a_place_before_what_is_going_is_kept() -> None:  # C3
    pair = written()
    pair.client.send_message("Hi", item_id="three", role="assistant")
    pair.run()
    pair.client.delete_item("two")
    pair.client.truncate("three", heard_text="H")
    pair.run()
    assert pair.client.conversation.ids() == ["one", "three"]
    assert [item.id for item in pair.server.session.items] == ["one", "three"]


def test_a_text_that_is_cut_twice_at_once_is_cut_once() -> None:  # C3
    pair = written()
    pair.client.send_message("Hello", item_id="three", role="assistant")
    pair.run()
    cut = pair.client.truncate("three", heard_text="Hell")
    outstanding = len(pair.client.commands)
    assert pair.client.truncate("three", heard_text="Hell") is cut
    assert len(pair.client.commands) == outstanding
    pair.run()
    assert [entry.text for entry in pair.client.conversation] == ["Hi", "Hi", "Hell"]


def test_a_cut_text_gets_an_id_of_ours_where_the_servers_is_too_long() -> None:  # C3
    pair = written().lose()
    part = {"type": "output_text", "text": "Hello"}
    item = {"id": "x" * 40, "type": "message", "role": "assistant", "content": [part]}
    pair.inject(message("conversation.item.added", item=item, previous_item_id="two"))
    command = pair.client.truncate("x" * 40, heard_text="He")
    assert command is not None
    assert command.key.startswith("item_q")


def test_every_setting_of_a_reply_is_sent() -> None:  # G1, G3
    def look(at: str) -> str:
        """Looks."""
        return at

    pair = Pair().connect()
    pair.client.raw_events = True
    item = events.Message(role="user", content=[events.InputText(text="Hi")], id="mine")
    command = pair.client.generate_reply(
        instructions="Speak.",
        tools=[look],
        tool_choice="look",
        modalities=["text"],
        input=[item],
        conversation="none",
        metadata={"mine": "1"},
        max_output_tokens=7,
    )
    sent = only(RawClientEvent, list(iter(pair.client.next_event, None))).event
    assert sent.event_id == command.event_id
    params = sent.response
    assert (params.instructions, params.output_modalities) == ("Speak.", ["text"])
    assert [tool.name for tool in params.tools] == ["look"]
    assert params.tool_choice == events.ToolChoiceFunction(name="look")
    assert (params.input, params.conversation, params.max_output_tokens) == ([item], "none", 7)
    assert params.metadata == {"mine": "1", "client_event_id": command.event_id}


def test_a_reply_beside_the_conversation_is_beside_it_whatever_the_server_says() -> None:  # G4
    pair = Pair().connect().lose()
    command = pair.client.generate_reply(conversation="none")
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    metadata = {"client_event_id": command.event_id}
    pair.inject(message("response.created", response={**response, "metadata": metadata}))
    assert not only(GenerationStarted, pair.events).generation.in_conversation
