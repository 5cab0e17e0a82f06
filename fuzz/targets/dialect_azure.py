"""Azure's beta dialect, there and back: what it can say is not lost, what it cannot is refused by name."""

from __future__ import annotations

from fuzz.dialect_checks import fuzz_dialect
from sansio_rt import Dialect

MAX_BYTES = 512


def fuzz(data: bytes) -> None:
    """See `fuzz_dialect`."""
    fuzz_dialect(Dialect.AZURE_BETA, data)
