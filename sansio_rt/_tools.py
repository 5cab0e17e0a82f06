"""Functions as tools: definition for the service, arguments from the model, output for the model.

A `Tool` is a frozen description of a function with its decoder, built once. It runs nothing: the
toolbox of `trio_rt` does, and asks here for the arguments and for the text of the output.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias, cast, overload

import msgspec
import numpy as np

from . import events
from ._arguments import ArgumentsDecoder, SchemaArguments, SignatureArguments
from ._errors import ConfigurationError, LocalProtocolError, ToolDefinitionError
from ._schema import (
    Schema,
    UnsupportedAnnotation,
    is_pydantic_model,
    tidy_schema,
)
from ._signature import Function, check_callable, is_async_function, read_signature

__all__ = ["OnInterrupt", "Tool", "check_tools", "error_text", "output_text", "tool", "tool_choice"]

OnInterrupt: TypeAlias = Literal["cancel", "finish"]
"""What becomes of a running call when its generation is cancelled or lost."""

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Tool:
    """A function that the model can call. Make one with `tool` or `Tool.from_schema`.

    Calling a tool calls its function.

    Attributes:
        name: The name that the model sees.
        description: What it does, for the model; may be empty.
        parameters: JSON Schema of its arguments, an object.
        function: What is called, with keyword arguments.
        is_async: Whether calling it gives a coroutine.
        in_thread: Whether it runs in a worker thread, so that it cannot block the event loop.
        timeout_s: Seconds that one call may take, or None for the toolbox's own limit.
        on_interrupt: What becomes of a running call when its generation is cancelled or lost.
        needs_approval: Whether somebody has to say yes before it runs.
    """

    name: str
    description: str
    parameters: Schema = dataclasses.field(repr=False)
    function: Function
    is_async: bool
    in_thread: bool
    timeout_s: float | None
    on_interrupt: OnInterrupt
    needs_approval: bool
    _decoder: ArgumentsDecoder = dataclasses.field(repr=False)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call the function as it is."""
        return self.function(*arguments, **keywords)

    @staticmethod
    def from_schema(
        name: str,
        description: str,
        parameters: Mapping[str, Any],
        function: Function,
        *,
        timeout_s: float | None = None,
        on_interrupt: OnInterrupt = "cancel",
        needs_approval: bool = False,
        in_thread: bool = True,
    ) -> Tool:
        """Make a tool from a JSON Schema and a callable.

        Args:
            name: The name that the model sees.
            description: What it does, for the model.
            parameters: JSON Schema of an object. Keys that the service refuses are left out, local
                references are inlined.
            function: Called with one keyword argument for each property that the model sends, as
                plain JSON values.
            timeout_s: Seconds that one call may take, or None for the toolbox's own limit.
            on_interrupt: "cancel" or "finish", for calls of a generation that is cancelled or lost.
            needs_approval: Whether somebody has to say yes before it runs.
            in_thread: False to run a sync function on the event loop; it must return at once.

        Raises:
            ToolDefinitionError: The name, the schema or the function cannot be used.
        """
        function = check_callable(function)
        schema = _object_schema(name, parameters)
        takes_any = _check_takes(name, function, schema)
        return _make(
            function,
            name=name,
            description=description,
            parameters=schema,
            decoder=SchemaArguments(schema, takes_any=takes_any),
            timeout_s=timeout_s,
            on_interrupt=on_interrupt,
            needs_approval=needs_approval,
            in_thread=in_thread,
        )

    def decode(self, arguments: str | bytes) -> dict[str, Any]:
        """Turn the arguments that the model sent into keyword arguments for the function.

        Args:
            arguments: The call's `arguments`, JSON text. Empty text counts as no arguments.

        Returns:
            Values of the annotated types by parameter name; what the model left out is not in it.

        Raises:
            ToolArgumentsError: They do not fit; the text is for the model. The function must not
                run.
        """
        return self._decoder.decode(arguments)

    def definition(self) -> events.FunctionTool:
        """Give the definition that goes into a session's or a response's `tools`."""
        description = self.description or msgspec.UNSET
        return events.FunctionTool(
            name=self.name, description=description, parameters=self.parameters
        )


@overload
def tool(
    function: Function,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_s: float | None = None,
    on_interrupt: OnInterrupt = "cancel",
    needs_approval: bool = False,
    in_thread: bool = True,
) -> Tool: ...


@overload
def tool(
    function: None = None,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_s: float | None = None,
    on_interrupt: OnInterrupt = "cancel",
    needs_approval: bool = False,
    in_thread: bool = True,
) -> Callable[[Function], Tool]: ...


def tool(
    function: Function | None = None,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_s: float | None = None,
    on_interrupt: OnInterrupt = "cancel",
    needs_approval: bool = False,
    in_thread: bool = True,
) -> Tool | Callable[[Function], Tool]:
    """Make a tool from a typed function, sync or async. Also a decorator, bare or with settings.

    The schema comes from the annotations, its texts from the docstring (Google, NumPy or reST) or
    from `Annotated[type, "text"]`. Bound methods, `functools.partial`, static methods and callable
    objects work.

    Args:
        function: The function. Left out, the result is a decorator.
        name: The name that the model sees, by default the function's.
        description: What it does, for the model, by default the docstring without its sections.
        timeout_s: Seconds that one call may take, or None for the toolbox's own limit.
        on_interrupt: "cancel" or "finish", for calls of a generation that is cancelled or lost.
        needs_approval: Whether somebody has to say yes before it runs.
        in_thread: False to run a sync function on the event loop; it must return at once.

    Raises:
        ToolDefinitionError: The function cannot become a tool; the message names the parameter and
            a remedy.
    """
    if function is None:
        return functools.partial(
            _from_function,
            name=name,
            description=description,
            timeout_s=timeout_s,
            on_interrupt=on_interrupt,
            needs_approval=needs_approval,
            in_thread=in_thread,
        )
    return _from_function(
        function,
        name=name,
        description=description,
        timeout_s=timeout_s,
        on_interrupt=on_interrupt,
        needs_approval=needs_approval,
        in_thread=in_thread,
    )


def _from_function(
    function: Function, *, name: str | None, description: str | None, **settings: Any
) -> Tool:
    if isinstance(function, Tool):
        raise ToolDefinitionError(f"{function.name} is a tool already; use it as it is")
    function = check_callable(function)
    found = read_signature(function)
    return _make(
        function,
        name=found.name if name is None else name,
        description=found.description if description is None else description,
        parameters=found.schema,
        decoder=SignatureArguments(found.annotations, found.required, found.schema),
        **settings,
    )


def _make(
    function: Function,
    *,
    name: str,
    description: str,
    parameters: Schema,
    decoder: ArgumentsDecoder,
    timeout_s: float | None,
    on_interrupt: OnInterrupt,
    needs_approval: bool,
    in_thread: bool,
) -> Tool:
    if not isinstance(name, str) or not _NAME.fullmatch(name):  # pyright: ignore[reportUnnecessaryIsInstance]  # input
        raise ToolDefinitionError(
            f"a tool cannot be called {name!r}: give a name of 1 to 64 letters, digits, _ and - "
            "with name=..."
        )
    if not isinstance(description, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # input
        raise ToolDefinitionError(f"tool {name}: description must be a text, not {description!r}")
    if on_interrupt not in ("cancel", "finish"):
        raise ToolDefinitionError(
            f'tool {name}: on_interrupt must be "cancel" or "finish", not {on_interrupt!r}'
        )
    if timeout_s is not None and not (0 < timeout_s < math.inf):
        raise ToolDefinitionError(
            f"tool {name}: timeout_s must be more than 0 seconds, not {timeout_s!r}; "
            "use None for the toolbox's limit"
        )
    is_async = is_async_function(function)
    return Tool(
        name=name,
        description=description,
        parameters=parameters,
        function=function,
        is_async=is_async,
        in_thread=in_thread and not is_async,
        timeout_s=timeout_s,
        on_interrupt=on_interrupt,
        needs_approval=needs_approval,
        _decoder=decoder,
    )


# What somebody wrote by hand.


def _object_schema(name: str, parameters: Any) -> Schema:
    if not isinstance(parameters, Mapping):
        raise ToolDefinitionError(f"tool {name}: parameters must be a JSON Schema, a dict")
    try:
        schema = tidy_schema(cast("Mapping[str, Any]", parameters))
        json_text = msgspec.json.encode(schema)
    except (UnsupportedAnnotation, TypeError, ValueError) as error:
        raise ToolDefinitionError(f"tool {name}: parameters cannot be sent: {error}") from error
    plain = msgspec.json.decode(json_text, type=dict[str, Any])
    plain.setdefault("type", "object")
    if plain["type"] != "object" or type(plain.setdefault("properties", {})) is not dict:
        raise ToolDefinitionError(
            f"tool {name}: parameters must be the schema of an object, "
            'with "type": "object" and "properties"'
        )
    return plain


def _check_takes(name: str, function: Function, schema: Schema) -> bool:
    """Check that a function takes every property; say whether it takes any other name too."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(**dict.fromkeys(schema["properties"]))
        signature.bind(**dict.fromkeys(schema.get("required", ())))
    except TypeError as error:
        raise ToolDefinitionError(
            f"tool {name}: the function does not take what parameters say ({error}); "
            "give the function a parameter for each property, "
            "with a default where the property is not required"
        ) from None
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    return inspect.Parameter.VAR_KEYWORD in kinds


# Several tools, choice, output.


def check_tools(tools: Iterable[Tool | Function]) -> dict[str, Tool]:
    """Give tools by name; plain functions become tools.

    Raises:
        ToolDefinitionError: Two of them have one name, or a function cannot become a tool.
    """
    by_name: dict[str, Tool] = {}
    for entry in tools:
        made = entry if isinstance(entry, Tool) else tool(entry)
        if made.name in by_name:
            raise ToolDefinitionError(
                f"two tools are called {made.name}; give one of them another name with name=..."
            )
        by_name[made.name] = made
    return by_name


def tool_choice(
    choice: str | Tool | events.ToolChoiceFunction | events.ToolChoiceMcp,
) -> str | events.ToolChoiceFunction | events.ToolChoiceMcp:
    """Give a tool choice in the form of the events.

    Args:
        choice: "auto", "none", "required", a tool, the name of a function, or an event struct as it
            is.

    Raises:
        ConfigurationError: A text that is neither a mode nor a possible name.
    """
    if isinstance(choice, str) and choice in ("auto", "none", "required"):
        return choice
    if isinstance(choice, events.ToolChoiceFunction | events.ToolChoiceMcp):
        return choice
    name = choice.name if isinstance(choice, Tool) else choice
    if not isinstance(name, str) or not _NAME.fullmatch(name):  # pyright: ignore[reportUnnecessaryIsInstance]  # input
        raise ConfigurationError(
            f'tool_choice must be "auto", "none", "required", a tool or its name, not {choice!r}'
        )
    return events.ToolChoiceFunction(name=name)


def output_text(value: Any) -> str:
    """Give a tool's result as the text that goes back to the model, of any length.

    Args:
        value: A string goes as it is, None as an empty text, everything else as JSON: dataclasses,
            Structs, pydantic models, enums, dates, sets, bytes (base64).

    Raises:
        LocalProtocolError: The value has no JSON form.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if value is None:
        return ""
    try:
        return msgspec.json.encode(value, enc_hook=_encode_custom).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise LocalProtocolError(
            f"a tool returned {type(value).__name__}, which cannot be written as JSON ({error}); "
            "return a string, numbers, lists, dicts, a dataclass or a model"
        ) from error


def _encode_custom(value: Any) -> Any:
    if is_pydantic_model(type(value)):
        return value.model_dump(mode="json")
    if isinstance(value, np.generic | np.ndarray):
        plain: Any = cast("Any", value).tolist()
        return plain
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"type {type(value).__name__} is not supported")


def error_text(message: str) -> str:
    """Give the output of a call that failed: `{"error": message}`, without a traceback."""
    return msgspec.json.encode({"error": message}).decode()
