"""When a connection is to be replaced as planned (parity R5, R8, R11): pure state, time as an argument."""

from __future__ import annotations

from msgspec import Struct

from ._config import Timing

__all__ = ["Plan", "Rotation", "time_left_s"]

_LAST_S = 5.0  # before a session expires: everything has to be over
_RETRY_S = (2.0, 60.0)  # after a next connection that failed: the first wait, and the longest


class Plan(Struct, kw_only=True):
    """The replacement of a connection that is to come, or under way."""

    reason: str
    due_at: float
    """From here on a next connection is made ready, and takes over at a quiet moment."""
    deadline: float
    """From here on it takes over at any moment."""
    break_at: float | None
    """From here on the old connection is given up although no next one stands ready; None: never."""
    announced: bool = False
    failures: int = 0


class Rotation:
    """The plan for the replacement of the present connection.

    A connection is replaced at an age, before the service lets its session expire, or because the
    application asks.

    Args:
        timing: The age, and how long a quiet moment is waited for.

    Attributes:
        plan: What is planned, or None.
    """

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self.plan: Plan | None = None

    @property
    def next_at(self) -> float | None:
        """When `due` or `must_break` has something to say, or None."""
        plan = self.plan
        if plan is None:
            return None
        if plan.announced:
            return plan.break_at
        return plan.due_at if plan.break_at is None else min(plan.due_at, plan.break_at)

    def connected(self, now: float, expires_in_s: float | None) -> None:
        """A connection is up.

        Args:
            now: The time.
            expires_in_s: What the service says is left of the session; None: it does not say.
        """
        self.plan = None
        patience_s = self._timing.rotation_patience_s
        age_s = self._timing.rotate_after_s
        if age_s is not None:
            self.plan = Plan(
                reason=f"it is {age_s:g} s old (Timing.rotate_after_s)",
                due_at=now + age_s,
                deadline=now + age_s + patience_s,
                break_at=None,
            )
        if expires_in_s is None:
            return
        lead_s = min(patience_s + _LAST_S, expires_in_s / 2)
        break_at = now + expires_in_s - min(_LAST_S, lead_s / 2)
        if self.plan is not None and self.plan.deadline <= break_at:
            self.plan.break_at = break_at
        else:
            self.plan = Plan(
                reason="its session is about to expire",
                due_at=now + expires_in_s - lead_s,
                deadline=break_at,
                break_at=break_at,
            )

    def ask(self, reason: str, now: float, patience_s: float) -> None:
        """The application wants a replacement; one that is under way becomes this one."""
        announced = self.plan is not None and self.plan.announced
        deadline = now + patience_s
        self.plan = Plan(
            reason=reason, due_at=now, deadline=deadline, break_at=deadline, announced=announced
        )

    def over(self) -> None:
        """The connection is gone, and with it what was planned for it."""
        self.plan = None

    def due(self, now: float) -> Plan | None:
        """The plan where it is to be announced now; it counts as announced from here on."""
        plan = self.plan
        if plan is None or plan.announced or now < plan.due_at:
            return None
        plan.announced = True
        return plan

    def failed(self, now: float) -> None:
        """The next connection could not be made: it is tried again later."""
        assert self.plan is not None  # which it was made for
        first_s, longest_s = _RETRY_S
        self.plan.due_at = now + min(first_s * 2**self.plan.failures, longest_s)
        self.plan.failures += 1
        self.plan.announced = False

    def is_forced(self, now: float) -> bool:
        """Whether a next connection that stands ready is to take over, quiet or not."""
        return self.plan is not None and now >= self.plan.deadline

    def must_break(self, now: float) -> Plan | None:
        """The plan where its time is up: the old connection goes, whether or not there is a next one."""
        plan = self.plan
        due = plan is not None and plan.break_at is not None and now >= plan.break_at
        return plan if due else None


def time_left_s(expires_at: object, unix_now: float | None) -> float | None:
    """What is left of a session whose end the service told in Unix seconds; None where it is not known.

    An end in the past says that the two clocks differ, or that the server has no such limit.
    """
    if unix_now is None or not isinstance(expires_at, (int, float)) or expires_at <= unix_now:
        return None
    return expires_at - unix_now
