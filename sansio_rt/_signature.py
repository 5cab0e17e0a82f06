"""What a function says about itself: its name, its texts, and the schema of its parameters.

Everything that can be called by name works: functions, bound methods, static methods, callable
objects and `functools.partial`. What cannot be expressed is refused here, when the tool is defined.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

from ._docstrings import Docstring, parse_docstring
from ._errors import ToolDefinitionError
from ._schema import Schema, SchemaBuilder, UnsupportedAnnotation, described, json_default

__all__ = ["Function", "Signature", "check_callable", "is_async_function", "read_signature"]

Function: TypeAlias = Callable[..., Any]

_REFUSED_KINDS: dict[Any, str] = {
    inspect.Parameter.POSITIONAL_ONLY: (
        "is positional-only, but arguments come by name; remove the `/` from the signature"
    ),
    inspect.Parameter.VAR_POSITIONAL: (
        "takes any number of values, but arguments come by name; use a list parameter"
    ),
    inspect.Parameter.VAR_KEYWORD: (
        "takes any names, which no schema can list; name the parameters or use a dict parameter, "
        "or write the schema with Tool.from_schema"
    ),
}


class Signature(NamedTuple):
    """What a function says about itself.

    Attributes:
        name: The function's own name.
        description: Its docstring without the sections.
        schema: JSON Schema of its parameters.
        annotations: The type of each parameter, forward references resolved.
        required: Names of the parameters without a default.
    """

    name: str
    description: str
    schema: Schema
    annotations: dict[str, Any]
    required: frozenset[str]


def read_signature(function: Function) -> Signature:
    """Read a function's signature and docstring.

    Args:
        function: What `check_callable` gave.

    Raises:
        ToolDefinitionError: A parameter that JSON arguments cannot fill; the message names it and a
            remedy.
    """
    name = _own_name(function)
    documentation = parse_docstring(_own_docstring(function))
    builder = SchemaBuilder()
    properties: Schema = {}
    annotations: dict[str, Any] = {}
    required: list[str] = []
    for parameter in _parameters(function, name):
        annotation = _annotation(function, name, parameter)
        annotations[parameter.name] = annotation
        if parameter.default is inspect.Parameter.empty:
            required.append(parameter.name)
        try:
            properties[parameter.name] = _property(builder, annotation, parameter, documentation)
        except UnsupportedAnnotation as error:
            raise _refusal(
                name, parameter.name, f"cannot be a tool's parameter: {error}"
            ) from error
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    if builder.definitions:
        schema["$defs"] = builder.definitions
    return Signature(name, documentation.description, schema, annotations, frozenset(required))


def check_callable(function: Any) -> Function:
    """Give the callable that a tool will run.

    Raises:
        ToolDefinitionError: It cannot be called by name, or it is no plain or async function.
    """
    if isinstance(function, staticmethod):
        inner_function: Function = function.__func__
        return inner_function
    if isinstance(function, classmethod):
        raise ToolDefinitionError(
            f"{function.__name__} is a class method that is not bound; "
            "make the tool from Class.method outside of the class"
        )
    if not callable(function) or isinstance(function, type):
        raise ToolDefinitionError(
            f"{function!r} cannot become a tool: "
            "give a function, a bound method or a callable object"
        )
    inner = _code_of(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise ToolDefinitionError(
            f"{_own_name(function)} is a generator, but a call has one result; return a list"
        )
    usable: Function = function
    return usable


def _code_of(function: Any) -> Any:
    """Give what holds the code: the function inside a partial or behind a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function):
        return function
    return type(function).__call__


def _own_name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name: str = getattr(function, "__name__", type(function).__name__)
    return name


def _own_docstring(function: Any) -> str | None:
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function):
        return function.__doc__
    return type(function).__call__.__doc__ or type(function).__doc__


def is_async_function(function: Function) -> bool:
    """Say whether calling it gives a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(_code_of(function))


def _parameters(function: Function, name: str) -> list[inspect.Parameter]:
    """Give the parameters that the model fills; what a partial has bound is not among them."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise ToolDefinitionError(
            f"{name} has no signature that Python can read; write its schema with Tool.from_schema"
        ) from None
    bound: Mapping[str, Any] = function.keywords if isinstance(function, functools.partial) else {}
    parameters = [p for p in signature.parameters.values() if p.name not in bound]
    for parameter in parameters:
        problem = _REFUSED_KINDS.get(parameter.kind)
        if problem is not None:
            raise _refusal(name, parameter.name, problem)
        if parameter.annotation is inspect.Parameter.empty:
            remedy = (
                "is the instance; make the tool from the bound method"
                if parameter.name == "self"
                else "has no type; annotate it"
            )
            raise _refusal(name, parameter.name, remedy)
    return parameters


def _annotation(function: Function, name: str, parameter: inspect.Parameter) -> Any:
    """Give a parameter's type with forward references resolved and texts as descriptions."""
    holder = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    namespace = getattr(inspect.unwrap(_code_of(function)), "__globals__", {})
    try:
        resolved = typing.get_type_hints(holder, globalns=namespace, include_extras=True)
        annotation: Any = described(resolved[parameter.name])
    except (NameError, TypeError, SyntaxError, AttributeError) as error:
        raise _refusal(
            name,
            parameter.name,
            f"has the type {parameter.annotation!r}, which cannot be resolved ({error}); "
            "define it at the top of the module",
        ) from error
    nullable = type(None) in typing.get_args(annotation) or annotation in (Any, type(None))
    # `count: int = None` is meant as `int | None`.
    return annotation | None if parameter.default is None and not nullable else annotation


def _property(
    builder: SchemaBuilder,
    annotation: Any,
    parameter: inspect.Parameter,
    documentation: Docstring,
) -> Schema:
    schema = builder.add_annotation(annotation)
    text = documentation.parameters.get(parameter.name)
    is_annotated = typing.get_origin(annotation) is typing.Annotated
    if text and not (is_annotated and "description" in schema):
        schema = schema | {"description": text}
    if parameter.default is not inspect.Parameter.empty:
        default = json_default(parameter.default)
        if default is not None:
            schema = schema | {"default": default[0]}
    return schema


def _refusal(function_name: str, parameter_name: str, problem: str) -> ToolDefinitionError:
    return ToolDefinitionError(f"{function_name}: parameter {parameter_name!r} {problem}")
