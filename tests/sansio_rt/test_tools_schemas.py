"""Schemas of annotations and what arguments decode into: they agree (T1, T5)."""

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
)

import jsonschema
import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sansio_rt._errors import ToolArgumentsError
from sansio_rt._tools import Tool, tool

OPAQUE = object()
Value = TypeVar("Value")
UserId = NewType("UserId", int)


class Unit(enum.Enum):
    CELSIUS = "celsius"
    ANY = "any"


class Level(enum.IntEnum):
    HIGH = 3
    LOW = 1


@dataclasses.dataclass
class Place:
    """A place on the map.

    Attributes:
        city: Its name.
        zip: Not this text.
    """

    city: str
    zip: Annotated[str, "Postal code."] = ""
    near: list["Place"] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Box(Generic[Value]):
    content: Value
    hidden: Any = OPAQUE


class Order(msgspec.Struct, rename="camel"):
    """An order."""

    order_number: int
    unit: Unit = Unit.ANY
    note: str | msgspec.UnsetType = msgspec.UNSET
    price: Annotated[float, msgspec.Meta(description="In euros.", ge=0, title="Price")] = 0.0


class Circle(msgspec.Struct, tag="circle"):
    radius: float


class Square(msgspec.Struct, tag="square"):
    side: float
    inside: "Circle | Square | None" = None


class Point(msgspec.Struct, array_like=True):
    x: int
    y: int = 0


class Mark(msgspec.Struct, array_like=True, tag="mark"):
    x: int


class Filter(TypedDict, total=False):
    """What to look for."""

    text: Required[Annotated[str, "Words."]]
    limit: Annotated[int, msgspec.Meta(ge=1, le=9)]


class Choice(TypedDict):
    key: str
    value: NotRequired[Annotated[int, "A number."]]


class Span(NamedTuple):
    start: int
    end: int = 5


class Empty(NamedTuple):
    pass


class Guest(pydantic.BaseModel):
    """A guest."""

    name: str
    friends: list["Guest"] = []


class Stay(pydantic.BaseModel):
    guest: Guest
    day: datetime.date
    level: Level = Level.LOW


class Tree(msgspec.Struct):
    left: "Tree | None" = None
    right: "Tree | None" = None


class First(msgspec.Struct):
    a: int
    next: "First | None" = None


class Second(msgspec.Struct):
    b: str
    next: "Second | None" = None


First.__name__ = Second.__name__ = "Node"


def schema_of(annotation: Any) -> Any:
    made = tool_for(annotation)
    found = dict(made.parameters["properties"]["value"])
    definitions = made.parameters.get("$defs")
    return found if definitions is None else (found, definitions)


def tool_for(annotation: Any) -> Tool:
    def function(value: Any) -> Any:
        return value

    function.__annotations__["value"] = annotation
    made = tool(function)
    jsonschema.Draft202012Validator.check_schema(made.parameters)
    return made


# What a schema says.


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (None, {"type": "null"}),
        (Any, {}),
        (msgspec.Raw, {}),
        (UserId, {"type": "integer"}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (Optional[str], {"anyOf": [{"type": "string"}, {"type": "null"}]}),  # noqa: UP045
        (Union[int, str], {"anyOf": [{"type": "integer"}, {"type": "string"}]}),  # noqa: UP007
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal["low", "high"], {"type": "string", "enum": ["low", "high"]}),  # as it is written
        (list[Literal[2, 1]], {"type": "array", "items": {"type": "integer", "enum": [2, 1]}}),
        (Literal[1, 2], {"type": "integer", "enum": [1, 2]}),
        (Unit, {"type": "string", "enum": ["celsius", "any"]}),
        (Level, {"type": "integer", "enum": [3, 1]}),
        (Literal[1, "word"], {"enum": [1, "word"]}),
        (list, {"type": "array"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (Sequence[int], {"type": "array", "items": {"type": "integer"}}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
        (frozenset[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
        (
            tuple[int, str],
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "minItems": 2,
                "maxItems": 2,
            },
        ),
        (tuple[()], {"type": "array", "minItems": 0, "maxItems": 0}),
        (dict, {"type": "object", "additionalProperties": True}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Mapping[int, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (
            dict[Unit, int],
            {
                "type": "object",
                "propertyNames": {"type": "string", "enum": ["celsius", "any"]},
                "additionalProperties": {"type": "integer"},
            },
        ),
        (datetime.datetime, {"type": "string", "format": "date-time"}),
        (datetime.date, {"type": "string", "format": "date"}),
        (datetime.time, {"type": "string", "format": "time"}),
        (datetime.timedelta, {"type": "string", "format": "duration"}),
        (uuid.UUID, {"type": "string", "format": "uuid"}),
        (decimal.Decimal, {"type": "string", "format": "decimal"}),
        (bytes, {"type": "string", "contentEncoding": "base64"}),
        (bytearray, {"type": "string", "contentEncoding": "base64"}),
        (memoryview, {"type": "string", "contentEncoding": "base64"}),
        (Annotated[int, "How many."], {"type": "integer", "description": "How many."}),
        (
            list[Annotated[str, "A tag."]],
            {"type": "array", "items": {"type": "string", "description": "A tag."}},
        ),
        (
            dict[str, Annotated[int, "A."] | None],
            {
                "type": "object",
                "additionalProperties": {
                    "anyOf": [{"type": "integer", "description": "A."}, {"type": "null"}]
                },
            },
        ),
        (
            Annotated[int, msgspec.Meta(gt=0, lt=9, multiple_of=2, title="T"), "Even."],
            {
                "type": "integer",
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 9,
                "multipleOf": 2,
                "description": "Even.",
            },
        ),
        (
            Annotated[str, msgspec.Meta(min_length=1, max_length=3, pattern="^a", examples=["a"])],
            {"type": "string", "minLength": 1, "maxLength": 3, "pattern": "^a", "examples": ["a"]},
        ),
        (
            Annotated[list[int], msgspec.Meta(min_length=1, max_length=3)],
            {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
        ),
        (
            Annotated[dict[str, Any], msgspec.Meta(max_length=3)],
            {"type": "object", "additionalProperties": True, "maxProperties": 3},
        ),
        (
            Box[int],
            {
                "type": "object",
                "properties": {"content": {"type": "integer"}, "hidden": {}},
                "additionalProperties": False,
                "required": ["content"],
            },
        ),
        (
            Order,
            {
                "description": "An order.",
                "type": "object",
                "properties": {
                    "orderNumber": {"type": "integer"},
                    "unit": {"type": "string", "enum": ["celsius", "any"], "default": "any"},
                    "note": {"type": "string"},
                    "price": {
                        "type": "number",
                        "minimum": 0,
                        "description": "In euros.",
                        "default": 0.0,
                    },
                },
                "additionalProperties": False,
                "required": ["orderNumber"],
            },
        ),
        (
            Filter,
            {
                "description": "What to look for.",
                "type": "object",
                "properties": {
                    "text": {"type": "string", "description": "Words."},
                    "limit": {"type": "integer", "minimum": 1, "maximum": 9},
                },
                "additionalProperties": False,
                "required": ["text"],
            },
        ),
        (
            Choice,
            {
                "type": "object",
                "properties": {
                    "key": {"type": "string"},
                    "value": {"type": "integer", "description": "A number."},
                },
                "additionalProperties": False,
                "required": ["key"],
            },
        ),
        (
            Span,
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "integer", "default": 5}],
                "minItems": 1,
                "maxItems": 2,
            },
        ),
        (
            Point,
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "integer", "default": 0}],
                "minItems": 1,
                "maxItems": 2,
            },
        ),
        (
            Mark,
            {
                "type": "array",
                "prefixItems": [{"enum": ["mark"]}, {"type": "integer"}],
                "minItems": 2,
                "maxItems": 2,
            },
        ),
        (
            Circle,
            {
                "type": "object",
                "properties": {"type": {"enum": ["circle"]}, "radius": {"type": "number"}},
                "additionalProperties": False,
                "required": ["type", "radius"],
            },
        ),
    ],
)
def test_annotations_say_what_they_mean(annotation: Any, schema: Any) -> None:
    """T1."""
    assert schema_of(annotation) == schema


def test_a_type_that_holds_itself_is_a_definition() -> None:
    found, definitions = schema_of(list[Place])
    assert found == {"type": "array", "items": {"$ref": "#/$defs/Place"}}
    assert definitions == {
        "Place": {
            "description": "A place on the map.",
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Its name."},
                "zip": {"type": "string", "description": "Postal code.", "default": ""},
                "near": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
            },
            "additionalProperties": False,
            "required": ["city"],
        }
    }


def test_a_type_that_holds_itself_twice_is_one_definition() -> None:
    found, definitions = schema_of(Tree)
    assert found == {"$ref": "#/$defs/Tree"}
    side = {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}], "default": None}
    assert definitions["Tree"]["properties"] == {"left": side, "right": side}


def test_recursive_types_of_one_name_do_not_mix() -> None:
    def join(one: First, two: Second, again: First | None = None) -> None: ...

    parameters = tool(join).parameters
    jsonschema.Draft202012Validator.check_schema(parameters)
    assert parameters["properties"]["one"] == {"$ref": "#/$defs/Node"}
    assert parameters["properties"]["two"] == {"$ref": "#/$defs/Node2"}
    assert set(parameters["$defs"]["Node2"]["properties"]) == {"b", "next"}
    assert parameters["properties"]["again"]["anyOf"][0] == {"$ref": "#/$defs/Node"}


def test_pydantic_models_give_their_own_schema() -> None:
    def check_in(stay: Stay, other: Stay | None = None) -> None: ...

    parameters = tool(check_in).parameters
    jsonschema.Draft202012Validator.check_schema(parameters)
    assert set(parameters["$defs"]) == {"Guest"}
    assert "title" not in json.dumps(parameters)
    stay = parameters["properties"]["stay"]
    assert stay["properties"]["guest"] == {"$ref": "#/$defs/Guest"}
    assert stay["properties"]["level"] == {"enum": [3, 1], "type": "integer", "default": 1}
    assert parameters["properties"]["other"]["anyOf"][0] == stay


def test_defaults_that_json_can_hold_are_shown() -> None:
    def function(
        unit: Unit = Unit.CELSIUS,
        place: Place = Place("here"),  # noqa: B008
        tags: tuple[str, ...] = ("a",),
        day: datetime.date = datetime.date(2026, 1, 2),
        guest: Guest = Guest(name="A"),  # noqa: B008
        limit: float = float("inf"),
        nothing: Any = OPAQUE,
        maybe: int = None,  # type: ignore[assignment]  # noqa: RUF013
        listed: "Annotated[int | None, 'Or none.']" = None,
    ) -> None: ...

    made = tool(function)
    found = made.parameters["properties"]
    assert "required" not in made.parameters
    assert {name: schema.get("default", "none") for name, schema in found.items()} == {
        "unit": "celsius",
        "place": {"city": "here", "zip": "", "near": []},
        "tags": ["a"],
        "day": "2026-01-02",
        "guest": {"name": "A", "friends": []},
        "limit": "none",
        "nothing": "none",
        "maybe": None,
        "listed": None,
    }
    assert found["maybe"]["anyOf"] == [{"type": "integer"}, {"type": "null"}]
    assert made.decode("{}") == {}
    assert made.decode('{"maybe": null}') == {"maybe": None}


def test_a_description_at_the_parameter_wins() -> None:
    def function(a: Annotated[int, "Near."], b: Filter, c: Filter, d: Annotated[int, 5]) -> None:
        """Do.

        Args:
            a: Far.
            b: Far.
            d: Far.
        """

    found = tool(function).parameters["properties"]
    assert [found[name]["description"] for name in "abcd"] == [
        "Near.",
        "Far.",
        "What to look for.",
        "Far.",
    ]


# Schema and decoder agree.


def finite() -> st.SearchStrategy[float]:
    return st.floats(allow_nan=False, allow_infinity=False)


INTS = st.integers(-(2**53), 2**53)
TEXT = st.text(max_size=8)
PLACES = st.recursive(
    st.builds(Place, city=TEXT, zip=TEXT, near=st.just([])),
    lambda inner: st.builds(Place, city=TEXT, zip=TEXT, near=st.lists(inner, max_size=3)),
    max_leaves=5,
)
CIRCLES = st.builds(Circle, radius=finite())
SHAPES = st.recursive(
    CIRCLES | st.builds(Square, side=finite(), inside=st.none()),
    lambda inner: st.builds(Square, side=finite(), inside=inner),
    max_leaves=4,
)
GUESTS = st.builds(Guest, name=TEXT, friends=st.lists(st.builds(Guest, name=TEXT), max_size=2))
ANY = st.recursive(
    st.none() | st.booleans() | INTS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)

ROUND_TRIPS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, TEXT),
    (int, INTS),
    (float, finite()),
    (bool, st.booleans()),
    (None, st.none()),
    (Any, ANY),
    (int | str | None, INTS | TEXT | st.none()),
    (int | float, INTS | finite()),
    (Literal["a", 1, None], st.sampled_from(["a", 1, None])),
    (Unit, st.sampled_from(Unit)),
    (Level, st.sampled_from(Level)),
    (list[list[int]], st.lists(st.lists(INTS, max_size=3), max_size=3)),
    (tuple[int, str], st.tuples(INTS, TEXT)),
    (tuple[Unit, ...], st.lists(st.sampled_from(Unit), max_size=3).map(tuple)),
    (set[int], st.sets(INTS, max_size=4)),
    (frozenset[str], st.frozensets(TEXT, max_size=4)),
    (dict[str, int], st.dictionaries(TEXT, INTS, max_size=3)),
    (dict[int, Place], st.dictionaries(INTS, PLACES, max_size=2)),
    (dict[Unit, bool], st.dictionaries(st.sampled_from(Unit), st.booleans())),
    (
        datetime.datetime,
        st.datetimes(timezones=st.just(datetime.UTC)) | st.datetimes(),
    ),
    (datetime.date, st.dates()),
    (datetime.time, st.times()),
    (datetime.timedelta, st.timedeltas()),
    (uuid.UUID, st.uuids()),
    (decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (bytes, st.binary(max_size=8)),
    (Place, PLACES),
    (Box[list[int]], st.builds(Box, content=st.lists(INTS, max_size=3), hidden=ANY)),
    (
        Order,
        st.builds(
            Order,
            order_number=INTS,
            unit=st.sampled_from(Unit),
            note=TEXT,
            price=st.floats(0, 1e9),
        ),
    ),
    (Circle | Square, SHAPES),
    (Point, st.builds(Point, x=INTS, y=INTS)),
    (Filter, st.fixed_dictionaries({"text": TEXT}, optional={"limit": st.integers(1, 9)})),
    (Span, st.builds(Span, start=INTS, end=INTS)),
    (Empty, st.just(Empty())),
    (Guest, GUESTS),
    (
        list[Stay],
        st.lists(
            st.builds(Stay, guest=GUESTS, day=st.dates(), level=st.sampled_from(Level)), max_size=2
        ),
    ),
    (Annotated[int, msgspec.Meta(ge=2, le=5)], st.integers(2, 5)),
]
TOOLS = [(tool_for(annotation), values) for annotation, values in ROUND_TRIPS]


def plain_pydantic(value: Any) -> Any:
    return value.model_dump(mode="json")


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_what_a_schema_allows_decodes_to_the_same_value(data: st.DataObject) -> None:
    """T1, T5: values -> JSON -> valid by the schema -> decoded into equal values."""
    made, values = data.draw(st.sampled_from(TOOLS))
    value = data.draw(values)
    arguments = msgspec.json.encode({"value": value}, enc_hook=plain_pydantic)
    jsonschema.Draft202012Validator(made.parameters).validate(json.loads(arguments))
    decoded = made.decode(arguments)
    assert decoded == {"value": value}
    assert type(decoded["value"]) is type(value)
    assert made.decode(arguments.decode()) == decoded


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3) | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
# The types whose schema says all that the decoder checks, and whose decoder checks all of it.
EXACT = [
    (tool_for(annotation))
    for annotation in (
        str,
        int,
        bool,
        None,
        int | None,
        Unit,
        Literal[1, "word"],
        list[int],
        list[str | None],
        tuple[int, str],
        dict[str, bool],
        list[dict[str, int]],
        Annotated[int, msgspec.Meta(ge=2, le=5)],
    )
]


@given(st.sampled_from(EXACT), JSON_VALUES)
@settings(max_examples=300, deadline=None)
def test_what_a_schema_forbids_is_refused_and_what_it_allows_is_taken(
    made: Tool, value: Any
) -> None:
    """T5: the validator and the decoder give the same verdict on any JSON."""
    arguments = json.dumps({"value": value})
    allowed = jsonschema.Draft202012Validator(made.parameters).is_valid(json.loads(arguments))
    try:
        made.decode(arguments)
    except ToolArgumentsError:
        assert not allowed
    else:
        assert allowed
