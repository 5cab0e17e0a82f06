"""Many seeds, in as many processes as wanted: what `python -m sansio_rt.simulation` is made of.

With `_seeds` and the command line it stands outside the wall: it knows processes, and the signal that ends
them. Nothing but the command line imports it.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import multiprocessing
import multiprocessing.pool
import signal
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from ._carry import Carry
from ._invariants import Invariant
from ._plan import Kind
from ._rules import DEFAULT_INVARIANTS
from ._run import Result, Simulation
from ._seeds import simulate
from ._trace import written

__all__ = ["BadUse", "Finding", "Options", "Share", "named", "shares"]

_CHUNK = 10
_SELDOM = 200_000
_MOST_FRAMES = 3
_OURS = (__file__, importlib.__file__)


class BadUse(Exception):
    """Something on the command line cannot be used; the message says what."""


class Options(Struct, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    seeds: range
    jobs: int = 1
    plain: bool = False
    bytes: bool = False
    trace: bool = False
    shrink: bool = True
    caller: str | None = None
    """`module:Name`"""
    invariants: Sequence[str] = ()
    """`module:Name` each"""

    def simulation(self) -> Simulation:
        """What is simulated.

        Raises:
            BadUse: There is no such caller or invariant.
        """
        for name in self.invariants:
            if not isinstance(_made(name), Invariant):
                raise BadUse(f"{name!r} makes no Invariant")
        caller = None if self.caller is None else _made(self.caller)
        if caller is not None and not callable(getattr(caller, "plan", None)):
            raise BadUse(f"{self.caller!r} makes no caller: it has no method plan")
        return Simulation(
            Kind.PLAIN if self.plain else Kind.FAULTS,
            caller=caller,
            invariants=[*DEFAULT_INVARIANTS, *map(named, self.invariants)],
            carry=Carry.BYTES if self.bytes else None,
        )

    @property
    def alone(self) -> bool:
        """Whether one seed is to be looked at closely."""
        return self.trace and len(self.seeds) == 1


class Finding(Struct, frozen=True):
    """A seed in which something does not hold, in words."""

    seed: int
    violation: str
    raised_at: Sequence[str]
    """Where, if it is an exception: file, line and function, the innermost last."""
    actions: Sequence[str]
    trace: str


class Share(Struct, kw_only=True):
    """What some seeds came to."""

    count: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    failed: int = 0
    findings: list[Finding] = []
    trace: str = ""
    """Of the one seed that is looked at closely, where it holds."""

    def add(self, other: Share) -> None:
        """Takes in the numbers of another share."""
        self.count += other.count
        self.steps += other.steps
        self.virtual_s += other.virtual_s
        self.failed += other.failed


def named(name: str) -> Any:
    """What `module:Name` names.

    Raises:
        BadUse: There is no such thing; the message says which, and why.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise BadUse(
            f"{name!r}: give module:Name of something that can be imported; {_cause(error)}"
        ) from error


def _made(name: str) -> Any:
    """What the thing makes that is named."""
    make = named(name)
    try:
        return make()
    except Exception as error:
        raise BadUse(f"{name!r} cannot be made without arguments; {_cause(error)}") from error


def _cause(error: Exception) -> str:
    """An error in one line, and where it was raised, if not here."""
    at = "".join(f", at {place}" for place in _raised_at(error)[-1:])
    return f"{type(error).__name__}: {error}{at}"


def _raised_at(error: BaseException | None) -> list[str]:
    """The innermost places of an exception's traceback, but for those of this module."""
    return [
        f"{frame.filename}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(None if error is None else error.__traceback__)
        if frame.filename not in _OURS and not frame.filename.startswith("<frozen ")
    ][-_MOST_FRAMES:]


def shares(options: Options) -> Iterator[Share]:
    """Runs all seeds, and gives what they came to, some at a time and in their order."""
    seeds = iter(options.seeds)
    chunks = iter(lambda: list(itertools.islice(seeds, _CHUNK)), [])
    work = ((chunk, options) for chunk in chunks)
    if options.jobs == 1:
        yield from map(_run, work)
        return
    with _pool(options.jobs) as pool:
        yield from pool.imap(_run, work)


def _pool(jobs: int) -> multiprocessing.pool.Pool:
    """Processes that leave Ctrl-C, which all of a terminal's processes get, to this one."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return multiprocessing.get_context("spawn").Pool(jobs)
    finally:
        signal.signal(signal.SIGINT, before)


def _run(work: tuple[Sequence[int], Options]) -> Share:
    """Runs some seeds, and looks for their garbage seldom: a run is many objects, all in use to its end."""
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_SELDOM)
    try:
        return _run_all(*work)
    finally:
        gc.set_threshold(*thresholds)
        gc.collect()
        gc.unfreeze()


def _run_all(seeds: Sequence[int], options: Options) -> Share:
    simulation = options.simulation()
    share = Share()
    for seed in seeds:
        share.count += 1
        try:
            result = simulate(seed, simulation, shrink=options.shrink, traced=options.alone)
        except Exception as error:  # noqa: BLE001 - of the caller, or of who makes the invariants
            share.failed += 1
            share.findings.append(_not_begun(seed, error))
            continue
        share.steps += result.steps
        share.virtual_s += result.virtual_s
        if result.violation is not None:
            share.failed += 1
            share.findings.append(_told(seed, result))
        elif options.alone:
            share.trace = written(result.trace)
    return share


def _told(seed: int, result: Result) -> Finding:
    return Finding(
        seed=seed,
        violation=str(result.violation),
        raised_at=_raised_at(result.violation and result.violation.__cause__),
        actions=[repr(action) for action in result.plan.actions],
        trace=written(result.trace),
    )


def _not_begun(seed: int, error: Exception) -> Finding:
    return Finding(
        seed=seed,
        violation=f"the run cannot begin: {type(error).__name__}: {error}",
        raised_at=_raised_at(error),
        actions=(),
        trace="",
    )
