"""Exception groups, where one plain error says more."""

from __future__ import annotations

from typing import Any

import trio

__all__ = ["plain_error"]


def plain_error(
    group: BaseExceptionGroup[BaseException],
    body: BaseException | None,
    known: BaseException | None = None,
) -> BaseException:
    """The one error to show for what came out of a nursery.

    Args:
        group: What the nursery raised.
        body: What the block that it served raised, or None.
        known: The error that made the nursery end, or None.

    Returns:
        The known error where nothing else happened; the block's own error, or the only one that there
        is; else the group.
    """
    if known is not None and _is_all(group, known):
        return known
    if body is not None and not _is_all(body, None):
        return body
    rest = group.split(trio.Cancelled)[1]
    return group if rest is None else _only(rest)


def _is_all(error: BaseException, known: BaseException | None) -> bool:
    """Whether nothing happened but cancellation and one known error."""
    within: Any = getattr(error, "exceptions", None)
    if within is not None:
        return all(_is_all(one, known) for one in within)
    return error is known or isinstance(error, trio.Cancelled)


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    within: Any = group.exceptions
    if len(within) != 1:
        return group
    first: BaseException = within[0]
    return _only(within[0]) if isinstance(first, BaseExceptionGroup) else first
