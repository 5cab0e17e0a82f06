"""The server's conversation: create, delete, retrieve, truncate (rules 7, 10, 11, 12)."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from sansio_rt._server_work import HistoryTurn, ReplyWanted, TranscriptionWanted

ASSISTANT = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "I said so."}],
}


def text_item(text: str, **fields: Any) -> dict[str, Any]:
    part = {"type": "input_text", "text": text}
    return {"type": "message", "role": "user", "content": [part], **fields}


def ids(driver: Any) -> list[str]:
    return [item.id for item in driver.session.items]


def spoken_item(driver: Any, audio_ms: int = 300) -> str:
    """Have the server speak; gives the id of its item."""
    driver.send("response.create")
    answers = driver.reply(audio_ms=audio_ms)
    [done] = [event for event in answers if event["type"] == "response.output_item.done"]
    return str(done["item"]["id"])


def test_an_item_is_added_and_done(server: Any) -> None:
    driver = server()
    added, done = driver.send("conversation.item.create", item=text_item("hello", id="mine"))
    assert (added["type"], done["type"]) == ("conversation.item.added", "conversation.item.done")
    assert added["item"]["id"] == "mine"
    assert added["previous_item_id"] is None
    assert added["item"]["status"] == "completed"
    [second, _] = driver.send("conversation.item.create", item=text_item("again"))
    assert second["previous_item_id"] == "mine"


def test_where_an_item_goes(server: Any) -> None:
    """Rule 10: left out or null is the end, `root` the beginning, else behind the named one."""
    driver = server()
    driver.say_text("one", id="one")
    driver.send("conversation.item.create", item=text_item("0", id="zero"), previous_item_id="root")
    driver.send("conversation.item.create", item=text_item("2", id="two"), previous_item_id=None)
    [added, _] = driver.send(
        "conversation.item.create", item=text_item("0.5", id="half"), previous_item_id="zero"
    )
    assert added["previous_item_id"] == "zero"
    assert ids(driver) == ["zero", "half", "one", "two"]


def part_of(role: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, **fields}]}


OUTPUT = {"type": "function_call_output", "call_id": "call_unseen", "output": "42"}
AUDIO = base64.b64encode(b"\0\0" * 2400).decode()
REFUSED_ITEMS = [
    ({"item": text_item("x", id="taken")}, "item_create_duplicate_item_id", "item.id"),
    ({"item": text_item("x", id="i" * 33)}, "string_above_max_length", "item.id"),
    (
        {"item": text_item("x"), "previous_item_id": "nowhere"},
        "item_create_invalid_previous_item_id",
        "previous_item_id",
    ),
    ({"item": OUTPUT}, "invalid_tool_call_id", "item.call_id"),
    ({"item": {"type": "poem"}}, "invalid_value", "item.type"),
    ({"item": part_of("robot", "input_text")}, "invalid_value", "item.role"),
    ({"item": part_of("user", "output_text")}, "invalid_value", "item.content[0].type"),
    ({"item": part_of("assistant", "input_text")}, "invalid_value", "item.content[0].type"),
    ({"item": part_of("system", "input_audio")}, "invalid_value", "item.content[0].type"),
    (
        {"item": part_of("user", "input_audio")},
        "missing_required_parameter",
        "item.content[0].audio",
    ),
    (
        {"item": part_of("user", "input_audio", audio="***")},
        "invalid_value",
        "item.content[0].audio",
    ),
    # Rule 12: assistant audio cannot be put into history.
    (
        {"item": part_of("assistant", "output_audio", audio=AUDIO)},
        "invalid_value",
        "item.content[0].audio",
    ),
    ({"item": text_item("x", mood="good")}, "unknown_parameter", "item.mood"),
]


@pytest.mark.parametrize(("fields", "code", "param"), REFUSED_ITEMS)
def test_a_bad_item_is_refused_and_nothing_is_added(
    server: Any, fields: dict[str, Any], code: str, param: str
) -> None:
    driver = server()
    driver.say_text("first", id="taken")
    error = driver.refused("conversation.item.create", **fields)
    assert (error["code"], error["param"]) == (code, param)
    assert ids(driver) == ["taken"]


def test_an_id_of_32_characters_is_fine(server: Any) -> None:
    """Rule 11."""
    driver = server()
    assert driver.say_text("hello", id="i" * 32) == "i" * 32


def test_an_assistant_transcript_can_be_put_into_history(server: Any) -> None:
    """Rule 12."""
    driver = server()
    item = part_of("assistant", "output_audio", transcript="I spoke.")
    [added, _] = driver.send("conversation.item.create", item=item)
    assert added["item"]["content"] == [{"type": "output_audio", "transcript": "I spoke."}]
    driver.send("response.create")
    assert driver.wanted(ReplyWanted).history == (HistoryTurn("assistant", "I spoke."),)


def test_a_tool_output_belongs_to_a_call_of_the_conversation(server: Any) -> None:
    driver = server()
    call = {"type": "function_call", "name": "roll", "call_id": "call_1", "arguments": "{}"}
    driver.send("conversation.item.create", item=call)
    output = {"type": "function_call_output", "call_id": "call_1", "output": "6"}
    [added, _] = driver.send("conversation.item.create", item=output)
    assert added["item"]["output"] == "6"
    driver.send("response.create")
    assert driver.wanted(ReplyWanted).history == (
        HistoryTurn("tool_call", "{}", name="roll", call_id="call_1"),
        HistoryTurn("tool_output", "6", call_id="call_1"),
    )


def test_audio_of_the_user_is_heard_before_the_reply(server: Any) -> None:
    driver = server()
    driver.send("conversation.item.create", item=part_of("user", "input_audio", audio=AUDIO))
    driver.send("response.create")
    wanted = driver.wanted(TranscriptionWanted)
    assert (len(wanted.pcm), wanted.rate, wanted.model) == (4800, 24_000, None)
    assert not any(isinstance(work, ReplyWanted) for work in driver.work)
    driver.session.transcribed(wanted.item_id, "what time is it", 0.0)
    assert driver.take() == []  # the service transcribes committed audio only
    assert driver.wanted(ReplyWanted).history == (HistoryTurn("user", "what time is it"),)


def test_a_whole_history_deleted_item_by_item(server: Any) -> None:
    driver = server()
    names = [driver.say_text(f"number {number}") for number in range(5)]
    for name in names:
        [deleted] = driver.send("conversation.item.delete", item_id=name)
        assert (deleted["type"], deleted["item_id"]) == ("conversation.item.deleted", name)
    assert ids(driver) == []
    error = driver.refused("conversation.item.delete", item_id=names[0])
    assert (error["code"], error["param"]) == ("item_delete_invalid_item_id", "item_id")


def test_retrieve_gives_the_item_with_its_audio(server: Any) -> None:
    """Rule 15, parity C7."""
    driver = server()
    item_id = spoken_item(driver)
    [retrieved] = driver.send("conversation.item.retrieve", item_id=item_id)
    [part] = retrieved["item"]["content"]
    assert len(base64.b64decode(part["audio"])) == 300 * 48
    assert part["transcript"] == "Fine, thanks."
    error = driver.refused("conversation.item.retrieve", item_id="nothing")
    assert error["code"] == "item_retrieve_invalid_item_id"


def test_an_item_in_progress_can_be_retrieved_and_truncated(server: Any) -> None:
    """Barge-in of clients that truncate first and cancel later, or never."""
    driver = server()
    driver.send("response.create")
    wanted = driver.wanted(ReplyWanted)
    driver.begin_reply(wanted, audio_ms=300)
    [added] = [event for event in driver.take() if event["type"] == "conversation.item.added"]
    item_id = added["item"]["id"]
    [retrieved] = driver.send("conversation.item.retrieve", item_id=item_id)
    assert retrieved["item"]["status"] == "in_progress"
    assert len(base64.b64decode(retrieved["item"]["content"][0]["audio"])) == 300 * 48
    [truncated] = driver.send(
        "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=200
    )
    assert truncated["type"] == "conversation.item.truncated"
    driver.session.push_audio(wanted.response_id, b"\1\0" * 2400, 0.0)
    driver.session.finish(wanted.response_id, 0.0)
    driver.take()
    [retrieved] = driver.send("conversation.item.retrieve", item_id=item_id)
    assert len(base64.b64decode(retrieved["item"]["content"][0]["audio"])) == 200 * 48
    assert "transcript" not in retrieved["item"]["content"][0]


def test_truncation_cuts_the_audio_and_forgets_the_transcript(server: Any) -> None:
    """Rule 7."""
    driver = server()
    item_id = spoken_item(driver)
    [truncated] = driver.send(
        "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=120
    )
    assert truncated["audio_end_ms"] == 120
    [retrieved] = driver.send("conversation.item.retrieve", item_id=item_id)
    [part] = retrieved["item"]["content"]
    assert len(base64.b64decode(part["audio"])) == 120 * 48
    assert "transcript" not in part
    driver.send("response.create")
    assert driver.wanted(ReplyWanted).history == (HistoryTurn("assistant", ""),)


REFUSED_TRUNCATIONS = [
    ({"item_id": "nothing"}, "item_truncate_invalid_item_id", "item_id"),
    ({"item_id": "text"}, "unsupported_content_type", "item_id"),
    ({"item_id": "user"}, "unsupported_content_type", "item_id"),
    ({"content_index": 1}, "invalid_value", "content_index"),
    ({"audio_end_ms": 301}, "invalid_value", "audio_end_ms"),
    ({"audio_end_ms": 0}, "invalid_value", "audio_end_ms"),
    ({"audio_end_ms": -5}, "invalid_value", "audio_end_ms"),
    ({"audio_end_ms": "all"}, "invalid_value", "audio_end_ms"),
]


@pytest.mark.parametrize(("fields", "code", "param"), REFUSED_TRUNCATIONS)
def test_a_bad_truncation_changes_nothing(
    server: Any, fields: dict[str, Any], code: str, param: str
) -> None:
    """Rule 7."""
    driver = server()
    item_id = spoken_item(driver)
    driver.say_text("hello", id="user")
    driver.send("conversation.item.create", item={**ASSISTANT, "id": "text"})
    given = {"item_id": item_id, "content_index": 0, "audio_end_ms": 100, **fields}
    error = driver.refused("conversation.item.truncate", **given)
    assert (error["code"], error["param"]) == (code, param)
    [retrieved] = driver.send("conversation.item.retrieve", item_id=item_id)
    assert retrieved["item"]["content"][0]["transcript"] == "Fine, thanks."


def test_too_much_truncation_is_told_in_the_services_words(server: Any) -> None:
    driver = server()
    item_id = spoken_item(driver)
    error = driver.refused(
        "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=400
    )
    assert error["message"] == "Audio content of 300ms is already shorter than 400ms"


def test_truncation_up_to_the_very_end_is_fine(server: Any) -> None:
    driver = server()
    item_id = spoken_item(driver)
    [truncated] = driver.send(
        "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=300
    )
    assert truncated["type"] == "conversation.item.truncated"


def test_an_item_may_be_deleted_while_it_is_spoken(server: Any) -> None:
    driver = server()
    driver.send("response.create")
    wanted = driver.wanted(ReplyWanted)
    driver.begin_reply(wanted)
    [added] = [event for event in driver.take() if event["type"] == "conversation.item.added"]
    driver.send("conversation.item.delete", item_id=added["item"]["id"])
    driver.session.finish(wanted.response_id, 0.0)
    types = [event["type"] for event in driver.take()]
    assert "conversation.item.done" not in types
    assert "response.done" in types


def test_a_call_of_the_clients_history_gets_an_id_where_it_has_none(server: Any) -> None:
    driver = server()
    call = {"type": "function_call", "name": "roll", "arguments": "{}"}
    [added, _] = driver.send("conversation.item.create", item=call | {"call_id": ""})
    call_id = added["item"]["call_id"]
    assert call_id
    output = {"type": "function_call_output", "call_id": call_id, "output": "6"}
    assert driver.send("conversation.item.create", item=output)[0]["item"]["call_id"] == call_id
    [kept, _] = driver.send("conversation.item.create", item=call | {"call_id": "mine"})
    assert kept["item"]["call_id"] == "mine"


def test_tools_of_an_mcp_server_need_their_schemas(server: Any) -> None:
    driver = server()
    item = {"type": "mcp_list_tools", "server_label": "files"}
    whole = {"name": "read", "input_schema": {"type": "object"}}
    driver.send("conversation.item.create", item={**item, "tools": [whole]})
    error = driver.refused(
        "conversation.item.create", item={**item, "tools": [whole, {"name": "write"}]}
    )
    assert error["code"] == "missing_required_parameter"
    assert error["param"] == "item.tools[1].input_schema"
    assert len(driver.session.items) == 1


def test_sound_is_retrieved_in_the_part_that_holds_it(server: Any) -> None:
    driver = server()
    parts = [{"type": "input_text", "text": "This:"}, {"type": "input_audio", "audio": AUDIO}]
    item = {"type": "message", "role": "user", "id": "mixed", "content": parts}
    driver.send("conversation.item.create", item=item)
    [retrieved] = driver.send("conversation.item.retrieve", item_id="mixed")
    written, spoken = retrieved["item"]["content"]
    assert "audio" not in written
    assert spoken["audio"] == AUDIO


def test_what_is_spoken_may_be_retrieved_before_it_has_any_sound(server: Any) -> None:
    driver = server()
    driver.send("response.create")
    driver.session.begin_message(driver.wanted(ReplyWanted).response_id, 0.0)
    [added] = [event for event in driver.take() if event["type"] == "conversation.item.added"]
    [retrieved] = driver.send("conversation.item.retrieve", item_id=added["item"]["id"])
    assert retrieved["item"]["status"] == "in_progress"
    assert [part.get("audio", "") for part in retrieved["item"]["content"]] == [""]


def test_a_mind_is_told_nothing_of_items_that_it_does_not_know(server: Any) -> None:
    driver = server()
    tool = {"name": "read", "input_schema": {"type": "object"}}
    item = {"type": "mcp_list_tools", "server_label": "files", "tools": [tool]}
    driver.send("conversation.item.create", item=item)
    driver.say_text("hello")
    driver.send("response.create")
    assert driver.wanted(ReplyWanted).history == (HistoryTurn("user", "hello"),)
