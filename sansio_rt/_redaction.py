"""What a server says, without our own credentials: some servers repeat them in their complaints.

It is done where the server's words come in, so that no error, log, hook or raw event behind can show them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from . import events
from ._errors import HandshakeRejected, RemoteProtocolError, SchemaError
from ._secrets import HiddenText
from ._wire import WireClosed, WireFailed, WireRejected

__all__ = ["Redaction"]

T = TypeVar("T")

MASK = "***"

_SHORTEST = 8
"""Characters: what is shorter may be anywhere, and is no credential worth the name."""


class Redaction:
    """Takes credentials out of complaints.

    Args:
        secrets: What no text may show.
    """

    def __init__(self, secrets: Iterable[HiddenText] = ()) -> None:
        self._secrets = [secret for secret in secrets if len(secret) >= _SHORTEST]

    def text(self, text: str) -> str:
        """The text with a mask in the place of each credential."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def complaint(self, event: T) -> T | events.Error | WireClosed | WireFailed | WireRejected:
        """An event of the server, which is another one where it had to be changed."""
        match event:
            case events.Error(error=details):
                told = msgspec.structs.replace(details, message=self.text(details.message))
                return msgspec.structs.replace(event, error=told)
            case WireClosed(reason=reason) if reason:
                return msgspec.structs.replace(event, reason=self.text(reason))
            case WireRejected(error=error):
                return WireRejected(self._rejection(error))
            case WireFailed(error=error):
                self._clean_cause(error)
            case SchemaError():
                self._clean(event)
                event.excerpt = self.text(event.excerpt)
            case _:
                pass
        return event

    def _rejection(self, error: HandshakeRejected) -> HandshakeRejected:
        return HandshakeRejected(
            error.status,
            reason=self.text(error.reason),
            body=self.text(error.body),
            retry_after_s=error.retry_after_s,
        )

    def _clean_cause(self, error: RemoteProtocolError) -> None:
        if error.__cause__ is not None:
            self._clean(error.__cause__)

    def _clean(self, error: BaseException) -> None:
        """Masks an error's words, and drops its frames, which hold what the server sent."""
        error.args = tuple(self.text(str(argument)) for argument in error.args)
        error.__traceback__ = None
        for other in (error.__cause__, error.__context__):
            if other is not None:
                self._clean(other)
