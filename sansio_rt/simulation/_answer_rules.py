"""The invariants about answers: whose they are, that they hold, and that nobody asks while one is given."""

from __future__ import annotations

from .. import events
from .._commands import CommandKind, Outcome
from .._conversation import item_id_of
from .._session_events import CommandEnded, GenerationEnded, GenerationStarted, SessionEvent
from ._invariants import Invariant
from ._service import Service, Taken

__all__ = ["AnswersAreNotForgotten", "AnswersAreTheirOwn", "AsksWhenFree"]


_UNNAMED = (CommandKind.COMMIT, CommandKind.CLEAR)
"""Commands whose answers name nobody."""


class AnswersAreNotForgotten(Invariant):
    """What the server has acknowledged is there at the end, unless somebody took it away.

    Of an item whose deletion a server did and did not tell in time, nobody knows whether it is there: one
    that moves is deleted first.
    """

    def finish(self) -> None:
        service = self.world.service
        if service is None:
            return
        there = {item_id_of(item) for item in service.session.items}
        untold = {item_id for each in self.world.services for item_id in each.session.withheld}
        for issued in self.world.driver.issued.values():
            command = issued.command
            if (
                command.key not in there
                and command.kind is CommandKind.CREATE_ITEM
                and command.outcome is Outcome.ACKNOWLEDGED
                and command.key not in self.world.deleted
                and command.key not in untold
            ):
                self.broken(f"{command.key} ({issued.label}) was acknowledged and is gone")


class AnswersAreTheirOwn(Invariant):
    """A commit or a clear is acknowledged only where the server has answered that one, or a newer one.

    Neither answer names what it is for. Where the server detects turns, it commits by itself, too.
    """

    event_kinds = (CommandEnded,)

    def on_event(self, event: SessionEvent) -> None:
        assert type(event) is CommandEnded
        command = event.command
        if command.kind not in _UNNAMED or command.outcome is not Outcome.ACKNOWLEDGED:
            return
        detects = self.world.client.wanted.turn_detection is not None
        if detects and command.kind is CommandKind.COMMIT:
            return
        issued = self.world.driver.issued
        first = list(issued).index(command.event_id)
        may_be = {
            each.command.event_id
            for each in list(issued.values())[first:]
            if each.command.kind is command.kind
        }
        if not any(may_be & each.session.answered for each in self.world.services):
            self.broken(f"{command!r}, and no server has answered it")


class AsksWhenFree(Invariant):
    """No reply of the conversation is asked for while the client knows that one runs."""

    event_kinds = (GenerationStarted, GenerationEnded)
    message_types = ("response.create",)

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def on_event(self, event: SessionEvent) -> None:
        if type(event) is GenerationStarted and event.generation.in_conversation:
            self._since[event.generation.id] = self.world.now
        elif type(event) is GenerationEnded:
            self._since.pop(event.generation.id, None)

    def on_message(self, service: Service, taken: Taken) -> None:
        if not self._since:
            return
        params = taken.event.response
        if isinstance(params, events.ResponseParams) and params.conversation == "none":
            return
        issued = self.world.driver.issued.get(taken.event_id or "")
        if issued is None or issued.command.deadline is None:
            return  # one of the client's own, whose time is not known
        sent_at = issued.command.deadline - self.world.client.timing.answer_timeout_s
        for response_id, since in self._since.items():
            if since < sent_at - 1e-6 and response_id in service.spoken:
                self.broken(f"{issued.command!r} was sent while {response_id} ran")
