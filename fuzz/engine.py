"""The process that fuzzes: `python -m fuzz.engine TARGET FINDINGS PACKAGES [libFuzzer arguments]`.

Started by `fuzz.campaign`, since libFuzzer wants a process of its own. Only PACKAGES
(with commas between) are instrumented: the fuzzer is to learn what their code does, not what targets do.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from pathlib import Path

import atheris

from fuzz import targets
from fuzz.counting import counted, show_counters
from fuzz.findings import MARK, MOST_S, PROGRAM, STARTED, Run, bounded, run_timed, signature
from fuzz.storage import name_of


class Noting:
    """A target that writes down what fails, and goes on: one finding does not hide the next.

    Args:
        run: The target.
        folder: Where the first input of each kind goes, with what was raised beside it.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        self._run = run
        self._folder = folder
        self._seen: set[str] = set()

    def __call__(self, data: bytes) -> None:
        try:
            run_timed(self._run, data)
        except KeyboardInterrupt:
            raise
        except BaseException as failure:  # a target that calls `sys.exit`, too
            kind = signature(failure)
            if kind not in self._seen:
                self._seen.add(kind)
                self._note(data, failure, kind)

    def _note(self, data: bytes, failure: BaseException, kind: str) -> None:
        file = self._folder / f"finding-{name_of(data)}"
        file.write_bytes(data)
        told = "".join(traceback.format_exception(failure))
        file.with_suffix(".txt").write_text(f"{kind}\n\n{told}", "utf-8")
        print(f"{MARK}{file} {kind}", file=sys.stderr, flush=True)


def load_counted(name: str, packages: list[str]) -> targets.Target:
    """Imports a target so that coverage counts where it is to count."""
    with counted(packages, targets.not_counted(name), compared=not targets.is_life(name)):
        return targets.load(name)


def main(arguments: list[str]) -> None:
    """Fuzzes until libFuzzer ends the process."""
    # libFuzzer takes Ctrl-C itself, and ends with what it has: Python would end with a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    name, folder, packages, *rest = arguments
    target = load_counted(name, packages.split(","))
    noting = Noting(target.run, Path(folder))
    # Templates and snapshots are made once, on the first input: not while somebody counts.
    with bounded(2 * MOST_S):
        noting(b"")
    # libFuzzer starts itself anew to merge, and takes the first argument for its program.
    atheris.Setup([os.environ.get(PROGRAM, sys.argv[0]), *rest], noting)
    show_counters()
    print(f"{STARTED}{time.process_time()}", file=sys.stderr, flush=True)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
