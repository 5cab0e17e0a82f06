"""What `ClientProtocol.next_event` gives: what happened, in the terms of a session.

They are made from server events, but are not those: they carry the state objects (`Generation`,
`ConversationItem`) that the events are about. Raw server events come beside them on demand
(`ClientProtocol.raw_events`), as `RawServerEvent`.
"""

from __future__ import annotations

import enum

from msgspec import Struct

from . import events
from ._audio import AudioFrame
from ._commands import Command
from ._conversation import ConversationItem
from ._errors import RealtimeError, SchemaError
from ._generations import GeneratedCall, GeneratedMessage, Generation
from ._metrics import GenerationMetrics, TranscriptionMetrics

__all__ = [
    "AudioDelta",
    "CallReady",
    "CommandEnded",
    "ConnectionLost",
    "ConnectionReplaced",
    "ErrorScope",
    "GenerationEnded",
    "GenerationStarted",
    "InputAudioCleared",
    "InputAudioCommitted",
    "InputTimedOut",
    "InputTranscriptCompleted",
    "InputTranscriptDelta",
    "InputTranscriptFailed",
    "ItemAdded",
    "ItemDeleted",
    "ItemDone",
    "ItemTruncated",
    "MessageBroken",
    "MessageEnded",
    "MessageStarted",
    "RateLimitsReported",
    "RawClientEvent",
    "RawServerEvent",
    "ResponseDiscarded",
    "RotationDue",
    "ServerErrorReported",
    "SessionClosed",
    "SessionConfigured",
    "SessionEvent",
    "SessionReady",
    "SessionResumed",
    "SpeechStarted",
    "SpeechStopped",
    "StrayEvent",
    "TextDelta",
    "UnknownEventReceived",
]


class SessionReady(Struct, frozen=True, kw_only=True):
    """The connection is up and the server accepted the configuration."""

    session: events.RealtimeSession | None
    """The effective configuration as the server echoed it."""
    handshake_s: float
    """From `connect` to the accepted WebSocket handshake, in seconds."""
    connect_s: float
    """From `connect` to here, in seconds."""


class ConnectionLost(Struct, frozen=True, kw_only=True):
    """The connection is gone and will be replaced: connect again at `reconnect_at`."""

    error: RealtimeError
    """Why."""
    attempt: int
    """Which try the next one is, from 1, counted since the last healthy connection."""
    reconnect_at: float
    """When to connect, in the time that is handed in."""
    planned: bool
    """Whether we wanted it: a rotation, or `restart`."""


class RotationDue(Struct, frozen=True, kw_only=True):
    """The connection is to be replaced while it still serves: dial, then `ClientProtocol.begin_rotation`.

    A caller that ignores this goes on with its connection until the server, or a `restart`, ends it; then
    that is lost and replaced like any other.
    """

    reason: str
    deadline: float
    """From here on the next connection takes over at any moment, not only at a quiet one."""


class ConnectionReplaced(Struct, frozen=True, kw_only=True):
    """The next connection has taken over: `ClientProtocol.link` is its link. `SessionResumed` follows.

    The old link has its close frame to send; close its stream when it is `finished`, or after
    `Timing.close_timeout_s`.
    """

    reason: str
    error: RealtimeError | None
    """What ended the old connection before a quiet moment came; None: it still served."""


class SessionResumed(Struct, frozen=True, kw_only=True):
    """A connection was replaced, and the server has the conversation again."""

    away_s: float
    """How long it was away, in seconds."""
    replayed: int
    """How many items were said again."""
    left_out: tuple[str, ...]
    """Ids of items that could not be kept: the service's own, or without any words."""
    audio_lost_ms: float
    """The caller's audio that was too old to be kept, in milliseconds."""
    planned: bool = False
    """Whether the next connection stood ready before the old one went."""
    handshake_s: float | None = None
    """From `connect` to the accepted WebSocket handshake, in seconds; None where it was planned."""
    connect_s: float | None = None
    """From `connect` to here, in seconds; None where it was planned."""


class SessionConfigured(Struct, frozen=True, kw_only=True):
    """The server told its effective configuration: on its own, or after an update."""

    session: events.RealtimeSession


class SessionClosed(Struct, frozen=True, kw_only=True):
    """The connection is gone; always the last event of a connection."""

    error: RealtimeError | None
    """Why, or None where we closed it."""
    code: int
    """WebSocket close code; 1006 where the peer went without a close frame."""
    reason: str


class SpeechStarted(Struct, frozen=True, kw_only=True):
    """The server heard the caller begin to speak."""

    item_id: str
    """The user message that will hold this turn."""
    audio_start_ms: int
    """Position in all the audio sent in this session."""
    transcript_expected: bool
    """Whether a transcript will follow."""
    received_at: float
    """When it came, by the clock that was handed in."""


class SpeechStopped(Struct, frozen=True, kw_only=True):
    """The server heard the caller stop."""

    item_id: str
    audio_end_ms: int
    """Position in all the audio sent in this session; by the service's word it includes the silence that
    the turn detection waits for."""
    transcript_expected: bool
    received_at: float
    """When it came, by the clock that was handed in."""
    last_word_at: float | None = None
    """When the last sample of the speech was pushed: that at `audio_end_ms` less the configured silence.

    Late by at most the length of one push, and only as good as the server's detection. None where the
    silence is not known (semantic turn detection, or a silence that the configuration leaves to the
    server), or where the push is too long ago.
    """


class InputTimedOut(Struct, frozen=True, kw_only=True):
    """The caller stayed silent for the idle timeout; the server goes on by itself."""

    item_id: str
    audio_start_ms: int
    audio_end_ms: int


class InputAudioCommitted(Struct, frozen=True, kw_only=True):
    """The caller's audio became a user message."""

    item_id: str
    previous_item_id: str | None
    transcript_expected: bool
    received_at: float
    """When it came, by the clock that was handed in."""
    last_word_at: float | None = None
    """For a commit of ours: when the last sample before it was pushed. None for the server's own."""


class InputAudioCleared(Struct, frozen=True, kw_only=True):
    """The server dropped the audio that was not committed."""


class InputTranscriptDelta(Struct, frozen=True, kw_only=True):
    """A piece of the transcript of what the caller said."""

    item_id: str
    content_index: int
    delta: str
    text: str
    """All pieces of this part so far."""


class InputTranscriptCompleted(Struct, frozen=True, kw_only=True):
    """The whole transcript of what the caller said."""

    item_id: str
    content_index: int
    transcript: str
    confidence: float | None
    """Geometric mean of the token probabilities, 0 to 1, where the server gave log-probabilities."""
    event: events.ConversationItemInputAudioTranscriptionCompleted
    """The server's event, with usage, language and log-probabilities."""
    received_at: float
    """When it came, by the clock that was handed in."""
    metrics: TranscriptionMetrics
    """What it took."""


class InputTranscriptFailed(Struct, frozen=True, kw_only=True):
    """The caller's audio could not be transcribed. The conversation goes on."""

    item_id: str
    content_index: int
    message: str


class GenerationStarted(Struct, frozen=True):
    """A response began."""

    generation: Generation


class MessageStarted(Struct, frozen=True):
    """A response began a message."""

    message: GeneratedMessage


class TextDelta(Struct, frozen=True):
    """A piece of a message's text, or of the transcript of its audio."""

    message: GeneratedMessage
    content_index: int
    text: str
    is_transcript: bool
    event: events.ServerEvent
    """The server's event: a delta (timing that a server adds is in its `extra`), or the end of a text
    that no delta told."""


class AudioDelta(Struct, frozen=True):
    """A piece of a message's audio."""

    message: GeneratedMessage
    content_index: int
    frame: AudioFrame


class MessageEnded(Struct, frozen=True):
    """A message is whole, or was cut off by the end of its response."""

    message: GeneratedMessage


class CallReady(Struct, frozen=True):
    """A function call is whole: answer it with `ClientProtocol.send_tool_output`."""

    call: GeneratedCall


class GenerationEnded(Struct, frozen=True):
    """A response ended; `generation.status` says how. Comes exactly once for each `GenerationStarted`."""

    generation: Generation


class ResponseDiscarded(Struct, frozen=True, kw_only=True):
    """A response that nobody was to hear ended, and took tokens all the same.

    Its caller had given up before it began, or it was text where audio was asked for (and was asked again).
    """

    metrics: GenerationMetrics


class ItemAdded(Struct, frozen=True, kw_only=True):
    """An item was added to the conversation."""

    entry: ConversationItem
    orphaned: bool = False
    """The item that it should follow is unknown; it stands at the tail."""


class ItemDone(Struct, frozen=True, kw_only=True):
    """An item is whole."""

    entry: ConversationItem


class ItemDeleted(Struct, frozen=True, kw_only=True):
    """An item was taken out of the conversation."""

    item_id: str


class ItemTruncated(Struct, frozen=True, kw_only=True):
    """An assistant item was cut to what was heard."""

    item_id: str
    audio_end_ms: int


class CommandEnded(Struct, frozen=True):
    """A command left the table of outstanding commands; `command.outcome` says how."""

    command: Command


class RateLimitsReported(Struct, frozen=True, kw_only=True):
    """The server told how much may still be used."""

    rate_limits: list[events.RateLimit]


class ErrorScope(enum.Enum):
    """How far an error of the service reaches (parity X4)."""

    BENIGN = "benign race"
    COMMAND = "command failed"
    SESSION = "session failed"


class ServerErrorReported(Struct, frozen=True, kw_only=True):
    """An `error` message of the service that ended no command of ours."""

    error: events.ErrorDetails
    scope: ErrorScope


class UnknownEventReceived(Struct, frozen=True, kw_only=True):
    """A server event of a type that is not known here: data, not an error."""

    event: events.UnknownEvent


class MessageBroken(Struct, frozen=True, kw_only=True):
    """A message that is no Realtime event. It was counted and dropped."""

    error: SchemaError


class StrayEvent(Struct, frozen=True, kw_only=True):
    """A server event that fits nothing that is known: a late delta, a second end. It was dropped."""

    event: events.ServerEvent
    reason: str


class RawServerEvent(Struct, frozen=True):
    """Every server event as it was received, before what it led to."""

    event: events.ServerEvent


class RawClientEvent(Struct, frozen=True):
    """Every client event as it was queued."""

    event: events.ClientEvent


SessionEvent = (
    SessionReady
    | ConnectionLost
    | RotationDue
    | ConnectionReplaced
    | SessionResumed
    | SessionConfigured
    | SessionClosed
    | SpeechStarted
    | SpeechStopped
    | InputTimedOut
    | InputAudioCommitted
    | InputAudioCleared
    | InputTranscriptDelta
    | InputTranscriptCompleted
    | InputTranscriptFailed
    | GenerationStarted
    | MessageStarted
    | TextDelta
    | AudioDelta
    | MessageEnded
    | CallReady
    | GenerationEnded
    | ResponseDiscarded
    | ItemAdded
    | ItemDone
    | ItemDeleted
    | ItemTruncated
    | CommandEnded
    | RateLimitsReported
    | ServerErrorReported
    | UnknownEventReceived
    | MessageBroken
    | StrayEvent
    | RawServerEvent
    | RawClientEvent
)
