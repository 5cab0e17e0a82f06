"""Tools that need no test runner, as a process of their own: `python -m tests.planted.hunt TOOL [TARGET]`.

Each ends at its first finding: it prints `FOUND what` and exits with 1. Until then it goes on, and only
whoever started it ends it; the kept inputs come to an end by themselves.
"""

from __future__ import annotations

import itertools
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[2]


def _found(what: object) -> NoReturn:
    sys.stdout.write(f"FOUND {' '.join(str(what).split())[:300]}\n")
    sys.stdout.flush()
    os._exit(1)


def _told(failure: BaseException) -> str:
    where = traceback.extract_tb(failure.__traceback__)[-1]
    return f"{type(failure).__name__}: {str(failure) or where.line}"


def simulate_seeds() -> None:
    """One seed after the other, with faults."""
    from sansio_rt.simulation import Simulation, simulate

    simulation = Simulation()
    for seed in itertools.count():
        violation = simulate(seed, simulation, shrink=False).violation
        if violation is not None:
            _found(f"seed {seed}: {violation}")


def run_machine() -> None:
    """The state machine of the client: examples without end, always the same."""
    sys.path.insert(0, str(ROOT / "tests"))
    sys.path.insert(0, str(ROOT / "tests" / "sansio_rt"))
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis.stateful import run_state_machine_as_test
    from test_client_machine import Machine

    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                Machine.TestCase.settings,
                max_examples=10**9,
                derandomize=True,
                database=None,
                phases=(Phase.generate,),
                report_multiple_bugs=False,
                print_blob=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    except Exception as failure:  # noqa: BLE001 - whatever it is, it is the finding
        _found(_told(failure))


def replay_kept() -> None:
    """Every kept input of every fuzz target."""
    from fuzz import targets
    from fuzz.storage import Storage

    storage = Storage()
    for name in targets.names():
        try:
            target = targets.load(name)
            for _, data in storage.kept_inputs(name):
                target.run(data)
        except Exception as failure:  # noqa: BLE001 - as above
            _found(f"{name}: {_told(failure)}")


def fuzz_target(name: str) -> None:
    """The coverage-guided fuzzer on one target, beginning with what is kept."""
    import atheris

    from fuzz import dictionary
    from fuzz.counting import show_counters
    from fuzz.engine import load_counted
    from fuzz.storage import Storage

    target = load_counted(name, ["sansio_rt"])
    target.run(b"")

    def attempt(data: bytes) -> None:
        try:
            target.run(data)
        except Exception as failure:  # noqa: BLE001 - as above
            _found(_told(failure))

    storage = Storage()
    words = dictionary.write(storage.root / "work" / "events.dict")
    options = [f"-max_len={target.max_bytes}", f"-dict={words}", "-seed=1"]
    atheris.Setup([sys.argv[0], *options, str(storage.fill_work(name))], attempt)
    show_counters()
    atheris.Fuzz()


def main(arguments: list[str]) -> None:
    import sansio_rt

    assert Path(sansio_rt.__file__).is_relative_to(ROOT), f"the wrong tree: {sansio_rt.__file__}"
    match arguments:
        case ["simulation"]:
            simulate_seeds()
        case ["machine"]:
            run_machine()
        case ["corpus"]:
            replay_kept()
        case ["fuzz", name]:
            fuzz_target(name)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
