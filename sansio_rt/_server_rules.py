"""What single fields of a client's objects must be: tables, and the functions that apply them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, cast

from msgspec import UNSET, UnsetType

from . import events
from ._server_work import Refusal
from .events._plain import nesting

__all__ = [
    "METADATA_RULES",
    "RESPONSE_RULES",
    "SESSION_RULES",
    "Rule",
    "Rules",
    "check_fields",
    "check_known",
    "check_object",
    "check_rules",
    "entries_of",
    "setting",
]

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")


def setting(session: Any, path: str) -> Any:
    """The value at a dotted path, `UNSET` where something on the way is missing."""
    try:
        return _getter(path)(session)
    except AttributeError:
        return UNSET


_getter = functools.cache(attrgetter)


@dataclass(frozen=True)
class Rule:
    """What one field must be.

    Attributes:
        path: Dotted path inside the object.
        holds: Whether a value (neither missing nor null) is acceptable.
        wants: What would be, for the error's sentence.
        code: The error's code.
    """

    path: str
    holds: Callable[[Any], bool]
    wants: str
    code: str = "invalid_value"


class Rules:
    """Rules for the fields of one kind of object, in the order in which they are looked at.

    Attributes:
        of_field: The object's own fields, the rules for each, and those for what is inside of it.

    Args:
        *rules: The rules; those for one field stand together.
        depth: How many names of their paths lead to the object.
    """

    def __init__(self, *rules: Rule, depth: int = 0) -> None:
        self.of_field: list[tuple[str, list[Rule], Rules | None]] = []
        for name, group in groupby(rules, lambda rule: rule.path.split(".")[depth]):
            both = list(group)
            own = [rule for rule in both if rule.path.count(".") == depth]
            inside = [rule for rule in both if rule.path.count(".") > depth]
            deeper = Rules(*inside, depth=depth + 1) if inside else None
            self.of_field.append((name, own, deeper))


def _between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int | float) and low <= value <= high


def _one_of(*names: str) -> Callable[[Any], bool]:
    return lambda value: value in names


def _is_structured_or(*names: str) -> Callable[[Any], bool]:
    return lambda value: not isinstance(value, str) or value in names


def _is_token_limit(value: Any) -> bool:
    return value == "inf" or (isinstance(value, int) and 1 <= value <= 4096)


def _is_modalities(value: Any) -> bool:
    return list(value) in (["audio"], ["text"])


def _is_metadata(value: Any) -> bool:
    for key, word in value.items():
        if len(key) > 64 or not isinstance(word, str) or len(word) > 512:
            return False
    return len(value) <= 16


def _are_tools(value: Any) -> bool:
    names = [tool.name for tool in value if isinstance(tool, events.FunctionTool)]
    well_named = all(isinstance(name, str) and _TOOL_NAME.match(name) for name in names)
    return well_named and len(names) == len(set(names))


def _is_format(value: Any) -> bool:
    return not isinstance(value, events.PcmFormat) or value.rate in (24_000, None, UNSET)


_CONNECTORS = frozenset(
    f"connector_{name}"
    for name in (
        "dropbox",
        "gmail",
        "googlecalendar",
        "googledrive",
        "microsoftteams",
        "outlookcalendar",
        "outlookemail",
        "sharepoint",
    )
)


def _is_mcp_tool(tool: events.McpTool) -> bool:
    callers, connector, approval = tool.allowed_callers, tool.connector_id, tool.require_approval
    return (
        all(name in ("direct", "programmatic") for name in entries_of(callers))
        and (not isinstance(connector, str) or connector in _CONNECTORS)
        and (not isinstance(approval, str) or approval in ("always", "never"))
    )


def _are_mcp_tools(value: Any) -> bool:
    return all(_is_mcp_tool(tool) for tool in value if isinstance(tool, events.McpTool))


_MODALITIES = Rule(
    "output_modalities",
    _is_modalities,
    "Supported combinations are: ['text'] and ['audio'].",
)
_TOKENS = Rule("max_output_tokens", _is_token_limit, "Use 1 to 4096, or 'inf'.")
_TOOLS = Rule(
    "tools",
    _are_tools,
    "Every function needs a name of its own that matches '^[a-zA-Z0-9_-]{1,64}$'.",
)
_MCP_TOOLS = Rule(
    "tools",
    _are_mcp_tools,
    "An MCP tool names callers, a connector or an approval that do not exist.",
)
_REASONING = Rule(
    "reasoning.effort",
    _one_of("minimal", "low", "medium", "high", "xhigh"),
    "Supported values are: 'minimal', 'low', 'medium', 'high', and 'xhigh'.",
)
_OUTPUT_FORMAT = Rule("audio.output.format", _is_format, "PCM audio has a rate of 24000.")
_METADATA = Rule(
    "metadata",
    _is_metadata,
    "Metadata has at most 16 keys of at most 64 characters, and texts of at most 512.",
)
SESSION_RULES = Rules(
    _MODALITIES,
    _TOKENS,
    _TOOLS,
    _MCP_TOOLS,
    _REASONING,
    _OUTPUT_FORMAT,
    Rule("audio.input.format", _is_format, "PCM audio has a rate of 24000."),
    Rule("audio.output.speed", _between(0.25, 1.5), "Use a number from 0.25 to 1.5."),
    Rule("audio.input.turn_detection.threshold", _between(0.0, 1.0), "Use 0.0 to 1.0."),
    Rule("audio.input.turn_detection.prefix_padding_ms", _between(0, 60_000), "Use 0 to 60000."),
    Rule("audio.input.turn_detection.silence_duration_ms", _between(0, 60_000), "Use 0 to 60000."),
    Rule(
        "audio.input.turn_detection.idle_timeout_ms", _between(5_000, 30_000), "Use 5000 to 30000."
    ),
    Rule(
        "audio.input.turn_detection.eagerness",
        _one_of("low", "medium", "high", "auto"),
        "Supported values are: 'low', 'medium', 'high', and 'auto'.",
    ),
    Rule(
        "audio.input.noise_reduction.type",
        _one_of("near_field", "far_field"),
        "Supported values are: 'near_field' and 'far_field'.",
    ),
    Rule("audio.input.transcription.model", bool, "Name a transcription model."),
    Rule(
        "audio.input.transcription.delay",
        _one_of("minimal", "low", "medium", "high", "xhigh"),
        "Supported values are: 'minimal', 'low', 'medium', 'high', and 'xhigh'.",
    ),
    Rule(
        "include",
        lambda value: all(name == "item.input_audio_transcription.logprobs" for name in value),
        "Supported values are: 'item.input_audio_transcription.logprobs'.",
    ),
    Rule("tracing", _is_structured_or("auto"), "Use 'auto' or a tracing configuration."),
    Rule(
        "truncation",
        _is_structured_or("auto", "disabled"),
        "Use 'auto', 'disabled', or a retention ratio.",
    ),
)
"""What the fields of a `session.update` must be."""
RESPONSE_RULES = Rules(
    _MODALITIES,
    _TOKENS,
    _TOOLS,
    _MCP_TOOLS,
    _REASONING,
    _OUTPUT_FORMAT,
    Rule("conversation", _one_of("auto", "none"), "Supported values are: 'auto' and 'none'."),
    _METADATA,
)
"""What the parameters of a `response.create` must be."""
METADATA_RULES = Rules(_METADATA)
"""What the metadata among them must be."""


_LEAVES = frozenset((str, int, float, bool, type(None), UnsetType))
"""The types of values with nothing inside: nearly all values are."""


def check_known(given: Any, path: str) -> None:
    """Refuse the first field or kind of object that this server does not know.

    Args:
        given: A Struct of the client, or a list or mapping of such.
        path: Its JSON path in the event.

    Raises:
        Refusal: Something is unknown.
    """
    if isinstance(given, list):
        for index, entry in enumerate(cast("list[object]", given)):
            if isinstance(entry, events.WireObject):
                check_object(entry, f"{path}[{index}]")
    elif isinstance(given, dict):
        for name, entry in cast("dict[str, object]", given).items():
            if isinstance(entry, events.WireObject):
                check_object(entry, f"{path}.{name}")
    elif isinstance(given, events.WireObject):
        check_object(given, path)


def check_object(given: events.WireObject, path: str) -> None:
    """Do `check_known` for one object.

    Args:
        given: The object.
        path: Its JSON path in the event.

    Raises:
        Refusal: It is unknown, or something in it is.
    """
    if isinstance(given, events.UnknownObject):
        raise Refusal(f"Invalid value: '{given.type}'.", code="invalid_value", param=f"{path}.type")
    for name in () if given.extra is events.NO_EXTRA else given.extra:
        raise Refusal(
            f"Unknown parameter: '{path}.{name}'.", code="unknown_parameter", param=f"{path}.{name}"
        )
    check_fields(given, path)


def check_fields(given: events.WireObject, path: str, *, but: str = "") -> None:
    """Do `check_known` for each value in an object.

    Args:
        given: The object.
        path: Its JSON path in the event.
        but: The field that is left out.

    Raises:
        Refusal: Something is unknown.
    """
    for name in nesting(type(given)):
        value = getattr(given, name)
        if type(value) not in _LEAVES and name != but:
            check_known(value, f"{path}.{name}")


def check_rules(given: Any, rules: Rules, path: str) -> None:
    """Refuse the first field that breaks its rule.

    Args:
        given: A Struct of the client.
        rules: What its fields must be.
        path: JSON path of the Struct that the paths of the rules begin at.

    Raises:
        Refusal: A field is not acceptable.
    """
    for name, own, inside in rules.of_field:
        value = getattr(given, name, UNSET)
        if value is UNSET or value is None:
            continue
        for rule in own:
            if not rule.holds(value):
                raise Refusal(
                    f"Invalid value: {_shown(value)}. {rule.wants}",
                    code=rule.code,
                    param=f"{path}.{rule.path}",
                )
        if inside is not None:
            check_rules(value, inside, path)


def _shown(value: Any) -> str:
    simple = isinstance(value, str | int | float) or all(
        isinstance(entry, str) for entry in entries_of(value) or [value]
    )
    return repr(value)[:200] if simple else "the value"


def entries_of(value: Any) -> list[object]:
    """The entries of a value that is a list, else none."""
    return cast("list[object]", value) if isinstance(value, list) else []
