"""Time `diff` and `merge` on long conversations: `python bench/diff.py`."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial

import msgspec

from sansio_rt._diff import diff, merge


class Item(msgspec.Struct, frozen=True):
    id: str
    text: str


def shuffled(items: list[Item], share: float, source: random.Random) -> list[Item]:
    """Move a share of the items to other places."""
    result = list(items)
    for _ in range(int(len(items) * share)):
        result.insert(source.randrange(len(result)), result.pop(source.randrange(len(result))))
    return result


def best_ms(run: Callable[[], object], rounds: int = 7) -> float:
    times: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times) * 1000


def main() -> None:
    source = random.Random(4)
    for count in (1_000, 10_000, 100_000):
        old = [Item(f"item_{number}", f"text {number}") for number in range(count)]
        # Equal copies, so that content is really compared.
        copies = [Item(item.id, "".join(list(item.text))) for item in old]
        new = shuffled(copies, 0.1, source)
        edits = diff(old, new)
        print(
            f"{count:>7} items, 10 % moved: {len(edits):>6} edits,"
            f" diff {best_ms(partial(diff, old, new)):.1f} ms,"
            f" merge {best_ms(partial(merge, old, new, copies)):.1f} ms"
        )


if __name__ == "__main__":
    main()
