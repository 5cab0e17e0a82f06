"""The invariants about connections that come and go: how fast, what for, and what a change may cut off."""

from __future__ import annotations

from .._errors import ConnectionClosed
from .._generations import GeneratedCall, Generation, GenerationStatus
from .._session_events import (
    CallReady,
    ConnectionLost,
    ConnectionReplaced,
    GenerationEnded,
    RotationDue,
    SessionClosed,
    SessionEvent,
    SessionReady,
    SessionResumed,
)
from ._invariants import Invariant

__all__ = ["DelaysGrow", "LossesAreReal", "PlannedChangesCutNothing"]

_WITHOUT_WORDS = 1006
"""What stands for a close code where there was no close frame (RFC 6455, section 7.4.1)."""


class PlannedChangesCutNothing(Invariant):
    """Before its deadline a planned change of connections waits for replies and calls."""

    event_kinds = (
        CallReady,
        GenerationEnded,
        RotationDue,
        ConnectionLost,
        ConnectionReplaced,
    )

    def __init__(self) -> None:
        self._due: RotationDue | None = None
        self._calls: list[GeneratedCall] = []
        self._lost: list[Generation] = []

    def on_event(self, event: SessionEvent) -> None:
        if type(event) is CallReady:
            if event.call.generation.in_conversation:  # others can have no output
                self._calls.append(event.call)
        elif type(event) is GenerationEnded and event.generation.status is GenerationStatus.LOST:
            self._lost.append(event.generation)
        elif type(event) is RotationDue:
            self._due = event
        elif type(event) is ConnectionLost:
            self._lost.clear()
        elif type(event) is ConnectionReplaced:
            self._replaced(event)

    def _replaced(self, event: ConnectionReplaced) -> None:
        lost, self._lost = self._lost, []
        self._calls = [call for call in self._calls if not call.answered]
        due = self._due
        # A plan that became another has another deadline, which is not told.
        planned = due is not None and due.reason == event.reason and event.error is None
        if planned and due is not None and self.world.now < due.deadline and (self._calls or lost):
            self.broken(f"{self._calls or lost} were under way, {due.deadline=}")


class DelaysGrow(Invariant):
    """The delays before connects grow, and start anew only after a connection that was healthy."""

    event_kinds = (SessionReady, SessionResumed, ConnectionLost)

    def __init__(self) -> None:
        self._attempt = 0
        self._ready_at: float | None = None
        self._healthy = False

    def on_event(self, event: SessionEvent) -> None:
        policy = self.world.plan.setup.retry
        if policy is None:
            return
        now = self.world.now
        if self._ready_at is not None and now - self._ready_at >= policy.healthy_after_s:
            self._healthy = True
        self._ready_at = now
        if type(event) is not ConnectionLost:
            return
        attempt = event.attempt
        if attempt <= self._attempt and not self._healthy:
            self.broken(f"try {attempt} came after try {self._attempt}")
        least_s = policy.first_delay_s * policy.multiplier ** (attempt - 1)
        least_s = min(least_s, policy.max_delay_s) * (1 - policy.jitter)
        if event.reconnect_at - now < least_s - 1e-6:
            self.broken(f"try {attempt} comes after {event.reconnect_at - now:g} s")
        self._attempt, self._healthy, self._ready_at = attempt, False, None


class LossesAreReal(Invariant):
    """A server is said to have closed the connection only where it has."""

    event_kinds = (ConnectionLost, SessionClosed)

    def on_event(self, event: SessionEvent) -> None:
        assert isinstance(event, (ConnectionLost, SessionClosed))
        error, number = event.error, self.world.driver.served
        if (
            not isinstance(error, ConnectionClosed)
            or not error.by_peer
            or error.code == _WITHOUT_WORDS
        ):
            return
        service = next((s for s in reversed(self.world.services) if s.connection == number), None)
        if service is not None and not service.session.closed:
            self.broken(f"server {service.number} has not closed: {error}")
