"""Many seeds, in as many processes as wanted: what `python -m sansio_rt.simulation` is made of.

With `_seeds` and the command line it stands outside the wall: it knows processes. Nothing but the command
line imports it.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from ._carry import Carry
from ._plan import Kind
from ._rules import DEFAULT_INVARIANTS
from ._run import Result, Simulation
from ._seeds import simulate
from ._trace import written

__all__ = ["Finding", "Options", "Share", "named", "shares"]

_CHUNK = 10
_SELDOM = 200_000


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
            LookupError: There is no such caller or invariant.
        """
        return Simulation(
            Kind.PLAIN if self.plain else Kind.FAULTS,
            caller=None if self.caller is None else named(self.caller)(),
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
        LookupError: There is no such thing; the message says which.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise LookupError(
            f"{name!r}: give module:Name of something that can be imported"
        ) from error


def shares(options: Options) -> Iterator[Share]:
    """Runs all seeds, and gives what they came to, some at a time and in their order."""
    seeds = iter(options.seeds)
    chunks = iter(lambda: list(itertools.islice(seeds, _CHUNK)), [])
    work = ((chunk, options) for chunk in chunks)
    if options.jobs == 1:
        yield from map(_run, work)
        return
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        yield from pool.imap(_run, work)


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
        result = simulate(seed, simulation, shrink=options.shrink, traced=options.alone)
        share.count += 1
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
        actions=[repr(action) for action in result.plan.actions],
        trace=written(result.trace),
    )
