"""What happened, in lines that a person reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .._audio import AudioFrame
from .._session_events import SessionEvent
from ..events._common import is_array, is_object

__all__ = ["brief_event", "brief_message", "written"]

_LONGEST = 110
_APPEND = "input_audio_buffer.append"
_LONG_NUMBER = re.compile(r"\d+\.\d{7,}(?![\de])")
"""What is no more than the trace of a calculation behind its sixth place: 0.14999999999997726."""
_LEFT_OUT = frozenset({"type", "event_id", "content_index", "output_index"})


def brief_event(event: SessionEvent) -> str:
    """An event of the client: its kind and what it is about."""
    words = [type(event).__name__]
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, AudioFrame):
            words.append(f"{value.duration_ms:g} ms at {value.start_ms:g}")
        elif isinstance(value, (str, int, float, BaseException)) and name not in _LEFT_OUT:
            words.append(f"{name}={value!r}")
        elif not isinstance(value, (msgspec.Struct, list, str, int, float, type(None))):
            words.append(repr(value))
    return _cut(" ".join(words))


def brief_message(message: bytes) -> str:
    """A message on its way: its type, and what makes it this one."""
    try:
        data = msgspec.json.decode(message)
    except msgspec.DecodeError:
        return _cut(repr(message))
    if not is_object(data):
        return _cut(repr(message))
    kind = str(data.get("type"))
    return _cut(f"{kind} {' '.join(_told(data, ''))}".rstrip())


def _told(data: Mapping[str, Any], path: str) -> Iterable[str]:
    for name, value in data.items():
        if name in _LEFT_OUT and path == "":
            continue
        if name in ("session", "rate_limits", "usage", "object", "output_modalities", "format"):
            continue
        if is_object(value):
            yield from _told(value, f"{path}{name}.")
        elif is_array(value):
            for entry in value:
                if is_object(entry):
                    yield from _told(entry, f"{path}{name}.")
        elif name in ("audio", "delta") and isinstance(value, str) and len(value) > 60:
            yield f"<{len(value)} characters>"
        elif value is not None and value != "":
            yield f"{name}={value}"


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def written(trace: Iterable[tuple[float, str]]) -> str:
    """A trace as text, a line for each thing that happened; appends that follow each other are one."""
    lines: list[str] = []
    appended = 0
    for when, words in trace:
        if _APPEND in words:
            appended += 1
            continue
        if appended:
            lines.append(f"{'':9}  ({appended} pieces of audio were appended)")
            appended = 0
        lines.append(f"{when:9.3f}  {_LONG_NUMBER.sub(_rounded, words)}")
    return "\n".join(lines)


def _rounded(number: re.Match[str]) -> str:
    return str(round(float(number[0]), 6))
