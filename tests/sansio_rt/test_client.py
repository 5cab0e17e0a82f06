"""`ClientProtocol` against `ServerProtocol`, no input or output, driven by a `for` loop (N1)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pair import ENDPOINT, MANUAL, SECOND, Loud, Pair, of, only

from sansio_rt import (
    AudioDelta,
    CallReady,
    ClientProtocol,
    CommandEnded,
    CommandRefused,
    CommandTimeout,
    ConfigurationError,
    ConnectionClosed,
    ConnectionState,
    ErrorScope,
    GenerationEnded,
    GenerationOrigin,
    GenerationStarted,
    GenerationStatus,
    HandshakeRejected,
    InputAudioCommitted,
    InputTranscriptCompleted,
    ItemTruncated,
    LocalProtocolError,
    MessageBroken,
    Outcome,
    RawClientEvent,
    RawServerEvent,
    ServerErrorReported,
    SessionClosed,
    SessionConfig,
    SessionReady,
    SpeechStarted,
    SpeechStopped,
    StrayEvent,
    TextDelta,
    Timing,
    UnknownEventReceived,
    events,
    tool,
)
from sansio_rt._server_work import ReplyCancelled, ReplyWanted, TranscriptionWanted
from sansio_rt._wire import Wire


def test_connecting_sends_the_whole_configuration_once_and_waits_for_it() -> None:  # S1
    pair = Pair(client={"tools": [tool(roll)]})
    pair.client.raw_events = True
    pair.connect()
    updates = [
        event.event
        for event in of(RawClientEvent, pair.events)
        if isinstance(event.event, events.SessionUpdate)
    ]
    assert len(updates) == 1
    session = updates[0].session
    assert session.instructions == "Be brief."
    assert session.audio.input.turn_detection is None
    assert session.audio.input.format == events.PcmFormat(rate=24000)
    assert session.audio.output.voice == "marin"
    assert session.audio.input.transcription.model == "gpt-4o-mini-transcribe"
    assert session.output_modalities == ["audio"]
    assert session.tools[0].name == "roll"
    assert session.tool_choice == "auto"
    assert session.max_output_tokens == "inf"
    ready = only(SessionReady, pair.events)
    assert ready.session.audio.output.voice == "marin"
    assert pair.client.acknowledged == pair.client.wanted


def roll(sides: int = 6) -> int:
    """Rolls a die.

    Args:
        sides: How many sides it has.
    """
    return sides


def test_defaults_have_server_turn_detection() -> None:  # S1
    config = SessionConfig().with_defaults()
    assert config.turn_detection == events.ServerVad(
        threshold=0.5,
        prefix_padding_ms=300,
        silence_duration_ms=200,
        create_response=True,
        interrupt_response=True,
    )


def test_a_whole_spoken_turn() -> None:  # G1, G3, I2, A2
    pair = Pair().connect()
    for _ in range(4):
        pair.client.push_audio(SECOND[:12_000])
    commit = pair.client.commit_audio()
    assert commit is not None
    found = pair.run()
    assert only(InputAudioCommitted, found).item_id == commit.result()
    heard = only(TranscriptionWanted, pair.work)
    assert len(heard.pcm) == 48_000
    pair.server.session.transcribed(heard.item_id, "what time is it", pair.now)
    assert only(InputTranscriptCompleted, pair.run()).transcript == "what time is it"

    reply = pair.client.generate_reply(instructions="Greet.", metadata={"mine": "1"})
    started = only(GenerationStarted, pair.run()).generation
    assert reply.result() is started
    assert started.requested
    assert started.metadata == {"mine": "1"}
    found = pair.speak("Noon exactly.", seconds=1.05)
    frames = [event.frame for event in of(AudioDelta, found)]
    assert b"".join(frame.data for frame in frames) == (SECOND * 2)[:50_400]
    assert [frame.start_sample for frame in frames] == [
        sum(frame.sample_count for frame in frames[:index]) for index in range(len(frames))
    ]
    assert "".join(event.text for event in of(TextDelta, found)) == "Noon exactly."
    ended = only(GenerationEnded, found).generation
    assert ended is started
    assert ended.status is GenerationStatus.COMPLETED
    assert ended.text == "Noon exactly."
    assert ended.metrics.audio_ms == pytest.approx(1050)
    assert ended.metrics.output_tokens
    entries = list(pair.client.conversation)
    assert [entry.role for entry in entries] == ["user", "assistant"]
    assert [entry.text for entry in entries] == ["what time is it", "Noon exactly."]
    assert pair.client.conversation.ids() == [item.id for item in pair.server.session.items]
    assert not pair.client.commands


def test_the_same_conversation_byte_by_byte() -> None:
    whole, split = Pair(), Pair()
    feed = split.client.receive_data

    def byte_by_byte(data: bytes, now: float) -> None:
        for index in range(len(data)):
            feed(data[index : index + 1], now)

    split.client.receive_data = byte_by_byte  # type: ignore[method-assign]
    for pair in (whole, split):
        pair.connect()
        pair.client.send_message("Hi")
        pair.client.generate_reply()
        pair.run()
        pair.speak(seconds=0.3)
    assert list(map(repr, whole.events)) == list(map(repr, split.events))


def test_speech_starts_and_stops_are_told_and_the_server_answers_by_itself() -> None:  # I1, G2
    pair = Pair(SessionConfig(), detector=Loud()).connect()
    speech = (b"\x00\x20" * 24_000)[: 24_000 * 2]
    pair.client.push_audio(speech)
    pair.client.push_audio(bytes(24_000))
    found = pair.run()
    started, stopped = only(SpeechStarted, found), only(SpeechStopped, found)
    assert started.transcript_expected
    assert started.item_id == stopped.item_id == only(InputAudioCommitted, found).item_id
    assert started.audio_start_ms < stopped.audio_end_ms
    generation = only(GenerationStarted, pair.events).generation
    assert generation.origin is GenerationOrigin.SERVER
    assert not generation.requested
    pair.server.session.transcribed(started.item_id, "hello", pair.now)
    pair.run()
    pair.speak()
    assert generation.status is GenerationStatus.COMPLETED


def test_a_commit_under_100_ms_is_not_sent_and_the_audio_is_kept() -> None:  # A2
    pair = Pair().connect()
    pair.client.push_audio(SECOND[: 48 * 99])
    assert pair.client.commit_audio() is None
    assert not of(ServerErrorReported, pair.run())
    pair.client.push_audio(SECOND[: 48 * 1])
    command = pair.client.commit_audio()
    assert command is not None
    pair.run()
    assert command.outcome is Outcome.ACKNOWLEDGED
    assert len(only(TranscriptionWanted, pair.work).pcm) == 4800


def test_a_commit_after_the_servers_own_is_no_error() -> None:  # A2
    pair = Pair().connect()
    pair.client.push_audio(SECOND)
    pair.server.session._listener.clear()
    commit = pair.client.commit_audio()
    assert commit is not None
    pair.run()
    pair.client.push_audio(SECOND[:4800])
    second = pair.client.commit_audio()
    assert second is not None
    pair.client.clear_audio()
    found = pair.run()
    assert not of(ServerErrorReported, found)
    assert not pair.client.commands


def test_clear_drops_the_partial_frame_too() -> None:  # A3
    pair = Pair().connect()
    pair.client.push_audio(SECOND[: 48 * 250])
    cleared = pair.client.clear_audio()
    pair.run()
    assert cleared.outcome is Outcome.ACKNOWLEDGED
    pair.client.push_audio(SECOND[:4800])
    assert pair.client.commit_audio() is not None
    pair.run()
    assert len(only(TranscriptionWanted, pair.work).pcm) == 4800


def test_tools_one_output_per_call_and_one_reply_for_all() -> None:  # T6, T9
    pair = Pair(client={"tools": [tool(roll)]}).connect()
    pair.client.generate_reply()
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    session.call_function(response_id, "roll", '{"sides": 20}', pair.now)
    session.call_function(response_id, "roll", '{"sides": 4}', pair.now)
    found = pair.run()
    first, second = (event.call for event in of(CallReady, found))
    assert (first.name, first.arguments) == ("roll", '{"sides": 20}')
    pair.client.send_tool_output(first.call_id, "17")
    session.finish(response_id, pair.now)
    assert not of(GenerationStarted, pair.run())
    pair.client.send_tool_output(second.call_id, "2")
    follow_up = only(GenerationStarted, pair.run()).generation
    assert follow_up.origin is GenerationOrigin.TOOL_OUTPUTS
    wanted = pair.wanted_reply()
    assert [turn.text for turn in wanted.history if turn.role == "tool_output"] == ["17", "2"]
    for call_id in (first.call_id, "call_nobody_made"):
        with pytest.raises(LocalProtocolError, match="no open function call"):
            pair.client.send_tool_output(call_id, "again")


def test_a_second_reply_waits_for_the_first_to_end() -> None:  # G12
    pair = Pair().connect()
    first = pair.client.generate_reply()
    second = pair.client.generate_reply()
    pair.run()
    assert first.outcome is Outcome.ACKNOWLEDGED
    assert second.outcome is None
    found = pair.speak()
    assert not of(ServerErrorReported, found)
    assert second.outcome is Outcome.ACKNOWLEDGED


def test_an_impatient_reply_fails_at_once() -> None:  # G12
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    refused = pair.client.generate_reply(wait_if_busy=False)
    assert refused.outcome is Outcome.REFUSED
    pair.run()
    assert refused.event_id not in [command.event_id for command in pair.client.commands]


def test_a_conflict_that_the_client_could_not_see_is_asked_again() -> None:  # G12
    pair = Pair().connect()
    event = events.ResponseCreate(response=events.ResponseParams())
    pair.server.session.receive_message(events.encode(event), pair.now)
    while (work := pair.server.next_event()) is not None:
        pair.work.append(work)
    other = pair.wanted_reply()
    mine = pair.client.generate_reply()
    pair.run()
    assert mine.outcome is None
    pair.server.session.finish(other.response_id, pair.now)
    pair.run()
    assert mine.outcome is Outcome.ACKNOWLEDGED


def test_replies_beside_the_conversation_run_at_once() -> None:  # G4
    pair = Pair().connect()
    main = pair.client.generate_reply()
    aside = pair.client.generate_reply(conversation="none", modalities=["text"])
    pair.run()
    one, two = main.result(), aside.result()
    assert one.in_conversation
    assert not two.in_conversation
    a, b = pair.wanted_reply().response_id, pair.wanted_reply().response_id
    session = pair.server.session
    for response_id in (a, b):
        session.begin_message(response_id, pair.now)
    for word in ("one ", "two ", "three "):
        session.push_text(a, word, pair.now)
        session.push_text(b, word.upper(), pair.now)
    for response_id in (a, b):
        session.push_audio(response_id, SECOND[:4800], pair.now)
        session.end_message(response_id, pair.now)
        session.finish(response_id, pair.now)
    pair.run()
    assert {one.text.strip(), two.text.strip()} == {"one two three", "ONE TWO THREE"}
    assert one.ended
    assert two.ended
    assert len(pair.client.conversation) == 1


def test_interrupt_is_done_when_the_response_is() -> None:  # G7, G15
    pair = Pair(pace=1.0).connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak(seconds=3)
    pair.pass_time(1)
    interrupted = pair.client.interrupt()
    assert interrupted is not None
    assert pair.client.interrupt() is interrupted
    found = pair.run()
    ended = only(GenerationEnded, found).generation
    assert interrupted.result() is ended
    assert ended.status is GenerationStatus.CANCELLED
    assert ended.reason == "client_cancelled"
    assert only(ReplyCancelled, pair.work).response_id == ended.id
    assert pair.client.interrupt() is None


def test_cancelling_what_has_just_ended_is_no_error() -> None:  # G7
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    session.finish(response_id, pair.now)  # its end is on the way when we cancel
    command = pair.client.interrupt()
    assert command is not None
    found = pair.run()
    assert all(event.scope is ErrorScope.BENIGN for event in of(ServerErrorReported, found))
    assert command.outcome is Outcome.ACKNOWLEDGED
    assert not pair.client.commands


def test_truncate_at_what_was_heard() -> None:  # G8, G14
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two three four", seconds=2)
    entry = list(pair.client.conversation)[-1]
    assert pair.client.truncate(entry.id, audio_end_ms=2_050) is None  # heard to its end
    assert pair.client.truncate(entry.id, audio_end_ms=1_000) is not None
    assert only(ItemTruncated, pair.run()).audio_end_ms == 1_000
    assert entry.heard_ms == 1_000
    for item_id, end in (("nobody", 5), (entry.id, -1)):
        with pytest.raises(LocalProtocolError, match="truncate"):
            pair.client.truncate(item_id, audio_end_ms=end)
    assert pair.client.truncate(entry.id, audio_end_ms=0) is not None
    pair.run()
    assert entry.id not in pair.client.conversation


def test_a_reply_that_times_out_is_cancelled_when_it_comes_and_never_surfaces() -> None:  # G1
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    late = pair.client.generate_reply()
    request = pair.client.data_to_send()
    pair.pass_time(3)
    with pytest.raises(CommandTimeout, match=r"response\.create"):
        late.result()
    pair.server.receive_data(request, pair.now)
    found = pair.run()
    assert not of(GenerationStarted, found)
    response_id = pair.wanted_reply().response_id
    found = pair.run()
    assert only(ReplyCancelled, pair.work).response_id == response_id
    assert not of(GenerationStarted, pair.events)
    assert not of(StrayEvent, pair.events)
    assert not pair.client.commands
    assert pair.client.generate_reply() is not None
    assert only(GenerationStarted, pair.run())


def test_a_reply_whose_caller_gave_up_is_never_heard() -> None:  # G1
    pair = Pair().connect()
    command = pair.client.generate_reply()
    pair.client.abandon(command)
    pair.run()
    assert not of(GenerationStarted, pair.events)
    waiting = [pair.client.generate_reply(), pair.client.generate_reply()]
    pair.client.abandon(waiting[1])  # never sent
    pair.run()
    assert waiting[0].outcome is Outcome.ACKNOWLEDGED
    assert len(of(ReplyWanted, pair.work)) == 2
    pair.client.abandon(waiting[0])
    pair.run()
    assert waiting[0].result().status is GenerationStatus.CANCELLED


def test_refusals_are_raised_at_the_command_that_they_name() -> None:  # X1, S6
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.run()
    pair.speak()
    update = pair.client.update(voice="cedar")
    assert update is not None
    pair.run()
    with pytest.raises(CommandRefused, match="voice") as caught:
        update.result()
    assert caught.value.code == "cannot_update_voice"
    assert caught.value.param is not None
    assert pair.client.wanted.voice == "marin"
    (item_id,) = pair.client.conversation.ids()
    deletion = events.ConversationItemDelete(item_id=item_id)
    pair.server.session.receive_message(events.encode(deletion), pair.now)
    misplaced = pair.client.send_message("Hi", previous_item_id=item_id)  # not told yet
    pair.run()
    assert misplaced.outcome is Outcome.REFUSED
    assert pair.client.state is ConnectionState.READY


def test_update_sends_the_difference_only() -> None:  # S3, S4
    pair = Pair().connect()
    pair.client.raw_events = True
    assert pair.client.update(instructions="Be brief.") is None
    update = pair.client.update(instructions="Be long.", turn_detection=None)
    assert update is not None
    pair.run()
    sent = [event.event for event in of(RawClientEvent, pair.events)]
    assert [events.encode(event) for event in sent] == [
        b'{"type":"session.update","event_id":"%s","session":{"type":"realtime",'
        b'"instructions":"Be long."}}' % update.event_id.encode()
    ]
    assert update.result().instructions == "Be long."
    with pytest.raises(ConfigurationError, match="no such setting: instruction;"):
        pair.client.update(instruction="x")
    with pytest.raises(ConfigurationError, match="speed"):
        pair.client.update(speed=9)


def test_a_refused_first_configuration_ends_the_session() -> None:  # S7
    pair = Pair(MANUAL.merge({"voice": "nobody's voice"}))
    pair.client.connect(pair.now)
    pair.run()
    closed = only(SessionClosed, pair.events)
    assert isinstance(closed.error, CommandRefused)
    assert closed.error.param
    assert "voice" in closed.error.param


def test_errors_that_name_no_command_are_events() -> None:  # X1
    pair = Pair().connect()
    message = b'{"type":"error","event_id":"e","error":{"type":"server_error","message":"oops"}}'
    found = pair.inject(message)
    assert only(ServerErrorReported, found).error.message == "oops"
    assert pair.client.state is ConnectionState.READY


def test_a_dead_account_ends_the_session_with_its_reason() -> None:
    pair = Pair().connect()
    waiting = pair.client.generate_reply()
    pair.inject(
        b'{"type":"error","event_id":"e","error":{"type":"x","code":"insufficient_quota",'
        b'"message":"no money"}}'
    )
    closed = only(SessionClosed, pair.events)
    assert isinstance(closed.error, CommandRefused)
    assert closed.error.code == "insufficient_quota"
    with pytest.raises(CommandRefused, match="no money"):
        waiting.result()


@pytest.mark.parametrize(
    "message",
    [b"{", b"[]", b"{}", b'{"type":7}', b'{"type":"response.done"}'],
)
def test_broken_messages_cost_only_themselves(message: bytes) -> None:  # X2
    pair = Pair().connect()
    found = pair.inject(message)
    assert only(MessageBroken, found).error
    assert pair.client.broken_messages == 1
    pair.client.send_message("still here")
    pair.run()
    assert len(pair.client.conversation) == 1
    pair.inject(message)
    assert pair.client.broken_messages == 2


def test_unknown_events_come_out_as_they_are() -> None:  # X2
    pair = Pair().connect()
    found = pair.inject(b'{"type":"session.sang","event_id":"e","song":[1]}')
    event = only(UnknownEventReceived, found).event
    assert (event.type, event.data["song"]) == ("session.sang", [1])


def test_odd_orders_are_survived_and_reported() -> None:  # G6
    pair = Pair().connect()
    delta = (
        b'{"type":"response.output_text.delta","response_id":"%s","item_id":"%s",'
        b'"output_index":0,"content_index":0,"delta":"x"}'
    )
    created = b'{"type":"response.created","response":{"id":"r1","conversation_id":"c"}}'
    done = b'{"type":"response.done","response":{"id":"%s","status":"completed"}}'
    assert of(StrayEvent, pair.inject(delta % (b"nobody", b"i")))
    assert of(StrayEvent, pair.inject(done % b"nobody"))
    found = pair.inject(created, delta % (b"r1", b"i1"))  # a delta before its item
    assert only(TextDelta, found).message.id == "i1"
    assert of(StrayEvent, pair.inject(created))
    found = pair.inject(done % b"r1")
    assert only(GenerationEnded, found).generation.text == "x"
    assert of(StrayEvent, pair.inject(done % b"r1", created, delta % (b"r1", b"i1")))
    assert len(of(GenerationStarted, pair.events)) == len(of(GenerationEnded, pair.events)) == 1


def test_raw_taps_show_everything_in_both_directions() -> None:  # M2
    pair = Pair()
    pair.client.raw_events = True
    pair.connect()
    pair.client.push_audio(SECOND[:4800])
    pair.run()
    sent = [type(event.event).__name__ for event in of(RawClientEvent, pair.events)]
    received = [type(event.event).__name__ for event in of(RawServerEvent, pair.events)]
    assert sent == ["SessionUpdate", "InputAudioBufferAppend"]
    assert received == ["SessionCreated", "SessionUpdated"]


def test_close_ends_everything_and_may_be_called_twice() -> None:  # R6, G5
    pair = Pair().connect()
    generation = pair.client.generate_reply()
    pair.run()
    waiting = pair.client.generate_reply()
    pair.client.close()
    pair.client.close()
    with pytest.raises(ConnectionClosed, match="was closed"):
        waiting.result()
    assert generation.result().status is GenerationStatus.LOST
    closed = only(SessionClosed, pair.run())
    assert closed.error is None
    assert pair.client.state is ConnectionState.CLOSED
    with pytest.raises(LocalProtocolError, match="not connected"):
        pair.client.send_message("too late")


def test_a_peer_that_does_not_answer_the_close_is_left() -> None:  # R6
    pair = Pair().connect()
    pair.client.close()
    pair.client.data_to_send()
    assert pair.client.next_deadline() == pair.now + 1.0
    pair.client.handle_timer(pair.now + 1.0)
    assert isinstance(pair.client.next_event(), SessionClosed)
    assert pair.client.next_deadline() is None


def test_a_server_that_goes_ends_everything_as_lost() -> None:  # G5, R4
    pair = Pair().connect()
    reply = pair.client.generate_reply()
    pair.run()
    message = pair.client.send_message("never answered")
    pair.client.receive_eof(pair.now)
    pair.events += iter(pair.client.next_event, None)
    assert reply.result().status is GenerationStatus.LOST
    with pytest.raises(ConnectionClosed, match="without a close frame"):
        message.result()
    closed = only(SessionClosed, pair.events)
    assert closed.code == 1006
    assert len(of(GenerationEnded, pair.events)) == 1


def test_a_rejected_handshake_is_one_clear_error() -> None:
    client = ClientProtocol(ENDPOINT)
    client.connect(0.0)
    assert b"secret-key" in client.data_to_send()
    client.receive_data(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 7\r\n\r\nbad key", 0.1)
    found = list(iter(client.next_event, None))
    error = only(SessionClosed, found).error
    assert isinstance(error, HandshakeRejected)
    assert (error.status, error.body) == (401, "bad key")
    assert "secret-key" not in repr(client.__dict__)


@pytest.mark.parametrize("answered", [False, True])
def test_a_server_that_hangs_is_left_after_the_connect_timeout(answered: bool) -> None:  # R1
    pair = Pair(client={"timing": Timing(connect_timeout_s=5)})
    pair.client.connect(pair.now)
    if answered:
        wire = Wire.server()
        wire.receive_data(pair.client.data_to_send())
        wire.accept()
        pair.client.receive_data(wire.data_to_send(), pair.now)
    assert pair.client.next_deadline() == pair.now + 5
    pair.client.handle_timer(pair.now + 5)
    found = list(iter(pair.client.next_event, None))
    error = only(SessionClosed, found).error
    assert isinstance(error, CommandTimeout)
    assert "within 5 s" in str(error)


Call = Callable[[ClientProtocol], object]


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.push_audio(b"\x00\x00"),
        lambda client: client.commit_audio(),
        lambda client: client.clear_audio(),
        lambda client: client.send_message("x"),
        lambda client: client.generate_reply(),
        lambda client: client.interrupt(),
        lambda client: client.truncate("x", audio_end_ms=1),
        lambda client: client.update(voice="x"),
        lambda client: client.send(events.InputAudioBufferClear()),
    ],
)
def test_commands_need_a_connection_and_change_nothing_without(call: Call) -> None:
    client = ClientProtocol(ENDPOINT)
    with pytest.raises(LocalProtocolError, match="idle, not connected"):
        call(client)
    assert not client.commands
    assert client.data_to_send() == b""


def test_bad_arguments_change_nothing() -> None:
    pair = Pair().connect()
    client = pair.client
    for call in (
        lambda: client.push_audio(b"\x00"),
        lambda: client.send_message(""),
        lambda: client.send_message("x", item_id="i" * 33),
        lambda: client.delete_item("nobody"),
        lambda: client.retrieve_item("nobody"),
        lambda: client.generate_reply(tool_choice="no_such_tool", tools=[]),
        lambda: client.connect(0.0),
    ):
        with pytest.raises(LocalProtocolError):
            call()
    assert not client.commands
    assert client.data_to_send() == b""


def test_every_command_end_is_told_once() -> None:
    pair = Pair().connect()
    commands = [pair.client.send_message(word) for word in ("a", "b", "c")]
    found = pair.run()
    assert [event.command for event in of(CommandEnded, found)] == commands
    assert [command.result().text for command in commands] == ["a", "b", "c"]
