"""Where ids and random bytes come from, for callers that hand in no source of their own.

The core reads no random source by itself, so its defaults are counters: the same inputs give the same
outputs. On a real network hand in `os.urandom` for the WebSocket masks (RFC 6455, section 10.3) and a
prefix that no other client of the same conversation has; `trio_rt` does both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

__all__ = ["CountingBytes", "IdSource", "RandomBytes", "SequentialIds"]

IdSource = Callable[[str], str]
"""Takes what the id is for (`"event"`, `"item"`), gives a fresh id of at most 32 characters."""

RandomBytes = Callable[[int], bytes]
"""Takes a count, gives that many bytes: masks and the handshake's key."""


class SequentialIds:
    """Ids that count up: `event_1`, `item_2`.

    Args:
        prefix: Stands between the kind and the number; at most 12 characters. Two clients that write into
            one conversation need two prefixes.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._count = 0

    def __call__(self, kind: str) -> str:
        self._count = count = self._count + 1
        return f"{kind}_{self._prefix}{count}"


class CountingBytes:
    """Bytes that look random and repeat with the seed: for tests and simulation, not for real networks.

    Args:
        seed: Two objects with the same seed give the same bytes.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed.to_bytes(8, "big", signed=True)
        self._count = 0

    def __call__(self, length: int) -> bytes:
        self._count += 1
        return hashlib.shake_128(self._seed + self._count.to_bytes(8, "big")).digest(length)
