"""Audio and a change of connections: what is waited for, and what is said again (N3, N4)."""

from __future__ import annotations

import base64

import pytest
from pair import Loud, of
from rotating import SECOND, Rotating

from sansio_rt import ConnectionReplaced, SessionConfig, SpeechStarted


def test_a_spoken_turn_is_waited_for_and_no_sample_is_lost() -> None:  # N4, N3
    pair = Rotating(SessionConfig(), detector=Loud()).connect()
    pair.client.push_audio(bytes(48_000 * 3))
    pair.run()
    pair.client.push_audio(SECOND)
    pair.run()
    assert not of(ConnectionReplaced, pair.pass_time(10.0))  # somebody speaks
    pair.client.push_audio(SECOND)
    pair.client.push_audio(bytes(48_000))
    new = pair.run()
    assert not of(ConnectionReplaced, new)  # the server is about to answer
    pair.work.clear()
    new = pair.pass_time(5.0)
    assert of(ConnectionReplaced, new)


def test_audio_for_a_commit_is_waited_for_then_repeated() -> None:  # N3
    pair = Rotating().connect()
    pair.client.push_audio(SECOND)
    assert not of(ConnectionReplaced, pair.pass_time(10.0))
    pair.client.push_audio(SECOND)
    assert of(ConnectionReplaced, pair.pass_time(5.0))
    command = pair.client.commit_audio()
    assert command is not None
    pair.run()
    entry = pair.client.conversation.get(command.result())
    assert entry is not None
    retrieved = pair.client.retrieve_item(entry.id)
    pair.run()
    (part,) = retrieved.result().content
    assert base64.b64decode(part.audio) == SECOND * 2


@pytest.mark.parametrize("dropped", [False, True])
def test_speech_under_way_is_repeated_from_its_beginning(dropped: bool) -> None:  # N3, R8
    pair = Rotating(SessionConfig(), detector=Loud()).connect()
    for _ in range(6):
        pair.client.push_audio(SECOND)
        pair.run()
    new = pair.pass_time(10.0)
    assert not of(ConnectionReplaced, new)
    if dropped:
        pair.client.receive_eof(pair.now)
        new = pair.run()
    else:
        new = pair.pass_time(5.0)
    assert of(ConnectionReplaced, new)
    assert pair.client._input._appended_ms == 6_000


def test_silence_is_not_repeated_beyond_what_a_turn_may_have_begun_in() -> None:  # N4
    pair = Rotating(SessionConfig(), detector=Loud()).connect()
    for _ in range(10):
        pair.client.push_audio(bytes(48_000))
    pair.pass_time(9.0)
    pair.inject(b'{"type":"no.such.event"}')  # the session lives
    new = pair.pass_time(1.0)
    assert of(ConnectionReplaced, new)
    assert pair.client._input._appended_ms == 2000.0
    pair.client.push_audio(SECOND)
    pair.client.push_audio(bytes(48_000))
    assert pair.run()


def test_a_session_that_says_nothing_may_have_heard_nothing() -> None:  # N3, R11
    """Its WebSocket answers pings."""
    pair = Rotating(SessionConfig(), detector=Loud()).connect()
    said = pair.server._wire.send_text
    pair.server._wire.send_text = lambda _message: None  # type: ignore[method-assign]
    for sound in [SECOND, *[bytes(48_000)] * 8]:
        pair.pass_time(1.0)
        pair.client.push_audio(sound)
        pair.run()
    old = pair.server
    new = pair.pass_time(1.0)
    assert of(ConnectionReplaced, new)
    assert of(SpeechStarted, new)
    old._wire.send_text = said  # type: ignore[method-assign]


def test_what_is_on_its_way_when_the_next_connection_takes_over_is_repeated() -> None:  # N3, N4
    """An answer to something else tells nothing of the audio behind it."""
    pair = Rotating(SessionConfig(), detector=Loud()).connect()
    link, server = pair.ends[0]
    up: list[bytes] = []
    for sound in [SECOND, *[bytes(48_000)] * 8]:
        pair.now += 1.0
        pair.client.tell_time(pair.now)
        pair.client.push_audio(sound)
        up.append(link.data_to_send())  # the network stands still
    old = server.receive_data
    server.receive_data = lambda data, _now: up.append(bytes(data))  # type: ignore[method-assign]
    server.session.receive_message(b'{"type":"no.such.event"}', pair.now)
    new = pair.pass_time(1.0)  # what it says comes through, and counts as a sign of life
    assert of(ConnectionReplaced, new)
    assert of(SpeechStarted, new)
    server.receive_data = old  # type: ignore[method-assign]


def test_what_a_server_that_is_gone_may_not_have_heard_is_repeated() -> None:  # N3, N4
    """It tells of no speech: because there was none, or because it has not been there for a while."""
    pair = Rotating(SessionConfig(), detector=Loud()).connect()
    old = pair.server
    old.receive_data = lambda _data, _now: None  # type: ignore[method-assign]
    for sound in [SECOND, *[bytes(48_000)] * 8]:
        pair.now += 1.0
        pair.client.tell_time(pair.now)
        pair.client.push_audio(sound)
    new = pair.pass_time(1.0)
    assert of(ConnectionReplaced, new)
    assert pair.server is not old
    assert of(SpeechStarted, new)
