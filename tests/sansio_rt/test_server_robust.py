"""Nothing that a client sends gets an exception out of the session, or an event that is not published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sansio_rt._server_work import ReplyWanted, TranscriptionWanted

SAMPLES = (
    (Path(__file__).parents[1] / "data" / "events" / "client.jsonl")
    .read_text("utf-8")
    .strip()
    .split("\n")
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "id", "audio", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all values inside a JSON value."""
    # A stored prompt's variables are echoed as they were given: the emulator has no prompts.
    children = (
        [item for item in value.items() if item[0] != "prompt"] if isinstance(value, dict) else ()
    )
    if isinstance(value, list):
        children = enumerate(value)
    return [path] + [found for key, child in children for found in paths_of(child, (*path, key))]


@st.composite
def spoilt_events(draw: st.DrawFn) -> str:
    """A client event of the published shape, with one value anywhere replaced or taken out."""
    event = json.loads(draw(st.sampled_from(SAMPLES)))
    *way, key = draw(st.sampled_from(paths_of(event)[1:]))
    place = event
    for step in way:
        place = place[step]
    if draw(st.booleans()):
        place[key] = draw(JSON)
    else:
        del place[key]
    return json.dumps(event)


MESSAGES = st.sampled_from(SAMPLES) | spoilt_events() | st.text(max_size=20)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(MESSAGES, max_size=12), st.sampled_from([None, 20.0]))
def test_whatever_a_client_sends(server: Any, messages: list[str], pace: float | None) -> None:
    driver = server(pace=pace)
    for message in messages:
        driver.session.receive_message(message, driver.now)
        driver.take()
        while driver.work:
            work = driver.work.pop(0)
            if isinstance(work, TranscriptionWanted):
                driver.session.transcribed(work.item_id, "words", driver.now)
            elif isinstance(work, ReplyWanted):
                driver.begin_reply(work)
                driver.session.finish(work.response_id, driver.now)
            driver.take()
        driver.advance(0.01)
    driver.advance(60.0)
    created = driver.types().count("response.created")
    assert driver.types().count("response.done") == created
    answers = driver.update(instructions="still here")
    assert answers[0]["type"] == "session.updated"


@pytest.mark.parametrize("depth", [50, 400, 900, 100_000])
@pytest.mark.parametrize("place", ["parameters", "metadata", "item"])
def test_deep_nesting(server: Any, place: str, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    message = {
        "parameters": '{"type":"session.update","session":{"type":"realtime","tools":'
        f'[{{"type":"function","name":"f","parameters":{deep}}}]}}}}',
        "metadata": f'{{"type":"response.create","response":{{"metadata":{{"a":{deep}}}}}}}',
        "item": f'{{"type":"conversation.item.create","item":{deep}}}',
    }[place]
    driver = server()
    driver.session.receive_message(message, 0.0)
    # Not checked against the published types: pydantic does not read it where we still do.
    assert len(driver.session.messages_to_send()) == 1
    assert driver.update(tools=[])[0]["type"] == "session.updated"


def deep_list() -> list[Any]:
    """What can be read and not be written."""
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    return deep


def test_an_update_that_cannot_be_told_changes_nothing(server: Any) -> None:
    driver = server()
    tool = {"type": "function", "name": "f", "parameters": deep_list()}
    error = driver.refused("session.update", session={"type": "realtime", "tools": [tool]})
    assert error["code"] == "invalid_value"
    assert driver.session.session.tools == []
    assert driver.update(instructions="Be kind.")[0]["type"] == "session.updated"


def test_an_item_that_cannot_be_told_is_not_there(server: Any) -> None:
    driver = server()
    tools = [{"name": "f", "input_schema": {"deep": deep_list()}}]
    item = {"type": "mcp_list_tools", "server_label": "files", "tools": tools, "id": "i"}
    assert driver.refused("conversation.item.create", item=item)["code"] == "invalid_value"
    assert driver.session.items == []
    assert driver.say_text("Hello.", id="i") == "i"
