"""Which of the caller's tools a question fits, and what its words say about the arguments.

A tool fits by the words that its name, its description, its parameters and their values share with
the question; a name counts more than a description, and two words more than one.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from trio_rt.emulator._phrases import digits, spaced, stem, words
from trio_rt.emulator._roles import ToolInfo
from trio_rt.emulator._sums import find_sum

__all__ = ["Question", "arguments_for", "best_tool", "forced_arguments"]

# A tool is called from this score on: one word of its name, or two of its description.
_THRESHOLD = 2.0
_NAME_WEIGHT = 2.5  # shared by the words of a name: `book` alone is not yet `book_table`
_VERB_WEIGHT = 0.5
_VALUE_WEIGHT = 1.5
_DESCRIPTION_WEIGHT = 1.0
_ALIKE = 0.8  # how alike two words must be to count as the same word, misheard
_SHORTEST_ALIKE = 5

# Words that say nothing about what a tool is for.
_EMPTY_WORDS = frozenset(
    words(
        """
        a about all also am an and any are as at be been by can call could current currently do
        does did for from function give given go going has have he help hello her here hey hi his
        how i if in into is it its just know let like look made make may me more much my need new
        no not now of on one or our out please query request result return returns she should so
        some than thank thanks that the their them then there these they this times to tool two up
        us used user using value want was we were what when where which who why will with would
        you your
        """
    )
)

# What a tool does rather than what it is about; a name of nothing else is about these.
_VERBS = frozenset(
    stem(word)
    for word in words(
        "add change check close create delete fetch find get list look make open perform put read"
        " remove run search send set show start stop switch tell turn update use"
    )
)

# Words that mean much the same; each is taken for the first of its row.
_SYNONYMS = {
    stem(other): stem(row.split()[0])
    for row in (
        "weather rain rainy snow sunny cloudy forecast umbrella windy storm",
        "temperature warm cold hot degrees celsius fahrenheit",
        "time clock hour",
        "date today calendar weekday",
        "calculate calculator calculation compute math arithmetic evaluate sum expression",
        "dice die roll throw",
        "email mail",
        "message text sms",
        "light lamp lights",
        "music song play",
        "price cost expensive cheap",
        "buy purchase order",
        "book reserve reservation booking",
        "stock share stocks",
        "remind reminder remember",
        "timer countdown alarm",
        "translate translation",
        "route directions navigate way",
        "news headline headlines",
    )
    for other in row.split()
}

_PLACES = {"city", "location", "place", "country", "town", "where", "region", "timezone", "address"}
_PEOPLE = {"person", "recipient", "to", "contact", "who"}
_TITLES = {"name", "title", "song", "artist", "called"}
_TOPICS = {"topic", "subject", "about"}
_FREE_TEXT = {"query", "text", "message", "question", "prompt", "input", "content", "body", "task"}
_DAYS = {"date", "day", "when"}
_HOURS = {"time", "hour"}

_PREPOSITIONS: Sequence[tuple[frozenset[str] | set[str], Sequence[str]]] = (
    (_PLACES, ("in", "for", "at", "of", "to", "near", "from")),
    (_PEOPLE, ("to", "for", "with", "called")),
    (_TITLES, ("called", "named", "titled", "for", "by")),
    (_TOPICS, ("about", "on", "of")),
)
_ANY_PREPOSITION = ("in", "for", "of", "about", "called", "named", "at", "to", "from", "on")
_BOUNDARY = re.compile(
    r"[,;.?!]|\b(?:in|for|at|of|to|near|from|about|on|by|with|called|named|and|please|today|tonight"
    r"|tomorrow|yesterday|now|right now|is|are|that|saying|like|this|next)\b",
    re.IGNORECASE,
)
_DAY = re.compile(
    r"\b(today|tonight|tomorrow|yesterday|(?:next )?(?:mon|tues|wednes|thurs|fri|satur|sun)day"
    r"|\d{4}-\d\d-\d\d)\b",
    re.IGNORECASE,
)
_HOUR = re.compile(
    r"\bat ((?:\d+(?::\d\d)?|[a-z]+)(?: o'?clock| ?[ap]\.?m\b\.?)?|noon|midnight)", re.IGNORECASE
)
_LISTED = re.compile(r"\b(?:add|order|buy|of|for|with|about)\s+(.+)", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:the|a|an|my|your|our|some)\s+", re.IGNORECASE)
_AROUND_ANSWER = re.compile(r"^(?:in|for|at|to|on|the|it is|it's)\s+|[\s,]+please$", re.IGNORECASE)
_NEGATIONS = frozenset(
    ["off", "no", "not", "without", "disable", "don't", "never", "stop", "close"]
)


@dataclass(frozen=True)
class Question:
    """What the user wants, in the forms that matching needs.

    Attributes:
        text: The words as they were heard.
        stems: Their stems, without those that say nothing.
        numbers: The numbers in it with the word that follows each, in order.
        answer: What the user said when asked back for a lacking argument; else empty.
        expression: The sum in it, as an expression; else empty.
    """

    text: str
    stems: frozenset[str]
    numbers: tuple[tuple[float, str], ...]
    answer: str = ""
    expression: str = ""

    @classmethod
    def of(cls, text: str, *, answer: str = "") -> Question:
        """Take a text apart.

        Args:
            text: The question.
            answer: What was said when the mind asked back.
        """
        found = find_sum(text)
        stems = _stems(f"{text} {answer}")
        if found is not None:
            # `times` in a sum is no question for the time.
            stems = (stems - {_canonical("time")}) | {_canonical("calculate")}
        numbers = tuple(
            (float(number), following.lower())
            for number, following in re.findall(
                r"(?<![\w.])(-?\d+(?:\.\d+)?)(?:\s+([a-z]+))?",
                _heard_numbers(f"{text} {answer}"),
                re.IGNORECASE,
            )
        )
        return cls(
            text,
            stems,
            numbers,
            _AROUND_ANSWER.sub("", answer.strip(" .?!")),
            found.expression if found else "",
        )


def _heard_numbers(text: str) -> str:
    """Number words as digits; `roll too dice` is what recognition makes of `roll two dice`."""
    return digits(re.sub(r"\btoo (?=[a-z]+)", "two ", text))


def _canonical(word: str) -> str:
    stemmed = stem(word)
    return _SYNONYMS.get(stemmed, stemmed)


def _stems(text: str) -> frozenset[str]:
    return frozenset(
        _canonical(word)
        for word in words(text)
        if word not in _EMPTY_WORDS and not word.isdecimal()
    )


def best_tool(question: Question, tools: Sequence[ToolInfo]) -> ToolInfo | None:
    """The tool that fits a question best; the first of equals; None where none fits.

    Args:
        question: What the user wants.
        tools: The tools that may be called.
    """
    scored = [(_score(question, tool), tool) for tool in tools]
    score, tool = max(scored, key=lambda pair: pair[0], default=(0.0, None))
    return tool if score >= _THRESHOLD else None


def _score(question: Question, tool: ToolInfo) -> float:
    weights = dict.fromkeys(_stems(tool.description), _DESCRIPTION_WEIGHT)
    for name, schema in _properties(tool).items():
        described = f"{spaced(name)} {schema.get('description', '')}"
        weights |= dict.fromkeys(_stems(described), _DESCRIPTION_WEIGHT)
        values = " ".join(spaced(str(value)) for value in schema.get("enum", ()))
        weights |= dict.fromkeys(_stems(values), _VALUE_WEIGHT)
    weights |= _name_weights(tool.name)
    return sum(_weight(word, weights) for word in question.stems)


def _name_weights(name: str) -> dict[str, float]:
    stems = _stems(spaced(name))
    topics = stems - _VERBS or stems
    weight = _NAME_WEIGHT / math.sqrt(len(topics)) if topics else 0.0
    return dict.fromkeys(stems, _VERB_WEIGHT) | dict.fromkeys(topics, weight)


def _weight(word: str, weights: Mapping[str, float]) -> float:
    """What a word of the question counts for; less where it is only like one of the tool's."""
    if word in weights or len(word) < _SHORTEST_ALIKE:
        return weights.get(word, 0.0)
    alike = difflib.get_close_matches(word, weights, n=1, cutoff=_ALIKE)
    return _ALIKE * weights[alike[0]] if alike and len(alike[0]) >= _SHORTEST_ALIKE else 0.0


def arguments_for(question: Question, tool: ToolInfo) -> tuple[dict[str, Any], list[str]]:
    """Fill a tool's parameters from a question.

    Args:
        question: What the user wants.
        tool: The tool to call.

    Returns:
        The arguments that were found, and the names of required parameters that were not.
    """
    arguments: dict[str, Any] = {}
    missing: list[str] = []
    taken = _Taken(question, about=_about(tool))
    required = _required(tool)
    for name, schema in sorted(_properties(tool).items(), key=lambda item: _order(item, taken)):
        value = _value(name, schema, taken, required=name in required)
        if value is not None:
            arguments[name] = value
        elif name in required:
            missing.append(name)
    if question.answer and len(missing) == 1 and _type(_properties(tool)[missing[0]]) == "string":
        arguments[missing.pop()] = question.answer
    return arguments, missing


def _about(tool: ToolInfo) -> frozenset[str]:
    """Stems of what the tool is for and of its fixed values, which are no free text's value."""
    values = [value for schema in _properties(tool).values() for value in schema.get("enum", ())]
    return _stems(" ".join([spaced(tool.name), tool.description, *map(str, values)]))


def forced_arguments(question: Question, tool: ToolInfo) -> dict[str, Any]:
    """As `arguments_for`, with something that fits the schema where the question has nothing.

    Args:
        question: What the user wants.
        tool: The tool that has to be called.
    """
    arguments, missing = arguments_for(question, tool)
    for name in missing:
        arguments[name] = _placeholder(_properties(tool)[name], question.text)
    return arguments


class _Taken:
    """A question whose numbers and words are used up by the arguments that take them."""

    def __init__(self, question: Question, *, about: frozenset[str]) -> None:
        self.question = question
        self.about = about
        self.numbers = list(question.numbers)
        self.phrases: set[str] = set()


def _order(item: tuple[str, Mapping[str, Any]], taken: _Taken) -> int:
    """Parameters that the question names take their numbers before the others."""
    name, schema = item
    if _type(schema) not in {"integer", "number"}:
        return 2
    return 0 if _named_number(name, taken) is not None else 1


def _value(name: str, schema: Mapping[str, Any], taken: _Taken, *, required: bool) -> Any:
    """The argument that the question has for a parameter, or None."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return _enum_value(schema["enum"], taken.question)
    match _type(schema):
        case "integer":
            number = _number(name, taken)
            return None if number is None else round(number)
        case "number":
            return _number(name, taken)
        case "boolean":
            return _boolean(name, taken.question, required=required)
        case "array":
            return _items(_mapping(schema.get("items")), taken)
        case "string":
            return _string(name, taken, required=required)
        case _:
            return None


def _enum_value(values: Sequence[Any], question: Question) -> Any:
    """The value that the question names: as it stands, or by its stems."""
    plain = f" {' '.join(words(_heard_numbers(f'{question.text} {question.answer}')))} "
    for value in values:
        if f" {spaced(str(value))} " in plain:
            return value
    spoken = {stem(word) for word in words(plain)}
    for value in values:
        stems = {stem(word) for word in words(spaced(str(value)))}
        if stems and stems <= spoken:
            return value
    return values[0] if len(values) == 1 else None


def _named_number(name: str, taken: _Taken) -> int | None:
    """Which number the question ties to a parameter: `20 sides` for `sides`."""
    wanted = {stem(word) for word in spaced(name).split()}
    for position, (_, following) in enumerate(taken.numbers):
        if following and stem(following) in wanted:
            return position
    return None


def _number(name: str, taken: _Taken) -> float | None:
    if not taken.numbers:
        return None
    number, _ = taken.numbers.pop(_named_number(name, taken) or 0)
    return number


def _boolean(name: str, question: Question, *, required: bool) -> bool | None:
    spoken = set(words(question.text))
    on_off = {"on", "off"} & spoken
    mentioned = bool(_stems(spaced(name)) & question.stems)
    if on_off or mentioned:
        return not spoken & _NEGATIONS
    return False if required else None


def _items(schema: Mapping[str, Any], taken: _Taken) -> list[Any] | None:
    if _type(schema) in {"integer", "number"}:
        whole = _type(schema) == "integer"
        numbers = [round(number) if whole else number for number, _ in taken.numbers]
        taken.numbers.clear()
        return numbers or None
    match = re.search(
        r"\b(?:add|order|buy|of|for|with|about)\s+(.+)", taken.question.text, re.IGNORECASE
    )
    if match is None:
        return None
    listed = re.split(r"\s+\b(?:to|on|from|in|please)\b|[.?!]", match[1], maxsplit=1)[0]
    items = [_trimmed(item) for item in re.split(r",\s*(?:and\s+)?|\s+and\s+", listed)]
    return [item for item in items if item] or None


def _string(name: str, taken: _Taken, *, required: bool) -> str | None:
    kinds = set(spaced(name).split())
    text = taken.question.text
    if kinds & _FREE_TEXT or "expression" in kinds:
        if taken.question.expression and kinds & {"expression", "query", "input", "question"}:
            return taken.question.expression
        return _quoted_or_after(text) or (text.strip() if required else None)
    if kinds & _DAYS:
        return match[1].lower() if (match := _DAY.search(text)) else None
    if kinds & _HOURS and (match := _HOUR.search(text)):
        return match[1]
    return None if kinds <= _HOURS else _phrase(kinds, taken)


def _quoted_or_after(text: str) -> str | None:
    """What somebody dictates: in quotation marks, or after `that` or `saying`."""
    match = re.search(r"[\"“](.+?)[\"”]|\b(?:saying|that says|that)\s+(.+)", text)
    return (match[1] or match[2]).strip(" .?!") if match else None


def _phrase(kinds: set[str], taken: _Taken) -> str | None:
    """The words after a preposition that fits the parameter's name, or a name with a capital."""
    fitting = [found for group, found in _PREPOSITIONS if group & kinds]
    prepositions = fitting[0] if fitting else _ANY_PREPOSITION
    # A parameter that is itself called by a preposition (`from_city`) takes only that one.
    prepositions = tuple(kinds & set(_ANY_PREPOSITION)) or prepositions
    for preposition in prepositions:
        for match in re.finditer(rf"\b{preposition}\s+", taken.question.text, re.IGNORECASE):
            phrase = _trimmed(_BOUNDARY.split(taken.question.text[match.end() :], maxsplit=1)[0])
            if _is_phrase(phrase, taken):
                taken.phrases.add(phrase)
                return phrase
    return _capitalised(taken)


def _is_phrase(phrase: str, taken: _Taken) -> bool:
    says_something = re.search(r"\d", phrase) or not _stems(phrase) <= taken.about
    return phrase not in taken.phrases and bool(says_something)


def _capitalised(taken: _Taken) -> str | None:
    """A name in the middle of the question, as recognition writes names."""
    for match in re.finditer(r"(?<=[a-z,] )([A-Z]\w+(?: [A-Z]\w+)*)", taken.question.text):
        if _is_phrase(match[1], taken):
            taken.phrases.add(match[1])
            return match[1]
    return None


def _trimmed(phrase: str) -> str:
    return re.sub(
        r"^(?:the|a|an|my|your|our|some)\s+", "", phrase.strip(" \"'"), flags=re.IGNORECASE
    )


def _placeholder(schema: Mapping[str, Any], text: str) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    if "default" in schema:
        return schema["default"]
    match _type(schema):
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
        case "array":
            return []
        case "object":
            return {}
        case _:
            return text.strip()


def _properties(tool: ToolInfo) -> Mapping[str, Mapping[str, Any]]:
    return {
        name: _mapping(schema)
        for name, schema in _mapping(tool.parameters.get("properties")).items()
    }


def _required(tool: ToolInfo) -> set[str]:
    names: object = tool.parameters.get("required")
    return set(cast("Iterable[str]", names)) if isinstance(names, list | tuple) else set()


def _mapping(value: object) -> Mapping[str, Any]:
    """A part of a client's schema that should be an object; empty where it is none."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _type(schema: Mapping[str, Any]) -> str:
    """The schema's type; of several, the first that is not null."""
    kind: object = schema.get("type")
    if kind is None:
        branches: Sequence[Any] = schema.get("anyOf") or schema.get("oneOf") or ()
        kind = [_type(_mapping(branch)) for branch in branches]
    if isinstance(kind, list | tuple):
        kinds = [str(item) for item in cast("Sequence[Any]", kind) if item != "null"]
        return kinds[0] if kinds else "string"
    return str(kind)
