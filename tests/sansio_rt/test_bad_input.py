"""Calls that cannot work: each says which argument and what to do, and changes nothing (issue 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pair import MANUAL, SECOND, Pair
from state_summary import summary

from sansio_rt import (
    ClientProtocol,
    ConfigurationError,
    Limits,
    LocalProtocolError,
    RetryPolicy,
    ServerVad,
    SessionConfig,
    Timing,
    ToolDefinitionError,
    events,
)

Call = Callable[[ClientProtocol], object]


def look(at: str = "it") -> str:
    """Looks."""
    return at


def positional(first: int, /) -> None:
    """A parameter without a name for the model."""


def starred(*rest: int) -> None:
    """Any number of parameters."""


def bare(first) -> None:  # type: ignore[no-untyped-def]
    """A parameter without a type."""


def unsupported(first: complex) -> None:
    """A type that JSON does not have."""


def user(text: str, item_id: str) -> events.Message:
    return events.Message(role="user", content=[events.InputText(text=text)], id=item_id)


@pytest.fixture
def talked() -> Pair:
    """A session with a user's message, a spoken answer `spoken` and a written one `written`."""
    pair = Pair(client={"tools": [look]}).connect()
    pair.client.send_message("a", item_id="users")
    pair.client.push_audio(SECOND[:1_000])
    pair.client.push_audio(SECOND[:2_000], rate=8_000)
    pair.client.generate_reply()
    pair.run()
    pair.speak("an answer")
    part = events.OutputText(text="written words")
    pair.client.create_item(events.Message(role="assistant", content=[part], id="written"))
    pair.run()
    return pair


def refused(pair: Pair, call: Call, words: str, kind: type = LocalProtocolError) -> None:
    before = summary(pair.client)
    with pytest.raises(kind, match=words):
        call(pair.client)
    assert summary(pair.client) == before  # bytes to be sent are part of it


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (positional, "first"),
        (starred, "rest"),
        (bare, "first"),
        (unsupported, "first"),
        ("no function", "no function"),
    ],
)
def test_functions_that_cannot_become_tools(talked: Pair, function: Any, words: str) -> None:  # T3
    refused(talked, lambda c: c.generate_reply(tools=[function]), words, ToolDefinitionError)
    refused(talked, lambda c: c.update(tools=[look, function]), words, ToolDefinitionError)
    with pytest.raises(ToolDefinitionError, match=words):
        SessionConfig(tools=[function])


def test_two_tools_of_one_name(talked: Pair) -> None:  # T3
    refused(talked, lambda c: c.generate_reply(tools=[look, look]), "look", ToolDefinitionError)
    refused(talked, lambda c: c.update(tools=[look, look]), "look", ToolDefinitionError)
    raw = events.FunctionTool(name="look")
    refused(talked, lambda c: c.update(tools=[look, raw]), "look", ToolDefinitionError)


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.delete_item("nobody"),
        lambda c: c.retrieve_item("nobody"),
        lambda c: c.truncate("nobody", audio_end_ms=100),
        lambda c: c.truncate("nobody", heard_text=""),
        lambda c: c.send_tool_output("nobody", "x"),
        lambda c: c.send_message("x", previous_item_id="nobody"),
        lambda c: c.create_item(
            events.FunctionCallOutput(call_id="c", output="x"), previous_item_id="nobody"
        ),
    ],
)
def test_unknown_ids(talked: Pair, call: Call) -> None:
    refused(talked, call, "'nobody'")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"audio_end_ms": -1}, "audio_end_ms=-1"),
        ({"audio_end_ms": -0.5}, r"audio_end_ms=-0\.5"),
        ({"audio_end_ms": float("nan")}, "audio_end_ms=nan"),
        ({"audio_end_ms": "100"}, "audio_end_ms='100'"),
        ({"audio_end_ms": 60_000}, "audio_end_ms=60000 is beyond the 1000 ms that were received"),
        ({"audio_end_ms": 1101}, "is beyond the 1000 ms"),
        ({"audio_end_ms": float("inf")}, "audio_end_ms=inf is beyond"),
        ({"audio_end_ms": 100, "heard_text": "an"}, "audio_end_ms or"),
        ({}, "audio_end_ms or"),
        ({"heard_text": "not what it says"}, "heard_text"),
        ({"heard_text": 7}, "heard_text"),
    ],
)
def test_cuts_that_cannot_be(talked: Pair, arguments: dict[str, Any], words: str) -> None:
    spoken = next(e.id for e in talked.client.conversation if e.role == "assistant")
    refused(talked, lambda c: c.truncate(spoken, **arguments), words)


@pytest.mark.parametrize(
    "arguments",
    [{"audio_end_ms": -1}, {"audio_end_ms": 60_000}, {"heard_text": "not what it says"}],
)
def test_cuts_that_cannot_be_while_the_connection_is_away(arguments: dict[str, Any]) -> None:
    pair = Pair(client={"retry": RetryPolicy()}).connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("an answer")
    (entry,) = pair.client.conversation
    pair.client.receive_eof(pair.now)
    assert pair.client.reconnecting
    refused(pair, lambda c: c.truncate(entry.id, **arguments), next(iter(arguments)))
    pair.client.truncate(entry.id, audio_end_ms=int(entry.received_ms) + 100)
    assert entry.heard_ms == entry.received_ms
    pair.client.truncate(entry.id, heard_text="an")
    assert entry.text == "an"


def test_an_item_cannot_follow_one_that_goes(talked: Pair) -> None:
    talked.client.delete_item("written")
    words = "'written': the item is being deleted; give one of .*'root'"
    refused(talked, lambda c: c.send_message("x", previous_item_id="written"), words)


def test_an_item_cannot_follow_one_that_is_not_there(talked: Pair) -> None:
    words = "'nobody': the item is not there; give one of .*'root'"
    refused(talked, lambda c: c.send_message("x", previous_item_id="nobody"), words)


def test_an_item_may_follow_the_beginning_the_end_and_what_is_on_its_way(talked: Pair) -> None:
    first = talked.client.send_message("1", item_id="first", previous_item_id="root")
    second = talked.client.send_message("2", item_id="second", previous_item_id="first")
    third = talked.client.send_message("3", item_id="third", previous_item_id="written")
    talked.run()
    for command in (first, second, third):
        command.result()
    ids = talked.client.conversation.ids()
    assert ids[:2] == ["first", "second"]
    assert ids[-2:] == ["written", "third"]


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.generate_reply(instructions="\ud800"),
        lambda c: c.generate_reply(metadata={"key": "\ud800"}),
        lambda c: c.send_message("\ud800"),
        lambda c: c.update(instructions="\ud800"),
    ],
)
def test_text_that_is_no_unicode(talked: Pair, call: Call) -> None:
    refused(talked, call, "cannot be written as JSON")


def test_cuts_of_what_has_no_audio_or_is_no_answer(talked: Pair) -> None:
    refused(talked, lambda c: c.truncate("written", audio_end_ms=100), "heard_text")
    refused(talked, lambda c: c.truncate("users", audio_end_ms=100), "assistant")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: c.send_message(""), "empty"),
        (lambda c: c.send_message([]), "empty"),
        (lambda c: c.send_message(7), "content"),
        (lambda c: c.send_message([7]), "content"),
        (lambda c: c.send_message("x", role="robot"), "role"),
        (lambda c: c.send_message("x", item_id="i" * 33), "id"),
        (lambda c: c.send_message("x", item_id="users"), "'users'"),
        (lambda c: c.send_message("x", previous_item_id=""), "previous_item_id"),
        (lambda c: c.send_message([events.OutputText(text="x")]), r"content\[0\]"),
        (lambda c: c.create_item(events.FunctionCallOutput(call_id="", output="x")), "call_id"),
        (
            lambda c: c.create_item(
                events.Message(
                    role="assistant", content=[events.OutputAudio(audio="AAAA", transcript="x")]
                )
            ),
            "transcript",
        ),
    ],
)
def test_items_that_cannot_be_sent(talked: Pair, call: Call, words: str) -> None:
    refused(talked, call, words)


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([user("x", "twice"), user("y", "twice")], "twice"),
        ([user("x", "i" * 33)], "id"),
        ([user("x", "root")], "root"),
        ([events.Message(role="robot", content=[], id="r")], "role"),
    ],
)
def test_edits_that_cannot_be_made(
    talked: Pair, items: list[events.Item], words: str
) -> None:  # C4
    refused(talked, lambda c: c.update_conversation(items), words)
    refused(talked, lambda c: c.update_conversation(items, base=[]), words)


def test_edits_of_items_that_are_on_their_way(talked: Pair) -> None:  # C4
    item = user("x", "new")
    items = [*talked.client.conversation.items(), item]
    talked.client.update_conversation(items)
    talked.client.data_to_send()
    refused(talked, lambda c: c.update_conversation(items[1:]), "'new'")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tool_choice": "no_such_tool"}, "no_such_tool"),
        ({"tool_choice": "look", "tools": []}, "look"),
        ({"tool_choice": "not a name"}, "tool_choice"),
        ({"modalities": ["smell"]}, "output_modalities"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": "many"}, "max_output_tokens"),
        ({"instructions": 7}, "instructions"),
        ({"metadata": {"k": 7}}, "metadata"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"metadata": {f"k{index}": "v" for index in range(16)}}, "metadata"),
        ({"metadata": {"client_event_id": "mine"}}, "client_event_id"),
        ({"input": [user("x", "")]}, "input"),
    ],
)
def test_replies_that_cannot_be_asked_for(
    talked: Pair, options: dict[str, Any], words: str
) -> None:  # G1
    refused(talked, lambda c: c.generate_reply(**options), words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"no_such_setting": 1}, "no_such_setting"),
        ({"speed": 9}, "speed"),
        ({"speed": float("nan")}, "speed"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"voice": ""}, "voice"),
        ({"voice": 7}, "voice"),
        ({"turn_detection": ServerVad(threshold=2.0)}, "threshold"),
        ({"turn_detection": ServerVad(silence_duration_ms=-1)}, "silence_duration_ms"),
        ({"tool_choice": "no_such_tool"}, "no_such_tool"),
        ({"output_modalities": ["smell"]}, "output_modalities"),
        ({"include": ["everything"]}, "include"),
    ],
)
def test_settings_that_cannot_be(talked: Pair, changes: dict[str, Any], words: str) -> None:  # S3
    refused(talked, lambda c: c.update(**changes), words)


@pytest.mark.parametrize(
    ("audio", "options", "words"),
    [
        (b"\x00", {}, "1 bytes"),
        (bytes(6), {"channels": 2}, "3 samples"),
        (bytes(4), {"channels": 0}, "channels"),
        (bytes(4), {"rate": 0}, "rate"),
        (bytes(4), {"rate": -8_000}, "rate"),
        (bytes(4), {"rate": float("nan")}, "rate"),
        (np.array([0.0, np.nan]), {}, "NaN"),
        (np.array([0.0, -np.inf]), {}, "infinity"),
        (np.array([0.0, 3.0]), {}, "32768"),
        (np.zeros(4, dtype=np.int32), {}, "int32"),
        ("text", {}, "str"),
        (None, {}, "NoneType"),
    ],
)
def test_audio_that_is_none(
    talked: Pair, audio: Any, options: dict[str, Any], words: str
) -> None:  # A1
    refused(talked, lambda c: c.push_audio(audio, **options), words)


def test_a_full_table_of_commands_takes_nothing_more() -> None:
    pair = Pair(client={"limits": Limits(max_pending_commands=3), "tools": [look]}).connect()
    part = events.OutputText(text="one two")
    pair.client.create_item(events.Message(role="assistant", content=[part], id="written"))
    pair.client.push_audio(SECOND)
    pair.client.generate_reply()
    pair.run()
    response_id = pair.wanted_reply().response_id
    pair.server.session.call_function(response_id, "look", "{}", pair.now)
    pair.run()
    (call_id,) = pair.client._requests.calls
    pair.client.send_message("a")
    pair.client.send_message("b")
    assert len(pair.client.commands) == 2
    refused(pair, lambda c: c.truncate("written", heard_text="one"), "max_pending_commands")
    pair.client.send_message("c")
    for call in (
        lambda c: c.send_message("d"),
        lambda c: c.delete_item("written"),
        lambda c: c.retrieve_item("written"),
        lambda c: c.update_conversation([]),
        lambda c: c.commit_audio(),
        lambda c: c.clear_audio(),
        lambda c: c.generate_reply(),
        lambda c: c.send_tool_output(call_id, "seen"),
        lambda c: c.update(instructions="x"),
    ):
        refused(pair, call, "max_pending_commands")
    pair.run()
    pair.server.session.finish(response_id, pair.now)
    pair.run()
    pair.client.send_tool_output(call_id, "seen")


@pytest.mark.parametrize("state", ["idle", "connecting", "closing", "closed"])
def test_calls_without_a_connection(talked: Pair, state: str) -> None:
    if state in ("idle", "connecting"):
        talked = Pair()
    if state == "connecting":
        talked.client.connect(0.0)
    if state in ("closing", "closed"):
        talked.client.close()
    if state == "closed":
        talked.run()
    talked.client.data_to_send()
    calls: list[Call] = [
        lambda c: c.push_audio(SECOND),
        lambda c: c.commit_audio(),
        lambda c: c.clear_audio(),
        lambda c: c.send_message("x"),
        lambda c: c.create_item(user("x", "x")),
        lambda c: c.delete_item("users"),
        lambda c: c.retrieve_item("users"),
        lambda c: c.update_conversation([]),
        lambda c: c.truncate("users", audio_end_ms=5),
        lambda c: c.generate_reply(),
        lambda c: c.interrupt(),
        lambda c: c.update(instructions="x"),
        lambda c: c.send(events.InputAudioBufferClear()),
    ]
    for call in calls:
        refused(talked, call, state)


def test_a_second_connection_beside_the_first(talked: Pair) -> None:
    refused(talked, lambda c: c.connect(0.0), "close it first")


@pytest.mark.parametrize(
    "options",
    [
        {"connect_timeout_s": -1.0},
        {"answer_timeout_s": 0.0},
        {"close_timeout_s": float("nan")},
    ],
)
def test_times_that_are_none(options: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Timing(**options)


@pytest.mark.parametrize("frame_ms", [0, -20, 9, 5_001, 20.5, float("nan")])
def test_frames_that_are_none(frame_ms: Any) -> None:  # A1
    with pytest.raises(LocalProtocolError, match="frame_ms"):
        Pair(MANUAL, client={"frame_ms": frame_ms})


@pytest.mark.parametrize(
    "options",
    [
        {"max_message_bytes": 0},
        {"max_pending_commands": -1},
        {"max_open_responses": 0},
        {"max_text_recoveries": -1},
        {"max_stream_bytes": 0},
        {"max_output_bytes": -5},
    ],
)
def test_limits_that_let_nothing_through(options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Limits(**options)
