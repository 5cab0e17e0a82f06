"""What belongs to one connection ends with it, and reaches no other (R2, R3, R8, G5)."""

from __future__ import annotations

from typing import Any

import pytest
from pair import MANUAL, Pair, of, only

from sansio_rt import (
    ConnectionLost,
    ConnectionReplaced,
    ConnectionState,
    GenerationEnded,
    GenerationStatus,
    Link,
    Outcome,
    RetryPolicy,
    RotationDue,
    SequentialIds,
    ServerErrorReported,
    ServerProtocol,
    SessionClosed,
    Timing,
)
from sansio_rt._server_session import ServerSession

EXPIRED = b'{"type":"error","error":{"type":"x","code":"session_expired","message":"too old"}}'
UNWANTED = b"""{"type":"response.created","response":{"id":"resp_late","status":"in_progress",
    "conversation_id":null,"metadata":{"client_event_id":"%s"}}}"""


class Prepared(Pair):
    """A pair whose next connection stands ready, and waits for a reply that runs."""

    def __init__(self) -> None:
        timing = Timing(rotate_after_s=10.0, keepalive_interval_s=None, liveness_after_s=None)
        super().__init__(MANUAL, client={"retry": RetryPolicy(), "timing": timing})
        self.connect()
        self.client.generate_reply()
        self.run()
        self.now += 10.0
        self.client.handle_timer(self.now)
        only(RotationDue, list(iter(self.client.next_event, None)))
        link = self.client.begin_rotation(self.now)
        assert link is not None
        self.next_link: Link = link
        self.next_server = ServerProtocol(ServerSession(pace=None, ids=SequentialIds("next_")))
        self.old_server = self.server
        self._carry_next()

    def take_over(self, *messages: bytes, close: bool = False) -> list[Any]:
        """The old server's last words come in one piece, the one that ends it among them."""
        wire = self.old_server._wire
        for message in messages:
            wire.send_text(message)
        if close:
            wire.close(1001, "")
        self.client.receive_data(self.old_server.data_to_send(), self.now)
        new = list(iter(self.client.next_event, None))
        self.server = self.next_server
        return new + self._carry_next() + self.run()

    def _carry_next(self) -> list[Any]:
        new: list[Any] = []
        while out := self.next_link.data_to_send():
            self.next_server.receive_data(out, self.now)
            self.next_link.receive_data(self.next_server.data_to_send(), self.now)
            new += iter(self.client.next_event, None)
        return new


def test_a_close_behind_the_last_word_is_the_old_connections() -> None:
    pair = Prepared()
    new = pair.take_over(EXPIRED, close=True)
    only(ConnectionReplaced, new)
    assert not of(ConnectionLost, new)
    assert not of(SessionClosed, new)
    assert pair.client.state is ConnectionState.READY
    assert pair.client.link is pair.next_link


def test_what_was_queued_for_the_old_connection_is_not_sent_on_the_next() -> None:
    pair = Prepared()
    command = pair.client.generate_reply(conversation="none")
    pair.client.data_to_send()  # its answer is below
    pair.client.abandon(command)
    created = UNWANTED.replace(b"%s", command.event_id.encode())
    new = pair.take_over(created, EXPIRED)  # the first one queues a cancel
    only(ConnectionReplaced, new)
    assert not of(ServerErrorReported, new)
    assert pair.client.state is ConnectionState.READY
    assert not pair.client.commands


@pytest.mark.parametrize("conversation", ["auto", "none"])
def test_every_reply_ends_with_its_connection(conversation: str) -> None:
    pair = Pair(client={"retry": RetryPolicy()}).connect()
    command = pair.client.generate_reply(conversation=conversation)
    pair.run()
    assert command.outcome is Outcome.ACKNOWLEDGED
    generation = only(GenerationEnded, pair.cut()).generation
    assert generation is command.result()
    assert generation.status is GenerationStatus.LOST
    assert pair.client.generations == []
