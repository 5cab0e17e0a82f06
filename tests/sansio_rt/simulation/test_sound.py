"""A voice of which every sample tells which one it is."""

from __future__ import annotations

from sansio_rt.simulation._sound import (
    BLOCK_SAMPLES,
    LoudIsSpeech,
    Voice,
    blocks_of,
    read,
    silence,
    spell,
)


def test_a_transcript_says_which_samples_were_heard() -> None:
    voice = Voice()
    first, second = voice.speak(30), voice.speak(20)
    sound = first + silence(15) + second[:-100]
    assert spell(sound) == f"v1000-1003 v1004:{BLOCK_SAMPLES - 50}"
    assert dict(read(spell(sound))) == dict(blocks_of(sound))
    assert list(read("hello, this is no voice")) == []


def test_silence_has_nothing_to_spell() -> None:
    assert spell(silence(40)) == spell(b"") == ""


def test_what_is_out_of_order_shows() -> None:
    voice = Voice()
    first, second = voice.speak(20), voice.speak(20)
    assert spell(second + first) == "v1002-1003 v1000-1001"
    assert spell(first + first) == "v1000-1001 v1000-1001"


def test_a_voice_is_spent_after_five_minutes() -> None:
    voice = Voice()
    voice.speak(310_000)
    assert len(voice.speak(10_000)) < 2 * 24 * 10_000
    assert voice.speak(100) == b""


def test_a_detector_hears_it_and_no_silence() -> None:
    from sansio_rt import AudioFormat

    detector = LoudIsSpeech()
    loud = AudioFormat.PCM16.from_wire(Voice().speak(10)) / 32768
    assert detector.probability(loud) == 1.0
    assert detector.probability(loud * 0) == 0.0
    detector.reset()
