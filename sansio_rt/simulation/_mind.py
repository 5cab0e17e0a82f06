"""What answers in a simulation: a small mind for the server, and tools for the client."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from .._generations import GeneratedCall
from .._server_work import ReplyWanted
from ._chance import Chance

__all__ = [
    "Call",
    "Fail",
    "Mind",
    "Say",
    "ScriptedMind",
    "Step",
    "ToolResult",
    "Tools",
    "VariedTools",
]

_WORDS = ("yes", "no", "well then", "I cannot help with that", "one two three four", "")
_FAILURES = ("server_error", "rate_limit_exceeded", "content_filter")
_TOOL_NAMES = ("look", "count")


class Say(Struct, frozen=True, kw_only=True):
    """A message of a reply."""

    text: str
    """Its words."""
    audio_ms: int = 0
    """Length of its sound, where the reply is spoken."""
    after_s: float = 0.0
    """How long to think before it."""


class Call(Struct, frozen=True, kw_only=True):
    """A function call of a reply."""

    name: str
    """The function."""
    arguments: str = "{}"
    """JSON text."""
    after_s: float = 0.0
    """How long to think before it."""


class Fail(Struct, frozen=True, kw_only=True):
    """The end of a reply that cannot be made."""

    code: str
    """The service's error code."""
    after_s: float = 0.0
    """How long to think before it."""


Step = Say | Call | Fail


class Mind(Protocol):
    """Thinks of the server's replies."""

    def reply(self, wanted: ReplyWanted, chance: Chance) -> list[Step]:
        """The steps of one reply, in order; it is complete after the last one.

        Args:
            wanted: What is to be answered.
            chance: The source of its decisions.
        """
        ...


_SHORT = (
    Say(text="Hello there.", audio_ms=100),
    Say(text="Of course.", audio_ms=80),
    Say(text="Not yet.", audio_ms=60),
    Say(text="I see.", audio_ms=40),
)


class ScriptedMind:
    """Says this and that: words, sound, calls, several items, refusals, failures.

    Args:
        varied: Whether it does more than to say one short sentence.
    """

    def __init__(self, *, varied: bool = True) -> None:
        self._varied = varied

    def reply(self, wanted: ReplyWanted, chance: Chance) -> list[Step]:
        """A reply by chance; it calls functions only where no output was just given."""
        if not self._varied:
            return [_SHORT[int(chance.random() * len(_SHORT))]]
        steps: list[Step] = []
        what = chance.random()
        after_calls = bool(wanted.history) and wanted.history[-1].role == "tool_output"
        if wanted.tools and not after_calls and what < 0.35:
            if what < 0.15:
                steps.append(self._say(chance))
            steps.extend(self._call(chance) for _ in range(chance.randint(1, 2)))
            return steps
        steps.append(self._say(chance))
        if what > 0.85:
            steps.append(self._say(chance))
        if what > 0.92:
            steps.append(Fail(code=chance.choice(_FAILURES), after_s=_pause(chance)))
        return steps

    def _say(self, chance: Chance) -> Say:
        return Say(
            text=chance.choice(_WORDS),
            audio_ms=20 * chance.randint(0, 40),
            after_s=_pause(chance),
        )

    def _call(self, chance: Chance) -> Call:
        arguments = '{"at": "me"}' if chance.random() < 0.8 else '{"at": 7, "much": "more of it"}'
        return Call(name=chance.choice(_TOOL_NAMES), arguments=arguments, after_s=_pause(chance))


class ToolResult(Struct, frozen=True, kw_only=True):
    """What a tool gives."""

    output: str
    """What the model is told, of a failure, too."""
    after_s: float = 0.0
    """How long it takes."""


class Tools(Protocol):
    """Runs the client's tools."""

    def run(self, call: GeneratedCall, chance: Chance) -> ToolResult:
        """What becomes of one call.

        Args:
            call: The call.
            chance: The source of its decisions.
        """
        ...


class VariedTools:
    """Tools that are fast, slow, and fail at times; the slow ones may outlive a connection."""

    def run(self, call: GeneratedCall, chance: Chance) -> ToolResult:
        """A result by chance."""
        failed = chance.random() < 0.2
        output = '{"error": "it broke"}' if failed else f"{call.name} is done"
        return ToolResult(output=output, after_s=chance.choice((0.0, 0.05, 0.4, 2.5, 12.0)))


def _pause(chance: Chance) -> float:
    return chance.choice((0.0, 0.0, 0.02, 0.3))
