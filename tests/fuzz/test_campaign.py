"""The fuzzer itself, which these need: planted mistakes are found, kept, minimised, replayed and told."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fuzz import Refused, campaign, command_line, targets
from fuzz.findings import failure_of
from fuzz.storage import Storage, pack, unpack

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason='atheris is not installed: pip install "trio-rt[fuzz]"',
)

PARSER = """
def parse(data):
    if data[:1] == b"Q" and data[1:2] == b"Z" and len(data) > 2:
        raise ValueError("planted")
    return len(data) > 3
"""
PLANTED = """
"A target whose parser has a mistake that only coverage leads to."

from parser_with_a_mistake import parse


def fuzz(data):
    parse(data)
"""
ENDS_THE_PROCESS = """
import ctypes

def fuzz(data):
    if data[:1] in b"HIJKLMNOP" and data:
        while True:
            pass
    if data[:1] >= b"a":
        ctypes.string_at(0)
"""

Plant = Callable[[str], None]


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """Makes a target of the name `planted`, for this process and for those that it starts."""
    (tmp_path / "parser_with_a_mistake.py").write_text(PARSER, "utf-8")
    (tmp_path / "sitecustomize.py").write_text(
        f"import fuzz.targets\nfuzz.targets.__path__.append({str(tmp_path)!r})\n", "utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(targets, "__path__", [*targets.__path__, str(tmp_path)])
    monkeypatch.setattr(command_line, "Storage", lambda: Storage(tmp_path / "storage"))
    yield lambda source: (tmp_path / "planted.py").write_text(source, "utf-8") and None
    for name in ("fuzz.targets.planted", "parser_with_a_mistake"):
        sys.modules.pop(name, None)


def test_a_planted_mistake_is_found_kept_minimised_and_replayed(
    tmp_path: Path, plant: Plant
) -> None:
    plant(PLANTED)
    storage, packages = Storage(tmp_path / "storage"), ["parser_with_a_mistake"]
    pack(storage.seeds("planted"), [b"a seed"])
    outcome = campaign.run("planted", 2, storage, quiet=True, packages=packages)
    assert outcome.executions > 100
    assert outcome.edges > outcome.edges_before > 0
    assert not outcome.failure
    (found,) = outcome.findings
    assert outcome.findings[found].startswith("ValueError")
    assert found.read_bytes() == b"QZ\0"
    campaign.keep("planted", found, "q_then_z", storage)
    (title, data) = storage.kept_inputs("planted")[-1]
    assert title == "regressions/q_then_z"
    assert isinstance(failure_of(targets.load("planted").run, data), ValueError)
    before, after = campaign.merge("planted", storage, packages=packages)
    assert before >= after > 1
    assert len(unpack(storage.corpus("planted"))) == after


def test_what_fails_on_nothing_and_what_leaves_are_findings(
    plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    plant("def fuzz(data):\n    if not data:\n        raise ValueError\n    raise SystemExit(0)\n")
    assert command_line.main(["planted", "--seconds", "1"]) == 1
    told = capsys.readouterr().out
    assert "2 findings" in told
    assert "ValueError" in told
    assert "SystemExit" in told


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import sys\nassert 'atheris' not in sys.modules, 'a late word'\n", "a late word"),
        ("import os, sys\nif 'atheris' in sys.modules:\n    os._exit(0)\n", "ended with code 0"),
    ],
    ids=["fails", "leaves"],
)
def test_a_fuzzer_that_never_ran_is_told(
    plant: Plant, capsys: pytest.CaptureFixture[str], source: str, told: str
) -> None:
    plant(f"{source}\ndef fuzz(data):\n    pass\n")
    assert command_line.main(["planted", "codec", "--seconds", "1"]) == 2
    output = capsys.readouterr()
    assert "and the fuzzer FAILED" in output.out
    assert "codec: " in output.out  # the next one has its turn
    assert told in output.err
    assert "the fuzzer failed on: planted" in output.err
    assert command_line.main(["merge", "planted"]) == 2
    assert told in capsys.readouterr().err


def test_a_merge_that_reached_nothing_is_told(tmp_path: Path, plant: Plant) -> None:
    plant("def fuzz(data):\n    pass\n")
    with pytest.raises(Refused, match="nothing is packed"):
        campaign.merge("planted", Storage(tmp_path / "storage"))


def test_what_ends_the_process_does_not_end_the_run(
    tmp_path: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "EXECUTION_TIMEOUT_S", 1)
    monkeypatch.setattr(campaign, "MINIMISE_S", 1)
    plant(ENDS_THE_PROCESS)
    outcome = campaign.run("planted", 5, Storage(tmp_path / "storage"), quiet=True)
    assert sorted(outcome.findings.values()) == ["crash", "timeout"]
    assert not outcome.failure
    assert outcome.wall_s >= 4.5
    for file, kind in outcome.findings.items():
        assert file.name.startswith(kind)
        words = file.with_suffix(".txt").read_text("utf-8")
        assert f"Test unit written to {file}" in words
        assert kind == "crash" or "planted.py" in words  # where it hung


RUN = """
import signal
import sys
from pathlib import Path
from fuzz import command_line
from fuzz.storage import Storage

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job ignores
command_line.Storage = lambda: Storage(Path({folder!r}))
sys.exit(command_line.main(["planted", "codec", "--seconds", "50"]))
"""


def test_ctrl_c_ends_a_run_as_the_time_does(tmp_path: Path, plant: Plant) -> None:
    plant('def fuzz(data):\n    assert len(data) < 2, "long"\n')
    program = tmp_path / "run.py"
    program.write_text(RUN.format(folder=str(tmp_path / "storage")), "utf-8")
    with subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=campaign._environment(),
    ) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        assert "found AssertionError" in line
        child.send_signal(signal.SIGINT)
        told, problems = child.communicate(timeout=30)
    assert child.returncode == 130
    assert not problems
    assert "1 findings" in told
    assert "minimised-" in told
    assert "1 targets" in told
    assert "codec" not in told
