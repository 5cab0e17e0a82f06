"""What is said in each turn, read and checked before any connection is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from trio_rt._wav import Recording, WavError, read_wav

from ._arguments import Asked
from ._problems import BadUse

__all__ = ["SAMPLE", "SpokenTurn", "Turn", "WrittenTurn", "check_output", "load_turns"]

SAMPLE = "question.wav"
"""The recording in the package's folder `data`."""

SHORTEST_S = 0.1  # the service commits no less
LOUDEST = 2.0  # sound that was filtered or mixed goes a little beyond 1


@dataclass(frozen=True)
class SpokenTurn:
    """A recording to be said.

    Attributes:
        name: Name of the file, for people.
        recording: Its sound.
    """

    name: str
    recording: Recording


@dataclass(frozen=True)
class WrittenTurn:
    """Words to be sent.

    Attributes:
        text: The words.
    """

    text: str


Turn = SpokenTurn | WrittenTurn


def load_turns(asked: Sequence[Asked]) -> list[Turn]:
    """Read what is to be said; the sample where nothing is.

    Raises:
        BadUse: A recording cannot be used.
    """
    if not asked:
        with resources.as_file(resources.files("trio_rt") / "data" / SAMPLE) as path:
            return [SpokenTurn(f"{SAMPLE} (the sample)", _read(path))]
    return [
        WrittenTurn(entry.value)
        if entry.kind == "text"
        else SpokenTurn(Path(entry.value).name, _read(Path(entry.value)))
        for entry in asked
    ]


def _read(path: Path) -> Recording:
    try:
        recording = read_wav(path)
    except WavError as error:
        raise BadUse(str(error)) from error
    if recording.duration_s < SHORTEST_S:
        raise BadUse(
            f"{path}: it holds {recording.duration_s * 1000:.0f} ms of sound, and the service takes no "
            f"less than {SHORTEST_S * 1000:.0f}; record it again"
        )
    loudest = float(np.abs(recording.samples, dtype=np.float32).max())
    if recording.samples.dtype.kind == "f" and loudest > LOUDEST:
        raise BadUse(
            f"{path}: its float samples go up to {loudest:g}, but 1 is full scale; convert it to 16-bit "
            "PCM first"
        )
    return recording


def check_output(output: Path, asked: Sequence[Asked]) -> None:
    """Refuse an output that would destroy something.

    Raises:
        BadUse: It is one of the inputs, or a device, or cannot be looked at.
    """
    try:
        if not output.exists() or output.is_dir():
            return  # the writer has its own words for a folder
        if not output.is_file():
            raise BadUse(f"{output}: not an ordinary file; name another one with --output")
        inputs = [entry.value for entry in asked if entry.kind == "input"]
        if any(output.samefile(name) for name in inputs):
            raise BadUse(f"{output}: this is an input, too; name another file with --output")
    except OSError as error:
        raise BadUse(
            f"{output}: cannot be written: {error.strerror}; choose another place"
        ) from error
