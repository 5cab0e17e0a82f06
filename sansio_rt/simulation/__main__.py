"""`python -m sansio_rt.simulation`: runs many seeds, and shows what does not hold."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from ._runner import Finding, Options, Share, shares

_MOST_SHOWN = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the seeds.

    Args:
        arguments: Those of the command line; None: the process's own.

    Returns:
        The exit code: 1 where something does not hold, 2 where the arguments cannot be used.
    """
    options = _options(arguments)
    try:
        options.simulation()
    except LookupError as error:
        sys.stderr.write(f"{error.args[0]}\n")
        return 2
    began = time.perf_counter()
    total, shown = Share(), 0
    for share in shares(options):
        total.add(share)
        for finding in share.findings:
            if shown < _MOST_SHOWN:
                _show(finding, options)
            shown += 1
        if share.trace:
            _say(share.trace)
    if shown > _MOST_SHOWN:
        _say(f"{shown - _MOST_SHOWN} more failing seeds are not shown")
    _say(_summary(total, options, time.perf_counter() - began))
    return 1 if total.failed else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _show(finding: Finding, options: Options) -> None:
    _say(f"seed {finding.seed}: {finding.violation}")
    for action in finding.actions:
        _say(f"    {action}")
    if options.trace:
        _say(finding.trace)
    else:
        plain = " --plain" if options.plain else ""
        plain += " --bytes" if options.bytes else ""
        _say(f"    python -m sansio_rt.simulation --seeds {finding.seed}{plain} --trace")


def _summary(total: Share, options: Options, took_s: float) -> str:
    kind = "plain" if options.plain else "with faults"
    jobs = "1 job" if options.jobs == 1 else f"{options.jobs} jobs"
    count = max(1, total.count)
    return (
        f"{total.count} seeds {kind}, {total.failed} with a violation: {took_s:.1f} s, "
        f"{total.count / took_s:.0f} seeds a second with {jobs}; "
        f"{total.steps / count:.0f} steps and {total.virtual_s / count:.1f} virtual seconds a seed"
    )


def _seeds(text: str) -> range:
    first, colon, last = text.partition(":")
    try:
        return range(int(first), int(last) if colon else int(first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give A:B, or one number") from None


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m sansio_rt.simulation",
        description="Runs client and server in one thread, each time under another seed, and checks what "
        "must hold.",
    )
    parser.add_argument(
        "--seeds",
        type=_seeds,
        default=range(100),
        help="A:B (B is not run), or one seed (default 0:100)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="how many processes (default 1)")
    parser.add_argument(
        "--plain",
        action="store_true",
        help="ten typed turns over a network without faults; messages are handed over as they are",
    )
    parser.add_argument(
        "--bytes", action="store_true", help="with --plain: messages go as bytes all the same"
    )
    parser.add_argument(
        "--trace",
        action="store_true",
        help="show what happened: in failing runs, or in the one seed",
    )
    parser.add_argument(
        "--no-shrink", dest="shrink", action="store_false", help="leave failing runs as they are"
    )
    parser.add_argument(
        "--caller", metavar="MODULE:NAME", help="a caller of your own, made without arguments"
    )
    parser.add_argument(
        "--invariant",
        dest="invariants",
        metavar="MODULE:NAME",
        action="append",
        default=[],
        help="an invariant of your own, beside those that come along; may be given again",
    )
    return Options(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
