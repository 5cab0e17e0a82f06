"""What the service's error codes mean for the command that they answer."""

from __future__ import annotations

import pytest

from sansio_rt import CommandKind, events
from sansio_rt._refusals import FATAL_CODES, is_benign, is_conflict, kind_of_error, refusal


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("response_cancel_not_active", CommandKind.CANCEL),  # rule 3
        ("input_audio_buffer_commit_empty", CommandKind.COMMIT),  # rule 8
        ("item_create_duplicate_item_id", CommandKind.CREATE_ITEM),  # rule 11, C9
        ("item_delete_invalid_item_id", CommandKind.DELETE_ITEM),  # C9
    ],
)
def test_what_is_so_already_is_success_for_its_own_command_only(
    code: str, kind: CommandKind
) -> None:
    assert is_benign(kind, code)
    assert is_benign(None, code)
    assert not is_benign(CommandKind.UPDATE, code)
    assert kind_of_error(code, "") is kind


def test_other_codes_are_not_benign() -> None:
    for code in ("", "server_error", "invalid_value", "cannot_update_voice"):
        assert not is_benign(None, code)


def test_a_collision_is_one_for_replies_only() -> None:
    code = "conversation_already_has_active_response"
    assert is_conflict(CommandKind.REPLY, code)
    assert not is_conflict(CommandKind.UPDATE, code)
    assert not is_conflict(CommandKind.REPLY, "invalid_value")
    assert kind_of_error(code, "") is CommandKind.REPLY


@pytest.mark.parametrize(
    ("param", "kind"),
    [
        ("session.audio.output.voice", CommandKind.UPDATE),
        ("response.tools", CommandKind.REPLY),
        ("item.content[0].text", CommandKind.CREATE_ITEM),
        ("audio", None),
        ("", None),
    ],
)
def test_a_parameter_tells_the_kind_where_the_code_does_not(
    param: str, kind: CommandKind | None
) -> None:
    assert kind_of_error("invalid_value", param) is kind


def test_after_these_a_session_cannot_go_on() -> None:  # rule 13
    assert {"insufficient_quota", "invalid_api_key", "session_expired"} <= FATAL_CODES
    assert "rate_limit_exceeded" not in FATAL_CODES


def test_an_error_of_the_service_as_an_exception() -> None:
    details = events.ErrorDetails(
        type="invalid_request_error",
        code="invalid_value",
        message="No such voice.",
        param="session.audio.output.voice",
        event_id="e1",
    )
    error = refusal(details)
    assert (error.code, error.param, error.event_id) == (
        "invalid_value",
        "session.audio.output.voice",
        "e1",
    )
    assert error.error_type == "invalid_request_error"
    assert "No such voice." in str(error)
    assert "session.audio.output.voice" in str(error)


def test_an_error_that_says_nothing_is_an_exception_all_the_same() -> None:
    error = refusal(events.ErrorDetails(type="server_error", message=""))
    assert (error.code, error.param, error.event_id) == (None, None, None)
    assert "no reason given" in str(error)
