"""Words: how minds take a sentence apart and how they say numbers, times and lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

__all__ = [
    "digits",
    "spaced",
    "spoken_date",
    "spoken_list",
    "spoken_time",
    "stem",
    "words",
]

_WORD = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; numbers stay whole."""
    return [word.lower().replace("\u2019", "'") for word in _WORD.findall(text)]


_UNITS = {
    word: value
    for value, word in enumerate(
        words(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
            " fifteen sixteen seventeen eighteen nineteen"
        )
    )
}
_TENS = {
    word: value
    for value, word in zip(
        range(20, 100, 10),
        words("twenty thirty forty fifty sixty seventy eighty ninety"),
        strict=True,
    )
}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_SMALL = _UNITS | _TENS | {"a": 1}
_NAMES = "|".join([*_UNITS, *_TENS, *_SCALES])
_A = rf"a(?=\s(?:{'|'.join(_SCALES)})\b)"
_NUMBER_RUN = re.compile(
    rf"\b(?:{_NAMES}|{_A})(?:(?:\s|-)+(?:and\s+)?(?:{_NAMES}))*\b", re.IGNORECASE
)
_RUN_WORD = re.compile(r"[a-z]+")
_ENDINGS = ("ations", "ation", "ators", "ator", "ings", "ing", "ers", "ies", "ed", "er", "es", "s")


def stem(word: str) -> str:
    """A word without its ending, so that `rolling` and `rolls` are one; rough, English."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def spaced(name: str) -> str:
    """A name in a program (`get_currentWeather`) as words (`get current weather`)."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return " ".join(re.split(r"[\s_\-.]+", parted)).strip().lower()


def digits(text: str) -> str:
    """A text with its number words as digits: `twenty-one plus two hundred` as `21 plus 200`.

    Single digits in a row stay apart, as one says an order number or a telephone number.
    """
    text = _NUMBER_RUN.sub(lambda run: " ".join(_numbers(_RUN_WORD.findall(run[0].lower()))), text)
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    return re.sub(r"(?<=\d) point (\d(?: \d)*)\b", lambda run: f".{run[1].replace(' ', '')}", text)


def _numbers(run: Sequence[str]) -> list[str]:
    """The numbers that a row of number words holds, with the `and` between two of them."""
    numbers: list[str] = []
    total = current = 0
    last = ""
    for word in run:
        joins = _continues(last, word)
        if last and not joins:
            numbers.append(str(total + current))
            total = current = 0
        if word == "and":
            if not joins:
                numbers.append(word)
                last = ""
            continue
        if word in _SCALES and word != "hundred":
            total, current = total + max(current, 1) * _SCALES[word], 0
        elif word == "hundred":
            current = max(current, 1) * 100
        else:
            current += _SMALL[word]
        last = word
    return [*numbers, str(total + current)]


def _continues(last: str, word: str) -> bool:
    """Whether a number word goes on with the number before: `one` after `twenty`, not `two`."""
    if word in _SCALES:
        return True
    if word == "and" or last in _SCALES:
        return last in _SCALES
    return last in _TENS and 0 < _SMALL[word] < 10


def spoken_list(items: Sequence[str]) -> str:
    """Items with commas and an `and`: `a, b and c`."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def spoken_time(moment: datetime) -> str:
    """A time of day as one says it: `2:05 PM`."""
    return f"{(moment.hour + 11) % 12 + 1}:{moment.minute:02} {'AM' if moment.hour < 12 else 'PM'}"


def spoken_date(moment: datetime) -> str:
    """A date as one says it: `Sunday, November 22, 2026`."""
    return f"{_WEEKDAYS[moment.weekday()]}, {_MONTHS[moment.month - 1]} {moment.day}, {moment.year}"


# Not strftime: that depends on the locale.
_WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_MONTHS = [
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
]
