"""HTTP proxies: which one a connection goes through, and the CONNECT that opens the way (parity R1).

Nothing here reads the environment, a mapping is handed in, and nothing is opened: `ConnectRequest` takes
the bytes of the proxy's answer and says how it ended. Only HTTP proxies are known, reached in the clear
or by TLS. A proxy's password is a `Secret`, and no message, repr or traceback shows it.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import h11

from ._address import Address, is_loopback
from ._endpoint import Endpoint
from ._errors import ConfigurationError, FrameError, HandshakeRejected
from ._secrets import HiddenBytes, HiddenText, Secret, hide_frames
from ._version import __version__

__all__ = ["ConnectRequest", "Proxy", "ProxyRefused"]

# As curl has it. There is no HTTP_PROXY in capital letters: a web server hands the `Proxy` header of
# whoever asks to a CGI program under that name (CVE-2016-5385).
_VARIABLES: Final = {
    "wss": ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
    "ws": ("http_proxy", "all_proxy", "ALL_PROXY"),
}
_EXCEPTIONS: Final = ("no_proxy", "NO_PROXY")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

_MAX_HEAD_BYTES: Final = 16 * 2**10


class ProxyRefused(HandshakeRejected):
    """The proxy did not open a way to the server; `status` is the proxy's, and so is `reason`."""

    def __init__(self, message: str, *, status: int, reason: str) -> None:
        super().__init__(status, reason=reason)
        self.args = (message,)  # the base speaks of the server


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Proxy:
    """An HTTP proxy; made by `Proxy.parse` or `Proxy.from_environment`."""

    host: str
    """Host name in ASCII, or an IP address without brackets."""
    port: int
    """TCP port, 1 to 65,535."""
    is_secure: bool
    """Whether the proxy itself is reached by TLS."""
    authorization: Secret | None = None
    """Value of the `Proxy-Authorization` header, or None."""

    @classmethod
    @hide_frames(ConfigurationError)
    def parse(cls, url: str, what: str = "proxy") -> Proxy:
        """Make the proxy that a URL names.

        Args:
            url: `http://host:port` or `https://host:port`, with `user:password@` before the host where
                the proxy wants it, percent-encoded. Without a scheme it is `http`; without a port, 80
                or 443.
            what: Its name in messages (`"HTTPS_PROXY"`).

        Raises:
            ConfigurationError: It is none; the message never shows the URL, which may hold a password.
        """
        if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance] - from callers
            raise ConfigurationError(
                f"{what} must be a URL like http://proxy.example:8080, or False for no proxy"
            )
        scheme, mark, rest = url.partition("://")
        if not mark:
            scheme, rest = "http", url
        if scheme.lower() not in ("http", "https"):
            raise ConfigurationError(
                f"{what} must begin with http:// or https://; no other kind of proxy, such as SOCKS, "
                "can be used (proxy=False: none)"
            )
        credentials, at, place = rest.rpartition("@")
        if re.search("[/?#]", credentials):
            raise ConfigurationError(f"{what}: percent-encode / ? # and @ in the password")
        address = Address.parse(f"{scheme}://{place}", what)
        if address.path or address.query:
            raise ConfigurationError(f"{what} must end after the port; a proxy has no path")
        return cls(
            host=address.host,
            port=address.port,
            is_secure=address.scheme == "wss",
            authorization=_basic(credentials, what) if at else None,
        )

    @classmethod
    @hide_frames(ConfigurationError)
    def from_environment(cls, endpoint: Endpoint, env: Mapping[str, str]) -> Proxy | None:
        """Find the proxy that the environment wants for an endpoint.

        For `wss`: `https_proxy`, `HTTPS_PROXY`, `all_proxy`, `ALL_PROXY`; for `ws`: `http_proxy` (in
        small letters only), `all_proxy`, `ALL_PROXY`. The first that is not empty counts, unless
        `no_proxy` or `NO_PROXY` names the host. This machine itself is never reached by a proxy.

        Args:
            endpoint: The server.
            env: Environment variables.

        Raises:
            ConfigurationError: The variable holds no address of a HTTP proxy; the message names it.
        """
        if is_loopback(endpoint.host):
            return None
        name, url = _first(env, _VARIABLES[endpoint.scheme])
        _, exceptions = _first(env, _EXCEPTIONS)
        if not url or _is_excepted(endpoint.host, endpoint.port, exceptions):
            return None
        return cls.parse(url, name)

    @property
    def url(self) -> str:
        """The address for people and messages, without credentials."""
        scheme = "https" if self.is_secure else "http"
        return f"{scheme}://{_authority(self.host, self.port)}"

    def __repr__(self) -> str:
        return f"<Proxy {self.url}{' with a password' if self.authorization else ''}>"


class ConnectRequest:
    """One CONNECT to a proxy, and its answer (RFC 9110, 9.3.6).

    Args:
        proxy: Whom it is sent to.
        host: The server, as `Endpoint.host`.
        port: The server's port.

    Attributes:
        request: The bytes to send.
    """

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self._proxy = proxy
        self._server = _authority(host, port)
        self._head_bytes = 0
        fields = [("Host", self._server), ("User-Agent", f"trio-rt/{__version__}")]
        if proxy.authorization is not None:
            fields.append(("Proxy-Authorization", HiddenText(proxy.authorization.reveal())))
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        head = self._http.send(h11.Request(method="CONNECT", target=self._server, headers=fields))
        self.request = HiddenBytes(head + self._http.send(h11.EndOfMessage()))

    def receive_data(self, data: bytes | bytearray) -> bool | ProxyRefused | FrameError:
        """Take bytes of the answer.

        Args:
            data: Bytes in any split; `b""` is the end of the stream.

        Returns:
            False while the answer is incomplete, True once the way is open and the stream leads to the
            server, else what the proxy did; then call nothing more.
        """
        head = data[: _MAX_HEAD_BYTES - self._head_bytes]
        self._head_bytes += len(head)
        self._http.receive_data(bytes(head))
        try:
            event = self._http.next_event()
            while isinstance(event, h11.InformationalResponse):
                event = self._http.next_event()
        except h11.RemoteProtocolError as failure:
            if not data:
                return self._broke("closed the connection without an answer")
            error = self._broke("answered with what is not HTTP/1.1; check its address")
            error.__cause__ = failure
            return error
        if isinstance(event, h11.Response):
            if not 200 <= event.status_code < 300:
                return self._refused(event)
            if self._http.trailing_data[0] or len(head) < len(data):
                # The server speaks second, so these bytes are not from it.
                return self._broke("sent more than its answer")
            return True
        if self._head_bytes >= _MAX_HEAD_BYTES:
            return self._broke(f"sent more than {_MAX_HEAD_BYTES} bytes of headers")
        return False

    def _broke(self, what: str) -> FrameError:
        return FrameError(f"the proxy {self._proxy.url} {what}")

    def _refused(self, answer: h11.Response) -> ProxyRefused:
        status = answer.status_code
        reason = answer.reason.decode("latin-1")
        reason = "".join(filter(str.isprintable, reason))[:100]
        return ProxyRefused(
            f"the proxy {self._proxy.url} does not connect to {self._server}: HTTP {status}"
            f"{reason and ' '}{reason}; {self._advice(status)}",
            status=status,
            reason=reason,
        )

    def _advice(self, status: int) -> str:
        if status == 407:
            if self._proxy.authorization is not None:
                return "it does not take this user name and password"
            return "it wants a user name and a password: http://user:password@host:port"
        if status == 403:
            return "its rules forbid this server; ask who runs it, or pass proxy=False"
        if status in (502, 503, 504):
            return "it cannot reach the server; check the URL, or try again later"
        return "check that this is a proxy that allows CONNECT"


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _basic(credentials: str, what: str) -> Secret:
    """The value of a header with user name and password (RFC 7617)."""
    user, _, password = credentials.partition(":")
    try:
        user, password = unquote(user, errors="strict"), unquote(password, errors="strict")
        pair = f"{user}:{password}".encode()
    except UnicodeError:
        pair = b"\0"
    if ":" in user or _CONTROL.search(pair.decode()):
        raise ConfigurationError(f"{what}: its user name or password cannot be sent as it is")
    return Secret("Basic " + base64.b64encode(pair).decode("ascii"))


def _first(env: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str]:
    """The first variable that is not empty, or no name and no value."""
    found = ((name, env.get(name, "").strip()) for name in names)
    return next((variable for variable in found if variable[1]), ("", ""))


def _is_excepted(host: str, port: int, rules: str) -> bool:
    """Whether a list like that of `NO_PROXY` names a host.

    Entries are separated by commas or spaces: `*` for all; a name, which stands for all below it, too; an
    address; a block of addresses (`10.0.0.0/8`); each of the last three may end in `:port`.
    """
    name = host.rstrip(".").lower()
    return any(_names(rule.lower(), name, port) for rule in re.split(r"[,\s]+", rules) if rule)


def _names(rule: str, host: str, port: int) -> bool:
    if rule == "*":
        return True
    if rule.count(":") == 1 or rule.startswith("["):
        rule, _, rule_port = rule.rpartition(":") if not rule.endswith("]") else (rule, "", "")
        if rule_port and rule_port != str(port):
            return False
        rule = rule.strip("[]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = rule.removeprefix("*").strip(".")
        return bool(name) and f".{host}".endswith(f".{name}")
    try:
        return address in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        return False
