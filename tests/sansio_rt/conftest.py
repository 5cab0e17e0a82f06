"""A driver for server sessions in memory, which checks every event against the published types."""

from __future__ import annotations

import base64
import json
import typing
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from openai.types.realtime import RealtimeServerEvent
from pair import Loud, Pair
from pydantic import BaseModel, TypeAdapter
from speaking import SPEAKING

from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import ReplyWanted, ServerWork, TranscriptionWanted

# Each type alone, since an error of the whole union tells of all its members.
_PUBLISHED: dict[str, TypeAdapter[BaseModel]] = {
    typing.get_args(model.model_fields["type"].annotation)[0]: TypeAdapter(model)
    for model in typing.get_args(typing.get_args(RealtimeServerEvent)[0])
}
# The published type of `session.created` is that of the request; the service adds these to it.
_ADDED_BY_SERVICE = {"id", "object", "expires_at"}


def check_published(message: bytes) -> None:
    """Fails unless the message is what the published types say, and no field more."""
    kind = json.loads(message)["type"]
    event = _PUBLISHED[kind].validate_json(message, strict=True)
    unknown = list(_unknown_fields(event, ""))
    assert not unknown, f"{kind} has fields that are not published: {unknown}"


def _unknown_fields(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, BaseModel):
        extra = set(value.model_extra or {}) - (_ADDED_BY_SERVICE if path == ".session" else set())
        yield from (f"{path}.{name}" for name in extra)
        for name in type(value).model_fields:
            yield from _unknown_fields(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _unknown_fields(entry, f"{path}[{index}]")


class LoudIsSpeech:
    """A detector for tests: a window is speech if its mean magnitude is above a tenth."""

    window_samples = 512
    rate = 16_000

    def probability(self, window: np.ndarray) -> float:
        return 0.9 if float(np.abs(window).mean()) > 0.1 else 0.02

    def reset(self) -> None:
        pass


class Driver:
    """Sends a session client events as JSON, and gives what it answers, checked and decoded."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("pace", None)
        options.setdefault("detector", LoudIsSpeech())
        self.session = ServerSession(**options)
        self.now = 0.0
        self.log: list[dict[str, Any]] = []
        self.work: list[ServerWork] = []
        self.session.connect(self.now)
        self.created = self.take()[0]

    def take(self) -> list[dict[str, Any]]:
        """What the session has sent since the last look."""
        messages = self.session.messages_to_send()
        for message in messages:
            check_published(message)
        taken = [json.loads(message) for message in messages]
        self.log += taken
        while (work := self.session.next_event()) is not None:
            self.work.append(work)
        return taken

    def send(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """Send one event; gives the answers."""
        self.session.receive_message(json.dumps({"type": kind, **fields}), self.now)
        return self.take()

    def refused(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send one event that must be refused, with an event id; gives the error's details."""
        answers = self.send(kind, event_id="evt_refused", **fields)
        assert [answer["type"] for answer in answers] == ["error"], answers
        error: dict[str, Any] = answers[0]["error"]
        assert error["event_id"] == "evt_refused"
        return error

    def update(self, **session: Any) -> list[dict[str, Any]]:
        return self.send("session.update", session={"type": "realtime", **session})

    def manual(self, **input_settings: Any) -> None:
        """Switch turn detection off."""
        answers = self.update(audio={"input": {"turn_detection": None, **input_settings}})
        assert answers[0]["type"] == "session.updated"

    def say_text(self, text: str, **fields: Any) -> str:
        """Add a user's message; gives its id."""
        part = {"type": "input_text", "text": text}
        item = {"type": "message", "role": "user", "content": [part], **fields}
        added = self.send("conversation.item.create", item=item)
        return str(added[0]["item"]["id"])

    def append(
        self, duration_ms: int, *, loud: bool = True, rate: int = 24_000
    ) -> list[dict[str, Any]]:
        """Append sound or silence in PCM16."""
        # A square wave low enough to survive the detector's resampling.
        level = 12_000 if loud else 0
        samples = np.full(duration_ms * rate // 1000, level, dtype="<i2")
        samples[np.arange(len(samples)) % 80 < 40] *= -1
        return self.send(
            "input_audio_buffer.append", audio=base64.b64encode(samples.tobytes()).decode()
        )

    def wanted(self, kind: type[Any]) -> Any:
        """Take the only request of a kind."""
        found = [work for work in self.work if isinstance(work, kind)]
        assert len(found) == 1, self.work
        self.work.remove(found[0])
        return found[0]

    def hear(self, text: str) -> list[dict[str, Any]]:
        """Answer the transcription that is wanted."""
        self.session.transcribed(self.wanted(TranscriptionWanted).item_id, text, self.now)
        return self.take()

    def reply(self, text: str = "Fine, thanks.", audio_ms: int = 300) -> list[dict[str, Any]]:
        """Answer the reply that is wanted with one message, and finish it."""
        wanted = self.wanted(ReplyWanted)
        self.begin_reply(wanted, text, audio_ms)
        self.session.end_message(wanted.response_id, self.now)
        self.session.finish(wanted.response_id, self.now)
        return self.take()

    def begin_reply(
        self, wanted: ReplyWanted, text: str = "Fine, thanks.", audio_ms: int = 300
    ) -> None:
        """Begin a message of a reply and leave it open."""
        self.session.begin_message(wanted.response_id, self.now)
        self.session.push_text(wanted.response_id, text, self.now)
        if wanted.audio:
            self.session.push_audio(wanted.response_id, b"\1\0" * 24 * audio_ms, self.now)

    def advance(self, seconds: float) -> list[dict[str, Any]]:
        """Let time pass, timer by timer."""
        end = self.now + seconds
        while (deadline := self.session.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.session.handle_timer(self.now)
        self.now = end
        return self.take()

    def types(self) -> list[str]:
        """The types of all events so far."""
        return [event["type"] for event in self.log]


@pytest.fixture
def server() -> type[Driver]:
    """Makes a session with its driver: `server(pace=20.0)`."""
    return Driver


@pytest.fixture
def spoken() -> Pair:
    """A client, and a server that hears turns."""
    return Pair(SPEAKING, detector=Loud()).connect()
