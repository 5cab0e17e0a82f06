"""Events that a server sends, named after their wire types, but those of a response's progress.

Every one has an `event_id`, `""` where the server left it out. Required is only what the protocol
object cannot do without.
"""

from typing import TypeAlias

import msgspec
from msgspec import UNSET

from sansio_rt.events._common import (
    ErrorDetails,
    LogProb,
    Maybe,
    ServerEventBase,
    UnknownEvent,
    WireObject,
    zero,
)
from sansio_rt.events._items import Item
from sansio_rt.events._response import TranscriptionUsage
from sansio_rt.events._server_response import (
    ResponseContentPartAdded,
    ResponseContentPartDone,
    ResponseCreated,
    ResponseDone,
    ResponseFunctionCallArgumentsDelta,
    ResponseFunctionCallArgumentsDone,
    ResponseMcpCallArgumentsDelta,
    ResponseMcpCallArgumentsDone,
    ResponseMcpCallCompleted,
    ResponseMcpCallFailed,
    ResponseMcpCallInProgress,
    ResponseOutputAudioDelta,
    ResponseOutputAudioDone,
    ResponseOutputAudioTranscriptDelta,
    ResponseOutputAudioTranscriptDone,
    ResponseOutputItemAdded,
    ResponseOutputItemDone,
    ResponseOutputTextDelta,
    ResponseOutputTextDone,
)
from sansio_rt.events._session import SessionObject


class Conversation(WireObject, frozen=True, kw_only=True):
    """The conversation of a session."""

    id: Maybe[str] = UNSET
    object: Maybe[str] = UNSET


class TranscriptionLanguage(WireObject, frozen=True, kw_only=True):
    """A language that a transcription heard, by its code."""

    code: str


class RateLimit(WireObject, frozen=True, kw_only=True):
    """One of the account's limits.

    Attributes:
        name: `requests` or `tokens`.
        limit: How many there are.
        remaining: How many are left.
        reset_seconds: Seconds until they are all there again.
    """

    name: Maybe[str] = UNSET
    limit: Maybe[int] = UNSET
    remaining: Maybe[int] = UNSET
    reset_seconds: Maybe[float] = UNSET


class SessionCreated(ServerEventBase, frozen=True, kw_only=True, tag="session.created"):
    """The session has begun."""

    session: SessionObject


class SessionUpdated(ServerEventBase, frozen=True, kw_only=True, tag="session.updated"):
    """The settings now in force, all of them."""

    session: SessionObject


class ConversationCreated(ServerEventBase, frozen=True, kw_only=True, tag="conversation.created"):
    """The conversation of the session."""

    conversation: Conversation


class ConversationItemCreated(
    ServerEventBase, frozen=True, kw_only=True, tag="conversation.item.created"
):
    """An item was added (beta's name; some servers send it in GA too)."""

    item: Item
    previous_item_id: Maybe[str] = UNSET


class ConversationItemAdded(
    ServerEventBase, frozen=True, kw_only=True, tag="conversation.item.added"
):
    """An item was added, maybe still without its content."""

    item: Item
    previous_item_id: Maybe[str] = UNSET


class ConversationItemDone(
    ServerEventBase, frozen=True, kw_only=True, tag="conversation.item.done"
):
    """An item is complete."""

    item: Item
    previous_item_id: Maybe[str] = UNSET


class ConversationItemRetrieved(
    ServerEventBase, frozen=True, kw_only=True, tag="conversation.item.retrieved"
):
    """The answer to `conversation.item.retrieve`."""

    item: Item


class ConversationItemDeleted(
    ServerEventBase, frozen=True, kw_only=True, tag="conversation.item.deleted"
):
    """An item is gone."""

    item_id: str


class ConversationItemTruncated(
    ServerEventBase, frozen=True, kw_only=True, tag="conversation.item.truncated"
):
    """An assistant message was cut; its transcript is gone."""

    item_id: str
    content_index: int
    audio_end_ms: int


class ConversationItemInputAudioTranscriptionDelta(
    ServerEventBase,
    frozen=True,
    kw_only=True,
    tag="conversation.item.input_audio_transcription.delta",
):
    """A piece of the user's words.

    Attributes:
        obfuscation: Padding against guessing by length; sent, though the published type has it not.
    """

    item_id: str
    content_index: int = msgspec.field(default_factory=zero)
    delta: str = ""
    logprobs: Maybe[list[LogProb]] = UNSET
    obfuscation: Maybe[str] = UNSET


class ConversationItemInputAudioTranscriptionSegment(
    ServerEventBase,
    frozen=True,
    kw_only=True,
    tag="conversation.item.input_audio_transcription.segment",
):
    """A segment of the user's words with its speaker; `start` and `end` in seconds."""

    item_id: str
    content_index: int = msgspec.field(default_factory=zero)
    id: str
    text: str
    speaker: str
    start: float
    end: float


class ConversationItemInputAudioTranscriptionCompleted(
    ServerEventBase,
    frozen=True,
    kw_only=True,
    tag="conversation.item.input_audio_transcription.completed",
):
    """All of the user's words in one part."""

    item_id: str
    content_index: int = msgspec.field(default_factory=zero)
    transcript: str
    usage: Maybe[TranscriptionUsage] = UNSET
    languages: Maybe[list[TranscriptionLanguage]] = UNSET
    logprobs: Maybe[list[LogProb]] = UNSET


class ConversationItemInputAudioTranscriptionFailed(
    ServerEventBase,
    frozen=True,
    kw_only=True,
    tag="conversation.item.input_audio_transcription.failed",
):
    """The user's words could not be transcribed."""

    item_id: str
    content_index: int = msgspec.field(default_factory=zero)
    error: ErrorDetails


class InputAudioBufferCommitted(
    ServerEventBase, frozen=True, kw_only=True, tag="input_audio_buffer.committed"
):
    """The input buffer became a user message."""

    item_id: str
    previous_item_id: Maybe[str] = UNSET


class InputAudioBufferCleared(
    ServerEventBase, frozen=True, kw_only=True, tag="input_audio_buffer.cleared"
):
    """The input buffer is empty."""


class InputAudioBufferSpeechStarted(
    ServerEventBase, frozen=True, kw_only=True, tag="input_audio_buffer.speech_started"
):
    """The user began to speak, `audio_start_ms` after the session's first audio."""

    item_id: str
    audio_start_ms: int


class InputAudioBufferSpeechStopped(
    ServerEventBase, frozen=True, kw_only=True, tag="input_audio_buffer.speech_stopped"
):
    """The user stopped, `audio_end_ms` after the session's first audio."""

    item_id: str
    audio_end_ms: int


class InputAudioBufferTimeoutTriggered(
    ServerEventBase, frozen=True, kw_only=True, tag="input_audio_buffer.timeout_triggered"
):
    """The user was silent for the idle timeout, between these times of the session's audio."""

    item_id: str
    audio_start_ms: int
    audio_end_ms: int


class InputAudioBufferDtmfEventReceived(
    ServerEventBase, frozen=True, kw_only=True, tag="input_audio_buffer.dtmf_event_received"
):
    """A telephone key (SIP only); `received_at` in Unix seconds."""

    event: str
    received_at: int


class OutputAudioBufferStarted(
    ServerEventBase, frozen=True, kw_only=True, tag="output_audio_buffer.started"
):
    """The server began to play the response (WebRTC and SIP only)."""

    response_id: str


class OutputAudioBufferStopped(
    ServerEventBase, frozen=True, kw_only=True, tag="output_audio_buffer.stopped"
):
    """The server played all of the response (WebRTC and SIP only)."""

    response_id: str


class OutputAudioBufferCleared(
    ServerEventBase, frozen=True, kw_only=True, tag="output_audio_buffer.cleared"
):
    """The server stopped to play the response (WebRTC and SIP only)."""

    response_id: str


class McpListToolsInProgress(
    ServerEventBase, frozen=True, kw_only=True, tag="mcp_list_tools.in_progress"
):
    """The service asks an MCP server for its tools."""

    item_id: str


class McpListToolsCompleted(
    ServerEventBase, frozen=True, kw_only=True, tag="mcp_list_tools.completed"
):
    """An MCP server's tools are known."""

    item_id: str


class McpListToolsFailed(ServerEventBase, frozen=True, kw_only=True, tag="mcp_list_tools.failed"):
    """An MCP server did not name its tools."""

    item_id: str


class RateLimitsUpdated(ServerEventBase, frozen=True, kw_only=True, tag="rate_limits.updated"):
    """What is left of the account's limits."""

    rate_limits: list[RateLimit]


class Error(ServerEventBase, frozen=True, kw_only=True, tag="error"):
    """Something went wrong; most errors leave the session open."""

    error: ErrorDetails


ServerEvent: TypeAlias = (
    SessionCreated
    | SessionUpdated
    | ConversationCreated
    | ConversationItemCreated
    | ConversationItemAdded
    | ConversationItemDone
    | ConversationItemRetrieved
    | ConversationItemDeleted
    | ConversationItemTruncated
    | ConversationItemInputAudioTranscriptionDelta
    | ConversationItemInputAudioTranscriptionSegment
    | ConversationItemInputAudioTranscriptionCompleted
    | ConversationItemInputAudioTranscriptionFailed
    | InputAudioBufferCommitted
    | InputAudioBufferCleared
    | InputAudioBufferSpeechStarted
    | InputAudioBufferSpeechStopped
    | InputAudioBufferTimeoutTriggered
    | InputAudioBufferDtmfEventReceived
    | OutputAudioBufferStarted
    | OutputAudioBufferStopped
    | OutputAudioBufferCleared
    | McpListToolsInProgress
    | McpListToolsCompleted
    | McpListToolsFailed
    | RateLimitsUpdated
    | Error
    | ResponseCreated
    | ResponseDone
    | ResponseOutputItemAdded
    | ResponseOutputItemDone
    | ResponseContentPartAdded
    | ResponseContentPartDone
    | ResponseOutputTextDelta
    | ResponseOutputTextDone
    | ResponseOutputAudioTranscriptDelta
    | ResponseOutputAudioTranscriptDone
    | ResponseOutputAudioDelta
    | ResponseOutputAudioDone
    | ResponseFunctionCallArgumentsDelta
    | ResponseFunctionCallArgumentsDone
    | ResponseMcpCallArgumentsDelta
    | ResponseMcpCallArgumentsDone
    | ResponseMcpCallInProgress
    | ResponseMcpCallCompleted
    | ResponseMcpCallFailed
    | UnknownEvent
)
