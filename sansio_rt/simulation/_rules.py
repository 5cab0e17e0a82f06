"""The invariants that come with the simulation: commands, replies, streams, history, connections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from msgspec import UnsetType

from .. import events
from .._commands import Command, CommandKind, Outcome
from .._conversation import item_id_of
from .._generations import GeneratedMessage, Generation
from .._session_events import (
    AudioDelta,
    CallReady,
    CommandEnded,
    GenerationEnded,
    GenerationStarted,
    MessageBroken,
    MessageEnded,
    MessageStarted,
    SessionEvent,
    StrayEvent,
    TextDelta,
)
from ._answer_rules import AnswersAreNotForgotten, AnswersAreTheirOwn, AsksWhenFree
from ._connection_rules import DelaysGrow, LossesAreReal, PlannedChangesCutNothing
from ._history_rules import CutsAreAsAsked, EditsGiveWhatWasAsked, HistoryIsAsHeard
from ._invariants import Invariant
from ._service import Service, Taken
from ._sound_rules import CallerIsHeardOnce, HeardIsReceivedIsSpoken

__all__ = [
    "DEFAULT_INVARIANTS",
    "AbandonedRepliesAreSilent",
    "CommandsEndOnce",
    "ConfigurationHolds",
    "ConnectsAreBounded",
    "MirrorEqualsServer",
    "NothingIsStale",
    "NothingIsStray",
    "OneActiveReply",
    "OutputsAreGivenOnce",
    "QueuesAreBounded",
    "StreamsEnd",
]

_OUTLIVE = (CommandKind.CREATE_ITEM, CommandKind.DELETE_ITEM)
_ACKNOWLEDGED = Outcome.ACKNOWLEDGED  # bound once: looked for at the end of each command


class CommandsEndOnce(Invariant):
    """Every command ends in exactly one way.

    An outstanding one is in the client's table, one that ended is not, and it ended once.
    """

    event_kinds = (CommandEnded,)

    def __init__(self) -> None:
        self._ended: set[str] = set()
        self._looked_at = 0
        self._open: dict[str, Command] = {}

    def on_event(self, event: SessionEvent) -> None:
        assert type(event) is CommandEnded
        command = event.command
        if command.outcome is None:
            self.broken(f"{command!r} was said to have ended")
        if command.event_id in self._ended:
            self.broken(f"{command!r} ended twice")
        if (command.error is None) is not (command.outcome is _ACKNOWLEDGED):
            self.broken(f"{command!r} has the error {command.error!r}")
        self._ended.add(command.event_id)
        self._open.pop(command.event_id, None)

    def check(self) -> None:
        issued = self.world.driver.issued
        if len(issued) > self._looked_at:
            for event_id in list(issued)[self._looked_at :]:
                if event_id not in self._ended:
                    self._open[event_id] = issued[event_id].command
            self._looked_at = len(issued)
        if not self._open:
            return
        outstanding = {command.event_id for command in self.world.client.commands}
        for event_id, command in self._open.items():
            if command.outcome is not None:
                self.broken(f"{command!r} ended without a word")
            if event_id not in outstanding:
                self.broken(f"{command!r} is not in the table")

    def left(self) -> None:
        self.check()
        if self._open:
            self.broken(f"after the session {list(self._open.values())} are outstanding")
        if self.world.driver.closed is None:
            self.broken(f"the session has not closed: {self.world.client.state.value}")


class StreamsEnd(Invariant):
    """Every stream of an ended response has ended, and nothing comes after its end."""

    event_kinds = (
        AudioDelta,
        TextDelta,
        GenerationStarted,
        GenerationEnded,
        MessageStarted,
        MessageEnded,
        CallReady,
    )

    def __init__(self) -> None:
        self._running: set[str] = set()
        self._ended: set[str] = set()
        self._open: dict[int, GeneratedMessage] = {}
        self._looks: dict[type, Callable[[Any], None]] = {
            AudioDelta: self._on_delta,
            TextDelta: self._on_delta,
            GenerationStarted: self._on_started,
            GenerationEnded: self._on_ended,
            MessageStarted: self._on_message_started,
            MessageEnded: self._on_message_ended,
            CallReady: self._on_call,
        }

    def on_event(self, event: SessionEvent) -> None:
        self._looks[type(event)](event)

    def _on_delta(self, event: AudioDelta | TextDelta) -> None:
        if id(event.message) not in self._open:
            self.broken(f"{type(event).__name__} for {event.message!r}, which is not open")

    def _on_message_started(self, event: MessageStarted) -> None:
        if event.message.generation.id not in self._running:
            self.broken(f"{event.message!r} belongs to no running response")
        self._open[id(event.message)] = event.message

    def _on_message_ended(self, event: MessageEnded) -> None:
        if self._open.pop(id(event.message), None) is None:
            self.broken(f"{event.message!r} ended, and was not open")

    def _on_call(self, event: CallReady) -> None:
        if event.call.generation.id not in self._running:
            self.broken(f"{event.call!r} belongs to no running response")

    def _on_started(self, event: GenerationStarted) -> None:
        generation = event.generation
        if generation.id in self._running or generation.id in self._ended:
            self.broken(f"{generation!r} began twice")
        self._running.add(generation.id)

    def _on_ended(self, event: GenerationEnded) -> None:
        generation = event.generation
        if generation.id not in self._running:
            self.broken(f"{generation!r} ended, and did not run")
        self._running.remove(generation.id)
        self._ended.add(generation.id)
        left = [message for message in self._open.values() if message.generation is generation]
        if left:
            self.broken(f"{generation!r} ended before {left}")

    def left(self) -> None:
        if self._running or self._open:
            self.broken(f"{self._running or self._open} outlived the session")


class OutputsAreGivenOnce(Invariant):
    """Every call is told once, and has at most one output at the server, and exactly one at the end.

    Save calls and outputs that the caller took out or moved: a call has no output while it is not there.
    """

    event_kinds = (CallReady,)
    message_types = ("conversation.item.create", "conversation.item.delete")

    def __init__(self) -> None:
        self._ready: set[str] = set()
        self._given: Counter[tuple[int, str]] = Counter()
        self._item_ids: dict[str, str] = {}

    def on_event(self, event: SessionEvent) -> None:
        assert type(event) is CallReady
        if not event.call.generation.in_conversation:
            return
        if event.call.call_id in self._ready:
            self.broken(f"{event.call!r} was told twice")
        self._ready.add(event.call.call_id)

    def on_message(self, service: Service, taken: Taken) -> None:
        if taken.type == "conversation.item.delete":
            self._forget(service, taken)
        if taken.type != "conversation.item.create":
            return
        created = taken.event
        assert isinstance(created, events.ConversationItemCreate)
        if isinstance(created.item, events.FunctionCallOutput):
            call_id = created.item.call_id
            self._item_ids[call_id] = str(created.item.id)
            self._given[service.number, call_id] += 1
            if self._given[service.number, call_id] > 1:
                self.broken(f"a second output for {call_id} was sent to server {service.number}")

    def _forget(self, service: Service, taken: Taken) -> None:
        """An output that is deleted may be given again: that is how an item is moved."""
        deleted = taken.event
        assert isinstance(deleted, events.ConversationItemDelete)
        for call_id, item_id in self._item_ids.items():
            if deleted.item_id == item_id:
                self._given[service.number, call_id] = 0

    def finish(self) -> None:
        world, service = self.world, self.world.service
        if service is None:
            return
        items = service.session.items
        outputs = Counter(i.call_id for i in items if isinstance(i, events.FunctionCallOutput))
        for item in items:
            if not isinstance(item, events.FunctionCall):
                continue
            call_id = str(item.call_id)
            count = outputs[call_id]
            taken_out = {item.id, self._item_ids.get(call_id)} & (world.deleted | world.moved)
            wanted = call_id in self._ready and not taken_out
            if count > 1 or (wanted and count == 0):
                self.broken(f"the server has {count} outputs for {call_id}")


class MirrorEqualsServer(Invariant):
    """The mirror equals the server's conversation when it is quiet.

    Save the items that the server did not tell of in time, and where it has those, the order.
    """

    def finish(self) -> None:
        service = self.world.service
        if service is None:
            return
        untold = service.session.withheld
        theirs = {
            item_id: item
            for item in service.session.items
            if (item_id := item_id_of(item)) not in untold
        }
        ours = {
            entry.id: entry for entry in self.world.client.conversation if entry.id not in untold
        }
        if list(ours) != list(theirs) and not (untold and ours.keys() == theirs.keys()):
            self.broken(f"the mirror has {list(ours)}, the server {list(theirs)}")
        for item_id, entry in ours.items():
            if entry.heard_ms is None and entry.text != (words := text_of(theirs[item_id])):
                self.broken(f"{entry.id} is {entry.text!r} in the mirror and {words!r} there")


def text_of(item: events.Item) -> str:
    """What the mirror's `text` of an item should be."""
    match item:
        case events.Message(content=content):
            return " ".join(filter(None, map(_words_of, content)))
        case events.FunctionCall(name=name, arguments=arguments):
            return f"{name}({arguments})"
        case events.FunctionCallOutput(output=output):
            return output
        case _:
            return ""


def _words_of(part: object) -> str:
    words = getattr(part, "text", None) or getattr(part, "transcript", None)
    return words if isinstance(words, str) else ""


class NothingIsStale(Invariant):
    """Nothing of an old connection is sent to a new session, but what is meant to be said again."""

    def on_message(self, service: Service, taken: Taken) -> None:
        if taken.type == "response.cancel":
            cancel = taken.event
            assert isinstance(cancel, events.ResponseCancel)
            if cancel.response_id not in service.begun:
                self.broken(f"{cancel.response_id} is no response of server {service.number}")
        event_id = taken.event_id
        issued = self.world.driver.issued.get(event_id) if isinstance(event_id, str) else None
        if issued is None or issued.connection == service.connection:
            return
        command = issued.command
        if command.kind not in _OUTLIVE:
            self.broken(
                f"{command!r} of connection {issued.connection} was sent on {service.connection}"
            )
        ended_at = issued.ended_at
        failed = command.outcome not in (None, Outcome.ACKNOWLEDGED)
        if failed and ended_at is not None and ended_at < service.opened_at:
            self.broken(f"{command!r} had ended, and was sent on connection {service.connection}")


class AbandonedRepliesAreSilent(Invariant):
    """A reply that its caller gave up is never heard."""

    event_kinds = (CommandEnded,)

    def on_event(self, event: SessionEvent) -> None:
        assert type(event) is CommandEnded
        command = event.command
        given_up = command.event_id in self.world.given_up
        if given_up and command.outcome is Outcome.ACKNOWLEDGED:
            self.broken(f"{command!r} was given up, and gave {command.value!r}")


class OneActiveReply(Invariant):
    """There are never two active replies of the conversation that we asked for.

    The same request may be made again, where an error that names nobody may have been for it; what it
    would lead to beside the first is cancelled unheard.
    """

    message_types = ("response.create",)

    def on_message(self, service: Service, taken: Taken) -> None:
        if service.asked_by in (None, taken.event_id):
            return
        created = taken.event
        assert isinstance(created, events.ResponseCreate)
        params = created.response
        if isinstance(params, events.ResponseParams) and params.conversation == "none":
            return
        active = self.world.driver.issued.get(service.asked_by)
        # An error that names nobody may have been taken for the answer.
        if active is None or active.command.outcome in (Outcome.DEADLINE, Outcome.REFUSED):
            return  # nobody waits for it any more
        generation = active.command.value
        if isinstance(generation, Generation) and (
            generation.reason == "no_answer" or generation.id != service.active
        ):
            return  # nor where its cancel had no answer in time, or it was asked for twice
        self.broken(f"{taken.event_id} asks for another while {active.command!r} is active")


class QueuesAreBounded(Invariant):
    """What is queued is bounded."""

    def check(self) -> None:
        client = self.world.client
        if client.pending_bytes > (limit := client.limits.max_output_bytes * 2):
            self.broken(f"{client.pending_bytes} bytes wait to be sent, of {limit}")

    def finish(self) -> None:
        client = self.world.client
        if len(client.commands) > client.limits.max_pending_commands:
            self.broken(f"{len(client.commands)} commands are outstanding")


class ConnectsAreBounded(Invariant):
    """There are never more connects in a window than the retry policy says."""

    def __init__(self) -> None:
        self._looked_at = 0

    def check(self) -> None:
        dials, policy = self.world.driver.dials, self.world.plan.setup.retry
        if len(dials) == self._looked_at or policy is None:
            return
        self._looked_at = len(dials)
        # A time that was reckoned from the first of them may round to a little less.
        recent = [when for when in dials if when > self.world.now - policy.window_s + 1e-6]
        if len(recent) > policy.max_connects:
            self.broken(f"{len(recent)} connects within {policy.window_s:g} s: {recent}")


class ConfigurationHolds(Invariant):
    """When it is quiet the server has the configuration that is wanted."""

    def finish(self) -> None:
        client, service = self.world.client, self.world.service
        if service is None:
            return
        if client.acknowledged != client.wanted:
            self.broken(f"{client.wanted} is wanted, {client.acknowledged} was acknowledged")
        theirs = service.session.session.instructions
        ours = client.wanted.instructions
        if theirs != ours and not (isinstance(ours, UnsetType) or self._gave_up()):
            self.broken(f"{ours!r} is wanted, the server has {theirs!r}")

    def _gave_up(self) -> bool:
        """Whether the answer to an update did not come in time, so that nobody knows what is in force."""
        return any(
            issued.command.kind is CommandKind.UPDATE and issued.command.outcome is Outcome.DEADLINE
            for issued in self.world.driver.issued.values()
        )


class NothingIsStray(Invariant):
    """A server that keeps to the order never says anything that fits nothing.

    Save the answer to a deletion of what the mirror has dropped already, when connections change.
    """

    event_kinds = (StrayEvent, MessageBroken)

    def on_event(self, event: SessionEvent) -> None:
        if type(event) is StrayEvent and type(event.event) is not events.ConversationItemDeleted:
            self.broken(f"{event.reason}: {event.event!r}")
        if type(event) is MessageBroken and "odd" not in event.error.excerpt:
            self.broken(str(event.error))


DEFAULT_INVARIANTS: tuple[Callable[[], Invariant], ...] = (
    CommandsEndOnce,
    StreamsEnd,
    OutputsAreGivenOnce,
    MirrorEqualsServer,
    HeardIsReceivedIsSpoken,
    CallerIsHeardOnce,
    NothingIsStale,
    AbandonedRepliesAreSilent,
    OneActiveReply,
    QueuesAreBounded,
    ConnectsAreBounded,
    AnswersAreNotForgotten,
    ConfigurationHolds,
    NothingIsStray,
    AnswersAreTheirOwn,
    HistoryIsAsHeard,
    CutsAreAsAsked,
    EditsGiveWhatWasAsked,
    AsksWhenFree,
    PlannedChangesCutNothing,
    DelaysGrow,
    LossesAreReal,
)
"""Makers of all of them. That nothing waits for ever is the world's own rule: see `World.what_waits`."""
