"""A connection that goes between two events of the server: nothing of the turn is lost (R3, R4, N3, T9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pair import MANUAL, SECOND, Loud, Pair, agree, answered, of, only

from sansio_rt import (
    CallReady,
    ConnectionClosed,
    ConnectionLost,
    ConnectionState,
    GenerationEnded,
    GenerationOrigin,
    GenerationStarted,
    GenerationStatus,
    ItemAdded,
    LocalProtocolError,
    Outcome,
    RetryPolicy,
    ServerErrorReported,
    ServerProtocol,
    SessionConfig,
    SessionResumed,
    StrayEvent,
    Timing,
    events,
    tool,
)
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import TranscriptionWanted

LOUD = b"\x00\x20" * 24_000
SILENCE = bytes(28_800)
VAD = SessionConfig(transcription=None)


def steady(config: SessionConfig = MANUAL, *, client: Any = (), **server: Any) -> Pair:
    settings = {"retry": RetryPolicy(), **dict(client)}
    return Pair(config, client=settings, **server).connect()


def frames(data: bytes) -> Iterator[bytes]:
    """The frames of a server, which masks nothing."""
    while data:
        size = data[1]
        head = {126: 4, 127: 10}.get(size, 2)
        end = head + (int.from_bytes(data[2:head]) if head > 2 else size)
        yield data[:end]
        data = data[end:]


def carry(pair: Pair, until: str) -> list[Any]:
    """Carries bytes until the client has a certain event of the server, and nothing that follows."""
    wanted = f'"type":"{until}"'.encode()
    new: list[Any] = []
    while True:
        out = pair.client.data_to_send()
        pair.server.receive_data(out, pair.now)
        pair.work += iter(pair.server.next_event, None)
        back = list(frames(pair.server.data_to_send()))
        assert out or back, f"{until} does not come"
        for frame in back:
            pair.client.receive_data(frame, pair.now)
            new += iter(pair.client.next_event, None)
            if wanted in frame:
                pair.events += new
                return new


def told(pair: Pair) -> list[tuple[str, str]]:
    """What the server's conversation holds."""
    found = []
    for item in pair.server.session.items:
        if isinstance(item, events.Message):
            kinds = " ".join(getattr(part, "text", None) or part.type for part in item.content)
            found.append((item.role, kinds))
        elif isinstance(item, events.FunctionCall):
            found.append(("call", item.arguments))
        elif isinstance(item, events.FunctionCallOutput):
            found.append(("output", item.output))
    return found


def spoken(pair: Pair) -> list[bytes]:
    """The audio of each turn that the server was to transcribe."""
    return [work.pcm for work in of(TranscriptionWanted, pair.work)]


# --- turns that were committed and are no items yet -----------------------------------------------


def test_a_turn_is_said_again_that_was_committed_and_is_no_item_yet() -> None:  # N3
    pair = steady()
    pair.client.send_message("before")
    pair.run()
    pair.client.push_audio(SECOND)
    commit = pair.client.commit_audio()
    assert commit is not None
    carry(pair, "input_audio_buffer.committed")
    assert commit.outcome is Outcome.ACKNOWLEDGED
    assert len(pair.client.conversation) == 1
    pair.cut()
    added = of(ItemAdded, pair.events)[-1]
    assert (added.entry.id, added.orphaned) == (commit.value, False)
    assert added.entry.item == events.Message(
        role="user",
        content=[events.InputAudio(transcript=None)],
        id=commit.value,
        status="completed",
    )
    resumed = only(SessionResumed, pair.reconnect())
    assert (resumed.replayed, resumed.left_out) == (2, ())
    assert pair.client.conversation.ids()[1:] == [commit.value]
    assert told(pair) == [("user", "before"), ("user", "input_audio")]
    assert spoken(pair) == [SECOND]
    agree(pair)


def test_it_is_said_at_its_place() -> None:  # N3, C8
    pair = steady()
    first, last = pair.client.send_message("first"), pair.client.send_message("last")
    pair.run()
    committed = (
        b'{"type":"input_audio_buffer.committed","item_id":"mine","previous_item_id":"%s"}'
        % first.value.id.encode()
    )
    pair.client.push_audio(SECOND)
    pair.run()
    pair.inject(committed)
    pair.cut()
    pair.reconnect()
    assert pair.client.conversation.ids() == [first.value.id, "mine", last.value.id]
    agree(pair)


def test_a_turn_that_was_deleted_does_not_come_back() -> None:
    pair = steady()
    pair.client.push_audio(SECOND)
    commit = pair.client.commit_audio()
    pair.run()
    assert commit is not None
    pair.client.delete_item(commit.value)
    pair.run()
    pair.cut()
    pair.reconnect()
    assert told(pair) == []
    agree(pair)


def test_turns_without_their_audio_are_not_made_up() -> None:
    """What the client pushed is all that it can say again."""
    pair = steady()
    pair.inject(b'{"type":"input_audio_buffer.committed","item_id":"x","previous_item_id":null}')
    pair.cut()
    pair.reconnect()
    assert told(pair) == []
    agree(pair)


def test_a_commit_that_was_not_answered_can_be_made_again() -> None:  # N3, R4
    pair = steady()
    pair.client.push_audio(SECOND)
    pair.run()
    commit = pair.client.commit_audio()
    pair.cut()
    assert commit is not None
    with pytest.raises(ConnectionClosed):
        commit.result()
    pair.reconnect()
    again = pair.client.commit_audio()
    assert again is not None
    pair.run()
    assert spoken(pair) == [SECOND]
    agree(pair)


def test_a_commit_that_timed_out_can_be_made_again() -> None:  # A2, X1
    pair = steady()
    pair.client.push_audio(SECOND)
    pair.run()
    commit = pair.client.commit_audio()
    pair.client.data_to_send()  # it is lost on the way
    pair.pass_time(11)
    assert commit is not None
    assert commit.outcome is Outcome.DEADLINE
    again = pair.client.commit_audio()
    assert again is not None
    pair.pass_time(31)  # until then an answer might be the first one's
    assert spoken(pair) == [SECOND]
    assert pair.client.commit_audio() is None


def test_a_commit_that_was_answered_late_is_not_made_again() -> None:  # A2
    pair = steady()
    pair.client.push_audio(SECOND)
    pair.run()
    pair.client.commit_audio()
    request = pair.client.data_to_send()
    pair.pass_time(11)
    pair.server.receive_data(request, pair.now)
    pair.run()
    assert spoken(pair) == [SECOND]
    assert pair.client.commit_audio() is None


@pytest.mark.parametrize("end", ["delta", "failed"])
def test_a_turn_whose_words_are_half_known_is_said_again_as_audio(end: str) -> None:  # N3
    pair = steady()
    pair.client.push_audio(SECOND)
    commit = pair.client.commit_audio()
    pair.run()
    assert commit is not None
    about = b'"item_id":"%s","content_index":0' % commit.value.encode()
    kind = b'{"type":"conversation.item.input_audio_transcription.'
    pair.inject(kind + b'delta",%s,"delta":"half a sen"}' % about)
    if end == "failed":
        pair.inject(kind + b'failed",%s,"error":{"message":"no words"}}' % about)
    pair.cut()
    pair.reconnect()
    assert told(pair) == [("user", "input_audio")]
    assert spoken(pair) == [SECOND]
    agree(pair)


# --- replies that the server owed -----------------------------------------------------------------


def listening(config: SessionConfig = VAD) -> Pair:
    return steady(config, detector=Loud())


def speak(pair: Pair) -> None:
    pair.client.push_audio(LOUD)
    pair.client.push_audio(SILENCE)


@pytest.mark.parametrize(
    "until",
    [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ],
)
def test_a_turn_is_answered_whose_reply_was_never_created(until: str) -> None:  # R3, G2
    pair = listening()
    speak(pair)
    carry(pair, until)
    assert not of(GenerationStarted, pair.events)
    pair.cut()
    found = pair.reconnect()
    assert told(pair)[0] == ("user", "input_audio")
    generation = only(GenerationStarted, found).generation
    assert generation.origin is GenerationOrigin.SERVER
    item_id = pair.client.conversation.ids()[0]
    pair.server.session.transcribed(item_id, "How are you?", pair.now)
    pair.run()
    pair.speak()
    assert generation.status is GenerationStatus.COMPLETED
    agree(pair)


@pytest.mark.parametrize("lost_while", ["connecting", "asking"])
def test_it_is_answered_after_several_losses(lost_while: str) -> None:
    pair = listening()
    speak(pair)
    carry(pair, "conversation.item.done")
    pair.cut()
    for _ in range(3):
        pair.server = type(pair.server)()
        pair.client.connect(pair.now)
        if lost_while == "asking":
            carry(pair, "conversation.item.done")
        pair.cut()
    assert len(of(GenerationStarted, pair.reconnect())) == 1


def test_a_turn_that_is_heard_again_is_answered_once() -> None:
    """Lost before the commit: the audio is appended again, and the server makes a turn of it."""
    pair = listening()
    speak(pair)
    carry(pair, "input_audio_buffer.speech_stopped")
    pair.cut()
    assert len(of(GenerationStarted, pair.reconnect())) == 1
    assert told(pair)[0] == ("user", "input_audio")


@pytest.mark.parametrize(
    "config",
    [
        SessionConfig(
            turn_detection=events.ServerVad(create_response=False, silence_duration_ms=200)
        ),
        SessionConfig(turn_detection=events.SemanticVad(create_response=False, eagerness="high")),
    ],
)
def test_no_reply_is_owed_that_the_server_was_not_to_make(config: SessionConfig) -> None:
    pair = listening(config)
    speak(pair)
    carry(pair, "conversation.item.done")
    pair.cut()
    assert not of(GenerationStarted, pair.reconnect())


def test_no_reply_is_owed_for_a_commit_of_ours() -> None:
    """Who commits asks for the reply, and knows that it failed (R10)."""
    pair = steady()
    pair.client.push_audio(SECOND)
    pair.client.commit_audio()
    pair.run()
    pair.client.generate_reply()
    pair.cut()
    assert not of(GenerationStarted, pair.reconnect())


def test_a_reply_that_began_is_not_asked_for_again() -> None:  # R4
    pair = listening()
    speak(pair)
    carry(pair, "response.created")
    generation = only(GenerationStarted, pair.events).generation
    pair.cut()
    assert generation.status is GenerationStatus.LOST
    assert not of(GenerationStarted, pair.reconnect())


@pytest.mark.parametrize("how", ["interrupt", "speech"])
def test_a_reply_that_nobody_waits_for_any_more_is_not_asked_for(how: str) -> None:
    pair = listening()
    speak(pair)
    carry(pair, "conversation.item.done")
    if how == "interrupt":
        pair.client.interrupt()
    else:  # the caller goes on: that turn's end leads to a reply
        pair.inject(
            b'{"type":"input_audio_buffer.speech_started","item_id":"x","audio_start_ms":9}'
        )
    pair.cut()
    assert not of(GenerationStarted, pair.reconnect())


# --- calls ----------------------------------------------------------------------------------------


def look_up(word: str) -> str:
    """Looks up a word."""
    return word


def called(pair: Pair, until: str) -> Any:
    """The model calls `look_up`; the client has heard of it as far as that event."""
    pair.client.generate_reply()
    pair.run()
    response_id = pair.wanted_reply().response_id
    pair.server.session.call_function(response_id, "look_up", '{"word": "x"}', pair.now)
    pair.server.session.finish(response_id, pair.now)
    return only(CallReady, carry(pair, until)).call


CALL_EVENTS = [
    "response.function_call_arguments.done",
    "response.output_item.done",
    "conversation.item.done",
]


@pytest.mark.parametrize("until", CALL_EVENTS)
@pytest.mark.parametrize("answered", [False, True])
def test_a_call_that_is_whole_is_said_again_with_its_output(
    until: str, answered: bool
) -> None:  # T9
    pair = steady(client={"tools": [tool(look_up)]})
    call = called(pair, until)
    if answered:
        output = pair.client.send_tool_output(call.call_id, "y")
        pair.cut()
        found = pair.reconnect()
    else:
        pair.cut()
        found = pair.reconnect()
        output = pair.client.send_tool_output(call.call_id, "y")
        found += pair.run()
    assert output.outcome is Outcome.ACKNOWLEDGED
    assert told(pair)[:2] == [("call", '{"word": "x"}'), ("output", "y")]
    assert only(GenerationStarted, found).generation.origin is GenerationOrigin.TOOL_OUTPUTS
    agree(pair)


@pytest.mark.parametrize("reply", [True, False])
def test_an_output_that_was_not_answered_in_time_is_said_on_the_next_connection(
    reply: bool,
) -> None:  # T9
    pair = steady(client={"tools": [tool(look_up)]})
    call = called(pair, "response.done")
    output = pair.client.send_tool_output(call.call_id, "y", reply=reply)
    later = pair.client.send_message("later")
    pair.client.data_to_send()  # they are lost on the way
    pair.pass_time(11)
    assert (output.outcome, later.outcome) == (Outcome.DEADLINE, Outcome.DEADLINE)
    with pytest.raises(LocalProtocolError):
        pair.client.send_tool_output(call.call_id, "twice")
    pair.cut()
    found = pair.reconnect()
    assert told(pair) == [("call", '{"word": "x"}'), ("output", "y")]
    assert len(of(GenerationStarted, found)) == reply
    agree(pair)
    pair.cut()
    pair.reconnect()
    assert told(pair)[:2] == [("call", '{"word": "x"}'), ("output", "y")]
    agree(pair)


def test_an_output_that_was_answered_late_is_said_once() -> None:  # T9
    pair = steady(client={"tools": [tool(look_up)]})
    call = called(pair, "response.done")
    pair.client.send_tool_output(call.call_id, "y", reply=False)
    request = pair.client.data_to_send()
    pair.pass_time(11)
    pair.server.receive_data(request, pair.now)
    pair.run()
    pair.client.send_message("later")
    pair.run()
    pair.cut()
    pair.reconnect()
    assert told(pair) == [("call", '{"word": "x"}'), ("output", "y"), ("user", "later")]
    agree(pair)


def test_a_server_that_falls_silent_while_it_is_told_everything_costs_nothing() -> None:  # R3, R7
    pair = steady(client={"timing": Timing(answer_timeout_s=5.0)})
    for words in ("one", "two", "three"):
        pair.client.send_message(words)
    pair.run()
    pair.cut()
    pair.server = ServerProtocol(ServerSession())
    pair.client.connect(pair.now)
    for event in ("session.updated", "conversation.item.done"):
        carry(pair, event)  # and then there is nothing but silence
    assert pair.client.state is ConnectionState.REPLAYING
    pair.client.data_to_send()
    pair.now += 5.0
    pair.client.handle_timer(pair.now)
    lost = only(ConnectionLost, list(iter(pair.client.next_event, None))[-1:])
    assert "answer_timeout_s" in str(lost.error)
    resumed = only(SessionResumed, pair.reconnect())
    assert (resumed.replayed, resumed.left_out) == (3, ())
    assert told(pair) == [("user", words) for words in ("one", "two", "three")]
    agree(pair)


# --- what was heard of an answer ------------------------------------------------------------------


def told_in_words() -> tuple[Pair, str]:
    """An answer whose audio the server has no more, since another was told its words; and its id."""
    pair = steady()
    item_id = answered(pair)
    pair.cut()
    pair.reconnect()
    return pair, item_id


def test_an_answer_can_be_cut_that_another_server_was_told_in_words() -> None:  # G8, G14
    pair, item_id = told_in_words()
    pair.cut()
    pair.reconnect()
    assert pair.client.truncate(item_id, audio_end_ms=2_000) is None
    command = pair.client.truncate(item_id, audio_end_ms=1_000)
    pair.run()
    assert command is not None
    assert command.outcome is Outcome.ACKNOWLEDGED
    assert told(pair) == [("assistant", "one two")]
    agree(pair)


@pytest.mark.parametrize(
    ("first_ms", "words"), [(1_500, "one two three"), (2_000, "one two three four")]
)
def test_an_answer_that_was_cut_before_can_be_cut_again(first_ms: int, words: str) -> None:  # G14
    pair = steady()
    item_id = answered(pair)
    pair.client.truncate(item_id, audio_end_ms=first_ms)
    pair.run()
    pair.cut()
    pair.reconnect()
    assert told(pair) == [("assistant", words)]
    pair.client.truncate(item_id, audio_end_ms=1_000)
    pair.run()
    assert told(pair) == [("assistant", "one two")]
    agree(pair)


def test_an_answer_that_was_told_in_words_can_be_cut_during_the_next_outage() -> None:  # G14
    pair, item_id = told_in_words()
    pair.cut()
    assert pair.client.truncate(item_id, audio_end_ms=1_000) is None
    pair.reconnect()
    assert told(pair) == [("assistant", "one two")]
    agree(pair)


def test_hearing_nothing_of_an_answer_that_was_told_in_words_deletes_it() -> None:  # G8
    pair, item_id = told_in_words()
    pair.client.truncate(item_id, audio_end_ms=100)  # not a whole word
    pair.run()
    assert told(pair) == []
    agree(pair)


def test_a_cut_that_was_not_answered_is_known_to_the_next_server() -> None:  # G14, R3
    pair = steady()
    item_id = answered(pair)
    cut = pair.client.truncate(item_id, audio_end_ms=1_000)
    pair.cut()
    assert cut is not None
    assert cut.outcome is Outcome.CONNECTION_ENDED
    pair.reconnect()
    assert told(pair) == [("assistant", "one two")]
    agree(pair)


def test_an_answer_whose_cut_is_not_answered_moves_as_it_was_heard() -> None:  # G14, C3
    pair = steady()
    item_id = answered(pair)
    for words in ("Behind it.", "And more."):
        pair.client.send_message(words)
    pair.run()
    answer, *others = pair.client.conversation.items()
    pair.client.truncate(item_id, audio_end_ms=1_000)
    pair.client.update_conversation([*others, answer])
    pair.run()
    assert told(pair)[-1] == ("assistant", "one two")


def test_a_cut_that_was_not_answered_can_be_asked_for_again() -> None:  # G14
    pair = steady()
    item_id = answered(pair)
    pair.client.truncate(item_id, audio_end_ms=1_000)
    pair.client.data_to_send()  # lost
    pair.pass_time(11.0)
    again = pair.client.truncate(item_id, audio_end_ms=1_000)
    pair.run()
    assert again is not None
    assert again.outcome is Outcome.ACKNOWLEDGED
    assert pair.client.truncate(item_id, audio_end_ms=1_000) is None


@pytest.mark.parametrize(
    ("retold", "heard", "words"),
    [
        (True, {"audio_end_ms": 1_000}, [("assistant", "one two")]),
        (True, {"heard_text": "one"}, [("assistant", "one")]),
        (True, {"audio_end_ms": 0}, []),
        (False, {"audio_end_ms": 0}, []),
        (False, {"heard_text": ""}, []),
    ],
)
def test_what_was_heard_is_known_though_nobody_answered_in_time(
    retold: bool, heard: dict[str, Any], words: list[tuple[str, str]]
) -> None:  # G14, R3
    pair = steady()
    item_id = answered(pair)
    if retold:  # by words, which are cut by taking their place
        pair.cut()
        pair.reconnect()
    command = pair.client.truncate(item_id, **heard)
    assert command is not None
    pair.client.data_to_send()  # lost
    pair.pass_time(11.0)
    assert command.outcome is Outcome.DEADLINE
    pair.cut()
    pair.reconnect()
    assert told(pair) == words
    agree(pair)


def test_an_answer_that_is_cut_on_its_way_to_another_place_is_said_as_heard() -> None:  # G14, R3
    pair = steady()
    item_id = answered(pair)
    for words in ("a", "b"):
        pair.client.send_message(words)
    pair.run()
    answer, *others = pair.client.conversation.items()
    pair.client.update_conversation([*others, answer])
    pair.client.truncate(item_id, audio_end_ms=1_000)
    pair.cut()
    pair.reconnect()
    assert told(pair) == [("user", "a"), ("user", "b"), ("assistant", "one two")]
    agree(pair)


def test_what_was_not_heard_once_is_not_heard_later() -> None:  # G14
    pair = steady()
    item_id = answered(pair)
    pair.cut()
    pair.reconnect()  # it was told in words
    assert pair.client.truncate(item_id, audio_end_ms=100) is not None  # not a whole word
    assert pair.client.truncate(item_id, audio_end_ms=1_000) is None
    pair.run()
    assert told(pair) == []
    agree(pair)


def test_a_moved_turn_outlives_a_late_deletion_and_no_creation() -> None:  # C3, N3
    pair = steady()
    pair.client.push_audio(SECOND)
    pair.client.commit_audio()
    pair.run()
    for words in ("a", "b"):
        pair.client.send_message(words)
    pair.run()
    turn, *others = pair.client.conversation.items()
    moved = pair.client.update_conversation([*others, turn])
    pair.client.data_to_send()
    pair.pass_time(11.0)
    assert [command.outcome for command in moved] == [Outcome.DEADLINE] * 2
    turn_id = pair.client.conversation.ids()[0]
    pair.inject(events.encode(events.ConversationItemDeleted(item_id=turn_id, event_id="e")))
    pair.cut()
    pair.reconnect()
    assert pair.client.conversation.ids()[-1] == turn_id
    assert told(pair)[-1] == ("user", "input_audio")
    agree(pair)


def test_a_moved_item_that_was_deleted_later_stays_away() -> None:  # C3
    pair = steady()
    for words in ("a", "b", "c"):
        pair.client.send_message(words)
    pair.run()
    first, *others = pair.client.conversation.items()
    pair.client.update_conversation([*others, first])
    request = pair.client.data_to_send()
    pair.pass_time(11.0)
    pair.server.receive_data(request, pair.now)
    pair.run()
    item_id = pair.client.conversation.ids()[-1]
    pair.client.delete_item(item_id)
    pair.run()
    pair.cut()
    pair.reconnect()
    assert [words for _, words in told(pair)] == ["b", "c"]
    agree(pair)


# --- edits ----------------------------------------------------------------------------------------


def said(text: str, item_id: str, role: str = "user") -> events.Message:
    return events.Message(role=role, content=[events.InputText(text=text)], id=item_id)


def test_edits_that_build_on_each_other_keep_their_places() -> None:  # R3, C3
    pair = steady()
    for word in "abc":
        pair.client.send_message(word, item_id=f"item_{word}")
    pair.run()
    wanted = [
        said("note", "new", "system"),
        said("A", "item_a"),
        *pair.client.conversation.items()[1:],
    ]
    commands = pair.client.update_conversation(wanted)
    pair.cut()
    pair.reconnect()
    assert [command.outcome for command in commands] == [Outcome.ACKNOWLEDGED] * 3
    assert [text for _, text in told(pair)] == ["note", "A", "b", "c"]
    agree(pair)


def test_an_edit_behind_an_item_that_is_gone_goes_where_that_was() -> None:  # R3, C3
    pair = steady()
    for word in "abc":
        pair.client.send_message(word, item_id=f"item_{word}")
    pair.run()
    command = pair.client.send_message("new", item_id="new", previous_item_id="item_b")
    pair.client.delete_item("item_b")
    pair.cut()
    pair.reconnect()
    assert command.outcome is Outcome.ACKNOWLEDGED
    assert [text for _, text in told(pair)] == ["a", "new", "c"]
    agree(pair)


@pytest.mark.parametrize("until", CALL_EVENTS)
def test_an_output_is_not_sent_whose_call_is_gone(until: str) -> None:  # T9
    pair = steady(client={"tools": [tool(look_up)]})
    call = called(pair, until)
    pair.client.delete_item(call.item_id)
    output = pair.client.send_tool_output(call.call_id, "y")
    pair.cut()
    pair.reconnect()
    with pytest.raises(LocalProtocolError, match="cut off"):
        output.result()
    assert told(pair) == []
    assert not of(ServerErrorReported, pair.events)


# --- replies that nobody called for and that are not answered in time -----------------------------


def test_a_reply_to_outputs_that_is_never_answered_is_owed() -> None:  # T6, R3
    pair = steady(client={"tools": [tool(look_up)]})
    call = called(pair, "response.done")
    pair.client.send_tool_output(call.call_id, "y")
    pair.client.data_to_send()  # it is lost on the way
    pair.pass_time(11)
    pair.cut()
    assert only(GenerationStarted, pair.reconnect()).generation.origin is GenerationOrigin.SERVER


def test_a_reply_to_outputs_that_is_answered_late_is_heard() -> None:  # T6, G1
    pair = steady(client={"tools": [tool(look_up)]})
    call = called(pair, "response.done")
    pair.client.send_tool_output(call.call_id, "y")
    request = pair.client.data_to_send()
    pair.pass_time(11)
    pair.server.receive_data(request, pair.now)
    pair.run()
    assert len(of(GenerationStarted, pair.events)) == 2
    pair.speak()
    assert of(GenerationEnded, pair.events)[1].generation.status is GenerationStatus.COMPLETED
    pair.cut()
    assert not of(GenerationStarted, pair.reconnect())


# --- transcripts out of order ---------------------------------------------------------------------


def test_a_delta_behind_the_whole_transcript_changes_nothing() -> None:  # G6, I2
    pair = steady()
    pair.client.push_audio(SECOND)
    commit = pair.client.commit_audio()
    pair.run()
    assert commit is not None
    about = b'"item_id":"%s","content_index":0' % commit.value.encode()
    kind = b'{"type":"conversation.item.input_audio_transcription.'
    pair.inject(kind + b'completed",%s,"transcript":"how are you"}' % about)
    found = pair.inject(kind + b'delta",%s,"delta":" you"}' % about)
    assert only(StrayEvent, found)
    entry = pair.client.conversation.get(commit.value)
    assert entry is not None
    assert entry.text == "how are you"
