"""What must hold of the codec for any text, used by several targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from sansio_rt import LocalProtocolError, SchemaError, events
from sansio_rt.events import WireObject

Decode = Callable[[Any], WireObject]

_NESTED = frozenset({dict, list})
_decode = msgspec.json.Decoder().decode


def _names(struct: type[WireObject]) -> set[str]:
    names = {info.encode_name for info in msgspec.structs.fields(struct)}
    tag_field = struct.__struct_config__.tag_field
    return names.union({tag_field} if tag_field else (), *map(_names, struct.__subclasses__()))


_KNOWN_NAMES = frozenset(_names(WireObject))

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


def there_and_back(decode: Decode, event: WireObject, source: bytes | str) -> None:
    """What was read can be written, and says the same when it is read again.

    Args:
        decode: Reads it.
        event: What was read.
        source: The text that it was read from: what is in it and not known is written, too.
    """
    try:
        text = events.encode(event)
    except LocalProtocolError as error:
        assert _may_be_unwritable(error), error
        return
    again = decode(text)
    assert type(again) is type(event), (event, again)
    assert same(again, event), (event, again)
    assert events.encode(again) == text
    check_nothing_is_lost(_decode(source), _decode(text))


def check_nothing_is_lost(read: Any, written: Any) -> None:
    """Whether fields whose name no struct has came through as they were, those that are null, too."""
    if isinstance(read, dict):
        if isinstance(written, list) and len(written) == 1:
            written = written[0]  # one object counts as a list of one
        if not isinstance(written, dict):
            return
        for key, value in read.items():
            assert key in written or key in _KNOWN_NAMES, f"the field {key!r} is lost"
            if type(value) in _NESTED and key in written:
                # Under a name of the caller's own there may be an object of ours, such as in a prompt.
                check_nothing_is_lost(value, written[key])
            elif key not in _KNOWN_NAMES:
                assert same(written[key], value), (key, value, written[key])
    elif isinstance(read, list) and isinstance(written, list):
        assert len(read) == len(written)
        for value, other in zip(read, written, strict=True):
            if type(value) in _NESTED:
                check_nothing_is_lost(value, other)


def _may_be_unwritable(error: LocalProtocolError) -> bool:
    """Whether it holds what JSON can say and msgspec's writer cannot, for its depth."""
    return isinstance(error.__cause__, RecursionError) or "surrogate" in str(error)


def same(first: Any, second: Any) -> bool:
    """Whether two values are equal; a whole float may have become the same number as an int."""
    if isinstance(first, float) and isinstance(second, float) and math.isnan(first):
        return math.isnan(second)
    return bool(first == second)
