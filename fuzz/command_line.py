"""The commands of `python -m fuzz`."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from fuzz import Refused, campaign, record, targets
from fuzz.findings import failure_of, minimise, signature
from fuzz.storage import Storage

_COMMANDS = {
    "merge": ("TARGET|all", "keep the fewest inputs that reach all that was reached"),
    "record": ("", "make seeds from conversations of the client with the server"),
    "replay": ("TARGET FILE...", "run a target on files, as they are"),
    "minimise": ("TARGET FILE", "write the shortest input that shows the same to standard output"),
    "keep": ("TARGET FILE NAME", "make a finding a regression"),
}
_INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Runs a command.

    Returns:
        0; 1 where something was found; 2 where it cannot be run; 130 where it was interrupted.
    """
    commands = {
        "TARGET --seconds N": "fuzz one target",
        "all --seconds N": "fuzz every target for so long",
        **{f"{name} {wanted}": told for name, (wanted, told) in _COMMANDS.items()},
    }
    parser = argparse.ArgumentParser(
        prog="python -m fuzz",
        description="Coverage-guided fuzzing of sansio_rt; see docs/fuzzing.md.",
        epilog="commands:\n" + "\n".join(f"  {form:25} {told}" for form, told in commands.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="TARGET or COMMAND")
    parser.add_argument(
        "--seconds", type=_seconds, default=60, help="for how long (default: 60)", metavar="N"
    )
    parser.add_argument(
        "--instrument",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="a package of your own whose coverage counts, too; may be given again",
    )
    parser.add_argument("--list", action="store_true", help="show the targets")
    options = parser.parse_args(arguments)
    try:
        if options.list or not options.words:
            return _list()
        packages = (*campaign.INSTRUMENTED, *map(_package, options.instrument))
        return _command(options.words, options.seconds, packages, Storage())
    except (Refused, OSError) as problem:
        print(problem, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED


def _seconds(text: str) -> int:
    seconds = int(text)
    if seconds < 1:
        raise argparse.ArgumentTypeError(f"a run takes 1 second or more, not {seconds}")
    return seconds


def _package(name: str) -> str:
    try:
        found = importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        raise Refused(f"there is no package {name!r} to instrument")
    return name


def _list() -> int:
    broken = 0
    for name in targets.names():
        try:
            told = targets.load(name).summary
        except Refused as problem:
            broken, told = 2, str(problem)
        print(f"{name:18} {told}")
    return broken


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
            _minimise(name, Path(file))
        case ["keep", name, file, title]:
            print(campaign.keep(name, Path(file), title, storage))
        case [command, *_] if command in _COMMANDS:
            raise Refused(f"usage: python -m fuzz {command} {_COMMANDS[command][0]}".rstrip())
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
        if outcomes[-1].failure:
            print(f"{name}: {outcomes[-1].failure}", file=sys.stderr, flush=True)
        if outcomes[-1].interrupted:
            break
    found = [(outcome, file) for outcome in outcomes for file in outcome.findings]
    for outcome, file in found:
        print(f"\n{outcome.findings[file]}\n  {file}")
        print(f"  keep it: python -m fuzz keep {outcome.target} {file} NAME_FOR_WHAT_IT_SHOWS")
    failed = [outcome.target for outcome in outcomes if outcome.failure]
    if len(chosen) > 1:
        total = sum(outcome.executions for outcome in outcomes)
        print(f"\n{len(outcomes)} targets, {total:,} executions, {len(found)} findings")
    if failed:
        print(f"the fuzzer failed on: {', '.join(failed)}", file=sys.stderr)
    if outcomes[-1].interrupted:
        return _INTERRUPTED
    return 2 if failed else int(bool(found))


def _replay(name: str, files: list[str]) -> int:
    target, failed = targets.load(name), 0
    for file in files:
        failure = failure_of(target.run, Path(file).read_bytes())
        failed += failure is not None
        print(f"{file}: {'fine' if failure is None else f'{signature(failure)}: {failure}'}")
    return 1 if failed else 0


def _minimise(name: str, file: Path) -> None:
    target, data = targets.load(name), file.read_bytes()
    shorter = minimise(target.run, data)
    print(f"{len(data)} bytes -> {len(shorter)}", file=sys.stderr)
    sys.stdout.buffer.write(shorter)
