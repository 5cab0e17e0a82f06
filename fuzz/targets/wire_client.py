"""The client's frames: any bytes of a server; in any pieces and without the fast lane all is the same."""

from __future__ import annotations

from fuzz.wire_life import fuzz_wire

MAX_BYTES = 300


def fuzz(data: bytes) -> None:
    """See `fuzz_wire`."""
    fuzz_wire(data, client=True)
