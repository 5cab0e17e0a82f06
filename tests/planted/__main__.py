"""Plants known bugs, one at a time, and measures which tool finds each, and how fast.

    python -m tests.planted                               all of them, each with all tools that reach it
    python -m tests.planted truncation_off_by_one diff_*  these
    python -m tests.planted --tools unit,simulation       only with these tools
    python -m tests.planted --seconds 60                  processor time for each tool and bug
    python -m tests.planted --list                        the bugs
    python -m tests.planted --table                       only write docs/planted-bugs.md out of the results

It works on a copy of the tree. Results stay in `build/planted.json`; the page is written after each bug.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.util
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .bugs import BUGS, Bug
from .report import NOTHING, Results, write_page
from .tools import TOOLS, Tree, run


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    if options.list:
        for bug in BUGS:
            _say(f"{bug.name:26} {bug.what}")
        return 0
    results = Results.read()
    if not options.table:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and clean up
        with tempfile.TemporaryDirectory(prefix="planted-") as folder:
            _hunt(options.bugs, options.tools, options.seconds, Tree(Path(folder)), results)
    unfound = write_page(results)
    for name in unfound:
        _say(f"nothing finds {name}")
    return 1 if unfound else 0


def _hunt(
    bugs: Sequence[Bug], tools: Sequence[str], limit_s: float, tree: Tree, results: Results
) -> None:
    # A tool that finds something where nothing is planted proves nothing.
    sane = Bug(NOTHING, what="", file="", old="", new="", tests=(), tools=tuple(TOOLS))
    needed = [tool for tool in tools if any(tool in bug.tools for bug in bugs) and tool != "unit"]
    new = [tool for tool in needed if tool not in results.of(NOTHING)]
    _try_tools(sane, new, limit_s, tree, results)
    for bug in bugs:
        before = tree.read(bug.file)
        tree.write(bug.file, bug.planted(before))
        try:
            _try_tools(bug, [tool for tool in tools if tool in bug.tools], limit_s, tree, results)
        finally:
            tree.write(bug.file, before)
        write_page(results)


def _try_tools(
    bug: Bug, tools: Sequence[str], limit_s: float, tree: Tree, results: Results
) -> None:
    for tool in tools:
        done = run(tool, bug, tree, limit_s)
        results.add(bug.name, tool, done)
        end = f"found: {done.what}" if done.found else "not found"
        _say(f"{bug.name:26} {tool:12} {done.seconds:6.1f} s  {end}")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.planted",
        description="Plants known bugs one at a time, and measures which tool finds each, how fast.",
    )
    parser.add_argument("bugs", nargs="*", metavar="NAME", help="bugs, * for any letters")
    parser.add_argument("--tools", help=f"with commas between: {', '.join(TOOLS)}")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="processor time for each run (default: 20)"
    )
    parser.add_argument("--list", action="store_true", help="show the bugs")
    parser.add_argument("--table", action="store_true", help="only write docs/planted-bugs.md")
    options = parser.parse_args(arguments)
    tools = list(TOOLS) if options.tools is None else options.tools.split(",")
    if unknown := [tool for tool in tools if tool not in TOOLS]:
        parser.error(f"no such tools: {', '.join(unknown)}")
    if importlib.util.find_spec("atheris") is None:
        tools = [tool for tool in tools if tool != "fuzz"]
    options.tools = tools
    patterns = options.bugs or ["*"]
    for pattern in patterns:
        if not any(fnmatch.fnmatch(bug.name, pattern) for bug in BUGS):
            parser.error(f"no such bug: {pattern}; see --list")
    options.bugs = [
        bug for bug in BUGS if any(fnmatch.fnmatch(bug.name, pattern) for pattern in patterns)
    ]
    return options


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
