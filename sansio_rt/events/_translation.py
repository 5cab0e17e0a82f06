"""Events of translation sessions, a protocol of its own beside the conversation's.

Its `session.created`, `session.updated` and `session.update` have the conversation's types but
other sessions in them, so these three are named `Translation...`; the others after their types.
"""

from typing import TypeAlias

from msgspec import UNSET

from sansio_rt.events._common import (
    ClientEventBase,
    Maybe,
    ServerEventBase,
    UnknownEvent,
    WireObject,
)
from sansio_rt.events._server import Error
from sansio_rt.events._session import NoiseReduction


class TranslationTranscription(WireObject, frozen=True, kw_only=True):
    """Transcription of the speech that comes in."""

    model: str


class TranslationInput(WireObject, frozen=True, kw_only=True):
    """Settings of the speech that comes in."""

    noise_reduction: Maybe[NoiseReduction] = UNSET
    transcription: Maybe[TranslationTranscription] = UNSET


class TranslationOutput(WireObject, frozen=True, kw_only=True):
    """Settings of the translated speech.

    Attributes:
        language: The language to translate into.
    """

    language: Maybe[str] = UNSET


class TranslationAudio(WireObject, frozen=True, kw_only=True):
    """Both directions of audio."""

    input: Maybe[TranslationInput] = UNSET
    output: Maybe[TranslationOutput] = UNSET


class TranslationSession(WireObject, frozen=True, kw_only=True):
    """A translation session, wanted (only `audio`) or in force.

    Attributes:
        audio: Settings of both directions.
        id: The session's id.
        expires_at: Unix seconds when the session ends.
        model: The model.
        type: `translation`; left out by the client.
    """

    audio: Maybe[TranslationAudio] = UNSET
    id: Maybe[str] = UNSET
    expires_at: Maybe[int] = UNSET
    model: Maybe[str] = UNSET
    type: Maybe[str] = UNSET


class TranslationSessionCreated(ServerEventBase, frozen=True, kw_only=True, tag="session.created"):
    """The session has begun."""

    session: TranslationSession


class TranslationSessionUpdated(ServerEventBase, frozen=True, kw_only=True, tag="session.updated"):
    """The settings now in force."""

    session: TranslationSession


class SessionClosed(ServerEventBase, frozen=True, kw_only=True, tag="session.closed"):
    """The session has ended; nothing comes after it."""


class SessionInputTranscriptDelta(
    ServerEventBase, frozen=True, kw_only=True, tag="session.input_transcript.delta"
):
    """A piece of what was said.

    Attributes:
        delta: The text.
        elapsed_ms: Where in the session's audio it stands.
    """

    delta: str
    elapsed_ms: Maybe[int] = UNSET


class SessionOutputTranscriptDelta(
    ServerEventBase, frozen=True, kw_only=True, tag="session.output_transcript.delta"
):
    """A piece of the translation as text.

    Attributes:
        delta: The text.
        elapsed_ms: Where in the session's audio it stands.
    """

    delta: str
    elapsed_ms: Maybe[int] = UNSET


class SessionOutputAudioDelta(
    ServerEventBase, frozen=True, kw_only=True, tag="session.output_audio.delta"
):
    """A piece of the translation as speech.

    Attributes:
        channels: How many there are in `delta`.
        elapsed_ms: Where in the session's audio it stands.
        format: `pcm16`.
        sample_rate: Samples per second.
        delta: The audio (base64 on the wire only).
    """

    channels: Maybe[int] = UNSET
    elapsed_ms: Maybe[int] = UNSET
    format: Maybe[str] = UNSET
    sample_rate: Maybe[int] = UNSET
    delta: bytes


class TranslationSessionUpdate(ClientEventBase, frozen=True, kw_only=True, tag="session.update"):
    """Changes the session's settings; fields left out stay as they are."""

    session: TranslationSession


class SessionInputAudioBufferAppend(
    ClientEventBase, frozen=True, kw_only=True, tag="session.input_audio_buffer.append"
):
    """Adds speech; there is no answer.

    Attributes:
        audio: 16-bit PCM, 24000 samples per second (base64 on the wire only).
    """

    audio: bytes


class SessionClose(ClientEventBase, frozen=True, kw_only=True, tag="session.close"):
    """Ends the session; the server sends what is left, then `session.closed`."""


TranslationServerEvent: TypeAlias = (
    Error
    | TranslationSessionCreated
    | TranslationSessionUpdated
    | SessionClosed
    | SessionInputTranscriptDelta
    | SessionOutputTranscriptDelta
    | SessionOutputAudioDelta
    | UnknownEvent
)

TranslationClientEvent: TypeAlias = (
    TranslationSessionUpdate | SessionInputAudioBufferAppend | SessionClose | UnknownEvent
)
