"""Functions as tools: what is taken, what is refused, settings, choice, output (T1 to T4, T10)."""

import dataclasses
import datetime
import enum
import functools
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import jsonschema
import msgspec
import numpy as np
import pydantic
import pytest

from sansio_rt import events
from sansio_rt._errors import ConfigurationError, LocalProtocolError, ToolDefinitionError
from sansio_rt._tools import Tool, check_tools, error_text, output_text, tool, tool_choice


def properties(made: Tool) -> dict[str, Any]:
    jsonschema.Draft202012Validator.check_schema(made.parameters)
    found: dict[str, Any] = made.parameters["properties"]
    return found


def book(room: str, nights: int = 1) -> str:
    """Book a room.

    Only with a deposit.

    Args:
        room: Which room.
        nights (int): How many nights,
            at least one.

    Returns:
        The booking's number.
    """
    return f"{room} for {nights}"


async def book_later(room: str) -> str:
    """Book a room, later."""
    return room


# What becomes a tool.


def test_a_typed_function_becomes_a_tool() -> None:
    """T1."""
    made = tool(book)
    assert made.name == "book"
    assert made.description == "Book a room.\n\nOnly with a deposit."
    assert made.parameters == {
        "type": "object",
        "properties": {
            "room": {"type": "string", "description": "Which room."},
            "nights": {
                "type": "integer",
                "description": "How many nights, at least one.",
                "default": 1,
            },
        },
        "additionalProperties": False,
        "required": ["room"],
    }
    assert (made.is_async, made.in_thread) == (False, True)
    assert made("7", nights=2) == made.function("7", 2) == "7 for 2"


def test_the_definition_is_the_event_struct() -> None:
    made = tool(book)
    assert made.definition() == events.FunctionTool(
        name="book", description=made.description, parameters=made.parameters
    )
    silent = tool(book, description="")
    assert silent.definition().description is msgspec.UNSET


def test_an_async_function_runs_on_the_loop() -> None:
    """T10: only sync functions go to a thread."""
    made = tool(book_later)
    assert (made.is_async, made.in_thread) == (True, False)


def test_settings_are_kept_bare_and_as_a_decorator() -> None:
    @tool(
        name="reserve",
        description="Reserve.",
        timeout_s=2.5,
        on_interrupt="finish",
        needs_approval=True,
        in_thread=False,
    )
    def book(room: str) -> None:
        """Not this text."""

    assert isinstance(book, Tool)
    assert (book.name, book.description, book.timeout_s) == ("reserve", "Reserve.", 2.5)
    assert (book.on_interrupt, book.needs_approval, book.in_thread) == ("finish", True, False)

    @tool
    def plain() -> None: ...

    assert (plain.name, plain.description, plain.timeout_s) == ("plain", "", None)
    assert (plain.on_interrupt, plain.needs_approval, plain.in_thread) == ("cancel", False, True)
    assert plain.parameters == {"type": "object", "properties": {}, "additionalProperties": False}


class Desk:
    """A desk that can be asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def ring(self, times: int) -> str:
        """Ring the bell."""
        return self.name * times

    @staticmethod
    def close(now: bool) -> bool:
        """Close the desk."""
        return now

    @classmethod
    def open(cls, hour: int) -> str:
        """Open a desk."""
        return f"{cls.__name__} {hour}"

    def __call__(self, question: str) -> str:
        return self.name + question


class Courier:
    async def __call__(self, parcel: str) -> str:
        """Bring a parcel."""
        return parcel


def test_methods_and_callable_objects_become_tools() -> None:
    desk = Desk("x")
    ring = tool(desk.ring)
    assert (ring.name, ring.description, list(properties(ring))) == (
        "ring",
        "Ring the bell.",
        ["times"],
    )
    assert ring(3) == "xxx"
    assert list(properties(tool(Desk.close))) == ["now"]
    assert tool(Desk.__dict__["close"]).name == "close"
    assert list(properties(tool(Desk.open))) == ["hour"]
    asked = tool(desk)
    assert (asked.name, asked.description) == ("Desk", "A desk that can be asked.")
    assert list(properties(asked)) == ["question"]
    assert (tool(Courier()).description, tool(Courier()).is_async) == ("Bring a parcel.", True)


def test_what_a_partial_has_bound_is_not_for_the_model() -> None:
    made = tool(functools.partial(functools.partial(book, nights=3)))
    assert (made.name, made.description) == ("book", "Book a room.\n\nOnly with a deposit.")
    assert list(properties(made)) == ["room"]
    assert made(**made.decode('{"room": "1"}')) == "1 for 3"
    assert properties(tool(functools.partial(book, "9"))) == {
        "nights": {
            "type": "integer",
            "description": "How many nights, at least one.",
            "default": 1,
        }
    }
    assert tool(functools.partial(book_later, room="1")).is_async


def test_a_wrapped_function_keeps_its_signature() -> None:
    @functools.wraps(book)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return book(*args, **kwargs)

    assert tool(wrapper).parameters == tool(book).parameters


def test_a_return_type_that_is_not_there_does_not_matter() -> None:
    def ask(what: str) -> "NoSuchThing":  # type: ignore[name-defined]  # noqa: F821
        ...

    assert list(properties(tool(ask))) == ["what"]


# T3: what cannot become a tool.


def positional_only(room: str, /) -> None: ...
def many(*rooms: str) -> None: ...
def named(**rooms: str) -> None: ...
def untyped(room) -> None: ...  # type: ignore[no-untyped-def]
def unresolved(room: "NoSuchRoom") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def misspelt(room: "str |") -> None: ...  # type: ignore[syntax]  # noqa: F722
def called(room: Callable[[], int]) -> None: ...
def complicated(room: complex) -> None: ...
def deep(room: list[dict[str, complex]]) -> None: ...
def ambiguous(room: "Left | Right") -> None: ...
def wrong_rule(room: Annotated[str, msgspec.Meta(ge=1)]) -> None: ...
def mixed(room: "Mixed") -> None: ...
def holder(room: "Holder") -> None: ...


class Mixed(enum.Enum):
    ONE = 1
    WORD = "word"


@dataclasses.dataclass
class Left:
    a: int


@dataclasses.dataclass
class Right:
    b: int


@dataclasses.dataclass
class Holder:
    what: "NoSuchThing"  # type: ignore[name-defined]  # noqa: F821


class Opaque(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    thing: Callable[[], int]


def opaque(room: Opaque) -> None: ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (positional_only, "remove the `/`"),
        (many, "use a list"),
        (named, "name the parameters"),
        (untyped, "annotate it"),
        (Desk.ring, "bound method"),
        (unresolved, "NoSuchRoom"),
        (misspelt, "cannot be resolved"),
        (called, "Callable"),
        (complicated, "'complex' cannot come out of JSON"),
        (deep, "'complex' cannot come out of JSON"),
        (ambiguous, "more than one"),
        (wrong_rule, "Can only set"),
        (mixed, "all str or all int"),
        (holder, "NoSuchThing"),
        (opaque, "pydantic has no JSON Schema"),
    ],
)
def test_parameters_that_cannot_be_expressed_are_refused(function: Any, words: str) -> None:
    """T3: the message names the function, the parameter and a remedy."""
    with pytest.raises(ToolDefinitionError, match=words) as caught:
        tool(function)
    assert str(caught.value).startswith(f"{function.__name__}: parameter ")


def generated() -> Iterator[int]:
    yield 1


async def async_generated() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (generated, "generator"),
        (async_generated, "generator"),
        (Desk, "cannot become a tool"),
        (3, "cannot become a tool"),
        (Desk.__dict__["open"], "not bound"),
        (lambda: None, "'<lambda>'.*name="),
        (tool(book), "is a tool already"),
        (dict.fromkeys, "signature|positional"),
        (dict.update, "signature|positional"),
        (print, "takes any number"),
        (iter, "no signature"),
    ],
)
def test_things_that_are_no_functions_are_refused(function: Any, words: str) -> None:
    with pytest.raises(ToolDefinitionError, match=words):
        tool(function)


@pytest.mark.parametrize(
    "settings",
    [
        {"name": ""},
        {"name": "ä"},
        {"name": "a b"},
        {"name": "a" * 65},
        {"name": "a\n"},
        {"name": 3},
        {"description": 3},
        {"on_interrupt": "stop"},
        {"timeout_s": 0},
        {"timeout_s": -1.0},
        {"timeout_s": float("nan")},
        {"timeout_s": float("inf")},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ToolDefinitionError, match=r"called|description|on_interrupt|timeout_s"):
        tool(book, **settings)


# T2: a schema and a callable.


def test_a_schema_with_a_callable_is_a_tool() -> None:
    """T2, T10: keys that the service refuses are left out."""
    made = Tool.from_schema(
        "book",
        "Book.",
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Booking",
            "meta": {"a": 1},
            "properties": {
                "room": {"$ref": "#/$defs/Room", "title": "The room"},
                "nights": {"type": "integer", "default": 1},
                "title": {"anyOf": [{"type": "string", "_meta": {}}, {"$ref": "#/$defs/Room"}]},
            },
            "required": ["room"],
            "$defs": {"Room": {"type": "string", "description": "Which.", "title": "Room"}},
        },
        lambda room, nights=1, title="": f"{room} {nights}",
        timeout_s=1,
        on_interrupt="finish",
        needs_approval=True,
    )
    assert made.parameters == {
        "properties": {
            "room": {"type": "string", "description": "Which."},
            "nights": {"type": "integer", "default": 1},
            "title": {"anyOf": [{"type": "string"}, {"type": "string", "description": "Which."}]},
        },
        "required": ["room"],
        "type": "object",
    }
    assert (made.timeout_s, made.on_interrupt, made.needs_approval) == (1, "finish", True)
    assert made(**made.decode('{"room": "7"}')) == "7 1"


def test_an_empty_schema_is_an_object_without_properties() -> None:
    made = Tool.from_schema("ping", "", {}, lambda: "pong")
    assert made.parameters == {"type": "object", "properties": {}}
    assert made.decode("{}") == {}


def test_a_schema_is_copied() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"enum": [1]}}}
    made = Tool.from_schema("t", "", schema, lambda a=0: a)
    schema["properties"]["a"]["enum"].append(2)
    assert made.parameters["properties"] == {"a": {"enum": [1]}}


def test_recursive_schemas_keep_their_definitions() -> None:
    tree = {"type": "object", "properties": {"kids": {"items": {"$ref": "#/$defs/Tree"}}}}
    made = Tool.from_schema(
        "plant",
        "",
        {"properties": {"tree": {"$ref": "#/$defs/Tree"}}, "$defs": {"Tree": tree, "Other": {}}},
        lambda tree=None: tree,
    )
    assert made.parameters["$defs"] == {"Tree": tree}
    assert properties(made)["tree"] == {"$ref": "#/$defs/Tree"}
    whole = Tool.from_schema(
        "grow",
        "",
        {
            "type": "object",
            "properties": {"self": {"$ref": "#"}, "a~/b": {"type": "string"}},
            "$defs": {"x": {"$ref": "#/properties/a~0~1b"}},
        },
        lambda **anything: anything,
    )
    assert properties(whole)["self"] == {"$ref": "#/$defs/root"}
    assert whole.parameters["$defs"]["root"]["properties"]["self"] == {"$ref": "#/$defs/root"}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ([], "a dict"),
        ({"type": "string"}, '"type": "object"'),
        ({"properties": []}, '"properties"'),
        ({"properties": {"a": {"$ref": "#/$defs/A"}}}, "leads to no schema"),
        ({"properties": {"a": {"$ref": "https://example.org/a"}}}, "leads to no schema"),
        ({"properties": {"a": {"$ref": 3}}}, "must be a string"),
        ({"properties": {"a": {"default": object()}}}, "cannot be sent"),
        ({"properties": {"b": {}}}, "does not take"),
        ({"properties": {"a": {}}, "required": []}, "does not take"),
    ],
)
def test_schemas_that_cannot_be_used_are_refused(schema: Any, words: str) -> None:
    with pytest.raises(ToolDefinitionError, match=words):
        Tool.from_schema("tool", "", schema, lambda a: a)


def test_a_callable_without_a_signature_is_taken_at_its_word() -> None:
    made = Tool.from_schema("take", "", {"properties": {"a": {}}}, dict.fromkeys.__call__)
    assert made.name == "take"
    assert Tool.from_schema("t", "", {"properties": {"a": {}}}, iter).decode('{"b": 1}') == {"b": 1}


# Several tools, and the choice among them.


def test_two_tools_of_one_name_are_refused() -> None:
    """T3."""
    assert list(check_tools([book, tool(book_later)])) == ["book", "book_later"]
    with pytest.raises(ToolDefinitionError, match="two tools are called book"):
        check_tools([tool(book), tool(book_later, name="book")])


def test_a_tool_choice_takes_the_form_of_the_wire() -> None:
    """T4: a named function is never a bare name."""
    assert [tool_choice(mode) for mode in ("auto", "none", "required")] == [
        "auto",
        "none",
        "required",
    ]
    named = events.ToolChoiceFunction(name="book")
    assert tool_choice("book") == tool_choice(tool(book)) == tool_choice(named) == named
    for wrong in ("any tool", 3):
        with pytest.raises(ConfigurationError, match="tool_choice"):
            tool_choice(wrong)  # type: ignore[arg-type]


# What goes back to the model.


class Colour(enum.Enum):
    RED = "red"


class Word(str):
    __slots__ = ()


class Shade(enum.StrEnum):
    DARK = "dark"


class Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "LOUD"


class Pair(msgspec.Struct):
    a: int
    b: Colour


class Model(pydantic.BaseModel):
    when: datetime.date


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        (Word("word"), "word"),
        ("", ""),
        (None, ""),
        (True, "true"),
        (3, "3"),
        (2.5, "2.5"),
        ([1, None, "ä"], '[1,null,"ä"]'),
        ({"a": (1, 2)}, '{"a":[1,2]}'),
        (Colour.RED, '"red"'),
        (Pair(1, Colour.RED), '{"a":1,"b":"red"}'),
        (Left(2), '{"a":2}'),
        (datetime.date(2026, 1, 2), '"2026-01-02"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (b"\0\1", '"AAE="'),
        ({"mean": np.float32(0.5), "max": np.float64(2)}, '{"mean":0.5,"max":2.0}'),
        ((np.arange(2), np.int16(3), np.bool_(True)), "[[0,1],3,true]"),
        ({"m": Model(when=datetime.date(2026, 1, 2))}, '{"m":{"when":"2026-01-02"}}'),
    ],
)
def test_results_become_text(value: Any, text: str) -> None:
    assert output_text(value) == text
    assert type(output_text(value)) is str


def test_strings_of_other_types_are_their_characters() -> None:
    assert output_text(Shade.DARK) == "dark"
    assert json.loads(output_text([Loud("quiet")])) == ["quiet"]


def test_a_megabyte_is_not_cut() -> None:
    """T6: outputs have no limit of their own."""
    assert len(output_text("x" * 1_000_000)) == 1_000_000


def test_results_without_a_json_form_say_so() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for value in (object(), {1, object()}, np.array([object()]), {("a",): 1j}, loop):
        with pytest.raises(LocalProtocolError, match="cannot be written as JSON"):
            output_text(value)


def test_errors_become_text_for_the_model() -> None:
    assert json.loads(error_text('no "room"')) == {"error": 'no "room"'}
