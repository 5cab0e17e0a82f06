"""How connections begin and end, and what is said of it: words, codes, times (R1, R2, R6, R7, R9, R11)."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pair import MANUAL, SECOND, Pair, answered, of, only

from sansio_rt import (
    CommandRefused,
    CommandTimeout,
    ConnectionClosed,
    ConnectionLost,
    ConnectionState,
    FrameError,
    HandshakeRejected,
    Limits,
    LocalProtocolError,
    RawClientEvent,
    RetryPolicy,
    ServerProtocol,
    SessionClosed,
    SessionConfig,
    SessionReady,
    SessionResumed,
    Timing,
    events,
)

QUIET = Timing(keepalive_interval_s=None, liveness_after_s=None, rotate_after_s=None)
EXPIRED = b'{"type":"error","error":{"type":"x","code":"session_expired","message":"60 minutes"}}'


def steady(**client: Any) -> Pair:
    return Pair(client={"retry": RetryPolicy(), "timing": QUIET, **client}).connect()


def taken(pair: Pair) -> list[Any]:
    return list(iter(pair.client.next_event, None))


# --- the server ends it -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("", "the server closed the connection (code 4000)"),
        ("enough", "the server closed the connection (code 4000: enough)"),
    ],
)
def test_a_server_that_closes_says_its_code_and_its_words(reason: str, words: str) -> None:  # R1
    pair = Pair().connect()
    waiting = pair.client.send_message("never answered")
    pair.server.close(4000, reason)
    closed = only(SessionClosed, pair.run())
    assert isinstance(closed.error, ConnectionClosed)
    assert str(closed.error) == words
    assert (closed.code, closed.reason) == (4000, reason)
    assert (closed.error.code, closed.error.reason, closed.error.by_peer) == (4000, reason, True)
    assert waiting.error is closed.error


def test_a_server_that_goes_says_nothing() -> None:  # R1
    pair = Pair().connect()
    closed = only(SessionClosed, pair.cut())
    assert str(closed.error) == "the server went away without a close frame (code 1006)"
    assert (closed.code, closed.reason) == (1006, "")


def test_a_server_that_goes_before_its_answer_is_perhaps_none() -> None:  # R1
    pair = Pair()
    pair.client.connect(pair.now)
    pair.client.receive_eof(pair.now)
    closed = only(SessionClosed, taken(pair))
    assert str(closed.error) == (
        "the server did not answer the WebSocket handshake and went; check the URL (code 1006)"
    )


def test_a_server_that_breaks_the_protocol_is_left_for_that() -> None:  # X3
    pair = Pair().connect()
    pair.client.receive_data(b"\xf1\x00", pair.now)
    closed = only(SessionClosed, taken(pair))
    assert isinstance(closed.error, FrameError)
    assert closed.code == 1002


@pytest.mark.parametrize("code", [1008, 3000])
def test_an_error_and_then_do_not_come_back_is_the_end(code: int) -> None:  # R9, R12
    pair = steady()
    wire = pair.server._wire
    wire.send_text(EXPIRED)
    wire.close(code, "go away")
    pair.client.receive_data(wire.data_to_send(), pair.now)
    pair.run()
    error = only(SessionClosed, pair.events).error
    assert isinstance(error, ConnectionClosed)
    assert (error.code, error.reason, error.by_peer) == (code, "go away", True)
    assert isinstance(error.__cause__, CommandRefused)
    assert str(error).startswith(f"the server closed the connection (code {code}) after an error: ")
    assert "60 minutes" in str(error)
    assert not of(ConnectionLost, pair.events)


def test_an_error_that_ends_a_session_is_its_error_whatever_the_close_says() -> None:  # R9
    pair = Pair().connect()
    wire = pair.server._wire
    wire.send_text(EXPIRED)
    wire.close(1008, "go away")
    pair.client.receive_data(wire.data_to_send(), pair.now)
    pair.run()
    assert isinstance(only(SessionClosed, pair.events).error, CommandRefused)


def test_an_error_and_then_an_ordinary_goodbye_is_the_error() -> None:  # R9
    pair = steady()
    wire = pair.server._wire
    wire.send_text(EXPIRED)
    wire.close(1001, "")
    pair.client.receive_data(wire.data_to_send(), pair.now)
    pair.run()
    assert isinstance(only(ConnectionLost, pair.events).error, CommandRefused)


def test_a_link_is_there_before_any_connection() -> None:
    pair = Pair()
    assert repr(pair.client.link) == "<Link idle>"
    assert pair.client.link.data_to_send() == b""


# --- we end it --------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 4001])
def test_what_waits_when_we_close_says_that_we_did(code: int) -> None:  # R6
    pair = Pair().connect()
    waiting = pair.client.send_message("never answered")
    pair.client.close(code)
    assert isinstance(waiting.error, ConnectionClosed)
    assert str(waiting.error) == "the session was closed"
    assert (waiting.error.code, waiting.error.by_peer) == (code, False)
    assert only(SessionClosed, pair.run()).error is None


def test_closing_while_it_connects_carries_its_words() -> None:  # R6
    pair = Pair()
    pair.client.connect(pair.now)
    pair.client.close(4001, "never mind")
    closed = only(SessionClosed, taken(pair))
    assert (closed.error, closed.code, closed.reason) == (None, 4001, "never mind")
    assert pair.client.state is ConnectionState.CLOSED
    assert pair.client.data_to_send() == b""


@pytest.mark.parametrize("data", [b"", bytearray(), memoryview(b"")])
def test_no_bytes_are_no_sign_of_life(data: bytes | bytearray | memoryview) -> None:  # R7
    timing = Timing(keepalive_interval_s=20.0, keepalive_timeout_s=10.0, response_silence_s=None)
    pair = Pair(client={"timing": timing}).connect()
    for _ in range(3):
        pair.now += 10.0
        pair.client.receive_data(data, pair.now)
        pair.client.handle_timer(pair.now)
    assert only(SessionClosed, taken(pair)).code == 1006


def test_a_peer_that_answers_no_ping_is_left_with_the_reason() -> None:  # R7
    timing = Timing(keepalive_interval_s=20.0, keepalive_timeout_s=10.0, response_silence_s=None)
    pair = Pair(client={"timing": timing}).connect()
    waiting = pair.client.generate_reply()
    for seconds in (20.0, 10.0):
        pair.now += seconds
        pair.client.handle_timer(pair.now)
        pair.client.data_to_send()
    closed = only(SessionClosed, taken(pair))
    assert isinstance(closed.error, ConnectionClosed)
    assert str(closed.error) == (
        "the server has been silent for 30 s and answers no ping (Timing.keepalive_timeout_s)"
    )
    assert (closed.code, closed.reason) == (1006, "")
    assert waiting.outcome is not None
    assert pair.client.next_deadline() is None


@pytest.mark.parametrize(
    ("shaken", "step"), [(False, "the WebSocket handshake"), (True, "the configuration")]
)
def test_a_server_that_takes_too_long_says_for_what(shaken: bool, step: str) -> None:  # R1
    pair = Pair(client={"timing": Timing(connect_timeout_s=5.0)})
    pair.client.connect(pair.now)
    if shaken:
        pair.server.receive_data(pair.client.data_to_send(), pair.now)
        pair.client.receive_data(pair.server.data_to_send(), pair.now)
        pair.client.data_to_send()
    pair.client.handle_timer(pair.now + 5.0)
    closed = only(SessionClosed, taken(pair))
    assert isinstance(closed.error, CommandTimeout)
    assert str(closed.error) == (
        f"the server did not answer {step} within 5 s (Timing.connect_timeout_s)"
    )
    assert (closed.code, closed.reason) == (1006, "")


@pytest.mark.parametrize("begun", [True, False])
def test_a_stream_that_cannot_be_had_is_a_try_like_any(begun: bool) -> None:  # R1, R2
    pair = Pair(client={"retry": RetryPolicy(retry_first=True, max_connects=2)})
    for attempt in (1, 2):
        if begun:
            pair.client.connect(pair.now)
        error = ConnectionClosed("no route")
        pair.client.connect_failed(error, pair.now)
        lost = only(ConnectionLost, taken(pair))
        assert lost.error is error
        assert (lost.attempt, lost.planned) == (attempt, False)
    assert lost.reconnect_at == pair.now + 60.0
    pair = Pair()
    pair.client.connect_failed(ConnectionClosed("no route"), pair.now)
    closed = only(SessionClosed, taken(pair))
    assert (str(closed.error), closed.code, closed.reason) == ("no route", 1006, "")


def test_no_stream_where_one_is_up_changes_nothing() -> None:
    pair = Pair().connect()
    pair.client.connect_failed(ConnectionClosed("no route"), pair.now)
    assert pair.client.state is ConnectionState.READY
    assert taken(pair) == []


# --- it is replaced ---------------------------------------------------------------------------


def test_each_loss_says_which_try_comes_next_and_whether_it_was_wanted() -> None:  # R2, R11
    pair = steady()
    pair.client.restart("no sound", patience_s=5.0)
    pair.run()
    lost = only(ConnectionLost, pair.pass_time(5.0))
    assert (lost.attempt, lost.planned) == (1, True)
    assert isinstance(lost.error, ConnectionClosed)
    assert str(lost.error) == "replaced as planned: no sound"
    assert lost.error.by_peer is False
    only(SessionResumed, pair.reconnect())
    for attempt in (2, 3):
        lost = only(ConnectionLost, pair.cut())
        assert lost.attempt == attempt
        assert lost.planned is False
        only(SessionResumed, pair.reconnect())


def test_what_outlived_a_loss_ends_with_the_session() -> None:  # R6
    pair = steady()
    kept = pair.client.send_message("never answered")
    pair.cut()
    pair.client.connect(pair.now)
    pair.client.close(4001)
    assert isinstance(kept.error, ConnectionClosed)
    assert (kept.error.code, kept.error.by_peer) == (4001, False)


def test_it_is_away_from_the_error_on_and_not_from_the_last_goodbye() -> None:  # R4, R9
    pair = steady()
    pair.server._wire.send_text(EXPIRED)
    pair.client.receive_data(pair.server.data_to_send(), pair.now)
    assert pair.client.reconnecting
    assert pair.client.state is ConnectionState.CLOSING
    pair.now += QUIET.close_timeout_s
    pair.client.handle_timer(pair.now)
    only(ConnectionLost, taken(pair))
    pair.now += 3.0
    resumed = only(SessionResumed, pair.reconnect())
    assert resumed.away_s == QUIET.close_timeout_s + 3.0


def test_the_key_of_a_handshake_is_made_of_the_bytes_that_were_handed_in() -> None:
    asked: list[int] = []

    def source(length: int) -> bytes:
        asked.append(length)
        return b"k" * length

    pair = Pair(client={"random_bytes": source})
    pair.client.connect(pair.now)
    assert base64.b64encode(b"k" * 16) in pair.client.data_to_send()
    assert asked == [16]


@pytest.mark.parametrize(("byte", "delay_s"), [(b"\0", 0.5), (b"\x80", 1.0), (b"\xff", 1.5)])
def test_how_long_is_waited_is_drawn_with_the_bytes_that_were_handed_in(
    byte: bytes, delay_s: float
) -> None:  # R2
    retry = RetryPolicy(first_delay_s=1.0, jitter=0.5)
    client = {"retry": retry, "random_bytes": lambda length: byte * length}
    pair = Pair(client=client).connect()
    lost = only(ConnectionLost, pair.cut())
    assert lost.reconnect_at - pair.now == pytest.approx(delay_s, abs=0.01)


def shake_hands(pair: Pair) -> None:
    """Connects to a server that is slow: a second for each of its answers."""
    pair.server = ServerProtocol()
    pair.client.connect(pair.now)
    for _ in range(4):
        pair.server.receive_data(pair.client.data_to_send(), pair.now)
        pair.now += 1.0
        pair.client.receive_data(pair.server.data_to_send(), pair.now)


def test_a_connection_says_how_long_it_took() -> None:  # M6, R4
    pair = Pair(client={"retry": RetryPolicy(), "timing": QUIET})
    shake_hands(pair)
    ready = only(SessionReady, taken(pair))
    assert (ready.handshake_s, ready.connect_s) == (1.0, 2.0)
    assert ready.session is pair.client.session
    pair.cut()
    pair.now += 7.0
    shake_hands(pair)
    resumed = only(SessionResumed, taken(pair))
    assert (resumed.away_s, resumed.handshake_s, resumed.connect_s) == (9.0, 1.0, 2.0)
    assert (resumed.replayed, resumed.planned, resumed.audio_lost_ms) == (0, False, 0.0)


def test_a_first_connection_that_was_tried_again_is_the_first() -> None:  # R1
    pair = Pair(client={"retry": RetryPolicy(retry_first=True)})
    pair.client.connect(pair.now)
    pair.client.receive_data(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", pair.now)
    assert isinstance(only(ConnectionLost, taken(pair)).error, HandshakeRejected)
    found = pair.reconnect()
    only(SessionReady, found)
    assert not of(SessionResumed, found)


def test_a_server_that_tells_of_no_session_of_ours_has_no_end_that_is_known() -> None:  # R5
    pair = Pair(client={"retry": RetryPolicy(), "timing": QUIET})
    pair.client.connect(pair.now, unix_now=1e9)
    wire = pair.server._wire
    wire.receive_data(pair.client.data_to_send())
    wire.accept()
    told = events.SessionUpdated(session=events.TranscriptionSession(), event_id="e")
    wire.send_text(events.encode(told))
    pair.client.receive_data(wire.data_to_send(), pair.now)
    assert only(SessionReady, taken(pair)).session is None
    assert pair.client.next_deadline() is None


def test_a_connection_is_there_once() -> None:
    pair = Pair().connect()
    with pytest.raises(LocalProtocolError, match=r"^connect: a connection is there already"):
        pair.client.connect(pair.now)


# --- a sign of life ---------------------------------------------------------------------------


def test_a_sign_of_life_has_a_name_and_needs_no_room() -> None:  # R11
    timing = Timing(
        liveness_after_s=5.0, keepalive_interval_s=None, rotate_after_s=None, answer_timeout_s=60.0
    )
    limits = Limits(max_pending_commands=1)
    pair = Pair(client={"timing": timing, "limits": limits, "retry": RetryPolicy()}).connect()
    pair.server.receive_data = lambda data, now: None  # type: ignore[method-assign]
    waiting = pair.client.send_message("This takes the only room.")
    pair.client.raw_events = True
    for _ in range(7):
        pair.now += 1.0
        pair.client.tell_time(pair.now)
        pair.client.push_audio(SECOND)
        pair.client.handle_timer(pair.now)
    (asked,) = [command for command in pair.client.commands if command is not waiting]
    sent = [raw.event for raw in of(RawClientEvent, taken(pair))]
    (update,) = [event for event in sent if isinstance(event, events.SessionUpdate)]
    assert update.event_id == asked.event_id
    assert asked.event_id.startswith("event_c")
    assert update.session == SessionConfig().to_wire()
    assert asked.deadline is not None
    assert asked.deadline > pair.now + 50.0


# --- calls without a connection ---------------------------------------------------------------

CALLS: dict[str, Any] = {
    "push_audio": lambda client: client.push_audio(b"\x00\x00"),
    "commit_audio": lambda client: client.commit_audio(),
    "clear_audio": lambda client: client.clear_audio(),
    "create_item": lambda client: client.send_message("x"),
    "delete_item": lambda client: client.delete_item("x"),
    "retrieve_item": lambda client: client.retrieve_item("x"),
    "update_conversation": lambda client: client.update_conversation([]),
    "truncate": lambda client: client.truncate("x", audio_end_ms=1),
    "generate_reply": lambda client: client.generate_reply(),
    "interrupt": lambda client: client.interrupt(),
    "send_tool_output": lambda client: client.send_tool_output("c", "x"),
    "update": lambda client: client.update(voice="x"),
    "send": lambda client: client.send(events.InputAudioBufferClear()),
    "restart": lambda client: client.restart("why"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_needs_a_connection_says_so_by_its_name(call: str) -> None:
    pair = Pair(MANUAL, client={"retry": RetryPolicy()})
    with pytest.raises(LocalProtocolError, match=f"^{call}: the session is idle, not connected$"):
        CALLS[call](pair.client)


@pytest.mark.parametrize("call", sorted(set(CALLS) - {"push_audio", "truncate", "restart"}))
def test_a_call_that_must_wait_for_the_reconnect_says_so_by_its_name(call: str) -> None:
    pair = steady()
    pair.cut()
    with pytest.raises(LocalProtocolError, match=f"^{call}: the session is reconnecting; wait"):
        CALLS[call](pair.client)


def test_commands_of_the_audio_go_out_under_their_ids() -> None:  # A2, A3
    pair = Pair().connect()
    pair.client.raw_events = True
    pair.client.push_audio(SECOND)
    commit, clear = pair.client.commit_audio(), pair.client.clear_audio()
    assert commit is not None
    sent = [raw.event for raw in of(RawClientEvent, taken(pair))][-2:]
    assert [type(event) for event in sent] == [
        events.InputAudioBufferCommit,
        events.InputAudioBufferClear,
    ]
    assert [event.event_id for event in sent] == [commit.event_id, clear.event_id]


# --- cuts -------------------------------------------------------------------------------------


def test_a_cut_at_the_very_end_is_none() -> None:  # G8
    pair = steady()
    item_id = answered(pair)
    for end_ms in (2_100, 2_001, 2_000):
        assert pair.client.truncate(item_id, audio_end_ms=end_ms) is None
    assert pair.client.truncate(item_id, audio_end_ms=1_999) is not None
    pair.run()
    entry = pair.client.conversation.get(item_id)
    assert entry is not None
    assert entry.heard_ms == 1_999
    assert pair.client.truncate(item_id, audio_end_ms=1_999) is None


def test_what_was_heard_before_a_loss_can_be_told_while_it_is_away() -> None:  # G8, G14
    pair = steady()
    item_id = answered(pair)
    pair.cut()
    entry = pair.client.conversation.get(item_id)
    assert entry is not None
    for end_ms, heard_ms in ((2_100, 2_000), (1_000, 1_000), (0, 0)):
        assert pair.client.truncate(item_id, audio_end_ms=end_ms) is None
        assert entry.heard_ms == heard_ms


def test_what_was_told_in_words_can_be_cut_again_and_again_while_it_is_away() -> None:  # G14
    pair = steady()
    item_id = answered(pair)
    pair.cut()
    pair.reconnect()
    pair.cut()
    entry = pair.client.conversation.get(item_id)
    assert entry is not None
    assert pair.client.truncate(item_id, audio_end_ms=2_050) is None  # as players count
    assert entry.retold_ms == 2_000
    for end_ms, words in (
        (2_000, "one two three four"),
        (1_500, "one two three"),
        (1_000, "one two"),
    ):
        assert pair.client.truncate(item_id, audio_end_ms=end_ms) is None
        assert (entry.text, entry.retold_ms) == (words, end_ms)


@pytest.mark.parametrize("heard", ["", "on"])
def test_words_that_were_heard_of_a_text_are_cut_again_while_it_is_away(heard: str) -> None:  # G14
    pair = steady()
    pair.client.create_item(
        events.Message(role="assistant", content=[events.OutputText(text="one")], id="written")
    )
    pair.run()
    pair.client.truncate("written", heard_text="o")  # it has no answer any more
    pair.cut()
    assert pair.client.truncate("written", heard_text=heard) is None
    entry = pair.client.conversation.get("written")
    assert entry is not None
    assert (entry.text, entry.heard_text) == (heard, heard)
