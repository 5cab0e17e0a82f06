"""Turns window by window, and when the words of a spoken message come (rules 6 and 8)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from sansio_rt import AudioFormat, SequentialIds, events
from sansio_rt._server_input import InputBuffer, Sound
from sansio_rt._server_items import Record
from sansio_rt._server_message import OutputMessage, split_words
from sansio_rt._server_outbox import Outbox
from sansio_rt._server_turns import SpeechEnded, SpeechStarted, TurnFinder, TurnSettings
from sansio_rt._server_work import ServerLimits, SpeechDropped, TranscriptionWanted

WINDOW = 160  # of a detector of 16 kHz: 10 ms


class Script:
    """A detector that reads its probabilities from a list, and keeps what it heard."""

    window_samples = WINDOW
    rate = 16_000

    def __init__(self, *probabilities: float) -> None:
        self._probabilities = iter(probabilities)
        self.heard: list[Any] = []

    def probability(self, window: Any) -> float:
        self.heard.append(window)
        return next(self._probabilities)

    def reset(self) -> None: ...


def found(probabilities: list[float], **settings: Any) -> list[SpeechStarted | SpeechEnded]:
    finder = TurnFinder(Script(*probabilities))
    sound = np.zeros(WINDOW * len(probabilities), dtype=np.int16)
    return list(finder.feed(sound, 16_000, TurnSettings(**settings)))


def test_a_turn_ends_when_the_silence_is_just_long_enough() -> None:
    talk = [0.0] * 50 + [1.0] * 100
    assert found(talk + [0.0] * 19, silence_ms=200) == [SpeechStarted(200)]
    assert found(talk + [0.0] * 20, silence_ms=200) == [SpeechStarted(200), SpeechEnded(1700)]


def test_a_detector_hears_numbers_of_one_kind_from_the_first_window_on() -> None:
    detector = Script(0.0, 0.0)
    sound = np.zeros(WINDOW * 2, dtype=np.int16)
    list(TurnFinder(detector).feed(sound, 16_000, TurnSettings()))
    assert [window.dtype for window in detector.heard] == [np.float32, np.float32]


def test_positions_are_exact_however_long_it_lasts() -> None:
    talk = [0.0] * 3000 + [1.0] * 100 + [0.0] * 50
    assert found(talk, prefix_padding_ms=0) == [SpeechStarted(30_000), SpeechEnded(31_500)]


@pytest.mark.parametrize(("probability", "starts"), [(0.49, 0), (0.5, 1)])
def test_a_turn_begins_at_the_threshold_and_not_below(probability: float, starts: int) -> None:
    assert len(found([probability] * 20, threshold=0.5)) == starts


@pytest.mark.parametrize(("probability", "ends"), [(0.36, 0), (0.34, 1)])
def test_a_turn_goes_on_a_little_below_the_threshold(probability: float, ends: int) -> None:
    events_found = found([1.0] * 20 + [probability] * 60, threshold=0.5)
    assert len(events_found) == 1 + ends


def test_a_detector_hears_samples_from_minus_one_to_one() -> None:
    detector = Script(*[0.0] * 2)
    sound = np.full(WINDOW * 2, -32768, dtype=np.int16)
    sound[WINDOW:] = 16384
    list(TurnFinder(detector).feed(sound, 16_000, TurnSettings()))
    assert [window.tolist() for window in detector.heard] == [[-1.0] * WINDOW, [0.5] * WINDOW]


# --- the buffer -------------------------------------------------------------------------------


def test_what_is_appended_first_can_be_committed() -> None:
    buffer = InputBuffer()
    buffer.append(bytes(4_800))
    assert buffer.committable_ms == 100.0


def test_the_buffer_takes_more_until_it_holds_more_than_its_limit(server: Any) -> None:
    driver = server(limits=ServerLimits(buffered_s=1.0))
    driver.manual()
    assert driver.append(1000) == []
    assert driver.append(1) == []  # it held a second, and no more
    refused = driver.append(1)
    assert refused[0]["error"]["message"].startswith("The input audio buffer holds 1s of audio")


@pytest.mark.parametrize("stream_speech", [True, False])
def test_what_nobody_was_told_of_is_not_taken_back(server: Any, stream_speech: bool) -> None:
    driver = server(stream_speech=stream_speech)
    driver.manual()
    if not stream_speech:
        driver.append(200)
        driver.send("input_audio_buffer.commit")
        driver.hear("said")
        driver.append(200)
    driver.send("input_audio_buffer.clear")
    driver.update(audio={"input": {"turn_detection": {"type": "server_vad"}}})
    assert not [work for work in driver.work if isinstance(work, SpeechDropped)]


def test_a_turn_that_was_begun_is_taken_back_only_where_pieces_of_it_were_told(
    server: Any,
) -> None:
    driver = server()
    driver.update(audio={"input": {"turn_detection": {"type": "server_vad"}}})
    assert driver.append(500)[0]["type"] == "input_audio_buffer.speech_started"
    driver.send("input_audio_buffer.clear")
    assert driver.work == []


@pytest.mark.parametrize(("wanted", "model"), [({"language": "en"}, None), (None, None)])
def test_a_transcription_without_a_model_has_none(server: Any, wanted: Any, model: Any) -> None:
    driver = server()
    driver.manual(transcription=wanted)
    driver.append(200)
    driver.send("input_audio_buffer.commit")
    assert driver.wanted(TranscriptionWanted).model is model


def test_events_may_stay_what_they_are() -> None:
    outbox = Outbox(SequentialIds())
    outbox.write = None
    outbox.emit(events.InputAudioBufferCleared())
    assert outbox.take_messages() == [events.InputAudioBufferCleared(event_id="event_1")]
    assert outbox.take_messages() == []


def test_a_buffer_that_was_cleared_is_empty_and_its_clock_goes_on() -> None:
    buffer = InputBuffer()
    buffer.append(bytes(4_801))  # 100 ms, and half a sample
    buffer.clear()
    assert (buffer.buffered_ms, buffer.start_ms, buffer.end_ms) == (0.0, 100.0, 100.0)
    assert buffer.append(b"\1\2\3") == b"\1\2"


# --- words beside sound -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [("", []), (" ", [" "]), ("one", ["one"]), (" one  two ", [" one", "  two "])],
)
def test_words_keep_the_space_before_them(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_the_words_of_a_clause_come_with_its_own_sound() -> None:
    outbox = Outbox(SequentialIds())
    item = events.Message(role="assistant", content=[], id="i1")
    message = OutputMessage(outbox, "r1", 0, Record("i1", item, Sound(AudioFormat.PCM16)))
    said: list[list[str]] = []
    for clause in ("seven one", " seven two"):
        message.add_words(clause)
        for _ in range(6):
            message.add_sound(bytes(4_800))
            told = [json.loads(each) for each in outbox.take_messages()]
            said.append(
                [each["delta"] for each in told if each["type"].endswith("transcript.delta")]
            )
    # A word of five letters takes a third of a second, so that the next comes with the fourth piece.
    nothing: list[str] = []
    assert said == [
        *(["seven"], nothing, nothing, nothing, [" one"], nothing),
        *([" seven"], nothing, nothing, nothing, [" two"], nothing),
    ]
