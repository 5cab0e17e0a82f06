"""Responses: what the client may ask of one, and how the server reports it."""

from typing import Any, TypeAlias

from msgspec import UNSET

from sansio_rt.events._common import ErrorDetails, Maybe, TaggedObject, UnknownObject, WireObject
from sansio_rt.events._items import InputItem, Item
from sansio_rt.events._session import AudioConfig, Prompt, Reasoning, ToolChoice, ToolEntry


class ResponseStatusDetails(WireObject, frozen=True, kw_only=True):
    """Why a response ended as it did.

    Attributes:
        type: The status again.
        reason: `turn_detected`, `client_cancelled`, `max_output_tokens`, `content_filter`.
        error: What failed.
    """

    type: Maybe[str] = UNSET
    reason: Maybe[str] = UNSET
    error: Maybe[ErrorDetails] = UNSET


class CachedTokensDetails(WireObject, frozen=True, kw_only=True):
    """Input tokens that came from the cache, by kind."""

    audio_tokens: Maybe[int] = UNSET
    image_tokens: Maybe[int] = UNSET
    text_tokens: Maybe[int] = UNSET


class InputTokenDetails(WireObject, frozen=True, kw_only=True):
    """Input tokens by kind."""

    audio_tokens: Maybe[int] = UNSET
    cached_tokens: Maybe[int] = UNSET
    cached_tokens_details: Maybe[CachedTokensDetails] = UNSET
    image_tokens: Maybe[int] = UNSET
    text_tokens: Maybe[int] = UNSET


class OutputTokenDetails(WireObject, frozen=True, kw_only=True):
    """Output tokens by kind."""

    audio_tokens: Maybe[int] = UNSET
    text_tokens: Maybe[int] = UNSET


class Usage(WireObject, frozen=True, kw_only=True):
    """Tokens that a response took."""

    total_tokens: Maybe[int] = UNSET
    input_tokens: Maybe[int] = UNSET
    output_tokens: Maybe[int] = UNSET
    input_token_details: Maybe[InputTokenDetails] = UNSET
    output_token_details: Maybe[OutputTokenDetails] = UNSET


class TranscriptionTokens(TaggedObject, frozen=True, kw_only=True, tag="tokens"):
    """A transcription billed by tokens."""

    total_tokens: Maybe[int] = UNSET
    input_tokens: Maybe[int] = UNSET
    output_tokens: Maybe[int] = UNSET
    input_token_details: Maybe[InputTokenDetails] = UNSET


class TranscriptionDuration(TaggedObject, frozen=True, kw_only=True, tag="duration"):
    """A transcription billed by the seconds of audio."""

    seconds: float


TranscriptionUsage: TypeAlias = TranscriptionTokens | TranscriptionDuration | UnknownObject


class Response(WireObject, frozen=True, kw_only=True):
    """A response as the server reports it.

    Attributes:
        id: The response's id.
        status: `in_progress`, `completed`, `cancelled`, `failed`, `incomplete`.
        status_details: Why.
        output: The items that it made.
        usage: Tokens that it took.
        metadata: What the client gave to `response.create`.
        conversation_id: Where its items go; null for an out-of-band response.
        output_modalities: `["audio"]` or `["text"]`.
        max_output_tokens: A number or `inf`.
        audio: Format and voice of its speech.
        object: `realtime.response`.
    """

    id: str = ""
    status: Maybe[str] = UNSET
    status_details: Maybe[ResponseStatusDetails] = UNSET
    output: Maybe[list[Item]] = UNSET
    usage: Maybe[Usage] = UNSET
    metadata: Maybe[dict[str, Any]] = UNSET
    conversation_id: Maybe[str] = UNSET
    output_modalities: Maybe[list[str]] = UNSET
    max_output_tokens: Maybe[int | str] = UNSET
    audio: Maybe[AudioConfig] = UNSET
    object: Maybe[str] = UNSET


class ResponseParams(WireObject, frozen=True, kw_only=True):
    """Settings of one response that differ from the session's.

    Attributes:
        audio: Format and voice of its speech.
        conversation: `auto`, or `none` for a response beside the conversation.
        input: Items instead of the conversation; `[]` for nothing.
        instructions: Instead of the session's instructions.
        max_output_tokens: 1 to 4096, or `inf`.
        metadata: Up to 16 texts that the server gives back.
        output_modalities: `["audio"]` or `["text"]`.
        parallel_tool_calls: Whether it may call several tools.
        prompt: A stored prompt template.
        reasoning: How much the model thinks.
        tool_choice: `auto`, `none`, `required`, or one tool.
        tools: What the model may call.
    """

    audio: Maybe[AudioConfig] = UNSET
    conversation: Maybe[str] = UNSET
    input: Maybe[list[InputItem]] = UNSET
    instructions: Maybe[str] = UNSET
    max_output_tokens: Maybe[int | str] = UNSET
    metadata: Maybe[dict[str, Any]] = UNSET
    output_modalities: Maybe[list[str]] = UNSET
    parallel_tool_calls: Maybe[bool] = UNSET
    prompt: Maybe[Prompt] = UNSET
    reasoning: Maybe[Reasoning] = UNSET
    tool_choice: Maybe[ToolChoice] = UNSET
    tools: Maybe[list[ToolEntry]] = UNSET
