"""The caller's edits of the whole conversation, kept so that the invariants can see what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .. import events
from .._commands import Command, CommandKind
from .._conversation import item_id_of
from ._excuses import excuse_item
from ._history_rules import EditMade
from ._plan import Action
from ._world import World

__all__ = ["Edit", "Rewrite"]


class Edit(Action, frozen=True, kw_only=True, tag=True):
    """The history is edited: an item is dropped, moved to the end, or one is put in."""

    which: float
    how: str
    """`drop`, `move` or `insert`."""

    def perform(self, world: World) -> None:
        """Does it."""
        _edit(world, self.how, lambda items: self._wanted(world, items))

    def _wanted(self, world: World, wanted: list[events.Item]) -> list[events.Item]:
        place = _place(wanted, self.which)
        if self.how == "insert" or not wanted:
            wanted.insert(place, _message("put in"))
            return wanted
        item = wanted.pop(place)
        if self.how == "drop":
            excuse_item(world, item_id_of(item))
        elif isinstance(item, events.Message):
            wanted.append(item)
        else:
            wanted.insert(place, item)
        return wanted


class Rewrite(Action, frozen=True, kw_only=True, tag=True):
    """Two messages are put in, one behind the other, and the caller's last one comes first."""

    which: float

    def perform(self, world: World) -> None:
        """Does it."""
        _edit(world, "rewrite", self._wanted)

    def _wanted(self, wanted: list[events.Item]) -> list[events.Item]:
        place = _place(wanted, self.which)
        wanted[place:place] = [_message("put in"), _message("put in, too")]
        for item in reversed(wanted):
            if isinstance(item, events.Message) and item.role == "user" and item_id_of(item):
                wanted.remove(item)
                return [item, *wanted]
        return wanted


def _edit(world: World, how: str, change: Callable[[list[events.Item]], list[events.Item]]) -> None:
    def edit() -> Sequence[Command]:
        client = world.client
        base = client.conversation.items()
        leaving = {c.key for c in client.commands if c.kind is CommandKind.DELETE_ITEM}
        there = [item_id for item_id in client.conversation.ids() if item_id not in leaving]
        wanted = change(list(base))
        commands = client.update_conversation(wanted, base=base)
        world.moved.update(c.key for c in commands if c.kind is CommandKind.DELETE_ITEM)
        if len(there) == len(base):  # else what is wanted has items that are on their way out
            made = EditMade(there=there, wanted=wanted, commands=commands)
            world.asked.edits.append(made)
        return commands

    world.driver.ask(f"edit: {how}", edit)


def _place(items: Sequence[events.Item], share: float) -> int:
    return min(int(share * len(items)), max(0, len(items) - 1))


def _message(words: str) -> events.Message:
    return events.Message(role="user", content=[events.InputText(text=words)])
