"""Talks into an answer: it falls silent within a frame, and the conversation keeps what was heard.

The answer is played on a clock, so no sound card is needed; with one, and the extra `sound`, put
`SoundCardSink()` in the place of `ClockSink()`, as `async with SoundCardSink() as sink`.
"""

import numpy as np
import trio

from sansio_rt import Endpoint, events
from trio_rt import ClockSink, Playback, PlaybackOutcome, Session, open_session, serve_emulator
from trio_rt.emulator import Brain

ANSWER = "The tower was begun in 1887, and when it was done it was the tallest of all buildings."


def a_second_of_speech() -> bytes:
    """A buzz, which is speech to this example's emulator: PCM16, 24 kHz, mono."""
    times_s = np.arange(24_000) / 24_000
    return (8_000 * np.sin(2 * np.pi * 200 * times_s)).astype("<i2").tobytes()


async def talk_into_it(session: Session, after_s: float) -> None:
    """The caller begins to speak while the answer plays."""
    await trio.sleep(after_s)
    print("(the caller speaks)")
    await session.push_audio(a_second_of_speech())


def report(session: Session, outcome: PlaybackOutcome) -> None:
    """What was heard, and what the conversation holds now."""
    print(f"{outcome.end.value}: {outcome.heard_ms / 1000:.2f} s of the answer were heard")
    for message in outcome.messages:
        print(
            f"  of {message.received_ms / 1000:.2f} s received; the message is {message.fate.value}"
        )
    for entry in session.conversation:
        if isinstance(entry.item, events.Message) and entry.role == "assistant":
            print(f"  heard: {entry.heard_text}")


async def main() -> None:
    """Run the emulator, play an answer, and interrupt it by speaking."""
    brain = Brain.scripted(ANSWER, "I am listening.", transcripts=["Wait a moment!"])
    async with (
        serve_emulator(brain) as emulator,
        open_session(Endpoint.url(emulator.url)) as session,
        Playback(session, ClockSink()) as playback,
        trio.open_nursery() as nursery,
    ):
        await session.send_message("Tell me about the tower.")
        nursery.start_soon(talk_into_it, session, 1.5)
        outcome = await playback.play(await session.generate_reply())
        report(session, outcome)
        await session.push_audio(bytes(48_000))  # a second of silence: the caller's turn is over
        await playback.outcomes.receive()  # of the interrupted answer
        outcome = await playback.outcomes.receive()  # of the next one, which the server began
        print(f"{outcome.end.value}: {outcome.heard_ms / 1000:.2f} s of the next answer were heard")


trio.run(main)
