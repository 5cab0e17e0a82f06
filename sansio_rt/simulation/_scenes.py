"""Scenes: a few actions that belong together, and that chance would hardly ever put so close."""

from __future__ import annotations

from collections.abc import Callable

from . import actions
from ._chance import Chance
from ._plan import Action

__all__ = ["SCENES"]


def _closes_behind_its_last_word(chance: Chance, at_s: float) -> list[Action]:
    """A reply begins that nobody wants any more, and the server closes: both are heard at once.

    Meanwhile the next connection stands ready, which takes over only when the caller has spoken.
    """
    code = chance.choice((1000, 1001, 1011))
    return [
        actions.Restart(at_s=at_s, patience_s=8.0),
        actions.Speak(at_s=at_s, length_ms=3000, commit=False),
        actions.Stall(at_s=at_s + 2.0, seconds=0.8, down_only=True),
        actions.Ask(at_s=at_s + 2.01, beside=True),
        actions.GiveUp(at_s=at_s + 2.02),
        actions.ServerCloses(at_s=at_s + 2.6, code=code),
    ]


def _expires_beside_the_next(chance: Chance, at_s: float) -> list[Action]:
    """The session ends while the next connection waits for the caller to have spoken."""
    expires_s = at_s + 0.5 + 2.0 * chance.random()
    return [
        actions.Restart(at_s=at_s, patience_s=8.0),
        actions.Speak(at_s=at_s, length_ms=3000, commit=chance.random() < 0.5),
        actions.ServerComplains(at_s=expires_s, code="session_expired", close_code=1001),
    ]


def _speaks_at_the_change(chance: Chance, at_s: float) -> list[Action]:
    """The caller begins to speak while one connection takes over from the other."""
    typed_s = at_s + 1.5 * chance.random()
    return [
        actions.Restart(at_s=at_s, patience_s=8.0),
        actions.Type(at_s=typed_s, reply=False),
        actions.Speak(at_s=typed_s + 0.1 * chance.random(), length_ms=600),
    ]


def _answers_late(chance: Chance, at_s: float) -> list[Action]:
    """An answer comes so late that it meets the next command of its kind."""
    kind = chance.choice(("input_audio_buffer.clear", "input_audio_buffer.commit"))
    acts = actions.Clear if kind == "input_audio_buffer.clear" else actions.Commit
    return [
        actions.ServerForgets(at_s=at_s, answer_to=kind, late_s=11.0),
        actions.Speak(at_s=at_s, length_ms=150, commit=False),
        acts(at_s=at_s + 0.3),
        actions.Speak(at_s=at_s + 10.1, length_ms=150, commit=False),
        actions.ServerForgets(at_s=at_s + 10.2, answer_to=kind, late_s=2.0),
        acts(at_s=at_s + 10.5),
        actions.Type(at_s=at_s + 13.0, reply=False),
    ]


SCENES: tuple[Callable[[Chance, float], list[Action]], ...] = (
    _closes_behind_its_last_word,
    _expires_beside_the_next,
    _speaks_at_the_change,
    _answers_late,
)
"""All of them."""
