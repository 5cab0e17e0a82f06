"""The fault plan, without sockets."""

from __future__ import annotations

import pytest

from trio_rt.emulator import Fault, FaultPlan, MessageFault
from trio_rt.emulator._faults import FaultRun


def message(number: int, kind: str = "x.delta") -> bytes:
    return b'{"type":"%s","n":%d}' % (kind.encode(), number)


def texts(plan: FaultPlan, *messages: bytes) -> list[bytes]:
    run = FaultRun(plan)
    return [faulty.text for each in messages for faulty in run.send(each)]


M = [message(number) for number in range(5)]
GARBAGE = b'{"type": "response.out'


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (MessageFault(Fault.DROP, first=2), [M[0], M[2], M[3]]),
        (MessageFault(Fault.DROP, first=2, count=None), [M[0]]),
        (MessageFault(Fault.DROP, match="y.*"), M[:4]),
        (MessageFault(Fault.DUPLICATE, first=3), [M[0], M[1], M[2], M[2], M[3]]),
        (MessageFault(Fault.REORDER, first=1), [M[1], M[0], M[2], M[3]]),
        (MessageFault(Fault.GARBAGE, first=4), [M[0], M[1], M[2], GARBAGE]),
        (MessageFault(Fault.SILENCE, first=3), [M[0], M[1]]),
        (MessageFault(Fault.DELAY, first=3, delay_s=1.0), M[:4]),
    ],
)
def test_what_becomes_of_messages(rule: MessageFault, expected: list[bytes]) -> None:
    assert texts(FaultPlan(messages=[rule]), *M[:4]) == expected


def test_without_faults_everything_passes() -> None:
    assert texts(FaultPlan(), *M) == M


def test_a_delay_is_waited_for() -> None:
    plan = FaultPlan(messages=[MessageFault(Fault.DELAY, delay_s=1.5)])
    assert [faulty.delay_s for faulty in FaultRun(plan).send(M[0])] == [1.5]


def test_rules_count_their_own_messages() -> None:
    plan = FaultPlan(
        messages=[
            MessageFault(Fault.DROP, match="a", first=2),
            MessageFault(Fault.DUPLICATE, match="b", first=1),
        ]
    )
    a1, a2, b1 = message(1, "a"), message(2, "a"), message(1, "b")
    assert texts(plan, a1, b1, a2) == [a1, b1, b1]


def test_the_first_rule_that_hits_counts() -> None:
    plan = FaultPlan(messages=[MessageFault(Fault.DROP), MessageFault(Fault.DUPLICATE)])
    assert texts(plan, *M[:2]) == [M[1]]


def test_a_connection_breaks_after_so_many_messages() -> None:
    run = FaultRun(FaultPlan(close_after=2))
    assert not run.broken
    assert [len(run.send(each)) for each in M] == [1, 1, 0, 0, 0]
    assert run.broken


def test_a_plan_for_the_first_connections() -> None:
    plan = FaultPlan(refuse_status=503, connections=2)
    assert [plan.for_connection(number).refuse_status for number in (1, 2, 3)] == [503, 503, None]
    assert FaultPlan(refuse_status=503).for_connection(99).refuse_status == 503
