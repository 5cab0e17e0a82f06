"""A function call's arguments: from the model's JSON to keyword arguments or to an error text.

Two decoders with one verb. `SignatureArguments` decodes into the annotated types by a msgspec
Struct that is built once, with the tool. `SchemaArguments` checks plain JSON against a schema that
somebody wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import msgspec

from ._errors import ToolArgumentsError
from ._schema import Schema

__all__ = ["ArgumentsDecoder", "SchemaArguments", "SignatureArguments"]

JsonText = str | bytes

# Above it a float does not hold every whole number, so that it can not stand for one.
_LARGEST_EXACT_FLOAT = 2.0**53
_PATH = re.compile(r" - at `\$\.?([^`]*)`$")
_FIELD_PROBLEM = re.compile(r"Object (missing required|contains unknown) field `([^`]*)`")


class ArgumentsDecoder(Protocol):
    """Turns the arguments of a call into keyword arguments."""

    def decode(self, arguments: JsonText) -> dict[str, Any]:
        """Decode; raises `ToolArgumentsError` with a text for the model."""
        ...


class SignatureArguments:
    """Decodes into the annotated types of a function.

    Whole numbers that come as floats (`3.0`) are taken for `int`, since models write them so;
    nothing else is converted: `"3"` is not a number. Names that the schema does not know are refused
    at every depth: a model that makes one up is told so, and does not believe that it was heard.

    Args:
        annotations: Type of each parameter by name.
        required: Names of the parameters that have no default.
        schema: The schema of the annotations.
    """

    def __init__(
        self, annotations: Mapping[str, Any], required: frozenset[str], schema: Schema
    ) -> None:
        self._schema = schema
        self._has_objects = '"properties"' in json.dumps(schema.get("properties", {}))
        self._names = tuple(annotations)
        # Fields have names of their own, because a parameter may be called what a field may not. An
        # argument that is left out stays UNSET: its default is the function's business.
        fields: list[Any] = [
            (f"p{number}", annotation, msgspec.NODEFAULT if name in required else msgspec.UNSET)
            for number, (name, annotation) in enumerate(annotations.items())
        ]
        struct = msgspec.defstruct(
            "Arguments",
            fields,
            rename={f"p{number}": name for number, name in enumerate(annotations)},
            kw_only=True,
            forbid_unknown_fields=True,
        )
        self._decoder = msgspec.json.Decoder(struct, dec_hook=_decode_custom)

    def decode(self, arguments: JsonText) -> dict[str, Any]:
        """Decode the JSON text of a call.

        Raises:
            ToolArgumentsError: Not JSON, or not what the function takes.
        """
        if _is_blank(arguments):
            arguments = "{}"
        try:
            decoded = self._decode(arguments)
            # What the decoder passes over is not always sound: bad text or a number beyond all bounds.
            plain = msgspec.json.decode(arguments) if self._has_objects else None
        except msgspec.ValidationError as error:
            raise ToolArgumentsError(self._problem(str(error))) from None
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ToolArgumentsError(_not_json(error)) from None
        if self._has_objects:
            unknown = _unknown_name(plain, self._schema, self._schema)
            if unknown is not None:
                raise ToolArgumentsError(f"unknown argument `{unknown}`")
        values = (getattr(decoded, f"p{number}") for number in range(len(self._names)))
        return {
            name: value
            for name, value in zip(self._names, values, strict=True)
            if value is not msgspec.UNSET
        }

    def _decode(self, arguments: JsonText) -> msgspec.Struct:
        try:
            return self._decoder.decode(arguments)
        except msgspec.ValidationError:
            plain = msgspec.json.decode(arguments)
            lowered = _whole_floats_to_int(plain)
            if lowered == plain and repr(lowered) == repr(plain):
                raise
            return self._decoder.decode(msgspec.json.encode(lowered))

    def _problem(self, message: str) -> str:
        place = _PATH.search(message)
        path = place[1] if place else ""
        message = " ".join(_PATH.sub("", message).split())
        field = _FIELD_PROBLEM.match(message)
        if field is None:
            where = f"argument `{path}`: " if path else "the arguments: "
            return where + message[:1].lower() + message[1:]
        full = f"{path}.{field[2]}" if path else field[2]
        if field[1] == "missing required":
            return f"missing argument `{full}`"
        known = "" if path else f"; the arguments are {', '.join(self._names) or 'none'}"
        return f"unknown argument `{full}`{known}"


def _unknown_name(value: Any, schema: Schema, root: Schema) -> str | None:
    """The path of the first name that a schema does not know, or None. The types are right already."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return _unknown_name(value, root["$defs"][name], root)
    if "anyOf" in schema:
        fitting = (option for option in schema["anyOf"] if _may_be(value, option, root))
        found = [_unknown_name(value, option, root) for option in fitting]
        return None if None in found else next(iter(found), None)
    parts: list[tuple[str, Any, Any]] = []
    if isinstance(value, list):
        fixed, items = schema.get("prefixItems", ()), schema.get("items")
        for number, part in enumerate(cast("Sequence[Any]", value)):
            parts.append((f"[{number}]", part, fixed[number] if number < len(fixed) else items))
    elif isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        for name, part in cast("dict[str, Any]", value).items():
            if name not in properties and others is False:
                return name
            parts.append((f".{name}", part, properties.get(name, others)))
    for step, part, inner in parts:
        if not isinstance(inner, dict):
            continue
        unknown = _unknown_name(part, cast("Schema", inner), root)
        if unknown is not None:
            return (step + ("" if unknown.startswith("[") else ".") + unknown).lstrip(".")
    return None


def _may_be(value: Any, schema: Schema, root: Schema) -> bool:
    """Whether a value may be what one of several schemas says, by its type and its tag."""
    if "$ref" in schema:
        return _may_be(value, root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root)
    allowed = _allowed_types(schema)
    if allowed and not any(_is_of(value, name) for name in allowed):
        return False
    if not isinstance(value, dict):
        return True
    members = cast("dict[str, Any]", value)
    return all(
        members[name] in stated["enum"]
        for name, stated in schema.get("properties", {}).items()
        if name in members and "enum" in stated
    )


def _decode_custom(cls: Any, value: Any) -> Any:
    """Hand a value to a pydantic model, the only foreign type that a schema is built for."""
    try:
        return cls.model_validate(value)
    except ValueError as error:
        # Always a pydantic.ValidationError, which is not named in order not to import pydantic.
        problems = cast("Any", error).errors(include_url=False, include_input=False)
        texts = (
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in problems
        )
        raise ValueError("; ".join(texts)) from None


def _whole_floats_to_int(value: Any) -> Any:
    match value:
        case float() if value.is_integer() and abs(value) <= _LARGEST_EXACT_FLOAT:
            return int(value)
        case list():
            return [_whole_floats_to_int(part) for part in cast("Sequence[Any]", value)]
        case dict():
            members = cast("dict[str, Any]", value)
            return {name: _whole_floats_to_int(part) for name, part in members.items()}
        case _:
            return value


def _is_blank(arguments: JsonText) -> bool:
    """Whether there is nothing but JSON's white space, in text and in bytes alike."""
    if isinstance(arguments, str):
        return not arguments.strip(" \t\r\n")
    return not arguments.strip(b" \t\r\n")


def _not_json(error: Exception) -> str:
    return f"the arguments are not valid JSON ({error}); send one JSON object"


_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


class SchemaArguments:
    """Checks plain JSON against a schema that came with the tool.

    It checks types, enumerations, required and unknown properties at every depth. Other keywords
    are taken as advice to the model; the function has to check what depends on them.

    Args:
        schema: JSON Schema of an object.
        takes_any: Whether the function takes names that the schema does not list.
    """

    def __init__(self, schema: Schema, *, takes_any: bool) -> None:
        self._schema = schema if takes_any else schema | {"additionalProperties": False}

    def decode(self, arguments: JsonText) -> dict[str, Any]:
        """Decode the JSON text of a call.

        Raises:
            ToolArgumentsError: Not JSON, or not what the schema says.
        """
        if _is_blank(arguments):
            arguments = "{}"
        try:
            value = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ToolArgumentsError(_not_json(error)) from None
        return cast("dict[str, Any]", self._check(value, self._schema, ""))

    def _check(self, value: Any, schema: Any, path: str) -> Any:
        """Check a value; give it with whole floats as int where the schema says integer."""
        if not isinstance(schema, dict):
            return value
        schema = cast("Schema", schema)
        where = f"argument `{path}`" if path else "the arguments"
        allowed = _allowed_types(schema)
        if "integer" in allowed and type(value) is float:
            value = _whole_floats_to_int(value)
        if allowed and not any(_is_of(value, name) for name in allowed):
            raise ToolArgumentsError(
                f"{where}: expected {' or '.join(allowed)}, got {_type_name(value)}"
            )
        options = schema.get("enum")
        if isinstance(options, list) and value not in options:
            raise ToolArgumentsError(f"{where}: expected one of {options}")
        if isinstance(value, list):
            parts = cast("Sequence[Any]", value)
            items = schema.get("items")
            return [self._check(part, items, f"{path}[{n}]") for n, part in enumerate(parts)]
        if isinstance(value, dict):
            return self._check_object(cast("dict[str, Any]", value), schema, path)
        return value

    def _check_object(self, value: dict[str, Any], schema: Schema, path: str) -> dict[str, Any]:
        prefix = f"{path}." if path else ""
        # A keyword of a shape that JSON Schema does not know says nothing.
        stated, required = schema.get("properties"), schema.get("required")
        properties = cast("Schema", stated) if isinstance(stated, dict) else {}
        for name in cast("Sequence[Any]", required) if isinstance(required, list) else ():
            if isinstance(name, str) and name not in value:
                raise ToolArgumentsError(f"missing argument `{prefix}{name}`")
        others = schema.get("additionalProperties", True)
        if others is False:
            for name in value:
                if name not in properties:
                    raise ToolArgumentsError(
                        f"unknown argument `{prefix}{name}`; "
                        f"the arguments are {', '.join(properties) or 'none'}"
                    )
        return {
            name: self._check(part, properties.get(name, others), f"{prefix}{name}")
            for name, part in value.items()
        }


def _allowed_types(schema: Schema) -> Sequence[str]:
    stated = schema.get("type")
    names = cast("Sequence[Any]", stated) if isinstance(stated, list) else (stated,)
    return [name for name in names if isinstance(name, str)]


def _is_of(value: Any, name: str) -> bool:
    # bool is an int in Python and no number in JSON; an unknown type name says nothing about a
    # value.
    return name not in _JSON_TYPES or type(value) in _JSON_TYPES[name]


def _type_name(value: Any) -> str:
    return next(name for name in _JSON_TYPES if _is_of(value, name))
