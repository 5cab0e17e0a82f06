"""Endpoints of any address, query, header and environment: made or refused, and a key is never shown."""

from __future__ import annotations

from fuzz.drawing import Draw
from sansio_rt import ConfigurationError, Dialect, Endpoint
from sansio_rt._wire import Wire

MAX_BYTES = 256
KEY = "sk-very-secret-key"
_NAMES = ("OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION", "AZURE_OPENAI_API_KEY")


def fuzz(data: bytes) -> None:
    """Byte 0 chooses the maker, the rest are its arguments; text behind them is the URL."""
    draw = Draw(data)
    which, options = draw.byte(), draw.byte()
    arguments: dict[str, object] = {"api_key": KEY, "allow_insecure": bool(options & 1)}
    if options & 2:
        arguments["extra_headers"] = {draw.text(): draw.text()}
    if options & 4:
        arguments["extra_query"] = {draw.text(): draw.text()}
    if options & 8:
        arguments["call_id"] = draw.text()
    if options & 16:
        arguments["model" if which & 3 != 2 else "deployment"] = draw.text()
    environment = {name: draw.text() for name in _NAMES} if options & 32 else {}
    url = draw.rest().decode("utf-8", "replace")
    try:
        endpoint = _make(which, options, url, environment, arguments)
    except ConfigurationError as refusal:
        assert str(refusal)
        assert KEY not in str(refusal)
        return
    _check(endpoint)


def _make(
    which: int, options: int, url: str, environment: dict[str, str], arguments: dict[str, object]
) -> Endpoint:
    given: dict[str, object] = {**arguments}
    match which & 3:
        case 0:
            return Endpoint.openai(base_url=url, env=environment, **given)  # type: ignore[arg-type]
        case 1:
            dialect = tuple(Dialect)[options >> 6 & 1]
            return Endpoint.url(url, dialect=dialect, **given)  # type: ignore[arg-type]
        case 2:
            name = "base_url" if options & 64 else "resource_url"
            return Endpoint.azure(env=environment, **{name: url}, **given)  # type: ignore[arg-type]
        case _:
            return Endpoint.url("wss://" + url, **given)  # type: ignore[arg-type]


def _check(endpoint: Endpoint) -> None:
    assert endpoint.scheme in ("ws", "wss")
    assert 1 <= endpoint.port <= 65535
    assert endpoint.host.isascii()
    assert endpoint.host
    assert endpoint.target.startswith("/")
    assert endpoint.target.isascii()
    shown = f"{endpoint!r} {endpoint.url_without_secrets} {endpoint.headers()!r}"
    assert KEY not in shown
    # Whatever was accepted can be asked for: the handshake takes it as it is.
    wire = Wire.client(
        endpoint.host_header, endpoint.target, endpoint.headers(), random_bytes=bytes
    )
    head = wire.data_to_send()
    assert head.count(b"\r\n\r\n") == 1
    assert head.endswith(b"\r\n\r\n")
