"""Objects in the middle of their lives, copied for each execution.

To make a `ClientProtocol` and lead it through its handshake and configuration costs half a millisecond;
most of what can go wrong comes later. A `Snapshot` makes such an object once, and writes a function that
makes another like it: line by line, what pickle would read out of its bytes, at a quarter of the cost.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterable
from enum import Enum
from functools import cached_property
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, Generic, TypeVar

import msgspec
import wsproto.frame_protocol

from sansio_rt import Endpoint
from sansio_rt._secrets import HiddenBytes, HiddenText, Secret

Kept = TypeVar("Kept")

_PLAIN = (type(None), bool, int, str)
_SHARED = (
    *(*_PLAIN, float, bytes, type, Enum, CodeType, ModuleType, msgspec.UnsetType),
    *(Endpoint, Secret, HiddenText, HiddenBytes),
)


class Snapshot(Generic[Kept]):
    """Gives copies of an object.

    Args:
        make: Makes the object, once.
    """

    def __init__(self, make: Callable[[], Kept]) -> None:
        self._make = make

    @cached_property
    def restore(self) -> Callable[[], Kept]:
        """Makes a copy that shares nothing that changes.

        Raises:
            TypeError: The object holds what cannot be copied.
        """
        writer = _Writer()
        made = writer.write(self._make())
        names: dict[str, Any] = writer.constants
        exec(f"def restore():\n {made}", names)
        restore: Callable[[], Kept] = names["restore"]
        return restore


def is_shared(value: Any) -> bool:
    """Whether an object never changes, so that copies may share it."""
    if isinstance(value, _SHARED):
        return True
    if type(value) is tuple or type(value) is frozenset:
        return all(map(is_shared, value))
    if isinstance(value, FunctionType):
        return all(is_shared(cell.cell_contents) for cell in value.__closure__ or ())
    if isinstance(value, BuiltinFunctionType):
        return isinstance(value.__self__, ModuleType | type | None)
    return isinstance(value, msgspec.Struct) and type(value).__struct_config__.frozen


class _Writer:
    """Writes the lines that make an object: first all the objects, then what they hold.

    Attributes:
        constants: What the lines name and copies share.
    """

    def __init__(self) -> None:
        self.constants: dict[str, Any] = {"put": object.__setattr__}
        self._names: dict[int, str] = {}
        self._held: list[Any] = []  # so that no identity is used anew
        self._unfilled: list[Callable[[], list[str]]] = []
        self._lines: list[str] = []

    def write(self, value: Any) -> str:
        """The body of a function that returns a copy."""
        made, filled = self._of(value), list[str]()
        while self._unfilled:
            filled += self._unfilled.pop()()
        return "\n ".join([*self._lines, *filled, f"return {made}"])

    def _of(self, value: Any) -> str:
        """An expression for a value; where it is to be copied, a line has made it."""
        if type(value) in _PLAIN:
            return repr(value)
        if is_shared(value):
            return self._constant(value)
        name = self._names.get(id(value))
        if name is None:
            name = self._name(value)
            self._lines.append(f"{name} = {self._made(name, value)}")
        return name

    def _name(self, value: Any) -> str:
        self._held.append(value)
        return self._names.setdefault(id(value), f"v{len(self._names)}")

    def _constant(self, value: Any) -> str:
        name = self._names.get(id(value)) or self._name(value)
        self.constants[name] = value
        return name

    def _made(self, name: str, value: Any) -> str:
        """An expression that makes an object, empty where it can be filled later."""
        kind = type(value)
        if kind is wsproto.frame_protocol.FrameProtocol:  # its parser is a generator
            return f"{self._constant(kind)}({value.client}, [])"
        if kind is tuple:
            return f"({' '.join(self._of(part) + ',' for part in value)})"
        if kind is set:
            return f"{{*({' '.join(self._of(part) + ',' for part in value)})}}"
        if kind is dict:
            self._unfilled.append(lambda: self._items(name, value.items()))
            return "{}"
        if kind is list:
            self._unfilled.append(lambda: self._parts(name, value))
            return "[]"
        if isinstance(value, msgspec.Struct):
            fields = ((field, getattr(value, field)) for field in kind.__struct_fields__)
            held = ", ".join(f"{field}={self._of(inner)}" for field, inner in fields)
            return f"{self._constant(kind)}({held})"
        return self._reduced(name, value)

    def _reduced(self, name: str, value: Any) -> str:
        """The same by what an object tells pickle."""
        make, arguments, *rest = value.__reduce_ex__(4)
        state, parts, items = [*rest, None, None, None][:3]
        parts, items = list(parts or ()), list(items or ())
        if isinstance(value, BaseException):  # its class may want other arguments than it tells
            make, arguments = BaseException.__new__, (type(value), *value.args)
        elif make is copyreg.__newobj__:  # type: ignore[attr-defined]
            make = arguments[0].__new__
        self._unfilled.append(lambda: self._attributes(name, value, state))
        self._unfilled.append(lambda: self._parts(name, parts) + self._items(name, items))
        return f"{self._constant(make)}({', '.join(map(self._of, arguments))})"

    def _parts(self, name: str, parts: Iterable[Any]) -> list[str]:
        return [f"{name}.append({self._of(part)})" for part in parts]

    def _items(self, name: str, items: Iterable[tuple[Any, Any]]) -> list[str]:
        return [f"{name}[{self._of(key)}] = {self._of(held)}" for key, held in items]

    def _attributes(self, name: str, value: Any, state: Any) -> list[str]:
        if state is None:
            return []
        if hasattr(value, "__setstate__"):
            return [f"{name}.__setstate__({self._of(state)})"]
        own, slots = state if isinstance(state, tuple) else (state, None)
        held = {**(own or {}), **(slots or {})}.items()
        if type(value).__setattr__ is self.constants["put"]:
            return [f"{name}.{key} = {self._of(inner)}" for key, inner in held]
        return [f"put({name}, {key!r}, {self._of(inner)})" for key, inner in held]
