"""Whether the peer is still there (R7)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sansio_rt import Timing
from sansio_rt._keepalive import Keepalive, Liveness, Need

TIMES = st.floats(0, 1e6)
SPANS = st.floats(1e-3, 1e4)


@given(TIMES, SPANS, SPANS, st.lists(st.booleans(), max_size=6))
def test_asking_at_the_deadline_always_moves_it_on(
    start: float, interval_s: float, timeout_s: float, answers: list[bool]
) -> None:
    keepalive = Keepalive(Timing(keepalive_interval_s=interval_s, keepalive_timeout_s=timeout_s))
    keepalive.start(start)
    for answers_now in answers:
        deadline = keepalive.deadline
        if deadline is None:
            break
        need = keepalive.need(deadline)
        assert need is Need.GIVE_UP or (keepalive.deadline or 0) > deadline
        if answers_now:
            keepalive.heard_at = deadline


def test_a_ping_without_an_answer_is_the_end() -> None:
    keepalive = Keepalive(Timing(keepalive_interval_s=20, keepalive_timeout_s=10))
    assert keepalive.need(0) is None
    keepalive.start(100)
    assert keepalive.need(119) is None
    assert keepalive.need(120) is Need.PING
    assert keepalive.need(129) is None
    assert keepalive.need(130) is Need.GIVE_UP
    assert keepalive.deadline is None


def test_a_pong_proves_what_was_sent_before_its_ping() -> None:  # N4
    keepalive = Keepalive(Timing(keepalive_interval_s=20, keepalive_timeout_s=10))
    keepalive.start(100)
    keepalive.answered()  # nobody asked
    assert keepalive.proved_at == 100
    assert keepalive.need(120) is Need.PING
    keepalive.ask(121)
    assert keepalive.deadline == 131
    assert keepalive.proved_at == 100
    keepalive.heard_at = 122
    keepalive.answered()
    assert keepalive.proved_at == 120  # the first one's answer
    keepalive.answered()
    assert keepalive.proved_at == 121
    assert keepalive.need(131) is None
    keepalive.ask(132)
    keepalive.start(133)
    keepalive.answered()  # on another connection
    assert keepalive.proved_at == 133


def test_a_ping_without_a_watch_has_no_deadline() -> None:
    keepalive = Keepalive(Timing(keepalive_interval_s=None))
    keepalive.start(0)
    keepalive.ask(1)
    assert keepalive.deadline is None
    keepalive.answered()
    assert keepalive.proved_at == 1


def test_an_answer_starts_the_interval_anew() -> None:
    keepalive = Keepalive(Timing(keepalive_interval_s=20, keepalive_timeout_s=10))
    keepalive.start(0)
    assert keepalive.need(20) is Need.PING
    keepalive.heard_at = 21
    assert keepalive.need(30) is None
    assert keepalive.deadline == 41


def test_nothing_is_watched_before_it_starts_and_after_it_stops() -> None:
    keepalive = Keepalive(Timing(keepalive_interval_s=20, keepalive_timeout_s=10))
    assert keepalive.deadline is None
    keepalive.start(0)
    assert keepalive.deadline == 20
    keepalive.stop()
    assert keepalive.deadline is None
    assert keepalive.need(100) is None
    keepalive.start(100)
    assert keepalive.need(119) is None
    assert keepalive.need(120) is Need.PING


def test_a_new_start_forgets_the_ping_of_the_connection_before() -> None:
    keepalive = Keepalive(Timing(keepalive_interval_s=20, keepalive_timeout_s=10))
    keepalive.start(0)
    assert keepalive.need(20) is Need.PING
    keepalive.start(10)  # another clock, another connection
    assert keepalive.need(30) is Need.PING


def test_the_interval_runs_from_the_last_sign_of_life() -> None:
    keepalive = Keepalive(Timing(keepalive_interval_s=20, keepalive_timeout_s=10))
    keepalive.start(0)
    keepalive.heard_at = 5
    assert keepalive.need(20) is None
    assert keepalive.deadline == 25
    assert keepalive.need(25) is Need.PING
    keepalive.heard_at = 25  # at once: that is an answer
    assert keepalive.need(35) is None
    assert keepalive.deadline == 45


def test_a_service_that_takes_audio_and_says_nothing_is_doubtful() -> None:  # R11
    liveness = Liveness(30)
    assert not liveness.is_doubtful(1_000)
    liveness.start(100)
    liveness.appended_at = 110
    assert not liveness.is_doubtful(129)
    assert liveness.is_doubtful(130)
    assert liveness.deadline == 160
    assert not liveness.is_doubtful(159)
    liveness.told_at = 159
    assert not liveness.is_doubtful(160)
    assert liveness.deadline == 189
    assert not liveness.is_doubtful(189)  # no audio since it spoke
    assert liveness.deadline == 219
    liveness.stop()
    assert not liveness.is_doubtful(1_000)


def test_a_service_may_be_silent_for_ever() -> None:
    liveness = Liveness(None)
    liveness.start(0)
    liveness.appended_at = 1
    assert liveness.deadline is None
    assert not liveness.is_doubtful(1e9)


def test_without_any_audio_there_is_no_doubt() -> None:  # R11
    liveness = Liveness(30)
    liveness.start(0.0)
    assert not liveness.is_doubtful(30.0)
    assert liveness.deadline == 60.0


def test_a_ping_that_was_asked_for_and_has_no_answer_is_the_end() -> None:  # N4
    keepalive = Keepalive(Timing(keepalive_interval_s=20, keepalive_timeout_s=10))
    keepalive.start(100)
    keepalive.ask(105)
    assert keepalive.need(115) is Need.GIVE_UP


def test_of_many_pings_without_an_answer_the_oldest_are_forgotten() -> None:
    keepalive = Keepalive(Timing(keepalive_interval_s=20, keepalive_timeout_s=10))
    keepalive.start(0)
    for now in range(1, 101):
        keepalive.ask(now)
    keepalive.answered()
    assert keepalive.proved_at == 93  # the oldest of the last eight
