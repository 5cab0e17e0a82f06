"""Proxies of any URL and environment, any answer to CONNECT in any pieces; no password is ever shown."""

from __future__ import annotations

from fuzz.drawing import Draw
from fuzz.wire_life import pieces
from sansio_rt import ConfigurationError, Endpoint, FrameError
from sansio_rt._proxy import ConnectRequest, Proxy, ProxyRefused

MAX_BYTES = 512
PASSWORD = "very-secret"
_ENDPOINT = Endpoint.url("wss://example.org/v1", api_key="key")
_PROXY = Proxy.parse(f"http://user:{PASSWORD}@proxy.example:3128")


def fuzz(data: bytes) -> None:
    """Byte 0 chooses what is tried; the rest is a URL, an environment, or an answer."""
    draw = Draw(data)
    match draw.byte() & 3:
        case 0:
            _answer(draw.byte(), draw.rest())
        case 1:
            url = draw.rest().decode("utf-8", "replace")
            _parse(url)
        case 2:
            environment = {"https_proxy": f"http://u:{PASSWORD}@p:1", "no_proxy": draw.text()}
            _from_environment(environment)
        case _:
            _from_environment({"all_proxy": draw.text(), "HTTPS_PROXY": draw.text()})


def _parse(url: str) -> None:
    for text in (url, f"http://user:{PASSWORD}@{url}", f"http://{url}@proxy.example"):
        try:
            proxy = Proxy.parse(text)
        except ConfigurationError as refusal:
            assert PASSWORD not in str(refusal)
            continue
        assert 1 <= proxy.port <= 65535
        assert PASSWORD not in f"{proxy!r} {proxy.url}"
        request = ConnectRequest(proxy, "example.org", 443).request
        assert request.startswith(b"CONNECT example.org:443 HTTP/1.1\r\n")
        assert request.count(b"\r\n\r\n") == 1


def _from_environment(environment: dict[str, str]) -> None:
    try:
        proxy = Proxy.from_environment(_ENDPOINT, environment)
    except ConfigurationError as refusal:
        assert PASSWORD not in str(refusal)
        return
    if proxy is not None:
        assert 1 <= proxy.port <= 65535


def _answer(way: int, stream: bytes) -> None:
    """The verdict on an answer does not depend on its pieces, but for what came too soon with it."""
    verdict = _verdict(pieces(stream, way))
    whole = _verdict([stream] if stream else [])
    if isinstance(verdict, ProxyRefused):
        assert not 200 <= verdict.status < 300
        assert PASSWORD not in str(verdict)
        assert verdict.reason.isprintable()
    if verdict is not True:
        assert type(verdict) is type(whole), (verdict, whole)
        assert str(verdict) == str(whole)


def _verdict(stream: list[bytes]) -> bool | ProxyRefused | FrameError:
    connect = ConnectRequest(_PROXY, "example.org", 443)
    for piece in (*stream, b""):
        verdict = connect.receive_data(piece)
        if verdict is not False:
            return verdict
    raise AssertionError("the end of the stream decided nothing")
