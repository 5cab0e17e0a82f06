"""Audio in and out: conversion, resampling, framing, G.711, frames with a position (A1 to A4)."""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from sansio_rt._audio import (
    AudioChunker,
    AudioEncoder,
    AudioFormat,
    AudioFrame,
    alaw_to_pcm16,
    pcm16_to_alaw,
    pcm16_to_ulaw,
    to_pcm16,
    ulaw_to_pcm16,
)
from sansio_rt._errors import LocalProtocolError
from sansio_rt._resampler import Resampler

EVERY_SAMPLE = np.arange(-32768, 32768, dtype=np.int32).astype(np.int16)
EVERY_BYTE = bytes(range(256))


def tone(rate: int, hertz: float, seconds: float, level: float = 0.5) -> np.ndarray[Any, Any]:
    time_s = np.arange(int(rate * seconds)) / rate
    return (np.sin(2 * np.pi * hertz * time_s) * level * 32767).astype(np.int16)


# Conversion to int16 mono.


@given(npst.arrays(np.int16, st.integers(0, 50)))
def test_pcm16_bytes_are_the_samples_they_hold(samples: np.ndarray[Any, Any]) -> None:
    for data in (samples.astype("<i2").tobytes(), bytearray(samples.astype("<i2").tobytes())):
        assert np.array_equal(to_pcm16(data), samples)
        assert np.array_equal(to_pcm16(memoryview(data)), samples)


def test_an_int16_array_is_not_copied() -> None:
    samples = tone(24_000, 440, 0.1)
    assert to_pcm16(samples) is samples
    assert np.shares_memory(to_pcm16(samples.reshape(-1, 1)), samples)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_samples_survive_the_usual_scale(dtype: Any) -> None:
    floats = (EVERY_SAMPLE / 32768).astype(dtype)
    assert np.array_equal(to_pcm16(floats), EVERY_SAMPLE)


def test_float_samples_a_little_too_loud_are_clipped() -> None:
    assert to_pcm16(np.array([1.0, 1.5, -1.0, -2.0], np.float32)).tolist() == [
        32767,
        32767,
        -32768,
        -32768,
    ]


def test_byte_order_of_an_array_does_not_matter() -> None:
    assert np.array_equal(to_pcm16(EVERY_SAMPLE.astype(">i2")), EVERY_SAMPLE)


def test_channels_are_mixed_to_their_mean() -> None:
    left, right = tone(24_000, 440, 0.01), tone(24_000, 500, 0.01)
    expected = np.rint((left.astype(float) + right) / 2).astype(np.int16)
    stereo = np.stack([left, right], axis=1)
    assert np.array_equal(to_pcm16(stereo), expected)
    assert np.array_equal(to_pcm16(stereo, channels=2), expected)
    assert np.array_equal(to_pcm16(stereo.tobytes(), channels=2), expected)
    assert np.array_equal(to_pcm16(stereo.reshape(-1), channels=2), expected)
    assert np.array_equal(to_pcm16(stereo / 32768), expected)


def test_a_sliced_memoryview_is_read_as_it_looks() -> None:
    samples = np.arange(8, dtype="<i2")
    view = memoryview(samples)[::2]
    assert to_pcm16(view).tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("audio", "channels", "words"),
    [
        (b"\0", 1, "1 bytes"),
        (b"\0\0\0\0\0\0", 2, "multiple of channels=2"),
        (np.zeros(3, np.int16), 2, "multiple of channels=2"),
        (np.zeros((2, 3), np.int16), 2, "leave channels out"),
        (np.zeros((2, 480), np.int16), 1, "audio.T"),
        (np.zeros((2, 2, 2), np.int16), 1, "shape"),
        (np.zeros((4, 0), np.int16), 1, "shape"),
        (np.int16(3) * np.ones((), np.int16), 1, "NumPy array"),
        (np.ones((), np.int16).reshape(()), 1, "shape"),
        (np.zeros(4, np.int32), 1, "int32"),
        (np.zeros(4, np.uint8), 1, "uint8"),
        (np.zeros(4, np.float16), 1, "float16"),
        (np.zeros(4, bool), 1, "bool"),
        (np.array([0.0, np.nan]), 1, "NaN"),
        (np.array([0.0, np.inf], np.float32), 1, "NaN or infinity"),
        (np.array([0.0, -np.inf]), 1, "NaN or infinity"),
        (np.array([0.0, -2000.0], np.float32), 1, "divide by 32768"),
        ([1, 2, 3], 1, "list"),
        ("sound", 1, "str"),
        (b"", 0, "channels"),
        (b"", 65, "channels"),
        (b"", 1.0, "channels"),
        (b"", True, "channels"),
    ],
)
def test_audio_that_cannot_be_used_is_refused_and_changes_nothing(
    audio: Any, channels: Any, words: str
) -> None:
    with pytest.raises(LocalProtocolError, match=words):
        to_pcm16(audio, channels=channels)
    encoder = AudioEncoder(frame_ms=20)
    encoder.push(b"\1\0" * 100)
    encoder.push(b"\1\0" * 100, rate=16_000)
    before = (encoder.pushed_ms, encoder.pending_ms)
    with pytest.raises(LocalProtocolError, match=words):
        encoder.push(audio, rate=48_000, channels=channels)
    assert (encoder.pushed_ms, encoder.pending_ms) == before


# Resampling.


@pytest.mark.parametrize("rate", [44_100, 8_000])
def test_an_hour_has_the_exact_number_of_samples(rate: int) -> None:
    """A1: the sample clock has no drift over an hour, whatever the sizes of the pieces."""
    resampler = Resampler(rate, 24_000)
    samples = tone(rate, 300, 1.0)
    sizes = (rate, rate // 50, 1, rate // 3)
    left, made = rate * 3600, 0
    while left:
        for size in sizes:
            piece = samples[: min(size, left)]
            left -= len(piece)
            made += len(resampler.process(piece))
        assert abs(made + resampler.pending_samples - (rate * 3600 - left) * 24_000 / rate) <= 0.5
    assert made + len(resampler.flush()) == 24_000 * 3600


@given(
    st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]),
    st.sampled_from([8_000, 24_000]),
    st.lists(st.integers(0, 3000), max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_pending_and_flushed_samples_add_up(rate: int, wire_rate: int, sizes: list[int]) -> None:
    resampler = Resampler(rate, wire_rate)
    for _ in range(2):  # the second round shows that flush leaves nothing behind
        made = sum(len(resampler.process(np.full(size, 1000, np.int16))) for size in sizes)
        pending = resampler.pending_samples
        assert len(resampler.flush()) == pending
        assert abs(made + pending - sum(sizes) * wire_rate / rate) <= 0.5
        assert resampler.pending_samples == 0


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=10))
@settings(max_examples=30, deadline=None)
def test_the_same_sound_in_other_pieces_gives_the_same_samples(sizes: list[int]) -> None:
    sound = tone(44_100, 440, 1.0)[: sum(sizes)]
    whole, pieces = Resampler(44_100, 24_000), Resampler(44_100, 24_000)
    expected = np.concatenate([whole.process(sound), whole.flush()])
    made, position = [], 0
    for size in sizes:
        made.append(pieces.process(sound[position : position + size]))
        position += size
    assert np.array_equal(np.concatenate([*made, pieces.flush()]), expected)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_a_tone_stays_the_tone(rate: int) -> None:
    """A1: high quality. The error against the ideal tone is at least 60 dB below it."""
    resampler = Resampler(rate, 24_000)
    made = np.concatenate([resampler.process(tone(rate, 1000, 1.0)), resampler.flush()])
    middle = slice(2_400, -2_400)
    error = made[middle].astype(float) - tone(24_000, 1000, 1.0)[middle]
    assert np.sqrt((error**2).mean()) < 0.5 * 32767 / np.sqrt(2) / 1000


def test_what_the_wire_cannot_carry_is_filtered_out() -> None:
    resampler = Resampler(48_000, 8_000)
    made = np.concatenate([resampler.process(tone(48_000, 6_000, 1.0)), resampler.flush()])
    assert np.abs(made[800:-800]).max() < 30


def test_loud_edges_saturate_instead_of_wrapping() -> None:
    square = np.tile(np.repeat(np.array([32767, -32768], np.int16), 40), 50)
    resampler = Resampler(8_000, 24_000)
    made = np.concatenate([resampler.process(square), resampler.flush()]).astype(int)
    assert made.max() == 32767
    assert made.min() == -32768
    # Where the square is high, nothing is low.
    assert (made.reshape(-1, 240)[1:-1, 20:100] > 20_000).all()


def test_equal_rates_pass_the_same_array_through() -> None:
    samples = tone(24_000, 440, 0.1)
    resampler = Resampler(24_000, 24_000)
    assert resampler.process(samples) is samples
    assert resampler.pending_samples == 0
    assert len(resampler.flush()) == 0
    resampler.reset()


def test_a_reset_forgets_what_was_before() -> None:
    """A3."""
    fresh, used = Resampler(16_000, 24_000), Resampler(16_000, 24_000)
    used.process(tone(16_000, 500, 0.3, level=0.9))
    used.reset()
    assert used.pending_samples == 0
    sound = tone(16_000, 440, 0.2)
    expected = np.concatenate([fresh.process(sound), fresh.flush()])
    assert np.array_equal(np.concatenate([used.process(sound), used.flush()]), expected)


@pytest.mark.parametrize("rate", [0, -1, 3_999, 384_001, 44_100.0, True, None, "24000"])
def test_rates_that_are_no_rates_are_refused(rate: Any) -> None:
    with pytest.raises(LocalProtocolError, match="input_rate"):
        Resampler(rate, 24_000)
    with pytest.raises(LocalProtocolError, match="output_rate"):
        Resampler(24_000, rate)
    with pytest.raises(LocalProtocolError, match="rate"):
        AudioChunker(rate)
    if rate is not None:  # None is the wire's rate there
        with pytest.raises(LocalProtocolError, match="rate"):
            AudioEncoder().push(b"\0\0", rate=rate)


# Frames of one length.


@given(
    st.sampled_from([20, 100]),
    st.sampled_from([(24_000, 2), (8_000, 1)]),
    st.lists(st.integers(0, 6000), max_size=12),
)
def test_frames_hold_the_bytes_in_order(
    frame_ms: int, wire: tuple[int, int], sizes: list[int]
) -> None:
    """A1: frames of a chosen length; A2: the flush brings the partial one."""
    rate, width = wire
    chunker = AudioChunker(rate, frame_ms, bytes_per_sample=width)
    data = bytes(n % 251 for n in range(sum(sizes) * width))
    frames: list[bytes] = []
    position = 0
    for size in sizes:
        frames += chunker.push(data[position : position + size * width])
        position += size * width
        assert chunker.pushed_samples == position // width
        assert chunker.pushed_ms == position / width * 1000 / rate
        assert chunker.pending_samples < rate * frame_ms // 1000
    assert all(
        len(frame) == chunker.frame_bytes == rate * frame_ms // 1000 * width for frame in frames
    )
    assert b"".join([*frames, chunker.flush()]) == data
    assert chunker.flush() == b""
    assert chunker.pushed_samples == sum(sizes)


def test_a_whole_frame_passes_through_as_the_same_object() -> None:
    chunker = AudioChunker()
    frame = bytes(4800)
    assert chunker.push(frame)[0] is frame
    encoder = AudioEncoder()
    assert encoder.push(frame)[0] is frame


def test_frames_of_a_buffer_that_is_used_again_keep_their_bytes() -> None:
    chunker = AudioChunker(frame_ms=20)
    buffer = bytearray(b"\1\2" * 480)
    (whole,) = chunker.push(buffer)
    (viewed,) = chunker.push(memoryview(buffer))
    chunker.push(memoryview(buffer)[:100])
    expected = bytes(buffer)
    buffer[:] = bytes(len(buffer))
    assert whole == viewed == expected
    assert type(whole) is type(viewed) is bytes
    assert chunker.flush() == expected[:100]


def test_clear_drops_the_partial_frame_and_the_count() -> None:
    """A3."""
    chunker = AudioChunker()
    chunker.push(bytes(5000))
    chunker.clear()
    assert (chunker.pending_samples, chunker.pushed_samples, chunker.flush()) == (0, 0, b"")


def test_the_count_restarts_with_what_still_waits() -> None:
    """A2: what was not given out at the commit belongs to the next one."""
    chunker = AudioChunker()
    chunker.push(bytes(5000))
    chunker.restart_count()
    assert chunker.pushed_samples == chunker.pending_samples == 100


@pytest.mark.parametrize("frame_ms", [9, 5001, 20.0, None, True])
def test_frame_lengths_out_of_range_are_refused(frame_ms: Any) -> None:
    with pytest.raises(LocalProtocolError, match="frame_ms"):
        AudioChunker(frame_ms=frame_ms)
    with pytest.raises(LocalProtocolError, match="frame_ms"):
        AudioEncoder(frame_ms=frame_ms)


def test_other_sample_widths_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="bytes_per_sample"):
        AudioChunker(bytes_per_sample=3)


def test_half_a_sample_is_refused_by_the_chunker() -> None:
    chunker = AudioChunker()
    chunker.push(bytes(10))
    with pytest.raises(LocalProtocolError, match="3 bytes"):
        chunker.push(bytes(3))
    assert chunker.pending_samples == 5


# The encoder: any audio in, wire frames out.


@pytest.mark.parametrize("wire", list(AudioFormat))
@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100])
@pytest.mark.parametrize("kind", ["bytes", "int16", "float32", "float64", "stereo"])
def test_any_audio_becomes_the_same_second(wire: AudioFormat, rate: int, kind: str) -> None:
    """A1, A4: every type of input, every wire format, one second in and one second out."""
    sound = tone(rate, 440, 1.0)
    made_of: dict[str, Callable[[Any], Any]] = {
        "bytes": lambda piece: piece.astype("<i2").tobytes(),
        "int16": lambda piece: piece,
        "float32": lambda piece: (piece / 32768).astype(np.float32),
        "float64": lambda piece: piece / 32768,
        "stereo": lambda piece: np.stack([piece, piece], axis=1),
    }
    encoder = AudioEncoder(wire, frame_ms=20)
    frames: list[bytes] = []
    for start in range(0, rate, 777):
        frames += encoder.push(made_of[kind](sound[start : start + 777]), rate=rate)
    assert encoder.pushed_ms == pytest.approx(1000, abs=0.1)
    frames += encoder.flush()
    assert encoder.pushed_ms == pytest.approx(1000, abs=0.1)
    assert encoder.pending_ms == 0
    assert {len(frame) for frame in frames[:-1]} == {wire.rate // 50 * wire.bytes_per_sample}
    decoded = wire.from_wire(b"".join(frames))
    expected = tone(wire.rate, 440, 1.0)
    assert len(decoded) == len(expected)
    middle = slice(wire.rate // 10, -wire.rate // 10)
    error = decoded[middle].astype(float) - expected[middle]
    assert np.abs(error).max() < (700 if wire is not AudioFormat.PCM16 else 20)


def test_no_rate_means_the_rate_of_the_wire() -> None:
    assert len(AudioEncoder("audio/pcmu", frame_ms=20).push(bytes(320))) == 1
    assert len(AudioEncoder("audio/pcm", frame_ms=20).push(bytes(960))) == 1


def test_a_change_of_rate_loses_no_sample_and_keeps_the_order() -> None:
    encoder = AudioEncoder(frame_ms=20)
    loud, soft = tone(48_000, 440, 0.5), tone(16_000, 440, 0.5, level=0.1)
    plain = tone(24_000, 440, 0.5, level=0.3)
    frames = encoder.push(loud, rate=48_000)
    frames += encoder.push(soft, rate=16_000)
    frames += encoder.push(plain, rate=24_000)
    frames += encoder.push(plain.tobytes())
    frames += encoder.push(loud, rate=48_000)
    frames += encoder.flush()
    sound = AudioFormat.PCM16.from_wire(b"".join(frames)).astype(float)
    assert len(sound) == 24_000 * 2.5
    levels = [np.sqrt((part[2000:-2000] ** 2).mean()) for part in sound.reshape(5, -1)]
    assert levels == pytest.approx([11_585, 2_317, 6_951, 6_951, 11_585], rel=0.02)


def test_pushed_time_is_known_before_it_comes_out() -> None:
    """A2: whether 100 ms are there is known without flushing."""
    encoder = AudioEncoder()
    encoder.push(bytes(2 * 480), rate=16_000)
    assert encoder.pushed_ms == encoder.pending_ms == 30
    frames = encoder.push(bytes(2 * 1600), rate=16_000)
    assert encoder.pushed_ms == 130
    assert encoder.pending_ms == 130 - 100 * len(frames)
    encoder.flush()
    assert encoder.pushed_ms == 130
    encoder.restart_count()
    assert encoder.pushed_ms == 0


def test_a_cleared_encoder_is_as_new() -> None:
    """A3: partial frame, resampler state and count are gone."""
    sound = tone(44_100, 440, 0.25)
    used, fresh = AudioEncoder(), AudioEncoder()
    used.push(tone(44_100, 900, 0.33, level=0.9), rate=44_100)
    used.clear()
    assert (used.pushed_ms, used.pending_ms) == (0, 0)
    assert used.push(sound, rate=44_100) + used.flush() == (
        fresh.push(sound, rate=44_100) + fresh.flush()
    )
    unused = AudioEncoder()
    unused.clear()
    assert unused.flush() == []


def test_bytes_of_the_wire_pass_untouched() -> None:
    encoder = AudioEncoder("audio/pcma", frame_ms=20)
    data = bytes(range(160))
    assert encoder.push_wire(data) == [data]
    encoder.push(tone(16_000, 440, 0.1), rate=16_000)
    waiting_ms = encoder.pending_ms
    frames = encoder.push_wire(data)
    assert b"".join(frames + encoder.flush()).endswith(data)
    assert waiting_ms > 0
    assert encoder.push_wire(data) == [data]


def test_half_a_sample_of_the_wire_is_refused_and_changes_nothing() -> None:
    encoder = AudioEncoder()
    with pytest.raises(LocalProtocolError, match="3 bytes"):
        encoder.push_wire(bytes(3))
    encoder.push(bytes(320), rate=16_000)
    before = (encoder.pushed_ms, encoder.pending_ms)
    with pytest.raises(LocalProtocolError, match="3 bytes"):
        encoder.push_wire(bytes(3))
    assert (encoder.pushed_ms, encoder.pending_ms) == before


def test_an_unknown_wire_format_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="audio/pcm, audio/pcmu, audio/pcma"):
        AudioEncoder("audio/opus")
    assert AudioEncoder().format is AudioFormat.PCM16


# G.711.


def test_companding_is_the_recommendations() -> None:
    """A4: the digests are those of CPython's `audioop`, over every sample and every byte."""
    tables = {
        "ulaw": (pcm16_to_ulaw(EVERY_SAMPLE), ulaw_to_pcm16(EVERY_BYTE)),
        "alaw": (pcm16_to_alaw(EVERY_SAMPLE), alaw_to_pcm16(EVERY_BYTE)),
    }
    digests = {
        law: tuple(
            hashlib.sha256(
                bytes(part) if isinstance(part, bytes) else part.astype("<i2").tobytes()
            ).hexdigest()[:16]
            for part in parts
        )
        for law, parts in tables.items()
    }
    assert digests == GOLDEN


GOLDEN = {
    "ulaw": ("81d633c9e6972a18", "3dab54339e520bb2"),
    "alaw": ("38488f6fd710f468", "e04788d110e58ff8"),
}


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="audioop is gone from Python 3.13")
def test_companding_is_that_of_audioop() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import audioop
    linear = EVERY_SAMPLE.astype("<i2").tobytes()
    assert pcm16_to_ulaw(EVERY_SAMPLE) == audioop.lin2ulaw(linear, 2)
    assert pcm16_to_alaw(EVERY_SAMPLE) == audioop.lin2alaw(linear, 2)
    assert ulaw_to_pcm16(EVERY_BYTE).astype("<i2").tobytes() == audioop.ulaw2lin(EVERY_BYTE, 2)
    assert alaw_to_pcm16(EVERY_BYTE).astype("<i2").tobytes() == audioop.alaw2lin(EVERY_BYTE, 2)


@pytest.mark.parametrize(
    ("encode", "decode"), [(pcm16_to_ulaw, ulaw_to_pcm16), (pcm16_to_alaw, alaw_to_pcm16)]
)
def test_companding_twice_changes_nothing_more(encode: Any, decode: Any) -> None:
    once = decode(encode(EVERY_SAMPLE))
    assert np.array_equal(decode(encode(once)), once)
    # A step is 1/16 of its segment, so half a step is at most 1/32 of the magnitude; near zero a
    # step has 8 (µ-law) or 16 (A-law) units. µ-law has no code above 32124.
    magnitude = np.abs(EVERY_SAMPLE.astype(int))
    error = np.abs(once.astype(int) - EVERY_SAMPLE)
    assert (error <= magnitude / 32 + 16)[magnitude <= 32124].all()


# Frames on the way out.


def test_a_frame_of_pcm_is_a_view_with_its_position() -> None:
    """A4: a zero-copy int16 view with sample rate and the position in the item."""
    data = EVERY_SAMPLE.astype("<i2").tobytes()
    frame = AudioFrame(data, 24_000, AudioFormat.PCM16, start_sample=48_000)
    assert np.array_equal(frame.samples, EVERY_SAMPLE)
    assert np.shares_memory(frame.samples, np.frombuffer(data, np.uint8))
    assert frame.rate == 24_000
    assert frame.sample_count == 65_536
    assert frame.start_ms == 2_000
    assert frame.duration_ms == pytest.approx(65_536 / 24)
    assert frame.end_ms == pytest.approx(2_000 + 65_536 / 24)


@pytest.mark.parametrize("wire", [AudioFormat.PCMU, AudioFormat.PCMA])
def test_a_frame_of_g711_is_decoded_when_asked(wire: AudioFormat) -> None:
    sound = tone(8_000, 300, 0.1)
    frame = AudioFrame(wire.to_wire(sound), wire.rate, wire, start_sample=80)
    assert frame.samples.dtype == np.int16
    assert np.abs(frame.samples.astype(int) - sound).max() < 600
    assert (frame.start_ms, frame.duration_ms, frame.end_ms) == (10, 100, 110)


def test_a_frame_that_ends_in_half_a_sample_gives_the_whole_ones() -> None:
    assert AudioFrame(b"\1\0\2").samples.tolist() == [1]
