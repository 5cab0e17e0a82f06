"""What must be true of everything that a client tells, whatever its server does."""

from __future__ import annotations

from typing import Any

from sansio_rt import (
    AudioDelta,
    CallReady,
    ClientProtocol,
    Command,
    CommandEnded,
    CommandKind,
    ConnectionLost,
    ConnectionState,
    GeneratedCall,
    GeneratedMessage,
    Generation,
    GenerationEnded,
    GenerationStarted,
    InputTranscriptCompleted,
    MessageBroken,
    MessageEnded,
    MessageStarted,
    RawClientEvent,
    SessionClosed,
    SpeechStarted,
    TextDelta,
    events,
)


class Watch:
    """Reads the events of one client, over all its connections.

    Attributes:
        sent: Client events that it queued since somebody looked.
        calls: Ids of calls that it told of.
        reconnect_at: When it wants to connect again, or None.
        closed: Whether the session is over.
        secret: What nothing may show since the server has repeated it, or None.
    """

    def __init__(self) -> None:
        self.sent: list[events.ClientEvent] = []
        self.calls: list[str] = []
        self.reconnect_at: float | None = None
        self.closed = False
        self.secret: str | None = None
        # All of these are equal to nothing but themselves.
        self._started: set[Generation] = set()
        self._ended: set[Generation] = set()
        self._messages: set[GeneratedMessage] = set()
        self._messages_ended: set[GeneratedMessage] = set()
        self._samples: dict[GeneratedMessage, int] = {}
        self._commands_ended: set[Command] = set()
        self._calls_ready: set[GeneratedCall] = set()

    def take(self, event: Any) -> None:
        """Takes an event in and checks it against those before."""
        check = _CHECKS.get(type(event))
        if check is not None:
            check(self, event)
        if self.secret is not None:
            assert self.secret not in repr(event), "an event shows our key"
            told = event.command if isinstance(event, CommandEnded) else event
            _check_secret(getattr(told, "error", None), self.secret)

    def open_generations(self) -> int:
        """How many generations began and did not end."""
        return len(self._started) - len(self._ended)

    def open_messages(self) -> int:
        """How many messages began and did not end."""
        return len(self._messages) - len(self._messages_ended)

    def has_ended(self, command: Command) -> bool:
        """Whether a command's end was told."""
        return command in self._commands_ended

    def _command(self, event: CommandEnded) -> None:
        command = event.command
        assert command.outcome is not None
        assert command not in self._commands_ended, "a command ended twice"
        self._commands_ended.add(command)

    def _generation_started(self, event: GenerationStarted) -> None:
        assert event.generation not in self._started, "a generation began twice"
        self._started.add(event.generation)

    def _generation_ended(self, event: GenerationEnded) -> None:
        key = event.generation
        assert key in self._started, "a generation ended that had not begun"
        assert key not in self._ended, "a generation ended twice"
        self._ended.add(key)
        assert event.generation.ended
        for message in self._messages - self._messages_ended:
            assert message.generation is not event.generation

    def _running(self, generation: Any) -> None:
        assert generation in self._started, "told of a generation that had not begun"
        assert generation not in self._ended, "told of a generation that had ended"

    def _message_started(self, event: MessageStarted) -> None:
        self._running(event.message.generation)
        assert event.message not in self._messages, "a message began twice"
        self._messages.add(event.message)

    def _message_ended(self, event: MessageEnded) -> None:
        key = event.message
        assert key in self._messages, "a message ended that had not begun"
        assert key not in self._messages_ended, "a message ended twice"
        self._messages_ended.add(key)

    def _text(self, event: TextDelta) -> None:
        self._running(event.message.generation)
        assert event.message in self._messages
        # Behind the end of a message its server may go on with a part that it has not ended.
        ended = event.message in self._messages_ended
        assert not ended or not event.message.is_whole(event.content_index), "text that had ended"

    def _audio(self, event: AudioDelta) -> None:
        self._running(event.message.generation)
        key = event.message
        assert key in self._messages
        assert event.frame.start_sample == self._samples.get(key, 0), "audio with a gap"
        self._samples[key] = event.frame.start_sample + event.frame.sample_count

    def _call(self, event: CallReady) -> None:
        self._running(event.call.generation)
        assert event.call not in self._calls_ready, "a call was ready twice"
        self._calls_ready.add(event.call)
        self.calls.append(event.call.call_id)

    def _transcript(self, event: InputTranscriptCompleted) -> None:
        assert event.confidence is None or 0 <= event.confidence <= 1

    def _speech(self, event: SpeechStarted) -> None:
        assert isinstance(event.audio_start_ms, int)

    def _broken(self, event: MessageBroken) -> None:
        assert str(event.error)

    def _lost(self, event: ConnectionLost) -> None:
        assert not self.closed
        assert self.open_generations() == 0
        self.reconnect_at = event.reconnect_at

    def _closed(self, event: SessionClosed) -> None:
        assert not self.closed, "the session ended twice"
        self.closed = True

    def _sent(self, event: RawClientEvent) -> None:
        self.sent.append(event.event)


_CHECKS: dict[type, Any] = {
    CommandEnded: Watch._command,
    GenerationStarted: Watch._generation_started,
    GenerationEnded: Watch._generation_ended,
    MessageStarted: Watch._message_started,
    MessageEnded: Watch._message_ended,
    TextDelta: Watch._text,
    AudioDelta: Watch._audio,
    CallReady: Watch._call,
    InputTranscriptCompleted: Watch._transcript,
    SpeechStarted: Watch._speech,
    MessageBroken: Watch._broken,
    ConnectionLost: Watch._lost,
    SessionClosed: Watch._closed,
    RawClientEvent: Watch._sent,
}


def _check_secret(error: object, secret: str) -> None:
    """No error shows a secret: neither its words nor what it carries, nor what caused it."""
    if isinstance(error, BaseException):
        shown = f"{error} {error!r} {vars(error)}"
        assert secret not in shown, f"{type(error).__name__} shows our key"
        _check_secret(error.__cause__, secret)
        _check_secret(error.__context__, secret)


def check_bounds(client: ClientProtocol) -> None:
    """Nothing that a peer can make grow is beyond its limit."""
    limits = client.limits
    if client.state in (ConnectionState.CLOSED, ConnectionState.CLOSING):
        return
    assert len(client.conversation) <= limits.max_items
    # Interrupts are beyond the limit, and end by their deadline.
    counted = [made for made in client.commands if made.kind is not CommandKind.INTERRUPT]
    assert len(counted) <= 2 * limits.max_pending_commands
    assert len(client.generations) <= limits.max_open_responses + limits.max_pending_commands


def check_heard(client: ClientProtocol) -> None:
    """What was heard is how the text begins, unless a server gives the item other words later.

    (It may say, too, that more was heard than came to us.)
    """
    for entry in client.conversation:
        assert entry.heard_ms is None or entry.heard_ms >= 0
        assert entry.heard_words is not None or entry.text.startswith(entry.heard_text)


def digest(client: ClientProtocol) -> tuple[Any, ...]:
    """What a call that is refused must leave as it is, as far as can be seen at small cost."""
    return (
        client.state,
        client.pending_bytes,
        len(client.commands),
        len(client.generations),
        client.conversation.ids(),
        client.wanted,
        client.next_deadline(),
    )


def check_over(client: ClientProtocol, watch: Watch, commands: list[Command]) -> None:
    """The end of a life: nothing waits, everything that began has ended, and was told of once."""
    assert watch.closed
    assert client.state is ConnectionState.CLOSED
    assert client.next_deadline() is None
    assert client.commands == []
    assert client.generations == []
    assert watch.open_generations() == 0
    assert watch.open_messages() == 0
    for command in commands:
        assert command.outcome is not None
        assert watch.has_ended(command), command
    assert client.data_to_send() == b""
