"""Synthesis: pieces, voices, speed."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sansio_rt._errors import MissingExtra
from trio_rt.emulator._roles import Voice
from trio_rt.emulator._voices import HibariVoice, ToneVoice


@pytest.fixture(scope="module")
def hibari() -> HibariVoice:
    voice = HibariVoice()
    voice.warm_up()
    return voice


@pytest.fixture(params=["tones", "hibari"])
def voice(request: pytest.FixtureRequest, hibari: HibariVoice) -> Voice:
    return ToneVoice() if request.param == "tones" else hibari


def samples_of(
    voice: Voice, text: str, name: str = "alloy", speed: float = 1.0
) -> NDArray[np.int16]:
    return np.frombuffer(b"".join(voice.speak(text, voice=name, speed=speed)), "<i2")


def test_speech_is_audible_and_not_clipped(voice: Voice) -> None:
    samples = samples_of(voice, "The time is twenty past three.").astype(float) / 32768
    assert 0.4 < len(samples) / voice.rate < 5
    assert 0.02 < np.sqrt(np.mean(samples**2)) < 0.5
    assert np.abs(samples).max() < 0.99


def test_each_sentence_is_a_piece(voice: Voice) -> None:
    pieces = list(voice.speak("One moment, please. It is late.", voice="alloy", speed=1.0))
    assert len(pieces) == (3 if isinstance(voice, ToneVoice) else 2)
    assert all(piece and len(piece) % 2 == 0 for piece in pieces)


@pytest.mark.parametrize("text", ["", "   ", "...", "?!\n\n"])
def test_nothing_to_say_gives_no_speech(voice: Voice, text: str) -> None:
    assert len(samples_of(voice, text)) < voice.rate / 2


def test_the_same_words_always_sound_the_same(voice: Voice) -> None:
    first = samples_of(voice, "Hello there.")
    assert np.array_equal(first, samples_of(voice, "Hello there."))
    assert not np.array_equal(first, samples_of(voice, "Hello where."))


def test_voices_differ_and_an_unknown_one_speaks_too(voice: Voice) -> None:
    spoken = {name: samples_of(voice, "Hello.", name) for name in ("alloy", "ash", "shimmer")}
    assert len({samples.tobytes() for samples in spoken.values()}) == 3
    assert len(samples_of(voice, "Hello.", "nobody"))


def test_speed_changes_the_length_and_not_the_rate(voice: Voice) -> None:
    text = "Please tell me what the weather is like today."
    usual = len(samples_of(voice, text, "ash"))
    assert len(samples_of(voice, text, "ash", 1.5)) < 0.8 * usual
    assert len(samples_of(voice, text, "ash", 0.5)) > 1.6 * usual


def test_the_beginning_of_a_long_sentence_comes_early(hibari: HibariVoice) -> None:
    text = "You said: " + ", ".join(["I would like to have some milk and some bread"] * 12)
    begin = time.perf_counter()
    pieces = hibari.speak(text, voice="alloy", speed=1.0)
    first = next(pieces)
    # Measured 0.09 s on one core; the rest allows for a busy machine.
    assert time.perf_counter() - begin < 1.0
    assert len(first) < sum(map(len, pieces))


@given(st.text(max_size=60))
def test_tones_hum_any_text(text: str) -> None:
    pieces = list(ToneVoice().speak(text, voice="alloy", speed=1.0))
    assert bool(pieces) == any(piece.isalnum() or piece == "_" for piece in text)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hibari", None)
    with pytest.raises(MissingExtra, match=r'pip install "trio-rt\[speech\]"'):
        HibariVoice()
    assert len(samples_of(ToneVoice(), "Hello."))
