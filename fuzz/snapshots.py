"""Objects in the middle of their lives, restored for each execution.

To make a `ClientProtocol` and lead it through its handshake and configuration costs half a millisecond;
most of what can go wrong comes later. A `Snapshot` keeps such an object pickled and restores it in a fifth
of that. What is frozen is shared, the rest is as new.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from enum import Enum
from functools import cached_property
from typing import Any, Generic, TypeVar

import msgspec
import wsproto.frame_protocol

from sansio_rt import Endpoint
from sansio_rt._secrets import HiddenBytes, HiddenText, Secret

Kept = TypeVar("Kept")


class Snapshot(Generic[Kept]):
    """Gives copies of an object.

    Args:
        make: Makes the object, anew where it cannot be pickled.
    """

    def __init__(self, make: Callable[[], Kept]) -> None:
        self._make = make

    @cached_property
    def _pickled(self) -> tuple[bytes, list[Any]] | None:
        buffer, shared = io.BytesIO(), list[Any]()
        pickler = _Pickler(buffer, shared)
        try:
            pickler.dump(self._make())
        except (pickle.PicklingError, TypeError, AttributeError):
            return None
        return pickletools.optimize(buffer.getvalue()), shared

    @property
    def is_fast(self) -> bool:
        """Whether the object can be pickled."""
        return self._pickled is not None

    def restore(self) -> Kept:
        """A copy that shares nothing that changes."""
        if self._pickled is None:
            return self._make()
        data, shared = self._pickled
        unpickler = pickle.Unpickler(io.BytesIO(data))
        unpickler.persistent_load = shared.__getitem__  # type: ignore[method-assign]  # at C's speed
        restored: Kept = unpickler.load()
        return restored


def _is_frozen(value: Any) -> bool:
    if isinstance(value, type | Enum | Endpoint | Secret | HiddenText | HiddenBytes):
        return True
    return isinstance(value, msgspec.Struct) and type(value).__struct_config__.frozen


class _Pickler(pickle.Pickler):
    """Leaves out what may be shared, and makes wsproto's parser, a generator, anew."""

    def __init__(self, file: io.BytesIO, shared: list[Any]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._shared = shared
        self._numbers: dict[int, int] = {}

    def persistent_id(self, value: Any) -> int | None:
        if not _is_frozen(value):
            return None
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._shared)
            self._shared.append(value)
        return self._numbers[id(value)]

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, wsproto.frame_protocol.FrameProtocol):
            return wsproto.frame_protocol.FrameProtocol, (value.client, [])
        return NotImplemented
