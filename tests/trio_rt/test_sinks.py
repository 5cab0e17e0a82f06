"""The sinks that there are: a clock, a WAV file, a sound card."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import trio
from playing import LONG, RATE, talk
from trio.testing import MockClock

from sansio_rt import AudioFormat, AudioFrame, ConfigurationError, MissingExtra, events
from trio_rt._playback import Playback, PlaybackEnd
from trio_rt._sinks import BufferedSink, ClockSink, SoundCardError, SoundCardSink, WavSink
from trio_rt._wav import WavError, read_wav


def frame_of(samples: int, rate: int = RATE, start: int = 0) -> AudioFrame:
    data = np.arange(start, start + samples).astype("<i2").tobytes()
    return AudioFrame(data, rate, AudioFormat.PCM16, start)


async def test_a_clock_sink_keeps_time_and_hands_on(autojump_clock: MockClock) -> None:
    inner = []

    async def keep(frame: AudioFrame) -> None:
        inner.append(trio.current_time())

    sink = ClockSink(keep)
    for index in range(3):
        await sink(frame_of(480, start=index * 480))
    assert trio.current_time() == pytest.approx(0.06)
    assert inner == pytest.approx([0, 0.02, 0.04])
    with trio.move_on_after(0.005):
        await sink(frame_of(480))
    await sink(frame_of(480))  # what was cancelled took no time, and coming late costs none
    assert trio.current_time() == pytest.approx(0.08)
    await trio.sleep(1)
    await sink(frame_of(480))
    assert trio.current_time() == pytest.approx(1.1)


async def test_a_wav_sink_writes_a_whole_file_or_none(tmp_path: Any) -> None:
    path = tmp_path / "heard.wav"
    async with WavSink(path) as sink:
        for index in range(200):
            await sink(frame_of(480, start=index * 480))
        assert not path.exists()
    samples = read_wav(path).samples[:, 0]
    assert np.array_equal(samples, np.arange(96_000).astype("<i2"))
    with pytest.raises(ConfigurationError, match="make it with rate=8000"):
        async with WavSink(path) as sink:
            await sink(AudioFrame(b"\xff" * 80, 8000, AudioFormat.PCMU, 0))
    assert len(read_wav(path).samples) == 96_000
    with trio.CancelScope() as scope:
        async with WavSink(tmp_path / "other.wav"):
            scope.cancel()
    assert [found.name for found in tmp_path.iterdir()] == ["heard.wav"]
    with pytest.raises(WavError):
        WavSink(tmp_path / "no" / "folder.wav")


async def test_a_wav_of_what_was_really_heard(tmp_path: Any, autojump_clock: MockClock) -> None:
    path = tmp_path / "heard.wav"
    # The file is written in a thread, which a clock that jumps does not wait for: outside, at the end.
    async with WavSink(path) as wav, talk(LONG) as t:
        async with Playback(t.session, ClockSink(wav)) as playback:
            await t.session.send(events.ResponseCreate())
            await trio.sleep(1)
        (outcome,) = [o async for o in playback.outcomes]
    assert len(read_wav(path).samples) * 1000 / RATE == outcome.heard_ms == pytest.approx(1000)


class PortAudioError(Exception):
    pass


class FakeStream:
    """As `sounddevice.RawOutputStream`, with a buffer that plays when it is told to."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.latency = 0.05
        self.capacity = 2_400
        self.held = 1_200  # silence, to begin with
        self.calls: list[str] = []
        self.written = b""
        self.broken = False

    @property
    def write_available(self) -> int:
        return self.capacity - self.held

    def start(self) -> None:
        self.calls.append("start")

    def abort(self) -> None:
        self.calls.append("abort")
        self.held = 0

    def close(self) -> None:
        self.calls.append("close")

    def write(self, data: bytes) -> bool:
        if self.broken:
            raise PortAudioError("Unanticipated host error [-9999]")
        self.written += data
        self.held = min(self.capacity, self.held + len(data) // 2)
        return False


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[FakeStream]:
    made: list[FakeStream] = []

    class Package:
        @staticmethod
        def RawOutputStream(**settings: Any) -> FakeStream:  # noqa: N802
            if settings["device"] == "nowhere":
                raise ValueError("No output device matching 'nowhere'")
            made.append(FakeStream(**settings))
            return made[-1]

    Package.PortAudioError = PortAudioError  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "sounddevice", Package)
    return made


async def test_a_sound_card_says_what_it_has_not_played(streams: list[FakeStream]) -> None:
    async with SoundCardSink(device=3) as sink:
        assert isinstance(sink, BufferedSink)
        (stream,) = streams
        assert stream.settings == {
            "samplerate": RATE,
            "device": 3,
            "channels": 1,
            "dtype": "int16",
            "latency": "low",
        }
        assert sink.latency_s == 0.05
        stream.held = 0
        for index in range(4):
            await sink(frame_of(480, start=index * 480))
        assert np.array_equal(np.frombuffer(stream.written, "<i2"), np.arange(1920))
        stream.held = 1_500
        assert await sink.discard() == 1_500
        assert await sink.discard() == 0
        stream.held = 2_400  # an idle card's silence is none of ours
        await sink(frame_of(480))
        assert await sink.discard() == 480
        with pytest.raises(ConfigurationError, match="rate=8000"):
            await sink(AudioFrame(b"\xff" * 80, 8000, AudioFormat.PCMU, 0))
        stream.broken = True
        with pytest.raises(SoundCardError, match=r"3 cannot be used: Unanticipated"):
            await sink(frame_of(480))
    assert stream.calls[0] == "start"
    assert stream.calls[-1] == "close"
    with pytest.raises(ConfigurationError, match="open it first"):
        await sink(frame_of(480))


async def test_a_sound_card_is_drained_for_as_long_as_it_plays(
    streams: list[FakeStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(trio, "sleep", sleep)
    async with SoundCardSink() as sink:
        streams[0].held = 0
        await sink(frame_of(1_200))
        await sink.drain()
        streams[0].held = 0
        await sink.drain()
    assert slept == [0.05, 0]


async def test_playing_on_a_sound_card(streams: list[FakeStream]) -> None:
    async with talk("One two.") as t, SoundCardSink() as sink:
        async with Playback(t.session, sink) as playback:
            outcome = await playback.play(await t.session.generate_reply())
    assert outcome.end is PlaybackEnd.FINISHED
    assert len(streams[0].written) / 2 == outcome.heard_ms * 24


async def test_sound_cards_that_are_not_there(
    streams: list[FakeStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SoundCardError, match="'nowhere' cannot be used: No output device"):
        async with SoundCardSink("nowhere"):
            pass
    monkeypatch.setitem(__import__("sys").modules, "sounddevice", None)
    with pytest.raises(MissingExtra, match=r"trio-rt\[sound\]"):
        async with SoundCardSink():
            pass
