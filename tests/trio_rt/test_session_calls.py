"""Single calls of a session, each against a server in memory."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from sansio_rt import LocalProtocolError, SessionConfig, events
from trio_rt import open_session
from trio_rt.testing import memory_server

MANUAL = SessionConfig(turn_detection=None)


async def test_an_item_is_retrieved_as_the_server_has_it(autojump_clock: MockClock) -> None:
    async with memory_server("Hello.") as server:
        async with open_session(server.endpoint, dialer=server, config=MANUAL) as session:
            sent = await session.send_message("Hi", item_id="mine")
            item = await session.retrieve_item("mine")
            assert isinstance(item, events.Message)
            assert item.content == [events.InputText(text="Hi")]
            assert item.id == sent.id
            with pytest.raises(LocalProtocolError, match="no such item"):
                await session.retrieve_item("nobody")


async def test_an_item_is_deleted_on_both_sides(autojump_clock: MockClock) -> None:
    async with memory_server("Hello.") as server:
        async with open_session(server.endpoint, dialer=server, config=MANUAL) as session:
            for item_id in ("one", "two"):
                await session.send_message("Hi", item_id=item_id)
            await session.delete_item("one")
            assert session.conversation.ids() == ["two"]
            assert [item.id for item in server.protocols[0].session.items] == ["two"]
            with pytest.raises(LocalProtocolError, match="no such item"):
                await session.delete_item("one")


async def test_rate_limits_are_those_that_the_server_told_last(autojump_clock: MockClock) -> None:
    async with memory_server("Hello.") as server:
        async with open_session(server.endpoint, dialer=server, config=MANUAL) as session:
            assert session.rate_limits == []
            await session.send_message("Hi")
            await (await session.generate_reply()).wait()
            [limit] = session.rate_limits
            assert limit.name == "tokens"
            assert 0 < limit.remaining < limit.limit


async def test_an_answer_is_cut_at_what_was_heard(autojump_clock: MockClock) -> None:  # G14
    async with memory_server("One two three four five six seven eight.") as server:
        async with open_session(server.endpoint, dialer=server, config=MANUAL) as session:
            await session.send_message("Count")
            outcome = await (await session.generate_reply()).wait()
            assert outcome.error is None
            entry = list(session.conversation)[-1]
            await session.truncate(entry.id, audio_end_ms=round(entry.received_ms / 2))
            assert 0 < len(entry.heard_text) < len(entry.text)
            await session.truncate(entry.id, audio_end_ms=0)  # nothing of it: it is gone
            assert entry.id not in session.conversation.ids()
            assert entry.id not in [item.id for item in server.protocols[0].session.items]
