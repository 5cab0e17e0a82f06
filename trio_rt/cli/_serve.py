"""`trio-rt serve`: the emulator for any client."""

from __future__ import annotations

import argparse
import dataclasses
import sys

import trio

from sansio_rt import MissingExtra
from trio_rt import serve_emulator
from trio_rt.emulator import Brain, EnergyDetector, LocalMind, SileroDetector
from trio_rt.emulator._voices import ToneVoice

from ._interrupt import run_until_signal
from ._problems import BadUse, ExitCode

__all__ = ["serve"]


def serve(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C.

    Args:
        arguments: Of the parser's `serve`.

    Returns:
        The exit code: 0 also after Ctrl-C, which is how a server is ended.

    Raises:
        BadUse: What was asked for is not installed.
        EmulatorError: The address cannot be listened on.
    """
    brain = _make_brain(arguments.voice_activity)

    async def run() -> None:
        async with serve_emulator(
            brain, host=arguments.host, port=arguments.port, api_key=arguments.api_key
        ) as emulator:
            print(emulator.url, flush=True)  # noqa: T201 - programs read this line
            await trio.sleep_forever()

    run_until_signal(run)
    return ExitCode.DONE


def _make_brain(voice_activity: str | None) -> Brain:
    """The best brain that can be had, with the voice activity detection that is asked for."""
    try:
        brain = Brain.local()
    except MissingExtra as error:
        if voice_activity == "silero":
            raise BadUse(str(error)) from error
        _note(f"{error}; until then it answers in tones and recognises nothing")
        return Brain(LocalMind(), ToneVoice(), EnergyDetector)
    detectors = {"silero": SileroDetector, "energy": EnergyDetector}
    return dataclasses.replace(brain, make_detector=detectors[voice_activity or "silero"])


def _note(message: str) -> None:
    print(f"trio-rt: {message}", file=sys.stderr)  # noqa: T201
