"""The beta's spelling of events, and the GA's: plain JSON objects in, plain JSON objects out.

Above this edge everything speaks GA. Two tables hold the differences, the names of events and the
places of settings; the functions walk them in both directions. An argument is never changed;
parts that need no translation are shared with the result.

Outward (`client_to_beta`) what the beta cannot say is refused with its path. Null for such a
setting is left out: what does not exist is off. Inward nothing is refused: a shape that is not
understood stays as it is, and the codec says what is wrong with it.

Source: `openai.types.beta.realtime`; for Azure the reference of its dated API versions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, TypeGuard, cast

from ._errors import UnsupportedByDialect

__all__ = [
    "BETA_TO_GA_TYPES",
    "GA_ONLY_SERVER_TYPES",
    "Refusal",
    "client_from_beta",
    "client_to_beta",
    "server_from_beta",
    "server_to_beta",
]

Json: TypeAlias = dict[str, Any]
Path: TypeAlias = tuple[str, ...]

# Server events that differ by name; those with an item, a response or a session in them differ by
# shape too. The GA's own `conversation.item.created` is left alone.
BETA_TO_GA_TYPES: Final[Mapping[str, str]] = {
    "response.text.delta": "response.output_text.delta",
    "response.text.done": "response.output_text.done",
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
    "conversation.item.created": "conversation.item.added",
}
# The server's events with an item or a response in them, in either dialect. What is in an event that
# nobody knows stays as it came.
_WITH_ITEM: Final = frozenset(
    {f"conversation.item.{what}" for what in ("created", "added", "done", "retrieved")}
    | {f"response.output_item.{what}" for what in ("added", "done")}
)
_WITH_RESPONSE: Final = frozenset({"response.created", "response.done"})
_GA_TO_BETA_TYPES: Final = {ga: beta for beta, ga in BETA_TO_GA_TYPES.items()}
# Server events that a beta server has no words for.
GA_ONLY_SERVER_TYPES: Final = frozenset(
    {
        "conversation.item.done",
        "conversation.item.input_audio_transcription.segment",
        "input_audio_buffer.dtmf_event_received",
        "input_audio_buffer.timeout_triggered",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "mcp_list_tools.failed",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
    }
)

_FORMATS: Final[Mapping[str, Json]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_FORMAT_NAMES: Final = {value["type"]: name for name, value in _FORMATS.items()}
_ASSISTANT_PARTS: Final = {"text": "output_text", "audio": "output_audio"}


class Refusal:
    """How a setting that the beta cannot say is refused."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect

    def __call__(self, path: str, why: str = "") -> UnsupportedByDialect:
        """Make the error for the setting at a path."""
        return UnsupportedByDialect(
            f"{path}: the {self._dialect} dialect has no way to say it{why}; leave it out, or use "
            "a server that speaks the GA dialect"
        )


class _Outward(NamedTuple):
    """What writing needs to know besides the value."""

    refused: Refusal
    azure: bool


# --- values: outward they may refuse, inward they never do --------------------------------------


def _format_to_beta(value: Any, path: str, out: _Outward) -> Any:
    if isinstance(value, str) and value not in _FORMATS:
        raise out.refused(path, f" ({value!r})")  # nobody there knows it
    if not _is_object(value):
        return value
    name = _FORMAT_NAMES.get(str(value.get("type")))
    if name is None:
        raise out.refused(path, f" ({value.get('type')})")
    if value.get("rate", 24000) != 24000:
        raise out.refused(f"{path}.rate", " (its rate is 24000)")
    return name


def _format_from_beta(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    known = _FORMATS.get(value)
    return {"type": value} if known is None else dict(known)


def _modalities_to_beta(value: Any, _path: str, _out: _Outward) -> Any:
    """Speech with its transcript: the GA says `["audio"]` for it, the beta takes no audio alone."""
    return ["text", "audio"] if _is_list(value) and "audio" in value else value


def _modalities_from_beta(value: Any) -> Any:
    return ["audio"] if _is_list(value) and "audio" in value else value


def _transcription_to_beta(value: Any, path: str, out: _Outward) -> Any:
    if not _is_object(value):
        return value
    beta = _without(value, ("keywords", "languages", "delay"), path, out)
    return {"model": "whisper-1", **beta} if out.azure else beta


def _noise_reduction_to_beta(value: Any, path: str, out: _Outward) -> Any:
    return _without(value, ("strength",), path, out) if _is_object(value) else value


def _turn_detection_to_beta(value: Any, path: str, out: _Outward) -> Any:
    return _without(value, ("idle_timeout_ms",), path, out) if _is_object(value) else value


def _voice_to_beta(value: Any, path: str, out: _Outward) -> Any:
    if _is_object(value):
        raise out.refused(path, " (a voice by its id)")
    return value


def _tools_to_beta(value: Any, path: str, out: _Outward) -> Any:
    for index, tool in enumerate(value if _is_list(value) else ()):
        if _is_object(tool) and tool.get("type") not in ("function", None):
            raise out.refused(f"{path}[{index}]", f" ({tool.get('type')} tools)")
    return value


def _tool_choice_to_beta(value: Any, path: str, out: _Outward) -> Any:
    if not _is_object(value):
        return value
    if value.get("type") != "function":
        raise out.refused(path, f" ({value.get('type')} tools)")
    if out.azure:
        return {"type": "function", "function": {"name": value.get("name")}}
    return value


def _tool_choice_from_beta(value: Any) -> Any:
    function = value.get("function") if _is_object(value) else None
    return {"type": "function", "name": function.get("name")} if _is_object(function) else value


def _same(value: Any) -> Any:
    return value


def _same_to_beta(value: Any, _path: str, _out: _Outward) -> Any:
    return value


def _without(value: Json, unsaid: tuple[str, ...], path: str, out: _Outward) -> Json:
    for name in unsaid:
        if value.get(name) is not None:
            raise out.refused(f"{path}.{name}")
    return {name: field for name, field in value.items() if name not in unsaid}


# --- places of settings -------------------------------------------------------------------------


class _Setting(NamedTuple):
    """One setting: the beta's flat name, the GA's place, and how the value changes."""

    beta: str
    ga: Path
    to_beta: Callable[[Any, str, _Outward], Any] = _same_to_beta
    from_beta: Callable[[Any], Any] = _same


_INPUT: Final = (
    _Setting(
        "input_audio_format", ("audio", "input", "format"), _format_to_beta, _format_from_beta
    ),
    _Setting(
        "input_audio_transcription", ("audio", "input", "transcription"), _transcription_to_beta
    ),
    _Setting(
        "input_audio_noise_reduction",
        ("audio", "input", "noise_reduction"),
        _noise_reduction_to_beta,
    ),
    _Setting("turn_detection", ("audio", "input", "turn_detection"), _turn_detection_to_beta),
)
_SPEECH: Final = (
    _Setting(
        "output_audio_format", ("audio", "output", "format"), _format_to_beta, _format_from_beta
    ),
    _Setting("voice", ("audio", "output", "voice"), _voice_to_beta),
    _Setting("modalities", ("output_modalities",), _modalities_to_beta, _modalities_from_beta),
)
_TOOLS: Final = (
    _Setting("tools", ("tools",), _tools_to_beta),
    _Setting("tool_choice", ("tool_choice",), _tool_choice_to_beta, _tool_choice_from_beta),
)
_TOKENS: Final = (_Setting("max_response_output_tokens", ("max_output_tokens",)),)


class _Shape(NamedTuple):
    """An object of settings: where each is in the beta and in the GA, and what the beta has not."""

    beta: Mapping[str, _Setting]
    ga: Mapping[Path, _Setting]
    ga_only: frozenset[str] = frozenset()


def _shape(*settings: _Setting, ga_only: frozenset[str] = frozenset()) -> _Shape:
    return _Shape(
        {setting.beta: setting for setting in settings},
        {setting.ga: setting for setting in settings},
        ga_only,
    )


_SESSION: Final = _shape(
    *_INPUT,
    *_SPEECH,
    *_TOOLS,
    *_TOKENS,
    _Setting("speed", ("audio", "output", "speed")),
    ga_only=frozenset({"truncation", "reasoning", "include", "prompt", "parallel_tool_calls"}),
)
_TRANSCRIPTION_SESSION: Final = _shape(*_INPUT)
_RESPONSE_PARAMS: Final = _shape(
    *_SPEECH,
    *_TOOLS,
    *_TOKENS,
    ga_only=frozenset({"reasoning", "prompt", "parallel_tool_calls"}),
)
_RESPONSE: Final = _shape(*_SPEECH)


def _flatten(ga: Json, shape: _Shape, path: str, out: _Outward) -> Json:
    """Write settings the beta's way."""
    beta: Json = {}
    for place, value in _places(ga):
        setting = shape.ga.get(place)
        where = ".".join((path, *place))
        if setting is not None:
            beta[setting.beta] = setting.to_beta(value, where, out)
        elif len(place) == 1 and place[0] not in ("audio", *shape.ga_only):
            beta[place[0]] = value
        elif value is not None:
            raise out.refused(where)
    if out.azure and beta.get("max_response_output_tokens") == "inf":
        del beta["max_response_output_tokens"]  # S2: Azure takes numbers only
    return beta


def _places(ga: Json) -> list[tuple[Path, Any]]:
    """The settings of a GA object with their places, `audio` opened up."""
    places: list[tuple[Path, Any]] = []
    for name, value in ga.items():
        if name == "audio" and _is_object(value):
            for side, settings in value.items():
                if _is_object(settings):
                    places += ((("audio", side, key), field) for key, field in settings.items())
                else:
                    places.append((("audio", side), settings))
        elif name != "audio" or value is not None:
            places.append(((name,), value))
    return places


def _nest(beta: Json, shape: _Shape) -> Json:
    """Read settings that are written the beta's way."""
    ga: Json = {}
    for name, value in beta.items():
        setting = shape.beta.get(name)
        place = (name,) if setting is None else setting.ga
        target = ga
        for step in place[:-1]:
            # A server may say anything under a name that is GA's: what is there stays the message's own.
            inner = target.get(step)
            target[step] = {**inner} if _is_object(inner) else {}
            target = target[step]
        target[place[-1]] = value if setting is None else setting.from_beta(value)
    return ga


# --- items --------------------------------------------------------------------------------------


def _item_to_beta(item: Any, path: str, out: _Outward) -> Any:
    """An item as a client may create it (C6)."""
    if not _is_object(item):
        return item
    kind = item.get("type")
    if isinstance(kind, str) and kind.startswith("mcp_"):
        raise out.refused(f"{path}.type", f" ({kind} items)")
    if kind != "message":
        return item
    role = item.get("role")
    if role == "developer":
        return {**item, "role": "system"}
    return _with_parts(item, _spoken_as_text) if role == "assistant" else item


def _spoken_as_text(part: Json) -> Json:
    """A client cannot put assistant audio into the history; its transcript it can."""
    match part.get("type"):
        case "output_text":
            return {**part, "type": "text"}
        case "output_audio" | "audio":
            return {"type": "text", "text": part.get("transcript") or ""}
        case _:
            return part


def _renamed(names: Mapping[str, str]) -> Callable[[Json], Json]:
    def rename(part: Json) -> Json:
        name = names.get(str(part.get("type")))
        return part if name is None else {**part, "type": name}

    return rename


_part_from_beta: Final = _renamed(_ASSISTANT_PARTS)
_part_to_beta: Final = _renamed({ga: beta for beta, ga in _ASSISTANT_PARTS.items()})


def _item_from_beta(item: Any) -> Any:
    return _with_parts(item, _part_from_beta) if _is_assistants(item) else item


def _server_item_to_beta(item: Any) -> Any:
    return _with_parts(item, _part_to_beta) if _is_assistants(item) else item


def _is_assistants(item: Any) -> TypeGuard[Json]:
    return _is_object(item) and item.get("type") == "message" and item.get("role") == "assistant"


def _with_parts(item: Json, change: Callable[[Json], Json]) -> Json:
    content = item.get("content")
    if not _is_list(content):
        return item
    return {**item, "content": [change(part) if _is_object(part) else part for part in content]}


# --- events -------------------------------------------------------------------------------------


def client_to_beta(event: Json, refused: Refusal, *, azure: bool) -> Json:
    """Write a client event the beta's way.

    Args:
        event: The event in GA shape, as plain JSON.
        refused: Makes the error for what cannot be said.
        azure: For Azure: no `"inf"`, transcription by `whisper-1`, its own form of a tool choice.

    Raises:
        UnsupportedByDialect: The event asks for what the beta cannot say; the path is named.
    """
    out = _Outward(refused, azure)
    kind = event.get("type")
    if kind == "session.update" and _is_object(session := event.get("session")):
        settings = {name: value for name, value in session.items() if name != "type"}
        if session.get("type") == "transcription":
            beta = _flatten(settings, _TRANSCRIPTION_SESSION, "session", out)
            return {**event, "type": "transcription_session.update", "session": beta}
        return {**event, "session": _flatten(settings, _SESSION, "session", out)}
    if kind == "response.create" and _is_object(response := event.get("response")):
        beta = _flatten(response, _RESPONSE_PARAMS, "response", out)
        if _is_list(items := beta.get("input")):
            beta["input"] = [
                _item_to_beta(item, f"response.input[{index}]", out)
                for index, item in enumerate(items)
            ]
        return {**event, "response": beta}
    if kind == "conversation.item.create":
        return _with(event, "item", lambda item: _item_to_beta(item, "item", out))
    return event


def client_from_beta(event: Json) -> Json:
    """Read a client event that is written the beta's way (for a server of it)."""
    kind = event.get("type")
    session = event.get("session")
    if kind == "session.update" and _is_object(session):
        return {**event, "session": {"type": "realtime", **_nest(session, _SESSION)}}
    if kind == "transcription_session.update" and _is_object(session):
        nested = {"type": "transcription", **_nest(session, _TRANSCRIPTION_SESSION)}
        return {**event, "type": "session.update", "session": nested}
    if kind == "response.create" and _is_object(response := event.get("response")):
        params = _nest(response, _RESPONSE_PARAMS)
        return {**event, "response": _with_items(params, "input", _item_from_beta)}
    if kind == "conversation.item.create":
        return _with(event, "item", _item_from_beta)
    return event


def server_from_beta(event: Json) -> Json:
    """Read a server event that is written the beta's way."""
    kind = event.get("type")
    if kind in ("session.created", "session.updated"):
        return _with(event, "session", _session_from_beta)
    if kind in ("transcription_session.created", "transcription_session.updated"):
        event = {**event, "type": cast("str", kind).removeprefix("transcription_")}
        return _with(event, "session", _transcription_session_from_beta)
    if not isinstance(kind, str):
        return event
    if kind in BETA_TO_GA_TYPES:
        event = {**event, "type": BETA_TO_GA_TYPES[kind]}
    if kind in _WITH_ITEM:
        return _with(event, "item", _item_from_beta)
    return _with(event, "response", _response_from_beta) if kind in _WITH_RESPONSE else event


def server_to_beta(event: Json, refused: Refusal) -> Json | None:
    """Write a server event the beta's way (for a server of it).

    Returns:
        The event, or None where the beta has no such event.

    Raises:
        UnsupportedByDialect: A session or response holds what the beta cannot say.
    """
    out = _Outward(refused, azure=False)
    kind = event.get("type")
    if isinstance(kind, str) and kind in GA_ONLY_SERVER_TYPES:
        return None
    if kind in ("session.created", "session.updated") and _is_object(event.get("session")):
        session = cast("Json", event["session"])
        settings = {name: value for name, value in session.items() if name != "type"}
        if session.get("type") == "transcription":
            beta = _flatten(settings, _TRANSCRIPTION_SESSION, "session", out)
            return {**event, "type": f"transcription_{kind}", "session": beta}
        return {**event, "session": _flatten(settings, _SESSION, "session", out)}
    if not isinstance(kind, str):
        return event
    if kind in _GA_TO_BETA_TYPES:
        event = {**event, "type": _GA_TO_BETA_TYPES[kind]}
    if kind in _WITH_ITEM:
        return _with(event, "item", _server_item_to_beta)
    if kind in _WITH_RESPONSE:
        return _with(event, "response", lambda response: _response_to_beta(response, out))
    return event


def _session_from_beta(session: Any) -> Any:
    return {"type": "realtime", **_nest(session, _SESSION)} if _is_object(session) else session


def _transcription_session_from_beta(session: Any) -> Any:
    if not _is_object(session):
        return session
    return {"type": "transcription", **_nest(session, _TRANSCRIPTION_SESSION)}


def _response_from_beta(response: Any) -> Any:
    if not _is_object(response):
        return response
    return _with_items(_nest(response, _RESPONSE), "output", _item_from_beta)


def _response_to_beta(response: Any, out: _Outward) -> Any:
    if not _is_object(response):
        return response
    flat = _flatten(response, _RESPONSE, "response", out)
    return _with_items(flat, "output", _server_item_to_beta)


def _with(event: Json, name: str, change: Callable[[Any], Any]) -> Json:
    return {**event, name: change(event[name])} if name in event else event


def _with_items(holder: Json, name: str, change: Callable[[Any], Any]) -> Json:
    items = holder.get(name)
    return {**holder, name: [change(item) for item in items]} if _is_list(items) else holder


def _is_object(value: Any) -> TypeGuard[Json]:
    return isinstance(value, dict)


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
