"""What counts as one finding, and the shortest input that still shows it."""

from __future__ import annotations

import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath

from fuzz import Refused

Run = Callable[[bytes], None]
SLOW_S = 1.0
"""An execution that takes longer, in seconds of the processor, is a finding, too."""
MOST_S = 5.0
"""An execution outside the fuzzer is given up after so many seconds."""
MARK = "FINDING "
"""Begins the line by which `fuzz.engine` tells `fuzz.campaign` of a file."""
STARTED = "STARTED "
"""Begins the line that tells how much processor time went by before the first execution."""
PROGRAM = "FUZZ_PROGRAM"
"""The environment variable with an executable that starts `fuzz.engine` for its target."""


class TooSlow(BaseException):
    """An input that is worked on for too long; no `Exception`, which what is fuzzed might swallow."""


def run_timed(run: Run, data: bytes) -> None:
    """Runs a target once.

    Raises:
        TooSlow: It took more than `SLOW_S`, twice.
        Exception: Whatever the target raised.
    """
    began = time.perf_counter()
    run(data)
    if time.perf_counter() - began > SLOW_S:
        began = time.process_time()  # again, since the machine may have been busy
        run(data)
        spent_s = time.process_time() - began
        if spent_s > SLOW_S:
            raise TooSlow(f"{len(data)} bytes take {spent_s:.1f} s")


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Ends what hangs in Python, in the main thread.

    Raises:
        TooSlow: It was not done in time.
    """

    def ring(*_: object) -> None:
        raise TooSlow(f"not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def failure_of(run: Run, data: bytes, *, seconds: float = MOST_S) -> BaseException | None:
    """What a target raises, or None; `TooSlow` where it is not done after so many seconds."""
    try:
        with bounded(seconds):
            run_timed(run, data)
    except KeyboardInterrupt:
        raise
    except BaseException as failure:
        return failure
    return None


def signature(failure: BaseException) -> str:
    """What two inputs share that show the same mistake: the error and the two innermost places of ours."""
    if isinstance(failure, TooSlow):
        return TooSlow.__name__  # wherever it was when the time was over
    frames = traceback.extract_tb(failure.__traceback__)
    ours = [frame for frame in frames if _is_ours(frame.filename)]
    # A recursion ends at a random depth, so that only where it began tells it from another.
    chosen = ours[:3] if isinstance(failure, RecursionError) else ours[-2:]
    places = [f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in chosen]
    return " < ".join([type(failure).__name__, *reversed(places)])


def _is_ours(file: str) -> bool:
    """Whether a file belongs neither to Python nor to somebody else's package."""
    path = PurePath(file)
    if "sansio_rt" in path.parts:
        return True
    return "site-packages" not in path.parts and not path.is_relative_to(sys.base_prefix)


def minimise(run: Run, data: bytes, *, seconds: float = 20.0) -> bytes:
    """Shortens an input while it shows the same mistake, then makes its bytes plain.

    Pieces are taken out, from halves down to single bytes; then bytes become zeros. libFuzzer's own way
    would do for crashes, but takes any crash for the same one.

    Args:
        run: The target.
        data: An input that fails.
        seconds: How long to try.

    Raises:
        Refused: It does not fail.
    """
    failure = failure_of(run, data)
    if failure is None:
        raise Refused("it does not fail: there is nothing to minimise")
    wanted, until = signature(failure), time.monotonic() + seconds

    def shows(candidate: bytes) -> bool:
        found = failure_of(run, candidate)
        return found is not None and signature(found) == wanted

    best, size = data, max(1, len(data) // 2)
    while size and time.monotonic() < until:
        shorter = _without_pieces(best, size, shows, until)
        size = size // 2 if shorter == best else min(size, len(shorter) // 2 or 1)
        best = shorter
    for at in range(len(best)):
        candidate = best[:at] + b"\0" + best[at + 1 :]
        if best[at] and time.monotonic() < until and shows(candidate):
            best = candidate
    return best


def _without_pieces(data: bytes, size: int, shows: Callable[[bytes], bool], until: float) -> bytes:
    at = 0
    while at < len(data) and time.monotonic() < until:
        candidate = data[:at] + data[at + size :]
        if shows(candidate):
            data = candidate
        else:
            at += size
    return data
