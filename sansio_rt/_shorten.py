"""Events and texts as a log may show them: short, and without credentials (parity M3).

Audio becomes its size, long texts and lists are cut and say how long they were, and what looks like a key
or a token is masked, by the name of its field or by its shape. Masking errs on the side of too much.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from . import events
from .events._common import is_array, is_object

__all__ = ["MASK", "shorten", "shorten_text"]

MASK = "***"

TEXT_LIMIT = 200
"""Characters of one text that are shown."""
LIST_LIMIT = 20
"""Entries of one list or object that are shown."""
DEPTH_LIMIT = 12
"""Objects within objects that are shown."""
EVENT_LIMIT = 4000
"""Characters of one event that are shown."""

# Compared with the letters of a field's name only, so `X-API-Key` and `api_key` are one. The names are
# those of credentials and end so; `total_tokens` does not.
_SECRET_NAMES = re.compile(
    r"(authorization|apikey|password|passphrase|secret|token|credentials?|cookie|signature|privatekey)$"
)
# Base64 of audio and images where an event is not known, or holds audio as text.
_SOUND_NAMES = frozenset({"audio"})
_SECRET_SHAPES = (
    # Keys of the services and of other common ones, JSON Web Tokens, credentials in a URL or a header.
    re.compile(r"\b(?:sk|ek|rk|pk)[-_][\w*.-]*"),
    re.compile(r"\beyJ[\w.-]*"),
    re.compile(r"(?i)\b(?<=bearer )[^\s\"',]+"),
    re.compile(r"(?<=://)[^/\s\"'@]*(?=@)"),
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NAMED_IN_TEXT = re.compile(
    r"""(?ix) ( (?:authorization|api[-_ ]?key|password|secret|token|credential|signature|\bsig) [\\"']*
    \s* [=:] \s* [\\"']* (?:bearer\s+|basic\s+)? ) [^\s\\"'&,;}]+ """
)


def shorten_text(text: str, limit: int = TEXT_LIMIT) -> str:
    """A text as a log may show it.

    Args:
        text: Anything, however long: only its beginning is looked at.
        limit: Characters to show.

    Returns:
        The beginning on one line, with credentials masked, and how long the whole was where it was cut.
    """
    # Cut first: a key that the cut splits still shows its beginning, by which it is known.
    shown = _CONTROLS.sub(" ", text[:limit])
    for shape in _SECRET_SHAPES:
        shown = shape.sub(MASK, shown)
    shown = _NAMED_IN_TEXT.sub(rf"\1{MASK}", shown)
    return shown if len(text) <= limit else f"{shown}… ({len(text)} characters)"


def shorten(event: events.ServerEvent | events.ClientEvent) -> str:
    """An event on one line, as a log may show it.

    Args:
        event: Any event of the wire, known or not.

    Returns:
        Its type, and its fields as JSON of at most 4000 characters.
    """
    fields = event.data if isinstance(event, events.UnknownEvent) else dict(_fields(event))
    body = _shown(fields, 0)
    body.pop("type", None)
    line = f"{shorten_text(event.type)} {msgspec.json.encode(body).decode()}"
    return line if len(line) <= EVENT_LIMIT else f"{line[:EVENT_LIMIT]}… ({len(line)} characters)"


def _fields(value: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    """The fields of a wire struct under their names on the wire; what is not set is left out."""
    config = value.__struct_config__
    if config.tag_field is not None and not isinstance(value, events.UnknownObject):
        yield config.tag_field, config.tag
    for name in value.__struct_fields__:
        field = getattr(value, name)
        if name == "extra" or (name == "data" and isinstance(value, events.UnknownObject)):
            yield from field.items()
        elif field is not UNSET:
            yield name, field


def _shown(value: Any, depth: int, name: str = "") -> Any:
    """A value as plain JSON, shortened and masked; `name` is its field's."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, msgspec.Struct):
        value = dict(_fields(value))
    if depth > DEPTH_LIMIT:
        return "…"
    if is_object(value):
        return _shown_object(value, depth)
    if is_array(value):
        shown = [_shown(entry, depth + 1, name) for entry in value[:LIST_LIMIT]]
        return shown if len(value) <= LIST_LIMIT else [*shown, f"… {len(value)} entries"]
    if name in _SOUND_NAMES and len(value) > TEXT_LIMIT:
        return f"<{len(value)} characters>"
    return shorten_text(str(value))


def _shown_object(value: Mapping[str, Any], depth: int) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, entry in value.items():
        if len(shown) == LIST_LIMIT:
            shown["…"] = f"{len(value)} fields"
            break
        label = shorten_text(str(name))
        letters = re.sub(r"[^a-z]", "", str(name)[-TEXT_LIMIT:].lower())
        if letters == "headers" and is_object(entry):
            shown[label] = dict.fromkeys(map(shorten_text, entry), MASK)
        elif entry is not None and (_SECRET_NAMES.search(letters) or letters == "headers"):
            shown[label] = MASK
        else:
            shown[label] = _shown(entry, depth + 1, str(name))
    return shown
