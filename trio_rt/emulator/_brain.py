"""What an emulated service thinks, hears and speaks with, in one object.

`Brain.local()` has real parts and needs the extra `speech`; `Brain.scripted(...)` says what it is
told to, needs no extra and always does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trio_rt.emulator._detection import EnergyDetector, SileroDetector
from trio_rt.emulator._ears import GivenEars, WhisperEars
from trio_rt.emulator._minds import LocalMind, Reply, ScriptedMind
from trio_rt.emulator._roles import (
    Action,
    Call,
    Detector,
    Ears,
    EarStream,
    Mind,
    Request,
    Say,
    ToolInfo,
    Turn,
    Voice,
)
from trio_rt.emulator._voices import HibariVoice, ToneVoice

__all__ = [
    "Action",
    "Brain",
    "Call",
    "Detector",
    "EarStream",
    "Ears",
    "Mind",
    "Request",
    "Say",
    "ToolInfo",
    "Turn",
    "Voice",
]


@dataclass
class Brain:
    """The parts of one emulated service. All sessions of an emulator share it.

    Attributes:
        mind: Decides what to say and what to call.
        voice: Speaks it.
        make_detector: Makes the voice activity detection of one session.
        ears: Recognises what was said; None for a service that gives no transcripts.
    """

    mind: Mind
    voice: Voice
    make_detector: Callable[[], Detector]
    ears: Ears | None = None

    @classmethod
    def local(cls) -> Brain:
        """A brain with real speech and rules for a mind. It needs no network.

        Raises:
            MissingExtra: The extra `speech` is not installed.
        """
        return cls(LocalMind(), HibariVoice(), SileroDetector, WhisperEars())

    @classmethod
    def scripted(cls, *replies: Reply, transcripts: Sequence[str] = ()) -> Brain:
        """A brain that says and calls what it is told to, with tones for a voice. Needs no extra.

        Args:
            *replies: As `ScriptedMind` takes them, one for each response.
            transcripts: What its ears understand, one for each spoken turn; the last one from then
                on.
        """
        return cls(ScriptedMind(*replies), ToneVoice(), EnergyDetector, GivenEars(transcripts))

    def warm_up(self) -> None:
        """Load what the first turn would otherwise wait for: a second or two in a thread."""
        self.voice.warm_up()
        if self.ears is not None:
            self.ears.warm_up()
