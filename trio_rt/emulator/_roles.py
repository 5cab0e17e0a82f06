"""The parts that an emulated service is made of, and the data that passes between them.

Four roles, each a protocol with one or two methods, so that a user can bring their own:

- a `Detector` says for each short window of sound how likely it is speech;
- `Ears` turn sound into words, at once or while the sound is still coming in;
- a `Mind` decides what to say or which tool to call;
- a `Voice` turns text into sound, piece by piece.

None of them knows about sockets, events or trio. A `Mind` and a `Detector` are called in the trio
thread and return quickly; `Ears` and `Voice` are called in worker threads and may compute for as
long as they need.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Action",
    "Call",
    "Detector",
    "EarStream",
    "Ears",
    "Mind",
    "Request",
    "Say",
    "ToolInfo",
    "Turn",
    "Voice",
]


class Detector(Protocol):
    """Voice activity detection for one stream of sound; it keeps state between windows.

    Attributes:
        window_samples: How many samples `probability` takes.
        rate: Sample rate of the windows in Hz.
    """

    @property
    def window_samples(self) -> int: ...
    @property
    def rate(self) -> int: ...

    def probability(self, window: NDArray[np.float32]) -> float:
        """How likely the window is speech.

        Args:
            window: Mono samples within [-1, 1], exactly `window_samples` of them, following the
                last window.

        Returns:
            A probability within [0, 1].
        """
        ...

    def reset(self) -> None:
        """Forget what was heard: the next window begins a new stream."""
        ...


class EarStream(Protocol):
    """One utterance that is recognised while it comes in. Used by one thread at a time."""

    def feed(self, pcm: bytes, rate: int) -> None:
        """Hear the next piece of the utterance.

        Args:
            pcm: PCM16 mono little-endian; any length, also none.
            rate: Sample rate of `pcm` in Hz; the same for all pieces of an utterance.
        """
        ...

    def text(self) -> str:
        """End the utterance and tell its words; `""` for silence. Called once."""
        ...

    def close(self) -> None:
        """Give up what the stream holds, where it is not ended by `text`."""
        ...


class Ears(Protocol):
    """Speech recognition. Called from worker threads, also from several at a time."""

    def transcribe(self, pcm: bytes, rate: int) -> str:
        """Recognise a whole utterance.

        Args:
            pcm: PCM16 mono little-endian.
            rate: Sample rate in Hz.

        Returns:
            The words, or `""` for silence and for what holds no words.
        """
        ...

    def stream(self) -> EarStream:
        """Begin an utterance that is recognised while it comes in."""
        ...

    def warm_up(self) -> None:
        """Load what the first recognition would otherwise have to wait for."""
        ...


class Voice(Protocol):
    """Speech synthesis. `speak` is called and iterated in worker threads.

    Attributes:
        rate: Sample rate of what it speaks, in Hz.
    """

    @property
    def rate(self) -> int: ...

    def speak(self, text: str, *, voice: str, speed: float) -> Iterator[bytes]:
        """Speak a text.

        Args:
            text: What to say; a text without anything to say gives no pieces.
            voice: Name of a voice, as the service names them (`alloy`); unknown names get some
                voice.
            speed: Rate of speech, 1.0 is the usual one; the service allows 0.25 to 1.5.

        Yields:
            PCM16 mono little-endian at `rate`, clause by clause, so that the first piece comes
            early.
        """
        ...

    def warm_up(self) -> None:
        """Load what the first text would otherwise have to wait for."""
        ...


@dataclass(frozen=True)
class Say:
    """An action of a mind: one spoken or written message.

    Attributes:
        text: The words.
    """

    text: str


@dataclass(frozen=True)
class Call:
    """An action of a mind: one call of a tool.

    Attributes:
        name: The tool's name.
        arguments: The arguments, ready to become JSON.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])


Action = Say | Call


@dataclass(frozen=True)
class Turn:
    """One thing that stands in the conversation.

    Attributes:
        role: Who or what: `user`, `assistant`, `system`, `tool_call` or `tool_output`.
        text: The words, a call's arguments as JSON, or a tool's output as it came.
        name: The tool's name, with `tool_call`.
        call_id: What ties a `tool_output` to its `tool_call`.
    """

    role: Literal["user", "assistant", "system", "tool_call", "tool_output"]
    text: str
    name: str = ""
    call_id: str = ""


@dataclass(frozen=True)
class ToolInfo:
    """A tool that the client offers.

    Attributes:
        name: Its name.
        description: What it does, in the client's words.
        parameters: JSON schema of its arguments (an object schema), may be empty.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Request:
    """What a mind is asked to answer.

    Attributes:
        history: The conversation so far, oldest first.
        instructions: The response's own instructions where it has any, else the session's.
        tools: The tools that may be called.
        tool_choice: `auto`, `none`, `required`, or the name of the one tool that must be called.
        now: The time of day, handed in so that a mind needs no clock.
    """

    history: Sequence[Turn]
    instructions: str = ""
    tools: Sequence[ToolInfo] = ()
    tool_choice: str = "auto"
    now: datetime = datetime(2000, 1, 1)


class Mind(Protocol):
    """Decides what the emulated service says and which tools it calls."""

    def reply(self, request: Request) -> Sequence[Action]:
        """Answer.

        Args:
            request: The conversation and what may be done about it.

        Returns:
            The actions in order, at least one.
        """
        ...
