"""Mental arithmetic: finds a sum in a sentence and says its result."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import NamedTuple

from trio_rt.emulator._phrases import digits

__all__ = ["Sum", "find_sum"]

_N = r"(-?\d+(?:\.\d+)?)"

# What stands in the sentence (numbers as digits), how it is said back, and what is to be worked
# out.
_FORMS = [
    (rf"{_N} ?(?:%|percent|per cent) of {_N}", "{0} percent of {1}", "{0} / 100 * {1}"),
    (rf"\bhalf (?:of )?{_N}", "Half of {0}", "{0} / 2"),
    (rf"\bthird of {_N}", "A third of {0}", "{0} / 3"),
    (rf"\bquarter of {_N}", "A quarter of {0}", "{0} / 4"),
    (rf"\b(?:double|twice)(?: of)? {_N}", "Twice {0}", "2 * {0}"),
    (rf"\b(?:square )?root of {_N}", "The square root of {0}", "{0} ^ 0.5"),
    (rf"\bsquare of {_N}", "The square of {0}", "{0} ^ 2"),
    (rf"{_N} squared?\b", "{0} squared", "{0} ^ 2"),
    (rf"\bcube of {_N}", "The cube of {0}", "{0} ^ 3"),
    (rf"{_N} cubed?\b", "{0} cubed", "{0} ^ 3"),
    (rf"\b(?:add|sum of) {_N} (?:and|to|with) {_N}", "{0} plus {1}", "{0} + {1}"),
    (rf"\b(?:subtract|take) {_N} (?:away )?from {_N}", "{1} minus {0}", "{1} - {0}"),
    (rf"\bdifference (?:between|of) {_N} and {_N}", "{0} minus {1}", "{0} - {1}"),
    (rf"\b(?:multiply|product of) {_N} (?:and|by|with) {_N}", "{0} times {1}", "{0} * {1}"),
    (rf"\bdivide {_N} (?:by|with) {_N}", "{0} divided by {1}", "{0} / {1}"),
]
_COMPILED_FORMS = [
    (re.compile(pattern, re.IGNORECASE), said, work) for pattern, said, work in _FORMS
]

_OPERATORS = {
    "^": r"to the power of|\^|\*\*",
    "*": r"multiplied (?:by|with)|times|\u00d7|\*|x",
    "/": r"divided by|over|\u00f7|/",
    "+": r"plus|\+",
    "-": r"minus|\u2212|-",
}
_SPOKEN = {"^": "to the power of", "*": "times", "/": "divided by", "+": "plus", "-": "minus"}
_ANY_OPERATOR = "|".join(_OPERATORS.values())
_CHAIN = re.compile(rf"{_N}(?: ?(?:{_ANY_OPERATOR}) ?{_N})+", re.IGNORECASE)
_PIECE = re.compile(
    rf"((?<!\d)(?<!\d )-?\d+(?:\.\d+)?|\d+(?:\.\d+)?)|({_ANY_OPERATOR})", re.IGNORECASE
)
# `open 24/7` is no sum: one that stands for itself is asked for, or is all that is said.
_ASKED_FOR = re.compile(
    r"\b(?:what|what's|how much|calculate|compute|solve|tell|is|equals?)\b", re.IGNORECASE
)

_NEGATIVE = re.compile(r"(?<!\d )\bminus (?=\d)", re.IGNORECASE)

_LARGEST_EXPONENT = 64
_LARGEST = 10**15
_DECIMALS = 4


class Sum(NamedTuple):
    """A sum that somebody asked for.

    Attributes:
        said: How it is said back: `12 times 7`.
        expression: What is worked out, with `+ - * / ^`: `12 * 7`.
    """

    said: str
    expression: str

    def answer(self) -> str:
        """A sentence with the result, or with the reason why there is none."""
        try:
            result = _work_out(self.expression)
        except ZeroDivisionError:
            return "Nothing can be divided by zero."
        if result is None:
            return "That is more than I can work out."
        return f"{self.said} is {_spoken_number(result)}."


def find_sum(text: str) -> Sum | None:
    """The first sum in a sentence, with numbers in words or digits; None where there is none."""
    text = _NEGATIVE.sub("-", digits(text))
    for pattern, said, expression in _COMPILED_FORMS:
        if found := pattern.search(text):
            return Sum(said.format(*found.groups()), expression.format(*found.groups()))
    found = _CHAIN.search(text)
    if found is None or not (_ASKED_FOR.search(text) or found[0] == text.strip(" .?!=")):
        return None
    pieces = [number or _symbol(operator) for number, operator in _PIECE.findall(found[0])]
    said = " ".join(_SPOKEN.get(piece, piece) for piece in pieces)
    return Sum(said[0].upper() + said[1:], " ".join(pieces))


def _symbol(operator: str) -> str:
    return next(
        symbol
        for symbol, pattern in _OPERATORS.items()
        if re.fullmatch(pattern, operator, re.IGNORECASE)
    )


def _work_out(expression: str) -> Fraction | None:
    """The value; None where it is too large or not real.

    Raises:
        ZeroDivisionError: Something is divided by zero.
    """
    pieces = expression.split()
    for operations in _PRECEDENCE:
        position = 1
        while position < len(pieces):
            operation = operations.get(pieces[position])
            if operation is None:
                position += 1
                continue
            value = operation(Fraction(pieces[position - 1]), Fraction(pieces[position + 1]))
            if value is None or abs(value) > _LARGEST:
                return None
            pieces[position - 1 : position + 2] = [str(value)]
    return Fraction(pieces[0])


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if abs(exponent) > _LARGEST_EXPONENT or (base < 0 and exponent.denominator > 1):
        return None
    if exponent.denominator == 1:
        return base**exponent.numerator
    return Fraction(math.pow(base, exponent)).limit_denominator(10**9)


_PRECEDENCE: list[Mapping[str, Callable[[Fraction, Fraction], Fraction | None]]] = [
    {"^": _power},
    {"*": lambda left, right: left * right, "/": lambda left, right: left / right},
    {"+": lambda left, right: left + right, "-": lambda left, right: left - right},
]


def _spoken_number(value: Fraction) -> str:
    rounded = round(value, _DECIMALS)
    text = f"{float(rounded):.{_DECIMALS}f}".rstrip("0").rstrip(".")
    return text if rounded == value else f"about {text}"
