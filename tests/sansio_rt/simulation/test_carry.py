"""Messages in the place of bytes: that it changes nothing, and what it carries beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sansio_rt import CountingBytes, RetryPolicy, SessionConfig, TextDelta, events
from sansio_rt._wire import HandshakeAccepted, HandshakeRequest, Wire, WireRejected
from sansio_rt.simulation import (
    DEFAULT_INVARIANTS,
    Action,
    Carry,
    Chance,
    Invariant,
    Kind,
    Plan,
    Result,
    Setup,
    Simulation,
    Violation,
    actions,
    simulate,
    written,
)
from sansio_rt.simulation.__main__ import main
from sansio_rt.simulation._carry import HandedWire
from sansio_rt.simulation._service import Service, Taken


class Kept(Invariant):
    """What a run is compared by."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.messages: list[tuple[str, str | None, bytes]] = []
        self.mirror: list[bytes] = []
        self.server: list[bytes] = []

    def on_event(self, event: object) -> None:
        self.events.append(event)

    def on_message(self, service: Service, taken: Taken) -> None:
        self.messages.append((taken.type, taken.event_id, taken.message))
        assert events.encode(taken.event) == taken.message

    def finish(self) -> None:
        self.mirror = [events.encode(entry.item) for entry in self.world.client.conversation]
        assert self.world.service is not None
        self.server = [events.encode(item) for item in self.world.service.session.items]


def life(seed: int, carry: Carry, **given: Any) -> tuple[Kept, Any]:
    kept = Kept()
    simulation = Simulation(invariants=[*DEFAULT_INVARIANTS, lambda: kept], carry=carry, **given)
    return kept, simulate(seed, simulation, traced=True, shrink=False)


@pytest.mark.parametrize("first", range(0, 30, 10))
def test_a_plain_life_is_the_same_with_messages_and_with_bytes(first: int) -> None:
    for seed in range(first, first + 10):
        (one, with_bytes), (other, with_messages) = (
            life(seed, carry, kind=Kind.PLAIN) for carry in (Carry.BYTES, Carry.MESSAGES)
        )
        assert with_bytes.violation is None
        assert with_messages.violation is None
        assert with_messages.trace == with_bytes.trace
        assert (with_messages.steps, with_messages.virtual_s) == (
            with_bytes.steps,
            with_bytes.virtual_s,
        )
        assert len(one.messages) > 20
        assert other.messages == one.messages
        assert [repr(event) for event in other.events] == [repr(event) for event in one.events]
        assert len(one.mirror) == 20
        assert other.mirror == one.mirror
        assert other.server == one.server


def test_faults_hold_with_messages_too() -> None:
    for seed in range(60):
        assert simulate(seed, Simulation(carry=Carry.MESSAGES)).violation is None


def test_plain_runs_hand_over_messages_and_runs_with_faults_carry_bytes() -> None:
    assert Simulation(Kind.PLAIN).carry is Carry.MESSAGES
    assert Simulation(Kind.PLAIN, carry=Carry.BYTES).carry is Carry.BYTES
    assert Simulation().carry is Carry.BYTES


class Does:
    """Does these things."""

    def __init__(self, *planned: Action) -> None:
        self.planned = planned

    def plan(self, chance: Chance, kind: Kind) -> Plan:
        setup = Setup(config=SessionConfig(turn_detection=None), retry=RetryPolicy())
        return Plan(setup=setup, actions=self.planned)


def test_a_connect_that_is_rejected_in_http_needs_bytes() -> None:
    rejected = actions.ConnectFault(at_s=0.0, kind="503")
    caller = Does(rejected, actions.Reset(at_s=0.5), actions.Type(at_s=30.0))
    assert simulate(1, Simulation(caller=caller)).violation is None
    violation = simulate(1, Simulation(caller=caller, carry=Carry.MESSAGES)).violation
    assert violation is not None
    assert "have bytes carried" in violation.details


@pytest.mark.parametrize("carry", Carry)
def test_a_text_that_is_no_event_comes_as_one(carry: Carry) -> None:
    caller = Does(actions.OddMessage(at_s=0.5, text="an odd message"), actions.Type(at_s=1.0))
    result = simulate(1, Simulation(caller=caller, carry=carry), traced=True)
    assert result.violation is None
    assert "MessageBroken" in written(result.trace)


# --- the wire -------------------------------------------------------------------------------


class Ends:
    """Two wires, and what each of them told."""

    def __init__(self, client: Any, server: Any) -> None:
        self.client, self.server = client, server
        self.told: list[Any] = []

    def exchange(self) -> None:
        """Carries what both have to send until there is nothing."""
        for _ in range(4):
            for sender, receiver in ((self.client, self.server), (self.server, self.client)):
                pending = sender.pending_bytes
                data = sender.data_to_send()
                assert bool(pending) is bool(data)
                receiver.receive_data(data)
            for name, wire in (("client", self.client), ("server", self.server)):
                while (event := wire.next_event()) is not None:
                    self.told.append((name, wire.state, *_fields(event)))


def _fields(event: Any) -> tuple[Any, ...]:
    match event:
        case HandshakeRequest(target=target):
            return HandshakeRequest, target
        case HandshakeAccepted(status=status, subprotocol=subprotocol):
            return HandshakeAccepted, status, subprotocol
        case WireRejected(error=error):
            return WireRejected, error.status, error.body
        case _:
            return (event,)


def _pairs() -> list[Ends]:
    wire = Wire.client("host", "/v1?model=m", random_bytes=CountingBytes())
    handed = HandedWire(HandshakeRequest("/v1?model=m", ()))
    return [Ends(wire, Wire.server()), Ends(handed, HandedWire())]


def _opened(ends: Ends) -> None:
    ends.exchange()
    ends.server.accept(subprotocol=None)
    ends.exchange()


def _rejected(ends: Ends) -> None:
    ends.exchange()
    ends.server.reject(401, (("content-type", "text/plain"),), b"no")
    ends.exchange()


def _pinged(ends: Ends) -> None:
    _opened(ends)
    ends.client.ping()
    ends.exchange()


def _pinged_while_it_closes(ends: Ends) -> None:
    _opened(ends)
    ends.client.ping()
    ends.server.close(1001, "bye")
    ends.exchange()


def _closed_by_client(ends: Ends) -> None:
    _opened(ends)
    ends.client.close(1000, "done")
    ends.exchange()
    ends.client.receive_eof()
    ends.server.receive_eof()
    ends.exchange()


def _closed_by_both(ends: Ends) -> None:
    _opened(ends)
    ends.client.close(1000, "done")
    ends.server.close(1001, "bye")
    ends.exchange()


def _closed_and_not_answered(ends: Ends) -> None:
    _opened(ends)
    ends.client.close(1000, "done")
    ends.client.receive_eof()
    ends.exchange()


def _closed_and_gone(ends: Ends) -> None:
    _opened(ends)
    ends.server.close(1001, "bye")
    ends.client.receive_data(ends.server.data_to_send())
    ends.client.receive_eof()
    ends.exchange()


def _cut(ends: Ends) -> None:
    _opened(ends)
    ends.client.receive_eof()
    ends.server.receive_eof()
    ends.exchange()


def _never_answered(ends: Ends) -> None:
    ends.client.receive_eof()
    ends.exchange()


def _behind_the_close(ends: Ends) -> None:
    _opened(ends)
    ends.client.close(1000, "done")
    late = ends.client.data_to_send()
    ends.server.receive_data(late)
    ends.server.receive_data(late)
    ends.exchange()


@pytest.mark.parametrize(
    "script",
    [
        _opened,
        _rejected,
        _pinged,
        _pinged_while_it_closes,
        _closed_by_client,
        _closed_by_both,
        _closed_and_not_answered,
        _closed_and_gone,
        _cut,
        _never_answered,
        _behind_the_close,
    ],
)
def test_a_handed_wire_lives_as_the_other(script: Callable[[Ends], None]) -> None:
    wires, handed = _pairs()
    script(wires)
    script(handed)
    assert handed.told == wires.told
    assert handed.client.state is wires.client.state
    assert handed.server.state is wires.server.state


# --- the command line -----------------------------------------------------------------------


def test_the_command_line_carries_bytes_where_it_is_told_to(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    carried: list[Carry] = []

    def fails(self: Simulation, plan: Plan, *arguments: Any, **options: Any) -> Result:
        carried.append(self.carry)
        return Result(plan=plan, violation=Violation("x", "y"), steps=1, virtual_s=1.0)

    monkeypatch.setattr(Simulation, "run", fails)
    assert main(["--seeds", "3", "--plain", "--no-shrink"]) == 1
    assert "--seeds 3 --plain --no-shrink --trace" in capsys.readouterr().out
    assert main(["--seeds", "3", "--plain", "--bytes", "--no-shrink"]) == 1
    assert "--seeds 3 --plain --bytes --no-shrink --trace" in capsys.readouterr().out
    assert carried == [Carry.MESSAGES, Carry.BYTES]


# --- who is told ----------------------------------------------------------------------------


def test_an_invariant_is_told_of_what_it_looks_at_only() -> None:
    class Few(Invariant):
        event_kinds = (TextDelta,)
        message_types = ("response.create",)

        def __init__(self) -> None:
            self.seen: list[Any] = []

        def on_event(self, event: Any) -> None:
            self.seen.append(type(event))

        def on_message(self, service: Service, taken: Taken) -> None:
            self.seen.append(taken.type)

    class More(Few):
        def on_event(self, event: Any) -> None:
            self.seen.append(type(event))

    few, more = Few(), More()
    simulation = Simulation(Kind.PLAIN, invariants=[lambda: few, lambda: more])
    assert simulate(1, simulation).violation is None
    assert set(few.seen) == {TextDelta, "response.create"}
    assert len(set(more.seen)) > 5  # a method below the class that named them may look at more
    assert {kind for kind in more.seen if isinstance(kind, str)} == {"response.create"}
