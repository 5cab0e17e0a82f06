"""A service that says nothing any more, although its WebSocket may answer (R11)."""

from __future__ import annotations

import pytest
from pair import Pair, of
from rotating import SECOND

from sansio_rt import ConnectionLost, ConnectionState, RawClientEvent, RetryPolicy, Timing, events

ALERT = Timing(
    liveness_after_s=30.0, keepalive_interval_s=None, rotate_after_s=None, answer_timeout_s=5.0
)


def test_a_service_that_takes_audio_and_says_nothing_is_asked() -> None:  # R11
    pair = Pair(client={"timing": ALERT, "retry": RetryPolicy()}).connect()
    pair.pass_time(40.0)
    sent = pair.server.session.session
    pair.client.push_audio(SECOND)
    pair.run()
    new = pair.pass_time(30.0)
    assert pair.client.state is ConnectionState.READY
    assert not of(ConnectionLost, new)
    assert not pair.client.commands
    assert pair.server.session.session == sent
    # Nothing goes out: silence is no doubt.
    assert not of(ConnectionLost, pair.pass_time(300.0))


def test_a_service_that_speaks_is_not_asked() -> None:  # R11
    pair = Pair(client={"timing": ALERT, "retry": RetryPolicy()}).connect()
    pair.client.raw_events = True
    for _ in range(6):
        pair.client.push_audio(SECOND)
        pair.client.send_message("Are you there?")
        told = [*pair.run(), *pair.pass_time(10.0)]
        sent = [event.event for event in of(RawClientEvent, told)]
        assert sent
        assert not [event for event in sent if isinstance(event, events.SessionUpdate)]


def test_a_service_that_does_not_answer_is_replaced() -> None:  # R11
    pair = Pair(client={"timing": ALERT, "retry": RetryPolicy()}).connect()
    for _ in range(40):
        pair.now += 1.0
        pair.client.push_audio(SECOND)
        pair.client.handle_timer(pair.now)
        pair.client.data_to_send()
    (lost,) = of(ConnectionLost, list(iter(pair.client.next_event, None)))
    assert "liveness_after_s" in str(lost.error)
    assert pair.client.state is ConnectionState.CLOSED


@pytest.mark.parametrize("server_pings", [False, True])
def test_a_service_whose_websocket_alone_answers_is_replaced(server_pings: bool) -> None:  # R11
    """Pings and pongs are the WebSocket's: a session behind them may be dead all the same."""
    timing = Timing(rotate_after_s=None)
    pair = Pair(client={"timing": timing, "retry": RetryPolicy()}).connect()
    for _ in range(60):
        pair.now += 1.0
        pair.client.push_audio(SECOND)
        pair.client.handle_timer(pair.now)
        pair.server.receive_data(pair.client.data_to_send(), pair.now)
        pair.server.session.messages_to_send()  # and nobody is told
        if server_pings:
            pair.server._wire.ping()
        if data := pair.server.data_to_send():
            pair.client.receive_data(data, pair.now)
        if lost := of(ConnectionLost, list(iter(pair.client.next_event, None))):
            assert "liveness_after_s" in str(lost[0].error)
            return
    pytest.fail("nobody noticed")


def test_a_sign_of_life_is_asked_for_once_at_a_time() -> None:  # R11
    timing = Timing(
        liveness_after_s=5.0, answer_timeout_s=60.0, keepalive_interval_s=None, rotate_after_s=None
    )
    pair = Pair(client={"timing": timing, "retry": RetryPolicy()}).connect()
    for _ in range(30):
        pair.now += 1.0
        pair.client.push_audio(SECOND)
        pair.client.handle_timer(pair.now)
        pair.client.data_to_send()
    assert len(pair.client.commands) == 1
