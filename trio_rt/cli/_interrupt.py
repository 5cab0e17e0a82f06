"""Ctrl-C as an ordinary end: what runs is cancelled, cleans up, and nothing is shown."""

from __future__ import annotations

import signal
import threading
from collections.abc import Awaitable, Callable

import trio

__all__ = ["run_until_signal"]


def run_until_signal(work: Callable[[], Awaitable[None]]) -> int | None:
    """Runs `work` with trio until it is done, or until Ctrl-C or a polite kill.

    Args:
        work: What to run; it is cancelled by a signal, once. It may do its usual cleaning up.

    Returns:
        Number of the signal that ended it, or None where it came to its end all the same.
    """
    return trio.run(_run_until_signal, work)


async def _run_until_signal(work: Callable[[], Awaitable[None]]) -> int | None:
    received: int | None = None
    is_done = False
    if threading.current_thread() is not threading.main_thread():
        await work()  # the system hands signals to the main thread alone
        return None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                nonlocal received
                async for number in signals:
                    received = number
                    nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            await work()
            is_done = True
            nursery.cancel_scope.cancel()
    return None if is_done else received
