"""Responses of the server: their order, their ends, several at once (rules 2 and 3), their pace."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest

from sansio_rt._server_work import (
    HistoryTurn,
    OfferedTool,
    ReplyCancelled,
    ReplyWanted,
    ServerLimits,
    TranscriptionWanted,
)

SPOKEN = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.delta",
    "response.output_audio.delta",
    "response.output_audio_transcript.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
    "rate_limits.updated",
]
TOOL = {
    "type": "function",
    "name": "roll",
    "description": "Rolls dice.",
    "parameters": {"$schema": "https://json-schema.org/draft", "type": "object"},
}


def of_type(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]


def one(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    [event] = of_type(events, kind)
    return event


def test_a_spoken_response_in_order(server: Any) -> None:
    driver = server()
    driver.log.clear()
    driver.send("response.create")
    driver.reply("Fine, thanks.", audio_ms=300)
    assert driver.types() == SPOKEN
    added = one(driver.log, "response.content_part.added")
    assert added["part"]["type"] == "audio"
    done = one(driver.log, "response.done")["response"]
    assert done["status"] == "completed"
    [item] = done["output"]
    assert item["content"] == [{"type": "output_audio", "transcript": "Fine, thanks."}]
    assert item["status"] == "completed"
    assert done["output_modalities"] == ["audio"]


def test_a_written_response_in_order(server: Any) -> None:
    driver = server()
    driver.log.clear()
    driver.send("response.create", response={"output_modalities": ["text"]})
    wanted = driver.work[0]
    driver.reply("Well  met, friend")
    assert wanted.audio is False
    deltas = of_type(driver.log, "response.output_text.delta")
    assert [delta["delta"] for delta in deltas] == ["Well", "  met,", " friend"]
    assert one(driver.log, "response.output_text.done")["text"] == "Well  met, friend"
    assert one(driver.log, "response.content_part.added")["part"] == {"type": "text", "text": ""}
    [item] = one(driver.log, "response.done")["response"]["output"]
    assert item["content"] == [{"type": "output_text", "text": "Well  met, friend"}]
    assert not of_type(driver.log, "response.output_audio.delta")


def test_the_deltas_are_the_audio_and_the_words(server: Any) -> None:
    driver = server()
    driver.send("response.create")
    wanted = driver.wanted(ReplyWanted)
    pcm = bytes(range(256)) * 75  # 9600 samples, 400 ms
    driver.session.begin_message(wanted.response_id, 0.0)
    driver.session.push_text(wanted.response_id, "Good morning to you.", 0.0)
    for start in range(0, len(pcm), 1000):
        driver.session.push_audio(wanted.response_id, pcm[start : start + 1000], 0.0)
    driver.session.end_message(wanted.response_id, 0.0)
    answers = driver.take()
    deltas = [base64.b64decode(d["delta"]) for d in of_type(answers, "response.output_audio.delta")]
    assert [len(delta) for delta in deltas] == [4800] * 4
    assert b"".join(deltas) == pcm
    words = of_type(answers, "response.output_audio_transcript.delta")
    assert "".join(delta["delta"] for delta in words) == "Good morning to you."


def test_words_come_in_step_with_the_audio(server: Any) -> None:
    driver = server()
    driver.send("response.create")
    driver.begin_reply(driver.wanted(ReplyWanted), "one two three four five", audio_ms=1000)
    kinds = [
        "word" if "transcript" in event["type"] else "sound"
        for event in driver.take()
        if event["type"].endswith(".delta")
    ]
    assert kinds[:2] == ["word", "sound"]
    assert kinds.count("sound") == 10
    first_half = kinds[: kinds.index("sound") + 7]
    assert 2 <= first_half.count("word") < 5


def test_a_function_call_in_order(server: Any) -> None:
    driver = server()
    driver.update(tools=[TOOL])
    driver.log.clear()
    driver.send("response.create", response={})
    wanted = driver.wanted(ReplyWanted)
    assert wanted.tools == (OfferedTool("roll", "Rolls dice.", TOOL["parameters"]),)
    arguments = json.dumps({"sides": 20, "why": "because the adventurer asked for it"})
    driver.session.call_function(wanted.response_id, "roll", arguments, 0.0)
    driver.session.finish(wanted.response_id, 0.0)
    driver.take()
    kinds = list(dict.fromkeys(driver.types()))
    assert kinds == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "rate_limits.updated",
    ]
    deltas = of_type(driver.log, "response.function_call_arguments.delta")
    assert len(deltas) > 1
    assert "".join(delta["delta"] for delta in deltas) == arguments
    done = one(driver.log, "response.function_call_arguments.done")
    assert (done["name"], done["arguments"]) == ("roll", arguments)
    [item] = one(driver.log, "response.done")["response"]["output"]
    assert item["call_id"] == done["call_id"]


def test_a_tool_output_and_the_next_response_come_back_to_back(server: Any) -> None:
    driver = server()
    driver.send("response.create")
    wanted = driver.wanted(ReplyWanted)
    driver.session.call_function(wanted.response_id, "roll", "{}", 0.0)
    driver.session.finish(wanted.response_id, 0.0)
    call_id = one(driver.take(), "response.function_call_arguments.done")["call_id"]
    output = {"type": "function_call_output", "call_id": call_id, "output": "17"}
    driver.send("conversation.item.create", item=output)
    driver.send("response.create")
    history = driver.wanted(ReplyWanted).history
    assert [turn.role for turn in history] == ["tool_call", "tool_output"]
    assert history[1].text == "17"


def test_several_messages_and_calls_in_one_response(server: Any) -> None:
    """Parity G13: each has its own place; an open message is closed by what follows."""
    driver = server()
    driver.send("response.create")
    wanted = driver.wanted(ReplyWanted)
    driver.begin_reply(wanted, "First.")
    driver.begin_reply(wanted, "Second.")
    driver.session.call_function(wanted.response_id, "roll", "{}", 0.0)
    driver.session.finish(wanted.response_id, 0.0)
    answers = driver.take()
    added = of_type(answers, "response.output_item.added")
    assert [event["output_index"] for event in added] == [0, 1, 2]
    assert len(of_type(answers, "response.output_item.done")) == 3
    assert len(one(answers, "response.done")["response"]["output"]) == 3


def test_what_the_client_gives_to_a_response(server: Any) -> None:
    driver = server()
    driver.update(instructions="Be kind.", tools=[TOOL])
    given = {
        "instructions": "Be brief.",
        "metadata": {"topic": "greeting"},
        "tool_choice": {"type": "function", "name": "roll"},
        "max_output_tokens": 4096,
        "audio": {"output": {"voice": "marin"}},
    }
    [created] = driver.send("response.create", response=given)
    assert created["response"]["metadata"] == {"topic": "greeting"}
    assert created["response"]["max_output_tokens"] == 4096
    assert created["response"]["audio"]["output"]["voice"] == "marin"
    wanted = driver.wanted(ReplyWanted)
    assert (wanted.instructions, wanted.tool_choice, wanted.voice) == ("Be brief.", "roll", "marin")


def test_null_in_a_response_means_the_session(server: Any) -> None:
    driver = server()
    driver.update(instructions="Be kind.")
    given = {"instructions": None, "tools": None, "metadata": None, "max_output_tokens": "inf"}
    [created] = driver.send("response.create", response=given)
    assert created["response"]["metadata"] is None
    assert driver.wanted(ReplyWanted).instructions == "Be kind."


def test_no_tools_are_offered_where_none_may_be_called(server: Any) -> None:
    driver = server()
    driver.update(tools=[TOOL], tool_choice="none")
    driver.send("response.create")
    assert driver.wanted(ReplyWanted).tools == ()


REFUSED_RESPONSES = [
    ({"output_modalities": ["audio", "text"]}, "invalid_value", "response.output_modalities"),
    ({"conversation": "other"}, "invalid_value", "response.conversation"),
    ({"max_output_tokens": 5000}, "invalid_value", "response.max_output_tokens"),
    ({"tool_choice": {"type": "function", "name": "x"}}, "invalid_value", "response.tool_choice"),
    ({"metadata": {str(n): "x" for n in range(17)}}, "invalid_value", "response.metadata"),
    ({"metadata": {"key": 5}}, "invalid_value", "response.metadata"),
    ({"modalities": ["text"]}, "unknown_parameter", "response.modalities"),
    (
        {"input": [{"type": "item_reference", "id": "gone"}]},
        "invalid_value",
        "response.input[0].id",
    ),
    ({"input": [{"type": "poem"}]}, "invalid_value", "response.input[0].type"),
    ({"audio": {"output": {"voice": "nobody"}}}, "invalid_value", "response.audio.output.voice"),
]


@pytest.mark.parametrize(("given", "code", "param"), REFUSED_RESPONSES)
def test_a_bad_response_is_refused(
    server: Any, given: dict[str, Any], code: str, param: str
) -> None:
    driver = server()
    error = driver.refused("response.create", response=given)
    assert (error["code"], error["param"]) == (code, param)
    assert driver.send("response.create")[0]["type"] == "response.created"


def test_one_active_response_in_the_default_conversation(server: Any) -> None:
    """Rule 2."""
    driver = server()
    driver.send("response.create")
    error = driver.refused("response.create")
    assert error["code"] == "conversation_already_has_active_response"
    driver.reply()
    assert driver.send("response.create")[0]["type"] == "response.created"


def test_responses_beside_the_conversation(server: Any) -> None:
    """Rule 2: they run beside the active one and add nothing to the conversation."""
    driver = server()
    driver.say_text("hello", id="hello")
    driver.send("response.create")
    given = {"conversation": "none", "metadata": {"n": "1"}, "output_modalities": ["text"]}
    [created] = driver.send("response.create", response=given)
    assert created["response"]["conversation_id"] is None
    beside = next(w for w in driver.work if w.response_id == created["response"]["id"])
    driver.work.remove(beside)
    driver.begin_reply(beside, "aside")
    driver.session.finish(beside.response_id, 0.0)
    answers = driver.take()
    assert not of_type(answers, "conversation.item.added")
    assert not of_type(answers, "conversation.item.done")
    assert one(answers, "response.done")["response"]["metadata"] == {"n": "1"}
    assert [item.id for item in driver.session.items] == ["hello"]
    assert one(driver.reply(), "response.done")["response"]["status"] == "completed"


def test_a_response_with_its_own_input(server: Any) -> None:
    driver = server()
    driver.say_text("hello", id="hello")
    driver.say_text("secret", id="secret")
    own = [
        {"type": "item_reference", "id": "hello"},
        {"type": "function_call", "name": "roll", "call_id": "c", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "4"},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_audio", "audio": base64.b64encode(b"\0" * 9600).decode()}],
        },
    ]
    driver.send("response.create", response={"conversation": "none", "input": own})
    heard = driver.wanted(TranscriptionWanted)
    driver.session.transcribed(heard.item_id, "and now", 0.0)
    driver.take()
    assert driver.wanted(ReplyWanted).history == (
        HistoryTurn("user", "hello"),
        HistoryTurn("tool_call", "{}", name="roll", call_id="c"),
        HistoryTurn("tool_output", "4", call_id="c"),
        HistoryTurn("user", "and now"),
    )
    driver.send("response.create", response={"conversation": "none", "input": []})
    assert driver.wanted(ReplyWanted).history == ()


def test_cancel_closes_everything_that_is_open(server: Any) -> None:
    driver = server()
    driver.send("response.create")
    wanted = driver.wanted(ReplyWanted)
    driver.begin_reply(wanted, "A long story.", audio_ms=200)
    driver.take()
    answers = driver.send("response.cancel")
    assert [event["type"] for event in answers] == SPOKEN[9:]
    done = one(answers, "response.done")["response"]
    assert done["status"] == "cancelled"
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert done["output"][0]["status"] == "incomplete"
    assert done["usage"]["output_token_details"]["audio_tokens"] == 4
    assert driver.wanted(ReplyCancelled).response_id == wanted.response_id
    assert not driver.session.push_audio(wanted.response_id, b"\0\0" * 2400, 0.0)
    assert driver.take() == []


def test_cancel_by_id(server: Any) -> None:
    driver = server()
    [created] = driver.send("response.create", response={"conversation": "none"})
    driver.send("response.create")
    answers = driver.send("response.cancel", response_id=created["response"]["id"])
    assert one(answers, "response.done")["response"]["id"] == created["response"]["id"]
    error = driver.refused("response.cancel", response_id=created["response"]["id"])
    assert error["code"] == "response_cancel_not_active"
    assert one(driver.send("response.cancel"), "response.done")


def test_nothing_to_cancel(server: Any) -> None:
    """Rule 3: an error that leaves the session as it is; an aside is not meant by a bare cancel."""
    driver = server()
    assert driver.refused("response.cancel")["code"] == "response_cancel_not_active"
    driver.send("response.create", response={"conversation": "none"})
    assert driver.refused("response.cancel")["code"] == "response_cancel_not_active"
    assert one(driver.reply(), "response.done")["response"]["status"] == "completed"


def test_a_response_cancelled_before_its_words_are_known(server: Any) -> None:
    driver = server()
    driver.manual()
    driver.append(200)
    driver.send("input_audio_buffer.commit")
    driver.send("response.create")
    answers = driver.send("response.cancel")
    assert one(answers, "response.done")["response"]["output"] == []
    driver.hear("too late")
    assert not any(isinstance(work, ReplyWanted | ReplyCancelled) for work in driver.work)


def test_a_reply_that_fails(server: Any) -> None:
    driver = server()
    driver.send("response.create")
    wanted = driver.wanted(ReplyWanted)
    driver.begin_reply(wanted, "Well")
    driver.session.fail(wanted.response_id, "out of ideas", 0.0, code="no_ideas")
    done = one(driver.take(), "response.done")["response"]
    assert done["status"] == "failed"
    assert done["status_details"]["error"]["code"] == "no_ideas"
    assert done["output"][0]["status"] == "incomplete"


def test_the_token_limit_makes_a_response_incomplete(server: Any) -> None:
    driver = server()
    driver.send("response.create", response={"max_output_tokens": 10})
    wanted = driver.wanted(ReplyWanted)
    driver.begin_reply(wanted, "Well", audio_ms=2000)
    done = one(driver.take(), "response.done")["response"]
    assert done["status"] == "incomplete"
    assert done["status_details"]["reason"] == "max_output_tokens"
    assert driver.wanted(ReplyCancelled)


def test_usage_adds_up(server: Any) -> None:
    driver = server()
    driver.manual()
    driver.say_text("x" * 400)
    driver.append(1000)
    driver.send("input_audio_buffer.commit")
    driver.hear("hello")
    driver.send("response.create", response={"instructions": "y" * 40})
    usage = one(driver.reply("Fine, thanks.", audio_ms=2000), "response.done")["response"]["usage"]
    assert usage["input_token_details"]["text_tokens"] == 110
    assert usage["input_token_details"]["audio_tokens"] == 10
    assert usage["output_token_details"] == {"text_tokens": 4, "audio_tokens": 40}
    assert usage["input_tokens"] + usage["output_tokens"] == usage["total_tokens"]
    assert usage["input_token_details"]["cached_tokens"] == 0
    driver.send("response.create", response={"instructions": "y" * 40})
    usage = one(driver.reply(), "response.done")["response"]["usage"]
    assert usage["input_token_details"]["cached_tokens"] == 64


def test_deltas_are_released_at_a_pace(server: Any) -> None:
    driver = server(pace=10.0)
    driver.send("response.create")
    wanted = driver.wanted(ReplyWanted)
    driver.begin_reply(wanted, "Well", audio_ms=1000)
    driver.session.finish(wanted.response_id, driver.now)
    assert len(of_type(driver.take(), "response.output_audio.delta")) == 1
    assert driver.session.next_deadline() == pytest.approx(0.01)
    assert len(of_type(driver.advance(0.0501), "response.output_audio.delta")) == 5
    rest = driver.advance(0.06)
    assert len(of_type(rest, "response.output_audio.delta")) == 4
    assert of_type(rest, "response.done")


def test_sound_in_a_responses_own_input_has_the_sessions_format(server: Any) -> None:
    driver = server()
    driver.manual(format={"type": "audio/pcmu"})
    part = {"type": "input_audio", "audio": base64.b64encode(b"\xff" * 800).decode()}
    item = {"type": "message", "role": "user", "content": [part]}
    driver.send("response.create", response={"input": [item]})
    heard = driver.wanted(TranscriptionWanted)
    assert (heard.rate, len(heard.pcm)) == (8_000, 1_600)


def test_sound_that_is_left_over_has_its_place_in_time_too(server: Any) -> None:
    driver = server(pace=10.0)
    driver.send("response.create")
    wanted = driver.wanted(ReplyWanted)
    driver.begin_reply(wanted, "Well", audio_ms=150)
    driver.advance(1.0)
    driver.session.finish(wanted.response_id, driver.now)
    told = driver.take()
    assert [
        len(base64.b64decode(each["delta"])) for each in told if "audio.delta" in each["type"]
    ] == [50 * 48]
    assert driver.session.next_deadline() == pytest.approx(1.005)
    assert of_type(driver.advance(0.01), "response.done")


def test_a_late_timer_catches_up(server: Any) -> None:
    driver = server(pace=10.0)
    driver.send("response.create")
    driver.begin_reply(driver.wanted(ReplyWanted), "Well", audio_ms=1000)
    driver.take()
    driver.session.handle_timer(0.0501)
    assert len(of_type(driver.take(), "response.output_audio.delta")) == 5


def test_a_cancelled_response_keeps_only_what_was_released(server: Any) -> None:
    driver = server(pace=10.0)
    driver.send("response.create")
    driver.begin_reply(driver.wanted(ReplyWanted), "Well " * 20, audio_ms=5000)
    driver.take()
    driver.advance(0.0501)
    answers = driver.send("response.cancel")
    transcript = one(answers, "response.output_audio_transcript.done")["transcript"]
    assert 0 < len(transcript) < 30
    item_id = one(answers, "response.output_item.done")["item"]["id"]
    error = driver.refused(
        "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=601
    )
    assert "600ms" in error["message"]


def test_audio_that_comes_late_keeps_the_pace(server: Any) -> None:
    """Time in which there was nothing to send is not made good by a burst."""
    driver = server(pace=10.0)
    driver.send("response.create")
    wanted = driver.wanted(ReplyWanted)
    driver.begin_reply(wanted, "Well", audio_ms=100)
    driver.advance(5.0)
    driver.session.push_audio(wanted.response_id, b"\1\0" * 24_000, driver.now)
    assert len(of_type(driver.take(), "response.output_audio.delta")) == 1
    assert len(of_type(driver.advance(0.0301), "response.output_audio.delta")) == 3


def test_audio_that_comes_bit_by_bit_keeps_the_pace(server: Any) -> None:
    driver = server(pace=10.0)
    driver.send("response.create")
    wanted = driver.wanted(ReplyWanted)
    driver.begin_reply(wanted, "Well", audio_ms=100)
    driver.advance(5.0)
    for _ in range(2):
        driver.session.push_audio(wanted.response_id, b"\1\0" * 2_400, driver.now)
    assert len(of_type(driver.take(), "response.output_audio.delta")) == 1
    assert len(of_type(driver.advance(0.0101), "response.output_audio.delta")) == 1


@pytest.mark.parametrize("then", ["message", "call"])
def test_what_follows_an_open_message_ends_it_with_all_of_its_sound(server: Any, then: str) -> None:
    driver = server(pace=10.0)
    driver.send("response.create")
    wanted = driver.wanted(ReplyWanted)
    driver.begin_reply(wanted, "Well", audio_ms=150)
    driver.advance(5.0)
    if then == "message":
        driver.session.begin_message(wanted.response_id, driver.now)
    else:
        driver.session.call_function(wanted.response_id, "roll", "{}", driver.now)
    driver.advance(1.0)
    deltas = of_type(driver.log, "response.output_audio.delta")
    assert sum(len(base64.b64decode(delta["delta"])) for delta in deltas) == 150 * 48
    done = of_type(driver.log, "response.output_item.done")[0]
    assert (done["item"]["type"], done["item"]["status"]) == ("message", "completed")


def test_the_arguments_of_all_calls_count(server: Any) -> None:
    driver = server()
    driver.send("response.create")
    wanted = driver.wanted(ReplyWanted)
    for _ in range(2):
        driver.session.call_function(wanted.response_id, "roll", "{}  ", driver.now)
    driver.session.finish(wanted.response_id, driver.now)
    usage = one(driver.take(), "response.done")["response"]["usage"]
    assert usage["output_tokens"] == 4


def test_the_tokens_of_a_minute_are_counted_down_and_come_back_as_it_passes(server: Any) -> None:
    driver = server(limits=ServerLimits(tokens_per_minute=400))
    for used in (100, 200):
        driver.send("response.create", response={"instructions": "x" * 400})
        wanted = driver.wanted(ReplyWanted)
        driver.session.finish(wanted.response_id, driver.now)
        (left,) = one(driver.take(), "rate_limits.updated")["rate_limits"]
        assert left == {
            "name": "tokens",
            "limit": 400,
            "remaining": 400 - used,
            "reset_seconds": used * 60 / 400,
        }


def test_nothing_follows_a_response_that_was_cut_off(server: Any) -> None:
    driver = server(pace=10.0)
    driver.send("response.create", response={"max_output_tokens": 10})
    wanted = driver.wanted(ReplyWanted)
    driver.begin_reply(wanted, "Well", audio_ms=2000)
    driver.session.call_function(wanted.response_id, "roll", "{}", driver.now)
    driver.session.finish(wanted.response_id, driver.now)
    driver.session.handle_timer(10.0)  # so late that everything is due
    answers = driver.take()
    assert [event["type"] for event in answers][-2:] == ["response.done", "rate_limits.updated"]
    assert not of_type(answers, "response.function_call_arguments.done")


def test_the_output_buffer_of_a_websocket(server: Any) -> None:
    driver = server()
    assert driver.refused("output_audio_buffer.clear")["code"] == "invalid_value"
    [created] = driver.send("response.create")
    [cleared] = driver.send("output_audio_buffer.clear")
    assert cleared["response_id"] == created["response"]["id"]


def test_words_without_a_message_are_not_said(server: Any) -> None:
    driver = server()
    driver.send("response.create")
    response_id = driver.wanted(ReplyWanted).response_id
    assert driver.session.push_text(response_id, "To nobody.", 0.0)
    assert driver.session.push_audio(response_id, bytes(960), 0.0)
    assert driver.take() == []
    driver.session.finish(response_id, 0.0)
    assert one(driver.take(), "response.done")["response"]["output"] == []
    assert not driver.session.push_text(response_id, "Too late.", 0.0)
    assert driver.take() == []


def test_the_last_words_above_the_limit_end_a_response_only_once(server: Any) -> None:
    driver = server()
    driver.send("response.create", response={"max_output_tokens": 6})
    wanted = driver.wanted(ReplyWanted)
    driver.begin_reply(wanted, "Well, " * 20, audio_ms=100)
    driver.session.finish(wanted.response_id, 0.0)
    assert one(driver.take(), "response.done")["response"]["status"] == "completed"


def test_a_response_has_the_format_that_it_was_asked_for_in(server: Any) -> None:
    driver = server()
    output = {"format": {"type": "audio/pcmu"}}
    driver.send("response.create", response={"audio": {"output": output}})
    driver.reply("Fine.", audio_ms=300)
    deltas = of_type(driver.log, "response.output_audio.delta")
    assert sum(len(base64.b64decode(delta["delta"])) for delta in deltas) == 300 * 8


def test_what_a_model_is_told_of_tools_counts(server: Any) -> None:
    driver = server()
    other = {**TOOL, "name": "look", "description": "Looks.", "parameters": {}}
    driver.update(instructions="", tools=[TOOL, other])
    driver.send("response.create")
    driver.reply()
    told = f"roll Rolls dice. {TOOL['parameters']} look Looks. {{}}"
    usage = one(driver.log, "response.done")["response"]["usage"]
    assert usage["input_tokens"] == math.ceil(len(told) / 4)


def test_words_that_are_found_while_a_reply_is_spoken_change_nothing_of_its_pace(
    server: Any,
) -> None:
    driver = server(pace=1.0)
    driver.manual()
    driver.send("response.create")
    driver.begin_reply(driver.wanted(ReplyWanted), audio_ms=1000)
    driver.append(200)
    driver.send("input_audio_buffer.commit")
    driver.hear("said")
    sent = of_type(driver.log, "response.output_audio.delta")
    driver.advance(0.5)
    assert len(of_type(driver.log, "response.output_audio.delta")) == len(sent) + 5


def test_a_setting_of_a_response_that_is_not_known_is_named(server: Any) -> None:
    error = server().refused("response.create", response={"audio": {"output": {"odd": 1}}})
    assert error["param"] == "response.audio.output.odd"


def test_what_was_cut_since_the_last_reply_is_read_anew(server: Any) -> None:
    driver = server()
    driver.send("response.create")
    driver.reply("One two three four.", audio_ms=2000)
    item_id = one(driver.log, "response.output_item.done")["item"]["id"]
    driver.send("response.create")
    assert driver.wanted(ReplyWanted).history[0].text == "One two three four."
    driver.send("response.cancel")
    cut = {"item_id": item_id, "content_index": 0, "audio_end_ms": 1000}
    driver.send("conversation.item.truncate", **cut)
    driver.send("response.create")
    assert driver.wanted(ReplyWanted).history[0].text != "One two three four."
