"""A session that is played to sinks which keep what they were given: what several test files share."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from sansio_rt import AudioFrame, RawClientEvent, ServerProtocol, SessionConfig, events
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import ServerLimits
from trio_rt import Session, open_session
from trio_rt._sinks import ClockSink
from trio_rt.emulator import EnergyDetector
from trio_rt.testing import MemoryServer, memory_server

MANUAL = SessionConfig(turn_detection=None)
BUZZ = (b"\x00\x20" * 24 + b"\x00\xe0" * 24) * 500  # one second of 500 Hz: speech to the detector
LONG = "many words that take their time " * 5
RATE = 24_000
FRAME_S = 0.02


class Recorder:
    """A sink in real time that keeps what it was given, and when."""

    def __init__(self) -> None:
        self.frames: list[AudioFrame] = []
        self.begun: list[float] = []
        self._clock = ClockSink()

    async def __call__(self, frame: AudioFrame, /) -> None:
        self.begun.append(trio.current_time())
        await self._clock(frame)
        self.frames.append(frame)

    @property
    def data(self) -> bytes:
        return b"".join(frame.data for frame in self.frames)

    @property
    def played_ms(self) -> float:
        return len(self.data) / 2 * 1000 / RATE


class Card(Recorder):
    """A buffered sink: it takes up to so much at once and plays it in real time."""

    def __init__(self, buffer_s: float = 0.1, latency_s: float = 0.0) -> None:
        super().__init__()
        self.latency_s = latency_s
        self.dropped = 0
        self._buffer_s = buffer_s
        self._ends = -math.inf

    async def __call__(self, frame: AudioFrame, /) -> None:
        self.begun.append(trio.current_time())
        end = max(self._ends, trio.current_time()) + frame.duration_ms / 1000
        await trio.sleep_until(max(trio.current_time(), end - self._buffer_s))
        self._ends = end
        self.frames.append(frame)

    async def drain(self) -> None:
        await trio.sleep_until(max(trio.current_time(), self._ends))

    async def discard(self) -> int:
        await trio.lowlevel.checkpoint()
        left_s = max(0.0, self._ends - trio.current_time())
        self.dropped = math.ceil(left_s * RATE - 1e-6)
        return self.dropped


class Talk:
    """A session, its server, and what the client sent."""

    def __init__(self, session: Session, memory: MemoryServer, sent: Any) -> None:
        self.session = session
        self.memory = memory
        self._sent = sent

    def cuts(self) -> list[tuple[str, int]]:
        """The truncations (item, milliseconds) and deletions (item, 0) since the last call."""
        found: list[tuple[str, int]] = []
        while len(self._sent):
            event = self._sent.receive_nowait().event
            if isinstance(event, events.ConversationItemTruncate):
                found.append((event.item_id, event.audio_end_ms))
            elif isinstance(event, events.ConversationItemDelete):
                found.append((event.item_id, 0))
        return sorted(found)

    def kinds(self) -> list[str]:
        kinds = []
        while len(self._sent):
            event = self._sent.receive_nowait().event
            if not isinstance(event, events.InputAudioBufferAppend):
                kinds.append(type(event).__name__)
        return kinds

    def at_server(self, item_id: str) -> float | None:
        """Length of the item's audio at the server in milliseconds; None where it has no such item."""
        record = self.memory.protocols[0].session._conversation.get(item_id)
        return None if record is None or record.sound is None else record.sound.duration_ms


@asynccontextmanager
async def talk(
    *replies: Any,
    pace: float | None = None,
    delta_ms: int = 100,
    config: SessionConfig = MANUAL,
    **options: Any,
) -> AsyncGenerator[Talk]:
    def protocol() -> ServerProtocol:
        limits = ServerLimits(delta_ms=delta_ms)
        return ServerProtocol(ServerSession(detector=EnergyDetector(), pace=pace, limits=limits))

    with trio.fail_after(120):
        async with (
            memory_server(*replies, transcripts=["hello"], make_protocol=protocol) as memory,
            open_session(memory.endpoint, config, dialer=memory, **options) as session,
            session.subscribe(RawClientEvent) as sent,
        ):
            yield Talk(session, memory, sent)


def beside_the_conversation() -> events.ResponseParams:
    return events.ResponseParams(conversation="none")
