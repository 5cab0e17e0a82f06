"""Whole conversations of the server, event by event and field by field, against recorded ones.

A difference is either a mistake or meant. If it is meant, read it and then write the file anew:
`python tests/sansio_rt/test_server_golden.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sansio_rt._server_work import ReplyWanted, ServerLimits, TranscriptionWanted

FOLDER = Path(__file__).parents[1] / "data" / "server"


def written_with_a_call(driver: Any) -> None:
    driver.update(
        output_modalities=["text"],
        max_output_tokens=77,
        audio={"input": {"turn_detection": None}},
        tools=[{"type": "function", "name": "roll", "description": "Rolls.", "parameters": {}}],
    )
    driver.say_text("hello")
    driver.send("response.create", response={"metadata": {"a": "b"}})
    response_id = driver.wanted(ReplyWanted).response_id
    driver.session.begin_message(response_id, driver.now)
    driver.session.push_text(response_id, "Hi you.", driver.now)
    driver.session.end_message(response_id, driver.now)
    driver.session.call_function(response_id, "roll", '{"n":1}', driver.now)
    driver.session.finish(response_id, driver.now)
    [call] = [item for item in driver.session.items if hasattr(item, "call_id")]
    driver.send("conversation.item.retrieve", item_id=call.id)
    driver.send("response.create", response={"output_modalities": ["audio"], "instructions": "x"})


def spoken_in_g711(driver: Any) -> None:
    g711 = {"type": "audio/pcmu"}
    driver.update(
        audio={
            "input": {
                "turn_detection": None,
                "format": g711,
                "transcription": {"model": "whisper-1"},
            },
            "output": {"format": g711, "voice": "ash", "speed": 1.25},
        }
    )
    driver.send("input_audio_buffer.append", audio="////" * 800)
    driver.send("input_audio_buffer.commit")
    driver.hear("Can you hear me?")
    part = {"type": "input_audio", "audio": "////" * 400}
    item = {"type": "message", "role": "user", "content": [part], "id": "given"}
    driver.send("conversation.item.create", item=item)
    driver.session.transcription_failed(
        driver.wanted(TranscriptionWanted).item_id, "deaf", driver.now
    )
    driver.send("response.create")
    driver.reply("Yes. I can hear you well.", audio_ms=450)
    driver.send("conversation.item.retrieve", item_id="given")


def refused_failed_and_cancelled(driver: Any) -> None:
    driver.send("response.cancel", response_id="nobody", event_id="e1")
    driver.send("response.cancel", event_id="e2")
    driver.say_text("hello")
    driver.send("response.create")
    response_id = driver.wanted(ReplyWanted).response_id
    driver.send("response.create", event_id="e3")
    driver.session.fail(response_id, "out of thoughts", driver.now)
    driver.take()
    driver.send("response.create", response={"max_output_tokens": 3})
    driver.begin_reply(driver.wanted(ReplyWanted), "Far too many words for that. " * 3)
    driver.take()
    driver.send("response.create")
    driver.begin_reply(driver.wanted(ReplyWanted), "Wait")
    driver.take()
    driver.send("response.cancel")


def idle_and_full(driver: Any) -> None:
    driver.update(
        audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 6_000}}}
    )
    driver.say_text("hello")
    driver.send("response.create")
    driver.reply(audio_ms=300)
    for _ in range(8):
        driver.append(900, loud=False)
        driver.advance(0.9)
    driver.manual()
    for _ in range(3):
        driver.append(1_000)


CONVERSATIONS: dict[str, Callable[[Any], None]] = {
    each.__name__: each
    for each in (
        written_with_a_call,
        spoken_in_g711,
        refused_failed_and_cancelled,
        idle_and_full,
    )
}


def shortened(value: Any) -> Any:
    """The same without the middle of long audio."""
    if isinstance(value, dict):
        return {key: shortened(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [shortened(entry) for entry in value]
    if isinstance(value, str) and len(value) > 400 and " " not in value:
        return f"{value[:16]}...{value[-16:]} ({len(value)} characters)"
    return value


def record(name: str, make: Callable[..., Any]) -> list[str]:
    """One line for each event of the server, and for each request to its driver."""
    driver = make(limits=ServerLimits(buffered_s=2.0))
    CONVERSATIONS[name](driver)
    driver.take()
    told = [json.dumps(shortened(event), sort_keys=True) for event in driver.log]
    wanted = []
    for work in driver.work:
        shown = {key: getattr(work, key) for key in work.__struct_fields__ if key != "pcm"}
        wanted.append(f"{type(work).__name__} {json.dumps(shown, sort_keys=True, default=repr)}")
    return [*told, *wanted]


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_is_as_it_was_recorded(name: str, server: Any) -> None:
    recorded = (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()
    told = record(name, server)
    for line, expected in zip(told, recorded, strict=False):
        assert line == expected
    assert len(told) == len(recorded)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    from conftest import Driver  # type: ignore[import-not-found]  # pytest's, here by hand

    FOLDER.mkdir(exist_ok=True)
    for conversation in CONVERSATIONS:
        lines = record(conversation, Driver)
        (FOLDER / f"{conversation}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
