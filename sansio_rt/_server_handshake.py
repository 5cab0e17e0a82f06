"""Whether a server takes a connection: path, model and key of the upgrade request."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote

import msgspec

__all__ = ["PATHS", "Admission", "Denial", "examine"]

PATHS = ("/v1/realtime", "/realtime", "/openai/v1/realtime")
DEFAULT_MODEL = "gpt-realtime"
SUBPROTOCOL = "realtime"
# How a browser, which can set no headers, sends its key.
_KEY_SUBPROTOCOL = "openai-insecure-api-key."


@dataclass(frozen=True)
class Admission:
    """The connection is taken.

    Attributes:
        model: The model that the client asked for, or the default one.
        subprotocol: The subprotocol to choose, or None.
    """

    model: str
    subprotocol: str | None


@dataclass(frozen=True)
class Denial:
    """The connection is refused.

    Attributes:
        status: HTTP status.
        body: JSON, shaped as the service's errors.
    """

    status: int
    body: bytes


def examine(
    target: str,
    headers: Iterable[tuple[str, str]],
    subprotocols: Sequence[str],
    *,
    api_key: str | None = None,
) -> Admission | Denial:
    """Judge an upgrade request.

    Args:
        target: Path and query as the client sent them.
        headers: Names and values of the request's headers.
        subprotocols: What the client offers.
        api_key: The key that is asked for, or None to take any connection.
    """
    path, _, query = target.partition("?")
    if unquote(path).rstrip("/") not in PATHS:
        return _denial(
            404, "invalid_request_error", "unknown_url", f"Invalid URL (GET {path[:200]})"
        )
    if api_key is not None and not _has_key(headers, subprotocols, api_key):
        return _denial(
            401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."
        )
    asked = parse_qs(query)
    names = asked.get("model") or asked.get("deployment") or [DEFAULT_MODEL]
    chosen = SUBPROTOCOL if SUBPROTOCOL in subprotocols else None
    return Admission(names[0], chosen)


def _has_key(headers: Iterable[tuple[str, str]], subprotocols: Sequence[str], api_key: str) -> bool:
    given = {name.lower(): value for name, value in headers}
    scheme, _, token = given.get("authorization", "").partition(" ")
    keys = [token.strip()] if scheme.lower() == "bearer" else []
    keys.append(given.get("api-key", ""))
    keys += [
        name.removeprefix(_KEY_SUBPROTOCOL)
        for name in subprotocols
        if name.startswith(_KEY_SUBPROTOCOL)
    ]
    return any(hmac.compare_digest(key.encode(), api_key.encode()) for key in keys)


def _denial(status: int, kind: str, code: str, message: str) -> Denial:
    error = {"message": message, "type": kind, "param": None, "code": code}
    return Denial(status, msgspec.json.encode({"error": error}))
