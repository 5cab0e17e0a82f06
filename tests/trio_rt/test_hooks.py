"""Hooks, the session's own metrics, and what the logs show, against a server in memory."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sansio_rt import (
    CommandRefused,
    ConfigurationError,
    ConnectionClosed,
    Endpoint,
    ErrorScope,
    GenerationStatus,
    RawServerEvent,
    ServerProtocol,
    ServerVad,
    SessionConfig,
    Transcription,
    events,
)
from sansio_rt._metrics import (
    ConnectionMetrics,
    GenerationMetrics,
    TranscriptionMetrics,
    TurnMetrics,
)
from sansio_rt._server_session import ServerSession
from trio_rt import Session, open_session
from trio_rt._hooks import ErrorReport, LoggingHook, SessionHook
from trio_rt.emulator import EnergyDetector
from trio_rt.testing import MemoryServer, memory_server

MANUAL = SessionConfig(turn_detection=None)
SPEAKING = SessionConfig(
    turn_detection=ServerVad(silence_duration_ms=500),
    transcription=Transcription(model="gpt-4o-mini-transcribe"),
)
BUZZ_20_MS = (b"\x00\x20" * 24 + b"\x00\xe0" * 24) * 10
KEY = "sk-proj-7Hx9QmZ2Lr4TnV8b"


class Recorder(SessionHook):
    """Keeps everything that it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_connection(self, connection: ConnectionMetrics) -> None:
        self.told.append(connection)

    def on_generation(self, generation: GenerationMetrics) -> None:
        self.told.append(generation)

    def on_transcription(self, transcription: TranscriptionMetrics) -> None:
        self.told.append(transcription)

    def on_turn(self, turn: TurnMetrics) -> None:
        self.told.append(turn)

    def on_error(self, report: ErrorReport) -> None:
        self.told.append(report)

    def of(self, kind: type) -> list[Any]:
        return [detail for detail in self.told if type(detail) is kind]


@asynccontextmanager
async def session_with(
    *replies: Any, server: dict[str, Any] | None = None, **options: Any
) -> AsyncGenerator[tuple[Session, MemoryServer]]:
    options.setdefault("config", MANUAL)
    with trio.fail_after(120):
        async with memory_server(*replies, **(server or {})) as memory:
            options.setdefault("endpoint", memory.endpoint)
            options.setdefault("dialer", memory)
            async with open_session(**options) as session:
                yield session, memory


def hearing() -> ServerProtocol:
    return ServerProtocol(ServerSession(detector=EnergyDetector()))


async def say(session: Session, milliseconds: int, sound: bytes = BUZZ_20_MS) -> None:
    """Pushes sound in pieces of 20 ms at real time."""
    for _ in range(milliseconds // 20):
        await trio.sleep(0.02)
        await session.push_audio(sound)


# --- what is told -------------------------------------------------------------------------------


async def test_a_spoken_turn_is_told_and_kept(autojump_clock: MockClock) -> None:  # M1, M5
    recorder = Recorder()
    server = {"transcripts": ["hello there"], "make_protocol": hearing}
    async with session_with("Hi!", server=server, config=SPEAKING, hooks=[recorder]) as (
        session,
        _,
    ):
        await say(session, 800)
        silent_from = trio.current_time()
        await say(session, 1000, bytes(960))
        outcome = await (await session.generations.receive()).wait()
        metrics = session.metrics
    assert {type(detail) for detail in recorder.told} == {
        ConnectionMetrics,
        TranscriptionMetrics,
        GenerationMetrics,
        TurnMetrics,
    }
    assert recorder.of(GenerationMetrics) == [outcome.metrics] == list(metrics.generations)
    assert recorder.of(TranscriptionMetrics) == list(metrics.transcriptions)
    assert recorder.of(ConnectionMetrics) == [metrics.connection]
    (turn,) = recorder.of(TurnMetrics)
    assert metrics.turns == (turn,)
    assert turn.status is GenerationStatus.COMPLETED
    assert turn.response_ids == (outcome.metrics.response_id,)
    assert turn.last_word_at == pytest.approx(silent_from, abs=0.06)
    assert turn.speech_stopped_at >= turn.last_word_at + 0.5
    assert turn.last_word_to_audio_s == pytest.approx(turn.first_audio_at - turn.last_word_at)


async def test_the_first_played_sample_is_told_by_who_plays(
    autojump_clock: MockClock,
) -> None:  # M5
    recorder = Recorder()
    server = {"transcripts": ["hello", "again"], "make_protocol": hearing}
    async with session_with(
        "Hi!", "Hi again!", server=server, config=SPEAKING, hooks=[recorder]
    ) as (
        session,
        _,
    ):
        session._meter.expect_playback()
        for number in range(2):
            await say(session, 800)
            await say(session, 1000, bytes(960))
            generation = await session.generations.receive()
            await generation.wait()
            assert len(recorder.of(TurnMetrics)) == number  # done, and not heard yet
            await trio.sleep(0.25)
            played_at = trio.current_time()
            if number == 0:
                session.note_played(generation.id)
            else:
                session.note_played(generation.id, played_at)
            session.note_played(generation.id, played_at + 1)
            turn = recorder.of(TurnMetrics)[number]
            assert turn.first_played_at == played_at
            assert turn.last_word_to_played_s == pytest.approx(played_at - turn.last_word_at)
            assert turn.last_word_to_played_s > turn.last_word_to_audio_s


class SlowDialer:
    """Takes a while for each step of coming up."""

    def __init__(self, memory: MemoryServer) -> None:
        self.memory = memory

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
        await trio.sleep(0.25)
        return SlowStream(await self.memory.dial(endpoint))


class SlowStream(trio.abc.Stream):
    """Every read takes a tenth of a second."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self.inner = inner

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self.inner.receive_some(max_bytes)
        await trio.sleep(0.1)
        return data

    async def aclose(self) -> None:
        await self.inner.aclose()


async def test_how_long_each_step_of_connecting_took(autojump_clock: MockClock) -> None:  # M1, M5
    recorder = Recorder()
    with trio.fail_after(60):
        async with memory_server() as memory:
            began = trio.current_time()
            async with open_session(
                memory.endpoint, MANUAL, dialer=SlowDialer(memory), hooks=[recorder]
            ) as session:
                connection = session.metrics.connection
                assert connection is not None
                assert session.metrics.connect_s == connection.configured_s
    assert recorder.told == [connection]
    assert connection.started_at == pytest.approx(began)
    assert connection.dialled_s == pytest.approx(0.25)
    assert connection.handshake_s == pytest.approx(0.35)
    assert connection.configured_s is not None
    assert connection.configured_s >= 0.45 - 1e-9


async def test_a_reply_that_nobody_waited_for_has_cost_tokens(
    autojump_clock: MockClock,
) -> None:  # M6
    recorder = Recorder()
    async with session_with("One two three.", hooks=[recorder]) as (session, _):
        with trio.move_on_after(0):
            await session.generate_reply()
        protocol = session._protocol
        command = protocol.generate_reply()
        session._settle()
        protocol.abandon(command)
        await session.interrupt()  # returns when that one is done
        (metrics,) = recorder.of(GenerationMetrics)
        assert session.metrics.generations == (metrics,)
        assert metrics.status is GenerationStatus.CANCELLED
        assert metrics.total_tokens is not None
        assert not recorder.of(TurnMetrics)


async def test_a_cancelled_reply_is_told_with_its_usage(autojump_clock: MockClock) -> None:  # M6
    recorder = Recorder()
    async with session_with("One two three four five. " * 20, hooks=[recorder]) as (session, _):
        generation = await session.generate_reply()
        await trio.sleep(0.2)
        await generation.interrupt()
        (metrics,) = recorder.of(GenerationMetrics)
        assert metrics.cancelled
        assert metrics.status is GenerationStatus.CANCELLED
        assert metrics.total_tokens is not None
        assert [turn.status for turn in recorder.of(TurnMetrics)] == [GenerationStatus.CANCELLED]


async def test_records_are_bounded(autojump_clock: MockClock) -> None:  # M1
    async with session_with(*["Hi."] * 260) as (session, _):
        ids = []
        for _ in range(260):
            generation = await session.generate_reply(modalities=["text"])
            await generation.wait()
            ids.append(generation.id)
        assert [record.response_id for record in session.metrics.generations] == ids[-256:]
        assert [turn.response_ids[0] for turn in session.metrics.turns] == ids[-256:]


# --- errors -------------------------------------------------------------------------------------


async def test_a_refused_command_is_told(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with session_with(hooks=[recorder]) as (session, _):
        with pytest.raises(CommandRefused) as caught:
            await session.update(voice="nobody's voice")
        (report,) = recorder.of(ErrorReport)
        assert report.scope is ErrorScope.COMMAND
        assert report.code == caught.value.code
        assert report.error is caught.value


async def test_an_error_that_is_nobodys_is_told_without_keys(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:  # M3
    recorder = Recorder()
    async with session_with(hooks=[recorder]) as (_, memory):
        error = events.ErrorDetails(type="server_error", message=f"overloaded, key {KEY}")
        memory.protocols[0]._wire.send_text(events.encode(events.Error(event_id="e", error=error)))
        await memory.streams[0].send_all(memory.protocols[0].data_to_send())
        await trio.testing.wait_all_tasks_blocked()
    (report,) = recorder.of(ErrorReport)
    assert report.error is None
    assert report.message == "overloaded, key ***"
    assert "overloaded" in caplog.text
    assert KEY not in caplog.text


async def test_a_session_that_fails_is_told(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    with pytest.raises(ConnectionClosed):
        async with session_with("Hello.", hooks=[recorder], retry=None) as (session, memory):
            await session.generate_reply()
            await memory.streams[0].aclose()
            await trio.sleep_forever()
    report = recorder.of(ErrorReport)[-1]
    assert report.scope is ErrorScope.SESSION
    assert isinstance(report.error, ConnectionClosed)
    assert [turn.status for turn in recorder.of(TurnMetrics)] == [GenerationStatus.LOST]


async def test_leaving_is_no_error(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with session_with("Hello.", hooks=[recorder]) as (session, _):
        await session.generate_reply()
    assert recorder.of(ErrorReport) == []
    assert len(recorder.of(TurnMetrics)) == 1


# --- hooks of all kinds -------------------------------------------------------------------------


async def test_a_hook_that_raises_is_logged_once_and_dropped(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Recorder):
        def on_generation(self, generation: GenerationMetrics) -> None:
            super().on_generation(generation)
            raise ZeroDivisionError("what a hook does")

    broken, recorder = Broken(), Recorder()
    async with session_with("One.", "Two.", hooks=[broken, recorder]) as (session, _):
        for _ in range(2):
            await (await session.generate_reply(modalities=["text"])).wait()
    assert len(broken.of(GenerationMetrics)) == 1
    assert broken.of(TurnMetrics) == []
    assert len(recorder.of(GenerationMetrics)) == len(recorder.of(TurnMetrics)) == 2
    complaints = [record for record in caplog.records if "Broken" in record.getMessage()]
    assert len(complaints) == 1
    assert complaints[0].exc_info is not None


async def test_a_hook_needs_only_the_methods_that_it_wants(autojump_clock: MockClock) -> None:
    turns: list[TurnMetrics] = []

    class Derived(SessionHook):
        def on_turn(self, turn: TurnMetrics) -> None:
            turns.append(turn)

    class Other:
        def on_turn(self, turn: TurnMetrics) -> None:
            turns.append(turn)

    async with session_with("One.", hooks=[Derived(), Other()]) as (session, _):
        await (await session.generate_reply()).wait()
    assert len(turns) == 2


class Waiting(SessionHook):
    async def on_turn(self, turn: TurnMetrics) -> None:  # type: ignore[override]  # what is refused
        await trio.sleep(1)


@pytest.mark.parametrize(
    ("hook", "words"),
    [(object(), "has none of"), (Recorder, "an instance"), (Waiting(), "on_turn is async")],
)
async def test_what_cannot_be_a_hook_is_refused_before_dialling(hook: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"hooks\[1\].*{words}"):
        async with open_session(
            Endpoint.url("ws://127.0.0.1:1/v1"), MANUAL, hooks=[Recorder(), hook]
        ):
            raise AssertionError("it was opened")


async def test_without_hooks_nothing_is_reported(autojump_clock: MockClock) -> None:
    async with session_with("Hello.") as (session, _):
        assert session._meter._hooks._calls == {}
        assert not session._protocol.raw_events
        await (await session.generate_reply()).wait()
        assert len(session.metrics.turns) == 1


# --- logs ---------------------------------------------------------------------------------------


async def test_the_logging_hook_writes_a_line_for_each_record(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:  # M3
    caplog.set_level(logging.DEBUG, "trio_rt.metrics")
    server = {"transcripts": ["my secret words"], "make_protocol": hearing}
    async with session_with("Hi!", server=server, config=SPEAKING, hooks=[LoggingHook()]) as (
        session,
        _,
    ):
        await say(session, 800)
        await say(session, 1000, bytes(960))
        generation = await session.generations.receive()
        await generation.wait()
        with pytest.raises(CommandRefused):
            await session.update(voice="nobody's voice")
    records = [record for record in caplog.records if record.name == "trio_rt.metrics"]
    lines = [record.getMessage() for record in records]
    assert {line.split(" ", 1)[0] for line in lines} == {
        "connection",
        "transcription",
        "generation",
        "turn",
        "command",
    }
    (turn,) = [line for line in lines if line.startswith("turn ")]
    assert f"response_ids={generation.id}" in turn
    assert "status=completed" in turn
    assert "last_word_to_audio_s=" in turn
    assert "_at=" not in turn
    assert not any("secret words" in line or "None" in line for line in lines)
    assert {record.levelname for record in records} == {"INFO", "WARNING"}


def test_the_logging_hook_takes_a_logger_and_a_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mine")
    hook = LoggingHook(logging.getLogger("mine"), logging.DEBUG)
    hook.on_connection(ConnectionMetrics(started_at=1.0, configured_s=0.25))
    for scope, level in ((ErrorScope.BENIGN, "DEBUG"), (ErrorScope.SESSION, "WARNING")):
        hook.on_error(ErrorReport(scope=scope, code=None, message="gone"))
        assert caplog.records[-1].levelname == level
    assert caplog.messages[0] == "connection configured_s=0.250"
    assert caplog.messages[-1] == "session failed: gone"


async def test_raw_events_are_logged_where_the_level_says_so(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:  # M2, M3
    caplog.set_level(logging.DEBUG, "trio_rt.events")
    async with session_with("Hello.") as (session, _):
        async with session.subscribe(RawServerEvent):
            pass
        await session.push_audio(bytes(4800))
        await (await session.generate_reply()).wait()
    lines = [record.getMessage() for record in caplog.records if record.name == "trio_rt.events"]
    assert any(line.startswith("queued session.update {") for line in lines)
    assert 'queued input_audio_buffer.append {"audio":"<4800 bytes>"}' in lines
    assert any(line.startswith("received response.output_audio.delta {") for line in lines)
    assert any(line.startswith("received response.done {") for line in lines)
    assert max(map(len, lines)) < 4100


async def test_no_key_is_in_any_log_or_repr(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:  # M3
    caplog.set_level(logging.DEBUG)
    mcp = events.McpTool(
        server_label="files",
        server_url="https://host.invalid/mcp",
        authorization="hunter2",
        headers={"X-Key": "hunter2"},
    )
    endpoint = Endpoint.url("ws://localhost/v1", api_key=KEY, model="memory")
    recorder = Recorder()
    async with session_with(
        "Hello.",
        endpoint=endpoint,
        config=MANUAL.merge({"tools": [mcp]}),
        hooks=[recorder, LoggingHook()],
    ) as (session, _):
        await (await session.generate_reply()).wait()
        with pytest.raises(CommandRefused):
            await session.update(voice=KEY)
        told = [report.message for report in recorder.of(ErrorReport)]
        shown = [repr(session), repr(session.metrics), repr(endpoint), *told]
    assert "session.update" in caplog.text
    for text in (caplog.text, *shown):
        assert "hunter2" not in text
        assert KEY not in text
