"""A simulation that finds nothing proves nothing: bugs in the rooms of a client and in the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from finds import TYPES, Always, always, found

from sansio_rt import ClientProtocol, Command, ConversationItem, RetryPolicy, Timing, events
from sansio_rt._arbiter import Arbiter
from sansio_rt._commands import CommandTable
from sansio_rt._connection import Connection
from sansio_rt._conversation import Conversation
from sansio_rt._keepalive import Keepalive
from sansio_rt._kept_audio import KeptAudio
from sansio_rt._replay import Replay
from sansio_rt._requests import Requests
from sansio_rt._retry import Retries
from sansio_rt._server_session import ServerSession
from sansio_rt.simulation import Simulation, Weather, _world, actions
from sansio_rt.simulation._rules import ConnectsAreBounded

LOSES = always(
    actions.Type(at_s=1.0),
    actions.Speak(at_s=1.5, length_ms=300),
    actions.Reset(at_s=2.5),
    retry=RetryPolicy(),
)


# --- the client's rooms ---------------------------------------------------------------------


def nothing(*_arguments: Any, **_options: Any) -> None:
    return None


@pytest.mark.parametrize(
    ("kind", "method", "wrong", "name"),
    [
        (KeptAudio, "take_all", lambda _self: [], "blocks were lost"),
        (KeptAudio, "take_until", lambda _self, _position_ms: b"", "blocks were heard twice"),
        (KeptAudio, "clear", nothing, "came after"),
        (Arbiter, "busy", False, "is active"),
        (Conversation, "remove", nothing, "the mirror has"),
        (CommandTable, "expire", lambda _self, _now: [], "a deadline passes"),
        (ClientProtocol, "send_tool_output", nothing, "0 outputs"),
        (ClientProtocol, "pending_bytes", 10**9, "wait to be sent"),
        (ClientProtocol, "push_audio", lambda _self, _pcm: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_is_done_wrongly(
    monkeypatch: pytest.MonkeyPatch, kind: type, method: str, wrong: Any, name: str
) -> None:
    monkeypatch.setattr(kind, method, wrong)
    found(name)


def test_a_dead_peer_that_nobody_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Keepalive, "start", nothing)
    quiet = Timing(liveness_after_s=None, rotate_after_s=None)
    found(
        "nothing waits for ever",
        always(actions.Vanish(at_s=1.0), retry=RetryPolicy(), timing=quiet, session_s=1e6),
    )


def test_a_reply_that_is_heard_although_it_was_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Requests, "abandon", nothing)
    slow = Weather(latency_s=0.1)
    found("was given up", always(actions.Ask(at_s=1.0), actions.GiveUp(at_s=1.01), weather=slow))


def test_connects_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Retries, "ended", lambda *_: 0.01)
    faults = [actions.ConnectFault(at_s=0.0, kind="closes") for _ in range(20)]
    plan = (*faults, actions.Reset(at_s=1.0), actions.Interrupt(at_s=9.0))
    caller = Always(plan, retry=RetryPolicy())
    found("connects within", Simulation(caller=caller, invariants=[ConnectsAreBounded]))


def test_a_command_that_outlives_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[events.ClientEvent] = []
    right_send, right_ready = Connection.send, ClientProtocol._on_replayed

    def send(self: Connection, event: events.ClientEvent) -> None:
        if isinstance(event, events.ResponseCreate):
            sent.append(event)
        right_send(self, event)

    def on_replayed(self: ClientProtocol) -> None:
        for event in sent[:1]:
            right_send(self._connection, event)
        right_ready(self)

    monkeypatch.setattr(Connection, "send", send)
    monkeypatch.setattr(ClientProtocol, "_on_replayed", on_replayed)
    found("was sent on 2", LOSES)


def test_a_command_that_had_failed_and_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replay, "begin", _says_what_failed(Replay.begin))
    found(
        "had ended, and was sent",
        always(
            actions.Vanish(at_s=1.0),
            actions.Type(at_s=1.1, reply=False),
            retry=RetryPolicy(),
            timing=Timing(answer_timeout_s=1.0, rotate_after_s=None),
        ),
    )


def _says_what_failed(right: Callable[..., None]) -> Callable[..., None]:
    def begin(self: Replay, *arguments: Any, **options: Any) -> None:
        right(self, *arguments, **options)
        part = events.InputText(text="once more")
        item = events.Message(role="user", content=[part])
        # The caller's first command has the second number: the first is that of the configuration.
        self._tray.client_events.append(
            events.ConversationItemCreate(item=item, event_id="event_c3")
        )

    return begin


def test_a_history_that_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(self: Replay, *_arguments: Any, **_options: Any) -> None:
        for entry in list(self._conversation):
            self._conversation.remove(entry.id)

    monkeypatch.setattr(Replay, "begin", begin)
    loses = always(actions.Type(at_s=1.0), actions.Reset(at_s=2.5), retry=RetryPolicy())
    found("was acknowledged and is gone", loses)


def test_a_second_output(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ClientProtocol.send_tool_output

    def twice(self: ClientProtocol, call_id: str, output: str, *, reply: bool = True) -> Command:
        command = right(self, call_id, output, reply=reply)
        item = events.FunctionCallOutput(call_id=call_id, output=output)
        self.send(events.ConversationItemCreate(item=item))
        return command

    monkeypatch.setattr(ClientProtocol, "send_tool_output", twice)
    found("a second output")


def test_words_that_are_not_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConversationItem, "text", "something else")
    found("in the mirror and", TYPES)


def test_more_that_was_heard_than_received(monkeypatch: pytest.MonkeyPatch) -> None:
    always_more = property(lambda _self: 10**6, nothing)
    monkeypatch.setattr(ConversationItem, "heard_ms", always_more)
    found("received were heard", TYPES)


def test_a_session_that_does_not_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClientProtocol, "close", nothing)
    found("the session has not closed", TYPES)


# --- the server -----------------------------------------------------------------------------


def test_a_setting_that_is_accepted_and_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ServerSession._on_session_update

    def forgetful(self: ServerSession, event: events.SessionUpdate, now: float) -> None:
        right(self, event, now)
        self._session = msgspec.structs.replace(self._session, instructions="Do nothing.")

    monkeypatch.setattr(ServerSession, "_on_session_update", forgetful)
    found("the server has 'Do nothing.'")


def test_steps_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_world, "MOST_STEPS", 3)
    found("nothing goes on for ever", TYPES)
