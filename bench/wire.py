"""Cost of the wire: received and sent frames, ours beside wsproto and `websockets` sans-IO.

Run from the root: `python bench/wire.py`. Every variant is measured in turn, round by round,
so that a slow moment of the machine falls on all; the smallest round counts. Only ratios within one
run compare.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import time
from collections.abc import Callable

from websockets.client import ClientProtocol
from websockets.uri import parse_uri
from wsproto import WSConnection
from wsproto import events as ws
from wsproto.connection import ConnectionType

from sansio_rt._frames import FrameWriter, Opcode
from sansio_rt._wire import TextMessage, Wire

ROUNDS = 7
READ_BYTES = 65536
FRAMES = 2000


def answer_to(request: bytes) -> bytes:
    found = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
    assert found is not None
    accept = hashlib.sha1(found[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(accept) + b"\r\n\r\n"
    )


def our_wire(*, fast_lane: bool) -> Wire:
    wire = Wire.client("h", "/", random_bytes=os.urandom, fast_lane=fast_lane)
    wire.receive_data(answer_to(wire.data_to_send()))
    wire.next_event()
    return wire


def wsproto_connection() -> WSConnection:
    connection = WSConnection(ConnectionType.CLIENT)
    request = connection.send(ws.Request(host="h", target="/"))
    connection.receive_data(answer_to(request))
    list(connection.events())
    return connection


def websockets_protocol() -> ClientProtocol:
    protocol = ClientProtocol(parse_uri("ws://h/"), max_size=None)
    protocol.send_request(protocol.connect())
    protocol.receive_data(answer_to(b"".join(protocol.data_to_send())))
    protocol.events_received()
    return protocol


def receive_ours(wire: Wire) -> Callable[[list[bytes]], int]:
    def run(reads: list[bytes]) -> int:
        messages = 0
        for data in reads:
            wire.receive_data(data)
            while (event := wire.next_event()) is not None:
                messages += type(event) is TextMessage
        return messages

    return run


def receive_wsproto(connection: WSConnection) -> Callable[[list[bytes]], int]:
    def run(reads: list[bytes]) -> int:
        messages, parts = 0, ""
        for data in reads:
            connection.receive_data(data)
            for event in connection.events():
                if isinstance(event, ws.TextMessage):
                    parts += event.data
                    if event.message_finished:
                        messages += 1
                        parts = ""
        return messages

    return run


def receive_websockets(protocol: ClientProtocol) -> Callable[[list[bytes]], int]:
    def run(reads: list[bytes]) -> int:
        messages = 0
        for data in reads:
            protocol.receive_data(data)
            messages += len(protocol.events_received())
        return messages

    return run


def best(variants: dict[str, Callable[[], object]], count: int) -> dict[str, float]:
    """Microseconds per unit, smallest of the rounds."""
    results = dict.fromkeys(variants, float("inf"))
    for _ in range(ROUNDS):
        for name, run in variants.items():
            begin = time.perf_counter()
            run()
            results[name] = min(results[name], (time.perf_counter() - begin) / count * 1e6)
    return results


def show(title: str, results: dict[str, float], base: str) -> None:
    print(f"\n{title}")
    for name, microseconds in results.items():
        print(f"  {name:30s} {microseconds:7.2f} us   {microseconds / results[base]:5.1f}x")


def measure_receiving(text: bytes, title: str) -> None:
    stream = FrameWriter(None).frame(Opcode.TEXT, text) * FRAMES
    reads = [stream[i : i + READ_BYTES] for i in range(0, len(stream), READ_BYTES)]
    runs = {
        "ours, fast lane": receive_ours(our_wire(fast_lane=True)),
        "ours, by wsproto": receive_ours(our_wire(fast_lane=False)),
        "wsproto WSConnection": receive_wsproto(wsproto_connection()),
        "websockets ClientProtocol": receive_websockets(websockets_protocol()),
    }
    for run in runs.values():
        assert run(reads) == FRAMES
    variants = {name: lambda run=run: run(reads) for name, run in runs.items()}
    show(title, best(variants, FRAMES), "ours, fast lane")


def measure_sending(milliseconds: int) -> None:
    audio = base64.b64encode(os.urandom(48 * milliseconds)).decode()
    text = json.dumps({"type": "input_audio_buffer.append", "audio": audio})
    payload = text.encode()
    wire, connection, protocol = (
        our_wire(fast_lane=True),
        wsproto_connection(),
        websockets_protocol(),
    )

    def ours() -> None:
        for _ in range(FRAMES):
            wire.send_text(payload)
            wire.data_to_send()

    def by_wsproto() -> None:
        for _ in range(FRAMES):
            connection.send(ws.TextMessage(text))

    def by_websockets() -> None:
        for _ in range(FRAMES):
            protocol.send_text(payload)
            protocol.data_to_send()

    variants = {"ours": ours, "wsproto WSConnection": by_wsproto, "websockets": by_websockets}
    title = f"send one append of {milliseconds} ms, {len(payload)} bytes"
    show(title, best(variants, FRAMES), "ours")


def main() -> None:
    delta = {"type": "response.output_audio.delta", "event_id": "event_1", "response_id": "resp_1",
             "item_id": "item_1", "output_index": 0, "content_index": 0,
             "delta": base64.b64encode(os.urandom(4800)).decode()}  # fmt: skip
    text = json.dumps(delta).encode()
    measure_receiving(text, f"receive a text frame of {len(text)} bytes, reads of 64 KiB")
    small = (
        b'{"type":"response.output_audio_transcript.delta","delta":" word","event_id":"event_1"}'
    )
    measure_receiving(small, f"receive a text frame of {len(small)} bytes, reads of 64 KiB")
    foreign = json.dumps({"delta": "\u00e9" * 3300}, ensure_ascii=False).encode()
    measure_receiving(foreign, f"receive a text frame of {len(foreign)} bytes, not ASCII")
    measure_sending(20)
    measure_sending(100)


if __name__ == "__main__":
    main()
