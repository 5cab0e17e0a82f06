"""A live transcript of several speakers, as text that only ever grows.

It works on a terminal and on a pipe alike: nothing that was printed is changed. Whoever speaks has
the line; what others say meanwhile (the words of a caller are often recognised while the answer is
already coming) is kept and follows when the line is free. So no line is ever torn apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Transcript", "one_line", "printable"]


def printable(text: str) -> str:
    """A text of the other side without what could steer a terminal; line ends become spaces."""
    return "".join(character if character.isprintable() else " " for character in text)


def one_line(text: str) -> str:
    """A message as one line, with single spaces, as `printable` has it."""
    return " ".join(printable(text).split())


@dataclass
class _Utterance:
    """What somebody says at a stretch while another one has the line."""

    speaker: str
    text: str = ""
    ended: bool = False


class Transcript:
    """Turns pieces of what several speakers say into lines.

    Args:
        begin: Prints the beginning of a line: who speaks.
        write: Prints words, without ending the line.
        finish: Ends the line.
    """

    def __init__(
        self,
        *,
        begin: Callable[[str], None],
        write: Callable[[str], None],
        finish: Callable[[], None],
    ) -> None:
        self._begin = begin
        self._write = write
        self._finish = finish
        self._speaker: str | None = None
        self._waiting: deque[_Utterance] = deque()
        self._interrupted = False

    def add(self, speaker: str, text: str) -> None:
        """Somebody says something more."""
        if not text:
            return
        if self._speaker is None:
            self._speaker = speaker
            self._begin(speaker)
            self._write(printable(text).lstrip())
        elif self._speaker == speaker:
            self._go_on()
            self._write(printable(text))
        else:
            utterance = self._open_utterance(speaker)
            if utterance is None:
                utterance = _Utterance(speaker)
                self._waiting.append(utterance)
            utterance.text += text

    def end(self, speaker: str) -> None:
        """Somebody is done; whoever waits gets the line. Nothing happens if they said nothing."""
        if self._speaker != speaker:
            utterance = self._open_utterance(speaker)
            if utterance is not None:
                utterance.ended = True
            return
        if not self._interrupted:
            self._finish()
        self._interrupted = False
        self._speaker = None
        while self._waiting and self._speaker is None:
            following = self._waiting.popleft()
            self.add(following.speaker, following.text)
            if following.ended:
                self._finish()
                self._speaker = None

    def whole(self, speaker: str, text: str) -> None:
        """Somebody says something once and is done."""
        self.add(speaker, text)
        self.end(speaker)

    def end_all(self) -> None:
        """Nobody says any more: what waits is printed."""
        for utterance in self._waiting:
            utterance.ended = True
        if self._speaker is not None:
            self.end(self._speaker)

    def interrupt(self) -> None:
        """Ends the line for something else; its speaker goes on with a line of their own."""
        if self._speaker is not None and not self._interrupted:
            self._finish()
            self._interrupted = True

    def _go_on(self) -> None:
        if self._interrupted and self._speaker is not None:
            self._begin(self._speaker)
            self._interrupted = False

    def _open_utterance(self, speaker: str) -> _Utterance | None:
        """What somebody who waits for the line is saying just now, or None."""
        for utterance in self._waiting:
            if utterance.speaker == speaker and not utterance.ended:
                return utterance
        return None
