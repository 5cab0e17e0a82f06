"""Tools of any JSON Schema: made or refused with a name, and what was made can be sent and decodes."""

from __future__ import annotations

from typing import Any

import msgspec

from fuzz.drawing import ODD_VALUES, Draw
from sansio_rt import Tool, ToolArgumentsError, ToolDefinitionError, events

MAX_BYTES = 384
_ARGUMENTS = (
    "{}",
    '{"a":1}',
    '{"a":1.0,"b":"x"}',
    '{"a":[1,{"b":null}]}',
    '{"a":{"a":{"a":1}}}',
    "[]",
)
_KEYS = (
    *("type", "properties", "required", "items", "enum", "anyOf", "additionalProperties", "$ref"),
    *("$defs", "description", "default", "definitions", "oneOf", "allOf", "not", "prefixItems"),
    *("patternProperties", "const", "title", "$schema", "minimum", "a", "b"),
)
_WORDS = (
    *("object", "string", "integer", "number", "boolean", "null", "array", "a", "b"),
    *("#", "#/$defs/a", "#/properties/a", "#/definitions/b", "#/$defs/a/items", "", "x"),
)
_DEEPEST = 6


def takes_anything(**arguments: Any) -> None:
    """A function for any schema."""


def fuzz(data: bytes) -> None:
    """The input is JSON text, or draws a schema of the words of JSON Schema."""
    draw = Draw(data)
    if draw.flag():
        try:
            schema = msgspec.json.decode(draw.rest())
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return
    else:
        schema = _schema(draw, 0)
        if draw.flag() and isinstance(schema, dict):
            schema["type"] = "object"
    try:
        made = Tool.from_schema("tool", "A tool.", schema, takes_anything)
    except ToolDefinitionError as refusal:
        assert "tool" in str(refusal)
        return
    assert made.parameters["type"] == "object"
    assert isinstance(made.parameters["properties"], dict)
    definition = made.definition()
    text = msgspec.json.encode(made.parameters)
    assert msgspec.json.decode(text) == made.parameters
    events.encode(events.SessionUpdate(session=events.RealtimeSession(tools=[definition])))
    for arguments in _ARGUMENTS:
        try:
            decoded = made.decode(arguments)
        except ToolArgumentsError as refusal:
            assert str(refusal)
        else:
            assert isinstance(decoded, dict)


def _schema(draw: Draw, depth: int) -> Any:
    what = draw.byte()
    if depth > _DEEPEST or what < 40:
        return draw.choice(_WORDS)
    if what < 70:
        return draw.choice(ODD_VALUES)
    if what < 110:
        return [_schema(draw, depth + 1) for _ in range(what & 3)]
    return {draw.choice(_KEYS): _schema(draw, depth + 1) for _ in range(1 + (what & 3))}
