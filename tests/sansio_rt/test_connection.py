"""One connection of a client: states as a table, bytes to typed events and back."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pair import ENDPOINT, accepting_wire

from sansio_rt import ConnectionState, CountingBytes, Limits, SchemaError, events
from sansio_rt._connection import CONNECTED, TRANSITIONS, Connection, ConnectionInput
from sansio_rt._wire import HandshakeAccepted, Wire, WireClosed

ENDED = events.encode(events.InputAudioBufferCleared(event_id="e"))


def opened() -> tuple[Connection, Wire]:
    """A connection after its handshake, and the server's wire."""
    connection = Connection(ENDPOINT, Limits(), CountingBytes())
    connection.open(None)
    wire = accepting_wire(connection)
    connection.receive_data(wire.data_to_send())
    assert isinstance(connection.next(), HandshakeAccepted)
    connection.move(ConnectionInput.ACCEPTED)
    return connection, wire


def test_every_state_can_be_left_and_every_input_is_used() -> None:
    assert set(TRANSITIONS) == set(ConnectionState)
    inputs = set(itertools.chain.from_iterable(TRANSITIONS.values()))
    assert inputs == set(ConnectionInput)
    reached = {state for moves in TRANSITIONS.values() for state in moves.values()}
    assert reached == set(ConnectionState) - {ConnectionState.IDLE}
    for state in CONNECTED:
        assert TRANSITIONS[state][ConnectionInput.ENDED] is ConnectionState.CLOSED
        assert TRANSITIONS[state][ConnectionInput.CLOSE] is ConnectionState.CLOSING


@given(st.lists(st.sampled_from(ConnectionInput), max_size=20))
def test_whatever_happens_a_connection_can_end(steps: list[ConnectionInput]) -> None:
    connection = Connection(ENDPOINT, Limits(), CountingBytes())
    for step in steps:
        if step in TRANSITIONS[connection.state]:
            connection.move(step)
    state = connection.state
    if state is ConnectionState.IDLE:
        assert TRANSITIONS[state][ConnectionInput.CLOSE] is ConnectionState.CLOSED
    elif state is not ConnectionState.CLOSED:
        assert TRANSITIONS[state][ConnectionInput.ENDED] is ConnectionState.CLOSED


def test_without_a_wire_nothing_goes_in_or_out() -> None:
    connection = Connection(ENDPOINT, Limits(), CountingBytes())
    connection.open(None)
    assert connection.pending_bytes > 0
    connection.let_go()
    for other in (connection, Connection(ENDPOINT, Limits(), CountingBytes())):
        other.receive_data(b"HTTP/1.1 101")
        other.receive_eof()
        other.send(events.InputAudioBufferClear())
        other.ping()
        assert other.next() is None
        assert other.data_to_send() == b""
        assert other.pending_bytes == 0


def test_events_go_out_while_the_connection_is_open() -> None:
    connection, wire = opened()
    connection.send(events.InputAudioBufferClear(event_id="e1"))
    assert connection.pending_bytes > 0
    wire.receive_data(connection.data_to_send())
    assert bytes(wire.next_event().data) == (  # type: ignore[union-attr]
        b'{"type":"input_audio_buffer.clear","event_id":"e1"}'
    )
    connection.ping()
    wire.receive_data(connection.data_to_send())
    wire.next_event()
    assert wire.data_to_send()  # the pong
    connection.close(1000, "")
    assert connection.state is ConnectionState.CLOSING
    connection.data_to_send()
    connection.send(events.InputAudioBufferClear())
    connection.ping()
    assert connection.data_to_send() == b""


def test_nothing_goes_out_behind_the_close_frame_of_the_peer() -> None:
    connection, wire = opened()
    wire.send_text(ENDED)
    wire.close(1001, "bye")
    connection.receive_data(wire.data_to_send())  # both in one read
    assert isinstance(connection.next(), events.InputAudioBufferCleared)
    connection.send(events.InputAudioBufferClear())
    connection.ping()
    connection.close(1000, "")
    closed = connection.next()
    assert isinstance(closed, WireClosed)
    assert (closed.code, closed.reason, closed.by_peer) == (1001, "bye", True)


def test_what_comes_after_our_close_is_for_nobody() -> None:
    connection, wire = opened()
    connection.close(1000, "")
    wire.send_text(ENDED)
    wire.send_text(ENDED)
    wire.receive_data(connection.data_to_send())
    wire.next_event()
    connection.receive_data(wire.data_to_send())
    assert isinstance(connection.next(), WireClosed)
    assert connection.next() is None


def test_what_is_no_event_is_an_error_of_that_message() -> None:  # X2
    connection, wire = opened()
    for message in (b"no JSON", b'{"type":"response.done"}'):
        wire.send_text(message)
    wire.send_text(ENDED)
    connection.receive_data(wire.data_to_send())
    found: list[Any] = [connection.next() for _ in range(4)]
    assert [type(event) for event in found] == [
        SchemaError,
        SchemaError,
        events.InputAudioBufferCleared,
        type(None),
    ]
    connection.receive_data(b"\x82\x01x")
    assert "binary" in str(connection.next())


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (b'{"id":"r1","status":"failed","output":7}', "failed"),
        (b'{"id":"r1","output":7}', "completed"),
        (b'{"output":7}', None),
    ],
)
def test_the_end_of_a_response_is_saved_from_a_broken_message(
    response: bytes, status: str | None
) -> None:  # G5
    connection, wire = opened()
    wire.send_text(b'{"type":"response.done","event_id":"e","response":%s}' % response)
    connection.receive_data(wire.data_to_send())
    assert isinstance(connection.next(), SchemaError)
    saved = connection.next()
    if status is None:
        assert saved is None
        return
    assert isinstance(saved, events.ResponseDone)
    assert (saved.response.id, saved.response.status) == ("r1", status)
