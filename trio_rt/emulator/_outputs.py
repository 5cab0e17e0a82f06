"""Reads out what a tool gave: JSON or plain text, as one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeGuard

from trio_rt.emulator._phrases import spaced, spoken_date, spoken_list, spoken_time

__all__ = ["spoken_output"]

_LONGEST = 500
_MOST_ITEMS = 5
_UNIT_NAMES = {"unit", "units", "temperature_unit", "currency"}
_UNITS = {
    "c": "degrees Celsius",
    "celsius": "degrees Celsius",
    "°c": "degrees Celsius",
    "f": "degrees Fahrenheit",
    "fahrenheit": "degrees Fahrenheit",
    "°f": "degrees Fahrenheit",
    "km": "kilometers",
    "kg": "kilograms",
    "m": "meters",
    "%": "percent",
}
_FAILURE_NAMES = {"error", "errors", "exception"}


def spoken_output(output: str) -> str:
    """What a tool gave, as a sentence.

    Args:
        output: The tool's output as the client sent it: JSON, or any text.
    """
    try:
        value: object = json.loads(output)
    except ValueError:
        value = output
    sentence = _sentence(value)
    return sentence if len(sentence) <= _LONGEST else sentence[:_LONGEST].rsplit(" ", 1)[0] + " …"


def _sentence(value: object) -> str:
    if value is None or value is True or value == "":
        return "Done."
    if value is False:
        return "The answer is no."
    if value == [] or value == {}:
        return "There is nothing."
    if isinstance(value, str):
        return _text_sentence(value.strip())
    if _is_list(value):
        return _list_sentence(value)
    if _is_object(value):
        return _object_sentence(value)
    return f"The result is {_spoken(value)}."


def _text_sentence(text: str) -> str:
    if moment := _moment(text):
        return f"It is {moment}."
    if not text or " " not in text:
        return f"The result is {text}." if text else "Done."
    return text if text[-1] in ".!?…" else f"{text}."


def _list_sentence(values: Sequence[Any]) -> str:
    if all(not isinstance(value, dict | list) for value in values):
        noun = "results are" if len(values) > 1 else "result is"
        return f"The {noun} {_spoken(values)}."
    shown = " ".join(_sentence(value) for value in values[:_MOST_ITEMS])
    return f"There are {len(values)} results. {shown}" if len(values) > 1 else shown


def _object_sentence(fields: Mapping[str, Any]) -> str:
    failure = next((fields[name] for name in fields if name.lower() in _FAILURE_NAMES), None)
    if failure:
        return f"Sorry, that did not work: {_spoken(failure)}."
    clauses = _clauses(fields)
    if not clauses:
        return "Done."
    sentence = spoken_list(clauses)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _clauses(fields: Mapping[str, Any]) -> list[str]:
    """`the temperature is 21 degrees Celsius`, one for each field that says something."""
    unit = next((str(fields[name]) for name in fields if name.lower() in _UNIT_NAMES), "")
    unit = _UNITS.get(unit.lower(), unit)
    numbers = [name for name, value in fields.items() if _is_number(value)]
    clauses: list[str] = []
    for name, value in fields.items():
        if value is None or value == "" or (numbers and name.lower() in _UNIT_NAMES):
            continue
        spoken = _spoken(value)
        if unit and name == numbers[0]:
            spoken = f"{spoken} {unit}"
        clauses.append(f"the {spaced(name)} {'are' if _is_many(value) else 'is'} {spoken}")
    return clauses


def _spoken(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, str):
        return _moment(value) or value.strip().rstrip(".")
    if _is_list(value):
        return spoken_list([_spoken(item) for item in value[:_MOST_ITEMS]]) or "nothing"
    if _is_object(value):
        return spoken_list(_clauses(value)) or "nothing"
    return str(value)


def _moment(text: str) -> str:
    """A time or a date in ISO 8601 as one says it; empty where the text is none."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d\S*)?|\d\d:\d\d(?::\d\d)?", text.strip()):
        return ""
    try:
        if "-" not in text[:5]:
            return spoken_time(datetime.strptime(text.strip()[:5], "%H:%M"))
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return ""
    date = spoken_date(moment)
    return date if len(text.strip()) == len("2026-01-31") else f"{spoken_time(moment)} on {date}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_many(value: object) -> bool:
    return _is_list(value) and len(value) > 1


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)
