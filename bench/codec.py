"""How much the codec costs over the bare libraries: `PYTHONPATH=. python bench/codec.py`.

Every round times the codec and the bare libraries one after the other on the same message, so that
what else the machine does meets both. A line shows the medians of the rounds and of their ratios.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

import msgspec
import pybase64

from sansio_rt import events

PCM_BYTES = 4_800  # 100 ms
CALLS = 500
ROUNDS = 101
IDS = {
    "event_id": "event_C9G8nyAyKBNLRIDZB6Bba",
    "response_id": "resp_C9G8nyAyKBNLRIDZB6Bba",
    "item_id": "item_C9G8nyAyKBNLRIDZB6Bba",
    "output_index": 0,
    "content_index": 0,
}


class BareAudio(msgspec.Struct, tag_field="type", tag="response.output_audio.delta"):
    event_id: str
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    delta: str


class BareTranscript(
    msgspec.Struct, tag_field="type", tag="response.output_audio_transcript.delta"
):
    event_id: str
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    delta: str


def per_call_us(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - start) / CALLS * 1e6


def compare(name: str, ours: Callable[[], object], bare: Callable[[], object]) -> None:
    rounds = [(per_call_us(ours), per_call_us(bare)) for _ in range(ROUNDS)]
    our_us = statistics.median(pair[0] for pair in rounds)
    bare_us = statistics.median(pair[1] for pair in rounds)
    ratio = statistics.median(pair[0] / pair[1] for pair in rounds)
    print(f"{name:<46} {our_us:7.3f} us  bare {bare_us:7.3f} us  ratio {ratio:5.2f}")


def main() -> None:
    pcm = random.Random(1).randbytes(PCM_BYTES)
    audio = events.ResponseOutputAudioDelta(delta=pcm, **IDS)
    transcript = events.ResponseOutputAudioTranscriptDelta(delta=" the weather", **IDS)
    # A view of a mutable buffer is what the wire hands over.
    audio_text = memoryview(bytearray(events.encode(audio)))
    transcript_text = memoryview(bytearray(events.encode(transcript)))
    grown = events.encode(msgspec.structs.replace(transcript, extra={"shade": "aHR0cHM6"}))
    append = events.InputAudioBufferAppend(audio=pcm)

    bare_audio = msgspec.json.Decoder(BareAudio).decode
    bare_transcript = msgspec.json.Decoder(BareTranscript).decode
    bare_object = msgspec.json.Decoder().decode
    bare_encode = msgspec.json.Encoder().encode
    decode = events.decode_server

    def bare_audio_bytes() -> bytes:
        return pybase64.b64decode(bare_audio(audio_text).delta, validate=True)

    compare("decode audio delta", lambda: decode(audio_text), bare_audio_bytes)
    compare(
        "decode transcript delta",
        lambda: decode(transcript_text),
        lambda: bare_transcript(transcript_text),
    )
    compare(
        "decode transcript delta with an unknown field",
        lambda: decode(grown),
        lambda: bare_object(grown),
    )
    compare(
        "encode audio append (bare: base64 alone)",
        lambda: events.encode_audio_append(pcm),
        lambda: pybase64.b64encode(pcm),
    )
    compare(
        "encode append event (bare: msgspec's base64)",
        lambda: events.encode(append),
        lambda: bare_encode(append),
    )
    compare(
        "encode transcript delta",
        lambda: events.encode(transcript),
        lambda: bare_encode(transcript),
    )


if __name__ == "__main__":
    main()
