"""Every example runs, and the README shows those that it shows as they are."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_rt import serve_emulator
from trio_rt.emulator import Brain, FaultPlan

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


@contextmanager
def emulator_in_thread(brain: Brain, **options: Any) -> Generator[str]:
    """The URL of an emulator with an event loop of its own."""
    running = threading.Event()
    found: list[tuple[str, Callable[[], None]]] = []

    async def serve() -> None:
        async with serve_emulator(brain, **options) as emulator:
            token, over = trio.lowlevel.current_trio_token(), trio.Event()
            found.append((emulator.url, lambda: token.run_sync_soon(over.set)))
            running.set()
            await over.wait()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    try:
        assert running.wait(10)
        yield found[0][0]
    finally:
        found[0][1]()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def emulator() -> Generator[Callable[..., str]]:
    with ExitStack() as stack:
        yield lambda *replies, **options: stack.enter_context(
            emulator_in_thread(Brain.scripted(*replies), **options)
        )


def run_example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},  # also where the package is not installed
    )


def test_the_blocking_socket_holds_a_turn(emulator: Callable[..., str], tmp_path: Path) -> None:
    """N1: the protocol object works without any event loop."""
    audio = tmp_path / "answer.pcm"
    result = run_example("blocking_socket.py", emulator("Hello."), "Hi", "--audio", str(audio))
    assert (result.returncode, result.stdout, result.stderr) == (0, "Hello.\n", "")
    assert len(audio.read_bytes()) > 2 * 24_000 // 10


def test_the_blocking_socket_tells_why_a_session_failed(emulator: Callable[..., str]) -> None:
    url = emulator("Hello.", faults=FaultPlan(close_after=8, close_code=1011))
    result = run_example("blocking_socket.py", url, "Hi")
    assert result.returncode == 1
    assert "the session failed" in result.stderr
    assert "1011" in result.stderr


def test_the_blocking_socket_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    script = (EXAMPLES / "blocking_socket.py").read_text()
    assert "PATIENCE_S = 30.0" in script
    example: dict[str, Any] = {"__name__": "example"}
    exec(script.replace("PATIENCE_S = 30.0", "PATIENCE_S = 0.05"), example)
    here, there = socket.socketpair()
    protocol = example["ClientProtocol"](example["Endpoint"].url("ws://localhost"))
    monkeypatch.setattr(protocol, "next_deadline", lambda: None)
    with here, there, pytest.raises(SystemExit, match="said nothing"):
        list(example["receive_events"](protocol, here))


def test_the_session_with_a_tool() -> None:
    result = run_example("talk_to_the_emulator.py")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == 'The model calls get_weather({"city": "Paris"}).'
    assert lines[1] == "It is sunny in Paris, at 21 degrees."
    assert lines[2].endswith(" seconds to say.")


def test_playing_and_barging_in() -> None:
    result = run_example("play_and_barge_in.py")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "(the caller speaks)"
    assert lines[1].startswith("barge-in: ") or "barge" in lines[1]
    assert lines[-1].startswith("finished: ")


def test_the_openai_package(emulator: Callable[..., str]) -> None:
    result = run_example("openai_client.py", emulator("Eighty-four."))
    assert (result.returncode, result.stdout) == (0, "Eighty-four.\n"), result.stderr


@pytest.mark.parametrize("name", ["talk_to_the_emulator.py", "openai_client.py"])
def test_the_readme_shows_the_example_as_it_is(name: str) -> None:
    code = (EXAMPLES / name).read_text().partition('"""\n\n')[2]
    assert code.strip() in (ROOT / "README.md").read_text()


def test_every_example_is_tested() -> None:
    tested = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.name}"' in tested
