"""Nothing published is missing: every event, item, part and field of the `openai` package's types.

When the installed `openai` is newer than the version that this was last held against, the API may
have grown; that must not break anybody's test run, so the check then runs only on demand:

    SANSIO_RT_NEWEST_OPENAI=1 pytest tests/sansio_rt/test_events_complete.py
"""

from __future__ import annotations

import json
import os
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
from openai.types import realtime
from openai.types.realtime.response_item_reference import ResponseItemReference
from pydantic import BaseModel, TypeAdapter

from sansio_rt import events

HELD_AGAINST = (3, 54)
DATA = Path(__file__).parent.parent / "data" / "events"
UNIONS: dict[str, tuple[Any, typing.Mapping[str, type[events.WireObject]]]] = {
    "server": (realtime.RealtimeServerEvent, events.SERVER_EVENTS),
    "client": (realtime.RealtimeClientEvent, events.CLIENT_EVENTS),
    "translation_server": (
        realtime.RealtimeTranslationServerEvent,
        events.TRANSLATION_SERVER_EVENTS,
    ),
    "translation_client": (
        realtime.RealtimeTranslationClientEvent,
        events.TRANSLATION_CLIENT_EVENTS,
    ),
}
DECODERS = {
    "server": events.decode_server,
    "client": events.decode_client,
    "translation_server": events.decode_translation_server,
    "translation_client": events.decode_translation_client,
}
NEWER = tuple(map(int, openai.__version__.split(".")[:2])) > HELD_AGAINST


def inside(annotation: Any, kind: type) -> Iterator[type[Any]]:
    """The classes of a kind that an annotation mentions."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, kind):
            yield annotation
        return
    for argument in typing.get_args(annotation):
        yield from inside(argument, kind)


def tags(model: type[BaseModel]) -> tuple[str, ...]:
    """The values that a model's `type` can have; none where it is free or missing."""
    field = model.model_fields.get("type")
    literals: list[str] = []

    def walk(annotation: Any) -> None:
        if typing.get_origin(annotation) is typing.Literal:
            literals.extend(typing.get_args(annotation))
        for argument in typing.get_args(annotation):
            walk(argument)

    if field is not None:
        walk(field.annotation)
    return tuple(literals)


def missing(model: type[BaseModel], structs: list[type[Any]], path: str) -> list[str]:
    """What a model has and our structs in the same place have not."""
    structs = [struct for struct in structs if not issubclass(struct, events.UnknownObject)]
    wanted = tags(model)
    tagged = {struct.__struct_config__.tag: struct for struct in structs}
    if set(tagged) == {None}:
        candidates = [tagged[None]]
    elif wanted:
        absent = [f"{path}: no struct of type {tag}" for tag in wanted if tag not in tagged]
        if absent:
            return absent
        candidates = [tagged[tag] for tag in wanted]
    else:  # a model whose `type` is any text
        candidates = structs
    if not candidates:
        return [f"{path}: no struct for {model.__name__}"]
    ours = {info.encode_name: info for each in candidates for info in msgspec.structs.fields(each)}
    found: list[str] = []
    for name, field in model.model_fields.items():
        wire_name = field.alias or name
        if wire_name == "type" and candidates[0].__struct_config__.tag_field:
            continue
        if wire_name not in ours:
            found.append(f"{path}.{wire_name}")
            continue
        below = list(inside(ours[wire_name].type, events.WireObject))
        for nested in inside(field.annotation, BaseModel):
            found += missing(nested, below, f"{path}.{wire_name}")
    return found


def lacking(union: Any, table: typing.Mapping[str, type[events.WireObject]]) -> list[str]:
    found: list[str] = []
    for model in typing.get_args(typing.get_args(union)[0]):
        (kind,) = tags(model)
        if kind in table:
            found += missing(model, [table[kind]], kind)
        else:
            found.append(f"event {kind}")
    return found


@pytest.mark.skipif(
    NEWER and not os.environ.get("SANSIO_RT_NEWEST_OPENAI"),
    reason=f"openai {openai.__version__} is newer than what this was held against",
)
@pytest.mark.parametrize("name", UNIONS)
def test_nothing_published_is_missing(name: str) -> None:
    union, table = UNIONS[name]
    lack = lacking(union, table)
    assert not lack, "the published types have, and we have not:\n" + "\n".join(lack)


def test_server_sessions_have_what_the_service_answers() -> None:
    pairs: list[tuple[type[BaseModel], type[events.WireObject]]] = [
        (realtime.RealtimeSessionCreateResponse, events.RealtimeSession),
        (realtime.RealtimeTranscriptionSessionCreateResponse, events.TranscriptionSession),
        (ResponseItemReference, events.ItemReference),
    ]
    assert [lack for model, ours in pairs for lack in missing(model, [ours], ours.__name__)] == []


def test_the_check_sees_what_is_missing() -> None:
    class Grown(BaseModel):
        type: typing.Literal["input_audio_buffer.commit"]
        brand_new: str

    class New(BaseModel):
        type: typing.Literal["brand.new"]

    grown = typing.Annotated[Grown | New, None]
    assert lacking(grown, events.CLIENT_EVENTS) == [
        "input_audio_buffer.commit.brand_new",
        "event brand.new",
    ]
    fewer = [events.Message, events.UnknownItem]
    assert missing(realtime.RealtimeMcpToolCall, fewer, "$") == ["$: no struct of type mcp_call"]


def test_there_are_46_server_and_11_client_events() -> None:
    assert len(events.SERVER_EVENTS) == 46
    assert len(events.CLIENT_EVENTS) == 11
    assert len(events.TRANSLATION_SERVER_EVENTS) == 7
    assert len(events.TRANSLATION_CLIENT_EVENTS) == 3


def test_classes_are_named_after_their_wire_types() -> None:
    for table in (events.SERVER_EVENTS, events.CLIENT_EVENTS):
        for kind, struct in table.items():
            words = kind.replace(".", "_").split("_")
            assert struct.__name__ == "".join(word.capitalize() for word in words)
            assert getattr(events, struct.__name__) is struct


def golden(name: str) -> list[str]:
    # Not `splitlines`: a text may hold U+2028, which that takes for the end of a line.
    return (DATA / f"{name}.jsonl").read_text("utf-8").removesuffix("\n").split("\n")


def known_through_and_through(value: Any) -> bool:
    """No extras and nothing unknown, at any depth."""
    if isinstance(value, list):
        return all(map(known_through_and_through, value))
    if isinstance(value, dict):
        return all(map(known_through_and_through, value.values()))
    if isinstance(value, events.WireObject):
        fields = (getattr(value, name) for name in value.__struct_fields__ if name != "extra")
        unknown = isinstance(value, events.UnknownObject) or value.extra
        return not unknown and all(map(known_through_and_through, fields))
    return True


@pytest.mark.parametrize("name", UNIONS)
def test_golden_events_come_back_unchanged(name: str) -> None:
    union, table = UNIONS[name]
    seen: set[str] = set()
    for line in golden(name):
        event = DECODERS[name](line)
        seen.add(event.type)
        assert known_through_and_through(event), line
        assert json.loads(events.encode(event)) == json.loads(line)
        assert events.encode(DECODERS[name](events.encode(event))) == events.encode(event)
        TypeAdapter(union).validate_json(line)
    assert seen == set(table), "an event has no golden line"
