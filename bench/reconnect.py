"""How long a session is away when its connection is lost: until it is replayed, and speaks again.

The emulator and the client run in one process over sockets of loopback. The connection is dropped without a
word; the clock starts where the client notices that, and the policy's first delay of 100 ms counts.

    PYTHONPATH=. python bench/reconnect.py [--items 200] [--runs 20]
"""

from __future__ import annotations

import argparse
import logging
import statistics
from dataclasses import dataclass

import trio

from sansio_rt import (
    ConnectionLost,
    Endpoint,
    RetryPolicy,
    SessionConfig,
    SessionResumed,
    events,
)
from trio_rt import Session, open_session, serve_emulator
from trio_rt.emulator import Brain, Emulator

CONFIG = SessionConfig(turn_detection=None)
# Each loss is the first one: the delay does not grow, and nobody counts the connects.
POLICY = RetryPolicy(healthy_after_s=0.0, max_connects=10_000)
TEXT = "This is one of the many things that were said in the course of a conversation."


@dataclass
class Outage:
    """One loss, in seconds since the client noticed it.

    Attributes:
        resumed_s: The server has the configuration and all items again.
        speaking_s: The first audio of a reply that was asked for then is there.
    """

    resumed_s: float
    speaking_s: float


async def measure(items: int, runs: int) -> list[Outage]:
    """Loses a connection so often and gives what each loss took."""
    async with serve_emulator(Brain.scripted("Here I am again.")) as emulator:
        endpoint = Endpoint.url(emulator.url, model="m")
        async with open_session(endpoint, CONFIG, retry=POLICY) as session:
            await session.update_conversation([item(number) for number in range(items)])
            return [await lose(emulator, session, items) for _ in range(runs)]


async def lose(emulator: Emulator, session: Session, items: int) -> Outage:
    """Drops the connection and waits until the session speaks again."""
    async with session.subscribe(ConnectionLost, SessionResumed) as told:
        await emulator.disconnect(None)
        await told.receive()
        noticed_at = trio.current_time()
        resumed = await told.receive()
        assert isinstance(resumed, SessionResumed)
        resumed_at = trio.current_time()
        generation = await session.generate_reply()
        message = await generation.messages.receive()
        await message.audio.receive()
        speaking_at = trio.current_time()
        await session.interrupt()
        await generation.wait()
        await session.delete_item(message.id)
    assert len(emulator.sessions[-1].items) == items
    return Outage(resumed_at - noticed_at, speaking_at - noticed_at)


def item(number: int) -> events.Message:
    """Users and assistants take turns."""
    if number % 2:
        return events.Message(role="assistant", content=[events.OutputText(text=TEXT)])
    return events.Message(role="user", content=[events.InputText(text=TEXT)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    logging.getLogger("trio_rt").setLevel(logging.ERROR)
    outages = trio.run(measure, arguments.items, arguments.runs)
    for name in ("resumed_s", "speaking_s"):
        values = [getattr(outage, name) for outage in outages]
        print(
            f"{name:<11} median {statistics.median(values):.3f}  least {min(values):.3f}  "
            f"most {max(values):.3f}  ({arguments.items} items, {arguments.runs} runs)"
        )


if __name__ == "__main__":
    main()
