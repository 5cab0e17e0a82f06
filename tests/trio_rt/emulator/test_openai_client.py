"""The `openai` package's own client talks to the emulator over a socket (parity N5).

Its client runs on asyncio, so that each conversation has an event loop in a thread of its own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter

import trio_rt
from sansio_rt import MissingExtra
from trio_rt.emulator import Brain, Call, Emulator, Request, serve_emulator

PUBLISHED: TypeAdapter[BaseModel] = TypeAdapter(RealtimeServerEvent)
QUESTION = Path(trio_rt.__file__).parent / "data" / "question.wav"


def has_speech() -> bool:
    try:
        Brain.local()
    except MissingExtra:
        return False
    return True


async def converse(
    emulator: Emulator, conversation: Callable[[Any], Awaitable[Any]], timeout_s: float = 20.0
) -> Any:
    """Run one conversation of the openai client to its end; gives what it returns."""

    async def connected() -> Any:
        async with (
            AsyncOpenAI(
                api_key="x", base_url=emulator.http_url, websocket_base_url=emulator.url
            ) as client,
            asyncio.timeout(timeout_s),
            client.realtime.connect(model="gpt-realtime") as connection,
        ):
            return await conversation(connection)

    return await trio.to_thread.run_sync(lambda: asyncio.run(connected()))


async def until(connection: Any, kind: str) -> list[Any]:
    """All events up to the first of a type, each as strict as a client can be."""
    events = []
    async for event in connection:
        PUBLISHED.validate_python(event.to_dict(mode="python"), strict=True)
        events.append(event)
        if event.type == "error":
            raise AssertionError(event.error)
        if event.type == kind:
            return events
    raise AssertionError(f"the connection ended before {kind}")


async def test_a_text_turn() -> None:
    async def conversation(connection: Any) -> str:
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        part = {"type": "input_text", "text": "Who are you?"}
        await connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [part]}
        )
        await connection.response.create()
        events = await until(connection, "response.done")
        return "".join(e.delta for e in events if e.type == "response.output_text.delta")

    async with serve_emulator(Brain.scripted("I am the emulator.")) as emulator:
        assert await converse(emulator, conversation) == "I am the emulator."


async def test_a_tool_round() -> None:
    tool = {
        "type": "function",
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }

    async def conversation(connection: Any) -> tuple[Any, str]:
        await connection.session.update(
            session={"type": "realtime", "output_modalities": ["text"], "tools": [tool]}
        )
        await connection.response.create()
        [call] = (await until(connection, "response.done"))[-1].response.output
        await connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        )
        await connection.response.create()
        [message] = (await until(connection, "response.done"))[-1].response.output
        return json.loads(call.arguments), message.content[0].text

    def answer(request: Request) -> str:
        return f"There is {request.history[-1].text}."

    brain = Brain.scripted(Call("weather", {"city": "Bern"}), answer)
    async with serve_emulator(brain) as emulator:
        assert await converse(emulator, conversation) == ({"city": "Bern"}, "There is rain.")


async def speak(connection: Any, pcm: bytes) -> None:
    """Append audio in pieces, and a second of silence behind it."""
    pcm += bytes(48_000)
    for start in range(0, len(pcm), 9600):
        audio = base64.b64encode(pcm[start : start + 9600]).decode()
        await connection.input_audio_buffer.append(audio=audio)


async def audio_turn(connection: Any, pcm: bytes) -> tuple[str, bytes, str]:
    """A spoken turn that the server's own detection ends: question, answer, answer's words."""
    audio = {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}
    await connection.session.update(session={"type": "realtime", "audio": audio})
    await speak(connection, pcm)
    events = await until(connection, "response.done")
    completed = "conversation.item.input_audio_transcription.completed"
    [heard] = [event.transcript for event in events if event.type == completed]
    spoken = b"".join(
        base64.b64decode(event.delta)
        for event in events
        if event.type == "response.output_audio.delta"
    )
    [message] = events[-1].response.output
    return heard, spoken, message.content[0].transcript


async def test_an_audio_turn() -> None:
    samples = np.tile(np.repeat(np.array([9000, -9000], dtype="<i2"), 40), 300)
    brain = Brain.scripted("Good to hear from you.", transcripts=["hello there"])
    async with serve_emulator(brain) as emulator:
        heard, spoken, said = await converse(emulator, lambda c: audio_turn(c, samples.tobytes()))
    assert heard == "hello there"
    assert said == "Good to hear from you."
    assert len(spoken) > 24_000


async def test_barge_in() -> None:
    """Cancel, truncate and retrieve, as the reference clients do it."""

    async def conversation(connection: Any) -> Any:
        await connection.response.create()
        events = await until(connection, "response.output_audio.delta")
        item_id = events[-1].item_id
        await connection.response.cancel()
        await connection.conversation.item.truncate(
            item_id=item_id, content_index=0, audio_end_ms=50
        )
        await connection.conversation.item.retrieve(item_id=item_id)
        events = await until(connection, "conversation.item.retrieved")
        [done] = [event for event in events if event.type == "response.done"]
        return done.response.status, len(base64.b64decode(events[-1].item.content[0].audio))

    async with serve_emulator(Brain.scripted("word " * 100), pace=2.0) as emulator:
        assert await converse(emulator, conversation) == ("cancelled", 50 * 48)


@pytest.mark.skipif(not has_speech(), reason='needs the extra "speech"')
async def test_an_audio_turn_with_real_speech() -> None:
    with wave.open(str(QUESTION)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        pcm = file.readframes(file.getnframes())
    async with serve_emulator(Brain.local()) as emulator:
        heard, spoken, said = await converse(emulator, lambda c: audio_turn(c, pcm), 60.0)
    assert len(heard.split()) >= 3
    assert said
    sound = np.frombuffer(spoken, dtype="<i2").astype(np.float32)
    assert len(sound) > 12_000
    assert float(np.abs(sound).max()) > 1000
