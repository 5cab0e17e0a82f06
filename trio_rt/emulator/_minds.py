"""Minds: what the emulated service says and which tools it calls.

`ScriptedMind` does what it is told to; `LocalMind` answers by rules, in the order of its table.
Neither keeps a clock or throws dice: the same requests get the same answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from trio_rt.emulator import _phrases
from trio_rt.emulator._matching import Question, arguments_for, best_tool, forced_arguments
from trio_rt.emulator._outputs import spoken_output
from trio_rt.emulator._roles import Action, Call, Request, Say, Turn
from trio_rt.emulator._sums import find_sum

__all__ = ["LocalMind", "Reply", "ScriptedMind"]

Reply = str | Say | Call | Sequence[str | Say | Call] | Callable[[Request], "Reply"]
"""What a `ScriptedMind` answers once: words, a call, several, or a function that decides."""


class ScriptedMind:
    """Says and calls what it is told to, one reply for each request.

    After the last reply it repeats that one, unless that calls a tool (its caller would call for
    ever): then it says that it has nothing more to say.

    Args:
        *replies: Each words, a `Say`, a `Call`, a sequence of these, or a function of the request
            that gives one of these.
    """

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)
        self._position = 0

    def reply(self, request: Request) -> Sequence[Action]:
        """The next reply; see `Mind.reply`."""
        if not self._replies:
            return [Say("I have nothing to say.")]
        at_end = self._position >= len(self._replies)
        actions = _actions(self._replies[min(self._position, len(self._replies) - 1)], request)
        self._position += 1
        if at_end and any(isinstance(action, Call) for action in actions):
            return [Say("I have nothing more to say.")]
        return actions


def _actions(reply: Reply, request: Request) -> list[Action]:
    if callable(reply):
        return _actions(reply(request), request)
    parts = [reply] if isinstance(reply, str | Say | Call) else reply
    return [Say(part) if isinstance(part, str) else part for part in parts]


class LocalMind:
    """Answers by rules: time and date, sums, the caller's tools, courtesies; else what it heard.

    It takes words as recognition gives them: numbers as words or digits, some of them misheard.
    """

    def reply(self, request: Request) -> Sequence[Action]:
        """Answer the last turn; see `Mind.reply`."""
        if spoken := _dictated(request.instructions):
            return [Say(spoken)]
        if outputs := _last_outputs(request.history):
            return [Say(" ".join(outputs))]
        text = _last_question(request.history)
        if text is None:
            return [Say(_unasked(request))]
        if not text.strip():
            return [Say("Sorry, I did not hear anything.")]
        return [_forced_call(text, request) or _answer(text, request)]


_DICTATION = re.compile(
    r"\bsay exactly(?: this| the following)?\s*[:,]?\s*(.+)", re.IGNORECASE | re.DOTALL
)
_TASK = re.compile(
    r"^\s*(?:please )?(?:say|tell (?:the user|them)|ask)\b[:,]?\s*(.+)", re.IGNORECASE | re.DOTALL
)


def _dictated(instructions: str) -> str:
    """The words of an instruction that dictates them, else nothing."""
    found = _DICTATION.search(instructions)
    return _unquoted(found[1]) if found else ""


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] in "\"'“" and text[-1] in "\"'”" else text


def _last_outputs(history: Sequence[Turn]) -> list[str]:
    """What the tools gave since anybody else said something, as sentences, oldest first."""
    outputs: list[str] = []
    for turn in reversed(history):
        if turn.role not in {"tool_output", "tool_call"}:
            break
        if turn.role == "tool_output":
            outputs.insert(0, spoken_output(turn.text))
    return outputs


def _last_question(history: Sequence[Turn]) -> str | None:
    """What the user said last, None where that is answered already or nothing was said."""
    for turn in reversed(history):
        if turn.role == "user":
            return turn.text
        if turn.role == "assistant":
            return None
    return None


def _unasked(request: Request) -> str:
    """What to say when nobody asked anything: the instructions' task, or a greeting."""
    task = _TASK.match(request.instructions)
    return _unquoted(task[1]) if task else "Hello! How can I help you?"


def _forced_call(text: str, request: Request) -> Call | None:
    """The call that `tool_choice` demands, if it demands one and there is such a tool."""
    if request.tool_choice in {"auto", "none"} or not request.tools:
        return None
    question = Question.of(text)
    if request.tool_choice == "required":
        tool = best_tool(question, request.tools) or request.tools[0]
    else:
        named = [tool for tool in request.tools if tool.name == request.tool_choice]
        if not named:
            return None
        tool = named[0]
    return Call(tool.name, forced_arguments(question, tool))


def _answer(text: str, request: Request) -> Action:
    if request.tool_choice != "none" and (action := _use_tool(text, request)):
        return action
    for rule in _RULES:
        if answer := rule(text, request):
            return Say(answer)
    heard = text.strip() if text.strip()[-1] in ".?!" else f"{text.strip()}."
    return Say(f"You said: {heard} I can tell the time, do sums and use your tools.")


# Where a tool lacks an argument, the mind asks for it; the next turn is then taken as the answer.
_ASKED = "For which "
_LONGEST_ANSWER = 5  # words


def _use_tool(text: str, request: Request) -> Action | None:
    question = Question.of(text)
    earlier = _question_asked_back(request.history)
    # An answer is short; whoever asks something new instead gets that answered.
    if earlier is not None and len(_phrases.words(text)) <= _LONGEST_ANSWER and "?" not in text:
        question = Question.of(earlier, answer=text)
    tool = best_tool(question, request.tools)
    if tool is None:
        return None
    arguments, missing = arguments_for(question, tool)
    if missing:
        return Say(f"{_ASKED}{_phrases.spaced(missing[0])}?")
    return Call(tool.name, arguments)


def _question_asked_back(history: Sequence[Turn]) -> str | None:
    """The question before the last one, if the mind asked back for what it lacked."""
    spoken = [turn for turn in history if turn.role in {"user", "assistant"}]
    if len(spoken) < 3 or not spoken[-2].text.startswith(_ASKED):
        return None
    return spoken[-3].text


def _tell_time(text: str, request: Request) -> str:
    if not _TIME_QUESTION.search(text):
        return ""
    return f"It is {_phrases.spoken_time(request.now)}."


def _tell_date(text: str, request: Request) -> str:
    if not _DATE_QUESTION.search(text):
        return ""
    return f"Today is {_phrases.spoken_date(request.now)}."


def _do_sum(text: str, request: Request) -> str:  # noqa: ARG001 - every rule takes both
    found = find_sum(text)
    return found.answer() if found else ""


def _repeat(text: str, request: Request) -> str:  # noqa: ARG001 - every rule takes both
    found = _REPEAT.match(text)
    return _unquoted(found[1]) if found else ""


def _be_polite(text: str, request: Request) -> str:  # noqa: ARG001 - every rule takes both
    plain = " ".join(_phrases.words(text))
    return next((answer for pattern, answer in _COURTESIES if pattern.search(plain)), "")


def _help(text: str, request: Request) -> str:
    if not _HELP.search(text):
        return ""
    names = [_phrases.spaced(tool.name) for tool in request.tools]
    tools = f" I can also use these tools: {_phrases.spoken_list(names)}." if names else ""
    return f"I can tell the time and the date and do sums.{tools}"


_TIME_QUESTION = re.compile(
    r"\b(?:what|what's|whats|tell|have|know|current|give)\b[^.?!]*\btime\b(?! (?:do|does|did|will))"
    r"|\bwhat o'?clock\b|\bhow late is it\b",
    re.IGNORECASE,
)
_DATE_QUESTION = re.compile(
    r"\b(?:what|what's|whats|which|tell|know|give)\b[^.?!]*\b(?:date|day (?:is|of)|month|year is)\b"
    r"|\bwhat'?s? (?:is )?today\b",
    re.IGNORECASE,
)
_REPEAT = re.compile(
    r"\s*(?:please )?(?:say|repeat(?: after me)?)\b[:,]? (.+)", re.IGNORECASE | re.DOTALL
)
_HELP = re.compile(r"\bwhat (?:can|do) you do\b|\bhelp\b|\bwhat tools\b", re.IGNORECASE)
_COURTESIES = [
    (re.compile(r"\b(?:good ?bye|bye|see you)\b"), "Goodbye!"),
    (re.compile(r"\bthank"), "You are welcome."),
    (re.compile(r"\bhow are you\b"), "I am fine, thank you. How can I help you?"),
    (
        re.compile(r"\b(?:who are you|(?:what is|what's|whats) your name)\b"),
        "I am the voice of the local emulator. I answer by rules, without a network.",
    ),
    (
        re.compile(r"^(?:hello|hi|hey|good (?:morning|afternoon|evening|day))(?: \S+){0,3}$"),
        "Hello! How can I help you?",
    ),
]
_RULES: Sequence[Callable[[str, Request], str]] = (
    _do_sum,
    _tell_time,
    _tell_date,
    _repeat,
    _help,
    _be_polite,
)
