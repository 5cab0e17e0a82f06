"""Every input that is kept goes through its target: what was found once is not found again.

It needs no fuzzer. `python -m fuzz` makes the inputs; see docs/fuzzing.md.
"""

from __future__ import annotations

import pytest

from fuzz import targets
from fuzz.storage import MAX_PACKED_BYTES, Storage

STORAGE = Storage()
MAX_KEPT_BYTES = 300 * 1024


@pytest.mark.parametrize("name", targets.names())
def test_what_is_kept_is_fine(name: str) -> None:
    target = targets.load(name)
    target.run(b"")
    for title, data in STORAGE.kept_inputs(name):
        try:
            target.run(data)
        except Exception as failure:
            failure.add_note(f"python -m fuzz replay {name}: {title} {data!r}")
            raise


@pytest.mark.parametrize("name", targets.names())
def test_every_target_has_a_corpus(name: str) -> None:
    assert STORAGE.kept_inputs(name)
    assert targets.load(name).summary.endswith((".", ":"))
    for archive in (STORAGE.corpus(name), STORAGE.seeds(name)):
        assert not archive.exists() or archive.stat().st_size <= MAX_PACKED_BYTES + 1024


def test_what_is_kept_is_small() -> None:
    folders = [STORAGE.root / name for name in ("corpus", "seeds", "regressions")]
    sizes = [
        file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file()
    ]
    assert sum(sizes) <= MAX_KEPT_BYTES


def test_regressions_are_of_targets_that_exist() -> None:
    folders = {folder.name for folder in (STORAGE.root / "regressions").iterdir()}
    assert folders <= set(targets.names())
