"""The targets: plain functions of bytes, one module each.

A target returns where the input led to nothing but what is documented, refusals included; whatever it
raises is a finding. Its module has the function `fuzz(data)`, and may have `MAX_BYTES`, the longest
input that is worth a try.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

DEFAULT_MAX_BYTES = 1024


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


def load(name: str) -> Target:
    """Import one target.

    Raises:
        KeyError: There is none of that name.
    """
    if name not in names():
        raise KeyError(f"there is no target {name!r}; there are: {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    return Target(
        name=name,
        run=module.fuzz,
        max_bytes=getattr(module, "MAX_BYTES", DEFAULT_MAX_BYTES),
        summary=(module.__doc__ or "").strip().partition("\n")[0],
    )
