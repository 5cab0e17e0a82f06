"""The targets: plain functions of bytes, one module each.

A target returns where the input led to nothing but what is documented, refusals included; whatever it
raises is a finding. Its module has the function `fuzz(data)`, and may have `MAX_BYTES`, the longest
input that is worth a try.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from fuzz import Refused

DEFAULT_MAX_BYTES = 1024
_LIVES = ("client", "server")
_WITH_TARGETS_OF_THEIR_OWN = (
    *("sansio_rt.events", "sansio_rt._wire", "sansio_rt._frames", "sansio_rt._handshake"),
    *("sansio_rt._beta", "sansio_rt._dialects", "sansio_rt._endpoint", "sansio_rt._g711"),
    *("sansio_rt._resampler", "sansio_rt._schema", "sansio_rt._signature"),
)


@dataclass(frozen=True)
class Target:
    """One thing to fuzz.

    Attributes:
        name: Its name on the command line.
        run: The function; what it raises is a finding.
        max_bytes: The longest input that is worth a try.
        summary: What it checks, in a line.
    """

    name: str
    run: Callable[[bytes], None]
    max_bytes: int
    summary: str


def names() -> list[str]:
    """All targets, in the order of the alphabet."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def is_life(name: str) -> bool:
    """Whether a target's inputs are steps: hardly a value in them is compared with another."""
    return name in _LIVES


def not_counted(name: str) -> list[str]:
    """Modules whose coverage does not count for a target.

    A life goes through everything, and to count costs as much time as to run. What has targets of its own
    is left to those, so that a life is kept for what the session does.
    """
    if not is_life(name):
        return []
    spec = importlib.util.find_spec("sansio_rt")  # which imports nothing
    folders = spec.submodule_search_locations if spec is not None else None
    events = [f"{folder}/events" for folder in folders or ()]
    inner = [f"sansio_rt.events.{module.name}" for module in pkgutil.iter_modules(events)]
    return [*_WITH_TARGETS_OF_THEIR_OWN, *inner]


def require(name: str) -> None:
    """Refuses a name that no target has.

    Raises:
        Refused: There is none of that name.
    """
    if name not in names():
        raise Refused(f"there is no target {name!r}; there are: {', '.join(names())}")


def load(name: str) -> Target:
    """Import one target.

    Raises:
        Refused: There is none of that name, or its module is broken.
    """
    require(name)
    try:
        module = importlib.import_module(f"{__name__}.{name}")
        run = module.fuzz
    except Exception as broken:
        place = traceback.extract_tb(broken.__traceback__)[-1]
        raise Refused(
            f"the target {name!r} is broken: {type(broken).__name__}: {broken} "
            f"({place.filename}:{place.lineno})"
        ) from broken
    return Target(
        name=name,
        run=run,
        max_bytes=getattr(module, "MAX_BYTES", DEFAULT_MAX_BYTES),
        summary=(module.__doc__ or "").strip().partition("\n")[0],
    )
