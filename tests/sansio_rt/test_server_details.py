"""What the server says in full: the first session, items as they are kept, their words and costs."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from sansio_rt import AudioFormat, events
from sansio_rt._server_config import (
    DEFAULT_INSTRUCTIONS,
    audio_format,
    check_tool_choice,
    first_session,
    offered_tools,
    tool_choice_name,
    updated_session,
)
from sansio_rt._server_input import Sound
from sansio_rt._server_item_checks import checked_item
from sansio_rt._server_items import Record, ServerConversation
from sansio_rt._server_outbox import Outbox
from sansio_rt._server_refusals import Refusal
from sansio_rt._server_usage import Tally
from sansio_rt._server_work import HistoryTurn, OfferedTool, ReplyWanted, ServerLimits
from sansio_rt._sources import SequentialIds

AUDIO = base64.b64encode(b"\1\0" * 2_400).decode()


def message(role: str, *parts: events.Part) -> events.Message:
    return events.Message(role=role, content=list(parts), id="i")


# --- the session ------------------------------------------------------------------------------


def test_the_session_before_the_client_has_said_anything() -> None:
    assert events.to_data(first_session("sess_1")) == {
        "type": "realtime",
        "id": "sess_1",
        "object": "realtime.session",
        "expires_at": 0,
        "model": "",
        "output_modalities": ["audio"],
        "instructions": DEFAULT_INSTRUCTIONS,
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "include": None,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 200,
                    "idle_timeout_ms": None,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "voice": "alloy",
                "speed": 1.0,
            },
        },
    }


def test_an_update_of_another_kind_of_session_is_refused() -> None:
    with pytest.raises(Refusal) as caught:
        updated_session(first_session("s"), events.TranscriptionSession(), voices=(), spoken=False)
    assert (caught.value.code, caught.value.param) == ("invalid_session_type", "session.type")


def test_what_an_update_cannot_change_hides_nothing_behind_it() -> None:
    first = first_session("s")
    update = events.RealtimeSession(id="other", object="x", expires_at=5, instructions="Be kind.")
    merged = updated_session(first, update, voices=(), spoken=False)
    assert merged == msgspec.structs.replace(first, instructions="Be kind.")


@pytest.mark.parametrize("choice", ["auto", "none", "required", None, msgspec.UNSET])
def test_modes_of_tool_choice(choice: Any) -> None:
    check_tool_choice(choice, [], "p")
    with pytest.raises(Refusal, match="'some'"):
        check_tool_choice("some", [], "p")


def test_a_choice_of_a_tool_names_one_that_is_offered() -> None:
    tools = [events.FunctionTool(name="roll", description="Rolls.", parameters={"type": "object"})]
    check_tool_choice(events.ToolChoiceFunction(name="roll"), tools, "p")
    check_tool_choice(events.ToolChoiceMcp(server_label="files", name="read"), tools, "p")
    with pytest.raises(Refusal, match="'fly' not found"):
        check_tool_choice(events.ToolChoiceFunction(name="fly"), tools, "p")
    assert tool_choice_name("required") == "required"
    assert tool_choice_name(events.ToolChoiceFunction(name="roll")) == "roll"
    assert tool_choice_name(events.ToolChoiceMcp(server_label="files")) == "auto"
    assert tool_choice_name(msgspec.UNSET) == "auto"


def test_what_a_mind_is_offered_of_the_tools() -> None:
    bare = events.FunctionTool(name="bare")
    full = events.FunctionTool(name="full", description="All.", parameters={"type": "object"})
    assert offered_tools([bare, events.McpTool(server_label="x"), full]) == (
        OfferedTool(name="bare", description="", parameters={}),
        OfferedTool(name="full", description="All.", parameters={"type": "object"}),
    )
    assert offered_tools(msgspec.UNSET) == ()


# --- items ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item",
    [
        message("user", events.InputText(text="x")),
        events.FunctionCall(name="f", call_id="c", arguments="{}", id="i"),
        events.FunctionCallOutput(call_id="c", output="6", id="i"),
    ],
)
def test_what_a_client_adds_is_complete(item: events.Item) -> None:
    conversation = ServerConversation(Outbox(SequentialIds()), ServerLimits())
    record = conversation.accepted(item, AudioFormat.PCM16, known_calls=["c"])
    assert record.item == msgspec.structs.replace(item, object="realtime.item", status="completed")
    assert record.sound is None


def test_sounds_of_one_message_are_joined_and_taken_out_of_its_parts() -> None:
    parts = [
        events.InputAudio(audio=AUDIO),
        events.InputText(text="and"),
        events.InputAudio(audio=AUDIO),
    ]
    shown, sound = checked_item(message("user", *parts), AudioFormat.PCMU, "item")
    assert isinstance(shown, events.Message)
    assert shown.content == [events.InputAudio(), events.InputText(text="and"), events.InputAudio()]
    assert sound is not None
    assert sound.format is AudioFormat.PCMU
    assert sound.data == b"\1\0" * 4_800


def test_an_assistants_words_come_without_audio() -> None:
    said = events.OutputAudio(transcript="Yes.")
    shown, sound = checked_item(message("assistant", said), AudioFormat.PCM16, "item")
    assert isinstance(shown, events.Message)
    assert (shown.content, sound) == ([said], None)
    empty = events.OutputAudio(transcript="Yes.", audio="")
    checked_item(message("assistant", empty), AudioFormat.PCM16, "item")
    with pytest.raises(Refusal) as caught:
        loud = events.OutputAudio(audio=AUDIO)
        checked_item(message("assistant", said, loud), AudioFormat.PCM16, "item")
    assert caught.value.param == "item.content[1].audio"


def test_parts_of_another_role_are_named_with_those_that_fit() -> None:
    with pytest.raises(Refusal) as caught:
        checked_item(message("system", events.OutputText(text="x")), AudioFormat.PCM16, "item")
    assert caught.value.message == (
        "Invalid value: 'output_text'. Supported values for role 'system' are: 'input_text'."
    )


def test_an_image_has_a_detail_that_exists() -> None:
    image = events.InputImage(image_url="data:image/png;base64,AA==", detail="sharp")
    with pytest.raises(Refusal) as caught:
        checked_item(message("user", image), AudioFormat.PCM16, "item")
    assert caught.value.param == "item.content[0].detail"


@pytest.mark.parametrize(
    ("item", "heard", "turn"),
    [
        (message("user", events.InputText(text="a"), events.InputText(text="b")), "", "user: a b"),
        (message("user", events.InputAudio(transcript="claimed")), "heard", "user: heard"),
        (message("assistant", events.OutputAudio(transcript="said")), "", "assistant: said"),
        (message("assistant", events.OutputText(text="said")), "", "assistant: said"),
        (message("assistant", events.OutputAudio()), "", "assistant: "),
        (message("system", events.InputText(text="rules")), "", "system: rules"),
        (message("developer", events.InputText(text="rules")), "", "system: rules"),
        (
            message("user", events.InputImage(image_url="x"), events.InputText(text="this?")),
            "",
            "user: [image] this?",
        ),
    ],
)
def test_what_a_mind_reads_of_a_message(item: events.Item, heard: str, turn: str) -> None:
    found = Record("i", item, None, heard).read()[0]
    assert found == HistoryTurn(*turn.split(": ", 1))  # type: ignore[arg-type]


def test_an_item_is_read_anew_until_it_is_settled() -> None:
    record = Record("i", message("assistant", events.OutputAudio(transcript="a")), heard=None)
    assert record.read() == (HistoryTurn("assistant", "a"), Tally(text=1))
    record.item = message("assistant", events.OutputAudio(transcript="b" * 8))
    assert record.read() == (HistoryTurn("assistant", "b" * 8), Tally(text=2))
    record.sound = Sound(AudioFormat.PCM16)
    record.sound.data += bytes(48 * 1000)
    assert record.read()[1] == Tally(audio=20)
    record.done = True
    assert record.read() is not record.read()
    record.heard = ""
    assert record.read() is record.read()


def test_an_item_that_is_cut_is_read_anew() -> None:
    record = Record("i", message("assistant", events.OutputAudio(transcript="a")), done=True)
    record.sound = Sound(AudioFormat.PCM16)
    record.sound.data += bytes(48 * 1000)
    assert record.read() == (HistoryTurn("assistant", "a"), Tally(audio=20))
    record.cut(500)
    assert record.read() == (HistoryTurn("assistant", ""), Tally(audio=10))
    assert record.truncated


def settled(item_id: str, text: str) -> Record:
    return Record(item_id, message("user", events.InputText(text=text)))


def test_a_reply_builds_on_all_items_as_they_are_then() -> None:
    conversation = ServerConversation(Outbox(SequentialIds()), ServerLimits())

    def words() -> str:
        turns, tally = conversation.context().read()
        assert tally == Tally(text=len(turns))
        return " ".join(turn.text for turn in turns)

    assert words() == ""
    for item_id in "ac":
        conversation.add(settled(item_id, item_id))
        conversation.done(conversation.records()[-1])
    assert words() == words() == "a c"
    conversation.add(settled("b", "b"), 1)
    assert words() == words() == "a b c"
    conversation.done(conversation.records()[1])
    assert words() == words() == "a b c"
    conversation.add(settled("d", "d"))
    conversation.records()[-1].item = message("user", events.InputText(text="e"))
    assert words() == "a b c e"
    conversation.delete(events.ConversationItemDelete(item_id="a"))
    assert words() == "b c e"


def test_a_context_that_waits_for_words_is_read_as_its_items_are_when_they_are_known() -> None:
    conversation = ServerConversation(Outbox(SequentialIds()), ServerLimits())
    said = Record("s", message("assistant", events.OutputAudio(transcript="said")))
    said.sound = Sound(AudioFormat.PCM16, bytearray(48 * 1000))
    heard = Record("h", message("user", events.InputAudio()), Sound(AudioFormat.PCM16), None)
    for record in (said, heard):
        conversation.add(record)
        conversation.done(record)
    context = conversation.context()
    assert context.unheard == [heard]
    cut = events.ConversationItemTruncate(item_id="s", content_index=0, audio_end_ms=500)
    conversation.truncate(cut)
    heard.heard = "words"
    assert not context.unheard
    for found in (context, conversation.context()):
        assert [turn.text for turn in found.read()[0]] == ["", "words"]
    assert conversation.context().unread == []
    conversation.truncate(msgspec.structs.replace(cut, audio_end_ms=100))
    assert conversation.context().read()[1] == Tally(audio=2)


@pytest.mark.parametrize(
    ("item", "sound_ms", "tally"),
    [
        (message("user", events.InputText(text="x" * 40)), None, Tally(text=10)),
        (message("user", events.InputImage(image_url="x")), None, Tally(text=2, image=100)),
        (message("user", events.InputAudio()), 1_000, Tally(audio=10)),
        (message("assistant", events.OutputAudio(transcript="x")), 1_000, Tally(audio=20)),
        (events.FunctionCallOutput(call_id="c", output="x" * 40, id="i"), None, Tally(text=10)),
        (events.McpListTools(server_label="files", id="i"), None, Tally()),
    ],
)
def test_what_an_item_costs(item: events.Item, sound_ms: int | None, tally: Tally) -> None:
    sound = None
    if sound_ms is not None:
        sound = Sound(AudioFormat.PCM16)
        sound.data += bytes(48 * sound_ms)
    assert Record("i", item, sound, "").read()[1] == tally


def test_a_transcript_is_put_into_the_audio_and_nowhere_else() -> None:
    record = Record("i", message("user", events.InputText(text="a"), events.InputAudio()), None, "")
    record.set_transcript("words")
    assert isinstance(record.item, events.Message)
    assert record.item.content == [
        events.InputText(text="a"),
        events.InputAudio(transcript="words"),
    ]


@pytest.mark.parametrize(
    ("kind", "verb", "fields"),
    [
        ("delete", "deleting", {}),
        ("retrieve", "retrieving", {}),
        ("truncate", "truncating", {"content_index": 0, "audio_end_ms": 5}),
    ],
)
def test_an_item_that_is_not_there_is_told_by_what_was_wanted(
    server: Any, kind: str, verb: str, fields: dict[str, int]
) -> None:
    error = server().refused(f"conversation.item.{kind}", item_id="nobody", **fields)
    assert error["code"] == f"item_{kind}_invalid_item_id"
    assert error["message"] == (f"Error {verb} item: the item with id 'nobody' does not exist.")


def test_the_end_of_an_item_names_the_one_before_it(server: Any) -> None:
    driver = server()
    driver.say_text("one", id="one")
    driver.log.clear()
    driver.say_text("two", id="two")
    assert [event["previous_item_id"] for event in driver.log] == ["one", "one"]
    driver.log.clear()
    driver.send("response.create")
    driver.reply()
    [done] = [event for event in driver.log if event["type"] == "conversation.item.done"]
    assert done["previous_item_id"] == "two"


def test_the_shortest_truncation_is_a_millisecond(server: Any) -> None:
    driver = server()
    driver.send("response.create")
    answers = driver.reply(audio_ms=300)
    [done] = [event for event in answers if event["type"] == "response.output_item.done"]
    [truncated] = driver.send(
        "conversation.item.truncate", item_id=done["item"]["id"], content_index=0, audio_end_ms=1
    )
    assert truncated["type"] == "conversation.item.truncated"
    assert (truncated["content_index"], truncated["audio_end_ms"]) == (0, 1)


def test_ids_that_the_client_does_not_give_are_made(server: Any) -> None:
    driver = server()
    call = {"type": "function_call", "name": "f", "call_id": "", "arguments": "{}"}
    [added, _] = driver.send("conversation.item.create", item=call)
    assert added["item"]["id"].startswith("item_")
    assert added["item"]["call_id"].startswith("call_")
    [added, _] = driver.send("conversation.item.create", item={**call, "id": ""})
    assert added["item"]["id"].startswith("item_")
    driver.send("response.create")
    assert [turn.call_id for turn in driver.wanted(ReplyWanted).history] == [
        item.call_id for item in driver.session.items
    ]


def test_a_setting_that_cannot_be_cleared_keeps_what_follows_it(server: Any) -> None:
    driver = server()
    [updated] = driver.update(model=None, instructions="Be kind.", audio=None, tracing="auto")
    session = updated["session"]
    assert (session["instructions"], session["tracing"]) == ("Be kind.", "auto")
    assert session["audio"]["output"]["voice"] == "alloy"


def test_an_unknown_voice_is_told_with_those_that_are_known() -> None:
    update = events.RealtimeSession(
        audio=events.AudioConfig(output=events.AudioOutput(voice="nobody"))
    )
    with pytest.raises(Refusal) as caught:
        updated_session(first_session("s"), update, voices=["alloy", "ash"], spoken=False)
    assert caught.value.message == (
        "Invalid value: 'nobody'. Supported values are: 'alloy', 'ash'."
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (events.AudioInput(), AudioFormat.PCM16),
        (events.AudioInput(format=None), AudioFormat.PCM16),
        (events.AudioInput(format=events.PcmuFormat()), AudioFormat.PCMU),
    ],
)
def test_audio_is_pcm16_where_nobody_says_otherwise(
    given: events.AudioInput, expected: AudioFormat
) -> None:
    session = events.RealtimeSession(audio=events.AudioConfig(input=given))
    assert audio_format(session, "audio.input.format") is expected


def test_only_messages_with_audio_can_be_truncated(server: Any) -> None:
    driver = server()
    call = {"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}", "id": "call"}
    driver.send("conversation.item.create", item=call)
    driver.say_text("written", id="user")
    for item_id in ("call", "user"):
        error = driver.refused(
            "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=5
        )
        assert error["message"] == "Only model output audio messages can be truncated"


def test_a_response_may_choose_a_tool_that_only_it_has(server: Any) -> None:
    driver = server()
    given = {
        "tools": [{"type": "function", "name": "look"}],
        "tool_choice": {"type": "function", "name": "look"},
    }
    driver.send("response.create", response=given)
    wanted = driver.wanted(ReplyWanted)
    assert (wanted.tool_choice, [tool.name for tool in wanted.tools]) == ("look", ["look"])


def test_a_voice_of_ones_own_is_told_by_its_id(server: Any) -> None:
    driver = server()
    given = {"audio": {"output": {"voice": {"id": "mine"}}}}
    [created] = driver.send("response.create", response=given)
    assert created["response"]["audio"]["output"]["voice"] == "mine"
    assert driver.wanted(ReplyWanted).voice == "mine"


def test_what_is_not_known_of_a_reference_to_an_item_is_named(server: Any) -> None:
    driver = server()
    driver.say_text("hello", id="hello")
    own = [{"type": "item_reference", "id": "hello", "odd": 1}]
    error = driver.refused("response.create", response={"input": own})
    assert (error["code"], error["param"]) == ("unknown_parameter", "response.input[0].odd")


def test_an_unknown_item_of_a_response_is_told_with_the_kinds_that_are_known(server: Any) -> None:
    error = server().refused("response.create", response={"input": [{"type": "poem"}]})
    assert "Supported values are: 'message'," in error["message"]


def test_a_response_names_its_conversation(server: Any) -> None:
    [created] = server().send("response.create")
    assert created["response"]["conversation_id"].startswith("conv_")
