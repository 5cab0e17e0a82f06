"""What applications read: receive channels that the reading task fills without ever waiting for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar, final

import trio

from sansio_rt import StreamOverflow

__all__ = ["Stream"]

T = TypeVar("T")

_SCHEDULE_EVERY = 64


@final
class Stream(trio.abc.ReceiveChannel[T], Generic[T]):
    """A receive channel with a bound.

    Receiving an item that is there already is a cancel point each time and a schedule point every 64
    items, since a full checkpoint would cost as much as the event. Cancelling `receive` loses nothing.

    Args:
        limit: The most that it may hold, in units of `size_of`; past it the stream fails by itself with
            `StreamOverflow` and drops what it held.
        size_of: Size of an item; by default each counts as 1.
        name: Used in errors.
    """

    def __init__(self, limit: int, *, name: str, size_of: Callable[[T], int] | None = None) -> None:
        self._limit = limit
        self._name = name
        self._size_of = size_of
        self._items: deque[T] = deque()
        self._held = 0
        self._readers = trio.lowlevel.ParkingLot()
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None
        self._received = 0
        self._on_first_receive: Callable[[], None] | None = None

    def __repr__(self) -> str:
        state = "closed" if self._closed else "ended" if self._ended else "open"
        return f"<Stream of {self._name}, {state}, {len(self._items)} waiting>"

    def __len__(self) -> int:
        """How many items wait."""
        return len(self._items)

    @property
    def waiting(self) -> tuple[T, ...]:
        """What waits to be received, oldest first."""
        return tuple(self._items)

    # --- the session's side -----------------------------------------------------------------

    def on_first_receive(self, callback: Callable[[], None]) -> None:
        """Has a callback called when somebody first receives."""
        self._on_first_receive = callback

    def put(self, item: T) -> None:
        """Adds an item; never waits. Does nothing once the stream has ended or is closed."""
        if self._ended or self._closed:
            return
        size = 1 if self._size_of is None else self._size_of(item)
        if self._held + size > self._limit:
            self._items.clear()
            self.end(
                StreamOverflow(
                    f"the stream of {self._name} was not read for too long: it holds at most "
                    f"{self._limit:,}; read it in a task of its own, or close it",
                    limit_bytes=self._limit,
                )
            )
            return
        self._held += size
        self._items.append(item)
        if self._readers:
            self._readers.unpark()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more will come. What is there can still be received."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._readers.unpark_all()

    # --- the application's side -------------------------------------------------------------

    def receive_nowait(self) -> T:
        """Receives an item that is there.

        Raises:
            trio.WouldBlock: None is there now.
            trio.EndOfChannel: None will come.
            trio.ClosedResourceError: The stream was closed here.
            StreamOverflow: It was not read for too long.
        """
        if self._closed:
            raise trio.ClosedResourceError
        if self._on_first_receive is not None:
            callback, self._on_first_receive = self._on_first_receive, None
            callback()
        if self._items:
            item = self._items.popleft()
            self._held -= 1 if self._size_of is None else self._size_of(item)
            return item
        if not self._ended:
            raise trio.WouldBlock
        if self._error is not None:
            raise self._error
        raise trio.EndOfChannel

    async def receive(self) -> T:
        """Receives the next item, waiting for it where it must.

        Raises:
            trio.EndOfChannel: None will come.
            trio.ClosedResourceError: The stream was closed here.
            StreamOverflow: It was not read for too long.
        """
        self._received += 1
        if self._items and self._received % _SCHEDULE_EVERY:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
        while True:
            try:
                return self.receive_nowait()
            except trio.WouldBlock:
                pass
            await self._readers.park()

    def close(self) -> None:
        """Drops what waits; later `receive` calls raise `ClosedResourceError`. Twice is fine."""
        self._closed = True
        self._items.clear()
        self._held = 0
        self._readers.unpark_all()

    async def aclose(self) -> None:
        """As `close`, and a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    def __enter__(self) -> Stream[T]:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
