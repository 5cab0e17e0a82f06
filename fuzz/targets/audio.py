"""The audio encoder on any pieces, rates, types and channels: no sample is lost, frames are whole."""

from __future__ import annotations

import numpy as np

from fuzz.drawing import Draw
from sansio_rt import AudioEncoder, AudioFormat, LocalProtocolError
from sansio_rt._audio import AudioData, to_pcm16

MAX_BYTES = 384
_TYPES = ("<i2", "<f4", "<f8", "<i4", ">i2", "u1")
_RATES = (None, 8_000, 16_000, 24_000, 44_100, 48_000, 4_000, 384_000, 3_999, 0)
_FRAMES_MS = (10, 20, 100, 5_000, 9)


def fuzz(data: bytes) -> None:
    """Bytes 0 and 1 choose format and frame; then pushes, flushes and clears with their audio."""
    draw = Draw(data)
    audio_format = draw.choice(tuple(AudioFormat))
    try:
        encoder = AudioEncoder(audio_format, draw.choice(_FRAMES_MS))
    except LocalProtocolError:
        return
    frame_bytes = encoder._chunker.frame_bytes
    while draw.left:
        what = draw.byte()
        frames: list[bytes] = []
        before = encoder.pending_ms
        try:
            frames = _act(encoder, what, draw)
        except LocalProtocolError as refusal:
            assert str(refusal)
            assert encoder.pending_ms == before, "a refused push took something"
        assert all(
            len(frame) == frame_bytes for frame in (frames[:-1] if what & 7 == 5 else frames)
        )
        assert encoder.pending_ms >= 0
        assert encoder._chunker.pending_samples * audio_format.bytes_per_sample < frame_bytes
    encoder.flush()
    assert encoder.pending_ms == 0


def _act(encoder: AudioEncoder, what: int, draw: Draw) -> list[bytes]:
    match what & 7:
        case 5:
            return encoder.flush()
        case 6:
            encoder.clear()
            assert encoder.pushed_ms == encoder.pending_ms == 0
            return []
        case 7:
            return encoder.push_wire(draw.take(draw.byte()))
        case _:
            return _push(encoder, what, draw)


def _push(encoder: AudioEncoder, what: int, draw: Draw) -> list[bytes]:
    rate, channels = draw.choice(_RATES), 1 + (draw.byte() & 3)
    audio = _audio(what, draw)
    own = rate in (None, encoder.format.rate) and encoder.pending_ms == 0
    pushed = encoder.pushed_ms
    frames = encoder.push(audio, rate=rate, channels=channels)
    if own:
        count = len(to_pcm16(audio, channels=channels))
        assert abs(encoder.pushed_ms - pushed - count * 1000 / encoder.format.rate) < 0.001
    return frames


def _audio(what: int, draw: Draw) -> AudioData:
    """Bytes, or an array of a type, of one or two dimensions, that repeats to be long enough."""
    raw = draw.take(draw.byte()) * (1 + (what >> 5) * 30)
    if what & 8:
        return raw if what & 16 else memoryview(raw)
    kind = np.dtype(draw.choice(_TYPES))
    samples = np.frombuffer(raw[: len(raw) // kind.itemsize * kind.itemsize], dtype=kind)
    if what & 16 and len(samples) % 2 == 0:
        return samples.reshape(-1, 2)
    return samples
