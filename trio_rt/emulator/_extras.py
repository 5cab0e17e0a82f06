"""Packages of the extra `speech`: imported where they are used, named where they lack.

None of them has types, hence by name: what a module uses of them stands there as a protocol.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType

from sansio_rt._errors import MissingExtra

__all__ = ["load", "require"]


def require(what: str, *packages: str) -> None:
    """Check that packages are installed, without importing them.

    Args:
        what: What they are needed for, as the beginning of a sentence.
        *packages: Names of modules.

    Raises:
        MissingExtra: One of them is not.
    """
    if any(find_spec(package) is None for package in packages):
        raise MissingExtra(what, extra="speech")


def load(what: str, package: str) -> ModuleType:
    """Import a package.

    Args:
        what: What it is needed for, as the beginning of a sentence.
        package: Name of the module.

    Raises:
        MissingExtra: It is not installed, or something that it needs is not.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra(what, extra="speech") from error
