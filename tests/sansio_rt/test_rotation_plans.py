"""When a connection is replaced: the end of patience, the age, the end that the service tells (R5, R8)."""

from __future__ import annotations

import pytest
from pair import of, only
from rotating import SECOND, TIMING, Rotating

from sansio_rt import (
    ConnectionLost,
    ConnectionReplaced,
    ConnectionState,
    LocalProtocolError,
    RetryPolicy,
    RotationDue,
    Timing,
)
from sansio_rt._rotation import Rotation, time_left_s


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


def test_an_end_that_is_not_to_be_believed_is_not() -> None:
    assert time_left_s(1000.0, 900.0) == 100.0
    assert time_left_s(0, 900.0) is None
    assert time_left_s(900, 900.0) is None
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


def test_the_end_is_minded_while_the_next_try_is_waited_for() -> None:  # R8
    rotation = Rotation(TIMING)
    assert rotation.next_at is None
    rotation.connected(0.0, 18.0)
    assert rotation.next_at == 9.0
    assert rotation.due(12.0) is not None
    assert rotation.next_at == 13.5
    rotation.failed(12.0)
    assert rotation.plan is not None
    assert rotation.plan.due_at == 14.0
    assert rotation.next_at == 13.5
    assert rotation.must_break(13.5) is rotation.plan


@pytest.mark.parametrize("name", ["rotate_after_s", "rotation_patience_s", "liveness_after_s"])
def test_times_are_checked(name: str) -> None:
    with pytest.raises(LocalProtocolError, match=name):
        Timing(**{name: -1.0})
