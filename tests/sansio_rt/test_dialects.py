"""The beta and Azure's two generations at the edge: C6, S1, S2, T4, E8, and issue 3, item 2.

The oracle is `openai.types.beta.realtime`. A file of `tests/data/dialects/` holds one event in the
beta's words and in the GA's.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sansio_rt import events
from sansio_rt._beta import BETA_TO_GA_TYPES, GA_ONLY_SERVER_TYPES
from sansio_rt._dialects import (
    DEFAULTS,
    client_from_wire,
    decode,
    encode,
    from_wire,
    is_beta_refusal,
    server_to_wire,
    to_wire,
    wrong_dialect,
)
from sansio_rt._endpoint import Dialect
from sansio_rt._errors import (
    ConfigurationError,
    LocalProtocolError,
    SchemaError,
    UnsupportedByDialect,
)

DATA = Path(__file__).parents[1] / "data" / "dialects"
BETAS = [Dialect.BETA, Dialect.AZURE_BETA]


def golden(side: str) -> list[Any]:
    files = sorted((DATA / side).glob("*.json"))
    return [pytest.param(json.loads(file.read_text("utf-8")), id=file.stem) for file in files]


def session_update(**session: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "realtime", **session}}


def response_create(**response: Any) -> dict[str, Any]:
    return {"type": "response.create", "response": response}


def item_create(**item: Any) -> dict[str, Any]:
    return {"type": "conversation.item.create", "item": item}


def message(role: str, *content: dict[str, Any]) -> dict[str, Any]:
    return item_create(type="message", role=role, content=list(content))


# --- golden files -------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", golden("server"))
def test_golden_server_events(pair: dict[str, Any]) -> None:
    before = copy.deepcopy(pair)
    for dialect in BETAS:
        assert from_wire(dialect, pair["beta"]) == pair["ga"]
        text = json.dumps(pair["beta"]).encode()
        event = decode(dialect, text)
        assert not isinstance(event, events.UnknownEvent)
        assert event == decode(Dialect.GA, json.dumps(pair["ga"]))
    assert server_to_wire(Dialect.BETA, pair["ga"]) == pair["beta"]
    assert pair == before  # arguments are never changed


@pytest.mark.parametrize("pair", golden("client"))
def test_golden_client_events(pair: dict[str, Any]) -> None:
    before = copy.deepcopy(pair)
    assert to_wire(Dialect.BETA, pair["ga"]) == pair["beta"]
    assert client_from_wire(Dialect.BETA, pair["beta"]) == pair["ga"]
    event = events.client_event_from(pair["ga"])
    assert not isinstance(event, events.UnknownEvent)
    assert json.loads(encode(Dialect.BETA, event)) == pair["beta"]
    assert pair == before


@pytest.mark.parametrize("pair", golden("server") + golden("client"))
def test_the_ga_dialect_is_left_alone(pair: dict[str, Any]) -> None:
    event = pair["ga"]
    assert from_wire(Dialect.GA, event) is event
    assert server_to_wire(Dialect.GA, event) is event
    assert client_from_wire(Dialect.GA, event) is event


# --- the fast road ------------------------------------------------------------------------------

MEMBER_ORDERS = [
    lambda event: event,
    lambda event: {"event_id": event["event_id"], **event},
    lambda event: dict(reversed(event.items())),
    lambda event: dict(sorted(event.items())),
]


@pytest.mark.parametrize("pair", golden("server"))
def test_every_way_of_writing_a_message_gives_the_same_event(pair: dict[str, Any]) -> None:
    expected = events.decode_server(json.dumps(pair["ga"]))
    for order in MEMBER_ORDERS:
        written = order(pair["beta"])
        for text in (
            json.dumps(written),
            json.dumps(written, separators=(",", ":")).encode(),
            bytearray(json.dumps(written, indent=2).encode()),
            memoryview(b" \n" + json.dumps(written).encode()),
        ):
            assert decode(Dialect.BETA, text) == expected


def test_deltas_and_shapes_that_do_not_differ_are_decoded_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("the slow road was taken")

    monkeypatch.setattr("sansio_rt._dialects._any_json", never)
    monkeypatch.setattr("sansio_rt._dialects.from_wire", never)
    for kind in [*BETA_TO_GA_TYPES, "response.function_call_arguments.delta", "error"]:
        if kind == "conversation.item.created":
            continue
        beta = json.loads((DATA / "server" / f"{kind}.json").read_text("utf-8"))["beta"]
        for order in MEMBER_ORDERS[:2]:
            assert decode(Dialect.BETA, json.dumps(order(beta)).encode())


@given(
    st.sampled_from(sorted(BETA_TO_GA_TYPES)),
    st.text(max_size=20),
    st.sampled_from(["delta", "event_id", "extra"]),
)
def test_only_the_type_is_renamed_whatever_else_the_message_says(
    name: str, text: str, key: str
) -> None:
    for value in (name, f'"type":"{name}"', text):
        event = {"type": "response.audio_transcript.delta", "item_id": name, key: value}
        event = {"event_id": "e", **event, "response_id": "r", "output_index": 0}
        event = {**event, "content_index": 0, "delta": value}
        expected = {**event, "type": "response.output_audio_transcript.delta"}
        assert decode(Dialect.BETA, json.dumps(event)) == events.decode_server(json.dumps(expected))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b'"response.audio.delta"',
        b"nonsense",
        b"\xff\xfe",
        b'{"type":"response.audio.delta"',
        b'{"type":"response.audio.delta"}',
        b'{"type":"response.audio.delta","delta":"\xff"}',
        b'{"type":7}',
        b'{"session":{}}',
        b'{"type":"session.created","event_id":"e","session":7}',
        b'{"type":"response.done","event_id":"e","response":"x"}',
        b'{"item":' + b"[" * 10_000,
        '{"type":"error","error":"\ud800"}',
    ],
)
def test_broken_messages_cost_a_schema_error_each(text: bytes | str) -> None:
    with pytest.raises(SchemaError):
        decode(Dialect.BETA, text)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["audio", "text", "message"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "role",
                    "content",
                    "output",
                    "modalities",
                    "voice",
                    "input_audio_format",
                    "tool_choice",
                    "function",
                    "turn_detection",
                    "audio",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(
        [
            "session.created",
            "transcription_session.updated",
            "session.update",
            "response.create",
            "response.done",
            "conversation.item.created",
            "conversation.item.create",
            "x",
        ]
    ),
    st.dictionaries(st.sampled_from(["session", "item", "response", "input"]), JSON_VALUES),
)
@example("session.created", {"session": {"audio": None, "voice": None}})
@example("session.created", {"session": {"audio": {}, "voice": None}})
def test_reading_refuses_nothing_and_never_fails(kind: str, fields: dict[str, Any]) -> None:
    event = {"type": kind, **fields}
    before = copy.deepcopy(event)
    assert from_wire(Dialect.BETA, event)["type"]
    assert client_from_wire(Dialect.BETA, event)["type"]
    assert event == before
    try:  # writing refuses by name, and fails in no other way
        to_wire(Dialect.BETA, event)
        server_to_wire(Dialect.BETA, event)
    except UnsupportedByDialect:
        assert event == before


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize("name", ["session", "response", "item"])
@pytest.mark.parametrize("odd", [None, 7, "x", [], [7]])
def test_odd_shapes_stay_as_they_are(side: str, name: str, odd: object) -> None:
    for pair in golden(side):
        event = {**pair.values[0]["beta"], name: odd}
        if side == "server":
            assert from_wire(Dialect.BETA, event)[name] == odd
        else:
            assert client_from_wire(Dialect.BETA, event)[name] == odd
            assert to_wire(Dialect.BETA, event)[name] == odd


def test_unknown_events_pass_through() -> None:
    event = {"type": "brand.new", "event_id": "e", "value": 1}
    assert decode(Dialect.BETA, json.dumps(event)) == events.UnknownEvent(
        type="brand.new", data=event
    )
    assert server_to_wire(Dialect.BETA, event) == event
    assert to_wire(Dialect.BETA, event) is event
    assert client_from_wire(Dialect.BETA, event) is event


# --- what a dialect cannot say ------------------------------------------------------------------

SETTINGS_OF_THE_GA = [
    ("session.truncation", session_update(truncation="auto")),
    ("session.reasoning", session_update(reasoning={"effort": "low"})),
    ("session.include", session_update(include=["item.input_audio_transcription.logprobs"])),
    ("session.prompt", session_update(prompt={"id": "p"})),
    ("session.parallel_tool_calls", session_update(parallel_tool_calls=False)),
    ("session.tools[1]", session_update(tools=[{"type": "function"}, {"type": "mcp"}])),
    ("session.tool_choice", session_update(tool_choice={"type": "mcp", "server_label": "x"})),
    ("session.audio.output.voice", session_update(audio={"output": {"voice": {"id": "v"}}})),
    ("session.audio.output.new", session_update(audio={"output": {"new": 1}})),
    ("session.audio.side", session_update(audio={"side": 1})),
    (
        "session.audio.input.format.rate",
        session_update(audio={"input": {"format": {"type": "audio/pcm", "rate": 16000}}}),
    ),
    (
        "session.audio.input.format",
        session_update(audio={"input": {"format": {"type": "audio/opus"}}}),
    ),
    (
        "session.audio.output.format",
        session_update(audio={"output": {"format": "audio/pcm"}}),
    ),
    (
        "session.audio.input.turn_detection.idle_timeout_ms",
        session_update(
            audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 9}}}
        ),
    ),
    (
        "session.audio.input.noise_reduction.strength",
        session_update(audio={"input": {"noise_reduction": {"strength": 0.5}}}),
    ),
    *(
        (
            f"session.audio.input.transcription.{name}",
            session_update(audio={"input": {"transcription": {name: value}}}),
        )
        for name, value in {"keywords": ["x"], "languages": ["en"], "delay": "low"}.items()
    ),
    (
        "session.audio.output",
        {
            "type": "session.update",
            "session": {"type": "transcription", "audio": {"output": {"voice": "ash"}}},
        },
    ),
    ("response.reasoning", response_create(reasoning={"effort": "low"})),
    ("response.prompt", response_create(prompt={"id": "p"})),
    ("response.parallel_tool_calls", response_create(parallel_tool_calls=True)),
    ("response.audio.output.speed", response_create(audio={"output": {"speed": 1.1}})),
    ("response.audio.input.format", response_create(audio={"input": {"format": {}}})),
    ("response.input[1].type", response_create(input=[{"type": "x"}, {"type": "mcp_call"}])),
    ("item.type", item_create(type="mcp_approval_response", approve=True)),
]


@pytest.mark.parametrize("dialect", BETAS)
@pytest.mark.parametrize(
    ("path", "event"), SETTINGS_OF_THE_GA, ids=[path for path, _ in SETTINGS_OF_THE_GA]
)
def test_what_the_beta_cannot_say_is_refused_by_its_path(
    path: str, event: dict[str, Any], dialect: Dialect
) -> None:
    with pytest.raises(UnsupportedByDialect) as caught:
        to_wire(dialect, event)
    assert str(caught.value).startswith(path)
    assert dialect.value in str(caught.value)
    assert to_wire(Dialect.GA, event) is event


def test_null_for_what_the_beta_has_not_is_left_out() -> None:  # S2
    event = session_update(
        truncation=None,
        prompt=None,
        audio={
            "input": {
                "noise_reduction": {"type": "near_field", "strength": None},
                "turn_detection": {"type": "server_vad", "idle_timeout_ms": None},
                "transcription": {"model": "m", "keywords": None},
            },
            "output": {"new": None},
            "side": None,
        },
    )
    assert to_wire(Dialect.BETA, event)["session"] == {
        "input_audio_noise_reduction": {"type": "near_field"},
        "turn_detection": {"type": "server_vad"},
        "input_audio_transcription": {"model": "m"},
    }
    assert to_wire(Dialect.BETA, session_update(audio=None))["session"] == {}
    assert to_wire(Dialect.BETA, response_create(audio=None))["response"] == {}


@pytest.mark.parametrize("dialect", BETAS)
def test_null_switches_off_and_what_is_left_out_stays_out(dialect: Dialect) -> None:  # S2
    off = {"turn_detection": None, "transcription": None, "noise_reduction": None, "format": None}
    event = session_update(audio={"input": off}, tracing=None, tool_choice=None, tools=None)
    assert to_wire(dialect, event)["session"] == {
        "turn_detection": None,
        "input_audio_transcription": None,
        "input_audio_noise_reduction": None,
        "input_audio_format": None,
        "tracing": None,
        "tool_choice": None,
        "tools": None,
    }
    assert to_wire(dialect, session_update())["session"] == {}


@pytest.mark.parametrize("name", ["session", "response"])
def test_the_ga_has_no_temperature(name: str) -> None:  # S1
    event = {"type": "session.update", name: {"temperature": 0.8}}
    with pytest.raises(UnsupportedByDialect, match=rf"{name}\.temperature"):
        to_wire(Dialect.GA, event)
    assert to_wire(Dialect.GA, {"type": "session.update", name: None})
    update = events.SessionUpdate(session=events.RealtimeSession(extra={"temperature": 0.8}))
    with pytest.raises(UnsupportedByDialect, match="temperature"):
        encode(Dialect.GA, update)
    assert json.loads(encode(Dialect.BETA, update))["session"] == {"temperature": 0.8}


def test_encoding_ga_is_the_codec_s() -> None:
    for event in (
        events.SessionUpdate(session=events.RealtimeSession(instructions="Be kind.")),
        events.InputAudioBufferAppend(audio=b"\x00\x01"),
        events.ResponseCreate(),
    ):
        assert encode(Dialect.GA, event) == events.encode(event)
    append = events.InputAudioBufferAppend(audio=b"\x00\x01")
    assert encode(Dialect.BETA, append) == events.encode(append)
    assert encode(Dialect.BETA, events.ResponseCreate()) == b'{"type":"response.create"}'


def test_what_json_cannot_say_is_refused_in_every_dialect() -> None:
    event = events.ResponseCreate(
        response=events.ResponseParams(extra={"temperature": float("nan")})
    )
    with pytest.raises(LocalProtocolError, match="temperature"):
        encode(Dialect.BETA, event)


# --- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("given_", [["audio"], ["text", "audio"], ["audio", "text"]])
def test_speech_is_text_and_audio_in_the_beta(given_: list[str]) -> None:
    beta = to_wire(Dialect.BETA, session_update(output_modalities=given_))
    assert beta["session"] == {"modalities": ["text", "audio"]}
    for modalities in (given_, ["text", "audio"]):
        ga = from_wire(
            Dialect.BETA, {"type": "session.updated", "session": {"modalities": modalities}}
        )
        assert ga["session"] == {"type": "realtime", "output_modalities": ["audio"]}
    text = to_wire(Dialect.BETA, response_create(output_modalities=["text"]))
    assert text["response"] == {"modalities": ["text"]}


def test_a_named_function_has_each_dialect_s_form() -> None:  # T4
    choice = {"type": "function", "name": "roll"}
    azure = {"type": "function", "function": {"name": "roll"}}
    for name, make in (("session", session_update), ("response", response_create)):
        event = make(tool_choice=choice)
        assert to_wire(Dialect.GA, event)[name]["tool_choice"] == choice
        assert to_wire(Dialect.BETA, event)[name]["tool_choice"] == choice
        assert to_wire(Dialect.AZURE_BETA, event)[name]["tool_choice"] == azure
    for echoed in (choice, azure):
        event = {"type": "session.updated", "session": {"tool_choice": echoed}}
        assert from_wire(Dialect.AZURE_BETA, event)["session"]["tool_choice"] == choice
    for word in ("auto", "none", "required"):
        for dialect in Dialect:
            event = session_update(tool_choice=word)
            assert to_wire(dialect, event)["session"]["tool_choice"] == word


def test_azure_gets_no_inf_and_a_transcription_model() -> None:  # S2, S1
    event = session_update(max_output_tokens="inf", audio={"input": {"transcription": {}}})
    assert to_wire(Dialect.AZURE_BETA, event)["session"] == {
        "input_audio_transcription": {"model": "whisper-1"}
    }
    assert to_wire(Dialect.BETA, event)["session"] == {
        "max_response_output_tokens": "inf",
        "input_audio_transcription": {},
    }
    assert to_wire(Dialect.AZURE_BETA, response_create(max_output_tokens="inf"))["response"] == {}
    assert to_wire(Dialect.AZURE_BETA, response_create(max_output_tokens=9))["response"] == {
        "max_response_output_tokens": 9
    }
    own = session_update(audio={"input": {"transcription": {"model": "mine"}}})
    assert to_wire(Dialect.AZURE_BETA, own)["session"] == {
        "input_audio_transcription": {"model": "mine"}
    }


def test_a_format_that_nobody_knows_is_still_read() -> None:
    session = {"input_audio_format": "opus", "output_audio_format": 7, "tools": "odd"}
    ga = from_wire(Dialect.BETA, {"type": "session.updated", "session": session})
    assert ga["session"]["audio"] == {
        "input": {"format": {"type": "opus"}},
        "output": {"format": 7},
    }


# --- items --------------------------------------------------------------------------------------


def test_items_as_a_client_writes_them() -> None:  # C6
    say = {"type": "input_text", "text": "x"}
    sound = {"type": "input_audio", "audio": "AAAA"}
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    for event in (message("user", say, sound, image), message("system", say)):
        assert to_wire(Dialect.BETA, event) == event
    developer = to_wire(Dialect.BETA, message("developer", say))
    assert developer == message("system", say)
    spoken = message(
        "assistant",
        {"type": "output_text", "text": "a"},
        {"type": "output_audio", "audio": "AAAA", "transcript": "b"},
        {"type": "audio", "transcript": None},
        {"type": "text", "text": "c"},
    )
    assert to_wire(Dialect.BETA, spoken) == message(
        "assistant",
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
        {"type": "text", "text": ""},
        {"type": "text", "text": "c"},
    )
    odd = item_create(type="message", role="assistant", content="odd")
    assert to_wire(Dialect.BETA, odd) == odd


def test_the_other_role_drops_what_the_beta_has_not() -> None:
    for kind in GA_ONLY_SERVER_TYPES:
        assert server_to_wire(Dialect.BETA, {"type": kind}) is None
    with pytest.raises(UnsupportedByDialect, match=r"session\.truncation"):
        server_to_wire(Dialect.BETA, {"type": "session.updated", "session": {"truncation": "auto"}})


def test_the_first_transcription_session_event_is_known_too() -> None:
    event = {"type": "transcription_session.created", "event_id": "e", "session": {"id": "s"}}
    ga = from_wire(Dialect.BETA, event)
    assert ga == {
        "type": "session.created",
        "event_id": "e",
        "session": {"type": "transcription", "id": "s"},
    }
    assert server_to_wire(Dialect.BETA, ga) == event


# --- the rest -----------------------------------------------------------------------------------


def test_defaults() -> None:  # S1
    assert DEFAULTS.keys() == set(Dialect)
    assert DEFAULTS[Dialect.GA].voice == "marin"
    assert DEFAULTS[Dialect.GA].temperature is None
    assert DEFAULTS[Dialect.BETA].voice == DEFAULTS[Dialect.AZURE_BETA].voice == "alloy"
    assert DEFAULTS[Dialect.BETA].temperature == 0.8
    assert DEFAULTS[Dialect.BETA].transcription_model == "gpt-4o-mini-transcribe"
    assert DEFAULTS[Dialect.AZURE_BETA].transcription_model == "whisper-1"


def test_a_server_that_turns_the_beta_away_is_recognised() -> None:  # E8
    assert is_beta_refusal(code="beta_api_shape_disabled")
    assert is_beta_refusal(close_code=4000)
    assert not is_beta_refusal(code="invalid_api_key", close_code=1000)
    error = wrong_dialect(Dialect.BETA)
    assert isinstance(error, ConfigurationError)
    assert 'dialect="ga"' in str(error)
