"""The errors: what they say, and what they carry for a program to decide by (X1, X2)."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio_rt import _errors
from sansio_rt._errors import (
    CommandRefused,
    CommandTimeout,
    ConfigurationError,
    ConnectionClosed,
    EditsFailed,
    FrameError,
    GenerationFailed,
    HandshakeRejected,
    LocalProtocolError,
    MessageTooBig,
    MissingExtra,
    RealtimeError,
    RemoteProtocolError,
    SchemaError,
    StreamOverflow,
    ToolArgumentsError,
    ToolDefinitionError,
    UnsupportedByDialect,
)

PARENTS: dict[type[RealtimeError], tuple[type[BaseException], ...]] = {
    LocalProtocolError: (RealtimeError,),
    ConfigurationError: (LocalProtocolError,),
    ToolDefinitionError: (LocalProtocolError,),
    UnsupportedByDialect: (LocalProtocolError,),
    RemoteProtocolError: (RealtimeError,),
    FrameError: (RemoteProtocolError,),
    SchemaError: (RemoteProtocolError,),
    MessageTooBig: (RemoteProtocolError,),
    HandshakeRejected: (RealtimeError,),
    ConnectionClosed: (RealtimeError,),
    CommandRefused: (RealtimeError,),
    CommandTimeout: (RealtimeError,),
    EditsFailed: (RealtimeError,),
    GenerationFailed: (RealtimeError,),
    ToolArgumentsError: (RealtimeError,),
    StreamOverflow: (RealtimeError,),
    MissingExtra: (RealtimeError, ImportError),
}
REFUSED = "the server refused the WebSocket handshake with HTTP "

# Each error with its message and its attributes. Those of errors that hold nothing else are below.
TOLD: list[tuple[RealtimeError, str, dict[str, Any]]] = [
    (RemoteProtocolError("odd"), "odd", {"close_code": None}),
    (RemoteProtocolError("odd", close_code=1002), "odd", {"close_code": 1002}),
    (FrameError("a reserved bit", close_code=1002), "a reserved bit", {"close_code": 1002}),
    (SchemaError("no JSON"), "no JSON", {"path": "$", "excerpt": "", "close_code": None}),
    (
        SchemaError("expected str", path="$.item.id", excerpt='{"item"'),
        "expected str",
        {"path": "$.item.id", "excerpt": '{"item"', "close_code": None},
    ),
    (
        MessageTooBig("70,000 bytes", limit_bytes=65_536),
        "70,000 bytes",
        {"limit_bytes": 65_536, "close_code": 1009},
    ),
    (
        HandshakeRejected(503, reason="Busy", body='{"error": 1}', retry_after_s=2.5),
        REFUSED + "503 Busy: the server had a problem of its own; try again later "
        '(the server said: {"error": 1})',
        {"status": 503, "reason": "Busy", "body": '{"error": 1}', "retry_after_s": 2.5},
    ),
    (
        HandshakeRejected(401),
        REFUSED + "401: check the API key",
        {"status": 401, "reason": "", "body": "", "retry_after_s": None},
    ),
    (ConnectionClosed("gone"), "gone", {"code": 1006, "reason": "", "by_peer": True}),
    (
        ConnectionClosed("done", code=1000, reason="bye", by_peer=False),
        "done",
        {"code": 1000, "reason": "bye", "by_peer": False},
    ),
    (
        CommandRefused("Unknown voice."),
        "the service refused: Unknown voice.",
        {
            "message": "Unknown voice.",
            "code": None,
            "error_type": None,
            "param": None,
            "event_id": None,
        },
    ),
    (
        CommandRefused(
            "Unknown voice.",
            code="invalid_value",
            error_type="invalid_request_error",
            param="session.audio.output.voice",
            event_id="event_1",
        ),
        "the service refused: Unknown voice. "
        "(code invalid_value, param session.audio.output.voice)",
        {
            "message": "Unknown voice.",
            "code": "invalid_value",
            "error_type": "invalid_request_error",
            "param": "session.audio.output.voice",
            "event_id": "event_1",
        },
    ),
    (
        CommandRefused("No.", param="item.id"),
        "the service refused: No. (param item.id)",
        {"param": "item.id"},
    ),
    (CommandTimeout("no answer"), "no answer", {"missing": ()}),
    (CommandTimeout("no answer", missing=["a", "b"]), "no answer", {"missing": ("a", "b")}),
    (StreamOverflow("too slow", limit_bytes=9), "too slow", {"limit_bytes": 9}),
    (
        MissingExtra("recognition of speech", extra="speech"),
        'recognition of speech needs the extra "speech": pip install "trio-rt[speech]"',
        {"extra": "speech"},
    ),
]
PLAIN = [
    RealtimeError,
    LocalProtocolError,
    ConfigurationError,
    ToolDefinitionError,
    UnsupportedByDialect,
    GenerationFailed,
    ToolArgumentsError,
]


def test_the_tree_is_what_the_module_says() -> None:
    found = {
        value: value.__bases__
        for value in vars(_errors).values()
        if inspect.isclass(value) and issubclass(value, RealtimeError)
    }
    assert found == {RealtimeError: (Exception,), **PARENTS}
    assert sorted(error.__name__ for error in found) == _errors.__all__
    drawn = (_errors.__doc__ or "").split("```")[1]
    for error, (parent, *_) in PARENTS.items():
        line = next(line for line in drawn.splitlines() if error.__name__ in line)
        depth = 1 if parent is RealtimeError else 2
        assert line.index(error.__name__) == 4 * depth


@pytest.mark.parametrize(
    ("error", "message", "attributes"), TOLD, ids=[type(told[0]).__name__ for told in TOLD]
)
def test_message_and_attributes(
    error: RealtimeError, message: str, attributes: dict[str, Any]
) -> None:
    assert str(error) == message
    assert {name: getattr(error, name) for name in attributes} == attributes
    assert error.passing is False


@pytest.mark.parametrize("kind", PLAIN)
def test_errors_that_are_their_message(kind: type[RealtimeError]) -> None:
    error = kind("x=1: give 2")
    assert str(error) == "x=1: give 2"
    assert error.args == ("x=1: give 2",)
    assert error.passing is False


def test_every_error_is_tried_above() -> None:
    tried = {type(told[0]) for told in TOLD} | set(PLAIN) | {EditsFailed}
    assert tried == {RealtimeError, *PARENTS}


def test_failed_edits_are_listed_by_item() -> None:
    refused = CommandRefused("No such item.", code="item_delete_invalid_item_id")
    given: dict[str, RealtimeError] = {"a": refused, "b": CommandTimeout("no answer")}
    error = EditsFailed(given)
    given.clear()
    assert error.errors["a"] is refused
    assert list(error.errors) == ["a", "b"]
    assert str(error) == (
        "2 edits of the conversation failed: a: the service refused: No such item. "
        "(code item_delete_invalid_item_id); b: no answer"
    )


# --- rejected handshakes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (200, "does not speak WebSocket"),
        (204, "does not speak WebSocket"),
        (301, "use the address that it names"),
        (302, "use the address that it names"),
        (307, "use the address that it names"),
        (308, "use the address that it names"),
        (400, "query parameters or headers"),
        (401, "check the API key"),
        (403, "may not use this model"),
        (404, "check the URL and the model's name"),
        (418, "check the URL"),
        (429, "too many requests"),
        (500, "try again later"),
        (599, "try again later"),
    ],
)
def test_every_status_has_its_advice(status: int, advice: str) -> None:
    assert advice in str(HandshakeRejected(status))


@pytest.mark.parametrize(
    "body",
    [
        "<!DOCTYPE HTML>\n<html><body><h1>Error response</h1></body></html>",
        "<html>",
        "\n\t <HTML><p>404",
        "\ufeff<!doctype html><title>Not found</title>",
        '<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>',
    ],
)
def test_a_page_for_browsers_is_not_shown_and_is_kept(body: str) -> None:
    error = HandshakeRejected(404, reason="Not Found", body=body)
    assert str(error) == f"{REFUSED}404 Not Found: check the URL and the model's name"
    assert error.body == body


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("wrong key", "wrong key"),
        (" two\r\n\r\nlines\t", "two lines"),
        (json.dumps({"error": {"message": "a < b"}}), '{"error": {"message": "a < b"}}'),
        ("x" * 201, "x" * 200),
    ],
)
def test_words_of_the_server_are_one_short_line(body: str, shown: str) -> None:
    error = HandshakeRejected(401, body=body)
    assert str(error) == f"{REFUSED}401: check the API key (the server said: {shown})"


@given(st.text())
def test_whatever_the_body_the_message_is_one_line_of_bounded_length(body: str) -> None:
    message = str(HandshakeRejected(400, body=body))
    assert len(message.splitlines()) == 1
    assert len(message) < 400
    assert message.startswith(REFUSED + "400: ")
