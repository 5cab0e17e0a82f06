"""Asks a question that a Python function answers: the emulator's model calls it and speaks."""

import trio

from sansio_rt import AudioDelta, Endpoint, TextDelta
from trio_rt import open_session, serve_emulator


async def get_weather(city: str) -> str:
    """Tell what the weather is like.

    Args:
        city: Name of the city.
    """
    return f"It is sunny in {city}, at 21 degrees."


async def main() -> None:
    """Run the emulator and hold one turn with it."""
    async with (
        serve_emulator() as emulator,
        open_session(Endpoint.url(emulator.url), tools=[get_weather]) as session,
    ):
        await session.send_message("What is the weather like in Paris?")
        question = await session.generate_reply()
        async for call in question.function_calls:
            print(f"The model calls {call.name}({call.arguments}).")
        answer = await session.generations.receive()  # the reply that uses the function's result
        audio_ms = 0.0
        async for part in answer.parts:
            if isinstance(part, TextDelta):
                print(part.text, end="", flush=True)
            elif isinstance(part, AudioDelta):  # part.frame.data: 24 kHz, 16 bit, mono
                audio_ms += part.frame.duration_ms
        print(f"\nThat took {audio_ms / 1000:.1f} seconds to say.")


trio.run(main)
