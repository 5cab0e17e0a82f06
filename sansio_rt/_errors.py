"""Every error that the two packages raise, under one base.

```
RealtimeError
├── LocalProtocolError            you called something that cannot work; nothing changed
│   ├── ConfigurationError        a setting, a credential or an address is missing or wrong
│   ├── ToolDefinitionError       a function cannot become a tool
│   └── UnsupportedByDialect      this server's dialect cannot say what was asked for
├── RemoteProtocolError           the peer broke the protocol; the connection has failed
│   ├── FrameError                bytes that are not HTTP/1.1 or RFC 6455
│   ├── SchemaError               a message that is not a Realtime event (costs that message only)
│   └── MessageTooBig             a message above the size limit
├── HandshakeRejected             the server answered the upgrade with another status
├── ConnectionClosed              the connection is gone: by whom, with which code
├── CommandRefused                the service refused one of our events
├── CommandTimeout                the service did not answer one of our events in time
├── EditsFailed                   some edits of a conversation failed
├── GenerationFailed              a response ended without what was asked for
├── ToolArgumentsError            the model's arguments do not fit the function
├── StreamOverflow                one stream's consumer was too slow; the others go on
└── MissingExtra                  an optional dependency is not installed
```

Receive methods raise nothing of the kind: what the peer did wrong comes out as an event that carries
one of these. An `error` message of the API is an event too, and is raised only at the call that it names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = [
    "CommandRefused",
    "CommandTimeout",
    "ConfigurationError",
    "ConnectionClosed",
    "EditsFailed",
    "FrameError",
    "GenerationFailed",
    "HandshakeRejected",
    "LocalProtocolError",
    "MessageTooBig",
    "MissingExtra",
    "RealtimeError",
    "RemoteProtocolError",
    "SchemaError",
    "StreamOverflow",
    "ToolArgumentsError",
    "ToolDefinitionError",
    "UnsupportedByDialect",
]


class RealtimeError(Exception):
    """The base of every error of `sansio_rt` and `trio_rt`.

    Attributes:
        passing: Whether a new connection may do better, for errors that say so themselves; see
            `worth_a_retry` for the others.
    """

    passing: bool = False


class LocalProtocolError(RealtimeError):
    """A call that cannot work as it was made; no state changed. The message says what to do."""


class ConfigurationError(LocalProtocolError):
    """A setting, a credential or an address is missing or wrong; the message names it."""


class ToolDefinitionError(LocalProtocolError):
    """A function cannot become a tool; the message names the function, the parameter and the remedy."""


class UnsupportedByDialect(LocalProtocolError):
    """The server's dialect has no way to say what was asked for; the message names the setting."""


class RemoteProtocolError(RealtimeError):
    """The peer broke the protocol.

    Attributes:
        close_code: The WebSocket close code that fits the failure, or None where there is none.
    """

    def __init__(self, message: str, *, close_code: int | None = None) -> None:
        super().__init__(message)
        self.close_code = close_code


class FrameError(RemoteProtocolError):
    """Bytes that are not HTTP/1.1 (during the handshake) or not RFC 6455 (after it)."""


class SchemaError(RemoteProtocolError):
    """A text message that is not a Realtime event. It costs that message only.

    Attributes:
        path: JSON path of the field that is wrong (`$.item.content[0].text`), `$` for the whole.
        excerpt: The beginning of the message, shortened.
    """

    def __init__(self, message: str, *, path: str = "$", excerpt: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.excerpt = excerpt


class MessageTooBig(RemoteProtocolError):
    """A message above `Limits.max_message_bytes`.

    Attributes:
        limit_bytes: The limit that was passed.
    """

    def __init__(self, message: str, *, limit_bytes: int) -> None:
        super().__init__(message, close_code=1009)
        self.limit_bytes = limit_bytes


class HandshakeRejected(RealtimeError):
    """The server did not upgrade the connection.

    Attributes:
        status: HTTP status.
        reason: HTTP reason phrase, may be empty.
        body: The beginning of the answer's body (capped), as text.
        retry_after_s: Seconds from a `Retry-After` header, or None.
    """

    def __init__(
        self, status: int, *, reason: str = "", body: str = "", retry_after_s: float | None = None
    ) -> None:
        self.status = status
        self.reason = reason
        self.body = body
        self.retry_after_s = retry_after_s
        super().__init__(_rejection(status, reason, body))


def _rejection(status: int, reason: str, body: str) -> str:
    advice = {
        301: "the address redirects; use the address that it names",
        302: "the address redirects; use the address that it names",
        307: "the address redirects; use the address that it names",
        308: "the address redirects; use the address that it names",
        400: "the server does not accept these query parameters or headers",
        401: "check the API key",
        403: "this key may not use this model or endpoint",
        404: "check the URL and the model's name",
        429: "too many requests; wait, or check the account's quota",
    }.get(status)
    if advice is None:
        advice = (
            "this address does not speak WebSocket; check the URL"
            if 200 <= status < 300
            else "the server had a problem of its own; try again later"
            if status >= 500
            else "check the URL"
        )
    text = f"the server refused the WebSocket handshake with HTTP {status}"
    if reason:
        text += f" {reason}"
    said = " ".join(body.removeprefix("\ufeff").split())[:200]
    is_page = said.startswith(
        "<"
    )  # for browsers: a screenful of tags, and no word more than the status
    return f"{text}: {advice}" + (f" (the server said: {said})" if said and not is_page else "")


class ConnectionClosed(RealtimeError):
    """The connection is gone.

    Attributes:
        code: The close code (1006 where the peer went without a close frame).
        reason: The peer's words, may be empty.
        by_peer: Whether the peer began it.
    """

    def __init__(
        self, message: str, *, code: int = 1006, reason: str = "", by_peer: bool = True
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.by_peer = by_peer


class CommandRefused(RealtimeError):
    """The service answered one of our events with an error that names it.

    Attributes:
        message: The service's own sentence.
        code: The service's code (`item_create_duplicate_item_id`), or None.
        error_type: The service's error type (`invalid_request_error`), or None.
        param: The parameter that it refused (`session.audio.output.voice`), or None.
        event_id: The id of the event that it refused.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        error_type: str | None = None,
        param: str | None = None,
        event_id: str | None = None,
    ) -> None:
        self.message = message
        self.code = code
        self.error_type = error_type
        self.param = param
        self.event_id = event_id
        details = ", ".join(
            f"{name} {value}" for name, value in (("code", code), ("param", param)) if value
        )
        super().__init__(f"the service refused: {message}" + (f" ({details})" if details else ""))


class CommandTimeout(RealtimeError):
    """The service did not answer one of our events in time.

    Attributes:
        missing: What was waited for and did not come (ids of items, or the command's own id).
    """

    def __init__(self, message: str, *, missing: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.missing = tuple(missing)


class EditsFailed(RealtimeError):
    """Some edits of a conversation failed; the others were made.

    Attributes:
        errors: What became of each that failed, by item id.
    """

    def __init__(self, errors: Mapping[str, RealtimeError]) -> None:
        self.errors = dict(errors)
        listed = "; ".join(f"{item_id}: {error}" for item_id, error in self.errors.items())
        super().__init__(f"{len(self.errors)} edits of the conversation failed: {listed}")


class GenerationFailed(RealtimeError):
    """A response ended without what was asked for: failed, cancelled before it began, or lost."""


class ToolArgumentsError(RealtimeError):
    """The model's arguments do not fit the function; the text is written for the model to read."""


class StreamOverflow(RealtimeError):
    """One stream's consumer fell behind its byte bound; that stream failed, the others go on.

    Attributes:
        limit_bytes: The bound that was passed.
    """

    def __init__(self, message: str, *, limit_bytes: int) -> None:
        super().__init__(message)
        self.limit_bytes = limit_bytes


class MissingExtra(RealtimeError, ImportError):
    """An optional dependency is not installed.

    Attributes:
        extra: The extra that brings it: `pip install "trio-rt[EXTRA]"`.
    """

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(f'{what} needs the extra "{extra}": pip install "trio-rt[{extra}]"')
        self.extra = extra
