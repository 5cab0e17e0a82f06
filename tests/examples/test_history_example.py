"""The example of docs/history.md runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio
import trio.testing

from trio_rt import open_session
from trio_rt.testing import memory_server

PAGE = Path(__file__).parents[2] / "docs" / "history.md"


async def test_a_long_history_is_summed_up(autojump_clock: trio.testing.MockClock) -> None:
    names: dict[str, Any] = {}
    exec(PAGE.read_text("utf-8").split("<!-- example -->\n```python\n")[1].split("```")[0], names)
    with trio.fail_after(30):
        async with (
            memory_server() as server,
            open_session(server.endpoint, dialer=server) as session,
        ):
            for words in ("one", "two", "three"):
                await session.send_message(words)
            await names["sum_up"](session, "They counted.")
            kept = [entry.text for entry in session.conversation]
            roles = [entry.role for entry in session.conversation]
    assert kept == ["They counted.", "two", "three"]
    assert roles == ["system", "user", "user"]
