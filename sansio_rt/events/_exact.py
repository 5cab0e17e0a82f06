"""The fast way to know that every type in an event is right: most events are, and need no closer look."""

import functools
import math
from typing import Any, TypeAlias, Union, get_args, get_origin

import msgspec

from sansio_rt.events._common import (
    NO_EXTRA,
    UnknownObject,
    WireObject,
    is_array,
    is_object,
)

# Per type of a value that may stand in a place: what its elements may be, {} where it has none.
Kinds: TypeAlias = dict[type, dict[Any, Any]]

_BIGGEST_INT = 2**53  # beyond it not every reader takes the number as it is
_TEXT: Kinds = {str: {}}
_JSON_LEAVES: Kinds = {kind: {} for kind in (str, int, float, bool, type(None))}


def is_exact(struct: WireObject) -> bool:
    """Whether every value in a struct has a type that its place allows, and can be written as JSON.

    Where it says no, the struct may be right all the same: an unusual value (a tuple for a list, an
    unknown object, `extra`) wants the slow way, which also says what is wrong.
    """
    return struct.extra is NO_EXTRA and all(
        _is_allowed(getattr(struct, name), kinds) for name, kinds in _fields(type(struct))
    )


def _is_allowed(value: object, kinds: Kinds) -> bool:
    inner = kinds.get(type(value))
    if inner is None:
        return False
    if value is msgspec.UNSET or value is None:
        return True
    if isinstance(value, str):
        return _is_unicode(value)
    if isinstance(value, int):
        return -_BIGGEST_INT <= value <= _BIGGEST_INT
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, WireObject):
        return is_exact(value)
    if is_array(value):
        return all(_is_allowed(element, inner) for element in value)
    return is_object(value) and all(
        _is_allowed(key, _TEXT) and _is_allowed(element, inner) for key, element in value.items()
    )


def _is_unicode(text: str) -> bool:
    """Whether it has no lone surrogates."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@functools.cache
def _fields(struct: type[WireObject]) -> tuple[tuple[str, Kinds], ...]:
    """Each field with the types of values that it takes."""
    return tuple(
        (info.name, _kinds_of(info.type))
        for info in msgspec.structs.fields(struct)
        if info.name != "extra"
    )


@functools.cache
def _kinds_of(annotation: Any) -> Kinds:
    if annotation is Any or annotation is object:
        return _JSON_LEAVES
    origin = get_origin(annotation)
    if origin is list:
        return {list: _kinds_of(get_args(annotation)[0])}
    if origin is dict:
        return {dict: _kinds_of(get_args(annotation)[1])}
    members = get_args(annotation)
    if origin is Union or members:
        return {kind: inner for member in members for kind, inner in _kinds_of(member).items()}
    if issubclass(annotation, UnknownObject):
        return {}
    return {annotation: {}}
