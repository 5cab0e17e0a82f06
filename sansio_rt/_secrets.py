"""Credentials that do not show themselves.

Keys leak through what nobody meant to print: the repr of a settings object, a traceback with its
local variables, a pickled task. `Secret` closes those ways; the value comes out by `reveal()` only.
On the last steps to the wire a credential has to be text and then bytes: `HiddenText` and `HiddenBytes`
are those, and show themselves in no repr. `hide_frames` is for functions that are handed one as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NoReturn, ParamSpec, SupportsIndex, TypeVar, final, overload

__all__ = ["HiddenBytes", "HiddenText", "Secret", "hide_frames"]

P = ParamSpec("P")
T = TypeVar("T")

_NEVER_PICKLED = "a Secret is never pickled; hand the key over by other means"


@final
class Secret:
    """Holds one string and shows it to nobody who does not call `reveal`.

    It is deliberately no subclass of `str`: `"Bearer " + secret`, `json.dumps(secret)` and the like
    fail instead of leaking. Secrets compare and hash by value; a copy is the same object; an empty
    one is false.

    Args:
        value: The credential.
    """

    __slots__ = ("_value",)

    _value: str

    def __init__(self, value: str) -> None:
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        """Give the value, to be put on the wire and nowhere else."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Secret cannot change (setting {name!r}); make a new one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Secret cannot change (deleting {name!r}); make a new one")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __format__(self, format_spec: str) -> str:
        return format("***", format_spec)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(_NEVER_PICKLED)


@final
class HiddenText(str):
    """Text that holds a credential and has to be a `str`, such as a header's value.

    It is the text in every way but its repr, and so that of a list or a tuple that it is in.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __getitem__(self, index: SupportsIndex | slice) -> HiddenText:
        # Some printers cut long strings before they ask for the repr.
        return HiddenText(super().__getitem__(index))

    def __deepcopy__(self, memo: object) -> HiddenText:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(_NEVER_PICKLED)


@final
class HiddenBytes(bytes):
    """Bytes that hold a credential, such as a request's head: as `HiddenText`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} bytes with a credential>"

    __str__ = __repr__

    @overload
    def __getitem__(self, index: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> HiddenBytes: ...
    def __getitem__(self, index: SupportsIndex | slice) -> int | HiddenBytes:
        part = super().__getitem__(index)
        return HiddenBytes(part) if isinstance(part, bytes) else part

    def __deepcopy__(self, memo: object) -> HiddenBytes:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(_NEVER_PICKLED)


def hide_frames(kind: type[Exception]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Lets a function's errors out without the frames in which they were raised.

    For functions that are handed a credential as it is: a traceback that shows local variables would
    show it. The error's words have to say everything, and what caused it is forgotten, too.

    Args:
        kind: The errors that are meant for the caller. Any other is a defect and keeps its frames.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except kind as error:
                failure = error.with_traceback(None)
                failure.__context__ = None
            del args, kwargs
            raise failure

        return call

    return decorate
