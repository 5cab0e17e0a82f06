"""`python -m sansio_rt.simulation`: runs many seeds, and shows what does not hold."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
import time
from collections.abc import Sequence

from ._runner import BadUse, Finding, Options, Share, shares

_MOST_SHOWN = 10
_PROGRESS_EVERY_S = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the seeds.

    Args:
        arguments: Those of the command line; None: the process's own.

    Returns:
        The exit code: 1 where something does not hold, 2 where the arguments cannot be used, 130 after
        Ctrl-C.
    """
    options = _options(arguments)
    try:
        return _run(options)
    except BadUse as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except BrokenPipeError:  # nobody reads it
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.close()  # else the interpreter complains at its end
        return 1


def _run(options: Options) -> int:
    began = told_at = time.perf_counter()
    total, shown, interrupted = Share(), 0, False
    try:
        options.simulation()  # what cannot be used is told here, and not by each process
        for share in shares(options):
            total.add(share)
            for finding in share.findings:
                if shown < _MOST_SHOWN:
                    _show(finding, options)
                    shown += 1
            if share.trace:
                _say(share.trace)
            if time.perf_counter() - told_at >= _PROGRESS_EVERY_S and sys.stderr.isatty():
                told_at = time.perf_counter()
                _tell_progress(total, options)
    except KeyboardInterrupt:
        interrupted = True
        _say("interrupted; so far:")
    if total.failed > shown:
        _say(f"{total.failed - shown} more failing seeds are not shown")
    _say(_summary(total, options, time.perf_counter() - began))
    if interrupted:
        return 130
    return 1 if total.failed else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _tell_progress(total: Share, options: Options) -> None:
    wanted = options.seeds.stop - options.seeds.start
    sys.stderr.write(f"{total.count:,} of {wanted:,} seeds, {total.failed} with a violation\n")
    sys.stderr.flush()


def _show(finding: Finding, options: Options) -> None:
    _say(f"seed {finding.seed}: {finding.violation}")
    for place in finding.raised_at:
        _say(f"    at {place}")
    for action in finding.actions:
        _say(f"    {action}")
    if options.trace and finding.trace:
        _say(finding.trace)
    else:
        _say(f"    {_again(finding.seed, options)}")


def _again(seed: int, options: Options) -> str:
    """The command that shows a failing seed closely."""
    words = ["python", "-m", "sansio_rt.simulation", "--seeds", str(seed)]
    words += ["--plain"] * options.plain + ["--bytes"] * options.bytes
    words += ["--no-shrink"] * (not options.shrink)
    if options.caller is not None:
        words += ["--caller", options.caller]
    for name in options.invariants:
        words += ["--invariant", name]
    return shlex.join([*words, "--trace"])


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
        seeds = range(int(first), int(last) if colon else int(first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give A:B, or one number") from None
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text!r} are no seeds: give A:B, with A below B")
    return seeds


def _jobs(text: str) -> int:
    jobs = int(text) if text.isdecimal() else 0
    if jobs < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number from 1 on")
    return jobs


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
    parser.add_argument("--jobs", type=_jobs, default=1, help="how many processes (default 1)")
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
