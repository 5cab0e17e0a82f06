"""`trio-rt serve`: its first line is its URL, any client may use it, and Ctrl-C ends it."""

from __future__ import annotations

import logging
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

from sansio_rt import Endpoint, HandshakeRejected, SessionConfig
from trio_rt import open_session
from trio_rt.cli._arguments import make_parser
from trio_rt.cli._program import _logging
from trio_rt.cli._serve import _make_brain
from trio_rt.emulator import EnergyDetector, SileroDetector


@contextmanager
def serving(*arguments: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """The process and the first line that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trio_rt", "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 30)[0], "it prints no URL"
            yield process, process.stdout.readline().rstrip("\n")
        finally:
            process.kill()


async def greet(url: str, **options: Any) -> str:
    config = SessionConfig(turn_detection=None)
    with trio.fail_after(30):
        async with open_session(Endpoint.url(url, **options), config) as session:
            await session.send_message("Hello")
            generation = await session.generate_reply()
            return (await generation.wait()).text


def test_it_serves_until_ctrl_c() -> None:
    with serving("--api-key", "sesame") as (process, url):
        assert url.startswith("ws://127.0.0.1:")
        with pytest.raises(HandshakeRejected, match="401"):
            trio.run(greet, url)

        async def with_key() -> str:
            return await greet(url, api_key="sesame")

        assert trio.run(with_key) == "Hello! How can I help you?"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=15)
    assert process.returncode == 0
    assert out == ""
    assert "Traceback" not in err


def test_a_port_in_use_is_one_line(run: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("serve", "--port", taken.getsockname()[1])
    assert result.code == 1
    assert result.out == ""
    assert "another program uses" in result.err
    assert result.err.count("\n") == 1


def test_an_address_of_another_machine_is_one_line(run: Callable[..., Any]) -> None:
    result = run("serve", "--host", "192.0.2.1")
    assert result.code == 1
    assert "192.0.2.1" in result.err


def test_voice_activity_may_be_chosen() -> None:
    assert _make_brain(None).make_detector is SileroDetector
    assert _make_brain("silero").make_detector is SileroDetector
    assert _make_brain("energy").make_detector is EnergyDetector


def test_without_the_speech_extra_it_serves_tones_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run: Callable[..., Any]
) -> None:
    monkeypatch.setattr("trio_rt.emulator._extras.find_spec", lambda package: None)
    assert _make_brain(None).ears is None
    assert "trio-rt[speech]" in capsys.readouterr().err
    result = run("serve", "--voice-activity", "silero")
    assert result.code == 2
    assert "trio-rt[speech]" in result.err


def test_the_emulators_log_is_shown_while_serving_and_only_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = logging.getLogger("trio_rt.emulator")
    for command, shown in (("serve", "trio-rt: a client has connected\n"), ("talk", "")):
        with _logging(make_parser().parse_args([command])):
            log.info("a client\nhas connected")
        assert capsys.readouterr().err == shown
    log.info("nobody looks any more")
    assert capsys.readouterr().err == ""


def test_debug_shows_the_whole_log(capsys: pytest.CaptureFixture[str]) -> None:
    with _logging(make_parser().parse_args(["talk", "--debug"])):
        logging.getLogger("trio_rt.session").debug("details")
    assert capsys.readouterr().err.endswith(" ms trio_rt.session: details\n")
