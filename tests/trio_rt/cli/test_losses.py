"""`trio-rt talk` loses its connection: it says so, connects again, and asks for what was lost (R3, R4)."""

from __future__ import annotations

import dataclasses
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sansio_rt import ConnectionClosed, ConnectionLost, SessionResumed, events
from trio_rt._wav import read_wav, write_wav
from trio_rt.cli._link import Link
from trio_rt.emulator import Brain, Call, FaultPlan
from trio_rt.emulator._ears import GivenEars, GivenStream

LONG = "A rather long answer, so that it breaks off."
LOST = re.compile(r"trio-rt: connection lost \(the server .*\); connecting again")
BACK = re.compile(r"trio-rt: connected again after \d+\.\d s, \d items? replayed")
AUDIO_S = re.compile(r"turn \d: .* (\d+\.\d) s of audio")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "answer.wav"


def words(session: Any) -> list[tuple[str, str]]:
    """Who said what in a session of an emulator."""
    return [
        (
            item.role,
            " ".join(getattr(part, "text", None) or part.transcript for part in item.content),
        )
        for item in session.items
        if isinstance(item, events.Message)
    ]


def assert_lost_and_back(err: str) -> None:
    lost, back = err.splitlines()
    assert LOST.fullmatch(lost), lost
    assert BACK.fullmatch(back), back


@pytest.mark.parametrize("close_code", [None, 1011])
def test_half_an_answer_is_forgotten_and_the_whole_one_asked_for(
    run: Callable[..., Any], emulator: Callable[..., Any], output: Path, close_code: int | None
) -> None:
    faults = FaultPlan(close_after=12, close_code=close_code, connections=1)
    running = emulator(LONG, "Again and whole.", faults=faults)
    result = run("talk", "--endpoint", running.url, "--text", "Hi", "--output", output)
    assert result.code == 0
    assert_lost_and_back(result.err)
    lines = result.out.splitlines()
    assert lines[0] == "you: Hi"
    assert LONG.startswith(lines[1].removeprefix("assistant: "))
    assert lines[2] == "assistant: Again and whole."
    found = AUDIO_S.match(lines[3])
    assert found
    assert read_wav(output).duration_s == pytest.approx(float(found[1]), abs=0.06)
    assert words(running.sessions[-1]) == [("user", "Hi"), ("assistant", "Again and whole.")]


def test_wherever_a_conversation_is_broken_off_it_goes_on(
    run: Callable[..., Any], emulator: Callable[..., Any], output: Path
) -> None:
    """From the first message to the last, through a tool call and its answer."""
    unbroken = emulator(Call("get_time"), LONG)
    arguments = ("--text", "Hi", "--output", output, "--timeout", "10")
    assert run("talk", "--endpoint", unbroken.url, *arguments).err == ""
    whole_s = read_wav(output).duration_s
    output.unlink()
    for close_after in (0, 1, *range(3, 38, 2)):
        faults = FaultPlan(close_after=close_after, close_code=None, connections=1)
        running = emulator(Call("get_time"), LONG, LONG, LONG, faults=faults)
        result = run("talk", "--endpoint", running.url, *arguments)
        if close_after < 2:  # there was no session yet
            assert result.code == 1
            assert "the server went away" in result.err
            assert list(output.parent.iterdir()) == []
            continue
        assert result.code == 0, close_after
        assert f"assistant: {LONG}\nturn 1: " in result.out, close_after
        assert read_wav(output).duration_s == pytest.approx(whole_s, abs=0.06), close_after


def test_a_spoken_turn_goes_on_wherever_it_is_broken_off(
    run: Callable[..., Any], emulator: Callable[..., Any], output: Path, buzz: Path
) -> None:
    for close_after in range(3, 12):
        faults = FaultPlan(close_after=close_after, connections=1)
        running = emulator("Yes.", "Yes.", transcripts=["Are you there?"], faults=faults)
        arguments = ("--input", buzz, "--output", output, "--timeout", "10")
        result = run("talk", "--endpoint", running.url, *arguments)
        assert result.code == 0, close_after
        assert_lost_and_back(result.err)


class Listening(GivenEars):
    """Ears that know how long they had to listen to each utterance."""

    def __init__(self) -> None:
        super().__init__(["Quite a speech"])
        self.heard_s: list[float] = []

    def stream(self) -> GivenStream:
        self.heard_s.append(0.0)
        return ListeningStream(self)


class ListeningStream(GivenStream):
    def feed(self, pcm: bytes, rate: int) -> None:
        self._ears.heard_s[-1] += len(pcm) / 2 / rate


def test_a_recording_is_said_again_from_its_beginning(
    run: Callable[..., Any],
    serve: Callable[..., Any],
    output: Path,
    tmp_path: Path,
) -> None:
    """The session keeps half a minute of what the caller said; this one goes on for longer."""
    buzz = 8_000 * np.sign(np.sin(np.arange(40 * 8_000) * 2 * np.pi * 200 / 8_000))
    write_wav(tmp_path / "long.wav", buzz.astype("<i2").tobytes(), 8_000)
    ears = Listening()
    brain = dataclasses.replace(Brain.scripted("Well said."), ears=ears)
    running = serve(brain, faults=FaultPlan(close_after=2, close_code=None, connections=1))
    arguments = ("--input", tmp_path / "long.wav", "--output", output)
    result = run("talk", "--endpoint", running.url, *arguments)
    assert result.code == 0
    assert_lost_and_back(result.err)
    assert result.out.count("sent 40.0 s of long.wav") == 2
    assert ears.heard_s[-1] == pytest.approx(40.0, abs=0.1)


@pytest.mark.parametrize("close_after", [2, 12])
def test_a_server_that_breaks_off_every_time_is_given_up(
    run: Callable[..., Any], emulator: Callable[..., Any], output: Path, close_after: int
) -> None:
    faults = FaultPlan(close_after=close_after, close_code=None)
    url = emulator(*[LONG] * 9, faults=faults).url
    result = run("talk", "--endpoint", url, "--text", "Hi", "--output", output, "--timeout", "20")
    assert result.code == 1
    assert "lost 4 times in one turn" in result.err.splitlines()[-1]
    assert "the server went away" in result.err.splitlines()[-1]
    assert result.out.endswith("\n"), "the error would stand behind the words"
    assert list(output.parent.iterdir()) == []


def test_a_server_that_does_not_come_back_is_given_up(
    run: Callable[..., Any], emulator: Callable[..., Any], output: Path
) -> None:
    faults = FaultPlan(refuse_status=503)
    running = emulator(*[LONG] * 2, faults=FaultPlan(close_after=12, close_code=None))

    def refuse() -> None:
        while not running.sessions:
            time.sleep(0.001)
        running.faults = faults

    thread = threading.Thread(target=refuse)
    thread.start()
    arguments = ("--endpoint", running.url, "--text", "Hi", "--output", output, "--timeout", "1")
    result = run("talk", *arguments)
    thread.join(10)
    assert result.code == 1
    lost, error = result.err.splitlines()
    assert LOST.fullmatch(lost)
    assert "not answered within 1 s; the connection was lost: " in error
    assert "503" in error
    assert list(output.parent.iterdir()) == []


def test_a_server_that_is_restarted_in_the_middle_of_an_answer(
    run: Callable[..., Any], serve: Callable[..., Any], output: Path
) -> None:
    with ExitStack() as stack:
        first = serve(Brain.scripted("word " * 60), stack=stack, pace=1.0)
        again = Brain.scripted("Again and whole.", "Bye.")
        restarted: list[Any] = []

        def restart() -> None:
            while not (
                first.sessions and any(who == "assistant" for who, _ in words(first.sessions[0]))
            ):
                time.sleep(0.01)
            stack.close()
            time.sleep(0.5)
            restarted.append(serve(again, port=first.port))

        thread = threading.Thread(target=restart)
        thread.start()
        turns = ("--text", "Hi", "--text", "Thank you")
        result = run("talk", "--endpoint", first.url, *turns, "--output", output, "--timeout", "20")
        thread.join(10)
    assert result.code == 0
    assert_lost_and_back(result.err)
    assert "shutting down" in result.err
    assert "assistant: Again and whole.\nturn 1: " in result.out
    assert "assistant: Bye.\nturn 2: " in result.out
    assert words(restarted[0].sessions[-1]) == [
        ("user", "Hi"),
        ("assistant", "Again and whole."),
        ("user", "Thank you"),
        ("assistant", "Bye."),
    ]


def test_the_program_serve_is_stopped_and_started_again(output: Path) -> None:
    """Both programs as anybody runs them: four turns, and a restart after the first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    program = [sys.executable, "-m", "trio_rt"]
    with ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [*program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        def first_line_with(process: subprocess.Popen[str], text: str) -> str:
            assert process.stdout is not None
            while select.select([process.stdout], [], [], 30)[0]:
                line = process.stdout.readline()
                assert line, f"it ended before it said {text}"
                if text in line:
                    return line.strip()
            raise AssertionError(f"it does not say {text}")

        server = start("serve", "--port", str(port))
        url = first_line_with(server, "ws://")
        texts = [f"--text=What is {number} plus {number}?" for number in (2, 3, 4, 5)]
        talk = start("talk", "--endpoint", url, *texts, "--output", str(output))
        first_line_with(talk, "turn 1:")
        server.send_signal(signal.SIGINT)
        assert server.wait(10) == 0
        start("serve", "--port", str(port))
        out, err = talk.communicate(timeout=30)
    assert talk.returncode == 0, err
    assert_lost_and_back(err)
    assert "turn 4:" in out
    assert read_wav(output).duration_s > 2


# --- what is said about it ------------------------------------------------------------------------


def lost(*, planned: bool = False) -> ConnectionLost:
    error = ConnectionClosed("the server went away")
    return ConnectionLost(error=error, attempt=1, reconnect_at=0.0, planned=planned)


def test_tries_that_fail_are_not_told_again() -> None:
    told: list[str] = []
    link = Link(told.append)
    link.note(lost())
    link.note(lost())
    assert link.losses == 1
    assert link.error is not None
    link.note(SessionResumed(away_s=1.25, replayed=1, left_out=(), audio_lost_ms=0.0))
    assert link.error is None
    link.note(lost(planned=True))
    assert told == [
        "connection lost (the server went away); connecting again",
        "connected again after 1.2 s, 1 item replayed",
        "connection is being replaced; connecting again",
    ]
