"""The caller model that comes with the simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import events
from .._config import SessionConfig, Timing
from .._retry import RetryPolicy
from . import actions
from ._chance import Chance
from ._network import Weather
from ._plan import Action, Kind, Plan, Setup
from ._scenes import SCENES

__all__ = ["TypicalCaller"]

PLAIN_TURNS = 10
_PLAIN = Setup(config=SessionConfig(turn_detection=None, instructions="Be brief."), varied=False)
_WORDS = ("hello", "thank you", "what time is it", "tell me more", "and then", "no, the other one")
_TOOLS = [
    events.FunctionTool(name=name, description=f"To {name}.", parameters={"type": "object"})
    for name in ("look", "count")
]


class TypicalCaller:
    """Types ten turns in a plain run; does everything there is in one with faults.

    Args:
        most_actions: How much the caller does at most in a run with faults.
        most_faults: How much goes wrong at most.
    """

    def __init__(self, *, most_actions: int = 12, most_faults: int = 4) -> None:
        self._most_actions = most_actions
        self._most_faults = most_faults

    def plan(self, chance: Chance, kind: Kind) -> Plan:
        """A plan by chance."""
        return _plain(chance) if kind is Kind.PLAIN else self._with_faults(chance)

    def _with_faults(self, chance: Chance) -> Plan:
        listens = chance.random() < 0.5
        setup = Setup(
            config=_config(chance, listens),
            weather=Weather(
                latency_s=chance.choice((0.0, 0.02, 0.15)),
                jitter_s=chance.choice((0.0, 0.05)),
                splits=chance.choice((1, 1, 3)),
            ),
            pace=chance.choice((None, 1.0, 4.0)),
            retry=_retry(chance) if chance.random() < 0.9 else None,
            timing=_timing(chance),
            session_s=chance.choice((3600.0, 3600.0, 3600.0, 20.0)),
        )
        plan: list[Action] = []
        now_s = 0.0
        for _ in range(chance.randint(3, self._most_actions)):
            now_s += chance.choice((0.0, 0.05, 0.3, 1.0, 2.5))
            plan.append(_one_of(_CALLER, chance)(chance, round(now_s, 3)))
        for _ in range(chance.randint(0, self._most_faults)):
            at_s = round(chance.uniform(0.0, now_s + 1.0), 3)
            plan.append(_one_of(_FAULTS, chance)(chance, at_s))
        if chance.random() < 0.15:
            scene = chance.choice(SCENES)
            plan += scene(chance, round(chance.uniform(0.8, now_s + 1.0), 3))
        if chance.random() < 0.05:
            plan.append(actions.HangUp(at_s=round(chance.uniform(0.0, now_s + 1.0), 3)))
        plan.sort(key=lambda action: action.at_s)
        return Plan(setup=setup, actions=plan)


def _plain(chance: Chance) -> Plan:
    turns = [
        actions.Type(at_s=1.0 + turn, words=_WORDS[int(chance.random() * len(_WORDS))])
        for turn in range(PLAIN_TURNS)
    ]
    return Plan(setup=_PLAIN, actions=turns)


def _config(chance: Chance, listens: bool) -> SessionConfig:
    detection = events.ServerVad(
        create_response=chance.random() < 0.8,
        interrupt_response=chance.random() < 0.5,
        silence_duration_ms=200,
    )
    transcription = events.Transcription(model="whisper-1")
    return SessionConfig(
        turn_detection=detection if listens else None,
        transcription=transcription if chance.random() < 0.8 else None,
        tools=_TOOLS if chance.random() < 0.7 else [],
        output_modalities=["audio"] if chance.random() < 0.8 else ["text"],
        instructions="Be there.",
    )


def _retry(chance: Chance) -> RetryPolicy:
    retry_first = chance.random() < 0.5
    if chance.random() < 0.3:  # few connects, so that the bound on them is reached
        return RetryPolicy(retry_first=retry_first, max_connects=4, window_s=20.0)
    return RetryPolicy(retry_first=retry_first)


def _timing(chance: Chance) -> Timing:
    return Timing(
        rotate_after_s=chance.choice((None, None, 2.0, 6.0)),
        rotation_patience_s=chance.choice((0.5, 3.0)),
    )


Maker = Callable[[Chance, float], Action]


def _one_of(table: tuple[tuple[int, Maker], ...], chance: Chance) -> Maker:
    return chance.choice([maker for weight, maker in table for _ in range(weight)])


def _update(chance: Chance, at_s: float) -> Action:
    changes: tuple[dict[str, Any], ...] = (
        {"instructions": "Be kind."},
        {"instructions": "Be brief.", "speed": 1.2},
        {"voice": "cedar"},
        {"max_output_tokens": 4096},
    )
    return actions.Update(at_s=at_s, changes=chance.choice(changes))


def _ask(chance: Chance, at_s: float) -> Action:
    return actions.Ask(
        at_s=at_s,
        beside=chance.random() < 0.3,
        patient=chance.random() < 0.8,
        modality=chance.choice((None, None, "text", "audio")),
        max_output_tokens=chance.choice((None, None, 3)),
    )


_CALLER: tuple[tuple[int, Maker], ...] = (
    (
        5,
        lambda chance, at_s: actions.Type(
            at_s=at_s,
            words=chance.choice(("one", "two words", "and three more")),
            role=chance.choice(("user", "user", "system")),
            reply=chance.random() < 0.7,
            patient=chance.random() < 0.8,
        ),
    ),
    (
        6,
        lambda chance, at_s: actions.Speak(
            at_s=at_s, length_ms=10 * chance.randint(15, 120), commit=chance.random() < 0.8
        ),
    ),
    (2, lambda _chance, at_s: actions.BargeIn(at_s=at_s)),
    (1, lambda _chance, at_s: actions.Interrupt(at_s=at_s)),
    (2, _ask),
    (1, lambda _chance, at_s: actions.GiveUp(at_s=at_s)),
    (1, lambda chance, at_s: actions.Delete(at_s=at_s, which=round(chance.random(), 2))),
    (1, lambda chance, at_s: actions.Retrieve(at_s=at_s, which=round(chance.random(), 2))),
    (
        2,
        lambda chance, at_s: actions.Edit(
            at_s=at_s,
            which=round(chance.random(), 2),
            how=chance.choice(("drop", "move", "insert")),
        ),
    ),
    (1, lambda chance, at_s: actions.Rewrite(at_s=at_s, which=round(chance.random(), 2))),
    (
        1,
        lambda chance, at_s: actions.Truncate(
            at_s=at_s, which=round(chance.random(), 2), share=round(chance.random(), 2)
        ),
    ),
    (1, _update),
    (1, lambda _chance, at_s: actions.Commit(at_s=at_s)),
    (1, lambda _chance, at_s: actions.Clear(at_s=at_s)),
    (
        1,
        lambda chance, at_s: actions.Restart(at_s=at_s, patience_s=chance.choice((None, 0.0, 1.0))),
    ),
    (1, lambda _chance, at_s: actions.ServerReplies(at_s=at_s)),
    (1, lambda _chance, at_s: actions.ServerEdits(at_s=at_s)),
)

_CONNECT_FAULTS = ("refused", "refused", "hangs", "silent", "closes", "429", "503", "401")
_FORGOTTEN = (
    "conversation.item.create",
    "conversation.item.create",
    "conversation.item.delete",
    "conversation.item.truncate",
    "conversation.item.retrieve",
    "input_audio_buffer.clear",
    "input_audio_buffer.commit",
    "response.cancel",
    "session.update",
)
_ODD = (
    '{"type":"session.sang","event_id":"odd","song":[1]}',
    '{"type":"response.done","odd":true}',
    "an odd message",
)

_FAULTS: tuple[tuple[int, Maker], ...] = (
    (4, lambda _chance, at_s: actions.Cut(at_s=at_s)),
    (5, lambda _chance, at_s: actions.Reset(at_s=at_s)),
    (
        5,
        lambda chance, at_s: actions.CutAfter(
            at_s=at_s,
            size_bytes=chance.randint(1, chance.choice((10, 500, 3000, 20_000))),
            down=chance.random() < 0.6,
        ),
    ),
    (2, lambda _chance, at_s: actions.Vanish(at_s=at_s)),
    (2, lambda chance, at_s: actions.Stall(at_s=at_s, seconds=chance.choice((0.2, 3.0, 14.0)))),
    (
        3,
        lambda chance, at_s: actions.ConnectFault(
            at_s=at_s,
            kind=chance.choice(_CONNECT_FAULTS),
            close_code=chance.choice((1000, 1001, 1008, 1011, 4000)),
            retry_after_s=chance.choice((None, 1)),
        ),
    ),
    (
        1,
        lambda chance, at_s: actions.ServerCloses(
            at_s=at_s, code=chance.choice((1000, 1001, 1008, 1011, 4000))
        ),
    ),
    (
        1,
        lambda chance, at_s: actions.ServerComplains(
            at_s=at_s,
            code=chance.choice(("server_error", "session_expired")),
            close_code=chance.choice((None, 1001)),
        ),
    ),
    (
        4,
        lambda chance, at_s: actions.ServerForgets(
            at_s=at_s,
            answer_to=chance.choice(_FORGOTTEN),
            late_s=chance.choice((None, None, 11.0, 25.0)),
        ),
    ),
    (1, lambda _chance, at_s: actions.ServerMutes(at_s=at_s)),
    (1, lambda chance, at_s: actions.OddMessage(at_s=at_s, text=chance.choice(_ODD))),
)
