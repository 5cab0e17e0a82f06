"""Which outputs belong to a call."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UnsetType

from .. import events
from .._client import ClientProtocol
from .._conversation import item_id_of

__all__ = ["outputs_of"]


def outputs_of(call_id: str | UnsetType | None, client: ClientProtocol) -> Iterator[str]:
    """The ids of a call's outputs that are there, or on their way."""
    there = [entry.item for entry in client.conversation]
    coming = [
        command.event.item
        for command in client.commands
        if isinstance(command.event, events.ConversationItemCreate)
    ]
    for item in (*there, *coming):
        if isinstance(item, events.FunctionCallOutput) and item.call_id == call_id:
            yield item_id_of(item)
