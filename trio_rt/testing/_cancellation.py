"""Cancelling at every step: what may be cancelled anywhere is tried everywhere.

A scenario is run again and again, each time in a fresh `trio.run` under a clock that jumps. Its part in
`with cut:` is cancelled before its first step, after its first, its second, and so on, until it runs
through. What has to hold after that, the scenario says itself; `assert_session_left` and
`assert_session_works` say it for sessions.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import final

import trio
import trio.testing
from msgspec import Struct

from sansio_rt import ConnectionState, ConversationItem, GenerationStatus

from .._session import Session
from ._memory import MemoryServer

__all__ = [
    "CancelReport",
    "Counted",
    "Cut",
    "assert_session_left",
    "assert_session_works",
    "cancel_at_every_step",
]

_PATIENCE_S = 5.0
"""How long a healthy server in memory may take to answer everything; less than an answer's deadline."""
_LONGEST_REPLY_S = 300.0


class Counted(enum.Enum):
    """Whose steps are places to cancel at, while the `with cut:` block runs."""

    RUN = "run"
    """Those of every task of the run: also between what a session's own tasks do."""
    TASK = "task"
    """Those of the task that runs the block: fewer runs, and each of its waits is met."""


@final
class Cut:
    """The part of a scenario that is cancelled: `with cut: ...`, once in each run.

    Attributes:
        fired: Whether it was cancelled, whatever came of it.
        left_after_s: How long the block took to end after that, in seconds of trio's clock.
    """

    def __init__(self, step: int, counted: Counted) -> None:
        self.fired = False
        self.left_after_s = 0.0
        self._step = step
        self._counted = counted
        self._steps = 0
        self._fired_at = 0.0
        self._inside = False
        self._task: trio.lowlevel.Task | None = None
        self._tasks_before: frozenset[trio.lowlevel.Task] = frozenset()
        self._scope = trio.CancelScope()

    def __repr__(self) -> str:
        return f"<Cut at step {self._step} of the {self._counted.value}>"

    @property
    def caught(self) -> bool:
        """Whether the block was ended by the cancellation; False where it ran to its end."""
        return self._scope.cancelled_caught

    @property
    def entered(self) -> bool:
        """Whether the scenario has come to its `with cut:`."""
        return self._task is not None

    def new_tasks(self) -> list[str]:
        """The names of the tasks that run now and did not when the block was entered."""
        return [task.name for task in _tasks() if task not in self._tasks_before]

    def __enter__(self) -> Cut:
        if self.entered:
            raise RuntimeError("`with cut:` twice in one scenario; one part of it is cancelled")
        self._task = trio.lowlevel.current_task()
        self._tasks_before = frozenset(_tasks())
        self._scope.__enter__()
        self._inside = True
        self._count()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._inside = False
        if self.fired:
            self.left_after_s = trio.current_time() - self._fired_at
        return self._scope.__exit__(exc_type, exc, traceback)

    def note_step(self, task: trio.lowlevel.Task, *, before: bool) -> None:
        """Counts a step of a task; for the tool.

        Args:
            task: Whose.
            before: Whether it is about to begin: the task was woken and has not run yet. Only where the
                steps of one task are counted; else the end of the step that woke it is the same.
        """
        wanted = task is self._task if self._counted is Counted.TASK else not before
        if self._inside and wanted:
            self._count()

    def _count(self) -> None:
        if self._steps == self._step:
            self.fired = True
            self._fired_at = trio.current_time()
            self._scope.cancel()
        self._steps += 1


@final
class CancelReport(Struct, frozen=True, kw_only=True):
    """What `cancel_at_every_step` did."""

    steps: int
    """At how many places the block was cancelled."""
    caught: int
    """How often that ended the block; else it was about to end anyhow."""


Scenario = Callable[[Cut], Awaitable[object]]


def cancel_at_every_step(
    scenario: Scenario,
    *,
    counted: Counted = Counted.RUN,
    every: int = 1,
    max_steps: int = 20_000,
    time_limit_s: float = 3600.0,
    real_time: bool = False,
) -> CancelReport:
    """Runs a scenario again and again, cancelling its `with cut:` block one step later each time.

    It is a plain function, for any test runner; it cannot be called within `trio.run`. trio shuffles the
    tasks that are ready at once, so that the same step is not always the same place.

        async def scenario(cut: Cut) -> None:
            async with memory_server("Hello.") as server:
                with cut:
                    async with open_session(server.endpoint, dialer=server) as session:
                        await session.ask("Hi")
                await assert_session_left(cut, server)

        report = cancel_at_every_step(scenario)

    Args:
        scenario: An async function of the `Cut`. What has to hold after the block it asserts itself.
        counted: Whose steps are counted.
        every: Only every so many steps are tried.
        max_steps: A block that takes more is a failure.
        time_limit_s: How long one run may take, in seconds of the clock that jumps.
        real_time: Whether the clock must not jump: for scenarios with sockets or threads, for which a
            clock that jumps does not wait. Give a short `time_limit_s` then.

    Returns:
        How many steps were tried.

    Raises:
        BaseException: What the scenario raised, with a note that says where it was cancelled.
        trio.TooSlowError: A run hung.
        RuntimeError: The scenario did not come to its `with cut:`.
        AssertionError: `max_steps` were not enough.
    """
    caught = 0
    for tried, step in enumerate(range(0, max_steps, every)):
        cut = Cut(step, counted)
        try:
            trio.run(
                _run,
                scenario,
                cut,
                time_limit_s,
                clock=None if real_time else trio.testing.MockClock(autojump_threshold=0),
                instruments=[_StepCounter(cut)],
            )
        except BaseException as error:
            error.add_note(f"the scenario was {'cancelled at' if cut.fired else 'to be'} {cut!r}")
            raise
        if not cut.entered:
            raise RuntimeError("the scenario did not come to a `with cut:`")
        if not cut.fired:
            return CancelReport(steps=tried, caught=caught)
        caught += cut.caught
    raise AssertionError(f"the block takes more than {max_steps:,} steps")


async def _run(scenario: Scenario, cut: Cut, time_limit_s: float) -> None:
    with trio.fail_after(time_limit_s):
        await scenario(cut)


class _StepCounter(trio.abc.Instrument):
    """Tells a cut of every step."""

    def __init__(self, cut: Cut) -> None:
        self._cut = cut

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._cut.note_step(task, before=True)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._cut.note_step(task, before=False)


def _tasks() -> Iterator[trio.lowlevel.Task]:
    """Every task of the run, trio's own included."""
    root = trio.lowlevel.current_root_task()
    waiting = [] if root is None else [root]
    while waiting:
        task = waiting.pop()
        yield task
        for nursery in task.child_nurseries:
            waiting += nursery.child_tasks


# --- what has to hold -------------------------------------------------------------------------


async def assert_session_left(cut: Cut, server: MemoryServer, *, broken: int = 0) -> None:
    """Asserts that a block around `open_session` has left nothing behind.

    No task; every connection closed on our side; at the server a proper close, and whole frames only.

    Args:
        cut: The block, which has ended.
        server: Whom it talked to. It must still run.
        broken: So many connections, the first ones, were broken on purpose: they have no proper end.

    Raises:
        AssertionError: Something is left; the message says what.
    """
    await trio.testing.wait_all_tasks_blocked()
    tasks = cut.new_tasks()
    assert not tasks, f"tasks are left: {', '.join(tasks)}"
    for stream in server.client_streams:
        assert await _is_closed(stream), "a stream is left open"
    connections = list(zip(server.protocols, server.received, strict=True))
    for protocol, received in connections[broken:]:
        assert received.whole, (
            f"the server got a part of a frame, after {received.frames} whole ones"
        )
        ending = protocol.ending
        assert ending is not None, "the server still waits for the client"
        # Who leaves during the handshake cannot close properly.
        proper = ending.clean if received.frames else ending.code == 1006
        assert proper, f"the server saw {ending}, after {received.frames} frames"


async def _is_closed(stream: trio.abc.SendStream) -> bool:
    try:
        await stream.send_all(b"")
    except trio.ClosedResourceError:
        return True
    except trio.BrokenResourceError:
        return False
    return False


async def assert_session_works(session: Session, server: MemoryServer) -> None:
    """Asserts that a session, one of whose calls was cancelled, goes on as if nothing had happened.

    Every command is answered long before its deadline, nobody waits any more, the mirror is what the
    server has, and the next calls work. It adds a message and a reply in text to the conversation.

    Args:
        session: The session, whose calls have all returned or been cancelled.
        server: The server in memory that it is connected to, without faults.

    Raises:
        AssertionError: Something does not hold; the message says what.
    """
    await _assert_quiet(session, server)
    waiting = len(session.generations)
    with trio.fail_after(_LONGEST_REPLY_S):
        generation = await session.ask("Are you there?", modalities=["text"])
        outcome = await generation.wait()
    assert outcome.status is GenerationStatus.COMPLETED, f"the next reply ended as {outcome.status}"
    assert len(session.generations) == waiting, "the next reply came to session.generations"
    await _assert_quiet(session, server)


async def _assert_quiet(session: Session, server: MemoryServer) -> None:
    protocol = session._protocol  # pyright: ignore[reportPrivateUsage]
    waiters = session._waiters  # pyright: ignore[reportPrivateUsage]

    def busy() -> bool:
        connected = protocol.state is ConnectionState.READY
        return not connected or bool(
            protocol.commands or protocol.generations or protocol.pending_bytes
        )

    with trio.move_on_after(_PATIENCE_S):
        while busy():  # noqa: ASYNC110 - nothing tells when it is quiet, and asking takes no real time
            await trio.sleep(0.01)
    assert protocol.state is ConnectionState.READY, f"the session is {protocol.state.value}"
    assert not protocol.commands, f"never answered: {protocol.commands}"
    assert not protocol.generations, f"never ended: {protocol.generations}"
    assert not waiters, f"calls still wait for {list(waiters)}"
    cut = {entry.id for entry in session.conversation if entry.heard_ms is not None}
    here = [_told(entry, cut) for entry in session.conversation]
    items = server.protocols[-1].session.items
    there = [_told(ConversationItem(str(item.id), item), cut) for item in items]
    assert here == there, f"the mirror is {here}, the server has {there}"


def _told(entry: ConversationItem, cut: set[str]) -> tuple[str, str, str]:
    """What both sides must agree on; a service forgets the words of what was cut."""
    return entry.id, type(entry.item).__name__, "" if entry.id in cut else entry.text
