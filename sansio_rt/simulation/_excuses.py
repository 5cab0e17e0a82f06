"""What of the caller's words may be lost: the client said so, or the caller took it away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import events
from .._session_events import SessionResumed
from ._outputs import outputs_of

if TYPE_CHECKING:
    from ._world import World

__all__ = ["excuse_item", "excuse_lost", "excuse_spoken"]


def excuse_lost(world: World, event: SessionResumed) -> None:
    """What the client says that it could not keep."""
    if event.audio_lost_ms:
        world.cleared.update(world.pushed)
    for item_id in event.left_out:
        excuse_item(world, item_id)


def excuse_spoken(world: World) -> None:
    """What was pushed so far and is in no item that the client knows of may be dropped."""
    known = world.client.conversation
    kept = {
        block
        for service in world.services
        for item_id, counted in service.heard_of_item.items()
        if item_id in known
        for block in counted
    }
    world.cleared.update(block for block in world.pushed if block not in kept)


def excuse_item(world: World, item_id: str) -> None:
    """The words of an item need not be anywhere any more."""
    world.deleted.add(item_id)
    entry = world.client.conversation.get(item_id)
    if entry is not None and isinstance(entry.item, events.FunctionCall):
        # An output that is moved when its call is gone is put in nowhere.
        world.deleted.update(outputs_of(entry.item.call_id, world.client))
    for service in world.services:
        world.cleared.update(service.heard_of_item.get(item_id, ()))
