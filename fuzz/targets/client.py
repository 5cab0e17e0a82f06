"""A client's whole life: a fuzzed server, a fuzzed caller and a fuzzed clock by turns."""

from __future__ import annotations

from fuzz.client_life import MAX_LIFE_BYTES, ClientLife
from fuzz.drawing import Draw

MAX_BYTES = MAX_LIFE_BYTES


def fuzz(data: bytes) -> None:
    """See `ClientLife`."""
    ClientLife(Draw(data)).live()
