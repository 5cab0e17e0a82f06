"""What the service is known to refuse is refused here, with the field's path."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from sansio_rt import events
from sansio_rt._errors import LocalProtocolError
from sansio_rt.events._check import _as_read, _with_exact_types


def update(**fields: Any) -> events.SessionUpdate:
    return events.SessionUpdate(session=events.RealtimeSession(**fields))


def audio_in(**fields: Any) -> events.SessionUpdate:
    return update(audio=events.AudioConfig(input=events.AudioInput(**fields)))


def audio_out(**fields: Any) -> events.SessionUpdate:
    return update(audio=events.AudioConfig(output=events.AudioOutput(**fields)))


def create(**fields: Any) -> events.ResponseCreate:
    return events.ResponseCreate(response=events.ResponseParams(**fields))


def say(role: str, *parts: events.Part, **fields: Any) -> events.ConversationItemCreate:
    message = events.Message(role=role, content=list(parts), **fields)
    return events.ConversationItemCreate(item=message)


TEXT = events.InputText(text="t")
LONG = "x" * 33

REFUSED: dict[str, events.WireObject] = {
    "event_id must have 1 to 32 characters, not 33": events.ResponseCancel(event_id=LONG),
    "item.id must have 1 to 32": say("user", TEXT, id=LONG),
    "item.id must have 1 to 32 characters, not 0": say("user", TEXT, id=""),
    "item.status must be one of": say("user", TEXT, status="done"),
    "item.role must be one of system, user, assistant, not 'robot'": say("robot", TEXT),
    "item.content[0].type must be one of input_text (role system)": say(
        "system", events.InputAudio(audio="")
    ),
    "item.content[1].type must be one of input_text, input_audio, input_image": say(
        "user", TEXT, events.OutputText(text="t")
    ),
    "item.content[0].type must be one of output_text, output_audio": say(
        "assistant", events.TextPart(text="t")
    ),
    "item.content[0].audio cannot be put into history": say(
        "assistant", events.OutputAudio(audio="AAAA")
    ),
    "item.content[0].detail must be one of": say(
        "user", events.InputImage(image_url="data:,", detail="huge")
    ),
    "item.call_id must not be empty": events.ConversationItemCreate(
        item=events.FunctionCallOutput(call_id="", output="")
    ),
    "item.name must not be empty": events.ConversationItemCreate(
        item=events.FunctionCall(name="", call_id="c")
    ),
    "previous_item_id must not be empty": events.ConversationItemCreate(
        item=events.Message(role="user"), previous_item_id=""
    ),
    "item_id must not be empty": events.ConversationItemDelete(item_id=""),
    "audio_end_ms must be 1 or more, not 0 (to cut all of it, delete the item)": (
        events.ConversationItemTruncate(item_id="i", content_index=0, audio_end_ms=0)
    ),
    "content_index must be 0 or more, not -1": (
        events.ConversationItemTruncate(item_id="i", content_index=-1, audio_end_ms=1)
    ),
    "response_id must not be empty": events.ResponseCancel(response_id=""),
    "session.audio.output.speed must be 0.25 to 1.5, not 0.2": audio_out(speed=0.2),
    "session.audio.output.speed must be 0.25 to 1.5, not 1.6": audio_out(speed=1.6),
    "session.audio.output.speed is nan": audio_out(speed=math.nan),
    "session.audio.output.voice must not be empty": audio_out(voice=""),
    "session.audio.output.format.rate must be": audio_out(format=events.PcmFormat(rate=16000)),
    "session.audio.input.noise_reduction.type must be one of": audio_in(
        noise_reduction=events.NoiseReduction(type="mid_field")
    ),
    "session.audio.input.transcription.delay must be one of": audio_in(
        transcription=events.Transcription(delay="forever")
    ),
    "session.audio.input.turn_detection.threshold must be 0 to 1, not 2": audio_in(
        turn_detection=events.ServerVad(threshold=2)
    ),
    "session.audio.input.turn_detection.prefix_padding_ms must be 0 or more": audio_in(
        turn_detection=events.ServerVad(prefix_padding_ms=-1)
    ),
    "session.audio.input.turn_detection.silence_duration_ms must be 0 or more": audio_in(
        turn_detection=events.ServerVad(silence_duration_ms=-1)
    ),
    "session.audio.input.turn_detection.idle_timeout_ms must be 1 or more": audio_in(
        turn_detection=events.ServerVad(idle_timeout_ms=0)
    ),
    "session.audio.input.turn_detection.eagerness must be one of": audio_in(
        turn_detection=events.SemanticVad(eagerness="very")
    ),
    "session.max_output_tokens must be 1 to 4096": update(max_output_tokens=0),
    "session.max_output_tokens must be 1 to 4096 or": update(max_output_tokens=4097),
    "session.max_output_tokens must be 1 to 4096 or \"inf\", not 'all'": update(
        max_output_tokens="all"
    ),
    "session.output_modalities must be one of text, audio, not 'video'": update(
        output_modalities=["audio", "video"]
    ),
    "session.include must be one of": update(include=["everything"]),
    "session.tool_choice must be one of": update(tool_choice="weather"),
    "session.tracing must be one of": update(tracing="on"),
    "session.truncation must be one of": update(truncation="on"),
    "session.truncation.retention_ratio must be 0 to 1": update(
        truncation=events.RetentionRatio(retention_ratio=1.1)
    ),
    "session.truncation.token_limits.post_instructions must be 0 or more": update(
        truncation=events.RetentionRatio(
            retention_ratio=1, token_limits=events.TokenLimits(post_instructions=-1)
        )
    ),
    "session.reasoning.effort must be one of": update(reasoning=events.Reasoning(effort="all")),
    "session.tools[1].name must not be empty": update(
        tools=[events.FunctionTool(name="f"), events.FunctionTool(name="")]
    ),
    "session.tools[0].server_label must not be empty": update(
        tools=[events.McpTool(server_label="")]
    ),
    "session.tools[0].require_approval must be one of": update(
        tools=[events.McpTool(server_label="s", require_approval="sometimes")]
    ),
    "session.tools[0].allowed_callers must be one of": update(
        tools=[events.McpTool(server_label="s", allowed_callers=["anyone"])]
    ),
    "session.prompt.variables.a.detail must be one of": update(
        prompt=events.Prompt(id="p", variables={"t": "t", "a": events.InputFile(detail="x")})
    ),
    "response.max_output_tokens must be": create(max_output_tokens=5000),
    "response.metadata must have at most 16": create(
        metadata=dict.fromkeys("abcdefghijklmnopq", "")
    ),
    "response.metadata must have keys of at most 64": create(metadata={"k" * 65: ""}),
    "response.metadata must have values of at most 512": create(metadata={"k": "v" * 513}),
    "response.metadata must have texts as values, 'k' has not": create(metadata={"k": 1}),
    "response.input[0].id must not be empty": create(input=[events.ItemReference(id="")]),
    "response.input[0].content[0].type must be": create(
        input=[events.Message(role="user", content=[events.OutputText(text="")])]
    ),
    # Wrong types
    "audio_end_ms has a wrong type": events.ConversationItemTruncate(
        item_id="i", content_index=0, audio_end_ms="1"
    ),
    "session.audio.output.speed has a wrong type": audio_out(speed="fast"),
    "session.audio.input.turn_detection has a wrong type": audio_in(turn_detection="server_vad"),
    "item.content has a wrong type": say("user", TEXT, id="i", status="completed").__class__(
        item=events.Message(role="user", content=None)
    ),
    "response.metadata has a wrong type": create(metadata=["a"], extra={"new": 1}),
    "SessionUpdate cannot be written as JSON": update(
        tools=[events.FunctionTool(name="f", parameters=object())]
    ),
    # Appends
    "event_id must have 1 to 32 characters, not 40": events.InputAudioBufferAppend(
        audio=b"", event_id="x" * 40
    ),
    "audio has 15728641 bytes, one append takes 15728640": events.InputAudioBufferAppend(
        audio=bytes(15 * 1024 * 1024 + 1)
    ),
    "audio has 15728642 bytes": events.SessionInputAudioBufferAppend(
        audio=bytes(15 * 1024 * 1024 + 2)
    ),
}


@pytest.mark.parametrize(("problem", "event"), REFUSED.items(), ids=REFUSED)
def test_what_the_service_refuses_is_refused_here(problem: str, event: events.WireObject) -> None:
    with pytest.raises(LocalProtocolError, match=re.escape(problem)) as caught:
        events.check(event)
    assert str(caught.value).startswith(problem.split(" must")[0].split(" has")[0])


ALLOWED: dict[str, events.WireObject] = {
    "nothing": update(),
    "nulls": update(
        max_output_tokens=None, tool_choice=None, truncation=None, tracing=None, audio=None
    ),
    "the limits": update(
        max_output_tokens=4096,
        audio=events.AudioConfig(output=events.AudioOutput(speed=1.5, voice="my-voice")),
    ),
    "the other limits": update(
        max_output_tokens=1, audio=events.AudioConfig(output=events.AudioOutput(speed=0.25))
    ),
    "no limit": create(max_output_tokens="inf"),
    "a whole number as a fraction": audio_out(speed=1),
    "the longest id": say("user", TEXT, id="x" * 32),
    "the longest event id": events.ResponseCancel(event_id="x" * 32),
    "an id of the server's, which may be longer": events.ConversationItemDelete(item_id="x" * 99),
    "the largest append": events.InputAudioBufferAppend(audio=bytes(15 * 1024 * 1024)),
    "an unknown event": events.UnknownEvent(type="x", data={"type": "x", "event_id": LONG}),
    "an unknown item": events.ConversationItemCreate(
        item=events.UnknownItem(type="x", data={"type": "x", "id": LONG})
    ),
    "an unknown part": say("user", TEXT, events.UnknownPart(type="x", data={"type": "x"})),
    "a voice of one's own": audio_out(voice=events.VoiceId(id="v")),
    "an unknown field": update(extra={"temperature": 0.8}),
    "a conversation of another name": create(conversation="other"),
    "audio of a part in the user's words": say("user", events.InputAudio(audio="AAAA")),
    "a dict where a struct belongs": events.ConversationItemCreate(
        item={"type": "message", "role": "user", "content": []}
    ),
    "metadata": create(metadata={"k": "v"}),
    "a transcription session": events.SessionUpdate(
        session=events.TranscriptionSession(include=["item.input_audio_transcription.logprobs"])
    ),
}


@pytest.mark.parametrize("event", ALLOWED.values(), ids=ALLOWED)
def test_what_the_service_takes_passes(event: events.WireObject) -> None:
    events.check(event)


def test_a_dict_where_a_struct_belongs_is_checked_all_the_same() -> None:
    event = events.ConversationItemCreate(item={"type": "message", "role": "robot"})
    with pytest.raises(LocalProtocolError, match=r"item\.role must be one of"):
        events.check(event)


EVERYTHING = [*REFUSED.values(), *ALLOWED.values()]


@pytest.mark.parametrize("event", EVERYTHING, ids=[*REFUSED, *ALLOWED])
def test_an_event_is_read_alike_from_its_text_and_from_plain_json(event: events.WireObject) -> None:
    append = (events.InputAudioBufferAppend, events.SessionInputAudioBufferAppend)
    if isinstance(event, (*append, events.UnknownEvent)):
        return
    try:
        read = _as_read(event)
    except LocalProtocolError:
        with pytest.raises(LocalProtocolError):
            events.check(event)
    else:
        assert read == _with_exact_types(event)


def test_what_is_too_deep_to_be_looked_at_is_refused() -> None:
    inside: dict[str, object] = {}
    for _ in range(600):
        inside = {"x": inside}
    misnamed: Any = 7
    tool = events.FunctionTool(name=misnamed, parameters=inside)
    with pytest.raises(LocalProtocolError, match="cannot be written as JSON"):
        events.check(update(tools=[tool]))


def test_numbers_that_are_none_are_found_in_a_set_too() -> None:
    assert b"[7]" in events.encode(create(metadata={"k": {7}, "n": None}))
    with pytest.raises(LocalProtocolError, match=r"response\.metadata\.k\[0\] is nan"):
        events.encode(create(metadata={"k": {math.nan}, "n": None}))
