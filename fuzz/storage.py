"""Where inputs are kept: packed corpora and seeds, regressions as files, and the fuzzer's own folder.

- `corpus/TARGET.zip`: what reaches everything that was ever reached, merged and small; in the repository.
- `seeds/TARGET.zip`: recorded from real conversations by `python -m fuzz record`; in the repository.
- `regressions/TARGET/NAME`: every past finding, minimised, named for what it shows; in the repository.
- `work/TARGET/`: what the fuzzer reads and writes; not in the repository.
- `findings/TARGET/`: what it found; not in the repository.

A corpus is one archive because it is hundreds of files of a few bytes each. The same inputs give the same
archive, byte by byte.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
MAX_PACKED_BYTES = 32_000
"""The most that one target's archive may take; the shortest inputs go first."""


class Storage:
    """The folders of the fuzzer.

    Args:
        root: The folder that holds them all.
    """

    def __init__(self, root: Path = HERE) -> None:
        self.root = root

    def corpus(self, target: str) -> Path:
        """The target's packed corpus."""
        return self.root / "corpus" / f"{target}.zip"

    def seeds(self, target: str) -> Path:
        """The target's recorded seeds, packed."""
        return self.root / "seeds" / f"{target}.zip"

    def regressions(self, target: str) -> Path:
        """The folder of the target's past findings."""
        return self.root / "regressions" / target

    def work(self, target: str) -> Path:
        """The folder that the fuzzer grows; made where it is missing."""
        return _made(self.root / "work" / target)

    def findings(self, target: str) -> Path:
        """The folder of what a run found; made where it is missing."""
        return _made(self.root / "findings" / target)

    def kept_inputs(self, target: str) -> list[tuple[str, bytes]]:
        """Everything of a target that is in the repository, as name and input."""
        kept = [
            (f"{archive.parent.name}/{name}", data)
            for archive in (self.seeds(target), self.corpus(target))
            for name, data in unpack(archive)
        ]
        folder = self.regressions(target)
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        return kept + [(f"regressions/{file.name}", file.read_bytes()) for file in files]

    def fill_work(self, target: str) -> Path:
        """Puts what is in the repository where the fuzzer finds it."""
        folder = self.work(target)
        for _, data in self.kept_inputs(target):
            (folder / name_of(data)).write_bytes(data)
        return folder


def name_of(data: bytes) -> str:
    """An input's name: the beginning of its hash."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()[:16]


def pack(archive: Path, inputs: Iterable[bytes], *, max_bytes: int = MAX_PACKED_BYTES) -> int:
    """Writes inputs into an archive, the shortest first, up to a size.

    Returns:
        How many went in.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for data in sorted(set(inputs), key=lambda data: (len(data), data)):
            # A fixed date, so that the same inputs give the same archive.
            packed.writestr(zipfile.ZipInfo(name_of(data), (2000, 1, 1, 0, 0, 0)), data)
            count += 1
            # An entry of the directory at the end takes 46 bytes and its name.
            if packed.fp is not None and packed.fp.tell() + 62 * count > max_bytes:
                break
    return count


def unpack(archive: Path) -> list[tuple[str, bytes]]:
    """Names and inputs of an archive; none where there is no archive."""
    if not archive.is_file():
        return []
    with zipfile.ZipFile(archive) as packed:
        return [(name, packed.read(name)) for name in packed.namelist()]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
