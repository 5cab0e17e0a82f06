"""Whatever fails first, the application gets one plain exception with its cause: issue 5, item 6 (X4, R6).

Each way to fail is tried against each thing that an application may be waiting for. What comes out is the
documented class, never a group; its cause is there where there is one; no task is left, and it is quick.
"""

from __future__ import annotations

import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sansio_rt import (
    ClientProtocol,
    CommandRefused,
    ConnectionClosed,
    Endpoint,
    FrameError,
    HandshakeRejected,
    LocalProtocolError,
    MessageTooBig,
    RealtimeError,
    SessionConfig,
    Timing,
    events,
)
from sansio_rt._retry import RetryPolicy
from sansio_rt._wire import Wire
from trio_rt import ConnectTimeout, Session, TcpDialer, TransportError, open_session

ENDPOINT = Endpoint.url("ws://127.0.0.1:1/v1", api_key="sk-secret-key-of-mine")
MANUAL = SessionConfig(turn_detection=None)
TIMING = Timing(connect_timeout_s=5.0, answer_timeout_s=1000.0, close_timeout_s=1.0)

CREATED = b'{"type":"session.created","event_id":"e","session":{"type":"realtime"}}'
UPDATED = b'{"type":"session.updated","event_id":"e","session":{"type":"realtime"}}'
RESPONSE = (
    b'{"type":"response.created","event_id":"e","response":'
    b'{"id":"r","conversation_id":"c","status":"in_progress","output":[]}}'
)
RESET = ConnectionResetError(104, "Connection reset by peer")


class Fragile(trio.abc.Stream):
    """A memory stream that can be told to fail as sockets do."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self.resets = False
        self.send_fails = False
        self._inner = inner

    async def send_all(self, data: Any) -> None:
        if self.send_fails:
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError from RESET
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._inner.receive_some(max_bytes)
        if not data and self.resets:
            raise trio.BrokenResourceError from RESET
        return data

    async def aclose(self) -> None:
        await self._inner.aclose()


class Peer:
    """A dialer and the server behind it, which accepts everything and then says what it is told to."""

    def __init__(self, nursery: trio.Nursery, *, reads: bool = True) -> None:
        self.wire = Wire.server()
        self.ours: Any = None
        self.theirs: Any = None
        self._reads = reads
        self._nursery = nursery

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.wire = Wire.server()
        one, self.theirs = trio.testing.lockstep_stream_pair()
        self.ours = Fragile(one)
        self._nursery.start_soon(self._serve)
        return self.ours

    async def _serve(self) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            self.wire.receive_data(await self.theirs.receive_some())
            self.wire.accept()
            await self.say(CREATED, UPDATED, RESPONSE)
            while data := await self.theirs.receive_some():
                self.wire.receive_data(bytes(data))
                if not self._reads:
                    await trio.sleep_forever()

    async def say(self, *messages: bytes) -> None:
        for message in messages:
            self.wire.send_text(message)
        await self.send(self.wire.data_to_send())

    async def send(self, data: bytes) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.theirs.send_all(data)


# --- ways to fail -------------------------------------------------------------------------

Failure = Callable[[Peer, Session, pytest.MonkeyPatch], Awaitable[None]]


async def goes(peer: Peer, session: Session, patch: pytest.MonkeyPatch) -> None:
    await peer.theirs.aclose()


async def resets(peer: Peer, session: Session, patch: pytest.MonkeyPatch) -> None:
    peer.ours.resets = True
    await peer.theirs.aclose()


async def send_fails(peer: Peer, session: Session, patch: pytest.MonkeyPatch) -> None:
    """The reading side stays open, as when a middlebox drops what we send."""
    peer.ours.send_fails = True
    session._protocol.send(events.InputAudioBufferClear())
    session._settle()


def closes(code: int) -> Failure:
    async def close(peer: Peer, session: Session, patch: pytest.MonkeyPatch) -> None:
        peer.wire.close(code, "because")
        await peer.send(peer.wire.data_to_send())

    return close


def sends(data: bytes) -> Failure:
    async def send(peer: Peer, session: Session, patch: pytest.MonkeyPatch) -> None:
        await peer.send(data)

    return send


async def reports(peer: Peer, session: Session, patch: pytest.MonkeyPatch) -> None:
    error = b'{"code":"insufficient_quota","type":"x","message":"You have no money."}'
    await peer.say(b'{"type":"error","event_id":"e","error":' + error + b"}")


def oops(*_: Any) -> NoReturn:
    raise ZeroDivisionError("a defect")


async def has_a_defect_in_the_core(peer: Peer, session: Session, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ClientProtocol, "_receive", oops)
    await peer.say(b'{"type":"rate_limits.updated","event_id":"e","rate_limits":[]}')


async def has_a_defect_in_a_handler(
    peer: Peer, session: Session, patch: pytest.MonkeyPatch
) -> None:
    handlers = session._handlers

    def oops_once(_: Any) -> None:
        patch.setattr(session, "_handlers", handlers)
        oops()

    patch.setattr(session, "_handlers", dict.fromkeys(handlers, oops_once))
    await peer.say(b'{"type":"error","event_id":"e","error":{"type":"x","message":"m"}}')


async def has_a_defect_in_the_writer(
    peer: Peer, session: Session, patch: pytest.MonkeyPatch
) -> None:
    patch.setattr(peer.ours, "send_all", oops)
    session._protocol.send(events.InputAudioBufferClear())
    session._settle()


async def has_a_defect_in_the_timer(
    peer: Peer, session: Session, patch: pytest.MonkeyPatch
) -> None:
    patch.setattr(ClientProtocol, "handle_timer", oops)
    patch.setattr(ClientProtocol, "next_deadline", lambda _: trio.current_time())
    session._clock.kick()


FAILURES: dict[str, tuple[Failure, type[BaseException], type[BaseException] | None, str]] = {
    "goes": (goes, ConnectionClosed, None, "went away"),
    "resets": (resets, ConnectionClosed, TransportError, "went away"),
    "send fails": (send_fails, ConnectionClosed, TransportError, "went away"),
    "closes 1000": (closes(1000), ConnectionClosed, None, "1000: because"),
    "closes 1001": (closes(1001), ConnectionClosed, None, "1001: because"),
    "closes 1008": (closes(1008), ConnectionClosed, None, "1008: because"),
    "closes 1011": (closes(1011), ConnectionClosed, None, "1011: because"),
    "closes 4000": (closes(4000), ConnectionClosed, None, "4000: because"),
    "breaks the protocol": (sends(b"\xc1\x00"), FrameError, None, "broke RFC 6455"),
    "sends too much": (
        sends(b"\x81\x7f" + struct.pack("!Q", 2**40)),
        MessageTooBig,
        None,
        "the limit is",
    ),
    "reports an error": (reports, CommandRefused, None, "You have no money"),
    "defect in the core": (has_a_defect_in_the_core, ZeroDivisionError, None, "a defect"),
    "defect in a handler": (has_a_defect_in_a_handler, ZeroDivisionError, None, "a defect"),
    "defect in the writer": (has_a_defect_in_the_writer, ZeroDivisionError, None, "a defect"),
    "defect in the timer": (has_a_defect_in_the_timer, ZeroDivisionError, None, "a defect"),
}

# --- things to wait for -------------------------------------------------------------------

Wait = Callable[[Session], Awaitable[None]]


async def sleeps(session: Session) -> None:
    await trio.sleep_forever()


async def pushes_audio(session: Session) -> None:
    """Never stops, and where the peer does not read, waits for room."""
    while True:
        await session.push_audio(bytes(48_000))


async def pushes_audio_now_and_then(session: Session) -> None:
    while True:
        await session.push_audio(bytes(4_800))
        await trio.sleep(0.01)


async def generates_a_reply(session: Session) -> None:
    await session.generate_reply()


async def sends_a_message(session: Session) -> None:
    await session.send_message("Hi")


async def edits_the_conversation(session: Session) -> None:
    await session.update_conversation(
        [
            events.Message(role="user", content=[events.InputText(text=str(number))])
            for number in range(3)
        ]
    )


async def reads_the_parts(session: Session) -> None:
    generation = await session.generations.receive()
    async for _ in generation.parts:
        pass
    await trio.sleep_forever()


async def reads_generations(session: Session) -> None:
    async for _ in session.generations:
        pass


async def waits_for_the_end(session: Session) -> None:
    generation = await session.generations.receive()
    await generation.wait()
    await trio.sleep_forever()


async def subscribes(session: Session) -> None:
    async with session.subscribe(events.RateLimitsUpdated) as updates:
        async for _ in updates:
            pass


async def does_many_things(session: Session) -> None:
    async with trio.open_nursery() as nursery:
        for wait in (reads_generations, generates_a_reply, sends_a_message, sleeps):
            nursery.start_soon(wait, session)
        nursery.start_soon(pushes_audio_now_and_then, session)


WAITS: list[Wait] = [
    sleeps,
    pushes_audio,
    pushes_audio_now_and_then,
    generates_a_reply,
    sends_a_message,
    edits_the_conversation,
    reads_the_parts,
    reads_generations,
    waits_for_the_end,
    subscribes,
    does_many_things,
]


@asynccontextmanager
async def peering(**settings: Any) -> AsyncGenerator[Peer]:
    """A peer for the length of the block; the block's error comes out as it is."""
    failure: BaseException | None = None
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            try:
                yield Peer(nursery, **settings)
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - raised below
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: wait.__name__)
@pytest.mark.parametrize("name", FAILURES)
async def test_one_plain_error_comes_out(
    name: str, wait: Wait, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    fail, kind, cause, words = FAILURES[name]
    if wait is pushes_audio and name in ("send fails", "defect in the writer"):
        pytest.skip("the writer waits for the peer already, and sends no more")
    tasks = trio.lowlevel.current_statistics().tasks_living
    failed_at = 0.0
    async with peering(reads=wait is not pushes_audio) as peer:
        serving = trio.lowlevel.current_task().child_nurseries[-1]
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which, is told below
            async with open_session(
                ENDPOINT, MANUAL, dialer=peer, timing=TIMING, retry=None
            ) as session:

                async def fail_soon() -> None:
                    nonlocal failed_at
                    await wait_all_tasks_blocked(0.01)
                    failed_at = trio.current_time()
                    await fail(peer, session, monkeypatch)

                serving.start_soon(fail_soon)
                await wait(session)
                raise AssertionError("it came through")
        took_s = trio.current_time() - failed_at
    error = caught.value
    assert type(error) is kind, repr(error)
    assert words in str(error)
    assert type(error.__cause__) is (cause or type(None))
    if cause is TransportError:
        assert error.__cause__ is not None
        assert isinstance(error.__cause__.__cause__, ConnectionResetError)
    assert took_s <= 1.5
    assert trio.lowlevel.current_statistics().tasks_living == tasks


# --- before the session is up -------------------------------------------------------------


class Failing:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def dial(self, endpoint: Endpoint) -> Any:
        await trio.lowlevel.checkpoint()
        raise self._error


async def hang(_: Any) -> NoReturn:
    await trio.sleep_forever()
    raise AssertionError


class Hanging:
    dial = staticmethod(hang)


@asynccontextmanager
async def listening(answer: bytes) -> AsyncGenerator[int]:
    async def serve(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await stream.receive_some()
            await stream.send_all(answer)
            await trio.sleep(1)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, serve, listeners)
            yield listeners[0].socket.getsockname()[1]
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("retry", [None, RetryPolicy()], ids=["no retry", "retry"])
async def test_what_fails_at_the_beginning(
    retry: RetryPolicy | None, autojump_clock: MockClock
) -> None:
    """The first connection fails at once, with retries, too; a defect comes out as itself."""
    refusal = TransportError("cannot reach it")
    refusal.__cause__ = RESET
    for error in (refusal, ZeroDivisionError("a defect"), FrameError("what?")):
        tasks = trio.lowlevel.current_statistics().tasks_living
        with pytest.raises(type(error)) as caught:
            async with open_session(
                ENDPOINT, MANUAL, dialer=Failing(error), timing=TIMING, retry=retry
            ):
                raise AssertionError
        assert caught.value is error
        assert error.__cause__ is (RESET if error is refusal else None)
        assert trio.lowlevel.current_statistics().tasks_living == tasks
    began = trio.current_time()
    with pytest.raises(ConnectTimeout, match="within 5 s"):
        async with open_session(ENDPOINT, MANUAL, dialer=Hanging(), timing=TIMING, retry=retry):
            raise AssertionError
    assert trio.current_time() - began == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("kind", [ValueError, OSError, TransportError])
async def test_an_error_of_the_key_function_comes_out_as_it_is(kind: type[Exception]) -> None:  # E6
    error = kind("the vault is closed")

    async def key() -> str:
        await trio.lowlevel.checkpoint()
        raise error

    endpoint = Endpoint.url("ws://127.0.0.1:1/v1", api_key=key)
    with trio.fail_after(5), pytest.raises(kind) as caught:
        async with open_session(endpoint, MANUAL, dialer=Hanging()):
            raise AssertionError
    assert caught.value is error


async def test_tls_and_handshake_over_sockets() -> None:
    async with listening(b"HTTP/1.1 401 Who\r\nContent-Length: 0\r\n\r\n") as port:
        for scheme, kind, cause in (
            ("ws", HandshakeRejected, None),
            ("wss", TransportError, ssl.SSLError),
        ):
            with pytest.raises(kind) as caught:
                async with open_session(
                    Endpoint.url(f"{scheme}://127.0.0.1:{port}"),
                    MANUAL,
                    dialer=TcpDialer(proxy=False),
                ):
                    raise AssertionError
            assert type(caught.value) is kind
            assert isinstance(caught.value.__cause__, cause or type(None))


# --- the application's own errors ---------------------------------------------------------


async def test_the_blocks_own_error_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    for error in (ValueError("mine"), KeyboardInterrupt(), LocalProtocolError("mine, too")):
        with pytest.raises(type(error)) as caught:
            async with peering() as peer:
                async with open_session(ENDPOINT, MANUAL, dialer=peer, timing=TIMING):
                    raise error
        assert caught.value is error


async def test_an_own_error_after_the_sessions_wins_and_keeps_it_as_context(
    autojump_clock: MockClock,
) -> None:
    with pytest.raises(ValueError, match="mine") as caught:
        async with peering() as peer:
            async with open_session(
                ENDPOINT, MANUAL, dialer=peer, timing=TIMING, retry=None
            ) as session:
                await peer.theirs.aclose()
                try:
                    await session.generate_reply()
                except RealtimeError as error:
                    raise ValueError("mine") from error
    assert isinstance(caught.value.__cause__, ConnectionClosed)


async def test_a_session_that_could_not_be_replaced_says_so(autojump_clock: MockClock) -> None:
    """With retries, what comes out at last is why the last try failed."""
    policy = RetryPolicy(give_up_after_s=3.0)
    began = trio.current_time()
    with pytest.raises(RealtimeError) as caught:
        async with peering() as peer:
            async with open_session(ENDPOINT, MANUAL, dialer=peer, timing=TIMING, retry=policy):
                refusal = TransportError("cannot reach it")
                refusal.__cause__ = RESET
                peer.dial = Failing(refusal).dial  # type: ignore[method-assign]
                await peer.theirs.aclose()
                await trio.sleep_forever()
    assert type(caught.value) in (TransportError, ConnectionClosed)
    assert caught.value.__cause__ is not None
    assert trio.current_time() - began < 6


async def test_what_is_said_while_an_expired_session_closes_is_taken(
    autojump_clock: MockClock,
) -> None:
    """The service ends a session after an hour; until the next one is up, audio is kept."""
    async with peering() as peer:
        async with open_session(ENDPOINT, MANUAL, dialer=peer, timing=TIMING) as session:
            await wait_all_tasks_blocked(0.01)
            error = b'{"code":"session_expired","type":"x","message":"An hour has passed."}'
            await peer.say(b'{"type":"error","event_id":"e","error":' + error + b"}")
            for _ in range(300):  # the peer's close frame does not come for a second
                before = trio.current_time()
                await session.push_audio(bytes(480))
                assert trio.current_time() - before < 0.01
                await trio.sleep(0.01)
            assert session._protocol.state.value == "ready"
