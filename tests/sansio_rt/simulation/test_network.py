"""A network that does what it is told, in virtual time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

from sansio_rt.simulation._network import Line, Pipe, Weather


class Far:
    """A clock, and an end that writes down what arrives."""

    def __init__(self) -> None:
        self.now = 0.0
        self.agenda: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.arrived: list[tuple[float, bytes]] = []
        self.ended_at: float | None = None

    def at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self.agenda, (when, next(self.order), call))

    def run(self) -> None:
        while self.agenda:
            self.now, _, call = heapq.heappop(self.agenda)
            call()

    def deliver(self, data: bytes) -> None:
        self.arrived.append((self.now, data))

    def end(self) -> None:
        assert self.ended_at is None
        self.ended_at = self.now

    @property
    def bytes(self) -> bytes:
        return b"".join(data for _, data in self.arrived)


def pipe(far: Far, **weather: float | int) -> Pipe:
    chance = random.Random(1)
    return Pipe(far, lambda: chance, Weather(**weather), far.deliver, far.end)  # type: ignore[arg-type]


def line(up: Far, down: Far, **weather: float) -> Line:
    down.at = up.at  # type: ignore[method-assign]
    return Line(pipe(up, **weather), pipe(down, **weather))


def test_good_weather_delivers_at_once() -> None:
    far = Far()
    way = pipe(far)
    way.send(b"now")
    assert far.arrived == [(0.0, b"now")]
    assert way.idle


def test_bytes_come_late_in_pieces_and_in_order() -> None:
    far = Far()
    way = pipe(far, latency_s=0.1, jitter_s=0.2, splits=4)
    sent = b"".join(bytes([index]) * 50 for index in range(20))
    for start in range(0, len(sent), 100):
        way.send(sent[start : start + 100])
    way.send(b"x")
    way.finish()
    assert not way.idle
    far.run()
    assert far.bytes == sent + b"x"
    assert len(far.arrived) > 11
    assert all(0.1 <= when <= 0.3 for when, _ in far.arrived)
    assert far.ended_at is not None
    way.finish()
    way.send(b"too late")
    far.run()
    assert far.bytes == sent + b"x"


def test_a_stall_holds_up_and_loses_nothing() -> None:
    far = Far()
    way = pipe(far, latency_s=0.1)
    way.send(b"under way")
    way.stall(5.0)
    way.send(b"later")
    way.finish()
    far.run()
    assert far.arrived == [(5.0, b"under waylater")]
    assert far.ended_at == 5.0


def test_what_comes_behind_a_stall_comes_in_its_own_time() -> None:
    far = Far()
    way = pipe(far, latency_s=0.1)
    way.stall(5.0)
    way.send(b"held up, ")
    way.send(b"too")
    far.at(4.95, lambda: way.send(b"later"))
    far.run()
    assert far.arrived == [(5.0, b"held up, too"), (5.05, b"later")]


def test_a_cut_lets_arrive_what_is_under_way() -> None:
    up, down = Far(), Far()
    both = line(up, down, latency_s=0.1)
    both.up.send(b"up")
    both.down.send(b"down")
    assert not both.idle
    both.cut()
    both.cut()
    up.run()
    assert (up.bytes, down.bytes) == (b"up", b"down")
    assert up.ended_at == 0.1
    assert down.ended_at is not None


def test_a_reset_loses_what_is_under_way() -> None:
    up, down = Far(), Far()
    both = line(up, down, latency_s=0.1)
    both.up.send(b"up")
    both.down.send(b"down")
    both.reset()
    both.up.send(b"more")
    up.run()
    assert (up.bytes, down.bytes) == (b"", b"")
    assert up.ended_at == 0.0
    assert down.ended_at is not None
    assert both.idle


def test_one_that_vanishes_tells_nobody() -> None:
    up, down = Far(), Far()
    both = line(up, down, latency_s=0.1)
    both.up.send(b"up")
    both.vanish()
    both.down.send(b"down")
    both.cut()
    both.reset()
    up.run()
    assert (up.bytes, down.bytes, up.ended_at, down.ended_at) == (b"", b"", None, None)
    assert both.vanished


def test_a_line_can_be_cut_at_a_byte() -> None:
    up, down = Far(), Far()
    both = line(up, down, latency_s=0.1)
    both.down.cut_after(5, both.cut)
    both.down.send(b"123")
    both.down.send(b"4567")
    both.down.send(b"8")
    up.run()
    assert down.bytes == b"12345"
    assert up.ended_at is not None
    assert down.ended_at is not None
