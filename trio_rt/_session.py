"""`Session`: what an application holds while a conversation runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar, final

import trio
from msgspec import UNSET, UnsetType

import sansio_rt
from sansio_rt import (
    Command,
    CommandTimeout,
    ConnectionState,
    Conversation,
    ConversationItem,
    EditsFailed,
    events,
)
from sansio_rt._config import make_tools

from ._generation import Generation
from ._meter import SessionMetrics
from ._session_core import SessionCore, listed
from ._streams import Stream

__all__ = ["Session", "SessionMetrics", "Subscription"]

_log = logging.getLogger("trio_rt")

T = TypeVar("T")

_SUBSCRIPTION_LIMIT = 4096


@final
class Subscription(Generic[T]):
    """Some kinds of events as a stream, while the block runs: `async with session.subscribe(...)`."""

    def __init__(self, session: Session, kinds: Sequence[type[T]]) -> None:
        self._session = session
        self._kinds = kinds
        names = ", ".join(kind.__name__ for kind in kinds)
        self._stream: Stream[T] = Stream(_SUBSCRIPTION_LIMIT, name=names)

    def __enter__(self) -> Stream[T]:
        self._session._subscribe(self._kinds, self._stream)  # pyright: ignore[reportPrivateUsage]
        return self._stream

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session._unsubscribe(self._kinds, self._stream)  # pyright: ignore[reportPrivateUsage]
        self._stream.close()

    async def __aenter__(self) -> Stream[T]:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc, traceback)


@final
class Session(SessionCore):
    """A running conversation. Made by `open_session`, valid inside its block.

    Every async method is a checkpoint and may be cancelled: what it asked for is then either not sent at
    all or sent whole, and the session goes on.

    Attributes:
        generations: The generations that nobody called `generate_reply` for: those of the server after a
            turn of speech, and those that use tool outputs.
        approvals: The calls that wait for a yes, of tools with `needs_approval` and of MCP servers.
    """

    # --- state ------------------------------------------------------------------------------

    @property
    def conversation(self) -> Conversation:
        """The mirror of the server's conversation."""
        return self._protocol.conversation

    @property
    def config(self) -> events.RealtimeSession | None:
        """The effective configuration as the server last echoed it."""
        return self._protocol.session

    @property
    def rate_limits(self) -> list[events.RateLimit]:
        """As the server last told them."""
        return list(self._protocol.rate_limits)

    @property
    def metrics(self) -> SessionMetrics:
        """What was measured so far."""
        return self._meter.metrics

    def expect_playback(self) -> None:
        """Tells that somebody will call `note_played`: turns with audio are measured to that point."""
        self._meter.expect_playback()

    def note_played(self, response_id: str, played_at: float | None = None) -> None:
        """Tells when the first sample of a response was played, for the metrics of its turn.

        `Playback` does this by itself; call it for a player of your own. Once it was called, turns with
        audio wait for it. Later calls for the same turn change nothing.

        Args:
            response_id: Whose audio.
            played_at: By trio's clock; None: now.
        """
        self._meter.played(response_id, trio.current_time() if played_at is None else played_at)

    # --- the connection ---------------------------------------------------------------------

    async def restart(self, reason: str, *, patience_s: float | None = None) -> None:
        """Replaces the connection, keeps the conversation, and returns when the next one serves.

        The next connection is made ready first, and takes over at a moment at which nothing is under way.

        Args:
            reason: Why, for the log and `ConnectionReplaced`.
            patience_s: How long such a moment is waited for; at its end the old connection goes, and what
                runs on it is lost. None: `Timing.rotation_patience_s`.

        Raises:
            LocalProtocolError: The session has no retry policy, or the patience is negative.
            RealtimeError: The session ended instead.

        Cancelled, it leaves the replacement on its way.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        replaced_already = self._protocol.reconnecting
        await self._connected()
        if replaced_already:
            return
        self._tell_time()
        self._protocol.restart(reason, patience_s=patience_s)
        self._settle()
        await self._resumed.park()
        await self._connected()

    # --- the caller's audio -----------------------------------------------------------------

    async def push_audio(
        self, audio: sansio_rt.AudioData, *, rate: int | None = None, channels: int = 1
    ) -> None:
        """Sends the caller's audio; waits while the socket is slow.

        Args:
            audio: PCM16 little-endian bytes, or a NumPy array of int16 or float, mono `(n,)` or
                `(n, channels)`. Pieces of any length.
            rate: Its samples a second; None: the wire's (24,000 for PCM16).
            channels: Of bytes or of a flat array, interleaved.

        Raises:
            LocalProtocolError: It is no audio; nothing was taken.

        Cancelled, it has taken nothing.
        """
        await trio.lowlevel.checkpoint()
        protocol = self._protocol
        if protocol.pending_bytes > protocol.limits.max_output_bytes:
            await self._connections.wait_for_room()
        closing = protocol.state is ConnectionState.CLOSING and not protocol.reconnecting
        if closing or self._closed.is_set():
            await self._connected()
        protocol.tell_time(trio.current_time())
        protocol.push_audio(audio, rate=rate, channels=channels)
        self._connections.kick()

    async def commit_audio(self) -> str | None:
        """Makes a user message of the audio sent so far and waits for it.

        Returns:
            The id of the message. None where there is nothing to commit: less than 100 ms were pushed
            (they are kept for the next commit), or the server's turn detection was faster.
        """
        item_id: str | None = await self._maybe(self._protocol.commit_audio)
        return item_id

    async def clear_audio(self) -> None:
        """Drops the audio that is not committed, here and at the server."""
        await self._do(self._protocol.clear_audio)

    # --- the conversation -------------------------------------------------------------------

    async def send_message(
        self,
        content: Any,
        *,
        role: str = "user",
        item_id: str | None = None,
        previous_item_id: str | UnsetType = UNSET,
    ) -> ConversationItem:
        """Adds a message and waits until the server has it. It asks for no reply.

        Args:
            content: Text, or content parts.
            role: `user`, `system` or `assistant`.
            item_id: At most 32 characters; None: one is chosen.
            previous_item_id: The item to follow; `UNSET`: the end.

        Raises:
            CommandRefused: The service's refusal.
        """
        item: ConversationItem = await self._do(
            lambda: self._protocol.send_message(
                content, role=role, item_id=item_id, previous_item_id=previous_item_id
            )
        )
        return item

    async def delete_item(self, item_id: str) -> None:
        """Takes an item out of the conversation."""
        await self._do(lambda: self._protocol.delete_item(item_id))

    async def retrieve_item(self, item_id: str) -> events.Item:
        """Asks for an item as the server has it, with its audio."""
        item: events.Item = await self._do(lambda: self._protocol.retrieve_item(item_id))
        return item

    async def truncate(
        self, item_id: str, *, audio_end_ms: int | None = None, heard_text: str | None = None
    ) -> None:
        """Cuts an assistant message at what the caller heard; hearing nothing of it deletes it.

        Args:
            item_id: The message.
            audio_end_ms: How much of its audio was heard, in milliseconds.
            heard_text: For a message of text only: the part of it that was read out.
        """
        if self._protocol.reconnecting:  # what was heard is noted for the replay
            self._protocol.truncate(item_id, audio_end_ms=audio_end_ms, heard_text=heard_text)
            await trio.lowlevel.checkpoint()
            return
        await self._maybe(
            lambda: self._protocol.truncate(
                item_id, audio_end_ms=audio_end_ms, heard_text=heard_text
            )
        )

    async def update_conversation(
        self, items: Sequence[events.Item], *, base: Sequence[events.Item] | None = None
    ) -> None:
        """Edits the conversation until it is what `items` say, and waits for every edit.

        One caller at a time goes through.

        Args:
            items: All items in order, as `conversation.items()` gives them, edited. Items without an id
                are new. An item that changes or moves is deleted and created again under its id.
            base: The items before they were edited: what the server added since then is kept. None:
                nothing was added since.

        Raises:
            LocalProtocolError: Two items have one id, an item cannot be sent, there are more edits than
                `Limits.max_pending_commands` has room for, or a spoken turn would move of which neither the
                words nor all of the sound are here: take what `retrieve_item` gives. Nothing was sent.
            CommandTimeout: Some edits were not acknowledged in time; `missing` names the items.
            CommandRefused: The service refused the one edit that failed; the others were made.
            EditsFailed: Several edits failed.

        Cancelled, the edits were all asked for or none of them; nobody waits for the answers.
        """
        async with self._editing:
            # The mirror does not show yet what a cancelled caller has asked for.
            for command in self._edits:
                await self._end_of(command)
            await self._connected()
            self._tell_time()
            commands = self._edits = self._protocol.update_conversation(items, base=base)
            self._settle()
            for command in commands:
                await self._end_of(command)
        errors = {command.key: command.error for command in commands if command.error is not None}
        if errors and all(isinstance(error, CommandTimeout) for error in errors.values()):
            raise CommandTimeout(
                f"no answer to the edits of {', '.join(errors)} in time", missing=list(errors)
            )
        if len(errors) == 1:
            raise next(iter(errors.values()))
        if errors:
            raise EditsFailed(errors)

    # --- replies ----------------------------------------------------------------------------

    async def generate_reply(
        self,
        *,
        instructions: str | UnsetType = UNSET,
        tools: Sequence[Any] | UnsetType = UNSET,
        tool_choice: Any = UNSET,
        modalities: Sequence[str] | UnsetType = UNSET,
        input: Iterable[Any] | UnsetType = UNSET,  # noqa: A002 (the API's word)
        conversation: str | UnsetType = UNSET,
        metadata: Mapping[str, str] | UnsetType = UNSET,
        max_output_tokens: int | str | UnsetType = UNSET,
        wait_if_busy: bool = True,
    ) -> Generation:
        """Asks for a response and waits until the server has created that very one.

        Args:
            instructions: In the place of the session's, for this response.
            tools: In the place of the session's, for this response and the calls in it.
            tool_choice: `auto`, `none`, `required` or the name of a tool.
            modalities: `["audio"]` or `["text"]`.
            input: Items in the place of the conversation.
            conversation: `"none"` for a reply beside the conversation.
            metadata: Up to 15 entries that the server echoes.
            max_output_tokens: 1 to 4096 or `"inf"`.
            wait_if_busy: Wait while another response is active (else fail).

        Raises:
            CommandRefused: The service's refusal.
            CommandTimeout: No answer in time; a late one is cancelled and never heard.

        Cancelled, the reply is not sent, or cancelled at the server, and never heard.
        """
        own_tools = UNSET if isinstance(tools, UnsetType) else make_tools(tools)

        def request() -> Command:
            command = self._protocol.generate_reply(
                instructions=instructions,
                tools=own_tools,
                tool_choice=tool_choice,
                modalities=modalities,
                input=input,
                conversation=conversation,
                metadata=metadata,
                max_output_tokens=max_output_tokens,
                wait_if_busy=wait_if_busy,
            )
            if not isinstance(own_tools, UnsetType):
                self._toolbox.declare_with(command, own_tools)
            return command

        state: sansio_rt.Generation = await self._do(request)
        return self._unclaimed.pop(state.id)

    async def ask(self, content: Any, **settings: Any) -> Generation:
        """Adds a user message and asks for the reply to it.

        Args:
            content: Text, or content parts (text, images, audio).
            settings: As `generate_reply` takes them.
        """
        await self.send_message(content)
        return await self.generate_reply(**settings)

    # --- configuration and anything else ----------------------------------------------------

    async def update(self, **changes: Any) -> events.RealtimeSession | None:
        """Changes settings and waits until the server accepted them.

        Args:
            changes: Fields of `SessionConfig`; only what differs is sent.

        Returns:
            The effective configuration, or None where nothing changed.

        Raises:
            CommandRefused: The service's refusal, with the parameter's name; nothing changed.
        """

        def change() -> Command | None:
            command = self._protocol.update(**changes)
            if command is not None:
                self._toolbox.declare_with(command, listed(self._protocol.wanted.tools))
            return command

        session: events.RealtimeSession | None = await self._maybe(change)
        return session

    async def send(self, event: events.ClientEvent) -> None:
        """Sends a client event as it is, for what the session has no method for."""
        await trio.lowlevel.checkpoint()
        await self._connected()
        self._tell_time()
        self._protocol.send(event)
        self._toolbox.note_sent(event)
        self._settle()

    def subscribe(self, *kinds: type[T]) -> Subscription[T]:
        """Some kinds of events as a stream: session events, or raw events of the wire.

        Args:
            kinds: Classes of `sansio_rt` (`SpeechStarted`), of `sansio_rt.events`
                (`events.ResponseDone`), or `RawServerEvent` and `RawClientEvent` for every one.
        """
        return Subscription(self, kinds)
