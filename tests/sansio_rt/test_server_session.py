"""The session itself: configuration, refusals, its end. Rules are those of server-behaviour.md."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from sansio_rt._server_work import (
    CloseWanted,
    ReplyCancelled,
    ReplyWanted,
    ServerLimits,
    TranscriptionWanted,
)


def test_the_first_event_describes_the_session(server: Any) -> None:
    driver = server(epoch_s=1_000_000.0, limits=ServerLimits(session_s=1800))
    assert driver.created["type"] == "session.created"
    session = driver.created["session"]
    assert session["type"] == "realtime"
    assert session["object"] == "realtime.session"
    assert session["model"] == "gpt-realtime"
    assert session["expires_at"] == 1_001_800
    assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"


def test_every_event_has_an_id_of_its_own(server: Any) -> None:
    driver = server()
    driver.say_text("hello")
    driver.send("response.create")
    driver.reply()
    ids = [event["event_id"] for event in driver.log]
    assert len(ids) == len(set(ids))
    assert all(ids)


def test_partial_updates_are_merged(server: Any) -> None:
    """Some clients send three updates on connect; fields left out stay (rule 9)."""
    driver = server()
    driver.update(instructions="Be kind.")
    driver.update(audio={"output": {"speed": 1.25}})
    [updated] = driver.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
    session = updated["session"]
    assert session["instructions"] == "Be kind."
    assert session["audio"]["output"]["speed"] == 1.25
    assert session["audio"]["output"]["voice"] == "alloy"
    assert session["audio"]["input"]["transcription"] == {"model": "whisper-1"}
    assert session["audio"]["input"]["turn_detection"]["threshold"] == 0.5


def test_settings_of_turn_detection_are_merged_within_one_kind(server: Any) -> None:
    driver = server()
    vad = {"type": "server_vad", "silence_duration_ms": 900}
    [updated] = driver.update(audio={"input": {"turn_detection": vad}})
    assert updated["session"]["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 900
    assert updated["session"]["audio"]["input"]["turn_detection"]["prefix_padding_ms"] == 300
    semantic = {"type": "semantic_vad", "eagerness": "high"}
    [updated] = driver.update(audio={"input": {"turn_detection": semantic}})
    assert updated["session"]["audio"]["input"]["turn_detection"] == semantic


def test_null_and_empty_values_clear(server: Any) -> None:
    driver = server()
    tool = {"type": "function", "name": "roll", "parameters": {"$schema": "x", "type": "object"}}
    driver.update(tools=[tool], instructions="Be kind.", max_output_tokens=100)
    noise = {"input": {"noise_reduction": {"type": "near_field"}}}
    driver.update(audio=noise)
    [updated] = driver.update(
        tools=None,
        instructions="",
        max_output_tokens="inf",
        tracing=None,
        audio={"input": {"turn_detection": None, "noise_reduction": None}, "output": None},
    )
    session = updated["session"]
    assert session["tools"] == []
    assert session["instructions"] == ""
    assert session["max_output_tokens"] == "inf"
    assert session["audio"]["input"]["turn_detection"] is None
    assert session["audio"]["input"]["noise_reduction"] is None
    assert session["audio"]["output"]["voice"] == "alloy"


def test_what_a_client_cannot_set_is_left_alone(server: Any) -> None:
    driver = server()
    [updated] = driver.update(id="sess_mine", object="realtime.session", expires_at=5)
    assert updated["session"]["id"] == driver.created["session"]["id"]
    assert updated["session"]["expires_at"] == driver.created["session"]["expires_at"]


def at(path: str, value: Any) -> dict[str, Any]:
    """Settings with one value at a dotted path."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return dict(value)


VOICE, SPEED = "audio.output.voice", "audio.output.speed"
VAD, SEMANTIC = {"type": "server_vad"}, {"type": "semantic_vad"}
DETECTION = "audio.input.turn_detection"
NAMELESS = {"type": "function", "name": "not a name"}
TWICE = [{"type": "function", "name": "a"}, {"type": "function", "name": "a"}]
ABSENT = {"type": "function", "name": "absent"}
# Where, what, and the param and code of the refusal where they are others than usual.
REFUSED_SETTINGS = [
    (VOICE, "nobody", VOICE, "invalid_value"),
    (SPEED, 9, SPEED, "invalid_value"),
    (SPEED, "fast", SPEED, "invalid_value"),
    ("audio.output.format", {"type": "a"}, "audio.output.format.type", "invalid_value"),
    ("audio.input.format", {"type": "audio/pcm", "rate": 8000}, None, "invalid_value"),
    (DETECTION, {"type": "psychic"}, f"{DETECTION}.type", "invalid_value"),
    (DETECTION, {**VAD, "threshold": 2}, f"{DETECTION}.threshold", "invalid_value"),
    (DETECTION, {**VAD, "idle_timeout_ms": 5}, f"{DETECTION}.idle_timeout_ms", "invalid_value"),
    (DETECTION, {**SEMANTIC, "eagerness": "x"}, f"{DETECTION}.eagerness", "invalid_value"),
    ("audio.input.noise_reduction.type", "none", None, "invalid_value"),
    ("output_modalities", ["text", "audio"], None, "invalid_value"),
    ("max_output_tokens", 0, None, "invalid_value"),
    ("tools", [NAMELESS], None, "invalid_value"),
    ("tools", TWICE, None, "invalid_value"),
    ("tools", [{"type": "oracle"}], "tools[0].type", "invalid_value"),
    ("tool_choice", "sometimes", None, "invalid_value"),
    ("tool_choice", ABSENT, None, "invalid_value"),
    ("model", "another-model", None, "cannot_update_model"),
    ("temperature", 0.8, None, "unknown_parameter"),
    ("audio.input.colour", "red", None, "unknown_parameter"),
]


@pytest.mark.parametrize(("path", "value", "param", "code"), REFUSED_SETTINGS)
def test_a_bad_field_refuses_the_whole_update(
    server: Any, path: str, value: Any, param: str | None, code: str
) -> None:
    """S7: the error names the field and the client's event, and nothing is applied."""
    driver = server()
    before = driver.session.session
    given = {"type": "realtime", "instructions": "Not applied.", **at(path, value)}
    error = driver.refused("session.update", session=given)
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert error["param"] == f"session.{param or path}"
    assert driver.session.session == before


def test_a_session_must_say_its_type(server: Any) -> None:
    error = server().refused("session.update", session={"instructions": "hello"})
    assert error["code"] == "missing_required_parameter"
    assert error["param"] == "session.type"


def test_a_realtime_session_does_not_become_a_transcription_session(server: Any) -> None:
    error = server().refused("session.update", session={"type": "transcription"})
    assert error["param"] == "session.type"


def test_the_voice_is_fixed_after_the_first_audio(server: Any) -> None:
    """Rule 9, parity S6."""
    driver = server()
    assert driver.update(audio={"output": {"voice": "marin"}})[0]["type"] == "session.updated"
    driver.say_text("hello")
    driver.send("response.create")
    driver.reply()
    given = {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
    assert driver.refused("session.update", session=given)["code"] == "cannot_update_voice"
    refused = driver.refused("response.create", response={"audio": {"output": {"voice": "cedar"}}})
    assert refused["code"] == "cannot_update_voice"
    assert refused["param"] == "response.audio.output.voice"
    same = {"audio": {"output": {"voice": "marin"}}}
    assert driver.send("response.create", response=same)[0]["type"] == "response.created"
    assert driver.update(audio={"output": {"voice": "marin"}})[0]["type"] == "session.updated"


def test_written_answers_do_not_fix_the_voice(server: Any) -> None:
    driver = server()
    driver.update(output_modalities=["text"])
    driver.send("response.create")
    driver.reply()
    assert driver.update(audio={"output": {"voice": "marin"}})[0]["type"] == "session.updated"


BROKEN_MESSAGES = [
    ("{", "invalid_json", None),
    ("[1, 2]", "invalid_json", None),
    (b"\xff\xfe", "invalid_json", None),
    ("{}", "invalid_event", "type"),
    ('{"type": 5}', "invalid_event", "type"),
    ('{"type": "session.destroy"}', "invalid_value", "type"),
    ('{"type": "session.update"}', "missing_required_parameter", "session"),
    ('{"type": "conversation.item.delete"}', "missing_required_parameter", "item_id"),
    ('{"type": "input_audio_buffer.append", "audio": "***"}', "invalid_value", "audio"),
    ('{"type": "response.cancel", "response_id": 7}', "invalid_value", "response_id"),
]


@pytest.mark.parametrize(("message", "code", "param"), BROKEN_MESSAGES)
def test_a_message_that_is_no_event_is_answered(
    server: Any, message: str | bytes, code: str, param: str | None
) -> None:
    """Rule 13: the session stays open."""
    driver = server()
    driver.session.receive_message(message, 0.0)
    [answer] = driver.take()
    assert answer["error"]["type"] == "invalid_request_error"
    assert (answer["error"]["code"], answer["error"].get("param")) == (code, param)
    assert driver.update(instructions="still here")[0]["type"] == "session.updated"


def test_a_broken_event_is_named_by_its_id(server: Any) -> None:
    """Rule 4."""
    driver = server()
    error = driver.refused("session.explode")
    assert "'session.update'" in error["message"]
    assert driver.refused("conversation.item.delete", item_id=5)["param"] == "item_id"


def test_a_session_that_is_too_old_ends(server: Any) -> None:
    """Rule 1: `session_expired`, then a close, and the reply under way is stopped."""
    driver = server(limits=ServerLimits(session_s=3600))
    driver.send("response.create")
    driver.wanted(ReplyWanted)
    assert driver.advance(3599.0) == []
    [error] = driver.advance(1.5)
    assert error["error"]["code"] == "session_expired"
    assert "60 minutes" in error["error"]["message"]
    assert driver.wanted(CloseWanted).code == 1001
    assert driver.wanted(ReplyCancelled)
    assert driver.send("response.create") == []
    assert driver.session.next_deadline() is None


def test_a_closed_session_says_nothing_more(server: Any) -> None:
    driver = server()
    driver.send("response.create")
    response_id = driver.wanted(ReplyWanted).response_id
    driver.session.close()
    driver.session.close()
    assert not driver.session.push_text(response_id, "too late", 0.0)
    driver.session.receive_message(json.dumps({"type": "response.create"}), 0.0)
    assert driver.take() == []
    assert driver.wanted(ReplyCancelled).response_id == response_id


def test_a_closed_session_takes_nothing_of_its_driver(server: Any) -> None:
    driver = server()
    driver.manual(transcription={"model": "whisper-1"})
    for _ in range(2):
        driver.append(300)
        driver.send("input_audio_buffer.commit")
    first, second = (work for work in driver.work if isinstance(work, TranscriptionWanted))
    driver.session.close()
    assert driver.session.next_deadline() is None
    driver.session.handle_timer(1e9)
    driver.session.transcribed(first.item_id, "Hello", 0.0)
    driver.session.transcription_failed(second.item_id, "deaf", 0.0)
    driver.session.transcribed("unknown", "Hello", 0.0)
    assert driver.take() == []
    for told in (
        driver.session.fail("unknown", "no", 0.0),
        driver.session.begin_message("unknown", 0.0),
        driver.session.push_text("unknown", "x", 0.0),
        driver.session.push_audio("unknown", b"", 0.0),
        driver.session.end_message("unknown", 0.0),
        driver.session.add_message("unknown", "x", 0.0),
        driver.session.call_function("unknown", "f", "{}", 0.0),
        driver.session.finish("unknown", 0.0),
    ):
        assert told is False


@pytest.mark.parametrize("modality", ["audio", "text"])
def test_a_whole_message_is_told_as_one_that_is_added_piece_by_piece(
    server: Any, modality: str
) -> None:
    told: list[Any] = []
    for whole in (True, False):
        driver = server()
        driver.update(output_modalities=[modality], audio={"input": {"turn_detection": None}})
        driver.send("response.create")
        wanted = driver.wanted(ReplyWanted)
        if whole:
            pcm = b"\1\0" * 24 * 300
            assert driver.session.add_message(wanted.response_id, "Fine.", driver.now, pcm=pcm)
        else:
            driver.begin_reply(wanted, "Fine.", 300)
            driver.session.end_message(wanted.response_id, driver.now)
        driver.session.finish(wanted.response_id, driver.now)
        told.append(driver.take())
    assert told[0] == told[1]
    assert told[0][-2]["type"] == "response.done"


def test_a_whole_message_may_have_sound_of_another_rate(server: Any) -> None:
    driver = server()
    driver.send("response.create")
    wanted = driver.wanted(ReplyWanted)
    pcm = b"\1\0" * 8 * 300  # 300 ms at 8 kHz
    driver.session.add_message(wanted.response_id, "Fine.", driver.now, pcm=pcm, rate=8_000)
    deltas = [each["delta"] for each in driver.take() if each["type"].endswith("audio.delta")]
    sent_bytes = sum(len(base64.b64decode(delta)) for delta in deltas)
    assert sent_bytes / 48 == pytest.approx(300, abs=10)


def test_a_session_ends_in_time_also_while_a_slow_reply_goes_on(server: Any) -> None:
    driver = server(pace=0.01, limits=ServerLimits(session_s=5.0))
    driver.send("response.create")
    driver.begin_reply(driver.wanted(ReplyWanted), audio_ms=1000)
    assert driver.session.next_deadline() == 5.0


def test_a_reply_does_not_wait_for_words_of_an_item_that_was_put_in_anew(server: Any) -> None:
    """So is a spoken turn moved: deleted, and created elsewhere under the same id."""
    driver = server()
    driver.manual()
    part = {"type": "input_audio", "audio": "////" * 4_000}
    spoken = {"type": "message", "role": "user", "content": [part], "id": "spoken"}
    driver.send("conversation.item.create", item=spoken)
    driver.send("response.create")
    driver.send("conversation.item.delete", item_id="spoken")
    driver.send("conversation.item.create", item=spoken)
    driver.session.transcribed("spoken", "Hello", driver.now)
    driver.take()
    assert driver.wanted(ReplyWanted)


@pytest.mark.parametrize("fails", [False, True])
def test_words_of_an_item_that_is_gone_are_not_told(server: Any, fails: bool) -> None:
    driver = server()
    driver.manual(transcription={"model": "whisper-1"})
    driver.append(300)
    driver.send("input_audio_buffer.commit")
    item_id = driver.wanted(TranscriptionWanted).item_id
    driver.send("conversation.item.delete", item_id=item_id)
    if fails:
        driver.session.transcription_failed(item_id, "deaf", 0.0)
    else:
        driver.session.transcribed(item_id, "Hello", 0.0)
    assert driver.take() == []


def test_a_reply_waits_for_the_words_of_all_items(server: Any) -> None:
    driver = server()
    driver.manual()
    for _ in range(2):
        driver.append(300)
        driver.send("input_audio_buffer.commit")
    driver.send("response.create")
    first, second = driver.work
    driver.session.transcribed(second.item_id, "two", 0.0)
    driver.take()
    assert driver.work == [first, second]
    driver.session.transcribed(first.item_id, "one", 0.0)
    driver.take()
    assert [turn.text for turn in driver.wanted(ReplyWanted).history] == ["one", "two"]


def test_what_was_not_asked_for_is_not_called_off(server: Any) -> None:
    driver = server()
    driver.manual()
    driver.append(300)
    driver.send("input_audio_buffer.commit")
    driver.send("response.create")
    assert [type(work) for work in driver.work] == [TranscriptionWanted]
    driver.session.close()
    assert driver.session.next_event() is None


def test_words_that_nobody_can_find_are_silence_to_the_reply(server: Any) -> None:
    driver = server()
    driver.manual()
    driver.append(300)
    driver.send("input_audio_buffer.commit")
    driver.send("response.create")
    assert not [work for work in driver.work if isinstance(work, ReplyWanted)]
    driver.session.transcription_failed(driver.wanted(TranscriptionWanted).item_id, "deaf", 0.0)
    assert driver.take() == []  # transcription was not asked for
    assert driver.wanted(ReplyWanted)


def test_ids_tell_what_they_are_of(server: Any) -> None:
    driver = server()
    item_id = driver.say_text("hello")
    driver.send("response.create")
    response_id = driver.wanted(ReplyWanted).response_id
    assert item_id.startswith("item_")
    assert response_id.startswith("resp_")
    assert all(event["event_id"].startswith("event_") for event in driver.log)


def test_a_refusal_names_what_is_wrong_and_no_more(server: Any) -> None:
    driver = server()
    kind = "x" * 101
    assert driver.refused(kind)["message"].startswith(f"Invalid value: '{'x' * 100}'. Supported")
    error = driver.refused("conversation.item.delete", item_id=5)
    assert error["message"] == (
        "Invalid type or value for 'item_id': expected text, got a whole number."
    )


def test_a_failed_transcription_is_the_servers_fault_and_told_once(server: Any) -> None:
    driver = server()
    driver.manual(transcription={"model": "whisper-1"})
    driver.append(300)
    driver.send("input_audio_buffer.commit")
    item_id = driver.wanted(TranscriptionWanted).item_id
    for _ in range(2):
        driver.session.transcription_failed(item_id, "deaf", 0.0)
    [failed] = driver.take()
    assert failed["item_id"] == item_id
    assert failed["error"] == {
        "type": "server_error",
        "code": "transcription_failed",
        "message": "deaf",
    }


def test_the_model_of_a_transcription_is_that_of_the_session_or_none(server: Any) -> None:
    driver = server()
    for transcription, model in (({"model": "whisper-1"}, "whisper-1"), (None, None)):
        driver.manual(transcription=transcription)
        driver.append(300)
        driver.send("input_audio_buffer.commit")
        assert driver.wanted(TranscriptionWanted).model == model


def test_after_an_idle_turn_there_is_a_deadline_as_before(server: Any) -> None:
    detection = {"type": "server_vad", "idle_timeout_ms": 6_000}
    driver = server()
    driver.update(audio={"input": {"turn_detection": detection}})
    driver.send("response.create")
    driver.reply(audio_ms=300)
    driver.append(900, loud=False)
    driver.advance(6.5)
    assert "input_audio_buffer.timeout_triggered" in driver.types()
    assert driver.session.next_deadline() is not None
