"""The parts of an address and of a request, checked: what no server or header can take is refused.

No message shows a whole URL or a header's value, since people put passwords into both.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from ._errors import ConfigurationError
from ._secrets import HiddenText

__all__ = [
    "DEFAULT_PORTS",
    "Address",
    "Query",
    "check_header_value",
    "checked_headers",
    "is_loopback",
]

DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}
_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
# urlsplit overlooks what stands between the bracket and the port.
_BRACKETED: Final = re.compile(r"\[[^\[\]]*\](:[0-9]*)?")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,253}")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # token of RFC 9110, 5.6.2
# All control characters but the tab (RFC 9110, 5.5), and lone surrogates, which no encoding takes.
_REFUSED: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
# In a URL white space too: urlsplit drops some of it without a word.
_REFUSED_IN_URL: Final = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
_PATH_SAFE: Final = "/%:@!$&'()*+,;=-._~"
_QUERY_SAFE: Final = _PATH_SAFE + "?"
# The handshake owns these; a second one would contradict it.
_HANDSHAKE_HEADERS: Final = frozenset(
    {"host", "connection", "upgrade", "content-length", "transfer-encoding"}
)


@dataclass(frozen=True, slots=True)
class Address:
    """A URL of a server, taken apart and normalised."""

    scheme: str
    """`"ws"` or `"wss"`."""
    host: str
    """Host name in ASCII and lower case, or an IP address without brackets."""
    port: int
    """1 to 65,535."""
    path: str
    """Percent-encoded, without a trailing slash; may be empty."""
    query: str
    """Percent-encoded, without the question mark; may be empty."""

    @classmethod
    def parse(cls, url: str, what: str) -> Address:
        """Take a `ws`, `wss`, `http` or `https` URL apart.

        Args:
            url: The URL, as a person typed it.
            what: Its name in messages (`"base_url"`).

        Raises:
            ConfigurationError: It is none, or has a user name or a fragment.
        """
        if _REFUSED_IN_URL.search(url):
            raise ConfigurationError(f"{what} holds a space or a control character")
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ConfigurationError(f"{what} is not a URL; check its host and brackets") from None
        scheme = _SCHEMES.get(parts.scheme)
        if scheme is None:
            raise ConfigurationError(
                f"{what} must begin with ws://, wss://, http:// or https:// and name a host"
            )
        if "@" in parts.netloc:
            raise ConfigurationError(
                f"{what} holds a user name or password; pass the credential as api_key"
            )
        if "#" in url:
            raise ConfigurationError(f"{what} has a fragment (#...); no WebSocket address has one")
        return cls(
            scheme=scheme,
            host=_host(parts, what),
            port=_port(parts, DEFAULT_PORTS[scheme], what),
            path=quote(parts.path, safe=_PATH_SAFE).rstrip("/"),
            query=quote(parts.query, safe=_QUERY_SAFE),
        )


def _host(parts: SplitResult, what: str) -> str:
    host = parts.hostname
    if not host:
        raise ConfigurationError(f"{what} names no host")
    try:
        if ":" in host:
            address = ipaddress.IPv6Address(host)
            # A zone is a name on one machine only, and has no place in a Host header.
            usable = _BRACKETED.fullmatch(parts.netloc) and not address.scope_id
            name = str(address) if usable else ""
        else:
            name = host.encode("idna").decode("ascii")  # also refuses empty and endless labels
            name = name if _HOST_NAME.fullmatch(name) else ""
    except ValueError:  # UnicodeError and AddressValueError are of this kind
        name = ""
    if not name:
        raise ConfigurationError(f"the host of {what} is neither a host name nor an IP address")
    return name


def _port(parts: SplitResult, default: int, what: str) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ConfigurationError(f"the port of {what} must be a number from 1 to 65535")
    return default if port is None else port


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, whatever a resolver says (RFC 6761, 6.3)."""
    name = host.rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Query:
    """A query string that grows at its end; what was there stays as it was written.

    Args:
        existing: The query of a URL, percent-encoded.
        extra: Parameters of the caller's, with plain values.

    Raises:
        ConfigurationError: A parameter is given in both, or holds a control character.
    """

    def __init__(self, existing: str, extra: Mapping[str, str] | None) -> None:
        self._parts = [existing] if existing else []
        self._values = dict(parse_qsl(existing, keep_blank_values=True))
        for name, value in (extra or {}).items():
            if name in self._values:
                raise ConfigurationError(
                    f"query parameter {name!r} is in the URL and in extra_query; give it once"
                )
            self.add(name, value)

    def add(self, name: str, value: str) -> None:
        """Add a parameter unless one of that name is there already.

        Raises:
            ConfigurationError: The name or the value holds a control character.
        """
        for text in (name, value):
            _check_text(text, f"query parameter {name!r}")
        if name not in self._values:
            self._values[name] = value
            self._parts.append(f"{quote(name, safe='')}={quote(value, safe='')}")

    def get(self, name: str) -> str | None:
        """Give a parameter's value, or None where it is absent or empty."""
        return self._values.get(name) or None

    def encoded(self) -> str:
        """Give the whole with its question mark, or an empty string."""
        return "?" + "&".join(self._parts) if self._parts else ""


def checked_headers(headers: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Check a caller's request headers.

    Raises:
        ConfigurationError: A name or a value is not usable, or belongs to the handshake.
    """
    pairs = tuple((headers or {}).items())
    for name, value in pairs:
        if not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError(f"{name!r} in extra_headers is not a header's name")
        if name.lower() in _HANDSHAKE_HEADERS or name.lower().startswith("sec-websocket-"):
            raise ConfigurationError(f"{name} in extra_headers belongs to the WebSocket handshake")
        check_header_value(value, f"{name} in extra_headers")
    return tuple((name, HiddenText(value)) for name, value in pairs)


def check_header_value(value: str, what: str) -> None:
    """Refuse what would end a header early, or cannot be written in one (RFC 9110, 5.5).

    Args:
        value: The value, which no message shows.
        what: Its name in messages.

    Raises:
        ConfigurationError: CR, LF, NUL and their like, white space around it, or beyond ASCII, which
            readers of headers take in different ways.
    """
    _check_text(value, what)
    if value != value.strip(" \t"):
        raise ConfigurationError(f"{what} begins or ends with white space; strip it")
    if not value.isascii():
        raise ConfigurationError(f"{what} has characters beyond ASCII; a header holds none of them")


def _check_text(text: str, what: str) -> None:
    if _REFUSED.search(text):
        raise ConfigurationError(f"{what} holds a line break or another control character")
