"""Events that a server session is handed without any text: as those that it reads."""

from __future__ import annotations

import msgspec
import pytest

from sansio_rt import events
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import ReplyWanted


def session() -> ServerSession:
    made = ServerSession()
    made.connect(0.0)
    made.messages_to_send()
    return made


@pytest.mark.parametrize(
    "event",
    [
        events.SessionUpdate(session=events.RealtimeSession(instructions="Be kind.")),
        events.ConversationItemDelete(item_id="nowhere", event_id="event_1"),
        events.ResponseCreate(event_id="event_2"),
    ],
)
def test_an_event_that_is_handed_is_answered_as_one_that_is_read(
    event: events.ClientEvent,
) -> None:
    reads, is_handed = session(), session()
    reads.receive_message(events.encode(event), 1.0)
    is_handed.receive_event(event, 1.0)
    answers = is_handed.messages_to_send()
    assert answers == reads.messages_to_send()
    assert answers


def test_what_is_due_is_sent_also_when_an_event_is_handed() -> None:
    made = ServerSession(pace=10.0)
    made.connect(0.0)
    made.receive_event(events.ResponseCreate(), 0.0)
    wanted = made.next_event()
    assert isinstance(wanted, ReplyWanted)
    made.add_message(wanted.response_id, "Fine.", 0.0, pcm=b"\1\0" * 24 * 1000)
    made.messages_to_send()
    made.receive_event(events.OutputAudioBufferClear(), 0.0501)
    told = [msgspec.json.decode(each)["type"] for each in made.messages_to_send()]
    assert told.count("response.output_audio.delta") == 5


def test_what_cannot_be_written_is_refused_by_the_events_id() -> None:
    tool = events.FunctionTool(name="look", parameters={"most": float("nan")})
    update = events.SessionUpdate(session=events.RealtimeSession(tools=[tool]), event_id="event_1")
    made = session()
    made.receive_event(update, 1.0)
    (answer,) = map(msgspec.json.decode, made.messages_to_send())
    assert answer["error"]["message"] == "The event cannot be represented."
    assert answer["error"]["event_id"] == "event_1"


def test_a_closed_session_takes_no_event() -> None:
    made = session()
    made.close()
    made.receive_event(events.ResponseCreate(), 1.0)
    assert made.messages_to_send() == []
