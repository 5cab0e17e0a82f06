"""The command line's arguments: what is bad use (exit 2) is told in one line before anything begins."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sansio_rt import Dialect, __version__
from trio_rt.cli import main
from trio_rt.cli._arguments import Asked, make_parser
from trio_rt.cli._endpoints import find_endpoint
from trio_rt.cli._problems import BadUse
from trio_rt.cli._tools import get_time, roll_dice


def test_inputs_and_texts_keep_their_order() -> None:
    given = ["talk", "--text", "one", "--input", "two.wav", "--text", "three"]
    turns = make_parser().parse_args(given).turns
    assert turns == [Asked("text", "one"), Asked("input", "two.wav"), Asked("text", "three")]
    assert make_parser().parse_args(["talk"]).turns == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["sing"], "sing"),
        (["talk", "--nonsense"], "--nonsense"),
        (["talk", "--text", " "], "--text"),
        (["talk", "--input", ""], "--input"),
        (["talk", "--timeout", "0"], "--timeout"),
        (["talk", "--timeout", "nan"], "--timeout"),
        (["talk", "--timeout", "soon"], "--timeout"),
        (["talk", "--out", "x.wav"], "--out"),
        (["talk", "--endpoint", "nowhere"], "--endpoint"),
        (["talk", "--endpoint", "ftp://localhost"], "--endpoint"),
        (["talk", "--endpoint", "ws://"], "--endpoint"),
        (["serve", "--port", "65536"], "--port"),
        (["serve", "--voice-activity", "ears"], "--voice-activity"),
    ],
)
def test_bad_use_is_one_line_that_names_the_argument(
    run: Callable[..., Any], arguments: list[str], words: str
) -> None:
    result = run(*arguments)
    assert result.code == 2
    assert words in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--version"], ["talk", "--version"]])
def test_version(run: Callable[..., Any], arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.code, result.out) == (0, f"trio-rt {__version__}\n")


def test_help_names_the_commands(run: Callable[..., Any]) -> None:
    result = run("--help")
    assert result.code == 0
    assert "talk" in result.out
    assert "serve" in result.out


def test_missing_key_names_both_ways(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    result = run("talk", "--endpoint", "openai")
    assert result.code == 2
    assert "--api-key" in result.err
    assert "OPENAI_API_KEY" in result.err


def test_openai_takes_the_key_of_the_environment_and_the_argument_first() -> None:
    def key(endpoint: Any) -> str:
        return dict(endpoint.headers())["Authorization"]

    env = {"OPENAI_API_KEY": "from-env"}
    assert key(find_endpoint("openai", model=None, api_key=None, env=env)) == "Bearer from-env"
    assert key(find_endpoint("openai", model=None, api_key="given", env=env)) == "Bearer given"
    endpoint = find_endpoint("openai", model="gpt-realtime-mini", api_key=None, env=env)
    assert (
        endpoint.url_without_secrets == "wss://api.openai.com/v1/realtime?model=gpt-realtime-mini"
    )


def test_a_url_is_not_sent_the_key_of_the_environment() -> None:
    env = {"OPENAI_API_KEY": "from-env"}
    endpoint = find_endpoint("ws://localhost:1/v1", model=None, api_key=None, env=env)
    assert "Authorization" not in dict(endpoint.headers())


@pytest.mark.parametrize(
    ("env", "model", "words"),
    [
        ({}, "name", "AZURE_OPENAI_ENDPOINT"),
        ({"AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com"}, "name", "AZURE_OPENAI_API_KEY"),
        (
            {"AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com", "AZURE_OPENAI_API_KEY": "k"},
            None,
            "--model",
        ),
    ],
)
def test_azure_names_what_is_missing(env: dict[str, str], model: str | None, words: str) -> None:
    with pytest.raises(BadUse, match=words):
        find_endpoint("azure", model=model, api_key=None, env=env)


def test_azure_makes_an_endpoint() -> None:
    env = {"AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com", "AZURE_OPENAI_API_KEY": "k"}
    endpoint = find_endpoint("azure", model="name", api_key=None, env=env)
    assert (endpoint.host, endpoint.dialect) == ("x.openai.azure.com", Dialect.GA)


def test_no_key_is_repeated_in_a_complaint(run: Callable[..., Any]) -> None:
    result = run("talk", "--endpoint", "https://user:hunter2@localhost/?api-key=hunter2")
    assert result.code == 2
    assert "hunter2" not in result.err


def test_the_tools_do_what_they_say() -> None:
    assert len(get_time()) == len("2026-11-22T14:54")
    rolled = roll_dice(count=20, sides=2)
    assert len(rolled) == 20
    assert set(rolled) <= {1, 2}
    for count, sides in ((0, 6), (21, 6), (1, 1), (1, 1001)):
        with pytest.raises(ValueError, match="must be"):
            roll_dice(count=count, sides=sides)


def test_a_defect_is_one_line_and_its_traceback_comes_with_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: object) -> int:
        raise ExceptionGroup("several", [ZeroDivisionError("by zero")])

    monkeypatch.setattr("trio_rt.cli._program._run_command", fail)
    assert main(["talk"]) == 1
    assert capsys.readouterr().err == (
        "trio-rt: error: this is a defect of trio-rt: ZeroDivisionError: by zero "
        "(--debug shows where)\n"
    )
    assert main(["talk", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_without_the_speech_extra_the_error_names_it(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("trio_rt.emulator._extras.find_spec", lambda package: None)
    result = run("talk", "--output", tmp_path / "answer.wav")
    assert result.code == 2
    assert 'pip install "trio-rt[speech]"' in result.err


def test_the_module_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "trio_rt", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert result.stdout.startswith("trio-rt ")
