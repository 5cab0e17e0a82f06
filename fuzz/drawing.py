"""Bytes as a source of choices: how one fuzzer input becomes a structured life.

Choices take few bytes, and what is used up reads as zeros, so that every input means something, a byte
that changes changes one choice, and an input that is cut short is a life that is cut short.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

Choice = TypeVar("Choice")

# Values that fit no field, or only just: put where a message is to be spoilt.
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    7.5,
    -0.0,
    1e308,
    2**31,
    2**53 + 1,
    2**63,
    -(2**64),
    10**30,
    "",
    "x",
    "root",
    "inf",
    "auto",
    "none",
    "x" * 33,
    "\u0000",
    "\ud7ff\U0001f600",
    "AAAA",
    "AAA",
    "data:image/png;base64,AAAA",
    [],
    {},
    [None],
    ["x", 1],
    {"type": "x"},
    {"type": 7},
    {"": ""},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]},
    [[[[[[[[]]]]]]]],
)


class Draw:
    """Reads choices from bytes.

    Args:
        data: The fuzzer's input.
    """

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._at

    def byte(self) -> int:
        """The next byte, 0 behind the end."""
        at = self._at
        if at >= len(self._data):
            return 0
        self._at = at + 1
        return self._data[at]

    def flag(self) -> bool:
        """One of two."""
        return self.byte() & 1 == 1

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1, of one byte, or of two where that is not enough."""
        value = self.byte()
        if limit > 256:
            value = value << 8 | self.byte()
        return value % limit

    def choice(self, options: Sequence[Choice]) -> Choice:
        """One of at most 65,536 options."""
        return options[self.below(len(options))]

    def take(self, length: int) -> bytes:
        """The next bytes, fewer at the end."""
        taken = self._data[self._at : self._at + length]
        self._at += len(taken)
        return taken

    def block(self) -> bytes:
        """Bytes of a length of their own, up to 65,535: two bytes say how many."""
        return self.take(self.byte() << 8 | self.byte())

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def text(self) -> str:
        """A text of up to 63 bytes; what is not UTF-8 becomes the replacement character."""
        return self.take(self.byte() & 63).decode("utf-8", "replace")
