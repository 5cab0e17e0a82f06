"""`trio_rt` for the harness of other people's clients: see `../shared/bench/README.md`.

    BENCH_EXTRA=$PWD/bench BENCH_OURS=trio_rt_client \\
        python ../shared/bench/run.py --only W1,W2 --clients trio_rt_client,openai_python,livekit
"""

from __future__ import annotations

from contextlib import asynccontextmanager

from sansio_rt import AudioDelta, Endpoint, SessionConfig, TextDelta
from trio_rt import open_session

BACKEND = "trio"


class Client:
    def __init__(self, session):
        self._session = session
        self.send = session.push_audio

    async def respond(self, on_audio, on_text):
        generation = await self._session.generate_reply(metadata={"k": "v"})
        async for part in generation.parts:
            kind = type(part)
            if kind is AudioDelta:
                on_audio(part.frame.data)
            elif kind is TextDelta:
                on_text(part.text)

    async def commit(self):
        item_id = await self._session.commit_audio()
        return int(item_id.removeprefix("item_bytes_"))


@asynccontextmanager
async def session(port):
    import os

    endpoint = Endpoint.url(f"ws://127.0.0.1:{port}/v1", model="gpt-realtime")
    frame_ms = int(os.environ.get("BENCH_VARIANT") or 100)
    config = SessionConfig(turn_detection=None)
    async with open_session(endpoint, config, frame_ms=frame_ms) as opened:
        yield Client(opened)
