"""A server's whole life: a fuzzed client, a fuzzed driver and a fuzzed clock by turns."""

from __future__ import annotations

from fuzz.client_life import MAX_LIFE_BYTES
from fuzz.drawing import Draw
from fuzz.server_life import ServerLife

MAX_BYTES = MAX_LIFE_BYTES


def fuzz(data: bytes) -> None:
    """See `ServerLife`."""
    ServerLife(Draw(data)).live()
