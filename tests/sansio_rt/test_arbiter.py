"""Who may ask for a response, and who waits (G12)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sansio_rt import Command, CommandKind, GenerationOrigin, events
from sansio_rt._arbiter import CONFLICT_RETRY_S, Arbiter, PendingReply


def reply(event_id: str, *, beside: bool = False, patient: bool = True) -> PendingReply:
    return PendingReply(
        command=Command(event_id, CommandKind.REPLY),
        params=events.ResponseParams(),
        origin=GenerationOrigin.CALLER,
        in_conversation=not beside,
        wait_if_busy=patient,
    )


def ready(arbiter: Arbiter) -> list[str]:
    return [entry.command.event_id for entry in arbiter.take_ready()]


def test_one_reply_of_the_conversation_at_a_time_and_any_number_beside_it() -> None:
    arbiter = Arbiter()
    for name in ("a", "b"):
        arbiter.submit(reply(name))
        arbiter.submit(reply(name + "'", beside=True))
    assert ready(arbiter) == ["a", "a'", "b'"]
    assert ready(arbiter) == []
    assert arbiter.busy
    arbiter.forget("a")
    arbiter.created("r1", in_conversation=True)
    assert ready(arbiter) == []
    arbiter.finished("r1")
    assert ready(arbiter) == ["b"]


def test_a_response_of_the_server_keeps_ours_waiting() -> None:
    arbiter = Arbiter()
    arbiter.created("r1", in_conversation=True)
    arbiter.created("r2", in_conversation=False)
    arbiter.submit(reply("a"))
    assert ready(arbiter) == []
    arbiter.finished("r2")
    assert ready(arbiter) == []
    arbiter.finished("r1")
    assert ready(arbiter) == ["a"]


def test_after_a_collision_the_reply_goes_first_when_the_other_is_done() -> None:
    arbiter = Arbiter()
    arbiter.submit(reply("a"))
    arbiter.submit(reply("b"))
    assert ready(arbiter) == ["a"]
    arbiter.created("other", in_conversation=True)
    assert arbiter.conflict("a", 5.0) is None
    assert arbiter.retry_at is None  # the end of the other one is what it waits for
    assert ready(arbiter) == []
    arbiter.finished("other")
    assert ready(arbiter) == ["a"]


def test_after_a_collision_with_nobody_it_is_asked_again_soon() -> None:
    arbiter = Arbiter()
    arbiter.submit(reply("a"))
    assert ready(arbiter) == ["a"]
    assert arbiter.conflict("a", 5.0) is None
    assert arbiter.retry_at == 5.0 + CONFLICT_RETRY_S
    arbiter.wake(5.0)
    assert ready(arbiter) == []
    arbiter.wake(5.0 + CONFLICT_RETRY_S)
    assert ready(arbiter) == ["a"]


def test_an_impatient_reply_is_given_back_after_a_collision() -> None:
    arbiter = Arbiter()
    arbiter.submit(impatient := reply("a", patient=False))
    assert ready(arbiter) == ["a"]
    assert arbiter.conflict("a", 5.0) is impatient
    assert arbiter.conflict("a", 5.0) is None  # and only once
    assert not arbiter.busy


def test_a_collision_of_a_reply_beside_the_conversation_leaves_the_other_asking() -> None:
    arbiter = Arbiter()
    arbiter.submit(reply("a"))
    arbiter.submit(reply("beside", beside=True, patient=False))
    assert ready(arbiter) == ["a", "beside"]
    assert arbiter.conflict("beside", 5.0) is not None
    assert arbiter.asking is arbiter.find("a")
    assert arbiter.busy


def test_the_one_that_asks_is_known_until_something_answers() -> None:
    arbiter = Arbiter()
    assert arbiter.asking is None
    arbiter.submit(mine := reply("a"))
    assert arbiter.asking is None
    assert arbiter.find("a") is mine
    arbiter.take_ready()
    assert arbiter.asking is arbiter.find("a") is mine
    arbiter.on_trial("r1")
    assert arbiter.asking is None
    assert arbiter.find("a") is mine
    assert arbiter.busy
    assert arbiter.find("b") is None


def test_an_answer_of_no_use_puts_its_request_first() -> None:
    arbiter = Arbiter()
    arbiter.submit(mine := reply("a"))
    arbiter.submit(reply("b"))
    arbiter.take_ready()
    arbiter.on_trial("r1")
    arbiter.again(mine)
    assert ready(arbiter) == []
    arbiter.finished("r1")
    assert ready(arbiter) == ["a"]
    arbiter.again(mine)  # without a response in between
    assert ready(arbiter) == ["a"]


def test_what_is_forgotten_is_not_sent() -> None:
    arbiter = Arbiter()
    arbiter.submit(reply("a"))
    arbiter.submit(reply("b"))
    arbiter.forget("a")
    assert ready(arbiter) == ["b"]
    arbiter.forget("b")
    assert not arbiter.busy
    assert arbiter.asked == {}


def test_a_lost_connection_leaves_nothing() -> None:
    arbiter = Arbiter()
    for name in ("a", "b"):
        arbiter.submit(reply(name))
    arbiter.take_ready()
    arbiter.created("r1", in_conversation=True)
    arbiter.turn_owed = True
    arbiter.reset()
    assert not arbiter.turn_owed
    assert not arbiter.busy
    assert (arbiter.waiting, arbiter.asked, arbiter.retry_at) == ([], {}, None)


STEP = st.sampled_from(["ask", "create", "server", "finish", "collide", "wake", "give up"])


@given(st.lists(STEP, max_size=40))
def test_never_two_at_once_and_never_one_twice(steps: list[str]) -> None:
    """A model of the service: one active response, a collision for whoever asks beside it."""
    arbiter = Arbiter()
    active: str | None = None
    now = 0.0
    sent: list[str] = []
    for number, step in enumerate(steps):
        now += 1.0
        if step == "ask":
            arbiter.submit(reply(f"e{number}"))
        elif step == "server" and active is None and not sent:
            active = f"r{number}"
            arbiter.created(active, in_conversation=True)
        elif step == "create" and sent and active is None:
            active = f"r{number}"
            arbiter.forget(sent.pop())
            arbiter.created(active, in_conversation=True)
        elif step == "finish" and active is not None:
            arbiter.finished(active)
            active = None
        elif step == "collide" and sent:
            arbiter.conflict(sent.pop(), now)
        elif step == "give up" and sent:
            arbiter.forget(sent.pop())
        elif step == "wake":
            arbiter.wake(now)
        new = ready(arbiter)
        assert not new or (active is None and not sent)
        assert len(new) <= 1
        sent += new
    now += 1.0
    arbiter.wake(now)
    for name in sent:
        arbiter.forget(name)
    if active is not None:
        arbiter.finished(active)
    assert bool(arbiter.waiting) is bool(ready(arbiter))  # nobody waits for nothing
