"""How servers spell the protocol: the edge where GA events become another dialect's, and back.

Everything above speaks GA. `encode` and `decode` are the way for a client: event to text, text to
event. `to_wire` and `from_wire` do the same to plain JSON objects, and `server_to_wire` with
`client_from_wire` are the other role's, for a server of the beta.

The fast road: most of what a beta session receives is audio, and an audio delta of the beta differs
from the GA's by its name only. So the head of a message is looked at as bytes. Where its `type`
comes first (or behind `event_id`, in the order that servers write), a delta gets the GA's name by
putting `output_` into the buffer and is decoded once, by the codec; what has the same shape in both
dialects goes to the codec as it is. Only events with a session, a response or an item in them, a
few in each turn, and heads that look otherwise are decoded to plain JSON, translated and made into
events.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import msgspec

from . import events
from ._beta import Refusal, client_from_beta, client_to_beta, server_from_beta, server_to_beta
from ._endpoint import Dialect
from ._errors import ConfigurationError, UnsupportedByDialect
from .events._plain import is_plain, to_data

__all__ = [
    "DEFAULTS",
    "DialectDefaults",
    "client_from_wire",
    "decode",
    "encode",
    "from_wire",
    "is_beta_refusal",
    "server_to_wire",
    "to_wire",
    "wrong_dialect",
]

Json: TypeAlias = dict[str, Any]
Text: TypeAlias = bytes | bytearray | memoryview | str


@dataclass(frozen=True, slots=True)
class DialectDefaults:
    """The SDK's defaults where the dialects differ (S1)."""

    voice: str
    transcription_model: str
    temperature: float | None
    """Sampling temperature, None where the dialect has none."""


DEFAULTS: Final[dict[Dialect, DialectDefaults]] = {
    Dialect.GA: DialectDefaults("marin", "gpt-4o-mini-transcribe", None),
    Dialect.BETA: DialectDefaults("alloy", "gpt-4o-mini-transcribe", 0.8),
    Dialect.AZURE_BETA: DialectDefaults("alloy", "whisper-1", 0.8),
}

# Client events whose shape may differ; the others are the same in every dialect.
_SHAPED: Final = (events.SessionUpdate, events.ResponseCreate, events.ConversationItemCreate)

# The head of a message as servers write it, up to the type's value.
_HEAD: Final = re.compile(
    rb'\s*\{\s*(?:"event_id"\s*:\s*"[^"\\]*"\s*,\s*)?"type"\s*:\s*'
    rb'"(?:(response\.)(?=(?:audio|audio_transcript|text)\.(?:delta|done)")|'
    rb"(?:input_audio_buffer|output_audio_buffer|rate_limits|error|conversation\.item\.(?:deleted|"
    rb"truncated|input_audio_transcription)|response\.(?:content_part|function_call_arguments))"
    rb'[._a-z]*")'
)

_GA: Final = Dialect.GA  # looked up once: `decode` is called for every message
_any_json = msgspec.json.Decoder().decode


def encode(dialect: Dialect, event: events.ClientEvent) -> bytes:
    """Write a client event as the server's dialect has it.

    Args:
        dialect: The server's dialect.
        event: The event, in GA shape.

    Returns:
        UTF-8 JSON text.

    Raises:
        UnsupportedByDialect: The dialect cannot say what the event asks for; the setting is named.
        LocalProtocolError: The event holds what JSON cannot say.
    """
    if not isinstance(event, _SHAPED) or (dialect is _GA and is_plain(event)):
        return events.encode(event)  # what the GA does not know can only be in `extra`
    data = cast("Json", to_data(event))
    written = to_wire(dialect, data)
    if written is data:
        return events.encode(event)
    return events.encode(events.UnknownEvent(type=written["type"], data=written))


def decode(dialect: Dialect, text: Text) -> events.ServerEvent:
    """Read a server's message into a GA event.

    Args:
        dialect: The server's dialect.
        text: The whole message; a buffer is not kept.

    Raises:
        SchemaError: It is not JSON, not an object, has no type, or a field has a wrong shape.
    """
    if dialect is _GA:
        return events.decode_server(text)
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogatepass")
    head = _HEAD.match(text)
    if head is not None:
        middle = head.end(1)
        if middle < 0:  # the same in both dialects
            return events.decode_server(text)
        view = memoryview(text)
        return events.decode_server(b"".join((view[:middle], b"output_", view[middle:])))
    try:
        data = _any_json(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        return events.decode_server(text)  # which says what is wrong with it
    return events.server_event_from(from_wire(dialect, cast("Json", data)))


def to_wire(dialect: Dialect, event: Json) -> Json:
    """Write a client event, as plain JSON, as the dialect has it.

    Args:
        dialect: The server's dialect.
        event: The event in GA shape; it is not changed. A `temperature` beside the settings of a
            session or a response is the beta's.

    Returns:
        A new object, or the same one where there is no difference.

    Raises:
        UnsupportedByDialect: The dialect cannot say what the event asks for; the setting is named.
    """
    if dialect.is_beta:
        azure = dialect is Dialect.AZURE_BETA
        return client_to_beta(event, Refusal(dialect.value), azure=azure)
    for name in ("session", "response"):
        settings: Any = event.get(name)
        if isinstance(settings, dict) and "temperature" in settings:
            raise UnsupportedByDialect(
                f"{name}.temperature: the GA dialect has no temperature; leave it out"
            )
    return event


def from_wire(dialect: Dialect, event: Json) -> Json:
    """Read a server event, as plain JSON, from the dialect into GA shape.

    Args:
        dialect: The server's dialect.
        event: The event as it came; it is not changed. Whatever is not understood stays.
    """
    return server_from_beta(event) if dialect.is_beta else event


def server_to_wire(dialect: Dialect, event: Json) -> Json | None:
    """Write a server event as the dialect has it: the inverse of `from_wire`, for servers.

    Returns:
        The event, or None where the dialect has no such event.

    Raises:
        UnsupportedByDialect: A session or response holds what the dialect cannot say.
    """
    return server_to_beta(event, Refusal(dialect.value)) if dialect.is_beta else event


def client_from_wire(dialect: Dialect, event: Json) -> Json:
    """Read a client event from the dialect into GA shape: the inverse of `to_wire`, for servers."""
    return client_from_beta(event) if dialect.is_beta else event


def is_beta_refusal(*, code: str | None = None, close_code: int | None = None) -> bool:
    """Tell whether a server turned the beta dialect away (E8; rule 17 of the service's behaviour).

    Args:
        code: The code of an `error` event.
        close_code: The WebSocket close code.
    """
    return code == "beta_api_shape_disabled" or close_code == 4000


def wrong_dialect(dialect: Dialect) -> ConfigurationError:
    """Make the one error for a server that turned the beta away; it is not worth a retry (E8)."""
    return ConfigurationError(
        f"the server no longer speaks the {dialect.value} dialect: use the GA dialect "
        '(dialect="ga"; for Azure leave the API version out)'
    )
