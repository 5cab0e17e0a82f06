"""Events of a response's progress, from `response.created` to `response.done`.

`response_id`, `item_id`, `output_index` and `content_index` say which part of which item of which
response an event belongs to.
"""

from msgspec import UNSET

from sansio_rt.events._common import Maybe, ServerEventBase
from sansio_rt.events._items import Item, Part
from sansio_rt.events._response import Response


class ResponseCreated(ServerEventBase, frozen=True, kw_only=True, tag="response.created"):
    """A response has begun."""

    response: Response


class ResponseDone(ServerEventBase, frozen=True, kw_only=True, tag="response.done"):
    """A response has ended; `response.status` says how."""

    response: Response


class ResponseOutputItemAdded(
    ServerEventBase, frozen=True, kw_only=True, tag="response.output_item.added"
):
    """A response made an item, still without its content."""

    response_id: str
    output_index: int
    item: Item


class ResponseOutputItemDone(
    ServerEventBase, frozen=True, kw_only=True, tag="response.output_item.done"
):
    """An item of a response is complete."""

    response_id: str
    output_index: int
    item: Item


class ResponseContentPartAdded(
    ServerEventBase, frozen=True, kw_only=True, tag="response.content_part.added"
):
    """A response began a part of an item."""

    response_id: str
    item_id: str
    output_index: int
    content_index: int
    part: Part


class ResponseContentPartDone(
    ServerEventBase, frozen=True, kw_only=True, tag="response.content_part.done"
):
    """A part of an item is complete."""

    response_id: str
    item_id: str
    output_index: int
    content_index: int
    part: Part


class ResponseOutputTextDelta(
    ServerEventBase, frozen=True, kw_only=True, tag="response.output_text.delta"
):
    """A piece of text.

    Attributes:
        obfuscation: Padding against guessing by length; sent, though the published type has it not.
    """

    response_id: str
    item_id: str
    output_index: int
    content_index: int
    delta: str
    obfuscation: Maybe[str] = UNSET


class ResponseOutputTextDone(
    ServerEventBase, frozen=True, kw_only=True, tag="response.output_text.done"
):
    """All text of a part."""

    response_id: str
    item_id: str
    output_index: int
    content_index: int
    text: str


class ResponseOutputAudioTranscriptDelta(
    ServerEventBase, frozen=True, kw_only=True, tag="response.output_audio_transcript.delta"
):
    """A piece of what the speech says.

    Attributes:
        obfuscation: Padding against guessing by length; sent, though the published type has it not.
    """

    response_id: str
    item_id: str
    output_index: int
    content_index: int
    delta: str
    obfuscation: Maybe[str] = UNSET


class ResponseOutputAudioTranscriptDone(
    ServerEventBase, frozen=True, kw_only=True, tag="response.output_audio_transcript.done"
):
    """All that the speech of a part says."""

    response_id: str
    item_id: str
    output_index: int
    content_index: int
    transcript: str


class ResponseOutputAudioDelta(
    ServerEventBase, frozen=True, kw_only=True, tag="response.output_audio.delta"
):
    """A piece of speech: audio in the session's output format (base64 on the wire only)."""

    response_id: str
    item_id: str
    output_index: int
    content_index: int
    delta: bytes


class ResponseOutputAudioDone(
    ServerEventBase, frozen=True, kw_only=True, tag="response.output_audio.done"
):
    """All speech of a part has come."""

    response_id: str
    item_id: str
    output_index: int
    content_index: int


class ResponseFunctionCallArgumentsDelta(
    ServerEventBase, frozen=True, kw_only=True, tag="response.function_call_arguments.delta"
):
    """A piece of a call's JSON arguments.

    Attributes:
        obfuscation: Padding against guessing by length; sent, though the published type has it not.
    """

    response_id: str
    item_id: str
    output_index: int
    call_id: str = ""
    delta: str
    obfuscation: Maybe[str] = UNSET


class ResponseFunctionCallArgumentsDone(
    ServerEventBase, frozen=True, kw_only=True, tag="response.function_call_arguments.done"
):
    """All JSON arguments of a call."""

    response_id: str
    item_id: str
    output_index: int
    call_id: str = ""
    name: str = ""
    arguments: str


class ResponseMcpCallArgumentsDelta(
    ServerEventBase, frozen=True, kw_only=True, tag="response.mcp_call_arguments.delta"
):
    """A piece of an MCP call's JSON arguments; `obfuscation` is padding."""

    response_id: str
    item_id: str
    output_index: int
    delta: str
    obfuscation: Maybe[str] = UNSET


class ResponseMcpCallArgumentsDone(
    ServerEventBase, frozen=True, kw_only=True, tag="response.mcp_call_arguments.done"
):
    """All JSON arguments of an MCP call."""

    response_id: str
    item_id: str
    output_index: int
    arguments: str


class ResponseMcpCallInProgress(
    ServerEventBase, frozen=True, kw_only=True, tag="response.mcp_call.in_progress"
):
    """An MCP call runs."""

    item_id: str
    output_index: int


class ResponseMcpCallCompleted(
    ServerEventBase, frozen=True, kw_only=True, tag="response.mcp_call.completed"
):
    """An MCP call succeeded."""

    item_id: str
    output_index: int


class ResponseMcpCallFailed(
    ServerEventBase, frozen=True, kw_only=True, tag="response.mcp_call.failed"
):
    """An MCP call failed."""

    item_id: str
    output_index: int
