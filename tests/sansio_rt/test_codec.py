"""The codec: broken messages cost one `SchemaError`, unknown ones come through, nothing is lost."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sansio_rt import events
from sansio_rt._errors import LocalProtocolError, SchemaError

DECODERS = [
    events.decode_server,
    events.decode_client,
    events.decode_translation_server,
    events.decode_translation_client,
]
Decoder = Callable[[bytes | bytearray | memoryview | str], Any]
AUDIO = (
    b'{"type":"response.output_audio.delta","event_id":"e","response_id":"r","item_id":"i",'
    b'"output_index":0,"content_index":0,"delta":"AAD//w=="}'
)


def refused(text: bytes | str, decode: Decoder = events.decode_server) -> SchemaError:
    with pytest.raises(SchemaError) as caught:
        decode(text)
    return caught.value


# X2: a broken message costs that message only.

BROKEN: dict[str, bytes] = {
    "empty": b"",
    "spaces": b"   ",
    "not JSON": b"hello",
    "cut off": b'{"type":"error"',
    "two values": b'{"type":"error"}{}',
    "an array": b'[{"type":"error"}]',
    "a text": b'"error"',
    "a number": b"1",
    "null": b"null",
    "no type": b"{}",
    "no type but fields": b'{"event_id":"e","delta":""}',
    "type null": b'{"type":null}',
    "type a number": b'{"type":5}',
    "type an object": b'{"type":{"type":"error"}}',
    "invalid UTF-8": b'{"type":"response.cancel","event_id":"\xff"}',
    "invalid UTF-8 in an unknown field": b'{"type":"error","error":{},"x":"\xff"}',
    "invalid UTF-8 in the type": b'{"type":"\xff"}',
    "a lone surrogate": b'{"type":"error","error":{"message":"\\ud800"}}',
    "a lone surrogate as bytes": b'{"type":"error","error":{"message":"\xed\xa0\x80"}}',
    "a lone surrogate in an unknown field": b'{"type":"error","error":{},"x":"\\ud800"}',
    "NaN": b'{"type":"error","error":{},"x":NaN}',
    "infinity": b'{"type":"error","error":{},"x":-Infinity}',
    "an infinite number": b'{"type":"error","error":{},"x":1e999}',
    "5,000 digits": b'{"type":"error","error":{},"x":' + b"9" * 5000 + b"}",
    "depth 10,000 in a known field": b'{"type":"error","error":' + b"[" * 10_000,
    "depth 10,000 in an unknown field": (
        b'{"type":"error","error":{},"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    ),
    "depth 10,000": b"[" * 10_000 + b"]" * 10_000,
    "depth 10,000 of objects": b'{"a":' * 10_000,
    "depth 10,000 in an unknown event": (
        b'{"type":"new","x":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001
    ),
}


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_broken_messages_are_schema_errors(decode: Decoder, text: bytes) -> None:
    error = refused(text, decode)
    assert len(error.excerpt) <= 200
    assert error.path in ("$", "$.type")


SERVER_SHAPES: list[tuple[str, str]] = [
    ('{"type":"error"}', "$.error"),
    ('{"type":"error","error":null}', "$.error"),
    ('{"type":"error","error":"text"}', "$.error"),
    ('{"type":"error","error":{"message":5}}', "$.error.message"),
    ('{"type":"error","event_id":5,"error":{}}', "$.event_id"),
    ('{"type":"conversation.item.deleted"}', "$.item_id"),
    ('{"type":"conversation.item.deleted","item_id":null}', "$.item_id"),
    ('{"type":"conversation.item.done","item":{"type":5}}', "$.item.type"),
    ('{"type":"conversation.item.done","item":[]}', "$.item"),
    ('{"type":"conversation.item.done","item":{"type":"message"}}', "$.item.role"),
    (
        '{"type":"conversation.item.done","item":{"type":"message","role":"user",'
        '"content":[{"type":"input_text","text":"a"},{"type":"input_text","text":true}]}}',
        "$.item.content[1].text",
    ),
    (
        '{"type":"conversation.item.done","item":{"type":"message","role":"user",'
        '"content":{"type":"input_text","text":1.5}}}',
        "$.item.content.text",
    ),
    (
        '{"type":"conversation.item.done","item":{"type":"message","role":"user","content":["x"]}}',
        "$.item.content[0]",
    ),
    (
        '{"type":"input_audio_buffer.speech_started","item_id":"i","audio_start_ms":"1"}',
        "$.audio_start_ms",
    ),
    (
        '{"type":"input_audio_buffer.speech_started","item_id":"i","audio_start_ms":1.5}',
        "$.audio_start_ms",
    ),
    (
        '{"type":"input_audio_buffer.speech_started","item_id":"i","audio_start_ms":true}',
        "$.audio_start_ms",
    ),
    ('{"type":"rate_limits.updated","rate_limits":[{"limit":"x"}]}', "$.rate_limits[0].limit"),
    (
        '{"type":"session.updated","session":{"type":"realtime","prompt":{"id":"p",'
        '"variables":{"a b":5}}}}',
        "$.session.prompt.variables['a b']",
    ),
    (
        '{"type":"session.updated","session":{"type":"realtime","audio":{"output":'
        '{"speed":' + "9" * 400 + "}}}}",
        "$.session.audio.output.speed",
    ),
    ('{"type":"session.updated","session":{"type":"realtime","tools":[1]}}', "$.session.tools[0]"),
    (AUDIO.decode().replace("AAD//w==", "AAD//w="), "$.delta"),
    (AUDIO.decode().replace("AAD//w==", "A*D//w=="), "$.delta"),
    (AUDIO.decode().replace("AAD//w==", "AAD/\\n/w=="), "$.delta"),
    (AUDIO.decode().replace("AAD//w==", "ÄÄD//w=="), "$.delta"),
    (AUDIO.decode().replace('"AAD//w=="', '"*","new":1'), "$.delta"),
    (AUDIO.decode().replace('"AAD//w=="', "5"), "$.delta"),
    (AUDIO.decode().replace('"output_index":0', '"output_index":"0"'), "$.output_index"),
]


@pytest.mark.parametrize(("text", "path"), SERVER_SHAPES)
def test_a_wrong_shape_is_reported_with_its_path(text: str, path: str) -> None:
    error = refused(text)
    assert error.path == path
    assert path in str(error)
    assert error.excerpt == text[:200]


@pytest.mark.parametrize(
    ("decode", "text", "path"),
    [
        (events.decode_client, '{"type":"input_audio_buffer.append","audio":"*"}', "$.audio"),
        (events.decode_client, '{"type":"input_audio_buffer.append","audio":null}', "$.audio"),
        (
            events.decode_translation_client,
            '{"type":"session.input_audio_buffer.append","audio":"*"}',
            "$.audio",
        ),
        (
            events.decode_translation_server,
            '{"type":"session.output_audio.delta","delta":"*"}',
            "$.delta",
        ),
        (events.decode_client, '{"type":"session.update","session":5}', "$.session"),
    ],
)
def test_a_wrong_shape_in_the_other_directions(decode: Decoder, text: str, path: str) -> None:
    assert refused(text, decode).path == path


def test_objects_can_be_broken_too() -> None:
    for convert in (events.server_event_from, events.client_event_from):
        with pytest.raises(SchemaError):
            convert({})
        with pytest.raises(SchemaError):
            convert([])  # type: ignore[arg-type] - what a caller's own JSON decoder may hand over


def test_the_excerpt_shows_no_credential() -> None:
    session = {"api_key": "sk-1", "headers": {"Authorization": "Bearer sk-2"}, "tools": 5}
    text = json.dumps({"type": "session.update", "session": session})
    for each in (text, text.encode(), text[:80]):
        error = refused(each, events.decode_client)
        assert "sk-" not in error.excerpt + str(error)
        assert '"api_key": "..."' in error.excerpt


def test_the_excerpt_of_a_text_that_is_no_unicode() -> None:
    assert refused('"\ud800').excerpt == '"?'


@given(st.binary(max_size=60))
@example(b'{"type":"error","error":{"code":\xc3\x28}}')
def test_any_bytes_give_an_event_or_a_schema_error(text: bytes) -> None:
    for decode in DECODERS:
        try:
            event = decode(text)
        except SchemaError:
            continue
        assert isinstance(event, events.WireObject)


@given(st.data())
def test_a_damaged_message_gives_an_event_or_a_schema_error(data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(AUDIO) - 1))
    damaged = bytearray(AUDIO)
    damaged[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        event = events.decode_server(damaged)
    except SchemaError:
        return
    assert isinstance(event, events.WireObject)


def test_a_text_of_16_mib_is_decoded_and_written_once() -> None:
    big = "x" * (16 * 1024 * 1024)
    event = events.decode_server(json.dumps({"type": "error", "error": {"message": big}}))
    assert isinstance(event, events.Error)
    assert len(event.error.message) == len(big)
    unknown = events.decode_server(b'{"type":"' + b"x" * (16 * 1024 * 1024) + b'"}')
    assert isinstance(unknown, events.UnknownEvent)


def test_a_broken_text_of_16_mib_has_a_short_report() -> None:
    error = refused(b'{"type":"error","error":{"message":"' + b"x" * (16 * 1024 * 1024))
    assert len(error.excerpt) == 200
    assert len(str(error)) < 200


@pytest.mark.parametrize(
    ("field", "value"), [("code", "9" * 400), ("x", "9" * 400), ("x", "-" + "9" * 30)]
)
def test_huge_integers_do_no_harm(field: str, value: str) -> None:
    text = b'{"type":"error","error":{"%s":%s}}' % (field.encode(), value.encode())
    if field == "code":
        assert refused(text).path == "$.error.code"
    else:
        event = events.decode_server(text)
        assert json.loads(events.encode(event)) == json.loads(text)


def test_of_duplicate_keys_the_last_counts() -> None:
    event = events.decode_server('{"type":"error","error":{"message":"a","message":"b"}}')
    assert isinstance(event, events.Error)
    assert event.error.message == "b"
    lenient = events.decode_server('{"type":"error","x":1,"x":2,"error":{},"error":{"code":"c"}}')
    assert lenient == events.Error(error=events.ErrorDetails(code="c"), extra={"x": 2})
    other = events.decode_server('{"type":"error","error":{},"type":"brand.new"}')
    assert isinstance(other, events.UnknownEvent)


# Buffers


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda text: text.decode()])
def test_every_kind_of_text_is_taken(kind: Callable[[bytes], Any]) -> None:
    event = events.decode_server(kind(AUDIO))
    assert isinstance(event, events.ResponseOutputAudioDelta)
    assert event.delta == b"\x00\x00\xff\xff"


@pytest.mark.parametrize(
    "text",
    [
        AUDIO,
        AUDIO.replace(b'"delta"', b'"new":["x"],"delta"'),
        b'{"type":"brand.new","x":["y"]}',
        b'{"type":"error","error":{"message":"m"}}',
    ],
)
def test_no_event_keeps_the_buffer(text: bytes) -> None:
    buffer = bytearray(text)
    event = events.decode_server(memoryview(buffer))
    before = events.encode(event)
    buffer[:] = b"\x00" * len(buffer)
    buffer.clear()  # raises BufferError where somebody still looks at it
    assert events.encode(event) == before


def test_no_error_keeps_the_buffer() -> None:
    for broken in (b'{"type":"error"}', b"{", AUDIO.replace(b"AAD", b"*AD")):
        buffer = bytearray(broken)
        with pytest.raises(SchemaError):
            events.decode_server(memoryview(buffer))
        buffer.clear()


# Unknown things


def test_an_unknown_event_is_data() -> None:  # X2
    text = b'{"type":"response.video.delta","n":1,"nested":{"a":[null,true,1.5]}}'
    event = events.decode_server(text)
    assert event == events.UnknownEvent(type="response.video.delta", data=json.loads(text))
    assert event.type == "response.video.delta"
    assert events.encode(event) == text
    assert events.to_data(event) == json.loads(text)
    assert events.decode_server('{"type":""}').type == ""


@pytest.mark.parametrize("decode", DECODERS)
def test_an_unknown_event_is_data_in_every_direction(decode: Decoder) -> None:
    assert decode('{"type":"new"}') == events.UnknownEvent(type="new", data={"type": "new"})


def test_the_same_type_is_another_event_in_a_translation_session() -> None:
    text = '{"type":"session.updated","session":{"type":"translation","id":"s","model":"m"}}'
    event = events.decode_translation_server(text)
    assert isinstance(event, events.TranslationSessionUpdated)
    assert event.session.model == "m"
    other = events.decode_server(text)
    assert isinstance(other, events.SessionUpdated)
    assert isinstance(other.session, events.UnknownSession)


UNKNOWN_INSIDE: list[tuple[str, str, type[events.UnknownObject]]] = [
    ("conversation.item.done", '"item":{"type":"web_search","q":["a"]}', events.UnknownItem),
    ("conversation.item.done", '"item":{"q":1}', events.UnknownItem),
    (
        "conversation.item.done",
        '"item":{"type":"message","role":"user","content":[{"type":"video","v":1}]}',
        events.UnknownPart,
    ),
    (
        "conversation.item.done",
        '"item":{"type":"message","role":"user","content":[{"text":"t"}]}',
        events.UnknownPart,
    ),
    ("session.updated", '"session":{"type":"karaoke","x":1}', events.UnknownSession),
    (
        "session.updated",
        '"session":{"type":"realtime","tools":[{"type":"browser"}]}',
        events.UnknownObject,
    ),
    (
        "session.updated",
        '"session":{"type":"realtime","tool_choice":{"type":"allowed_tools"}}',
        events.UnknownObject,
    ),
    (
        "session.updated",
        '"session":{"type":"realtime","audio":{"input":{"format":{"type":"audio/opus"}}}}',
        events.UnknownObject,
    ),
    (
        "session.updated",
        '"session":{"type":"realtime","audio":{"input":{"turn_detection":{"type":"psychic"}}}}',
        events.UnknownObject,
    ),
    (
        "session.updated",
        '"session":{"type":"realtime","truncation":{"type":"summary"}}',
        events.UnknownObject,
    ),
    (
        "session.updated",
        '"session":{"type":"realtime","prompt":{"id":"p","variables":{"v":{"type":"x"}}}}',
        events.UnknownPart,
    ),
    (
        "conversation.item.done",
        '"item":{"type":"mcp_call","server_label":"s","name":"n","arguments":"{}",'
        '"error":{"type":"x"}}',
        events.UnknownObject,
    ),
    (
        "conversation.item.input_audio_transcription.completed",
        '"item_id":"i","content_index":0,"transcript":"t","usage":{"type":"words","words":1}',
        events.UnknownObject,
    ),
]


def unknown_objects(value: Any) -> list[events.UnknownObject]:
    if isinstance(value, events.UnknownObject):
        return [value]
    if isinstance(value, events.WireObject):
        value = [getattr(value, name) for name in value.__struct_fields__]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [found for element in value for found in unknown_objects(element)]
    return []


@pytest.mark.parametrize(("kind", "body", "unknown"), UNKNOWN_INSIDE)
def test_an_unknown_object_is_data(
    kind: str, body: str, unknown: type[events.UnknownObject]
) -> None:  # C1
    text = f'{{"type":"{kind}","event_id":"e",{body}}}'
    event = events.decode_server(text)
    (found,) = unknown_objects(event)
    assert type(found) is unknown
    assert found.type == found.data.get("type", "")
    assert json.loads(events.encode(event)) == json.loads(text)


def test_the_names_that_we_use_inside_are_not_the_wires() -> None:
    """`$unknown` and `$extra` on the wire are an unknown type and an unknown field like others."""
    text = '{"type":"$unknown_event","$type":"x","data":{"a":1},"$extra":{"b":1}}'
    event = events.decode_server(text)
    assert event == events.UnknownEvent(type="$unknown_event", data=json.loads(text))
    text = (
        '{"type":"error","error":{},"$extra":{"a":1},"extra":5,'
        '"item":{"type":"$unknown_item","$type":"x","data":{}}}'
    )
    event = events.decode_server(text)
    assert event.extra["$extra"] == {"a": 1}
    assert event.extra["extra"] == 5
    assert json.loads(events.encode(event)) == json.loads(text)
    text = (
        '{"type":"conversation.item.done","item":'
        '{"type":"$unknown_item","$type":"x","data":{},"$extra":{}}}'
    )
    event = events.decode_server(text)
    assert isinstance(event, events.ConversationItemDone)
    assert isinstance(event.item, events.UnknownItem)
    assert event.item.type == "$unknown_item"
    assert json.loads(events.encode(event)) == json.loads(text)


def test_unknown_fields_are_kept_at_every_depth() -> None:
    text = (
        '{"type":"response.done","a":1,"response":{"id":"r","b":null,"output":[{"type":"message",'
        '"role":"assistant","c":[1],"content":[{"type":"output_text","text":"t","d":{"e":2}}]}]}}'
    )
    event = events.decode_server(text)
    assert isinstance(event, events.ResponseDone)
    assert event.extra == {"a": 1}
    assert event.response.extra == {"b": None}
    assert isinstance(event.response.output, list)
    (item,) = event.response.output
    assert isinstance(item, events.Message)
    assert item.extra == {"c": [1]}
    assert item.content[0].extra == {"d": {"e": 2}}
    assert json.loads(events.encode(event)) == json.loads(text)


def test_an_unknown_field_beside_audio_is_kept() -> None:
    text = AUDIO.replace(b'"delta"', b'"obfuscation":"x","delta"')
    event = events.decode_server(text)
    assert isinstance(event, events.ResponseOutputAudioDelta)
    assert (event.delta, event.extra) == (b"\x00\x00\xff\xff", {"obfuscation": "x"})
    assert json.loads(events.encode(event)) == json.loads(text)


def test_unknown_objects_are_written_from_tuples_and_dicts_too() -> None:
    part: Any = ({"type": "input_text", "text": "t"}, events.UnknownPart(type="x", data={"y": 1}))
    message = events.Message(role="user", content=part)
    written = json.loads(events.encode(events.ConversationItemCreate(item=message)))
    assert written["item"]["content"] == [{"type": "input_text", "text": "t"}, {"y": 1}]
    free: Any = {"a": events.UnknownItem(type="x", data={"z": 1})}
    assert events.to_data(free) == {"a": {"z": 1}}


def test_an_unknown_item_has_its_id() -> None:
    assert events.UnknownItem(type="x", data={"type": "x", "id": "item_1"}).id == "item_1"
    assert events.UnknownItem(type="x", data={"type": "x", "id": 5}).id is events.UNSET


def test_open_sets_of_values_are_texts() -> None:
    text = (
        '{"type":"response.done","response":{"id":"r","status":"exploded",'
        '"status_details":{"type":"t","reason":"r"},"output_modalities":["smell"]}}'
    )
    assert json.loads(events.encode(events.decode_server(text))) == json.loads(text)


# Leniency


def test_a_lone_content_object_counts_as_a_list_of_one() -> None:  # C1
    text = (
        '{"type":"conversation.item.added","item":{"type":"message","role":"user",'
        '"content":{"type":"input_text","text":"t"}}}'
    )
    event = events.decode_server(text)
    assert isinstance(event, events.ConversationItemAdded)
    assert isinstance(event.item, events.Message)
    assert event.item.content == [events.InputText(text="t")]


def test_what_compatible_servers_leave_out() -> None:
    bare = events.decode_server(AUDIO.replace(b'"event_id":"e",', b""))
    assert isinstance(bare, events.ResponseOutputAudioDelta)
    assert bare.event_id == ""
    session = events.decode_server('{"type":"session.created","session":{"id":"s"}}')
    assert isinstance(session, events.SessionCreated)
    assert session.session == events.RealtimeSession(id="s")
    null = events.decode_server(
        '{"type":"conversation.item.done","event_id":null,"item":{"type":"message",'
        '"role":"user","content":null}}'
    )
    assert null == events.ConversationItemDone(item=events.Message(role="user", content=[]))
    vad = events.decode_server(
        '{"type":"session.updated","session":{"audio":{"input":{"format":{"rate":24000},'
        '"turn_detection":{"threshold":1}}},"tools":{"name":"f"}}}'
    )
    assert vad == events.SessionUpdated(
        session=events.RealtimeSession(
            audio=events.AudioConfig(
                input=events.AudioInput(
                    format=events.PcmFormat(), turn_detection=events.ServerVad(threshold=1.0)
                )
            ),
            tools=[events.FunctionTool(name="f")],
        )
    )


def test_a_whole_number_may_be_written_as_a_fraction() -> None:
    event = events.decode_server(
        '{"type":"input_audio_buffer.speech_started","item_id":"i","audio_start_ms":120.0}'
    )
    assert isinstance(event, events.InputAudioBufferSpeechStarted)
    assert event.audio_start_ms == 120
    assert type(event.audio_start_ms) is int
    small = '{"type":"error","error":{},"limits":1,"rate_limits":[]}'
    assert events.decode_server(small).extra == {"limits": 1, "rate_limits": []}


@pytest.mark.parametrize("body", ['"speed":1', '"speed":1,"new":1', '"speed":1.0'])
def test_a_fraction_may_be_written_as_a_whole_number(body: str) -> None:
    event = events.decode_server(
        f'{{"type":"session.updated","session":{{"audio":{{"output":{{{body}}}}}}}}}'
    )
    assert isinstance(event, events.SessionUpdated)
    assert isinstance(event.session, events.RealtimeSession)
    assert isinstance(event.session.audio, events.AudioConfig)
    assert isinstance(event.session.audio.output, events.AudioOutput)
    assert type(event.session.audio.output.speed) is float


# Writing


def test_unset_null_and_a_value_are_three_things() -> None:  # S2
    def written(**fields: Any) -> Any:
        update = events.SessionUpdate(
            session=events.RealtimeSession(
                audio=events.AudioConfig(input=events.AudioInput(**fields))
            )
        )
        data = json.loads(events.encode(update))
        assert events.decode_client(events.encode(update)) == update
        return data["session"]["audio"]["input"]

    assert written() == {}
    assert written(turn_detection=None) == {"turn_detection": None}
    assert written(turn_detection=events.ServerVad()) == {"turn_detection": {"type": "server_vad"}}
    assert written(noise_reduction=events.UNSET, transcription=None) == {"transcription": None}


def test_text_is_compact_utf8() -> None:
    event = events.ConversationItemCreate(
        item=events.Message(role="user", content=[events.InputText(text='Grüße "👋"\n')])
    )
    assert (
        events.encode(event)
        == (
            '{"type":"conversation.item.create","item":{"type":"message","role":"user",'
            '"content":[{"type":"input_text","text":"Grüße \\"👋\\"\\n"}]}}'
        ).encode()
    )


def test_what_the_service_requires_is_written_even_where_it_is_the_default() -> None:
    output = events.AudioConfig(output=events.AudioOutput(format=events.PcmFormat()))
    update = events.SessionUpdate(session=events.RealtimeSession(audio=output))
    assert b'"format":{"type":"audio/pcm","rate":24000}' in events.encode(update)
    assert events.to_data(events.PcmFormat()) == {"type": "audio/pcm", "rate": 24000}
    message = events.Message(role="user", content=[events.InputText(text="")])
    assert json.loads(events.encode(events.ConversationItemCreate(item=message)))["item"] == {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": ""}],
    }
    segment = b'"item_id":"i","content_index":0'
    delta = events.ConversationItemInputAudioTranscriptionDelta(item_id="i")
    assert segment in events.encode(delta)


AUDIO_EVENTS: list[events.WireObject] = [
    events.InputAudioBufferAppend(audio=b"\x00\xff" * 5),
    events.InputAudioBufferAppend(audio=b"", event_id='quo"te'),
    events.InputAudioBufferAppend(audio=b"\x00", event_id=None),
    events.ResponseOutputAudioDelta(
        event_id="null", response_id="", item_id="}", output_index=1, content_index=2, delta=b"abc"
    ),
    events.SessionInputAudioBufferAppend(audio=b"a"),
    events.SessionOutputAudioDelta(delta=b"a", sample_rate=24000, elapsed_ms=None),
]


@pytest.mark.parametrize("event", AUDIO_EVENTS)
def test_audio_is_written_as_msgspec_would(event: events.WireObject) -> None:
    text = events.encode(event)
    assert text == msgspec.json.encode(event)
    assert json.loads(text) == events.to_data(event)
    with_extra = msgspec.structs.replace(event, extra={"new": 1})
    assert json.loads(events.encode(with_extra)) == {**json.loads(text), "new": 1}


@given(st.binary(max_size=64))
def test_the_fast_append_is_the_append(audio: bytes) -> None:
    text = events.encode_audio_append(audio)
    assert text == events.encode(events.InputAudioBufferAppend(audio=audio))
    assert text == events.encode_audio_append(memoryview(bytearray(audio)))
    assert events.decode_client(text) == events.InputAudioBufferAppend(audio=audio)


def with_parameters(parameters: Any) -> events.SessionUpdate:
    tool = events.FunctionTool(name="f", parameters=parameters)
    return events.SessionUpdate(session=events.RealtimeSession(tools=[tool]))


def loop() -> dict[str, Any]:
    inner: dict[str, Any] = {}
    inner["inner"] = inner
    return inner


UNWRITABLE: list[tuple[events.WireObject, str]] = [
    (
        events.SessionUpdate(
            session=events.RealtimeSession(
                audio=events.AudioConfig(output=events.AudioOutput(speed=math.nan))
            )
        ),
        "session.audio.output.speed is nan",
    ),
    (with_parameters({"a": [1, {"b": -math.inf}]}), r"session.tools\[0\].parameters.a\[1\].b is -"),
    (events.ResponseCancel(extra={"x": math.inf}), "x is inf"),
    (events.UnknownEvent(type="t", data={"type": "t", "x": math.nan}), "x is nan"),
    (
        events.InputAudioBufferAppend(audio=b"", extra={"x": math.nan}),
        "x is nan",
    ),
    (with_parameters(object()), "SessionUpdate cannot be written as JSON"),
    (with_parameters({"a": "\ud800"}), "cannot be written as JSON"),
    (with_parameters({(1, 2): 3}), "cannot be written as JSON"),
    (with_parameters(loop()), "cannot be written as JSON"),
    (events.ResponseCancel(extra=loop()), "cannot be written as JSON"),
    (events.ResponseCancel(response_id="\ud800"), "cannot be written as JSON"),
    (events.InputAudioBufferAppend(audio=b"", event_id="\ud800"), "cannot be written as JSON"),
    (events.InputAudioBufferAppend(audio=5), "cannot be written as JSON"),  # type: ignore[arg-type] - the mistake
    (events.ResponseCancel(extra={"response_id": "r"}), "extra field 'response_id'"),
    (events.ResponseCancel(extra={"type": "r"}), "extra field 'type'"),
]


@pytest.mark.parametrize(("event", "problem"), UNWRITABLE)
def test_what_json_cannot_say_is_refused(event: events.WireObject, problem: str) -> None:
    with pytest.raises(LocalProtocolError, match=problem):
        events.encode(event)


def test_a_null_beside_finite_numbers_is_written() -> None:
    event = with_parameters({"a": None, "b": (1.5, "null"), "c": [{}]})
    parameters = json.loads(events.encode(event))["session"]["tools"][0]["parameters"]
    assert parameters == {"a": None, "b": [1.5, "null"], "c": [{}]}


# Structs as values


def test_events_are_frozen_values() -> None:
    event = events.decode_server(AUDIO)
    with pytest.raises(AttributeError):
        event.event_id = "other"  # type: ignore[misc, union-attr] - frozen
    assert event == events.decode_server(AUDIO)
    assert repr(events.InputText(text="t")) == "InputText(text='t')"
    assert event.type == "response.output_audio.delta"


@pytest.mark.parametrize(
    "event",
    [
        events.ResponseCancel(),
        events.ResponseCancel(extra={"a": 1}),
        events.UnknownEvent(type="t", data={"type": "t"}),
    ],
)
def test_copies_write_the_same(event: events.WireObject) -> None:
    for twin in (copy.deepcopy(event), pickle.loads(pickle.dumps(event)), copy.copy(event)):
        assert twin == event
        assert events.encode(twin) == events.encode(event)


def test_no_extra_is_an_empty_mapping() -> None:
    extra = events.ResponseCancel().extra
    assert (dict(extra), len(extra), repr(extra), bool(extra)) == ({}, 0, "{}", False)
    with pytest.raises(KeyError):
        extra["a"]
    assert events.encode(events.ResponseCancel(extra={})) == b'{"type":"response.cancel"}'


def test_every_name_is_public_once() -> None:
    assert len(set(events.__all__)) == len(events.__all__)
    assert all(hasattr(events, name) for name in events.__all__)
