"""Session objects: what a session is set to, as the client asks and as the server answers."""

from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET

from sansio_rt.events._common import Maybe, TaggedObject, UnknownObject, WireObject
from sansio_rt.events._items import InputFile, InputImage, InputText, UnknownPart


def _default_rate() -> int:
    """24 kHz, written although it is the default: the service asks for it."""
    return 24000


class PcmFormat(TaggedObject, frozen=True, kw_only=True, tag="audio/pcm"):
    """16-bit little-endian mono PCM.

    Attributes:
        rate: Samples per second; the service knows 24000 only.
    """

    rate: int = msgspec.field(default_factory=_default_rate)


class PcmuFormat(TaggedObject, frozen=True, kw_only=True, tag="audio/pcmu"):
    """G.711 µ-law, 8000 samples per second."""


class PcmaFormat(TaggedObject, frozen=True, kw_only=True, tag="audio/pcma"):
    """G.711 A-law, 8000 samples per second."""


AudioFormat: TypeAlias = PcmFormat | PcmuFormat | PcmaFormat | UnknownObject


class NoiseReduction(WireObject, frozen=True, kw_only=True):
    """Filtering of the input before detection and model.

    Attributes:
        type: `near_field` (headset) or `far_field` (room).
        strength: How much.
    """

    type: Maybe[str] = UNSET
    strength: Maybe[float] = UNSET


class Transcription(WireObject, frozen=True, kw_only=True):
    """Transcription of the user's speech, beside the model.

    Attributes:
        model: The transcription model.
        language: ISO 639-1 code of the language.
        languages: Several such codes.
        prompt: A hint for the model.
        keywords: Words to expect.
        delay: How long it may wait for more context (`minimal` to `xhigh`).
    """

    model: Maybe[str] = UNSET
    language: Maybe[str] = UNSET
    languages: Maybe[list[str]] = UNSET
    prompt: Maybe[str] = UNSET
    keywords: Maybe[list[str]] = UNSET
    delay: Maybe[str] = UNSET


class ServerVad(TaggedObject, frozen=True, kw_only=True, tag="server_vad"):
    """Turns by volume and silence.

    Attributes:
        threshold: How loud speech must be, 0 to 1.
        prefix_padding_ms: Audio kept from before the speech.
        silence_duration_ms: Silence that ends a turn.
        create_response: Whether the server answers by itself.
        interrupt_response: Whether speech stops a response under way.
        idle_timeout_ms: After so much silence the server speaks by itself.
    """

    threshold: Maybe[float] = UNSET
    prefix_padding_ms: Maybe[int] = UNSET
    silence_duration_ms: Maybe[int] = UNSET
    create_response: Maybe[bool] = UNSET
    interrupt_response: Maybe[bool] = UNSET
    idle_timeout_ms: Maybe[int] = UNSET


class SemanticVad(TaggedObject, frozen=True, kw_only=True, tag="semantic_vad"):
    """Turns by what was said.

    Attributes:
        eagerness: How soon it takes a turn as ended (`low`, `medium`, `high`, `auto`).
        create_response: Whether the server answers by itself.
        interrupt_response: Whether speech stops a response under way.
    """

    eagerness: Maybe[str] = UNSET
    create_response: Maybe[bool] = UNSET
    interrupt_response: Maybe[bool] = UNSET


TurnDetection: TypeAlias = ServerVad | SemanticVad | UnknownObject


class AudioInput(WireObject, frozen=True, kw_only=True):
    """Settings of what the user says."""

    format: Maybe[AudioFormat] = UNSET
    transcription: Maybe[Transcription] = UNSET
    noise_reduction: Maybe[NoiseReduction] = UNSET
    turn_detection: Maybe[TurnDetection] = UNSET


class VoiceId(WireObject, frozen=True, kw_only=True):
    """A voice of one's own, by its id."""

    id: str


class AudioOutput(WireObject, frozen=True, kw_only=True):
    """Settings of what the model says.

    Attributes:
        format: Audio format.
        voice: A voice's name, or the id of one's own.
        speed: 0.25 to 1.5 times the usual speed.
    """

    format: Maybe[AudioFormat] = UNSET
    voice: Maybe[str | VoiceId] = UNSET
    speed: Maybe[float] = UNSET


class AudioConfig(WireObject, frozen=True, kw_only=True):
    """Both directions of audio."""

    input: Maybe[AudioInput] = UNSET
    output: Maybe[AudioOutput] = UNSET


class FunctionTool(TaggedObject, frozen=True, kw_only=True, tag="function"):
    """A function that the model may call.

    Attributes:
        name: Its name.
        description: When and how to call it.
        parameters: JSON schema of its arguments.
    """

    name: Maybe[str] = UNSET
    description: Maybe[str] = UNSET
    parameters: Any = UNSET


class McpToolFilter(WireObject, frozen=True, kw_only=True):
    """Some of an MCP server's tools."""

    read_only: Maybe[bool] = UNSET
    tool_names: Maybe[list[str]] = UNSET


class McpApprovalFilter(WireObject, frozen=True, kw_only=True):
    """Which of an MCP server's tools always, and which never, need approval."""

    always: Maybe[McpToolFilter] = UNSET
    never: Maybe[McpToolFilter] = UNSET


class McpTool(TaggedObject, frozen=True, kw_only=True, tag="mcp"):
    """An MCP server whose tools the model may call; the service runs them.

    Attributes:
        server_label: A name for it in this session.
        allowed_callers: Who may call (`direct`, `programmatic`).
        allowed_tools: Names or a filter of the tools that may be used.
        authorization: An access token for the server.
        connector_id: A connector of the service instead of a URL.
        defer_loading: Whether to load the tools when they are needed.
        headers: HTTP headers for the server.
        require_approval: `always`, `never` or a filter.
        server_description: What it is for.
        server_url: Its address.
        tunnel_id: A tunnel to it.
    """

    server_label: str
    allowed_callers: Maybe[list[str]] = UNSET
    allowed_tools: Maybe[list[str] | McpToolFilter] = UNSET
    authorization: Maybe[str] = UNSET
    connector_id: Maybe[str] = UNSET
    defer_loading: Maybe[bool] = UNSET
    headers: Maybe[dict[str, str]] = UNSET
    require_approval: Maybe[str | McpApprovalFilter] = UNSET
    server_description: Maybe[str] = UNSET
    server_url: Maybe[str] = UNSET
    tunnel_id: Maybe[str] = UNSET


ToolEntry: TypeAlias = FunctionTool | McpTool | UnknownObject


class ToolChoiceFunction(TaggedObject, frozen=True, kw_only=True, tag="function"):
    """The model must call this function."""

    name: str


class ToolChoiceMcp(TaggedObject, frozen=True, kw_only=True, tag="mcp"):
    """The model must call this MCP server, or one tool of it."""

    server_label: str
    name: Maybe[str] = UNSET


ToolChoice: TypeAlias = str | ToolChoiceFunction | ToolChoiceMcp | UnknownObject


class TracingConfig(WireObject, frozen=True, kw_only=True):
    """How the service's traces of this session are labelled."""

    group_id: Maybe[str] = UNSET
    metadata: Any = UNSET
    workflow_name: Maybe[str] = UNSET


class TokenLimits(WireObject, frozen=True, kw_only=True):
    """How many tokens truncation leaves.

    Attributes:
        post_instructions: Tokens after the instructions.
    """

    post_instructions: Maybe[int] = UNSET


class RetentionRatio(TaggedObject, frozen=True, kw_only=True, tag="retention_ratio"):
    """Truncation that keeps a share of the conversation.

    Attributes:
        retention_ratio: The share, 0 to 1.
        token_limits: Limits of one's own.
    """

    retention_ratio: float
    token_limits: Maybe[TokenLimits] = UNSET


Truncation: TypeAlias = str | RetentionRatio | UnknownObject


class Reasoning(WireObject, frozen=True, kw_only=True):
    """How much a reasoning model thinks.

    Attributes:
        effort: `minimal`, `low`, `medium`, `high`, `xhigh`.
    """

    effort: Maybe[str] = UNSET


PromptVariable: TypeAlias = str | InputText | InputImage | InputFile | UnknownPart


class Prompt(WireObject, frozen=True, kw_only=True):
    """A stored prompt template.

    Attributes:
        id: The template.
        version: Which version of it.
        variables: What to put into it.
    """

    id: str
    version: Maybe[str] = UNSET
    variables: Maybe[dict[str, PromptVariable]] = UNSET


class RealtimeSession(TaggedObject, frozen=True, kw_only=True, tag="realtime"):
    """A conversation session, wanted (`session.update`) or in force (`session.created/updated`).

    Attributes:
        audio: Formats, transcription, turn detection, voice, speed.
        expires_at: Unix seconds when the session ends.
        id: The session's id.
        include: Additional outputs (`item.input_audio_transcription.logprobs`).
        instructions: The system's words before the conversation.
        max_output_tokens: 1 to 4096, or `inf`.
        model: The model.
        object: `realtime.session`.
        output_modalities: `["audio"]` or `["text"]`.
        parallel_tool_calls: Whether one response may call several tools.
        prompt: A stored prompt template.
        reasoning: How much the model thinks.
        tool_choice: `auto`, `none`, `required`, or one tool.
        tools: What the model may call.
        tracing: `auto`, labels, or None for off.
        truncation: `auto`, `disabled`, or a share to keep.
    """

    model: Maybe[str] = UNSET
    output_modalities: Maybe[list[str]] = UNSET
    instructions: Maybe[str] = UNSET
    audio: Maybe[AudioConfig] = UNSET
    tools: Maybe[list[ToolEntry]] = UNSET
    tool_choice: Maybe[ToolChoice] = UNSET
    max_output_tokens: Maybe[int | str] = UNSET
    tracing: Maybe[str | TracingConfig] = UNSET
    truncation: Maybe[Truncation] = UNSET
    include: Maybe[list[str]] = UNSET
    prompt: Maybe[Prompt] = UNSET
    reasoning: Maybe[Reasoning] = UNSET
    parallel_tool_calls: Maybe[bool] = UNSET
    id: Maybe[str] = UNSET
    object: Maybe[str] = UNSET
    expires_at: Maybe[int] = UNSET


class TranscriptionSession(TaggedObject, frozen=True, kw_only=True, tag="transcription"):
    """A session that only transcribes.

    Attributes:
        audio: Input settings; there is no output.
        include: Additional outputs (`item.input_audio_transcription.logprobs`).
        id: The session's id.
        object: The service's name for this kind of object.
        expires_at: Unix seconds when the session ends.
    """

    audio: Maybe[AudioConfig] = UNSET
    include: Maybe[list[str]] = UNSET
    id: Maybe[str] = UNSET
    object: Maybe[str] = UNSET
    expires_at: Maybe[int] = UNSET


class UnknownSession(UnknownObject, frozen=True, kw_only=True, tag="$unknown_session"):
    """A session whose `type` this version does not know."""


SessionObject: TypeAlias = RealtimeSession | TranscriptionSession | UnknownSession
