"""Tools as tasks: each function call runs by itself, and each gets exactly one output (T5 to T10).

A call is a task from `CallReady` to the acknowledgement of its output. What it waits for on that way can
be interrupted; the output, once there is one, is sent whatever becomes of the response that called.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast

import trio
from msgspec import Struct

from sansio_rt import (
    CallReady,
    Command,
    CommandEnded,
    CommandKind,
    ConfigurationError,
    ConnectionLost,
    GeneratedCall,
    Generation,
    GenerationEnded,
    GenerationStarted,
    GenerationStatus,
    ItemDone,
    LocalProtocolError,
    Outcome,
    RealtimeError,
    SessionConfigured,
    Tool,
    ToolArgumentsError,
    events,
)
from sansio_rt.tools import error_text, output_text

from ._approval import ApprovalRequest, Approvals, ApprovalState
from ._groups import plain_error
from ._sparing import SparingLog

__all__ = ["ToolSettings", "Toolbox"]

_log = logging.getLogger("trio_rt.tools")

_MOST_REMEMBERED = 1024
_MOST_ERROR_CHARACTERS = 1000
_TRACEBACK = "Traceback (most recent call last)"

_WHY_INTERRUPTED = {
    GenerationStatus.CANCELLED: "the reply that called it was interrupted",
    GenerationStatus.LOST: "the connection was lost",
}


class ToolSettings(Struct, frozen=True, kw_only=True):
    """How a session runs tools."""

    timeout_s: float = 60.0
    """How long a call may take whose tool names no time of its own, in seconds."""
    approval_timeout_s: float = 60.0
    """How long a request for approval waits before it counts as denied, in seconds."""
    max_output_characters: int | None = 1_000_000
    """The longest output sent; a longer one is cut and says so. None: no limit of ours."""
    max_threads: int = 16
    """How many synchronous tools may run at once; further ones wait, and their timeout runs."""
    tell_exceptions: bool = True
    """Whether the model is told the message of a tool's exception, or only its type."""

    def __post_init__(self) -> None:
        """Refuses what cannot work.

        Raises:
            ConfigurationError: A number is not positive; the message names it.
        """
        for name in ("timeout_s", "approval_timeout_s"):
            value = getattr(self, name)
            if not 0 < value <= math.inf:
                raise ConfigurationError(f"{name}={value!r}: give more than 0 seconds")
        for name in ("max_output_characters", "max_threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name}={value!r}: give at least 1")


class _Declared(Struct, frozen=True):
    """The functions that one response may call."""

    tools: dict[str, Tool]
    others: frozenset[str]
    """Names that the application answers itself."""

    @classmethod
    def of(cls, entries: Iterable[Any], others: frozenset[str] = frozenset()) -> _Declared:
        """Sorts what was declared; `others` are names that were declared elsewhere."""
        listed = list(entries)
        tools = {entry.name: entry for entry in listed if isinstance(entry, Tool)}
        raw = _function_names(listed)
        return cls(tools, (others | raw) - tools.keys())


class _Call:
    """A call on its way.

    Attributes:
        state: The core's side of it.
        tool: What runs, or None where no tool has that name.
        declared: The functions that there are.
        scope: Around what may be interrupted.
        request: For approval, where it was asked for.
        interrupted: Why the response is gone that called, or "".
    """

    __slots__ = ("declared", "interrupted", "request", "scope", "state", "tool")

    def __init__(self, state: GeneratedCall, tool: Tool | None, declared: _Declared) -> None:
        self.state = state
        self.tool = tool
        self.declared = declared
        self.scope = trio.CancelScope()
        self.request: ApprovalRequest | None = None
        self.interrupted = ""

    def interrupt(self, why: str) -> None:
        """The response that called is gone (T7): stops the tool, unless it is to finish and may run."""
        self.interrupted = why
        tool, request = self.tool, self.request
        if tool is None:
            return
        approved = request is not None and request.state is ApprovalState.APPROVED
        if tool.on_interrupt == "cancel" or (tool.needs_approval and not approved):
            self.scope.cancel()
        if request is not None:
            request.withdraw()


class Toolbox:
    """The functions that the model may call, and the tasks that run them.

    Which function a name means is fixed when a response begins: what the session declared then, or what
    the reply was asked for with. A later change concerns later responses.

    Args:
        answer: Sends an output: call id, text, whether a reply should follow.
        nursery: Where the tasks live.
        approvals: Whom to ask for a yes.
        settings: How tools are run.

    Attributes:
        handlers: What it has to be told of, by kind of session event.
    """

    def __init__(
        self,
        answer: Callable[[str, str, bool], Awaitable[None]],
        nursery: trio.Nursery,
        approvals: Approvals,
        settings: ToolSettings,
    ) -> None:
        self._answer = answer
        self._nursery = nursery
        self._log = SparingLog(_log)
        self._approvals = approvals
        self._settings = settings
        self._threads = trio.CapacityLimiter(settings.max_threads)
        self._entries: tuple[Any, ...] = ()
        self._at_server: frozenset[str] = frozenset()
        self._elsewhere: frozenset[str] = frozenset()
        self._declared = _Declared.of(())
        self._of_generation: dict[str, _Declared] = {}
        self._asked: dict[str, tuple[Any, ...]] = {}
        # Of an update that was not answered in time, and may be in force all the same.
        self._unanswered: tuple[Any, ...] | None = None
        self._calls: dict[str, _Call] = {}
        self._seen: dict[str, None] = {}
        self.handlers: Mapping[type, Callable[[Any], None]] = {
            CommandEnded: self._on_command_ended,
            SessionConfigured: self._on_configured,
            GenerationStarted: self._on_generation_started,
            CallReady: self._on_call,
            ItemDone: self._on_item_done,
            GenerationEnded: self._on_generation_ended,
            ConnectionLost: self._on_connection_lost,
        }

    # --- what there is ----------------------------------------------------------------------

    def declare(self, entries: Iterable[Any]) -> None:
        """Takes the session's tools in the place of the ones before: `Tool`s, raw schemas, MCP servers."""
        self._entries = tuple(entries)
        self._sort()

    def declare_with(self, command: Command, entries: Iterable[Any]) -> None:
        """Takes the tools that hold once a command is acknowledged: of the session, or of one reply."""
        self._asked[command.event_id] = tuple(entries)

    def note_sent(self, event: events.ClientEvent) -> None:
        """Looks at a raw event: the application answers the functions itself that a reply gets from it."""
        if isinstance(event, events.ResponseCreate) and isinstance(
            event.response, events.ResponseParams
        ):
            self._elsewhere |= _function_names(event.response.tools)
            self._sort()

    def _sort(self) -> None:
        self._declared = _Declared.of(self._entries, self._at_server | self._elsewhere)

    # --- what happens -----------------------------------------------------------------------

    def _on_command_ended(self, event: CommandEnded) -> None:
        """Puts the tools in force that came with an update or a reply, at its place among the events."""
        command = event.command
        entries = self._asked.pop(command.event_id, None)
        if entries is None:
            return
        if command.outcome is not Outcome.ACKNOWLEDGED:
            if command.kind is CommandKind.UPDATE and command.outcome is Outcome.DEADLINE:
                self._unanswered = entries
            return
        if command.kind is CommandKind.UPDATE:
            self._unanswered = None
            self.declare(entries)
        elif isinstance(command.value, Generation):
            self._of_generation[command.value.id] = _Declared.of(entries)

    def _on_configured(self, event: SessionConfigured) -> None:
        # Functions that we did not declare (a stored prompt's, another client's) are the application's.
        if self._unanswered is not None and event.session.tools == [
            entry.definition() if isinstance(entry, Tool) else entry for entry in self._unanswered
        ]:
            entries, self._unanswered = self._unanswered, None
            self.declare(entries)
        self._at_server = _function_names(event.session.tools)
        self._sort()

    def _on_generation_started(self, event: GenerationStarted) -> None:
        self._of_generation.setdefault(event.generation.id, self._declared)

    def _on_generation_ended(self, event: GenerationEnded) -> None:
        """Stops the calls of a response that was cancelled or lost, as their tools want it (T7)."""
        generation = event.generation
        self._of_generation.pop(generation.id, None)
        why = _WHY_INTERRUPTED.get(generation.status)
        if why is not None:
            for call in self._calls.values():
                if call.state.generation is generation:
                    call.interrupt(why)
        if generation.in_conversation:
            # Some servers tell of an item in its response only.
            for item in generation.items.values():
                self._approvals.ask_mcp(item)

    def _on_connection_lost(self, _: ConnectionLost) -> None:
        self._approvals.withdraw_mcp()

    def _on_item_done(self, event: ItemDone) -> None:
        self._approvals.ask_mcp(event.entry.item)

    def _on_call(self, event: CallReady) -> None:
        """Runs a call in a task of its own, unless the application answers it. A call runs once."""
        state = event.call
        if state.call_id in self._seen:
            self._log.warning(
                "the server asked for call %s again; it is not run twice", state.call_id
            )
            return
        declared = self._of_generation.get(state.generation.id, self._declared)
        tool = declared.tools.get(state.name)
        if tool is None and state.name in declared.others:
            return
        self._seen[state.call_id] = None
        if len(self._seen) > _MOST_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        call = self._calls[state.call_id] = _Call(state, tool, declared)
        self._nursery.start_soon(self._run, call, name=f"tool {state.name}")

    # --- a call -----------------------------------------------------------------------------

    async def _run(self, call: _Call) -> None:
        name, call_id = call.state.name, call.state.call_id
        try:
            output = await self._output(call)
            if not call.state.generation.in_conversation:
                # Its call is no item of the conversation, so the service would refuse the output.
                self._log.debug("the output of %s (%s) has no place: out of band", name, call_id)
                return
            # To a reply that somebody interrupted belongs no other one that nobody asked for.
            wanted = call.state.generation.status is not GenerationStatus.CANCELLED
            await self._answer(call_id, self._cut(output), wanted)
        except RealtimeError as error:
            # The connection went, the application was faster, or the service refused the output.
            self._log.warning("the output of %s (%s) was not taken: %s", name, call_id, error)
        except trio.Cancelled:
            self._log.info("the session ended before %s (%s) had its output", name, call_id)
            raise
        finally:
            del self._calls[call_id]

    async def _output(self, call: _Call) -> str:
        tool = call.tool
        if tool is None:
            self._log.warning("the model called %r, which nobody declared", call.state.name)
            return _unknown(call.state.name, call.declared)
        try:
            with call.scope:
                # What is interrupted already must not begin, not even a function that never waits.
                await trio.lowlevel.checkpoint()
                return await self._attempt(call, tool)
        except Exception as error:  # noqa: BLE001 - whatever a tool does, the model gets an answer
            self._log.exception("tool %s failed", tool.name)
            return _error(f"{tool.name} failed: {self._described(error)}")
        return _error(f"{tool.name} was cancelled: {call.interrupted}")

    async def _attempt(self, call: _Call, tool: Tool) -> str:
        """Decodes, asks, calls; gives the output."""
        arguments = call.state.arguments
        try:
            keywords = tool.decode(arguments)
        except ToolArgumentsError as error:
            return _error(str(error))
        if tool.needs_approval:
            # Decoded once more: what is run is what the model sent, whatever a reader does to his.
            shown = tool.decode(arguments)
            call.request = ApprovalRequest(tool.name, shown, call_id=call.state.call_id)
            await self._approvals.decide(call.request)
            if call.request.state is not ApprovalState.APPROVED:
                why = call.request.reason or "it was not approved"
                return _error(f"{tool.name} was not run: {why}")
        timeout_s = self._settings.timeout_s if tool.timeout_s is None else tool.timeout_s
        with trio.move_on_after(timeout_s):
            result = await self._call(tool, keywords)
            return _written(tool, result)
        self._log.warning("tool %s took longer than %g s", tool.name, timeout_s)
        return _error(f"{tool.name} took longer than {timeout_s:g} seconds")

    async def _call(self, tool: Tool, keywords: dict[str, Any]) -> Any:
        if tool.in_thread:
            result = await trio.to_thread.run_sync(
                lambda: tool.function(**keywords),
                abandon_on_cancel=True,
                limiter=self._threads,
            )
        else:
            result = tool.function(**keywords)
        return await result if inspect.isawaitable(result) else result

    def _described(self, error: BaseException) -> str:
        """What the model is told of an exception: never where it happened."""
        if isinstance(error, BaseExceptionGroup):
            error = plain_error(error, None)  # pyright: ignore[reportUnknownArgumentType]
        name = type(error).__name__
        if not self._settings.tell_exceptions:
            return name
        try:
            text = str(error).partition(_TRACEBACK)[0].strip()[:_MOST_ERROR_CHARACTERS]
        except Exception:  # noqa: BLE001 - an exception that cannot even be written
            text = ""
        return f"{name}: {text}" if text else name

    def _cut(self, output: str) -> str:
        limit = self._settings.max_output_characters
        if limit is None or len(output) <= limit:
            return output
        return (
            f"{output[:limit]}\n[cut here: the output has {len(output):,} characters, "
            f"these were the first {limit:,}]"
        )


def _function_names(entries: Any) -> frozenset[str]:
    """The names of the raw functions in a list of tools; none where it is no list."""
    listed = cast("Iterable[Any]", entries) if isinstance(entries, (list, tuple)) else ()
    return frozenset(str(entry.name) for entry in listed if isinstance(entry, events.FunctionTool))


def _unknown(name: str, declared: _Declared) -> str:
    names = ", ".join(sorted(declared.tools.keys() | declared.others)) or "none"
    return _error(f"there is no tool called {name[:64]!r}; the tools are: {names}")


def _written(tool: Tool, result: Any) -> str:
    """A result as text; one that has no JSON form is an error output."""
    try:
        return _sendable(output_text(result))
    except LocalProtocolError as error:
        _log.warning("tool %s: %s", tool.name, error)
        return _error(f"{tool.name} gave a {type(result).__name__}, which cannot be told")


def _error(message: str) -> str:
    return error_text(_sendable(message))


def _sendable(text: str) -> str:
    """The text without what UTF-8 cannot say: file names can hold halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text
