"""Answers to client events that cannot be read, in the service's words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec

from . import events
from ._errors import SchemaError
from ._server_work import Refusal

__all__ = ["check_session_type", "event_id_of", "schema_refusal", "unknown_event"]


def event_id_of(message: str | bytes) -> str | None:
    """The `event_id` of a message, if it has one that can be read."""
    fields = _fields(message)
    event_id = fields.get("event_id")
    return event_id if isinstance(event_id, str) else None


def schema_refusal(error: SchemaError) -> Refusal:
    """The refusal of a message that is no client event.

    Args:
        error: What the codec found.
    """
    path = error.path.removeprefix("$").removeprefix(".")
    if not path:
        return Refusal(
            "We could not parse the JSON body of your event. It must be one JSON object.",
            code="invalid_json",
        )
    if path == "type":
        return Refusal("The 'type' field is missing.", code="invalid_event", param="type")
    if "missing" in str(error):
        return Refusal(
            f"Missing required parameter: '{path}'.", code="missing_required_parameter", param=path
        )
    problem = str(error).rpartition(f"{error.path}: ")[2]
    return Refusal(
        f"Invalid type or value for '{path}': {problem}.", code="invalid_value", param=path
    )


def unknown_event(event: events.UnknownEvent, known: Iterable[type[Any]]) -> Refusal:
    """The refusal of an event whose type this server does not know."""
    names = ", ".join(f"'{kind.__struct_config__.tag}'" for kind in known)
    return Refusal(
        f"Invalid value: '{event.type[:100]}'. Supported values are: {names}.",
        code="invalid_value",
        param="type",
    )


def check_session_type(message: str | bytes) -> None:
    """Refuse a `session.update` whose session does not say what it is.

    The codec takes it for a realtime session; the GA interface asks for the field.

    Raises:
        Refusal: `session.type` is missing.
    """
    session = _fields(message).get("session")
    if isinstance(session, dict) and "type" not in session:
        raise Refusal(
            "Missing required parameter: 'session.type'.",
            code="missing_required_parameter",
            param="session.type",
        )


def _fields(message: str | bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    return cast("dict[str, Any]", fields) if isinstance(fields, dict) else {}
