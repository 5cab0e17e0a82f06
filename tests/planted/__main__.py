"""Plants known bugs, one at a time, and measures which tool finds each, and how fast.

    python -m tests.planted                               all of them, each with all tools that reach it
    python -m tests.planted truncation_off_by_one diff_*  these
    python -m tests.planted --tools unit,simulation       only with these tools
    python -m tests.planted --seconds 60                  processor time for each tool and bug
    python -m tests.planted --list                        the bugs
    python -m tests.planted --table                       only write docs/planted-bugs.md out of the results

It works on a copy of the tree. Each tool is run first where nothing is planted; if one finds something
there, the exit code is 1 and no bug is planted. Results stay in `build/planted.json`; the page is written
after each bug, and keeps what it says of bugs and tools that were not run.
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
    spoilt: list[str] = []
    if not options.table:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and clean up
        with tempfile.TemporaryDirectory(prefix="planted-") as folder:
            tree = Tree(Path(folder))
            spoilt = _find_unplanted(options.bugs, options.tools, options.seconds, tree, results)
            if not spoilt:
                _hunt(options.bugs, options.tools, options.seconds, tree, results)
    unfound = write_page(results)
    for name in spoilt:
        _say(f"{name} finds something where nothing is planted: nothing was planted")
    for name in unfound:
        _say(f"nothing finds {name}")
    return 1 if unfound or spoilt else 0


def _find_unplanted(
    bugs: Sequence[Bug], tools: Sequence[str], limit_s: float, tree: Tree, results: Results
) -> list[str]:
    """The tools that find something where nothing is planted: what they find elsewhere proves nothing."""
    cases = {_case(tool, bug): (tool, bug) for tool in tools for bug in bugs if tool in bug.tools}
    return [
        name
        for name, (tool, bug) in cases.items()
        if _try_tool(tool, bug, limit_s, tree, results, NOTHING, name)
    ]


def _case(tool: str, bug: Bug) -> str:
    """A tool, and what it runs on, if it does not run on the same for each bug."""
    runs_on = {"unit": bug.tests, "fuzz": [bug.fuzz]}.get(tool, [])
    return " ".join([tool, *runs_on])


def _hunt(
    bugs: Sequence[Bug], tools: Sequence[str], limit_s: float, tree: Tree, results: Results
) -> None:
    for bug in bugs:
        before = tree.read(bug.file)
        tree.write(bug.file, bug.planted(before))
        try:
            for tool in tools:
                if tool in bug.tools:
                    _try_tool(tool, bug, limit_s, tree, results, bug.name, tool)
        finally:
            tree.write(bug.file, before)
        write_page(results)


def _try_tool(
    tool: str, bug: Bug, limit_s: float, tree: Tree, results: Results, planted: str, case: str
) -> bool:
    """Runs a tool, and keeps what became of it by what is planted; whether it found something."""
    done = run(tool, bug, tree, limit_s)
    results.add(planted, case, done)
    end = f"found: {done.what}" if done.found else "not found"
    _say(f"{planted:26} {case:12} {done.seconds:6.1f} s  {end}")
    return done.found


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
