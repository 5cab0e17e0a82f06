"""Counting tokens as the service bills them, near enough for clients that add them up.

Text has about four characters a token; audio has ten tokens a second coming in and twenty going
out.
"""

from __future__ import annotations

import math

from msgspec import Struct

from . import events

__all__ = [
    "Tally",
    "audio_in_tokens",
    "audio_out_tokens",
    "text_tokens",
    "transcription_usage",
    "usage",
]

IMAGE_TOKENS = 100
CACHE_BLOCK_TOKENS = 64


def text_tokens(text: str) -> int:
    """Tokens of a text."""
    return (len(text) + 3) // 4


def audio_in_tokens(duration_ms: float) -> int:
    """Tokens of audio that the model hears."""
    return math.ceil(duration_ms / 100)


def audio_out_tokens(duration_ms: float) -> int:
    """Tokens of audio that the model speaks."""
    return math.ceil(duration_ms / 50)


class Tally(Struct, frozen=True):
    """Tokens by kind.

    Attributes:
        text: Of text.
        audio: Of audio.
        image: Of images.
    """

    text: int = 0
    audio: int = 0
    image: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.text + other.text, self.audio + other.audio, self.image + other.image)

    @property
    def total(self) -> int:
        """Of all kinds."""
        return self.text + self.audio + self.image

    def cached(self, before: Tally) -> Tally:
        """How much of this comes from the cache, if `before` was the last response's input."""
        return Tally(
            _whole_blocks(min(self.text, before.text)),
            _whole_blocks(min(self.audio, before.audio)),
            _whole_blocks(min(self.image, before.image)),
        )


def _whole_blocks(tokens: int) -> int:
    return tokens - tokens % CACHE_BLOCK_TOKENS


def usage(heard: Tally, cached: Tally, said: Tally) -> events.Usage:
    """The `usage` object of a response.

    Args:
        heard: The input.
        cached: The part of the input that came from the cache.
        said: The output.
    """
    input_tokens, output_tokens = heard.total, said.total
    return events.Usage(
        total_tokens=input_tokens + output_tokens,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        input_token_details=events.InputTokenDetails(
            text_tokens=heard.text,
            audio_tokens=heard.audio,
            image_tokens=heard.image,
            cached_tokens=cached.total,
            cached_tokens_details=events.CachedTokensDetails(
                text_tokens=cached.text, audio_tokens=cached.audio, image_tokens=cached.image
            ),
        ),
        output_token_details=events.OutputTokenDetails(
            text_tokens=said.text, audio_tokens=said.audio
        ),
    )


def transcription_usage(model: str, duration_ms: float, text: str) -> events.TranscriptionUsage:
    """The `usage` object of a transcription: by duration for whisper, else by tokens.

    Args:
        model: The transcription model.
        duration_ms: Length of the audio.
        text: What was recognised.
    """
    if model.startswith("whisper"):
        return events.TranscriptionDuration(seconds=round(duration_ms / 1000, 3))
    heard, said = audio_in_tokens(duration_ms), text_tokens(text)
    return events.TranscriptionTokens(
        total_tokens=heard + said,
        input_tokens=heard,
        output_tokens=said,
        input_token_details=events.InputTokenDetails(audio_tokens=heard, text_tokens=0),
    )
