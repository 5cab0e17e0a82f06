"""`ServerProtocol`: a session with its wire, against the client's wire; the upgrade request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sansio_rt import ServerProtocol
from sansio_rt._server_handshake import Admission, Denial, examine
from sansio_rt._server_session import ServerSession
from sansio_rt._server_work import ReplyCancelled, ReplyWanted, ServerLimits
from sansio_rt._sources import CountingBytes
from sansio_rt._wire import HandshakeAccepted, TextMessage, Wire, WireClosed, WireRejected


class Pair:
    """A client's wire and a server, joined in memory."""

    def __init__(self, target: str = "/v1/realtime?model=m", **options: Any) -> None:
        self.headers = options.pop("headers", [("authorization", "Bearer sk-right")])
        self.server = ServerProtocol(**options)
        self.client = Wire.client(
            "localhost",
            target,
            self.headers,
            random_bytes=CountingBytes(),
            subprotocols=["realtime"],
        )
        self.events: list[Any] = []
        self.work: list[Any] = []

    def move(self, now: float = 0.0, piece: int = 1 << 20) -> list[dict[str, Any]]:
        """Carry bytes both ways until all is quiet; gives the server's new messages."""
        before = len(self.events)
        moved = True
        while moved:
            upward, downward = self.client.data_to_send(), self.server.data_to_send()
            for start in range(0, len(upward), piece):
                self.server.receive_data(upward[start : start + piece], now)
            for start in range(0, len(downward), piece):
                self.client.receive_data(downward[start : start + piece])
            while (work := self.server.next_event()) is not None:
                self.work.append(work)
            while (event := self.client.next_event()) is not None:
                self.events.append(event)
            moved = bool(upward or downward)
        fresh = self.events[before:]
        return [json.loads(event.data) for event in fresh if isinstance(event, TextMessage)]

    def send(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        self.client.send_text(json.dumps({"type": kind, **fields}).encode())
        return self.move()


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_a_turn_over_the_wire(piece: int) -> None:
    pair = Pair()
    [created] = pair.move(piece=piece)
    assert created["type"] == "session.created"
    assert created["session"]["model"] == "m"
    accepted = pair.events[0]
    assert isinstance(accepted, HandshakeAccepted)
    assert accepted.subprotocol == "realtime"
    [response] = pair.send("response.create", response={"output_modalities": ["text"]})
    session = pair.server.session
    [wanted] = pair.work
    assert isinstance(wanted, ReplyWanted)
    session.begin_message(wanted.response_id, 0.0)
    session.push_text(wanted.response_id, "Hello.", 0.0)
    session.finish(wanted.response_id, 0.0)
    assert pair.move(piece=piece)[-1]["type"] == "response.output_text.delta"
    assert pair.server.next_deadline() == pytest.approx(0.02)  # "Hello." at 15 characters a second
    pair.server.handle_timer(0.02)
    last = pair.move(piece=piece)[-2]
    assert last["type"] == "response.done"
    assert last["response"]["id"] == response["response"]["id"]


def test_the_client_closes() -> None:
    pair = Pair()
    pair.move()
    pair.client.close(1000, "bye")
    pair.move()
    assert pair.server.ending == WireClosed(1000, "bye", by_peer=True, clean=True)
    assert pair.server.session.closed
    assert pair.server.next_deadline() is None


def test_bytes_behind_the_request_are_refused() -> None:
    """A client has to wait for the answer before it may send frames (RFC 6455, section 4.1)."""
    pair = Pair()
    pair.server.receive_data(pair.client.data_to_send() + b"\x81\x00", 0.0)
    assert pair.server.data_to_send().startswith(b"HTTP/1.1 400 ")
    assert pair.server.ending is not None
    assert pair.server.next_deadline() is None


def test_closing_what_is_not_open_does_nothing() -> None:
    pair = Pair()
    pair.server.close()
    assert pair.server.data_to_send() == b""
    assert pair.move()[0]["type"] == "session.created"  # it may still open
    pair.server.close(1001, "going")
    sent = pair.server.data_to_send()
    assert sent
    pair.server.close()
    assert pair.server.data_to_send() == b""


@pytest.mark.parametrize(
    ("arguments", "told"), [((), (1000, "")), ((1001, "going"), (1001, "going"))]
)
def test_the_server_closes(arguments: tuple[int, str], told: tuple[int, str]) -> None:
    pair = Pair()
    assert pair.server.ending is None
    pair.move()
    pair.server.close(*arguments)
    pair.move()
    [closed] = [event for event in pair.events if isinstance(event, WireClosed)]
    assert (closed.code, closed.reason) == told
    assert pair.server.session.closed


def test_messages_that_came_with_the_end_are_taken_at_its_time() -> None:
    pair = Pair()
    pair.move()
    pair.client.close()
    pair.server.receive_data(pair.client.data_to_send(), 5.0)
    pair.server.receive_eof(5.0)
    assert pair.server.next_deadline() is None
    assert pair.server.next_event() is None


def test_the_client_vanishes() -> None:
    pair = Pair()
    pair.move()
    pair.server.receive_eof(1.0)
    assert pair.server.ending is not None
    assert pair.server.ending.code == 1006
    assert pair.server.session.closed


def test_an_old_session_is_closed_behind_its_error() -> None:
    """Rule 1."""
    pair = Pair(session=ServerSession(limits=ServerLimits(session_s=60.0)))
    pair.move()
    assert pair.server.next_deadline() == 60.0
    pair.server.handle_timer(60.0)
    [error] = pair.move()
    assert error["error"]["code"] == "session_expired"
    [closed] = [event for event in pair.events if isinstance(event, WireClosed)]
    assert (closed.code, closed.reason) == (1001, "session expired")
    assert pair.work == []


def test_a_wish_to_close_hides_no_request_behind_it() -> None:
    session = ServerSession(limits=ServerLimits(session_s=60.0))
    pair = Pair(session=session)
    pair.move()
    pair.send("response.create")
    pair.work.clear()
    pair.server.handle_timer(60.0)
    work = pair.server.next_event()
    assert isinstance(work, ReplyCancelled)
    assert pair.server.next_event() is None


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/v1/realtime", [], 401),
        ("/v1/realtime", [("authorization", "Bearer sk-wrong")], 401),
        ("/v1/chat", [("authorization", "Bearer sk-right")], 404),
    ],
)
def test_a_handshake_that_is_refused(
    target: str, headers: list[tuple[str, str]], status: int
) -> None:
    pair = Pair(target, headers=headers, api_key="sk-right")
    assert pair.move() == []
    [rejected] = [event for event in pair.events if isinstance(event, WireRejected)]
    assert rejected.error.status == status
    assert "sk-" not in rejected.error.body
    assert json.loads(rejected.error.body)["error"]["type"] == "invalid_request_error"
    assert pair.server.next_deadline() is None


def test_a_refusal_is_json_in_the_services_shape() -> None:
    pair = Pair("/v1/chat/" + "x" * 300)
    pair.server.receive_data(pair.client.data_to_send(), 0.0)
    head, _, body = pair.server.data_to_send().partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower().split(b"\r\n")
    assert json.loads(body)["error"] == {
        "message": f"Invalid URL (GET {('/v1/chat/' + 'x' * 300)[:200]})",
        "type": "invalid_request_error",
        "param": None,
        "code": "unknown_url",
    }
    denial = examine("/v1/realtime", [], [], api_key="sk-1")
    assert isinstance(denial, Denial)
    assert json.loads(denial.body)["error"] == {
        "message": "Incorrect API key provided.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }


@pytest.mark.parametrize(
    "headers", [[], [("authorization", "Basic sk-1")], [("authorization", "XXXX")]]
)
def test_an_empty_key_opens_only_what_asks_for_an_empty_key(
    headers: list[tuple[str, str]],
) -> None:
    for api_key in ("sk-1", "XXXX"):
        assert isinstance(examine("/v1/realtime", headers, [], api_key=api_key), Denial)


@pytest.mark.parametrize("target", ["/v1/realtime", "/realtime/?model=x", "/openai/v1/realtime"])
def test_paths_that_are_served(target: str) -> None:
    assert isinstance(examine(target, [], []), Admission)


@pytest.mark.parametrize("target", ["/", "/v1", "/v1/realtime/sessions", "/v2/realtime"])
def test_paths_that_are_not_served(target: str) -> None:
    denial = examine(target, [], [])
    assert isinstance(denial, Denial)
    assert denial.status == 404
    assert json.loads(denial.body)["error"]["code"] == "unknown_url"


@pytest.mark.parametrize(
    ("target", "model"),
    [
        ("/v1/realtime?model=gpt-x", "gpt-x"),
        ("/v1/realtime?deployment=mine", "mine"),
        ("/v1/realtime?api-version=1", "gpt-realtime"),
        ("/v1/realtime", "gpt-realtime"),
    ],
)
def test_the_model_of_the_url(target: str, model: str) -> None:
    admission = examine(target, [], [])
    assert isinstance(admission, Admission)
    assert admission.model == model


@pytest.mark.parametrize(
    ("headers", "subprotocols"),
    [
        ([("Authorization", "Bearer sk-1")], []),
        ([("authorization", "bearer  sk-1")], []),
        ([("api-key", "sk-1")], []),
        ([], ["realtime", "openai-insecure-api-key.sk-1", "openai-beta.realtime-v1"]),
    ],
)
def test_ways_to_show_a_key(headers: list[tuple[str, str]], subprotocols: list[str]) -> None:
    admission = examine("/v1/realtime", headers, subprotocols, api_key="sk-1")
    assert isinstance(admission, Admission)
    assert admission.subprotocol == ("realtime" if subprotocols else None)
    refused = examine("/v1/realtime", headers, subprotocols, api_key="sk-2")
    assert isinstance(refused, Denial)
