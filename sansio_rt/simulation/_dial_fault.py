"""How a connect goes wrong."""

from __future__ import annotations

__all__ = ["DialFault"]


class DialFault:
    """How the next connect goes wrong.

    Attributes:
        kind: `refused` (no stream), `hangs` (no stream in time), `silent` (a stream and not a word),
            `closes` (the server closes once the session is there) or an HTTP status as text.
        close_code: For `closes`.
        retry_after_s: For an HTTP status.
    """

    def __init__(
        self, kind: str, *, close_code: int = 1011, retry_after_s: int | None = None
    ) -> None:
        self.kind = kind
        self.close_code = close_code
        self.retry_after_s = retry_after_s
