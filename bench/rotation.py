"""How a planned replacement of a connection is felt: over loopback sockets, against the emulator.

A caller sends frames of 20 ms, a history of 200 items stands, one answer follows the other, and the
connection is replaced again and again. Prints how long `restart` took, and the longest gap between two
frames of the caller at the server, and of an answer at the client, beside the same without replacements.

    python bench/rotation.py [--replacements 20] [--items 200]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from typing import Any

import trio

from sansio_rt import Endpoint, SessionConfig, Timing, events
from sansio_rt._server_session import ServerSession
from trio_rt import Session, open_session, serve_emulator
from trio_rt.emulator import Brain

FRAME_S = 0.02
FRAME = bytes(2 * 480)


def watch_appends(arrivals: list[float]) -> None:
    """Notes when each append reaches any session of the server."""
    before = ServerSession.receive_message

    def receive(self: ServerSession, message: str | bytes, now: float) -> Any:
        if "input_audio_buffer.append" in str(message[:100]):
            arrivals.append(trio.current_time())
        return before(self, message, now)

    ServerSession.receive_message = receive  # type: ignore[method-assign]


async def speak(session: Session) -> None:
    began, count = trio.current_time(), 0
    while True:
        await session.push_audio(FRAME)
        count += 1
        await trio.sleep_until(began + count * FRAME_S)


async def listen(session: Session, gaps: list[float]) -> None:
    while True:
        generation = await session.generate_reply()
        async for message in generation.messages:
            before = None
            async for _ in message.audio:
                now = trio.current_time()
                if before is not None:
                    gaps.append(now - before)
                before = now


def longest_ms(arrivals: list[float]) -> float:
    return 1000 * max(after - before for before, after in itertools.pairwise(arrivals))


async def main(replacements: int, items: int) -> None:
    """Measure and print."""
    config = SessionConfig(turn_detection=events.ServerVad(create_response=False))
    appends: list[float] = []
    gaps: list[float] = []
    watch_appends(appends)
    brain = Brain.scripted("This is an answer of some length, said again and again.")
    async with (
        serve_emulator(brain, pace=1.0) as emulator,
        open_session(
            Endpoint.url(emulator.url, model="any"),
            config,
            frame_ms=20,
            timing=Timing(rotation_patience_s=30.0),
        ) as session,
        trio.open_nursery() as nursery,
    ):
        for number in range(items):
            await session.send_message(f"Message number {number} of the history, in some words.")
        nursery.start_soon(speak, session)
        nursery.start_soon(listen, session, gaps)
        await trio.sleep(5)
        plain = longest_ms(appends), 1000 * max(gaps)
        appends.clear()
        gaps.clear()
        took = []
        for _ in range(replacements):
            began = trio.current_time()
            await session.restart("measuring")
            took.append(trio.current_time() - began)
        print(f"replacements {replacements}, items {items}")
        print(
            f"  restart, with the wait for a quiet moment: median {statistics.median(took):.2f} s"
        )
        print(
            f"  longest gap between the caller's frames at the server: {longest_ms(appends):.1f} ms "
            f"({plain[0]:.1f} ms without replacements)"
        )
        print(
            f"  longest gap between pieces of an answer: {1000 * max(gaps):.1f} ms "
            f"({plain[1]:.1f} ms without replacements)"
        )
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replacements", type=int, default=20)
    parser.add_argument("--items", type=int, default=200)
    asked = parser.parse_args()
    trio.run(main, asked.replacements, asked.items)
