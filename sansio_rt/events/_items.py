"""Conversation items and their content parts."""

from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from sansio_rt.events._common import (
    Maybe,
    TaggedObject,
    UnknownObject,
    WireObject,
    new_list,
    new_text,
)


class UnknownItem(UnknownObject, frozen=True, kw_only=True, tag="$unknown_item"):
    """An item whose `type` this version does not know."""

    @property
    def id(self) -> str | UnsetType:
        """The item's id, as every item has one."""
        given = self.data.get("id")
        return given if isinstance(given, str) else UNSET


class UnknownPart(UnknownObject, frozen=True, kw_only=True, tag="$unknown_part"):
    """A content part whose `type` this version does not know."""


class PromptCacheBreakpoint(WireObject, frozen=True, kw_only=True):
    """Marks the end of a prefix that the service may cache.

    Attributes:
        mode: `explicit`.
        ttl: How long the prefix may be kept (`30m`, `12h`).
    """

    mode: str
    ttl: Maybe[str] = UNSET


class InputText(TaggedObject, frozen=True, kw_only=True, tag="input_text"):
    """Text that goes to the model."""

    text: str = msgspec.field(default_factory=new_text)
    prompt_cache_breakpoint: Maybe[PromptCacheBreakpoint] = UNSET


class InputAudio(TaggedObject, frozen=True, kw_only=True, tag="input_audio"):
    """Speech that goes to the model.

    Attributes:
        audio: Base64 of audio in the session's input format; the service leaves it out of echoes.
        transcript: What was said, for reference; the model does not read it.
    """

    audio: Maybe[str] = UNSET
    transcript: Maybe[str] = UNSET


class InputImage(TaggedObject, frozen=True, kw_only=True, tag="input_image"):
    """A picture that goes to the model.

    Attributes:
        image_url: A `data:` URI with the PNG or JPEG.
        detail: How closely the model looks (`auto`, `low`, `high`).
        file_id: An uploaded file instead (in prompt variables only).
    """

    image_url: Maybe[str] = UNSET
    detail: Maybe[str] = UNSET
    file_id: Maybe[str] = UNSET
    prompt_cache_breakpoint: Maybe[PromptCacheBreakpoint] = UNSET


class InputFile(TaggedObject, frozen=True, kw_only=True, tag="input_file"):
    """A file as a prompt variable."""

    detail: Maybe[str] = UNSET
    file_data: Maybe[str] = UNSET
    file_id: Maybe[str] = UNSET
    file_url: Maybe[str] = UNSET
    filename: Maybe[str] = UNSET
    prompt_cache_breakpoint: Maybe[PromptCacheBreakpoint] = UNSET


class OutputText(TaggedObject, frozen=True, kw_only=True, tag="output_text"):
    """Text that the model wrote."""

    text: str = msgspec.field(default_factory=new_text)


class OutputAudio(TaggedObject, frozen=True, kw_only=True, tag="output_audio"):
    """Speech of the model.

    Attributes:
        audio: Base64 of the audio; the service leaves it out of most echoes.
        transcript: What was said.
    """

    audio: Maybe[str] = UNSET
    transcript: Maybe[str] = UNSET


class TextPart(TaggedObject, frozen=True, kw_only=True, tag="text"):
    """Text in `response.content_part.*` (in items the same part is an `OutputText`)."""

    text: str = msgspec.field(default_factory=new_text)


class AudioPart(TaggedObject, frozen=True, kw_only=True, tag="audio"):
    """Speech in `response.content_part.*` (in items the same part is an `OutputAudio`).

    Attributes:
        audio: Base64 of the audio, usually left out.
        transcript: What was said.
    """

    audio: Maybe[str] = UNSET
    transcript: Maybe[str] = UNSET


Part: TypeAlias = (
    InputText
    | InputAudio
    | InputImage
    | InputFile
    | OutputText
    | OutputAudio
    | TextPart
    | AudioPart
    | UnknownPart
)


class Message(TaggedObject, frozen=True, kw_only=True, tag="message"):
    """What the system, the user or the assistant said.

    Attributes:
        role: `system`, `user` or `assistant`.
        content: The parts; system takes `InputText`, user `InputText`, `InputAudio`, `InputImage`,
            assistant `OutputText`, `OutputAudio`.
        id: The item's id; the client may choose one of up to 32 characters.
        object: `realtime.item`.
        status: `completed`, `incomplete`, `in_progress`.
    """

    role: str
    content: list[Part] = msgspec.field(default_factory=new_list)
    id: Maybe[str] = UNSET
    object: Maybe[str] = UNSET
    status: Maybe[str] = UNSET


class FunctionCall(TaggedObject, frozen=True, kw_only=True, tag="function_call"):
    """The model calls one of the session's functions.

    Attributes:
        name: The function's name.
        call_id: Names the call; the output must carry it.
        arguments: JSON text.
        id: The item's id.
        object: `realtime.item`.
        status: `completed`, `incomplete`, `in_progress`.
    """

    name: str
    call_id: str = ""
    arguments: str = msgspec.field(default_factory=new_text)
    id: Maybe[str] = UNSET
    object: Maybe[str] = UNSET
    status: Maybe[str] = UNSET


class FunctionCallOutput(TaggedObject, frozen=True, kw_only=True, tag="function_call_output"):
    """What a function answered.

    Attributes:
        call_id: The call that it answers.
        output: Free text for the model, often JSON.
        id: The item's id.
        object: `realtime.item`.
        status: No effect on the conversation.
    """

    call_id: str
    output: str = msgspec.field(default_factory=new_text)
    id: Maybe[str] = UNSET
    object: Maybe[str] = UNSET
    status: Maybe[str] = UNSET


class McpToolDescription(WireObject, frozen=True, kw_only=True):
    """One tool of an MCP server.

    Attributes:
        name: The tool's name.
        input_schema: JSON schema of its arguments.
        annotations: What the server adds about it.
        description: What it is for.
    """

    name: str
    input_schema: Any = UNSET
    annotations: Any = UNSET
    description: Maybe[str] = UNSET


class McpListTools(TaggedObject, frozen=True, kw_only=True, tag="mcp_list_tools"):
    """The tools that an MCP server offers."""

    server_label: str
    tools: list[McpToolDescription] = msgspec.field(default_factory=new_list)
    id: Maybe[str] = UNSET


class McpProtocolError(TaggedObject, frozen=True, kw_only=True, tag="protocol_error"):
    """The MCP server broke its protocol."""

    code: int
    message: str


class McpToolExecutionError(TaggedObject, frozen=True, kw_only=True, tag="tool_execution_error"):
    """The tool failed."""

    message: str


class McpHttpError(TaggedObject, frozen=True, kw_only=True, tag="http_error"):
    """The MCP server answered with an HTTP error."""

    code: int
    message: str


McpError: TypeAlias = McpProtocolError | McpToolExecutionError | McpHttpError | UnknownObject


class McpCall(TaggedObject, frozen=True, kw_only=True, tag="mcp_call"):
    """The model calls a tool of an MCP server; the service runs it.

    Attributes:
        server_label: Which MCP server.
        name: Which tool.
        arguments: JSON text.
        id: The item's id.
        approval_request_id: The approval that it waits for or had.
        error: Why it failed.
        output: What the tool answered.
    """

    server_label: str
    name: str
    arguments: str = msgspec.field(default_factory=new_text)
    id: Maybe[str] = UNSET
    approval_request_id: Maybe[str] = UNSET
    error: Maybe[McpError] = UNSET
    output: Maybe[str] = UNSET


class McpApprovalRequest(TaggedObject, frozen=True, kw_only=True, tag="mcp_approval_request"):
    """The service asks whether an MCP tool may run."""

    server_label: str
    name: str
    arguments: str = msgspec.field(default_factory=new_text)
    id: Maybe[str] = UNSET


class McpApprovalResponse(TaggedObject, frozen=True, kw_only=True, tag="mcp_approval_response"):
    """The answer to an approval request."""

    approval_request_id: str
    approve: bool
    id: Maybe[str] = UNSET
    reason: Maybe[str] = UNSET


Item: TypeAlias = (
    Message
    | FunctionCall
    | FunctionCallOutput
    | McpListTools
    | McpCall
    | McpApprovalRequest
    | McpApprovalResponse
    | UnknownItem
)


class ItemReference(TaggedObject, frozen=True, kw_only=True, tag="item_reference"):
    """Names an item of the session, as input of a response."""

    id: str


InputItem: TypeAlias = (
    Message
    | FunctionCall
    | FunctionCallOutput
    | McpListTools
    | McpCall
    | McpApprovalRequest
    | McpApprovalResponse
    | ItemReference
    | UnknownItem
)
