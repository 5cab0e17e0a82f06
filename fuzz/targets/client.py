"""A client's whole life: a fuzzed server, a fuzzed caller and a fuzzed clock by turns."""

from __future__ import annotations

from fuzz.client_beginnings import begin
from fuzz.client_life import MAX_LIFE_BYTES

MAX_BYTES = MAX_LIFE_BYTES


def fuzz(data: bytes) -> None:
    """See `ClientLife`."""
    begin(data).live()
