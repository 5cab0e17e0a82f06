"""Where a session connects to, and how its server spells: OpenAI, Azure and any other.

An `Endpoint` is a value. It reads neither the environment (a mapping is handed in) nor the clock,
and it opens nothing: the trio side dials `host` and `port`, the wire asks for `target` with
`headers(...)`. What is wrong with an address or a credential is found here, before any network use,
as a `ConfigurationError` that never shows a key.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from ._address import (
    DEFAULT_PORTS,
    Address,
    Query,
    check_header_value,
    checked_headers,
    is_loopback,
)
from ._errors import ConfigurationError
from ._secrets import HiddenText, Secret, hide_frames
from ._version import __version__

__all__ = ["DEFAULT_BASE_URL", "DEFAULT_MODEL", "Dialect", "Endpoint", "KeySource"]

DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"
DEFAULT_MODEL: Final = "gpt-realtime"

KeyFunction = Callable[[], str | Awaitable[str]]
"""Gives a key or token, at once or by awaiting; called anew for each connection attempt (E6)."""
KeySource = str | Secret | KeyFunction

# Paths that name an API and not yet its realtime resource.
_BASE_PATHS: Final = frozenset({"", "/v1", "/openai", "/openai/v1"})
_CREDENTIAL_HEADERS: Final = frozenset(
    {"authorization", "api-key", "proxy-authorization", "cookie"}
)
_SECRET_NAME: Final = re.compile(r"key|token|secret|password|sig|auth|code", re.IGNORECASE)


class Dialect(enum.Enum):
    """How a server spells the protocol. Azure's GA generation speaks `GA`."""

    GA = "ga"
    """The API since its general availability; everything above the codec speaks it."""
    BETA = "beta"
    """The API before that: flat session, `modalities`, `response.audio.delta`."""
    AZURE_BETA = "azure_beta"
    """The beta as Azure's dated API versions speak it: no `"inf"`, transcription by `whisper-1`."""

    @property
    def is_beta(self) -> bool:
        """Whether messages have the beta's shapes."""
        return self is not Dialect.GA


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Endpoint:
    """An address with credentials; made by `Endpoint.openai`, `Endpoint.azure` or `Endpoint.url`.

    Frozen, compares by value, may be shared between sessions. With a key in it, it is not pickled.
    """

    scheme: str
    """`"ws"` or `"wss"`."""
    host: str
    """Host name in ASCII, or an IP address without brackets: what is resolved and verified."""
    port: int
    """TCP port, 1 to 65,535."""
    target: str
    """Path and query of the request line, percent-encoded; `url_without_secrets` is for showing."""
    dialect: Dialect
    """How the server spells messages."""
    model: str | None
    """The model (Azure: deployment) that the query names, or None where it names none."""
    call_id: str | None = None
    """The existing call that the session attaches to, or None (E7)."""
    key: Secret | KeyFunction | None = None
    """The credential, a function that gives it, or None where the server wants none."""
    key_header: str = "Authorization"
    """`"Authorization"` (as a bearer token) or `"api-key"` (Azure's keys)."""
    extra_headers: tuple[tuple[str, str], ...] = ()
    """The caller's own headers, checked; no repr shows their values."""

    @classmethod
    @hide_frames(ConfigurationError)
    def openai(
        cls,
        model: str | None = None,
        *,
        api_key: KeySource | None = None,
        base_url: str | None = None,
        dialect: Dialect | str = Dialect.GA,
        env: Mapping[str, str] | None = None,
        call_id: str | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, str] | None = None,
        allow_insecure: bool = False,
    ) -> Endpoint:
        """Make the endpoint of OpenAI, or of a server that takes OpenAI's place (E1).

        Args:
            model: The model, by default `gpt-realtime`. Not together with `call_id`.
            api_key: The key, or a function (sync or async) that is called for each connection
                attempt. By default `env["OPENAI_API_KEY"]`.
            base_url: By default `env["OPENAI_BASE_URL"]`, else the public one; `url` has its rules.
            dialect: `"ga"` or `"beta"`.
            env: Environment variables; the core reads none by itself.
            call_id: Attach to this existing SIP or WebRTC call instead of starting a session (E7).
            extra_headers: More request headers; one with the name of ours takes its place.
            extra_query: More query parameters.
            allow_insecure: Let the key travel without TLS to a host other than this machine.

        Raises:
            ConfigurationError: The key is missing or empty, or an argument is not usable.
        """
        environment: Mapping[str, str] = {} if env is None else env
        if api_key is None:
            api_key = environment.get("OPENAI_API_KEY")
        if not api_key:
            raise ConfigurationError(
                "no API key: pass api_key=..., or set OPENAI_API_KEY in the environment"
            )
        return cls.url(
            base_url or environment.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL,
            api_key=api_key,
            model=model,
            dialect=dialect,
            call_id=call_id,
            extra_headers=extra_headers,
            extra_query=extra_query,
            allow_insecure=allow_insecure,
        )

    @classmethod
    @hide_frames(ConfigurationError)
    def url(
        cls,
        url: str,
        *,
        api_key: KeySource | None = None,
        model: str | None = None,
        dialect: Dialect | str = Dialect.GA,
        call_id: str | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, str] | None = None,
        allow_insecure: bool = False,
    ) -> Endpoint:
        """Make the endpoint of any server by its URL (E4).

        `http` and `https` mean `ws` and `wss`. A path that names only an API (none, `/v1`,
        `/openai`, `/openai/v1`) gets `/realtime`; any other is kept, without its trailing slash.
        The query is kept.

        Args:
            url: `ws://`, `wss://`, `http://` or `https://` address, without user name and fragment.
            api_key: Sent as a bearer token; a function is called for each connection attempt. None
                sends no credential.
            model: By default `gpt-realtime`; `""` names no model. The URL's own `model` wins.
            dialect: `"ga"`, `"beta"` or `"azure_beta"`.
            call_id: Attach to this existing call; no model is named then.
            extra_headers: More request headers; one with the name of ours takes its place.
            extra_query: More query parameters; not one that the URL has already.
            allow_insecure: Let the key travel without TLS to a host other than this machine.

        Raises:
            ConfigurationError: An argument is not usable; the message names it.
        """
        address = Address.parse(url, "the URL")
        query = Query(address.query, extra_query)
        if call_id is not None:
            _attach(query, call_id, model)
        elif model != "":
            query.add("model", DEFAULT_MODEL if model is None else model)
        return cls._make(
            address,
            path=address.path + ("/realtime" if address.path in _BASE_PATHS else ""),
            query=query,
            dialect=_dialect(dialect),
            model=query.get("model"),
            call_id=call_id,
            key=api_key,
            extra_headers=extra_headers,
            allow_insecure=allow_insecure,
        )

    @classmethod
    @hide_frames(ConfigurationError)
    def azure(
        cls,
        deployment: str | None = None,
        *,
        resource_url: str | None = None,
        base_url: str | None = None,
        api_key: KeySource | None = None,
        token: KeySource | None = None,
        api_version: str | None = None,
        env: Mapping[str, str] | None = None,
        call_id: str | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, str] | None = None,
        allow_insecure: bool = False,
    ) -> Endpoint:
        """Make the endpoint of an Azure OpenAI resource, in either of its two generations (E2, E3).

        With an API version: path `/openai/realtime`, query `api-version` and `deployment`, beta
        dialect. Without one: path `/openai/v1/realtime`, query `model=<deployment>`, GA dialect.

        Args:
            deployment: Name of the deployment; not together with `call_id`.
            resource_url: `https://NAME.openai.azure.com`; default `env["AZURE_OPENAI_ENDPOINT"]`.
            base_url: A whole address instead (a gateway's); a path beyond the API's own is kept.
            api_key: Sent as `api-key`; by default `env["AZURE_OPENAI_API_KEY"]`. May be a function.
            token: Entra token, sent as a bearer token; by default `env["AZURE_OPENAI_AD_TOKEN"]`,
                which the key goes before. May be a function, which suits what expires.
            api_version: By default `env["OPENAI_API_VERSION"]`; `""` says "none" whatever that is.
            env: Environment variables; the core reads none by itself.
            call_id: Attach to this existing call (GA generation only).
            extra_headers: More request headers; one with the name of ours takes its place.
            extra_query: More query parameters.
            allow_insecure: Let the credential travel without TLS to a host other than this machine.

        Raises:
            ConfigurationError: Something is missing, given twice or not usable; it is named.
        """
        environment: Mapping[str, str] = {} if env is None else env
        if api_version is None:
            api_version = environment.get("OPENAI_API_VERSION", "")
        address, prefix = _azure_address(resource_url, base_url, environment)
        query = Query(address.query, extra_query)
        model_parameter = "deployment" if api_version else "model"
        if call_id is not None:
            if api_version:
                raise ConfigurationError(
                    "call_id needs Azure's GA generation: leave api_version out "
                    '(api_version="" where OPENAI_API_VERSION is set)'
                )
            _attach(query, call_id, deployment)
        else:
            if api_version:
                query.add("api-version", api_version)
            if deployment:
                query.add(model_parameter, deployment)
            if not query.get(model_parameter):
                raise ConfigurationError("no deployment: pass deployment=... (its name in Azure)")
        own_path = "/openai/realtime" if api_version else "/openai/v1/realtime"
        key, key_header = _azure_credential(api_key, token, environment)
        return cls._make(
            address,
            path=address.path if prefix is None else prefix + own_path,
            query=query,
            dialect=Dialect.AZURE_BETA if api_version else Dialect.GA,
            model=query.get(model_parameter),
            call_id=call_id,
            key=key,
            key_header=key_header,
            extra_headers=extra_headers,
            allow_insecure=allow_insecure,
        )

    @classmethod
    def _make(
        cls,
        address: Address,
        *,
        path: str,
        query: Query,
        dialect: Dialect,
        model: str | None,
        call_id: str | None,
        key: KeySource | None,
        key_header: str = "Authorization",
        extra_headers: Mapping[str, str] | None,
        allow_insecure: bool,
    ) -> Endpoint:
        extras = checked_headers(extra_headers)
        target = path + query.encoded()
        if _shown_target(target) != target:
            target = HiddenText(target)
        secret = key is not None or any(name.lower() in _CREDENTIAL_HEADERS for name, _ in extras)
        if secret and address.scheme == "ws" and not (allow_insecure or is_loopback(address.host)):
            raise ConfigurationError(
                f"a key would travel to {address.host} without encryption: use wss:// (or "
                "https://), or pass allow_insecure=True if the network between is yours"
            )
        return cls(
            scheme=address.scheme,
            host=address.host,
            port=address.port,
            target=target,
            dialect=dialect,
            model=model,
            call_id=call_id,
            key=_key(key),
            key_header=key_header,
            extra_headers=extras,
        )

    @property
    def is_secure(self) -> bool:
        """Whether the connection uses TLS."""
        return self.scheme == "wss"

    @property
    def host_header(self) -> str:
        """Value of the Host header: IPv6 in brackets, the port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def session_model(self) -> str | None:
        """The model as a session names it; None where a call or an Azure deployment has it (S1)."""
        is_azure = self.key_header == "api-key" or self.host.endswith((".azure.com", ".azure.us"))
        return None if is_azure or self.dialect is Dialect.AZURE_BETA else self.model

    @property
    def url_without_secrets(self) -> str:
        """The address for people: query parameters with a secret's name show `***`."""
        return f"{self.scheme}://{self.host_header}{_shown_target(self.target)}"

    @property
    def key_provider(self) -> KeyFunction | None:
        """The function to call before each connection attempt, or None where the key is fixed (E6).

        It gives a `str` or an awaitable of one, to be handed to `headers`.
        """
        return None if isinstance(self.key, Secret) else self.key

    @hide_frames(ConfigurationError)
    def headers(self, api_key: str | Secret | None = None) -> list[tuple[str, str]]:
        """Make the request headers, less those that the WebSocket handshake makes itself (E5).

        Args:
            api_key: The key for this attempt; needed where `key_provider` is not None.

        Returns:
            Names and values, in latin-1. The key is in it, as text that no repr shows.

        Raises:
            ConfigurationError: The key is missing, empty, or has characters that no header holds.
        """
        own = [("User-Agent", f"trio-rt/{__version__}")]
        if self.dialect.is_beta:
            own.append(("OpenAI-Beta", "realtime=v1"))
        given = {name.lower() for name, _ in self.extra_headers}
        headers = [(name, value) for name, value in own if name.lower() not in given]
        if given.isdisjoint({"authorization", "api-key"}):
            headers.extend(self._credential(api_key))
        return headers + list(self.extra_headers)

    def secrets(self, api_key: str | Secret | None = None) -> list[HiddenText]:
        """What nobody may be shown: credentials, the caller's own headers, secret query parameters.

        Args:
            api_key: As for `headers`.
        """
        found: list[HiddenText] = []
        for _, value in self.headers(api_key):
            if isinstance(value, HiddenText):
                found += [value, HiddenText(value.rpartition(" ")[2])]  # what follows "Bearer", too
        for parameter in self.target.partition("?")[2].split("&"):
            name, _, value = parameter.partition("=")
            if _SECRET_NAME.search(name):
                found += [HiddenText(value), HiddenText(unquote(value))]
        return found

    def _credential(self, api_key: str | Secret | None) -> Sequence[tuple[str, str]]:
        if api_key is None:
            if self.key is None:
                return ()
            if not isinstance(self.key, Secret):
                raise ConfigurationError(
                    "the key is a function: call key_provider, pass what it gives to headers(...)"
                )
            api_key = self.key
        key = api_key.reveal() if isinstance(api_key, Secret) else api_key
        _check_key(key)
        bearer = self.key_header == "Authorization"
        return ((self.key_header, HiddenText(f"Bearer {key}" if bearer else key)),)

    def __repr__(self) -> str:
        extras = ", ".join(name for name, _ in self.extra_headers)
        return (
            f"<Endpoint {self.url_without_secrets} dialect={self.dialect.value}"
            + (f" extra_headers=[{extras}]" if extras else "")
            + ">"
        )


def _shown_target(target: str) -> str:
    path, mark, query = target.partition("?")
    return path + mark + "&".join(_without_secret(parameter) for parameter in query.split("&"))


def _without_secret(parameter: str) -> str:
    name, mark, _ = parameter.partition("=")
    return f"{name}{mark}***" if _SECRET_NAME.search(name) else parameter


def _dialect(dialect: Dialect | str) -> Dialect:
    try:
        return Dialect(dialect)
    except ValueError:
        known = ", ".join(repr(member.value) for member in Dialect)
        raise ConfigurationError(f"dialect {dialect!r} is none of {known}") from None


def _attach(query: Query, call_id: str, model: str | None) -> None:
    """Name a call instead of a model (E7)."""
    if not call_id:
        raise ConfigurationError("call_id is empty; leave it out to start a session of its own")
    if model or query.get("model"):
        raise ConfigurationError(
            "call_id and a model (or deployment) exclude each other: the call has its model already"
        )
    query.add("call_id", call_id)


def _azure_address(
    resource_url: str | None, base_url: str | None, env: Mapping[str, str]
) -> tuple[Address, str | None]:
    """Give the address and what goes before the generation's own path, or None to keep the path."""
    if resource_url and base_url:
        raise ConfigurationError("resource_url and base_url exclude each other; give one")
    if base_url:
        address = Address.parse(base_url, "base_url")
        return address, "" if address.path in _BASE_PATHS else None
    resource_url = resource_url or env.get("AZURE_OPENAI_ENDPOINT")
    if not resource_url:
        raise ConfigurationError(
            "no Azure endpoint: pass resource_url=... (https://NAME.openai.azure.com) or "
            "base_url=..., or set AZURE_OPENAI_ENDPOINT in the environment"
        )
    address = Address.parse(resource_url, "resource_url (or AZURE_OPENAI_ENDPOINT)")
    # People paste the resource with the API's path behind it; the generation says which it is.
    if address.path in _BASE_PATHS:
        return address, ""
    return address, address.path.removesuffix("/openai/v1").removesuffix("/openai")


def _azure_credential(
    api_key: KeySource | None, token: KeySource | None, env: Mapping[str, str]
) -> tuple[KeySource, str]:
    """Choose the one credential and its header: arguments before the environment, never two."""
    if api_key is not None and token is not None:
        raise ConfigurationError("api_key and token exclude each other; give one")
    if api_key is None and token is None:
        api_key = env.get("AZURE_OPENAI_API_KEY") or None
        token = None if api_key else env.get("AZURE_OPENAI_AD_TOKEN")
    if api_key:
        return api_key, "api-key"
    if token:
        return token, "Authorization"
    raise ConfigurationError(
        "no Azure credentials: pass api_key=... or token=... (an Entra token), or set "
        "AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN in the environment"
    )


def _key(source: KeySource | None) -> Secret | KeyFunction | None:
    if isinstance(source, str):
        source = Secret(source)
    if isinstance(source, Secret):
        _check_key(source.reveal())
    return source


def _check_key(key: str) -> None:
    if not key:
        raise ConfigurationError("the API key is empty (leave it out where the server wants none)")
    check_header_value(key, "the API key")
