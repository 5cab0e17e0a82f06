"""What a server session asks of its driver, and what it says to itself when it refuses.

The session hears, thinks and speaks nothing by itself. `ServerSession.next_event` hands out one of
these requests; the driver answers later with calls that name the same item or response.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from msgspec import Struct

__all__ = [
    "CloseWanted",
    "HistoryTurn",
    "OfferedTool",
    "Refusal",
    "ReplyCancelled",
    "ReplyWanted",
    "ServerLimits",
    "ServerWork",
    "SpeechDropped",
    "SpeechHeard",
    "TranscriptionWanted",
]

TurnRole = Literal["user", "assistant", "system", "tool_call", "tool_output"]


class HistoryTurn(Struct, frozen=True):
    """One thing of the conversation, as a mind reads it.

    Attributes:
        role: Who said it, or that it is a tool's call or output.
        text: The words, a call's arguments as JSON, or a tool's output.
        name: The tool's name, with `tool_call`.
        call_id: Ties a `tool_output` to its `tool_call`.
    """

    role: TurnRole
    text: str
    name: str = ""
    call_id: str = ""


class OfferedTool(Struct, frozen=True):
    """A function that the client offers to the model.

    Attributes:
        name: Its name.
        description: What it does, in the client's words.
        parameters: JSON schema of its arguments.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = {}


class SpeechHeard(Struct, frozen=True):
    """A further piece of an utterance, for recognition that works while the sound comes in.

    Only sent where the session was made with `stream_speech=True`.

    Attributes:
        item_id: The item that the utterance will become.
        pcm: PCM16 mono little-endian; follows the piece before without a gap.
        rate: Sample rate in Hz.
    """

    item_id: str
    pcm: bytes
    rate: int


class SpeechDropped(Struct, frozen=True):
    """An utterance of which `SpeechHeard` told will never become an item: it was cleared.

    Attributes:
        item_id: The id that it would have had.
    """

    item_id: str


class TranscriptionWanted(Struct, frozen=True):
    """Find the words of a committed utterance.

    Answer with `transcribed` or `transcription_failed`. A reply that builds on the item waits for
    it, also where the client wants no transcript (`model` is None then, and nothing is sent to it).

    Attributes:
        item_id: The user's item.
        pcm: All of it, PCM16 mono little-endian.
        rate: Sample rate in Hz.
        model: The transcription model that the client asked for, or None.
    """

    item_id: str
    pcm: bytes
    rate: int
    model: str | None


class ReplyWanted(Struct, frozen=True):
    """Think of a reply and give it to the response, in the order in which it is to be said.

    Answer with `begin_message`, `push_text`, `push_audio`, `end_message`, `call_function`, and at
    last `finish` or `fail`.

    Attributes:
        response_id: The response to answer.
        history: The conversation (or the response's own input), oldest first.
        instructions: The system prompt in force.
        tools: The functions that may be called.
        tool_choice: `auto`, `none`, `required`, or the name of the one function to call.
        audio: Whether messages are to be spoken (with `push_audio`) or only written.
        voice: Name of the voice.
        speed: Rate of speech, 1.0 is the usual one.
    """

    response_id: str
    history: tuple[HistoryTurn, ...]
    instructions: str
    tools: tuple[OfferedTool, ...]
    tool_choice: str
    audio: bool
    voice: str
    speed: float


class ReplyCancelled(Struct, frozen=True):
    """Stop working on a reply; what is pushed for it from now on is ignored.

    Attributes:
        response_id: The response that has ended.
    """

    response_id: str


class CloseWanted(Struct, frozen=True):
    """Send what is queued, then close the connection.

    Attributes:
        code: WebSocket close code.
        reason: The words of the close frame.
    """

    code: int
    reason: str


ServerWork = (
    SpeechHeard | SpeechDropped | TranscriptionWanted | ReplyWanted | ReplyCancelled | CloseWanted
)


@dataclass(frozen=True)
class ServerLimits:
    """The service's numbers; a test may make them small.

    Attributes:
        session_s: How long a session lives; then `session_expired` and a close.
        append_bytes: The most audio that one append may hold.
        buffered_s: The most audio that may wait to be committed.
        minimum_commit_ms: The least audio that can be committed.
        item_id_characters: The longest id that a client may give an item.
        delta_ms: Length of one audio delta.
        tokens_per_minute: What `rate_limits.updated` tells of.
    """

    session_s: float = 3600.0
    append_bytes: int = 15 * 1024 * 1024
    buffered_s: float = 1800.0
    minimum_commit_ms: int = 100
    item_id_characters: int = 32
    delta_ms: int = 100
    tokens_per_minute: int = 250_000


class Refusal(Exception):
    """A client event that is answered with an `error` event. It never leaves the session.

    Attributes:
        message: A sentence for the client's developer.
        code: The service's code.
        param: JSON path of the field that was refused, or None.
        error_type: The service's error type.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        param: str | None = None,
        error_type: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.error_type = error_type
