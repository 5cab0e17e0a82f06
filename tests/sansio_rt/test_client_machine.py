"""Any client against the server, with bytes on the way: what must hold after every step (issue 4).

Hypothesis draws commands, what the server does, when time passes and how many bytes arrive. Bytes wait in
two pipes, so that commands and answers cross. SANSIO_RT_MACHINE_EXAMPLES=5000 runs it longer.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from msgspec import structs
from pair import ENDPOINT, SECOND, Loud
from state_summary import summary

from sansio_rt import (
    AudioDelta,
    CallReady,
    ClientProtocol,
    Command,
    CommandEnded,
    CommandKind,
    ConnectionLost,
    ConnectionState,
    ConversationItem,
    GeneratedMessage,
    Generation,
    GenerationEnded,
    GenerationOrigin,
    GenerationStarted,
    InputAudioCommitted,
    Limits,
    LocalProtocolError,
    MessageBroken,
    MessageEnded,
    MessageStarted,
    Outcome,
    RetryPolicy,
    SequentialIds,
    ServerErrorReported,
    ServerProtocol,
    SessionClosed,
    SessionConfig,
    StrayEvent,
    TextDelta,
    Timing,
    events,
    tool,
)
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import ReplyCancelled, ReplyWanted, TranscriptionWanted
from sansio_rt._service_errors import MOST_UNCLAIMED_ERRORS

EXAMPLES = int(os.environ.get("SANSIO_RT_MACHINE_EXAMPLES", "150"))
CONFLICT = "conversation_already_has_active_response"
WORDS = ("one", "two words", "and three more", "")
# At the end of these nothing more is sent or taken, so what was sent and not delivered is gone.
ENDINGS = ("close", "server closes", "server vanishes", "server falls silent")


def look(at: str = "it") -> str:
    """Looks."""
    return at


@dataclasses.dataclass
class Reply:
    """A response that the server's driver answers, step by step."""

    response_id: str
    open: bool = False
    begun: bool = False


class Machine(RuleBasedStateMachine):
    """The world: a client, a server, two pipes, a clock, and a model of what may be true."""

    # --- the beginning ----------------------------------------------------------------------

    @initialize(
        voice_detection=st.booleans(),
        interrupts=st.booleans(),
        recoveries=st.sampled_from([0, 2]),
        pace=st.sampled_from([None, 1.0]),
        transcribes=st.booleans(),
        resumes=st.booleans(),
        ending=st.sampled_from(ENDINGS),
        silence_s=st.sampled_from([15.0, 60.0]),
    )
    def begin(
        self,
        voice_detection: bool,
        interrupts: bool,
        recoveries: int,
        pace: float | None,
        transcribes: bool,
        resumes: bool,
        ending: str,
        silence_s: float,
    ) -> None:
        detection = events.ServerVad(
            create_response=True, interrupt_response=interrupts, silence_duration_ms=200
        )
        config = SessionConfig(
            turn_detection=detection if voice_detection else None,
            transcription=events.Transcription(model="whisper-1") if transcribes else None,
            tools=[tool(look)],
            instructions="Be there.",
        )
        self.resumes = resumes
        self.ending = "close" if resumes else ending
        self.now = 100.0
        self.client = ClientProtocol(
            ENDPOINT,
            config,
            ids=SequentialIds("c"),
            limits=Limits(max_text_recoveries=recoveries, max_open_responses=8),
            # Here bytes may be on the way for long.
            timing=Timing(
                keepalive_interval_s=None,
                response_silence_s=silence_s,
                # What lies in the pipes is not heard, and a session with one connection ends by it.
                liveness_after_s=30.0 if resumes else None,
            ),
            retry=RetryPolicy(max_connects=10_000, give_up_after_s=1e9) if resumes else None,
        )
        self.pace = pace
        self.servers = 0
        self.reconnect_at: float | None = None
        self.sent_bytes: Counter[str] = Counter()
        self.made: set[str] = set()
        self._meet_a_new_server()
        self.recovers = recoveries > 0
        # Whether only the client ever starts responses, and waits for the answer of each.
        self.alone = not voice_detection
        self.commands: list[Command] = []
        self.ended: Counter[str] = Counter()
        self.started: dict[str, Generation] = {}
        self.finished: dict[str, Generation] = {}
        self.unwanted: set[str] = set()
        self.messages: dict[int, GeneratedMessage] = {}
        self.open_messages: dict[int, GeneratedMessage] = {}
        self.text: Counter[str] = Counter()
        self.samples: Counter[str] = Counter()
        self.calls: list[str] = []
        self.snapshots: list[list[events.Item]] = [[]]
        self.own_items: set[str] = set()
        self.closed = self.leaving = False
        self.reported_errors = self.follow_ups = 0
        self.client.connect(self.now)
        self.carry_all()
        assert self.client.state is ConnectionState.READY

    def _meet_a_new_server(self) -> None:
        self.servers += 1
        ids = SequentialIds(f"s{self.servers}_")
        self.session = ServerSession(pace=self.pace, detector=Loud(), ids=ids)
        self.server = ServerProtocol(self.session)
        self.up, self.down = bytearray(), bytearray()
        self.log: list[dict[str, Any]] = []
        self.replies: dict[str, Reply] = {}
        self.unheard: list[str] = []
        take = self.session.messages_to_send

        def tapped() -> list[bytes]:
            messages = take()
            for event in map(json.loads, messages):
                self._note_sent(event)
            return messages

        self.session.messages_to_send = tapped  # type: ignore[method-assign]

    def _note_sent(self, event: dict[str, Any]) -> None:
        self.log.append(event)
        if event["type"] == "response.output_audio.delta":
            self.sent_bytes[event["item_id"]] += len(event["delta"]) * 3 // 4
        if event["type"] == "response.done":
            self.made |= {item["id"] for item in event["response"]["output"]}

    # --- commands ---------------------------------------------------------------------------

    def attempt(self, call: Callable[[], Any]) -> Any:
        """Makes a call; if it refuses, nothing may have changed."""
        before, refusal, result = summary(self.client), None, None
        try:
            result = call()
        except LocalProtocolError as error:
            refusal = error
        if refusal is not None:
            assert str(refusal)
            assert summary(self.client) == before, refusal
        for command in result if isinstance(result, list) else [result]:
            if isinstance(command, Command) and command not in self.commands:
                self.commands.append(command)
        self.collect()
        return result

    @rule(data=st.data(), words=st.sampled_from(WORDS), role=st.sampled_from(["user", "system"]))
    def send_message(self, data: st.DataObject, words: str, role: str) -> None:
        places = ["root", "nobody", *self.client.conversation.ids()]
        previous = data.draw(st.none() | st.sampled_from(places))
        item_id = data.draw(st.none() | st.sampled_from(["mine_1", "mine_2", "x" * 40]))
        options = {} if previous is None else {"previous_item_id": previous}
        command = self.attempt(
            lambda: self.client.send_message(words, role=role, item_id=item_id, **options)
        )
        if command is not None:
            self.own_items.add(command.key)

    @rule(data=st.data())
    def delete_or_retrieve(self, data: st.DataObject) -> None:
        item_id = data.draw(st.sampled_from(["nobody", *self.client.conversation.ids()]))
        call = data.draw(st.sampled_from([self.client.delete_item, self.client.retrieve_item]))
        self.attempt(lambda: call(item_id))

    @rule()
    def take_snapshot(self) -> None:
        self.snapshots.append(self.client.conversation.items())

    @rule(data=st.data())
    def edit(self, data: st.DataObject) -> None:
        base = data.draw(st.sampled_from(self.snapshots))
        current = self.client.conversation.items()
        use_base = data.draw(st.booleans())
        source = base if use_base else current
        kept = data.draw(st.permutations(source))
        wanted = list(kept[: data.draw(st.integers(0, len(kept)))])
        for _ in range(data.draw(st.integers(0, 2))):
            words = data.draw(st.sampled_from(WORDS))
            wanted.append(events.Message(role="user", content=[events.InputText(text=words)]))
        if wanted and data.draw(st.booleans()) and isinstance(wanted[0], events.Message):
            part = events.InputText(text="changed")
            wanted[0] = events.Message(role="user", content=[part], id=wanted[0].id)
        commands = self.attempt(
            lambda: self.client.update_conversation(wanted, base=base if use_base else None)
        )
        self.own_items.update(command.key for command in commands or ())

    @rule(
        beside=st.booleans(),
        patient=st.booleans(),
        modalities=st.sampled_from([None, ["text"], ["audio"], ["sound"]]),
        entries=st.integers(0, 16),
        choice=st.sampled_from([None, "look", "no_such_tool"]),
    )
    def reply(
        self,
        beside: bool,
        patient: bool,
        modalities: list[str] | None,
        entries: int,
        choice: str | None,
    ) -> None:
        options: dict[str, Any] = {"conversation": "none"} if beside else {}
        if modalities:
            options["modalities"] = modalities
        if choice:
            options["tool_choice"] = choice
        if entries > 13:
            options["metadata"] = {f"key {index}": "x" for index in range(entries)}
        self.attempt(lambda: self.client.generate_reply(wait_if_busy=patient, **options))

    @precondition(lambda self: self.of_kind(CommandKind.REPLY))
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        command = data.draw(st.sampled_from(self.of_kind(CommandKind.REPLY)))
        if command.outcome is None:
            self.unwanted.add(command.event_id)
            if not isinstance(command.value, Generation):
                self.alone = self.alone and command.deadline is None
        self.attempt(lambda: self.client.abandon(command))

    @rule(data=st.data())
    def interrupt(self, data: st.DataObject) -> None:
        running = [generation.id for generation in self.client.generations]
        response_id = data.draw(st.sampled_from([None, "nobody", *running]))
        command = self.attempt(lambda: self.client.interrupt(response_id))
        if command is not None and command.kind is CommandKind.CANCEL and response_id is not None:
            assert command.key in running

    @property
    def spoken(self) -> list[ConversationItem]:
        heard = {m.id for m in self.messages.values() if m.received_samples}
        return [entry for entry in self.client.conversation if entry.id in heard]

    @precondition(lambda self: self.spoken)
    @rule(data=st.data(), end_ms=st.sampled_from([0, 1, 40, 150, 400, 10_000]))
    def truncate(self, data: st.DataObject, end_ms: int) -> None:
        entry = data.draw(st.sampled_from(self.spoken))
        self.attempt(lambda: self.client.truncate(entry.id, audio_end_ms=end_ms))

    @rule(item_id=st.sampled_from(["nobody", "mine_1"]), end_ms=st.sampled_from([-1, 100]))
    def truncate_what_is_no_answer(self, item_id: str, end_ms: int) -> None:
        assert self.attempt(lambda: self.client.truncate(item_id, audio_end_ms=end_ms)) is None

    @property
    def written(self) -> list[ConversationItem]:
        return [e for e in self.client.conversation if e.role == "assistant" and e.text]

    @precondition(lambda self: self.written)
    @rule(data=st.data())
    def cut_text(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.written))
        length = data.draw(st.integers(0, len(entry.text)))
        command = self.attempt(
            lambda: self.client.truncate(entry.id, heard_text=entry.text[:length])
        )
        if command is not None:
            self.own_items.add(command.key)

    @rule(data=st.data(), follow_up=st.booleans())
    def answer_call(self, data: st.DataObject, follow_up: bool) -> None:
        call_id = data.draw(st.sampled_from(["call_of_nobody", *self.calls]))
        command = self.attempt(
            lambda: self.client.send_tool_output(call_id, "done", reply=follow_up)
        )
        if command is not None:
            self.own_items.add(command.key)
            self.adopt()

    @rule(length_ms=st.sampled_from([20, 90, 300]), loud=st.booleans(), odd=st.booleans())
    def push_audio(self, length_ms: int, loud: bool, odd: bool) -> None:
        data = (b"\x00\x20" if loud else bytes(2)) * (24 * length_ms)
        self.attempt(lambda: self.client.push_audio(data[1:] if odd else data))

    @rule(commits=st.booleans())
    def commit_or_clear(self, commits: bool) -> None:
        self.attempt(self.client.commit_audio if commits else self.client.clear_audio)

    @rule(
        changes=st.sampled_from(
            [
                {"instructions": "Be kind."},
                {"instructions": "Be brief.", "speed": 1.2},
                {"voice": "cedar"},
                {"voice": "nobody's voice"},
                {"speed": 7},
                {"no_such_setting": 1},
                {},
            ]
        )
    )
    def update(self, changes: dict[str, Any]) -> None:
        self.attempt(lambda: self.client.update(**changes))

    # --- the server -------------------------------------------------------------------------

    def _draw_reply(self, data: st.DataObject) -> Reply:
        return self.replies[data.draw(st.sampled_from(sorted(self.replies)))]

    @precondition(lambda self: self.replies)
    @rule(data=st.data(), words=st.sampled_from(WORDS), length_ms=st.sampled_from([5, 130, 400]))
    def speak(self, data: st.DataObject, words: str, length_ms: int) -> None:
        reply = self._draw_reply(data)
        if not reply.open:
            self.session.begin_message(reply.response_id, self.now)
            reply.open = reply.begun = True
        self.session.push_text(reply.response_id, words, self.now)
        self.session.push_audio(reply.response_id, SECOND[: 48 * length_ms], self.now)
        self.collect()

    @property
    def unbegun(self) -> list[Reply]:
        return [reply for reply in self.replies.values() if not reply.begun]

    @precondition(lambda self: self.recovers and self.unbegun)
    @rule(data=st.data())
    def write_where_speech_was_wanted(self, data: st.DataObject) -> None:
        reply = data.draw(st.sampled_from(self.unbegun))
        response = self.session._replies._responses[reply.response_id]
        response.terms = structs.replace(response.terms, audio=False)
        self.session.begin_message(reply.response_id, self.now)
        reply.open = reply.begun = True
        self.session.push_text(reply.response_id, "written words", self.now)
        self.collect()

    @precondition(lambda self: self.replies)
    @rule(data=st.data(), call=st.booleans())
    def end_message_or_call(self, data: st.DataObject, call: bool) -> None:
        reply = self._draw_reply(data)
        if reply.open:
            self.session.end_message(reply.response_id, self.now)
            reply.open = False
        if call:
            self.session.call_function(reply.response_id, "look", '{"at": "me"}', self.now)
            reply.begun = True
        self.collect()

    @precondition(lambda self: self.replies)
    @rule(data=st.data(), fails=st.booleans())
    def finish(self, data: st.DataObject, fails: bool) -> None:
        reply = self._draw_reply(data)
        del self.replies[reply.response_id]
        if fails:
            self.session.fail(reply.response_id, "it broke", self.now)
        else:
            self.session.finish(reply.response_id, self.now)
        self.collect()

    @precondition(lambda self: self.unheard)
    @rule(words=st.sampled_from(WORDS), fails=st.booleans())
    def transcribe(self, words: str, fails: bool) -> None:
        item_id = self.unheard.pop(0)
        if fails:
            self.session.transcription_failed(item_id, "too loud", self.now)
        else:
            self.session.transcribed(item_id, words, self.now)
        self.collect()

    @precondition(lambda self: self.client.state is ConnectionState.READY)
    @rule()
    def server_starts_a_response(self) -> None:
        self.alone = False
        event = events.ResponseCreate(response=events.ResponseParams())
        self.session.receive_message(events.encode(event), self.now)
        self.collect()

    @precondition(lambda self: self.client.state is ConnectionState.READY)
    @rule(data=st.data())
    def server_edits_the_conversation(self, data: st.DataObject) -> None:
        there = [str(item.id) for item in self.session.items]
        if there and data.draw(st.booleans()):
            event: events.ClientEvent = events.ConversationItemDelete(
                item_id=data.draw(st.sampled_from(there))
            )
        else:
            part = events.InputText(text="from elsewhere")
            item = events.Message(role="user", content=[part])
            previous = data.draw(st.sampled_from(["root", *there]))
            event = events.ConversationItemCreate(item=item, previous_item_id=previous)
        self.session.receive_message(events.encode(event), self.now)
        self.collect()
        self.own_items.update(
            item["id"]
            for item in self.added_items()
            if any(part.get("text") == "from elsewhere" for part in item.get("content", ()))
        )

    @precondition(lambda self: self.client.state is ConnectionState.READY)
    @rule(
        message=st.sampled_from(
            [
                b'{"type":"error","event_id":"e","error":{"type":"server_error","message":"oops"}}',
                b'{"type":"session.sang","event_id":"e","song":[1]}',
                b'{"type":"response.done"}',
                b"no JSON",
            ]
        )
    )
    def server_says_odd_things(self, message: bytes) -> None:
        self.collect()
        self.server._wire.send_text(message)
        self.collect()

    # --- the way ----------------------------------------------------------------------------

    @precondition(lambda self: self.up)
    @rule(part=st.sampled_from([0.1, 0.5, 1.0, 1.0]))
    def carry_up(self, part: float) -> None:
        count = max(1, int(len(self.up) * part))
        data, self.up = bytes(self.up[:count]), self.up[count:]
        self.server.receive_data(data, self.now)
        self.collect()

    @precondition(lambda self: self.down)
    @rule(part=st.sampled_from([0.1, 0.5, 1.0, 1.0]))
    def carry_down(self, part: float) -> None:
        count = max(1, int(len(self.down) * part))
        data, self.down = bytes(self.down[:count]), self.down[count:]
        self.client.receive_data(data, self.now)
        self.collect()

    @rule(seconds=st.sampled_from([0.05, 0.5, 4.0, 11.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.server.handle_timer(self.now)
        self.client.handle_timer(self.now)
        deadline = self.client.next_deadline()
        assert deadline is None or deadline > self.now
        self.collect()

    @precondition(lambda self: self.resumes and self.client.state is ConnectionState.READY)
    @rule()
    def lose_the_connection(self) -> None:
        self.up.clear()
        self.down.clear()
        self.server.receive_eof(self.now)
        self.client.receive_eof(self.now)
        self.collect()
        self.down.clear()
        assert self.reconnect_at is not None
        assert self.client.generations == []
        assert not self.open_messages

    @precondition(lambda self: self.reconnect_at is not None)
    @rule()
    def connect_again(self) -> None:
        assert self.reconnect_at is not None
        self.now = max(self.now, self.reconnect_at)
        self.reconnect_at = None
        self._meet_a_new_server()
        self.client.connect(self.now)
        self.collect()

    @rule()
    def carry_all(self) -> None:
        self.collect()
        while self.up or self.down:
            data, self.up = bytes(self.up), bytearray()
            self.server.receive_data(data, self.now)
            self.collect()
            data, self.down = bytes(self.down), bytearray()
            self.client.receive_data(data, self.now)
            self.collect()

    @rule()
    def settle(self) -> None:
        """Everybody finishes what was begun, and everything is delivered."""
        for _ in range(200):
            if self.reconnect_at is not None:
                self.connect_again()
            self.carry_all()
            for item_id in self.unheard:
                self.session.transcribed(item_id, "heard", self.now)
            self.unheard.clear()
            for reply in self.replies.values():
                self.session.push_audio(reply.response_id, SECOND[:480], self.now)
                self.session.finish(reply.response_id, self.now)
            self.replies.clear()
            self.carry_all()
            if self.unheard or self.replies:
                continue
            if self.server.next_deadline() is None or not self.session._replies._responses:
                break
            self.pass_time(0.5)
        else:
            raise AssertionError("it never becomes quiet")
        assert self.closed or self.client.state is ConnectionState.READY
        assert not self.client.reconnecting
        assert not self.up
        assert not self.down
        assert self.client.commands == []
        assert self.client.generations == []
        assert self.started == self.finished
        assert not self.open_messages
        if self.closed:
            return
        self.check_mirror()
        assert self.client.acknowledged == self.client.wanted
        # Also where the answer came too late for the one who asked.
        assert self.session.session.instructions == self.client.wanted.instructions

    # --- what the client tells --------------------------------------------------------------

    def collect(self) -> None:
        """Takes everything that both sides have made."""
        while (event := self.client.next_event()) is not None:
            handler = self.HANDLERS.get(type(event))
            if handler is not None:
                handler(self, event)
        self.up += self.client.data_to_send()
        while (work := self.server.next_event()) is not None:
            match work:
                case ReplyWanted(response_id=response_id):
                    self.replies[response_id] = Reply(response_id)
                case ReplyCancelled(response_id=response_id):
                    self.replies.pop(response_id, None)
                case TranscriptionWanted(item_id=item_id):
                    self.unheard.append(item_id)
        self.down += self.server.data_to_send()

    def adopt(self) -> None:
        """Takes commands that the client made by itself into account."""
        for command in self.client.commands:
            if command not in self.commands:
                self.commands.append(command)

    def of_kind(self, kind: CommandKind) -> list[Command]:
        return [command for command in self.commands if command.kind is kind]

    def on_command_ended(self, event: CommandEnded) -> None:
        command = event.command
        assert command.outcome is not None
        self.ended[command.event_id] += 1
        assert self.ended[command.event_id] == 1
        if command.kind is CommandKind.REPLY and command.outcome is Outcome.DEADLINE:
            self.unwanted.add(command.event_id)
            self.alone = False
        if command.kind is CommandKind.CANCEL and command.outcome is Outcome.DEADLINE:
            self.alone = False  # what was given up may run at the server

    def on_generation_started(self, event: GenerationStarted) -> None:
        generation = event.generation
        assert generation.id not in self.started
        self.started[generation.id] = generation
        created = next(
            event["response"]
            for event in self.log
            if event["type"] == "response.created" and event["response"]["id"] == generation.id
        )
        asked_by = (created["metadata"] or {}).get("client_event_id")
        # Nobody was told that the session's own reply came too late, so that it is heard all the same.
        assert asked_by not in self.unwanted or generation.origin is GenerationOrigin.TOOL_OUTPUTS
        if generation.origin is GenerationOrigin.TOOL_OUTPUTS and not self.resumes:
            self.follow_ups += 1
            used = [g for g in self.finished.values() if g.calls]
            answered = [g for g in used if all(call.answered for call in g.calls.values())]
            assert self.follow_ups <= len(answered)  # one for all calls of a response
        assert (generation.origin is GenerationOrigin.SERVER) is (asked_by is None) or self.recovers

    def on_generation_ended(self, event: GenerationEnded) -> None:
        generation = event.generation
        assert generation.id in self.started
        assert generation.id not in self.finished
        self.finished[generation.id] = generation
        assert generation.ended
        assert not any(m.generation is generation for m in self.open_messages.values())

    def on_message_started(self, event: MessageStarted) -> None:
        self._check_running(event.message.generation)
        assert id(event.message) not in self.messages
        self.messages[id(event.message)] = self.open_messages[id(event.message)] = event.message

    def on_message_ended(self, event: MessageEnded) -> None:
        del self.open_messages[id(event.message)]

    def on_text(self, event: TextDelta) -> None:
        self._check_running(event.message.generation)
        assert id(event.message) in self.messages
        assert event.message.text

    def on_audio(self, event: AudioDelta) -> None:
        self._check_running(event.message.generation)
        assert id(event.message) in self.messages
        assert event.frame.start_sample == self.samples[event.message.id]
        self.samples[event.message.id] += event.frame.sample_count

    def on_call(self, event: CallReady) -> None:
        self._check_running(event.call.generation)
        assert event.call.call_id not in self.calls
        self.calls.append(event.call.call_id)

    def on_committed(self, event: InputAudioCommitted) -> None:
        self.own_items.add(event.item_id)

    def on_reported_error(self, event: ServerErrorReported) -> None:
        self.reported_errors += 1

    def on_lost(self, event: ConnectionLost) -> None:
        assert event.reconnect_at >= self.now
        self.reconnect_at = event.reconnect_at

    def on_closed(self, event: SessionClosed) -> None:
        assert not self.closed
        assert self.leaving or self.reported_errors >= MOST_UNCLAIMED_ERRORS, event
        self.closed = True

    def on_stray(self, event: StrayEvent) -> None:
        # This server keeps to the order, so nothing may seem strange.
        raise AssertionError(event)

    def on_broken(self, event: MessageBroken) -> None:
        assert event.error.excerpt in ('{"type":"response.done"}', "no JSON")

    HANDLERS: ClassVar[dict[type, Callable[[Any, Any], None]]] = {
        CommandEnded: on_command_ended,
        GenerationStarted: on_generation_started,
        GenerationEnded: on_generation_ended,
        MessageStarted: on_message_started,
        MessageEnded: on_message_ended,
        TextDelta: on_text,
        AudioDelta: on_audio,
        CallReady: on_call,
        InputAudioCommitted: on_committed,
        ConnectionLost: on_lost,
        SessionClosed: on_closed,
        ServerErrorReported: on_reported_error,
        StrayEvent: on_stray,
        MessageBroken: on_broken,
    }

    def _check_running(self, generation: Generation) -> None:
        assert generation.id in self.started
        assert generation.id not in self.finished

    def added_items(self) -> list[dict[str, Any]]:
        return [e["item"] for e in self.log if e["type"] == "conversation.item.added"]

    # --- what must hold ---------------------------------------------------------------------

    @invariant()
    def every_command_ended_once_or_is_outstanding(self) -> None:
        outstanding = {command.event_id for command in self.client.commands}
        for command in self.commands:
            if command.outcome is None:
                assert command.event_id in outstanding, command
                assert not self.ended[command.event_id]
            else:
                assert command.event_id not in outstanding
                assert self.ended[command.event_id] == 1, command
                if command.outcome is Outcome.ACKNOWLEDGED:
                    assert command.error is None
                else:
                    assert command.error is not None

    @invariant()
    def only_replies_wait_without_a_bound(self) -> None:
        if self.client.reconnecting:
            return  # edits wait for the next connection
        requests, trials = self.client._requests, self.client._responses.trials
        waiting = [reply.command for reply in requests.arbiter.waiting]
        on_trial = [
            trial.reply.command
            for trial in (*trials.open.values(), *trials.convicted.values())
            if trial.reply is not None
        ]
        for command in self.client.commands:
            if command.deadline is None:
                assert command in waiting or command in on_trial, command

    @invariant()
    def what_runs_or_waits_has_a_deadline(self) -> None:
        if self.client.generations or (self.client.commands and not self.client.reconnecting):
            assert self.client.next_deadline() is not None

    @invariant()
    def heard_is_no_more_than_received_and_received_no_more_than_generated(self) -> None:
        for message in self.messages.values():
            assert message.received_samples == self.samples[message.id]
            assert 2 * message.received_samples <= self.sent_bytes[message.id]
        for entry in self.client.conversation:
            if entry.heard_ms is not None:
                assert 0 <= entry.heard_ms <= entry.received_ms
            assert entry.text.startswith(entry.heard_text)

    @invariant()
    def two_replies_of_ours_never_collide(self) -> None:
        if self.alone:
            assert not [
                event
                for event in self.log
                if event["type"] == "error" and event["error"]["code"] == CONFLICT
            ]

    @invariant()
    def a_call_has_at_most_one_output(self) -> None:
        outputs = Counter(
            item["call_id"] for item in self.added_items() if item["type"] == "function_call_output"
        )
        assert all(count == 1 for count in outputs.values()), outputs

    def check_mirror(self) -> None:
        theirs, ours = self.session.items, list(self.client.conversation)
        assert [entry.id for entry in ours] == [item.id for item in theirs]
        for entry, item in zip(ours, theirs, strict=True):
            if entry.heard_ms is None:
                assert entry.text == said(item), (entry, item)
        generated = {item_id for g in self.finished.values() for item_id in (*g.messages, *g.calls)}
        strange = {entry.id for entry in ours} - self.own_items - generated - self.made
        assert not strange, "silences that nobody cleaned up"

    # --- the end ----------------------------------------------------------------------------

    def teardown(self) -> None:
        if sys.exc_info()[0] is not None or not hasattr(self, "client"):
            return  # a second failure would hide the first
        if self.ending == "server falls silent":
            self.wait_for_nothing()
            return
        self.settle()
        self.leaving = True
        self.attempt(lambda: self.client.generate_reply())
        self.attempt(lambda: self.client.send_message("never answered"))
        match self.ending:
            case "close":
                self.client.close()
                self.collect()
                self.carry_all()
            case "server closes":
                self.server.close()
                self.carry_all()
            case _:
                self.client.receive_eof(self.now)
                self.collect()
        self.pass_time(2)
        assert self.closed
        assert self.client.state is ConnectionState.CLOSED
        assert self.client.commands == []
        assert self.client.next_deadline() is None
        assert self.started == self.finished
        assert not self.open_messages
        self.every_command_ended_once_or_is_outstanding()
        self.attempt(lambda: self.client.send_message("too late"))
        assert self.client.data_to_send() == b""

    def wait_for_nothing(self) -> None:
        """The connection lives and nothing comes over it: everything that waits comes to an end."""
        self.leaving = (
            True  # audio that a server takes without a word ends a session that has no other
        )
        for _ in range(1000):
            self.collect()
            if not self.client.commands and not self.client.generations:
                break
            deadline = self.client.next_deadline()
            assert deadline is not None, self.client.commands
            self.now = max(self.now, deadline)
            self.client.handle_timer(self.now)
        assert not self.client.commands
        assert self.started == self.finished
        assert not self.open_messages
        self.every_command_ended_once_or_is_outstanding()


def said(item: events.Item) -> str:
    """What the mirror's `text` should be."""
    if isinstance(item, events.FunctionCall):
        return f"{item.name}({item.arguments})"
    if isinstance(item, events.FunctionCallOutput):
        return item.output
    assert isinstance(item, events.Message)
    words = (
        getattr(part, "text", None) or getattr(part, "transcript", "") for part in item.content
    )
    return " ".join(word for word in words if isinstance(word, str) and word)


Machine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
test_any_client_against_the_server = Machine.TestCase
