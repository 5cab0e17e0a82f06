"""A client and a server in one thread, whose bytes are carried by hand: for the tests of the core."""

from __future__ import annotations

from typing import Any

from sansio_rt import (
    CallReady,
    ClientProtocol,
    ConnectionState,
    Endpoint,
    RawClientEvent,
    SequentialIds,
    ServerErrorReported,
    ServerProtocol,
    SessionConfig,
)
from sansio_rt._connection import Connection
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import ReplyWanted
from sansio_rt._wire import Wire

ENDPOINT = Endpoint.url("ws://127.0.0.1:1/v1", api_key="secret-key", model="gpt-realtime")
MANUAL = SessionConfig(turn_detection=None, instructions="Be brief.")
SECOND = b"\x01\x00" * 24_000


def look(at: str = "it") -> str:
    """Looks."""
    return at


class Loud:
    """A detector that hears speech in everything that is not silent."""

    rate = 16_000
    window_samples = 512

    def probability(self, window: Any) -> float:
        return 1.0 if abs(window).max() > 1e-3 else 0.0

    def reset(self) -> None:
        pass


class Pair:
    """A client and a server whose bytes are carried by hand, and a clock that stands until moved."""

    def __init__(
        self,
        config: SessionConfig = MANUAL,
        *,
        client: dict[str, Any] | None = None,
        **server: Any,
    ) -> None:
        server.setdefault("pace", None)
        self.now = 100.0
        # As in earnest, the two choose their ids without knowing of each other's.
        settings = {"ids": SequentialIds("c"), **(client or {})}
        self.client = ClientProtocol(ENDPOINT, config, **settings)
        self._server_settings = server
        self.server = ServerProtocol(ServerSession(**server))
        self.events: list[Any] = []
        self.work: list[Any] = []

    def connect(self) -> Pair:
        self.client.connect(self.now)
        self.run()
        assert self.client.state is ConnectionState.READY
        return self

    def cut(self) -> list[Any]:
        """The connection goes without a word; gives the client's new events."""
        self.client.receive_eof(self.now)
        new = list(iter(self.client.next_event, None))
        self.events += new
        return new

    def reconnect(self) -> list[Any]:
        """Connects to a server that knows nothing yet."""
        self.server = ServerProtocol(ServerSession(**self._server_settings))
        self.work.clear()
        self.client.connect(self.now)
        return self.run()

    def run(self) -> list[Any]:
        """Carries bytes until both are quiet; gives the client's new events."""
        new: list[Any] = []
        while True:
            while (event := self.client.next_event()) is not None:
                new.append(event)
            out, back = self.client.data_to_send(), b""
            if out:
                self.server.receive_data(out, self.now)
            while (work := self.server.next_event()) is not None:
                self.work.append(work)
            back = self.server.data_to_send()
            if back:
                self.client.receive_data(back, self.now)
            if not out and not back:
                break
        self.events += new
        return new

    def pass_time(self, seconds: float) -> list[Any]:
        self.now += seconds
        self.server.handle_timer(self.now)
        self.client.handle_timer(self.now)
        return self.run()

    def wanted_reply(self) -> ReplyWanted:
        wanted = [work for work in self.work if isinstance(work, ReplyWanted)]
        assert wanted, self.work
        self.work.remove(wanted[0])
        return wanted[0]

    def speak(self, text: str = "Hello there.", seconds: float = 1.0) -> list[Any]:
        """Answers the oldest wanted reply with a spoken message."""
        session, response_id = self.server.session, self.wanted_reply().response_id
        session.begin_message(response_id, self.now)
        session.push_text(response_id, text, self.now)
        session.push_audio(response_id, (SECOND * 4)[: int(48_000 * seconds)], self.now)
        session.end_message(response_id, self.now)
        session.finish(response_id, self.now)
        return self.run()

    def calling(self, count: int) -> tuple[str, list[str]]:
        """A response with so many calls of `look` that still goes on: its id and theirs."""
        self.client.generate_reply()
        self.run()
        response_id = self.wanted_reply().response_id
        for _ in range(count):
            self.server.session.call_function(response_id, "look", "{}", self.now)
        return response_id, [event.call.call_id for event in of(CallReady, self.run())]

    def lose(self) -> Pair:
        """Lets what the client sends from here on get lost."""
        self.server.receive_data = lambda data, now: None  # type: ignore[method-assign]
        return self

    def sent(self, kind: type) -> list[Any]:
        """The client's events of a kind, where `client.raw_events` is set."""
        raw = of(RawClientEvent, self.events)
        return [each.event for each in raw if isinstance(each.event, kind)]

    def inject(self, *messages: bytes) -> list[Any]:
        """Lets the server send anything."""
        wire = self.server._wire
        for message in messages:
            wire.send_text(message)
        return self.run()


def accepting_wire(client: ClientProtocol | Connection) -> Wire:
    """The wire of a server that accepts a client's handshake; its answer is still to be sent."""
    wire = Wire.server()
    wire.receive_data(client.data_to_send())
    while wire.next_event() is not None:
        pass
    wire.accept()
    return wire


def of(kind: type, found: list[Any]) -> list[Any]:
    return [event for event in found if isinstance(event, kind)]


def only(kind: type, found: list[Any]) -> Any:
    matching = of(kind, found)
    assert len(matching) == 1, (kind, found)
    return matching[0]


def answered(pair: Pair) -> str:
    """An answer of two seconds; gives its item's id."""
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two three four", seconds=2)
    return pair.client.conversation.ids()[-1]


def agree(pair: Pair) -> None:
    """Both have one conversation, nothing waits, and nothing was refused."""
    assert pair.client.conversation.ids() == [item.id for item in pair.server.session.items]
    assert not pair.client.commands
    assert not of(ServerErrorReported, pair.events)
