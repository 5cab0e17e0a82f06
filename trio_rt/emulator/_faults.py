"""Faults that the emulator commits on purpose, so that clients can be tested against them.

A `FaultPlan` is data: what happens to the handshake, when the connection breaks, and what becomes
of single messages. It is applied to what the server sends; the session itself does all things right.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import msgspec

__all__ = ["Fault", "FaultPlan", "FaultRun", "FaultyMessage", "MessageFault"]


class Fault(enum.Enum):
    """What becomes of a message."""

    DROP = "drop"
    """It is not sent."""
    DELAY = "delay"
    """It is sent later, and what follows waits behind it."""
    DUPLICATE = "duplicate"
    """It is sent twice."""
    REORDER = "reorder"
    """It is sent behind the message that follows it."""
    GARBAGE = "garbage"
    """A text that is no JSON is sent in its place."""
    SILENCE = "silence"
    """Neither it nor anything behind it is sent; the connection stays open."""


@dataclass(frozen=True)
class MessageFault:
    """One rule about messages.

    Attributes:
        fault: What becomes of the messages that fit.
        match: Pattern of event types, with `*` and `?`: `response.output_audio.*`.
        first: The first of the fitting messages that it hits, counted from 1 on each connection.
        count: How many from there on; None for all.
        delay_s: How long, with `Fault.DELAY`.
    """

    fault: Fault
    match: str = "*"
    first: int = 1
    count: int | None = 1
    delay_s: float = 0.0

    def hits(self, kind: str, number: int) -> bool:
        """Whether it hits a message.

        Args:
            kind: The event's type.
            number: Which of the fitting messages it is, counted from 1.
        """
        last = number if self.count is None else self.first + self.count - 1
        return fnmatchcase(kind, self.match) and self.first <= number <= last


@dataclass(frozen=True)
class FaultPlan:
    """What an emulator does wrong.

    Attributes:
        refuse_status: HTTP status with which handshakes are refused, or None to accept them.
        refuse_headers: Headers of that answer, such as `Retry-After`.
        close_after: How many messages a connection sends before it breaks, or None.
        close_code: Close code with which it breaks, or None for no close frame at all.
        close_reason: Words of the close frame.
        messages: What becomes of single messages; the first rule that hits counts.
        connections: How many connections the plan is for, from the first one on; None for all.
    """

    refuse_status: int | None = None
    refuse_headers: Sequence[tuple[str, str]] = ()
    close_after: int | None = None
    close_code: int | None = 1011
    close_reason: str = ""
    messages: Sequence[MessageFault] = ()
    connections: int | None = None

    def for_connection(self, number: int) -> FaultPlan:
        """The plan for one connection: this one, or one without faults.

        Args:
            number: Which connection it is, counted from 1; refused handshakes count.
        """
        spared = self.connections is not None and number > self.connections
        return FaultPlan() if spared else self


@dataclass(frozen=True)
class FaultyMessage:
    """One message as it is to be sent.

    Attributes:
        text: The message.
        delay_s: How long to wait before it.
    """

    text: bytes
    delay_s: float = 0.0


class _Typed(msgspec.Struct):
    type: str = ""


_TYPED = msgspec.json.Decoder(_Typed)
_GARBAGE = b'{"type": "response.out'


@dataclass
class FaultRun:
    """A plan at work on one connection.

    Attributes:
        plan: The plan.
    """

    plan: FaultPlan
    _sent: int = 0
    _silent: bool = False
    _held: list[FaultyMessage] = field(default_factory=list[FaultyMessage])
    _fitting: dict[MessageFault, int] = field(default_factory=dict[MessageFault, int])

    @property
    def broken(self) -> bool:
        """Whether the connection is to break now."""
        return self.plan.close_after is not None and self._sent >= self.plan.close_after

    def send(self, text: bytes) -> list[FaultyMessage]:
        """What is to be sent in the place of a message, in order.

        Args:
            text: The message that the session wants to send.
        """
        if self.broken:
            return []
        outcome = self._outcome(text) if self.plan.messages else [FaultyMessage(text)]
        if self._silent:
            return []
        if self.plan.close_after is not None:
            outcome = outcome[: self.plan.close_after - self._sent]
        self._sent += len(outcome)
        return outcome

    def _outcome(self, text: bytes) -> list[FaultyMessage]:
        rule = self._rule(text)
        message = FaultyMessage(text)
        released, self._held = self._held, []
        match rule.fault if rule is not None else None:
            case Fault.DROP:
                return released
            case Fault.DELAY:
                message = FaultyMessage(text, rule.delay_s if rule is not None else 0.0)
            case Fault.DUPLICATE:
                return [message, message, *released]
            case Fault.REORDER:
                self._held = [message]
                return released
            case Fault.GARBAGE:
                return [FaultyMessage(_GARBAGE), *released]
            case Fault.SILENCE:
                self._silent = True
            case None:
                pass
        return [message, *released]

    def _rule(self, text: bytes) -> MessageFault | None:
        kind = _TYPED.decode(text).type
        hit: MessageFault | None = None
        for rule in self.plan.messages:
            if not fnmatchcase(kind, rule.match):
                continue
            number = self._fitting.get(rule, 0) + 1
            self._fitting[rule] = number
            if hit is None and rule.hits(kind, number):
                hit = rule
        return hit
