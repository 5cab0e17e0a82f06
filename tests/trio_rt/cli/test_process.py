"""How the process of the program ends, whoever still reads what it says."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator

import pytest

from trio_rt.cli._process import end_process, end_when_interrupted


class Ended(BaseException):
    """In the place of the end of this process."""


@pytest.fixture(autouse=True)
def _stays_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)


@pytest.fixture
def handler() -> Generator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


class Stream:
    """An output whose last words fail, or not."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.flushed = False

    def flush(self) -> None:
        self.flushed = True
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "code", "ended"),
    [
        (None, 0, 0),
        (None, 2, 2),
        (BrokenPipeError(), 0, 1),  # nobody reads it
        (OSError(28, "no space left"), 130, 130),
        (ValueError("closed"), 0, 1),
        (RuntimeError("reentrant call"), 0, 0),
    ],
)
def test_last_words_that_cannot_be_printed_are_a_failure(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, code: int, ended: int
) -> None:
    out, err = Stream(error), Stream()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with pytest.raises(Ended) as caught:
        end_process(code)
    assert caught.value.args == (ended,)
    assert out.flushed
    assert err.flushed


@pytest.mark.usefixtures("handler")
def test_ctrl_c_ends_with_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_when_interrupted()
    with pytest.raises(Ended) as caught:
        signal.raise_signal(signal.SIGINT)
    assert caught.value.args == (130,)
    assert capfd.readouterr().err == "trio-rt: interrupted\n"


@pytest.mark.usefixtures("handler")
def test_who_was_told_to_ignore_ctrl_c_goes_on() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_when_interrupted()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
