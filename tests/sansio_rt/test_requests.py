"""What is asked for, by itself: interrupts, what is owed, what is asked again (G7, G12, R4)."""

from __future__ import annotations

import pytest

from sansio_rt import (
    Command,
    CommandKind,
    CommandTimeout,
    GenerationFailed,
    GenerationOrigin,
    LocalProtocolError,
    Outcome,
    RealtimeError,
    SequentialIds,
    events,
)
from sansio_rt._arbiter import PendingReply
from sansio_rt._commands import CommandTable
from sansio_rt._generations import Generation
from sansio_rt._requests import Requests, own_metadata
from sansio_rt._tray import Tray


def room() -> tuple[Tray, Requests]:
    tray = Tray(SequentialIds(), CommandTable(), lambda event: None)
    requests = Requests(tray, answer_timeout_s=10.0)
    return tray, requests


def ask(requests: Requests) -> PendingReply:
    """A reply that was sent."""
    command = requests.request(
        events.ResponseParams(), origin=GenerationOrigin.CALLER, wait_if_busy=True
    )
    requests.send_ready()
    return requests.arbiter.asked[command.event_id]


def cancel(tray: Tray, response_id: str) -> Command:
    command = Command(tray.ids("event"), CommandKind.CANCEL, response_id)
    return tray.commands.add(command)


def generation(response_id: str = "r1") -> Generation:
    return Generation(
        response_id,
        origin=GenerationOrigin.SERVER,
        in_conversation=True,
        metadata={},
        created_at=0.0,
        requested_at=None,
        audio_rate=24_000,
    )


def test_an_interrupt_that_took_too_long_keeps_no_other_from_its_end() -> None:  # G15
    tray, requests = room()
    late = requests.when_over([cancel(tray, "r1")], None)
    tray.now = 5.0
    other = cancel(tray, "r2")
    interrupt = requests.when_over([other], None)
    tray.commands.expire(10.0)
    assert late.outcome is Outcome.DEADLINE
    requests.end_interrupts()
    assert interrupt.outcome is None
    tray.acknowledge(other)
    requests.end_interrupts()
    assert interrupt.outcome is Outcome.ACKNOWLEDGED


def test_an_interrupt_brings_what_it_ended_also_where_the_connection_does() -> None:  # R4
    tray, requests = room()
    running = generation()
    interrupt = requests.when_over([cancel(tray, "r1")], running)
    requests.lose_all(keep_calls=True)
    assert interrupt.result() is running


def test_what_is_owed_waits_for_what_runs_already() -> None:  # R4, G12
    _, requests = room()
    requests.arbiter.turn_owed = True
    requests.lose_all(keep_calls=True)
    assert not requests.arbiter.turn_owed
    requests.arbiter.created("r1", in_conversation=True)
    requests.ask_what_is_owed()
    (reply,) = requests.arbiter.waiting
    assert reply.command.outcome is None
    assert reply.origin is GenerationOrigin.SERVER


def test_a_reply_that_met_another_has_no_clock_until_it_is_sent_again() -> None:  # G12
    tray, requests = room()
    command = ask(requests).command
    requests.arbiter.created("r1", in_conversation=True)
    requests.on_conflict(command, RealtimeError("busy"), sure=True)
    assert command.deadline is None
    tray.now = 50.0
    requests.arbiter.finished("r1")
    requests.send_ready()
    assert command.deadline == 60.0


def test_a_reply_that_is_over_is_not_asked_for_again_and_keeps_nobody_waiting() -> None:  # G9
    tray, requests = room()
    abandoned, expired = ask(requests), None
    abandoned.command.abandoned = True
    assert not requests.ask_again(abandoned)
    assert abandoned.command.outcome is Outcome.REFUSED
    assert not requests.arbiter.busy
    expired = ask(requests)
    tray.commands.refuse(expired.command, CommandTimeout("late"))
    assert not requests.ask_again(expired)
    assert requests.arbiter.asked == {}
    assert not requests.arbiter.busy


def test_a_cancel_names_the_one_response_that_it_is_for() -> None:  # G15
    tray, requests = room()
    command = requests.cancel(generation("r7"))
    assert command is not None
    (sent,) = tray.client_events
    assert sent == events.ResponseCancel(event_id=command.event_id, response_id="r7")


def test_a_reply_that_a_barge_in_drops_is_refused_for_that_reason() -> None:  # G7, X1
    tray, requests = room()
    requests.arbiter.created("r1", in_conversation=True)
    command = requests.request(
        events.ResponseParams(), origin=GenerationOrigin.CALLER, wait_if_busy=True
    )
    assert requests.drop_unbegun() == []
    assert command.outcome is Outcome.REFUSED
    with pytest.raises(GenerationFailed, match="interrupted before it began"):
        command.result()
    assert not tray.client_events


def test_an_interrupt_waits_for_no_cancel_but_those_that_it_asked_for() -> None:  # G15
    tray, requests = room()
    running = cancel(tray, "r1")
    interrupt = requests.when_over([running], None)
    requests.cancel_unwanted(None, generation("r2"))
    requests.cancel_unwanted(ask(requests), generation("r3"))
    tray.acknowledge(running)
    requests.end_interrupts()
    assert interrupt.outcome is Outcome.ACKNOWLEDGED


def test_what_is_owed_is_asked_for_however_much_is_asked_already() -> None:  # R4
    tray = Tray(SequentialIds(), CommandTable(1), lambda event: None)
    requests = Requests(tray, answer_timeout_s=10.0)
    requests.arbiter.turn_owed = True
    requests.lose_all(keep_calls=True)
    ask(requests)
    requests.ask_what_is_owed()
    assert len(requests.arbiter.waiting) == 1


def test_metadata_leaves_room_for_an_entry_of_ours() -> None:
    most = {str(number): "" for number in range(15)}
    assert own_metadata(most) == most
    with pytest.raises(LocalProtocolError, match="16 entries"):
        own_metadata({**most, "15": ""})
