"""A pair whose client replaces its connection as planned: every connection has a server of its own."""

from __future__ import annotations

from typing import Any

from pair import MANUAL, Pair

from sansio_rt import (
    ConnectionState,
    Link,
    RetryPolicy,
    RotationDue,
    SequentialIds,
    ServerProtocol,
    SessionConfig,
    Timing,
    events,
)
from sansio_rt._server_session import ServerSession

SECOND = b"\x00\x20" * 24_000
TIMING = Timing(
    rotate_after_s=10.0,
    rotation_patience_s=5.0,
    keepalive_interval_s=None,
    liveness_after_s=None,
)


class Rotating(Pair):
    """A pair that answers `RotationDue`: every link has a server of its own."""

    refuse_dials = False
    dials = 0

    def __init__(self, config: SessionConfig = MANUAL, **settings: Any) -> None:
        client = {"retry": RetryPolicy(), "timing": TIMING, **settings.pop("client", {})}
        super().__init__(config, client=client, **settings)
        self.ends: list[tuple[Link, ServerProtocol]] = []

    def connect(self) -> Rotating:
        self.ends.append((self.client.connect(self.now, unix_now=self.now), self.server))
        self.run()
        assert self.client.state is ConnectionState.READY
        return self

    @property
    def next_server(self) -> ServerProtocol:
        return self.ends[-1][1]

    def reply_until_due(self) -> list[Any]:
        """A reply begins, and runs when the connection is so old that it is to be replaced."""
        self.client.generate_reply()
        self.run()
        return self.pass_time(10.0)

    def pass_time(self, seconds: float) -> list[Any]:
        self.now += seconds
        for _, server in self.ends:
            server.handle_timer(self.now)
        self.client.handle_timer(self.now)
        return self.run()

    def run(self) -> list[Any]:
        new: list[Any] = []
        while self._carry(new):
            pass
        self.server = next(server for link, server in self.ends if link is self.client.link)
        self.work += list(iter(self.server.next_event, None))
        self.events += new
        return new

    def _carry(self, new: list[Any]) -> bool:
        moved = False
        while (event := self.client.next_event()) is not None:
            new.append(event)
            if isinstance(event, RotationDue):
                self._dial()
                moved = True
        for link, server in self.ends:
            if out := link.data_to_send():
                server.receive_data(out, self.now)
            if back := server.data_to_send():
                link.receive_data(back, self.now)
            moved = moved or bool(out) or bool(back)
        return moved

    def _dial(self) -> None:
        self.dials += 1
        if self.refuse_dials:
            self.client.rotation_failed(self.now)
            return
        link = self.client.begin_rotation(self.now, unix_now=self.now)
        assert link is not None
        settings = {**self._server_settings, "ids": SequentialIds(f"s{self.dials}")}
        self.ends.append((link, ServerProtocol(ServerSession(**settings))))


def server_texts(pair: Pair) -> list[str]:
    return [
        " ".join(getattr(part, "text", "?") for part in item.content)
        for item in pair.server.session.items
        if isinstance(item, events.Message)
    ]


def spoken_turn(pair: Rotating) -> None:
    pair.client.send_message("What is the time?")
    pair.client.generate_reply()
    pair.run()
    pair.speak("It is noon.")
