"""Rows of the parity table that need the whole client: each test fails where its row is broken."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pair import ENDPOINT, MANUAL, SECOND, Pair, of, only
from server_says import message

from sansio_rt import (
    AudioFormat,
    ClientProtocol,
    CommandRefused,
    ConfigurationError,
    ConnectionClosed,
    ConnectionState,
    Dialect,
    Endpoint,
    ErrorScope,
    GenerationStarted,
    InputTranscriptCompleted,
    InputTranscriptDelta,
    InputTranscriptFailed,
    RateLimitsReported,
    RawClientEvent,
    ServerErrorReported,
    SessionClosed,
    SessionConfig,
    SpeechStarted,
    Timing,
    TranscriptState,
    UnsupportedByDialect,
    events,
)
from sansio_rt._wire import HandshakeRequest, TextMessage, Wire

BETA = Endpoint.url("ws://127.0.0.1:1/v1", dialect=Dialect.BETA, model="old")


def accepted(endpoint: Endpoint, config: SessionConfig = MANUAL) -> tuple[ClientProtocol, Wire]:
    """A client and the wire of a server that has accepted it and said nothing."""
    client, wire = ClientProtocol(endpoint, config), Wire.server()
    client.connect(0.0)
    wire.receive_data(client.data_to_send())
    assert isinstance(wire.next_event(), HandshakeRequest)
    wire.accept()
    client.receive_data(wire.data_to_send(), 0.0)
    wire.receive_data(client.data_to_send())
    return client, wire


def sent(wire: Wire) -> list[bytes]:
    found: list[bytes] = []
    while (event := wire.next_event()) is not None:
        assert isinstance(event, TextMessage)
        found.append(bytes(event.data))
    return found


@pytest.mark.parametrize("how", ["error", "close"])
def test_a_server_without_the_beta_says_so_once_and_clearly(how: str) -> None:  # E8
    client, wire = accepted(BETA)
    if how == "error":
        wire.send_text(b'{"type":"error","error":{"code":"beta_api_shape_disabled"}}')
    wire.close(4000)
    client.receive_data(wire.data_to_send(), 0.0)
    error = only(SessionClosed, list(iter(client.next_event, None))).error
    assert isinstance(error, ConfigurationError)
    assert 'dialect="ga"' in str(error)
    cause = error.__cause__
    assert isinstance(cause, CommandRefused if how == "error" else ConnectionClosed)


def test_a_session_in_the_beta_dialect() -> None:
    client, wire = accepted(BETA, MANUAL.merge({"temperature": 0.7}))
    (update,) = sent(wire)
    assert b'"modalities"' in update
    assert b'"temperature":0.7' in update
    assert b'"voice":"alloy"' in update
    wire.send_text(b'{"type":"session.updated","session":{"modalities":["text"],"voice":"alloy"}}')
    client.receive_data(wire.data_to_send(), 0.0)
    assert client.state is ConnectionState.READY
    client.generate_reply(modalities=["text"])
    wire.receive_data(client.data_to_send())
    assert b'"modalities":["text"]' in sent(wire)[0]
    with pytest.raises(UnsupportedByDialect, match="truncation"):
        client.update(truncation="disabled")
    assert client.data_to_send() == b""


def test_an_item_that_the_beta_cannot_say_is_refused_before_anything_is_asked() -> None:
    client, wire = accepted(BETA)
    wire.send_text(b'{"type":"session.updated","session":{"modalities":["text"]}}')
    client.receive_data(wire.data_to_send(), 0.0)
    answer = events.McpApprovalResponse(approval_request_id="a1", approve=True)
    with pytest.raises(UnsupportedByDialect, match="mcp_approval_response"):
        client.create_item(answer)
    assert not client.commands
    assert client.data_to_send() == b""


def test_the_newest_rate_limits_can_be_asked_for() -> None:
    pair = Pair().connect()
    limit = {"name": "tokens", "limit": 100, "remaining": 60, "reset_seconds": 24.0}
    found = pair.inject(message("rate_limits.updated", rate_limits=[limit]))
    told = [events.RateLimit(name="tokens", limit=100, remaining=60, reset_seconds=24.0)]
    assert only(RateLimitsReported, found).rate_limits == told
    assert pair.client.rate_limits == told


def test_the_ga_dialect_has_no_temperature() -> None:
    pair = Pair().connect()
    before = pair.client.wanted
    with pytest.raises(UnsupportedByDialect, match="temperature"):
        pair.client.update(temperature=0.5)
    assert not pair.client.commands
    assert pair.client.wanted == before


def test_nor_has_a_kind_of_session_that_nobody_knows() -> None:
    pair = Pair().connect()
    pair.client.raw_events = True
    session = events.UnknownSession(type="song", data={"type": "song", "temperature": 0.5})
    with pytest.raises(UnsupportedByDialect, match="temperature"):
        pair.client.send(events.SessionUpdate(session=session))
    pair.client.handle_timer(0.0)
    assert pair.client.data_to_send() == b""
    assert not of(RawClientEvent, pair.run())


def test_a_raw_event_may_have_a_session_in_plain_json() -> None:
    pair = Pair().connect()
    session: Any = {"type": "realtime", "instructions": "Be long."}
    pair.client.send(events.SessionUpdate(session=session))
    pair.run()
    assert pair.server.session.session.instructions == "Be long."


def test_attached_to_a_call_formats_are_left_alone_and_followed() -> None:  # E7, S8
    endpoint = Endpoint.url("ws://127.0.0.1:1/v1", call_id="rtc_1")
    client, wire = accepted(endpoint)
    (update,) = sent(wire)
    assert b'"format"' not in update
    wire.send_text(
        b'{"type":"session.updated","session":{"type":"realtime","audio":{'
        b'"input":{"format":{"type":"audio/pcmu"}},"output":{"format":{"type":"audio/pcma"}}}}}'
    )
    client.receive_data(wire.data_to_send(), 0.0)
    assert client._responses.content.audio_format.value == "audio/pcma"
    client.push_audio(bytes(2 * 800), rate=8_000)
    client.clear_audio()
    client.push_audio(SECOND)
    wire.receive_data(client.data_to_send())
    appends = [
        message
        for message in sent(wire)
        if isinstance(events.decode_client(message), events.InputAudioBufferAppend)
    ]
    assert len(events.decode_client(appends[0]).audio) == 800  # µ-law: a byte a sample


def test_given_formats_are_sent_to_a_call_too() -> None:  # S8
    endpoint = Endpoint.url("ws://127.0.0.1:1/v1", call_id="rtc_1")
    _, wire = accepted(endpoint, MANUAL.merge({"input_audio_format": AudioFormat.PCMU}))
    assert b'"format":{"type":"audio/pcmu"}' in sent(wire)[0]


def test_no_reply_starts_while_the_configuration_is_open() -> None:  # S7
    pair = Pair().connect()
    update = pair.client.update(instructions="New.")
    reply = pair.client.generate_reply()
    first = pair.client.data_to_send()
    assert update is not None
    pair.server.receive_data(first, pair.now)
    assert not of(GenerationStarted, list(iter(pair.client.next_event, None)))
    pair.client.receive_data(pair.server.data_to_send(), pair.now)
    assert update.outcome is not None
    pair.run()
    assert reply.result()


def test_an_item_can_be_retrieved_as_the_server_has_it() -> None:  # C7
    pair = Pair().connect()
    pair.client.push_audio(SECOND[:4800])
    pair.client.commit_audio()
    pair.run()
    command = pair.client.retrieve_item(pair.client.conversation.ids()[0])
    pair.run()
    part = command.result().content[0]
    assert isinstance(part, events.InputAudio)
    assert isinstance(part.audio, str)
    assert len(part.audio) == 6400  # 4,800 bytes in base64
    mirrored = next(iter(pair.client.conversation)).item
    assert isinstance(mirrored, events.Message)
    assert mirrored.content[0].audio is not part.audio  # type: ignore[union-attr]


def test_a_status_never_goes_back() -> None:  # C9
    pair = Pair().connect()
    item = b'{"id":"i","type":"message","role":"user","status":"%s","content":[]}'
    done = b'{"type":"conversation.item.done","item":%s}' % (item % b"completed")
    late = b'{"type":"conversation.item.added","item":%s}' % (item % b"in_progress")
    pair.inject(done, late)
    entry = pair.client.conversation.get("i")
    assert entry is not None
    assert entry.item.status == "completed"  # type: ignore[union-attr]


TRANSCRIPTION = b'{"type":"conversation.item.input_audio_transcription.%s","item_id":"%s",%s}'


def test_transcripts_grow_end_and_fail() -> None:  # I2, C8
    pair = Pair().connect()
    item = b'{"id":"u","type":"message","role":"user","content":[{"type":"input_audio"}]}'
    pair.inject(b'{"type":"conversation.item.added","item":%s}' % item)
    found = pair.inject(
        TRANSCRIPTION % (b"delta", b"u", b'"content_index":0,"delta":"hel"'),
        TRANSCRIPTION % (b"delta", b"u", b'"content_index":0,"delta":"lo"'),
    )
    assert [event.text for event in of(InputTranscriptDelta, found)] == ["hel", "hello"]
    entry = pair.client.conversation.get("u")
    assert entry is not None
    assert (entry.text, entry.transcript_state) == ("hello", TranscriptState.PARTIAL)
    logprobs = b'[{"token":"a","logprob":-0.1},{"token":"b","logprob":-0.3}]'
    found = pair.inject(
        TRANSCRIPTION
        % (b"completed", b"u", b'"content_index":0,"transcript":"hello","logprobs":' + logprobs)
    )
    completed = only(InputTranscriptCompleted, found)
    assert completed.confidence == pytest.approx(math.exp(-0.2))
    assert entry.transcript_state is TranscriptState.COMPLETED
    pair.inject(TRANSCRIPTION % (b"delta", b"u", b'"content_index":1,"delta":"half"'))
    failed = b'"content_index":1,"error":{"type":"x","message":"noise"}'
    found = pair.inject(TRANSCRIPTION % (b"failed", b"u", failed))
    assert only(InputTranscriptFailed, found).message == "noise"
    assert entry.transcript_state is TranscriptState.FAILED
    found = pair.inject(TRANSCRIPTION % (b"delta", b"u", b'"content_index":1,"delta":"new"'))
    assert only(InputTranscriptDelta, found).text == "new"  # the partial one was closed


@pytest.mark.parametrize("transcribed", [True, False])
def test_it_is_said_whether_a_transcript_will_follow(transcribed: bool) -> None:  # I1
    config = MANUAL if transcribed else MANUAL.merge({"transcription": None})
    pair = Pair(config).connect()
    found = pair.inject(
        b'{"type":"input_audio_buffer.speech_started","item_id":"u","audio_start_ms":5}'
    )
    assert only(SpeechStarted, found).transcript_expected is transcribed


def test_errors_that_do_not_end_become_the_sessions_end() -> None:  # X4
    pair = Pair().connect()
    message = b'{"type":"error","error":{"type":"server_error","code":"strange","message":"again"}}'
    for _ in range(19):
        pair.inject(message)
    assert pair.client.state is ConnectionState.READY
    found = pair.inject(message)
    assert only(ServerErrorReported, found).scope is ErrorScope.SESSION
    assert "again" in str(only(SessionClosed, pair.run() + found).error)


@pytest.mark.parametrize(("event_id", "ends"), [("null", False), ('"of_a_raw_event"', True)])
def test_collisions_of_the_servers_own_turns_harm_nobody(event_id: str, ends: bool) -> None:  # X4
    """A server that listens and does not interrupt collides at every turn that is spoken over a reply."""
    pair = Pair().connect()
    found = []
    for _ in range(25):
        if pair.client.state is not ConnectionState.READY:
            break
        found += pair.inject(
            b'{"type":"error","error":{"type":"invalid_request_error","message":"busy","event_id":%s,'
            b'"code":"conversation_already_has_active_response"}}' % event_id.encode()
        )
    assert (pair.client.state is ConnectionState.READY) is not ends
    if not ends:
        reports = of(ServerErrorReported, found)
        assert {report.scope for report in reports} == {ErrorScope.BENIGN}


def test_errors_now_and_then_do_not_add_up() -> None:  # X4
    pair = Pair().connect()
    for _ in range(60):
        pair.inject(b'{"type":"error","error":{"type":"server_error","message":"now and then"}}')
        pair.pass_time(5)
    assert pair.client.state is ConnectionState.READY


def test_a_fatal_error_and_the_close_frame_in_one_read() -> None:  # rule 13
    client, wire = accepted(ENDPOINT)
    wire.send_text(b'{"type":"error","error":{"code":"insufficient_quota","message":"no money"}}')
    wire.close(1000)
    client.receive_data(wire.data_to_send(), 0.0)
    assert "no money" in str(only(SessionClosed, list(iter(client.next_event, None))).error)


def test_a_silent_peer_is_pinged_and_then_given_up() -> None:  # R7
    pair = Pair(client={"timing": Timing(keepalive_interval_s=20, keepalive_timeout_s=10)})
    pair.connect()
    for _ in range(5):  # a peer that answers pings may be silent for ever
        pair.pass_time(20)
        assert pair.client.state is ConnectionState.READY
    pair.now += 20
    pair.client.handle_timer(pair.now)
    assert pair.client.data_to_send()[:1] == b"\x89"  # a ping, which gets lost
    pair.client.handle_timer(pair.now + 9.9)
    assert pair.client.state is ConnectionState.READY
    pair.client.handle_timer(pair.now + 10)
    found = list(iter(pair.client.next_event, None))
    assert "answers no ping" in str(only(SessionClosed, found).error)
    assert pair.client.next_deadline() is None


def test_a_session_without_keepalive_waits_for_ever() -> None:
    patient = Timing(keepalive_interval_s=None, liveness_after_s=None, rotate_after_s=None)
    pair = Pair(client={"timing": patient}).connect()
    assert pair.client.next_deadline() is None
