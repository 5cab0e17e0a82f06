"""What the system tells about this process."""

from __future__ import annotations

import gc
import math
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import trio

from sansio_rt import ClientProtocol
from trio_rt import Generation, Session

from ._soak_figures import Sample

__all__ = ["MAX_LATE_S", "Pulse", "leftovers", "look"]

MAX_LATE_S = 0.2
"""A loop that is later than this has not had its time: an emulator sends one message in each round of it,
and what stands behind 60 messages then comes later than an answer may."""
_AFTERMATH_S = 15.0
"""How long after that its time bounds may still fail."""
_FILES = Path("/proc/self/fd")
_MEMORY = Path("/proc/self/statm")


class Pulse:
    """Tells whether the machine gives this process its time: on a busy one, bounds in time mean nothing.

    A loop that is late while the process is computing is not the machine's fault.

    Attributes:
        starved: How often the loop was late for want of the machine.
        busy: How often it was late by the process's own work.
        worst_s: By how much at most, in seconds.

    Args:
        every_s: How often `beat` is called.
        cpu_time: Seconds of computing that the process has had.
    """

    def __init__(self, every_s: float, cpu_time: Callable[[], float] = time.process_time) -> None:
        self.starved = 0
        self.busy = 0
        self.worst_s = 0.0
        self._every_s = every_s
        self._cpu_time = cpu_time
        self._beat_at = math.inf
        self._cpu_s = 0.0
        self._starved_at = -math.inf

    def start(self, now: float) -> None:
        """Notes that `beat` is to be called when a beat's time is over."""
        self._beat_at, self._cpu_s = now, self._cpu_time()

    def beat(self, now: float) -> float:
        """Notes that the loop has come round; gives by how much it was late, in seconds."""
        late_s = self._late_s(now)
        if late_s > MAX_LATE_S:
            self.worst_s = max(self.worst_s, late_s)
            if self._is_starved(now):
                self.starved += 1
                self._starved_at = now
            else:
                self.busy += 1
        self.start(now)
        return late_s

    def starved_since(self, moment: float, now: float) -> bool:
        """Whether the machine gave too little since some time, or shortly before."""
        just_now = self._late_s(now) > MAX_LATE_S and self._is_starved(now)
        return just_now or self._starved_at >= moment - _AFTERMATH_S

    def _late_s(self, now: float) -> float:
        return max(0.0, now - self._beat_at - self._every_s)

    def _is_starved(self, now: float) -> bool:
        return self._cpu_time() - self._cpu_s < (now - self._beat_at) / 2


def look(at_s: float, sessions: int) -> Sample:
    """The process as it is now.

    Args:
        at_s: The time, for the sample.
        sessions: How many are open.
    """
    files = _files()
    return Sample(
        at_s,
        trio.lowlevel.current_statistics().tasks_living,
        None if files is None else sum(name.startswith("socket:") for name in files),
        None if files is None else len(files),
        _rss_bytes(),
        sessions,
    )


def leftovers() -> Counter[str]:
    """The objects of sessions that are still there, after what nobody holds was collected."""
    gc.collect()
    kinds = (Session, ClientProtocol, Generation)
    return Counter(type(each).__name__ for each in gc.get_objects() if type(each) in kinds)


def _files() -> list[str] | None:
    """What the open descriptors are; None where the system has no `/proc`."""
    found: list[str] = []
    try:
        for link in _FILES.iterdir():
            try:
                found.append(os.readlink(link))
            except OSError:  # the folder's own descriptor is gone by now
                continue
    except OSError:
        return None
    return found


def _rss_bytes() -> int | None:
    try:
        return int(_MEMORY.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
