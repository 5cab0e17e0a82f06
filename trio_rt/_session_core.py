"""The inside of `Session`: connections one after the other, waiting calls, and where events go."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import trio
from msgspec import UNSET, UnsetType

import sansio_rt
from sansio_rt import (
    AudioDelta,
    CallReady,
    ClientProtocol,
    Command,
    CommandEnded,
    CommandKind,
    ConnectionClosed,
    ConnectionLost,
    ConnectionReplaced,
    ConnectionState,
    ConversationItem,
    ErrorScope,
    GenerationEnded,
    GenerationOrigin,
    GenerationStarted,
    MessageBroken,
    MessageEnded,
    MessageStarted,
    Outcome,
    RawClientEvent,
    RawServerEvent,
    RealtimeError,
    ServerErrorReported,
    SessionClosed,
    SessionEvent,
    SessionReady,
    SessionResumed,
    StrayEvent,
    TextDelta,
    events,
)

from ._approval import ApprovalRequest, Approvals
from ._connections import Connections, Dial
from ._generation import Generation
from ._hooks import Hooks
from ._meter import Meter
from ._pump import Clock
from ._sparing import SparingLog
from ._streams import Stream
from ._toolbox import Toolbox, ToolSettings

__all__ = ["SessionCore"]

_log = logging.getLogger("trio_rt")

T = TypeVar("T")

_SUBSCRIPTION_LIMIT = 4096
_MOST_UNREAD_GENERATIONS = 16


class SessionCore:
    """All of a session but its calls; see `Session`.

    Attributes:
        generations: The generations that nobody called `generate_reply` for: those of the server after a
            turn of speech, and those that use tool outputs.
        approvals: The calls that wait for a yes, of tools with `needs_approval` and of MCP servers.
        error: Why the session failed, or None.
    """

    def __init__(
        self,
        protocol: ClientProtocol,
        nursery: trio.Nursery,
        dial: Dial,
        hooks: Hooks | None = None,
        tool_settings: ToolSettings | None = None,
    ) -> None:
        self.generations: Final[Stream[Generation]] = Stream(1 << 20, name="generations")
        self._protocol = protocol
        self._nursery = nursery
        # The connection outlives a cancelled application by the time that a proper close takes.
        self._connection_scope = trio.CancelScope(shield=True)
        settings = tool_settings or ToolSettings()
        approvals = Approvals(nursery, self.create_item, timeout_s=settings.approval_timeout_s)
        self.approvals: Final[Stream[ApprovalRequest]] = approvals.stream
        self._toolbox = Toolbox(self._answer_call, nursery, approvals, settings)
        self._live: dict[str, Generation] = {}
        # Made for a caller of `generate_reply` whose task has not run since.
        self._unclaimed: dict[str, Generation] = {}
        self._waiters: dict[str, trio.Event] = {}
        self._editing = trio.Lock()
        self._edits: list[Command] = []
        self._clock = Clock(protocol, self._settle)
        self._resumed = trio.lowlevel.ParkingLot()
        self._subscribers: dict[type, list[Stream[Any]]] = {}
        self._meter = Meter(protocol, hooks or Hooks(()))
        self._connections = Connections(
            protocol, dial, time.time, settle=self._settle, dialled=self._meter.dialled
        )
        self._ready = trio.Event()
        self._closed = trio.Event()
        self._log = SparingLog(_log)
        self._leaving = False
        self._aborted = False
        self.error: RealtimeError | None = None
        handlers: dict[type, Callable[[Any], None]] = {
            AudioDelta: self._on_part,
            TextDelta: self._on_part,
            MessageStarted: self._on_part,
            MessageEnded: self._on_part,
            CallReady: self._on_call,
            GenerationStarted: self._on_generation_started,
            GenerationEnded: self._on_generation_ended,
            CommandEnded: self._on_command_ended,
            SessionReady: self._on_ready,
            ConnectionLost: self._on_connection_lost,
            ConnectionReplaced: self._on_replaced,
            SessionResumed: self._on_resumed,
            SessionClosed: self._on_closed,
            ServerErrorReported: self._on_server_error,
            MessageBroken: self._on_broken,
            StrayEvent: self._on_stray,
        }
        for others in (self._toolbox.handlers, self._meter.handlers, self._connections.handlers):
            for kind, other in others.items():
                handle = handlers.get(kind)
                handlers[kind] = other if handle is None else _both(handle, other)
        self._handlers: Mapping[type, Callable[[Any], None]] = handlers
        self._watch_raw()
        self._toolbox.declare(listed(protocol.wanted.tools))

    def __repr__(self) -> str:
        return f"<Session {self._protocol.state.value}>"

    # --- calls that generations and tools make, too -----------------------------------------

    async def create_item(
        self, item: events.Item, *, previous_item_id: str | UnsetType = UNSET
    ) -> ConversationItem:
        """Adds an item of any kind and waits until the server has it."""
        entry: ConversationItem = await self._do(
            lambda: self._protocol.create_item(item, previous_item_id=previous_item_id)
        )
        return entry

    async def interrupt(self, response_id: str | None = None) -> None:
        """Cancels a running response and waits until it is done; nothing to cancel is success.

        Args:
            response_id: Which; None: the active one of the default conversation.
        """
        if self._protocol.reconnecting:  # nothing runs
            await trio.lowlevel.checkpoint()
            return
        await self._maybe(lambda: self._protocol.interrupt(response_id))

    async def send_tool_output(self, call_id: str, output: str, *, reply: bool = True) -> None:
        """Answers a function call that no tool of the session answers.

        Args:
            call_id: `FunctionCall.call_id`.
            output: What the model is told.
            reply: Whether a reply should follow, once every call of that response has its output.
        """
        await self._do(lambda: self._protocol.send_tool_output(call_id, output, reply=reply))

    # --- for open_session -------------------------------------------------------------------

    def _start(self) -> None:
        self._nursery.start_soon(self._run, name="trio_rt connection")

    async def _run(self) -> None:
        """Carries connections and watches the clock, until the session is over."""
        try:
            with self._connection_scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._clock.run, name="trio_rt clock")
                    await self._connections.run()
                    nursery.cancel_scope.cancel()
        except Exception:
            self._aborted = True
            raise

    async def _wait_ready(self) -> None:
        """Waits for an accepted configuration.

        Raises:
            RealtimeError: The session failed before.
        """
        await self._ready.wait()
        if self.error is not None:
            raise self.error

    async def _leave(self) -> None:
        """Closes properly where that can still be done, within the closing timeout; then by force."""
        self._leaving = True
        if self._aborted:  # nobody is there to close it, and its state is not to be relied on
            return
        self._tell_time()
        self._protocol.close()
        self._settle()
        # A little beyond the protocol's own bound, which normally ends the wait; all of it is waited where
        # the socket takes nothing any more.
        with trio.move_on_after(self._protocol.timing.close_timeout_s + 0.25, shield=True):
            await self._closed.wait()
            await self._connections.drain()
        self._connections.stop()
        self._connection_scope.cancel()

    # --- steps ------------------------------------------------------------------------------

    async def _connected(self) -> None:
        """Waits while a lost connection is being replaced, or until it is known why the last one ended.

        Raises:
            RealtimeError: The session is over.
        """
        while True:
            while self._is_away():
                await self._resumed.park()
            # Where the loop was late, this may be what notices that the connection is lost.
            self._tell_time()
            self._settle()
            if self._closed.is_set():
                raise self.error or ConnectionClosed("the session was closed", by_peer=False)
            if not self._is_away():
                return

    def _is_away(self) -> bool:
        return self._protocol.reconnecting or self._protocol.state is ConnectionState.CLOSING

    async def _do(self, call: Callable[[], Command]) -> Any:
        """Makes a command in one await-free step, then waits for its answer."""
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._connected()
        self._tell_time()
        command = call()
        return await self._answer_of(command)

    async def _maybe(self, call: Callable[[], Command | None]) -> Any:
        """As `_do`, for calls that may find that nothing is to be done."""
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._connected()
        self._tell_time()
        command = call()
        if command is None:
            self._settle()
            await trio.lowlevel.cancel_shielded_checkpoint()
            return None
        return await self._answer_of(command)

    async def _answer_of(self, command: Command) -> Any:
        self._settle()
        await self._end_of(command)
        return command.result()

    async def _end_of(self, command: Command) -> None:
        """Waits until a command has left the table.

        Raises:
            RealtimeError: The session is over, and the command went with it.
        """
        if command.outcome is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await self._wait_for(command)
        if _went_with_connection(command) and not self._protocol.reconnecting:
            await self._connected()  # raises why the session ended: one error, whoever waits

    async def _wait_for(self, command: Command) -> None:
        """Waits for the end of a command; a reply whose caller gives up is abandoned."""
        # Several callers may wait for one command: an interrupt is the same one for all of them.
        event = self._waiters.setdefault(command.event_id, trio.Event())
        try:
            await event.wait()
        except trio.Cancelled:
            if command.kind is CommandKind.REPLY:
                self._protocol.abandon(command)
                if isinstance(command.value, sansio_rt.Generation):
                    self._unclaimed.pop(command.value.id, None)
                self._settle()
            raise

    async def _answer_call(self, call_id: str, output: str, reply: bool) -> None:
        await self.send_tool_output(call_id, output, reply=reply)

    def _settle(self) -> None:
        """After a change of state: hands on what happened, sends what is queued, minds the clock."""
        self._dispatch()
        self._connections.kick()
        self._clock.kick()

    def _tell_time(self) -> None:
        """Before a command: its deadlines count from the newest time that the protocol was told."""
        self._protocol.handle_timer(trio.current_time())

    def _dispatch(self) -> None:
        next_event = self._protocol.next_event
        handlers, subscribers = self._handlers, self._subscribers
        while (event := next_event()) is not None:
            kind = type(event)
            handler = handlers.get(kind)
            if handler is not None:
                handler(event)
            if subscribers:
                self._publish(kind, event)

    def _publish(self, kind: type, event: SessionEvent) -> None:
        for stream in self._subscribers.get(kind, ()):
            stream.put(event)
        if isinstance(event, (RawServerEvent, RawClientEvent)):
            for stream in self._subscribers.get(type(event.event), ()):
                stream.put(event.event)

    def _subscribe(self, kinds: Sequence[type], stream: Stream[Any]) -> None:
        for kind in kinds:
            self._subscribers.setdefault(kind, []).append(stream)
        self._watch_raw()
        if self._closed.is_set():
            stream.end()

    def _unsubscribe(self, kinds: Sequence[type], stream: Stream[Any]) -> None:
        for kind in kinds:
            streams = self._subscribers[kind]
            streams.remove(stream)
            if not streams:
                del self._subscribers[kind]
        self._watch_raw()

    def _watch_raw(self) -> None:
        self._protocol.raw_events = self._meter.logs_events or any(map(_is_raw, self._subscribers))

    def _on_part(self, event: TextDelta | AudioDelta | MessageStarted | MessageEnded) -> None:
        self._live[event.message.generation.id]._deliver(event)  # pyright: ignore[reportPrivateUsage]

    def _on_call(self, event: CallReady) -> None:
        self._live[event.call.generation.id]._deliver(event)  # pyright: ignore[reportPrivateUsage]

    def _on_generation_started(self, event: GenerationStarted) -> None:
        state = event.generation
        generation = Generation(state, self, self._protocol.limits.max_stream_bytes)
        self._live[state.id] = generation
        if state.origin is GenerationOrigin.CALLER:
            self._unclaimed[state.id] = generation
            return
        self._make_room()
        self.generations.put(generation)

    def _make_room(self) -> None:
        """Drops the oldest generations that nobody takes, where they are many or hold much together."""
        unread = self.generations.waiting
        held = sum(generation.held_bytes for generation in unread)
        for dropped in unread:
            few = len(self.generations) < _MOST_UNREAD_GENERATIONS
            if few and held <= self._protocol.limits.max_stream_bytes:
                return
            held -= dropped.held_bytes
            self.generations.receive_nowait()._drop_backlog()  # pyright: ignore[reportPrivateUsage]
            self._log.warning("nobody reads session.generations; %s was dropped", dropped)

    def _on_generation_ended(self, event: GenerationEnded) -> None:
        self._live.pop(event.generation.id)._end()  # pyright: ignore[reportPrivateUsage]

    def _on_command_ended(self, event: CommandEnded) -> None:
        waiter = self._waiters.pop(event.command.event_id, None)
        if waiter is not None:
            waiter.set()

    def _on_ready(self, _: SessionReady) -> None:
        self._ready.set()

    def _on_closed(self, event: SessionClosed) -> None:
        if event.error is not None and not self._leaving:
            self.error = event.error
            if self._connections.broken is not None:
                self.error.__cause__ = self._connections.broken
            self._nursery.cancel_scope.cancel()
        self._ready.set()
        self._closed.set()
        self._resumed.unpark_all()
        if not self._leaving:
            self._connections.stop()
        # Readers hear why it ended; an ordinary end would hide the error behind `EndOfChannel`.
        self.generations.end(self.error)
        self.approvals.end(self.error)
        for streams in self._subscribers.values():
            for stream in streams:
                stream.end(self.error)

    def _on_connection_lost(self, event: ConnectionLost) -> None:
        delay_s = event.reconnect_at - trio.current_time()
        self._log.warning("%s; connecting again in %.1f s", event.error, delay_s)

    def _on_replaced(self, event: ConnectionReplaced) -> None:
        self._log.info("another connection has taken over: %s", event.reason)

    def _on_resumed(self, event: SessionResumed) -> None:
        self._log.info(
            "connected again after %.1f s, %d items replayed", event.away_s, event.replayed
        )
        self._resumed.unpark_all()

    def _on_server_error(self, event: ServerErrorReported) -> None:
        level = logging.DEBUG if event.scope is ErrorScope.BENIGN else logging.WARNING
        code = event.error.code or event.error.type
        self._log.log(level, "the service reported %s: %s", code, event.error.message)

    def _on_broken(self, event: MessageBroken) -> None:
        self._log.warning("a message of the server was dropped: %s", event.error)

    def _on_stray(self, event: StrayEvent) -> None:
        self._log.debug("a server event was dropped: %s", event.reason)


def _both(first: Callable[[Any], None], second: Callable[[Any], None]) -> Callable[[Any], None]:
    def handle(event: Any) -> None:
        first(event)
        second(event)

    return handle


def _is_raw(kind: type) -> bool:
    return kind in (RawServerEvent, RawClientEvent) or kind.__module__.startswith(events.__name__)


def listed(tools: Any) -> Sequence[Any]:
    return () if isinstance(tools, UnsetType) else tools


def _went_with_connection(command: Command) -> bool:
    return command.outcome is Outcome.CONNECTION_ENDED
