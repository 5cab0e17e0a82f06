"""One run: client, server, network, clock, and everybody who acts, stepped one event at a time."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

from .._client import ClientProtocol
from .._connection import ConnectionState
from .._conversation import ConversationItem
from .._endpoint import Endpoint
from .._errors import LocalProtocolError, RealtimeError
from .._generations import GenerationStatus
from .._session_events import AudioDelta, CallReady, SessionResumed
from .._sources import CountingBytes, SequentialIds
from ._carry import Carry
from ._chance import Chance, Chances
from ._dial_fault import DialFault
from ._driver import EPOCH_S, Driver, Unreachable
from ._excuses import excuse_lost
from ._history_rules import Asked
from ._invariants import (
    Invariant,
    Violation,
    looking_at,
    looking_at_event,
    looking_at_message,
)
from ._mind import Mind, ScriptedMind, Tools, VariedTools
from ._mouth import Mouth
from ._network import Line, Pipe, Weather
from ._peers import Peer, Rejecting, Silent
from ._plan import Action, Plan
from ._playback import Playback
from ._service import Service, Taken
from ._sound import Voice, blocks_of, silence

__all__ = ["World"]

START_S = 1000.0
"""Virtual time at the beginning; far from 0, which a confused clock would show."""
SETTLE_S = 240.0
"""Within so long after the last action everything has ended: a keepalive, a back-off of a full window,
a connect, and the answers to everything that waited."""
MOST_STEPS = 200_000
MOST_ROUNDS = 10_000
_TALK_S = 2.0
_NEVER = math.inf
_ENDPOINT = Endpoint.url("ws://127.0.0.1:1/v1", api_key="simulated-key", model="gpt-realtime")


class World:
    """A run of a plan.

    Attributes:
        now: Virtual time.
        plan: What is done.
        client: The client's protocol object.
        driver: Drives it.
        line: The connection's bytes, or None.
        services: The server's side of every connection so far, in order; the last one is the present one.
        playback: What of the answers was heard.
        voice: The caller's voice.
        cleared: Blocks of speech that may be lost: they were cleared, or deleted, or the client said so.
        pushed: Blocks of speech that were pushed, with their count of samples.
        deleted: Ids of items that the caller deleted, or that could not be kept.
        moved: Ids of items that an edit took out, maybe to put them in elsewhere.
        given_up: Event ids of replies that the caller does not want any more.
        asked: What the caller asked of the client about history.
        dial_faults: How the next connects go wrong, in order.
        steps: How many steps were taken.
        trace: What happened, if that is kept: time and words.

    Args:
        plan: What is done.
        chances: The sources of the other decisions.
        invariants: What must hold; fresh ones, since they keep state.
        mind: Thinks of the server's replies.
        tools: Runs the client's tools.
        carry: What goes over the lines.
        traced: Whether to keep a trace.
    """

    def __init__(
        self,
        plan: Plan,
        chances: Chances,
        invariants: Sequence[Invariant] = (),
        *,
        mind: Mind | None = None,
        tools: Tools | None = None,
        carry: Carry = Carry.BYTES,
        traced: bool = False,
    ) -> None:
        self.now = START_S
        self.plan = plan
        self.steps = 0
        self.trace: list[tuple[float, str]] = []
        self.services: list[Service] = []
        self.voice = Voice()
        self.pushed: dict[int, int] = {}
        self.cleared: set[int] = set()
        self.deleted: set[str] = set()
        self.moved: set[str] = set()
        self.given_up: set[str] = set()
        self.asked = Asked()
        self.dial_faults: deque[DialFault] = deque()
        self.playback = Playback(self)
        self._invariants = list(invariants)
        self._kinds = tuple(map(type, invariants))
        self._on_messages: dict[str, list[Callable[[Service, Taken], None]]] = {}
        self._checks = [watcher.check for watcher in self._looking("check")]
        self._mind = mind or ScriptedMind(varied=plan.setup.varied)
        self._tools = tools or VariedTools()
        self._chances = chances
        self._mind_chance = chances("mind")
        self._weather = plan.setup.weather
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._peers: list[tuple[Line, Peer]] = []
        self._busy = 0
        self._client_due = self._peer_due = _NEVER
        self._mouth = Mouth(self.voice, self.push, self.after)
        self._note = self.note if traced else None
        setup = plan.setup
        self.client = ClientProtocol(
            _ENDPOINT,
            setup.config,
            ids=SequentialIds("c").__call__,
            random_bytes=CountingBytes(),
            retry=setup.retry,
            timing=setup.timing,
        )
        self._carry = carry
        self._own: dict[type, Callable[[Any], None]] = {
            AudioDelta: self.playback.take,
            CallReady: self._run_tool,
            SessionResumed: partial(excuse_lost, self),
        }
        self.driver = Driver(self.client, self, self, self._looking_at, self._note, carry=carry)

    # --- time -------------------------------------------------------------------------------

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Has something done at a time."""
        heapq.heappush(self._agenda, (when, next(self._order), call))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Has something done after a while, which the run waits for."""
        self._busy += 1

        def done() -> None:
            self._busy -= 1
            call()

        self.at(self.now + seconds, done)

    def note(self, words: str) -> None:
        """Writes a line of the trace, where one is kept."""
        if self._note is not None:
            self.trace.append((self.now - START_S, words))

    @property
    def elapsed_s(self) -> float:
        """Virtual time since the beginning, in seconds."""
        return self.now - START_S

    # --- the run ----------------------------------------------------------------------------

    def run(self) -> None:
        """Runs the plan to its end, lets everything settle, and hangs up.

        Raises:
            Violation: Something did not hold.
        """
        for invariant in self._invariants:
            invariant.world = self
        self.driver.connect()
        end = START_S
        for action in self.plan.actions:
            when = START_S + action.at_s
            end = max(end, when)
            self.at(when, partial(self._perform, action))
        self._step_until(end)
        self._heal()
        self._settle_down()
        for invariant in self._looking("finish"):
            invariant.finish()
        self._leave()

    def _perform(self, action: Action) -> None:
        if self._note is not None:
            self.note(f"{action!r}")
        action.perform(self)

    def _step_until(self, end: float) -> None:
        while (when := self._next_time()) is not None and when <= end:
            self._step(when)

    def _heal(self) -> None:
        """From here on nothing goes wrong any more; what has gone wrong has still to be found out."""
        self.note("the network heals")
        self.dial_faults.clear()
        self._weather = Weather()
        for service in self.services:
            service.session.faults.clear()
        self._talk_to_the_mute()

    def _talk_to_the_mute(self) -> None:
        """A client finds out that a server is mute only while audio goes out."""
        if self.service is not None and self.service.session.mute:
            self.push(silence(100))
            self.at(self.now + _TALK_S, self._talk_to_the_mute)

    def _settle_down(self) -> None:
        """Lets everything end; then who has spoken is silent and commits: no word is left in a buffer."""
        self._wait_for_quiet()
        if not self.pushed:
            return
        driver, client = self.driver, self.client
        self.push(silence(400))
        if client.wanted.turn_detection is None:
            driver.ask("commit", client.commit_audio)
        self._settle()
        self._wait_for_quiet()

    def _wait_for_quiet(self) -> None:
        end = self.now + SETTLE_S
        while waits := self.what_waits():
            when = self._next_time()
            if when is None or when > end:
                raise Violation(
                    "nothing waits for ever", f"after {SETTLE_S:g} s of peace there are {waits}"
                )
            self._step(when)

    def _leave(self) -> None:
        self.note("the caller hangs up")
        self.driver.hang_up()
        self._settle()
        end = self.now + 2 * self.client.timing.close_timeout_s
        while (
            self.driver.closed is None and (when := self._next_time()) is not None and when <= end
        ):
            self._step(when)
        for invariant in self._looking("left"):
            invariant.left()

    def _next_time(self) -> float | None:
        """When the next thing happens, or None; what has a deadline is kept for that step."""
        client_due = None if self.driver.closed is not None else self.client.next_deadline()
        self._client_due = when = _NEVER if client_due is None else client_due
        self._peer_due = _NEVER
        for _, peer in self._peers:
            due = peer.next_deadline()
            if due is not None and due < self._peer_due:
                self._peer_due = due
                when = min(when, due)
        if self._agenda and self._agenda[0][0] < when:
            when = self._agenda[0][0]
        return None if when == _NEVER else when

    def _step(self, when: float) -> None:
        """One thing happens, and what follows from it at once."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Violation("nothing goes on for ever", f"{MOST_STEPS} steps were taken")
        if when > self.now:
            self.now = when
        if self._client_due <= self.now:
            self.driver.handle_timer()
            if _or_never(self.client.next_deadline()) <= self.now:
                raise Violation("a deadline passes", "handle_timer left a deadline that is over")
        elif self._agenda and self._agenda[0][0] <= self.now:
            heapq.heappop(self._agenda)[2]()
        if self._peer_due <= self.now:
            for _, peer in self._peers:
                if _or_never(peer.next_deadline()) <= self.now:
                    peer.handle_timer()
        self._settle()
        for check in self._checks:
            check()

    def _settle(self) -> None:
        """Hands on bytes and events until nobody has any."""
        driver = self.driver
        moved, over, rounds = True, False, 0
        while moved:
            rounds += 1
            if rounds > MOST_ROUNDS:
                raise Violation("nothing goes on for ever", f"{rounds} rounds in no time")
            driver.take_events()
            moved = driver.flush()
            for line, peer in self._peers:
                data = peer.data_to_send()
                if data:
                    line.down.send(data)
                    moved = True
                if peer.over:
                    over = True
                    line.down.finish()
        if over:
            self._peers = [(line, peer) for line, peer in self._peers if not peer.over]

    # --- what the driver asks of the network ------------------------------------------------

    def dial(self, done: Callable[[Line], None], failed: Callable[[RealtimeError], None]) -> None:
        """Opens a line, or fails to."""
        fault = self.dial_faults.popleft() if self.dial_faults else None
        delay_s = self._weather.latency_s
        if fault is not None:
            self.note(f"the connect goes wrong: {fault.kind}")
        if fault is not None and fault.kind == "refused":
            self.after(delay_s, lambda: failed(Unreachable("nobody listens there")))
            return
        if fault is not None and fault.kind == "hangs":
            patience_s = self.client.timing.connect_timeout_s
            self.after(patience_s, lambda: failed(Unreachable("no connection in time")))
            return
        self.after(delay_s, lambda: done(self._open_line(fault)))

    def _open_line(self, fault: DialFault | None) -> Line:
        peer = self._make_peer(fault)
        weather = self._weather
        line: Line

        def closed() -> None:
            peer.receive_eof()
            self._peers = [entry for entry in self._peers if entry[0] is not line]

        up = Pipe(self, lambda: self._network_chance, weather, peer.receive_data, closed)
        down = Pipe(
            self,
            lambda: self._network_chance,
            weather,
            lambda data: self.driver.receive_data(line, data),
            lambda: self.driver.receive_eof(line),
        )
        line = Line(up, down)
        self._peers.append((line, peer))
        return line

    def _make_peer(self, fault: DialFault | None) -> Peer:
        if fault is not None and fault.kind == "silent":
            return Silent()
        if fault is not None and fault.kind.isdigit():
            if self._carry is not Carry.BYTES:
                raise LocalProtocolError("a connect is rejected in HTTP: have bytes carried")
            return Rejecting(int(fault.kind), fault.retry_after_s)
        service = Service(
            len(self.services) + 1,
            self.driver.connections + 1,
            self,
            self._mind,
            self._mind_chance,
            pace=self.plan.setup.pace,
            session_s=self.plan.setup.session_s,
            epoch_s=EPOCH_S,
            carry=self._carry,
            note=self._note,
            on_message=self._on_message,
        )
        self.services.append(service)
        if fault is not None:
            self.at(self.now + 0.05, lambda: service.protocol.close(fault.close_code, "not now"))
        return service

    # --- what happens -----------------------------------------------------------------------

    def _looking(self, method: str) -> list[Invariant]:
        return [self._invariants[place] for place in looking_at(self._kinds, method)]

    def _looking_at(self, kind: type) -> list[Callable[[Any], None]]:
        """Who is told of events of a kind: this run itself, then the invariants in their order."""
        places = looking_at_event(self._kinds, kind)
        looking: list[Callable[[Any], None]] = [
            self._invariants[place].on_event for place in places
        ]
        own = self._own.get(kind)
        return looking if own is None else [own, *looking]

    def _on_message(self, service: Service, taken: Taken) -> None:
        kind = taken.type
        looking = self._on_messages.get(kind)
        if looking is None:
            places = looking_at_message(self._kinds, kind)
            looking = [self._invariants[place].on_message for place in places]
            self._on_messages[kind] = looking
        for on_message in looking:
            on_message(service, taken)

    @cached_property
    def _network_chance(self) -> Chance:
        return self._chances("network")

    @cached_property
    def _tool_chance(self) -> Chance:
        return self._chances("tools")

    def _run_tool(self, event: CallReady) -> None:
        call = event.call
        generation = call.generation
        if not generation.in_conversation:
            return  # the conversation has no place for its output
        result = self._tools.run(call, self._tool_chance)

        def answer() -> None:
            wanted = generation.status is not GenerationStatus.CANCELLED
            self.driver.ask(
                f"output of {call.call_id}",
                lambda: self.client.send_tool_output(call.call_id, result.output, reply=wanted),
            )

        self.after(result.after_s, answer)

    # --- for actions ------------------------------------------------------------------------

    @property
    def line(self) -> Line | None:
        """The connection's bytes, or None."""
        return self.driver.line

    @property
    def service(self) -> Service | None:
        """The server's side of the present connection, or None."""
        for line, peer in self._peers:
            if line is self.driver.line and isinstance(peer, Service):
                return peer
        return None

    def speak(self, length_ms: int, then: Callable[[], None]) -> None:
        """The caller says something new, piece by piece as it is said.

        There is one mouth: what is said before has its end first. Nothing is said to a session that was
        never ready, since nobody would be listening.

        Args:
            length_ms: How long.
            then: Called when it was said.
        """
        if self.driver.ready:
            self._mouth.speak(length_ms, then)

    @property
    def speaking(self) -> bool:
        """Whether the caller is saying something."""
        return self._mouth.speaking

    def push(self, pcm: bytes) -> None:
        """Pushes sound, if the session can take it."""
        if self.driver.closed is not None or not self.driver.ready:
            return
        if self.client.state is ConnectionState.CLOSING and not self.client.reconnecting:
            return
        for block, count in blocks_of(pcm):
            self.pushed[block] = count
        self.driver.tell("push", lambda: self.client.push_audio(pcm))

    def item(self, share: float, role: str | None = None) -> ConversationItem | None:
        """One of the mirror's items.

        Args:
            share: Which, from 0 (the first) to 1 (the last).
            role: Only among messages of this role.
        """
        items = [entry for entry in self.client.conversation if role is None or entry.role == role]
        return items[min(int(share * len(items)), len(items) - 1)] if items else None

    # --- whether it is quiet ----------------------------------------------------------------

    def what_waits(self) -> str:
        """What is not done yet, in words; empty where it is quiet."""
        if self._busy:
            return f"{self._busy} things of the caller's, the tools' or the dialler's"
        if self.driver.closed is not None:
            return ""
        return self.driver.what_waits() or self._what_is_under_way()

    def _what_is_under_way(self) -> str:
        line, service = self.driver.line, self.service
        if line is None or service is None or line.vanished:
            return "the connection is gone and the client has not noticed"
        if service.session.mute:
            return "the server is mute and the client has not noticed"
        if not line.idle or self.driver.carries_others:
            return "bytes are under way"
        return "" if service.idle else "the server is busy"


def _or_never(deadline: float | None) -> float:
    return _NEVER if deadline is None else deadline
