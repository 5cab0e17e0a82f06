"""`Stream`: what an application reads, filled without waiting, bounded, cancellable (G11, N2)."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from sansio_rt import StreamOverflow
from trio_rt._streams import Stream


async def test_items_come_in_order_and_end() -> None:
    stream: Stream[int] = Stream(10, name="numbers")
    for number in range(3):
        stream.put(number)
    stream.end()
    stream.put(99)  # after the end nothing is taken
    assert len(stream) == 3
    assert [number async for number in stream] == [0, 1, 2]
    with pytest.raises(trio.EndOfChannel):
        await stream.receive()
    assert repr(stream) == "<Stream of numbers, ended, 0 waiting>"


async def test_each_of_several_readers_gets_its_own_item() -> None:
    stream: Stream[int] = Stream(10, name="numbers")
    got: list[int] = []

    async def read_one() -> None:
        got.append(await stream.receive())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(read_one)
        await wait_all_tasks_blocked()
        for number in range(3):
            stream.put(number)
    assert sorted(got) == [0, 1, 2]


async def test_a_reader_that_another_was_faster_than_waits_on() -> None:
    stream: Stream[int] = Stream(10, name="numbers")
    got: list[int] = []

    async def read_one() -> None:
        got.append(await stream.receive())

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_one)
            await wait_all_tasks_blocked()
            stream.put(1)
            assert stream.receive_nowait() == 1  # before the woken reader runs
            await wait_all_tasks_blocked()
            assert not got
            stream.put(2)
    assert got == [2]


@pytest.mark.parametrize("finish", [Stream.end, Stream.close])
async def test_the_end_wakes_every_reader(finish: Callable[[Stream[Any]], None]) -> None:  # G5
    stream: Stream[int] = Stream(10, name="numbers")
    woken: list[type[BaseException]] = []

    async def read() -> None:
        try:
            await stream.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError) as error:
            woken.append(type(error))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(read)
            await wait_all_tasks_blocked()
            finish(stream)
    expected = trio.EndOfChannel if finish is Stream.end else trio.ClosedResourceError
    assert woken == [expected] * 3


async def test_an_error_comes_after_what_is_there() -> None:
    stream: Stream[int] = Stream(10, name="numbers")
    stream.put(1)
    stream.end(ValueError("why"))
    stream.end()  # the first end counts
    assert await stream.receive() == 1
    for _ in range(2):
        with pytest.raises(ValueError, match="why"):
            await stream.receive()


async def test_past_its_bound_a_stream_fails_by_itself_and_lets_go_of_everything() -> None:  # G11
    stream: Stream[bytes] = Stream(100, name="audio", size_of=len)
    stream.put(bytes(60))
    stream.put(bytes(40))
    assert len(stream) == 2
    stream.put(b"\x00")
    assert len(stream) == 0
    for _ in range(2):
        with pytest.raises(StreamOverflow, match="at most 100") as caught:
            await stream.receive()
        assert caught.value.limit_bytes == 100
    stream.put(b"\x00")
    assert len(stream) == 0


async def test_what_was_read_makes_room() -> None:
    stream: Stream[bytes] = Stream(100, name="audio", size_of=len)
    for _ in range(50):
        stream.put(bytes(80))
        assert len(await stream.receive()) == 80
    counted: Stream[int] = Stream(2, name="numbers")
    for number in range(50):
        counted.put(number)
        assert await counted.receive() == number


def test_an_unread_audio_stream_holds_no_more_than_its_bound() -> None:  # G11
    limit = 1_000_000
    tracemalloc.start()
    try:
        stream: Stream[bytes] = Stream(limit, name="audio", size_of=len)
        for _ in range(3_000):
            stream.put(bytes(4_800))
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * limit
    assert held < 0.05 * limit


async def test_every_receive_is_a_checkpoint_or_at_least_a_cancel_point() -> None:
    stream: Stream[int] = Stream(10, name="numbers")
    stream.put(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.receive()
    assert scope.cancelled_caught
    assert len(stream) == 1  # cancelling loses nothing
    stream.end()
    assert await stream.receive() == 1
    with assert_checkpoints(), pytest.raises(trio.EndOfChannel):
        await stream.receive()


async def test_a_full_stream_does_not_starve_the_others() -> None:
    stream: Stream[int] = Stream(1_000, name="numbers")
    for number in range(640):
        stream.put(number)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        for _ in range(640):
            await stream.receive()
        nursery.cancel_scope.cancel()
    assert turns >= 640 // 64 - 1  # the last turn may come after the last item


async def test_a_cancelled_reader_takes_nothing_with_it() -> None:  # N2
    stream: Stream[int] = Stream(10, name="numbers")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def read() -> None:
                with scope:
                    await stream.receive()

            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            scope.cancel()
            stream.put(1)
    assert await stream.receive() == 1


async def test_an_item_that_woke_a_reader_is_not_lost_when_that_is_cancelled() -> None:  # N2
    stream: Stream[int] = Stream(10, name="numbers")
    got: list[int] = []
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def read_cancelled() -> None:
                with scope:
                    got.append(await stream.receive())

            async def read() -> None:
                got.append(await stream.receive())

            nursery.start_soon(read_cancelled)
            await wait_all_tasks_blocked()
            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            stream.put(1)  # wakes the first reader ...
            scope.cancel()  # ... which is cancelled before it runs
            await wait_all_tasks_blocked()
            stream.put(2)
            stream.put(3)
    assert got[:2] == [1, 2] or (got == [1] and len(stream) == 2)


async def test_closing_drops_what_waits_and_may_be_done_twice() -> None:
    stream: Stream[int] = Stream(10, name="numbers")
    stream.put(1)
    with stream:
        assert repr(stream) == "<Stream of numbers, open, 1 waiting>"
    stream.close()
    stream.put(2)
    assert len(stream) == 0
    assert repr(stream) == "<Stream of numbers, closed, 0 waiting>"
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive()
    with assert_checkpoints():
        await stream.aclose()


async def test_the_first_receive_is_told_once() -> None:
    stream: Stream[int] = Stream(10, name="numbers")
    calls: list[str] = []
    stream.on_first_receive(lambda: calls.append("read"))
    stream.put(1)
    stream.put(2)
    assert not calls
    await stream.receive()
    await stream.receive()
    assert calls == ["read"]
    with pytest.raises(trio.WouldBlock):
        stream.receive_nowait()
