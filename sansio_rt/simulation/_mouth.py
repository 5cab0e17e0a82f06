"""The caller's mouth: says one thing after the other, piece by piece, at the pace of speech."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ._sound import Voice

__all__ = ["Mouth"]

_PIECE_MS = 100


class Mouth:
    """Says things, each after the one before it.

    Args:
        voice: Whose it is.
        push: Takes the sound.
        after: Has something done after so many seconds.
    """

    def __init__(
        self,
        voice: Voice,
        push: Callable[[bytes], None],
        after: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._voice = voice
        self._push = push
        self._after = after
        self._to_say: deque[tuple[int, Callable[[], None]]] = deque()

    @property
    def speaking(self) -> bool:
        """Whether something is being said."""
        return bool(self._to_say)

    def speak(self, length_ms: int, then: Callable[[], None]) -> None:
        """Says something new once all that came before it was said.

        Args:
            length_ms: How long.
            then: Called when it was said.
        """
        self._to_say.append((length_ms, then))
        if len(self._to_say) == 1:
            self._say_on()

    def _say_on(self) -> None:
        length_ms, then = self._to_say[0]
        if length_ms > 0:
            self._push(self._voice.speak(min(length_ms, _PIECE_MS)))
            self._to_say[0] = length_ms - _PIECE_MS, then
            self._after(_PIECE_MS / 1000, self._say_on)
            return
        then()
        self._to_say.popleft()
        if self._to_say:
            self._say_on()
