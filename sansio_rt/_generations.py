"""Responses in flight: one state object per response, in a map by id, never in a "current" slot.

A `Generation` is one response as the application sees it. It holds `GeneratedMessage`s and
`GeneratedCall`s by item id and ends exactly once, in one of the ways of `GenerationStatus`. Texts are
kept until the end, audio is not kept at all: it is handed on and only counted.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from msgspec import UNSET, UnsetType

from . import events
from ._config import Limits
from ._conversation import size_of, without_audio
from ._errors import RemoteProtocolError
from ._metrics import GenerationMetrics, GenerationStatus, measure_generation

__all__ = [
    "GeneratedCall",
    "GeneratedMessage",
    "Generation",
    "GenerationMetrics",
    "GenerationOrigin",
    "GenerationStatus",
]


# What objects cost in memory beside the text in them, about.
_OBJECT_BYTES = 1024
_PIECE_BYTES = 64


class GenerationOrigin(enum.Enum):
    """Who asked for a generation."""

    CALLER = "caller"
    """`generate_reply`."""
    TOOL_OUTPUTS = "tool outputs"
    """The session itself, when the calls of a response had their outputs."""
    SERVER = "server"
    """The server, after a turn of the caller's speech; or the session in its place, after a reconnect."""


class GeneratedMessage:
    """One message of a generation while it grows.

    Attributes:
        id: The item's id.
        generation: The generation that it belongs to.
        output_index: Its place in the response.
        text: Text or transcript so far.
        received_samples: Audio samples received so far.
        done: Nothing more will come.
    """

    __slots__ = (
        "_texts",
        "_whole",
        "done",
        "generation",
        "id",
        "modalities",
        "output_index",
        "received_samples",
    )

    def __init__(self, item_id: str, generation: Generation, output_index: int) -> None:
        self.id: Final = item_id
        self.generation: Final = generation
        self.output_index: Final = output_index
        self.modalities: set[str] = set()
        self.received_samples = 0
        self.done = False
        self._texts: dict[int, list[str]] = {}
        self._whole: set[int] = set()
        generation.hold(_OBJECT_BYTES)

    def __repr__(self) -> str:
        return f"<GeneratedMessage {self.id} {'done' if self.done else 'open'} {self.text!r}>"

    @property
    def text(self) -> str:
        """Text and transcript so far."""
        return " ".join(map("".join, self._texts.values()))

    @property
    def received_ms(self) -> float:
        """Length of the audio received so far, in milliseconds."""
        return self.received_samples * 1000 / self.generation.audio_rate

    def is_whole(self, content_index: int) -> bool:
        """Whether the text of a content part has ended."""
        return content_index in self._whole

    def add_text(self, content_index: int, delta: str) -> None:
        """Appends a piece of text or transcript to a content part."""
        self.generation.hold(_PIECE_BYTES + len(delta))
        self._texts.setdefault(content_index, []).append(delta)

    def finish_text(self, content_index: int, text: str) -> str:
        """Replaces the text of a content part by its final form; gives what no delta had told of it."""
        self.generation.hold(len(text))
        told = "".join(self._texts.get(content_index, ()))
        self._texts[content_index] = [text]
        self._whole.add(content_index)
        if text == told:
            return ""
        return text[len(told) :] if text.startswith(told) else ""


class GeneratedCall:
    """One function call of a generation.

    Attributes:
        item_id: The item's id.
        call_id: What the output must name.
        name: The function.
        arguments: JSON text, whole once `done`.
        done: The arguments are whole.
        answered: An output was sent, or is not wanted any more.
    """

    __slots__ = ("answered", "arguments", "call_id", "done", "generation", "item_id", "name")

    def __init__(self, item_id: str, generation: Generation, name: str, call_id: str) -> None:
        self.item_id: Final = item_id
        self.generation: Final = generation
        self.name = name
        self.call_id = call_id
        self.arguments = ""
        self.done = False
        self.answered = False
        generation.hold(_OBJECT_BYTES)

    def __repr__(self) -> str:
        return f"<GeneratedCall {self.call_id} {self.name}({self.arguments})>"

    def add_arguments(self, delta: str) -> None:
        """Appends a piece of the arguments."""
        self.generation.hold(_PIECE_BYTES + len(delta))
        self.arguments += delta


class Generation:
    """One response.

    Attributes:
        id: The response's id.
        origin: Who asked for it.
        in_conversation: Whether it belongs to the default conversation (`False`: out of band).
        metadata: As the server echoed it, without our own entry.
        status: How far it has come.
        reason: The service's reason for a status of cancelled or incomplete, or "".
        error: The service's error for a failed one, or None.
        messages: By item id, in order of arrival.
        calls: By item id, in order of arrival.
        recoveries: How often text came where audio was asked for, before this one came.
        items: The finished output items by id, without audio bytes.
        follow_up_wanted: Somebody answered a call and wants the reply that uses the answer.
        audio_rate: Samples a second of its audio.
        first_token_at: When the first text, transcript or call argument came, or None.
        first_audio_at: When the first audio came, or None.
        heard_at: When its newest event came.
        ended_at: When it ended, or None.
        metrics: Whole once the generation has ended.
    """

    __slots__ = (
        "_held_bytes",
        "_max_bytes",
        "audio_rate",
        "calls",
        "created_at",
        "ended_at",
        "error",
        "first_audio_at",
        "first_token_at",
        "follow_up_wanted",
        "heard_at",
        "id",
        "in_conversation",
        "items",
        "messages",
        "metadata",
        "metrics",
        "origin",
        "reason",
        "recoveries",
        "requested_at",
        "status",
    )

    def __init__(
        self,
        response_id: str,
        *,
        origin: GenerationOrigin,
        in_conversation: bool,
        metadata: Mapping[str, str],
        created_at: float,
        requested_at: float | None,
        audio_rate: int,
        limits: Limits | None = None,
    ) -> None:
        self._held_bytes = 0
        self._max_bytes = (limits or Limits()).max_response_bytes
        self.id: Final = response_id
        self.origin: Final = origin
        self.in_conversation: Final = in_conversation
        self.metadata: Final = metadata
        self.created_at: Final = created_at
        self.heard_at = created_at
        self.requested_at: Final = requested_at
        self.audio_rate: Final = audio_rate
        self.status = GenerationStatus.IN_PROGRESS
        self.reason = ""
        self.error: events.ErrorDetails | None = None
        self.messages: dict[str, GeneratedMessage] = {}
        self.calls: dict[str, GeneratedCall] = {}
        self.items: dict[str, events.Item] = {}
        self.metrics = GenerationMetrics(
            response_id=response_id, requested_at=requested_at, created_at=created_at
        )
        self.follow_up_wanted = False
        self.recoveries = 0
        self.first_token_at: float | None = None
        self.first_audio_at: float | None = None
        self.ended_at: float | None = None

    def __repr__(self) -> str:
        return f"<Generation {self.id} {self.status.value} ({self.origin.value})>"

    @property
    def requested(self) -> bool:
        """Whether `generate_reply` asked for it."""
        return self.origin is GenerationOrigin.CALLER

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.status is not GenerationStatus.IN_PROGRESS

    @property
    def text(self) -> str:
        """The text of all messages so far."""
        return " ".join(filter(None, (message.text for message in self.messages.values())))

    def keep_item(self, item_id: str, item: events.Item) -> None:
        """Keeps a finished output item, without its audio."""
        item = without_audio(item)
        self.hold(size_of(item))
        self.items[item_id] = item

    def hold(self, size_bytes: int) -> None:
        """Counts what the server makes us keep of it.

        Raises:
            RemoteProtocolError: It is too much.
        """
        self._held_bytes += size_bytes
        if self._held_bytes > self._max_bytes:
            raise RemoteProtocolError(
                f"the response {self.id} grew beyond {self._max_bytes:,} bytes "
                "(Limits.max_response_bytes)"
            )

    def note_token(self, now: float) -> None:
        """Keeps the time of the first text, and that something came."""
        self.heard_at = now
        if self.first_token_at is None:
            self.first_token_at = now

    def note_audio(self, now: float) -> None:
        """Keeps the time of the first audio."""
        if self.first_audio_at is None:
            self.first_audio_at = now

    def end(
        self,
        status: GenerationStatus,
        now: float,
        *,
        reason: str = "",
        error: events.ErrorDetails | None = None,
        usage: events.Usage | UnsetType | None = UNSET,
    ) -> None:
        """Ends it and makes the metrics; its messages are done already."""
        self.status = status
        self.reason = reason
        self.error = error
        self.ended_at = now
        self.metrics = measure_generation(
            self.id,
            status,
            requested_at=self.requested_at,
            created_at=self.created_at,
            first_token_at=self.first_token_at,
            first_audio_at=self.first_audio_at,
            ended_at=now,
            audio_ms=sum(message.received_ms for message in self.messages.values()),
            usage=usage,
        )
