"""A secret shows itself to nobody who does not ask for it by name (M3, E1)."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import logging
import pickle
import pprint
import traceback

import pytest

from sansio_rt._secrets import HiddenBytes, HiddenText, Secret

VALUE = "sk-very-secret-0123456789"


def test_reveal_gives_the_value() -> None:
    assert Secret(VALUE).reveal() == VALUE


@dataclasses.dataclass
class Holder:
    key: Secret


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        ascii,
        "{}".format,
        "{!r:>40}".format,
        lambda secret: f"{secret:>40}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - this spelling is the test
        pprint.pformat,
        lambda secret: repr(Holder(secret)),
        lambda secret: repr(dataclasses.asdict(Holder(secret))),
        lambda secret: repr([secret, {secret: secret}]),
        lambda secret: str(getattr(secret, "__dict__", {})),
    ],
)
def test_no_way_of_printing_shows_it(show) -> None:
    assert VALUE not in show(Secret(VALUE))


def test_neither_logging_nor_a_traceback_with_locals_shows_it() -> None:
    stream = io.StringIO()
    logger = logging.Logger("secrets-test")
    logger.addHandler(logging.StreamHandler(stream))
    secret = Secret(VALUE)
    logger.warning("key is %s", secret)
    try:
        raise ValueError(secret)
    except ValueError as error:
        trace = traceback.TracebackException.from_exception(error, capture_locals=True)
        shown = "".join(trace.format())
    assert "secret" in shown  # the locals are there
    assert VALUE not in shown + stream.getvalue()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_never_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="never pickled") as caught:
        pickle.dumps(Holder(Secret(VALUE)), protocol)
    assert VALUE not in str(caught.value)


def test_using_it_as_a_string_fails_instead_of_leaking() -> None:
    secret: object = Secret(VALUE)
    assert not isinstance(secret, str)
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        "Bearer " + secret  # type: ignore[operator]  # the mistake under test
    with pytest.raises(TypeError):
        vars(secret)


def test_it_compares_and_hashes_by_value() -> None:
    assert Secret(VALUE) == Secret(VALUE)
    assert hash(Secret(VALUE)) == hash(Secret(VALUE))
    assert Secret(VALUE) != Secret("other")
    assert Secret(VALUE) != VALUE


def test_an_empty_one_is_false() -> None:
    assert Secret(VALUE)
    assert not Secret("")


def test_copies_are_the_same_object() -> None:
    secret = Secret(VALUE)
    assert copy.copy(secret) is secret
    assert copy.deepcopy(secret) is secret
    assert dataclasses.asdict(Holder(secret))["key"] is secret


def test_it_cannot_change() -> None:
    secret = Secret(VALUE)
    with pytest.raises(AttributeError, match="cannot change"):
        secret._value = "other"
    with pytest.raises(AttributeError, match="cannot change"):
        del secret._value
    assert secret.reveal() == VALUE


HIDDEN = [HiddenText(VALUE), HiddenBytes(VALUE.encode())]


@pytest.mark.parametrize("hidden", HIDDEN, ids=["text", "bytes"])
def test_what_has_to_be_text_or_bytes_shows_itself_in_no_repr(hidden: str | bytes) -> None:
    for shown in (repr(hidden), repr([hidden]), repr(hidden[:20]), pprint.pformat({1: (hidden,)})):
        assert VALUE[:10] not in shown
    assert copy.deepcopy(hidden) is hidden
    assert hidden == (VALUE if isinstance(hidden, str) else VALUE.encode())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("hidden", HIDDEN, ids=["text", "bytes"])
def test_nor_is_it_ever_pickled(hidden: str | bytes, protocol: int) -> None:
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps([hidden], protocol)
    with pytest.raises(TypeError, match="never pickled"):
        copy.copy(hidden)


def test_one_hidden_byte_is_a_number() -> None:
    assert HiddenBytes(b"AB")[1] == 66
