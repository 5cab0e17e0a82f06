"""What is asked of the service on the response side: replies, cancels, and what outputs lead to."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from . import events
from ._arbiter import Arbiter, PendingReply
from ._commands import Command, CommandKind
from ._errors import GenerationFailed, LocalProtocolError, RealtimeError
from ._generations import GeneratedCall, Generation, GenerationOrigin, GenerationStatus
from ._tray import Tray

__all__ = ["METADATA_KEY", "Requests", "own_metadata", "remember"]

METADATA_KEY = "client_event_id"
"""The metadata entry by which a response is recognised as the answer to our own event."""

_REMEMBERED = 256
_MOST_OPEN_CALLS = 1024
_MOST_METADATA = 15  # the service takes 16, and one is ours


_LEAD_ON = frozenset(
    {GenerationStatus.COMPLETED, GenerationStatus.INCOMPLETE, GenerationStatus.LOST}
)
"""The ends of a response after which its tool outputs lead to a reply: nobody stopped it."""


class Requests:
    """The arbiter in front of `response.create`, and the calls that wait for their one output.

    Args:
        tray: Where events are laid down.
        answer_timeout_s: How long the service may take to answer a request.

    Attributes:
        arbiter: Knows which responses are active and which were asked for.
        calls: The whole function calls that have no output yet, by call id.
        interrupts: Those that are not over, and the commands that have to be over for each.
    """

    def __init__(self, tray: Tray, *, answer_timeout_s: float) -> None:
        self._tray = tray
        self._answer_timeout_s = answer_timeout_s
        # Requests that were answered or given up: any further answer to them is not wanted.
        self._over: dict[str, None] = {}
        self.arbiter = Arbiter()
        self.calls: dict[str, GeneratedCall] = {}
        self._owed: GenerationOrigin | None = None
        self.interrupts: list[tuple[Command, list[Command]]] = []

    def answered_by(self, response: events.Response) -> PendingReply | None:
        """The request of ours that a new response answers, by the metadata that it echoes."""
        return self.arbiter.find(_request_of(response))

    def is_unwanted(self, response: events.Response, reply: PendingReply | None) -> bool:
        """Whether a new response answers a request that is over, or whose caller gave up.

        Args:
            response: The response.
            reply: The request that it answers, where that is not over.
        """
        if reply is not None:
            return reply.command.abandoned
        return _request_of(response) in self._over

    def request(
        self,
        params: events.ResponseParams,
        *,
        origin: GenerationOrigin,
        wait_if_busy: bool,
        beyond_limit: bool = False,
    ) -> Command:
        """Asks for a response; it is sent as soon as the arbiter allows.

        Returns:
            The command; its value is the `Generation` once the server created that very response.
        """
        commands = self._tray.commands
        command = commands.add(
            Command(self._tray.ids("event"), CommandKind.REPLY), beyond_limit=beyond_limit
        )
        metadata = {} if not isinstance(params.metadata, dict) else dict(params.metadata)
        metadata[METADATA_KEY] = command.event_id
        reply = PendingReply(
            command=command,
            params=msgspec.structs.replace(params, metadata=metadata),
            origin=origin,
            in_conversation=params.conversation != "none",
            wait_if_busy=wait_if_busy,
            requested_at=self._tray.now,
        )
        if reply.in_conversation and not wait_if_busy and self.arbiter.busy:
            self._tray.refuse(command, GenerationFailed("a response is active already"))
            return command
        self.arbiter.submit(reply)
        return command

    def send_ready(self) -> None:
        """Lays down the `response.create` events that may be sent now: the configuration is accepted."""
        for reply in self.arbiter.take_ready():
            event_id = reply.command.event_id
            self._tray.client_events.append(
                events.ResponseCreate(response=reply.params, event_id=event_id)
            )
            if reply.command.deadline is None:
                self._start_clock(reply.command)

    def abandon(self, command: Command) -> None:
        """The caller of a reply gave up: it is not sent, or cancelled by id when it is created.

        Raises:
            LocalProtocolError: The command is no reply.
        """
        if command.kind is not CommandKind.REPLY:
            raise LocalProtocolError(
                f"abandon({command!r}): only a reply can be taken back; wait for other commands"
            )
        if command.outcome is not None:
            generation = command.value
            if isinstance(generation, Generation):
                self.cancel(generation)
            return
        if command.event_id in self.arbiter.asked:
            command.abandoned = True
            return
        self.on_over(command)
        self._tray.refuse(command, GenerationFailed("the caller gave up before it was sent"))

    def cancel(self, generation: Generation) -> Command | None:
        """Cancels one response by its id; the command is done when the response is (G15).

        Returns:
            None where the response has ended already: there is nothing to cancel.
        """
        if generation.ended:
            return None
        running = self._tray.commands.find(CommandKind.CANCEL, generation.id)
        if running is not None:
            return running
        command = Command(self._tray.ids("event"), CommandKind.CANCEL, generation.id)
        self._tray.commands.add(command, beyond_limit=True)  # one for each open response
        self._start_clock(command)
        self._tray.client_events.append(
            events.ResponseCancel(event_id=command.event_id, response_id=generation.id)
        )
        return command

    def expect_output(self, call: GeneratedCall) -> None:
        """A call is whole; of too many that nobody answers the oldest is forgotten."""
        self.calls[call.call_id] = call
        while len(self.calls) > _MOST_OPEN_CALLS:
            del self.calls[next(iter(self.calls))]

    def answer(self, call_id: str, *, reply: bool) -> GeneratedCall:
        """Marks a call as answered; the one output that it may have is about to be sent (T9).

        Args:
            call_id: The call.
            reply: Whether a response should follow once all calls of its response have outputs.

        Raises:
            LocalProtocolError: The session saw no such call, or it is answered already.
        """
        call = self.open_call(call_id)
        del self.calls[call_id]
        call.answered = True
        call.generation.follow_up_wanted |= reply
        return call

    def open_call(self, call_id: str) -> GeneratedCall:
        """The call with this id that has no output yet.

        Raises:
            LocalProtocolError: The session saw no such call, or it is answered already.
        """
        call = self.calls.get(call_id)
        if call is None:
            raise LocalProtocolError(
                f"call_id={call_id!r}: no open function call has this id; an output is sent once, "
                "and only for a call of this session"
            )
        return call

    def drop_unbegun(self) -> list[Command]:
        """Drops the replies of the conversation that were asked for and have not begun (a barge-in).

        Returns:
            Those that the service may yet begin: they are cancelled as soon as it does.
        """
        self.arbiter.turn_owed = False
        error = GenerationFailed("interrupted before it began")
        for reply in [reply for reply in self.arbiter.waiting if reply.in_conversation]:
            self.on_over(reply.command)
            self._tray.refuse(reply.command, error)
        asked = [reply.command for reply in self.arbiter.asked.values() if reply.in_conversation]
        for command in asked:
            command.abandoned = True
        return asked

    def when_over(self, commands: list[Command], value: Generation | None) -> Command:
        """A command that is done when all of these are, however they end (G15).

        Args:
            commands: Cancels, and replies that are cancelled when they begin.
            value: What it brings.
        """
        for running, others in self.interrupts:  # asked again in the meantime, it is the same one
            if running.outcome is None and running.value is value and others == commands:
                return running
        command = Command(self._tray.ids("event"), CommandKind.INTERRUPT)
        command.value = value
        self._tray.commands.add(command, beyond_limit=True)
        self._start_clock(command)
        self.interrupts.append((command, commands))
        return command

    def end_interrupts(self) -> None:
        """Ends the interrupts that have nothing left to wait for."""
        waiting: list[tuple[Command, list[Command]]] = []
        for command, others in self.interrupts:
            if command.outcome is not None:  # it took too long
                continue
            if all(other.outcome is not None for other in others):
                self._tray.acknowledge(command, command.value)
            else:
                waiting.append((command, others))
        self.interrupts = waiting

    def cancel_unwanted(self, reply: PendingReply | None, generation: Generation) -> None:
        """Cancels a response that began although nobody wants it any more."""
        cancel = self.cancel(generation)
        for _, others in self.interrupts:
            if reply is not None and reply.command in others and cancel is not None:
                others.append(cancel)

    def follow_up(self, generation: Generation) -> None:
        """Asks for the one response that uses the outputs, once every call has its own (T6).

        Not for a response beside the conversation: the conversation has neither its calls nor their
        outputs, so only the caller can say what the next one is to be made from.
        """
        if (
            generation.follow_up_wanted
            and generation.in_conversation
            and generation.status in _LEAD_ON
            and all(call.answered for call in generation.calls.values())
        ):
            generation.follow_up_wanted = False
            self.request(
                events.ResponseParams(),
                origin=GenerationOrigin.TOOL_OUTPUTS,
                wait_if_busy=True,
                beyond_limit=True,
            )

    def ask_what_is_owed(self) -> None:
        """After a reconnect: asks for the reply that nobody called for and that was lost unbegun.

        It is the one that tool outputs were to lead to, or that the server was to make of a turn: the new
        server has the turn as a message, of which it makes no reply by itself.
        """
        if self._owed is not None:
            origin, self._owed = self._owed, None
            self.request(
                events.ResponseParams(), origin=origin, wait_if_busy=True, beyond_limit=True
            )

    def on_conflict(self, command: Command, error: RealtimeError, *, sure: bool) -> None:
        """Our `response.create` met an active response: it waits, or fails if its caller said so."""
        refused = self.arbiter.conflict(command.event_id, self._tray.now, sure=sure)
        if refused is not None or command.abandoned:
            self.on_over(command)
            self._tray.refuse(command, error)
        elif self.arbiter.retry_at is None:
            command.deadline = None  # the end of the active response is what it waits for

    def ask_again(self, reply: PendingReply) -> bool:
        """The answer to a request was of no use: it is asked again, unless its caller gave up."""
        if reply.command.outcome is None and reply.command.abandoned:
            self._tray.refuse(reply.command, GenerationFailed("the caller gave up"))
        if reply.command.outcome is not None:
            self.arbiter.forget(reply.command.event_id)
            return False
        self.arbiter.again(reply)
        return True

    def on_over(self, command: Command) -> None:
        """Our `response.create` was answered, refused or timed out: no other answer may surface."""
        self.arbiter.forget(command.event_id)
        remember(self._over, command.event_id)

    def on_expired(self, command: Command) -> None:
        """Our `response.create` was not answered in time.

        Where nobody called for it, nobody has given it up: a late answer is welcome, and a connection that
        is lost without one leaves it owed.
        """
        reply = self.arbiter.find(command.event_id)
        if reply is None or reply.origin is GenerationOrigin.CALLER:
            self.on_over(command)
            return
        self.arbiter.forget(command.event_id)
        self.arbiter.turn_owed = reply.in_conversation

    def lose_all(self, *, keep_calls: bool) -> None:
        """The connection is gone, and with it every request.

        Args:
            keep_calls: Whether calls may still be answered, on a connection that replays them.
        """
        replies = [*self.arbiter.waiting, *self.arbiter.asked.values()]
        origins = {reply.origin for reply in replies} - {GenerationOrigin.CALLER}
        if self.arbiter.turn_owed:
            origins.add(GenerationOrigin.SERVER)
        if not keep_calls:
            self._owed = None
        elif origins and self._owed is None:  # else owed since the connection before
            self._owed = origins.pop()
        self.arbiter.reset()
        for command, _ in self.interrupts:
            if command.outcome is None:  # what it waits for is gone
                self._tray.acknowledge(command, command.value)
        self.interrupts.clear()
        if not keep_calls:
            self.calls.clear()

    def _start_clock(self, command: Command) -> None:
        self._tray.commands.start_clock(command, self._tray.now + self._answer_timeout_s)


def own_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The caller's metadata, where there is room for our entry beside it.

    Raises:
        LocalProtocolError: It has too many entries, or one of the name of ours.
    """
    if len(metadata) > _MOST_METADATA:
        raise LocalProtocolError(
            f"metadata has {len(metadata)} entries; at most {_MOST_METADATA} fit beside our own"
        )
    if METADATA_KEY in metadata:
        raise LocalProtocolError(
            f"metadata: {METADATA_KEY!r} is the name of our own entry; choose another"
        )
    return dict(metadata)


def _request_of(response: events.Response) -> str:
    """The event id of ours that a response names as what it answers, or ""."""
    metadata = response.metadata if isinstance(response.metadata, dict) else {}
    return str(metadata.get(METADATA_KEY, ""))


def remember(ids: dict[str, None], one: str) -> None:
    """Keeps an id in a bounded memory, the oldest forgotten first."""
    ids[one] = None
    while len(ids) > _REMEMBERED:
        del ids[next(iter(ids))]
