"""Strictness outward: what the service is known to refuse never leaves.

The rules are tables: for each struct, for each field, what its value must be. Open sets of values
(models, voices, conversations, languages) have no rule. `UnknownEvent` and unknown objects are not
checked: they are how to say what this version does not know.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias, cast, get_args

import msgspec
from msgspec import UNSET

from sansio_rt._errors import LocalProtocolError
from sansio_rt.events import _client, _items, _response, _session, _translation
from sansio_rt.events._codec import encode
from sansio_rt.events._common import ClientEventBase, UnknownObject, WireObject
from sansio_rt.events._convert import Mismatch, struct_converter
from sansio_rt.events._plain import is_plain, nesting, to_data

# Limits of the API reference; ids: rule 11 of the service's behaviour.
MAX_ID_CHARACTERS: int = 32
MAX_APPEND_BYTES: int = 15 * 1024 * 1024
_MAX_OUTPUT_TOKENS = 4096
_MAX_METADATA_PAIRS = 16
_MAX_METADATA_KEY = 64
_MAX_METADATA_VALUE = 512

# What is wrong with a value ("must be ..."), or None.
Rule: TypeAlias = Callable[[Any], str | None]


def _one_of(*known: str) -> Rule:
    names = ", ".join(known)

    def rule(value: Any) -> str | None:
        if not isinstance(value, str) or value in known:
            return None
        return f"must be one of {names}, not {value!r}"

    return rule


def _each_of(*known: str) -> Rule:
    one = _one_of(*known)

    def rule(values: Any) -> str | None:
        return next(filter(None, map(one, values)), None)

    return rule


def _between(low: float, high: float) -> Rule:
    def rule(value: Any) -> str | None:
        return None if low <= value <= high else f"must be {low} to {high}, not {value}"

    return rule


def _at_least(low: int, advice: str = "") -> Rule:
    def rule(value: Any) -> str | None:
        return None if value >= low else f"must be {low} or more, not {value}{advice}"

    return rule


def _own_id(value: Any) -> str | None:
    if 1 <= len(value) <= MAX_ID_CHARACTERS:
        return None
    return f"must have 1 to {MAX_ID_CHARACTERS} characters, not {len(value)}"


def _not_empty(value: Any) -> str | None:
    return None if value else "must not be empty"


def _token_limit(value: Any) -> str | None:
    if value == "inf" or (isinstance(value, int) and 1 <= value <= _MAX_OUTPUT_TOKENS):
        return None
    return f'must be 1 to {_MAX_OUTPUT_TOKENS} or "inf", not {value!r}'


def _metadata(pairs: Any) -> str | None:
    if len(pairs) > _MAX_METADATA_PAIRS:
        return f"must have at most {_MAX_METADATA_PAIRS} entries, not {len(pairs)}"
    for key, value in pairs.items():
        if len(key) > _MAX_METADATA_KEY:
            return f"must have keys of at most {_MAX_METADATA_KEY} characters, not {len(key)}"
        if not isinstance(value, str):
            return f"must have texts as values, {key!r} has not"
        if len(value) > _MAX_METADATA_VALUE:
            return f"must have values of at most {_MAX_METADATA_VALUE} characters ({key!r})"
    return None


_STATUS = _one_of("completed", "incomplete", "in_progress")
_MODALITIES = _each_of("text", "audio")
_TOOL_CHOICE = _one_of("auto", "none", "required")
_INCLUDE = _each_of("item.input_audio_transcription.logprobs")
_DETAIL = _one_of("auto", "low", "high")
_EFFORT = _one_of("minimal", "low", "medium", "high", "xhigh")
_ITEM: dict[str, Rule] = {"id": _own_id}
_ITEM_WITH_STATUS: dict[str, Rule] = {"id": _own_id, "status": _STATUS}
_NAMES_ITEM: dict[str, Rule] = {"item_id": _not_empty}

_RULES: dict[type[WireObject], dict[str, Rule]] = {
    _client.ConversationItemCreate: {"previous_item_id": _not_empty},
    _client.ConversationItemDelete: _NAMES_ITEM,
    _client.ConversationItemRetrieve: _NAMES_ITEM,
    _client.ConversationItemTruncate: {
        "item_id": _not_empty,
        "content_index": _at_least(0),
        "audio_end_ms": _at_least(1, " (to cut all of it, delete the item)"),
    },
    _client.ResponseCancel: {"response_id": _not_empty},
    _items.Message: _ITEM_WITH_STATUS | {"role": _one_of("system", "user", "assistant")},
    _items.FunctionCall: _ITEM_WITH_STATUS | {"name": _not_empty},
    _items.FunctionCallOutput: _ITEM_WITH_STATUS | {"call_id": _not_empty},
    _items.McpListTools: _ITEM,
    _items.McpCall: _ITEM,
    _items.McpApprovalRequest: _ITEM,
    _items.McpApprovalResponse: _ITEM,
    _items.ItemReference: {"id": _not_empty},
    _items.InputImage: {"detail": _DETAIL},
    _items.InputFile: {"detail": _DETAIL},
    _response.ResponseParams: {
        "max_output_tokens": _token_limit,
        "metadata": _metadata,
        "output_modalities": _MODALITIES,
        "tool_choice": _TOOL_CHOICE,
    },
    _session.RealtimeSession: {
        "include": _INCLUDE,
        "max_output_tokens": _token_limit,
        "output_modalities": _MODALITIES,
        "tool_choice": _TOOL_CHOICE,
        "tracing": _one_of("auto"),
        "truncation": _one_of("auto", "disabled"),
    },
    _session.TranscriptionSession: {"include": _INCLUDE},
    _session.AudioOutput: {"speed": _between(0.25, 1.5), "voice": _not_empty},
    _session.PcmFormat: {"rate": _between(24000, 24000)},
    _session.NoiseReduction: {"type": _one_of("near_field", "far_field")},
    _session.Transcription: {"delay": _EFFORT},
    _session.ServerVad: {
        "threshold": _between(0, 1),
        "prefix_padding_ms": _at_least(0),
        "silence_duration_ms": _at_least(0),
        "idle_timeout_ms": _at_least(1),
    },
    _session.SemanticVad: {"eagerness": _one_of("low", "medium", "high", "auto")},
    _session.FunctionTool: {"name": _not_empty},
    _session.McpTool: {
        "server_label": _not_empty,
        "allowed_callers": _each_of("direct", "programmatic"),
        "require_approval": _one_of("always", "never"),
    },
    _session.Reasoning: {"effort": _EFFORT},
    _session.RetentionRatio: {"retention_ratio": _between(0, 1)},
    _session.TokenLimits: {"post_instructions": _at_least(0)},
}

_Append: TypeAlias = _client.InputAudioBufferAppend | _translation.SessionInputAudioBufferAppend
_APPENDS = frozenset(get_args(_Append))

_PARTS_BY_ROLE: dict[str, tuple[type[WireObject], ...]] = {
    "system": (_items.InputText,),
    "user": (_items.InputText, _items.InputAudio, _items.InputImage),
    "assistant": (_items.OutputText, _items.OutputAudio),
}


def check(event: WireObject) -> None:
    """Refuses a client event that the service is known to refuse.

    Args:
        event: The event to be sent. The audio of an append is checked for its size only.

    Raises:
        LocalProtocolError: A field has a wrong type, a value outside its range or its known set;
            the message begins with the field's path (`session.audio.output.speed`).
    """
    if isinstance(event, UnknownObject):
        return
    if type(event) in _APPENDS:
        _check_append(cast(_Append, event))
        return
    exact = _as_read(event)
    if isinstance(exact, ClientEventBase) and exact.event_id:
        problem = _own_id(exact.event_id)
        if problem:
            raise LocalProtocolError(f"event_id {problem}")
    found = _problem(exact)
    if found:
        raise LocalProtocolError(found)


def _check_append(event: _Append) -> None:
    if event.event_id and len(event.event_id) > MAX_ID_CHARACTERS:
        raise LocalProtocolError(f"event_id {_own_id(event.event_id)}")
    if len(event.audio) > MAX_APPEND_BYTES:
        raise LocalProtocolError(
            f"audio has {len(event.audio)} bytes, one append takes {MAX_APPEND_BYTES}: "
            "send it in smaller pieces"
        )


def _as_read(event: WireObject) -> WireObject:
    """The event as its text would be read, which it is only where every type is right.

    To write and to read most events is the quickest way to know. What is unusual (`extra`, an unknown
    object) wants the slow way, which also says what is wrong.
    """
    try:
        return _reader(type(event))(encode(event))
    except msgspec.ValidationError:
        return _with_exact_types(event)


@functools.cache
def _reader(struct: type[WireObject]) -> Callable[[bytes], WireObject]:
    return msgspec.json.Decoder(struct).decode


def _with_exact_types(event: WireObject) -> WireObject:
    """The same by way of plain JSON.

    Raises:
        LocalProtocolError: A type is wrong; the message says where.
    """
    try:
        data = to_data(event)
        if is_plain(event):
            return msgspec.convert(data, type(event))
        return cast(WireObject, struct_converter(type(event))(data))
    except Mismatch as mismatch:
        path = mismatch.path().removeprefix("$.")
        raise LocalProtocolError(f"{path} has a wrong type: {mismatch.problem}") from None
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at ")
        place = path.strip("`").removeprefix("$.") or "the event"
        raise LocalProtocolError(f"{place} has a wrong type: {problem}") from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        name = type(event).__name__
        raise LocalProtocolError(f"{name} cannot be written as JSON: {error}") from error


def _problem(struct: WireObject) -> str | None:
    """Path and problem of the first field that breaks a rule, or None."""
    kind = type(struct)
    rules, nests = _looked_at(kind)
    for name, rule in rules:
        value = getattr(struct, name)
        if value is not UNSET and value is not None:
            problem = rule(value)
            if problem:
                return f"{name} {problem}"
    if type(struct) is _items.Message:
        problem = _message_problem(struct)
        if problem:
            return problem
    for name in nests:
        value = getattr(struct, name)
        if value:  # nothing is inside of what is left out, null or empty
            problem = _problem_inside(value)
            if problem:
                return f"{name}{problem}"
    return None


@functools.cache
def _looked_at(struct: type[WireObject]) -> tuple[tuple[tuple[str, Rule], ...], tuple[str, ...]]:
    """The fields that have a rule, with it, and those that may hold other structs."""
    rules = _RULES.get(struct, {})
    named = tuple((name, rules[name]) for name in struct.__struct_fields__ if name in rules)
    return named, nesting(struct)


def _problem_inside(value: Any) -> str | None:
    """What is wrong inside of a field, behind the rest of its path; unknown objects have no rules."""
    kind = value.__class__  # exact, as of all that was read
    if kind is list:
        for index, element in enumerate(value):
            problem = _problem_inside(element)
            if problem:
                return f"[{index}]{problem}"
    elif kind is dict:
        for key, element in value.items():
            problem = _problem_inside(element)
            if problem:
                return f".{key}{problem}"
    elif isinstance(value, WireObject):
        problem = _problem(value)
        if problem:
            return f".{problem}"
    return None


def _message_problem(message: _items.Message) -> str | None:
    """A part that this role cannot have, or audio that a client cannot put into history."""
    allowed = _PARTS_BY_ROLE.get(message.role, ())
    for index, part in enumerate(message.content):
        if type(part) not in allowed and not isinstance(part, UnknownObject):
            names = ", ".join(str(kind.__struct_config__.tag) for kind in allowed)
            return f"content[{index}].type must be one of {names} (role {message.role})"
        if type(part) is _items.OutputAudio and part.audio:
            return (
                f"content[{index}].audio cannot be put into history by a client: "
                "give its transcript"
            )
    return None
