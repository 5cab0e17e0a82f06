"""Proxies without a network: URLs, the environment, and the CONNECT exchange (R1)."""

from __future__ import annotations

import base64
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio_rt import ConfigurationError, Endpoint, FrameError, HandshakeRejected
from sansio_rt._proxy import ConnectRequest, Proxy, ProxyRefused

FAR = Endpoint.url("wss://api.example.com/v1")
PLAIN = Endpoint.url("ws://far.example.com:8000/v1")
PROXY = Proxy.parse("http://proxy.corp:3128")


# --- URLs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://proxy.corp:3128", "http://proxy.corp:3128"),
        ("http://proxy.corp:3128/", "http://proxy.corp:3128"),
        ("proxy.corp:3128", "http://proxy.corp:3128"),
        ("HTTP://Proxy.Corp", "http://proxy.corp:80"),
        ("https://proxy.corp", "https://proxy.corp:443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://user:secret@10.0.0.1:80", "http://10.0.0.1:80"),
    ],
)
def test_a_proxy_is_named_by_a_url(url: str, shown: str) -> None:
    proxy = Proxy.parse(url)
    assert proxy.url == shown
    assert proxy.is_secure is shown.startswith("https")
    assert (proxy.authorization is not None) is ("@" in url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("socks5://user:hunter22@proxy:1080", "SOCKS"),
        ("ws://user:hunter22@proxy:1080", "must begin with http"),
        ("http://", "names no host"),
        ("http://user:hunter22@", "names no host"),
        ("http://user:hunter22@proxy:port", "port"),
        ("http://user:hunter22@proxy:99999", "port"),
        ("http://user:hunter22@proxy/path", "no path"),
        ("http://user:hunter22@proxy?q=1", "no path"),
        ("http://user:hunter22@proxy#f", "fragment"),
        ("http://user:hunter22/x@proxy", "percent-encode"),
        ("http://user:hunter22@pro xy", "space"),
        ("http://us%3Aer:hunter22@proxy", "cannot be sent"),
        ("http://user:hunter22%0A@proxy", "cannot be sent"),
        ("http://user:hunter22%FF@proxy", "cannot be sent"),
        (True, "must be a URL"),
    ],
)
def test_what_is_no_proxy_is_refused_without_showing_it(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Proxy.parse(url, "HTTPS_PROXY")
    # Its own frames only: this test's hold the URL.
    assert caught.tb is not None
    trace = traceback.TracebackException(
        type(caught.value), caught.value, caught.tb.tb_next, capture_locals=True
    )
    shown = "".join(trace.format())
    assert "HTTPS_PROXY" in shown
    assert "hunter22" not in shown


def test_user_name_and_password_are_decoded_and_hidden() -> None:
    proxy = Proxy.parse("http://us%40er:p%3Ass%20w%C3%B6rd@proxy:1")
    assert proxy.authorization is not None
    kind, _, value = proxy.authorization.reveal().partition(" ")
    assert kind == "Basic"
    assert base64.b64decode(value).decode() == "us@er:p:ss wörd"
    exchange = ConnectRequest(proxy, "host", 1)
    assert value.encode() in exchange.request
    assert value not in f"{proxy!r} {proxy} {exchange.request!r} {vars(exchange)} {proxy.url}"


# --- the environment ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "env", "found"),
    [
        (FAR, {}, None),
        (FAR, {"HTTPS_PROXY": "http://a:1"}, "http://a:1"),
        (FAR, {"https_proxy": "b:2", "HTTPS_PROXY": "http://a:1"}, "http://b:2"),
        (FAR, {"https_proxy": " ", "HTTPS_PROXY": "http://a:1"}, "http://a:1"),
        (FAR, {"ALL_PROXY": "http://a:1"}, "http://a:1"),
        (FAR, {"ALL_PROXY": "http://a:1", "HTTPS_PROXY": "http://b:2"}, "http://b:2"),
        (FAR, {"HTTP_PROXY": "http://a:1", "http_proxy": "http://a:1"}, None),
        (PLAIN, {"http_proxy": "http://a:1"}, "http://a:1"),
        (PLAIN, {"HTTP_PROXY": "http://evil:1"}, None),  # set by a request's header in CGI
        (PLAIN, {"HTTPS_PROXY": "http://a:1"}, None),
        (PLAIN, {"all_proxy": "http://a:1"}, "http://a:1"),
        (Endpoint.url("wss://localhost:1"), {"HTTPS_PROXY": "http://a:1"}, None),
        (Endpoint.url("wss://127.0.0.1:1"), {"ALL_PROXY": "http://a:1"}, None),
        (Endpoint.url("ws://[::1]:1"), {"ALL_PROXY": "http://a:1"}, None),
        (FAR, {"HTTPS_PROXY": "http://a:1", "NO_PROXY": "example.com"}, None),
        (FAR, {"HTTPS_PROXY": "socks5://a:1", "NO_PROXY": "*"}, None),
        (FAR, {"HTTPS_PROXY": "http://a:1", "NO_PROXY": "other.org"}, "http://a:1"),
    ],
)
def test_the_environment_names_the_proxy(
    endpoint: Endpoint, env: dict[str, str], found: str | None
) -> None:
    proxy = Proxy.from_environment(endpoint, env)
    assert (proxy.url if proxy else None) == found


def test_a_variable_that_names_no_http_proxy_is_an_error_and_named() -> None:
    with pytest.raises(ConfigurationError, match="ALL_PROXY must begin with http"):
        Proxy.from_environment(FAR, {"ALL_PROXY": "socks5h://localhost:1080"})


@pytest.mark.parametrize(
    ("rules", "host", "excepted"),
    [
        ("", "a.example.com", False),
        ("*", "a.example.com", True),
        ("example.com", "a.example.com", True),
        ("example.com", "example.com", True),
        ("example.com", "badexample.com", False),
        (".example.com", "example.com", True),
        ("*.example.com", "a.example.com", True),
        ("a.example.com", "example.com", False),
        ("EXAMPLE.com", "a.Example.COM", True),
        ("x.org, example.com", "a.example.com", True),
        ("x.org example.com", "a.example.com", True),
        ("example.com:443", "a.example.com", True),
        ("example.com:80", "a.example.com", False),
        ("example.com.", "a.example.com", True),
        (",., ,:", "a.example.com", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("1.2.3", "10.1.2.3", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8:443", "10.1.2.3", True),
        ("10.0.0.0/8:80", "10.1.2.3", False),
        ("10.0.0.0/99", "10.1.2.3", False),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("fd00::/8", "[fd00::7]", True),
        ("[fd00::7]", "[fd00::7]", True),
        ("[fd00::7]:443", "[fd00::7]", True),
        ("[fd00::7]:80", "[fd00::7]", False),
        ("fd00:0::7", "[fd00::7]", True),
        ("fd00::7", "10.1.2.3", False),
    ],
)
def test_no_proxy_excepts_hosts(rules: str, host: str, excepted: bool) -> None:
    endpoint = Endpoint.url(f"wss://{host}/v1")
    env = {"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": rules}
    assert (Proxy.from_environment(endpoint, env) is None) is excepted


@given(st.text(max_size=60))
def test_any_no_proxy_is_survived(rules: str) -> None:
    Proxy.from_environment(FAR, {"HTTPS_PROXY": "http://proxy:1", "no_proxy": rules})


# --- CONNECT ------------------------------------------------------------------------------


def test_the_request_names_the_server() -> None:
    lines = bytes(ConnectRequest(PROXY, "api.example.com", 443).request).split(b"\r\n")
    assert lines[0] == b"CONNECT api.example.com:443 HTTP/1.1"
    assert b"Host: api.example.com:443" in lines
    assert not any(b"Authorization" in line for line in lines)
    assert lines[-2:] == [b"", b""]
    assert bytes(ConnectRequest(PROXY, "::1", 5).request).startswith(
        b"CONNECT [::1]:5 HTTP/1.1\r\n"
    )


ANSWERS: dict[bytes, bool | type[Exception]] = {
    b"HTTP/1.1 200 OK\r\n\r\n": True,
    b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n": True,
    b"HTTP/1.1 204 \r\n\r\n": True,
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n": True,  # to be ignored: RFC 9110, 9.3.6
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n": True,
    b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n": ProxyRefused,
    b"HTTP/1.1 101 Switching\r\n\r\n": FrameError,
    b"SSH-2.0-OpenSSH_9\r\n\r\n": FrameError,
    b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n": FrameError,
    b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000: FrameError,
    b"HTTP/1.1 100 Continue\r\n\r\n" * 1000: FrameError,
    b"HTTP/1.1 200 OK\r\n": False,
    b"": False,
}


@pytest.mark.parametrize(
    ("answer", "expected"), ANSWERS.items(), ids=lambda value: repr(value)[:40]
)
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_the_answer_in_any_split(
    answer: bytes, expected: bool | type[Exception], step: int
) -> None:
    exchange = ConnectRequest(PROXY, "api.example.com", 443)
    outcome: bool | Exception = False
    taken = 0
    while outcome is False and taken < len(answer):
        outcome = exchange.receive_data(answer[taken : taken + step])
        taken += step
    if isinstance(expected, bool):
        assert outcome is expected
    else:
        assert type(outcome) is expected
        assert "http://proxy.corp:3128" in str(outcome)
    if outcome is False:
        end = exchange.receive_data(b"")
        assert isinstance(end, FrameError)
        assert "closed the connection without an answer" in str(end)


def test_nothing_may_follow_the_answer() -> None:
    """The server speaks second, so what comes with the answer is not from it."""
    outcome = ConnectRequest(PROXY, "h", 1).receive_data(b"HTTP/1.1 200 OK\r\n\r\n\x16")
    assert isinstance(outcome, FrameError)
    assert "more than its answer" in str(outcome)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (407, "wants a user name and a password"),
        (403, "rules forbid"),
        (502, "cannot reach the server"),
        (503, "try again later"),
        (405, "allows CONNECT"),
        (302, "allows CONNECT"),
    ],
)
def test_a_refusal_names_proxy_server_and_remedy(status: int, words: str) -> None:
    exchange = ConnectRequest(PROXY, "api.example.com", 443)
    outcome = exchange.receive_data(f"HTTP/1.1 {status} Why\x1b[1m not\r\n\r\n".encode())
    assert isinstance(outcome, HandshakeRejected)  # so that the policy of retries knows the status
    assert outcome.status == status
    text = str(outcome)
    assert text.startswith(
        "the proxy http://proxy.corp:3128 does not connect to api.example.com:443"
    )
    assert f"HTTP {status} Why" in text
    assert words in text
    assert "\x1b" not in text


def test_a_password_that_is_not_taken_is_not_shown() -> None:
    proxy = Proxy.parse("http://user:hunter22@proxy.corp:3128")
    outcome = ConnectRequest(proxy, "h", 1).receive_data(b"HTTP/1.1 407 Authenticate\r\n\r\n")
    assert "does not take this user name and password" in str(outcome)
    assert "hunter22" not in str(outcome)


@given(st.binary(max_size=300), st.integers(1, 40))
def test_garbage_ends_in_an_answer(garbage: bytes, step: int) -> None:
    exchange = ConnectRequest(PROXY, "api.example.com", 443)
    for start in range(0, len(garbage), step):
        outcome = exchange.receive_data(garbage[start : start + step])
        if outcome is not False:
            assert outcome is True or isinstance(outcome, FrameError | ProxyRefused)
            return
    assert isinstance(exchange.receive_data(b""), FrameError)
