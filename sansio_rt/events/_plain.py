"""Wire structs to plain JSON objects: the way for what msgspec's encoder cannot write as it is."""

import functools
import math
from collections.abc import Iterable
from typing import Any, get_args

import msgspec
import pybase64
from msgspec import UNSET

from sansio_rt._errors import LocalProtocolError
from sansio_rt.events._common import NO_EXTRA, UnknownObject, WireObject, is_array, is_object


def is_plain(struct: WireObject) -> bool:
    """Whether msgspec's encoder writes this struct as it should be: no extras, nothing unknown."""
    if struct.extra is not NO_EXTRA or isinstance(struct, UnknownObject):
        return False
    for name in nesting(type(struct)):
        value = getattr(struct, name)
        if value and not _is_plain_value(value):  # what is empty or left out has nothing inside
            return False
    return True


def _is_plain_value(value: Any) -> bool:
    if isinstance(value, WireObject):
        return is_plain(value)
    if is_array(value):
        return all(_is_plain_value(element) for element in value)
    if is_object(value):
        return all(_is_plain_value(element) for element in value.values())
    return True


@functools.cache
def nesting(struct: type[WireObject]) -> tuple[str, ...]:
    """The fields that may hold other structs."""
    return tuple(
        info.name for info in msgspec.structs.fields(struct) if _mentions_struct(info.type)
    )


def _mentions_struct(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, WireObject):
        return True
    return any(_mentions_struct(argument) for argument in get_args(annotation))


@functools.cache
def _writing(struct: type[WireObject]) -> tuple[tuple[str, str, Any], ...]:
    """Name, wire name and left-out default of each field."""
    return tuple(
        (info.name, info.encode_name, info.default)
        for info in msgspec.structs.fields(struct)
        if info.name != "extra"
    )


def to_data(value: Any) -> Any:
    """The plain JSON form of an event or another wire struct: dicts, lists, texts, numbers.

    Fields that are UNSET are left out, bytes become base64, `extra` and unknown objects come back
    as they were.

    Args:
        value: A wire struct, or a list or dict of them; anything else comes back as it is.

    Returns:
        What `encode` would write.

    Raises:
        LocalProtocolError: A struct's `extra` names one of its own fields.
    """
    if isinstance(value, UnknownObject):
        return value.data
    if isinstance(value, WireObject):
        return _struct_data(value)
    if is_array(value):
        return [to_data(element) for element in value]
    if is_object(value):
        return {key: to_data(element) for key, element in value.items()}
    if isinstance(value, (bytes, bytearray)):
        return pybase64.b64encode_as_string(value)
    return value


_WRITTEN_AS_THEY_ARE = frozenset((str, int, float, bool, type(None)))


def _struct_data(struct: WireObject) -> dict[str, Any]:
    config = struct.__struct_config__
    data: dict[str, Any] = {}
    if config.tag_field is not None:
        data[config.tag_field] = config.tag
    fields = _writing(type(struct))
    for name, wire_name, default in fields:
        value = getattr(struct, name)
        # As `omit_defaults` does: only the empty text and UNSET are defaults that are left out.
        if value is not UNSET and (value != "" or default != ""):
            data[wire_name] = value if type(value) in _WRITTEN_AS_THEY_ARE else to_data(value)
    for key, value in struct.extra.items():
        if key == config.tag_field or any(key == wire_name for _, wire_name, _ in fields):
            raise LocalProtocolError(
                f"extra field {key!r} of {type(struct).__name__} is a field of its own: set that"
            )
        data[key] = value
    return data


# The types of values that are no number with a fraction and have nothing inside: nearly all values are.
_LEAVES: frozenset[type] = frozenset(
    (str, bytes, int, bool, type(None), msgspec.UnsetType, type(NO_EXTRA))
)


def may_hold_non_finite(value: Any) -> bool:
    """Whether a wire struct may hold a number that JSON cannot say: quick, and never wrongly no."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, msgspec.Struct):
        inside: Iterable[Any] = msgspec.structs.astuple(value)
    elif is_object(value):
        inside = value.values()
    elif is_array(value):
        inside = value
    else:
        return type(value) not in _LEAVES
    if _LEAVES.issuperset(map(type, inside)):
        return False
    return any(type(element) not in _LEAVES and may_hold_non_finite(element) for element in inside)


def refuse_non_finite(struct: WireObject) -> None:
    """Refuses what JSON cannot say and msgspec would write as null.

    Raises:
        LocalProtocolError: A number in it is infinite or not a number; the message has its path.
    """
    stack: list[tuple[str, object]] = [("", msgspec.to_builtins(to_data(struct)))]
    while stack:
        path, value = stack.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise LocalProtocolError(f"{path} is {value}: JSON has finite numbers only")
        if is_object(value):
            dot = "." if path else ""
            stack.extend((f"{path}{dot}{key}", element) for key, element in value.items())
        elif is_array(value):
            stack.extend((f"{path}[{index}]", element) for index, element in enumerate(value))
