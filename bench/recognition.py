"""Word error rate and speed of the emulator's ears: `python bench/recognition.py [FOLDER ...]`.

Without folders it speaks `questions.txt` with the emulator's own voices. A folder holds other
recordings of the same questions, `00.wav`, `01.wav` and so on: of other synthesizers, or of people.
`--telephone` sends everything through 8 kHz first.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sansio_rt._audio import to_pcm16
from sansio_rt._resampler import Resampler
from trio_rt._wav import read_wav
from trio_rt.emulator._ears import WhisperEars
from trio_rt.emulator._phrases import digits
from trio_rt.emulator._voices import HibariVoice

QUESTIONS = Path(__file__).with_name("questions.txt").read_text().splitlines()
VOICES = ("alloy", "ash", "shimmer")
WIRE_RATE = 24_000

Recordings = Iterator[tuple[str, NDArray[np.int16], int]]


def words(text: str) -> list[str]:
    """The words as they are compared: in lower case, all numbers as digits."""
    text = re.sub(r"-", " ", text.lower().replace("\u2019", "'").replace("%", " percent"))
    text = re.sub(r"(\d+):00\b", r"\1 o'clock", digits(text))
    return re.findall(r"[a-z']+|\d+", text)


def errors(reference: list[str], heard: list[str]) -> int:
    """Words that were put in, left out or taken for others (Levenshtein)."""
    costs = list(range(len(heard) + 1))
    for row, word in enumerate(reference, 1):
        diagonal, costs[0] = costs[0], row
        for column, other in enumerate(heard, 1):
            cost = min(costs[column] + 1, costs[column - 1] + 1, diagonal + (word != other))
            diagonal, costs[column] = costs[column], cost
    return costs[-1]


def spoken(voice: str) -> Recordings:
    synthesizer = HibariVoice()
    for question in QUESTIONS:
        pcm = b"".join(synthesizer.speak(question, voice=voice, speed=1.0))
        yield question, np.frombuffer(pcm, "<i2").astype(np.int16), synthesizer.rate


def recorded(folder: Path) -> Recordings:
    for number, question in enumerate(QUESTIONS):
        recording = read_wav(folder / f"{number:02}.wav")
        yield question, to_pcm16(recording.samples), recording.rate


def resampled(samples: NDArray[np.int16], rate: int, new_rate: int) -> NDArray[np.int16]:
    resampler = Resampler(rate, new_rate)
    return np.concatenate([resampler.process(samples), resampler.flush()])


def measure(name: str, recordings: Recordings, ears: WhisperEars, *, telephone: bool) -> None:
    wrong = total = 0
    audio_s = 0.0
    waits_s: list[float] = []
    for question, recorded_samples, rate in recordings:
        sent_rate = 8_000 if telephone else rate
        sent = resampled(recorded_samples, rate, sent_rate)
        samples = resampled(sent, sent_rate, WIRE_RATE)
        begin = time.perf_counter()
        heard = words(ears.transcribe(samples.tobytes(), WIRE_RATE))
        waits_s.append(time.perf_counter() - begin)
        audio_s += len(samples) / WIRE_RATE
        total += len(words(question))
        wrong += errors(words(question), heard)
    print(
        f"{name:12} {100 * wrong / total:5.1f} % word errors, "
        f"a question takes {np.mean(waits_s):.2f} s ({max(waits_s):.2f} s at most), "
        f"{audio_s / sum(waits_s):.0f} x real time",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--telephone", action="store_true")
    options = parser.parse_args()
    ears = WhisperEars()
    ears.warm_up()
    sources = {folder.name: recorded(folder) for folder in options.folders} or {
        voice: spoken(voice) for voice in VOICES
    }
    for name, recordings in sources.items():
        measure(name, recordings, ears, telephone=options.telephone)


if __name__ == "__main__":
    main()
