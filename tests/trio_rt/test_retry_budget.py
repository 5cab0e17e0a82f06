"""However a server fails, it is not hammered; and what cannot get better is tried once (R2, R8, R12)."""

from __future__ import annotations

import itertools

import pytest
import trio
from scripted_servers import Servers
from trio.testing import MockClock

from sansio_rt import (
    CommandRefused,
    CommandTimeout,
    ConnectionClosed,
    Endpoint,
    HandshakeRejected,
    RealtimeError,
    RetryPolicy,
    SessionConfig,
    Timing,
)
from trio_rt import TransportError, open_session

ENDPOINT = Endpoint.url("ws://localhost/v1")
MANUAL = SessionConfig(turn_detection=None)
TIMING = Timing(connect_timeout_s=5)
POLICY = RetryPolicy(give_up_after_s=150, retry_first=True)
SMALL = RetryPolicy(
    give_up_after_s=50,
    retry_first=True,
    max_connects=4,
    window_s=20,
    first_delay_s=0.01,
    max_delay_s=0.5,
)
POLICIES = {"default": POLICY, "small": SMALL}

PASSING: dict[str, type[RealtimeError]] = {
    "refused": TransportError,
    "cut": ConnectionClosed,
    "hang": CommandTimeout,
    "408": HandshakeRejected,
    "425": HandshakeRejected,
    "429": HandshakeRejected,
    "500": HandshakeRejected,
    "502": HandshakeRejected,
    "503": HandshakeRejected,
    "accept close 1000": ConnectionClosed,
    "accept close 1001": ConnectionClosed,
    "accept close 1011": ConnectionClosed,
    "accept close 4000": ConnectionClosed,
    "accept error server_error close 1000": RealtimeError,
    "accept error rate_limit_exceeded close 1011": RealtimeError,
    "close 1000": ConnectionClosed,
    "close 1001": ConnectionClosed,
    "close 1011": ConnectionClosed,
    "close 1012": ConnectionClosed,
    "close 1013": ConnectionClosed,
    "close 4000": ConnectionClosed,
    "error server_error close 1000": RealtimeError,
    "error session_expired close 1000": RealtimeError,
    "error rate_limit_exceeded close 4000": RealtimeError,
}
"""What may be another the next time, and what comes out when it never is."""

FATAL: dict[str, type[RealtimeError]] = {
    "301": HandshakeRejected,
    "400": HandshakeRejected,
    "401": HandshakeRejected,
    "403": HandshakeRejected,
    "404": HandshakeRejected,
    "accept close 1008": ConnectionClosed,
    "accept error invalid_api_key close 1000": CommandRefused,
    "accept error insufficient_quota close 1011": CommandRefused,
    "accept error invalid_api_key close 4000": CommandRefused,
    "accept error server_error close 1008": RealtimeError,
    "close 1003": ConnectionClosed,
    "close 1007": ConnectionClosed,
    "close 1008": ConnectionClosed,
    "close 1009": ConnectionClosed,
    "close 3000": ConnectionClosed,
    "error insufficient_quota close 1000": CommandRefused,
    "error invalid_api_key close 4000": CommandRefused,
}
"""What would be the same the next time."""


async def end_of(servers: Servers, policy: RetryPolicy, kind: type[RealtimeError]) -> RealtimeError:
    """What comes out of a session with these servers."""
    with trio.fail_after(3_600), pytest.raises(kind) as caught:
        async with open_session(ENDPOINT, MANUAL, dialer=servers, retry=policy, timing=TIMING):
            await trio.sleep_forever()
    return caught.value


def assert_within_budget(dialled: list[float], policy: RetryPolicy) -> None:
    for begin in dialled:
        within = [at for at in dialled if begin <= at < begin + policy.window_s]
        assert len(within) <= policy.max_connects


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("script", PASSING)
async def test_no_server_is_hammered(script: str, policy: str, autojump_clock: MockClock) -> None:
    bounds, servers = POLICIES[policy], Servers(script)
    began = trio.current_time()
    await end_of(servers, bounds, PASSING[script])
    dialled = servers.dialled
    assert len(dialled) > bounds.max_connects, "it was given up too early"
    assert_within_budget(dialled, bounds)
    delays = [after - before for before, after in itertools.pairwise(dialled)]
    assert delays[0] >= bounds.first_delay_s * (1 - bounds.jitter)
    assert max(delays) <= bounds.window_s + TIMING.connect_timeout_s
    # An outage is measured from its first loss, and the last try may take as long as a try may.
    assert trio.current_time() - began <= bounds.give_up_after_s + 2 * TIMING.connect_timeout_s


@pytest.mark.parametrize("script", ["close 1000", "cut", "503"])
async def test_the_budget_holds_for_connections_that_were_good_for_a_while(
    script: str, autojump_clock: MockClock
) -> None:
    """Nobody hammers a server that takes a session each second time, either."""
    servers = Servers(*["stay", script] * 40)
    policy = RetryPolicy(healthy_after_s=0.0)
    with trio.move_on_after(300):
        async with open_session(ENDPOINT, MANUAL, dialer=servers, retry=policy) as session:
            while True:
                await trio.sleep(0.5)
                session._protocol.receive_eof(trio.current_time())
                session._settle()
    assert len(servers.dialled) > policy.max_connects
    assert_within_budget(servers.dialled, policy)


@pytest.mark.parametrize("script", FATAL)
@pytest.mark.parametrize("when", ["at first", "after a loss", "after failed tries"])
async def test_what_is_fatal_is_tried_once(
    script: str, when: str, autojump_clock: MockClock
) -> None:
    before = {
        "at first": [],
        "after a loss": ["close 1000"],
        "after failed tries": ["close 1001", "503", "hang", "refused"],
    }[when]
    servers = Servers(*before, script)
    await end_of(servers, POLICY, FATAL[script])
    assert len(servers.dialled) == len(before) + 1


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_says_when_is_asked_then(
    status: int, autojump_clock: MockClock
) -> None:
    servers = Servers(f"{status} 7", f"{status} 20", "stay")
    async with open_session(ENDPOINT, MANUAL, dialer=servers, retry=POLICY):
        pass
    first, second, third = servers.dialled
    assert second - first == pytest.approx(7, abs=0.01)
    assert third - second == pytest.approx(20, abs=0.01)


async def test_a_server_that_says_a_time_too_late_is_given_up(autojump_clock: MockClock) -> None:
    servers = Servers("503 1000", "stay")
    error = await end_of(servers, POLICY, HandshakeRejected)
    assert len(servers.dialled) == 1
    assert "503" in str(error)


async def test_without_a_policy_everything_is_tried_once(autojump_clock: MockClock) -> None:
    for script in [*PASSING, *FATAL]:
        servers = Servers(script)
        with trio.fail_after(60), pytest.raises(RealtimeError):
            async with open_session(ENDPOINT, MANUAL, dialer=servers, retry=None, timing=TIMING):
                await trio.sleep_forever()
        assert len(servers.dialled) == 1, script
