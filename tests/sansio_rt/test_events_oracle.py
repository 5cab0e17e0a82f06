"""The published types as the oracle: what they can say survives our structs without loss.

Hypothesis makes JSON objects from the pydantic models of the `openai` package: every optional field
present, null and absent, every member of every union. E and the type side of all other rows.
"""

from __future__ import annotations

import json
import math
import types
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types import realtime
from openai.types.realtime import (
    realtime_client_event_param,
    realtime_translation_client_event_param,
)
from openai.types.realtime.realtime_response_create_params_with_references_param import (
    RealtimeResponseCreateParamsWithReferencesParam,
)
from pydantic import BaseModel, TypeAdapter

from sansio_rt import events

MISSING = object()
AUDIO_FIELDS = {
    "response.output_audio.delta": "delta",
    "input_audio_buffer.append": "audio",
    "session.output_audio.delta": "delta",
    "session.input_audio_buffer.append": "audio",
}
TEXTS = st.text(max_size=8)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
BASE64 = st.sampled_from(["", "AAAA", "AAAAAA==", "//8="])


def members(union: Any) -> list[type[BaseModel]]:
    """The models of a discriminated union."""
    return list(typing.get_args(typing.get_args(union)[0]))


def wire_type(model: type[BaseModel]) -> str:
    return str(typing.get_args(model.model_fields["type"].annotation)[0])


def json_of(annotation: Any) -> st.SearchStrategy[Any]:
    """JSON values that fit an annotation of the published models."""
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        return json_of(arguments[0])
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([json_of(argument) for argument in arguments])
    if origin is list:
        return st.lists(json_of(arguments[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(TEXTS, json_of(arguments[1]), max_size=2)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return object_of(annotation)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXTS,
        int: st.integers(-(2**70), 2**70),
        float: FINITE,
        bool: st.booleans(),
        type(None): st.none(),
        object: JSON,
        Any: JSON,
    }
    return plain[annotation]


STRATEGIES: dict[type[BaseModel], st.SearchStrategy[dict[str, Any]]] = {}


def object_of(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    if model not in STRATEGIES:
        required: dict[str, st.SearchStrategy[Any]] = {}
        optional: dict[str, st.SearchStrategy[Any]] = {}
        for name, field in model.model_fields.items():
            place = required if field.is_required() else optional
            place[field.alias or name] = json_of(field.annotation)
        kind = model.model_fields.get("type")
        if kind is not None and kind.is_required():
            audio = AUDIO_FIELDS.get(str((typing.get_args(kind.annotation) or ("",))[0]))
            if audio is not None:
                required[audio] = BASE64
        if "rate" in optional:  # left out, it is written as what it means
            del optional["rate"]
            required["rate"] = st.just(24000)
        STRATEGIES[model] = st.fixed_dictionaries(required, optional=optional)
    return STRATEGIES[model]


def defaulted_fields() -> set[str]:
    """Fields that are never UNSET: left out, null and empty are one state in them."""
    names: set[str] = set()
    for struct in vars(events).values():
        if isinstance(struct, type) and issubclass(struct, events.WireObject):
            for info in msgspec.structs.fields(struct):
                if not info.required and info.default is not msgspec.UNSET:
                    names.add(info.encode_name)
    return names


DEFAULTED = defaulted_fields()


def differences(given: Any, written: Any, path: str = "$") -> list[str]:
    """Where what we wrote is not what was given."""
    if isinstance(given, dict) and isinstance(written, dict):
        found: list[str] = []
        for key in given.keys() | written.keys():
            before, after = given.get(key, MISSING), written.get(key, MISSING)
            empty = (MISSING, None, "", 0, [])
            if key in DEFAULTED and before in empty and after in empty:
                continue
            if key in ("type", "rate") and given.get("type") is None:
                continue  # an object without a type is taken for the usual one of its place
            found += differences(before, after, f"{path}.{key}")
        return found
    if isinstance(given, list) and isinstance(written, list) and len(given) == len(written):
        pairs = enumerate(zip(given, written, strict=True))
        return [
            problem
            for index, (before, after) in pairs
            for problem in differences(before, after, f"{path}[{index}]")
        ]
    if given is MISSING or written is MISSING or given != written:
        if isinstance(given, float | int) and isinstance(written, float):
            return [] if math.isclose(given, written, rel_tol=1e-12) else [f"{path}: {given}"]
        return [f"{path}: {given!r} became {written!r}"]
    return []


def holds(decode: Any, data: dict[str, Any]) -> Any:
    """Decodes, writes and compares; returns the event."""
    text = json.dumps(data).encode()
    event = decode(text)
    assert not isinstance(event, events.UnknownEvent)
    assert event.type == data["type"]
    written = json.loads(events.encode(event))
    assert differences(data, written) == []
    assert events.to_data(event) == written
    return event


FEW = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
SERVER = members(realtime.RealtimeServerEvent)
CLIENT = members(realtime.RealtimeClientEvent)
TRANSLATION_SERVER = members(realtime.RealtimeTranslationServerEvent)
TRANSLATION_CLIENT = members(realtime.RealtimeTranslationClientEvent)


@pytest.mark.parametrize("model", SERVER, ids=wire_type)
def test_server_events_survive(model: type[BaseModel]) -> None:
    @FEW
    @given(object_of(model))
    def survives(data: dict[str, Any]) -> None:
        TypeAdapter(model).validate_python(data)
        event = holds(events.decode_server, data)
        assert events.server_event_from(json.loads(json.dumps(data))) == event

    survives()


@pytest.mark.parametrize("model", CLIENT, ids=wire_type)
def test_client_events_survive_and_validate(model: type[BaseModel]) -> None:
    @FEW
    @given(object_of(model))
    def survives(data: dict[str, Any]) -> None:
        TypeAdapter(model).validate_python(data)
        event = holds(events.decode_client, data)
        assert events.client_event_from(json.loads(json.dumps(data))) == event
        TypeAdapter(model).validate_json(events.encode(event))

    survives()


@pytest.mark.parametrize("model", TRANSLATION_SERVER, ids=wire_type)
def test_translation_server_events_survive(model: type[BaseModel]) -> None:
    @FEW
    @given(object_of(model))
    def survives(data: dict[str, Any]) -> None:
        holds(events.decode_translation_server, data)

    survives()


@pytest.mark.parametrize("model", TRANSLATION_CLIENT, ids=wire_type)
def test_translation_client_events_survive_and_validate(model: type[BaseModel]) -> None:
    @FEW
    @given(object_of(model))
    def survives(data: dict[str, Any]) -> None:
        event = holds(events.decode_translation_client, data)
        TypeAdapter(model).validate_json(events.encode(event))

    survives()


@FEW
@given(st.sampled_from(SERVER), st.data(), st.dictionaries(TEXTS, JSON, max_size=3))
def test_unknown_fields_survive(
    model: type[BaseModel], draw: st.DataObject, extra: dict[str, Any]
) -> None:
    data = draw.draw(object_of(model))
    grown = {**extra, **data}
    event = holds(events.decode_server, grown)
    assert set(event.extra) <= set(extra)
    assert set(event.extra) >= set(extra) - set(model.model_fields)


@FEW
@given(st.sampled_from(SERVER), st.data())
def test_the_strict_and_the_lenient_way_agree(model: type[BaseModel], draw: st.DataObject) -> None:
    data = draw.draw(object_of(model))
    event = events.decode_server(json.dumps(data))
    assert events.decode_server(json.dumps(data | {"later": 1})) == msgspec.structs.replace(
        event, extra={**event.extra, "later": 1}
    )


def full_client_events() -> list[events.WireObject]:
    """Every client event with every field that a client sets, from our own constructors."""
    audio = events.AudioConfig(
        input=events.AudioInput(
            format=events.PcmFormat(),
            transcription=events.Transcription(
                model="gpt-4o-transcribe",
                language="en",
                languages=["en"],
                prompt="names",
                keywords=["trio"],
                delay="low",
            ),
            noise_reduction=events.NoiseReduction(type="near_field", strength=0.5),
            turn_detection=events.ServerVad(
                threshold=0.5,
                prefix_padding_ms=300,
                silence_duration_ms=200,
                create_response=True,
                interrupt_response=False,
                idle_timeout_ms=6000,
            ),
        ),
        output=events.AudioOutput(format=events.PcmuFormat(), voice="marin", speed=1.25),
    )
    tools = [
        events.FunctionTool(name="f", description="d", parameters={"type": "object"}),
        events.McpTool(
            server_label="s",
            allowed_callers=["direct"],
            allowed_tools=events.McpToolFilter(read_only=True, tool_names=["a"]),
            authorization="a",
            connector_id="connector_gmail",
            defer_loading=False,
            headers={"a": "b"},
            require_approval=events.McpApprovalFilter(
                always=events.McpToolFilter(tool_names=["a"]), never=events.McpToolFilter()
            ),
            server_description="d",
            server_url="https://example.org",
            tunnel_id="t",
        ),
        events.McpTool(server_label="s", allowed_tools=["a"], require_approval="never"),
    ]
    prompt = events.Prompt(
        id="p",
        version="1",
        variables={
            "a": "text",
            "b": events.InputText(text="t"),
            "c": events.InputImage(image_url="data:,", detail="low", file_id="f"),
            "d": events.InputFile(filename="f", file_data="", file_id="", file_url=""),
        },
    )
    session = events.RealtimeSession(
        model="gpt-realtime",
        output_modalities=["audio"],
        instructions="be kind",
        audio=audio,
        tools=tools,
        tool_choice=events.ToolChoiceMcp(server_label="s", name="a"),
        max_output_tokens="inf",
        tracing=events.TracingConfig(group_id="g", metadata={"a": 1}, workflow_name="w"),
        truncation=events.RetentionRatio(
            retention_ratio=0.8, token_limits=events.TokenLimits(post_instructions=9)
        ),
        include=["item.input_audio_transcription.logprobs"],
        prompt=prompt,
        reasoning=events.Reasoning(effort="low"),
        parallel_tool_calls=True,
    )
    cleared = events.RealtimeSession(
        audio=events.AudioConfig(
            input=events.AudioInput(format=events.PcmaFormat(), turn_detection=None)
        ),
        tools=[],
        tool_choice=events.ToolChoiceFunction(name="f"),
        tracing=None,
        truncation="disabled",
        max_output_tokens=100,
    )
    semantic = events.TranscriptionSession(
        audio=events.AudioConfig(
            input=events.AudioInput(
                turn_detection=events.SemanticVad(
                    eagerness="high", create_response=False, interrupt_response=True
                )
            )
        ),
        include=[],
    )
    items: list[events.Item] = [
        events.Message(role="system", content=[events.InputText(text="s")], id="item_1"),
        events.Message(
            role="user",
            content=[
                events.InputText(text="t"),
                events.InputAudio(audio="AAAA", transcript="t"),
                events.InputImage(image_url="data:,", detail="auto"),
            ],
            status="completed",
        ),
        events.Message(
            role="assistant",
            content=[events.OutputText(text="t"), events.OutputAudio(transcript="t")],
        ),
        events.FunctionCall(name="f", call_id="c", arguments="{}"),
        events.FunctionCallOutput(call_id="c", output="1"),
        events.McpListTools(
            server_label="s", tools=[events.McpToolDescription(name="a", input_schema={})]
        ),
        events.McpCall(
            id="i",
            server_label="s",
            name="a",
            arguments="{}",
            approval_request_id="r",
            error=events.McpHttpError(code=500, message="m"),
            output="o",
        ),
        events.McpApprovalRequest(id="i", server_label="s", name="a", arguments="{}"),
        events.McpApprovalResponse(id="i", approval_request_id="r", approve=True, reason="ok"),
    ]
    params = events.ResponseParams(
        audio=events.AudioConfig(
            output=events.AudioOutput(format=events.PcmFormat(), voice=events.VoiceId(id="v"))
        ),
        conversation="none",
        input=list(items),
        instructions="i",
        max_output_tokens=4096,
        metadata={"a": "b"},
        output_modalities=["text"],
        parallel_tool_calls=False,
        prompt=prompt,
        reasoning=events.Reasoning(effort="xhigh"),
        tool_choice="required",
        tools=list(tools),
    )
    return [
        *(events.SessionUpdate(session=each) for each in (session, cleared, semantic)),
        events.SessionUpdate(session=events.RealtimeSession(), event_id="e"),
        events.InputAudioBufferAppend(audio=b"\x00\xff", event_id="e"),
        events.InputAudioBufferAppend(audio=b""),
        events.InputAudioBufferCommit(event_id="e"),
        events.InputAudioBufferClear(),
        events.OutputAudioBufferClear(),
        *(events.ConversationItemCreate(item=item) for item in items),
        events.ConversationItemCreate(item=items[0], previous_item_id="root", event_id="e"),
        events.ConversationItemDelete(item_id="i"),
        events.ConversationItemRetrieve(item_id="i"),
        events.ConversationItemTruncate(item_id="i", content_index=0, audio_end_ms=120),
        events.ResponseCreate(),
        events.ResponseCreate(response=params, event_id="e"),
        events.ResponseCancel(response_id="r"),
        events.ResponseCancel(),
    ]


@pytest.mark.parametrize("event", full_client_events(), ids=lambda event: event.type)
def test_what_we_write_is_what_the_published_types_take(event: events.WireObject) -> None:
    events.check(event)
    data = json.loads(events.encode(event))
    TypeAdapter(realtime.RealtimeClientEvent).validate_python(data, strict=True)
    params = TypeAdapter(realtime_client_event_param.RealtimeClientEventParam)
    params.validate_python(data)
    assert events.decode_client(events.encode(event)) == event


def test_every_client_event_is_among_the_full_ones() -> None:
    written = {event.type for event in full_client_events()}
    assert written == set(events.CLIENT_EVENTS)


def test_item_references_go_into_a_response() -> None:
    params = events.ResponseParams(input=[events.ItemReference(id="item_1")])
    data = json.loads(events.encode(events.ResponseCreate(response=params)))["response"]
    assert data == {"input": [{"type": "item_reference", "id": "item_1"}]}
    TypeAdapter(RealtimeResponseCreateParamsWithReferencesParam).validate_python(data)


@pytest.mark.parametrize(
    "event",
    [
        events.TranslationSessionUpdate(
            session=events.TranslationSession(
                audio=events.TranslationAudio(
                    input=events.TranslationInput(
                        noise_reduction=events.NoiseReduction(type="far_field"),
                        transcription=events.TranslationTranscription(model="m"),
                    ),
                    output=events.TranslationOutput(language="de"),
                )
            )
        ),
        events.SessionInputAudioBufferAppend(audio=b"\x00\xff", event_id="e"),
        events.SessionClose(event_id="e"),
    ],
    ids=lambda event: event.type,
)
def test_translation_events_are_what_the_published_types_take(event: events.WireObject) -> None:
    events.check(event)
    data = json.loads(events.encode(event))
    params = realtime_translation_client_event_param.RealtimeTranslationClientEventParam
    TypeAdapter(params).validate_python(data)
    assert events.decode_translation_client(events.encode(event)) == event
