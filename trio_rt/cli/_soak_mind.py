"""What the soak's emulators think: answers so short that hundreds of sessions fit on one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import trio

from trio_rt.emulator import Action, Brain, Call, EnergyDetector, Request, Say
from trio_rt.emulator._performer import Threads
from trio_rt.emulator._voices import ToneVoice

__all__ = ["FAIL", "LONG", "USE_TOOL", "NoThreads", "OnPurpose", "make_brain"]

T = TypeVar("T")

FAIL = "Please fail."
"""The caller's words to which the response fails."""
USE_TOOL = "Please look it up."
"""The caller's words to which the tool is called."""
LONG = "Please tell a story."
"""The caller's words to which the answer is long enough to be interrupted."""
_STORY = "Once upon a time there was a server, and it spoke, and spoke, and spoke, until it was cut off. "


class _Voice(ToneVoice):
    """Hums each text once, and then remembers it."""

    def __init__(self) -> None:
        self._hummed: dict[tuple[str, str, float], list[bytes]] = {}

    def speak(self, text: str, *, voice: str, speed: float) -> Iterator[bytes]:
        """Hums a text; see `Voice.speak`."""
        key = text, voice, speed
        if key not in self._hummed:
            self._hummed[key] = list(super().speak(text, voice=voice, speed=speed))
        return iter(self._hummed[key])


class NoThreads(Threads):
    """Thinks and hums where it stands: that is less work than the way to a thread and back."""

    async def run(self, function: Callable[[], T], *, mind: bool = False) -> T:  # noqa: ARG002
        """Calls a function; see `Threads.run`."""
        await trio.lowlevel.checkpoint()
        return function()


class OnPurpose(Exception):
    """A failure that the caller asked for."""


class _Mind:
    """Does what the caller's last words ask for."""

    def reply(self, request: Request) -> Sequence[Action]:
        """Answers; see `Mind.reply`."""
        last = request.history[-1] if request.history else None
        if last is None or last.role != "user":
            return [Say("It is done.")]
        if last.text == FAIL:
            raise OnPurpose("as was asked for")
        if last.text == USE_TOOL and request.tools:
            return [Call(request.tools[0].name, {"word": "soak"})]
        if last.text == LONG:
            return [Say(_STORY)]
        return [Say("Yes, of course.")]


def make_brain() -> Brain:
    """A brain without any model: it hums, takes every sound for speech, and recognises nothing."""
    return Brain(_Mind(), _Voice(), EnergyDetector)
