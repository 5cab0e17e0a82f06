"""What can happen in a run: what the caller does, what the network does, what the server does by itself."""

from __future__ import annotations

from typing import Any

from .. import events
from .._commands import Command, CommandKind
from .._connection import ConnectionState
from ._dial_fault import DialFault, check_dial_fault
from ._edits import Edit, Rewrite
from ._excuses import excuse_item, excuse_spoken
from ._misbehaviour import ServerForgets, ServerMutes
from ._plan import Action
from ._sound import silence
from ._world import World

__all__ = [
    "Ask",
    "BargeIn",
    "Clear",
    "Commit",
    "ConnectFault",
    "Cut",
    "CutAfter",
    "Delete",
    "Edit",
    "GiveUp",
    "HangUp",
    "Interrupt",
    "OddMessage",
    "Reset",
    "Restart",
    "Retrieve",
    "Rewrite",
    "ServerCloses",
    "ServerComplains",
    "ServerEdits",
    "ServerForgets",
    "ServerMutes",
    "ServerReplies",
    "Speak",
    "Stall",
    "Truncate",
    "Type",
    "Update",
    "Vanish",
]

# --- the caller -----------------------------------------------------------------------------


class Type(Action, frozen=True, kw_only=True, tag=True):
    """The caller types."""

    words: str = "hello"
    role: str = "user"
    reply: bool = True
    """Whether a reply is asked for."""
    patient: bool = True
    """Whether it waits while another response is active."""

    def perform(self, world: World) -> None:
        """Does it."""
        driver, client = world.driver, world.client
        driver.ask("type", lambda: client.send_message(self.words, role=self.role))
        if self.reply:
            driver.ask("reply", lambda: client.generate_reply(wait_if_busy=self.patient))


class Speak(Action, frozen=True, kw_only=True, tag=True):
    """The caller speaks; where nobody detects turns, commits and asks for a reply."""

    length_ms: int
    commit: bool = True
    """Whether the caller ends the turn, where that is the caller's to do."""

    def perform(self, world: World) -> None:
        """Does it."""
        world.speak(self.length_ms, lambda: self._end(world))

    def _end(self, world: World) -> None:
        driver, client = world.driver, world.client
        if client.wanted.turn_detection is not None:
            world.push(silence(400))
        elif self.commit:
            driver.ask("commit", client.commit_audio)
            driver.ask("reply", client.generate_reply)


class BargeIn(Action, frozen=True, kw_only=True, tag=True):
    """The caller talks over the answer: it is stopped, and cut at what was heard."""

    def perform(self, world: World) -> None:
        """Does it."""
        driver, client, item_id = world.driver, world.client, world.playback.newest
        driver.ask("interrupt", client.interrupt)
        if item_id is not None:
            heard_ms = world.playback.heard_ms(item_id)
            world.playback.stop()
            _cut(world, item_id, heard_ms)


class Truncate(Action, frozen=True, kw_only=True, tag=True):
    """An answer is cut at a share of what was received."""

    which: float
    share: float

    def perform(self, world: World) -> None:
        """Does it."""
        entry = world.item(self.which, "assistant")
        if entry is None:
            return
        if entry.received_ms:
            _cut(world, entry.id, int(self.share * entry.received_ms))
        elif entry.text:
            world.driver.ask("cut text", lambda: self._cut_text(world, entry.id))

    def _cut_text(self, world: World, item_id: str) -> Command | None:
        entry = world.client.conversation.get(item_id)
        if entry is None:
            return None
        words = entry.text[: int(self.share * len(entry.text))]
        if not words:
            world.deleted.add(item_id)
        world.asked.reworded.add(item_id)
        return world.client.truncate(item_id, heard_text=words)


def _cut(world: World, item_id: str, end_ms: int) -> None:
    def cut() -> Command | None:
        world.asked.cut(item_id, end_ms)
        command = world.client.truncate(item_id, audio_end_ms=end_ms)
        world.asked.made.append((item_id, end_ms, command))
        entry = world.client.conversation.get(item_id)
        if command is not None and entry is not None and not entry.heard_text:
            world.deleted.add(item_id)  # nothing of it was heard
        return command

    world.driver.ask("truncate", cut)


class Interrupt(Action, frozen=True, kw_only=True, tag=True):
    """The running answer is cancelled."""

    def perform(self, world: World) -> None:
        """Does it."""
        world.driver.ask("interrupt", world.client.interrupt)


class Ask(Action, frozen=True, kw_only=True, tag=True):
    """A reply is asked for."""

    beside: bool = False
    """Whether beside the conversation."""
    patient: bool = True
    modality: str | None = None
    max_output_tokens: int | None = None

    def perform(self, world: World) -> None:
        """Does it."""
        options: dict[str, Any] = {"wait_if_busy": self.patient}
        if self.beside:
            options["conversation"] = "none"
        if self.modality is not None:
            options["modalities"] = [self.modality]
        if self.max_output_tokens is not None:
            options["max_output_tokens"] = self.max_output_tokens
        world.driver.ask("reply", lambda: world.client.generate_reply(**options))


class GiveUp(Action, frozen=True, kw_only=True, tag=True):
    """The caller does not want the newest reply any more that has not begun."""

    def perform(self, world: World) -> None:
        """Does it."""
        command = world.driver.newest(CommandKind.REPLY)
        if command is not None:
            world.given_up.add(command.event_id)
            world.driver.tell("give up", lambda: world.client.abandon(command))


class Delete(Action, frozen=True, kw_only=True, tag=True):
    """An item is deleted."""

    which: float

    def perform(self, world: World) -> None:
        """Does it."""
        entry = world.item(self.which)
        if entry is not None:
            item_id = entry.id
            excuse_item(world, item_id)
            world.driver.ask("delete", lambda: world.client.delete_item(item_id))


class Retrieve(Action, frozen=True, kw_only=True, tag=True):
    """An item is retrieved."""

    which: float

    def perform(self, world: World) -> None:
        """Does it."""
        entry = world.item(self.which)
        if entry is not None:
            item_id = entry.id
            world.driver.ask("retrieve", lambda: world.client.retrieve_item(item_id))


class Update(Action, frozen=True, kw_only=True, tag=True):
    """Settings are changed."""

    changes: dict[str, Any]

    def perform(self, world: World) -> None:
        """Does it."""
        world.driver.ask("update", lambda: world.client.update(**self.changes))


class Commit(Action, frozen=True, kw_only=True, tag=True):
    """The caller's audio is committed; not in the middle of words whose end the server is to find."""

    def perform(self, world: World) -> None:
        """Does it."""
        world.driver.ask("commit", lambda: self._commit(world))

    def _commit(self, world: World) -> Command | None:
        return None if _is_mid_word(world) else world.client.commit_audio()


def _is_mid_word(world: World) -> bool:
    """Whether a cut here would leave a piece that is too short for anybody to take for speech."""
    return world.speaking and world.client.wanted.turn_detection is not None


class Clear(Action, frozen=True, kw_only=True, tag=True):
    """The caller's audio is dropped; not in the middle of words whose end the server is to find."""

    def perform(self, world: World) -> None:
        """Does it."""
        world.driver.ask("clear", lambda: self._clear(world))

    def _clear(self, world: World) -> Command | None:
        if _is_mid_word(world):
            return None
        excuse_spoken(world)
        return world.client.clear_audio()


class Restart(Action, frozen=True, kw_only=True, tag=True):
    """The caller wants another connection."""

    patience_s: float | None = None
    """How long a quiet moment is waited for."""

    def perform(self, world: World) -> None:
        """Does it."""
        # Each has its own: a later one may change the deadline, which is told with the reason only.
        reason = f"to see at {self.at_s:g}, patience {self.patience_s}"
        world.driver.ask(
            "restart", lambda: world.client.restart(reason, patience_s=self.patience_s)
        )


class HangUp(Action, frozen=True, kw_only=True, tag=True):
    """The caller leaves, whatever is under way."""

    def perform(self, world: World) -> None:
        """Does it."""
        world.driver.hang_up()


# --- the network ----------------------------------------------------------------------------


class Cut(Action, frozen=True, kw_only=True, tag=True):
    """The connection ends; what is under way still arrives."""

    def perform(self, world: World) -> None:
        """Does it."""
        if world.line is not None:
            world.line.cut()


class Reset(Action, frozen=True, kw_only=True, tag=True):
    """The connection ends at once; what is under way is lost."""

    def perform(self, world: World) -> None:
        """Does it."""
        if world.line is not None:
            world.line.reset()


class CutAfter(Action, frozen=True, kw_only=True, tag=True):
    """The connection ends when so many more bytes have passed, maybe in the middle of a message."""

    size_bytes: int
    down: bool
    """Whether bytes to the client are counted, or those to the server."""

    def perform(self, world: World) -> None:
        """Does it."""
        line = world.line
        if line is not None:
            pipe = line.down if self.down else line.up
            pipe.cut_after(self.size_bytes, line.cut)


class Vanish(Action, frozen=True, kw_only=True, tag=True):
    """The other side is gone and nobody is told: a connection that is half open."""

    def perform(self, world: World) -> None:
        """Does it."""
        if world.line is not None:
            world.line.vanish()


class Stall(Action, frozen=True, kw_only=True, tag=True):
    """Nothing arrives for a while; nothing is lost."""

    seconds: float
    down_only: bool = False
    """Whether what goes to the server arrives."""

    def perform(self, world: World) -> None:
        """Does it."""
        line = world.line
        if line is not None:
            pipe = line.down if self.down_only else line
            pipe.stall(self.seconds)


class ConnectFault(Action, frozen=True, kw_only=True, tag=True):
    """A later connect goes wrong; see `DialFault`."""

    kind: str
    close_code: int = 1011
    retry_after_s: int | None = None

    def __post_init__(self) -> None:
        """Refuses a kind that there is not.

        Raises:
            LocalProtocolError: The message says which there are.
        """
        check_dial_fault(self.kind)

    def perform(self, world: World) -> None:
        """Does it."""
        world.dial_faults.append(
            DialFault(self.kind, close_code=self.close_code, retry_after_s=self.retry_after_s)
        )


# --- the server -----------------------------------------------------------------------------


class ServerCloses(Action, frozen=True, kw_only=True, tag=True):
    """The server closes the connection."""

    code: int = 1000

    def perform(self, world: World) -> None:
        """Does it."""
        if world.service is not None:
            world.service.protocol.close(self.code, "enough")


class ServerComplains(Action, frozen=True, kw_only=True, tag=True):
    """The server tells an error that answers nothing, and may close."""

    code: str = "server_error"
    close_code: int | None = None

    def perform(self, world: World) -> None:
        """Does it."""
        if world.service is not None:
            world.service.complain(self.code, close_code=self.close_code)


class ServerReplies(Action, frozen=True, kw_only=True, tag=True):
    """The server begins a response that nobody asked for, in a session that is ready."""

    def perform(self, world: World) -> None:
        """Does it."""
        if world.service is not None and world.client.state is ConnectionState.READY:
            world.service.receive_event(events.ResponseCreate(response=events.ResponseParams()))


class ServerEdits(Action, frozen=True, kw_only=True, tag=True):
    """Somebody else puts an item into the conversation, in a session that is ready."""

    def perform(self, world: World) -> None:
        """Does it."""
        if world.service is not None and world.client.state is ConnectionState.READY:
            part = events.InputText(text="from elsewhere")
            item = events.Message(role="user", content=[part])
            world.service.receive_event(events.ConversationItemCreate(item=item))


class OddMessage(Action, frozen=True, kw_only=True, tag=True):
    """The server says what no server says."""

    text: str

    def perform(self, world: World) -> None:
        """Does it."""
        if world.service is not None:
            world.service.say(self.text.encode())
