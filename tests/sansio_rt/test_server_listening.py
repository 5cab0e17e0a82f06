"""What the server hears: buffer, turns, commits, transcriptions (rules 6, 8, 16; parity I1, I2)."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sansio_rt import AudioFormat, events
from sansio_rt._server_input import InputBuffer
from sansio_rt._server_turns import SpeechEnded, SpeechStarted, TurnFinder, TurnSettings
from sansio_rt._server_work import (
    HistoryTurn,
    ReplyCancelled,
    ReplyWanted,
    ServerLimits,
    SpeechDropped,
    SpeechHeard,
    TranscriptionWanted,
)

WHISPER = {"model": "whisper-1"}
TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "response.created",
]


def vad(**fields: Any) -> dict[str, Any]:
    return {"input": {"turn_detection": {"type": "server_vad", **fields}}}


def types(answers: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in answers]


def speak(driver: Any, speech_ms: int = 1000, silence_ms: int = 700) -> list[dict[str, Any]]:
    """A turn in pieces of 100 ms, with half a second of silence before it."""
    answers: list[dict[str, Any]] = []
    for duration_ms, loud in ((500, False), (speech_ms, True), (silence_ms, False)):
        for _ in range(duration_ms // 100):
            answers += driver.append(100, loud=loud)
    return answers


def test_a_turn_that_the_server_finds(server: Any) -> None:
    driver = server()
    driver.update(audio=vad(silence_duration_ms=500))
    answers = speak(driver)
    assert types(answers) == TURN
    started, stopped, committed, added, _, _ = answers
    assert 150 <= started["audio_start_ms"] <= 250  # 500 ms of silence less 300 ms of padding
    assert 1950 <= stopped["audio_end_ms"] <= 2100  # 1500 ms and the silence that ended it
    assert started["item_id"] == stopped["item_id"] == committed["item_id"] == added["item"]["id"]
    assert added["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    heard = driver.wanted(TranscriptionWanted)
    length_ms = stopped["audio_end_ms"] - started["audio_start_ms"]
    assert len(heard.pcm) / 48 == pytest.approx(length_ms, abs=1)
    assert not any(isinstance(work, ReplyWanted) for work in driver.work)
    driver.session.transcribed(heard.item_id, "hello there", 0.0)
    assert driver.take() == []  # no transcription was asked for
    assert driver.wanted(ReplyWanted).history == (HistoryTurn("user", "hello there"),)


def test_a_turn_in_one_append(server: Any) -> None:
    """Two questions in one piece of audio are two turns; the first reply is interrupted."""
    driver = server()
    driver.update(audio=vad(silence_duration_ms=300))
    loud = np.tile(np.repeat(np.array([12_000, -12_000], dtype="<i2"), 40), 300)
    quiet = np.zeros(12_000, dtype="<i2")
    pcm = np.concatenate((loud, quiet, loud, quiet)).tobytes()
    answers = driver.send("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())
    kinds = types(answers)
    assert kinds.count("input_audio_buffer.committed") == 2
    done = next(event for event in answers if event["type"] == "response.done")
    assert done["response"]["status_details"]["reason"] == "turn_detected"
    second = kinds.index("input_audio_buffer.speech_started", 1)
    assert second < kinds.index("response.done")
    assert kinds.count("response.created") == 2


def test_speech_interrupts_the_reply(server: Any) -> None:
    driver = server(pace=10.0)
    driver.update(audio=vad(silence_duration_ms=300))
    driver.send("response.create")
    wanted = driver.wanted(ReplyWanted)
    driver.begin_reply(wanted, "A long story.", audio_ms=5000)
    driver.take()
    answers = driver.append(300)
    assert types(answers)[0] == "input_audio_buffer.speech_started"
    done = next(event for event in answers if event["type"] == "response.done")
    assert done["response"]["status"] == "cancelled"
    assert done["response"]["status_details"]["reason"] == "turn_detected"
    assert driver.wanted(ReplyCancelled).response_id == wanted.response_id
    # Some clients cancel and truncate after the server's own VAD has cancelled.
    assert driver.refused("response.cancel")["code"] == "response_cancel_not_active"
    item_id = done["response"]["output"][0]["id"]
    [truncated] = driver.send(
        "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=50
    )
    assert truncated["type"] == "conversation.item.truncated"


def test_speech_that_does_not_interrupt(server: Any) -> None:
    """The turn that ends meanwhile cannot have its response: the service says so."""
    driver = server(pace=10.0)
    driver.update(audio=vad(silence_duration_ms=300, interrupt_response=False))
    driver.send("response.create")
    driver.begin_reply(driver.wanted(ReplyWanted), "A long story.", audio_ms=5000)
    driver.take()
    answers = speak(driver)
    assert types(answers) == [*TURN[:-1], "error"]
    assert answers[-1]["error"]["code"] == "conversation_already_has_active_response"
    assert answers[-1]["error"]["event_id"] is None


def test_an_aside_is_not_interrupted(server: Any) -> None:
    driver = server()
    driver.send("response.create", response={"conversation": "none"})
    assert "response.done" not in types(driver.append(300))


def test_turns_without_responses(server: Any) -> None:
    driver = server()
    driver.update(audio=vad(silence_duration_ms=300, create_response=False))
    assert types(speak(driver)) == TURN[:-1]


@pytest.mark.parametrize(("eagerness", "ends"), [("high", True), ("low", False)])
def test_semantic_turns_wait_by_eagerness(server: Any, eagerness: str, ends: bool) -> None:
    driver = server()
    setting = {"type": "semantic_vad", "eagerness": eagerness}
    driver.update(audio={"input": {"turn_detection": setting}})
    assert ("input_audio_buffer.committed" in types(speak(driver))) is ends


def test_a_short_noise_is_no_turn(server: Any) -> None:
    driver = server()
    driver.append(500, loud=False)
    driver.append(20)
    assert driver.append(1000, loud=False) == []


def test_a_pause_within_a_turn_does_not_end_it(server: Any) -> None:
    driver = server()
    driver.update(audio=vad(silence_duration_ms=500))
    driver.append(500)
    driver.append(300, loud=False)
    driver.append(500)
    assert types(driver.append(700, loud=False)) == TURN[1:]


def test_a_commit_of_ones_own(server: Any) -> None:
    driver = server()
    driver.manual(transcription=WHISPER)
    assert driver.append(1000) == []
    committed, added, _ = driver.send("input_audio_buffer.commit")
    assert committed["type"] == "input_audio_buffer.committed"
    assert committed["item_id"] == added["item"]["id"]
    assert driver.wanted(TranscriptionWanted).model == "whisper-1"


def test_less_than_100_ms_cannot_be_committed(server: Any) -> None:
    """Rule 8."""
    driver = server()
    driver.manual()
    assert driver.refused("input_audio_buffer.commit")["code"] == "input_audio_buffer_commit_empty"
    driver.append(99)
    error = driver.refused("input_audio_buffer.commit")
    assert error["code"] == "input_audio_buffer_commit_empty"
    assert "99.00ms" in error["message"]
    driver.append(1)
    assert driver.send("input_audio_buffer.commit")[0]["type"] == "input_audio_buffer.committed"


def test_after_the_servers_commit_the_buffer_is_empty(server: Any) -> None:
    """Rule 8: however much silence follows; new speech counts again."""
    driver = server()
    driver.update(audio=vad(silence_duration_ms=300))
    speak(driver, silence_ms=2000)
    assert driver.refused("input_audio_buffer.commit")["code"] == "input_audio_buffer_commit_empty"
    driver.append(400)
    answers = driver.send("input_audio_buffer.commit")
    assert answers[0]["type"] == "input_audio_buffer.committed"


def test_audio_without_speech_can_be_committed_under_vad(server: Any) -> None:
    driver = server()
    driver.append(300, loud=False)
    answers = driver.send("input_audio_buffer.commit")
    assert answers[0]["type"] == "input_audio_buffer.committed"
    started, *_ = speak(driver)
    assert 450 <= started["audio_start_ms"] <= 550  # 800 ms less 300 ms of padding


@pytest.mark.parametrize(
    ("model", "text", "deltas"),
    [
        ("whisper-1", "one two", ["one two"]),
        ("whisper-1", "", []),
        ("gpt-4o-transcribe", "one two", ["one", " two"]),
        ("gpt-4o-transcribe", "", []),
    ],
)
def test_what_was_said_is_told_at_once_by_whisper_and_else_word_by_word(
    server: Any, model: str, text: str, deltas: list[str]
) -> None:
    driver = server()
    driver.manual(transcription={"model": model})
    driver.append(300)
    driver.send("input_audio_buffer.commit")
    *told, completed = driver.hear(text)
    assert [each["delta"] for each in told] == deltas
    assert completed["transcript"] == text


def test_an_update_of_other_settings_leaves_a_turn_that_goes_on_alone(server: Any) -> None:
    driver = server()
    driver.append(300)
    driver.update(instructions="Be kind.")
    assert types(driver.append(700, loud=False)) == TURN[1:]


def test_clear_drops_audio_and_turn(server: Any) -> None:
    driver = server()
    driver.append(500)
    [cleared] = driver.send("input_audio_buffer.clear")
    assert cleared["type"] == "input_audio_buffer.cleared"
    assert driver.refused("input_audio_buffer.commit")["code"] == "input_audio_buffer_commit_empty"
    assert driver.append(1000, loud=False) == []
    [started, *_] = driver.append(300)
    assert started["audio_start_ms"] == pytest.approx(1200, abs=60)


def test_one_append_has_a_limit(server: Any) -> None:
    """Rule 16."""
    driver = server(limits=ServerLimits(append_bytes=4800))
    driver.manual()
    assert driver.append(100) == []
    data = base64.b64encode(bytes(4802)).decode()
    error = driver.refused("input_audio_buffer.append", audio=data)
    assert (error["code"], error["param"]) == ("invalid_value", "audio")


def test_the_buffer_has_a_limit(server: Any) -> None:
    driver = server(limits=ServerLimits(buffered_s=1.0))
    driver.manual()
    for _ in range(11):
        driver.append(100)
    error = driver.refused("input_audio_buffer.append", audio="AAAA")
    assert "commit or clear" in error["message"]
    driver.send("input_audio_buffer.clear")
    assert driver.append(100) == []


def test_silence_under_vad_is_forgotten(server: Any) -> None:
    driver = server(limits=ServerLimits(buffered_s=1.0))
    for _ in range(50):
        assert driver.append(100, loud=False) == []
    driver.send("input_audio_buffer.commit")
    assert len(driver.wanted(TranscriptionWanted).pcm) == 48_000


@pytest.mark.parametrize("kind", [AudioFormat.PCMU, AudioFormat.PCMA])
def test_telephone_audio_in_and_out(server: Any, kind: AudioFormat) -> None:
    """Parity A4."""
    driver = server()
    wire = {"type": kind.value}
    driver.update(audio={"input": {"format": wire}, "output": {"format": wire}})
    samples = np.tile(np.repeat(np.array([12_000, -12_000], dtype=np.int16), 20), 200)
    loud = base64.b64encode(kind.to_wire(samples)).decode()
    quiet = base64.b64encode(kind.to_wire(np.zeros(8000, dtype=np.int16))).decode()
    answers = driver.send("input_audio_buffer.append", audio=loud)
    answers += driver.send("input_audio_buffer.append", audio=quiet)
    assert types(answers) == TURN
    heard = driver.wanted(TranscriptionWanted)
    assert heard.rate == 8000
    assert np.abs(np.frombuffer(heard.pcm[:8000], "<i2")).mean() == pytest.approx(12_000, rel=0.05)
    driver.session.transcribed(heard.item_id, "hello", 0.0)
    driver.take()
    answers = driver.reply("Hello.", audio_ms=1000)
    deltas = [e["delta"] for e in answers if e["type"] == "response.output_audio.delta"]
    assert [len(base64.b64decode(delta)) for delta in deltas] == [800] * 10


def test_audio_may_be_cut_anywhere(server: Any) -> None:
    driver = server()
    driver.manual()
    pcm = bytes(range(250)) * 24
    for start in range(0, len(pcm), 7):
        piece = base64.b64encode(pcm[start : start + 7]).decode()
        assert driver.send("input_audio_buffer.append", audio=piece) == []
    driver.send("input_audio_buffer.commit")
    assert driver.wanted(TranscriptionWanted).pcm == pcm


def test_a_transcription_is_told(server: Any) -> None:
    """Rule 6, parity I2: whenever it comes, also during the reply."""
    driver = server()
    driver.manual(transcription=WHISPER)
    driver.append(1500)
    driver.send("input_audio_buffer.commit")
    item_id = driver.session.items[0].id
    delta, completed = driver.hear("hello there")
    assert delta["delta"] == "hello there"
    assert completed["transcript"] == "hello there"
    assert completed["item_id"] == item_id
    assert completed["usage"] == {"type": "duration", "seconds": 1.5}
    [retrieved] = driver.send("conversation.item.retrieve", item_id=item_id)
    assert retrieved["item"]["content"][0]["transcript"] == "hello there"


def test_other_models_bill_transcriptions_by_tokens(server: Any) -> None:
    driver = server()
    driver.manual(transcription={"model": "gpt-4o-mini-transcribe"})
    driver.append(1500)
    driver.send("input_audio_buffer.commit")
    usage = driver.hear("hello there")[-1]["usage"]
    assert usage["input_tokens"] == 15
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_a_transcription_that_fails_does_not_stop_the_reply(server: Any) -> None:
    driver = server()
    driver.manual(transcription=WHISPER)
    driver.append(500)
    driver.send("input_audio_buffer.commit")
    driver.send("response.create")
    wanted = driver.wanted(TranscriptionWanted)
    driver.session.transcription_failed(wanted.item_id, "too much noise", 0.0)
    [failed] = driver.take()
    assert failed["type"] == "conversation.item.input_audio_transcription.failed"
    assert failed["error"]["message"] == "too much noise"
    assert driver.wanted(ReplyWanted).history == (HistoryTurn("user", ""),)


def test_the_transcription_of_a_deleted_item_is_not_told(server: Any) -> None:
    driver = server()
    driver.manual(transcription=WHISPER)
    driver.append(500)
    driver.send("input_audio_buffer.commit")
    driver.send("conversation.item.delete", item_id=driver.session.items[0].id)
    assert driver.hear("hello") == []


def test_utterances_while_they_come_in(server: Any) -> None:
    driver = server(stream_speech=True)
    driver.update(audio=vad(silence_duration_ms=300))
    speak(driver)
    wanted = driver.wanted(TranscriptionWanted)
    pieces = [work for work in driver.work if isinstance(work, SpeechHeard)]
    assert len(pieces) > 5
    assert {piece.item_id for piece in pieces} == {wanted.item_id}
    assert b"".join(piece.pcm for piece in pieces) == wanted.pcm
    driver.manual()
    driver.work.clear()
    driver.append(200)
    driver.send("input_audio_buffer.clear")
    [heard, dropped] = driver.work
    assert isinstance(heard, SpeechHeard)
    assert dropped == SpeechDropped(heard.item_id)


def test_an_idle_user_is_spoken_to(server: Any) -> None:
    """The timeout counts from the end of playback; it commits the silence and asks for a reply."""
    driver = server()
    driver.update(audio=vad(idle_timeout_ms=6000))
    assert driver.advance(60.0) == []  # there was no reply yet
    driver.send("response.create")
    driver.reply("How are you?", audio_ms=2000)
    driver.append(500, loud=False)
    assert driver.advance(7.9) == []
    answers = driver.advance(0.2)
    assert types(answers) == ["input_audio_buffer.timeout_triggered", *TURN[2:]]
    assert answers[0]["audio_end_ms"] == 500
    assert answers[0]["item_id"] == answers[1]["item_id"]
    assert driver.wanted(ReplyWanted).history[-1] == HistoryTurn("user", "")
    assert driver.advance(60.0) == []


def test_a_user_who_speaks_is_not_idle(server: Any) -> None:
    driver = server()
    driver.update(audio=vad(idle_timeout_ms=6000, create_response=False))
    driver.send("response.create")
    driver.reply("How are you?", audio_ms=2000)
    driver.append(500)
    assert driver.advance(60.0) == []


def test_a_user_who_speaks_into_a_reply_is_not_idle_when_it_ends(server: Any) -> None:
    driver = server()
    driver.update(audio=vad(idle_timeout_ms=6000, create_response=False, interrupt_response=False))
    driver.send("response.create")
    driver.append(500)
    driver.reply("How are you?", audio_ms=2000)
    assert driver.advance(60.0) == []


def test_a_user_is_idle_to_the_millisecond_and_answered_at_a_pace(server: Any) -> None:
    driver = server(pace=20.0)
    driver.update(audio=vad(idle_timeout_ms=30_000))
    driver.send("response.create")
    driver.reply(audio_ms=0)
    assert driver.session.next_deadline() == 30.0
    driver.append(500, loud=False)
    driver.advance(30.0)
    driver.begin_reply(driver.wanted(ReplyWanted), audio_ms=2000)
    driver.take()
    assert driver.session.next_deadline() == pytest.approx(30.005)


def test_a_user_who_has_spoken_is_not_idle(server: Any) -> None:
    driver = server()
    driver.update(audio=vad(idle_timeout_ms=6000, silence_duration_ms=300, create_response=False))
    driver.send("response.create")
    driver.reply("How are you?", audio_ms=2000)
    assert "input_audio_buffer.committed" in types(speak(driver))
    assert driver.advance(60.0) == []


def test_what_is_left_out_of_turn_detection_has_a_default() -> None:
    assert TurnSettings.of(events.ServerVad()) == TurnSettings()
    assert TurnSettings.of(events.ServerVad(threshold=0.8, silence_duration_ms=None)) == (
        TurnSettings(threshold=0.8)
    )
    semantic = events.SemanticVad(create_response=False)
    assert TurnSettings.of(semantic) == TurnSettings(silence_ms=700, create_response=False)


class _Script:
    """A detector that reads its probabilities from a list."""

    window_samples = 160
    rate = 16_000

    def __init__(self, probabilities: list[float]) -> None:
        self._probabilities = iter(probabilities)

    def probability(self, window: Any) -> float:
        return next(self._probabilities)

    def reset(self) -> None: ...


def test_a_turn_goes_on_while_speech_is_likely_enough() -> None:
    """A voice that fades does not end its turn at once: it must fall well below the threshold."""
    rules = TurnSettings(threshold=0.5, silence_ms=100)
    for fading, ends in ((0.4, 0), (0.3, 1)):
        finder = TurnFinder(_Script([0.9] * 20 + [fading] * 30))
        found = list(finder.feed(np.zeros(160 * 50, dtype=np.int16), 16_000, rules))
        assert sum(isinstance(event, SpeechEnded) for event in found) == ends


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.4, 0.6, 1.0]), min_size=1, max_size=120))
def test_turns_begin_and_end_by_turns(probabilities: list[float]) -> None:
    """However the probabilities go: starts and ends alternate, and positions only grow."""
    finder = TurnFinder(_Script(probabilities))
    sound = np.zeros(160 * len(probabilities), dtype=np.int16)
    rules = TurnSettings(prefix_padding_ms=0, silence_ms=100)
    found = list(finder.feed(sound, 16_000, rules))
    assert [type(event) for event in found] == [SpeechStarted, SpeechEnded] * (len(found) // 2) + (
        [SpeechStarted] * (len(found) % 2)
    )
    positions = [e.start_ms if isinstance(e, SpeechStarted) else e.end_ms for e in found]
    assert positions == sorted(positions)
    assert finder.speaking == bool(len(found) % 2)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=30))
def test_the_buffer_loses_and_doubles_nothing(steps: list[tuple[int, bool]]) -> None:
    """What is taken, in order, is what was appended; the clock counts every sample once."""
    buffer = InputBuffer()
    given_bytes, taken = bytearray(), bytearray()
    for size, take in steps:
        piece = bytes((len(given_bytes) + offset) % 251 for offset in range(size))
        buffer.append(piece)
        given_bytes += piece
        if take:
            taken += buffer.take_until(buffer.end_ms)
    taken += buffer.take_until(buffer.end_ms)
    assert taken == given_bytes[: len(given_bytes) // 2 * 2]
    assert buffer.end_ms == pytest.approx(len(given_bytes) // 2 / 24)
