"""What a response is asked to be: the parameters of its request, else the session's configuration."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from msgspec import UNSET, Struct

from . import events
from ._audio import AudioFormat
from ._server_config import audio_format, offered_tools, tool_choice_name
from ._server_rules import setting
from ._server_usage import text_tokens
from ._server_work import OfferedTool

__all__ = ["Terms", "TermsOfSession", "either", "terms_of"]


class Terms(Struct, frozen=True):
    """What a response was asked to be.

    Attributes:
        audio: Whether its messages are spoken.
        format: The format of its audio.
        voice: Its voice by name, or by id where it is one of the client's own.
        speed: Rate of speech, 1.0 is the usual one.
        max_tokens: The most output tokens, or None for any number.
        instructions: The system prompt in force.
        tools: The functions that may be called.
        tool_choice: `auto`, `none`, `required`, or the name of the one function to call.
        tokens: What instructions and tools cost as input.
        on_wire: Format and voice, as the response shows them.
    """

    audio: bool
    format: AudioFormat
    voice: str
    speed: float
    max_tokens: int | None
    instructions: str
    tools: tuple[OfferedTool, ...]
    tool_choice: str
    tokens: int
    on_wire: events.AudioConfig


_WIRE_FORMATS: dict[AudioFormat, events.AudioFormat] = {
    AudioFormat.PCM16: events.PcmFormat(),
    AudioFormat.PCMU: events.PcmuFormat(),
    AudioFormat.PCMA: events.PcmaFormat(),
}


def terms_of(session: events.RealtimeSession, given: events.ResponseParams) -> Terms:
    """What a request comes to.

    Args:
        session: The configuration in force.
        given: The client's parameters.
    """
    modalities = either(given.output_modalities, session.output_modalities, ["audio"])
    max_tokens = either(given.max_output_tokens, session.max_output_tokens, "inf")
    own_format = setting(given, "audio.output.format")
    output = session if own_format is UNSET or own_format is None else given
    voice = either(
        setting(given, "audio.output.voice"), setting(session, "audio.output.voice"), "alloy"
    )
    instructions = str(either(given.instructions, session.instructions, ""))
    tools = offered_tools(either(given.tools, session.tools, []))
    spoken_of = " ".join(f"{tool.name} {tool.description} {tool.parameters}" for tool in tools)
    audio = audio_format(output, "audio.output.format")
    voice_name = voice if isinstance(voice, str) else voice.id
    shown = events.AudioOutput(format=_WIRE_FORMATS[audio], voice=voice_name)
    return Terms(
        audio=modalities != ["text"],
        format=audio,
        voice=voice_name,
        speed=float(either(setting(session, "audio.output.speed"), UNSET, 1.0)),
        max_tokens=max_tokens if isinstance(max_tokens, int) else None,
        instructions=instructions,
        tools=tools,
        tool_choice=tool_choice_name(either(given.tool_choice, session.tool_choice, "auto")),
        tokens=text_tokens(instructions) + text_tokens(spoken_of),
        on_wire=events.AudioConfig(output=shown),
    )


_NO_PARAMETERS = events.ResponseParams()
_own_terms = attrgetter(
    *("output_modalities", "max_output_tokens", "audio", "instructions", "tools", "tool_choice")
)
_NO_OWN_TERMS = _own_terms(_NO_PARAMETERS)


class TermsOfSession:
    """Finds the terms of requests; those of a session are the same until it is updated."""

    def __init__(self) -> None:
        self._session: events.RealtimeSession | None = None
        self._terms: Terms | None = None

    def of(self, session: events.RealtimeSession, given: events.ResponseParams) -> Terms:
        """See `terms_of`."""
        if _own_terms(given) != _NO_OWN_TERMS:
            return terms_of(session, given)
        if self._terms is None or self._session is not session:
            self._session, self._terms = session, terms_of(session, _NO_PARAMETERS)
        return self._terms


def either(first: Any, second: Any, otherwise: Any) -> Any:
    """The first value that is neither missing nor null."""
    if first is not UNSET and first is not None:
        return first
    return second if second is not UNSET and second is not None else otherwise
