"""Events that a client sends, named after their wire types."""

from typing import TypeAlias

from msgspec import UNSET

from sansio_rt.events._common import ClientEventBase, Maybe, UnknownEvent
from sansio_rt.events._items import Item
from sansio_rt.events._response import ResponseParams
from sansio_rt.events._session import SessionObject


class SessionUpdate(ClientEventBase, frozen=True, kw_only=True, tag="session.update"):
    """Changes the session's settings; fields left out stay as they are."""

    session: SessionObject


class InputAudioBufferAppend(
    ClientEventBase, frozen=True, kw_only=True, tag="input_audio_buffer.append"
):
    """Adds speech to the input buffer; there is no answer.

    Attributes:
        audio: Audio in the session's input format, at most 15 MiB (base64 on the wire only).
    """

    audio: bytes


class InputAudioBufferCommit(
    ClientEventBase, frozen=True, kw_only=True, tag="input_audio_buffer.commit"
):
    """Makes a user message of the input buffer."""


class InputAudioBufferClear(
    ClientEventBase, frozen=True, kw_only=True, tag="input_audio_buffer.clear"
):
    """Forgets the input buffer."""


class OutputAudioBufferClear(
    ClientEventBase, frozen=True, kw_only=True, tag="output_audio_buffer.clear"
):
    """Stops the speech that the server plays (WebRTC and SIP only)."""


class ConversationItemCreate(
    ClientEventBase, frozen=True, kw_only=True, tag="conversation.item.create"
):
    """Adds an item.

    Attributes:
        item: The item.
        previous_item_id: Goes behind that item; `root` for the beginning, left out for the end.
    """

    item: Item
    previous_item_id: Maybe[str] = UNSET


class ConversationItemDelete(
    ClientEventBase, frozen=True, kw_only=True, tag="conversation.item.delete"
):
    """Removes an item."""

    item_id: str


class ConversationItemRetrieve(
    ClientEventBase, frozen=True, kw_only=True, tag="conversation.item.retrieve"
):
    """Asks for an item as the server has it, its audio included."""

    item_id: str


class ConversationItemTruncate(
    ClientEventBase, frozen=True, kw_only=True, tag="conversation.item.truncate"
):
    """Cuts an assistant message to what was heard.

    Attributes:
        item_id: The assistant message.
        content_index: The audio part, 0.
        audio_end_ms: How much was heard, in ms from its beginning.
    """

    item_id: str
    content_index: int
    audio_end_ms: int


class ResponseCreate(ClientEventBase, frozen=True, kw_only=True, tag="response.create"):
    """Asks for a response."""

    response: Maybe[ResponseParams] = UNSET


class ResponseCancel(ClientEventBase, frozen=True, kw_only=True, tag="response.cancel"):
    """Stops a response; without an id the one of the default conversation."""

    response_id: Maybe[str] = UNSET


ClientEvent: TypeAlias = (
    SessionUpdate
    | InputAudioBufferAppend
    | InputAudioBufferCommit
    | InputAudioBufferClear
    | OutputAudioBufferClear
    | ConversationItemCreate
    | ConversationItemDelete
    | ConversationItemRetrieve
    | ConversationItemTruncate
    | ResponseCreate
    | ResponseCancel
    | UnknownEvent
)
