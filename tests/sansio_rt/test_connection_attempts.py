"""Connections that do not come about, or are closed while they do (R1, R6), and calls that exist."""

from __future__ import annotations

from typing import Any

import pytest
from pair import ENDPOINT, Pair, accepting_wire, of, only
from server_says import message

from sansio_rt import (
    ClientProtocol,
    CommandEnded,
    ConnectionClosed,
    ConnectionState,
    Endpoint,
    GenerationStarted,
    HandshakeRejected,
    Outcome,
    RetryPolicy,
    SessionClosed,
    Timing,
)


@pytest.mark.parametrize("begun", [False, True])
def test_a_stream_that_cannot_be_opened_ends_the_attempt(begun: bool) -> None:  # R1
    pair = Pair()
    why = ConnectionClosed("no route to host")
    if begun:
        pair.client.connect(pair.now)
    pair.client.connect_failed(why, pair.now)
    assert pair.client.state is ConnectionState.CLOSED
    assert only(SessionClosed, list(iter(pair.client.next_event, None))).error is why
    assert pair.client.pending_bytes == 0
    pair.connect()
    pair.client.connect_failed(why, pair.now)  # where there is one, nothing failed
    assert pair.client.state is ConnectionState.READY


def test_closing_before_the_handshake_is_over_is_quiet() -> None:  # R6
    client = ClientProtocol(ENDPOINT)
    client.close()
    assert only(SessionClosed, list(iter(client.next_event, None))).error is None
    client.connect(0.0)
    client.close()
    assert only(SessionClosed, list(iter(client.next_event, None))).error is None
    assert client.state is ConnectionState.CLOSED
    client.receive_data(b"HTTP/1.1 101", 0.0)
    client.receive_eof(0.0)
    assert client.next_event() is None


def test_a_close_while_the_connection_closes_ends_the_reconnecting_too() -> None:  # R6
    pair = Pair(client={"retry": RetryPolicy()}).connect()
    pair.inject(message("error", error={"type": "x", "code": "session_expired", "message": "old"}))
    pair = Pair(client={"retry": RetryPolicy()}).connect()
    pair.client.receive_data(b"", pair.now)
    pair.lose()
    pair.inject(message("error", error={"type": "x", "code": "session_expired", "message": "old"}))
    assert pair.client.state is ConnectionState.CLOSING
    pair.client.close()
    pair.pass_time(2)
    assert only(SessionClosed, pair.events)
    assert pair.client.state is ConnectionState.CLOSED
    assert not pair.client.reconnecting


def test_an_answer_that_comes_too_late_for_the_close_is_for_nobody() -> None:
    pair = Pair().connect()
    command = pair.client.generate_reply()
    data = pair.client.data_to_send()
    pair.server.receive_data(data, pair.now)
    pair.client.close()
    pair.run()
    assert command.outcome is Outcome.CONNECTION_ENDED
    assert not of(GenerationStarted, pair.events)
    assert len([e for e in of(CommandEnded, pair.events) if e.command is command]) == 1


def test_a_server_that_goes_before_the_handshake_is_named() -> None:  # R1
    client = ClientProtocol(ENDPOINT)
    client.connect(0.0)
    client.receive_eof(0.0)
    error = only(SessionClosed, list(iter(client.next_event, None))).error
    assert "did not answer the WebSocket handshake" in str(error)


def test_a_rejection_without_a_marked_end_is_one_all_the_same() -> None:  # R1
    client = ClientProtocol(ENDPOINT, timing=Timing(connect_timeout_s=5))
    client.connect(0.0)
    client.receive_data(b"HTTP/1.1 403 Forbidden\r\n\r\nnot for you", 0.0)
    client.handle_timer(5.0)
    error = only(SessionClosed, list(iter(client.next_event, None))).error
    assert isinstance(error, HandshakeRejected)
    assert (error.status, error.body) == (403, "not for you")


ATTACHED = Endpoint.url("ws://127.0.0.1:1/v1", call_id="rtc_1")


@pytest.mark.parametrize(
    ("audio", "rates"),
    [
        ({"input": {"format": {"type": "audio/pcmu"}}}, (8_000, 24_000)),
        ({"output": {"format": {"type": "audio/pcma"}}}, (24_000, 8_000)),
        (
            {
                "input": {"format": {"type": "audio/pcm", "rate": 24_000}},
                "output": {"format": {"type": "audio/opus"}},
            },
            (24_000, 24_000),
        ),
    ],
)
def test_a_call_that_exists_keeps_its_formats(
    audio: dict[str, Any], rates: tuple[int, int]
) -> None:  # S8
    client = ClientProtocol(ATTACHED)
    client.connect(0.0)
    wire = accepting_wire(client)
    session = {"type": "realtime", "audio": audio}
    wire.send_text(message("session.updated", session=session))
    client.receive_data(wire.data_to_send(), 0.0)
    assert client.state is ConnectionState.READY
    assert client._input._encoder.format.rate == rates[0]
    assert client._responses.content.audio_format.rate == rates[1]
