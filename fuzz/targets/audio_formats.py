"""Resampler, chunker and G.711: any split of the same audio gives the same, and counts are exact."""

from __future__ import annotations

import numpy as np

from fuzz.drawing import Draw
from fuzz.wire_life import pieces
from sansio_rt import AudioFormat, AudioFrame
from sansio_rt._audio import AudioChunker
from sansio_rt._resampler import Resampler

MAX_BYTES = 512
_RATES = (8_000, 16_000, 24_000, 44_100, 48_000, 11_025, 4_000, 384_000)


def fuzz(data: bytes) -> None:
    """Byte 0 chooses what is tried, byte 1 the pieces; the rest is audio."""
    draw = Draw(data)
    what, way = draw.byte(), draw.byte()
    match what & 3:
        case 0:
            _resample(draw.choice(_RATES), draw.choice(_RATES), way, draw.rest())
        case 1 | 2:
            _chunk(1 + (what & 1), 10 + draw.byte(), way, draw.rest())
        case _:
            _convert(draw.rest())


def _resample(input_rate: int, output_rate: int, way: int, raw: bytes) -> None:
    samples = np.frombuffer(raw[: len(raw) // 2 * 2], dtype="<i2")
    samples = np.tile(samples, 1 + way % 8)
    whole, split = Resampler(input_rate, output_rate), Resampler(input_rate, output_rate)
    expected = np.concatenate([whole.process(samples), whole.flush()])
    parts = [
        split.process(np.frombuffer(piece, dtype="<i2"))
        for piece in _whole_samples(samples.tobytes(), way)
    ]
    pending = split.pending_samples
    rest = split.flush()
    is_half = 2 * len(samples) * output_rate % (2 * input_rate) == input_rate
    if input_rate != output_rate:
        assert pending - len(rest) in ((0, 1) if is_half else (0,))
    made = np.concatenate([*parts, rest])
    # Exact to the nearest sample.
    assert abs(len(made) - len(samples) * output_rate / input_rate) <= 0.5
    assert len(made) == len(expected)
    assert np.array_equal(made, expected)
    assert split.pending_samples == 0


def _whole_samples(raw: bytes, way: int) -> list[bytes]:
    """Splits bytes between samples only."""
    at = 2 * way
    return [piece for piece in (raw[:at], raw[at : at + 2], raw[at + 2 :]) if piece]


def _chunk(width: int, frame_ms: int, way: int, raw: bytes) -> None:
    raw = raw[: len(raw) // width * width] * 3
    chunker = AudioChunker(8_000, frame_ms, bytes_per_sample=width)
    frames: list[bytes] = []
    cut = pieces(raw, way) if width == 1 else _whole_samples(raw, way)
    for piece in cut:
        frames += chunker.push(piece)
        pending_bytes = chunker.pending_samples * width
        assert chunker.pushed_samples * width == sum(map(len, frames)) + pending_bytes
    assert all(len(frame) == chunker.frame_bytes for frame in frames)
    rest = chunker.flush()
    assert len(rest) < chunker.frame_bytes
    assert b"".join([*frames, rest]) == raw
    assert chunker.pushed_samples * width == len(raw)


def _convert(raw: bytes) -> None:
    for audio_format in AudioFormat:
        samples = audio_format.from_wire(raw)
        assert samples.dtype == np.int16
        again = audio_format.from_wire(audio_format.to_wire(samples))
        assert np.array_equal(again, samples), "decoded audio does not survive a second round"
        piece = AudioFrame(raw, audio_format.rate, audio_format)
        assert piece.sample_count == len(piece.samples)
        assert piece.end_ms == piece.start_ms + piece.duration_ms
