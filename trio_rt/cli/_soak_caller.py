"""One caller of a soak: opens sessions, one after the other, and takes turns in them."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import trio

from sansio_rt import (
    AudioDelta,
    ConnectionLost,
    Endpoint,
    ErrorScope,
    GenerationStatus,
    MessageBroken,
    RealtimeError,
    RetryPolicy,
    ServerErrorReported,
    ServerVad,
    SessionConfig,
    SessionResumed,
    StrayEvent,
    Timing,
)
from trio_rt import Generation, Outcome, Session, Stream, open_session

from ._soak_figures import Figures
from ._soak_mind import FAIL, LONG, USE_TOOL
from ._soak_process import Pulse
from ._soak_troubles import Trouble, TroubledDialer, explains

__all__ = ["Caller", "Pace"]

RATE = 24_000
SPEECH_S = 0.4
SILENCE_S = 0.6
MOST_ITEMS = 12
"""Beyond it a caller shortens the conversation, so that neither side grows."""
KEPT_ITEMS = 4

# A dead connection is to be found within a turn.
_TIMING = Timing(keepalive_interval_s=5.0, keepalive_timeout_s=5.0)
# Under faults the first connection may fail like any other.
_RETRY = RetryPolicy(retry_first=True, give_up_after_s=30.0)

_Told = ConnectionLost | SessionResumed | ServerErrorReported | MessageBroken | StrayEvent
_KINDS: Sequence[type[_Told]] = (
    ConnectionLost,
    SessionResumed,
    ServerErrorReported,
    MessageBroken,
    StrayEvent,
)


@dataclass(frozen=True)
class Pace:
    """How fast callers live, in seconds.

    Attributes:
        pause_s: Between two turns, on the average.
        shortest_session_s: The shortest session.
        longest_session_s: The longest one.
        turn_timeout_s: How long a turn may take; the longest bound of the session's own is within it.
        interrupt_timeout_s: How long breaking off such a turn may take.
        speech_timeout_s: How long a server may take to notice that somebody has spoken.
    """

    pause_s: float = 5.0
    shortest_session_s: float = 20.0
    longest_session_s: float = 180.0
    turn_timeout_s: float = 45.0
    interrupt_timeout_s: float = 15.0
    speech_timeout_s: float = 10.0

    @property
    def longest_end_s(self) -> float:
        """How long the last turn and the end of its session may take, or a connection being made."""
        return self.turn_timeout_s + self.interrupt_timeout_s + 15


async def look_up(word: str) -> str:
    """Look a word up.

    Args:
        word: The word.
    """
    await trio.sleep(0.05)
    return f"{word} means to stay in water for long"


class Caller:
    """One caller.

    Args:
        endpoint: The server.
        make_dialer: Makes the dialer of a session.
        figures: Where all is counted.
        chance: Decides what it does; two callers with equal ones do the same.
        pace: How fast it lives.
        pulse: Tells whether the machine gives it its time.
        fails: Whether the server fails when it is asked to.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        make_dialer: Callable[[random.Random], TroubledDialer],
        figures: Figures,
        chance: random.Random,
        pace: Pace,
        pulse: Pulse,
        *,
        fails: bool,
    ) -> None:
        self._endpoint = endpoint
        self._make_dialer = make_dialer
        self._figures = figures
        self._chance = chance
        self._pace = pace
        self._pulse = pulse
        self._fails = fails
        self._dialer = make_dialer(chance)
        self._since = 0.0

    async def run(self, until: float) -> None:
        """Opens sessions and takes turns.

        Args:
            until: When it is to stop, by trio's clock; a turn that has begun is still ended.
        """
        # Not all at once, and yet all within the first part of the time.
        first_s = min(self._pace.pause_s, (until - trio.current_time()) / 4)
        await trio.sleep(self._chance.uniform(0, first_s))
        while trio.current_time() < until:
            self._dialer = self._make_dialer(self._chance)
            self._since = trio.current_time()
            try:
                await self._hold_session(until)
            except Exception as error:  # noqa: BLE001 - whatever comes out of a session is counted
                self._count(type(error).__name__, str(error))
                await trio.sleep(1)  # nothing is hammered, whatever fails

    async def _hold_session(self, until: float) -> None:
        detects = self._chance.random() < 0.3
        config = SessionConfig(
            turn_detection=ServerVad(silence_duration_ms=300) if detects else None,
            transcription=None,
        )
        life_s = self._chance.uniform(self._pace.shortest_session_s, self._pace.longest_session_s)
        end = min(until, trio.current_time() + life_s)
        began = trio.current_time()
        async with open_session(
            self._endpoint,
            config,
            tools=[look_up],
            timing=_TIMING,
            retry=_RETRY,
            dialer=self._dialer,
        ) as session:
            self._figures.latencies["connect"].append(trio.current_time() - began)
            self._figures.opened += 1
            self._figures.sessions += 1
            failure: Exception | None = None
            try:
                async with session.subscribe(*_KINDS) as told, trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen, told)
                    try:
                        await self._take_turns(session, end, detects=detects)
                    except Exception as error:  # noqa: BLE001 - raised below, without a group around it
                        failure = error
                    nursery.cancel_scope.cancel()
            finally:
                self._figures.sessions -= 1
            if failure is not None:
                raise failure

    async def _take_turns(self, session: Session, end: float, *, detects: bool) -> None:
        kinds: list[tuple[str, Callable[[Session], Awaitable[bool]], int]] = [
            ("written", self._write, 4),
            ("detected", self._speak_on, 6) if detects else ("spoken", self._speak, 4),
            ("tool", self._use_tool, 2),
            ("interrupted", self._interrupt, 2),
        ]
        if self._fails:
            kinds.append(("failed on purpose", self._fail, 1))
        while trio.current_time() < end:
            ((name, turn, _),) = self._chance.choices(kinds, [weight for _, _, weight in kinds])
            await self._take_turn(session, name, turn)
            pause_s = self._chance.uniform(0.5, 1.5) * self._pace.pause_s
            await trio.sleep_until(min(end, trio.current_time() + pause_s))

    async def _take_turn(
        self, session: Session, name: str, turn: Callable[[Session], Awaitable[bool]]
    ) -> None:
        self._since = trio.current_time()
        try:
            with trio.move_on_after(self._pace.turn_timeout_s) as scope:
                if await turn(session):
                    self._figures.turns[name] += 1
                await self._tidy(session)
            if scope.cancelled_caught:
                self._count("turn timed out", f"{name}, after {self._pace.turn_timeout_s:g} s")
                with trio.move_on_after(self._pace.interrupt_timeout_s):
                    await session.interrupt()
        except RealtimeError as error:
            if session.error is not None:
                raise
            self._count(type(error).__name__, f"{name}: {error}")

    # --- kinds of turns ---------------------------------------------------------------------

    async def _write(self, session: Session) -> bool:
        asked_at = trio.current_time()
        return await self._hear(await session.ask("Is that so?"), asked_at)

    async def _speak(self, session: Session) -> bool:
        await session.push_audio(_tone(SPEECH_S))
        await session.commit_audio()
        asked_at = trio.current_time()
        return await self._hear(await session.generate_reply(), asked_at)

    async def _speak_on(self, session: Session) -> bool:
        """Speaks and is silent, until the server answers by itself."""
        _skip(session.generations)
        await session.push_audio(_tone(SPEECH_S))
        await session.push_audio(np.zeros(int(RATE * SILENCE_S), np.int16))
        asked_at = trio.current_time()
        generation: Generation | None = None
        with trio.move_on_after(self._pace.speech_timeout_s):
            generation = await session.generations.receive()
        if generation is None:
            self._count("speech unanswered", f"within {self._pace.speech_timeout_s:g} s")
            return False
        return await self._hear(generation, asked_at)

    async def _use_tool(self, session: Session) -> bool:
        _skip(session.generations)
        asked_at = trio.current_time()
        generation = await session.ask(USE_TOOL)
        outcome = await generation.wait()
        if outcome.status is GenerationStatus.COMPLETED and not outcome.text:
            generation = await session.generations.receive()
        return await self._hear(generation, asked_at)

    async def _interrupt(self, session: Session) -> bool:
        """Hears the beginning of an answer, breaks it off, and tells how much was heard."""
        generation = await session.ask(LONG)
        part = None
        async for part in generation.parts:
            if isinstance(part, AudioDelta):
                break
        await generation.interrupt()
        outcome = await generation.wait()
        if isinstance(part, AudioDelta):
            await session.truncate(part.message.id, audio_end_ms=10)
        fine = outcome.status in (GenerationStatus.CANCELLED, GenerationStatus.COMPLETED)
        return fine or self._note(outcome)

    async def _fail(self, session: Session) -> bool:
        outcome = await (await session.ask(FAIL)).wait()
        return outcome.status is GenerationStatus.FAILED or self._note(outcome)

    async def _hear(self, generation: Generation, asked_at: float) -> bool:
        heard_at: float | None = None
        async for part in generation.parts:
            if isinstance(part, AudioDelta) and heard_at is None:
                heard_at = trio.current_time()
        outcome = await generation.wait()
        if outcome.status is not GenerationStatus.COMPLETED:
            return self._note(outcome)
        if heard_at is None:
            self._count("no audio", f"the answer was {outcome.text!r}")
            return False
        self._figures.latencies["answer"].append(heard_at - asked_at)
        return True

    async def _tidy(self, session: Session) -> None:
        items = session.conversation.items()
        if len(items) > MOST_ITEMS:
            await session.update_conversation(items[-KEPT_ITEMS:])

    # --- errors -----------------------------------------------------------------------------

    async def _listen(self, told: Stream[_Told]) -> None:
        """Counts what a session tells of troubles."""
        with suppress(RealtimeError):  # why the session ended comes out of it, too
            async for event in told:
                match event:
                    case ConnectionLost():
                        self._count("connection lost", str(event.error))
                    case SessionResumed():
                        self._figures.reconnects += 1
                        self._figures.latencies["reconnect"].append(event.away_s)
                    case ServerErrorReported() if event.scope is not ErrorScope.BENIGN:
                        self._count("server error", f"{event.error.code}: {event.error.message}")
                    case MessageBroken():
                        self._count("broken message", str(event.error))
                    case StrayEvent():
                        self._count("stray event", event.reason)
                    case _:
                        pass

    def _note(self, outcome: Outcome) -> bool:
        """Counts an end that was not asked for."""
        words = outcome.reason or (outcome.error.message if outcome.error is not None else "")
        self._count(f"generation {outcome.status.value}", words)
        return False

    def _count(self, name: str, words: str) -> None:
        troubles = self._dialer.troubles_since(self._since)
        explained = any(explains(trouble, name) for trouble in troubles)
        starved = self._pulse.starved_since(self._since, trio.current_time())
        if not explained and starved and explains(Trouble.STARVED, name):
            explained, name = True, f"{name} (busy machine)"
        shown = ", ".join(trouble.value for trouble in troubles if trouble is not Trouble.NONE)
        self._figures.count_error(
            name, explained=explained, words=f"{words} (troubles: {shown or 'none'})"
        )


def _skip(generations: Stream[Generation]) -> None:
    """Drops what is left of earlier turns."""
    with suppress(trio.WouldBlock):
        while True:
            generations.receive_nowait()


def _tone(duration_s: float) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    times = np.arange(int(RATE * duration_s)) / RATE
    return (8_000 * np.sin(2 * np.pi * 220 * times)).astype(np.int16)
