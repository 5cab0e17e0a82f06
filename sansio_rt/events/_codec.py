"""Text of one message to one event, and back.

The strict decoder of msgspec comes first: one pass, and every field that we know. What it refuses
is decoded again as plain JSON and converted leniently (`_convert`). Audio is decoded from base64
apart from the rest, since pybase64 is much faster than msgspec: the strict decoder sees a private
twin of the event whose audio is text.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Union, cast, final, get_args

import msgspec
import pybase64

from sansio_rt._errors import LocalProtocolError, SchemaError
from sansio_rt.events._client import ClientEvent, InputAudioBufferAppend
from sansio_rt.events._common import (
    NO_EXTRA,
    ClientEventBase,
    Maybe,
    ServerEventBase,
    UnknownEvent,
    WireObject,
)
from sansio_rt.events._convert import Converter, Mismatch, decode_base64, struct_converter
from sansio_rt.events._plain import is_plain, may_hold_non_finite, refuse_non_finite, to_data
from sansio_rt.events._server import ServerEvent
from sansio_rt.events._server_response import ResponseOutputAudioDelta
from sansio_rt.events._translation import (
    SessionInputAudioBufferAppend,
    SessionOutputAudioDelta,
    TranslationClientEvent,
    TranslationServerEvent,
)

_EXCERPT_BYTES = 200
_SECRET = re.compile(
    r'("[^"]*(?:authorization|secret|token|password|key)[^"]*"\s*:\s*)"[^"]*"?', re.IGNORECASE
)

Text = bytes | bytearray | memoryview | str


@final
class _AudioDelta(ServerEventBase, frozen=True, kw_only=True, tag="response.output_audio.delta"):
    """The twin of `ResponseOutputAudioDelta` before its base64 is decoded."""

    response_id: str
    item_id: str
    output_index: int
    content_index: int
    delta: str


@final
class _Append(ClientEventBase, frozen=True, kw_only=True, tag="input_audio_buffer.append"):
    """The twin of `InputAudioBufferAppend` before its base64 is decoded."""

    audio: str


@final
class _TranslationAudioDelta(
    ServerEventBase, frozen=True, kw_only=True, tag="session.output_audio.delta"
):
    """The twin of `SessionOutputAudioDelta` before its base64 is decoded."""

    channels: Maybe[int] = msgspec.UNSET
    elapsed_ms: Maybe[int] = msgspec.UNSET
    format: Maybe[str] = msgspec.UNSET
    sample_rate: Maybe[int] = msgspec.UNSET
    delta: str


@final
class _TranslationAppend(
    ClientEventBase, frozen=True, kw_only=True, tag="session.input_audio_buffer.append"
):
    """The twin of `SessionInputAudioBufferAppend` before its base64 is decoded."""

    audio: str


_TWINS: dict[type[WireObject], type[WireObject]] = {
    ResponseOutputAudioDelta: _AudioDelta,
    InputAudioBufferAppend: _Append,
    SessionOutputAudioDelta: _TranslationAudioDelta,
    SessionInputAudioBufferAppend: _TranslationAppend,
}

_AUDIO_FIELDS: dict[type[WireObject], str] = {
    twinned: twin.__struct_fields__[-1] for twinned, twin in _TWINS.items()
}


def _event_types(events: Any) -> dict[str, type[WireObject]]:
    """The events of a union by their wire types, without `UnknownEvent`."""
    return {
        str(event.__struct_config__.tag): event
        for event in get_args(events)
        if event is not UnknownEvent
    }


SERVER_EVENTS: Mapping[str, type[WireObject]] = _event_types(ServerEvent)
CLIENT_EVENTS: Mapping[str, type[WireObject]] = _event_types(ClientEvent)
TRANSLATION_SERVER_EVENTS: Mapping[str, type[WireObject]] = _event_types(TranslationServerEvent)
TRANSLATION_CLIENT_EVENTS: Mapping[str, type[WireObject]] = _event_types(TranslationClientEvent)


def _strict(table: Mapping[str, type[WireObject]]) -> Callable[[Text], Any]:
    twins = tuple(_TWINS.get(event, event) for event in table.values())
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[twins])  # noqa: UP007
    return decoder.decode


_strict_server: Callable[[Text], ServerEvent | _AudioDelta] = _strict(SERVER_EVENTS)
_strict_client: Callable[[Text], ClientEvent | _Append] = _strict(CLIENT_EVENTS)
_strict_translation_server: Callable[[Text], TranslationServerEvent | _TranslationAudioDelta] = (
    _strict(TRANSLATION_SERVER_EVENTS)
)
_strict_translation_client: Callable[[Text], TranslationClientEvent | _TranslationAppend] = _strict(
    TRANSLATION_CLIENT_EVENTS
)
_any_json: Callable[[Text], Any] = msgspec.json.Decoder().decode
_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


def decode_server(text: Text) -> ServerEvent:
    """Decodes one message of the server.

    Args:
        text: The whole message; a buffer is not kept.

    Returns:
        The event; `UnknownEvent` where its type is not known.

    Raises:
        SchemaError: It is not JSON, not an object, has no type, or a field has a wrong shape.
    """
    try:
        event = _strict_server(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        return cast(ServerEvent, _second_try(text, SERVER_EVENTS, problem))
    if type(event) is _AudioDelta:
        return ResponseOutputAudioDelta(
            event_id=event.event_id,
            response_id=event.response_id,
            item_id=event.item_id,
            output_index=event.output_index,
            content_index=event.content_index,
            delta=_audio(event.delta, "delta", text),
        )
    return event


def decode_client(text: Text) -> ClientEvent:
    """Decodes one message of a client.

    Args:
        text: The whole message; a buffer is not kept.

    Returns:
        The event; `UnknownEvent` where its type is not known.

    Raises:
        SchemaError: It is not JSON, not an object, has no type, or a field has a wrong shape.
    """
    try:
        event = _strict_client(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        return cast(ClientEvent, _second_try(text, CLIENT_EVENTS, problem))
    if type(event) is _Append:
        return InputAudioBufferAppend(
            event_id=event.event_id, audio=_audio(event.audio, "audio", text)
        )
    return event


def decode_translation_server(text: Text) -> TranslationServerEvent:
    """Decodes one message of the server in a translation session; see `decode_server`."""
    try:
        event = _strict_translation_server(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        known = _second_try(text, TRANSLATION_SERVER_EVENTS, problem)
        return cast(TranslationServerEvent, known)
    if type(event) is _TranslationAudioDelta:
        return SessionOutputAudioDelta(
            event_id=event.event_id,
            channels=event.channels,
            elapsed_ms=event.elapsed_ms,
            format=event.format,
            sample_rate=event.sample_rate,
            delta=_audio(event.delta, "delta", text),
        )
    return event


def decode_translation_client(text: Text) -> TranslationClientEvent:
    """Decodes one message of a client in a translation session; see `decode_client`."""
    try:
        event = _strict_translation_client(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        known = _second_try(text, TRANSLATION_CLIENT_EVENTS, problem)
        return cast(TranslationClientEvent, known)
    if type(event) is _TranslationAppend:
        return SessionInputAudioBufferAppend(
            event_id=event.event_id, audio=_audio(event.audio, "audio", text)
        )
    return event


def server_event_from(data: dict[str, Any]) -> ServerEvent:
    """Makes a server event of an object that is already decoded JSON.

    Args:
        data: The whole event; parts of it may be kept.

    Raises:
        SchemaError: It has no type, or a field has a wrong shape.
    """
    return cast(ServerEvent, _from_data(data, SERVER_EVENTS))


def client_event_from(data: dict[str, Any]) -> ClientEvent:
    """Makes a client event of an object that is already decoded JSON.

    Args:
        data: The whole event; parts of it may be kept.

    Raises:
        SchemaError: It has no type, or a field has a wrong shape.
    """
    return cast(ClientEvent, _from_data(data, CLIENT_EVENTS))


def _audio(encoded: str, field: str, text: Text) -> bytes:
    try:
        return decode_base64(encoded)
    except Mismatch as mismatch:
        mismatch.steps.append(field)
        raise _schema_error(mismatch, text) from None


def _second_try(text: Text, table: Mapping[str, type[WireObject]], problem: Exception) -> Any:
    """Decodes leniently what the strict decoder refused for its shape."""
    if isinstance(problem, msgspec.ValidationError):
        try:
            data = _any_json(text)
        except (msgspec.MsgspecError, ValueError, RecursionError) as another:
            problem = another
        else:
            return _from_data(data, table, text)
    what = "it is nested too deeply" if isinstance(problem, RecursionError) else str(problem)
    raise SchemaError(f"a message is not JSON: {what}", excerpt=_excerpt(text)) from None


def _from_data(data: Any, table: Mapping[str, type[WireObject]], text: Text = "") -> Any:
    if not isinstance(data, dict):
        raise SchemaError("a message is not a JSON object", excerpt=_excerpt(text))
    fields = cast("dict[str, Any]", data)
    kind = fields.get("type")
    if not isinstance(kind, str):
        raise SchemaError("an event has no type", path="$.type", excerpt=_excerpt(text))
    event = table.get(kind)
    if event is None:
        return UnknownEvent(type=kind, data=fields)
    convert: Converter = struct_converter(event)
    try:
        return convert(fields)
    except Mismatch as mismatch:
        raise _schema_error(mismatch, text, kind) from None


def _schema_error(mismatch: Mismatch, text: Text, kind: str = "audio") -> SchemaError:
    path = mismatch.path()
    return SchemaError(f"{kind} at {path}: {mismatch.problem}", path=path, excerpt=_excerpt(text))


def _excerpt(text: Text) -> str:
    """The beginning of a message for people, without what looks like a credential."""
    if isinstance(text, str):
        beginning = text[:_EXCERPT_BYTES].encode("utf-8", "replace").decode()
    else:
        beginning = bytes(text[:_EXCERPT_BYTES]).decode("utf-8", "replace")
    return _SECRET.sub(r'\1"..."', beginning)


def encode(event: WireObject) -> bytes:
    """Writes one event as compact JSON.

    Args:
        event: Any event, ours or the server's; fields that are UNSET are left out.

    Returns:
        UTF-8 text.

    Raises:
        LocalProtocolError: It holds what JSON cannot say: NaN, infinity, a lone surrogate, an
            object of some other kind.
    """
    field = _AUDIO_FIELDS.get(type(event))
    try:
        if field is not None and event.extra is NO_EXTRA:
            return _encode_audio(event, field)
        text = _written(event)
        if b"null" in text and may_hold_non_finite(event):  # which msgspec writes as null
            refuse_non_finite(event)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as problem:
        name = type(event).__name__
        raise LocalProtocolError(f"{name} cannot be written as JSON: {problem}") from problem
    return text


def _written(event: WireObject) -> bytes:
    """The text of an event, where msgspec cannot write it by way of plain JSON.

    Names of fields that are not the wire's own begin with a dollar sign, and give away an event with
    `extra` or an unknown object in it. A text may have one, too: a closer look tells.
    """
    try:
        text = _encode(event)
    except TypeError:  # for one of an `extra` that is a mapping of another kind than dict
        return _encode(to_data(event))
    return text if b"$" not in text or is_plain(event) else _encode(to_data(event))


def _encode_audio(event: WireObject, field: str) -> bytes:
    """Writes an event around empty audio, then puts base64 into the gap: it is the last field."""
    frame = _encode(msgspec.structs.replace(event, **{field: b""}))
    return b"".join((frame[:-2], pybase64.b64encode(getattr(event, field)), b'"}'))


def encode_audio_append(audio: bytes | bytearray | memoryview) -> bytes:
    """Writes an `input_audio_buffer.append` without an id, the fast way.

    Args:
        audio: Audio in the session's input format.

    Returns:
        UTF-8 text, the same as of `encode(InputAudioBufferAppend(audio=audio))`.
    """
    encoded = pybase64.b64encode(audio)
    return b"".join((b'{"type":"input_audio_buffer.append","audio":"', encoded, b'"}'))
