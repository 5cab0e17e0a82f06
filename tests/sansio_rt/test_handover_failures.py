"""Next connections that are lost, refused, or not to be made, and what each costs (R2, R3, R8)."""

from __future__ import annotations

import pytest
from pair import agree, of, only
from rotating import Rotating, spoken_turn
from server_says import message

from sansio_rt import (
    CommandRefused,
    ConnectionClosed,
    ConnectionLost,
    ConnectionReplaced,
    ConnectionState,
    GenerationEnded,
    GenerationStatus,
    RawClientEvent,
    RetryPolicy,
    RotationDue,
    ServerProtocol,
    SessionResumed,
    events,
)
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import ServerLimits


def test_a_drop_while_the_next_one_stands_ready_is_no_loss() -> None:  # R8
    pair = Rotating().connect()
    spoken_turn(pair)
    pair.reply_until_due()
    link = pair.client.link
    pair.client.receive_eof(pair.now)
    new = pair.run()
    replaced = only(ConnectionReplaced, new)
    assert isinstance(replaced.error, ConnectionClosed)
    assert not of(ConnectionLost, new)
    assert only(GenerationEnded, new).generation.status is GenerationStatus.LOST
    assert pair.client.link is not link
    assert only(SessionResumed, new).planned
    spoken_turn(pair)
    agree(pair)


def test_a_session_that_expires_while_the_next_one_stands_ready_is_why_it_takes_over() -> None:
    pair = Rotating().connect()
    pair.reply_until_due()
    expired = message("error", error={"type": "x", "code": "session_expired", "message": "old"})
    replaced = only(ConnectionReplaced, pair.inject(expired))
    assert isinstance(replaced.error, CommandRefused)
    assert replaced.error.code == "session_expired"


def test_a_next_one_with_an_older_configuration_does_not_take_over() -> None:  # R8, S3
    """It was made ready, then a setting was changed and accepted, and then the connection dropped."""
    pair = Rotating().connect()
    pair.reply_until_due()
    pair.client.update(instructions="Be kind.")
    (_, old), _ = pair.ends
    old.receive_data(pair.client.data_to_send(), pair.now)
    pair.client.receive_data(old.data_to_send(), pair.now)
    assert pair.client.acknowledged == pair.client.wanted
    pair.client.receive_eof(pair.now)
    new = list(iter(pair.client.next_event, None))
    assert not of(ConnectionReplaced, new)
    assert of(ConnectionLost, new)


def test_a_drop_while_the_next_one_is_on_its_way_is_a_loss_like_any() -> None:  # R8
    pair = Rotating().connect()
    pair.client.handle_timer(pair.now + 10.0)
    assert of(RotationDue, list(iter(pair.client.next_event, None)))
    link = pair.client.begin_rotation(pair.now + 10.0)
    assert link is not None
    assert link.pending_bytes
    pair.client.receive_eof(pair.now + 11.0)
    lost = only(ConnectionLost, list(iter(pair.client.next_event, None)))
    assert not lost.planned
    assert link.finished
    assert pair.client.begin_rotation(pair.now + 11.0) is None


def test_a_next_connection_that_cannot_be_made_is_tried_again_and_costs_nothing() -> None:  # R8
    pair = Rotating().connect()
    pair.refuse_dials = True
    pair.pass_time(10.0)
    for _ in range(200):
        pair.pass_time(1.0)
    assert 5 <= pair.dials <= 10
    assert pair.client.state is ConnectionState.READY
    pair.refuse_dials = False
    assert any(of(ConnectionReplaced, pair.pass_time(10.0)) for _ in range(7))


def test_a_failed_dial_of_a_lost_connection_moves_no_plan_of_the_present_one() -> None:  # R5, R8
    pair = Rotating().connect()
    pair.client.handle_timer(pair.now + 10.0)
    assert of(RotationDue, list(iter(pair.client.next_event, None)))  # its dial hangs
    pair.now += 11.0
    pair.client.receive_eof(pair.now)
    pair.ends.clear()
    pair.server = ServerProtocol(ServerSession())
    pair.connect()
    pair.client.rotation_failed(pair.now)
    assert not of(RotationDue, pair.pass_time(9.0))
    assert of(RotationDue, pair.pass_time(1.0))


def test_a_failed_dial_is_nothing_to_a_next_connection_that_is_on_its_way() -> None:  # R8
    pair = Rotating().connect()
    pair.client.handle_timer(pair.now + 10.0)
    link = pair.client.begin_rotation(pair.now + 10.0)
    assert link is not None
    pair.client.rotation_failed(pair.now + 11.0)
    assert not link.finished
    assert link.data_to_send()


@pytest.mark.parametrize("failing", ["status", "silence", "refusal", "close"])
def test_a_next_connection_that_fails_is_made_anew(failing: str) -> None:  # R8
    pair = Rotating().connect()
    pair.client.handle_timer(pair.now + 10.0)
    pair.now += 10.0
    list(iter(pair.client.next_event, None))
    link = pair.client.begin_rotation(pair.now)
    assert link is not None
    server = ServerProtocol(ServerSession(pace=None))
    match failing:
        case "status":
            link.receive_data(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", pair.now)
        case "silence":
            pair.now += 10.0
            pair.client.handle_timer(pair.now)
        case "refusal":
            server.receive_data(link.data_to_send(), pair.now)
            link.receive_data(server.data_to_send(), pair.now)
            details = b'{"type":"invalid_request_error","message":"no","code":"invalid_value"}'
            server._wire.send_text(b'{"type":"error","error":' + details + b"}")
            link.receive_data(server.data_to_send(), pair.now)
        case _:
            link.receive_eof(pair.now)
    assert link.finished
    assert pair.client.state is ConnectionState.READY
    assert of(ConnectionReplaced, pair.pass_time(3.0))
    agree(pair)


def test_no_more_connects_than_the_budget_allows() -> None:  # R2
    retry = RetryPolicy(max_connects=3, window_s=1000.0)
    pair = Rotating(client={"retry": retry}).connect()
    pair.refuse_dials = False
    count = sum(len(of(ConnectionReplaced, pair.pass_time(10.0))) for _ in range(90))
    assert count == 2


def test_what_was_dialled_counts_until_its_time_is_over() -> None:  # R2
    retry = RetryPolicy(max_connects=2, window_s=60.0)
    pair = Rotating(client={"retry": retry}).connect()
    replaced = [pair.now for _ in range(200) for _ in of(ConnectionReplaced, pair.pass_time(1.0))]
    assert len(replaced) == 5
    assert all(
        second - first >= 60.0 for first, second in zip(replaced, replaced[2:], strict=False)
    )


def test_an_item_that_the_next_server_refuses_is_left_out() -> None:  # R3
    pair = Rotating().connect()
    pair.client.send_message("Kept.", item_id="kept")
    pair.run()
    pair.inject(
        b'{"type":"conversation.item.added","previous_item_id":"kept","item":{"id":"'
        + b"x" * 40
        + b'","type":"message","role":"user","content":[{"type":"input_text","text":"Long."}]}}'
    )
    new = pair.pass_time(10.0)
    assert only(SessionResumed, new).left_out == ("x" * 40,)
    assert pair.client.conversation.ids() == ["kept"]
    agree(pair)


def test_what_the_next_server_has_refused_is_not_said_again_when_it_serves() -> None:  # R3
    pair = Rotating(limits=ServerLimits(item_id_characters=16)).connect()
    pair.client.raw_events = True
    pair.client.generate_reply()
    pair.inject(  # the server that serves is not held to its own limit
        b'{"type":"conversation.item.added","previous_item_id":null,"item":{"id":"'
        + b"x" * 20
        + b'","type":"message","role":"user","content":[{"type":"input_text","text":"Long."}]}}'
    )
    for _ in range(3):
        pair.pass_time(4.0)
    new = pair.speak()
    assert only(SessionResumed, new).left_out == ("x" * 20,)
    said = [raw.event for raw in of(RawClientEvent, new)]
    assert "x" * 20 not in [
        event.item.id for event in said if isinstance(event, events.ConversationItemCreate)
    ]


def test_a_next_connection_that_is_lost_before_it_serves_is_a_loss_like_any() -> None:  # R8, R11
    pair = Rotating().connect()
    pair.client.generate_reply()
    pair.run()
    pair.client.restart("now", patience_s=1.0)
    pair.run()
    for item_id, when in (("told", 0.9), ("too late for the next one", 0.05)):
        pair.now += when
        item = events.Message(role="user", content=[events.InputText(text=item_id)], id=item_id[:8])
        pair.inject(events.encode(events.ConversationItemAdded(item=item, event_id="e")))
    pair.now += 0.05
    pair.client.handle_timer(pair.now)
    assert of(ConnectionReplaced, list(iter(pair.client.next_event, None)))
    assert pair.client.state is ConnectionState.REPLAYING
    pair.now += 2.0
    pair.client.receive_eof(pair.now)
    assert of(ConnectionLost, list(iter(pair.client.next_event, None)))
    pair.now += 1.0
    pair.ends.clear()
    pair.server = ServerProtocol(ServerSession())
    link = pair.client.connect(pair.now)
    pair.ends.append((link, pair.server))
    resumed = only(SessionResumed, pair.run())
    assert not resumed.planned
    assert resumed.connect_s is not None
