"""The emulator over real sockets, by a plain WebSocket client: turns, faults, ends."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)

from sansio_rt._server_work import ServerLimits
from trio_rt.emulator import (
    Brain,
    Call,
    EmulatorError,
    EnergyDetector,
    Fault,
    FaultPlan,
    MessageFault,
    Request,
    ScriptedMind,
    serve_emulator,
)
from trio_rt.emulator._voices import ToneVoice

TEXT = {"output_modalities": ["text"]}


class Client:
    """A WebSocket that speaks JSON."""

    def __init__(self, websocket: WebSocketConnection) -> None:
        self.websocket = websocket

    async def send(self, kind: str, **fields: Any) -> None:
        await self.websocket.send_message(json.dumps({"type": kind, **fields}))

    async def receive(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(await self.websocket.get_message())
        return event

    async def until(self, kind: str) -> list[dict[str, Any]]:
        """All events up to the first of a type."""
        events = [await self.receive()]
        while events[-1]["type"] != kind:
            events.append(await self.receive())
        return events


@contextmanager
def plain_errors() -> Generator[None, None, None]:
    """Takes a single error out of its groups."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None


@asynccontextmanager
async def client_of(
    emulator: Any, path: str = "/realtime", **options: Any
) -> AsyncGenerator[Client, None]:
    """A connected client, every wait bounded.

    The stream is ours, since trio-websocket leaves its own open after a refusal or the server's close.
    """
    with trio.fail_after(10), plain_errors():
        stream = await trio.open_tcp_stream(emulator.host, emulator.port)
        async with stream, trio.open_nursery() as nursery:
            websocket = await wrap_client_stream(
                nursery, stream, "localhost", "/v1" + path, max_message_size=1 << 25, **options
            )
            yield Client(websocket)
            with trio.move_on_after(2):
                await websocket.aclose()
            nursery.cancel_scope.cancel()


def tone(duration_ms: int, level: int = 12_000) -> str:
    samples = np.full(duration_ms * 24, level, dtype="<i2")
    samples[np.arange(len(samples)) % 80 < 40] *= -1
    return base64.b64encode(samples.tobytes()).decode()


async def test_a_written_turn() -> None:
    async with serve_emulator(Brain.scripted("Hello there.")) as emulator:
        async with client_of(emulator, "/realtime?model=gpt-x") as client:
            assert (await client.receive())["session"]["model"] == "gpt-x"
            await client.send("response.create", response=TEXT)
            done = (await client.until("response.done"))[-1]
        assert done["response"]["output"][0]["content"][0]["text"] == "Hello there."
        assert [item.role for item in emulator.sessions[-1].items] == ["assistant"]
        assert emulator.connections == 1


async def test_a_spoken_turn_that_the_server_finds() -> None:
    brain = Brain.scripted("Nice to hear you.", transcripts=["hello there"])
    async with serve_emulator(brain, pace=None) as emulator, client_of(emulator) as client:
        transcription = {"input": {"transcription": {"model": "whisper-1"}}}
        await client.send("session.update", session={"type": "realtime", "audio": transcription})
        for _ in range(10):
            await client.send("input_audio_buffer.append", audio=tone(100))
        for _ in range(10):
            await client.send("input_audio_buffer.append", audio=tone(100, level=0))
        events = await client.until("response.done")
    kinds = [event["type"] for event in events]
    assert "input_audio_buffer.speech_started" in kinds
    completed = "conversation.item.input_audio_transcription.completed"
    assert events[kinds.index(completed)]["transcript"] == "hello there"
    deltas = [e["delta"] for e in events if e["type"] == "response.output_audio.delta"]
    assert sum(len(base64.b64decode(delta)) for delta in deltas) > 24_000
    assert events[-1]["response"]["usage"]["output_token_details"]["audio_tokens"] > 0


async def test_a_tool_round() -> None:
    def answer(request: Request) -> str:
        return f"It is {request.history[-1].text}."

    async with serve_emulator(Brain.scripted(Call("roll", {"sides": 6}), answer)) as emulator:
        async with client_of(emulator) as client:
            await client.send("response.create", response=TEXT)
            events = await client.until("response.done")
            call = events[-1]["response"]["output"][0]
            assert json.loads(call["arguments"]) == {"sides": 6}
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "4"}
            await client.send("conversation.item.create", item=output)
            await client.send("response.create", response=TEXT)
            done = (await client.until("response.done"))[-1]
    assert done["response"]["output"][0]["content"][0]["text"] == "It is 4."


async def test_deltas_come_at_a_pace() -> None:
    """A long answer is interrupted half way: the rest is never sent."""
    async with serve_emulator(Brain.scripted("word " * 100), pace=2.0) as emulator:
        async with client_of(emulator) as client:
            await client.send("response.create")
            await client.until("response.output_audio.delta")
            await client.send("response.cancel")
            events = await client.until("response.done")
    assert events[-1]["response"]["status"] == "cancelled"
    assert sum(event["type"] == "response.output_audio.delta" for event in events) < 10


async def test_several_clients_at_once() -> None:
    async with serve_emulator(Brain.scripted(lambda r: r.history[-1].text)) as emulator:
        answers: dict[int, str] = {}

        async def converse(number: int) -> None:
            async with client_of(emulator) as client:
                part = {"type": "input_text", "text": f"number {number}"}
                item = {"type": "message", "role": "user", "content": [part]}
                await client.send("conversation.item.create", item=item)
                await client.send("response.create", response=TEXT)
                done = (await client.until("response.done"))[-1]
                answers[number] = done["response"]["output"][0]["content"][0]["text"]

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(converse, number)
    assert answers == {number: f"number {number}" for number in range(8)}


async def test_a_mind_that_fails_fails_its_response_only() -> None:
    def stumble(request: Request) -> str:
        if request.instructions == "stumble":
            raise ValueError("no idea")
        return "Better now."

    async with serve_emulator(Brain.scripted(stumble)) as emulator:
        async with client_of(emulator) as client:
            await client.send("response.create", response={**TEXT, "instructions": "stumble"})
            done = (await client.until("response.done"))[-1]
            assert done["response"]["status"] == "failed"
            assert "no idea" in done["response"]["status_details"]["error"]["message"]
            await client.send("response.create", response=TEXT)
            done = (await client.until("response.done"))[-1]
            assert done["response"]["status"] == "completed"


async def test_without_ears_a_transcription_fails() -> None:
    brain = Brain(ScriptedMind("What?"), ToneVoice(), EnergyDetector, ears=None)
    async with serve_emulator(brain) as emulator, client_of(emulator) as client:
        audio = {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}
        await client.send("session.update", session={"type": "realtime", "audio": audio})
        await client.send("input_audio_buffer.append", audio=tone(500))
        await client.send("input_audio_buffer.commit")
        failed = await client.until("conversation.item.input_audio_transcription.failed")
        assert "without recognition" in failed[-1]["error"]["message"]
        await client.send("response.create", response=TEXT)
        assert await client.until("response.done")


async def test_ears_that_are_slow_are_given_up_when_the_client_goes() -> None:
    released = threading.Event()

    class SlowEars:
        def transcribe(self, pcm: bytes, rate: int) -> str:
            raise NotImplementedError

        def stream(self) -> SlowEars:
            return self

        def feed(self, pcm: bytes, rate: int) -> None:
            released.wait(10)

        def text(self) -> str:
            return ""

        def close(self) -> None:
            released.set()

        def warm_up(self) -> None: ...

    brain = Brain(ScriptedMind("Hm."), ToneVoice(), EnergyDetector, ears=SlowEars())
    with trio.fail_after(5):
        async with serve_emulator(brain) as emulator:
            async with client_of(emulator) as client:
                await client.send("input_audio_buffer.append", audio=tone(500))
                await client.until("input_audio_buffer.speech_started")
    assert released.is_set()


async def test_a_message_of_several_megabytes() -> None:
    """Rules 15 and 16."""
    async with serve_emulator(Brain.scripted("Oh.")) as emulator, client_of(emulator) as client:
        audio = {"input": {"turn_detection": None}}
        await client.send("session.update", session={"type": "realtime", "audio": audio})
        await client.until("session.updated")
        await client.send("input_audio_buffer.append", audio=tone(120_000))
        await client.send("input_audio_buffer.commit")
        added = (await client.until("conversation.item.added"))[-1]
        await client.send("conversation.item.retrieve", item_id=added["item"]["id"])
        retrieved = (await client.until("conversation.item.retrieved"))[-1]
        assert len(retrieved["item"]["content"][0]["audio"]) > 7_000_000


async def test_an_old_session_ends() -> None:
    """Rule 1."""
    async with serve_emulator(Brain.scripted("x"), limits=ServerLimits(session_s=0.2)) as emulator:
        async with client_of(emulator) as client:
            error = (await client.until("error"))[-1]
            assert error["error"]["code"] == "session_expired"
            with pytest.raises(ConnectionClosed) as closed:
                await client.receive()
            assert closed.value.reason is not None
            assert closed.value.reason.code == 1001


async def test_leaving_closes_all_connections() -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            entered, codes = trio.Event(), []

            async def stay(emulator: Any) -> None:
                async with client_of(emulator) as client:
                    await client.receive()
                    entered.set()
                    with pytest.raises(ConnectionClosed) as closed:
                        await client.receive()
                    codes.append(closed.value.reason.code if closed.value.reason else None)

            async with serve_emulator(Brain.scripted("x")) as emulator:
                nursery.start_soon(stay, emulator)
                await entered.wait()
    assert codes == [1001]
    assert emulator.sessions[-1].closed


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with serve_emulator(Brain.scripted("x")) as emulator, client_of(emulator):
            raise KeyError("mine")


async def test_cancelling_the_block() -> None:
    with trio.fail_after(5):
        with trio.move_on_after(0.2) as scope:
            async with serve_emulator(Brain.scripted("x")) as emulator, client_of(emulator):
                await trio.sleep_forever()
        assert scope.cancelled_caught


async def test_a_port_that_is_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EmulatorError, match=f"{port}.*another port"):
            async with serve_emulator(Brain.scripted("x"), port=port):
                pass


async def test_an_address_of_another_machine() -> None:
    with pytest.raises(EmulatorError, match=r"192\.0\.2\.1"):
        async with serve_emulator(Brain.scripted("x"), host="192.0.2.1"):
            pass


async def test_a_key_is_asked_for_where_one_is_set() -> None:
    async with serve_emulator(Brain.scripted("x"), api_key="sk-right") as emulator:
        with pytest.raises(ConnectionRejected) as rejected:
            async with client_of(emulator):
                pass
        assert rejected.value.status_code == 401
        assert b"invalid_api_key" in (rejected.value.body or b"")
        headers = [(b"authorization", b"Bearer sk-right")]
        async with client_of(emulator, extra_headers=headers) as client:
            assert (await client.receive())["type"] == "session.created"


async def test_a_browsers_subprotocols() -> None:
    offered = ["realtime", "openai-insecure-api-key.sk-right", "openai-beta.realtime-v1"]
    async with serve_emulator(Brain.scripted("x"), api_key="sk-right") as emulator:
        async with client_of(emulator, subprotocols=offered) as client:
            assert client.websocket.subprotocol == "realtime"


async def test_another_path() -> None:
    async with serve_emulator(Brain.scripted("x")) as emulator:
        with pytest.raises(ConnectionRejected) as rejected:
            async with client_of(emulator, "/responses"):
                pass
        assert rejected.value.status_code == 404


async def test_what_is_no_websocket_does_no_harm() -> None:
    async with serve_emulator(Brain.scripted("x")) as emulator:
        with trio.fail_after(10):
            for request in (
                b"GET /v1/realtime HTTP/1.1\r\nhost: x\r\n\r\n",
                b"\x16\x03\x01junk\r\n\r\n",
            ):
                stream = await trio.open_tcp_stream(emulator.host, emulator.port)
                async with stream:
                    await stream.send_all(request)
                    assert (await stream.receive_some()).startswith((b"HTTP/1.1 4", b""))
            async with client_of(emulator) as client:
                assert (await client.receive())["type"] == "session.created"


async def test_a_client_that_vanishes() -> None:
    async with serve_emulator(Brain.scripted("word " * 200), pace=1.0) as emulator:
        with trio.fail_after(10):
            stream = await trio.open_tcp_stream(emulator.host, emulator.port)
            head = "GET /v1/realtime HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            key = "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            await stream.send_all((head + key).encode())
            await stream.receive_some()
            await stream.aclose()
            while not (emulator.sessions and emulator.sessions[-1].closed):  # noqa: ASYNC110 - nothing tells
                await trio.sleep(0.01)


async def test_faults_of_the_handshake() -> None:
    plan = FaultPlan(refuse_status=503, refuse_headers=[("retry-after", "2")], connections=1)
    async with serve_emulator(Brain.scripted("x"), faults=plan) as emulator:
        with pytest.raises(ConnectionRejected) as rejected:
            async with client_of(emulator):
                pass
        assert rejected.value.status_code == 503
        assert (b"retry-after", b"2") in (rejected.value.headers or ())
        async with client_of(emulator) as client:
            assert (await client.receive())["type"] == "session.created"


@pytest.mark.parametrize(("code", "seen"), [(1011, 1011), (4000, 4000), (None, 1006)])
async def test_a_connection_that_breaks(code: int | None, seen: int) -> None:
    plan = FaultPlan(close_after=1, close_code=code, close_reason="on purpose")
    async with serve_emulator(Brain.scripted("x"), faults=plan) as emulator:
        async with client_of(emulator) as client:
            assert (await client.receive())["type"] == "session.created"
            await client.send("response.create")
            with pytest.raises(ConnectionClosed) as closed:
                await client.receive()
            assert closed.value.reason is not None
            assert closed.value.reason.code == seen


async def test_faults_of_messages() -> None:
    plan = FaultPlan(
        messages=[
            MessageFault(Fault.DROP, match="response.created"),
            MessageFault(Fault.DUPLICATE, match="response.output_text.delta"),
            MessageFault(Fault.SILENCE, match="response.output_item.done"),
        ]
    )
    async with serve_emulator(Brain.scripted("Hi"), pace=None, faults=plan) as emulator:
        async with client_of(emulator) as client:
            await client.send("response.create", response=TEXT)
            kinds = [event["type"] for event in await client.until("response.content_part.done")]
            assert "response.created" not in kinds
            assert kinds.count("response.output_text.delta") == 2
            with trio.move_on_after(0.2) as scope:
                await client.receive()
            assert scope.cancelled_caught


async def test_connections_can_be_ended_from_outside() -> None:
    async with serve_emulator(Brain.scripted("x")) as emulator:
        async with client_of(emulator) as client:
            await client.receive()
            with trio.fail_after(5):
                await emulator.disconnect(4000, "go away")
            with pytest.raises(ConnectionClosed):
                await client.receive()
        await emulator.disconnect()


async def test_a_cancelled_reply_is_not_spoken_on() -> None:
    class EndlessVoice:
        rate = 24_000
        pieces = 0

        def speak(self, text: str, *, voice: str, speed: float) -> Generator[bytes, None, None]:
            while True:
                self.pieces += 1
                yield bytes(2400)

        def warm_up(self) -> None: ...

    voice = EndlessVoice()
    brain = Brain(ScriptedMind("On and on."), voice, EnergyDetector, ears=None)
    async with serve_emulator(brain, pace=None) as emulator, client_of(emulator) as client:
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await client.send("response.cancel")
        await client.until("response.done")
        await trio.sleep(0.05)
        pieces = voice.pieces
        await trio.sleep(0.1)
        assert voice.pieces <= pieces + 1


async def test_a_client_that_does_not_read_does_not_hold_up_the_end() -> None:
    async with serve_emulator(Brain.scripted("x")) as emulator:
        with trio.fail_after(10):
            stream = await trio.open_tcp_stream(emulator.host, emulator.port)
            async with stream:
                async with trio.open_nursery() as nursery:
                    websocket = await wrap_client_stream(
                        nursery, stream, "localhost", "/v1/realtime", message_queue_size=0
                    )
                    client = Client(websocket)
                    item = {"type": "message", "role": "user"}
                    part = {"type": "input_text", "text": "x" * 500_000}
                    await client.send(
                        "conversation.item.create", item={**item, "id": "i", "content": [part]}
                    )
                    for _ in range(40):
                        await client.send("conversation.item.retrieve", item_id="i")
                    while not emulator.sessions[-1].items:  # noqa: ASYNC110 - nothing tells
                        await trio.sleep(0.01)
                    with trio.fail_after(4):
                        await emulator.disconnect()
                    nursery.cancel_scope.cancel()


async def test_two_sessions_have_no_id_in_common() -> None:
    """A client replays the items of one session into the next."""
    async with serve_emulator(Brain.scripted("x")) as emulator:
        ids = []
        for _ in range(2):
            async with client_of(emulator) as client:
                created = await client.receive()
                ids += [created["event_id"], created["session"]["id"]]
        assert len(set(ids)) == 4


async def test_a_client_in_memory() -> None:
    """`serve_stream` needs no socket."""
    async with serve_emulator(Brain.scripted("x")) as emulator:
        near, far = trio.testing.memory_stream_pair()
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(emulator.serve_stream, far)
                await near.send_all(b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n")
                await near.send_all(b"upgrade: websocket\r\nsec-websocket-version: 13\r\n")
                await near.send_all(b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
                assert (await near.receive_some()).startswith(b"HTTP/1.1 404")
                await near.aclose()


async def test_the_default_brain() -> None:
    async with serve_emulator() as emulator, client_of(emulator) as client:
        assert (await client.receive())["type"] == "session.created"
