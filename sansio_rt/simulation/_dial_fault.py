"""How a connect goes wrong."""

from __future__ import annotations

import re

from .._errors import LocalProtocolError

__all__ = ["DialFault", "check_dial_fault"]

_KINDS = ("refused", "hangs", "silent", "closes")


class DialFault:
    """How the next connect goes wrong.

    Attributes:
        kind: `refused` (no stream), `hangs` (no stream in time), `silent` (a stream and not a word),
            `closes` (the server closes once the session is there) or an HTTP status as text.
        close_code: For `closes`.
        retry_after_s: For an HTTP status.

    Raises:
        LocalProtocolError: There is no such kind.
    """

    def __init__(
        self, kind: str, *, close_code: int = 1011, retry_after_s: int | None = None
    ) -> None:
        check_dial_fault(kind)
        self.kind = kind
        self.close_code = close_code
        self.retry_after_s = retry_after_s


def check_dial_fault(kind: str) -> None:
    """Refuses a kind that there is not.

    Raises:
        LocalProtocolError: The message says which there are.
    """
    if kind not in _KINDS and not re.fullmatch(r"[2-5]\d\d", kind, re.ASCII):
        raise LocalProtocolError(
            f"kind={kind!r}: give {', '.join(map(repr, _KINDS))} or an HTTP status such as '503'"
        )
