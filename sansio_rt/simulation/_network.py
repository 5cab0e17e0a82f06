"""A network as bad as wanted: two pipes, whose bytes come late, in other pieces, or never.

Where messages are handed over in the place of bytes (`_carry`), each counts as one byte.

What it does in the mean is a `Weather`; what goes wrong once is an action of the plan, which calls `cut`,
`reset`, `vanish` or `stall`.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from ._chance import Chance

__all__ = ["Clock", "Line", "Pipe", "Weather"]


class Weather(Struct, frozen=True, kw_only=True):
    """What a network does all the time."""

    latency_s: float = 0.0
    """How long a piece is under way."""
    jitter_s: float = 0.0
    """By how much longer at most; order is kept, as on any stream."""
    splits: int = 1
    """In how many pieces what was sent at once arrives at most."""


class Clock(Protocol):
    """Virtual time."""

    now: float

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Has something done at a time."""
        ...


class Pipe:
    """One direction of a byte stream.

    Args:
        clock: Virtual time.
        chance: Gives the source of decisions on delays and pieces.
        weather: What it does all the time.
        deliver: Takes bytes that arrive.
        end: Told that no more will come.

    Attributes:
        vanished: Nothing arrives any more, not even the end.
    """

    def __init__(
        self,
        clock: Clock,
        chance: Callable[[], Chance],
        weather: Weather,
        deliver: Callable[[bytes], None],
        end: Callable[[], None],
    ) -> None:
        self.vanished = False
        self._clock = clock
        self._chance = chance
        self._weather = weather
        self._deliver = deliver
        self._end = end
        self._ended = False
        self._under_way: deque[tuple[float, bytes | None]] = deque()
        self._came_along = 0
        self._last_arrival = 0.0
        self._instant = weather == Weather()
        self._stalled_until = 0.0
        self._left_bytes: int | None = None
        self._when_spent: Callable[[], None] = self.finish

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, and no cut is about to happen."""
        return not self._under_way and self._left_bytes != 0

    def send(self, data: bytes) -> None:
        """Sends bytes."""
        if self._ended or self.vanished:
            return
        if self._left_bytes is not None:
            data = self._spend(data, self._left_bytes)
            if not data:
                return
        if self._instant and not self._under_way and self._clock.now >= self._stalled_until:
            self._deliver(data)
            return
        for piece in self._pieces(data):
            self._launch(piece)

    def cut_after(self, size_bytes: int, cut: Callable[[], None]) -> None:
        """Has the line cut when so many more bytes (at least 1) were sent."""
        self._left_bytes, self._when_spent = size_bytes, cut

    def _spend(self, data: bytes, left_bytes: int) -> bytes:
        self._left_bytes = max(0, left_bytes - len(data))
        if 0 < left_bytes <= len(data):
            self._clock.at(self._clock.now, self._when_spent)
        return data[:left_bytes]

    def finish(self) -> None:
        """Sends the end, behind everything that is under way."""
        if not self._ended:
            self._ended = True
            if not self.vanished:
                self._launch(None)

    def break_off(self) -> None:
        """Ends at once; what is under way is lost."""
        self._ended = True
        self._under_way.clear()
        if not self.vanished:
            self._clock.at(self._clock.now, self._end)

    def vanish(self) -> None:
        """Loses everything from now on, without a word to anybody."""
        self.vanished = True
        self._under_way.clear()

    def stall(self, seconds: float) -> None:
        """Holds everything up for a while; nothing is lost."""
        self._stalled_until = self._clock.now + seconds

    def _pieces(self, data: bytes) -> list[bytes]:
        if self._weather.splits == 1:
            return [data]
        chance = self._chance()
        count = chance.randint(1, self._weather.splits)
        if count == 1 or len(data) < count:
            return [data]
        cuts = sorted(chance.randint(1, len(data) - 1) for _ in range(count - 1))
        bounds = [0, *cuts, len(data)]
        return [data[a:b] for a, b in itertools.pairwise(bounds) if a < b]

    def _launch(self, piece: bytes | None) -> None:
        weather = self._weather
        delay_s = weather.latency_s
        if weather.jitter_s:
            delay_s += weather.jitter_s * self._chance().random()
        arrival = max(self._clock.now + delay_s, self._last_arrival, self._stalled_until)
        self._last_arrival = arrival
        self._under_way.append((arrival, piece))
        self._clock.at(arrival, self._arrive)

    def _arrive(self) -> None:
        if self._came_along:
            self._came_along -= 1
            return
        if not self._under_way:
            return  # it was lost on the way
        if self._clock.now < self._stalled_until:
            self._clock.at(self._stalled_until, self._arrive)
            return
        arrival, piece = self._under_way.popleft()
        if piece is None:
            self._end()
        elif arrival > self._stalled_until:
            self._deliver(piece)
        else:
            self._deliver(self._with_held_up(piece))

    def _with_held_up(self, piece: bytes) -> bytes:
        """With what else a stall has held up: it comes in one piece, as from any socket."""
        while self._under_way and self._under_way[0][0] <= self._stalled_until:
            following = self._under_way[0][1]
            if following is None:
                break
            piece += following
            self._under_way.popleft()
            self._came_along += 1
        return piece


class Line:
    """A connection: a pipe up to the server and one down to the client."""

    def __init__(self, up: Pipe, down: Pipe) -> None:
        self.up = up
        self.down = down

    @property
    def idle(self) -> bool:
        """Whether nothing is under way in either direction."""
        return self.up.idle and self.down.idle

    @property
    def vanished(self) -> bool:
        """Whether bytes get lost without either side being told."""
        return self.up.vanished or self.down.vanished

    def cut(self) -> None:
        """Ends both directions; what is under way still arrives."""
        self.up.finish()
        self.down.finish()

    def reset(self) -> None:
        """Ends both directions at once; what is under way is lost."""
        self.up.break_off()
        self.down.break_off()

    def vanish(self) -> None:
        """Loses everything from now on, in both directions, and tells nobody."""
        self.up.vanish()
        self.down.vanish()

    def stall(self, seconds: float) -> None:
        """Holds both directions up for a while."""
        self.up.stall(seconds)
        self.down.stall(seconds)
