"""The beta dialect against the published types: issue 3, "Dialects".

Instances of every event of `openai.types.beta.realtime` are made from its models, over every
optional field present, null and absent; to the GA and back they must come out as they went in, and
what we write must be valid there.
"""

from __future__ import annotations

import functools
import json
import types
import typing
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.beta.realtime import RealtimeClientEvent, RealtimeServerEvent
from openai.types.realtime import RealtimeClientEvent as GaClientEvent
from openai.types.realtime import RealtimeServerEvent as GaServerEvent
from pydantic import BaseModel, TypeAdapter

from sansio_rt import events
from sansio_rt._dialects import client_from_wire, decode, from_wire, server_to_wire, to_wire
from sansio_rt._endpoint import Dialect

DATA = Path(__file__).parents[1] / "data" / "dialects"
BETA = {"server": TypeAdapter(RealtimeServerEvent), "client": TypeAdapter(RealtimeClientEvent)}
GA = {"server": TypeAdapter(GaServerEvent), "client": TypeAdapter(GaClientEvent)}


def models(union: Any) -> dict[str, type[BaseModel]]:
    """The events of a union by their types."""
    members = get_args(get_args(union)[0])
    return {get_args(member.model_fields["type"].annotation)[0]: member for member in members}


SERVER = models(RealtimeServerEvent)
CLIENT = models(RealtimeClientEvent)


# One of the models takes any text, but there are only these.
FORMATS = st.sampled_from([None, "pcm16", "g711_ulaw", "g711_alaw"])


@functools.cache
def values(annotation: Any) -> st.SearchStrategy[Any]:
    """JSON that fits an annotation of the models."""
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        return values(get_args(annotation)[0])
    if origin is Literal:
        return st.sampled_from(get_args(annotation))
    if origin in (Union, types.UnionType):
        return st.one_of(*map(values, get_args(annotation)))
    if origin is list:
        return st.lists(values(get_args(annotation)[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(st.text(max_size=3), values(get_args(annotation)[1]), max_size=2)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return instances(annotation)
    return {
        type(None): st.none(),
        str: st.text(max_size=4),
        bool: st.booleans(),
        int: st.integers(0, 9),
        float: st.integers(0, 8).map(lambda eighths: eighths / 8),
        object: st.sampled_from([{}, {"type": "object"}]),
    }[annotation]


@functools.cache
def instances(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for name, field in model.model_fields.items():
        fields = required if field.is_required() else optional
        fields[name] = FORMATS if name.endswith("audio_format") else values(field.annotation)
    return st.fixed_dictionaries(required, optional=optional)


def canonical(event: dict[str, Any]) -> dict[str, Any]:
    """Speech has one spelling in the GA: `["audio"]`, and one that we write for it in the beta."""
    for name in ("session", "response"):
        holder = event.get(name)
        if isinstance(holder, dict) and "audio" in (holder.get("modalities") or ()):
            kept = event["type"].startswith("transcription_session")
            if not kept:
                event = {**event, name: {**holder, "modalities": ["text", "audio"]}}
    return event


def speaks(event: dict[str, Any]) -> bool:
    """Whether a client's event puts assistant audio into the history, which becomes text (C6)."""
    items = [event.get("item"), *((event.get("response") or {}).get("input") or ())]
    return any(
        part.get("type") == "audio"
        for item in items
        if item and item.get("role") == "assistant"
        for part in item.get("content") or ()
    )


ORACLE = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("kind", SERVER)
@ORACLE
@given(st.data())
def test_server_events_to_the_ga_and_back(kind: str, data: st.DataObject) -> None:
    beta = canonical(data.draw(instances(SERVER[kind])))
    SERVER[kind].model_validate(beta)
    ga = from_wire(Dialect.BETA, beta)
    assert ga["type"] in events.SERVER_EVENTS
    assert server_to_wire(Dialect.BETA, ga) == beta


@pytest.mark.parametrize("kind", CLIENT)
@ORACLE
@given(st.data())
def test_client_events_to_the_ga_and_back(kind: str, data: st.DataObject) -> None:
    beta = canonical(data.draw(instances(CLIENT[kind])))
    ga = client_from_wire(Dialect.BETA, beta)
    assert ga["type"] in events.CLIENT_EVENTS
    written = to_wire(Dialect.BETA, ga)
    CLIENT[kind].model_validate(written)
    if not speaks(beta):
        assert written == beta


@pytest.mark.parametrize(("side", "published"), [("server", SERVER), ("client", CLIENT)])
def test_there_is_a_golden_file_for_every_published_event(
    side: str, published: dict[str, Any]
) -> None:
    assert {file.stem for file in (DATA / side).glob("*.json")} == published.keys()


@pytest.mark.parametrize("file", sorted(DATA.glob("*/*.json")), ids=lambda file: file.stem)
def test_golden_files_are_valid_on_both_sides(file: Path) -> None:
    pair = json.loads(file.read_text("utf-8"))
    side = file.parent.name
    assert pair["beta"]["type"] == file.stem
    BETA[side].validate_python(pair["beta"])
    ga = pair["ga"]
    if file.stem == "response.function_call_arguments.done":
        ga["name"] = "?"  # the GA's type requires it, the beta has it not
    if file.stem == "response.create":
        del ga["response"]["input"][0]  # a reference: both servers take it, the GA's type does not
    GA[side].validate_python(ga)


def ga_sessions() -> st.SearchStrategy[dict[str, Any]]:
    """GA sessions of what the beta can say too."""
    audio_format = st.sampled_from(
        [{"type": "audio/pcm", "rate": 24000}, {"type": "audio/pcmu"}, {"type": "audio/pcma"}]
    )
    return st.fixed_dictionaries(
        {"type": st.just("realtime")},
        optional={
            "instructions": st.text(max_size=4),
            "model": st.just("gpt-realtime"),
            "output_modalities": st.sampled_from([["audio"], ["text"]]),
            "max_output_tokens": st.sampled_from([1, 4096, "inf"]),
            "tool_choice": st.sampled_from(["auto", "none", "required"]),
            "tracing": st.sampled_from([None, "auto", {"workflow_name": "w"}]),
            "temperature": st.just(0.8),
            "audio": st.fixed_dictionaries(
                {},
                optional={
                    "input": st.fixed_dictionaries(
                        {"format": audio_format},
                        optional={
                            "transcription": st.sampled_from([None, {"model": "whisper-1"}]),
                            "noise_reduction": st.sampled_from([None, {"type": "far_field"}]),
                            "turn_detection": st.sampled_from(
                                [None, {"type": "semantic_vad", "eagerness": "low"}]
                            ),
                        },
                    ),
                    "output": st.fixed_dictionaries(
                        {"voice": st.just("ash")},
                        optional={"speed": st.just(1.25), "format": audio_format},
                    ),
                },
            ).filter(bool),
        },
    )


@settings(deadline=None)
@given(ga_sessions())
def test_ga_sessions_to_the_beta_and_back(session: dict[str, Any]) -> None:
    update = {"type": "session.update", "event_id": "mine", "session": session}
    written = to_wire(Dialect.BETA, update)
    BETA["client"].validate_python(written)
    assert client_from_wire(Dialect.BETA, written) == update
    updated = {"type": "session.updated", "event_id": "theirs", "session": session}
    echoed = server_to_wire(Dialect.BETA, updated)
    assert echoed is not None
    BETA["server"].validate_python(echoed)
    assert decode(Dialect.BETA, json.dumps(echoed)) == events.decode_server(json.dumps(updated))
