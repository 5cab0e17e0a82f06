"""A caller who speaks, for tests that look at when: sounds, and a session that hears their turns."""

from __future__ import annotations

from typing import Any

from sansio_rt import ServerVad, SessionConfig, Transcription

SILENCE_MS = 500
SPEAKING = SessionConfig(
    turn_detection=ServerVad(silence_duration_ms=SILENCE_MS),
    transcription=Transcription(model="gpt-4o-mini-transcribe"),
)
LOUD_MS = b"\x00\x20" * 12 + b"\x00\xe0" * 12
SILENT_MS = bytes(48)


def talk(pair: Any, sound: bytes, milliseconds: int, *, push_ms: int = 20) -> None:
    """Pushes sound at real time."""
    for _ in range(milliseconds // push_ms):
        pair.pass_time(push_ms / 1000)
        pair.client.push_audio(sound * push_ms)
        pair.run()


def newest(pair: Any, kind: type) -> Any:
    return [event for event in pair.events if type(event) is kind][-1]
