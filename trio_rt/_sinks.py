"""Where played audio goes: a clock, a WAV file, a sound card, or any async function.

A sink is an async callable that takes an `AudioFrame` and returns when it was played: its waiting is
the clock by which `Playback` knows what was heard.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, cast, final, runtime_checkable

import numpy as np
import trio

from sansio_rt import AudioFrame, ConfigurationError, MissingExtra, RealtimeError

from ._wav import WavWriter

if TYPE_CHECKING:
    import os

__all__ = ["BufferedSink", "ClockSink", "Sink", "SoundCardError", "SoundCardSink", "WavSink"]

Sink: TypeAlias = Callable[[AudioFrame], Awaitable[None]]
"""Plays a frame and returns when it was played. Cancelled, it has played nothing of it."""

_WRITE_BYTES = 64 * 1024
_LATENESS_S = 0.05
"""A frame that comes so late follows the one before without a gap, as from the buffer of a card."""


@runtime_checkable
class BufferedSink(Protocol):
    """A sink that returns when it has taken a frame, which is heard later.

    It says at a stop how much of what it took was not played, so that "heard" stays true.
    """

    @property
    def latency_s(self) -> float:
        """From taking a sample to its sound, in seconds."""
        ...

    async def __call__(self, frame: AudioFrame, /) -> None:
        """Takes a frame; waits for room."""
        ...

    async def drain(self) -> None:
        """Waits until everything that was taken was played. May be cancelled, then `discard` follows."""
        ...

    async def discard(self) -> int:
        """Falls silent at once and drops what was not played.

        Returns:
            How many samples those were, counted from the newest back.
        """
        ...


class SoundCardError(RealtimeError):
    """The sound card cannot be opened, or failed. The system's own error is the cause."""


@final
class ClockSink:
    """Plays at the speed of sound on trio's clock, for tests and for machines without a sound card.

    Args:
        sink: Is given every frame when it begins, say a `WavSink`; None: nothing hears it.
    """

    def __init__(self, sink: Sink | None = None) -> None:
        self._sink = sink
        self._busy_until = -math.inf

    async def __call__(self, frame: AudioFrame, /) -> None:
        """Returns when the frame's time has passed."""
        now = trio.current_time()
        # Counted from the end of the frame before, so that late awakenings do not add up.
        start = self._busy_until if now - self._busy_until <= _LATENESS_S else now
        end = start + frame.duration_ms / 1000
        if self._sink is not None:
            await self._sink(frame)
        await trio.sleep_until(end)
        self._busy_until = end


@final
class WavSink:
    """Writes what is played to a WAV file (PCM16, mono), as fast as it comes.

    The file appears under its name when the block is left without an error, or never. Everything counts
    as heard as soon as it was received; `ClockSink(WavSink(...))` hears in real time.

    Args:
        path: The file; one that exists is replaced at the end.
        rate: Samples a second: 24,000, or 8,000 where the session's output is G.711.

    Raises:
        WavError: The file cannot be written there.
    """

    def __init__(self, path: str | os.PathLike[str], rate: int = 24_000) -> None:
        self._writer = WavWriter(path, rate)
        self._rate = rate
        self._waiting = bytearray()

    async def __call__(self, frame: AudioFrame, /) -> None:
        """Takes a frame; the disk is written to in a thread, a second or so at a time."""
        _check_rate(frame, self._rate, "WavSink")
        if len(self._waiting) >= _WRITE_BYTES:
            await self._flush()
        else:
            await trio.lowlevel.checkpoint()
        self._waiting += frame.samples.tobytes()

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc_type is None:
                await self._flush()
                await trio.to_thread.run_sync(self._writer.finish)
        finally:
            self._writer.discard()  # nothing, where it is finished

    async def _flush(self) -> None:
        piece = bytes(self._waiting)
        await trio.to_thread.run_sync(self._writer.write, piece)
        del self._waiting[: len(piece)]


class _OutputStream(Protocol):
    """The part of `sounddevice.RawOutputStream` that is used here; the package has no types."""

    latency: float

    @property
    def write_available(self) -> int: ...
    def start(self) -> None: ...
    def write(self, data: bytes) -> bool: ...
    def abort(self) -> None: ...
    def close(self) -> None: ...


@final
class SoundCardSink:
    """Plays on a sound card, by the package `sounddevice` (the extra `sound`).

    Used as `async with SoundCardSink() as sink`. Every call that blocks is made in a thread.

    Args:
        device: Name or number of the device, as `python -m sounddevice` lists them; None: the default.
        rate: Samples a second: 24,000, or 8,000 where the session's output is G.711.
        latency_s: The wanted length of the card's buffer, in seconds; None: as short as is safe for
            conversation on this device.
    """

    def __init__(
        self,
        device: int | str | None = None,
        *,
        rate: int = 24_000,
        latency_s: float | None = None,
    ) -> None:
        self._device = device
        self._rate = rate
        self._wanted_latency = "low" if latency_s is None else latency_s
        self._stream: _OutputStream | None = None
        self._failures: tuple[type[Exception], ...] = (OSError,)
        self._taken = 0
        # The most room that was ever seen: how much the card's buffer holds.
        self._capacity = 0

    @property
    def latency_s(self) -> float:
        """From taking a sample to its sound, in seconds, as the driver says."""
        return self._opened().latency

    async def __call__(self, frame: AudioFrame, /) -> None:
        """Hands a frame to the card; waits for room in its buffer."""
        _check_rate(frame, self._rate, "SoundCardSink")
        # Native byte order, as the card wants it.
        await self._in_thread(self._write, frame.samples.astype(np.int16, copy=False).tobytes())

    async def drain(self) -> None:
        """Waits for as long as the card's buffer still plays."""
        unplayed: int = await self._in_thread(self._unplayed)
        await trio.sleep(unplayed / self._rate)

    async def discard(self) -> int:
        """Silences the card; how many samples it had not played."""
        dropped: int = await self._in_thread(self._abort)
        return dropped

    async def __aenter__(self) -> Self:
        await self._in_thread(self._open)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        stream, self._stream = self._opened(), None
        with trio.CancelScope(shield=True):  # the driver's own call, which it bounds
            await trio.to_thread.run_sync(stream.close)

    async def _in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        try:
            return await trio.to_thread.run_sync(call, *args)
        except self._failures as error:
            name = "the default sound card" if self._device is None else f"{self._device!r}"
            raise SoundCardError(
                f"{name} cannot be used: {error}; `python -m sounddevice` lists what there is"
            ) from error

    def _open(self) -> None:
        try:
            package = importlib.import_module("sounddevice")
        except ImportError as error:
            raise MissingExtra("playing on a sound card", extra="sound") from error
        self._failures = (OSError, ValueError, package.PortAudioError)
        stream = package.RawOutputStream(
            samplerate=self._rate,
            device=self._device,
            channels=1,
            dtype="int16",
            latency=self._wanted_latency,
        )
        self._stream = cast("_OutputStream", stream)
        self._stream.start()
        self._capacity = self._stream.write_available

    def _opened(self) -> _OutputStream:
        if self._stream is None:
            raise ConfigurationError("SoundCardSink: open it first, with `async with ... as sink`")
        return self._stream

    def _write(self, data: bytes) -> None:
        stream = self._opened()
        self._capacity = max(self._capacity, stream.write_available)
        stream.write(data)
        self._taken += len(data) // 2

    def _unplayed(self) -> int:
        return min(self._taken, max(0, self._capacity - self._opened().write_available))

    def _abort(self) -> int:
        stream, unplayed = self._opened(), self._unplayed()
        stream.abort()
        stream.start()
        self._taken = 0
        return unplayed


def _check_rate(frame: AudioFrame, rate: int, sink: str) -> None:
    if frame.rate != rate:
        raise ConfigurationError(
            f"{sink}(rate={rate}) was given audio of {frame.rate} samples a second; "
            f"make it with rate={frame.rate}"
        )
