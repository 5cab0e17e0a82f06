"""What all wire structs share: their base, the unknown ones, and the three states of a field.

A field that may be left out is `Maybe[T]`: a value, `None` (JSON null) or `UNSET` (left out). The
three are different things to the service: a value sets, null switches off, left out keeps.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, TypeAlias, TypeGuard, TypeVar, Union

import msgspec
from msgspec import UNSET, UnsetType

T = TypeVar("T")

# A value, null, or left out. (`|` makes no generic alias of a type variable before Python 3.12.)
Maybe: TypeAlias = Union[T, UnsetType, None]  # noqa: UP007


class _NoExtra(Mapping[str, Any]):
    """The empty `extra` of a struct that has none: one immutable object, known by identity."""

    __slots__ = ()

    def __getitem__(self, key: str) -> Any:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "{}"

    def __reduce__(self) -> str:
        return "NO_EXTRA"


NO_EXTRA: Final[Mapping[str, Any]] = _NoExtra()

# No value off the wire fits this, so msgspec never fills such a field: only `_convert` does.
_NEVER = msgspec.Meta(min_length=1, max_length=0)


class WireObject(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    repr_omit_defaults=True,
    gc=False,  # frozen and made of JSON: no cycles to collect
):
    """The base of every struct that stands for a JSON object.

    Attributes:
        extra: Fields of the wire object that this version of the library does not know, in their
            plain JSON form. They are written again by `encode`. Usually empty.
    """

    extra: Annotated[Mapping[str, Any], _NEVER] = msgspec.field(name="$extra", default=NO_EXTRA)


class TaggedObject(WireObject, frozen=True, kw_only=True, tag_field="type"):
    """The base of every struct whose wire object says in `type` what it is."""

    @property
    def type(self) -> str:
        """The wire object's `type`."""
        return str(self.__struct_config__.tag)


class UnknownObject(WireObject, frozen=True, kw_only=True, tag_field="type", tag="$unknown"):
    """An object whose `type` this version does not know. It is written again unchanged.

    Attributes:
        type: The `type` on the wire, `""` where it was missing.
        data: The whole object in its plain JSON form, `type` included.
    """

    type: str = msgspec.field(name="$type")
    data: Annotated[dict[str, Any], _NEVER]


class UnknownEvent(UnknownObject, frozen=True, kw_only=True, tag="$unknown_event"):
    """An event whose `type` this version does not know."""


class ServerEventBase(TaggedObject, frozen=True, kw_only=True):
    """What every server event has.

    Attributes:
        event_id: The server's id of the event, `""` where it gave none.
    """

    event_id: str = ""


class ClientEventBase(TaggedObject, frozen=True, kw_only=True):
    """What every client event has.

    Attributes:
        event_id: An id of up to 32 characters; an `error` that answers the event carries it.
    """

    event_id: Maybe[str] = UNSET


class ErrorDetails(WireObject, frozen=True, kw_only=True):
    """What went wrong, in the service's words.

    Attributes:
        type: The kind of error (`invalid_request_error`, `server_error`).
        code: The error's code, the stable thing to compare.
        message: A sentence for people.
        param: The parameter that was refused.
        event_id: The id of the client event that was refused.
    """

    type: str = ""
    code: Maybe[str] = UNSET
    message: str = ""
    param: Maybe[str] = UNSET
    event_id: Maybe[str] = UNSET


class LogProb(WireObject, frozen=True, kw_only=True):
    """One token of a transcript and how probable it was.

    Attributes:
        token: The token's text.
        bytes: The token's UTF-8 bytes as numbers.
        logprob: Its natural logarithmic probability.
    """

    token: str
    bytes: Maybe[list[int]] = UNSET
    logprob: float


def new_list() -> list[Any]:
    """A default that `omit_defaults` does not leave out, since the service requires the field."""
    return []


def new_text() -> str:
    """A default that `omit_defaults` does not leave out, since the service requires the field."""
    return ""


def zero() -> int:
    """A default that `omit_defaults` does not leave out, since the service requires the field."""
    return 0


def is_array(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether a value is written as a JSON array, in words that both type checkers take."""
    return isinstance(value, (list, tuple))


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a value is written as a JSON object, in words that both type checkers take."""
    return isinstance(value, dict)
