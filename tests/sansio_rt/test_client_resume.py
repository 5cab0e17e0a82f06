"""A lost connection is replaced: what is said again, what is not, and in which order (R3, R4, N3, T9)."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import pytest
from pair import MANUAL, SECOND, Loud, Pair, agree, of, only

from sansio_rt import (
    CallReady,
    ConnectionClosed,
    ConnectionLost,
    ConnectionState,
    GenerationEnded,
    GenerationOrigin,
    GenerationStarted,
    GenerationStatus,
    InputAudioCommitted,
    ItemDeleted,
    Limits,
    LocalProtocolError,
    Outcome,
    RetryPolicy,
    ServerProtocol,
    SessionClosed,
    SessionConfig,
    SessionResumed,
    SpeechStarted,
    StrayEvent,
    events,
    tool,
)
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import TranscriptionWanted


def steady(config: SessionConfig = MANUAL, **settings: object) -> Pair:
    client = {"retry": RetryPolicy(), **settings}
    return Pair(config, client=client).connect()


def server_items(pair: Pair) -> list[tuple[str, str]]:
    found = []
    for item in pair.server.session.items:
        if isinstance(item, events.Message):
            found.append((item.role, " ".join(getattr(part, "text", "?") for part in item.content)))
        elif isinstance(item, events.FunctionCall):
            found.append(("call", f"{item.name}({item.arguments})"))
        elif isinstance(item, events.FunctionCallOutput):
            found.append(("output", item.output))
    return found


def test_configuration_then_history_as_heard_then_what_was_never_answered() -> None:  # R3, G14
    pair = steady(tools=[tool(look_up)])
    pair.client.update(instructions="Be kind.")
    pair.client.send_message("question")
    pair.client.generate_reply()
    pair.run()
    pair.speak("one two three four", seconds=2)
    answer_id = pair.client.conversation.ids()[-1]
    pair.client.truncate(answer_id, audio_end_ms=1_000)
    pair.client.generate_reply()
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    session.call_function(response_id, "look_up", '{"word": "x"}', pair.now)
    session.finish(response_id, pair.now)
    found = pair.run()
    pair.client.send_tool_output(only(CallReady, found).call.call_id, "it is y", reply=False)
    pair.run()
    unanswered = pair.client.send_message("never acknowledged")
    ids = pair.client.conversation.ids()
    found = pair.cut()
    lost = only(ConnectionLost, found)
    assert isinstance(lost.error, ConnectionClosed)
    assert 0.08 <= lost.reconnect_at - pair.now <= 0.12
    assert unanswered.outcome is None
    pair.now += 5
    resumed = only(SessionResumed, pair.reconnect())
    assert resumed.away_s == pytest.approx(5)
    assert (resumed.replayed, resumed.left_out) == (4, ())
    assert unanswered.outcome is Outcome.ACKNOWLEDGED
    assert server_items(pair) == [
        ("user", "question"),
        ("assistant", "one two"),
        ("call", 'look_up({"word": "x"})'),
        ("output", "it is y"),
        ("user", "never acknowledged"),
    ]
    assert pair.client.conversation.ids()[:4] == ids
    assert pair.server.session.session.instructions == "Be kind."
    agree(pair)


def look_up(word: str) -> str:
    """Looks up a word."""
    return word


def test_generations_end_as_lost_and_replies_fail_and_are_not_sent_again() -> None:  # R4, R10
    pair = steady()
    running = pair.client.generate_reply()
    waiting = pair.client.generate_reply()
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    session.begin_message(response_id, pair.now)
    session.push_text(response_id, "half a sen", pair.now)
    session.push_audio(response_id, SECOND, pair.now)
    pair.run()
    pair.cut()
    assert running.result().status is GenerationStatus.LOST
    with pytest.raises(ConnectionClosed):
        waiting.result()
    assert pair.client.reconnecting
    for call in (pair.client.generate_reply, pair.client.commit_audio):
        with pytest.raises(LocalProtocolError, match="reconnecting"):
            call()
    found = pair.reconnect()
    assert not of(GenerationStarted, found)
    assert server_items(pair) == [("assistant", "half a sen")]
    agree(pair)
    again = pair.client.generate_reply()
    pair.run()
    pair.speak()
    assert again.result().status is GenerationStatus.COMPLETED


def test_a_result_that_comes_after_the_reconnect_joins_its_replayed_call() -> None:  # T9
    pair = steady(tools=[tool(look_up)])
    pair.client.generate_reply()
    pair.run()
    session, response_id = pair.server.session, pair.wanted_reply().response_id
    session.call_function(response_id, "look_up", '{"word": "x"}', pair.now)
    call = only(CallReady, pair.run()).call
    pair.cut()
    found = pair.reconnect()
    assert server_items(pair) == [("call", 'look_up({"word": "x"})')]
    pair.client.send_tool_output(call.call_id, "late but right")
    found = pair.run()
    assert server_items(pair)[-1] == ("output", "late but right")
    assert only(GenerationStarted, found).generation.origin is GenerationOrigin.TOOL_OUTPUTS
    with pytest.raises(LocalProtocolError):
        pair.client.send_tool_output(call.call_id, "twice")
    agree(pair)


def test_a_call_that_was_cut_off_is_left_out() -> None:
    pair = steady(tools=[tool(look_up)])
    created = b'{"type":"response.created","response":{"id":"r","conversation_id":"c"}}'
    item = (
        b'{"id":"f","type":"function_call","status":"in_progress","name":"look_up","call_id":"c"}'
    )
    pair.inject(
        created,
        b'{"type":"response.output_item.added","response_id":"r","output_index":0,"item":%s}'
        % item,
        b'{"type":"conversation.item.added","previous_item_id":null,"item":%s}' % item,
    )
    pair.cut()
    resumed = only(SessionResumed, pair.reconnect())
    assert resumed.left_out == ("f",)
    assert only(ItemDeleted, pair.events).item_id == "f"
    agree(pair)


def test_what_was_left_out_by_a_replay_that_was_interrupted_is_told_too() -> None:  # R3
    pair = steady()
    item = (
        b'{"id":"f","type":"function_call","status":"in_progress","name":"look_up","call_id":"c"}'
    )
    pair.inject(b'{"type":"conversation.item.added","previous_item_id":null,"item":%s}' % item)
    pair.client.send_message("to be said again")
    pair.run()
    pair.cut()
    pair.client.connect(pair.now)
    pair.server = ServerProtocol(ServerSession(pace=None))
    while pair.client.state is not ConnectionState.REPLAYING:
        pair.server.receive_data(pair.client.data_to_send(), pair.now)
        pair.client.receive_data(pair.server.data_to_send(), pair.now)
    pair.cut()
    resumed = only(SessionResumed, pair.reconnect())
    assert resumed.left_out == ("f",)
    agree(pair)


def test_what_a_server_told_before_it_was_ready_is_said_again_too() -> None:  # R3
    pair = Pair(client={"retry": RetryPolicy(retry_first=True)})
    pair.client.connect(pair.now)
    pair.server.receive_data(pair.client.data_to_send(), pair.now)
    pair.client.receive_data(pair.server.data_to_send(), pair.now)
    part = events.InputText(text="from elsewhere")
    created = events.ConversationItemCreate(item=events.Message(role="user", content=[part]))
    pair.server.session.receive_message(events.encode(created), pair.now)
    pair.client.receive_data(pair.server.data_to_send(), pair.now)
    pair.client.receive_eof(pair.now)
    assert pair.client.conversation.ids()
    pair.reconnect()
    assert pair.client.state is ConnectionState.READY
    agree(pair)


def test_uncommitted_audio_is_sent_again_before_what_is_new() -> None:  # N3
    pair = steady()
    spoken = [bytes([value, 0]) * 2_400 for value in range(1, 8)]
    for frame in spoken[:3]:
        pair.client.push_audio(frame)
    pair.run()
    pair.cut()
    pair.client.push_audio(spoken[3])
    pair.server = type(pair.server)()
    pair.client.connect(pair.now)
    pair.client.push_audio(spoken[4])
    pair.run()
    pair.client.push_audio(spoken[5])
    commit = pair.client.commit_audio()
    assert commit is not None
    pair.client.push_audio(spoken[6])
    pair.run()
    assert only(TranscriptionWanted, pair.work).pcm == b"".join(spoken[:6])
    pair.cut()
    pair.reconnect()
    assert pair.server.session._listener is not None
    commit = pair.client.commit_audio()
    assert commit is not None
    pair.run()
    wanted = of(TranscriptionWanted, pair.work)
    # The first turn's words were never told, so its audio came again as an item; then the new turn.
    assert [work.pcm for work in wanted] == [b"".join(spoken[:6]), spoken[6]]


def test_old_audio_is_bounded_and_said_so() -> None:  # R10
    pair = steady(limits=Limits(max_kept_audio_s=1.0))
    pair.cut()
    for _ in range(25):
        pair.client.push_audio(SECOND[:4800])
    resumed = only(SessionResumed, pair.reconnect())
    assert resumed.audio_lost_ms == pytest.approx(1500)
    commit = pair.client.commit_audio()
    assert commit is not None
    pair.run()
    assert len(only(TranscriptionWanted, pair.work).pcm) == 48_000


def test_a_turn_that_the_server_closed_takes_just_its_own_audio() -> None:  # N3
    pair = Pair(
        SessionConfig(transcription=None), client={"retry": RetryPolicy()}, detector=Loud()
    ).connect()
    pair.client.push_audio(b"\x00\x20" * 24_000)
    pair.client.push_audio(bytes(28_800))
    found = pair.run()
    assert of(SpeechStarted, found)
    assert of(InputAudioCommitted, found)
    pair.client.push_audio(b"\x00\x20" * 12_000)  # the caller goes on: this must not be lost
    pair.run()
    pair.cut()
    found = pair.reconnect()
    assert of(SpeechStarted, found)
    pair.client.push_audio(bytes(28_800))
    assert of(InputAudioCommitted, pair.run())


def test_deleted_items_stay_deleted() -> None:
    pair = steady()
    pair.client.send_message("stay")
    pair.client.send_message("go")
    pair.run()
    command = pair.client.delete_item(pair.client.conversation.ids()[1])
    pair.cut()
    pair.reconnect()
    assert command.outcome is Outcome.ACKNOWLEDGED
    assert server_items(pair) == [("user", "stay")]
    agree(pair)


def test_losing_the_replay_replays_again() -> None:
    pair = steady()
    for word in ("a", "b", "c"):
        pair.client.send_message(word)
    pair.run()
    pair.client.send_message("d")
    pair.cut()
    for _ in range(3):  # each time lost before the replay is acknowledged
        pair.server = type(pair.server)()
        pair.client.connect(pair.now)
        pair.server.receive_data(pair.client.data_to_send(), pair.now)
        pair.client.receive_data(pair.server.data_to_send(), pair.now)
        pair.server.receive_data(pair.client.data_to_send(), pair.now)
        pair.client.receive_data(pair.server.data_to_send(), pair.now)
        assert pair.client.state is ConnectionState.REPLAYING
        pair.cut()
    pair.reconnect()
    assert [text for _, text in server_items(pair)] == ["a", "b", "c", "d"]
    agree(pair)


def test_session_expired_leads_to_a_replacement() -> None:  # R9
    pair = steady()
    pair.client.send_message("kept")
    pair.run()
    pair.inject(b'{"type":"error","error":{"code":"session_expired","message":"60 minutes"}}')
    pair.pass_time(2)
    assert only(ConnectionLost, pair.events)
    pair.reconnect()
    assert server_items(pair) == [("user", "kept")]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_a_fatal_answer_to_a_reconnect_ends_the_session(answer: bytes) -> None:  # R2
    pair = steady()
    edit = pair.client.send_message("never answered")
    pair.cut()
    pair.client.connect(pair.now)
    pair.client.data_to_send()
    pair.client.receive_data(answer, pair.now)
    found = list(iter(pair.client.next_event, None))
    assert only(SessionClosed, found).error is not None
    assert not of(ConnectionLost, found)
    assert edit.outcome is Outcome.CONNECTION_ENDED
    assert not pair.client.reconnecting


def test_closing_while_away_ends_everything() -> None:  # R6
    pair = steady()
    edit = pair.client.send_message("never answered")
    pair.cut()
    pair.client.close()
    found = list(iter(pair.client.next_event, None))
    assert only(SessionClosed, found).error is None
    assert edit.outcome is Outcome.CONNECTION_ENDED
    pair.client.close()
    assert pair.client.next_event() is None


def test_nothing_surfaces_twice_over_many_losses() -> None:
    pair = steady()
    for turn in range(5):
        pair.client.generate_reply()
        pair.run()
        if turn % 2:
            pair.cut()
            pair.reconnect()
        else:
            pair.speak(f"answer {turn}")
    started = [event.generation.id for event in of(GenerationStarted, pair.events)]
    ended = [event.generation.id for event in of(GenerationEnded, pair.events)]
    assert len(started) == 5
    assert sorted(started) == sorted(ended)
    assert not of(StrayEvent, pair.events)


def test_an_item_that_may_not_be_said_again_is_left_out() -> None:  # R3
    pair = steady()
    pair.inject(
        b'{"type":"conversation.item.added","previous_item_id":null,"item":{"id":"'
        + b"x" * 40
        + b'","type":"message","role":"user","content":[{"type":"input_text","text":"Long."}]}}'
    )
    pair.cut()
    assert only(SessionResumed, pair.reconnect()).left_out == ("x" * 40,)
    agree(pair)


def test_a_call_and_its_output_on_their_way_are_said_again_together() -> None:  # R3, T9
    pair = steady()
    pair.client.create_item(
        events.FunctionCall(name="look_up", call_id="c9", arguments="{}", id="call")
    )
    pair.client.create_item(events.FunctionCallOutput(call_id="c9", output="blue", id="output"))
    pair.client.data_to_send()  # lost on its way
    pair.cut()
    pair.reconnect()
    assert server_items(pair) == [("call", "look_up({})"), ("output", "blue")]
    agree(pair)


def test_two_deletions_of_an_item_both_have_succeeded_where_it_is_not_said_again() -> None:  # C9
    pair = steady()
    pair.client.send_message("Gone soon.", item_id="a")
    pair.run()
    deletions = [pair.client.delete_item("a") for _ in range(2)]
    pair.client.data_to_send()  # lost on its way
    pair.cut()
    pair.reconnect()
    assert [command.outcome for command in deletions] == [Outcome.ACKNOWLEDGED] * 2
    agree(pair)


def test_a_turn_that_was_moved_before_its_words_were_known_keeps_its_audio() -> None:  # N3, R3
    pair = steady()
    spoken = spoken_behind_others(pair)
    to_the_beginning(pair)
    pair.client.data_to_send()  # lost on its way
    pair.cut()
    pair.reconnect()
    assert pair.client.conversation.ids() == [spoken, *OTHERS]
    assert audio_of(pair, spoken) == SECOND
    agree(pair)


def spoken_turn(pair: Pair) -> str:
    """A turn of the caller whose words nobody knows; gives its id."""
    pair.client.push_audio(SECOND)
    commit = pair.client.commit_audio()
    assert commit is not None
    pair.run()
    return str(commit.result())


OTHERS = ("first", "second")


def spoken_behind_others(pair: Pair) -> str:
    """A turn behind two messages: of what changes places, that is the fewest."""
    for item_id in OTHERS:
        pair.client.send_message("Before.", item_id=item_id)
    return spoken_turn(pair)


def to_the_beginning(pair: Pair, base: Sequence[events.Item] | None = None) -> None:
    """Moves the last item; as it was in an older list, if one is given."""
    *others, last = base or pair.client.conversation.items()
    pair.client.update_conversation([last, *others], base=base)


def audio_of(pair: Pair, item_id: str) -> bytes:
    """What the server has of a turn's sound."""
    retrieved = pair.client.retrieve_item(item_id)
    pair.run()
    (part,) = retrieved.result().content
    return base64.b64decode(part.audio)


def test_a_turn_whose_move_was_lost_half_way_keeps_its_audio() -> None:  # N3, R3
    """The server has said that it is deleted, and not that it is there again."""
    pair = steady()
    spoken = spoken_behind_others(pair)
    to_the_beginning(pair)
    pair.server.receive_data(pair.client.data_to_send(), pair.now)
    deleted, *_ = pair.server.session.messages_to_send()
    pair.server._wire.send_text(deleted)
    pair.client.receive_data(pair.server.data_to_send(), pair.now)
    assert spoken not in pair.client.conversation
    pair.cut()
    pair.reconnect()
    assert pair.client.conversation.ids() == [spoken, *OTHERS]
    assert audio_of(pair, spoken) == SECOND
    agree(pair)


def test_a_turn_is_moved_with_its_audio_where_its_words_are_not_known() -> None:  # C3
    pair = steady()
    spoken = spoken_behind_others(pair)
    to_the_beginning(pair)
    pair.run()
    assert pair.client.conversation.ids() == [spoken, *OTHERS]
    assert audio_of(pair, spoken) == SECOND
    agree(pair)


def test_a_turn_is_moved_with_words_that_were_told_after_the_list_was_made() -> None:  # C3
    pair = steady()
    spoken = spoken_behind_others(pair)
    items = pair.client.conversation.items()
    told = events.ConversationItemInputAudioTranscriptionCompleted(
        item_id=spoken, content_index=0, transcript="Hello."
    )
    pair.server._wire.send_text(events.encode(told))
    pair.client.receive_data(pair.server.data_to_send(), pair.now)
    to_the_beginning(pair, items)
    pair.run()
    assert server_items(pair) == [("user", "Hello."), ("user", "Before."), ("user", "Before.")]
    agree(pair)


def test_a_turn_that_the_server_ended_is_no_longer_than_it_says_whatever_was_committed() -> None:
    # N3, T1: our own commit is on its way while the server makes one of a part of that audio.
    pair = steady()
    pair.client.push_audio(SECOND)
    pair.client.commit_audio()
    turn = events.Message(role="user", content=[events.InputAudio()], id="turn")
    for event in (
        events.InputAudioBufferSpeechStopped(item_id="turn", audio_end_ms=400),
        events.InputAudioBufferCommitted(item_id="turn", previous_item_id=None),
        events.ConversationItemAdded(item=turn, previous_item_id=None),
    ):
        pair.server._wire.send_text(events.encode(event))
    pair.client.receive_data(pair.server.data_to_send(), pair.now)
    pair.cut()
    pair.reconnect()
    assert audio_of(pair, "turn") == SECOND[: len(SECOND) * 400 // 1000]


def test_what_is_said_after_a_commit_that_is_answered_too_late_is_no_part_of_its_turn() -> (
    None
):  # N3
    pair = steady()
    pair.client.push_audio(SECOND)
    commit = pair.client.commit_audio()
    assert commit is not None
    pair.now += 10.0
    pair.client.handle_timer(pair.now)
    assert commit.outcome is Outcome.DEADLINE
    pair.client.push_audio(SECOND)
    told = events.InputAudioBufferCommitted(item_id="turn", previous_item_id=None)
    turn = events.Message(role="user", content=[events.InputAudio()], id="turn")
    for event in (told, events.ConversationItemAdded(item=turn, previous_item_id=None)):
        pair.server._wire.send_text(events.encode(event))
    pair.client.receive_data(pair.server.data_to_send(), pair.now)
    pair.cut()
    pair.reconnect()
    assert audio_of(pair, "turn") == SECOND


def test_a_spoken_turn_that_was_given_words_keeps_these() -> None:  # C3, R3
    pair = steady()
    spoken = spoken_turn(pair)
    part = events.InputText(text="In other words.")
    pair.client.update_conversation([events.Message(role="user", content=[part], id=spoken)])
    pair.client.data_to_send()  # lost on its way
    pair.cut()
    pair.reconnect()
    assert [entry.text for entry in pair.client.conversation] == ["In other words."]
    agree(pair)
