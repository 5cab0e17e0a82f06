"""Drives `sansio_rt.ClientProtocol` with a plain blocking socket: no event loop, no thread.

    trio-rt serve                                           # prints a URL
    python examples/blocking_socket.py URL "What is twelve times seven?" --audio answer.pcm

The protocol object does all that is the protocol's. Left for this file are the three things that it
does not have: a socket, a clock, and random bytes. (For wss:// wrap the socket with `ssl`.)
"""

import argparse
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from sansio_rt import (
    AudioDelta,
    ClientProtocol,
    Endpoint,
    GenerationEnded,
    SessionClosed,
    SessionConfig,
    SessionEvent,
    SessionReady,
    TextDelta,
)

PATIENCE_S = 30.0
"""How long the server may say nothing while the protocol waits for nothing in particular."""


def receive_events(protocol: ClientProtocol, connection: socket.socket) -> Iterator[SessionEvent]:
    """Carries bytes both ways and gives what happens, until the connection is gone."""
    protocol.connect(time.monotonic())
    while True:
        while (event := protocol.next_event()) is not None:
            yield event  # the caller may call commands now; what they queue is sent below
            if isinstance(event, SessionClosed):
                return
        connection.sendall(protocol.data_to_send())
        deadline = protocol.next_deadline()
        wait_s = PATIENCE_S if deadline is None else deadline - time.monotonic()
        connection.settimeout(max(wait_s, 0.001))
        try:
            data = connection.recv(65536)
        except TimeoutError:
            if deadline is None:
                sys.exit(f"the server has said nothing for {PATIENCE_S:.0f} s")
            protocol.handle_timer(time.monotonic())
            continue
        if data:
            protocol.receive_data(data, time.monotonic())
        else:
            protocol.receive_eof(time.monotonic())


def ask(url: str, text: str) -> bytes:
    """Sends a message, prints the answer as it comes, and gives its audio (24 kHz PCM16 mono)."""
    endpoint = Endpoint.url(url)
    protocol = ClientProtocol(endpoint, SessionConfig(turn_detection=None), random_bytes=os.urandom)
    audio = bytearray()
    with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as connection:
        for event in receive_events(protocol, connection):
            match event:
                case SessionReady():
                    protocol.send_message(text)
                    protocol.generate_reply()
                case TextDelta():
                    print(event.text, end="", flush=True)
                case AudioDelta():
                    audio += event.frame.data
                case GenerationEnded():
                    print()
                    protocol.close()
                case SessionClosed() if event.error is not None:
                    sys.exit(f"the session failed: {event.error}")
                case _:
                    pass
    return bytes(audio)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Ask a Realtime server something.")
    parser.add_argument("url", help="ws://HOST:PORT/v1, as trio-rt serve prints it")
    parser.add_argument("text", help="what to say")
    parser.add_argument("--audio", type=Path, help="write the answer's raw audio to this file")
    arguments = parser.parse_args()
    heard = ask(arguments.url, arguments.text)
    if arguments.audio is not None:
        arguments.audio.write_bytes(heard)
