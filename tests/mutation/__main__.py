"""Mutation testing of the state modules: what would no test notice?

    python -m tests.mutation                 every state module
    python -m tests.mutation _retry _diff    these modules
    python -m tests.mutation _retry --again  only the mutants that survived the last time
    python -m tests.mutation _input --sample 110 --seed 7
                                             other 110 mutants of it than with another seed
    python -m tests.mutation --table         write docs/mutation.md out of the results

mutmut (extra `dev`) makes the mutants, finds out which tests reach which function, and runs these on each
mutant in a process of its own, until one fails. Results stay in `build/mutation/`; a copy of the tree is
made there, so nothing of it is in the way of other work.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .mutants import SEED
from .report import write_page
from .run import MODULES, ROOT, run


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="of sansio_rt, as _retry")
    parser.add_argument("--sample", type=int, default=400, help="mutants of a module at most")
    parser.add_argument(
        "--seed",
        type=int,
        default=SEED,
        help=f"draws the sample of a module that has more ({SEED})",
    )
    parser.add_argument("--again", action="store_true", help="only those that survived")
    parser.add_argument("--table", action="store_true", help="only write docs/mutation.md")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.modules if not (ROOT / "sansio_rt" / f"{name}.py").exists()]
    if unknown:
        parser.error(f"no such modules: {', '.join(unknown)}")
    if not options.table:
        run(
            options.modules or MODULES,
            sample=options.sample,
            seed=options.seed,
            again=options.again,
        )
    return write_page()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
