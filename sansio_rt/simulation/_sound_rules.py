"""The invariants about sound: what was heard of the answers, and what was heard of the caller."""

from __future__ import annotations

from collections import Counter

from .. import events
from .._session_events import AudioDelta, SessionEvent, SessionResumed
from ._invariants import Invariant
from ._service import Service
from ._sound import read

__all__ = ["CallerIsHeardOnce", "HeardIsReceivedIsSpoken"]


class HeardIsReceivedIsSpoken(Invariant):
    """What was heard was received, and what was received is what the server spoke, in order."""

    event_kinds = (AudioDelta,)

    def __init__(self) -> None:
        self._received: dict[str, int] = {}

    def on_event(self, event: SessionEvent) -> None:
        assert type(event) is AudioDelta
        message, frame = event.message, event.frame
        start = self._received.get(message.id, 0)
        if frame.start_sample != start:
            self.broken(f"{message.id}: a frame at {frame.start_sample} after {start} samples")
        self._received[message.id] = start + frame.sample_count
        spoken = self._spoken(message.generation.id)
        if spoken is None:
            self.broken(f"{message.id} belongs to a response that no mind thought of")
        place = list(message.generation.messages).index(message.id)
        if not spoken[place].startswith(frame.data, 2 * start):
            self.broken(f"{message.id}: the sound at {start} is not what was spoken")

    def _spoken(self, response_id: str) -> list[bytes] | None:
        for service in reversed(self.world.services):
            if response_id in service.spoken:
                return service.spoken[response_id]
        return None

    def check(self) -> None:
        newest = self.world.playback.newest
        entry = self.world.client.conversation.get(newest) if newest is not None else None
        if entry is not None and entry.heard_ms is not None:
            self._compare(entry.id, entry.heard_ms, entry.received_ms)

    def finish(self) -> None:
        for entry in self.world.client.conversation:
            if entry.heard_ms is not None:
                self._compare(entry.id, entry.heard_ms, entry.received_ms)

    def _compare(self, item_id: str, heard_ms: float, received_ms: float) -> None:
        if not 0 <= heard_ms <= received_ms:
            self.broken(f"{item_id}: {heard_ms} ms of {received_ms} ms received were heard")


class CallerIsHeardOnce(Invariant):
    """Every sample of the caller is at the server at most once, in order, and at the end exactly once.

    Save what the caller cleared or deleted, and what the client said that it could not keep. Where a
    server did not say in time what it had made of the sound, nobody can know how often to say it; nor what
    is left of a turn that it moved.
    """

    event_kinds = (SessionResumed,)

    def on_event(self, event: SessionEvent) -> None:
        assert type(event) is SessionResumed
        if self.world.service is not None:
            self._at_most_once(self.world.service)

    def check(self) -> None:
        if self.world.services and (disorder := self.world.services[-1].disorder) is not None:
            self.broken(f"block {disorder[1]} came after {disorder[0]}")

    def finish(self) -> None:
        service = self.world.service
        if service is None or not self.world.pushed:
            return
        heard = self._at_most_once(service)
        if self._untold():
            return
        excused = self.world.cleared | self._moved_untold()
        missing = {
            block: f"{heard[block]} of {count}"
            for block, count in self.world.pushed.items()
            if heard[block] < count and block not in excused
        }
        if missing:
            self.broken(f"blocks were lost: {_few(missing)}")

    def _at_most_once(self, service: Service) -> Counter[int]:
        heard = heard_by(service)
        doubled = {block: count for block, count in heard.items() if count > 240}
        if doubled and not self._untold():
            self.broken(f"blocks were heard twice: {_few(doubled)}")
        return heard

    def _moved_untold(self) -> set[int]:
        services = self.world.services
        untold = {item_id for service in services for item_id in service.session.withheld}
        return {
            block
            for service in services
            for item_id in untold
            for block in service.heard_of_item.get(item_id, ())
        }

    def _untold(self) -> bool:
        return any(service.session.commit_withheld for service in self.world.services)


def heard_by(service: Service) -> Counter[int]:
    """The caller's samples that a server has, by block: in its buffer, in sound and in words."""
    heard = Counter(service.heard)
    for item in service.session.items:
        if not isinstance(item, events.Message) or item.role != "user":
            continue
        spelled = False
        for part in item.content:
            words = getattr(part, "transcript", None) or getattr(part, "text", None)
            for block, count in read(words) if isinstance(words, str) else ():
                heard[block] += count
                spelled = True
        if not spelled and any(isinstance(part, events.InputAudio) for part in item.content):
            heard.update(service.heard_of_item.get(str(item.id), {}))
    return heard


def _few(found: dict[int, object] | dict[int, int] | dict[int, str]) -> str:
    shown = ", ".join(f"{block}: {count}" for block, count in list(found.items())[:5])
    return f"{shown}{', ...' if len(found) > 5 else ''} ({len(found)} in all)"
