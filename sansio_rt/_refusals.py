"""What the service's error codes mean for the command that they answer: tables, nothing else.

Source: spec/server-behaviour.md, rules 2, 3, 8, 11 and 13.
"""

from __future__ import annotations

from . import events
from ._commands import CommandKind
from ._errors import CommandRefused

__all__ = ["FATAL_CODES", "is_benign", "is_conflict", "is_not_there", "kind_of_error", "refusal"]

_LONGEST_MESSAGE = 2000
_LONGEST_NAME = 200

FATAL_CODES = frozenset(
    {
        "account_deactivated",
        "beta_api_shape_disabled",
        "billing_hard_limit_reached",
        "credit_balance_exhausted",
        "insufficient_quota",
        "invalid_api_key",
        "model_not_found",
        "session_expired",
    }
)
"""After these the session cannot go on; all but the last are never worth another try."""

_CONFLICT = "conversation_already_has_active_response"

# What was asked for is so already: success.
_BENIGN = {
    "response_cancel_not_active": CommandKind.CANCEL,
    "input_audio_buffer_commit_empty": CommandKind.COMMIT,
    "item_create_duplicate_item_id": CommandKind.CREATE_ITEM,
    "item_delete_invalid_item_id": CommandKind.DELETE_ITEM,
    "item_delete_item_not_found": CommandKind.DELETE_ITEM,
    "item_not_found": CommandKind.DELETE_ITEM,
}

# Codes that name the command even where the error names no event of ours.
_KINDS = {
    **_BENIGN,
    _CONFLICT: CommandKind.REPLY,
    "cannot_update_voice": CommandKind.UPDATE,
    "item_truncate_invalid_item_id": CommandKind.TRUNCATE_ITEM,
    "item_retrieve_invalid_item_id": CommandKind.RETRIEVE_ITEM,
}

# There is no item that could be retrieved.
_NOT_THERE = frozenset({"item_not_found", "item_retrieve_invalid_item_id"})

_PARAMETERS = {
    "session": CommandKind.UPDATE,
    "response": CommandKind.REPLY,
    "item": CommandKind.CREATE_ITEM,
}


def is_benign(kind: CommandKind | None, code: str) -> bool:
    """Whether a code means that nothing was left to do, for a command of this kind (None: any)."""
    return code in _BENIGN and (kind is None or _BENIGN[code] is kind)


def is_not_there(kind: CommandKind, code: str) -> bool:
    """Whether a code means that there is no item to be retrieved."""
    return kind is CommandKind.RETRIEVE_ITEM and code in _NOT_THERE


def is_conflict(kind: CommandKind, code: str) -> bool:
    """Whether our `response.create` met an active response."""
    return kind is CommandKind.REPLY and code == _CONFLICT


def kind_of_error(code: str, param: str) -> CommandKind | None:
    """The kind of command that alone can have this code or this parameter, or None."""
    return _KINDS.get(code) or _PARAMETERS.get(param.split(".")[0])


def refusal(details: events.ErrorDetails) -> CommandRefused:
    """The service's error as an exception, whose words are no longer than a person reads."""

    def text(value: object) -> str | None:
        return value[:_LONGEST_NAME] if isinstance(value, str) else None

    return CommandRefused(
        details.message[:_LONGEST_MESSAGE] or "no reason given",
        code=text(details.code),
        error_type=text(details.type),
        param=text(details.param),
        event_id=text(details.event_id),
    )
