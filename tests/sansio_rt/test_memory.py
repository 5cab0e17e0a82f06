"""What long speech leaves in memory: its words, and nothing that grows."""

from __future__ import annotations

import base64
import gc
import tracemalloc
from typing import Any

from pair import ENDPOINT, SECOND, Pair, accepting_wire, of
from server_says import created, done, message, words
from state_summary import summary

from sansio_rt import AudioDelta, ClientProtocol, GenerationEnded, GenerationStarted, StrayEvent

GENERATIONS = 1_000
KEPT_ITEMS = 20


class MinuteOfSpeech:
    """Bytes of a server that speaks for a minute per response, made once and cut into all the others."""

    RESPONSE, ITEM = b"R" * 20, b"I" * 20

    def __init__(self, *, audio_s_per_delta: int) -> None:
        response_id, item_id = self.RESPONSE.decode(), self.ITEM.decode()
        where = {"response_id": response_id, "item_id": item_id, "output_index": 0}
        audio = base64.b64encode(SECOND * audio_s_per_delta).decode()
        item = {"id": item_id, "type": "message", "role": "assistant", "content": []}
        transcript = "many words " * (60 // audio_s_per_delta)
        content = [{"type": "output_audio", "transcript": transcript}]
        client = ClientProtocol(ENDPOINT)
        client.connect(0.0)
        wire = accepting_wire(client)
        wire.data_to_send()
        wire.send_text(created(response_id))
        wire.send_text(message("conversation.item.added", item=item, previous_item_id=None))
        for _ in range(60 // audio_s_per_delta):
            wire.send_text(words(response_id, item_id, "many words "))
            kind = "response.output_audio.delta"
            wire.send_text(message(kind, **where, content_index=0, delta=audio))
        item = {**item, "content": content}
        wire.send_text(message("response.output_item.done", **where, item=item))
        wire.send_text(message("conversation.item.done", item=item, previous_item_id=None))
        wire.send_text(done(response_id, output=[item]))
        self._template = wire.data_to_send()

    def bytes_of(self, number: int) -> bytes:
        data = self._template.replace(self.RESPONSE, b"%020d" % number)
        return data.replace(self.ITEM, b"i%019d" % number)


def speak_minutes(pair: Pair, speech: MinuteOfSpeech, numbers: range) -> None:
    """So many responses, a minute apart; the conversation keeps the last few items."""
    for number in numbers:
        data = speech.bytes_of(number)
        pair.now += 60.0
        middle = len(data) // 2
        found: list[Any] = []
        for part in (data[:middle], data[middle:]):
            pair.client.receive_data(part, pair.now)
            found += [type(event) for event in iter(pair.client.next_event, None)]
        pair.client.handle_timer(pair.now)
        assert found.count(GenerationStarted) == found.count(GenerationEnded) == 1
        assert StrayEvent not in found
        ids = pair.client.conversation.ids()
        if len(ids) > KEPT_ITEMS:
            pair.client.delete_item(ids[0])
            pair.run()
            pair.inject(message("conversation.item.deleted", item_id=ids[0]))
        pair.events.clear()
        pair.work.clear()


def test_a_thousand_minutes_of_speech_leave_memory_flat() -> None:
    # Audio is not kept, history is text, and what is remembered of the past is bounded.
    speech = MinuteOfSpeech(audio_s_per_delta=10)
    tracemalloc.start()
    try:
        pair = Pair().connect()
        held = []
        for hundred in range(GENERATIONS // 100):
            speak_minutes(pair, speech, range(100 * hundred, 100 * (hundred + 1)))
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    settled = held[2]  # the memories of past ids hold 256, and are full
    assert max(held[3:]) < 1.05 * settled + 20_000, held
    assert held[-1] < 1_000_000


def test_a_minute_of_speech_leaves_only_its_words() -> None:
    pair = Pair().connect()
    before = len(repr(summary(pair.client)))
    speech = MinuteOfSpeech(audio_s_per_delta=10)
    pair.client.receive_data(speech.bytes_of(0), pair.now)
    frames = of(AudioDelta, list(iter(pair.client.next_event, None)))
    assert sum(event.frame.duration_ms for event in frames) == 60_000
    entry = pair.client.conversation.get("i" + "0" * 19)
    assert entry is not None
    assert entry.received_ms == 60_000
    assert len(repr(summary(pair.client))) < before + 10_000
