"""A response as an application reads it: messages, text, audio, calls, as streams."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, final

import trio
from msgspec import Struct

import sansio_rt
from sansio_rt import (
    AudioDelta,
    AudioFrame,
    CallReady,
    GenerationMetrics,
    GenerationOrigin,
    GenerationStatus,
    LocalProtocolError,
    MessageEnded,
    MessageStarted,
    StreamOverflow,
    TextDelta,
    events,
)

from ._streams import Stream

if TYPE_CHECKING:
    from ._session_core import SessionCore

__all__ = ["FunctionCall", "Generation", "Message", "Outcome", "Part"]

Part = MessageStarted | TextDelta | AudioDelta | MessageEnded | CallReady
"""What the merged stream of a generation holds."""

_MANY = 1 << 20
_OBJECT_BYTES = 256
"""What a piece takes beside its data, about: an empty one is not free."""


class Outcome(Struct, frozen=True, kw_only=True):
    """How a generation ended."""

    status: GenerationStatus
    reason: str
    """Why it was cancelled or is incomplete, in the service's word; else empty."""
    error: events.ErrorDetails | None
    """The service's error of a failed one."""
    text: str
    """Text and transcripts of all messages."""
    items: list[events.Item]
    """The finished output items, without audio bytes."""
    metrics: GenerationMetrics


@final
class Message:
    """One message of a generation.

    Attributes:
        id: The item's id.
        text: Its text, or the transcript of its audio, piece by piece.
        audio: Its audio, frame by frame, each with its position in the item.
    """

    def __init__(self, state: sansio_rt.GeneratedMessage, limit_bytes: int) -> None:
        self.id = state.id
        self.text: Stream[str] = Stream(
            limit_bytes, name=f"text of {state.id}", size_of=_text_bytes
        )
        self.audio: Stream[AudioFrame] = Stream(
            limit_bytes, name=f"audio of {state.id}", size_of=_frame_bytes
        )
        self._state = state

    def __repr__(self) -> str:
        return f"<Message {self.id}>"

    @property
    def modalities(self) -> frozenset[str]:
        """What came so far: `audio`, `text`."""
        return frozenset(self._state.modalities)

    @property
    def received_text(self) -> str:
        """The whole text so far, whether it was read from the stream or not."""
        return self._state.text

    @property
    def received_ms(self) -> float:
        """Length of the audio so far, in milliseconds, whether it was read or not."""
        return self._state.received_ms

    def _end(self) -> None:
        self.text.end()
        self.audio.end()


def _frame_bytes(frame: AudioFrame) -> int:
    return _OBJECT_BYTES + len(frame.data)


def _text_bytes(text: str) -> int:
    return _OBJECT_BYTES + len(text)


def _part_bytes(part: Part) -> int:
    if type(part) is AudioDelta:
        return _OBJECT_BYTES + len(part.frame.data)
    return _OBJECT_BYTES + len(part.text) if type(part) is TextDelta else _OBJECT_BYTES


@final
class FunctionCall:
    """A function call of the model that is whole and waits for its output.

    Attributes:
        name: The function.
        call_id: What its output names.
        arguments: JSON text.
    """

    def __init__(self, state: sansio_rt.GeneratedCall, session: SessionCore) -> None:
        self.name = state.name
        self.call_id = state.call_id
        self.arguments = state.arguments
        self._state = state
        self._session = session

    def __repr__(self) -> str:
        return f"<FunctionCall {self.call_id} {self.name}({self.arguments})>"

    @property
    def answered(self) -> bool:
        """Whether an output was sent, by `answer` or by the session's own tools."""
        return self._state.answered

    async def answer(self, output: str, *, reply: bool = True) -> None:
        """Sends the output; needed only for calls that no tool of the session answers.

        Args:
            output: What the model is told.
            reply: Whether a reply should follow, once every call of the response has its output.

        Raises:
            LocalProtocolError: It is answered already.
        """
        await self._session.send_tool_output(self.call_id, output, reply=reply)


@final
class Generation:
    """One response: streams of what it brings, and how it ends.

    The streams are two views of the same things: `messages` and `function_calls` split it up, `parts` has
    all of it in the order of arrival. Use one view. Who wants both opens both before reading from either,
    since from the first read on a view that nobody opened is not kept any more.
    """

    def __init__(self, state: sansio_rt.Generation, session: SessionCore, limit_bytes: int) -> None:
        self._state = state
        self._session = session
        self._limit = limit_bytes
        self._backlog: deque[Part] | None = deque()
        self._backlog_bytes = 0
        self._overflow: StreamOverflow | None = None
        self._merged: Stream[Part] | None = None
        self._split: tuple[Stream[Message], Stream[FunctionCall]] | None = None
        self._messages: dict[str, Message] = {}
        self._ended = trio.Event()

    def __repr__(self) -> str:
        return repr(self._state)

    @property
    def id(self) -> str:
        """The response's id."""
        return self._state.id

    @property
    def status(self) -> GenerationStatus:
        """How far it has come."""
        return self._state.status

    @property
    def origin(self) -> GenerationOrigin:
        """Who asked for it: the caller, the session after tool outputs, or the server by itself."""
        return self._state.origin

    @property
    def requested(self) -> bool:
        """Whether `generate_reply` asked for it."""
        return self._state.requested

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata that `generate_reply` was given, as the server echoed it."""
        return dict(self._state.metadata)

    @property
    def text(self) -> str:
        """Text and transcripts so far."""
        return self._state.text

    @property
    def messages(self) -> Stream[Message]:
        """Its messages, as they begin."""
        return self._open_split()[0]

    @property
    def function_calls(self) -> Stream[FunctionCall]:
        """Its function calls, as they are whole."""
        return self._open_split()[1]

    @property
    def parts(self) -> Stream[Part]:
        """Everything in the order of arrival."""
        if self._merged is None:
            backlog = self._take_backlog("parts")
            self._merged = Stream(self._limit, name=f"parts of {self.id}", size_of=_part_bytes)
            self._merged.on_first_receive(self._drop_backlog)
            for part in backlog:
                self._merged.put(part)
            if self._state.ended or self._overflow is not None:
                self._merged.end(self._overflow)
        return self._merged

    async def wait(self) -> Outcome:
        """Waits for its end, however it ends; nothing has to be read for that."""
        await trio.lowlevel.checkpoint()
        await self._ended.wait()
        return Outcome(
            status=self._state.status,
            reason=self._state.reason,
            error=self._state.error,
            text=self._state.text,
            items=list(self._state.items.values()),
            metrics=self._state.metrics,
        )

    async def interrupt(self) -> None:
        """Cancels it and waits until it is done; nothing happens where it is done already."""
        await self._session.interrupt(self.id)

    @property
    def held_bytes(self) -> int:
        """About what is held until somebody opens one of its views; nothing afterwards."""
        return 0 if self._backlog is None else self._backlog_bytes

    # --- the session's side -----------------------------------------------------------------

    def _deliver(self, part: Part) -> None:
        if self._backlog is not None:
            self._backlog.append(part)
            self._backlog_bytes += _part_bytes(part)
            if self._backlog_bytes > self._limit:
                self._backlog = None
                if self._merged is None and self._split is None:  # open views have their own bounds
                    self._overflow = StreamOverflow(
                        f"nobody read generation {self.id}: it holds at most {self._limit:,} bytes "
                        "(Limits.max_stream_bytes)",
                        limit_bytes=self._limit,
                    )
        if self._merged is not None:
            self._merged.put(part)
        if self._split is not None and self._overflow is None:
            self._deliver_split(part, *self._split)

    def _deliver_split(
        self, part: Part, messages: Stream[Message], calls: Stream[FunctionCall]
    ) -> None:
        if type(part) is AudioDelta:
            self._messages[part.message.id].audio.put(part.frame)
        elif type(part) is TextDelta:
            self._messages[part.message.id].text.put(part.text)
        elif type(part) is MessageStarted:
            message = Message(part.message, self._limit)
            message.text.on_first_receive(self._drop_backlog)
            message.audio.on_first_receive(self._drop_backlog)
            self._messages[part.message.id] = message
            messages.put(message)
        elif type(part) is MessageEnded:
            self._messages[part.message.id]._end()  # pyright: ignore[reportPrivateUsage]
        elif type(part) is CallReady:
            calls.put(FunctionCall(part.call, self._session))

    def _end(self) -> None:
        for message in self._messages.values():
            message._end()  # pyright: ignore[reportPrivateUsage]
        if self._merged is not None:
            self._merged.end()
        if self._split is not None:
            for stream in self._split:
                stream.end()
        self._ended.set()

    def _open_split(self) -> tuple[Stream[Message], Stream[FunctionCall]]:
        if self._split is None:
            backlog = self._take_backlog("messages")
            messages: Stream[Message] = Stream(_MANY, name=f"messages of {self.id}")
            calls: Stream[FunctionCall] = Stream(_MANY, name=f"function calls of {self.id}")
            messages.on_first_receive(self._drop_backlog)
            calls.on_first_receive(self._drop_backlog)
            self._split = messages, calls
            for part in backlog:
                self._deliver_split(part, messages, calls)
            if self._state.ended or self._overflow is not None:
                messages.end(self._overflow)
                calls.end(self._overflow)
        return self._split

    def _take_backlog(self, view: str) -> list[Part]:
        if self._overflow is not None:
            return []
        if self._backlog is None:
            raise LocalProtocolError(
                f"generation.{view} was opened after another view of the generation was read; open "
                "both before you read from either"
            )
        return list(self._backlog)

    def _drop_backlog(self) -> None:
        self._backlog = None
