"""The documents say what the code says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sansio_rt import _connection, _wire_states

DOCS = Path(__file__).parent.parent / "docs"


def drawn(transitions: Mapping[Any, Mapping[Any, Any]]) -> str:
    lines = [
        f"    {state.value} --> {after.value}: {cause.value}"
        for state, row in transitions.items()
        for cause, after in row.items()
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


@pytest.mark.parametrize(
    ("name", "transitions"),
    [("connection", _connection.TRANSITIONS), ("wire", _wire_states.TRANSITIONS)],
)
def test_state_diagrams_are_drawn_from_the_tables(
    name: str, transitions: Mapping[Any, Mapping[Any, Any]]
) -> None:
    assert f"<!-- {name} -->\n{drawn(transitions)}" in (DOCS / "architecture.md").read_text()


def test_every_room_is_listed() -> None:
    text = (DOCS / "architecture.md").read_text()
    root = DOCS.parent
    for package in ("sansio_rt", "trio_rt"):
        for module in (root / package).glob("_[a-z]*.py"):
            name = "_server*" if module.stem.startswith("_server") else module.stem
            if name not in ("_version", "_tray", "_session_events", "_errors", "_wav", "_groups"):
                assert f"`{name}`" in text, name


def test_links_lead_somewhere() -> None:
    root = DOCS.parent
    for page in [root / "README.md", *DOCS.glob("**/*.md")]:
        for part in page.read_text().split("](")[1:]:
            target = part.split(")")[0].split("#")[0]
            if target and "://" not in target:
                assert (page.parent / target).exists(), (page.name, target)
