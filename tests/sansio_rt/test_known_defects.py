"""What other clients get wrong about waiting and what a server says: each test is named for it.

The rows are those of the parity table (`# G2`), the rules those of the notes on the service's behaviour
(`# rule 4`).
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from pair import SECOND, Loud, Pair, accepting_wire, look, of, only
from server_says import created, done, message, refusal, words

from sansio_rt import (
    ClientProtocol,
    CommandRefused,
    ConnectionClosed,
    ConnectionState,
    Dialect,
    Endpoint,
    ErrorScope,
    GenerationEnded,
    GenerationStatus,
    Limits,
    LocalProtocolError,
    MessageBroken,
    Outcome,
    ServerErrorReported,
    SessionClosed,
    SessionConfig,
    Timing,
    UnknownEventReceived,
    events,
    tool,
)


def test_nothing_waits_for_ever() -> None:  # G5, R4
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    pair.client.send_message("there")
    pair.run()
    item_id = pair.client.conversation.ids()[0]
    pair.client.push_audio(SECOND)
    pair.lose()
    commands = [
        pair.client.send_message("a"),
        pair.client.delete_item(item_id),
        pair.client.retrieve_item(item_id),
        pair.client.commit_audio(),
        pair.client.clear_audio(),
        pair.client.update(instructions="x"),
        pair.client.generate_reply(conversation="none"),
    ]
    pair.run()
    pair.pass_time(2)
    pair.pass_time(2)  # the reply waited for the update
    for command in commands:
        assert command is not None
        assert command.outcome is Outcome.DEADLINE, command
    assert not pair.client.commands


@pytest.mark.parametrize(
    "broken",
    [
        b"SGVsbG8gd29ybGQ=",
        b"",
        b"null",
        b'{"type":null}',
        b'{"type":"response.created"}',
        b'{"type":"response.output_audio.delta","response_id":"r","item_id":"i","output_index":0,'
        b'"content_index":0,"delta":"not base64!"}',
        b"[" * 100_000,
        b'{"type":"session.created","session":' + b"[" * 100_000,
    ],
)
def test_no_message_kills_the_reader(broken: bytes) -> None:  # X2
    pair = Pair().connect()
    assert isinstance(only(MessageBroken, pair.inject(broken)).error, Exception)
    pair.inject(created("r1"), words("r1", "i1", "still here"), done("r1"))
    assert only(GenerationEnded, pair.events).generation.text == "still here"
    assert pair.client.broken_messages == 1


def test_binary_messages_do_not_kill_the_reader() -> None:  # X2
    pair = Pair().connect()
    pair.client.receive_data(b"\x82\x03abc", pair.now)
    assert "binary" in str(only(MessageBroken, pair.run()).error)
    assert pair.client.state is ConnectionState.READY


def test_unknown_types_are_data() -> None:  # X2, C1
    pair = Pair().connect()
    found = pair.inject(message("response.hummed", tune=[1, 2]))
    assert only(UnknownEventReceived, found).event.data["tune"] == [1, 2]
    item = {"id": "i1", "type": "dance", "steps": 3}
    pair.inject(message("conversation.item.added", item=item, previous_item_id=None))
    (entry,) = pair.client.conversation
    assert isinstance(entry.item, events.UnknownItem)
    assert entry.item.data["steps"] == 3


def test_nothing_from_a_peer_raises_in_the_reader_however_much_waits() -> None:  # X2
    # The session's own commands come on top of those that the application may have outstanding.
    limits = Limits(max_pending_commands=2)
    pair = Pair(client={"limits": limits, "tools": [tool(look)]}).connect()
    response_id, (call_id,) = pair.calling(1)
    pair.client.send_tool_output(call_id, "seen")
    pair.run()
    given_up = pair.client.generate_reply(conversation="none")
    pair.client.abandon(given_up)
    pair.lose()
    pair.client.send_message("a")
    with pytest.raises(LocalProtocolError, match="max_pending_commands"):
        pair.client.send_message("b")
    metadata = {"client_event_id": given_up.event_id}
    pair.client.data_to_send()
    pair.inject(done(response_id), created("r9", metadata=metadata, conversation_id=None))
    assert not of(MessageBroken, pair.events)
    assert pair.client.state is ConnectionState.READY


def test_a_conversation_beyond_its_bound_ends_the_session_and_raises_nothing() -> None:  # X2
    limits = Limits(max_conversation_bytes=50_000)
    pair = Pair(client={"limits": limits}).connect()
    item = {"id": "i1", "type": "message", "role": "assistant", "content": []}
    big = {"id": "i2", "type": "message", "role": "user"}
    big["content"] = [{"type": "input_text", "text": "x" * 60_000}]  # type: ignore[assignment]
    pair.inject(
        created("r1"),
        message("conversation.item.added", item=item, previous_item_id=None),
        words("r1", "i1", "half a sentence"),
        message("conversation.item.added", item=big, previous_item_id="i1"),
    )
    assert "max_conversation_bytes" in str(only(SessionClosed, pair.events).error)
    assert only(GenerationEnded, pair.events).generation.status is GenerationStatus.LOST


def test_an_event_of_several_megabytes_is_only_big() -> None:  # R12, rule 15
    pair = Pair().connect()
    audio = "A" * (4 * 2**20)
    content = [{"type": "input_audio", "audio": audio, "transcript": "long"}]
    item = {"id": "i1", "type": "message", "role": "user", "content": content}
    pair.inject(message("conversation.item.added", item=item, previous_item_id=None))
    (entry,) = pair.client.conversation
    assert entry.text == "long"
    assert isinstance(entry.item, events.Message)
    assert not isinstance(entry.item.content[0].audio, str)  # type: ignore[union-attr]


def test_errors_without_an_event_id_find_their_command() -> None:  # rule 4
    pair = Pair().connect()
    update = pair.client.update(voice="cedar")
    message_command = pair.client.send_message("a")
    assert update is not None
    pair.client.data_to_send()
    pair.inject(refusal("cannot_update_voice", None, "the voice is fixed"))
    with pytest.raises(CommandRefused, match="the voice is fixed"):
        update.result()
    assert message_command.outcome is None


def test_errors_leave_the_session_open_unless_the_account_is_dead() -> None:  # X1, X4, rule 13
    pair = Pair().connect()
    for code in ("rate_limit_exceeded", "server_error", "some_new_code", None):
        found = pair.inject(refusal(code, None))
        assert only(ServerErrorReported, found).scope is ErrorScope.COMMAND
    assert pair.client.state is ConnectionState.READY
    pair.inject(refusal("insufficient_quota", None, "no money"))
    assert "no money" in str(only(SessionClosed, pair.events).error)


@pytest.mark.parametrize("code", [1000, 1002])
def test_a_close_right_after_the_configuration_is_an_error_that_says_so(code: int) -> None:
    # rule 14: 1000 is no success where we did not close.
    pair = Pair()
    pair.client.connect(pair.now)
    wire = accepting_wire(pair.client)
    pair.client.receive_data(wire.data_to_send(), pair.now)
    wire.close(code, "bye")
    pair.client.receive_data(wire.data_to_send(), pair.now)
    pair.client.receive_eof(pair.now)
    error = only(SessionClosed, list(iter(pair.client.next_event, None))).error
    assert isinstance(error, ConnectionClosed)
    assert (error.code, error.reason, error.by_peer) == (code, "bye", True)
    assert not pair.client.commands


def test_a_session_that_expired_says_so() -> None:  # R9, rule 1
    pair = Pair().connect()
    pair.pass_time(3600)
    error = only(SessionClosed, pair.events).error
    assert isinstance(error, CommandRefused)
    assert error.code == "session_expired"


@pytest.mark.parametrize("by_close_code", [True, False])
def test_a_server_that_dropped_the_beta_says_what_to_do(by_close_code: bool) -> None:  # E8, rule 17
    endpoint = Endpoint.url("ws://127.0.0.1:1/v1", dialect=Dialect.BETA)
    client = ClientProtocol(endpoint)
    client.connect(0.0)
    wire = accepting_wire(client)
    if not by_close_code:
        wire.send_text(refusal("beta_api_shape_disabled", None))
    wire.close(4000 if by_close_code else 1000, "beta")  # both may come in one read
    client.receive_data(wire.data_to_send(), 0.0)
    error = only(SessionClosed, list(iter(client.next_event, None))).error
    assert "Dialect.GA" in str(error) or "dialect" in str(error)


def test_a_commit_after_the_servers_own_is_no_error() -> None:  # A2, rule 8
    pair = Pair(SessionConfig(), detector=Loud()).connect()
    pair.client.push_audio(np.full(12_000, 0.5, dtype=np.float32))
    pair.client.push_audio(np.zeros(12_000, dtype=np.float32))  # the server commits, in one step
    late = pair.client.commit_audio()
    assert late is not None
    pair.run()
    assert late.outcome is Outcome.ACKNOWLEDGED
    assert not [e for e in of(ServerErrorReported, pair.events) if e.scope is not ErrorScope.BENIGN]
    assert pair.client.commit_audio() is None  # all of it was committed


def test_settings_that_were_not_named_stay_as_they_are() -> None:  # S2, S3, rule 9
    pair = Pair().connect()
    pair.client.raw_events = True
    update = pair.client.update(transcription=None)
    assert update is not None
    pair.run()
    (event,) = pair.sent(events.SessionUpdate)
    assert json.loads(events.encode(event))["session"] == {
        "type": "realtime",
        "audio": {"input": {"transcription": None}},
    }
    effective = update.result()
    assert effective.instructions == "Be brief."
    assert effective.audio.input.transcription is None


def test_metrics_of_nothing_are_unknown_and_divide_by_nothing() -> None:  # M6
    pair = Pair().connect()
    pair.inject(created("r1"), done("r1", "cancelled"))
    metrics = only(GenerationEnded, pair.events).generation.metrics
    assert metrics.first_token_s is None
    assert metrics.first_audio_s is None
    assert metrics.audio_ms is None
    assert metrics.output_tokens is None
    assert metrics.tokens_per_second is None
    assert metrics.duration_s == 0
    assert metrics.cancelled


def test_keys_are_not_shown() -> None:  # M3
    pair = Pair().connect()
    assert "secret-key" not in repr(pair.client.__dict__)
    assert "secret-key" not in repr(pair.client.endpoint)
