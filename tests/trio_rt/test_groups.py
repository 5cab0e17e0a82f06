"""One plain error out of what a nursery raised."""

from __future__ import annotations

import trio

from trio_rt._groups import plain_error


def cancelled() -> trio.Cancelled:
    return trio.Cancelled._create(source="explicit")


def test_a_known_error_alone_is_shown_as_it_is() -> None:
    known = ValueError("lost")
    assert plain_error(ExceptionGroup("", [known]), None, known) is known
    nested = BaseExceptionGroup("", [ExceptionGroup("", [known]), cancelled()])
    assert plain_error(nested, None, known) is known


def test_beside_a_known_error_nothing_is_hidden() -> None:
    known, other = ValueError("lost"), ValueError("of the caller")
    group = ExceptionGroup("", [known, other])
    shown = plain_error(group, None, known)
    assert isinstance(shown, ExceptionGroup)
    assert shown.exceptions == (known, other)


def test_what_the_block_raised_goes_before_what_its_tasks_did() -> None:
    body, other = ValueError("of the block"), OSError("of a task")
    assert plain_error(ExceptionGroup("", [body, other]), body) is body


def test_a_block_that_was_only_cancelled_raised_nothing() -> None:
    error, cut = OSError("of a task"), cancelled()
    assert plain_error(BaseExceptionGroup("", [error, cut]), cut) is error


def test_the_only_error_is_found_however_deep_it_lies() -> None:
    error = OSError("of a task")
    deep = BaseExceptionGroup("", [cancelled(), ExceptionGroup("", [ExceptionGroup("", [error])])])
    assert plain_error(deep, None) is error


def test_several_errors_stay_together() -> None:
    errors = [OSError("one"), ValueError("two")]
    shown = plain_error(BaseExceptionGroup("", [*errors, cancelled()]), None)
    assert isinstance(shown, ExceptionGroup)
    assert list(shown.exceptions) == errors


def test_nothing_but_cancellation_stays_what_it_is() -> None:
    group = BaseExceptionGroup("", [cancelled(), cancelled()])
    assert plain_error(group, None) is group
