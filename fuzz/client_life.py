"""One life of a client: a fuzzed server, a fuzzed caller and a fuzzed clock by turns, from one byte string.

Byte 0 chooses the session, and how far it has come. Then each step is one byte that says who does what, and
the bytes that it wants for its arguments. `fuzz.record` writes lives with the same table.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from fuzz.client_made import KEY, UPGRADE, to_be_accepted, unconnected
from fuzz.client_watch import Watch, check_bounds, check_heard, check_over, digest
from fuzz.drawing import ODD_VALUES, Draw
from fuzz.framing import TEXT, frame, sent_frames
from fuzz.scripted_server import ScriptedServer, frames_of
from fuzz.shapes import Json, draw_event
from sansio_rt import (
    Command,
    ConnectionState,
    Link,
    LocalProtocolError,
    SchemaError,
    ServerVad,
    events,
)

Step = tuple[Any, ...]
"""The name of a step and the bytes of its arguments."""
Script = tuple[Step, ...]
MOST_STEPS = 10
"""Most lives begin in the middle; see `fuzz.client_beginnings`."""
MAX_LIFE_BYTES = 384
"""The longest input of a life; most are far shorter."""
START_S = 100.0
_SILENCE = bytes(24_000)
_WORDS = ("one", "two words", "", "and three more")
_SECONDS = (0.0, 0.01, 0.3, 1.1, 5.0, 11.0, 25.0, 70.0)
_CODES = (
    "conversation_already_has_active_response",
    "response_cancel_not_active",
    "item_create_duplicate_item_id",
    "item_truncate_invalid_item_id",
    "session_expired",
    "server_error",
    "invalid_value",
    "input_audio_buffer_commit_empty",
    "insufficient_quota",
    "",
)
_CHANGES: tuple[Json, ...] = (
    {"instructions": "Be kind."},
    {"instructions": "Be brief.", "speed": 1.2},
    {"voice": "cedar"},
    {"turn_detection": None},
    {"turn_detection": ServerVad(create_response=True)},
    {"output_modalities": ["text"]},
    {"speed": 7},
    {"no_such_setting": 1},
    {},
)


class ClientLife:
    """A client with everything around it, not yet connected.

    Args:
        session: Its bits choose the settings.
    """

    def __init__(self, session: int) -> None:
        self.draw = Draw(b"")
        self.now = START_S
        self.client = unconnected(session)
        self.server = ScriptedServer()
        self.watch = Watch()
        self.commands: list[Command] = []
        self.base: list[events.Item] = []
        self.closely = False
        self.link = self.client.link
        self.next_link: Link | None = None
        self.next_server = ScriptedServer()

    def connect(self) -> None:
        """The handshake goes out."""
        self.client.connect(self.now)
        self.client.data_to_send()

    def get_ready(self) -> None:
        """The same, and the server accepts everything."""
        self.connect()
        self.receive(UPGRADE)
        self.tell([{"type": "session.updated", "session": to_be_accepted(self.client)}])
        assert self.client.state is ConnectionState.READY
        self.collect()
        self.server.asked.clear()

    def follow(self, steps: Sequence[Step]) -> None:
        """Lives by a script."""
        for name, *arguments in steps:
            self.draw = Draw(bytes(arguments))
            getattr(self, name)()
            self.collect()

    def live(self) -> None:
        """The whole life."""
        for _ in range(MOST_STEPS):
            if not self.draw.left:
                break
            self.step()
        self.end()

    def step(self) -> None:
        """One turn of somebody."""
        again, what = divmod(self.draw.byte(), len(STEPS))
        self.closely = again % 3 == 0  # of all ways to say a step some are checked more
        STEPS[what](self)
        self.collect()
        if self.closely:
            check_bounds(self.client)

    def collect(self) -> None:
        """Takes everything that the client made."""
        client, watch = self.client, self.watch
        while (event := client.next_event()) is not None:
            watch.take(event)
        pending = client.pending_bytes
        output = client.data_to_send()
        assert len(output) == pending
        if output and client.state is not ConnectionState.CONNECTING:
            sent_frames(output, masked=True)
        if client.link is not self.link:
            self._follow_link()
        if self.next_link is not None:
            self._collect_next(self.next_link)
        for sent in watch.sent:
            self.server.note_asked(sent)
        watch.sent.clear()

    def _follow_link(self) -> None:
        """Another connection serves: what the old one has left is sent."""
        if self.link is not None:
            sent_frames(self.link.data_to_send(), masked=True)
        self.link = self.client.link
        if self.link is self.next_link:
            self.server, self.next_link = self.next_server, None

    def _collect_next(self, link: Link) -> None:
        """Takes what the next connection wants to send."""
        output = link.data_to_send()
        if output.startswith(b"GET "):
            return
        for sent in sent_frames(output, masked=True):
            if sent.opcode == TEXT:
                self.next_server.note_asked(events.decode_client(sent.payload))

    def attempt(self, call: Callable[[], Any]) -> None:
        """A call of the application; where it is refused, it has changed nothing."""
        before = digest(self.client) if self.closely else None
        try:
            result = call()
        except LocalProtocolError as refusal:
            assert str(refusal)
            assert before is None or digest(self.client) == before, refusal
            return
        for made in result if isinstance(result, list) else [result]:
            if isinstance(made, Command):
                self.commands.append(made)

    def tell(self, messages: list[Json]) -> None:
        """The server sends messages, in one read or one by one."""
        if self.client.state in (ConnectionState.IDLE, ConnectionState.CLOSED):
            return
        self.receive(frames_of(messages))

    def receive(self, data: bytes) -> None:
        """The client gets bytes."""
        self.client.receive_data(data, self.now)

    def pick(self) -> str:
        """An id that somebody has heard of."""
        ids = self.client.conversation.ids() if self.draw.byte() & 1 else self.server.ids
        return self.draw.choice(ids) if ids else "nobody"

    # --- the server -------------------------------------------------------------------------

    def server_answers(self) -> None:
        """What was asked first is answered as the service would."""
        if self.server.asked:
            self.tell(self.server.answer(self.server.asked.popleft(), self.draw))

    def server_answers_all(self) -> None:
        """Everything that was asked is answered."""
        for _ in range(len(self.server.asked)):
            self.server_answers()

    def server_answers_out_of_order(self) -> None:
        """One of what was asked is answered, maybe again later."""
        if self.server.asked:
            event = self.draw.choice(self.server.asked)
            self.tell(self.server.answer(event, self.draw))

    def server_refuses(self) -> None:
        """An error, for what was asked first, for nobody, or for somebody else."""
        code: Any = self.draw.choice(_CODES)
        asked = self.server.asked
        event = asked.popleft() if asked else events.InputAudioBufferClear(event_id=self.pick())
        how = self.draw.byte()
        kind = "server_error" if how & 1 else "invalid_request_error"
        message = self.told_key() if how & 128 else "no"
        self.tell(self.server.refusal(event, 7 if how & 64 else code, kind, message))

    def told_key(self) -> str:
        """Words of a server that repeat our key; from now on nothing may show it."""
        self.watch.secret = KEY
        return f"Incorrect API key provided: {KEY}."

    def server_forgets(self) -> None:
        """What was asked first is never answered."""
        if self.server.asked:
            self.server.asked.popleft()

    def server_goes_on(self) -> None:
        """A response goes on."""
        self.tell(self.server.advance(self.draw))

    def server_hears(self) -> None:
        """The caller's voice."""
        self.tell(self.server.heard(self.draw))

    def server_commits(self) -> None:
        """The server ends the caller's turn."""
        self.tell(self.server.committed(self.draw))

    def server_begins(self) -> None:
        """A response that nobody asked for."""
        self.tell(self.server.created({}))

    def server_says_anything(self) -> None:
        """Any event, with ids that mean something, and some fields spoilt."""
        self.tell([draw_event(self.draw, server=True, ids=tuple(self.server.ids))])

    def server_says_raw_json(self) -> None:
        """A text message of the fuzzer's own."""
        self.receive(frame(self.draw.block().decode("utf-8", "replace").encode()))

    def server_sends_bytes(self) -> None:
        """Bytes that need not be frames."""
        self.receive(self.draw.take(self.draw.byte()))

    def server_closes(self) -> None:
        """A close frame, or none."""
        how = self.draw.byte()
        if how & 1:
            code = (1000, 1001, 1008, 1011, 3000, 4000, 1013, 1012)[how >> 1 & 7]
            words = self.told_key() if how & 128 else "bye"
            self.receive(frame(code.to_bytes(2, "big") + words.encode(), opcode=8))
        else:
            self.client.receive_eof(self.now)

    def server_upgrades(self) -> None:
        """The answer to the handshake."""
        if self.client.state is not ConnectionState.CONNECTING:
            return
        answers = (UPGRADE, b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", UPGRADE[:20])
        how = self.draw.byte()
        if how >= 192:
            words = self.told_key().encode()
            head = b"HTTP/1.1 401 %b\r\nContent-Length: %d\r\n\r\n" % (words, len(words))
            self.receive(head + words)
        else:
            self.receive(answers[how % 3])

    # --- the caller -------------------------------------------------------------------------

    def caller_says(self) -> None:
        """A message."""
        draw, how = self.draw, self.draw.byte()
        options: Json = {"role": ("user", "system", "assistant", "robot")[how & 3]}
        if how & 4:
            options["previous_item_id"] = self.pick()
        if how & 8:
            options["item_id"] = ("mine_1", "mine_2", "x" * 40, "")[how >> 4 & 3]
        words = draw.choice(_WORDS)
        self.attempt(lambda: self.client.send_message(words, **options))

    def caller_asks(self) -> None:
        """A reply is wanted."""
        how = self.draw.byte()
        options: Json = {"wait_if_busy": not how & 1}
        if how & 2:
            options["conversation"] = "none"
        if how & 4:
            options["modalities"] = (["text"], ["audio"], ["sound"], [])[how >> 6]
        if how & 8:
            options["tool_choice"] = ("look", "no_such_tool")[how >> 6 & 1]
        if how & 16:
            options["metadata"] = {f"key{n}": "x" for n in range(how >> 5)}
        self.attempt(lambda: self.client.generate_reply(**options))

    def caller_interrupts(self) -> None:
        """Somebody barges in."""
        running = [generation.id for generation in self.client.generations]
        chosen = self.draw.choice([None, "nobody", *running])
        self.attempt(lambda: self.client.interrupt(chosen))

    def caller_truncates(self) -> None:
        """An answer was heard in part."""
        item_id = self.pick()
        entry = self.client.conversation.get(item_id)
        how = self.draw.byte()
        if how & 1 or entry is None:
            end_ms = (0, 1, 20, 40, 150, 10_000, -1, 33)[how >> 1 & 7]
            self.attempt(lambda: self.client.truncate(item_id, audio_end_ms=end_ms))
        else:
            words = entry.text[: how >> 1 & 7]
            self.attempt(lambda: self.client.truncate(item_id, heard_text=words))

    def caller_deletes(self) -> None:
        """An item is taken out, or asked for."""
        item_id = self.pick()
        client = self.client
        call = client.delete_item if self.draw.flag() else client.retrieve_item
        self.attempt(lambda: call(item_id))

    def caller_edits(self) -> None:
        """The whole conversation at once, on what it is or what it was."""
        how = self.draw.byte()
        current = self.client.conversation.items()
        source = self.base if how & 1 else current
        wanted: list[events.Item] = list(reversed(source)) if how & 2 else list(source)
        del wanted[how >> 5 :]
        if how & 4:
            part = events.InputText(text="edited")
            wanted.append(events.Message(role="user", content=[part]))
        if how & 8 and wanted and isinstance(wanted[0], events.Message):
            part = events.InputText(text="changed")
            wanted[0] = events.Message(role="user", content=[part], id=wanted[0].id)
        base = self.base if how & 1 else None
        self.attempt(lambda: self.client.update_conversation(wanted, base=base))
        if how & 16:
            self.base = current

    def caller_answers_call(self) -> None:
        """A tool is done."""
        call_id = self.draw.choice(["nobody", *self.watch.calls])
        reply = self.draw.flag()
        self.attempt(lambda: self.client.send_tool_output(call_id, "done", reply=reply))

    def caller_speaks(self) -> None:
        """Audio, of odd lengths too."""
        how = self.draw.byte()
        audio = _SILENCE[: (960, 4_800, 6_000, 1)[how & 3] * (1 + (how >> 6))]
        rate = (None, 8_000, 16_000, 24_000)[how >> 2 & 3]
        self.attempt(lambda: self.client.push_audio(audio, rate=rate))

    def caller_commits(self) -> None:
        """A turn ends, or is taken back."""
        client = self.client
        self.attempt(client.commit_audio if self.draw.flag() else client.clear_audio)

    def caller_updates(self) -> None:
        """Settings change."""
        changes = self.draw.choice(_CHANGES)
        self.attempt(lambda: self.client.update(**changes))

    def caller_abandons(self) -> None:
        """Somebody does not wait for a reply any more."""
        if self.commands:
            command = self.draw.choice(self.commands)
            self.attempt(lambda: self.client.abandon(command))

    def caller_sends_event(self) -> None:
        """An event of any kind, as it is."""
        data = draw_event(self.draw, server=False, ids=tuple(self.server.ids))
        try:
            event = events.client_event_from(data)
        except SchemaError:
            return
        self.attempt(lambda: self.client.send(event))

    def caller_makes_item(self) -> None:
        """An item of any kind."""
        data = {
            "type": "conversation.item.create",
            "item": copy.deepcopy(self.draw.choice(ODD_VALUES)),
        }
        try:
            event = events.client_event_from(data)
        except SchemaError:
            return
        item: Any = getattr(event, "item", None)
        self.attempt(lambda: self.client.create_item(item))

    def caller_closes(self) -> None:
        """The session ends."""
        self.client.close()

    # --- time and the connection ------------------------------------------------------------

    def time_passes(self) -> None:
        """The clock goes on; what was due is done."""
        self.now += self.draw.choice(_SECONDS)
        self.client.handle_timer(self.now)
        deadline = self.client.next_deadline()
        assert deadline is None or deadline > self.now, "a deadline that has passed"

    def deadline_comes(self) -> None:
        """The clock goes on to what is due next."""
        deadline = self.client.next_deadline()
        if deadline is not None:
            self.now = max(self.now, deadline)
            self.client.handle_timer(self.now)
            after = self.client.next_deadline()
            assert after is None or after > self.now, "a deadline that has passed"

    def connects_again(self) -> None:
        """A lost connection is replaced, and mostly by one that works."""
        if self.watch.reconnect_at is None or self.watch.closed:
            return
        self.now = max(self.now, self.watch.reconnect_at)
        self.watch.reconnect_at = None
        self.server = ScriptedServer()
        self.connect()
        if self.draw.byte() < 200:
            self.receive(UPGRADE)
            self.collect()
            self.server_answers()

    def caller_restarts(self) -> None:
        """Another connection is wanted."""
        patience_s = (None, 0.0, 3.0, -1.0)[self.draw.byte() & 3]
        self.attempt(lambda: self.client.restart("it was asked for", patience_s=patience_s))

    def next_begins(self) -> None:
        """Where a next connection is wanted, it is made."""
        link = self.client.begin_rotation(self.now)
        if link is not None:
            self.next_link, self.next_server = link, ScriptedServer()
            link.data_to_send()
            if self.draw.byte() < 200:
                link.receive_data(UPGRADE, self.now)

    def next_answers(self) -> None:
        """The next connection's server answers everything, refuses some of it, or says it twice."""
        if self.next_link is None:
            return
        server, how = self.next_server, self.draw.byte()
        messages: list[Json] = []
        for number in range(len(server.asked)):
            event = server.asked.popleft()
            if how >> 4 == number + 1:
                messages += server.refusal(event, "invalid_value", "invalid_request_error", "no")
            else:
                messages += server.answer(event, self.draw) * (1 + (how & 15 == 15))
        self.next_link.receive_data(frames_of(messages), self.now)

    def next_fails(self) -> None:
        """The next connection goes, or cannot be made."""
        if self.next_link is not None and self.draw.flag():
            self.next_link.receive_eof(self.now)
        else:
            self.client.rotation_failed(self.now)

    # --- the end ----------------------------------------------------------------------------

    def end(self) -> None:
        """The caller closes, the server goes, and nothing is left."""
        check_bounds(self.client)
        check_heard(self.client)
        if self.client.state is ConnectionState.IDLE:
            return
        self.client.close()
        self.collect()
        self.client.receive_eof(self.now)
        self.collect()
        self.now += 2.0
        self.client.handle_timer(self.now)
        self.collect()
        check_over(self.client, self.watch, self.commands)


_L = ClientLife
# What is more often useful stands here more often. New steps go to the end, so that the others keep their
# numbers; the kept lives change all the same: see "Adding a target" in docs/fuzzing.md.
STEPS: tuple[Callable[[ClientLife], None], ...] = (
    *(_L.server_answers, _L.server_answers_all, _L.server_answers_out_of_order),
    *(_L.server_goes_on, _L.server_goes_on, _L.server_goes_on, _L.server_begins),
    *(_L.server_hears, _L.server_commits, _L.server_refuses, _L.server_forgets),
    *(_L.server_says_anything, _L.server_says_raw_json, _L.server_sends_bytes),
    *(_L.server_closes, _L.server_upgrades),
    *(_L.caller_says, _L.caller_asks, _L.caller_interrupts, _L.caller_truncates),
    *(_L.caller_deletes, _L.caller_edits, _L.caller_answers_call, _L.caller_speaks),
    *(_L.caller_commits, _L.caller_updates, _L.caller_abandons, _L.caller_sends_event),
    *(_L.caller_makes_item, _L.caller_closes),
    *(_L.time_passes, _L.deadline_comes, _L.connects_again),
    *(_L.caller_restarts, _L.next_begins, _L.next_answers, _L.next_answers, _L.next_fails),
)
