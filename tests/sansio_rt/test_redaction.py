"""What a server repeats of our credentials is masked where it comes in (M3)."""

from __future__ import annotations

from sansio_rt import Endpoint, FrameError, HandshakeRejected, SchemaError, events
from sansio_rt._redaction import Redaction
from sansio_rt._wire import WireClosed, WireFailed, WireRejected

ENDPOINT = Endpoint.url(
    "ws://127.0.0.1/v1",
    api_key="sk-key-of-mine",
    extra_headers={"X-Gateway": "gateway-token", "X-Short": "1"},
    extra_query={"token": "a/secret value"},
)
REDACTION = Redaction(ENDPOINT.secrets())


def test_every_credential_is_found_in_every_form() -> None:
    assert REDACTION.text("the key sk-key-of-mine is wrong") == "the key *** is wrong"
    assert REDACTION.text("Bearer sk-key-of-mine") == "***"
    assert REDACTION.text("X-Gateway: gateway-token") == "X-Gateway: ***"
    assert REDACTION.text("GET /?token=a%2Fsecret%20value") == "GET /?token=***"
    assert REDACTION.text("'a/secret value'") == "'***'"
    assert REDACTION.text("1 and 1 is 11") == "1 and 1 is 11"  # too short to be one
    assert ENDPOINT.secrets() == ENDPOINT.secrets("sk-key-of-mine")
    assert "mine" not in repr([ENDPOINT.secrets(), vars(REDACTION)])


def test_complaints_are_masked() -> None:
    words = "no such key: sk-key-of-mine"
    error = events.Error(error=events.ErrorDetails(type="x", code="c", message=words), event_id="e")
    masked = REDACTION.complaint(error)
    assert isinstance(masked, events.Error)
    assert (masked.error.message, masked.error.code) == ("no such key: ***", "c")

    closed = REDACTION.complaint(WireClosed(3000, words, by_peer=True, clean=True))
    assert closed == WireClosed(3000, "no such key: ***", by_peer=True, clean=True)

    rejected = HandshakeRejected(401, reason=words, body=words, retry_after_s=3.0)
    told = REDACTION.complaint(WireRejected(rejected))
    assert isinstance(told, WireRejected)
    assert "mine" not in f"{told.error} {vars(told.error)}"
    assert (told.error.status, told.error.retry_after_s) == (401, 3.0)

    failure = FrameError("the peer broke the protocol", close_code=1002)
    failure.__cause__ = ValueError(f"illegal line: {words}")
    failed = REDACTION.complaint(WireFailed(failure))
    assert isinstance(failed, WireFailed)
    assert str(failed.error.__cause__) == "illegal line: no such key: ***"
    assert failed.error.close_code == 1002

    broken = REDACTION.complaint(SchemaError(words, path="$.a", excerpt=words))
    assert isinstance(broken, SchemaError)
    assert (str(broken), broken.excerpt, broken.path) == ("no such key: ***",) * 2 + ("$.a",)


def test_everything_else_stays_what_it_is() -> None:
    for event in (
        events.RateLimitsUpdated(rate_limits=[], event_id="sk-key-of-mine"),
        WireClosed(1000, "", by_peer=True, clean=True),
        None,
    ):
        assert REDACTION.complaint(event) is event
