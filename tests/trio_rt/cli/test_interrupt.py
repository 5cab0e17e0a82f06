"""Ctrl-C at any time: one line or nothing, the documented exit code, and never an abort.

When a signal comes is told by what the program has imported: a clock would depend on the machine.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

INTERRUPTED = "trio-rt: interrupted"
NOTHING_WRITTEN = "trio-rt: interrupted; nothing was written"


class Ended:
    """How a program ended."""

    def __init__(self, code: int, out: str, err: list[str]) -> None:
        self.code, self.out, self.err = code, out, err


def interrupt(
    *arguments: str, after: str, delay_s: float = 0.0, number: int = signal.SIGINT
) -> Ended:
    """Runs `trio-rt` and sends it a signal some time after it has imported a module."""
    # A shell's background jobs ignore Ctrl-C, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "trio_rt", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    with process:
        try:
            assert process.stderr is not None
            imported = (line.rsplit("|", 1)[-1].strip() for line in process.stderr)
            assert after in imported
            time.sleep(delay_s)
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    # A line that the end has cut off is among those of the imports, too.
    shown = [line for line in err.splitlines() if not line.startswith("import time:")]
    return Ended(process.returncode, out, shown)


@pytest.mark.parametrize(
    ("after", "delay_s", "words"),
    [
        ("numpy", 0.0, INTERRUPTED),
        ("trio_rt.cli._arguments", 0.0, INTERRUPTED),
        ("onnxruntime", 0.0, NOTHING_WRITTEN),  # a thread loads the voice
        ("ctranslate2", 0.1, NOTHING_WRITTEN),  # a thread loads the ears
    ],
)
def test_ctrl_c_while_talk_starts_is_one_line_and_130(
    tmp_path: Path, after: str, delay_s: float, words: str
) -> None:
    output = tmp_path / "answer.wav"
    ended = interrupt("talk", "--output", str(output), after=after, delay_s=delay_s)
    assert (ended.code, ended.out, ended.err) == (130, "", [words])
    assert list(tmp_path.iterdir()) == []


def test_a_polite_kill_while_the_models_load_is_one_line_and_143(tmp_path: Path) -> None:
    ended = interrupt(
        "talk",
        *("--output", str(tmp_path / "answer.wav")),
        after="onnxruntime",
        number=signal.SIGTERM,
    )
    assert (ended.code, ended.out, ended.err) == (143, "", [NOTHING_WRITTEN])
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_soak_runs_is_one_line_and_130(tmp_path: Path) -> None:
    record = tmp_path / "soak.json"
    ended = interrupt(
        "soak", "--sessions", "2", "--json", str(record), after="trio_rt.cli._soak", delay_s=1.0
    )
    assert (ended.code, ended.err) == (130, [NOTHING_WRITTEN])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after", ["onnxruntime", "ctranslate2"])
def test_ctrl_c_while_serve_loads_the_models_ends_it_well(after: str) -> None:
    ended = interrupt("serve", after=after)
    assert ended.code == 0
    assert ended.out.startswith("ws://127.0.0.1:")
    assert not [line for line in ended.err if "terminate" in line or "Traceback" in line]
