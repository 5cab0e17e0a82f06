"""The two tools that `trio-rt talk` offers, so that a tool call can be seen."""

from __future__ import annotations

import random
from datetime import datetime

__all__ = ["get_time", "roll_dice"]

MOST_DICE = 20
MOST_SIDES = 1_000


def get_time() -> str:
    """Tell the current date and time of day.

    Returns:
        The local time, as ISO 8601 to the minute.
    """
    return datetime.now().isoformat(timespec="minutes")


def roll_dice(count: int = 1, sides: int = 6) -> list[int]:
    """Roll dice.

    Args:
        count: How many dice, 1 to 20.
        sides: How many sides each has, 2 to 1000.

    Raises:
        ValueError: There are no such dice.
    """
    if not 1 <= count <= MOST_DICE:
        raise ValueError(f"count must be 1 to {MOST_DICE}, not {count}")
    if not 2 <= sides <= MOST_SIDES:
        raise ValueError(f"sides must be 2 to {MOST_SIDES}, not {sides}")
    return [random.randint(1, sides) for _ in range(count)]
