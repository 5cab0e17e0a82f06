"""Turns that are moved while their words are not known: with all of their sound, or not at all."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pair import SECOND, Loud, Pair, agree, of, only

from sansio_rt import (
    AudioFormat,
    InputTranscriptCompleted,
    Limits,
    LocalProtocolError,
    RawClientEvent,
    RetryPolicy,
    ServerVad,
    SessionConfig,
    SpeechStopped,
    Transcription,
    events,
)

OTHERS = ("first", "second")
TURN = SECOND + SECOND[:24_000]
TRANSCRIPTION = "conversation.item.input_audio_transcription."


def keeping(seconds: float, config: SessionConfig | None = None, **server: Any) -> Pair:
    limits = Limits(max_kept_audio_s=seconds)
    settings = {"retry": RetryPolicy(), "limits": limits}
    pair = Pair(config or SessionConfig(turn_detection=None), client=settings, **server).connect()
    return opened(pair)


def opened(pair: Pair) -> Pair:
    """Two messages before the turn: of what changes places, one turn is the fewest."""
    for item_id in OTHERS:
        pair.client.send_message("Before.", item_id=item_id)
    pair.run()
    return pair


def spoken(pair: Pair, sound: bytes = TURN) -> str:
    """A turn of the caller; gives its id."""
    pair.client.push_audio(sound)
    commit = pair.client.commit_audio()
    assert commit is not None
    pair.run()
    return str(commit.result())


def turned(pair: Pair) -> list[events.Item]:
    """The items with the turn at the other end."""
    first, *others = pair.client.conversation.items()
    if first.id not in OTHERS:
        return [*others, first]
    return [others[-1], first, *others[:-1]]


def move(pair: Pair) -> list[Any]:
    """Has the turn at the other end; gives what the service was sent for it."""
    pair.client.raw_events = True
    pair.client.update_conversation(turned(pair))
    return [event.event for event in of(RawClientEvent, pair.run())]


def sound_of(pair: Pair, item_id: str) -> bytes:
    """What the service has of a turn's sound."""
    retrieved = pair.client.retrieve_item(item_id)
    pair.run()
    (part,) = retrieved.result().content
    return base64.b64decode(part.audio)


def tell_words(pair: Pair, item_id: str, kind: str, **fields: Any) -> None:
    class_ = {
        "delta": events.ConversationItemInputAudioTranscriptionDelta,
        "completed": events.ConversationItemInputAudioTranscriptionCompleted,
        "failed": events.ConversationItemInputAudioTranscriptionFailed,
    }[kind]
    event: Any = class_(item_id=item_id, content_index=0, event_id="e", **fields)
    pair.inject(events.encode(event))


def refused(pair: Pair, item_id: str) -> None:
    """The move is refused, and the service is sent nothing."""
    before = pair.client.conversation.ids()
    with pytest.raises(LocalProtocolError, match=f"{item_id}.*retrieve_item"):
        pair.client.update_conversation(turned(pair))
    assert not pair.client.commands
    assert not pair.client.data_to_send()
    assert pair.client.conversation.ids() == before


@pytest.mark.parametrize(("seconds", "moves"), [(1.5, True), (1.4, False), (0.0, False)])
def test_a_turn_is_moved_with_all_of_its_sound_or_not_at_all(seconds: float, moves: bool) -> None:
    # C3, N3
    pair = keeping(seconds)
    item_id = spoken(pair)
    if moves:
        move(pair)
    else:
        refused(pair, item_id)
    assert sound_of(pair, item_id) == TURN
    agree(pair)


def test_without_retries_no_sound_is_kept_and_none_is_lost() -> None:  # C3
    pair = opened(Pair().connect())
    refused(pair, spoken(pair))


def test_a_turn_whose_sound_is_retrieved_moves_with_it() -> None:  # C3, C7
    pair = keeping(1.0)
    item_id = spoken(pair)
    retrieved = pair.client.retrieve_item(item_id)
    pair.run()
    pair.client.update_conversation([retrieved.result(), *pair.client.conversation.items()[:2]])
    pair.run()
    assert pair.client.conversation.ids() == [item_id, *OTHERS]
    assert sound_of(pair, item_id) == TURN
    agree(pair)


def test_a_turn_that_fits_is_moved_whatever_was_lost_before_it() -> None:  # C3, N3
    pair = keeping(1.5)
    spoken(pair, SECOND * 2)
    item_id = spoken(pair)
    *others, turn = pair.client.conversation.items()
    pair.client.update_conversation([turn, *others])
    pair.run()
    assert sound_of(pair, item_id) == TURN
    agree(pair)


def test_what_was_cleared_is_no_part_of_a_turn() -> None:  # C3, A3
    pair = keeping(1.5)
    pair.client.push_audio(SECOND)
    pair.client.clear_audio()
    pair.run()
    item_id = spoken(pair)
    move(pair)
    assert sound_of(pair, item_id) == TURN


def test_what_was_lost_with_a_connection_is_no_part_of_a_turn_of_the_next() -> None:  # C3, N3
    """It was told with `SessionResumed`; the turn is what the new server has."""
    pair = keeping(1.0)
    pair.cut()
    pair.client.push_audio(TURN)
    pair.reconnect()
    commit = pair.client.commit_audio()
    assert commit is not None
    pair.run()
    move(pair)
    assert sound_of(pair, commit.result()) == TURN[-len(SECOND) :]


@pytest.mark.parametrize(("loud_s", "moves"), [(1, True), (3, False)])
def test_silence_that_was_too_old_is_no_part_of_a_turn(loud_s: int, moves: bool) -> None:  # C3, T1
    """Where the server finds the turns, it says where they begin."""
    config = SessionConfig(turn_detection=ServerVad(create_response=False))
    pair = keeping(2.5, config, detector=Loud())
    for _ in range(5):
        pair.client.push_audio(bytes(len(SECOND)))
    for _ in range(loud_s):
        pair.client.push_audio(b"\x00\x20" * 24_000)
    pair.client.push_audio(bytes(24_000 + 4_800))
    item_id = only(SpeechStopped, pair.run()).item_id
    if not moves:
        refused(pair, item_id)
        return
    heard = sound_of(pair, item_id)
    move(pair)
    assert sound_of(pair, item_id).endswith(heard)


HEARD = SessionConfig(turn_detection=None, transcription=Transcription(model="whisper-1"))


@pytest.mark.parametrize("failed", [False, True])
def test_a_turn_whose_words_are_known_in_part_is_moved_as_sound(failed: bool) -> None:  # C3
    pair = keeping(30.0, HEARD)
    item_id = spoken(pair)
    tell_words(pair, item_id, "delta", delta="Hel")
    if failed:
        tell_words(pair, item_id, "failed", error=events.ErrorDetails(type="e", message="no"))
    move(pair)
    assert sound_of(pair, item_id) == TURN
    agree(pair)


def test_a_turn_whose_words_are_known_in_part_and_its_sound_in_part_stays() -> None:  # C3
    pair = keeping(1.0, HEARD)
    item_id = spoken(pair)
    tell_words(pair, item_id, "delta", delta="Hel")
    refused(pair, item_id)


@pytest.mark.parametrize("words", ["Hello.", ""])
def test_a_turn_whose_words_are_known_is_moved_as_words(words: str) -> None:  # C3
    pair = keeping(1.0, HEARD)
    item_id = spoken(pair)
    items = turned(pair)
    tell_words(pair, item_id, "completed", transcript=words)
    pair.client.update_conversation(items)
    pair.run()
    moved = pair.server.session.items[0]
    assert isinstance(moved, events.Message)
    assert moved.content == [events.InputText(text=words)]
    agree(pair)


def test_a_turn_whose_words_come_while_it_moves_as_sound_keeps_that() -> None:  # C3, N3
    """The words were said of an item that is gone then, so the new one can be moved, and said, again."""
    pair = keeping(30.0, HEARD)
    item_id = spoken(pair)
    pair.client.update_conversation(turned(pair))
    tell_words(pair, item_id, "completed", transcript="Hello.")
    assert of(InputTranscriptCompleted, pair.events)
    move(pair)
    assert sound_of(pair, item_id) == TURN
    pair.cut()
    pair.reconnect()
    assert sound_of(pair, item_id) == TURN
    agree(pair)


def test_a_message_with_sound_of_the_application_s_own_stays_where_it_is() -> None:  # C3
    pair = keeping(30.0)
    part = events.InputAudio(audio=base64.b64encode(SECOND).decode())
    pair.client.send_message([part], item_id="own")
    pair.run()
    refused(pair, "own")
    assert sound_of(pair, "own") == SECOND


def test_what_was_said_in_another_format_is_not_moved_as_noise() -> None:  # C3, N3
    """What is kept of it would be read in the format that is in force now."""
    pair = keeping(30.0)
    item_id = spoken(pair)
    pair.client.update(input_audio_format=AudioFormat.PCMU)
    pair.run()
    refused(pair, item_id)
    assert sound_of(pair, item_id) == TURN


@pytest.mark.parametrize("with_base", [False, True])
@pytest.mark.parametrize("kind", ["delta", "completed"])
def test_a_turn_that_stays_is_left_alone_where_its_words_came_since(
    kind: str, with_base: bool
) -> None:  # C5
    pair = Pair(HEARD).connect()
    item_id = spoken(pair)
    items = pair.client.conversation.items()
    words = {"delta": "Hel"} if kind == "delta" else {"transcript": "Hello."}
    tell_words(pair, item_id, kind, **words)
    new = events.Message(role="user", content=[events.InputText(text="And?")], id="new")
    pair.client.raw_events = True
    pair.client.update_conversation([*items, new], base=items if with_base else None)
    pair.run()
    assert len(pair.sent(events.ConversationItemCreate)) == 1
    assert not pair.sent(events.ConversationItemDelete)
    assert [entry.text for entry in pair.client.conversation] == [*words.values(), "And?"]
    assert sound_of(pair, item_id) == TURN
    agree(pair)


NOTE = events.InputText(text="note")


def noted(pair: Pair, turn: Any, *, first: bool = False) -> list[events.Item]:
    """Has a note put into a turn; gives the parts that the service has of it then."""
    content = [NOTE, *turn.content] if first else [*turn.content, NOTE]
    before = pair.client.conversation.items()[:2]
    edited = events.Message(role=turn.role, content=content, id=turn.id)
    pair.client.update_conversation([*before, edited])
    pair.run()
    retrieved = pair.client.retrieve_item(str(turn.id))
    pair.run()
    agree(pair)
    parts: list[events.Item] = retrieved.result().content
    return parts


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("partly", [False, True])
def test_what_is_added_to_a_turn_stands_beside_its_sound(partly: bool, first: bool) -> None:  # C3
    pair = keeping(2.0)
    item_id = spoken(pair)
    if partly:
        tell_words(pair, item_id, "delta", delta="Hel")
        pair.run()
    parts: list[Any] = noted(pair, pair.client.conversation.items()[2], first=first)
    sound, note = reversed(parts) if first else parts
    assert base64.b64decode(sound.audio) == TURN
    assert note == NOTE


def test_what_is_added_to_a_turn_whose_sound_was_not_kept_is_refused() -> None:  # C3
    pair = keeping(1.0)
    item_id = spoken(pair)
    with pytest.raises(LocalProtocolError, match=f"{item_id}.*retrieve_item"):
        noted(pair, pair.client.conversation.items()[2])


@pytest.mark.parametrize("moved", [False, True])
def test_what_is_added_to_a_turn_whose_words_came_since_stands_beside_them(moved: bool) -> None:
    """The caller's list has the turn without words; it may have been put in again as words, too."""  # C3
    pair = keeping(2.0)
    item_id = spoken(pair)
    turn = pair.client.conversation.items()[2]
    tell_words(pair, item_id, "completed", transcript="Hello there.")
    pair.run()
    if moved:
        for _ in range(2):
            move(pair)
        assert pair.client.conversation.ids() == [*OTHERS, item_id]
    assert noted(pair, turn) == [events.InputText(text="Hello there."), NOTE]


@pytest.mark.parametrize("place", [0, 1])
def test_of_two_that_change_places_speech_stays(place: int) -> None:  # C3
    """What was said would be words at best where it is put in again: so a text moves."""
    pair = Pair().connect()
    if place:
        pair.client.send_message("Before.", item_id="text")
        pair.run()
    item_id = spoken(pair)
    if not place:
        pair.client.send_message("After.", item_id="text")
        pair.run()
    pair.client.update_conversation(list(reversed(pair.client.conversation.items())))
    pair.run()
    assert pair.client.conversation.ids().index(item_id) == 1 - place
    assert sound_of(pair, item_id) == TURN
    agree(pair)
