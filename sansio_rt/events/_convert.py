"""Plain JSON objects to wire structs, leniently: the way for what the strict decoder refuses.

msgspec's decoder refuses fields and types that it does not know. What it refuses comes here as
plain dicts and lists. For each annotation a table is made once: kind of JSON value -> function that
takes it. So unknown fields are kept in `extra`, unknown types become `Unknown...` objects, one
object counts as a list of one, a null counts as left out where only that is allowed, and what still
does not fit is reported with its path.
"""

import functools
import types
from collections.abc import Callable
from typing import Any, TypeAlias, Union, get_args, get_origin

import msgspec
import pybase64
from msgspec import UnsetType

from sansio_rt.events._common import UnknownObject, WireObject
from sansio_rt.events._session import FunctionTool, PcmFormat, RealtimeSession, ServerVad

Converter: TypeAlias = Callable[[Any], Any]
Shape: TypeAlias = dict[type, Converter]

_NULL = type(None)
_WORDS: dict[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "an array",
    dict: "an object",
    _NULL: "null",
}
# What an object is taken for that has no `type`, where its place allows several.
_WITHOUT_TYPE = frozenset({FunctionTool, PcmFormat, RealtimeSession, ServerVad})


class Mismatch(Exception):
    """A value that does not fit its place.

    Attributes:
        problem: What is wrong, without the value itself.
        steps: The way to it from the innermost object outward.
    """

    def __init__(self, problem: str, *steps: str | int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.steps: list[str | int] = list(steps)

    def path(self) -> str:
        """The JSON path of the value, `$.item.content[0].text`."""
        text = "$"
        for step in reversed(self.steps):
            if isinstance(step, int):
                text += f"[{step}]"
            elif step.isidentifier():
                text += f".{step}"
            else:
                text += f"[{step[:40]!r}]"
        return text


def _same(value: Any) -> Any:
    return value


def _to_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Mismatch("the number is too large") from None


def _to_int(value: float) -> int:
    if not value.is_integer():
        raise Mismatch("expected a whole number, got a fraction")
    return int(value)


def decode_base64(text: str) -> bytes:
    """Takes base64 strictly.

    Raises:
        Mismatch: It is not base64.
    """
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError as error:
        raise Mismatch(f"not base64: {error}") from None


_ANYTHING: Shape = dict.fromkeys(_WORDS, _same)
_LEAVES: dict[Any, Shape] = {
    Any: _ANYTHING,
    object: _ANYTHING,
    str: {str: _same},
    bool: {bool: _same},
    int: {int: _same, float: _to_int},
    float: {float: _same, int: _to_float},
    bytes: {str: decode_base64},
    _NULL: {_NULL: _same},
    UnsetType: {},
}


def take(shape: Shape, value: object) -> Any:
    """Converts a value by the shape of its place.

    Raises:
        Mismatch: It does not fit.
    """
    convert = shape.get(type(value))
    if convert is None:
        raise Mismatch(_expected(shape, value))
    return convert(value)


def _expected(shape: Shape, value: object) -> str:
    wanted = " or ".join(word for kind, word in _WORDS.items() if kind in shape)
    return f"expected {wanted}, got {_WORDS.get(type(value), type(value).__name__)}"


@functools.cache
def shape_of(annotation: Any) -> Shape:
    """The table for an annotation: which kinds of JSON values fit, and how each is taken."""
    leaf = _LEAVES.get(annotation)
    if leaf is not None:
        return leaf
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return _union_shape(get_args(annotation))
    if origin is list:
        return _list_shape(get_args(annotation)[0])
    if origin is dict:
        return {dict: _dict_converter(shape_of(get_args(annotation)[1]))}
    return {dict: _objects_converter((annotation,))}


def _union_shape(members: tuple[Any, ...]) -> Shape:
    shape: Shape = {}
    for member in members:
        if not _is_struct(member):
            shape |= shape_of(member)
    structs = tuple(member for member in members if _is_struct(member))
    if structs:
        shape[dict] = _objects_converter(structs)
    return shape


def _is_struct(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, WireObject)


def _list_shape(element: Any) -> Shape:
    inner = shape_of(element)

    def convert(values: list[Any]) -> list[Any]:
        converted: list[Any] = []
        try:
            for value in values:
                converted.append(take(inner, value))  # noqa: PERF401 - its length is the failing index
        except Mismatch as mismatch:
            mismatch.steps.append(len(converted))
            raise
        return converted

    shape: Shape = {list: convert}
    if inner.get(dict, _same) is not _same:
        shape[dict] = lambda value: [take(inner, value)]
    return shape


def _dict_converter(inner: Shape) -> Converter:
    if inner is _ANYTHING:
        return _same

    def convert(values: dict[str, Any]) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        for key, value in values.items():
            try:
                converted[key] = take(inner, value)
            except Mismatch as mismatch:
                mismatch.steps.append(key)
                raise
        return converted

    return convert


def _objects_converter(structs: tuple[type[WireObject], ...]) -> Converter:
    """Takes an object for one of these structs, by its `type` where they have one."""
    if len(structs) == 1:
        return struct_converter(structs[0])
    by_type: dict[str, Converter] = {}
    unknown: type[UnknownObject] | None = None
    without_type: Converter | None = None
    for struct in structs:
        if issubclass(struct, UnknownObject):
            unknown = struct
            continue
        converter = struct_converter(struct)
        by_type[str(struct.__struct_config__.tag)] = converter
        if struct in _WITHOUT_TYPE:
            without_type = converter
    assert unknown is not None, structs
    otherwise = unknown

    def convert(data: dict[str, Any]) -> Any:
        kind = data.get("type")
        if isinstance(kind, str):
            known = by_type.get(kind)
            return otherwise(type=kind, data=data) if known is None else known(data)
        if kind is not None:
            raise Mismatch(_expected({str: _same}, kind), "type")
        return otherwise(type="", data=data) if without_type is None else without_type(data)

    return convert


@functools.cache
def struct_converter(struct: type[WireObject]) -> Converter:
    """The function that takes an object for this struct, whatever its `type` says."""
    known: dict[str, tuple[str, Shape]] = {}
    required: set[str] = set()
    for info in msgspec.structs.fields(struct):
        if info.name == "extra":
            continue
        known[info.encode_name] = (info.name, shape_of(info.type))
        if info.required:
            required.add(info.name)
    tag_field = struct.__struct_config__.tag_field

    def convert(data: dict[str, object]) -> WireObject:
        values: dict[str, Any] = {}
        extra: dict[str, object] = {}
        for key, value in data.items():
            place = known.get(key)
            if place is None:
                if key != tag_field:
                    extra[key] = value
                continue
            name, shape = place
            take_value = shape.get(type(value))
            if take_value is _same:
                values[name] = value
            elif take_value is not None:
                try:
                    values[name] = take_value(value)
                except Mismatch as mismatch:
                    mismatch.steps.append(key)
                    raise
            elif value is not None or name in required:
                raise Mismatch(_expected(shape, value), key)
        if not required <= values.keys():
            raise Mismatch("the required field is missing", min(required - values.keys()))
        if extra:
            values["extra"] = extra
        return struct(**values)

    return convert
