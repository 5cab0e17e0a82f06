"""What must hold of the codec for any text, used by several targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from sansio_rt import LocalProtocolError, SchemaError, events
from sansio_rt.events import WireObject

Decode = Callable[[Any], WireObject]

DECODERS: tuple[Decode, ...] = (
    events.decode_server,
    events.decode_client,
    events.decode_translation_server,
    events.decode_translation_client,
)


def decoded(decode: Decode, text: bytes | str) -> WireObject | None:
    """What a text says, or None where it is refused as is documented."""
    try:
        return decode(text)
    except SchemaError as error:
        assert str(error)
        assert error.path.startswith("$")
        assert len(error.excerpt) <= 400
        return None


def there_and_back(decode: Decode, event: WireObject) -> None:
    """What was read can be written, and says the same when it is read again."""
    try:
        text = events.encode(event)
    except LocalProtocolError as error:
        assert _may_be_unwritable(error), error
        return
    again = decode(text)
    assert type(again) is type(event), (event, again)
    assert same(again, event), (event, again)
    assert events.encode(again) == text


def _may_be_unwritable(error: LocalProtocolError) -> bool:
    """Whether it holds what JSON can say and msgspec's writer cannot, for its depth."""
    return isinstance(error.__cause__, RecursionError) or "surrogate" in str(error)


def same(first: Any, second: Any) -> bool:
    """Whether two values are equal; a whole float may have become the same number as an int."""
    if isinstance(first, float) and isinstance(second, float) and math.isnan(first):
        return math.isnan(second)
    return bool(first == second)


def is_json(text: bytes | str) -> bool:
    """Whether a text is JSON at all."""
    try:
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True
