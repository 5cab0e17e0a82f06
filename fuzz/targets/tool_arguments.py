"""A model's arguments, any text: values of the annotated types, or a refusal that the model can read."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import Annotated, Any, Literal

import msgspec

from sansio_rt import LocalProtocolError, Tool, ToolArgumentsError, tool
from sansio_rt._tools import output_text

MAX_BYTES = 512


class Colour(enum.Enum):
    """Some colours."""

    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Place:
    """Where something is."""

    city: str
    height_m: float = 0.0
    near: list[Place] | None = None


class Order(msgspec.Struct):
    """What somebody wants."""

    count: Annotated[int, msgspec.Meta(ge=1, le=10)]
    colours: set[Colour] = set()


def everything(
    text: str,
    number: int = 0,
    share: float = 1.0,
    flag: bool = False,
    colour: Colour = Colour.RED,
    place: Place | None = None,
    order: Order | None = None,
    day: datetime.date | None = None,
    moment: datetime.datetime | None = None,
    length: datetime.timedelta | None = None,
    mode: Literal["fast", "slow", 3] = "fast",
    pair: tuple[int, str] = (0, ""),
    table: dict[str, list[int]] | None = None,
    data: bytes = b"",
    anything: Any = None,
) -> str:
    """One parameter of each kind."""
    return text


def nothing() -> None:
    """No parameters."""


_SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": ["string", "null"]},
        "number": {"type": "integer"},
        "numbers": {"type": "array", "items": {"type": "integer"}},
        "inner": {
            "type": "object",
            "properties": {"mode": {"enum": ["a", 1, None]}},
            "required": ["mode"],
            "additionalProperties": {"type": "boolean"},
        },
    },
    "required": ["text"],
}


def free(text: str | None, number: int = 0, numbers: Any = (), inner: Any = None) -> None:
    """Takes what the schema says."""


_TOOLS: tuple[Tool, ...] = (
    tool(everything),
    tool(nothing),
    Tool.from_schema("free", "A tool with a schema of its own.", _SCHEMA, free),
)


def fuzz(data: bytes) -> None:
    """Byte 0 chooses the tool and whether arguments come as text; the rest are the arguments."""
    if not data:
        return
    chosen, arguments = _TOOLS[data[0] % len(_TOOLS)], data[1:]
    bare = _attempt(chosen, arguments)
    try:
        text = arguments.decode()
    except UnicodeDecodeError:
        assert bare is None
        return
    assert _attempt(chosen, text) == bare or bare != bare
    if bare is None:
        return
    chosen.function(**bare)
    try:
        output_text(bare)
    except LocalProtocolError as refusal:
        assert str(refusal)


def _attempt(chosen: Tool, arguments: str | bytes) -> dict[str, Any] | None:
    try:
        return chosen.decode(arguments)
    except ToolArgumentsError as refusal:
        str(refusal).encode()
        assert 0 < len(str(refusal)) < 2000, "a refusal is for a model to read"
        return None
