"""The server's side of one connection: the real `ServerProtocol`, its driver, and what it saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from .. import events
from .._server import ServerProtocol
from .._server_session import ServerSession
from .._server_work import ReplyCancelled, ReplyWanted, ServerLimits, TranscriptionWanted
from .._sources import SequentialIds
from ._carry import Carry, HandedServer
from ._chance import Chance
from ._mind import Call, Fail, Mind, Say, Step
from ._network import Clock
from ._sound import LoudIsSpeech, Voice, blocks_of, spell
from ._trace import brief_message
from ._watched_session import Taken, WatchedSession

__all__ = ["Service", "Taken"]


class _Reply:
    """A reply that the mind is thinking of."""

    def __init__(self, response_id: str, steps: list[Step]) -> None:
        self.response_id = response_id
        self.steps = steps


class Service:
    """One connection of the emulated service.

    Attributes:
        number: Which service it is, from 1.
        connection: Which of the client's connections it serves, from 1.
        protocol: The server's protocol object.
        session: Its session.
        opened_at: When its line was opened.
        heard: Samples of the caller that are waiting in the input buffer, by block.
        heard_of_item: Samples of the caller in each item that was made of the buffer, by block.
        last_block: The last block that was appended.
        begun: Ids of its responses.
        asked_by: The event of ours that the active response of the conversation answers, or None.
        errors: What it complained of.
        disorder: Two blocks of which the second came too late, or None.
        spoken: The sound of each reply's messages as the mind gave it, by response id.

    Args:
        number: Which service it is.
        connection: Which of the client's connections it serves.
        clock: Virtual time.
        mind: Thinks of replies.
        chance: The source of decisions.
        pace: How many seconds of speech are released in a second; None: at once.
        session_s: How long its session lives.
        epoch_s: The wall clock's time, in Unix seconds, when virtual time is 0.
        carry: What goes over the line.
        note: Writes a line of the trace, or None.
        on_message: Told each message that the client sent, before it is handled.
    """

    def __init__(
        self,
        number: int,
        connection: int,
        clock: Clock,
        mind: Mind,
        chance: Chance,
        *,
        pace: float | None,
        session_s: float,
        epoch_s: float,
        carry: Carry,
        note: Callable[[str], None] | None,
        on_message: Callable[[Service, Taken], None],
    ) -> None:
        self.number = number
        self.connection = connection
        self._on_message = on_message
        self.session = WatchedSession(
            detector=LoudIsSpeech(),
            ids=SequentialIds(f"s{number}_").__call__,  # a method is called faster than an object
            limits=ServerLimits(session_s=session_s),
            pace=pace,
            epoch_s=epoch_s,
        )
        self._notes: dict[type, Callable[[Any], None]] = {
            events.ResponseCreated: self._on_created,
            events.ResponseDone: self._on_done,
            events.InputAudioBufferCommitted: self._on_committed,
            events.Error: self._on_error,
        }
        kinds = self._notes.keys() if note is None else None
        self.session.watch(clock, self._took, self._said, carry, kinds=kinds)
        handed = carry is Carry.MESSAGES
        self.protocol = (HandedServer if handed else ServerProtocol)(self.session)
        self.heard: Counter[int] = Counter()
        self.heard_of_item: dict[str, Counter[int]] = {}
        self.disorder: tuple[int, int] | None = None
        self.last_block = 0
        self.begun: set[str] = set()
        self.asked_by: str | None = None
        self.active: str | None = None
        self.errors: list[events.ErrorDetails] = []
        self.spoken: dict[str, list[bytes]] = {}
        self.opened_at = clock.now
        self._clock = clock
        self._mind = mind
        self._chance = chance
        self._note = note
        self._replies: dict[str, _Reply] = {}
        self._listening = 0
        self._committed: set[str] = set()
        self._voice = Voice()

    # --- the line ---------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Takes bytes."""
        self.protocol.receive_data(data, self._clock.now)
        self._work()

    def receive_eof(self) -> None:
        """No more bytes will come."""
        self.protocol.receive_eof(self._clock.now)
        self._work()

    def data_to_send(self) -> bytes:
        """The bytes to send now."""
        return self.protocol.data_to_send()

    @property
    def over(self) -> bool:
        """Whether the connection has ended, so that the stream is to be closed."""
        return self.protocol.ending is not None

    def next_deadline(self) -> float | None:
        """When `handle_timer` has something to do."""
        return self.protocol.next_deadline()

    def handle_timer(self) -> None:
        """Does what is due."""
        self.protocol.handle_timer(self._clock.now)
        self._work()

    @property
    def idle(self) -> bool:
        """Whether it thinks of nothing, says nothing, and listens to nothing."""
        return not (self._replies or self._listening or self.active or self.session.late)

    # --- what the plan makes it do ----------------------------------------------------------

    def receive_event(self, event: events.ClientEvent) -> None:
        """Lets the session take an event that the client did not send: somebody else did."""
        if not self.session.closed:
            ServerSession.receive_event(self.session, event, self._clock.now)
            self._work()

    def say(self, message: bytes) -> None:
        """Sends any text message to the client."""
        self.session.say(message)

    def complain(self, code: str, *, close_code: int | None = None) -> None:
        """Sends an error that answers nothing, and closes where a code is given."""
        if not self.session.closed:
            self.session.complain(code, close_code=close_code)
            self._work()

    # --- what the session wants -------------------------------------------------------------

    def _work(self) -> None:
        while (work := self.protocol.next_event()) is not None:
            match work:
                case ReplyWanted(response_id=response_id):
                    steps = self._mind.reply(work, self._chance)
                    self._replies[response_id] = _Reply(response_id, steps)
                    self.spoken[response_id] = []
                    self._go_on(self._replies[response_id], work.audio)
                case ReplyCancelled(response_id=response_id):
                    self._replies.pop(response_id, None)
                case TranscriptionWanted(item_id=item_id, pcm=pcm):
                    self._listen(item_id, pcm)
                case _:  # pragma: no cover - speech is not streamed, and a close is the protocol's
                    pass

    def _listen(self, item_id: str, pcm: bytes) -> None:
        blocks = blocks_of(pcm)
        counted: Counter[int] = Counter()
        for block, count in blocks:
            counted[block] += count
        self.heard_of_item[item_id] = counted
        if item_id in self._committed:
            self.heard -= counted
        delay_s = self._chance.choice((0.0, 0.0, 0.1, 0.8))
        fails = self._chance.random() < 0.1
        self._listening += 1

        def answer() -> None:
            self._listening -= 1
            if fails:
                self.session.transcription_failed(item_id, "too loud", self._clock.now)
            else:
                self.session.transcribed(item_id, spell(pcm), self._clock.now)
            self._work()

        self._clock.at(self._clock.now + delay_s, answer)

    def _go_on(self, reply: _Reply, audio: bool) -> None:
        """Takes the next step of a reply once it was thought of."""
        while reply.steps:
            step = reply.steps[0]
            if step.after_s:
                reply.steps[0] = msgspec.structs.replace(step, after_s=0.0)
                self._clock.at(self._clock.now + step.after_s, lambda: self._resume(reply, audio))
                return
            reply.steps.pop(0)
            self._do(reply.response_id, step, audio)
        if self._replies.pop(reply.response_id, None) is not None:
            self.session.finish(reply.response_id, self._clock.now)
            self._work()

    def _resume(self, reply: _Reply, audio: bool) -> None:
        if self._replies.get(reply.response_id) is reply:
            self._go_on(reply, audio)

    def _do(self, response_id: str, step: Step, audio: bool) -> None:
        session, now = self.session, self._clock.now
        match step:
            case Say(text=text, audio_ms=audio_ms):
                sound = self._voice.speak(audio_ms) if audio else b""
                self.spoken[response_id].append(sound)
                session.add_message(response_id, text, now, pcm=sound)
            case Call(name=name, arguments=arguments):
                session.call_function(response_id, name, arguments, now)
            case Fail(code=code):  # pragma: no branch - there is no other step
                self._replies.pop(response_id, None)
                session.fail(response_id, "it cannot be said", now, code=code)
        self._work()

    # --- what passes ------------------------------------------------------------------------

    def _took(self, taken: Taken) -> None:
        if taken.type == "input_audio_buffer.append":
            self._count(taken.event)
        elif taken.type == "input_audio_buffer.clear":
            self.heard.clear()
        if self._note is not None:
            self._note(f"server {self.number} <- {brief_message(taken.message)}")
        self._on_message(self, taken)

    def _count(self, event: events.InputAudioBufferAppend) -> None:
        for block, count in blocks_of(event.audio):
            self.heard[block] += count
            if block < self.last_block:
                self.disorder = self.last_block, block
            self.last_block = block

    def _said(self, event: events.ServerEvent) -> None:
        note = self._notes.get(type(event))
        if note is not None:
            note(event)
        if self._note is not None:
            self._note(f"server {self.number} -> {brief_message(events.encode(event))}")

    def _on_created(self, event: events.ResponseCreated) -> None:
        response = event.response
        self.begun.add(response.id)
        if response.conversation_id is not None:
            metadata = response.metadata if isinstance(response.metadata, dict) else {}
            self.active = response.id
            self.asked_by = metadata.get("client_event_id")

    def _on_done(self, event: events.ResponseDone) -> None:
        if event.response.id == self.active:
            self.active = self.asked_by = None

    def _on_committed(self, event: events.InputAudioBufferCommitted) -> None:
        self._committed.add(event.item_id)
        self.heard -= self.heard_of_item.get(event.item_id, Counter())

    def _on_error(self, event: events.Error) -> None:
        self.errors.append(event.error)
