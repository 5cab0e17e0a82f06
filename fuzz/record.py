"""Seeds from real conversations: the client talks to the server, and what passes is written down.

`converse` plays a few conversations with both protocol objects. From what went over the wire come the seeds
of the wire, the codec, the dialects and the server; those of the client are lives of the same calls, whose
server's messages are the ones that were recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fuzz.client_life import MAX_LIFE_BYTES, ClientLife
from fuzz.client_life import STEPS as CLIENT_STEPS
from fuzz.client_made import look
from fuzz.framing import PING, PONG, TEXT, frame, sent_frames
from fuzz.server_life import STEPS as SERVER_STEPS
from fuzz.server_life import Loud, ServerLife
from fuzz.shapes import kinds, samples
from fuzz.storage import Storage, pack
from sansio_rt import (
    ClientProtocol,
    Endpoint,
    SequentialIds,
    ServerProtocol,
    ServerVad,
    SessionConfig,
    Transcription,
    tool,
)
from sansio_rt._dialects import server_to_wire
from sansio_rt._endpoint import Dialect
from sansio_rt._errors import UnsupportedByDialect
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import ReplyWanted, TranscriptionWanted

_MOST_AUDIO_BYTES = 4_800
_SOUND, _SILENCE = b"\x00\x20" * 4_800, bytes(9_600)


@dataclass
class Recording:
    """What passed between a client and a server.

    Attributes:
        request: The client's opening request.
        upgrade: The server's answer to it.
        of_client: The client's messages.
        of_server: The server's messages.
    """

    request: bytes = b""
    upgrade: bytes = b""
    of_client: list[bytes] = field(default_factory=list[bytes])
    of_server: list[bytes] = field(default_factory=list[bytes])


class Talk:
    """A client and a server whose bytes are carried by hand and written down."""

    def __init__(self, *, hears: bool) -> None:
        config = SessionConfig(
            turn_detection=ServerVad(silence_duration_ms=200) if hears else None,
            transcription=Transcription(model="whisper-1") if hears else None,
            tools=[tool(look)],
            instructions="Be there.",
        )
        endpoint = Endpoint.url("ws://127.0.0.1:1/v1")
        self.client = ClientProtocol(endpoint, config, ids=SequentialIds("c"), random_bytes=bytes)
        self.server = ServerProtocol(ServerSession(detector=Loud(), pace=None))
        self.recording = Recording()
        self.now = 100.0
        self.wanted: list[str] = []
        self.client.connect(self.now)
        self.recording.request = bytes(self.client.data_to_send())
        self.server.receive_data(self.recording.request, self.now)
        head, mark, rest = self.server.data_to_send().partition(b"\r\n\r\n")
        self.recording.upgrade = head + mark
        self.client.receive_data(self.recording.upgrade, self.now)
        self._deliver(rest)
        self.carry()

    def carry(self) -> None:
        """Carries bytes until both are quiet."""
        while True:
            while self.client.next_event() is not None:
                pass
            out = self.client.data_to_send()
            for sent in sent_frames(out, masked=True):
                if sent.opcode == TEXT:
                    self.recording.of_client.append(sent.payload)
            self.server.receive_data(out, self.now)
            self._work()
            back = self.server.data_to_send()
            self._deliver(back)
            if not out and not back:
                return

    def _deliver(self, data: bytes) -> None:
        for sent in sent_frames(data, masked=False):
            if sent.opcode == TEXT:
                self.recording.of_server.append(sent.payload)
        self.client.receive_data(data, self.now)

    def _work(self) -> None:
        while (work := self.server.next_event()) is not None:
            if isinstance(work, ReplyWanted):
                self.wanted.append(work.response_id)
            elif isinstance(work, TranscriptionWanted):
                self.server.session.transcribed(work.item_id, "what was said", self.now)

    def reply(self, *, calls: bool = False) -> None:
        """Answers the oldest wanted reply, with a spoken message or a call."""
        session, response_id = self.server.session, self.wanted.pop(0)
        if calls:
            session.call_function(response_id, "look", '{"at": "me"}', self.now)
        else:
            session.begin_message(response_id, self.now)
            session.push_text(response_id, "Hello there.", self.now)
            session.push_audio(response_id, _SOUND[:_MOST_AUDIO_BYTES], self.now)
            session.end_message(response_id, self.now)
        session.finish(response_id, self.now)
        self.carry()


def _written(talk: Talk) -> None:
    talk.client.send_message("Hello?")
    talk.client.generate_reply(metadata={"topic": "greeting"})
    talk.carry()
    talk.reply()


def _interrupted(talk: Talk) -> None:
    _written(talk)
    spoken = talk.client.conversation.ids()[-1]
    talk.client.truncate(spoken, audio_end_ms=40)
    talk.client.generate_reply()
    talk.carry()
    talk.client.interrupt()
    talk.client.generate_reply(conversation="none", modalities=["text"])
    talk.carry()


def _tools(talk: Talk) -> None:
    talk.client.generate_reply(tool_choice="look")
    talk.carry()
    talk.reply(calls=True)
    items = talk.client.conversation.items()
    call_id = next(str(getattr(item, "call_id", "")) for item in items)
    talk.client.send_tool_output(call_id, "seen")
    talk.carry()
    talk.reply()


def _spoken(talk: Talk) -> None:
    talk.client.push_audio(_SOUND)
    talk.client.push_audio(_SILENCE * 3)
    talk.carry()
    while talk.wanted:
        talk.reply()


def _edited(talk: Talk) -> None:
    talk.client.send_message("one", item_id="mine_1")
    talk.client.send_message("two", item_id="mine_2", previous_item_id="root")
    talk.carry()
    items = talk.client.conversation.items()
    talk.client.update_conversation(items[::-1])
    talk.client.retrieve_item("mine_1")
    talk.carry()
    talk.client.delete_item("mine_1")
    talk.client.update(instructions="Be kind.", speed=1.2)
    talk.client.push_audio(_SOUND)
    talk.client.commit_audio()
    talk.client.clear_audio()
    talk.carry()


CONVERSATIONS: tuple[Callable[[Talk], None], ...] = (
    _written,
    _interrupted,
    _tools,
    _spoken,
    _edited,
)


def converse() -> list[Recording]:
    """Plays all conversations."""
    found: list[Recording] = []
    for play in CONVERSATIONS:
        talk = Talk(hears=play is _spoken)
        play(talk)
        talk.client.close()
        talk.carry()
        found.append(talk.recording)
    return found


def record_all(storage: Storage) -> dict[str, int]:
    """Makes the seeds of every target anew.

    Returns:
        How many each target has.
    """
    return {name: pack(storage.seeds(name), inputs) for name, inputs in sorted(seeds().items())}


def seeds() -> dict[str, list[bytes]]:
    """The seeds by target."""
    recordings = converse()
    of_server = [_shortened(m) for each in recordings for m in each.of_server]
    of_client = [_shortened(m) for each in recordings for m in each.of_client]
    first = recordings[0]
    return {
        "handshake_client": [bytes([way]) + first.upgrade for way in (0, 1, 40)]
        + [b"\0" + b"HTTP/1.1 429 No\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\nno"],
        "handshake_server": [bytes([0, answer]) + first.request for answer in (0, 1, 2, 128)],
        "wire_client": [bytes([how, 0]) + frame(m) for how, m in enumerate(_shortest(of_server))]
        + [b"\1\1\x01\x01a\x89\x01?\x80\x01b", b"\x81\0\x88\x05\x03\xe8bye"]
        + _without_the_lane(client=True),
        "wire_server": [
            bytes([how, 0]) + frame(m, masked=True) for how, m in enumerate(_shortest(of_client))
        ]
        + _without_the_lane(client=False),
        "codec": [b"\0" + m for m in _one_of_each(of_server)]
        + [b"\1" + m for m in _one_of_each(of_client)]
        + [b'\0{"type":"input_audio_buffer.cleared","new":[1],"nothing":null}'],
        "dialect_beta": [b"\0" + m for m in _in_beta(of_server)] + _replies_with_one_setting(),
        "dialect_azure": [b"\0" + m for m in _in_beta(of_server)] + _replies_with_one_setting(),
        "client": [_client_life(each) for each in recordings] + _scripted_lives(),
        "server": [_server_life(each) for each in recordings],
        "tool_arguments": [b'\0{"text":"x","place":{"city":"Rome"}}', b'\2{"text":null}'],
        "tool_schemas": [
            b'\1{"type":"object","properties":{"a":{"$ref":"#/$defs/a"}},"$defs":{"a":{"type":"string"}}}'
        ],
        "endpoint": [
            b"\0\0https://api.openai.com/v1",
            b"\1\0wss://user.example:8443/v1?model=m",
            b"\2\x10\x01mhttps://name.openai.azure.com",
        ],
        "proxy": [b"\0\0HTTP/1.1 200 OK\r\n\r\n", b"\1proxy.example:3128", b"\2\x0b10.0.0.0/8,*"],
    }


def _without_the_lane(*, client: bool) -> list[bytes]:
    """What the fast lane must leave alone or take in the same way, compared with no lane."""
    masked = not client
    return [
        b"\x81\0" + frame(b"a", masked=not masked),
        b"\x81\0" + frame(b"\xff", masked=masked),
        b"\x81\0"
        + frame(b"a", opcode=PING, masked=masked)
        + frame(b"", opcode=PONG, masked=masked),
        b"\x91\0" + frame(b"a" * 20, masked=masked) + frame(b"a" * 21, masked=masked),
    ]


def _replies_with_one_setting() -> list[bytes]:
    """Wanted replies, each with one setting of a sample and no more."""
    kind = kinds(server=False).index("response.create")
    sample = samples("response.create", server=False)[0]
    return [bytes([6, kind, 0, 0, at, at]) for at in range(len(sample["response"]))]


def _shortened(message: bytes) -> bytes:
    """A message with most of its audio left out."""
    event: dict[str, Any] = msgspec.json.decode(message)
    for name in ("delta", "audio"):
        if isinstance(event.get(name), str) and len(event[name]) > 64:
            event[name] = event[name][:64]
    return msgspec.json.encode(event)


def _one_of_each(messages: list[bytes]) -> list[bytes]:
    """The shortest message of each type."""
    found: dict[str, bytes] = {}
    for message in sorted(messages, key=len):
        found.setdefault(msgspec.json.decode(message)["type"], message)
    return list(found.values())


def _shortest(messages: list[bytes]) -> list[bytes]:
    return _one_of_each(messages)[:8]


def _in_beta(messages: list[bytes]) -> list[bytes]:
    """The same messages as a server of the beta writes them, where it can."""
    found: list[bytes] = []
    for message in _one_of_each(messages):
        try:
            written = server_to_wire(Dialect.BETA, msgspec.json.decode(message))
        except UnsupportedByDialect:
            continue
        if written is not None:
            found.append(msgspec.json.encode(written))
    return found


def _client_life(recording: Recording) -> bytes:
    """A life in which the server says what it said, in raw messages, as far as an input may go."""
    said = CLIENT_STEPS.index(ClientLife.server_says_raw_json)
    asks = CLIENT_STEPS.index(ClientLife.caller_asks)
    life = bytearray([0])
    for message in map(_shortened, recording.of_server):
        if b'"session.' in message or b'"rate_limits.' in message:
            continue  # the life begins behind the configuration
        if b'"response.created"' in message:
            life += bytes([asks, 0])
        turn = bytes([said]) + len(message).to_bytes(2, "big") + message
        if len(life) + len(turn) > MAX_LIFE_BYTES:
            continue
        life += turn
    return bytes(life)


def _scripted_lives() -> list[bytes]:
    """Short lives by the table of steps, in which everything is answered as the service would."""
    step = {made.__name__: number for number, made in enumerate(CLIENT_STEPS)}
    written = (
        ["caller_says", "server_answers_all", "caller_asks", "server_answers_all"],
        ["caller_speaks", "caller_commits", "server_answers_all", "server_hears"],
        ["caller_updates", "server_answers_all", "server_begins", "caller_interrupts"],
        ["server_begins", *["server_goes_on"] * 6, "caller_truncates", "server_answers_all"],
        ["server_closes", "connects_again", "server_answers_all", "time_passes"],
        ["caller_says", "caller_edits", "server_answers_all", "caller_deletes"],
    )
    complaints = [
        bytes([2, step["caller_asks"], 0, step["server_refuses"], 0, how]) for how in (128, 192)
    ]
    complaints.append(bytes([2, step["server_closes"], 129]))
    complaints.append(bytes([224, step["server_upgrades"], 255]))
    return complaints + [
        bytes([session])
        + b"".join(bytes([step[name], number]) for number, name in enumerate(names))
        for session, names in enumerate(written, 2)
    ]


def _server_life(recording: Recording) -> bytes:
    """A life in which the client says what it said, and every reply is answered."""
    said = SERVER_STEPS.index(ServerLife.client_sends_text)
    replies = SERVER_STEPS.index(ServerLife.whole_reply)
    life = bytearray([1])
    for message in map(_shortened, recording.of_client):
        turn = bytes([said]) + len(message).to_bytes(2, "big") + message + bytes([replies])
        if len(life) + len(turn) > MAX_LIFE_BYTES:
            continue
        life += turn
    return bytes(life)
