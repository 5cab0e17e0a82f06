"""A log that a peer cannot flood (M3)."""

from __future__ import annotations

import logging

import pytest

from trio_rt._sparing import MOST_LINES, WINDOW_S, SparingLog


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def log(now: list[float]) -> SparingLog:
    return SparingLog(logging.getLogger("trio_rt.test"), clock=lambda: now[0])


def test_few_lines_of_a_kind_and_then_how_many_were_left_out(
    log: SparingLog, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(MOST_LINES + 5):
        log.warning("it was dropped: %s", number)
    log.warning("something else")  # another kind has its own count
    assert len(caplog.records) == MOST_LINES + 1
    now[0] += WINDOW_S
    log.warning("it was dropped: %s", "again")
    assert [record.getMessage() for record in caplog.records[-2:]] == [
        "it was dropped: again",
        "5 lines like it were left out before",
    ]
    now[0] += WINDOW_S
    log.warning("it was dropped: %s", "and again")
    assert caplog.records[-1].getMessage() == "it was dropped: and again"


def test_arguments_are_short_and_masked(log: SparingLog, caplog: pytest.LogCaptureFixture) -> None:
    log.warning("%s and %s after %.1f s", "x" * 10_000, ValueError("Bearer sk-abcdef123456"), 1.25)
    text = caplog.records[0].getMessage()
    assert len(text) < 400
    assert "abcdef" not in text
    assert text.endswith("after 1.2 s")


def test_a_line_names_the_place_that_wrote_it(
    log: SparingLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.warning("here")
    try:
        raise ValueError
    except ValueError:
        log.exception("there")
    assert {record.filename for record in caplog.records} == {"test_sparing.py"}
    assert caplog.records[1].exc_info is not None


def test_what_is_not_enabled_is_not_counted(
    log: SparingLog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "trio_rt.test")
    for _ in range(MOST_LINES):
        log.debug("quiet")
    caplog.set_level(logging.DEBUG, "trio_rt.test")
    log.debug("quiet")
    assert len(caplog.records) == 1
