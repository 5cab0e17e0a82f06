"""Endpoints: rows E1 to E7 of the parity table, and issue 5's rule about keys without TLS."""

from __future__ import annotations

import dataclasses
import pickle
import tomllib
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio_rt._address import is_loopback
from sansio_rt._endpoint import DEFAULT_MODEL, Dialect, Endpoint
from sansio_rt._errors import ConfigurationError
from sansio_rt._secrets import Secret
from sansio_rt._version import __version__

KEY = "sk-test-0123456789"
RESOURCE = "https://mine.openai.azure.com"
VERSION = "2024-10-01-preview"


def query_of(endpoint: Endpoint) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(endpoint.target).query, keep_blank_values=True))


def path_of(endpoint: Endpoint) -> str:
    return urlsplit(endpoint.target).path


def header(endpoint: Endpoint, name: str, api_key: str | None = None) -> str | None:
    values = [value for key, value in endpoint.headers(api_key) if key.lower() == name.lower()]
    assert len(values) <= 1, name
    return values[0] if values else None


# --- E1: OpenAI ---------------------------------------------------------------------------------


def test_the_public_address_is_the_default() -> None:
    endpoint = Endpoint.openai(api_key=KEY)
    assert (endpoint.scheme, endpoint.host, endpoint.port) == ("wss", "api.openai.com", 443)
    assert endpoint.host_header == "api.openai.com"
    assert endpoint.target == f"/v1/realtime?model={DEFAULT_MODEL}"
    assert endpoint.model == DEFAULT_MODEL == "gpt-realtime"
    assert endpoint.dialect is Dialect.GA
    assert endpoint.is_secure
    assert header(endpoint, "Authorization") == f"Bearer {KEY}"


def test_key_and_address_come_from_the_mapping_that_is_handed_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-process")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://process.example/v1")
    env = {"OPENAI_API_KEY": "from-env", "OPENAI_BASE_URL": "http://127.0.0.1:8080/v1"}
    endpoint = Endpoint.openai(env=env)
    assert header(endpoint, "Authorization") == "Bearer from-env"
    assert (endpoint.scheme, endpoint.host, endpoint.port) == ("ws", "127.0.0.1", 8080)
    with pytest.raises(ConfigurationError):  # the process's own environment is never read
        Endpoint.openai()
    assert Endpoint.openai(api_key=KEY).host == "api.openai.com"


def test_arguments_go_before_the_environment() -> None:
    env = {"OPENAI_API_KEY": "from-env", "OPENAI_BASE_URL": "https://env.example"}
    endpoint = Endpoint.openai("gpt-x", api_key=KEY, base_url="https://own.example", env=env)
    assert header(endpoint, "Authorization") == f"Bearer {KEY}"
    assert endpoint.host == "own.example"
    assert endpoint.model == "gpt-x"


@pytest.mark.parametrize(
    ("api_key", "env"),
    [
        (None, {}),
        (None, None),
        (None, {"OPENAI_API_KEY": ""}),
        ("", {}),
        ("", {"OPENAI_API_KEY": "sk-of-somebody-else"}),
        (Secret(""), {}),
    ],
)
def test_a_missing_or_empty_key_names_both_ways(api_key, env) -> None:
    with pytest.raises(ConfigurationError, match=r"api_key=.*OPENAI_API_KEY"):
        Endpoint.openai(api_key=api_key, env=env)


# --- E2, E3: Azure ------------------------------------------------------------------------------


def test_azure_without_a_version_is_the_ga_generation() -> None:
    endpoint = Endpoint.azure("my-deployment", resource_url=RESOURCE, api_key=KEY)
    assert endpoint.host == "mine.openai.azure.com"
    assert endpoint.target == "/openai/v1/realtime?model=my-deployment"
    assert endpoint.dialect is Dialect.GA
    assert endpoint.model == "my-deployment"
    assert header(endpoint, "OpenAI-Beta") is None


def test_azure_with_a_version_is_the_beta_generation() -> None:
    endpoint = Endpoint.azure("mine", resource_url=RESOURCE, api_key=KEY, api_version=VERSION)
    assert endpoint.target == f"/openai/realtime?api-version={VERSION}&deployment=mine"
    assert endpoint.dialect is Dialect.AZURE_BETA
    assert endpoint.model == "mine"
    assert header(endpoint, "OpenAI-Beta") == "realtime=v1"


def test_azure_from_the_environment() -> None:
    env = {
        "AZURE_OPENAI_ENDPOINT": RESOURCE + "/",
        "AZURE_OPENAI_API_KEY": KEY,
        "OPENAI_API_VERSION": VERSION,
    }
    endpoint = Endpoint.azure("mine", env=env)
    assert endpoint.target == f"/openai/realtime?api-version={VERSION}&deployment=mine"
    assert header(endpoint, "api-key") == KEY
    assert Endpoint.azure("mine", env=env, api_version="").dialect is Dialect.GA
    other = Endpoint.azure("mine", env=env, api_version="2025-01-01")
    assert query_of(other)["api-version"] == "2025-01-01"


def test_azure_keys_and_tokens_have_a_header_each_and_never_both() -> None:
    env = {"AZURE_OPENAI_API_KEY": "env-key", "AZURE_OPENAI_AD_TOKEN": "env-token"}
    cases = [
        ({"api_key": KEY}, {}, KEY, None),
        ({"token": "entra"}, {}, None, "Bearer entra"),
        ({"token": "entra"}, env, None, "Bearer entra"),
        ({"api_key": KEY}, env, KEY, None),
        ({}, env, "env-key", None),
        ({}, {"AZURE_OPENAI_AD_TOKEN": "env-token"}, None, "Bearer env-token"),
    ]
    for arguments, environment, key, bearer in cases:
        endpoint = Endpoint.azure("mine", resource_url=RESOURCE, env=environment, **arguments)
        assert header(endpoint, "api-key") == key
        assert header(endpoint, "Authorization") == bearer


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"resource_url": RESOURCE}, "api_key=.*token=.*AZURE_OPENAI_API_KEY"),
        ({"resource_url": RESOURCE, "api_key": ""}, "api_key=.*AZURE_OPENAI_API_KEY"),
        ({"resource_url": RESOURCE, "token": ""}, "token=.*AZURE_OPENAI_AD_TOKEN"),
        ({"api_key": KEY}, "resource_url=.*base_url=.*AZURE_OPENAI_ENDPOINT"),
        ({"api_key": KEY, "resource_url": ""}, "resource_url=.*AZURE_OPENAI_ENDPOINT"),
        (
            {"api_key": KEY, "resource_url": RESOURCE, "base_url": "https://gateway.example"},
            "resource_url and base_url",
        ),
        ({"api_key": KEY, "token": "entra", "resource_url": RESOURCE}, "api_key and token"),
        ({"api_key": KEY, "resource_url": RESOURCE, "deployment": ""}, "deployment="),
        (
            {"api_key": KEY, "resource_url": RESOURCE, "deployment": "", "api_version": VERSION},
            "deployment=",
        ),
    ],
)
def test_azure_names_what_is_missing_or_given_twice(arguments, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Endpoint.azure(**{"deployment": "mine", **arguments})


@pytest.mark.parametrize("version", ["", VERSION])
@pytest.mark.parametrize(
    ("where", "path", "expected"),
    [
        ("resource_url", "", "{own}"),
        ("resource_url", "/", "{own}"),
        ("resource_url", "/openai", "{own}"),
        ("resource_url", "/openai/v1/", "{own}"),
        ("resource_url", "/v1", "{own}"),
        ("resource_url", "/gateway", "/gateway{own}"),
        ("resource_url", "/gateway/openai/v1", "/gateway{own}"),
        ("base_url", "", "{own}"),
        ("base_url", "/v1", "{own}"),
        ("base_url", "/openai/", "{own}"),
        ("base_url", "/openai/v1", "{own}"),
        ("base_url", "/voice/live/", "/voice/live"),
    ],
)
def test_azure_paths(where: str, path: str, expected: str, version: str) -> None:
    own = "/openai/realtime" if version else "/openai/v1/realtime"
    endpoint = Endpoint.azure(
        "mine", api_key=KEY, api_version=version, **{where: f"https://azure.example{path}"}
    )
    assert path_of(endpoint) == expected.format(own=own)


def test_azure_keeps_a_query_that_is_there() -> None:
    url = "https://gateway.example/live?deployment=theirs&region=eu"
    endpoint = Endpoint.azure("mine", base_url=url, api_key=KEY, api_version=VERSION)
    assert endpoint.target == f"/live?deployment=theirs&region=eu&api-version={VERSION}"
    assert endpoint.model == "theirs"
    assert Endpoint.azure(base_url=url, api_key=KEY, api_version=VERSION).model == "theirs"


# --- E4: URL rules ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "scheme", "port", "host_header"),
    [
        ("http://server.example", "ws", 80, "server.example"),
        ("https://server.example", "wss", 443, "server.example"),
        ("ws://server.example", "ws", 80, "server.example"),
        ("wss://server.example", "wss", 443, "server.example"),
        ("WSS://Server.Example", "wss", 443, "server.example"),
        ("ws://server.example:8080", "ws", 8080, "server.example:8080"),
        ("wss://server.example:443", "wss", 443, "server.example"),
        ("ws://server.example:443", "ws", 443, "server.example:443"),
        ("ws://server.example:", "ws", 80, "server.example"),
        ("ws://10.0.0.1:9", "ws", 9, "10.0.0.1:9"),
        ("ws://my_server-1:65535", "ws", 65535, "my_server-1:65535"),
    ],
)
def test_scheme_and_port(url: str, scheme: str, port: int, host_header: str) -> None:
    endpoint = Endpoint.url(url)
    assert (endpoint.scheme, endpoint.port) == (scheme, port)
    assert endpoint.host_header == host_header
    assert endpoint.is_secure is (scheme == "wss")
    assert endpoint.url_without_secrets == f"{scheme}://{host_header}/realtime?model=gpt-realtime"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "/realtime"),
        ("/", "/realtime"),
        ("/v1", "/v1/realtime"),
        ("/v1/", "/v1/realtime"),
        ("/openai", "/openai/realtime"),
        ("/openai/v1", "/openai/v1/realtime"),
        ("/openai/v1/", "/openai/v1/realtime"),
        ("/v1/realtime", "/v1/realtime"),
        ("/realtime/", "/realtime"),
        ("/some/where", "/some/where"),
        ("/some/where///", "/some/where"),
        ("/V1", "/V1"),
        ("/a%20b/%2F", "/a%20b/%2F"),
        ("/straße", "/stra%C3%9Fe"),
        ('/a"<b>\\', "/a%22%3Cb%3E%5C"),
    ],
)
def test_paths(path: str, expected: str) -> None:
    assert Endpoint.url(f"ws://localhost{path}").target == expected + "?model=gpt-realtime"


@pytest.mark.parametrize(
    ("query", "model", "expected", "effective"),
    [
        ("", None, "?model=gpt-realtime", "gpt-realtime"),
        ("", "a/b c&d=é", "?model=a%2Fb%20c%26d%3D%C3%A9", "a/b c&d=é"),
        ("", "", "", None),
        ("?", None, "?model=gpt-realtime", "gpt-realtime"),
        ("?model=theirs", "mine", "?model=theirs", "theirs"),
        ("?model=", "mine", "?model=", None),
        ("?a=1&b&c=%2F+x", "m", "?a=1&b&c=%2F+x&model=m", "m"),
        ("?a=1&a=2", "m", "?a=1&a=2&model=m", "m"),
        ("?say=\"é'", "m", "?say=%22%C3%A9'&model=m", "m"),
        ("?b=1?2", "m", "?b=1?2&model=m", "m"),
    ],
)
def test_the_query_survives(
    query: str, model: str | None, expected: str, effective: str | None
) -> None:
    endpoint = Endpoint.url(f"ws://localhost/x{query}", model=model)
    assert endpoint.target == "/x" + expected
    assert endpoint.model == effective


@pytest.mark.parametrize(
    ("url", "host", "host_header"),
    [
        ("ws://[::1]", "::1", "[::1]"),
        ("ws://[::1]:80", "::1", "[::1]"),
        ("wss://[2001:DB8:0:0::1]:8443/v1", "2001:db8::1", "[2001:db8::1]:8443"),
        ("wss://bücher.example", "xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("wss://server.example.", "server.example.", "server.example."),
    ],
)
def test_hosts(url: str, host: str, host_header: str) -> None:
    endpoint = Endpoint.url(url)
    assert endpoint.host == host
    assert endpoint.host_header == host_header


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://server.example",
        "//server.example",
        "https:server.example",
        "https://",
        "https:///path",
        "https://user:pa55word@server.example",
        "https://pa55word@server.example",
        "https://server.example\\@evil.example",
        "https://server.example/#pa55word",
        "https://server.example#",
        "https://server.example:0",
        "https://server.example:65536",
        "https://server.example:-1",
        "https://server.example:pa55word",
        "https://[::1",
        "https://[::1]x",
        "https://[::1]x:80",
        "https://x[::1]",
        "https://[pa55word]",
        "https://[v1.pa55word:x]",
        "https://[fe80::1%25eth0]",
        "https://[1:2]",
        "https://server%41.example",
        "https://ser ver.example",
        "https://server..example",
        "https://.example",
        "https://ser*ver.example",
        "https://" + "a" * 64 + ".example",
        "https://" + "a.a" * 120 + ".example",
        "https://\u2100.example",
        "https://user:pa55word\u2100@server.example",
        "https://bücher*.example",
        " https://server.example",
        "https://server.example\n",
        "https://server.example/a\tb",
        "https://server.example/a\r\nX: y",
        "https://server.example/a\x00b",
        "https://server.example/\ud800",
    ],
)
def test_what_is_no_server_address_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Endpoint.url(url)
    assert "pa55word" not in str(caught.value)
    assert caught.value.__cause__ is None


@given(
    st.text(max_size=60), st.sampled_from(["ws://localhost/", "wss://", "http://localhost?", ""])
)
def test_any_text_gives_an_address_for_a_request_line_or_a_configuration_error(
    text: str, start: str
) -> None:
    try:
        endpoint = Endpoint.url(start + text)
    except ConfigurationError:
        return
    assert endpoint.target.isascii()
    assert endpoint.target.startswith("/")
    assert not set(endpoint.target) & set(" \t\r\n#\x00")
    assert endpoint.host.isascii()
    assert 1 <= endpoint.port <= 65535
    # h11 is what writes the request: it must take whatever an Endpoint gives.
    headers = [("Host", endpoint.host_header), *endpoint.headers()]
    h11.Connection(h11.CLIENT).send(
        h11.Request(method="GET", target=endpoint.target, headers=headers)
    )
    again = Endpoint.url(endpoint.url_without_secrets.replace("***", "x"), model="")
    assert (
        again.url_without_secrets.partition("?")[0]
        == (endpoint.url_without_secrets.partition("?")[0])
    )


# --- E5: headers --------------------------------------------------------------------------------


def test_headers_in_ga_and_beta() -> None:
    assert Endpoint.openai(api_key=KEY).headers() == [
        ("User-Agent", f"trio-rt/{__version__}"),
        ("Authorization", f"Bearer {KEY}"),
    ]
    beta = Endpoint.openai(api_key=KEY, dialect="beta")
    assert beta.dialect is Dialect.BETA
    assert header(beta, "OpenAI-Beta") == "realtime=v1"
    assert Endpoint.openai(api_key=KEY, dialect=Dialect.BETA) == beta


def test_an_unknown_dialect_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'ga', 'beta', 'azure_beta'"):
        Endpoint.openai(api_key=KEY, dialect="alpha")


def test_which_dialects_have_the_beta_shapes() -> None:
    assert [dialect for dialect in Dialect if dialect.is_beta] == [
        Dialect.BETA,
        Dialect.AZURE_BETA,
    ]


def test_the_version_is_that_of_the_package() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["project"]["version"] == __version__


def test_without_a_key_no_credential_is_sent() -> None:
    assert Endpoint.url("ws://server.example").headers() == [
        ("User-Agent", f"trio-rt/{__version__}")
    ]


def test_extra_headers_come_last_and_take_the_place_of_ours() -> None:
    endpoint = Endpoint.openai(
        api_key=KEY,
        dialect="beta",
        extra_headers={
            "OpenAI-Organization": "org",
            "user-agent": "mine/1",
            "openai-beta": "other",
            "X-Empty": "",
            "X-Tab": "a\tb",
        },
    )
    assert endpoint.headers() == [
        ("Authorization", f"Bearer {KEY}"),
        ("OpenAI-Organization", "org"),
        ("user-agent", "mine/1"),
        ("openai-beta", "other"),
        ("X-Empty", ""),
        ("X-Tab", "a\tb"),
    ]


@pytest.mark.parametrize("name", ["Authorization", "api-key"])
def test_a_credential_among_the_extra_headers_is_the_only_one(name: str) -> None:
    endpoint = Endpoint.azure(
        "mine", resource_url=RESOURCE, api_key=KEY, extra_headers={name: "own"}
    )
    assert endpoint.headers()[1:] == [(name, "own")]


BAD_VALUES = [
    "a\rb",
    "a\nb",
    "a\x00b",
    "a\x7fb",
    "a\x1bb",
    " a",
    "a ",
    "\ta",
    "a\xe9",
    "\xa0",
    "a\u20ac",
    "a\ud800",
]


@pytest.mark.parametrize("value", BAD_VALUES)
def test_header_injection_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match="X-Mine") as caught:
        Endpoint.openai(api_key=KEY, extra_headers={"X-Mine": value})
    assert caught.value.__cause__ is None
    with pytest.raises(ConfigurationError, match="API key"):
        Endpoint.openai(api_key=value)
    with pytest.raises(ConfigurationError, match="API key"):
        Endpoint.openai(api_key=lambda: value).headers(value)


@pytest.mark.parametrize(
    "name",
    [
        *("", "a b", "a:b", "a\r\nb", "é", "Host", "connection", "Upgrade", "Content-Length"),
        *("Transfer-Encoding", "Sec-WebSocket-Key", "sec-websocket-protocol"),
    ],
)
def test_headers_that_are_none_or_belong_to_the_handshake_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="extra_headers"):
        Endpoint.openai(api_key=KEY, extra_headers={name: "value"})


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\x00b", "a\ud800"])
def test_query_injection_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match="'mine'"):
        Endpoint.openai(api_key=KEY, extra_query={"mine": value})
    with pytest.raises(ConfigurationError, match="query parameter"):
        Endpoint.openai(api_key=KEY, extra_query={value: "mine"})
    with pytest.raises(ConfigurationError, match="'model'"):
        Endpoint.openai(value, api_key=KEY)
    with pytest.raises(ConfigurationError, match="'call_id'"):
        Endpoint.openai(call_id=value, api_key=KEY)


def test_extra_query() -> None:
    endpoint = Endpoint.openai(
        api_key=KEY,
        base_url="https://server.example/x?a=1",
        extra_query={"b": "2 &", "model": "theirs"},
    )
    assert endpoint.target == "/x?a=1&b=2%20%26&model=theirs"
    assert endpoint.model == "theirs"
    with pytest.raises(ConfigurationError, match=r"'a'.*extra_query"):
        Endpoint.url("ws://server.example?a=1", extra_query={"a": "2"})


# --- E6: key functions --------------------------------------------------------------------------


def test_a_key_function_is_not_called_by_the_core() -> None:
    calls: list[int] = []

    def provider() -> str:
        calls.append(1)
        return f"token-{len(calls)}"

    endpoint = Endpoint.openai(api_key=provider)
    assert endpoint.key_provider is provider
    assert not calls
    with pytest.raises(ConfigurationError, match="key_provider"):
        endpoint.headers()
    assert header(endpoint, "Authorization", "token-1") == "Bearer token-1"
    assert header(endpoint, "Authorization", "token-2") == "Bearer token-2"
    with pytest.raises(ConfigurationError, match="empty"):
        endpoint.headers("")


def test_azure_takes_functions_for_key_and_token() -> None:
    async def provider() -> str:
        raise AssertionError

    by_token = Endpoint.azure("mine", resource_url=RESOURCE, token=provider)
    assert by_token.key_provider is provider
    assert header(by_token, "Authorization", "entra") == "Bearer entra"
    by_key = Endpoint.azure("mine", resource_url=RESOURCE, api_key=provider)
    assert header(by_key, "api-key", "fresh") == "fresh"


def test_a_fixed_key_has_no_provider_and_may_come_wrapped() -> None:
    endpoint = Endpoint.openai(api_key=Secret(KEY))
    assert endpoint.key_provider is None
    assert endpoint.key == Secret(KEY)
    assert endpoint == Endpoint.openai(api_key=KEY)
    assert Endpoint.url("ws://localhost").key_provider is None


def test_an_empty_key_for_a_url_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="empty"):
        Endpoint.url("ws://localhost", api_key="")


# --- E7: an existing call -----------------------------------------------------------------------


def test_a_call_takes_the_model_s_place() -> None:
    endpoint = Endpoint.openai(api_key=KEY, call_id="rtc_1/2")
    assert endpoint.target == "/v1/realtime?call_id=rtc_1%2F2"
    assert endpoint.call_id == "rtc_1/2"
    assert endpoint.model is None
    azure = Endpoint.azure(resource_url=RESOURCE, api_key=KEY, call_id="rtc_1")
    assert azure.target == "/openai/v1/realtime?call_id=rtc_1"
    assert Endpoint.url("ws://localhost", call_id="x").target == "/realtime?call_id=x"


def test_a_call_and_a_model_exclude_each_other() -> None:
    for make in (
        lambda: Endpoint.openai("gpt-x", api_key=KEY, call_id="rtc_1"),
        lambda: Endpoint.url("ws://localhost?model=x", call_id="rtc_1"),
        lambda: Endpoint.azure("mine", resource_url=RESOURCE, api_key=KEY, call_id="rtc_1"),
    ):
        with pytest.raises(ConfigurationError, match="exclude each other"):
            make()
    with pytest.raises(ConfigurationError, match="api_version"):
        Endpoint.azure(resource_url=RESOURCE, api_key=KEY, call_id="rtc_1", api_version=VERSION)
    with pytest.raises(ConfigurationError, match="call_id is empty"):
        Endpoint.openai(api_key=KEY, call_id="")


# --- keys without TLS ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.8.9.1:80", "[::1]:8080"]
)
def test_this_machine_may_get_a_key_without_tls(host: str) -> None:
    endpoint = Endpoint.url(f"ws://{host}", api_key=KEY)
    assert is_loopback(endpoint.host)
    assert header(endpoint, "Authorization") == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "host", ["server.example", "10.0.0.1", "192.168.0.1", "[2001:db8::1]", "localhost.example"]
)
def test_others_get_a_key_only_with_tls_or_by_the_caller_s_word(host: str) -> None:
    url = f"http://{host}/v1"
    for arguments in (
        {"api_key": KEY},
        {"api_key": lambda: KEY},
        {"extra_headers": {"authorization": "Bearer x"}},
        {"extra_headers": {"Cookie": "session=x"}},
    ):
        with pytest.raises(ConfigurationError, match=r"without encryption.*allow_insecure"):
            Endpoint.url(url, **arguments)
        assert not Endpoint.url(url, allow_insecure=True, **arguments).is_secure
        assert Endpoint.url(url.replace("http", "https"), **arguments).is_secure
    assert not Endpoint.url(url).is_secure
    with pytest.raises(ConfigurationError, match="without encryption"):
        Endpoint.openai(api_key=KEY, base_url=url)
    with pytest.raises(ConfigurationError, match="without encryption"):
        Endpoint.azure("mine", api_key=KEY, base_url=url)


# --- a value that shows no secret ---------------------------------------------------------------


def test_nothing_that_is_shown_holds_a_secret() -> None:
    endpoint = Endpoint.openai(
        api_key=KEY,
        base_url=f"https://server.example/v1?api-key={KEY}&sig={KEY}&region=eu",
        extra_query={"access_token": KEY},
        extra_headers={"X-Signature": KEY},
    )
    assert repr(endpoint) == (
        "<Endpoint wss://server.example/v1/realtime?api-key=***&sig=***&region=eu"
        "&access_token=***&model=gpt-realtime dialect=ga extra_headers=[X-Signature]>"
    )
    assert KEY not in f"{endpoint} {endpoint.url_without_secrets}"
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(endpoint)


def test_endpoints_are_frozen_values() -> None:
    endpoint = Endpoint.url("ws://localhost/x", extra_headers={"A": "b"})
    assert endpoint == Endpoint.url("ws://localhost/x", extra_headers={"A": "b"})
    assert hash(endpoint) == hash(Endpoint.url("ws://localhost/x", extra_headers={"A": "b"}))
    assert endpoint != Endpoint.url("ws://localhost/y")
    with pytest.raises(dataclasses.FrozenInstanceError):
        endpoint.host = "other"  # type: ignore[misc]  # the mistake under test


def test_a_session_is_told_its_model_where_that_is_what_it_is_called() -> None:  # S1
    assert Endpoint.openai("gpt-x", api_key=KEY).session_model == "gpt-x"
    assert Endpoint.url("ws://localhost/v1", model="mine").session_model == "mine"
    assert Endpoint.url("ws://localhost/v1", call_id="rtc_1").session_model is None
    resource = "https://name.openai.azure.com"
    for credential in ({"api_key": KEY}, {"token": KEY}):
        for version in ("", VERSION):
            azure = Endpoint.azure(
                "deployment", resource_url=resource, api_version=version, **credential
            )
            assert azure.session_model is None
