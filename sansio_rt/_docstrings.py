"""What a docstring says about a function and its parameters: Google, NumPy and reST styles."""

from __future__ import annotations

import inspect
import re
from typing import NamedTuple

__all__ = ["Docstring", "parse_docstring"]

_PARAMETER_SECTIONS = frozenset(
    {"args", "arguments", "parameters", "params", "attributes", "keyword args", "other parameters"}
)
_OTHER_SECTIONS = frozenset(
    {"returns", "return", "yields", "raises", "example", "examples", "see also", "warns", "todo"}
    | {"references", "methods"}
)
_UNDERLINE = re.compile(r"-{3,}\s*")
# `name: text`, `name (int): text`, `*names: text`
_GOOGLE_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
# `name : int`, `name`, `first, second : int`
_NUMPY_ENTRY = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?")
_REST_FIELD = re.compile(r":(\w+)((?:\s+[^:]+)?):\s*(.*)")
_REST_PARAMETER_FIELDS = frozenset({"param", "parameter", "arg", "argument", "key", "keyword"})


class Docstring(NamedTuple):
    """A docstring taken apart.

    Attributes:
        description: Everything in front of the first section, paragraphs as they were written.
        parameters: What it says about each parameter, on one line.
    """

    description: str
    parameters: dict[str, str]


def parse_docstring(text: str | None) -> Docstring:
    """Take a docstring apart.

    Args:
        text: The docstring as it stands in the source, or None.

    Returns:
        Its description and what it says about parameters (in a class also its attributes). Sections
        about results, errors and examples are left out. A style that is not known is all
        description.
    """
    description: list[str] = []
    parameters: dict[str, list[str]] = {}
    lines = inspect.cleandoc(text or "").split("\n")
    position = 0
    while position < len(lines):
        title, position, body = _section_at(lines, position)
        if title is None:
            line = lines[position]
            position += 1
            field = _REST_FIELD.fullmatch(line)
            if field is None:
                description.append(line.rstrip())
            else:
                position = _read_rest_field(field, lines, position, parameters)
        else:
            if title in _PARAMETER_SECTIONS:
                _read_entries(body, parameters)
            position += len(body)
    return Docstring(
        re.sub(r"\n{3,}", "\n\n", "\n".join(description)).strip(),
        {name: " ".join(words).strip() for name, words in parameters.items() if any(words)},
    )


def _section_at(lines: list[str], position: int) -> tuple[str | None, int, list[str]]:
    """Recognize a section's heading: its title, where its body begins, and the body."""
    line = lines[position].strip()
    following = lines[position + 1] if position + 1 < len(lines) else ""
    if _is_title(line) and _UNDERLINE.fullmatch(following):
        begin = position + 2
        end = begin
        while end < len(lines) and not _is_underlined(lines, end):
            end += 1
        return line.lower(), begin, lines[begin:end]
    if line.endswith(":") and _is_title(line[:-1]) and not lines[position].startswith(" "):
        begin = end = position + 1
        while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" ")):
            end += 1
        return line[:-1].lower(), begin, lines[begin:end]
    return None, position, []


def _is_title(text: str) -> bool:
    return text.lower() in _PARAMETER_SECTIONS or text.lower() in _OTHER_SECTIONS


def _is_underlined(lines: list[str], position: int) -> bool:
    return position + 1 < len(lines) and _UNDERLINE.fullmatch(lines[position + 1]) is not None


def _read_entries(body: list[str], parameters: dict[str, list[str]]) -> None:
    """Read a parameter section: entries at its own indentation, their continuations deeper."""
    indents = [len(line) - len(line.lstrip()) for line in body if line.strip()]
    if not indents:
        return
    names: list[str] = []
    for line in body:
        content = line.strip()
        if not content:
            continue
        if len(line) - len(line.lstrip()) > min(indents):
            for name in names:
                parameters[name].append(content)
            continue
        # NumPy's entries stand at the margin and hold a type; Google's are indented and hold text.
        if min(indents) == 0:
            numpy = _NUMPY_ENTRY.fullmatch(content)
            names = [part.strip(" *") for part in numpy[1].split(",")] if numpy else []
            words = ""
        else:
            google = _GOOGLE_ENTRY.fullmatch(content)
            names = [google[1]] if google else []
            words = google[2] if google else ""
        for name in names:
            parameters[name] = [words] if words else []


def _read_rest_field(
    field: re.Match[str], lines: list[str], position: int, parameters: dict[str, list[str]]
) -> int:
    """Read one `:param name: text`; give the position behind it. Other fields are passed over."""
    words = [field[3]]
    while position < len(lines) and lines[position].startswith(" ") and lines[position].strip():
        words.append(lines[position].strip())
        position += 1
    if field[1] in _REST_PARAMETER_FIELDS and field[2].strip():
        parameters[field[2].split()[-1].lstrip("*")] = words
    return position
