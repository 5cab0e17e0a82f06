"""Make-before-break: the next connection is ready before the old one goes (N4, R5, R8, R11)."""

from __future__ import annotations

import msgspec
import pytest
from pair import MANUAL, SECOND, Pair, agree, of, only
from rotating import TIMING, Rotating, server_texts, spoken_turn

from sansio_rt import (
    CallReady,
    ConnectionClosed,
    ConnectionLost,
    ConnectionReplaced,
    ConnectionState,
    GenerationEnded,
    GenerationStatus,
    LocalProtocolError,
    Outcome,
    RetryPolicy,
    RotationDue,
    SessionResumed,
    Timing,
    events,
    tool,
)
from sansio_rt._server_work import ServerLimits


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
    assert server.ending is not None
    assert (server.ending.code, server.ending.reason) == (1000, "")
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
    pair.reply_until_due()
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


def test_a_single_edit_is_told_while_a_reply_runs() -> None:
    pair = Rotating().connect()
    pair.reply_until_due()
    pair.client.send_message("Meanwhile.", item_id="one")
    pair.run()
    pair.pass_time(0.25)
    assert pair.next_server is not pair.server
    assert [item.id for item in pair.next_server.session.items] == ["one"]


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
    pair.reply_until_due()
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
    pair.reply_until_due()
    assert pair.dials == 1
    pair.client.restart("now", patience_s=1.0)
    new = pair.run()
    assert not of(RotationDue, new)
    assert only(ConnectionReplaced, pair.pass_time(1.0)).reason == "now"
    assert pair.dials == 1


def test_closing_ends_the_next_connection_too() -> None:  # R6
    pair = Rotating().connect()
    pair.reply_until_due()
    link, _ = pair.ends[-1]
    assert link is not pair.client.link
    pair.client.close()
    pair.run()
    assert link.finished
    assert pair.client.state is ConnectionState.CLOSED


def test_the_next_connection_is_left_without_words() -> None:  # R6
    pair = Rotating().connect()
    pair.reply_until_due()
    server = pair.next_server
    pair.client.close(4000, "had enough")
    pair.run()
    assert server is not pair.ends[0][1]
    assert server.ending is not None
    assert (server.ending.code, server.ending.reason) == (1000, "")


def test_a_next_connection_waits_for_a_quiet_moment_without_a_spinning_clock() -> None:
    pair = Rotating().connect()
    pair.reply_until_due()
    for _ in range(3):
        assert pair.client.next_deadline() == pytest.approx(pair.now + 0.25)
        pair.pass_time(0.25)


def test_nothing_of_the_old_connection_is_watched_while_the_next_one_is_told_the_rest() -> None:
    timing = Timing(
        rotation_patience_s=3.0,
        keepalive_interval_s=None,
        rotate_after_s=None,
        liveness_after_s=6.0,
    )
    pair = Rotating(client={"timing": timing}).connect()
    pair.client.generate_reply()
    pair.run()
    pair.client.restart("to be safe")
    pair.run()
    pair.client.send_message("One more thing.")
    pair.run()
    for seconds in (4.0, 3.0):
        pair.now += seconds
        pair.client.handle_timer(pair.now)  # and the next server does not answer yet
        assert pair.client.state is ConnectionState.REPLAYING
    deadline = pair.client.next_deadline()
    assert deadline is not None
    assert deadline > pair.now


def test_at_the_end_of_a_reply_the_next_connection_takes_over_without_being_asked_again() -> None:
    pair = Rotating().connect()
    pair.reply_until_due()
    link, server = pair.ends[0]
    response_id = pair.wanted_reply().response_id
    server.session.begin_message(response_id, pair.now)
    server.session.push_text(response_id, "So be it.", pair.now)
    server.session.end_message(response_id, pair.now)
    server.session.finish(response_id, pair.now)
    link.receive_data(server.data_to_send(), pair.now)  # and the next server says nothing
    assert only(GenerationEnded, list(iter(pair.client.next_event, None)))
    assert pair.client.link is not link


def test_no_rotation_without_a_retry_policy() -> None:
    pair = Pair(client={"timing": TIMING}).connect()
    assert not of(RotationDue, pair.pass_time(10_000.0))


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


def test_a_plan_tells_until_when_it_waits() -> None:  # R5
    pair = Rotating().connect()
    (due,) = of(RotationDue, pair.pass_time(10.0))
    assert due.deadline == 115.0


def test_a_next_connection_may_be_begun_while_a_reply_runs() -> None:  # N4
    pair = Rotating().connect()
    pair.client.generate_reply()
    pair.run()
    pair.client.handle_timer(pair.now + 10.0)
    assert pair.client.begin_rotation(pair.now + 10.0) is not None
    pair.client.send_message("Meanwhile.")  # which looks at once whether it may take over
    assert pair.client.state is ConnectionState.READY


def test_the_words_of_a_turn_are_waited_for() -> None:  # N4, I2
    config = MANUAL.merge({"transcription": events.Transcription(model="whisper-1")})
    pair = Rotating(config).connect()
    pair.pass_time(9.0)
    pair.client.push_audio(SECOND)
    pair.client.commit_audio()
    pair.run()
    assert not of(ConnectionReplaced, pair.pass_time(1.0))
    assert not of(ConnectionReplaced, pair.pass_time(3.9))
    due_at = pair.client.next_deadline()
    assert due_at is not None
    assert due_at > pair.now + 0.15
    assert of(ConnectionReplaced, pair.pass_time(0.15))  # at any call, and not just when it is due
