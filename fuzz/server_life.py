"""One life of a server: a fuzzed client, a fuzzed driver and a fuzzed clock by turns, from one byte string.

Byte 0 chooses the session. Then each step is one byte that says who does what, and the bytes that it wants
for its arguments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from fuzz.drawing import Draw
from fuzz.framing import CLOSE, TEXT, frame, opened_wire, sent_frames
from fuzz.shapes import Json, draw_event
from sansio_rt import SequentialIds, ServerProtocol, events
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import (
    ReplyCancelled,
    ReplyWanted,
    ServerLimits,
    TranscriptionWanted,
)
from sansio_rt._wire import WireState

MOST_STEPS = 16
_LIMITS = ServerLimits(session_s=300.0, buffered_s=20.0)
_WORDS = ("one", "two words", "", "and three more")
_SECONDS = (0.0, 0.01, 0.3, 1.1, 5.0, 70.0, 301.0, 0.05)
_SILENCE, _SOUND = bytes(2_400), b"\x00\x20" * 1_200
_MOST_IDS = 32
_encode = msgspec.json.Encoder().encode


class Loud:
    """A detector that hears speech in everything that is not silent."""

    rate = 16_000
    window_samples = 512

    def probability(self, window: Any) -> float:
        return 1.0 if float(np.abs(window).max()) > 1e-3 else 0.0

    def reset(self) -> None:
        pass


def _opened(session: int) -> ServerProtocol:
    """A server behind its handshake; the bits of `session` choose its settings."""
    server = ServerProtocol(
        ServerSession(
            detector=Loud() if session & 1 else None,
            ids=SequentialIds("s"),
            limits=_LIMITS,
            pace=1.0 if session & 2 else None,
            stream_speech=bool(session & 4),
        ),
        max_message_bytes=50_000,
    )
    server._wire = opened_wire(client=False, max_message_bytes=50_000)
    server.session.connect(0.0)
    return server


class ServerLife:
    """A server with everything around it."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.now = 0.0
        self.server = _opened(draw.byte() & 7)
        self.session = self.server.session
        self.ids: list[str] = ["root", "nobody"]
        self.replies: list[str] = []
        self.unheard: list[str] = []
        self.told: Counter[str] = Counter()
        self.event_ids: set[str] = set()
        self.ended = False

    def live(self) -> None:
        """The whole life."""
        for _ in range(MOST_STEPS):
            if not self.draw.left:
                break
            what = self.draw.byte()
            STEPS[what % len(STEPS)](self)
            self.collect()
        self.end()

    def collect(self) -> None:
        """Takes everything that the server made."""
        server = self.server
        while (work := server.next_event()) is not None:
            match work:
                case ReplyWanted():
                    self.replies.append(work.response_id)
                case ReplyCancelled():
                    if work.response_id in self.replies:
                        self.replies.remove(work.response_id)
                case TranscriptionWanted():
                    self.unheard.append(work.item_id)
                case _:
                    pass
        for sent in sent_frames(server.data_to_send(), masked=False):
            assert not self.ended, "something was sent behind the close frame"
            if sent.opcode == TEXT:
                self.hear(sent.payload)
            self.ended = self.ended or sent.opcode == CLOSE

    def hear(self, message: bytes) -> None:
        """Checks one message of the server: an event that is known, whole, and new."""
        event = events.decode_server(message)
        kind = type(event).__name__
        assert not isinstance(event, events.UnknownEvent), message
        assert event.event_id not in self.event_ids, "an event id was used twice"
        self.event_ids.add(event.event_id)
        self.told[kind] += 1
        if isinstance(event, events.ConversationItemAdded):
            self.note(getattr(event.item, "id", None))
        if isinstance(event, events.ResponseCreated):
            self.note(event.response.id)
        if isinstance(event, events.ResponseDone):
            assert event.response.status in ("completed", "cancelled", "failed", "incomplete")
            assert self.told["ResponseDone"] <= self.told["ResponseCreated"]

    def note(self, told: object) -> None:
        """Keeps an id to be drawn from later."""
        if isinstance(told, str) and told not in self.ids:
            if len(self.ids) >= _MOST_IDS:
                del self.ids[2]
            self.ids.append(told)

    def send(self, event: Json) -> None:
        """The client sends an event."""
        self.server.receive_data(frame(_encode(event), masked=True), self.now)

    def pick(self) -> str:
        """An id that somebody has heard of."""
        return self.draw.choice(self.ids)

    # --- the client -------------------------------------------------------------------------

    def client_says(self) -> None:
        """A message, anywhere in the conversation."""
        how = self.draw.byte()
        role = ("user", "system", "assistant", "user")[how & 3]
        kind = "output_text" if role == "assistant" else "input_text"
        part: Json = {"type": kind, "text": self.draw.choice(_WORDS)}
        if how & 4 and role == "user":
            part = {"type": "input_audio", "audio": "AAAA" * 400}
        item: Json = {"type": "message", "role": role, "content": [part]}
        event: Json = {"type": "conversation.item.create", "event_id": "e", "item": item}
        if how & 8:
            event["previous_item_id"] = self.pick()
        if how & 16:
            item["id"] = f"mine_{how >> 5}"
        self.send(event)

    def client_edits(self) -> None:
        """An item goes, is cut, or is asked for."""
        kind = ("delete", "truncate", "retrieve")[self.draw.byte() % 3]
        event: Json = {"type": f"conversation.item.{kind}", "item_id": self.pick()}
        if kind == "truncate":
            event |= {"content_index": 0, "audio_end_ms": self.draw.below(2000)}
        self.send(event)

    def client_asks(self) -> None:
        """A reply is wanted."""
        how = self.draw.byte()
        response: Json = {}
        if how & 1:
            response["conversation"] = "none"
        if how & 2:
            response["output_modalities"] = ["text"]
        if how & 4:
            response["metadata"] = {"topic": "x"}
        if how & 8:
            response["input"] = [{"type": "item_reference", "id": self.pick()}]
        if how & 16:
            response["tools"] = [{"type": "function", "name": "look", "parameters": {}}]
        self.send({"type": "response.create", "response": response})

    def client_cancels(self) -> None:
        """A response is cancelled, or its sound is thrown away."""
        how = self.draw.byte()
        if how & 1:
            self.send({"type": "output_audio_buffer.clear"})
            return
        event: Json = {"type": "response.cancel"}
        if how & 2:
            event["response_id"] = self.pick()
        self.send(event)

    def client_speaks(self) -> None:
        """Sound or silence."""
        audio = _SOUND if self.draw.flag() else _SILENCE
        append = events.InputAudioBufferAppend(audio=audio)
        self.server.receive_data(frame(events.encode(append), masked=True), self.now)

    def client_commits(self) -> None:
        """A turn ends, or is taken back."""
        self.send({"type": f"input_audio_buffer.{'commit' if self.draw.flag() else 'clear'}"})

    def client_configures(self) -> None:
        """Settings change."""
        how = self.draw.byte()
        audio: Json = {"input": {}, "output": {}}
        if how & 1:
            audio["input"]["turn_detection"] = (None, {"type": "server_vad"})[how >> 1 & 1]
        if how & 4:
            audio["input"]["transcription"] = (None, {"model": "whisper-1"})[how >> 3 & 1]
        if how & 16:
            audio["input"]["format"] = {"type": ("audio/pcmu", "audio/pcm")[how >> 5 & 1]}
        if how & 64:
            audio["input"]["turn_detection"] = {"type": "server_vad", "idle_timeout_ms": 5000}
        session: Json = {"type": "realtime", "audio": audio}
        if how & 128:
            session["output_modalities"] = ["text"]
        self.send({"type": "session.update", "session": session})

    def client_sends_anything(self) -> None:
        """Any event, with ids that mean something, and some fields spoilt."""
        self.send(draw_event(self.draw, server=False, ids=tuple(self.ids)))

    def client_sends_text(self) -> None:
        """A text message of the fuzzer's own."""
        text = self.draw.block().decode("utf-8", "replace").encode()
        self.server.receive_data(frame(text, masked=True), self.now)

    def client_sends_bytes(self) -> None:
        """Bytes that need not be frames."""
        self.server.receive_data(self.draw.take(self.draw.byte()), self.now)

    def client_goes(self) -> None:
        """A close frame, or none."""
        if self.draw.flag():
            self.server.receive_data(frame(b"\x03\xe8", opcode=CLOSE, masked=True), self.now)
        else:
            self.server.receive_eof(self.now)

    # --- the driver -------------------------------------------------------------------------

    def reply_goes_on(self) -> None:
        """A reply is begun, said, and ended, step by step, also one that is over."""
        session, draw = self.session, self.draw
        response_id = draw.choice(self.replies) if self.replies else self.pick()
        what = draw.byte()
        match what & 7:
            case 0:
                session.begin_message(response_id, self.now)
            case 1:
                session.push_text(response_id, draw.choice(_WORDS), self.now)
            case 2:
                session.push_audio(response_id, _SOUND, self.now)
            case 3:
                session.end_message(response_id, self.now)
            case 4:
                session.call_function(response_id, "look", '{"at": 1}', self.now)
            case 5:
                session.fail(response_id, "it broke", self.now)
            case _:
                session.finish(response_id, self.now)
        if what & 7 >= 5 and response_id in self.replies:
            self.replies.remove(response_id)

    def whole_reply(self) -> None:
        """A reply is said in one go."""
        if not self.replies:
            return
        session, response_id = self.session, self.replies.pop(0)
        session.begin_message(response_id, self.now)
        session.push_text(response_id, "A whole answer.", self.now)
        session.push_audio(response_id, _SOUND, self.now)
        session.end_message(response_id, self.now)
        session.finish(response_id, self.now)

    def hears(self) -> None:
        """The words of a turn are found, or not."""
        item_id = self.unheard.pop(0) if self.unheard else self.pick()
        if self.draw.flag():
            self.session.transcription_failed(item_id, "too loud", self.now)
        else:
            self.session.transcribed(item_id, self.draw.choice(_WORDS), self.now)

    def driver_closes(self) -> None:
        """The server ends the connection."""
        self.server.close((1000, 1001, 1011, 4000)[self.draw.byte() & 3], "bye")

    def time_passes(self) -> None:
        """The clock goes on, by a while or to what is due next."""
        how = self.draw.byte()
        deadline = self.server.next_deadline()
        if how & 128 and deadline is not None:
            self.now = max(self.now, deadline)
        else:
            self.now += _SECONDS[how & 7]
        self.server.handle_timer(self.now)
        self.collect()
        deadline = self.server.next_deadline()
        assert deadline is None or deadline > self.now, "a deadline that has passed"

    # --- the end ----------------------------------------------------------------------------

    def end(self) -> None:
        """Everything that was asked is answered and told; then the client goes."""
        for _ in range(200):
            while self.unheard:
                self.session.transcribed(self.unheard.pop(0), "heard", self.now)
            while self.replies:
                self.session.finish(self.replies.pop(0), self.now)
            self.collect()
            deadline = self.server.next_deadline()
            if not (self.unheard or self.replies) and (
                deadline is None or self.told["ResponseDone"] == self.told["ResponseCreated"]
            ):
                break
            self.now = max(self.now, deadline or self.now)
            self.server.handle_timer(self.now)
            self.collect()
        else:
            raise AssertionError("a response never ends")
        if not self.session.closed:
            assert self.told["ResponseDone"] == self.told["ResponseCreated"]
            self.still_works()
        self.server.receive_eof(self.now)
        self.collect()
        assert self.session.closed
        assert self.server.next_deadline() is None
        assert self.server.data_to_send() == b""
        assert self.server._wire.state is WireState.CLOSED

    def still_works(self) -> None:
        """An open session answers, whatever has happened to it."""
        before = self.told["SessionUpdated"]
        message = {"type": "session.update", "session": {"type": "realtime", "instructions": "x"}}
        self.session.receive_message(_encode(message), self.now)
        self.collect()
        assert self.told["SessionUpdated"] == before + 1 or self.ended or self.session.closed


_L = ServerLife
# What is more often useful stands here more often. New steps go to the end, so that the others keep their
# numbers; the kept lives change all the same: see "Adding a target" in docs/fuzzing.md.
STEPS: tuple[Callable[[ServerLife], None], ...] = (
    *(_L.client_says, _L.client_edits, _L.client_asks, _L.client_cancels, _L.client_speaks),
    *(_L.client_commits, _L.client_configures, _L.client_sends_anything, _L.client_sends_text),
    *(_L.client_sends_bytes, _L.client_goes, _L.reply_goes_on, _L.reply_goes_on, _L.whole_reply),
    *(_L.hears, _L.driver_closes, _L.time_passes),
)
