"""Makes the spoken question that ships with the package: `python bench/make_sample.py`.

The voice is hibari-tts (Apache-2.0) and the same words always give the same file.
"""

from __future__ import annotations

from pathlib import Path

from trio_rt._wav import write_wav
from trio_rt.emulator._voices import HibariVoice

QUESTION = "Hello, what time is it?"
TARGET = Path(__file__).parent.parent / "trio_rt" / "data" / "question.wav"
# A little silence lets a detector see where the speech begins and ends.
BEFORE_S, AFTER_S = 0.1, 0.2


def main() -> None:
    voice = HibariVoice()
    sound = b"".join(voice.speak(QUESTION, voice="alloy", speed=1.0))
    before, after = (bytes(2 * int(voice.rate * seconds)) for seconds in (BEFORE_S, AFTER_S))
    write_wav(TARGET, before + sound + after, voice.rate)
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
