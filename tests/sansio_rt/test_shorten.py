"""What logs may show of an event: one short line, without audio and keys (M3)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sansio_rt import events
from sansio_rt._shorten import EVENT_LIMIT, shorten, shorten_text

KEY = "sk-proj-7Hx9QmZ2Lr4TnV8b"


def test_audio_is_shown_as_its_size() -> None:  # M3
    assert shorten(events.InputAudioBufferAppend(audio=bytes(4800))) == (
        'input_audio_buffer.append {"audio":"<4800 bytes>"}'
    )
    item = events.Message(role="user", content=[events.InputAudio(audio="QUJD" * 4000)])
    shown = shorten(events.ConversationItemCreate(item=item))
    assert "<16000 characters>" in shown
    assert "QUJD" not in shown


def test_long_texts_and_lists_are_cut_and_say_so() -> None:  # M3
    delta = "x" * 100_000
    text = events.ResponseOutputTextDelta(
        response_id="r", item_id="i", output_index=0, content_index=0, delta=delta
    )
    assert len(shorten(text)) < 600
    assert "(100000 characters)" in shorten(text)
    tools = [events.FunctionTool(name=f"tool_{number}") for number in range(500)]
    update = shorten(events.SessionUpdate(session=events.RealtimeSession(tools=tools)))
    assert "500 entries" in update
    assert "tool_499" not in update
    assert "tool_1" in update
    assert shorten_text("short") == "short"


def unknown(**fields: Any) -> Any:
    return events.decode_server(json.dumps({"type": "x.y", "event_id": "e", **fields}).encode())


def test_an_object_of_many_fields_is_cut_and_says_so() -> None:  # M3
    many = {f"field_{number}": number for number in range(30)}
    shown = shorten(unknown(many=many))
    assert "30 fields" in shown
    assert "field_19" in shown
    assert "field_20" not in shown


def test_what_lies_too_deep_is_left_out() -> None:  # M3
    deep: dict[str, Any] = {"bottom": "here"}
    for _ in range(20):
        deep = {"a": deep}
    shown = shorten(unknown(deep=deep))
    assert "…" in shown
    assert "here" not in shown
    assert "here" in shorten(unknown(deep={"a": {"a": {"bottom": "here"}}}))


def test_an_event_is_one_line() -> None:  # M3
    event = events.decode_server(b'{"type":"evil\\nline","a\\nb":"c\\nd","event_id":"e"}')
    assert "\n" not in shorten(event)


SECRETS: dict[str, Any] = {
    "a tool's authorization": events.SessionUpdate(
        session=events.RealtimeSession(
            tools=[
                events.McpTool(
                    server_label="files",
                    authorization="hunter2",
                    headers={"X-Thing": "hunter2"},
                    server_url="https://me:hunter2@host/mcp?api_key=hunter2&token=hunter2",
                )
            ]
        )
    ),
    "a key in an error": events.Error(
        event_id="e", error=events.ErrorDetails(message=f"Incorrect API key provided: {KEY}.")
    ),
    "a header in a text": events.Error(
        event_id="e", error=events.ErrorDetails(message="Authorization: Bearer hunter2")
    ),
    "JSON in a text": events.FunctionCallOutput(call_id="c", output='{"password": "hunter2"}'),
    "an unknown event": {
        "type": "client_secret.created",
        "client_secret": {"value": "hunter2", "expires_at": 1},
        "X-Api-Key": "hunter2",
        "access_token": "hunter2",
        "nested": [{"deep": {"Authorization": ["hunter2"]}}],
        "headers": "hunter2",
        "jwt": "eyJhbGciOi.hunter2.sig",
        "ephemeral": "ek_hunter2",
    },
    "an unknown field": {
        "type": "response.done",
        "event_id": "e",
        "response": {"id": "r"},
        "secret": "hunter2",
    },
    "a key that the cut splits": events.Error(
        event_id="e", error=events.ErrorDetails(message="m" * 190 + " " + KEY)
    ),
}


@pytest.mark.parametrize("name", SECRETS)
def test_no_key_is_ever_shown(name: str) -> None:  # M3
    event = SECRETS[name]
    if isinstance(event, dict):
        event = events.decode_server(json.dumps(event).encode())
    elif isinstance(event, events.FunctionCallOutput):
        event = events.ConversationItemCreate(item=event)
    shown = shorten(event)
    assert "hunter2" not in shown
    assert KEY[8:16] not in shown
    assert "***" in shown


def test_counts_of_tokens_are_shown() -> None:  # M3
    event = events.decode_server(
        b'{"type":"response.done","event_id":"e","response":{"id":"resp_1",'
        b'"usage":{"total_tokens":12345},"max_output_tokens":77}}'
    )
    assert "12345" in shorten(event)
    assert "77" in shorten(event)


texts = st.text(max_size=300)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=25) | st.dictionaries(texts, inner, max_size=25),
    max_leaves=40,
)


@given(st.dictionaries(texts, values, max_size=5))
@settings(max_examples=60)
def test_any_event_is_shown_on_one_short_line(fields: dict[str, Any]) -> None:  # M3, X3
    shown = shorten(events.decode_server(json.dumps(fields | {"type": "some.event"}).encode()))
    assert shown.startswith("some.event {")
    assert "\n" not in shown
    assert len(shown) <= EVENT_LIMIT + 40


@given(st.text(max_size=250), st.text(max_size=250))
def test_a_key_anywhere_in_a_text_is_masked(before: str, after: str) -> None:  # M3
    shown = shorten_text(f"{before} {KEY} {after}")
    assert KEY[3:] not in shown
    assert "7Hx9" not in shown
