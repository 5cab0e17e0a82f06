"""The clients of fuzzed lives: small limits, so that a short input comes to them."""

from __future__ import annotations

from typing import Any

import msgspec

from sansio_rt import (
    ClientProtocol,
    Endpoint,
    Limits,
    RetryPolicy,
    SequentialIds,
    ServerVad,
    SessionConfig,
    Timing,
    Transcription,
    events,
    tool,
)

KEY = "sk-fuzz-0123456789abcdef"
"""Our credential, which some servers repeat in their complaints."""
UPGRADE = (
    b"HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"  # for a nonce of zeros
)
_LIMITS = Limits(
    max_message_bytes=20_000,
    max_pending_commands=12,
    max_open_responses=4,
    max_response_bytes=6_000,
    max_items=24,
    max_conversation_bytes=20_000,
    max_kept_audio_s=0.3,
    max_text_recoveries=1,
)
_RETRY = RetryPolicy(first_delay_s=0.1, jitter=0.0, max_connects=3, give_up_after_s=5.0)


def look(at: str = "it") -> str:
    """Looks."""
    return at


def unconnected(session: int) -> ClientProtocol:
    """A client that nobody has connected yet; the bits of `session` choose its settings."""
    config = SessionConfig(
        turn_detection=ServerVad(silence_duration_ms=200) if session & 1 else None,
        transcription=Transcription(model="whisper-1") if session & 1 else None,
        tools=[tool(look)],
        instructions="Be there.",
    )
    client = ClientProtocol(
        Endpoint.url("ws://127.0.0.1:1/v1", dialect="beta" if session & 4 else "ga", api_key=KEY),
        config,
        ids=SequentialIds("c"),
        random_bytes=bytes,
        limits=_LIMITS,
        timing=Timing(keepalive_interval_s=10.0 if session & 8 else None, keepalive_timeout_s=5.0),
        retry=_RETRY if session & 2 else None,
    )
    client.raw_events = True
    return client


def to_be_accepted(client: ClientProtocol) -> Any:
    """The session object that accepts what a client wants, as plain JSON."""
    return msgspec.json.decode(
        events.encode(events.SessionUpdate(session=client.wanted.to_wire()))
    )["session"]
