"""The opening handshake of RFC 6455 over HTTP/1.1, both roles, by h11.

Each role is an object that takes bytes and gives one outcome. No extension is ever offered or
accepted, so there is no compression and no compression bomb. All heads of the peer together, the
informational ones included, stay within one bound; so does the body of a rejection.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping

import h11
import msgspec

from sansio_rt._errors import FrameError, HandshakeRejected, LocalProtocolError
from sansio_rt._secrets import HiddenBytes

__all__ = ["ClientHandshake", "HandshakeAccepted", "HandshakeRequest", "Headers", "ServerHandshake"]

Headers = tuple[tuple[str, str], ...]
"""Header names, in lower case when received, and their values, in the order of the wire."""

_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3

_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"(?:[\x21-\x7e]+(?:[ \t]+[\x21-\x7e]+)*)?")
_HOST = re.compile(r"[-._~%:\[\]0-9A-Za-z]+")
_TARGET = re.compile(r"/[\x21\x22\x24-\x7e]*")  # visible, and no fragment
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")

_OURS = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "transfer-encoding",
        "upgrade",
    }
)


class HandshakeAccepted(msgspec.Struct, frozen=True):
    """Client role: the server has upgraded the connection.

    Attributes:
        status: Always 101.
        headers: The answer's headers.
        subprotocol: The one of ours that the server chose, or None.
    """

    status: int
    headers: Headers
    subprotocol: str | None = None


class HandshakeRequest(msgspec.Struct, frozen=True):
    """Server role: a valid request to upgrade; answer it with `accept` or `reject`.

    Its `repr` shows neither the query nor any header's value, since keys travel in both.

    Attributes:
        target: Path and query as the client sent them.
        headers: The request's headers.
        subprotocols: What the client offers, in its order of preference.
    """

    target: str
    headers: Headers
    subprotocols: tuple[str, ...] = ()

    def __repr__(self) -> str:
        names = ", ".join(name for name, _ in self.headers)
        return f"HandshakeRequest(target={self.target.partition('?')[0]!r}, header names: {names})"


class ClientHandshake:
    """The client's side: one request, one answer.

    Args:
        host: Value of the `Host` header: name or address, with `:port` where needed.
        target: Path and query.
        headers: Further headers, such as the authorization.
        subprotocols: Subprotocols to offer, best first.
        nonce: 16 random bytes.
        max_head_bytes: Bound of all of the answer's heads together.
        max_body_bytes: How much of a rejection's body is kept.

    Attributes:
        request: The bytes to send.
        trailing: What came after the answer in the same read.

    Raises:
        LocalProtocolError: An argument does not belong into an HTTP request. The message names it,
            without its value.
    """

    def __init__(
        self,
        host: str,
        target: str,
        *,
        headers: Iterable[tuple[str, str]],
        subprotocols: Iterable[str],
        nonce: bytes,
        max_head_bytes: int,
        max_body_bytes: int,
    ) -> None:
        _require(_HOST, host, "host", "a name or an address, with :port where needed")
        _require(_TARGET, target, "target", "a path that starts with / and is percent-encoded")
        if len(nonce) != 16:
            raise LocalProtocolError(
                f"random_bytes(16) gave {len(nonce)} bytes; hand in a source like os.urandom"
            )
        self._subprotocols = _checked_tokens(subprotocols)
        key = base64.b64encode(nonce)
        self._accept = _accept_of(key)
        self._max_head_bytes = max_head_bytes
        self._max_body_bytes = max_body_bytes
        self._head_bytes = 0
        self._rejection: h11.Response | None = None
        self._body = bytearray()
        self.trailing = b""
        fields = [
            ("Host", host),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", key.decode()),
            ("Sec-WebSocket-Version", "13"),
        ]
        if self._subprotocols:
            fields.append(("Sec-WebSocket-Protocol", ", ".join(self._subprotocols)))
        fields += _checked_headers(headers)
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=max_head_bytes)
        head = self._http.send(h11.Request(method="GET", target=target, headers=fields))
        self.request: bytes = HiddenBytes(head + self._http.send(h11.EndOfMessage()))

    def receive_data(
        self, data: bytes
    ) -> HandshakeAccepted | HandshakeRejected | FrameError | None:
        """Take bytes of the answer.

        Args:
            data: Bytes in any split.

        Returns:
            None while the answer is incomplete, otherwise how it ended; then call nothing more.
        """
        if self._rejection is not None:
            return self._read_body(data)
        # h11 gets no more than the heads may have, so that it cannot parse beyond the bound even
        # where one read brings more than that.
        head = data[: self._max_head_bytes - self._head_bytes]
        self._head_bytes += len(head)
        self._http.receive_data(head)
        try:
            event = self._http.next_event()
            while isinstance(event, h11.InformationalResponse) and event.status_code != 101:
                event = self._http.next_event()
        except h11.RemoteProtocolError as failure:
            return _frame_error("what the server answered is not HTTP/1.1", failure)
        if isinstance(event, h11.InformationalResponse):
            self.trailing = self._http.trailing_data[0] + data[len(head) :]
            return self._judge(event)
        if isinstance(event, h11.Response):
            self._rejection = event
            return self._read_body(data[len(head) :])
        if self._head_bytes >= self._max_head_bytes:
            return FrameError(
                f"the server's answer has more than {self._max_head_bytes} bytes of headers"
            )
        return None

    def receive_eof(self) -> HandshakeRejected | None:
        """Give a rejection whose body had not ended yet, with what came of the body."""
        return None if self._rejection is None else self._rejected(self._rejection)

    def _read_body(self, data: bytes) -> HandshakeRejected | None:
        """Collect the body; its end, its bound and its first error all end it."""
        assert self._rejection is not None
        if data:
            self._http.receive_data(data)
        try:
            event = self._http.next_event()
            while isinstance(event, h11.Data):
                self._body += event.data
                event = self._http.next_event()
            ended = isinstance(event, h11.EndOfMessage)
        except h11.RemoteProtocolError:
            ended = True
        if ended or len(self._body) >= self._max_body_bytes:
            return self._rejected(self._rejection)
        return None

    def _rejected(self, response: h11.Response) -> HandshakeRejected:
        retry_after = _values(response.headers, b"retry-after")
        seconds = retry_after[0] if retry_after and _SECONDS.fullmatch(retry_after[0]) else None
        return HandshakeRejected(
            response.status_code,
            reason=" ".join(_printable(response.reason.decode("latin-1")).split()),
            body=_printable(self._body[: self._max_body_bytes].decode(errors="replace")),
            retry_after_s=None if seconds is None else float(seconds),
        )

    def _judge(self, answer: h11.InformationalResponse) -> HandshakeAccepted | FrameError:
        """Check the 101 as RFC 6455 4.1 demands."""
        headers = answer.headers
        subprotocols = _values(headers, b"sec-websocket-protocol")
        rules = {
            "is not HTTP/1.1": answer.http_version == b"1.1",
            "has no 'Upgrade: websocket'": "websocket" in _tokens(headers, b"upgrade"),
            "has no 'Connection: Upgrade'": "upgrade" in _tokens(headers, b"connection"),
            "has a wrong Sec-WebSocket-Accept": (
                _values(headers, b"sec-websocket-accept") == [self._accept]
            ),
            "uses an extension that was not offered": (
                not _tokens(headers, b"sec-websocket-extensions")
            ),
            "names a subprotocol that was not offered": (
                not subprotocols
                or (len(subprotocols) == 1 and subprotocols[0] in self._subprotocols)
            ),
        }
        for fault, kept in rules.items():
            if not kept:
                return FrameError(f"the server's handshake {fault}")
        return HandshakeAccepted(
            answer.status_code, _decoded(headers), subprotocols[0] if subprotocols else None
        )


class ServerHandshake:
    """The server's side: one request, one answer.

    A request that is no upgrade to WebSocket is answered here; the others wait for the caller.

    Args:
        max_head_bytes: Bound of the request.

    Attributes:
        refusal: The bytes that answer a bad request, set with the `FrameError`.
    """

    def __init__(self, *, max_head_bytes: int) -> None:
        self.refusal = b""
        self._max_head_bytes = max_head_bytes
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=max_head_bytes)
        self._head_bytes = 0
        self._request: HandshakeRequest | None = None
        self._accept = ""
        self._answer_has_body = True

    def receive_data(self, data: bytes) -> HandshakeRequest | FrameError | None:
        """Take bytes of the request.

        Args:
            data: Bytes in any split.

        Returns:
            None while the request is incomplete, otherwise how it ended.
        """
        if self._request is not None:
            return self._refuse(400, "the client sent more before its handshake was answered")
        head = data[: self._max_head_bytes - self._head_bytes]
        self._head_bytes += len(head)
        self._http.receive_data(head)
        try:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                return self._judge(event, self._http.next_event())
        except h11.RemoteProtocolError as failure:
            return self._refuse(400, "what the client sent is not HTTP/1.1", failure)
        if self._head_bytes >= self._max_head_bytes:
            return self._refuse(431, f"the request has more than {self._max_head_bytes} bytes")
        return None

    def _judge(self, request: h11.Request, after: object) -> HandshakeRequest | FrameError:
        """Check the request as RFC 6455 4.2.1 demands."""
        self._answer_has_body = request.method != b"HEAD"
        headers = request.headers
        keys = _values(headers, b"sec-websocket-key")
        offered = tuple(_tokens(headers, b"sec-websocket-protocol", lower=False))
        faults = {
            "the method is not GET": (405, request.method != b"GET"),
            "it is not HTTP/1.1": (505, request.http_version != b"1.1"),
            "it has no 'Upgrade: websocket'": (
                426,
                "websocket" not in _tokens(headers, b"upgrade")
                or "upgrade" not in _tokens(headers, b"connection"),
            ),
            "its Sec-WebSocket-Version is not 13": (
                426,
                _values(headers, b"sec-websocket-version") != ["13"],
            ),
            "its Sec-WebSocket-Key is not 16 bytes in base64": (
                400,
                len(keys) != 1 or not _is_key(keys[0]),
            ),
            "its Sec-WebSocket-Protocol offers what is no token": (
                400,
                not all(map(_TOKEN.fullmatch, offered)),
            ),
            "it has a body, or more behind it": (
                400,
                not isinstance(after, h11.EndOfMessage) or self._http.trailing_data[0] != b"",
            ),
        }
        for fault, (status, found) in faults.items():
            if found:
                return self._refuse(status, f"the client's request is no WebSocket one: {fault}")
        self._accept = _accept_of(keys[0].encode())
        self._request = HandshakeRequest(
            request.target.decode("latin-1"),
            _decoded(headers),
            offered,
        )
        return self._request

    def accept(self, headers: Iterable[tuple[str, str]], subprotocol: str | None) -> bytes:
        """Give the bytes that upgrade the connection.

        Raises:
            LocalProtocolError: A header is not one, or the client did not offer the subprotocol.
        """
        request = self._waiting_request()
        fields = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", self._accept),
        ]
        if subprotocol is not None:
            if subprotocol not in request.subprotocols:
                raise LocalProtocolError(
                    "accept: the client did not offer this subprotocol; choose one of "
                    "HandshakeRequest.subprotocols or None"
                )
            fields.append(("Sec-WebSocket-Protocol", subprotocol))
        fields += _checked_headers(headers)
        return self._http.send(h11.InformationalResponse(status_code=101, headers=fields))

    def reject(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
        """Give the bytes that answer with another status.

        Raises:
            LocalProtocolError: A header is not one, or the status is not 300 to 599, or 304.
        """
        self._waiting_request()
        if not 300 <= status <= 599 or status == 304:
            raise LocalProtocolError(
                f"reject: status {status} does not refuse; take one from 300 to 599, not 304"
            )
        return self._answer(status, _checked_headers(headers), body)

    def _waiting_request(self) -> HandshakeRequest:
        if self._request is None:
            raise LocalProtocolError("there is no request to answer; wait for HandshakeRequest")
        return self._request

    def _refuse(self, status: int, text: str, cause: Exception | None = None) -> FrameError:
        required = [("Sec-WebSocket-Version", "13")] if status == 426 else []
        self.refusal = self._answer(status, required, text.encode())
        return _frame_error(text, cause)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> bytes:
        fields = [*headers, ("Content-Length", str(len(body))), ("Connection", "close")]
        response = h11.Response(status_code=status, headers=fields, reason=_REASONS.get(status, ""))
        head = self._http.send(response)
        content = self._http.send(h11.Data(data=body)) if self._answer_has_body else b""
        return head + content + self._http.send(h11.EndOfMessage())


_REASONS: Mapping[int, str] = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


def _frame_error(text: str, cause: Exception | None) -> FrameError:
    error = FrameError(text)
    error.__cause__ = cause
    return error


def _accept_of(key: bytes) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 4.2.2)."""
    digest = hashlib.sha1(key + _ACCEPT_GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text.encode("latin-1"), validate=True)) == 16
    except binascii.Error:
        return False


def _require(pattern: re.Pattern[str], value: object, name: str, wanted: str) -> None:
    """Check a value that may be secret: the error names it and does not show it."""
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise LocalProtocolError(f"{name} is not usable in an HTTP request: it must be {wanted}")


def _checked_tokens(subprotocols: Iterable[str]) -> tuple[str, ...]:
    checked = tuple(subprotocols)
    for subprotocol in checked:
        _require(_TOKEN, subprotocol, "a subprotocol", "letters, digits and -._ without spaces")
    return checked


def _checked_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    checked = list(headers)
    for name, value in checked:
        _require(_TOKEN, name, "a header's name", "letters, digits and hyphens")
        _require(_VALUE, value, f"the header {name}", "visible ASCII characters on one line")
        if name.lower() in _OURS:
            raise LocalProtocolError(f"the header {name} belongs to the handshake; leave it out")
    return checked


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for found, value in headers if found == name]


def _tokens(
    headers: Iterable[tuple[bytes, bytes]], name: bytes, *, lower: bool = True
) -> list[str]:
    """The comma-separated elements of all headers of that name."""
    joined = ",".join(_values(headers, name))
    elements = [element.strip() for element in (joined.lower() if lower else joined).split(",")]
    return [element for element in elements if element]


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)


def _printable(text: str) -> str:
    """Take out what could command the terminal that an error is printed to."""
    return "".join(
        character for character in text if character.isprintable() or character in "\t\r\n"
    )
