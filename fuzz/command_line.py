"""The commands of `python -m fuzz`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fuzz import campaign, record, targets
from fuzz.findings import failure_of, minimise, signature
from fuzz.storage import Storage

_COMMANDS = """
  TARGET --seconds N        fuzz one target
  all --seconds N           fuzz every target for so long
  merge TARGET|all          keep the fewest inputs that reach all that was reached
  record                    make seeds from conversations of the client with the server
  replay TARGET FILE...     run a target on files, as they are
  minimise TARGET FILE      print the shortest input that shows the same
  keep TARGET FILE NAME     make a finding a regression
"""


def main(arguments: Sequence[str]) -> int:
    """Runs a command.

    Returns:
        0; 1 where something was found; 2 where it cannot be run.
    """
    parser = argparse.ArgumentParser(
        prog="python -m fuzz",
        description="Coverage-guided fuzzing of sansio_rt; see docs/fuzzing.md.",
        epilog=f"commands:{_COMMANDS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="TARGET or COMMAND")
    parser.add_argument("--seconds", type=int, default=60, help="for how long (default: 60)")
    parser.add_argument(
        "--instrument",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="a package of your own whose coverage counts, too; may be given again",
    )
    parser.add_argument("--list", action="store_true", help="show the targets")
    options = parser.parse_args(arguments)
    storage = Storage()
    if options.list or not options.words:
        for name in targets.names():
            print(f"{name:18} {targets.load(name).summary}")
        return 0
    try:
        packages = (*campaign.INSTRUMENTED, *options.instrument)
        return _command(options.words, options.seconds, packages, storage)
    except (campaign.AtherisMissing, KeyError) as problem:
        print(problem.args[0], file=sys.stderr)
        return 2


def _command(words: list[str], seconds: int, packages: Sequence[str], storage: Storage) -> int:
    match words:
        case ["record"]:
            for name, count in record.record_all(storage).items():
                print(f"{name}: {count} seeds")
        case ["merge", *chosen] if chosen:
            for name in targets.names() if chosen == ["all"] else chosen:
                before, after = campaign.merge(name, storage, packages=packages)
                print(f"{name}: {before} inputs -> {after}")
        case ["replay", name, *files] if files:
            return _replay(name, files)
        case ["minimise", name, file]:
            sys.stdout.buffer.write(minimise(targets.load(name).run, Path(file).read_bytes()))
        case ["keep", name, file, title]:
            print(campaign.keep(name, Path(file), title, storage))
        case [*chosen]:
            names = targets.names() if chosen == ["all"] else chosen
            return _fuzz(names, seconds, packages, storage)
    return 0


def _fuzz(chosen: list[str], seconds: int, packages: Sequence[str], storage: Storage) -> int:
    for name in chosen:
        targets.load(name)  # a name that is none is told before anything runs
    outcomes: list[campaign.Outcome] = []
    for name in chosen:
        outcomes.append(campaign.run(name, seconds, storage, packages=packages))
        print(outcomes[-1].line(), flush=True)
    found = [(outcome, file) for outcome in outcomes for file in outcome.findings]
    for outcome, file in found:
        print(f"\n{outcome.findings[file]}\n  {file}")
        print(f"  keep it: python -m fuzz keep {outcome.target} {file} NAME_FOR_WHAT_IT_SHOWS")
    if len(outcomes) > 1:
        total = sum(outcome.executions for outcome in outcomes)
        print(f"\n{len(outcomes)} targets, {total:,} executions, {len(found)} findings")
    return 1 if found else 0


def _replay(name: str, files: list[str]) -> int:
    target, failed = targets.load(name), 0
    for file in files:
        failure = failure_of(target.run, Path(file).read_bytes())
        failed += failure is not None
        print(f"{file}: {'fine' if failure is None else f'{signature(failure)}: {failure}'}")
    return 1 if failed else 0
