"""JSON Schema for Python annotations, and foreign JSON Schema made fit for the service.

`msgspec.inspect` says what an annotation means to the decoder, so that schema and decoder can not
disagree; this module says it in JSON Schema (draft 2020-12) in the form that models read best: no
`title`, no references except where a type holds itself, objects closed by `additionalProperties`
false.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import getitem
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import inspect as msgspec_inspect

from ._docstrings import parse_docstring

__all__ = [
    "Schema",
    "SchemaBuilder",
    "UnsupportedAnnotation",
    "described",
    "is_pydantic_model",
    "json_default",
    "tidy_schema",
]

Schema = dict[str, Any]

# What the service refuses and what is noise to a model; definitions are inlined before they go.
_DROPPED_KEYS = frozenset(
    {"$schema", "$id", "$anchor", "$comment", "$defs", "definitions", "meta", "_meta", "title"}
    | {"discriminator"}
)
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "dependentSchemas"})
_SUBSCHEMAS = frozenset(
    {"items", "prefixItems", "additionalProperties", "unevaluatedProperties", "propertyNames"}
    | {"anyOf", "oneOf", "allOf", "not", "if", "then", "else", "contains", "unevaluatedItems"}
)


class UnsupportedAnnotation(Exception):  # caught where the parameter's name is known
    """An annotation or a schema that cannot be expressed; the text says which and what to do."""


def is_pydantic_model(cls: Any) -> bool:
    """Say whether a class is a pydantic model. Pydantic is never imported for the question."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(cls, type) and issubclass(cls, pydantic.BaseModel)


def described(annotation: Any) -> Any:
    """Let plain strings in `Annotated[...]` mean a description, at any depth of a generic type."""
    origin = get_origin(annotation)
    if origin is None or origin is Literal:
        return annotation
    if origin is Annotated:
        inner, *extras = get_args(annotation)
        metas = (msgspec.Meta(description=e) if isinstance(e, str) else e for e in extras)
        return getitem(cast("Any", Annotated), (described(inner), *metas))
    arguments = get_args(annotation)
    changed = tuple(described(argument) for argument in arguments)
    if all(new is old for new, old in zip(changed, arguments, strict=True)):
        return annotation
    return getitem(cast("Any", Union if origin is UnionType else origin), changed)


def json_default(value: Any) -> tuple[Any] | None:
    """Give a default value as JSON holds it, in a tuple of one; None if JSON cannot hold it."""
    try:
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_plain_pydantic)
        return (json.loads(json.dumps(plain, allow_nan=False)),)
    except (TypeError, ValueError):
        return None


def _plain_pydantic(value: Any) -> Any:
    if is_pydantic_model(type(value)):
        return value.model_dump(mode="json")
    raise TypeError(f"type {type(value).__name__} is not supported")


def tidy_schema(document: Mapping[str, Any]) -> Schema:
    """Make a foreign JSON Schema fit for the service.

    Keys that it refuses or that say nothing to a model are left out, local references are inlined,
    and `$defs` stays only for types that hold themselves. The argument is not changed.

    Raises:
        UnsupportedAnnotation: A reference leads nowhere or out of the document.
    """
    builder = SchemaBuilder()
    schema = builder.add_document(document)
    if set(schema) == {"$ref"}:
        schema = dict(builder.definitions[schema["$ref"].removeprefix("#/$defs/")])
    return schema | ({"$defs": builder.definitions} if builder.definitions else {})


class SchemaBuilder:
    """Builds the schemas of one function, which share the definitions of recursive types.

    Attributes:
        definitions: What belongs under `$defs`: the types that hold themselves, by name.
    """

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        # How a `Literal` was written, by its values: inspection sorts them.
        self._as_written: dict[frozenset[tuple[type, object]], tuple[Any, ...]] = {}
        # Of types and references on the way down, those that were met again get a name.
        self._open: dict[object, str | None] = {}
        self._named: dict[object, str] = {}
        self._pydantic_documents: dict[Any, Schema] = {}

    def add_annotation(self, annotation: Any) -> Schema:
        """Give the schema of an annotation.

        Raises:
            UnsupportedAnnotation: JSON arguments cannot be decoded into it.
        """
        try:
            # The decoder knows rules that inspection does not, such as which unions can be told
            # apart.
            msgspec.json.Decoder(annotation, dec_hook=lambda _type, value: value)
            information = msgspec_inspect.type_info(annotation)
        except (TypeError, NameError, AttributeError, ValueError) as error:
            raise UnsupportedAnnotation(str(error)) from error
        self._note_literals(annotation)
        return self._schema(information)

    def _note_literals(self, annotation: Any) -> None:
        arguments = get_args(annotation)
        if get_origin(annotation) is Literal:
            self._as_written.setdefault(_set_of(arguments), arguments)
            return
        for argument in arguments:
            self._note_literals(argument)

    def add_document(self, document: Mapping[str, Any]) -> Schema:
        """Give a whole JSON Schema document as a part of this one.

        Raises:
            UnsupportedAnnotation: A reference leads nowhere or out of the document.
        """
        # References are told apart by document, since two documents may use the same names.
        return self._reference(document, "#")

    def _recursive(self, key: object, name: str, build: Callable[[], Schema]) -> Schema:
        """Build a schema that may meet itself on the way; if it did, name it and refer to it."""
        if key in self._named:
            return {"$ref": f"#/$defs/{self._named[key]}"}
        if key in self._open:
            if self._open[key] is None:
                self._open[key] = self._free_name(name)
            return {"$ref": f"#/$defs/{self._open[key]}"}
        self._open[key] = None
        schema = build()
        used_name = self._open.pop(key)
        if used_name is None:
            return schema
        self._named[key] = used_name
        self.definitions[used_name] = schema
        return {"$ref": f"#/$defs/{used_name}"}

    def _free_name(self, name: str) -> str:
        name = "".join(c if c.isalnum() else "_" for c in name).strip("_")
        taken = set(self._open.values()) | set(self.definitions)
        number = 2
        free = name
        while free in taken:
            free, number = f"{name}{number}", number + 1
        return free

    # Foreign documents.

    def _reference(self, document: Mapping[str, Any], reference: Any) -> Schema:
        if not isinstance(reference, str):
            raise UnsupportedAnnotation(f"$ref must be a string, not {reference!r}")
        target: Any = document
        for step in reference.removeprefix("#").split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            target = cast("Schema", target).get(name) if isinstance(target, Mapping) else None
        if not reference.startswith("#") or not isinstance(target, Mapping):
            raise UnsupportedAnnotation(
                f"the reference {reference!r} leads to no schema in this document; "
                "put what it names under $defs"
            )
        found = cast("Mapping[str, Any]", target)
        name = reference.rsplit("/", 1)[-1].strip("#") or "root"
        return self._recursive((id(document), reference), name, lambda: self._copy(document, found))

    def _copy(self, document: Mapping[str, Any], schema: Any) -> Any:
        if isinstance(schema, list):
            return [self._copy(document, part) for part in cast("Sequence[Any]", schema)]
        if not isinstance(schema, Mapping):
            return schema
        copied: Schema = {}
        for key, value in cast("Mapping[str, Any]", schema).items():
            if key == "$ref":
                copied = self._reference(document, value) | copied
            elif key in _NAMED_SCHEMAS and isinstance(value, Mapping):
                named = cast("Mapping[str, Any]", value)
                copied[key] = {name: self._copy(document, part) for name, part in named.items()}
            elif key in _SUBSCHEMAS:
                copied[key] = self._copy(document, value)
            elif key not in _DROPPED_KEYS:
                copied[key] = value
        return copied

    # Annotations, by what msgspec makes of them.

    def _schema(self, information: msgspec_inspect.Type) -> Schema:
        match information:
            case msgspec_inspect.Metadata():
                extra: Schema = self._copy({}, cast("Any", information).extra_json_schema or {})
                # A description at the place of use wins over the type's own.
                return self._schema(information.type) | extra
            case msgspec_inspect.CollectionType():
                return self._array(information)
            case msgspec_inspect.TupleType():
                return _fixed_array([self._schema(item) for item in information.item_types])
            case msgspec_inspect.DictType():
                return self._mapping(information)
            case msgspec_inspect.UnionType():
                return {"anyOf": [self._schema(option) for option in information.types]}
            case (
                msgspec_inspect.DataclassType()
                | msgspec_inspect.StructType()
                | msgspec_inspect.TypedDictType()
                | msgspec_inspect.NamedTupleType()
            ):
                name = getattr(information.cls, "__name__", "type")
                return self._recursive(information.cls, name, lambda: self._class(information))
            case msgspec_inspect.CustomType(cls=cls) if is_pydantic_model(cls):
                if cls not in self._pydantic_documents:
                    self._pydantic_documents[cls] = _pydantic_document(cls)
                return self.add_document(self._pydantic_documents[cls])
            case msgspec_inspect.LiteralType(values=values):
                return _choice(self._as_written.get(_set_of(values), values))
            case _:
                return _leaf(information)

    def _array(self, information: msgspec_inspect.CollectionType) -> Schema:
        schema: Schema = {"type": "array"}
        items = self._schema(information.item_type)
        if items:
            schema["items"] = items
        _limit(schema, minItems=information.min_length, maxItems=information.max_length)
        if isinstance(information, msgspec_inspect.SetType | msgspec_inspect.FrozenSetType):
            schema["uniqueItems"] = True
        return schema

    def _mapping(self, information: msgspec_inspect.DictType) -> Schema:
        schema: Schema = {"type": "object"}
        keys = self._schema(information.key_type)
        # Keys are strings in JSON: a rule about strings can be said, one about numbers can not.
        if keys.get("type") == "string" and len(keys) > 1:
            schema["propertyNames"] = keys
        values = self._schema(information.value_type)
        schema["additionalProperties"] = values or True
        _limit(schema, minProperties=information.min_length, maxProperties=information.max_length)
        return schema

    def _class(self, information: Any) -> Schema:
        cls = get_origin(information.cls) or information.cls
        documentation = parse_docstring(_own_docstring(cls))
        for annotation in get_type_hints(cls, include_extras=True).values():
            self._note_literals(annotation)
        fields = {
            field.encode_name: self._field(field, documentation.parameters, cls)
            for field in information.fields
        }
        required = [field.encode_name for field in information.fields if field.required]
        tag_field = getattr(information, "tag_field", None)
        if tag_field is not None:
            fields = {tag_field: {"enum": [information.tag]}} | fields
            required.insert(0, tag_field)
        if isinstance(information, msgspec_inspect.NamedTupleType) or getattr(
            information, "array_like", False
        ):
            schema: Schema = _fixed_array(list(fields.values()), required=len(required))
        else:
            schema = {"type": "object", "properties": fields, "additionalProperties": False}
            if required:
                schema["required"] = required
        if documentation.description:
            schema = {"description": documentation.description} | schema
        return schema

    def _field(
        self, field: msgspec_inspect.Field, documentation: Mapping[str, str], cls: type
    ) -> Schema:
        schema = self._schema(field.type)
        own = isinstance(field.type, msgspec_inspect.Metadata) and "description" in schema
        text = None if own else _field_note(cls, field.name) or documentation.get(field.name)
        if text:
            schema = schema | {"description": text}
        if field.default is not msgspec.NODEFAULT and field.default is not msgspec.UNSET:
            default = json_default(field.default)
            if default is not None:
                schema = schema | {"default": default[0]}
        return schema


def _set_of(values: Iterable[object]) -> frozenset[tuple[type, object]]:
    """The values as a set in which True is not 1."""
    return frozenset((type(value), value) for value in values)


def _field_note(cls: type, name: str) -> str | None:
    """Give the plain string of a field's `Annotated[type, "text"]`."""
    annotation = get_type_hints(cls, include_extras=True).get(name)
    if get_origin(annotation) in (Required, NotRequired):
        (annotation,) = get_args(annotation)
    notes = (note for note in getattr(annotation, "__metadata__", ()) if isinstance(note, str))
    return next(notes, None)


def _own_docstring(cls: type) -> str | None:
    """Give the docstring that somebody wrote, not the signature that a dataclass makes up."""
    text = cls.__dict__.get("__doc__")
    return None if text is None or text.startswith(f"{cls.__name__}(") else text


def _pydantic_document(cls: Any) -> Schema:
    try:
        return cast("Schema", cls.model_json_schema())
    # What pydantic raises here has no base of its own that could be named without importing it.
    except Exception as error:
        raise UnsupportedAnnotation(f"pydantic has no JSON Schema for it: {error}") from error


def _fixed_array(items: list[Schema], *, required: int | None = None) -> Schema:
    schema: Schema = {"type": "array", "prefixItems": items} if items else {"type": "array"}
    _limit(schema, minItems=len(items) if required is None else required, maxItems=len(items))
    return schema


def _limit(schema: Schema, **limits: Any) -> None:
    schema.update((key, value) for key, value in limits.items() if value is not None)


def _numeric(name: str, information: Any) -> Schema:
    schema: Schema = {"type": name}
    _limit(
        schema,
        exclusiveMinimum=information.gt,
        minimum=information.ge,
        exclusiveMaximum=information.lt,
        maximum=information.le,
        multipleOf=information.multiple_of,
    )
    return schema


def _string(information: msgspec_inspect.StrType) -> Schema:
    schema: Schema = {"type": "string"}
    _limit(
        schema,
        minLength=information.min_length,
        maxLength=information.max_length,
        pattern=information.pattern,
    )
    return schema


def _choice(values: Iterable[Any]) -> Schema:
    choices = list(values)
    for kind, name in ((str, "string"), (int, "integer")):
        if all(type(choice) is kind for choice in choices):
            return {"type": name, "enum": choices}
    return {"enum": choices}


_LEAVES: dict[type, Callable[[Any], Schema]] = {
    msgspec_inspect.AnyType: lambda _: {},
    msgspec_inspect.RawType: lambda _: {},
    msgspec_inspect.NoneType: lambda _: {"type": "null"},
    msgspec_inspect.BoolType: lambda _: {"type": "boolean"},
    msgspec_inspect.IntType: lambda information: _numeric("integer", information),
    msgspec_inspect.FloatType: lambda information: _numeric("number", information),
    msgspec_inspect.StrType: _string,
    msgspec_inspect.EnumType: lambda information: _choice(m.value for m in information.cls),
    msgspec_inspect.DateTimeType: lambda _: {"type": "string", "format": "date-time"},
    msgspec_inspect.DateType: lambda _: {"type": "string", "format": "date"},
    msgspec_inspect.TimeType: lambda _: {"type": "string", "format": "time"},
    msgspec_inspect.TimeDeltaType: lambda _: {"type": "string", "format": "duration"},
    msgspec_inspect.UUIDType: lambda _: {"type": "string", "format": "uuid"},
    msgspec_inspect.DecimalType: lambda _: {"type": "string", "format": "decimal"},
    msgspec_inspect.BytesType: lambda _: {"type": "string", "contentEncoding": "base64"},
    msgspec_inspect.ByteArrayType: lambda _: {"type": "string", "contentEncoding": "base64"},
    msgspec_inspect.MemoryViewType: lambda _: {"type": "string", "contentEncoding": "base64"},
}


def _leaf(information: msgspec_inspect.Type) -> Schema:
    build = _LEAVES.get(type(information))
    if build is None:
        cls = getattr(information, "cls", type(information))
        raise UnsupportedAnnotation(
            f"type {getattr(cls, '__qualname__', cls)!r} cannot come out of JSON arguments; "
            "use a JSON type, an enum, a dataclass, a TypedDict or a msgspec Struct"
        )
    return build(information)
