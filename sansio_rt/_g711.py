"""G.711 companding, µ-law and A-law, both ways, by lookup tables (ITU-T G.711).

One sample is one table look-up: 65,536 entries of one byte to encode, 256 of two bytes to decode.
The tables are computed when they are first asked for (a few milliseconds, once per process).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["alaw_to_pcm16", "pcm16_to_alaw", "pcm16_to_ulaw", "ulaw_to_pcm16"]

_ULAW_BIAS = 132
_ULAW_CLIP = 32635
# Upper ends of the eight A-law segments in the 13-bit scale of the recommendation.
_ALAW_SEGMENT_ENDS = np.array([0x1F, 0x3F, 0x7F, 0xFF, 0x1FF, 0x3FF, 0x7FF, 0xFFF], dtype=np.int32)


def pcm16_to_ulaw(samples: NDArray[np.int16]) -> bytes:
    """Encode int16 samples as µ-law, one byte a sample.

    Args:
        samples: int16 mono samples, shape (n,).

    Returns:
        n bytes.
    """
    return _encode(_ulaw_encoding(), samples)


def pcm16_to_alaw(samples: NDArray[np.int16]) -> bytes:
    """Encode int16 samples as A-law, one byte a sample.

    Args:
        samples: int16 mono samples, shape (n,).

    Returns:
        n bytes.
    """
    return _encode(_alaw_encoding(), samples)


def ulaw_to_pcm16(data: bytes | bytearray | memoryview) -> NDArray[np.int16]:
    """Decode µ-law bytes to int16 samples, shape (n,)."""
    return _ulaw_decoding()[np.frombuffer(data, dtype=np.uint8)]


def alaw_to_pcm16(data: bytes | bytearray | memoryview) -> NDArray[np.int16]:
    """Decode A-law bytes to int16 samples, shape (n,)."""
    return _alaw_decoding()[np.frombuffer(data, dtype=np.uint8)]


def _encode(table: NDArray[np.uint8], samples: NDArray[np.int16]) -> bytes:
    # A negative sample seen as an unsigned number is its own index in the table's upper half.
    return table[samples.astype(np.int16, copy=False).view(np.uint16)].tobytes()


def _every_sample() -> NDArray[np.int32]:
    """All 65,536 values of int16 in the order of their bits."""
    return np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)


@cache
def _ulaw_encoding() -> NDArray[np.uint8]:
    # G.711 works on 14 bits: the two lowest bits of the sample do not count.
    sample = _every_sample() >> 2
    magnitude = np.minimum(np.abs(sample), _ULAW_CLIP >> 2) + (_ULAW_BIAS >> 2)
    segment = np.floor(np.log2(magnitude)).astype(np.int32) - 5
    mantissa = (magnitude >> (segment + 1)) & 0x0F
    sign = np.where(sample < 0, 0x80, 0)
    code: NDArray[np.int32] = ~(sign | (segment << 4) | mantissa) & 0xFF
    return code.astype(np.uint8)


@cache
def _ulaw_decoding() -> NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + _ULAW_BIAS) << ((code & 0x70) >> 4)) - _ULAW_BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


@cache
def _alaw_encoding() -> NDArray[np.uint8]:
    # G.711 works on 13 bits; a negative value mirrors the positive one below it.
    sample = _every_sample() >> 3
    magnitude = np.where(sample < 0, -sample - 1, sample)
    segment = np.searchsorted(_ALAW_SEGMENT_ENDS, magnitude).astype(np.int32)
    mantissa = (magnitude >> np.maximum(segment, 1)) & 0x0F
    mask = np.where(sample < 0, 0x55, 0xD5)
    return (((segment << 4) | mantissa) ^ mask).astype(np.uint8)


@cache
def _alaw_decoding() -> NDArray[np.int16]:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    segment = (code & 0x70) >> 4
    magnitude = ((code & 0x0F) << 4) + np.where(segment == 0, 8, 0x108)
    magnitude <<= np.maximum(segment - 1, 0)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)
