"""`Playback`: plays generations on a sink and knows to the sample what was heard (parity N8, G8, G14).

One task feeds the sink, frame by frame. What is interrupted is settled in tasks of its own: the response
is cancelled, then each of its messages cut at what was heard, while the next generation may play already.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self, final

import trio

import sansio_rt
from sansio_rt import (
    AudioFrame,
    ConfigurationError,
    GenerationEnded,
    GenerationOrigin,
    GenerationStarted,
    GenerationStatus,
    LocalProtocolError,
    RealtimeError,
    SpeechStarted,
    StreamOverflow,
)
from sansio_rt._past import heard_words

from ._generation import Generation
from ._groups import plain_error
from ._heard import HeardMessage, MessageFate, Part, PlaybackEnd, PlaybackOutcome, Track
from ._session import Session
from ._sinks import BufferedSink, Sink
from ._streams import Stream

__all__ = ["HeardMessage", "MessageFate", "Playback", "PlaybackEnd", "PlaybackOutcome"]

_log = logging.getLogger("trio_rt.playback")

_GRACE_S = 0.2
"""How long a sink may take to be done with the frame in its hands, when it is to stop."""
_MOST_WAITING = 64
_MOST_UNREAD_OUTCOMES = 64


@final
class Playback:
    """Plays generations one after the other on a sink, while its block runs.

        async with Playback(session, ClockSink()) as playback:
            outcome = await playback.play(generation)

    When the caller begins to speak (`SpeechStarted`), everything that plays or waits is interrupted: not
    one more frame is given to the sink, the response is cancelled where it still runs, and each of its
    messages is cut at what was heard of it. Messages that were heard to their end stay, those of which
    nothing was heard are deleted, written ones are left alone. The same happens at `stop` and `interrupt`,
    when `play` is cancelled, when the response is cancelled by the server or anybody, and at the end of
    the block.

    Leaving the block takes at most `settle_timeout_s` for each of the two answers of the service. The
    block's own exception comes out as it is.

    Args:
        session: The session, whose block is around this one.
        sink: Plays a frame and returns when it was played; see `Sink` and `BufferedSink`.
        automatic: Whether to play the generations of `session.generations`, too: take none of them
            elsewhere then. Their texts and calls come from `session.subscribe(TextDelta, CallReady)`.
        barge_in: Whether the caller's speech interrupts.
        frame_ms: The most that the sink is given at once, in milliseconds: what may still be heard after
            an interruption.
        settle_timeout_s: How long to wait for the service's answers to a cancel and to a cut.

    Attributes:
        outcomes: How each generation ended here, in that order; where nobody reads, the newest 64.
    """

    def __init__(
        self,
        session: Session,
        sink: Sink,
        *,
        automatic: bool = True,
        barge_in: bool = True,
        frame_ms: int = 20,
        settle_timeout_s: float = 2.0,
    ) -> None:
        if not 1 <= frame_ms <= 1_000:
            raise ConfigurationError(f"frame_ms={frame_ms!r}: give 1 to 1,000 milliseconds")
        if not settle_timeout_s > 0:
            raise ConfigurationError(f"settle_timeout_s={settle_timeout_s!r}: give a time above 0")
        self.outcomes: Final[Stream[PlaybackOutcome]] = Stream(1 << 20, name="playback outcomes")
        self._session = session
        self._sink = sink
        self._buffered = sink if isinstance(sink, BufferedSink) else None
        self._automatic = automatic
        self._barge_in = barge_in
        self._frame_ms = frame_ms
        self._settle_timeout_s = settle_timeout_s
        self._context: AbstractAsyncContextManager[Self] | None = None
        self._nursery: trio.Nursery | None = None
        # The work outlives a cancelled block by the time that the cuts take.
        self._work_scope = trio.CancelScope(shield=True)
        self._tasks: trio.Nursery | None = None
        self._open: dict[str, Track] = {}
        self._queue: deque[Track] = deque()
        self._current: Track | None = None
        self._queued = trio.Event()
        self._leaving = False
        self._failure: Exception | None = None

    def __repr__(self) -> str:
        return f"<Playback of {self.playing!r}, {len(self._queue)} waiting>"

    @property
    def playing(self) -> Generation | None:
        """The generation that has the sink now, or None."""
        return None if self._current is None else self._current.generation

    # --- the application's side -------------------------------------------------------------

    async def play(self, generation: Generation) -> PlaybackOutcome:
        """Plays a generation after those that wait already, and waits until it is over.

        Args:
            generation: One whose `messages` nobody has read from. To read them as well, open
                `generation.parts` before.

        Returns:
            What was heard, of an interrupted one, too.

        Raises:
            LocalProtocolError: The block is not running, it plays or waits already, or too many wait.
            StreamOverflow: More audio waited to be played than `Limits.max_stream_bytes`.
            Exception: What the sink raised.

        Cancelled, the generation is interrupted, and its messages are cut before the call ends.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        track = self._enqueue(generation, asked=True)
        try:
            await track.settled.wait()
        except trio.Cancelled:
            self._stop(track, PlaybackEnd.STOPPED)
            with trio.move_on_after(self._patience_s, shield=True):
                await track.settled.wait()
            raise
        if track.error is not None:
            raise track.error
        return track.outcome()

    def stop(self) -> None:
        """Interrupts everything that plays or waits; returns at once, the cuts are made meanwhile."""
        self._stop_all(PlaybackEnd.STOPPED)

    async def interrupt(self) -> list[PlaybackOutcome]:
        """Interrupts everything that plays or waits, and waits until the conversation is cut.

        Returns:
            What was heard of each. Empty where nothing played.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        tracks = list(self._open.values())
        self.stop()
        await trio.lowlevel.cancel_shielded_checkpoint()
        for track in tracks:
            await track.settled.wait()
        return [track.outcome() for track in tracks]

    async def drain(self) -> None:
        """Waits until nothing plays and nothing waits."""
        await trio.lowlevel.checkpoint()
        while self._open:
            await next(iter(self._open.values())).settled.wait()

    # --- the block --------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._context is not None:
            raise LocalProtocolError("a Playback is used for one block; make another one")
        self._session.expect_playback()
        self._context = self._running()
        return await self._context.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._context is not None
        return await self._context.__aexit__(exc_type, exc, traceback)

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[Self]:
        body_error: BaseException | None = None
        failure: BaseException | None = None
        # One stream for all three kinds keeps their order: who speaks interrupts what was there before.
        kinds: tuple[type[Any], ...] = (SpeechStarted, GenerationStarted, GenerationEnded)
        try:
            with self._session.subscribe(*kinds) as events:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    try:
                        await self._start(events, nursery)
                        yield self
                    except BaseException as error:
                        body_error = error
                        raise
                    finally:
                        await self._leave()
        except BaseExceptionGroup as group:
            failure = plain_error(group, body_error)
        # Raised out here, the error keeps the cause and the context that it had.
        if failure is not None:
            raise failure
        if self._failure is not None:
            raise self._failure

    async def _start(self, events: Stream[Any], nursery: trio.Nursery) -> None:
        # Not `nursery.start`: cancelled on the way, that would wait for a task that is shielded.
        ready = trio.Event()
        nursery.start_soon(self._work, events, ready, name="trio_rt playback")
        with trio.CancelScope(shield=True):  # the task gets there without waiting for anything
            await ready.wait()
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _work(self, events: Stream[Any], ready: trio.Event) -> None:
        with self._work_scope:
            async with trio.open_nursery() as tasks:
                self._tasks = tasks
                ready.set()
                tasks.start_soon(self._watch, events, name="trio_rt playback watcher")
                tasks.start_soon(self._play_queue, name="trio_rt player")
                self._take_waiting()

    async def _leave(self) -> None:
        """Interrupts what plays, and waits for its cuts; bounded by the bounds of the steps."""
        self._leaving = True
        self.stop()
        with trio.move_on_after(self._patience_s, shield=True):
            while self._open:
                await next(iter(self._open.values())).settled.wait()
        self._tasks = None
        self._work_scope.cancel()
        for track in list(self._open.values()):
            self._close(track)
        self.outcomes.end()

    @property
    def _patience_s(self) -> float:
        """The most that settling may take: the frame in the sink, its discard, a cancel and a cut."""
        return 2 * (_GRACE_S + self._settle_timeout_s)

    def _fail(self, error: Exception) -> None:
        """An error that no `play` waits for ends the block, and comes out of it."""
        if self._failure is None and self._nursery is not None:
            self._failure = error
            self._nursery.cancel_scope.cancel()

    # --- what comes in ----------------------------------------------------------------------

    async def _watch(self, events: Stream[Any]) -> None:
        try:
            async for event in events:
                self._react(event)
        except StreamOverflow:
            raise
        except RealtimeError:
            pass  # the session failed, and tells so itself

    def _react(self, event: SpeechStarted | GenerationStarted | GenerationEnded) -> None:
        if isinstance(event, SpeechStarted):
            if self._barge_in:
                self._stop_all(PlaybackEnd.BARGE_IN)
        elif isinstance(event, GenerationStarted):
            if event.generation.origin is not GenerationOrigin.CALLER:
                self._take_waiting(event.generation)
        elif event.generation.status is GenerationStatus.CANCELLED:
            track = self._open.get(event.generation.id)
            if track is not None:
                self._stop(track, PlaybackEnd.CANCELLED)

    def _take_waiting(self, last: sansio_rt.Generation | None = None) -> None:
        """Queues what waits in `session.generations`, up to the last one that is told (None: all)."""
        if not self._automatic or self._leaving:
            return
        with suppress(trio.WouldBlock, trio.EndOfChannel, RealtimeError):
            while True:
                generation = self._session.generations.receive_nowait()
                try:
                    self._enqueue(generation, asked=False)
                except LocalProtocolError as error:
                    _log.warning("%r is not played: %s", generation, error)
                if last is not None and generation.id == last.id:
                    return

    def _enqueue(self, generation: Generation, *, asked: bool) -> Track:
        if self._tasks is None or self._leaving:
            raise LocalProtocolError("play: the block of this Playback is not running")
        if generation.id in self._open:
            raise LocalProtocolError(f"play: {generation!r} plays or waits already")
        if len(self._queue) >= _MOST_WAITING:
            raise LocalProtocolError(f"play: {_MOST_WAITING} generations wait; stop some first")
        track = Track(generation, generation.messages, asked=asked)
        self._open[generation.id] = track
        self._queue.append(track)
        self._queued.set()
        if generation.status is GenerationStatus.CANCELLED:
            self._stop(track, PlaybackEnd.CANCELLED)
        return track

    # --- playing ----------------------------------------------------------------------------

    async def _play_queue(self) -> None:
        while True:
            while self._queue:
                self._current = track = self._queue.popleft()
                await self._feed(track)
                self._current = None
            self._queued = trio.Event()
            await self._queued.wait()

    async def _feed(self, track: Track) -> None:
        """Plays a generation to its end, or until it is stopped."""
        try:
            with track.listening:
                async for message in track.messages:
                    part = track.begin(message)
                    async for frame in message.audio:
                        for piece in _pieces(frame, self._frame_ms):
                            await self._give(track, part, piece)
                    part.ended = True
                if self._buffered is not None:
                    await self._buffered.drain()
        except Exception as error:  # noqa: BLE001 - whatever a sink raises is for `play` or the block
            track.error = error
            self._stop(track, PlaybackEnd.FAILED)
        if track.end is None:
            track.finish(trio.current_time())
            self._close(track)
        else:
            await self._discard(track)
            track.left.set()

    async def _give(self, track: Track, part: Part, piece: AudioFrame) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        begun_at = trio.current_time()
        # A frame is not torn: stopping lets the sink be done with it, for as long as the grace lasts.
        with trio.CancelScope(shield=True) as track.in_sink:
            await self._sink(piece)
        if not track.in_sink.cancelled_caught:
            latency_s = 0.0 if self._buffered is None else self._buffered.latency_s
            if track.played(part, piece, begun_at + latency_s):
                self._session.note_played(track.generation.id, begun_at + latency_s)

    async def _discard(self, track: Track) -> None:
        if self._buffered is None:
            return
        with trio.move_on_after(_GRACE_S):
            try:
                track.unplay(await self._buffered.discard())
            except Exception as error:  # noqa: BLE001 - as in `_feed`
                track.error = track.error or error

    # --- stopping ---------------------------------------------------------------------------

    def _stop_all(self, end: PlaybackEnd) -> None:
        for track in list(self._open.values()):
            self._stop(track, end)

    def _stop(self, track: Track, end: PlaybackEnd) -> None:
        if track.end is not None or self._tasks is None:
            return
        track.end = end
        track.ended_at = trio.current_time()
        track.listening.cancel()
        if track.in_sink is not None:
            track.in_sink.deadline = trio.current_time() + _GRACE_S
        if track is not self._current:
            self._queue.remove(track)
            track.left.set()
        self._tasks.start_soon(self._settle, track, name=f"trio_rt settling {track.generation.id}")

    async def _settle(self, track: Track) -> None:
        """Cancels the response, then cuts each message at what was heard."""
        generation = track.generation
        if generation.status is GenerationStatus.IN_PROGRESS:
            await self._ask(lambda: self._session.interrupt(generation.id))
        await track.left.wait()
        track.release()
        async with trio.open_nursery() as nursery:
            for part in track.parts:
                nursery.start_soon(self._correct, track, part)
        self._close(track)

    async def _correct(self, track: Track, part: Part) -> None:
        if part.is_written or (part.is_whole and track.nothing_more(part)):
            part.fate = MessageFate.WHOLE
        elif part.message.id in self._session.conversation:  # out of band there is nothing to cut
            heard_ms = int(part.heard_ms)
            if await self._ask(lambda: self._cut(track, part, heard_ms)):
                kept = part.message.id in self._session.conversation
                part.fate = MessageFate.CUT if kept else MessageFate.DELETED

    async def _cut(self, track: Track, part: Part, heard_ms: int) -> None:
        item_id, received_ms = part.message.id, part.message.received_ms
        entry = self._session.conversation.get(item_id)
        is_over = track.generation.status is not GenerationStatus.IN_PROGRESS
        if entry is not None and is_over and received_ms and not entry.received_ms:
            # The connection was replaced meanwhile: what was audio has been said again as text.
            heard = heard_words(entry.text, heard_ms, received_ms)
            await self._session.truncate(item_id, heard_text=heard)
        else:
            await self._session.truncate(item_id, audio_end_ms=heard_ms)

    async def _ask(self, call: Callable[[], Awaitable[None]]) -> bool:
        """Makes a call on the session; whether the service agreed in time."""
        try:
            with trio.fail_after(self._settle_timeout_s):
                await call()
        except (RealtimeError, trio.TooSlowError) as error:
            # The connection went, or the service refused: what was heard is told all the same.
            _log.info("the conversation could not be cut at what was heard: %r", error)
            return False
        return True

    def _close(self, track: Track) -> None:
        """Tells the outcome; nothing more happens to this generation."""
        if track.settled.is_set():
            return
        del self._open[track.generation.id]
        if len(self.outcomes) >= _MOST_UNREAD_OUTCOMES:
            self.outcomes.receive_nowait()
        self.outcomes.put(track.outcome())
        track.settled.set()
        if track.error is not None and not track.asked:
            _log.warning("%r could not be played: %r", track.generation, track.error)
            if not isinstance(track.error, StreamOverflow):  # which is that generation's alone
                self._fail(track.error)


def _pieces(frame: AudioFrame, longest_ms: int) -> Iterator[AudioFrame]:
    """The frame in pieces of at most so many milliseconds, in order."""
    most = max(1, frame.rate * longest_ms // 1000)
    if frame.sample_count <= most:
        yield frame
        return
    # Copied, not viewed: a copy of a few hundred bytes costs no more than a memoryview of them, and
    # sinks get the `bytes` that the type promises.
    width = frame.format.bytes_per_sample
    for start in range(0, frame.sample_count, most):
        data = frame.data[start * width : (start + most) * width]
        yield AudioFrame(data, frame.rate, frame.format, frame.start_sample + start)
