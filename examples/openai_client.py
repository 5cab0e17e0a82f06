"""Asks an emulator with the `openai` package's own client: python openai_client.py URL."""

import asyncio
import sys

from openai import AsyncOpenAI


async def main(url: str) -> None:
    """Hold one written turn with the server at a URL."""
    client = AsyncOpenAI(api_key="any", websocket_base_url=url)
    async with client.realtime.connect(model="gpt-realtime") as connection:
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "What is twelve times seven?"}],
            }
        )
        await connection.response.create()
        async for event in connection:
            if event.type == "response.output_text.delta":
                print(event.delta, end="", flush=True)
            elif event.type == "response.done":
                break
    print()


asyncio.run(main(sys.argv[1]))
