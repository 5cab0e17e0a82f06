"""Hooks for telemetry: frozen details, handed to objects of the application as they come to be.

    class Meter(SessionHook):
        def on_turn(self, turn: TurnMetrics) -> None:
            histogram.observe(turn.last_word_to_played_s)

    async with open_session(endpoint, config, hooks=[Meter(), LoggingHook()]) as session:
        ...

Hooks are called where things happen, in the session's own tasks: they are plain functions and must be
quick. One that has to wait puts what it got into a memory channel with `send_nowait`. A hook that raises is
logged and not called again; the session goes on. Without hooks none of this costs anything.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from sansio_rt import ConfigurationError, ErrorScope, GenerationMetrics, RealtimeError
from sansio_rt._metrics import ConnectionMetrics, TranscriptionMetrics, TurnMetrics
from sansio_rt._shorten import shorten_text

__all__ = ["Detail", "ErrorReport", "Hooks", "LoggingHook", "SessionHook"]

_log = logging.getLogger("trio_rt")


class ErrorReport(Struct, frozen=True, kw_only=True):
    """An error of the service or of the connection."""

    scope: ErrorScope
    """How far it reaches: a harmless race, one command, or the whole session."""
    code: str | None
    """The service's code, where it gave one."""
    message: str
    """What happened, shortened, with what looks like a key masked."""
    error: RealtimeError | None = None
    """What the caller of a command, or of the session, gets; None where nobody does."""


Detail = ConnectionMetrics | GenerationMetrics | TranscriptionMetrics | TurnMetrics | ErrorReport
"""What hooks are handed."""


class SessionHook(Protocol):
    """What `open_session(hooks=[...])` calls. Derive from it and override what you want to know.

    An object of any other class will do, too, if it has some of these methods.
    """

    def on_connection(self, connection: ConnectionMetrics) -> None:
        """A connection is up and configured."""

    def on_generation(self, generation: GenerationMetrics) -> None:
        """A response ended, in whatever way."""

    def on_transcription(self, transcription: TranscriptionMetrics) -> None:
        """What the user said was transcribed."""

    def on_turn(self, turn: TurnMetrics) -> None:
        """A turn is over; `TurnClock` tells when that is."""

    def on_error(self, report: ErrorReport) -> None:
        """The service reported an error, refused or did not answer a command, or the session failed."""


_METHODS: dict[type[Any], str] = {
    ConnectionMetrics: "on_connection",
    GenerationMetrics: "on_generation",
    TranscriptionMetrics: "on_transcription",
    TurnMetrics: "on_turn",
    ErrorReport: "on_error",
}


class Hooks:
    """The hooks of one session.

    Args:
        hooks: Objects with some of the methods of `SessionHook`.

    Raises:
        ConfigurationError: One has none of them, is a class, or has an async one.
    """

    def __init__(self, hooks: Sequence[SessionHook]) -> None:
        self._calls: dict[type[Any], list[tuple[object, Callable[[Any], object]]]] = {}
        for index, hook in enumerate(hooks):
            self._install(hook, f"hooks[{index}]")

    def __bool__(self) -> bool:
        return bool(self._calls)

    def tell(self, detail: Detail) -> None:
        """Hands a detail to every hook that wants its kind. Raises nothing that a hook raises."""
        for hook, method in tuple(self._calls.get(type(detail), ())):
            try:
                method(detail)
            except Exception:  # noqa: BLE001 - whatever a hook does, the session goes on
                name = type(hook).__qualname__
                _log.exception("the hook %s failed and is not called again", name)
                self._drop(hook)

    def _install(self, hook: SessionHook, name: str) -> None:
        if isinstance(hook, type):
            raise ConfigurationError(f"{name} is the class {hook.__name__}; give an instance of it")
        methods = {kind: getattr(hook, method, None) for kind, method in _METHODS.items()}
        if not any(map(callable, methods.values())):
            raise ConfigurationError(
                f"{name}, a {type(hook).__name__}, has none of {', '.join(_METHODS.values())}"
            )
        for kind, method in methods.items():
            if inspect.iscoroutinefunction(method):
                raise ConfigurationError(
                    f"{name}.{_METHODS[kind]} is async; make it a plain function that puts what it "
                    "gets into a memory channel"
                )
            own = getattr(method, "__func__", method)
            if callable(method) and own is not getattr(SessionHook, _METHODS[kind]):
                self._calls.setdefault(kind, []).append((hook, method))

    def _drop(self, hook: object) -> None:
        for calls in self._calls.values():
            calls[:] = [call for call in calls if call[0] is not hook]


class LoggingHook(SessionHook):
    """Logs every detail on one line with the standard library's logging.

    Only what is known is shown. No line holds what was said, nor a key.

    Args:
        logger: Where to; by default `trio_rt.metrics`.
        level: Of everything but errors, which are warnings (harmless races: debug).
    """

    def __init__(self, logger: logging.Logger | None = None, level: int = logging.INFO) -> None:
        self._logger = logger or logging.getLogger("trio_rt.metrics")
        self._level = level

    def on_connection(self, connection: ConnectionMetrics) -> None:
        """Logs how long it took."""
        self._write("connection", connection)

    def on_generation(self, generation: GenerationMetrics) -> None:
        """Logs times and tokens."""
        self._write("generation", generation)

    def on_transcription(self, transcription: TranscriptionMetrics) -> None:
        """Logs time and usage."""
        self._write("transcription", transcription)

    def on_turn(self, turn: TurnMetrics) -> None:
        """Logs its durations."""
        self._write("turn", turn)

    def on_error(self, report: ErrorReport) -> None:
        """Logs the error."""
        level = logging.DEBUG if report.scope is ErrorScope.BENIGN else logging.WARNING
        code = "" if report.code is None else f" ({shorten_text(report.code)})"
        self._logger.log(level, "%s%s: %s", report.scope.value, code, report.message)

    def _write(self, what: str, detail: Struct) -> None:
        if self._logger.isEnabledFor(self._level):
            self._logger.log(self._level, "%s %s", what, " ".join(_words(detail)))


def _words(detail: Struct) -> list[str]:
    """`name=value` of what is known. Moments are left out: alone, they say nothing to a reader."""
    words: list[str] = []
    for name in detail.__struct_fields__:
        value = getattr(detail, name)
        if value is None or value is False or value == () or name.endswith("_at"):
            continue
        if isinstance(value, float):
            value = f"{value:.3f}"
        elif name == "response_ids":
            value = ",".join(value)
        words.append(f"{name}={shorten_text(str(getattr(value, 'value', value)))}")
    return words
