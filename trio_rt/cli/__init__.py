"""`trio-rt`: a conversation from the command line, and the emulator as a server.

Nothing heavy is imported here, so that `main` is in charge of Ctrl-C before that begins.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ._process import end_process, end_when_interrupted

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `trio-rt`.

    Args:
        argv: Arguments without the program's name. None: this process is `trio-rt`, the arguments
            are its own, and it ends here: nothing is returned.

    Returns:
        The exit code: 0 done, 1 the session failed, 2 bad use, 130 interrupted.
    """
    if argv is None:
        end_when_interrupted()
    from ._program import run

    if argv is None:
        end_process(run(sys.argv[1:]))
    return run(argv)
