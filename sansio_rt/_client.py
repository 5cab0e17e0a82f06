"""`ClientProtocol`: a realtime session as one object. Bytes and commands in, bytes and events out.

A connection comes and goes, the object stays. It reads no clock: the newest time that it was told counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

from msgspec import UNSET, UnsetType

from . import events
from ._audio import AudioData
from ._client_core import ClientCore
from ._client_rooms import ClientSettings
from ._commands import Command, CommandKind
from ._config import (
    Limits,
    SessionConfig,
    Timing,
    make_tools,
    tool_choice_to_wire,
    tools_to_wire,
)
from ._endpoint import Endpoint
from ._generations import Generation, GenerationOrigin
from ._history import Content, message_parts
from ._requests import own_metadata
from ._retry import RetryPolicy
from ._sources import IdSource, RandomBytes

__all__ = ["ClientProtocol"]

_AS_THE_SESSION_SAYS = events.ResponseParams()


@final
class ClientProtocol(ClientCore):
    """The client's side of a realtime session, without any input or output of its own.

    Drive it so: `connect(now)`, then send `data_to_send()`, feed `receive_data(data, now)`, take
    `next_event()` until it is None, and call `handle_timer(now)` at `next_deadline()`. Commands queue
    bytes: send `data_to_send()` after each. Commands that the service answers return a `Command`; a
    `CommandEnded` event tells when `command.result()` is there. Their deadlines count from the newest time
    that was told: after a quiet while call `handle_timer(now)` before a command.

    Args:
        endpoint: Where the server is and how it spells things.
        config: The wanted configuration.
        tools: More tools, added to those of `config`.
        ids: Source of ids for events and items.
        random_bytes: Source of the WebSocket masks and the handshake's key. On a real network hand in
            `os.urandom`; the default repeats itself (see `CountingBytes`).
        limits: Bounds on what may be held.
        timing: Bounds in time.
        frame_ms: Length of one audio append in milliseconds.
        retry: How a lost connection is replaced: `ConnectionLost` then says when to `connect` again. None:
            the session ends with its connection.

    Raises:
        LocalProtocolError: The configuration, a limit or a length cannot be; the message names it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        config: SessionConfig | None = None,
        *,
        tools: Sequence[Any] = (),
        ids: IdSource | None = None,
        random_bytes: RandomBytes | None = None,
        limits: Limits | None = None,
        timing: Timing | None = None,
        frame_ms: int = 100,
        retry: RetryPolicy | None = None,
    ) -> None:
        settings = ClientSettings(
            endpoint, config, tools, ids, random_bytes, limits, timing, frame_ms, retry
        )
        super().__init__(settings)

    # --- the caller's audio -----------------------------------------------------------------

    def push_audio(self, audio: AudioData, *, rate: int | None = None, channels: int = 1) -> None:
        """Queues the caller's audio, cut into appends of `frame_ms`.

        Args:
            audio: PCM16 little-endian bytes, or a NumPy array of int16 or float, mono `(n,)` or
                several channels `(n, channels)`.
            rate: Its samples a second; None: the wire's.
            channels: Of bytes or of a flat array, interleaved.

        Raises:
            LocalProtocolError: Not connected, or not audio. Nothing was taken.
        """
        if not self.reconnecting:
            self._require_connected("push_audio")
        frames = self._input.push(audio, rate=rate, channels=channels)
        if self._audio_goes_out:
            self._append(frames)

    def commit_audio(self) -> Command | None:
        """Makes a user message of the audio pushed so far.

        Returns:
            The command, whose value is the id of the message (None where the server had committed
            the audio by itself); or None where less than 100 ms are there, which the service would
            refuse: then nothing was sent and the audio is kept.
        """
        self._require_connected("commit_audio")
        frames, command = self._input.commit()
        self._append(frames)
        if command is not None:
            self._tray.client_events.append(
                events.InputAudioBufferCommit(event_id=command.event_id)
            )
            self._flush()
        return command

    def clear_audio(self) -> Command:
        """Drops the audio that is not committed, here and at the server."""
        self._require_connected("clear_audio")
        command = self._input.clear()
        self._tray.client_events.append(events.InputAudioBufferClear(event_id=command.event_id))
        self._flush()
        return command

    # --- the conversation -------------------------------------------------------------------

    def send_message(
        self,
        content: Content,
        *,
        role: str = "user",
        item_id: str | None = None,
        previous_item_id: str | UnsetType = UNSET,
    ) -> Command:
        """Adds a message to the conversation; no reply is asked for.

        Args:
            content: Text, or content parts (text, images, audio).
            role: `user`, `system` or `assistant`.
            item_id: The item's id, of at most 32 characters; None: one is chosen.
            previous_item_id: The item to follow, of the conversation or on its way to it; `root`: the
                beginning; `UNSET`: the end.

        Returns:
            The command; its value is the `ConversationItem`.

        Raises:
            LocalProtocolError: Not connected, or the message cannot be sent so. Nothing was sent.
        """
        return self.create_item(
            events.Message(
                role=role,
                content=message_parts(content, role),
                id=UNSET if item_id is None else item_id,
            ),
            previous_item_id=previous_item_id,
        )

    def create_item(
        self, item: events.Item, *, previous_item_id: str | UnsetType = UNSET
    ) -> Command:
        """Adds an item of any kind to the conversation; the value is the `ConversationItem`.

        Arguments and errors are those of `send_message`.
        """
        self._require_connected("create_item")
        command = self._history.create(item, previous_item_id=previous_item_id)
        self._flush()
        return command

    def delete_item(self, item_id: str) -> Command:
        """Takes an item out of the conversation."""
        self._require_connected("delete_item")
        command = self._history.delete(item_id)
        self._flush()
        return command

    def retrieve_item(self, item_id: str) -> Command:
        """Asks for an item as the server has it, with its audio; the value is the item."""
        self._require_connected("retrieve_item")
        command = self._history.retrieve(item_id)
        self._flush()
        return command

    def update_conversation(
        self, items: Sequence[events.Item], *, base: Sequence[events.Item] | None = None
    ) -> list[Command]:
        """Edits the conversation until it is what `items` say, with the fewest events.

        Args:
            items: All items in order, as `conversation.items()` gives them, edited. Items without an id
                are new. An item that changes or moves is deleted and created again under its id.
            base: The items before they were edited: what the server added since then is kept. None:
                nothing was added since.

        Returns:
            A command for each edit; none where nothing is to be done.

        Raises:
            LocalProtocolError: Two items have one id, an item cannot be sent, or there are more edits
                than `Limits.max_pending_commands` has room for (16,384 where nothing else waits; a list
                may be longer, but not change so much at once). Or a spoken turn would move of which
                neither the words nor all of the sound are here: its transcript has not come, and it is
                longer than `Limits.max_kept_audio_s`, or none of the last four without one, or was said in
                another input format, or was not pushed but sent as a message, or there are no retries. It
                can move where the list has what `retrieve_item` gives. Nothing was sent.
        """
        self._require_connected("update_conversation")
        commands = self._history.update(items, base)
        self._flush()
        return commands

    def truncate(
        self, item_id: str, *, audio_end_ms: int | None = None, heard_text: str | None = None
    ) -> Command | None:
        """Cuts an assistant message at what the caller heard.

        Args:
            item_id: The message.
            audio_end_ms: How much audio was heard, in milliseconds. Up to 100 ms more than was received
                count as what was received, since players round and count what lies in their buffers;
                0 deletes the message, since the service refuses to cut at 0.
            heard_text: For a message of text only: the part of it that was read out. It takes the place
                of the message; empty text deletes it.

        Returns:
            The command, or None where the message was heard to its end, and while the session reconnects:
            the next connection is told no more than was heard. Of a message that is on its way to another
            place it is the command that puts it there, where it is cut then.

        Raises:
            LocalProtocolError: The conversation has no such assistant message, the time is negative or
                beyond what was received, or the one argument that fits the message is missing. Nothing
                was sent.
        """
        if not self.reconnecting:
            self._require_connected("truncate")
        command = self._cuts.cut(item_id, audio_end_ms, heard_text, reconnecting=self.reconnecting)
        if not self.reconnecting:
            self._flush()
        return command

    # --- replies ----------------------------------------------------------------------------

    def generate_reply(
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
    ) -> Command:
        """Asks for a response.

        Args:
            instructions: In the place of the session's, for this response.
            tools: In the place of the session's, for this response.
            tool_choice: `auto`, `none`, `required` or the name of a tool.
            modalities: `["audio"]` or `["text"]`.
            input: Items in the place of the conversation.
            conversation: `"none"` for a reply beside the conversation.
            metadata: Up to 15 entries that the server echoes.
            max_output_tokens: 1 to 4096 or `"inf"`.
            wait_if_busy: Wait while another response is active in the conversation (else fail).

        Returns:
            The command; its value is the `Generation`, once the server created that very response.

        Raises:
            LocalProtocolError: Not connected, or an argument cannot be sent. Nothing was sent.
        """
        self._require_connected("generate_reply")
        listed = UNSET if tools is UNSET else make_tools(tools)
        declared = self.wanted.tools if listed is UNSET else listed
        params = events.ResponseParams(
            instructions=instructions,
            tools=tools_to_wire(listed),
            tool_choice=tool_choice_to_wire(tool_choice, declared),
            output_modalities=UNSET if modalities is UNSET else list(modalities),
            input=UNSET if input is UNSET else list(input),
            conversation=conversation,
            metadata=UNSET if metadata is UNSET else own_metadata(metadata),
            max_output_tokens=max_output_tokens,
        )
        if params != _AS_THE_SESSION_SAYS:  # else there is nothing that could be refused
            self._tray.check(events.ResponseCreate(response=params))
        command = self._requests.request(
            params, origin=GenerationOrigin.CALLER, wait_if_busy=wait_if_busy
        )
        self._flush()
        return command

    def abandon(self, command: Command) -> None:
        """The caller of `generate_reply` gave up: the reply is not sent, or cancelled, and never heard."""
        self._requests.abandon(command)
        self._flush()

    def interrupt(self, response_id: str | None = None) -> Command | None:
        """Cancels a running response.

        Args:
            response_id: Which; None: the active one of the default conversation, and with it every
                reply of that conversation that was asked for and has not begun.

        Returns:
            The command, done when that response is done, and when the replies that were sent before
            are cancelled or refused; its value is the `Generation`, or None where none had begun. None
            in its place where nothing runs and nothing was asked for, which is success.
        """
        self._require_connected("interrupt")
        if response_id is None:
            command = self._interrupt_all()
        else:
            generation = self._responses.open.get(response_id)
            command = None if generation is None else self._requests.cancel(generation)
        self._flush()
        return command

    def _interrupt_all(self) -> Command | None:
        over = [*self._requests.drop_unbegun(), *self._responses.cancel_unheard()]
        generation = self._responses.active()
        cancel = None if generation is None else self._requests.cancel(generation)
        if cancel is not None:
            over.append(cancel)
        if len(over) == 1 and over[0].kind is CommandKind.CANCEL:
            return over[0]
        return self._requests.when_over(over, generation) if over else None

    def send_tool_output(self, call_id: str, output: str, *, reply: bool = True) -> Command:
        """Answers a function call.

        Args:
            call_id: `GeneratedCall.call_id`.
            output: What the model is told.
            reply: Whether a response should follow, once every call of that response has its output.

        Returns:
            The command; its value is the `ConversationItem` of the output.

        Raises:
            LocalProtocolError: There is no such open call, or it is answered already.
        """
        self._require_connected("send_tool_output")
        self._requests.open_call(call_id)
        # The output first: where it cannot be sent, the call stays open.
        command = self._history.create(events.FunctionCallOutput(call_id=call_id, output=output))
        call = self._requests.answer(call_id, reply=reply)
        self._requests.follow_up(call.generation)
        self._flush()
        return command

    # --- configuration and anything else ----------------------------------------------------

    def update(self, **changes: Any) -> Command | None:
        """Changes settings; only what differs is sent (parity S3).

        Args:
            changes: Fields of `SessionConfig`.

        Returns:
            The command, whose value is the effective configuration; None where nothing changes.

        Raises:
            ConfigurationError: No such setting, or a value out of range. Nothing was sent.
        """
        self._require_connected("update")
        command = self._configuration.update(changes)
        self._flush()
        return command

    def send(self, event: events.ClientEvent) -> None:
        """Sends a client event as it is, for what this object has no call for.

        Raises:
            LocalProtocolError: Not connected, or a field that the service would refuse.
        """
        self._require_connected("send")
        self._tray.check(event)
        self._tray.client_events.append(event)
        self._flush()

    @property
    def generations(self) -> list[Generation]:
        """The running generations."""
        return list(self._responses.open.values())

    @property
    def commands(self) -> list[Command]:
        """The outstanding commands."""
        return list(self._commands)
