"""The turns of one conversation: says each, follows the answer, and measures it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from sansio_rt import (
    AudioDelta,
    AudioFrame,
    CommandRefused,
    ConnectionLost,
    GeneratedCall,
    GenerationFailed,
    GenerationStatus,
    InputTranscriptCompleted,
    InputTranscriptDelta,
    InputTranscriptFailed,
    ItemAdded,
    MessageEnded,
    MessageStarted,
    RealtimeError,
    SessionResumed,
    TextDelta,
    events,
)
from trio_rt import Generation, Outcome, Part, Session, Stream
from trio_rt._wav import WavWriter

from ._link import Link
from ._problems import SessionFailed
from ._screen import ASSISTANT, TOOL, YOU, Screen
from ._turns import SpokenTurn, Turn, WrittenTurn

__all__ = ["ANSWER_RATE", "Conversation"]

ANSWER_RATE = 24_000
"""Of the answers, in Hz: that of the wire's PCM16."""
PAUSE_S = 0.5
"""Between two answers in the file."""
CHUNK_S = 0.1
"""How much of a recording is sent at a time."""
TRANSCRIPT_WAIT_S = 3.0
"""How long the transcript of what was said may come after the end of the answer."""
LONGEST_SHOWN = 300
"""Characters of a tool's arguments and output."""

T = TypeVar("T")

_Event = (
    InputTranscriptDelta
    | InputTranscriptCompleted
    | InputTranscriptFailed
    | ItemAdded
    | ConnectionLost
    | SessionResumed
)
_EVENTS: Sequence[type[_Event]] = (
    InputTranscriptDelta,
    InputTranscriptCompleted,
    InputTranscriptFailed,
    ItemAdded,
    ConnectionLost,
    SessionResumed,
)


@dataclass
class _Answer:
    """One response as it came. Its sound is kept until it is known that it was not lost half-way."""

    calls: list[GeneratedCall] = field(default_factory=list[GeneratedCall])
    message_ids: list[str] = field(default_factory=list[str])
    sound: list[bytes] = field(default_factory=list[bytes])
    audio_s: float = 0.0
    first_audio_at: float | None = None

    def add_sound(self, frame: AudioFrame) -> None:
        """Adds the next piece of its sound."""
        if self.first_audio_at is None:
            self.first_audio_at = trio.current_time()
        self.audio_s += frame.duration_ms / 1000
        self.sound.append(frame.samples.astype("<i2", copy=False).tobytes())

    @property
    def has_outputs(self) -> bool:
        """Whether each of its calls was answered; where not, the session asks for more by itself."""
        return all(call.answered for call in self.calls)


@dataclass
class _Measured:
    """What is told about a turn when it is over."""

    said_at: float
    """When the last of the question was handed to the connection."""
    spoken: bool
    first_audio_at: float | None = None
    audio_s: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None

    def count(self, answer: _Answer, outcome: Outcome) -> None:
        """Adds one of the turn's responses."""
        if self.first_audio_at is None:
            self.first_audio_at = answer.first_audio_at
        self.audio_s += answer.audio_s
        metrics = outcome.metrics
        if metrics.input_tokens is not None:
            self.input_tokens = (self.input_tokens or 0) + metrics.input_tokens
        if metrics.output_tokens is not None:
            self.output_tokens = (self.output_tokens or 0) + metrics.output_tokens

    def summary(self) -> str:
        """The line for people."""
        parts: list[str] = []
        if self.first_audio_at is None:
            parts.append("no audio")
        else:
            what = "the end of speech" if self.spoken else "the message"
            parts.append(
                f"first audio {(self.first_audio_at - self.said_at) * 1000:.0f} ms after {what}"
            )
            parts.append(f"{self.audio_s:.1f} s of audio")
        counts = [(self.input_tokens, "in"), (self.output_tokens, "out")]
        known = [f"{count} {way}" for count, way in counts if count is not None]
        parts.append(f"tokens: {', '.join(known)}" if known else "tokens unknown")
        return "; ".join(parts)


class Conversation:
    """Takes one turn after another and writes what is answered.

    It outlives its connection: the session makes another one and says the conversation again, and what
    was being said or answered when the connection went is said or asked for once more.

    Args:
        session: Without turn detection and with its tools.
        screen: Shows it.
        writer: Takes the answers' sound, at `ANSWER_RATE`.
        timeout_s: The most that one turn may take.
    """

    def __init__(
        self, session: Session, screen: Screen, writer: WavWriter, *, timeout_s: float
    ) -> None:
        self._session = session
        self._screen = screen
        self._writer = writer
        self._timeout_s = timeout_s
        self._link = Link(screen.warn)
        self._has_audio = False
        self._is_following = False
        self._held_back: list[ConnectionLost | SessionResumed] = []
        self._events: Stream[_Event] | None = None
        self._deltas_shown: set[str] = set()
        self._calls: dict[str, str] = {}
        # What was recognised in each spoken turn, by item; and who waits for it.
        self._transcripts: dict[str, str] = {}
        self._recognised: dict[str, trio.Event] = {}

    async def hold(self, turns: Sequence[Turn]) -> None:
        """Takes all turns.

        Raises:
            SessionFailed: An answer failed or did not come in time, or none had any sound.
            RealtimeError: The session failed.
        """
        async with self._session.subscribe(*_EVENTS) as found, trio.open_nursery() as nursery:
            self._events = found
            nursery.start_soon(self._follow_events, found)
            for number, turn in enumerate(turns, 1):
                await self._take(number, turn)
            nursery.cancel_scope.cancel()
        if not self._has_audio:
            raise SessionFailed(
                "no answer had any sound, so no file was written; does this model speak?"
            )

    async def _take(self, number: int, turn: Turn) -> None:
        measured: _Measured | None = None
        try:
            with trio.fail_after(self._timeout_s), self._link.turn():
                if isinstance(turn, WrittenTurn):
                    measured = await self._write(turn)
                else:
                    measured = await self._speak(turn)
        except trio.TooSlowError:
            away = self._link.error
            why = "is the server busy?" if away is None else f"the connection was lost: {away};"
            raise SessionFailed(
                f"turn {number} was not answered within {self._timeout_s:g} s; {why} "
                "--timeout gives it more time"
            ) from None
        finally:
            self._screen.end_all()
        if measured is None:
            raise self._link.too_often()
        self._screen.line(f"turn {number}: {measured.summary()}")

    async def _write(self, turn: WrittenTurn) -> _Measured:
        self._screen.whole(YOU, turn.text)
        await self._session.send_message(turn.text)
        measured = _Measured(trio.current_time(), spoken=False)
        await self._follow_answer(measured)
        return measured

    async def _speak(self, turn: SpokenTurn) -> _Measured:
        measured, item_id = await self._say(turn)
        await self._follow_answer(measured)
        # What was said again on another connection is just history to the server there.
        if item_id is not None and not self._link.losses_in_turn:
            await self._report_transcript(turn, item_id)
        return measured

    async def _say(self, turn: SpokenTurn) -> tuple[_Measured, str | None]:
        """Sends a recording and makes a message of it, whose id it gives, too."""
        while True:
            losses = self._losses()
            await self._send(turn)
            # From here on the server could answer. The answer to the commit comes a round trip
            # later, which is part of what a caller waits.
            measured = _Measured(trio.current_time(), spoken=True)
            if self._losses() == losses:
                try:
                    return measured, await self._session.commit_audio()
                except RealtimeError:
                    if self._losses() == losses:
                        raise
            # The session keeps the last half minute of what was said. The recording has all of it.
            await self._link.back()
            await self._unless_lost(self._session.clear_audio)

    async def _send(self, turn: SpokenTurn) -> None:
        recording = turn.recording
        chunk = max(1, round(recording.rate * CHUNK_S))
        with self._screen.sending(turn.name, recording.duration_s) as tell:
            # Faster than it was spoken: a server takes audio as fast as it comes, and `push_audio`
            # waits for the network.
            for start in range(0, len(recording.samples), chunk):
                await self._session.push_audio(
                    recording.samples[start : start + chunk], rate=recording.rate
                )
                tell(min(start + chunk, len(recording.samples)) / recording.rate)

    # --- the answer -------------------------------------------------------------------------

    async def _follow_answer(self, measured: _Measured) -> None:
        """Shows and writes the answer, through all tool calls to the response that ends it."""
        generation = await self._ask()
        while True:
            losses = self._losses()
            answer = await self._follow(generation)
            outcome = await generation.wait()
            is_lost = outcome.status is GenerationStatus.LOST
            if is_lost and not answer.calls:
                generation = await self._ask_again(answer)
                continue
            self._write_sound(answer)
            measured.count(answer, outcome)
            self._check(outcome)
            if not answer.calls or not (is_lost or outcome.status is GenerationStatus.COMPLETED):
                return
            generation = await self._next_generation(answer, losses)

    async def _ask(self) -> Generation:
        return await self._unless_lost(self._session.generate_reply)

    async def _ask_again(self, lost: _Answer) -> Generation:
        """Asks for what the connection took with it; half an answer that nobody heard is forgotten."""
        await self._link.back()
        for message_id in lost.message_ids:
            if message_id in self._session.conversation:
                with suppress(CommandRefused):
                    await self._session.delete_item(message_id)
        return await self._ask()

    async def _next_generation(self, answer: _Answer, losses: int) -> Generation:
        """The response that uses the outputs; the session asks for it when the tools are done.

        Args:
            answer: The one that called the tools.
            losses: How many there were before it.
        """
        while True:
            if self._losses() == losses or len(self._session.generations):
                with self._link.until_lost():
                    return await self._receive()
            # What the session asked for is lost. What it has yet to ask for, it will.
            is_lost = answer.has_outputs
            losses = self._losses()
            await self._link.back()
            if is_lost:
                # Refused where the session has asked again by itself.
                with suppress(GenerationFailed):
                    return await self._unless_lost(
                        lambda: self._session.generate_reply(wait_if_busy=False)
                    )

    async def _receive(self) -> Generation:
        try:
            return await self._session.generations.receive()
        except trio.EndOfChannel:
            # The session has failed; `open_session` cancels this task and says why.
            await trio.sleep_forever()

    async def _follow(self, generation: Generation) -> _Answer:
        """Shows one response as it comes."""
        answer = _Answer()
        self._is_following = True
        try:
            async for part in generation.parts:
                self._show_events()  # what was heard before this part came is shown before it
                self._show_part(part, answer)
        finally:
            self._is_following = False
            for event in self._held_back:
                self._link.note(event)
            self._held_back.clear()
        return answer

    def _show_part(self, part: Part, answer: _Answer) -> None:
        if isinstance(part, AudioDelta):
            answer.add_sound(part.frame)
        elif isinstance(part, TextDelta):
            self._screen.say(ASSISTANT, part.text)
        elif isinstance(part, MessageStarted):
            answer.message_ids.append(part.message.id)
        elif isinstance(part, MessageEnded):
            self._screen.end(ASSISTANT)
        else:
            answer.calls.append(part.call)
            self._calls[part.call.call_id] = part.call.name
            self._screen.whole(TOOL, f"{part.call.name}({_shortened(part.call.arguments)})")

    def _write_sound(self, answer: _Answer) -> None:
        if not answer.sound:
            return
        if self._has_audio:
            self._writer.write(bytes(2 * round(PAUSE_S * ANSWER_RATE)))
        self._has_audio = True
        for pcm in answer.sound:
            self._writer.write(pcm)

    def _check(self, outcome: Outcome) -> None:
        match outcome.status:
            case GenerationStatus.FAILED:
                error = outcome.error
                words = error.message if error is not None else outcome.reason
                raise SessionFailed(
                    f"the server could not answer: {words or 'it does not say why'}"
                )
            case GenerationStatus.CANCELLED | GenerationStatus.INCOMPLETE:
                why = f" ({outcome.reason})" if outcome.reason else ""
                self._screen.warn(f"the answer is not whole: {outcome.status.value}{why}")
            case _:
                pass

    # --- losses -----------------------------------------------------------------------------

    def _losses(self) -> int:
        """How often the connection was lost until now."""
        self._show_events()
        return self._link.losses

    async def _unless_lost(self, call: Callable[[], Awaitable[T]]) -> T:
        """Calls until no loss of the connection takes the result with it."""
        while True:
            losses = self._losses()
            try:
                return await call()
            except RealtimeError:
                if self._losses() == losses:
                    raise
            await self._link.back()

    # --- what is heard meanwhile ------------------------------------------------------------

    async def _follow_events(self, found: Stream[_Event]) -> None:
        async for event in found:
            self._show_event(event)

    def _show_events(self) -> None:
        """Shows what waits to be shown, so that things appear in the order in which they came."""
        assert self._events is not None
        while len(self._events):
            self._show_event(self._events.receive_nowait())

    def _show_event(self, event: _Event) -> None:
        match event:
            case InputTranscriptDelta():
                self._deltas_shown.add(event.item_id)
                self._screen.say(YOU, event.delta)
            case InputTranscriptCompleted():
                if event.item_id not in self._deltas_shown:
                    self._screen.say(YOU, event.transcript)
                self._screen.end(YOU)
                self._note_transcript(event.item_id, event.transcript)
            case InputTranscriptFailed():
                self._screen.end(YOU)
                self._screen.warn(f"what was said could not be recognised: {event.message}")
                self._note_transcript(event.item_id, None)
            case ItemAdded():
                item = event.entry.item
                if isinstance(item, events.FunctionCallOutput):
                    name = self._calls.get(item.call_id, "tool")
                    self._screen.whole(TOOL, f"{name} gave {_shortened(item.output)}")
            case ConnectionLost() | SessionResumed() if self._is_following:
                self._held_back.append(event)  # what came before it is still to be shown
            case ConnectionLost() | SessionResumed():
                self._link.note(event)

    def _note_transcript(self, item_id: str, transcript: str | None) -> None:
        if transcript is not None:
            self._transcripts[item_id] = transcript
        self._recognised.setdefault(item_id, trio.Event()).set()

    async def _report_transcript(self, turn: SpokenTurn, item_id: str) -> None:
        """Waits for the transcript of a turn, and says so if there is nothing in it."""
        with trio.move_on_after(TRANSCRIPT_WAIT_S) as waiting:
            await self._recognised.setdefault(item_id, trio.Event()).wait()
        if waiting.cancelled_caught:
            self._screen.warn(f"{turn.name}: the server sent no transcript of it")
        elif not self._transcripts.get(item_id, "-").strip():
            self._screen.warn(f"{turn.name}: no speech was found in it")


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} ..."
