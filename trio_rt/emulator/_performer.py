"""Does what a server session asks for: hears, thinks and speaks with a brain, in worker threads."""

from __future__ import annotations

import atexit
import json
import logging
import threading
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

import trio

from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import (
    ReplyCancelled,
    ReplyWanted,
    ServerWork,
    SpeechDropped,
    SpeechHeard,
    TranscriptionWanted,
)
from trio_rt.emulator._brain import Brain
from trio_rt.emulator._roles import Call, Ears, Request, Say, ToolInfo, Turn

__all__ = ["Performer", "Threads"]

T = TypeVar("T")
logger = logging.getLogger("trio_rt.emulator")

LAST_WORK_S = 10.0
"""How long the end of the program waits for what its threads still do."""


class Threads:
    """The worker threads of an emulator: some for ears and voices, one at a time for the mind.

    Args:
        count: How many ears and voices may work at once.
    """

    def __init__(self, count: int = 8) -> None:
        self._workers = trio.CapacityLimiter(count)
        # A mind may keep state, and all sessions share it.
        self._mind = trio.CapacityLimiter(1)

    async def run(self, function: Callable[[], T], *, mind: bool = False) -> T:
        """Call a function in a thread; when cancelled, its result is dropped.

        Args:
            function: What to call.
            mind: Whether it is the mind, which does one thing at a time.
        """
        limiter = self._mind if mind else self._workers
        return await trio.to_thread.run_sync(
            partial(_at_work.run, [function]), limiter=limiter, abandon_on_cancel=True
        )


class _AtWork:
    """How many threads are at work, whether anybody waits for them or not.

    A speech model that is being loaded or is running cannot be told to stop, and an interpreter that ends
    meanwhile stops it in the middle of C++ code, which aborts the process. So the end waits.
    """

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()

    def run(self, only: list[Callable[[], T]]) -> T:
        """Calls the only function in a list, and counts as at work until nothing is left of it.

        Where nobody else holds the brain any more, the models go with the function, which is work, too.
        """
        with self._changed:
            self._count += 1
        try:
            return only.pop()()
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def wait(self) -> None:
        """Waits until nobody is at work, but not for ever."""
        with self._changed:
            self._changed.wait_for(lambda: not self._count, LAST_WORK_S)


_at_work = _AtWork()
atexit.register(_at_work.wait)


class _Utterance:
    """Speech that is recognised while it comes in."""

    def __init__(self, ears: Ears, threads: Threads, rate: int) -> None:
        self._stream = ears.stream()
        self._threads = threads
        self._rate = rate
        self._pieces: list[bytes] = []
        self._complete = False
        self._news = trio.Event()

    def feed(self, pcm: bytes) -> None:
        """Take the next piece."""
        self._pieces.append(pcm)
        self._news.set()

    def end(self) -> None:
        """There are no more pieces."""
        self._complete = True
        self._news.set()

    async def recognise(self) -> str:
        """Feed what comes until the end; gives the words."""
        try:
            while True:
                if self._pieces:
                    pcm = b"".join(self._pieces)
                    self._pieces.clear()
                    await self._threads.run(partial(self._stream.feed, pcm, self._rate))
                elif self._complete:
                    return await self._threads.run(self._stream.text)
                else:
                    await self._news.wait()
                    self._news = trio.Event()
        finally:
            self._stream.close()


class Performer:
    """Serves the requests of one session.

    Args:
        session: The session; it is answered by calls on it.
        brain: Hears, thinks and speaks.
        threads: Where the brain works.
        nursery: Where the tasks live.
        after: Called after every answer, so that what the session has queued goes out.
    """

    def __init__(
        self,
        session: ServerSession,
        brain: Brain,
        threads: Threads,
        nursery: trio.Nursery,
        after: Callable[[], None],
    ) -> None:
        self._session = session
        self._brain = brain
        self._threads = threads
        self._nursery = nursery
        self._after = after
        self._utterances: dict[str, tuple[_Utterance, trio.CancelScope]] = {}
        self._replies: dict[str, trio.CancelScope] = {}

    def perform(self, work: ServerWork) -> None:
        """Begin to do what the session asks for; returns at once."""
        match work:
            case SpeechHeard():
                self._hear(work)
            case SpeechDropped():
                if work.item_id in self._utterances:
                    self._utterances.pop(work.item_id)[1].cancel()
            case TranscriptionWanted():
                if work.item_id in self._utterances:
                    self._utterances.pop(work.item_id)[0].end()
                else:
                    self._nursery.start_soon(self._transcribe, work)
            case ReplyWanted():
                scope = trio.CancelScope()
                self._replies[work.response_id] = scope
                self._nursery.start_soon(self._reply, work, scope)
            case ReplyCancelled():
                if work.response_id in self._replies:
                    self._replies[work.response_id].cancel()
            case _:
                pass

    def _hear(self, work: SpeechHeard) -> None:
        if self._brain.ears is None:
            return
        if work.item_id not in self._utterances:
            utterance = _Utterance(self._brain.ears, self._threads, work.rate)
            scope = trio.CancelScope()
            self._utterances[work.item_id] = (utterance, scope)
            self._nursery.start_soon(self._recognise, work.item_id, utterance, scope)
        self._utterances[work.item_id][0].feed(work.pcm)

    async def _recognise(
        self, item_id: str, utterance: _Utterance, scope: trio.CancelScope
    ) -> None:
        with scope:
            await self._answer_words(item_id, utterance.recognise)

    async def _transcribe(self, work: TranscriptionWanted) -> None:
        ears = self._brain.ears
        if ears is None:
            message = "this emulator was started without recognition of speech"
            self._session.transcription_failed(work.item_id, message, trio.current_time())
            self._after()
            return

        async def recognise() -> str:
            return await self._threads.run(lambda: ears.transcribe(work.pcm, work.rate))

        await self._answer_words(work.item_id, recognise)

    async def _answer_words(self, item_id: str, recognise: Callable[[], Awaitable[str]]) -> None:
        try:
            text = await recognise()
        except Exception as error:  # whatever a user's ears raise is told to the client
            logger.exception("recognition failed")
            self._session.transcription_failed(item_id, _described(error), trio.current_time())
        else:
            self._session.transcribed(item_id, text, trio.current_time())
        self._after()

    async def _reply(self, work: ReplyWanted, scope: trio.CancelScope) -> None:
        response_id = work.response_id
        with scope:
            try:
                await self._perform_reply(work)
            except Exception as error:  # whatever a user's mind or voice raises
                logger.exception("the reply failed")
                self._session.fail(response_id, _described(error), trio.current_time())
            self._after()
        self._replies.pop(response_id, None)

    async def _perform_reply(self, work: ReplyWanted) -> None:
        request = _request(work)
        actions = await self._threads.run(lambda: self._brain.mind.reply(request), mind=True)
        for action in actions:
            match action:
                case Say(text):
                    await self._say(work, text)
                case Call(name, arguments):
                    encoded = json.dumps(dict(arguments))
                    self._session.call_function(
                        work.response_id, name, encoded, trio.current_time()
                    )
            self._after()
        self._session.finish(work.response_id, trio.current_time())

    async def _say(self, work: ReplyWanted, text: str) -> None:
        session, response_id = self._session, work.response_id
        session.begin_message(response_id, trio.current_time())
        session.push_text(response_id, text, trio.current_time())
        self._after()
        if work.audio:
            voice = self._brain.voice
            pieces = voice.speak(text, voice=work.voice, speed=work.speed)
            while (pcm := await self._threads.run(lambda: next(pieces, None))) is not None:
                session.push_audio(response_id, pcm, trio.current_time(), rate=voice.rate)
                self._after()
        session.end_message(response_id, trio.current_time())


def _request(work: ReplyWanted) -> Request:
    return Request(
        history=[Turn(turn.role, turn.text, turn.name, turn.call_id) for turn in work.history],
        instructions=work.instructions,
        tools=[ToolInfo(tool.name, tool.description, tool.parameters) for tool in work.tools],
        tool_choice=work.tool_choice,
        now=datetime.now().astimezone(),
    )


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
