"""Which values the server takes, at their bounds, and how it says so (rule 4)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sansio_rt import events
from sansio_rt._server_refusals import Refusal
from sansio_rt._server_rules import (
    RESPONSE_RULES,
    SESSION_RULES,
    Rule,
    Rules,
    check_known,
    check_rules,
    entries_of,
    setting,
)
from sansio_rt._server_rules import (
    _between as between,
)
from sansio_rt._server_rules import (
    _is_structured_or as structured_or,
)
from sansio_rt._server_rules import (
    _one_of as one_of,
)

INPUT = "audio.input"
DETECTION = f"{INPUT}.turn_detection"
EFFORTS = ["minimal", "low", "medium", "high", "xhigh"]
TAKEN: dict[str, tuple[list[Any], list[Any]]] = {
    "output_modalities": ([["audio"], ["text"]], [[], ["audio", "text"], ["song"]]),
    "max_output_tokens": (["inf", 1, 4096], [0, 4097, "many"]),
    "reasoning.effort": (EFFORTS, ["none"]),
    "audio.output.speed": ([0.25, 1, 1.5], [0.2499, 1.5001]),
    f"{DETECTION}.threshold": ([0.0, 1.0], [-0.01, 1.01]),
    f"{DETECTION}.prefix_padding_ms": ([0, 60_000], [-1, 60_001]),
    f"{DETECTION}.silence_duration_ms": ([0, 60_000], [-1, 60_001]),
    f"{DETECTION}.idle_timeout_ms": ([5_000, 30_000], [4_999, 30_001]),
    f"{INPUT}.noise_reduction.type": (["near_field", "far_field"], ["no_field"]),
    f"{INPUT}.transcription.model": (["whisper-1"], [""]),
    f"{INPUT}.transcription.delay": (EFFORTS, ["none"]),
    "include": ([[], ["item.input_audio_transcription.logprobs"]], [["everything"]]),
    "tracing": (["auto", {"workflow_name": "x"}], ["always"]),
    "truncation": (["auto", "disabled"], ["never"]),
}
DETECTIONS = {"eagerness": "semantic_vad"}


def session(path: str, value: Any) -> events.RealtimeSession:
    """A session with one value at a path."""
    names = path.split(".")
    data: Any = value
    for depth, name in reversed(list(enumerate(names))):
        data = {name: data}
        if names[depth - 1 : depth] == ["turn_detection"]:
            data["type"] = DETECTIONS.get(name, "server_vad")
    return msgspec.convert({"type": "realtime", **data}, events.RealtimeSession, strict=False)


def refusal(session_or_response: Any, rules: Any = SESSION_RULES) -> Refusal | None:
    try:
        check_rules(session_or_response, rules, "session")
    except Refusal as refused:
        return refused
    return None


@pytest.mark.parametrize("path", TAKEN)
def test_values_at_their_bounds(path: str) -> None:
    taken, refused = TAKEN[path]
    for value in taken:
        assert refusal(session(path, value)) is None, value
    for value in refused:
        error = refusal(session(path, value))
        assert error is not None, value
        assert (error.code, error.param) == ("invalid_value", f"session.{path}")


def test_the_makers_of_rules() -> None:
    holds = between(1, 2)
    assert [holds(value) for value in (0.9, 1, 2, 2.1, "1", [1])] == [
        *(False, True, True),
        *(False, False, False),
    ]
    assert one_of("a", "b")("b")
    assert not one_of("a", "b")("c")
    assert structured_or("a")("a")
    assert structured_or("a")({"b": 1})
    assert not structured_or("a")("b")


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        ({"allowed_callers": ["direct", "programmatic"]}, True),
        ({"allowed_callers": ["direct", "somebody"]}, False),
        ({"connector_id": "connector_gmail"}, True),
        ({"connector_id": "connector_pigeon"}, False),
        ({"require_approval": "always"}, True),
        ({"require_approval": "never"}, True),
        ({"require_approval": "sometimes"}, False),
        ({"allowed_callers": ["somebody"], "connector_id": "connector_gmail"}, False),
        ({"connector_id": "connector_pigeon", "require_approval": "never"}, False),
        ({}, True),
    ],
)
def test_tools_of_mcp_servers(fields: dict[str, Any], taken: bool) -> None:
    tool = events.McpTool(server_label="files", **fields)
    error = refusal(events.RealtimeSession(tools=[tool]))
    assert (error is None) is taken
    error = refusal(events.ResponseParams(tools=[tool]), RESPONSE_RULES)
    assert (error is None) is taken


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["a", "b"], True),
        (["a", "a"], False),
        (["a b"], False),
        (["x" * 64], True),
        (["x" * 65], False),
    ],
)
def test_names_of_functions(names: list[str], taken: bool) -> None:
    tools = [events.FunctionTool(name=name) for name in names]
    assert (refusal(events.RealtimeSession(tools=tools)) is None) is taken


@pytest.mark.parametrize(
    ("metadata", "taken"),
    [
        ({f"k{number}": "" for number in range(16)}, True),
        ({f"k{number}": "" for number in range(17)}, False),
        ({"k" * 64: "x" * 512}, True),
        ({"k" * 65: ""}, False),
        ({"k": "x" * 513}, False),
        ({"k": 1}, False),
    ],
)
def test_metadata_of_a_response(metadata: dict[str, Any], taken: bool) -> None:
    given = events.ResponseParams(metadata=metadata)
    assert (refusal(given, RESPONSE_RULES) is None) is taken


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("output_modalities", ["song"], "Invalid value: ['song']. Supported combinations"),
        ("audio.output.speed", 9.5, "Invalid value: 9.5. Use a number from 0.25 to 1.5."),
        ("tracing", "x" * 300, f"Invalid value: '{'x' * 199}. Use 'auto'"),
        ("truncation", "never", "Invalid value: 'never'. Use 'auto', 'disabled'"),
    ],
)
def test_a_refusal_shows_a_simple_value(path: str, value: Any, words: str) -> None:
    assert str(refusal(session(path, value))).startswith(words)


def test_a_refusal_shows_no_structure() -> None:
    tools = [events.FunctionTool(name="no name")]
    error = refusal(events.RealtimeSession(tools=tools))
    assert str(error).startswith("Invalid value: the value. Every function needs")


def test_what_is_not_known_is_named_by_its_path() -> None:
    odd = events.InputText(text="x", extra={"odd": 1})
    message = events.Message(role="user", content=[events.InputText(text="y"), odd])
    for given, path in ((message, "item"), ({"it": message}, "a"), ([message], "b")):
        with pytest.raises(Refusal) as caught:
            check_known(given, path)
        prefix = {"item": "item", "a": "a.it", "b": "b[0]"}[path]
        assert caught.value.param == f"{prefix}.content[1].odd"
        assert caught.value.code == "unknown_parameter"
    with pytest.raises(Refusal) as caught:
        check_known(events.UnknownItem(type="poem", data={}), "item")
    assert caught.value.param == "item.type"
    check_known(events.InputText(text="y"), "item")
    check_known("what is no object", "item")


def test_a_setting_behind_nothing_is_not_set() -> None:
    nothing = events.RealtimeSession()
    assert setting(nothing, "audio.input.format") is msgspec.UNSET
    detached = events.RealtimeSession(
        audio=events.AudioConfig(input=events.AudioInput(turn_detection=None))
    )
    assert setting(detached, "audio.input.turn_detection") is None
    assert setting(detached, "audio.input.turn_detection.threshold") in (None, msgspec.UNSET)
    assert setting(session("tracing", "auto"), "tracing") == "auto"
    assert setting(session("tracing", "auto"), "tracing.of.nobody") is msgspec.UNSET


def test_only_lists_have_entries() -> None:
    assert entries_of([1, "a"]) == [1, "a"]
    assert entries_of("ab") == []


def test_rules_are_looked_up_field_by_field_in_their_order() -> None:
    whole, rate, include, delay, speed = (
        Rule(path, between(0, 1), "")
        for path in ("audio", "audio.input.rate", "include", "audio.input.delay", "audio.speed")
    )
    first, second, third = Rules(whole, rate, include, delay, speed).of_field
    assert (first[:2], second, third[:2]) == (
        *(("audio", [whole]), ("include", [include], None), ("audio", [])),
    )
    assert first[2] is not None
    assert third[2] is not None
    ((name, own, inside),) = first[2].of_field
    assert (name, own) == ("input", [])
    assert inside is not None
    assert inside.of_field == [("rate", [rate], None)]
    assert [(name, own) for name, own, _ in third[2].of_field] == [
        *(("input", []), ("speed", [speed])),
    ]


def test_the_first_of_several_broken_rules_is_told() -> None:
    data = {"output": {"speed": 9}, "input": {"noise_reduction": {"type": "no_field"}}}
    both = msgspec.convert({"type": "realtime", "audio": data}, events.RealtimeSession)
    error = refusal(both)
    assert error is not None
    assert error.param == "session.audio.output.speed"
