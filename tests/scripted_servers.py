"""Servers that follow a script: what becomes of each connection, for tests of when to connect again."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

from sansio_rt import Endpoint
from sansio_rt._wire import HandshakeRequest, TextMessage, Wire
from trio_rt import TransportError

UPDATED = b'{"type":"session.updated","session":{"type":"realtime"}}'


class Servers:
    """A dialer whose peers follow a script, one word list for each connection, the last one for ever.

    - `refused`: nobody listens.
    - `401`, `429 7`: the handshake is rejected with this status and this `Retry-After`.
    - `hang`: the handshake is never answered.
    - `cut`: the stream ends in the handshake.
    - `accept close 1000`: the WebSocket is accepted and closed with this code.
    - `accept error CODE close 1000`: as that, with an error event before.
    - `close 1000`, `error CODE close 1000`: as those, after the configuration was accepted.
    - `stay`: all is well.

    Attributes:
        dialled: When it was dialled.
    """

    def __init__(self, *scripts: str) -> None:
        self.dialled: list[float] = []
        self._scripts = list(scripts)

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.dialled.append(trio.current_time())
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        if script == "refused":
            raise TransportError("nobody listens")
        ours, theirs = trio.testing.memory_stream_pair()
        trio.lowlevel.spawn_system_task(_serve, theirs, script.split())
        return ours


async def _serve(stream: trio.StapledStream[Any, Any], script: list[str]) -> None:
    wire = Wire.server()
    answered = False
    try:
        while data := await stream.receive_some():
            wire.receive_data(bytes(data))
            while (event := wire.next_event()) is not None:
                if isinstance(event, HandshakeRequest):
                    if script[0] == "hang":
                        await trio.sleep_forever()
                    if script[0] == "cut":
                        await stream.aclose()
                        return
                    _answer_handshake(wire, script)
                elif isinstance(event, TextMessage) and not answered:
                    answered = True
                    wire.send_text(UPDATED)
                    _say(wire, script)
            await stream.send_all(wire.data_to_send())
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


def _answer_handshake(wire: Wire, script: list[str]) -> None:
    if script[0].isdigit():
        headers = [("Retry-After", script[1])] if len(script) > 1 else []
        wire.reject(int(script[0]), headers)
        return
    wire.accept()
    if script[0] == "accept":
        _say(wire, script[1:])


def _say(wire: Wire, script: list[str]) -> None:
    if script[0] == "error":
        wire.send_text(b'{"type":"error","error":{"code":"%s"}}' % script[1].encode())
        script = script[2:]
    if script[:1] == ["close"]:
        wire.close(int(script[1]))
