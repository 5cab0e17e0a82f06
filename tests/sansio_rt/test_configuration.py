"""Wanted, acknowledged and effective configuration (S3, S4, S7)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET
from pair import ENDPOINT, MANUAL, Pair, of, only

from sansio_rt import (
    ClientProtocol,
    CommandRefused,
    CommandTimeout,
    ConfigurationError,
    ConnectionState,
    LocalProtocolError,
    Outcome,
    RawClientEvent,
    ServerVad,
    SessionClosed,
    SessionConfig,
    SessionConfigured,
    Timing,
    events,
)


def refuse(pair: Pair, event_id: str) -> None:
    error = events.ErrorDetails(type="invalid_request_error", message="no", event_id=event_id)
    pair.inject(events.encode(events.Error(error=error, event_id="e")))


def accept(pair: Pair) -> None:
    session = pair.client.session
    assert session is not None
    pair.inject(events.encode(events.SessionUpdated(session=session, event_id="e")))


def updates(pair: Pair, *changes: dict[str, Any]) -> list[Any]:
    """Updates of which the server never hears."""
    commands = [pair.client.update(**change) for change in changes]
    pair.client.data_to_send()
    return commands


def test_nothing_is_sent_where_nothing_changes() -> None:  # S3
    pair = Pair().connect()
    assert pair.client.update() is None
    assert pair.client.update(instructions="Be brief.", voice="marin") is None
    assert pair.client.data_to_send() == b""


def test_the_first_update_names_the_model_and_later_ones_do_not() -> None:  # S1, S3
    pair = Pair()
    pair.client.raw_events = True
    pair.connect()
    pair.client.update(instructions="A")
    pair.run()
    sent = [e.event for e in of(RawClientEvent, pair.events)]
    first, second = (e.session for e in sent if isinstance(e, events.SessionUpdate))
    assert isinstance(first, events.RealtimeSession)
    assert isinstance(second, events.RealtimeSession)
    assert (first.model, second.model) == ("gpt-realtime", UNSET)


def test_answers_come_in_the_order_of_asking() -> None:  # S4
    pair = Pair().connect()
    first, second = updates(pair, {"instructions": "A"}, {"speed": 1.2})
    assert (pair.client.wanted.instructions, pair.client.wanted.speed) == ("A", 1.2)
    accept(pair)
    assert (first.outcome, second.outcome) == (Outcome.ACKNOWLEDGED, None)
    assert pair.client.acknowledged is not None
    assert pair.client.acknowledged.instructions == "A"
    assert pair.client.acknowledged != pair.client.wanted
    accept(pair)
    assert second.outcome is Outcome.ACKNOWLEDGED
    assert pair.client.acknowledged == pair.client.wanted


def test_a_refused_update_is_taken_back_and_later_ones_stay() -> None:  # S7
    pair = Pair().connect()
    bad, good = updates(pair, {"instructions": "A", "speed": 1.1}, {"speed": 1.2})
    refuse(pair, bad.event_id)
    assert bad.outcome is Outcome.REFUSED
    assert (pair.client.wanted.instructions, pair.client.wanted.speed) == ("Be brief.", 1.2)
    accept(pair)
    assert good.outcome is Outcome.ACKNOWLEDGED
    assert pair.client.acknowledged == pair.client.wanted


def test_an_update_that_is_never_answered_is_taken_back() -> None:
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    (lost,) = updates(pair, {"instructions": "A"})
    pair.pass_time(2)
    with pytest.raises(CommandTimeout):
        lost.result()
    assert pair.client.wanted.instructions == "Be brief."
    # Its late answer is for nobody: the next one is answered by its own.
    (next_one,) = updates(pair, {"speed": 1.2})
    accept(pair)
    assert next_one.outcome is None
    accept(pair)
    assert next_one.outcome is Outcome.ACKNOWLEDGED


def say(pair: Pair, **session: Any) -> None:
    updated = events.SessionUpdated(session=events.RealtimeSession(**session))
    pair.inject(events.encode(updated))


def test_what_is_in_force_although_its_answer_came_late_is_taken_over() -> None:  # S7
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    (late,) = updates(pair, {"instructions": "A"})
    pair.pass_time(2)
    assert late.outcome is Outcome.DEADLINE
    assert pair.client.wanted.instructions == "Be brief."
    say(pair, instructions="A")
    assert pair.client.acknowledged is not None
    assert pair.client.acknowledged.instructions == pair.client.wanted.instructions == "A"
    (back,) = updates(pair, {"instructions": "Be brief."})  # so this says something
    assert back.outcome is None


def test_the_answer_to_a_newer_update_tells_what_became_of_the_older() -> None:  # S7
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    updates(pair, {"instructions": "A"}, {"parallel_tool_calls": True})
    pair.pass_time(2)
    (newer,) = updates(pair, {"include": None})
    say(pair, instructions="A", parallel_tool_calls=False, include=None)
    assert newer.outcome is Outcome.ACKNOWLEDGED
    wanted = pair.client.wanted
    assert (wanted.instructions, wanted.include) == ("A", None)
    assert wanted.parallel_tool_calls is UNSET  # the service did not take that one
    say(pair, instructions="B", parallel_tool_calls=True)  # another client's: nobody asked
    assert pair.client.wanted == wanted


def test_after_the_answer_to_a_newer_update_the_older_is_not_waited_for() -> None:  # S7
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    updates(pair, {"instructions": "A"})
    pair.pass_time(2)
    (newer,) = updates(pair, {"instructions": "B"})
    say(pair, instructions="B")
    assert newer.outcome is Outcome.ACKNOWLEDGED
    (newest,) = updates(pair, {"instructions": "C"})
    say(pair, instructions="as the server spells it")
    assert newest.outcome is Outcome.ACKNOWLEDGED


def test_a_late_answer_that_was_not_waited_for_any_more_is_not_waited_for_again() -> None:  # S7
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    for words in ("A", "B"):  # B is answered, which tells that A never is
        updates(pair, {"instructions": words})
        pair.pass_time(2 if words == "A" else 0)
    say(pair, instructions="B")
    updates(pair, {"instructions": "C"})
    pair.pass_time(2)
    (newest,) = updates(pair, {"instructions": "D"})
    say(pair, instructions="C")  # late
    assert newest.outcome is None
    say(pair, instructions="as the server spells it")
    assert newest.outcome is Outcome.ACKNOWLEDGED


def test_an_answer_that_fits_an_older_update_too_settles_no_older_one() -> None:  # S7
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    updates(pair, {"instructions": "A"}, {"speed": 1.2})
    pair.pass_time(2)
    again, other = updates(pair, {"instructions": "A"}, {"parallel_tool_calls": True})
    say(pair, instructions="A")  # the late answer to the first, as it happens
    assert again.outcome is Outcome.ACKNOWLEDGED
    audio = events.AudioConfig(output=events.AudioOutput(speed=1.2))
    say(pair, instructions="A", audio=audio)  # that to the second
    say(pair, instructions="A", audio=audio)  # that to the same words again
    assert other.outcome is None
    say(pair, instructions="A", audio=audio, parallel_tool_calls=True)
    assert other.outcome is Outcome.ACKNOWLEDGED
    wanted = pair.client.wanted
    assert (wanted.instructions, wanted.speed, wanted.parallel_tool_calls) == ("A", 1.2, True)
    assert pair.client.acknowledged == wanted


def test_updates_that_nobody_answers_are_kept_in_bounds() -> None:  # S7
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    for number in range(40):
        updates(pair, {"instructions": f"A{number}"})
        pair.pass_time(2)
    assert len(pair.client._configuration._unanswered) == 16


def test_what_is_in_force_follows_late_answers_to_and_fro() -> None:  # S7
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    updates(pair, {"speed": 1.2}, {"instructions": "A"}, {"instructions": "Be brief."})
    pair.pass_time(2)
    audio = events.AudioConfig(output=events.AudioOutput(speed=1.2))
    pair.pass_time(100)  # longer than a late answer is waited for
    for instructions in ("Be brief.", "A", "Be brief."):
        say(pair, instructions=instructions, audio=audio)
        assert pair.client.wanted.instructions == instructions
        assert pair.client.wanted == pair.client.acknowledged


@pytest.mark.parametrize(("asked", "told"), [(ServerVad(), None), (None, ServerVad(threshold=0.5))])
def test_what_is_told_may_be_of_another_shape_than_what_was_asked(
    asked: ServerVad | None, told: ServerVad | None
) -> None:  # S7
    config = SessionConfig(turn_detection=told)
    pair = Pair(config, client={"timing": Timing(answer_timeout_s=2)}).connect()
    updates(pair, {"turn_detection": asked})
    pair.pass_time(2)
    say(pair, audio=events.AudioConfig(input=events.AudioInput(turn_detection=told)))
    assert pair.client.wanted.turn_detection == told


def test_a_late_refusal_is_the_late_answer() -> None:
    pair = Pair(client={"timing": Timing(answer_timeout_s=2)}).connect()
    (lost,) = updates(pair, {"voice": "nobody's voice"})
    pair.pass_time(2)
    (next_one,) = updates(pair, {"speed": 1.2})
    refuse(pair, lost.event_id)
    accept(pair)
    assert next_one.outcome is Outcome.ACKNOWLEDGED


def test_no_reply_starts_while_an_update_is_not_answered() -> None:  # S7
    pair = Pair().connect()
    first, second = updates(pair, {"instructions": "A"}, {"speed": 1.2})
    pair.client.raw_events = True
    pair.client.generate_reply()
    accept(pair)
    assert not of(RawClientEvent, pair.events)
    refuse(pair, second.event_id)
    assert isinstance(of(RawClientEvent, pair.events)[-1].event, events.ResponseCreate)
    assert first.outcome is Outcome.ACKNOWLEDGED


def test_the_effective_configuration_is_readable_also_where_nobody_asked() -> None:  # S4
    pair = Pair().connect()
    session = events.RealtimeSession(instructions="by the server", id="sess_1")
    found = pair.inject(events.encode(events.SessionUpdated(session=session, event_id="e")))
    assert only(SessionConfigured, found).session.instructions == "by the server"
    assert pair.client.session == session
    assert pair.client.wanted.instructions == "Be brief."


def test_a_session_of_another_kind_tells_nothing_about_ours() -> None:
    pair = Pair().connect()
    before = pair.client.session
    other = events.SessionUpdated(session=events.TranscriptionSession(), event_id="e")
    assert not of(SessionConfigured, pair.inject(events.encode(other)))
    assert pair.client.session == before


def test_a_tool_choice_may_name_a_tool_that_stays() -> None:  # T4
    def look() -> str:
        """Looks."""
        return ""

    pair = Pair(MANUAL.merge({"tools": [look]})).connect()
    update = pair.client.update(tool_choice="look")
    assert update is not None
    pair.run()
    assert update.outcome is Outcome.ACKNOWLEDGED
    with pytest.raises(ConfigurationError, match="look"):
        pair.client.update(tools=[])  # the choice would name nothing
    assert pair.client.wanted.tool_choice == "look"


@pytest.mark.parametrize(
    "config", [SessionConfig(voice=""), SessionConfig(tool_choice="x", tools=[])]
)
def test_a_first_configuration_that_cannot_be_sent_is_refused_at_once(
    config: SessionConfig,
) -> None:
    with pytest.raises(LocalProtocolError, match=r"voice|tool_choice"):
        ClientProtocol(ENDPOINT, config)


def test_a_first_configuration_that_times_out_ends_the_session() -> None:
    timing = Timing(connect_timeout_s=5, answer_timeout_s=2)
    pair = Pair(client={"timing": timing})
    pair.client.connect(pair.now)
    pair.server.receive_data(pair.client.data_to_send(), pair.now)
    pair.client.receive_data(pair.server.data_to_send(), pair.now)
    assert pair.client.state is ConnectionState.CONFIGURING
    pair.client.data_to_send()
    reply = pair.client.generate_reply()
    pair.client.handle_timer(pair.now + 2)
    assert pair.client.state is ConnectionState.CONFIGURING
    pair.server._wire.send_text(
        events.encode(events.SessionUpdated(session=events.RealtimeSession(), event_id="e"))
    )
    pair.client.receive_data(pair.server.data_to_send(), pair.now + 3)  # too late
    assert pair.client.state is ConnectionState.CONFIGURING
    pair.client.handle_timer(pair.now + 5)
    assert "configuration within 5 s" in str(
        only(SessionClosed, list(iter(pair.client.next_event, None))).error
    )
    assert reply.outcome is Outcome.CONNECTION_ENDED


def test_an_error_without_a_name_while_configuring_is_that_of_the_configuration() -> None:  # rule 4
    pair = Pair()
    pair.client.connect(pair.now)
    pair.server.receive_data(pair.client.data_to_send(), pair.now)
    pair.client.receive_data(pair.server.data_to_send(), pair.now)
    error = events.ErrorDetails(
        type="invalid_request_error", code="invalid_value", message="no", param="session.audio"
    )
    pair.server._wire.send_text(events.encode(events.Error(error=error, event_id="e")))
    pair.client.receive_data(pair.server.data_to_send(), pair.now)
    pair.client.receive_eof(pair.now)
    closed = only(SessionClosed, list(iter(pair.client.next_event, None)))
    assert isinstance(closed.error, CommandRefused)
    assert closed.error.param == "session.audio"
