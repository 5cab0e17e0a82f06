"""What a configuration, a key and what waits become with a connection, and with the next."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET
from pair import MANUAL, Pair, of, only
from server_says import message, refusal

from sansio_rt import (
    ClientProtocol,
    CommandKind,
    ConnectionState,
    Endpoint,
    Limits,
    LocalProtocolError,
    MessageTooBig,
    Outcome,
    RetryPolicy,
    RotationDue,
    SequentialIds,
    ServerProtocol,
    SessionClosed,
    SessionResumed,
    Timing,
    events,
)
from sansio_rt._commands import Command

# --- the configuration ------------------------------------------------------------------------


def say(pair: Pair, **session: Any) -> None:
    updated = events.SessionUpdated(session=events.RealtimeSession(**session))
    pair.inject(events.encode(updated))


def test_late_answers_are_taken_over_one_by_one() -> None:  # S7
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect().lose()
    pair.client.update(instructions="A")
    pair.client.update(parallel_tool_calls=True)
    pair.pass_time(2)
    say(pair, instructions="A", parallel_tool_calls=False)
    assert pair.client.wanted.instructions == "A"
    assert pair.client.wanted.parallel_tool_calls is UNSET
    say(pair, instructions="A", parallel_tool_calls=True)
    assert pair.client.wanted.parallel_tool_calls is True


def test_what_was_refused_is_not_taken_over_later() -> None:  # S7
    pair = Pair().connect().lose()
    update = pair.client.update(instructions="A")
    assert update is not None
    pair.inject(refusal("x", update.event_id))
    say(pair, instructions="A")  # another client's
    assert pair.client.wanted.instructions == "Be brief."


def test_a_connection_that_was_told_nothing_leaves_the_configuration_as_it_is() -> None:
    pair = Pair().connect()
    before = pair.client.session
    assert before is not None
    pair.client._configuration.adopt(None)
    assert pair.client.session is before
    other = events.RealtimeSession(instructions="Other.")
    pair.client._configuration.adopt(other)
    assert pair.client.session is other


# --- the connection ---------------------------------------------------------------------------


def test_the_key_of_each_connect_is_the_one_that_is_sent_and_hidden() -> None:  # E1, M3
    endpoint = Endpoint.url("ws://127.0.0.1:1/v1", api_key=lambda: "", model="m")
    client = ClientProtocol(endpoint, MANUAL, ids=SequentialIds("c"))
    server = ServerProtocol()
    client.connect(0.0, api_key="sk-of-this-connect")
    request = client.data_to_send()
    assert b"Bearer sk-of-this-connect\r\n" in request
    server.receive_data(request, 0.0)
    for _ in range(2):
        client.receive_data(server.data_to_send(), 0.0)
        server.receive_data(client.data_to_send(), 0.0)
    client.receive_data(server.data_to_send(), 0.0)
    assert client.state is ConnectionState.READY
    error = {"type": "x", "message": "this key, sk-of-this-connect, is odd"}
    server._wire.send_text(message("error", error=error))
    client.receive_data(server.data_to_send(), 0.0)
    told = [event for event in iter(client.next_event, None) if "is odd" in repr(event)]
    assert len(told) == 1
    assert "sk-of-this-connect" not in repr(told)


def test_a_message_beyond_the_limit_ends_the_connection() -> None:  # X3
    pair = Pair(client={"limits": Limits(max_message_bytes=20_000)}).connect()
    pair.inject(message("x.y", text="x" * 19_000))
    assert not of(SessionClosed, pair.events)
    pair.inject(message("x.y", text="x" * 21_000))
    closed = only(SessionClosed, pair.events)
    assert isinstance(closed.error, MessageTooBig)
    assert closed.error.limit_bytes == 20_000


def test_a_new_connection_is_configured_however_much_is_outstanding() -> None:  # R4
    limits = Limits(max_pending_commands=1)
    pair = Pair(client={"limits": limits, "retry": RetryPolicy()}).connect()
    pair.client.data_to_send()
    kept = pair.client.send_message("Hi")
    pair.client.data_to_send()
    pair.cut()
    pair.pass_time(1.0)
    pair.reconnect()
    assert pair.client.state is ConnectionState.READY
    assert kept.outcome is Outcome.ACKNOWLEDGED


# --- losses -----------------------------------------------------------------------------------


def lasting(**client: Any) -> Pair:
    return Pair(client={"retry": RetryPolicy(), **client}).connect()


@pytest.mark.parametrize("patience_s", [-1.0, float("nan")])
def test_a_restart_needs_a_patience_that_is_one(patience_s: float) -> None:  # R11
    pair = lasting()
    with pytest.raises(LocalProtocolError, match="patience_s"):
        pair.client.restart("why not", patience_s=patience_s)
    assert pair.client.state is ConnectionState.READY


def test_a_restart_of_a_connection_that_is_only_just_made_changes_nothing() -> None:  # R11
    pair = Pair(client={"retry": RetryPolicy()})
    pair.client.connect(pair.now)
    pair.server.receive_data(pair.client.data_to_send(), pair.now)
    pair.client.receive_data(pair.server.data_to_send(), pair.now)
    assert pair.client.state is ConnectionState.CONFIGURING
    before = pair.client.next_deadline()
    pair.client.restart("no sound", patience_s=0.0)
    assert pair.client.next_deadline() == before
    assert not of(RotationDue, pair.run())
    assert pair.client.state is ConnectionState.READY


def test_a_restart_while_it_reconnects_is_under_way_already() -> None:  # R11
    pair = lasting()
    pair.cut()
    assert pair.client.reconnecting
    pair.client.restart("why not")
    pair.pass_time(1.0)
    resumed = only(SessionResumed, pair.reconnect())
    assert resumed.replayed == 0
    assert not of(RotationDue, pair.pass_time(100.0))


def test_what_the_next_server_refuses_to_be_told_again_is_left_out() -> None:  # R3
    pair = lasting()
    for item_id in ("one", "two"):
        pair.client.send_message("Hi", item_id=item_id)
    pair.run()
    pair.cut()
    pair.pass_time(1.0)
    pair.server = ServerProtocol()
    pair.client.connect(pair.now)
    while pair.client.state is not ConnectionState.REPLAYING:
        pair.server.receive_data(pair.client.data_to_send(), pair.now)
        pair.client.receive_data(pair.server.data_to_send(), pair.now)
    first = next(iter(pair.client.commands))
    pair.client.data_to_send()  # the server never has them
    pair.inject(refusal("x", first.event_id))
    for command in list(pair.client.commands):
        item = {"id": command.key, "type": "message", "role": "user", "content": []}
        pair.inject(message("conversation.item.added", item=item, previous_item_id=None))
    assert only(SessionResumed, pair.events).left_out == (first.key,)
    assert pair.client.conversation.ids() == ["two"]


def test_an_item_that_no_client_may_say_is_left_out() -> None:  # R3
    pair = lasting()
    item = {"id": "i" * 40, "type": "message", "role": "user", "content": []}
    pair.inject(message("conversation.item.added", item=item, previous_item_id=None))
    assert pair.client.conversation.ids() == ["i" * 40]
    pair.cut()
    pair.pass_time(1.0)
    resumed = only(SessionResumed, pair.reconnect())
    assert resumed.left_out == ("i" * 40,)
    assert pair.client.conversation.ids() == []


def test_outputs_that_nobody_acknowledges_are_kept_in_bounds() -> None:  # T9
    pair = lasting(timing=Timing(answer_timeout_s=1))
    replay = pair.client._replay
    for number in range(5_000):
        command = Command(f"event_{number}", CommandKind.CREATE_ITEM, f"item_{number}")
        output = events.FunctionCallOutput(call_id=f"c{number}", output="", id=command.key)
        command.event = events.ConversationItemCreate(item=output)
        replay.keep(command)
    assert len(replay.kept) == 1_024
    assert "item_0" not in replay.kept
    assert "item_4999" in replay.kept


def test_nothing_is_in_force_before_the_server_has_said_so() -> None:  # S4
    assert Pair().client.session is None


def test_a_goodbye_carries_its_words() -> None:  # R6
    pair = Pair().connect()
    pair.client.close(4_000, "had enough")
    pair.run()
    assert pair.server.ending is not None
    assert (pair.server.ending.code, pair.server.ending.reason) == (4_000, "had enough")
