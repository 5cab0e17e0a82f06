"""The package's names are loaded when the first of them is asked for."""

from __future__ import annotations

import importlib.util
import sys

import pytest

import trio_rt
from trio_rt import _names


def test_every_public_name_is_there_and_listed() -> None:
    for name in _names.__all__:
        assert getattr(trio_rt, name) is getattr(_names, name)
        assert name in dir(trio_rt)


@pytest.mark.parametrize("name", ["no_such_name", "_no_such_name"])
def test_what_is_not_there_is_an_error_like_any(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'trio_rt' has no attribute '{name}'"):
        getattr(trio_rt, name)


def test_the_names_are_loaded_by_the_first_that_is_asked_for() -> None:
    spec = importlib.util.spec_from_file_location(
        "trio_rt", trio_rt.__file__, submodule_search_locations=list(trio_rt.__path__)
    )
    assert spec is not None
    assert spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    assert "Session" not in vars(fresh)
    assert "Session" in dir(fresh)
    assert fresh.Session is trio_rt.Session
    assert "open_session" in vars(fresh)
    assert sys.modules["trio_rt"] is trio_rt
