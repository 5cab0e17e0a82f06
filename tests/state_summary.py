"""The whole state of a client as plain values, to be compared around a call that must change nothing."""

from __future__ import annotations

import enum
import types
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sansio_rt import ClientProtocol
from sansio_rt._sources import CountingBytes, SequentialIds
from sansio_rt._wire import Wire

# An id that was drawn and not used changes nothing that anybody can see.
_NO_STATE = (SequentialIds, CountingBytes, types.FunctionType, types.MethodType, type)
_PLAIN = (str, int, float, bool, bytes, type(None))


def summary(client: ClientProtocol) -> Any:
    """Everything that the client holds, bytes to be sent included, as nested tuples."""
    return _tell(client, {})


def _tell(value: Any, seen: dict[int, int]) -> Any:
    if isinstance(value, enum.Enum):
        return str(value)
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, _NO_STATE):
        return type(value).__name__
    if isinstance(value, Wire):
        return value.state, value.pending_bytes
    if id(value) in seen:
        return "seen", seen[id(value)]
    seen[id(value)] = len(seen)
    if isinstance(value, Mapping):
        return [(_tell(key, seen), _tell(entry, seen)) for key, entry in value.items()]
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if isinstance(value, msgspec.Struct):
        names: Iterable[str] = value.__struct_fields__
    elif not type(value).__module__.startswith("sansio_rt"):
        return (
            [_tell(entry, seen) for entry in value]
            if isinstance(value, Iterable)
            else type(value).__name__
        )
    else:
        slots = (getattr(kind, "__slots__", ()) for kind in type(value).__mro__)
        names = [*(name for some in slots for name in some), *getattr(value, "__dict__", ())]
    return type(value).__name__, [(name, _tell(getattr(value, name, None), seen)) for name in names]
