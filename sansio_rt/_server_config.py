"""The session's configuration on the server: defaults, merging of partial updates, refusals.

Fields that an update leaves out stay as they are; null and empty values clear (rule 9 of
`server-behaviour.md`). One bad field refuses the whole update, and the error names it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

import msgspec
from msgspec import UNSET

from . import events
from ._audio import AudioFormat
from ._server_rules import (
    SESSION_RULES,
    check_known,
    check_rules,
    entries_of,
    setting,
)
from ._server_turns import TurnSettings
from ._server_work import OfferedTool, Refusal

__all__ = [
    "VOICES",
    "audio_format",
    "check_tool_choice",
    "check_voice",
    "first_session",
    "offered_tools",
    "tool_choice_name",
    "turn_settings",
    "updated_session",
]

VOICES = (
    "alloy",
    "ash",
    "ballad",
    "coral",
    "echo",
    "sage",
    "shimmer",
    "verse",
    "marin",
    "cedar",
)
DEFAULT_INSTRUCTIONS = "You are a helpful, friendly voice assistant. Answer briefly."
_KEPT = object()

# What null means where it does not mean None.
_CLEARED: dict[str, Any] = {
    "instructions": "",
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "output_modalities": ["audio"],
    "truncation": "auto",
    "audio.input.format": events.PcmFormat(rate=24_000),
    "audio.output.format": events.PcmFormat(rate=24_000),
    "audio.output.speed": 1.0,
    "audio": _KEPT,
    "audio.input": _KEPT,
    "audio.output": _KEPT,
    "audio.output.voice": _KEPT,
    "model": _KEPT,
}


_FIRST_AUDIO = events.AudioConfig(
    input=events.AudioInput(
        format=events.PcmFormat(rate=24_000),
        transcription=None,
        noise_reduction=None,
        turn_detection=events.ServerVad(
            threshold=0.5,
            prefix_padding_ms=300,
            silence_duration_ms=200,
            idle_timeout_ms=None,
            create_response=True,
            interrupt_response=True,
        ),
    ),
    output=events.AudioOutput(format=events.PcmFormat(rate=24_000), voice="alloy", speed=1.0),
)


def first_session(session_id: str) -> events.RealtimeSession:
    """What a session is before the client has said anything: the service's defaults.

    Model and end of life are filled in when the connection is up.
    """
    return events.RealtimeSession(
        id=session_id,
        object="realtime.session",
        expires_at=0,
        model="",
        output_modalities=["audio"],
        instructions=DEFAULT_INSTRUCTIONS,
        tools=[],
        tool_choice="auto",
        max_output_tokens="inf",
        tracing=None,
        truncation="auto",
        prompt=None,
        include=None,
        audio=_FIRST_AUDIO,
    )


def updated_session(
    session: events.RealtimeSession,
    update: Any,
    *,
    voices: Collection[str],
    spoken: bool,
) -> events.RealtimeSession:
    """The configuration after a `session.update`.

    Args:
        session: The configuration in force.
        update: The event's `session`.
        voices: The voices that are known; empty lets any name pass.
        spoken: Whether the session has produced audio, which fixes the voice.

    Raises:
        Refusal: A field is not acceptable; `param` names it.
    """
    if not isinstance(update, events.RealtimeSession):
        raise Refusal(
            "Passing a transcription session update event to a realtime session is not allowed.",
            code="invalid_session_type",
            param="session.type",
        )
    check_known(update, "session")
    check_rules(update, SESSION_RULES, "session")
    check_voice(session, update, "session", voices=voices, spoken=spoken)
    model = update.model
    if isinstance(model, str) and model != session.model:
        raise Refusal(
            f"Cannot change the model of a session from '{session.model}' to '{model}'; "
            "connect again with the other model.",
            code="cannot_update_model",
            param="session.model",
        )
    # What a client may say and cannot change.
    changes = msgspec.structs.replace(update, id=UNSET, object=UNSET, expires_at=UNSET)
    merged: events.RealtimeSession = _merged(session, changes, "")
    check_tool_choice(merged.tool_choice, merged.tools, "session.tool_choice")
    return merged


def _merged(old: Any, update: Any, path: str) -> Any:
    changes: dict[str, Any] = {}
    fields = msgspec.structs.asdict(update)
    del fields["extra"]  # there is none: it was refused
    for name, given in fields.items():
        if given is UNSET:
            continue
        value = given
        if given is None:
            value = _CLEARED.get(path + name)
        elif isinstance(given, msgspec.Struct):
            before = getattr(old, name)
            if type(given) is type(before):
                value = _merged(before, given, f"{path}{name}.")
        if value is not _KEPT:
            changes[name] = value
    return msgspec.structs.replace(old, **changes)


def check_voice(
    session: events.RealtimeSession,
    given: Any,
    path: str,
    *,
    voices: Collection[str],
    spoken: bool,
) -> None:
    """Refuse a voice that is unknown, or another one once audio was produced.

    Args:
        session: The configuration in force.
        given: The update, or the parameters of a response.
        path: JSON path of `given` in its event.
        voices: The voices that are known; empty lets any name pass.
        spoken: Whether the session has produced audio.

    Raises:
        Refusal: The voice is not acceptable.
    """
    voice = setting(given, "audio.output.voice")
    if voice is UNSET or voice is None:
        return
    param = f"{path}.audio.output.voice"
    if isinstance(voice, str) and voices and voice not in voices:
        raise Refusal(
            f"Invalid value: '{voice}'. Supported values are: "
            + ", ".join(f"'{name}'" for name in voices)
            + ".",
            code="invalid_value",
            param=param,
        )
    if spoken and voice != setting(session, "audio.output.voice"):
        raise Refusal(
            "Cannot update a conversation's voice if assistant audio is present.",
            code="cannot_update_voice",
            param=param,
        )


def check_tool_choice(choice: Any, tools: Any, param: str) -> None:
    """Refuse a choice that is no mode and no declared tool.

    Raises:
        Refusal: The choice is not acceptable.
    """
    if choice is UNSET or choice is None or isinstance(choice, events.ToolChoiceMcp):
        return
    name = tool_choice_name(choice)
    if isinstance(choice, str):
        if name not in ("auto", "none", "required"):
            raise Refusal(
                f"Invalid value: '{name}'. Supported values are: 'none', 'auto', and 'required'.",
                code="invalid_value",
                param=param,
            )
    elif name not in [tool.name for tool in offered_tools(tools)]:
        raise Refusal(
            f"Tool choice '{name}' not found in 'tools' parameter.",
            code="invalid_value",
            param=param,
        )


def tool_choice_name(choice: Any) -> str:
    """A tool choice as one word: the mode, or the name of the tool."""
    if isinstance(choice, str):
        return choice
    name = getattr(choice, "name", None)
    return name if isinstance(name, str) else "auto"


def offered_tools(tools: Any) -> tuple[OfferedTool, ...]:
    """The functions among a session's tools."""
    return tuple(
        OfferedTool(
            name=str(tool.name),
            description=tool.description if isinstance(tool.description, str) else "",
            parameters=_object(tool.parameters),
        )
        for tool in entries_of(tools)
        if isinstance(tool, events.FunctionTool)
    )


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def turn_settings(session: events.RealtimeSession) -> TurnSettings | None:
    """How the session finds turns, or None where the client commits them itself."""
    detection = setting(session, "audio.input.turn_detection")
    if isinstance(detection, events.ServerVad | events.SemanticVad):
        return TurnSettings.of(detection)
    return None


def audio_format(session: Any, path: str) -> AudioFormat:
    """The audio format at a path of a session, PCM16 where it names none."""
    value = setting(session, path)
    return AudioFormat.PCM16 if value is UNSET or value is None else _FORMATS[type(value)]


_FORMATS: dict[type, AudioFormat] = {
    events.PcmFormat: AudioFormat.PCM16,
    events.PcmuFormat: AudioFormat.PCMU,
    events.PcmaFormat: AudioFormat.PCMA,
}
