"""When to connect again, and when not (R2, R8, R12)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio_rt import (
    CommandRefused,
    CommandTimeout,
    ConfigurationError,
    ConnectionClosed,
    FrameError,
    HandshakeRejected,
    RealtimeError,
    RetryPolicy,
    worth_a_retry,
)
from sansio_rt._retry import Retries


class MendedByItself(RealtimeError):
    passing = True


def retries(chance: float = 0.5, **policy: float) -> Retries:
    return Retries(RetryPolicy(**policy), lambda: chance)


@pytest.mark.parametrize(
    ("error", "worth"),
    [
        *((HandshakeRejected(status), True) for status in (408, 425, 429, 500, 503, 599)),
        *((HandshakeRejected(status), False) for status in (200, 302, 400, 401, 403, 404, 499)),
        *((ConnectionClosed("gone", code=code), True) for code in (1000, 1006, 1011, 4000)),
        *((ConnectionClosed("no", code=code), False) for code in (1003, 1007, 1008, 1009, 1010)),
        *((ConnectionClosed("not you", code=code), False) for code in (3000, 3003)),
        (CommandRefused("later", code="rate_limit_exceeded"), True),
        (CommandRefused("old", code="session_expired"), True),
        (CommandRefused("ours", code="x", error_type="server_error"), True),
        (CommandRefused("no", code="invalid_value", error_type="invalid_request_error"), False),
        (CommandRefused("no"), False),
        (ConfigurationError("no key"), False),
        (CommandTimeout("no answer"), True),
        (FrameError("no frame"), True),
        (RealtimeError("whatever"), False),
        (MendedByItself("tomorrow"), True),
        (ValueError("a bug"), False),
        (None, False),
    ],
)
def test_what_another_connection_may_mend(error: BaseException | None, worth: bool) -> None:
    assert worth_a_retry(error) is worth


def test_delays_grow_to_their_bound() -> None:
    history = retries(first_delay_s=1, multiplier=3, max_delay_s=20, give_up_after_s=1000)
    assert [history.ended(float(now)) for now in range(5)] == [1, 3, 9, 20, 20]
    assert history.attempts == 5


@pytest.mark.parametrize(("chance", "delay"), [(0.0, 6.0), (0.25, 8.0), (0.5, 10.0), (1.0, 14.0)])
def test_chance_varies_a_delay_by_the_jitter_in_either_direction(
    chance: float, delay: float
) -> None:
    assert retries(chance, first_delay_s=10, jitter=0.4).ended(0.0) == pytest.approx(delay)


def test_only_a_healthy_connection_starts_the_delays_anew() -> None:
    history = retries(first_delay_s=1, multiplier=2, healthy_after_s=10)
    history.began(0.0)
    history.ready(100.0)
    assert history.ended(109.9) == 1
    assert history.attempts == 1
    history.began(111.0)
    history.ready(112.0)
    assert history.ended(121.9) == 2
    history.began(124.0)
    history.ready(125.0)
    assert history.ended(135.0) == 1
    assert history.attempts == 1


def test_a_connection_that_was_never_ready_was_not_healthy() -> None:
    history = retries(first_delay_s=1, multiplier=2, healthy_after_s=10)
    history.began(0.0)
    history.ready(0.0)
    assert history.ended(50.0) == 1
    history.began(51.0)  # what was ready is gone
    assert history.ended(100.0) == 2
    assert history.ended(150.0) == 4  # and ended once


def test_it_is_given_up_when_the_next_try_would_come_too_late() -> None:
    history = retries(first_delay_s=5, multiplier=1, give_up_after_s=30)
    assert history.ended(100.0) == 5
    assert history.ended(125.0) == 5  # just in time
    assert history.ended(125.1) is None


def test_the_time_to_give_up_runs_from_the_first_loss_after_health() -> None:
    history = retries(first_delay_s=5, multiplier=1, give_up_after_s=30, healthy_after_s=10)
    assert history.ended(0.0) == 5
    history.began(5.0)
    history.ready(20.0)
    assert history.ended(30.0) == 5
    assert history.ended(55.0) == 5
    assert history.ended(56.0) is None


def test_retry_after_of_a_refused_handshake_is_kept_to() -> None:  # R2
    history = retries(first_delay_s=5, multiplier=1)
    assert history.ended(0.0, HandshakeRejected(503, retry_after_s=17.0)) == 17
    assert history.ended(0.0, HandshakeRejected(503, retry_after_s=2.0)) == 5
    assert history.ended(0.0, HandshakeRejected(503)) == 5
    assert history.ended(0.0, ConnectionClosed("gone")) == 5


def test_connects_within_the_window_are_bounded() -> None:  # R8
    history = retries(first_delay_s=1, multiplier=1, max_connects=3, window_s=60)
    for now in (10.0, 20.0):
        history.began(now)
        assert history.may_connect(now)
        assert history.ended(now) == 1
    history.began(30.0)
    assert history.ended(31.0) == 39  # 60 s after the first
    assert not history.may_connect(69.9)
    assert history.may_connect(70.0)
    history.began(70.0)
    assert history.ended(75.0) == 5  # 60 s after the second
    assert not history.may_connect(79.9)


def test_a_connect_beside_the_one_that_stands_counts_and_leaves_it_its_health() -> None:
    history = retries(first_delay_s=1, multiplier=2, max_connects=2, window_s=60, healthy_after_s=5)
    history.began(0.0)
    history.ready(0.0)
    assert history.may_connect(0.0)
    history.began_beside(1.0)
    assert not history.may_connect(2.0)
    assert history.ended(10.0) == 50  # 60 s after the first
    assert history.attempts == 1


def test_who_takes_over_is_healthy_by_its_own_time() -> None:
    history = retries(first_delay_s=1, multiplier=2, healthy_after_s=10)
    assert history.ended(0.0) == 1
    history.ready(1.0)
    history.replaced(11.0)
    assert history.attempts == 0
    assert history.ended(20.0) == 1
    history.ready(21.0)
    history.replaced(22.0)
    assert history.attempts == 1
    assert history.ended(31.0) == 2


@given(
    st.floats(0, 1),
    st.lists(st.tuples(st.floats(0, 100), st.booleans()), min_size=1, max_size=40),
)
def test_whatever_a_server_does_connects_are_bounded(
    chance: float, lives: list[tuple[float, bool]]
) -> None:
    policy = RetryPolicy(max_connects=4, window_s=30)
    history = Retries(policy, lambda: chance)
    now, connects = 0.0, list[float]()
    for life_s, becomes_ready in lives:
        connects.append(now)
        history.began(now)
        if becomes_ready:
            history.ready(now)
        now += life_s
        delay = history.ended(now)
        if delay is None:
            break
        now += delay
    for first, fifth in zip(connects, connects[4:], strict=False):
        assert fifth - first >= 30 - 1e-6


def test_a_connect_beside_leaves_the_window_like_any_other() -> None:
    history = retries(first_delay_s=1, max_connects=2, window_s=60)
    history.began_beside(10.0)
    history.began(20.0)
    assert not history.may_connect(69.9)
    assert history.may_connect(70.0)
    assert history.ended(30.0) == 40


def test_who_has_taken_over_may_become_healthy() -> None:
    history = retries(first_delay_s=1, multiplier=2, healthy_after_s=10)
    assert history.ended(0.0) == 1
    history.ready(1.0)
    history.replaced(5.0)
    assert history.attempts == 1
    assert history.ended(16.0) == 1
