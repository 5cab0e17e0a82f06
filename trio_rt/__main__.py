"""`python -m trio_rt` is `trio-rt`."""

from __future__ import annotations

import sys

from trio_rt.cli import main

if __name__ == "__main__":
    sys.exit(main())
