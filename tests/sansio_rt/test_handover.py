"""Make-before-break: the next connection is ready before the old one goes (N4, R5, R8, R11)."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from pair import MANUAL, Loud, Pair, agree, of, only

from sansio_rt import (
    CallReady,
    ConnectionClosed,
    ConnectionLost,
    ConnectionReplaced,
    ConnectionState,
    GenerationEnded,
    GenerationStatus,
    Link,
    LocalProtocolError,
    Outcome,
    RawClientEvent,
    RetryPolicy,
    RotationDue,
    SequentialIds,
    ServerProtocol,
    SessionConfig,
    SessionResumed,
    SpeechStarted,
    Timing,
    events,
    tool,
)
from sansio_rt._rotation import Rotation, time_left_s
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import ServerLimits

SECOND = b"\x00\x20" * 24_000
TIMING = Timing(
    rotate_after_s=10.0,
    rotation_patience_s=5.0,
    keepalive_interval_s=None,
    liveness_after_s=None,
)


class Rotating(Pair):
    """A pair that answers `RotationDue`: every link has a server of its own."""

    refuse_dials = False
    dials = 0

    def __init__(self, config: SessionConfig = MANUAL, **settings: Any) -> None:
        client = {"retry": RetryPolicy(), "timing": TIMING, **settings.pop("client", {})}
        super().__init__(config, client=client, **settings)
        self.ends: list[tuple[Link, ServerProtocol]] = []

    def connect(self) -> Rotating:
        self.ends.append((self.client.connect(self.now, unix_now=self.now), self.server))
        self.run()
        assert self.client.state is ConnectionState.READY
        return self

    @property
    def next_server(self) -> ServerProtocol:
        return self.ends[-1][1]

    def pass_time(self, seconds: float) -> list[Any]:
        self.now += seconds
        for _, server in self.ends:
            server.handle_timer(self.now)
        self.client.handle_timer(self.now)
        return self.run()

    def run(self) -> list[Any]:
        new: list[Any] = []
        while self._carry(new):
            pass
        self.server = next(server for link, server in self.ends if link is self.client.link)
        self.work += list(iter(self.server.next_event, None))
        self.events += new
        return new

    def _carry(self, new: list[Any]) -> bool:
        moved = False
        while (event := self.client.next_event()) is not None:
            new.append(event)
            if isinstance(event, RotationDue):
                self._dial()
                moved = True
        for link, server in self.ends:
            if out := link.data_to_send():
                server.receive_data(out, self.now)
            if back := server.data_to_send():
                link.receive_data(back, self.now)
            moved = moved or bool(out) or bool(back)
        return moved

    def _dial(self) -> None:
        self.dials += 1
        if self.refuse_dials:
            self.client.rotation_failed(self.now)
            return
        link = self.client.begin_rotation(self.now, unix_now=self.now)
        assert link is not None
        settings = {**self._server_settings, "ids": SequentialIds(f"s{self.dials}")}
        self.ends.append((link, ServerProtocol(ServerSession(**settings))))


def server_texts(pair: Pair) -> list[str]:
    return [
        " ".join(getattr(part, "text", "?") for part in item.content)
        for item in pair.server.session.items
        if isinstance(item, events.Message)
    ]


def spoken_turn(pair: Rotating) -> None:
    pair.client.send_message("What is the time?")
    pair.client.generate_reply()
    pair.run()
    pair.speak("It is noon.")


def test_a_quiet_connection_is_replaced_at_its_age_without_a_gap() -> None:  # N4, R5
    pair = Rotating().connect()
    spoken_turn(pair)
    assert not of(RotationDue, pair.pass_time(9.0))
    new = pair.pass_time(1.0)
    assert "10 s old" in only(RotationDue, new).reason
    assert only(ConnectionReplaced, new).error is None
    resumed = only(SessionResumed, new)
    assert (resumed.planned, resumed.away_s, resumed.replayed) == (True, 0.0, 2)
    assert not of(ConnectionLost, new)
    assert pair.client.state is ConnectionState.READY
    assert server_texts(pair) == ["What is the time?", "It is noon."]
    agree(pair)
    spoken_turn(pair)
    assert len(pair.client.conversation) == 4
    assert len(of(ConnectionReplaced, pair.pass_time(10.0))) == 1  # and so on
    agree(pair)


def test_the_next_connection_is_kept_alive_from_when_it_takes_over() -> None:  # R7
    timing = msgspec.structs.replace(TIMING, keepalive_interval_s=8.0)
    pair = Rotating(client={"timing": timing}).connect()
    assert only(ConnectionReplaced, pair.pass_time(10.0))
    assert pair.client.next_deadline() == pair.now + 8.0


def test_the_next_connection_is_a_connection_like_any() -> None:  # N4, S4, R4
    pair = Rotating().connect()
    before = pair.client.session
    resumed = only(SessionResumed, pair.pass_time(10.0))
    assert (resumed.handshake_s, resumed.connect_s) == (None, None)
    assert pair.client.session is not None
    assert pair.client.session != before
    assert pair.client.session.id == pair.server.session.session.id
    pair.client.receive_eof(pair.now)
    lost = only(ConnectionLost, list(iter(pair.client.next_event, None)))
    assert isinstance(lost.error, ConnectionClosed)
    assert "without a close frame" in str(lost.error)


def test_the_old_connection_is_closed_properly() -> None:  # R6
    pair = Rotating().connect()
    pair.pass_time(10.0)
    link, server = pair.ends[0]
    assert link.finished
    assert server.data_to_send() == b""
    assert pair.client.link is not link
    assert not pair.client.link.finished
    link.receive_data(b"nonsense", pair.now)
    link.receive_eof(pair.now)
    assert pair.client.state is ConnectionState.READY


def test_it_waits_for_a_reply_that_runs() -> None:  # R5
    pair = Rotating().connect()
    pair.client.generate_reply()
    pair.run()
    assert not of(ConnectionReplaced, pair.pass_time(10.0))
    assert not of(ConnectionReplaced, pair.pass_time(3.0))
    new = pair.speak("One moment.")
    assert only(GenerationEnded, new).generation.status is GenerationStatus.COMPLETED
    assert of(ConnectionReplaced, new)
    assert server_texts(pair) == ["One moment."]
    agree(pair)


def test_what_happens_meanwhile_is_told_to_the_next_connection() -> None:
    pair = Rotating().connect()
    pair.client.send_message("First.", item_id="first")
    pair.client.send_message("Second.", item_id="second")
    pair.run()
    pair.client.generate_reply()
    pair.run()
    pair.pass_time(10.0)
    assert [item.id for item in pair.next_server.session.items] == ["first", "second"]
    pair.client.delete_item("first")
    pair.client.send_message("Zero.", item_id="zero", previous_item_id="root")
    pair.client.update(instructions="Be long.")
    pair.run()
    assert of(ConnectionReplaced, pair.speak("So be it."))
    assert server_texts(pair) == ["Zero.", "Second.", "So be it."]
    assert pair.server.session.session.instructions == "Be long."
    assert pair.client.session.instructions == "Be long."
    agree(pair)


def test_at_the_hard_deadline_it_is_replaced_whatever_runs() -> None:  # R8
    pair = Rotating().connect()
    command = pair.client.generate_reply()
    pair.run()
    pair.pass_time(10.0)
    waiting = pair.client.generate_reply()
    assert not of(ConnectionReplaced, pair.pass_time(4.0))
    new = pair.pass_time(1.0)
    assert only(GenerationEnded, new).generation.status is GenerationStatus.LOST
    assert command.result().status is GenerationStatus.LOST
    assert only(ConnectionReplaced, new).error is None
    assert waiting.outcome is Outcome.CONNECTION_ENDED
    assert isinstance(waiting.error, ConnectionClosed)
    assert str(waiting.error).startswith("replaced as planned: it is 10 s old")
    assert waiting.error.by_peer is False
    assert only(SessionResumed, new).planned
    spoken_turn(pair)
    agree(pair)


def test_an_edit_that_nobody_answered_is_made_on_the_next_connection() -> None:  # R3, R8
    pair = Rotating().connect()
    pair.client.generate_reply()
    pair.run()
    pair.pass_time(10.0)
    command = pair.client.send_message("Late.", item_id="late")
    pair.client.data_to_send()  # lost on its way
    pair.now += 5.0
    pair.client.handle_timer(pair.now)
    new = pair.run()
    assert of(ConnectionReplaced, new)
    assert command.outcome is Outcome.DEADLINE or command.outcome is Outcome.ACKNOWLEDGED
    agree(pair)


def test_a_call_without_its_output_is_waited_for() -> None:  # N4
    pair = Rotating(client={"tools": [tool(look_up)]}).connect()
    pair.client.generate_reply()
    pair.run()
    session, wanted = pair.server.session, pair.wanted_reply()
    session.call_function(wanted.response_id, "look_up", '{"word":"sea"}', pair.now)
    session.finish(wanted.response_id, pair.now)
    call = only(CallReady, pair.run()).call
    assert not of(ConnectionReplaced, pair.pass_time(10.0))
    pair.client.send_tool_output(call.call_id, "blue")
    assert not of(ConnectionReplaced, pair.run())  # the reply to it comes first
    assert of(ConnectionReplaced, pair.speak("It is blue."))
    agree(pair)


def test_a_call_beside_the_conversation_is_not_waited_for() -> None:  # N4, G4
    pair = Rotating(client={"tools": [tool(look_up)]}).connect()
    pair.client.generate_reply(conversation="none")
    pair.run()
    session, wanted = pair.server.session, pair.wanted_reply()
    session.call_function(wanted.response_id, "look_up", '{"word":"sea"}', pair.now)
    session.finish(wanted.response_id, pair.now)
    assert of(CallReady, pair.run())
    assert of(ConnectionReplaced, pair.pass_time(10.0))  # the conversation takes no output of it


def look_up(word: str) -> str:
    """Looks a word up.

    Args:
        word: Which.
    """
    return word


def test_a_spoken_turn_is_waited_for_and_no_sample_is_lost() -> None:  # N4, N3
    pair = Rotating(SessionConfig(), detector=Loud()).connect()
    pair.client.push_audio(bytes(48_000 * 3))
    pair.run()
    pair.client.push_audio(SECOND)
    pair.run()
    assert not of(ConnectionReplaced, pair.pass_time(10.0))  # somebody speaks
    pair.client.push_audio(SECOND)
    pair.client.push_audio(bytes(48_000))
    new = pair.run()
    assert not of(ConnectionReplaced, new)  # the server is about to answer
    pair.work.clear()
    new = pair.pass_time(5.0)
    assert of(ConnectionReplaced, new)


def test_audio_for_a_commit_is_waited_for_then_repeated() -> None:  # N3
    pair = Rotating().connect()
    pair.client.push_audio(SECOND)
    assert not of(ConnectionReplaced, pair.pass_time(10.0))
    pair.client.push_audio(SECOND)
    assert of(ConnectionReplaced, pair.pass_time(5.0))
    command = pair.client.commit_audio()
    assert command is not None
    pair.run()
    entry = pair.client.conversation.get(command.result())
    assert entry is not None
    retrieved = pair.client.retrieve_item(entry.id)
    pair.run()
    (part,) = retrieved.result().content
    assert base64.b64decode(part.audio) == SECOND * 2


@pytest.mark.parametrize("dropped", [False, True])
def test_speech_under_way_is_repeated_from_its_beginning(dropped: bool) -> None:  # N3, R8
    pair = Rotating(SessionConfig(), detector=Loud()).connect()
    for _ in range(6):
        pair.client.push_audio(SECOND)
        pair.run()
    new = pair.pass_time(10.0)
    assert not of(ConnectionReplaced, new)
    if dropped:
        pair.client.receive_eof(pair.now)
        new = pair.run()
    else:
        new = pair.pass_time(5.0)
    assert of(ConnectionReplaced, new)
    assert pair.client._input._appended_ms == 6_000


def test_silence_is_not_repeated_beyond_what_a_turn_may_have_begun_in() -> None:  # N4
    pair = Rotating(SessionConfig(), detector=Loud()).connect()
    for _ in range(10):
        pair.client.push_audio(bytes(48_000))
    new = pair.pass_time(10.0)
    assert of(ConnectionReplaced, new)
    assert pair.client._input._appended_ms == 2000.0
    pair.client.push_audio(SECOND)
    pair.client.push_audio(bytes(48_000))
    assert pair.run()


def test_what_a_server_that_is_gone_may_not_have_heard_is_repeated() -> None:  # N3, N4
    """It tells of no speech: because there was none, or because it has not been there for a while."""
    pair = Rotating(SessionConfig(), detector=Loud()).connect()
    old = pair.server
    for sound in [SECOND, *[bytes(48_000)] * 8]:
        pair.now += 1.0
        pair.client.tell_time(pair.now)
        pair.client.push_audio(sound)
        pair.client.data_to_send()  # nothing of it arrives
    new = pair.pass_time(1.0)
    assert of(ConnectionReplaced, new)
    assert pair.server is not old
    assert of(SpeechStarted, new)


def test_a_drop_while_the_next_one_stands_ready_is_no_loss() -> None:  # R8
    pair = Rotating().connect()
    spoken_turn(pair)
    pair.client.generate_reply()
    pair.run()
    pair.pass_time(10.0)
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


def test_a_next_one_with_an_older_configuration_does_not_take_over() -> None:  # R8, S3
    """It was made ready, then a setting was changed and accepted, and then the connection dropped."""
    pair = Rotating().connect()
    pair.client.generate_reply()
    pair.run()
    pair.pass_time(10.0)
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


def test_before_the_session_expires_it_is_replaced() -> None:  # R5, R9
    timing = Timing(rotate_after_s=None, rotation_patience_s=20.0, keepalive_interval_s=None)
    pair = Rotating(client={"timing": timing}, limits=ServerLimits(session_s=300.0)).connect()
    assert not of(RotationDue, pair.pass_time(274.0))
    new = pair.pass_time(2.0)
    assert "expire" in only(RotationDue, new).reason
    assert of(ConnectionReplaced, new)
    assert not of(RotationDue, pair.pass_time(274.0))
    assert "expire" in only(RotationDue, pair.pass_time(2.0)).reason  # the next one's end is known


def test_without_a_next_connection_an_expiring_one_is_left_in_time() -> None:  # R9
    timing = Timing(rotate_after_s=None, rotation_patience_s=20.0, keepalive_interval_s=None)
    pair = Rotating(client={"timing": timing}, limits=ServerLimits(session_s=300.0)).connect()
    pair.refuse_dials = True
    lost = [event for _ in range(30) for event in of(ConnectionLost, pair.pass_time(10.0))]
    assert len(lost) == 1
    assert lost[0].planned


def test_the_application_may_ask_for_another_connection() -> None:  # R11
    pair = Rotating().connect()
    spoken_turn(pair)
    pair.client.restart("the caller hears nothing")
    new = pair.run()
    assert only(RotationDue, new).reason == "the caller hears nothing"
    assert only(ConnectionReplaced, new).reason == "the caller hears nothing"
    agree(pair)


def test_a_restart_does_not_wait_for_a_driver_that_knows_nothing_of_rotation() -> None:  # R11
    pair = Pair(client={"retry": RetryPolicy(), "timing": TIMING}).connect()
    pair.client.send_message("Hello.")
    pair.run()
    pair.client.restart("no sound", patience_s=5.0)
    assert of(RotationDue, pair.run())
    lost = only(ConnectionLost, pair.pass_time(5.0))
    assert lost.planned
    assert "no sound" in str(lost.error)
    assert only(SessionResumed, pair.reconnect()).replayed == 1


def test_a_restart_of_a_session_with_one_connection_is_refused() -> None:
    pair = Pair().connect()
    with pytest.raises(LocalProtocolError, match="retry policy"):
        pair.client.restart("why not")


def test_a_next_connection_is_begun_only_where_one_was_asked_for() -> None:  # N4
    pair = Rotating().connect()
    assert pair.client.begin_rotation(pair.now) is None
    pair.client.handle_timer(pair.now + 10.0)
    assert pair.client.begin_rotation(pair.now + 10.0) is not None
    assert pair.client.begin_rotation(pair.now + 10.0) is None


def test_a_restart_while_another_replacement_is_under_way_changes_its_deadline() -> None:
    pair = Rotating().connect()
    pair.client.generate_reply()
    pair.run()
    pair.pass_time(10.0)
    assert pair.dials == 1
    pair.client.restart("now", patience_s=1.0)
    new = pair.run()
    assert not of(RotationDue, new)
    assert only(ConnectionReplaced, pair.pass_time(1.0)).reason == "now"
    assert pair.dials == 1


def test_closing_ends_the_next_connection_too() -> None:  # R6
    pair = Rotating().connect()
    pair.client.generate_reply()
    pair.run()
    pair.pass_time(10.0)
    link, _ = pair.ends[-1]
    assert link is not pair.client.link
    pair.client.close()
    pair.run()
    assert link.finished
    assert pair.client.state is ConnectionState.CLOSED


def test_the_next_connection_is_left_without_words() -> None:  # R6
    pair = Rotating().connect()
    pair.client.generate_reply()
    pair.run()
    pair.pass_time(10.0)
    server = pair.next_server
    pair.client.close(4000, "had enough")
    pair.run()
    assert server is not pair.ends[0][1]
    assert server.ending is not None
    assert (server.ending.code, server.ending.reason) == (1000, "")


def test_a_next_connection_waits_for_a_quiet_moment_without_a_spinning_clock() -> None:
    pair = Rotating().connect()
    pair.client.generate_reply()
    pair.run()
    pair.pass_time(10.0)
    for _ in range(3):
        assert pair.client.next_deadline() == pytest.approx(pair.now + 0.25)
        pair.pass_time(0.25)


def test_no_rotation_without_a_retry_policy() -> None:
    pair = Pair(client={"timing": TIMING}).connect()
    assert not of(RotationDue, pair.pass_time(10_000.0))


# --- liveness -------------------------------------------------------------------------------

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


def test_the_end_of_patience_is_acted_on_when_it_comes() -> None:
    """Not at the next look: until then the deadline would be over, and the caller's clock would spin."""
    pair = Rotating(client={"timing": TIMING}).connect()
    pair.client.generate_reply()
    pair.run()
    pair.client.restart("to see", patience_s=0.5)
    pair.run()
    assert not of(ConnectionReplaced, pair.pass_time(0.45))
    new = pair.pass_time(0.05)
    assert of(ConnectionReplaced, new)
    deadline = pair.client.next_deadline()
    assert deadline is not None
    assert deadline > pair.now


def test_a_plan_is_fulfilled_when_the_next_connection_takes_over() -> None:
    """Not when that has everything: until then its end would be over, and the caller's clock would spin."""
    pair = Rotating(client={"timing": TIMING}).connect()
    pair.client.generate_reply()
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    session.begin_message(response_id, pair.now)
    session.push_text(response_id, "Once upon a time", pair.now)
    session.push_audio(response_id, SECOND, pair.now)
    pair.run()
    pair.client.restart("to see", patience_s=0.5)
    pair.run()
    pair.now += 0.5
    pair.client.handle_timer(pair.now)
    assert pair.client.state is ConnectionState.REPLAYING
    deadline = pair.client.next_deadline()
    assert deadline is not None
    assert deadline > pair.now


def test_a_next_connection_counts_from_when_it_is_asked_for() -> None:  # R2
    """It may be dialled, and then not be wanted any more: the server sees it all the same."""
    pair = Rotating(client={"retry": RetryPolicy(max_connects=2, window_s=60.0)}).connect()
    pair.now += 1.0
    pair.client.tell_time(pair.now)
    pair.client.restart("to see", patience_s=0.0)
    pair.client.handle_timer(pair.now)
    assert pair.client.begin_rotation(pair.now) is None
    pair.client.handle_timer(pair.now + TIMING.close_timeout_s)
    told = list(iter(pair.client.next_event, None))
    assert of(RotationDue, told)
    assert only(ConnectionLost, told).reconnect_at >= 160.0


# --- when -----------------------------------------------------------------------------------


def test_an_end_that_is_not_to_be_believed_is_not() -> None:
    assert time_left_s(1000.0, 900.0) == 100.0
    assert time_left_s(0, 900.0) is None
    assert time_left_s(1000, None) is None
    assert time_left_s("soon", 900.0) is None


def test_age_comes_before_the_end_where_it_is_earlier() -> None:
    rotation = Rotation(TIMING)
    rotation.connected(0.0, 3600.0)
    assert rotation.plan is not None
    assert (rotation.plan.due_at, rotation.plan.deadline) == (10.0, 15.0)
    assert rotation.plan.break_at == 3595.0
    rotation.connected(0.0, 18.0)
    assert (rotation.plan.due_at, rotation.plan.deadline) == (9.0, 13.5)
    assert rotation.plan.break_at == 13.5


def test_age_counts_where_the_end_allows_just_that() -> None:
    rotation = Rotation(TIMING)
    rotation.connected(0.0, 20.0)
    assert rotation.plan is not None
    assert rotation.plan.deadline == rotation.plan.break_at == 15.0
    assert "10 s old" in rotation.plan.reason


def test_the_wait_for_another_try_doubles_up_to_a_minute() -> None:  # R8
    rotation = Rotation(TIMING)
    rotation.ask("to see", 0.0, 1000.0)
    waits: list[float] = []
    now = 0.0
    for _ in range(7):
        assert rotation.due(now) is not None
        rotation.failed(now)
        assert rotation.due(now) is None
        assert rotation.plan is not None
        waits.append(rotation.plan.due_at - now)
        now = rotation.plan.due_at
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


@pytest.mark.parametrize("name", ["rotate_after_s", "rotation_patience_s", "liveness_after_s"])
def test_times_are_checked(name: str) -> None:
    with pytest.raises(LocalProtocolError, match=name):
        Timing(**{name: -1.0})


def test_the_old_server_may_still_speak_while_it_is_left() -> None:  # R6
    pair = Rotating().connect()
    link, old = pair.ends[0]
    old._wire.ping()
    late = old.data_to_send()
    pair.pass_time(10.0)
    assert pair.client.link is not link
    pair = Rotating().connect()
    link, old = pair.ends[0]
    pair.client.restart("to see")
    while pair.client.link is link:
        pair._carry([])
    link.receive_data(late, pair.now)
    assert link.closing
    pair.run()
    assert link.finished


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
