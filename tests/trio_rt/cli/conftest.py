"""Servers in threads, good and bad, since the command line brings an event loop of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from trio_rt import serve_emulator
from trio_rt._wav import write_wav
from trio_rt.cli import main
from trio_rt.emulator import Brain, Emulator

RATE = 24_000


@contextmanager
def emulator_in_thread(brain: Brain, **options: Any) -> Generator[Emulator]:
    """An emulator with an event loop of its own."""
    running = threading.Event()
    found: list[Emulator] = []
    end: list[Callable[[], None]] = []

    async def serve() -> None:
        async with serve_emulator(brain, **options) as emulator:
            token, over = trio.lowlevel.current_trio_token(), trio.Event()
            found.append(emulator)
            end.append(lambda: token.run_sync_soon(over.set))
            running.set()
            await over.wait()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    try:
        assert running.wait(10)
        yield found[0]
    finally:
        end[0]()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def emulator() -> Generator[Callable[..., Emulator]]:
    """Starts emulators with a scripted brain."""
    with ExitStack() as stack:

        def start(*replies: Any, transcripts: Any = (), **options: Any) -> Emulator:
            brain = Brain.scripted(*replies, transcripts=transcripts)
            return stack.enter_context(emulator_in_thread(brain, **options))

        yield start


@pytest.fixture
def serve() -> Generator[Callable[..., Emulator]]:
    """Starts emulators with any brain; one with a `stack` of its own ends with that."""
    with ExitStack() as until_the_end:

        def start(brain: Brain, *, stack: ExitStack = until_the_end, **options: Any) -> Emulator:
            return stack.enter_context(emulator_in_thread(brain, **options))

        yield start


@contextmanager
def tcp_server(handle: Callable[[socket.socket], None]) -> Generator[str]:
    """A server that does one thing with each connection; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(10)
                    handle(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(15)


@pytest.fixture
def server() -> Generator[Callable[[Callable[[socket.socket], None]], str]]:
    """Starts servers that are no Realtime servers."""
    with ExitStack() as stack:
        yield lambda handle: stack.enter_context(tcp_server(handle))


@pytest.fixture
def buzz(tmp_path: Path) -> Path:
    """A recording that an emulator without the speech extra takes for speech."""
    samples = 8_000 * np.sign(np.sin(np.arange(RATE) * 2 * np.pi * 200 / RATE))
    path = tmp_path / "buzz.wav"
    write_wav(path, samples.astype("<i2").tobytes(), RATE)
    return path


class Run:
    """What a call of `main` gave."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Calls `main`; whatever it is given, it shows no traceback and no control characters."""

    def call(*arguments: object) -> Run:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        assert "\x1b" not in captured.out + captured.err
        assert code in (0, 1, 2)
        if code:
            assert captured.err.splitlines()[-1].startswith("trio-rt")
        return Run(code, captured.out, captured.err)

    return call
