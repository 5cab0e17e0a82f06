"""Two item lists to edits, and three item lists to one.

`diff` says how to turn the conversation that is into the one that should be, with the fewest
events. `merge` says what should be when the server went on after the caller took its snapshot.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from ._errors import LocalProtocolError

__all__ = ["ROOT", "CreateItem", "DeleteItem", "Edit", "Identified", "diff", "merge"]

ROOT = "root"
"""The `previous_item_id` that means the beginning of the conversation."""


class Identified(Protocol):
    """Anything with an id; equality tells whether two versions have the same content."""

    @property
    def id(self) -> object:
        """The item's id, a text that is not empty."""
        ...


Item = TypeVar("Item", bound=Identified)


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Delete one item.

    Attributes:
        item_id: The item's id.
    """

    item_id: str


@dataclass(frozen=True, slots=True)
class CreateItem(Generic[Item]):
    """Create one item.

    Attributes:
        item: The item.
        previous_item_id: The id of the item that it comes right behind, or `root` for the first
            place.
    """

    item: Item
    previous_item_id: str


Edit: TypeAlias = DeleteItem | CreateItem[Item]


def diff(
    old_items: Sequence[Item],
    new_items: Sequence[Item],
    *,
    equal: Callable[[Item, Item], bool] = operator.eq,
    hold: Callable[[Item], bool] | None = None,
) -> list[Edit[Item]]:
    """Say how to turn one list of items into another, with the fewest edits there can be.

    Items cannot be moved or changed on the wire: both are a delete and a create. So what stays is a
    longest run of unchanged items whose order is the same in both lists, found in n log n. Of several
    such runs it is one with the most items that are to be held.

    Args:
        old_items: The items as they are.
        new_items: The items as they should be.
        equal: Whether an old and a new item of one id have the same content.
        hold: Whether an item loses something where it is created again, so that others move rather.

    Returns:
        All deletes in the old order, then all creates in the new order. Applied one after the other
        they give `new_items`; every create names an item that is there at its time.

    Raises:
        LocalProtocolError: An item without a usable id, or two items of one list with one id.
    """
    old_index = _index(old_items, "old_items")
    new_index = _index(new_items, "new_items")
    same = [
        position
        for item_id, item in zip(new_index, new_items, strict=True)
        if (position := old_index.get(item_id)) is not None and equal(old_items[position], item)
    ]
    held = [hold is not None and hold(old_items[position]) for position in same]
    stay = {old_items[position].id for position in _longest_run(same, held)}
    edits: list[Edit[Item]] = [DeleteItem(item_id) for item_id in old_index if item_id not in stay]
    previous_item_id = ROOT
    for item_id, item in zip(new_index, new_items, strict=True):
        if item_id not in stay:
            edits.append(CreateItem(item, previous_item_id))
        previous_item_id = item_id
    return edits


def merge(
    base_items: Sequence[Item],
    our_items: Sequence[Item],
    server_items: Sequence[Item],
    *,
    equal: Callable[[Item, Item], bool] = operator.eq,
) -> list[Item]:
    """Say what the conversation should be when the server went on after a caller's snapshot.

    - The caller's order stands, and what the caller added, changed or removed stands.
    - What the server added stays, right behind the item that it followed there (or, where the
    caller
      removed that one, behind the nearest one before it that is left).
    - What the server removed stays removed, except if the caller changed it.
    - What the server changed and the caller did not touch has the server's content.

    Args:
        base_items: The snapshot that the caller edited.
        our_items: The snapshot after the caller's edits.
        server_items: The items as the server has them now.
        equal: Whether two items of one id have the same content.

    Returns:
        The items as they should be; `diff(server_items, ...)` of it gives the edits.

    Raises:
        LocalProtocolError: An item without a usable id, or two items of one list with one id.
    """
    base = _index(base_items, "base_items")
    ours = _index(our_items, "our_items")
    server = _index(server_items, "server_items")

    def settled(item_id: str, item: Item) -> Item | None:
        """Give the version of one of the caller's items that stands, None if it goes."""
        if item_id not in base or not equal(base_items[base[item_id]], item):
            return item
        return server_items[server[item_id]] if item_id in server else None

    stands = {item_id: settled(item_id, our_items[position]) for item_id, position in ours.items()}
    added_behind: dict[str, list[Item]] = {ROOT: []}
    anchor = ROOT
    for item_id, item in zip(server, server_items, strict=True):
        if item_id in ours:
            anchor = item_id
        elif item_id not in base:
            added_behind.setdefault(anchor, []).append(item)
    merged = added_behind[ROOT]
    for item_id, stood in stands.items():
        if stood is not None:
            merged.append(stood)
        merged.extend(added_behind.get(item_id, ()))
    return merged


def _index(items: Sequence[Item], name: str) -> dict[str, int]:
    """Give the position of every id."""
    index: dict[str, int] = {}
    for position, item in enumerate(items):
        item_id = item.id
        if not isinstance(item_id, str) or not item_id or item_id == ROOT:
            raise LocalProtocolError(
                f"{name}[{position}] has the id {item_id!r}; give every item an id of its own, "
                f'a text other than "{ROOT}"'
            )
        if item_id in index:
            raise LocalProtocolError(
                f"{name}[{position}] has the id {item_id!r} of {name}[{index[item_id]}]; "
                "give every item an id of its own"
            )
        index[item_id] = position
    return index


def _longest_run(positions: list[int], held: list[bool]) -> list[int]:
    """Give a longest rising run of positions, and of those one with the most that are held, last first.

    Patience sorting: of the runs so far that are of use, `ends` has the positions that they end with,
    `worths` what they are worth (both rise from run to run), and `lasts` the place of the end in
    `links`. A link names a position and the place of the one in front of it in its run.
    """
    one_more = len(positions)  # is worth more than all that are held in a run with one less
    ends: list[int] = []
    worths: list[int] = []
    lasts: list[int] = []
    links: list[tuple[int, int]] = []
    for position, is_held in zip(positions, held, strict=True):
        behind = bisect_left(ends, position)
        worth = one_more + is_held
        if behind:
            worth += worths[behind - 1]
        links.append((position, lasts[behind - 1] if behind else -1))
        beaten = behind  # these end later, and are worth no more
        while beaten < len(ends) and worths[beaten] <= worth:
            beaten += 1
        ends[behind:beaten] = [position]
        worths[behind:beaten] = [worth]
        lasts[behind:beaten] = [len(links) - 1]
    run: list[int] = []
    place = lasts[-1] if lasts else -1
    while place >= 0:
        position, place = links[place]
        run.append(position)
    return run
