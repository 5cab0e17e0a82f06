"""A server of templates: it answers as the service would, or as the fuzzer likes.

Not `ServerProtocol`, which would be right in everything and is slow in comparison. Messages are made as
plain JSON objects, so that fields can be left out, doubled and spoilt on the way.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from fuzz.drawing import Draw
from fuzz.framing import frame
from fuzz.shapes import Json
from sansio_rt import events
from sansio_rt.events._plain import to_data

_MOST_IDS = 48
_AUDIO = "AAAA" * 480  # 30 ms of silence at 24 kHz
_WORDS = ("one", "two words", "", "and three more", "\u00e9\u4f60")


_encode = msgspec.json.Encoder().encode


def frames_of(messages: list[Json]) -> bytes:
    """Text messages as a server sends them."""
    return b"".join(frame(_encode(message)) for message in messages)


class ScriptedServer:
    """What the fuzzed server knows: ids, unanswered events, responses on the way.

    Attributes:
        asked: Client events that were not answered yet.
        ids: Ids that mean something, to be drawn from.
        running: Responses that were created and are not done, and how far they are.
    """

    def __init__(self) -> None:
        self.asked: deque[events.ClientEvent] = deque(maxlen=64)
        self.ids: list[str] = ["root", "nobody"]
        self.running: dict[str, list[Any]] = {}
        self._count = 0

    def new_id(self, kind: str) -> str:
        """An id of the server's own."""
        self._count += 1
        made = f"{kind}_{self._count}"
        self.note(made)
        return made

    def note(self, told: object) -> None:
        """Keeps an id to be drawn from later."""
        if isinstance(told, str) and told not in self.ids:
            if len(self.ids) >= _MOST_IDS:
                del self.ids[2]
            self.ids.append(told)

    def note_asked(self, event: events.ClientEvent) -> None:
        """Keeps what a client sent, to be answered later."""
        self.asked.append(event)
        if isinstance(event, events.ConversationItemCreate):
            self.note(getattr(event.item, "id", None))

    # --- answers ----------------------------------------------------------------------------

    def answer(self, event: events.ClientEvent, draw: Draw) -> list[Json]:
        """What the service would answer; for what it would not answer, nothing."""
        match event:
            case events.SessionUpdate():
                data = to_data(event.session)
                return [{"type": "session.updated", "session": {"type": "realtime", **data}}]
            case events.ConversationItemCreate():
                return self._added(to_data(event.item), event.previous_item_id)
            case events.ConversationItemDelete():
                return [{"type": "conversation.item.deleted", "item_id": event.item_id}]
            case events.ConversationItemRetrieve():
                item = _message(event.item_id, "assistant", draw.choice(_WORDS))
                return [{"type": "conversation.item.retrieved", "item": item}]
            case events.ConversationItemTruncate():
                return [
                    {
                        "type": "conversation.item.truncated",
                        "item_id": event.item_id,
                        "content_index": event.content_index,
                        "audio_end_ms": event.audio_end_ms,
                    }
                ]
            case events.InputAudioBufferCommit():
                return self.committed(draw)
            case events.InputAudioBufferClear():
                return [{"type": "input_audio_buffer.cleared"}]
            case events.ResponseCreate():
                params = event.response
                asked = params if isinstance(params, events.ResponseParams) else None
                return self.created(to_data(asked) if asked is not None else {})
            case events.ResponseCancel():
                wanted = event.response_id
                running = wanted if isinstance(wanted, str) else next(iter(self.running), "")
                return self.done(running, "cancelled")
            case _:
                return []

    def refusal(
        self, event: events.ClientEvent, code: object, kind: str, message: str
    ) -> list[Json]:
        """An error that names an event."""
        error: Json = {"type": kind, "code": code, "message": message}
        event_id = getattr(event, "event_id", None)  # an unknown event has none
        if isinstance(event_id, str):
            error["event_id"] = event_id
        return [{"type": "error", "error": error}]

    def _added(self, item: Json, previous: object) -> list[Json]:
        item = {**item, "id": item.get("id") or self.new_id("item"), "status": "completed"}
        self.note(item["id"])
        told: Json = {"item": item, "previous_item_id": None}
        if isinstance(previous, str):
            told["previous_item_id"] = previous
        return [
            {"type": "conversation.item.added", **told},
            {"type": "conversation.item.done", **told},
        ]

    # --- the caller's turns -----------------------------------------------------------------

    def committed(self, draw: Draw) -> list[Json]:
        """The caller's audio becomes a message."""
        item_id = draw.choice(self.ids) if draw.byte() > 200 else self.new_id("item")
        part = {"type": "input_audio", "transcript": None}
        item = {"id": item_id, "type": "message", "role": "user", "content": [part]}
        return [
            {"type": "input_audio_buffer.committed", "item_id": item_id, "previous_item_id": None},
            *self._added(item, None),
        ]

    def heard(self, draw: Draw) -> list[Json]:
        """The caller speaks, stops, or is written down."""
        item_id = draw.choice(self.ids)
        told: Json = {"item_id": item_id, "content_index": 0}
        match draw.byte() % 6:
            case 0:
                return [
                    {
                        "type": "input_audio_buffer.speech_started",
                        "item_id": self.new_id("item"),
                        "audio_start_ms": draw.byte(),
                    }
                ]
            case 1:
                return [
                    {
                        "type": "input_audio_buffer.speech_stopped",
                        "item_id": item_id,
                        "audio_end_ms": draw.below(5000),
                    }
                ]
            case 2:
                kind = "conversation.item.input_audio_transcription.delta"
                return [{"type": kind, "delta": draw.choice(_WORDS), **told}]
            case 3:
                kind = "conversation.item.input_audio_transcription.completed"
                return [{"type": kind, "transcript": draw.choice(_WORDS), **told}]
            case 4:
                kind = "conversation.item.input_audio_transcription.failed"
                return [{"type": kind, "error": {"message": "too loud"}, **told}]
            case _:
                return [
                    {
                        "type": "input_audio_buffer.timeout_triggered",
                        "item_id": item_id,
                        "audio_start_ms": 0,
                        "audio_end_ms": draw.byte(),
                    }
                ]

    # --- responses --------------------------------------------------------------------------

    def created(self, asked: Json) -> list[Json]:
        """A response begins."""
        response_id = self.new_id("resp")
        self.running[response_id] = []
        response: Json = {"id": response_id, "status": "in_progress", "output": []}
        response["metadata"] = asked.get("metadata")
        response["conversation_id"] = None if asked.get("conversation") == "none" else "conv"
        return [{"type": "response.created", "response": response}]

    def advance(self, draw: Draw) -> list[Json]:
        """A response goes on: a further item, a piece of one, or the end of one."""
        if not self.running:
            return self.created({}) if draw.flag() else []
        response_id = draw.choice(list(self.running))
        items = self.running[response_id]
        what = draw.byte() & 15
        if not items or what == 0:
            return self._begin_item(response_id, items, draw)
        if what == 1:
            return self.done(response_id, ("completed", "failed", "incomplete")[draw.byte() % 3])
        return self._go_on(response_id, items, what, draw)

    def _begin_item(self, response_id: str, items: list[Any], draw: Draw) -> list[Json]:
        kind = ("message", "message", "message", "function_call")[draw.byte() & 3]
        item_id = self.new_id("item")
        if kind == "message":
            item: Json = {**_message(item_id, "assistant", ""), "content": []}
        else:
            item = {"id": item_id, "type": kind, "name": "look", "arguments": ""}
            item["call_id"] = self.new_id("call")
        items.append(item)
        place = {"response_id": response_id, "output_index": len(items) - 1}
        messages: list[Json] = [{"type": "response.output_item.added", "item": item, **place}]
        if draw.byte() < 200:
            told = {"item": item, "previous_item_id": None}
            messages.append({"type": "conversation.item.added", **told})
        return messages

    def _go_on(self, response_id: str, items: list[Any], what: int, draw: Draw) -> list[Json]:
        number = draw.below(len(items)) if what > 12 else len(items) - 1
        item = items[number]
        place: Json = {
            "response_id": response_id,
            "item_id": item["id"],
            "output_index": number,
            "content_index": 0,
        }
        if item["type"] == "function_call":
            return self._go_on_with_call(item, place, what)
        words = draw.choice(_WORDS)
        match what % 5:
            case 0:
                part = {"type": "audio", "transcript": ""}
                return [{"type": "response.content_part.added", "part": part, **place}]
            case 1 | 2:
                audio = _AUDIO[: 4 * draw.byte()]
                deltas = [{"type": "response.output_audio.delta", "delta": audio, **place}]
                kind = "response.output_audio_transcript.delta"
                return [{"type": kind, "delta": words, **place}, *deltas]
            case 3:
                return [{"type": "response.output_text.delta", "delta": words, **place}]
            case _:
                return self._end_message(item, place, words)

    def _end_message(self, item: Json, place: Json, words: str) -> list[Json]:
        item["status"] = "completed"
        item["content"] = [{"type": "output_audio", "transcript": words}]
        kind = "response.output_audio_transcript.done"
        del place["content_index"]
        return [
            {"type": "response.output_audio.done", "content_index": 0, **place},
            {"type": kind, "content_index": 0, "transcript": words, **place},
            {"type": "response.output_item.done", "item": item, **place},
            {"type": "conversation.item.done", "item": item, "previous_item_id": None},
        ]

    def _go_on_with_call(self, item: Json, place: Json, what: int) -> list[Json]:
        del place["content_index"]
        named = {"call_id": item["call_id"], "name": "look", **place}
        if what % 3 == 0:
            kind = "response.function_call_arguments.delta"
            return [{"type": kind, "delta": '{"at":', **named}]
        item["status"], item["arguments"] = "completed", '{"at": "me"}'
        kind = "response.function_call_arguments.done"
        return [
            {"type": kind, "arguments": item["arguments"], **named},
            {"type": "response.output_item.done", "item": item, **place},
        ]

    def done(self, response_id: str, status: str) -> list[Json]:
        """A response ends."""
        items = self.running.pop(response_id, [])
        response: Json = {"id": response_id, "status": status, "output": items, "metadata": None}
        if status != "completed":
            response["status_details"] = {"type": status, "reason": "client_cancelled"}
        return [{"type": "response.done", "response": response}]


def _message(item_id: str, role: str, words: str) -> Json:
    kind = "output_text" if role == "assistant" else "input_text"
    part = {"type": kind, "text": words}
    return {"id": item_id, "type": "message", "role": role, "content": [part]}
