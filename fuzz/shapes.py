"""Samples of every event, made from the structs themselves, and ways to spoil them.

Random text is hardly ever JSON, and msgspec's decoder is out of a coverage-guided fuzzer's sight. So
messages begin as whole samples: every event of the vocabulary with every field, once for each
alternative of its unions. A new event or field is fuzzed as soon as its struct exists.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import inspect

from fuzz.drawing import ODD_VALUES, Draw
from sansio_rt import events

Json = dict[str, Any]
_VARIANTS = 6
_DEEPEST = 7
# Fields that hold an id, which a life replaces by one that means something.
ID_FIELDS = frozenset(
    {"id", "item_id", "previous_item_id", "response_id", "call_id", "event_id", "conversation_id"}
)
_WORDS = {"role": "user", "rate": 24000, "format": None, "status": "completed"}
_NO_ODD_PLACES: tuple[tuple[Any, ...], ...] = ((),)


@functools.cache
def samples(kind: str, *, server: bool) -> tuple[Json, ...]:
    """Different whole samples of one event."""
    table = events.SERVER_EVENTS if server else events.CLIENT_EVENTS
    information = inspect.type_info(table[kind])
    made: list[Json] = []
    for variant in range(_VARIANTS):
        sample: Json = _value(information, variant, 0, "")
        if sample not in made:
            made.append(sample)
    return tuple(made)


@functools.cache
def kinds(*, server: bool) -> tuple[str, ...]:
    """The wire types of all events of one side, in a fixed order."""
    return tuple(sorted(events.SERVER_EVENTS if server else events.CLIENT_EVENTS))


def _value(information: inspect.Type, variant: int, depth: int, name: str) -> Any:
    """A value of a type; `variant` chooses among alternatives."""
    match information:
        case inspect.Metadata():
            return _value(information.type, variant, depth, name)
        case inspect.UnionType():
            options = [option for option in information.types if not _is_nothing(option)]
            if not options or depth > _DEEPEST:
                return None
            return _value(options[variant % len(options)], variant, depth, name)
        case inspect.StructType():
            return _struct(information, variant, depth)
        case inspect.ListType() | inspect.VarTupleType() | inspect.CollectionType():
            if depth > _DEEPEST:
                return []
            return [_value(information.item_type, variant, depth + 1, name)]
        case inspect.DictType():
            return {"key": _value(information.value_type, variant, depth + 1, name)}
        case inspect.IntType() | inspect.FloatType():
            return _WORDS.get(name, variant)
        case inspect.BoolType():
            return variant % 2 == 0
        case inspect.BytesType():
            return "AAAA"
        case inspect.LiteralType():
            return information.values[variant % len(information.values)]
        case inspect.NoneType():
            return None
        case _:
            return _WORDS.get(name, f"{name or 'word'}_{variant}")


def _is_nothing(information: inspect.Type) -> bool:
    if isinstance(information, inspect.NoneType):
        return True
    if not isinstance(information, inspect.CustomType | inspect.StructType):
        return False
    return information.cls is msgspec.UnsetType or issubclass(information.cls, events.UnknownObject)


def _struct(information: inspect.StructType, variant: int, depth: int) -> Json:
    made: Json = {}
    if information.tag_field is not None:
        made[information.tag_field] = information.tag
    if depth > _DEEPEST:
        return made
    for field in information.fields:
        if field.encode_name != "$extra":
            made[field.encode_name] = _value(field.type, variant, depth + 1, field.encode_name)
    return made


@functools.cache
def _places_of_sample(kind: str, number: int, server: bool) -> tuple[tuple[Any, ...], ...]:
    return tuple(_places(samples(kind, server=server)[number], ()))[1:] or _NO_ODD_PLACES


def _places(value: Any, path: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += _places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += _places(inner, (*path, index))
    return found


def draw_event(draw: Draw, *, server: bool, ids: tuple[str, ...] = ()) -> Json:
    """Draws an event of any type: a sample, with its ids replaced and a few places spoilt.

    Args:
        draw: Where choices come from.
        server: Whether it is one that servers send.
        ids: Ids to be drawn from; none: the sample's own stay.

    Returns:
        The event; what is not spoilt is shared with the sample, and nobody may change it.
    """
    kind = draw.choice(kinds(server=server))
    of_kind = samples(kind, server=server)
    number = draw.below(len(of_kind))
    event: Json = _with_ids(of_kind[number], draw, ids) if ids else of_kind[number]
    for _ in range(draw.byte() & 3):
        event = spoilt(event, _places_of_sample(kind, number, server), draw)
    return event


def _with_ids(value: Any, draw: Draw, ids: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {
            key: draw.choice(ids)
            if key in ID_FIELDS and isinstance(inner, str)
            else _with_ids(inner, draw, ids)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_with_ids(inner, draw, ids) for inner in value]
    return value


def spoilt(event: Json, places: tuple[tuple[Any, ...], ...], draw: Draw) -> Json:
    """An event with one value replaced or taken out somewhere, or one added beside it."""
    *way, last = draw.choice(places) or ("type",)
    event = event.copy()
    holder: Any = event
    try:
        for step in way:
            inner = holder[step]
            if isinstance(inner, dict | list):
                holder[step] = inner = inner.copy()
            holder = inner
        if isinstance(holder, dict) and not isinstance(last, str):
            return event  # an earlier spoiling put an object in the place of a list
        how = draw.byte() & 7
        if how == 0:
            del holder[last]
        elif how == 1 and isinstance(holder, dict):
            holder["new_field"] = draw.choice(ODD_VALUES)
        elif how == 2 and isinstance(holder, list):
            holder.append(draw.choice(ODD_VALUES))
        elif how == 3:
            holder[last] = draw.text()
        else:
            holder[last] = draw.choice(ODD_VALUES)
    except (KeyError, IndexError, TypeError):
        pass  # an earlier spoiling took the place away
    return event


def words(value: Any) -> set[str]:
    """All keys and texts in a JSON value: for dictionaries."""
    found: set[str] = set()
    if isinstance(value, Mapping):
        for key, inner in value.items():
            found |= {key} | words(inner)
    elif isinstance(value, list):
        for inner in value:
            found |= words(inner)
    elif isinstance(value, str):
        found.add(value)
    return found
