"""Responses whose end is never told, on a connection that lives: nothing may wait for them for ever."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from pair import Pair, of, only
from server_says import message

from sansio_rt import (
    Command,
    CommandKind,
    CommandTimeout,
    GenerationEnded,
    GenerationStarted,
    GenerationStatus,
    Limits,
    Outcome,
    RemoteProtocolError,
    ResponseDiscarded,
    RetryPolicy,
    SessionClosed,
    SessionReady,
    StrayEvent,
    Timing,
    events,
)
from sansio_rt._server_work import ReplyWanted
from sansio_rt._watch import SilenceWatch

# Long enough for everything else, so that only what is watched here has a deadline.
TIMING = Timing(
    response_silence_s=30.0,
    answer_timeout_s=10.0,
    keepalive_interval_s=None,
    liveness_after_s=None,
    rotate_after_s=None,
)


def watched(**client: Any) -> Pair:
    return Pair(client={"timing": TIMING, **client}).connect()


def deaf(pair: Pair) -> list[bytes]:
    """The server takes everything and answers nothing from here on; gives what it takes."""
    heard: list[bytes] = []
    pair.server.receive_data = lambda data, now: heard.append(data)  # type: ignore[method-assign]
    return heard


def answer(pair: Pair) -> Any:
    """A reply that the server has created and says nothing of."""
    command = pair.client.generate_reply()
    pair.run()
    return command.result()


def cancels(pair: Pair) -> list[Command]:
    return [command for command in pair.client.commands if command.kind is CommandKind.CANCEL]


def nothing_is_watched(pair: Pair) -> bool:
    pair.pass_time(31)  # the watch looks once more
    return pair.client.next_deadline() is None


def test_a_silent_response_is_cancelled_and_what_waits_behind_it_is_asked_for() -> None:  # G5, G12
    pair = watched()
    generation = answer(pair)
    waiting = pair.client.generate_reply()
    assert waiting.deadline is None
    pair.pass_time(29.9)
    assert not generation.ended
    pair.pass_time(0.1)
    assert generation.status is GenerationStatus.CANCELLED
    assert waiting.result() is not generation


def test_the_watch_looks_when_the_first_response_may_be_silent_and_not_before() -> None:
    watch = SilenceWatch(30.0)
    watch.begin(100.0)
    assert watch.deadline == 130.0
    watch.begin(110.0)
    assert watch.deadline == 130.0


def test_a_cancel_that_may_still_be_answered_is_waited_for() -> None:  # G5
    pair = Pair(
        client={"timing": msgspec.structs.replace(TIMING, answer_timeout_s=100.0)}
    ).connect()
    generation = answer(pair)
    deaf(pair)
    for seconds in (30, 30, 30):
        pair.pass_time(seconds)
        assert len(cancels(pair)) == 1
        assert not generation.ended
    pair.pass_time(40)
    assert (generation.status, generation.reason) == (GenerationStatus.CANCELLED, "no_answer")


def test_an_event_of_a_response_is_a_sign_of_life() -> None:
    pair = watched()
    generation = answer(pair)
    response_id = pair.wanted_reply().response_id
    session = pair.server.session
    session.begin_message(response_id, pair.now)
    for _ in range(5):
        pair.pass_time(29)
        session.push_text(response_id, "word ", pair.now)
        session.push_audio(response_id, bytes(4800), pair.now)
        pair.run()
    assert not generation.ended
    assert not cancels(pair)
    pair.pass_time(30)
    assert generation.ended


@pytest.mark.parametrize("tells", ["text", "item", "end of the item", "arguments"])
def test_what_comes_whole_is_a_sign_of_life(tells: str) -> None:  # G5
    pair = watched()
    generation = answer(pair)
    of_response = {"response_id": generation.id, "output_index": 0}
    call = {"id": "i1", "type": "function_call", "name": "f", "call_id": "c", "arguments": ""}
    said = {"id": "i2", "type": "message", "role": "assistant", "content": []}
    mcp = {"id": "i3", "type": "mcp_call", "name": "f", "server_label": "s", "arguments": ""}
    for item in (call, said):
        pair.inject(message("response.output_item.added", **of_response, item=item))
    pair.pass_time(29)
    whole = {
        "text": message(
            "response.output_text.done", **of_response, item_id="i2", content_index=0, text="Yes."
        ),
        "item": message("response.output_item.added", **of_response, item=mcp),
        "end of the item": message("response.output_item.done", **of_response, item=mcp),
        "arguments": message(
            "response.function_call_arguments.done",
            **of_response,
            item_id="i1",
            call_id="c",
            arguments="{}",
        ),
    }
    pair.inject(whole[tells])
    pair.pass_time(29)
    assert not generation.ended
    assert not cancels(pair)
    pair.pass_time(1)
    assert generation.ended


def test_arguments_are_a_sign_of_life() -> None:
    pair = watched()
    generation = answer(pair)
    place = {"response_id": generation.id, "item_id": "i1", "output_index": 0}
    call = {"id": "i1", "type": "function_call", "name": "f", "call_id": "c", "arguments": ""}
    pair.inject(
        message("response.output_item.added", response_id=generation.id, output_index=0, item=call)
    )
    for _ in range(4):
        pair.pass_time(20)
        delta = message("response.function_call_arguments.delta", **place, call_id="c", delta="{")
        pair.inject(delta)
    assert not generation.ended


def test_a_response_that_the_service_does_not_know_ends_at_once() -> None:  # G15
    pair = watched()
    pair.inject(message("response.created", response={"id": "r1", "conversation_id": "c"}))
    waiting = pair.client.generate_reply()
    pair.pass_time(30)
    generation = only(GenerationEnded, pair.events).generation
    assert (generation.id, generation.reason) == ("r1", "not_active")
    assert waiting.outcome is Outcome.ACKNOWLEDGED


def test_a_cancel_without_an_answer_ends_the_response_all_the_same() -> None:  # G5
    pair = watched()
    generation = answer(pair)
    heard = deaf(pair)
    waiting = pair.client.generate_reply()
    pair.pass_time(30)
    assert heard
    (cancel,) = cancels(pair)
    pair.pass_time(9.9)
    assert not generation.ended
    pair.pass_time(0.2)
    assert cancel.outcome is Outcome.DEADLINE
    assert (generation.status, generation.reason) == (GenerationStatus.CANCELLED, "no_answer")
    assert waiting.deadline is not None  # it was sent
    pair.pass_time(10)
    assert waiting.outcome is Outcome.DEADLINE
    assert pair.client.commands == []
    assert nothing_is_watched(pair)


def test_what_comes_of_a_response_that_was_given_up_is_for_nobody() -> None:
    pair = watched()
    generation = answer(pair)
    deaf(pair)
    interrupt = pair.client.interrupt()
    assert interrupt is not None
    pair.pass_time(11)
    with pytest.raises(CommandTimeout):
        interrupt.result()
    assert generation.reason == "no_answer"
    done = {"id": generation.id, "status": "completed", "usage": {"total_tokens": 5}}
    delta = {"response_id": generation.id, "item_id": "i", "output_index": 0, "content_index": 0}
    pair.inject(
        message("response.output_audio.delta", **delta, delta="AAAA"),
        message("response.done", response=done),
    )
    assert not of(StrayEvent, pair.events)
    assert len(of(GenerationEnded, pair.events)) == 1


def test_a_cancel_that_is_refused_is_asked_once_more_and_then_given_up() -> None:  # G5
    pair = watched()
    generation = answer(pair)
    deaf(pair)
    pair.pass_time(30)
    (cancel,) = cancels(pair)
    refusal = {"type": "invalid_request_error", "code": "odd", "message": "no"}
    pair.inject(message("error", error={**refusal, "event_id": cancel.event_id}))
    assert cancel.outcome is Outcome.REFUSED
    assert not generation.ended
    pair.pass_time(29)
    assert not generation.ended
    pair.pass_time(1)
    assert generation.reason == "no_answer"
    assert nothing_is_watched(pair)


@pytest.mark.parametrize("silence_s", [2.0, None])
def test_the_patience_is_a_setting(silence_s: float | None) -> None:
    timing = Timing(response_silence_s=silence_s, rotate_after_s=None)
    pair = Pair(client={"timing": timing}).connect()
    generation = answer(pair)
    pair.pass_time(2)
    assert generation.ended is (silence_s is not None)
    pair.pass_time(15)
    pair.pass_time(600)
    assert generation.ended is (silence_s is not None)


def test_a_response_beside_the_conversation_is_watched_too() -> None:  # G4
    pair = watched()
    command = pair.client.generate_reply(conversation="none")
    pair.run()
    pair.pass_time(30)
    assert command.result().ended


def test_how_long_the_handshake_took_is_told() -> None:  # M1, M5
    pair = Pair()
    pair.client.connect(pair.now)
    pair.server.receive_data(pair.client.data_to_send(), pair.now)
    pair.client.receive_data(pair.server.data_to_send(), pair.now + 0.25)
    pair.server.receive_data(pair.client.data_to_send(), pair.now)
    pair.client.receive_data(pair.server.data_to_send(), pair.now + 0.75)
    ready = only(SessionReady, list(iter(pair.client.next_event, None)))
    assert (ready.handshake_s, ready.connect_s) == (0.25, 0.75)


# --- what nobody hears -----------------------------------------------------------------------


def recovering() -> Pair:
    return watched(limits=Limits(max_text_recoveries=1))


def test_a_response_on_trial_that_stays_silent_surfaces_and_is_cancelled() -> None:  # G9
    pair = recovering()
    command = pair.client.generate_reply()
    pair.run()
    assert command.outcome is None
    assert command.deadline is None
    pair.pass_time(30)
    generation = command.result()
    assert generation.status is GenerationStatus.CANCELLED
    assert of(GenerationStarted, pair.events)
    assert nothing_is_watched(pair)


def test_what_was_kept_of_a_silent_response_may_be_too_much() -> None:  # G9
    pair = watched(limits=Limits(max_text_recoveries=1, max_response_bytes=1_000))
    item = {"id": "i1", "type": "message", "role": "assistant", "status": "completed"}
    item["content"] = [{"type": "output_audio", "transcript": "x" * 2_000}]  # type: ignore[assignment]
    response = {"id": "r1", "conversation_id": "c", "status": "in_progress"}
    pair.inject(
        message("response.created", response=response),
        message("response.output_item.done", response_id="r1", output_index=0, item=item),
    )
    assert not of(GenerationStarted, pair.events)
    pair.pass_time(30)
    error = only(SessionClosed, pair.events).error
    assert isinstance(error, RemoteProtocolError)
    assert "max_response_bytes" in str(error)


def test_a_text_whose_cancel_is_not_answered_is_asked_for_again() -> None:  # G9
    pair = recovering()
    command = pair.client.generate_reply()
    pair.run()
    response_id = pair.wanted_reply().response_id
    deaf(pair)
    place = {"response_id": response_id, "item_id": "i1", "output_index": 0, "content_index": 0}
    pair.inject(message("response.output_text.delta", **place, delta="text"))
    assert cancels(pair)
    pair.pass_time(10)
    assert command.outcome is None
    assert command.deadline is not None  # it was asked for again
    assert command.event_id in pair.client._requests.arbiter.asked
    pair.pass_time(10)
    assert command.outcome is Outcome.DEADLINE


def test_a_late_answer_whose_cancel_is_not_answered_holds_nothing_up() -> None:  # G1, G12
    pair = watched()
    command = pair.client.generate_reply()
    pair.client.abandon(command)
    pair.client.data_to_send()
    created = {
        "id": "r1",
        "conversation_id": "c",
        "metadata": {"client_event_id": command.event_id},
    }
    deaf(pair)
    pair.inject(message("response.created", response=created))
    waiting = pair.client.generate_reply()
    assert waiting.deadline is None
    pair.pass_time(10)
    assert waiting.deadline is not None
    assert not of(GenerationStarted, pair.events)


def test_what_nobody_heard_has_cost_tokens_all_the_same() -> None:  # M6
    pair = watched()
    command = pair.client.generate_reply()
    pair.client.abandon(command)
    pair.run()
    metrics = only(ResponseDiscarded, pair.events).metrics
    assert metrics.status is GenerationStatus.CANCELLED
    assert metrics.cancelled
    assert metrics.requested_at == pair.now
    assert metrics.input_tokens is not None
    assert not of(GenerationEnded, pair.events)


# --- interrupting what has not begun ---------------------------------------------------------


def test_an_interrupt_waits_for_a_reply_that_was_sent_and_has_not_begun() -> None:  # G15
    pair = watched()
    command = pair.client.generate_reply()
    interrupt = pair.client.interrupt()
    assert interrupt is not None
    sent = pair.client.data_to_send()
    created = {
        "id": "r1",
        "conversation_id": "c",
        "metadata": {"client_event_id": command.event_id},
    }
    assert sent
    deaf(pair)
    pair.inject(message("response.created", response=created))
    assert command.outcome is Outcome.REFUSED
    assert interrupt.outcome is None  # it is being cancelled
    pair.inject(message("response.done", response={"id": "r1", "status": "cancelled"}))
    assert interrupt.outcome is Outcome.ACKNOWLEDGED
    assert interrupt.result() is None
    assert not of(GenerationStarted, pair.events)


def test_an_interrupt_waits_for_all_that_runs_and_is_coming() -> None:  # G15
    pair = watched()
    asked = pair.client.generate_reply()
    event = events.ResponseCreate(response=events.ResponseParams())
    pair.server.session.receive_message(events.encode(event), pair.now)  # the server was faster
    pair.client.receive_data(pair.server.data_to_send(), pair.now)
    (generation,) = pair.client.generations
    interrupt = pair.client.interrupt()
    assert interrupt is not None
    assert interrupt.kind is CommandKind.INTERRUPT
    pair.run()
    assert asked.outcome is Outcome.REFUSED
    assert interrupt.result() is generation
    assert generation.status is GenerationStatus.CANCELLED
    assert not of(ReplyWanted, pair.work) or pair.wanted_reply().response_id == generation.id


def test_interrupts_of_the_same_reply_are_one() -> None:  # G15
    pair = Pair().connect()
    pair.client.generate_reply()
    pair.client.data_to_send()  # lost on its way
    first = pair.client.interrupt()
    assert first is not None
    assert all(pair.client.interrupt() is first for _ in range(100))
    assert len(pair.client.commands) == 2


def test_an_interrupt_waits_no_longer_than_for_any_answer() -> None:  # G15
    pair = watched()
    pair.client.generate_reply()
    deaf(pair)
    pair.pass_time(3)
    interrupt = pair.client.interrupt()
    assert interrupt is not None
    pair.pass_time(7)  # the reply's own deadline: nothing is left to wait for
    assert interrupt.outcome is Outcome.ACKNOWLEDGED


def test_an_interrupt_that_the_cancel_outlasts_times_out() -> None:
    pair = watched()
    command = pair.client.generate_reply()
    interrupt = pair.client.interrupt()
    assert interrupt is not None
    deaf(pair)
    pair.pass_time(5)
    created = {"id": "r1", "conversation_id": "c"}
    created["metadata"] = {"client_event_id": command.event_id}  # type: ignore[assignment]
    pair.inject(message("response.created", response=created))
    pair.pass_time(5)
    with pytest.raises(CommandTimeout):
        interrupt.result()
    pair.pass_time(5)
    assert pair.client.commands == []
    assert pair.client._requests.interrupts == []


def test_an_interrupt_is_over_when_the_connection_is() -> None:
    pair = watched()
    pair.client.generate_reply()
    interrupt = pair.client.interrupt()
    assert interrupt is not None
    pair.cut()
    assert interrupt.outcome is Outcome.ACKNOWLEDGED


def test_an_interrupt_takes_no_error_of_another_command() -> None:  # rule 4
    pair = watched()
    pair.client.generate_reply()
    interrupt = pair.client.interrupt()
    assert interrupt is not None
    deaf(pair)
    asked = next(c for c in pair.client.commands if c.kind is CommandKind.REPLY)
    pair.inject(message("error", error={"type": "invalid_request_error", "message": "no"}))
    assert asked.outcome is Outcome.REFUSED  # the only one that was sent
    assert interrupt.outcome is Outcome.ACKNOWLEDGED


def test_interrupts_of_two_replies_are_two() -> None:  # G15
    pair = Pair().connect()
    deaf(pair)
    pair.client.generate_reply()
    first = pair.client.interrupt()
    aside = pair.client.generate_reply(conversation="none")
    pair.inject(message("response.created", response={"id": "r0", "conversation_id": "c"}))
    second = pair.client.interrupt()
    assert first is not None
    assert second is not None
    assert first is not second
    pair.client.abandon(aside)
    pair.run()
    created = {"id": "r1", "conversation_id": None, "metadata": {"client_event_id": aside.event_id}}
    pair.inject(message("response.created", response=created))  # nobody's interrupt waits for it
    assert first.outcome is None
    assert second.outcome is None


def test_an_interrupt_that_timed_out_is_not_ended_again() -> None:
    pair = Pair(client={"timing": Timing(answer_timeout_s=5), "retry": RetryPolicy()}).connect()
    deaf(pair)
    pair.client.generate_reply()
    pair.client.tell_time(pair.now)
    interrupt = pair.client.interrupt()
    assert interrupt is not None
    pair.now += 5
    ended = [command for command in pair.client._commands.expire(pair.now) if command is interrupt]
    assert ended == [interrupt]
    pair.cut()
    assert interrupt.outcome is Outcome.DEADLINE
