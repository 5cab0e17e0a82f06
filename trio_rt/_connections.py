"""The connections of a session: one after the other, and at times the next beside the present one."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import trio

from sansio_rt import (
    ClientProtocol,
    ConnectionLost,
    ConnectionReplaced,
    Link,
    RealtimeError,
    RotationDue,
    SessionClosed,
)
from sansio_rt._secrets import Secret

from ._errors import TransportError
from ._pump import Pump

__all__ = ["Begin", "Connections", "Dial"]

L = TypeVar("L", bound=Link | None)

Begin = Callable[[float, Secret | None], L]
"""Takes the time and the key, and begins a connection of the protocol object."""

Dial = Callable[[Begin[Any]], Awaitable[tuple[trio.abc.Stream, Any]]]
"""Opens a byte stream, and begins a connection on it."""


class Connections:
    """Dials, carries and replaces.

    Args:
        protocol: The session's.
        dial: Opens streams.
        unix_now: Gives the time of day in Unix seconds.
        settle: Hands on what happened; called after each step.
        dialled: Told the time at which a stream was open.

    Attributes:
        handlers: What is done for which kind of event.
    """

    def __init__(
        self,
        protocol: ClientProtocol,
        dial: Dial,
        unix_now: Callable[[], float],
        *,
        settle: Callable[[], None],
        dialled: Callable[[float], None],
    ) -> None:
        self._protocol = protocol
        self._dial = dial
        self._unix_now = unix_now
        self._settle = settle
        self._dialled = dialled
        self._serving: Pump | None = None
        self._next: Pump | None = None
        self._retiring: list[Pump] = []
        self._nursery: trio.Nursery | None = None
        self._reconnect_at = -math.inf
        self._over = trio.Event()
        self.handlers: Mapping[type, Callable[[Any], None]] = {
            ConnectionLost: self._on_lost,
            ConnectionReplaced: self._on_replaced,
            RotationDue: self._on_rotation_due,
            SessionClosed: self._on_closed,
        }

    @property
    def broken(self) -> TransportError | None:
        """Why the serving stream failed, or None."""
        return None if self._serving is None else self._serving.broken

    def kick(self) -> None:
        """Bytes may have been queued: wakes the writers."""
        if self._serving is not None:
            self._serving.kick()
        if self._next is not None:
            if self._next.link.closing:
                self._retire(self._next)
                self._next = None
            else:
                self._next.kick()

    async def wait_for_room(self) -> None:
        """Waits until the serving socket has taken what was queued."""
        if self._serving is not None:
            await self._serving.wait_for_room(self._protocol.limits.max_output_bytes)

    async def drain(self) -> None:
        """Waits until everything that is queued was sent, or cannot be."""
        for pump in self._all():
            await pump.drain()

    def stop(self) -> None:
        """Ends every connection, whatever it waits for."""
        for pump in self._all():
            pump.stop()

    async def run(self) -> None:
        """Carries one connection after the other, until the session is over."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            while (pump := await self._connect()) is not None:
                self._serving = pump
                self._settle()
                nursery.start_soon(pump.run)
                await self._until_lost()
            nursery.cancel_scope.cancel()

    async def _connect(self) -> Pump | None:
        """The next connection when the protocol says so; None when there is to be none."""
        while not self._over.is_set():
            with trio.move_on_at(self._reconnect_at):
                await self._over.wait()
                break
            try:
                stream, link = await self._dial(self._begin(self._protocol.connect))
            except RealtimeError as error:
                self._protocol.connect_failed(error, trio.current_time())
                self._settle()
            else:
                self._dialled(trio.current_time())
                return Pump(stream, link, self._settle)
        return None

    def _begin(self, connect: Callable[..., L]) -> Begin[L]:
        def begin(started: float, api_key: Secret | None) -> L:
            unix_started = self._unix_now() - (trio.current_time() - started)
            return connect(started, api_key=api_key, unix_now=unix_started)

        return begin

    async def _until_lost(self) -> None:
        """Waits for the end of the serving connection, through all that take over from each other."""
        pump: Pump | None = None
        while pump is not self._serving:
            pump = self._serving
            assert pump is not None
            await pump.ended.wait()

    async def _rotate(self) -> None:
        """Carries the next connection; it takes over when the protocol says so."""
        try:
            stream, link = await self._dial(self._begin(self._protocol.begin_rotation))
        except RealtimeError:
            self._protocol.rotation_failed(trio.current_time())
            self._settle()
            return
        if link is None:  # the present one was lost while this was dialled
            await trio.aclose_forcefully(stream)
            return
        pump = self._next = Pump(stream, link, self._settle)
        self._settle()
        await pump.run()
        if self._next is pump:
            self._next = None

    def _on_rotation_due(self, _: RotationDue) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._rotate, name="trio_rt rotation")

    def _on_replaced(self, _: ConnectionReplaced) -> None:
        old, self._serving, self._next = self._serving, self._next, None
        if old is not None:
            self._retire(old)

    def _retire(self, pump: Pump) -> None:
        self._retiring = [other for other in self._retiring if not other.ended.is_set()]
        self._retiring.append(pump)
        pump.retire(self._protocol.timing.close_timeout_s)

    def _all(self) -> list[Pump]:
        pumps = (*self._retiring, self._serving, self._next)
        return [pump for pump in pumps if pump is not None]

    def _on_lost(self, event: ConnectionLost) -> None:
        self._reconnect_at = event.reconnect_at
        if self._serving is not None:
            self._serving.stop()

    def _on_closed(self, _: SessionClosed) -> None:
        self._over.set()
