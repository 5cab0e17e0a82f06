"""From the connection that serves to one that was made ready beside it (parity N4, R5, R8).

The next connection takes over at a quiet moment: no reply runs or is asked for, nobody speaks, no call and
no command waits for an answer. Then nothing is cut off, and nothing has to be said twice.
"""

from __future__ import annotations

from . import events
from ._commands import CommandTable
from ._config import Timing
from ._configuration import Configuration
from ._connection import CONNECTED, Connection
from ._input import Input
from ._link import Link
from ._replay import Replay
from ._responses import Responses
from ._retry import Retries
from ._rotation import Rotation
from ._session_events import RotationDue
from ._successor import Successor
from ._tray import Tray

__all__ = ["Handover"]

_LOOK_AGAIN_S = 0.25
_MOST_IN_PASSING = 16


class Handover:
    """When to make a next connection, and when it is to take over.

    Args:
        tray: Where events are laid down.
        timing: Bounds in time.
        retries: The bound on connects.
        replay: Says what a connection has to be told.
        configuration: What is in force.
        user_input: Says whether somebody speaks.
        responses: Says whether anything runs.

    Attributes:
        rotation: What is planned.
        successor: The next connection, on its way, or None.
    """

    def __init__(
        self,
        tray: Tray,
        timing: Timing,
        retries: Retries,
        replay: Replay,
        configuration: Configuration,
        user_input: Input,
        responses: Responses,
    ) -> None:
        self.rotation = Rotation(timing)
        self.successor: Successor | None = None
        self._tray = tray
        self._commands: CommandTable = tray.commands
        self._timing = timing
        self._retries = retries
        self._replay = replay
        self._configuration = configuration
        self._input = user_input
        self._responses = responses
        self._look_at = 0.0

    @property
    def deadline(self) -> float | None:
        """When `handle_timer` has something to do, or None."""
        successor = self.successor
        if successor is None:
            return self.rotation.next_at
        times = (self.rotation.next_at, successor.deadline, self._look_at)
        return min(time for time in times if time is not None)

    @property
    def ready(self) -> bool:
        """Whether a next connection could take over now, what it was not told yet left aside."""
        successor = self.successor
        return (
            successor is not None
            and successor.ready
            and successor.has(self._configuration.acknowledged)
        )

    def begin(self, connection: Connection, link: Link, now: float) -> None:
        """A next connection is on its way."""
        self.successor = Successor(
            connection, link, self._tray.ids, self._tray.check, self._timing, now
        )
        self._look_at = now

    def failed(self, now: float) -> None:
        """The next connection could not be made, or is of no use: another is made later."""
        self.drop()
        self.rotation.failed(now)

    def dial_failed(self, now: float) -> None:
        """A byte stream for a next connection could not be opened.

        One that was asked for by a connection which has ended since tells nothing about the present one.
        """
        plan = self.rotation.plan
        if plan is not None and plan.announced and self.successor is None:
            self.failed(now)

    def drop(self) -> None:
        """There is to be no next connection; one that is up is closed properly."""
        if self.successor is not None:
            connection, self.successor = self.successor.connection, None
            if connection.state in CONNECTED:
                connection.close(1000, "")
            else:
                connection.let_go()

    def over(self) -> None:
        """The connection that serves is gone, and every plan for it."""
        self.drop()
        self.rotation.over()

    def take(self) -> Successor:
        """The next connection, which takes over: the plan is fulfilled."""
        self.rotation.over()
        successor, self.successor = self.successor, None
        assert successor is not None
        return successor

    def handle_timer(self, now: float) -> None:
        """Announces what is due, and gives up a next connection that takes too long."""
        if self.successor is not None:
            self.successor.handle_timer(now)
            self._check_failure(now)
        plan = self.rotation.due(now)
        if plan is not None and not self._retries.may_connect(now):
            self.rotation.failed(now)
        elif plan is not None:
            self._retries.began_beside(now)  # here, since not every one that is dialled is begun
            self._tray.session_events.append(
                RotationDue(reason=plan.reason, deadline=plan.deadline)
            )

    def drain(self, now: float) -> None:
        """Takes what the next connection has received."""
        assert self.successor is not None
        self.successor.drain()
        self._look_at = now
        self._check_failure(now)

    def may_happen(self, now: float) -> bool:
        """Keeps the next connection up to date; says whether it is to take over now."""
        successor, config = self.successor, self._configuration.acknowledged
        assert successor is not None
        assert config is not None
        if self.rotation.is_forced(now) and self.ready:
            return True  # what it was not told yet is said when it serves
        quiet = self.is_quiet(now)
        if not quiet and now < self._look_at:
            return False
        self._look_at = now + _LOOK_AGAIN_S
        # At a quiet moment a few edits are told in passing: before they are answered it may be over.
        spare = _MOST_IN_PASSING if quiet else 0
        return successor.follow(config, self._sayable, now, may_stay_untold=spare) and quiet

    def is_quiet(self, now: float) -> bool:
        """Whether a change of connections would cut nothing off."""
        return not len(self._commands) and self._responses.idle and self._input.is_quiet(now)

    def _sayable(self) -> list[events.Item]:
        return self._replay.items(self._input.untranscribed())

    def _check_failure(self, now: float) -> None:
        if self.successor is not None and self.successor.failure is not None:
            self.failed(now)
