"""The caller's voice: sound in which every sample says which one it is.

Speech is made of blocks of 10 ms. All samples of a block have the block's number as their value, which is
loud enough for any detector of speech; silence is zeros. So whoever hears the sound can tell which blocks
are there, in which order, and how many samples of each. A transcript spells them: `v1000-1039` are whole
blocks, `v1040:120` is a half one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BLOCK_MS",
    "BLOCK_SAMPLES",
    "LoudIsSpeech",
    "Voice",
    "blocks_of",
    "read",
    "silence",
    "spell",
]

RATE = 24_000
BLOCK_MS = 10
BLOCK_SAMPLES = RATE * BLOCK_MS // 1000
_FIRST = 1000
_LAST = 32_767
_WORD = re.compile(r"v(\d+)(?:-(\d+))?(?::(\d+))?")


class Voice:
    """Speaks blocks that were never spoken before."""

    def __init__(self) -> None:
        self._next = _FIRST

    def speak(self, length_ms: int) -> bytes:
        """Some speech, as PCM16 at 24 kHz; empty when all blocks were spoken (after five minutes).

        Args:
            length_ms: Its length; whole blocks of it are spoken.
        """
        end = min(self._next + length_ms // BLOCK_MS, _LAST)
        first, self._next = self._next, end
        return b"".join(map(_sound_of, range(first, end)))


@functools.lru_cache(maxsize=2048)  # every voice begins with the same blocks
def _sound_of(block: int) -> bytes:
    return block.to_bytes(2, "little") * BLOCK_SAMPLES


def silence(length_ms: int) -> bytes:
    """Silence as PCM16 at 24 kHz."""
    return bytes(2 * RATE * length_ms // 1000)


def blocks_of(pcm: bytes) -> list[tuple[int, int]]:
    """The blocks in a sound: number and count of samples, in order; one that comes again is told again."""
    samples = np.frombuffer(pcm, dtype="<i2")
    if not samples.any():
        return []
    bounds = np.flatnonzero(np.diff(samples)) + 1
    starts = np.concatenate(([0], bounds))
    counts = np.diff(np.concatenate((starts, [len(samples)])))
    found = zip(samples[starts].tolist(), counts.tolist(), strict=True)
    return [(block, count) for block, count in found if block]


def spell(pcm: bytes) -> str:
    """The transcript of a sound."""
    words: list[str] = []
    first = last = 0
    for block, count in [*blocks_of(pcm), (0, 0)]:
        if count == BLOCK_SAMPLES and block == last + 1:
            last = block
            continue
        if last:
            words.append(f"v{first}-{last}")
        first = last = 0
        if count == BLOCK_SAMPLES:
            first = last = block
        elif count:
            words.append(f"v{block}:{count}")
    return " ".join(words)


def read(text: str) -> Iterator[tuple[int, int]]:
    """The blocks that a transcript spells: number and count of samples."""
    for first, last, count in _WORD.findall(text):
        for block in range(int(first), int(last or first) + 1):
            yield block, int(count or BLOCK_SAMPLES)


class LoudIsSpeech:
    """A detector that hears speech in everything that is not silent."""

    rate = RATE  # that of the sound, so that nothing has to be resampled
    window_samples = 3 * BLOCK_SAMPLES

    def probability(self, window: NDArray[np.float32] | Any) -> float:
        """1 for sound, 0 for silence."""
        return 1.0 if float(np.abs(window).max()) > 1e-2 else 0.0

    def reset(self) -> None:
        """It keeps nothing in mind."""
