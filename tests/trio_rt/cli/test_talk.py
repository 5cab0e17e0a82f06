"""`trio-rt talk` against good and bad servers: what it shows, what it writes, how it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trio_rt._wav import read_wav, write_wav
from trio_rt.cli import main
from trio_rt.emulator import Call, Fault, FaultPlan, MessageFault

SUMMARY = re.compile(
    r"turn \d: first audio (\d+) ms after (the end of speech|the message); "
    r"(\d+\.\d) s of audio; tokens: (\d+) in, (\d+) out"
)

S = r"\d+\.\d{3} s"
RECORDS = (  # M1, M5
    rf"connection: dialled {S}, handshake {S}, configured {S}",
    rf"response resp_\w+: completed; first token {S}, first audio {S}, done {S}, audio {S}; "
    r"\d+ tokens in \(\d+ text, \d+ audio, \d+ image, \d+ cached\); "
    r"\d+ tokens out \(\d+ text, \d+ audio\); \d+\.\d tokens/s",
    rf"turn 1, from the request: completed; created {S}, first token {S}, first audio {S}, done {S}",
)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "answer.wav"


def assert_nothing_written(output: Path) -> None:
    assert list(output.parent.iterdir()) == []


def test_a_written_turn_is_shown_and_its_answer_written(
    run: Callable[..., Any], emulator: Callable[..., Any], output: Path
) -> None:
    url = emulator("Good morning to you.").url
    result = run("talk", "--endpoint", url, "--text", "Hello", "--output", output)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[:2] == ["you: Hello", "assistant: Good morning to you."]
    found = SUMMARY.fullmatch(lines[2])
    assert found, lines[2]
    assert found[2] == "the message"
    written = read_wav(output)
    assert written.rate == 24_000
    assert written.duration_s == pytest.approx(float(found[3]), abs=0.06)
    assert np.abs(written.samples).max() > 1_000
    for line, pattern in zip(lines[3:6], RECORDS, strict=True):
        assert re.fullmatch(pattern, line), line
    assert lines[6:] == [f"{output}: the answers are in this file"]
    assert [path.name for path in output.parent.iterdir()] == ["answer.wav"]


def test_a_spoken_turn_shows_both_sides(
    run: Callable[..., Any], emulator: Callable[..., Any], output: Path, buzz: Path
) -> None:
    url = emulator("I heard you.", transcripts=["Can you hear me?"]).url
    result = run("talk", "--endpoint", url, "--input", buzz, "--output", output)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == "sent 1.0 s of buzz.wav"
    assert sorted(lines[1:3]) == ["assistant: I heard you.", "you: Can you hear me?"]
    found = SUMMARY.fullmatch(lines[3])
    assert found
    assert found[2] == "the end of speech"
    kinds = [line.split(":")[0].split(" ")[0] for line in lines[4:-1]]
    assert kinds == ["connection", "transcript", "response", "turn"]
    assert lines[7].startswith("turn 1, from the last word: completed; committed 0.")


def test_tool_calls_are_run_shown_and_spoken(
    run: Callable[..., Any], emulator: Callable[..., Any], output: Path
) -> None:
    url = emulator(Call("roll_dice", {"count": 3, "sides": 4}), "There they are.").url
    result = run("talk", "--endpoint", url, "--text", "Roll three dice", "--output", output)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[1] == 'tool: roll_dice({"count": 3, "sides": 4})'
    assert re.fullmatch(r"tool: roll_dice gave \[[1-4],[1-4],[1-4]\]", lines[2])
    assert lines[3] == "assistant: There they are."
    assert SUMMARY.fullmatch(lines[4])


def test_a_call_of_an_unknown_tool_is_answered(
    run: Callable[..., Any], emulator: Callable[..., Any], output: Path
) -> None:
    url = emulator(Call("launch_rocket"), "I cannot do that.").url
    result = run("talk", "--endpoint", url, "--text", "Launch it", "--output", output)
    assert result.code == 0
    assert "tool: launch_rocket gave {" in result.out
    assert "there is no tool called 'launch_rocket'" in result.out
    assert "assistant: I cannot do that." in result.out


def test_inputs_and_texts_are_turns_of_one_conversation_in_order(
    run: Callable[..., Any], emulator: Callable[..., Any], output: Path, buzz: Path
) -> None:
    running = emulator("One.", "Two.", "Three.", transcripts=["The second"])
    turns = ("--text", "The first", "--input", buzz, "--text", "The third")
    result = run("talk", "--endpoint", running.url, *turns, "--output", output)
    assert result.code == 0
    assert running.connections == 1
    shown = re.findall(r"^(?:you|assistant): (.*)$", result.out, re.MULTILINE)
    assert shown[:2] == ["The first", "One."]
    assert sorted(shown[2:4]) == ["The second", "Two."]
    assert shown[4:] == ["The third", "Three."]
    # The three answers and the two pauses between them.
    spoken_s = sum(float(found[3]) for found in SUMMARY.finditer(result.out))
    assert read_wav(output).duration_s == pytest.approx(spoken_s + 2 * 0.5, abs=0.16)


def test_quiet_prints_nothing(
    run: Callable[..., Any], emulator: Callable[..., Any], output: Path, buzz: Path
) -> None:
    url = emulator("Yes.", transcripts=["Are you there?"]).url
    result = run("talk", "--quiet", "--endpoint", url, "--input", buzz, "--output", output)
    assert (result.code, result.out, result.err) == (0, "", "")
    assert output.exists()


def test_an_older_answer_is_replaced_only_by_a_whole_one(
    run: Callable[..., Any], emulator: Callable[..., Any], output: Path
) -> None:
    output.write_bytes(b"old")
    faults = FaultPlan(close_after=20, close_code=1011, close_reason="out of order")
    url = emulator("A rather long answer, so that it breaks off.", faults=faults).url
    result = run("talk", "--endpoint", url, "--text", "Hello", "--output", output)
    assert result.code == 1
    assert "out of order" in result.err
    assert output.read_bytes() == b"old"
    assert [path.name for path in output.parent.iterdir()] == ["answer.wav"]
    url = emulator("Yes.").url
    assert run("talk", "--endpoint", url, "--text", "Hello", "--output", output).code == 0
    assert read_wav(output).duration_s > 0.1


# --- recordings -------------------------------------------------------------------------------


def pcm_wav(
    path: Path, samples: bytes, *, bits: int, rate: int = 16_000, channels: int = 1
) -> Path:
    width = bits // 8 * channels
    header = b"RIFF" + (36 + len(samples)).to_bytes(4, "little") + b"WAVEfmt "
    for value, size in ((16, 4), (1, 2), (channels, 2), (rate, 4), (rate * width, 4)):
        header += value.to_bytes(size, "little")
    header += width.to_bytes(2, "little") + bits.to_bytes(2, "little")
    path.write_bytes(header + b"data" + len(samples).to_bytes(4, "little") + samples)
    return path


@pytest.mark.parametrize(
    ("bits", "one_second"),
    [
        (8, b"\xf0" * 40 + b"\x10" * 40),
        (16, b"\x00\x60" * 40 + b"\x00\xa0" * 40),
        (24, b"\x00\x00\x60" * 40 + b"\x00\x00\xa0" * 40),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_recordings_of_any_width_and_channels_are_said(
    run: Callable[..., Any],
    emulator: Callable[..., Any],
    output: Path,
    tmp_path: Path,
    bits: int,
    one_second: bytes,
    channels: int,
) -> None:
    recording = pcm_wav(tmp_path / "q.wav", one_second * 200, bits=bits, channels=channels)
    url = emulator("Fine.", transcripts=["How are you?"]).url
    result = run("talk", "--endpoint", url, "--input", recording, "--output", output)
    assert (result.code, result.err) == (0, "")
    assert "you: How are you?" in result.out


def test_a_truncated_recording_is_said_as_far_as_it_goes(
    run: Callable[..., Any], emulator: Callable[..., Any], output: Path, buzz: Path
) -> None:
    buzz.write_bytes(buzz.read_bytes()[:24_000])
    url = emulator("Fine.", transcripts=["How are"]).url
    result = run("talk", "--endpoint", url, "--input", buzz, "--output", output)
    assert result.code == 0
    assert "ends before its header says" in result.err
    assert "sent 0.5 s of buzz.wav" in result.out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"", "empty"),
        (b"RIFF", "not a WAV file"),
        (b"ID3\x04" + bytes(1000), "not a WAV file"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00", "ends"),
    ],
)
def test_an_unusable_recording_is_bad_use_and_nothing_is_connected(
    run: Callable[..., Any],
    emulator: Callable[..., Any],
    output: Path,
    tmp_path: Path,
    content: bytes | None,
    words: str,
) -> None:
    recording = tmp_path / "q.wav"
    if content is not None:
        recording.write_bytes(content)
    running = emulator("Never said.")
    result = run("talk", "--endpoint", running.url, "--input", recording, "--output", output)
    assert result.code == 2
    assert words in result.err
    assert str(recording) in result.err
    assert result.err.count("\n") == 1
    assert running.connections == 0
    assert_nothing_written(output)


def test_a_recording_that_is_too_short_is_bad_use(
    run: Callable[..., Any], output: Path, tmp_path: Path
) -> None:
    recording = pcm_wav(tmp_path / "q.wav", bytes(2 * 1_000), bits=16)
    result = run("talk", "--input", recording, "--output", output)
    assert result.code == 2
    assert "62 ms" in result.err


def test_a_recording_that_is_far_too_loud_is_bad_use(
    run: Callable[..., Any], output: Path, tmp_path: Path
) -> None:
    recording = pcm_wav(tmp_path / "q.wav", np.full(16_000, 9.0, "<f4").tobytes(), bits=32)
    content = bytearray(recording.read_bytes())
    content[20] = 3  # the tag of float samples
    recording.write_bytes(content)
    result = run("talk", "--input", recording, "--output", output)
    assert result.code == 2
    assert "up to 9" in result.err


def test_silence_is_answered_and_it_is_said_that_nobody_spoke(
    run: Callable[..., Any], emulator: Callable[..., Any], output: Path, tmp_path: Path
) -> None:
    write_wav(tmp_path / "silence.wav", bytes(2 * 24_000), 24_000)
    url = emulator("I did not hear anything.", transcripts=[""]).url
    silence = tmp_path / "silence.wav"
    result = run("talk", "--endpoint", url, "--input", silence, "--output", output)
    assert result.code == 0
    assert result.err == "trio-rt: silence.wav: no speech was found in it\n"
    assert read_wav(output).duration_s > 0.1


# --- the output -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nowhere/answer.wav", ".", "x" * 300])
def test_an_output_that_cannot_be_is_found_before_the_conversation(
    run: Callable[..., Any], emulator: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    running = emulator("Never said.")
    result = run("talk", "--endpoint", running.url, "--text", "Hi", "--output", tmp_path / name)
    assert result.code == 2
    assert str(tmp_path) in result.err
    assert running.connections == 0


def test_a_folder_that_is_not_writable_is_found_before_the_conversation(
    run: Callable[..., Any],
    emulator: Callable[..., Any],
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(**options: object) -> None:  # tests may run as root, who may write anywhere
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    running = emulator("Never said.")
    result = run("talk", "--endpoint", running.url, "--text", "Hi", "--output", output)
    assert result.code == 2
    assert "cannot be written: Permission denied" in result.err
    assert running.connections == 0


def test_an_input_is_never_overwritten(run: Callable[..., Any], buzz: Path) -> None:
    before = buzz.read_bytes()
    result = run("talk", "--input", buzz, "--output", buzz)
    assert result.code == 2
    assert "--output" in result.err
    assert buzz.read_bytes() == before


def test_a_device_is_never_replaced(run: Callable[..., Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    result = run("talk", "--text", "Hi", "--output", tmp_path / "pipe")
    assert result.code == 2
    assert "not an ordinary file" in result.err


# --- servers ----------------------------------------------------------------------------------


def answer_with(data: bytes) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(data)

    return handle


def http(status: str, body: str = "") -> Callable[[socket.socket], None]:
    text = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}"
    return answer_with(text.encode())


@pytest.mark.parametrize(
    ("handle", "words"),
    [
        (http("404 Not Found"), "404"),
        (http("401 Unauthorized", "wrong key"), "check the API key"),
        (http("200 OK", "<html>"), "does not speak WebSocket"),
        (http("503 Service Unavailable"), "try again later"),
        (answer_with(b"SSH-2.0-OpenSSH_9.6\r\n"), ""),
        (lambda connection: None, ""),
    ],
    ids=["404", "401", "http", "503", "not http", "closes at once"],
)
def test_a_server_that_refuses_is_one_line(
    run: Callable[..., Any],
    server: Callable[..., str],
    output: Path,
    handle: Callable[[socket.socket], None],
    words: str,
) -> None:
    result = run("talk", "--endpoint", server(handle), "--text", "Hi", "--output", output)
    assert result.code == 1
    assert words in result.err
    assert result.err.count("\n") == 1
    assert_nothing_written(output)


def test_a_server_cannot_steer_the_terminal(
    run: Callable[..., Any], server: Callable[..., str], output: Path
) -> None:
    url = server(http("403 Forbidden", "\x1b[2Jno\nway\x07"))
    result = run("talk", "--endpoint", url, "--text", "Hi", "--output", output)
    assert result.code == 1
    assert "[2Jno way" in result.err
    assert "\x07" not in result.err
    assert result.err.count("\n") == 1


def test_a_server_that_is_not_there(run: Callable[..., Any], output: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"ws://127.0.0.1:{port}"
    result = run("talk", "--endpoint", url, "--text", "Hi", "--output", output)
    assert result.code == 1
    assert f"127.0.0.1:{port}" in result.err
    assert result.err.count("\n") == 1


def test_a_server_that_says_nothing_is_given_up(
    run: Callable[..., Any], server: Callable[..., str], output: Path
) -> None:
    url = server(lambda connection: connection.recv(65_536) and connection.recv(1))
    began = time.monotonic()
    arguments = ("--endpoint", url, "--text", "Hi", "--output", output, "--timeout", "0.3")
    result = run("talk", *arguments)
    assert time.monotonic() - began < 5
    assert result.code == 1
    assert "within 0.3 s" in result.err
    assert_nothing_written(output)


@pytest.mark.parametrize("silent_from", ["response.created", "response.output_audio.delta"])
def test_an_answer_that_does_not_come_is_given_up(
    run: Callable[..., Any], emulator: Callable[..., Any], output: Path, silent_from: str
) -> None:
    faults = FaultPlan(messages=[MessageFault(Fault.SILENCE, silent_from)])
    url = emulator("Never heard.", faults=faults).url
    arguments = ("--endpoint", url, "--text", "Hi", "--output", output, "--timeout", "0.5")
    result = run("talk", *arguments)
    assert result.code == 1
    assert "0.5 s" in result.err
    assert_nothing_written(output)


def test_a_wrong_key_and_a_wrong_voice_are_the_servers_words(
    run: Callable[..., Any], emulator: Callable[..., Any], output: Path
) -> None:
    url = emulator("Yes.", api_key="right").url
    arguments = ("talk", "--endpoint", url, "--text", "Hi", "--output", output)
    refused = run(*arguments, "--api-key", "wrong")
    assert refused.code == 1
    assert "401" in refused.err
    assert "wrong" not in refused.err
    refused = run(*arguments, "--api-key", "right", "--voice", "nobody")
    assert refused.code == 1
    assert "nobody" in refused.err
    assert run(*arguments, "--api-key", "right", "--voice", "cedar").code == 0


# --- Ctrl-C -----------------------------------------------------------------------------------


def test_ctrl_c_leaves_nothing_behind_and_shows_no_traceback(
    server: Callable[..., str], output: Path
) -> None:
    connected = threading.Event()

    def handle(connection: socket.socket) -> None:
        connection.recv(65_536)
        connected.set()
        connection.recv(1)

    command = [sys.executable, "-m", "trio_rt", "talk", "--endpoint", server(handle)]
    process = subprocess.Popen(
        [*command, "--text", "Hi", "--output", str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert connected.wait(30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (130, b"")
    assert err == b"trio-rt: interrupted; nothing was written\n"
    assert_nothing_written(output)


def test_nobody_reading_the_output_is_no_defect(emulator: Callable[..., Any], output: Path) -> None:
    url = emulator("One.", "Two.").url
    command = [sys.executable, "-m", "trio_rt", "talk", "--endpoint", url, "--text", "Hi"]
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as nobody:
        result = subprocess.run(
            [*command, "--output", str(output)],
            stdout=nobody,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    assert result.returncode == 1
    assert b"Traceback" not in result.stderr
    assert b"defect" not in result.stderr


def test_a_terminal_has_a_bar_and_colours(
    emulator: Callable[..., Any], output: Path, buzz: Path
) -> None:
    url = emulator("I heard you.", transcripts=["Hello"]).url
    command = [sys.executable, "-m", "trio_rt", "talk", "--endpoint", url, "--input", str(buzz)]
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        with open(theirs, "wb") as terminal:
            process = subprocess.Popen(
                [*command, "--output", str(output)],
                stdout=terminal,
                stderr=subprocess.PIPE,
                env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
            )
        shown = b""
        with process, contextlib.suppress(OSError):  # the system's word for the end of a terminal
            while chunk := screen.read(65_536):
                shown += chunk
    assert process.returncode == 0
    assert b"sending buzz.wav" in shown
    assert b"of 1.0 s" in shown
    assert "assistant: \x1b[0mI heard you." in shown.decode()


# --- the whole thing ---------------------------------------------------------------------------


def test_the_sample_is_answered_by_the_embedded_emulator(
    run: Callable[..., Any], output: Path
) -> None:
    """Issue 2: the whole run under 15 s, the first audio within 1.5 s of the end of the question."""
    began = time.monotonic()
    result = run("talk", "--output", output)
    assert time.monotonic() - began < 15
    assert (result.code, result.err) == (0, "")
    assert "what time is it" in result.out.lower()
    assert "tool: get_time({})" in result.out
    found = SUMMARY.search(result.out)
    assert found
    assert int(found[1]) < 1_500
    written = read_wav(output)
    assert written.duration_s > 1
    assert np.abs(written.samples).max() > 1_000


def test_main_may_be_called_in_any_thread(
    emulator: Callable[..., Any], output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = emulator("Yes.").url
    codes: list[int] = []
    arguments = ["talk", "--endpoint", url, "--text", "Hi", "--output", str(output)]
    thread = threading.Thread(target=lambda: codes.append(main(arguments)))
    thread.start()
    thread.join(30)
    assert codes == [0]
    assert "assistant: Yes." in capsys.readouterr().out
