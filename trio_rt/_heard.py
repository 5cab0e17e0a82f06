"""The account of what was heard of a generation, message by message, and how it is told."""

from __future__ import annotations

import enum
from contextlib import suppress

import trio
from msgspec import Struct

from sansio_rt import AudioFrame, GenerationStatus, StreamOverflow

from ._generation import Generation, Message
from ._streams import Stream

__all__ = ["HeardMessage", "MessageFate", "Part", "PlaybackEnd", "PlaybackOutcome", "Track"]


class PlaybackEnd(enum.Enum):
    """How the playing of a generation ended; all but `FINISHED` are interruptions."""

    FINISHED = "finished"
    BARGE_IN = "barge-in"
    """The caller began to speak."""
    STOPPED = "stopped"
    """By `stop`, `interrupt`, a cancelled `play` or the end of the block."""
    CANCELLED = "cancelled"
    """The response was cancelled, by the server or by the application."""
    FAILED = "failed"
    """The sink failed, or the audio was lost; `PlaybackOutcome.error` says how."""


class MessageFate(enum.Enum):
    """What became of a message in the conversation."""

    WHOLE = "whole"
    """It was heard to its end and is as it was."""
    CUT = "cut"
    """It was truncated at what was heard."""
    DELETED = "deleted"
    """Nothing of it was heard; it is gone."""
    UNCHANGED = "unchanged"
    """Not all was heard, and yet it is as it was: it is in no conversation (out of band), the service
    refused the cut, or the connection is gone."""


class HeardMessage(Struct, frozen=True, kw_only=True):
    """How much of a spoken message was heard."""

    item_id: str
    heard_ms: float
    """Exact to the sample; the conversation is cut at the whole millisecond below."""
    received_ms: float
    fate: MessageFate


class PlaybackOutcome(Struct, frozen=True, kw_only=True):
    """How the playing of a generation ended, and what was heard of it."""

    response_id: str
    end: PlaybackEnd
    messages: tuple[HeardMessage, ...]
    """Its spoken messages in order; written ones are not played."""
    first_played_at: float | None
    """When its first sample was heard, in seconds of trio's clock; None where nothing was."""
    ended_at: float
    """When the last sample was played, or the interruption came, in seconds of trio's clock."""
    error: Exception | None
    """Of one that `FAILED`."""

    @property
    def interrupted(self) -> bool:
        """Whether it was not played to its end."""
        return self.end is not PlaybackEnd.FINISHED

    @property
    def heard_ms(self) -> float:
        """Of all its messages together, in milliseconds."""
        return sum(message.heard_ms for message in self.messages)


class Part:
    """One message while it is played.

    Attributes:
        message: The message.
        ended: Everything that was received of it was given to the sink, and no more will come.
        fate: What became of it, as far as it is known.
    """

    __slots__ = ("_rate", "_samples", "ended", "fate", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.ended = False
        self.fate = MessageFate.UNCHANGED
        self._samples = 0
        self._rate = 1

    @property
    def heard_ms(self) -> float:
        """How much was heard."""
        return self._samples * 1000 / self._rate

    @property
    def is_written(self) -> bool:
        """Whether it has text in the place of audio: there is nothing to hear."""
        return not self.message.received_ms and "text" in self.message.modalities

    @property
    def is_whole(self) -> bool:
        """Whether all that was received was heard."""
        return 0 < self.message.received_ms <= self.heard_ms

    def add(self, frame: AudioFrame) -> None:
        """The frame was played."""
        self._samples += frame.sample_count
        self._rate = frame.rate

    def take_back(self, samples: int) -> int:
        """Some of the newest samples were not heard; how many of them were another part's."""
        taken = min(samples, self._samples)
        self._samples -= taken
        return samples - taken

    def told(self) -> HeardMessage:
        """As the application is told."""
        return HeardMessage(
            item_id=self.message.id,
            heard_ms=self.heard_ms,
            received_ms=self.message.received_ms,
            fate=self.fate,
        )


class Track:
    """One generation from its place in the queue to its outcome.

    Attributes:
        generation: The generation.
        messages: Its messages as they begin.
        asked: Whether a call of `play` waits for it.
        parts: Its messages so far.
        listening: Around the waiting for audio; cancelled to stop.
        in_sink: Around the frame that the sink has now or had last.
        end: How it ended, or None while it plays or waits.
        ended_at: When.
        error: What the sink raised, or the stream.
        left: The sink gets nothing more of it, and what was heard is known.
        settled: The conversation is cut as far as it can be.
    """

    def __init__(self, generation: Generation, messages: Stream[Message], *, asked: bool) -> None:
        self.generation = generation
        self.messages = messages
        self.asked = asked
        self.parts: list[Part] = []
        self.listening = trio.CancelScope()
        self.in_sink: trio.CancelScope | None = None
        self.end: PlaybackEnd | None = None
        self.ended_at = 0.0
        self.error: Exception | None = None
        self.left = trio.Event()
        self.settled = trio.Event()
        self._first_played_at: float | None = None

    def begin(self, message: Message) -> Part:
        """The next message's turn has come."""
        part = Part(message)
        self.parts.append(part)
        return part

    def played(self, part: Part, frame: AudioFrame, begun_at: float) -> bool:
        """The sink has played a frame, beginning at a time of trio's clock; True for the first one."""
        part.add(frame)
        if self._first_played_at is not None:
            return False
        self._first_played_at = begun_at
        return True

    def finish(self, now: float) -> None:
        """Everything was heard."""
        self.end = PlaybackEnd.FINISHED
        self.ended_at = now
        for part in self.parts:
            part.fate = MessageFate.WHOLE

    def unplay(self, samples: int) -> None:
        """The newest samples were taken by the sink, but not heard."""
        for part in reversed(self.parts):
            samples = part.take_back(samples)

    def release(self) -> None:
        """Takes note of the messages whose turn did not come, and lets go of all audio."""
        with suppress(trio.WouldBlock, trio.EndOfChannel, StreamOverflow):
            while True:
                self.begin(self.messages.receive_nowait())
        for part in self.parts:
            part.message.audio.close()

    def nothing_more(self, part: Part) -> bool:
        """Whether no more audio can come for a part."""
        return part.ended or self.generation.status is not GenerationStatus.IN_PROGRESS

    def outcome(self) -> PlaybackOutcome:
        """As far as it is known."""
        heard = [
            part.told()
            for part in self.parts
            if part.message.received_ms or part.fate is MessageFate.DELETED
        ]
        return PlaybackOutcome(
            response_id=self.generation.id,
            end=self.end or PlaybackEnd.STOPPED,
            messages=tuple(heard),
            first_played_at=self._first_played_at if any(m.heard_ms for m in heard) else None,
            ended_at=self.ended_at,
            error=self.error,
        )
