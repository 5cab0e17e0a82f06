"""Whether the peer is still there (R7)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sansio_rt import Timing
from sansio_rt._keepalive import Keepalive, Need

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


def test_an_answer_starts_the_interval_anew() -> None:
    keepalive = Keepalive(Timing(keepalive_interval_s=20, keepalive_timeout_s=10))
    keepalive.start(0)
    assert keepalive.need(20) is Need.PING
    keepalive.heard_at = 21
    assert keepalive.need(30) is None
    assert keepalive.deadline == 41
