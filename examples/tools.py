"""Tools against the emulator: a plain one, one that needs a yes, one that is too slow, and what goes wrong.

    python examples/tools.py

No key and no network: the emulator's model is scripted here, so that it calls what the example shows.
"""

import time
from dataclasses import dataclass
from typing import Literal

import trio

from sansio_rt import Endpoint, SessionConfig, events, tool
from trio_rt import Session, ToolSettings, open_session, serve_emulator
from trio_rt.emulator import Brain, Call


@dataclass
class Table:
    """A free table."""

    number: int
    seats: int


async def find_tables(seats: int, place: Literal["inside", "outside"] = "inside") -> list[Table]:
    """Find free tables.

    Args:
        seats: How many seats are needed at least.
        place: Where to sit.
    """
    await trio.sleep(0.01)  # as a database would take
    return [Table(4, 4), Table(7, 6)] if place == "inside" else [Table(12, seats)]


# Somebody has to say yes first; and a booking is not cut off in the middle when the caller interrupts.
@tool(needs_approval=True, on_interrupt="finish", timeout_s=10)
async def book_table(number: int, name: str) -> str:
    """Book a table.

    Args:
        number: The table.
        name: Who will come.
    """
    return f"Table {number} is booked for {name}."


# A plain function runs in a thread: the conversation goes on while it blocks.
@tool(timeout_s=0.1)
def print_menu() -> str:
    """Print the menu."""
    time.sleep(0.5)
    return "printed"


async def decide(session: Session) -> None:
    """Say yes to bookings for Ada and no to all others. A person would be asked here."""
    async for request in session.approvals:
        if request.arguments["name"] == "Ada":
            request.approve()
        else:
            request.deny("only Ada may book")
        print(f"{request.name}({request.arguments}): {request.state.value}")


def script() -> Brain:
    """Give the emulator's model, which does this in its turns, one after the other."""
    return Brain.scripted(
        [Call("find_tables", {"seats": 4}), Call("find_tables", {"seats": "four"})],
        "Tables four and seven are free.",
        [
            Call("book_table", {"number": 4, "name": "Ada"}),
            Call("book_table", {"number": 7, "name": "Bob"}),
        ],
        "Ada has a table.",
        [Call("print_menu"), Call("order_pizza")],
        "Sorry, that does not work.",
    )


async def main() -> None:
    """Hold three turns and print what the tools told the model."""
    tools = [find_tables, book_table, print_menu]
    config = SessionConfig(turn_detection=None, output_modalities=["text"])
    settings = ToolSettings(timeout_s=5, approval_timeout_s=5)
    async with (
        serve_emulator(script()) as emulator,
        open_session(
            Endpoint.url(emulator.url), config, tools=tools, tool_settings=settings
        ) as session,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(decide, session)
        for question in (
            "A table for four?",
            "Book one for Ada and one for Bob.",
            "The menu, and pizza!",
        ):
            print(f"You: {question}")
            await session.ask(question)
            answer = await session.generations.receive()  # the reply that uses all outputs
            outcome = await answer.wait()
            for entry in session.conversation:
                if isinstance(entry.item, events.FunctionCallOutput):
                    print(f"  {entry.item.output}")
                    await session.delete_item(entry.id)  # each is shown once
            print(f"Model: {outcome.text}")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
