"""Arguments of calls: decoded into the annotated types, or a readable text for the model (T5)."""

import contextlib
import dataclasses
import json
from typing import Any, Optional

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio_rt._errors import LocalProtocolError, ToolArgumentsError
from sansio_rt._tools import Tool, tool


@dataclasses.dataclass
class Place:
    city: str
    number: int = 1

    def __post_init__(self) -> None:
        if self.city == "Atlantis":
            raise ValueError("Atlantis  is\nunder water")


class Guest(pydantic.BaseModel):
    name: str
    age: int = pydantic.Field(ge=0)


def visit(
    place: Place,
    days: int = 1,
    tags: list[str] = [],  # noqa: B006
    guest: Guest | None = None,
    ratio: float = 0.5,
    anything: Any = None,
) -> None: ...


VISIT = tool(visit)
FROM_SCHEMA = Tool.from_schema(
    "visit",
    "",
    {
        "type": "object",
        "properties": {
            "place": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "number": {"type": "integer"}},
                "required": ["city"],
                "additionalProperties": False,
            },
            "days": {"type": ["integer", "null"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "unit": {"enum": ["c", "f"]},
            "odd": {"type": "wonderful"},
            "free": True,
            "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "required": ["place"],
    },
    lambda place, days=1, tags=(), unit="c", odd=0, free=0, map=None: None,  # noqa: A006
)


def test_arguments_arrive_as_the_annotated_types() -> None:
    decoded = VISIT.decode('{"place":{"city":"Ulm"},"guest":{"name":"A","age":3},"days":2}')
    assert decoded == {"place": Place("Ulm"), "guest": Guest(name="A", age=3), "days": 2}


def test_whole_floats_count_as_int_and_nothing_else_is_converted() -> None:
    decoded = VISIT.decode(
        '{"place":{"city":"Ulm","number":4.0},"days":3.0,"ratio":2,"tags":["1.0"]}'
    )
    assert decoded == {"place": Place("Ulm", 4), "days": 3, "ratio": 2.0, "tags": ["1.0"]}
    assert type(decoded["days"]) is int
    assert type(decoded["ratio"]) is float
    for wrong in ("3.5", '"3"', "true", "1e300", "null"):
        with pytest.raises(ToolArgumentsError, match="argument `days`"):
            VISIT.decode(f'{{"place":{{"city":"Ulm"}},"days":{wrong}}}')


def test_no_text_counts_as_no_arguments() -> None:
    made = tool(lambda: None, name="ping")
    schema = Tool.from_schema("ping", "", {}, lambda: None)
    for text in ("", "  ", b"", "{}", " {}\n"):
        assert made.decode(text) == schema.decode(text) == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("{", "not valid JSON"),
        ("hello", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b'{"place": "\xff"}', "not valid JSON"),
        ("\ud800", "not valid JSON"),
        ('{"place":' + "[" * 100_000, "not valid JSON"),
        ("[]", "the arguments: expected `object`, got `array`"),
        ("null", "the arguments: expected `object`, got `null`"),
        ("{}", "missing argument `place`"),
        ('{"place":{}}', "missing argument `place.city`"),
        ('{"place":{"city":1}}', "argument `place.city`: expected `str`, got `int`"),
        (
            '{"place":{"city":"Atlantis"}}',
            "argument `place`: atlantis is under water",
        ),
        (
            '{"place":{"city":"a"},"town":1}',
            "unknown argument `town`; the arguments are place, days, tags, guest, ratio, anything",
        ),
        ('{"place":{"city":"a"},"tags":["a",2]}', r"argument `tags\[1\]`: expected `str`"),
        ('{"place":{"city":"a"},"guest":{"name":"A"}}', "argument `guest`: age: Field required"),
        (
            '{"place":{"city":"a"},"guest":{"name":3,"age":-1}}',
            "name: Input should be .*; age: Input should be greater",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_explained(arguments: Any, words: str) -> None:
    """T5: the text is for the model; it names the argument."""
    with pytest.raises(ToolArgumentsError, match=words) as caught:
        VISIT.decode(arguments)
    assert not isinstance(caught.value, LocalProtocolError)
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_a_tool_without_parameters_says_so() -> None:
    made = tool(lambda: None, name="ping")
    schema = Tool.from_schema("ping", "", {}, lambda: None)
    for ping in (made, schema):
        with pytest.raises(ToolArgumentsError, match="`a`; the arguments are none"):
            ping.decode('{"a": 1}')


def test_parameters_may_have_any_name() -> None:
    def function(_a: int, __b: int, __class__: int, ä: int, msgspec: int) -> None: ...

    made = tool(function)
    values = dict.fromkeys(made.parameters["properties"], 1)
    assert len(values) == 5
    assert made.decode(json.dumps(values)) == values


def test_what_is_left_out_is_the_functions_business() -> None:
    calls = []

    @tool
    def collect(item: str, into: list[str] = calls) -> None:
        into.append(item)

    collect(**collect.decode('{"item": "a"}'))
    assert calls == ["a"]


# A schema that somebody wrote.


@pytest.mark.parametrize(
    ("arguments", "decoded"),
    [
        ('{"place":{"city":"a"}}', {"place": {"city": "a"}}),
        ('{"place":{"city":"a","number":2.0}}', {"place": {"city": "a", "number": 2}}),
        ('{"place":{"city":"a"},"days":null}', {"place": {"city": "a"}, "days": None}),
        ('{"place":{"city":"a"},"days":3.0}', {"place": {"city": "a"}, "days": 3}),
        ('{"place":{"city":"a"},"odd":[1]}', {"place": {"city": "a"}, "odd": [1]}),
        ('{"place":{"city":"a"},"free":{"b":1}}', {"place": {"city": "a"}, "free": {"b": 1}}),
        ('{"place":{"city":"a"},"map":{"b":1}}', {"place": {"city": "a"}, "map": {"b": 1}}),
        ('{"place":{"city":"a"},"unit":"c"}', {"place": {"city": "a"}, "unit": "c"}),
    ],
)
def test_a_schema_takes_what_it_allows(arguments: str, decoded: Any) -> None:
    """T2, T5."""
    found = FROM_SCHEMA.decode(arguments)
    assert json.dumps(found) == json.dumps(decoded)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        ("[]", "the arguments: expected object, got array"),
        ("{}", "missing argument `place`"),
        ('{"place":{}}', "missing argument `place.city`"),
        ('{"place":{"city":1}}', "argument `place.city`: expected string, got integer"),
        ('{"place":{"city":"a","x":1}}', "unknown argument `place.x`; .* city, number"),
        ('{"place":{"city":"a"},"x":1}', "unknown argument `x`; the arguments are place, days"),
        ('{"place":{"city":"a"},"days":true}', "`days`: expected integer or null, got boolean"),
        ('{"place":{"city":"a"},"days":2.5}', "`days`: expected integer or null, got number"),
        ('{"place":{"city":"a"},"tags":["a",null]}', r"`tags\[1\]`: expected string, got null"),
        ('{"place":{"city":"a"},"map":{"b":"c"}}', "`map.b`: expected integer, got string"),
        ('{"place":{"city":"a"},"unit":"k"}', r"`unit`: expected one of \['c', 'f'\]"),
    ],
)
def test_a_schema_refuses_what_it_forbids(arguments: Any, words: str) -> None:
    with pytest.raises(ToolArgumentsError, match=words):
        FROM_SCHEMA.decode(arguments)


def test_a_function_of_any_names_takes_more_than_the_schema_lists() -> None:
    made = Tool.from_schema("t", "", {"properties": {"a": {}}}, lambda **given: given)
    assert made.decode('{"a": 1, "b": 2}') == {"a": 1, "b": 2}
    closed = Tool.from_schema("t", "", {"additionalProperties": False}, lambda **given: given)
    with pytest.raises(ToolArgumentsError, match="unknown argument `b`"):
        closed.decode('{"b": 2}')


@given(st.text() | st.binary() | st.recursive(st.none(), st.lists).map(json.dumps))
def test_nothing_that_a_model_says_is_more_than_an_error(arguments: Any) -> None:
    """T5."""
    for made in (VISIT, FROM_SCHEMA):
        with contextlib.suppress(ToolArgumentsError):
            made.decode(arguments)


# --- names that nobody knows, at any depth ---------------------------------------------------


class Walk(msgspec.Struct, tag="walk"):
    steps: int


class Ride(msgspec.Struct, tag="ride"):
    stops: list[Place]


@dataclasses.dataclass
class Tree:
    name: str
    branches: list["Tree"]


def travel(
    way: Walk | Ride | None = None,
    by_name: dict[str, Place] = {},  # noqa: B006
    pair: tuple[Place, int] | None = None,
    tree: Optional[Tree] = None,  # noqa: UP045
    guest: Guest | None = None,
    anything: Any = None,
) -> None: ...


TRAVEL = tool(travel)
PARIS = {"city": "Paris"}
SPOILT = {"city": "Paris", "mood": "blue"}


@pytest.mark.parametrize(
    ("good", "bad", "path"),
    [
        ({"type": "walk", "steps": 1}, {"type": "walk", "steps": 1, "stops": []}, "way.stops"),
        (
            {"type": "ride", "stops": [PARIS]},
            {"type": "ride", "stops": [PARIS, SPOILT]},
            "way.stops[1].mood",
        ),
        ({"a": PARIS}, {"a": PARIS, "b": SPOILT}, "by_name.b.mood"),
        ([PARIS, 1], [SPOILT, 1], "pair[0].mood"),
        (
            {"name": "a", "branches": [{"name": "b", "branches": []}]},
            {"name": "a", "branches": [{"name": "b", "branches": [], "leaf": 1}]},
            "tree.branches[0].leaf",
        ),
    ],
)
def test_a_name_that_nobody_knows_is_refused_at_every_depth(good: Any, bad: Any, path: str) -> None:
    name = path.split(".")[0].split("[")[0]
    assert list(TRAVEL.decode(json.dumps({name: good}))) == [name]
    with pytest.raises(ToolArgumentsError) as caught:
        TRAVEL.decode(json.dumps({name: bad}))
    assert str(caught.value) == f"unknown argument `{path}`"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (b'{"way": {"type": "walk", "steps": 1, "made up": 9E902}}', "number out of range"),
        (b'{"way": {"type": "walk", "steps": 1, "made up": "\x9d"}}', "not valid JSON"),
    ],
)
def test_what_is_wrong_under_a_name_that_nobody_knows_is_told(
    arguments: bytes, problem: str
) -> None:
    with pytest.raises(ToolArgumentsError, match=problem):
        TRAVEL.decode(arguments)


def test_what_takes_any_names_still_does() -> None:
    guest = {
        "name": "Ann",
        "age": 3,
        "hobby": "pydantic lets it be, unless its model says otherwise",
    }
    assert TRAVEL.decode(json.dumps({"guest": guest}))["guest"] == Guest(name="Ann", age=3)
    anything = {"what": {"ever": [SPOILT]}}
    assert TRAVEL.decode(json.dumps({"anything": anything})) == {"anything": anything}
