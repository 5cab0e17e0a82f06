"""Answers that are not what was asked for: what `trio-rt talk` says of them, and what it writes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from trio_rt.cli import _conversation
from trio_rt.cli._screen import Screen
from trio_rt.emulator import Brain, Fault, FaultPlan, MessageFault
from trio_rt.emulator._ears import GivenEars


class Deaf(GivenEars):
    """Ears that understand nothing, and say so."""

    def transcribe(self, pcm: bytes, rate: int) -> str:
        raise RuntimeError("these ears are deaf")


def without(*kinds: str) -> FaultPlan:
    return FaultPlan(messages=[MessageFault(Fault.DROP, kind, count=None) for kind in kinds])


def talk(run: Callable[..., Any], url: str, output: Path, *turns: object) -> Any:
    return run("talk", "--endpoint", url, *turns, "--output", output)


def test_an_answer_without_sound_is_shown_and_no_file_written(
    run: Callable[..., Any], emulator: Callable[..., Any], tmp_path: Path
) -> None:
    output = tmp_path / "answer.wav"
    url = emulator("Only words.", faults=without("response.output_audio.delta")).url
    result = talk(run, url, output, "--text", "Hello")
    assert result.code == 1
    assert "assistant: Only words." in result.out
    assert "turn 1: no audio; " in result.out
    assert "no answer had any sound, so no file was written" in result.err
    assert not output.exists()


def test_an_answer_that_fails_ends_the_conversation_in_the_servers_words(
    run: Callable[..., Any], serve: Callable[..., Any], tmp_path: Path
) -> None:
    class Broken:
        def reply(self, request: Any) -> Sequence[Any]:
            raise RuntimeError("out of thoughts")

    brain = Brain.scripted("never")
    brain.mind = Broken()  # type: ignore[assignment]  # a mind that fails
    result = talk(run, serve(brain).url, tmp_path / "answer.wav", "--text", "Hello")
    assert result.code == 1
    assert "the server could not answer: " in result.err
    assert "does not say why" not in result.err


@pytest.mark.parametrize("ears", [Deaf(), None])
def test_what_cannot_be_recognised_is_said_and_answered(
    run: Callable[..., Any],
    serve: Callable[..., Any],
    tmp_path: Path,
    buzz: Path,
    ears: GivenEars | None,
) -> None:
    brain = Brain.scripted("I heard something.")
    brain.ears = ears
    result = talk(run, serve(brain).url, tmp_path / "answer.wav", "--input", buzz)
    assert result.code == 0
    assert "what was said could not be recognised: " in result.err
    assert "assistant: I heard something." in result.out
    assert (tmp_path / "answer.wav").exists()


def test_a_transcript_that_does_not_come_is_not_waited_for_for_ever(
    run: Callable[..., Any],
    emulator: Callable[..., Any],
    tmp_path: Path,
    buzz: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_conversation, "TRANSCRIPT_WAIT_S", 0.2)
    faults = without("conversation.item.input_audio_transcription.*")
    url = emulator("I heard you.", transcripts=["Hello"], faults=faults).url
    result = talk(run, url, tmp_path / "answer.wav", "--input", buzz)
    assert result.code == 0
    assert "buzz.wav: the server sent no transcript of it" in result.err


def test_without_a_terminal_nothing_moves(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    with screen.working("thinking"), screen.sending("a.wav", 1.5) as tell:
        tell(0.5)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("sent 1.5 s of a.wav\n", "")


def test_on_a_terminal_it_shows_that_something_takes_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = io.StringIO()
    screen = Screen()
    monkeypatch.setattr(screen, "_shows_motion", True)
    monkeypatch.setattr(screen, "_out", Console(file=shown, force_terminal=True))
    with screen.working("thinking hard"):
        pass
    assert "thinking hard" in shown.getvalue()
