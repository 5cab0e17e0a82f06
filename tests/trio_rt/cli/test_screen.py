"""What is shown while something takes a while: motion on a terminal, nothing on a pipe."""

from __future__ import annotations

import pytest

from trio_rt.cli._screen import Screen


@pytest.mark.parametrize("terminal", [True, False])
def test_work_is_shown_on_a_terminal_alone(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    if not terminal:
        monkeypatch.delenv("FORCE_COLOR")
    with Screen().working("connecting"):
        pass
    assert ("connecting" in capsys.readouterr().out) == terminal
