"""Events of a server, as a test writes them by hand: for what the emulator would not say, or not so."""

from __future__ import annotations

import json
from typing import Any

WHERE = {"response_id": "r1", "item_id": "i1", "output_index": 0}
PART = {**WHERE, "content_index": 0}
ARGUMENTS = "response.function_call_arguments."


def message(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, "event_id": "e", **fields}).encode()


def created(response_id: str = "r1", **fields: Any) -> bytes:
    response = {"id": response_id, "conversation_id": "c", "status": "in_progress", **fields}
    return message("response.created", response=response)


def done(response_id: str = "r1", status: str = "completed", **fields: Any) -> bytes:
    return message("response.done", response={"id": response_id, "status": status, **fields})


def refusal(code: str | None, event_id: str | None, words: str = "no") -> bytes:
    error = {"type": "invalid_request_error", "code": code, "message": words, "event_id": event_id}
    return message("error", error=error)


def words(response_id: str, item_id: str, text: str) -> bytes:
    """A piece of the transcript of what is spoken."""
    where = {"response_id": response_id, "item_id": item_id, "output_index": 0, "content_index": 0}
    return message("response.output_audio_transcript.delta", **where, delta=text)


def item(kind: str = "message", **fields: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"id": "i1", "type": kind}
    known |= (
        {"role": "assistant", "content": []}
        if kind == "message"
        else {"name": "look", "call_id": "c1", "arguments": ""}
    )
    return known | fields


def added(**fields: Any) -> bytes:
    return message("response.output_item.added", response_id="r1", output_index=0, **fields)


def finished(**fields: Any) -> bytes:
    return message("response.output_item.done", response_id="r1", output_index=0, **fields)
