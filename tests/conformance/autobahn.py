"""Runs Autobahn|Testsuite against `sansio_rt`'s wire in both roles and writes `docs/conformance.md`.

    python tests/conformance/autobahn.py [--python PYTHON2.7] [--cases '7.*' ...]

The suite runs on Python 2.7 only. Exit codes: 0 no case failed; 1 one did, or a run did not end; 2 there
is no Python 2.7, or the suite cannot be installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

ROOT = Path(__file__).resolve().parents[2]
# As a script this file is alone; the wire and the two modules beside it are found from here.
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from conformance.autobahn_report import Found, page, read_results  # noqa: E402
from conformance.wire_echo import (  # noqa: E402
    AGENT,
    MAX_MESSAGE_BYTES,
    MAX_MESSAGE_FRAMES,
    run_cases,
    serve,
)

SUITE = "autobahntestsuite==25.10.1"
VIRTUALENV = "virtualenv<20.22"  # the last ones that make environments of Python 2.7
PAGE = ROOT / "docs" / "conformance.md"
HOST = "127.0.0.1"
START_TIMEOUT_S = 30.0
ROLES = ("client", "server")


class CannotRun(Exception):
    """The suite cannot be run here; the message says what to do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what the arguments ask for; gives the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        python = find_python(arguments.python)
        wstest = install(python, arguments.cache)
    except CannotRun as error:
        print(f"autobahn: {error}", file=sys.stderr)  # noqa: T201
        return 2
    results: dict[str, list[Found]] = {}
    complete = True
    for role in arguments.role or ROLES:
        folder = arguments.cache / "reports" / role
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run = run_client if role == "client" else run_server
        _say(f"{role}: running; the suite's reports go to {folder}")
        with_time = partial(_run_bounded, run, wstest, folder, arguments.cases, arguments.timeout)
        ended = trio.run(with_time)
        results[role] = read_results(folder, AGENT)
        complete &= ended and bool(results[role])
        _tell(role, results[role], ended=ended)
    if not arguments.cases and len(results) == len(ROLES) and complete:
        complete &= _same_cases(results)
        _write_page(arguments.output, results, python)
    failed = any(one.failed for found in results.values() for one in found)
    return 0 if complete and not failed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", metavar="PATH", help="a Python 2.7")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument(
        "--cache", type=Path, default=cache / "trio-rt-autobahn", help="(default: %(default)s)"
    )
    parser.add_argument("--cases", nargs="+", help="such as '7.*'; then no page is written")
    parser.add_argument("--role", action="append", choices=ROLES, help="(default: both)")
    parser.add_argument("--output", type=Path, default=PAGE, help="(default: %(default)s)")
    parser.add_argument(
        "--timeout", type=float, default=1800.0, help="seconds for each role (default: 1800)"
    )
    return parser


# --- the suite ------------------------------------------------------------------------------


def find_python(given: str | None) -> str:
    """A Python 2.7: the given one, one of the `PATH`, or one of pyenv.

    Raises:
        CannotRun: There is none.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates = (
        [given]
        if given
        else [
            *filter(None, map(shutil.which, ("python2.7", "python2"))),
            *(str(found / "bin" / "python") for found in sorted(pyenv.glob("2.7*"))),
        ]
    )
    for candidate in candidates:
        if _output(candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])") == "2.7":
            return candidate
    what = f"{given} is no Python 2.7" if given else "no Python 2.7 was found"
    raise CannotRun(
        f"{what}. Autobahn|Testsuite runs on no newer one. Install it (pyenv install 2.7.18) and give its "
        "path with --python"
    )


def install(python: str, cache: Path) -> Path:
    """Installs the suite under a Python 2.7, unless that is done; gives the path of `wstest`.

    Raises:
        CannotRun: It cannot be installed.
    """
    environment = cache / SUITE.replace("==", "-")
    wstest = environment / "bin" / "wstest"
    if wstest.exists():
        return wstest
    _say(f"installing {SUITE} into {environment}")
    tools = cache / "virtualenv"
    steps = [
        [sys.executable, "-m", "venv", str(tools)],
        [str(tools / "bin" / "pip"), "install", "--quiet", VIRTUALENV],
        [str(tools / "bin" / "virtualenv"), "--quiet", "-p", python, str(environment)],
        [str(environment / "bin" / "pip"), "install", "--quiet", SUITE],
    ]
    cache.mkdir(parents=True, exist_ok=True)
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(environment, ignore_errors=True)
            words = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
            raise CannotRun(f"cannot install the suite: {' '.join(step)} failed:\n{words}")
    return wstest


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


# --- the two roles --------------------------------------------------------------------------


async def _run_bounded(
    run: object, wstest: Path, folder: Path, cases: Sequence[str] | None, timeout_s: float
) -> bool:
    """Whether a role's run came to its end in time."""
    assert callable(run)
    with trio.move_on_after(timeout_s) as scope:
        await run(wstest, folder, list(cases or ["*"]))
    return not scope.cancelled_caught


async def run_client(wstest: Path, folder: Path, cases: list[str]) -> None:
    """The wire as a client of the suite's server."""
    port = _free_port()
    url = f"ws://{HOST}:{port}"
    settings = {"url": url, "outdir": str(folder), "cases": cases, "exclude-cases": []}
    async with _wstest(wstest, "fuzzingserver", settings):
        await _wait_for_port(port)
        await run_cases(HOST, port, _progress)


async def run_server(wstest: Path, folder: Path, cases: list[str]) -> None:
    """The wire as a server for the suite's client."""
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host=HOST))
        port = listener.socket.getsockname()[1]
        settings = {
            "outdir": str(folder),
            "servers": [{"agent": AGENT, "url": f"ws://{HOST}:{port}"}],
            "cases": cases,
            "exclude-cases": [],
        }
        async with _wstest(wstest, "fuzzingclient", settings) as process:
            await process.wait()  # it ends by itself
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _wstest(
    wstest: Path, mode: str, settings: dict[str, object]
) -> AsyncGenerator[trio.Process]:
    """The suite as a process, for the length of the block."""
    settings["exclude-agent-cases"] = {}
    with tempfile.TemporaryDirectory() as folder:
        specification = Path(folder) / "specification.json"
        specification.write_text(json.dumps(settings))
        with (Path(str(settings["outdir"])) / "wstest.log").open("w") as log:
            process = await trio.lowlevel.open_process(
                [str(wstest), "-m", mode, "-s", str(specification), "-u", "0"],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


async def _wait_for_port(port: int) -> None:
    with trio.fail_after(START_TIMEOUT_S):
        while True:
            try:
                stream = await trio.open_tcp_stream(HOST, port)
            except OSError:
                await trio.sleep(0.1)
            else:
                await stream.aclose()
                return


# --- telling --------------------------------------------------------------------------------


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def _progress(number: int, count: int) -> None:
    if number % 50 == 0 or number == count:
        _say(f"  {number} of {count} cases")


def _tell(role: str, found: list[Found], *, ended: bool) -> None:
    failed = [one for one in found if one.failed]
    _say(f"{role}: {len(found)} cases, {len(failed)} failed")
    for one in failed:
        _say(f"  {one.case} {one.verdict}: {one.result}")
    if not ended:
        _say(f"{role}: the run did not end in time; --timeout gives it more")
    elif not found:
        _say(f"{role}: the suite wrote no report; its log is wstest.log beside the reports")


def _same_cases(results: dict[str, list[Found]]) -> bool:
    """Whether no role has missed a case."""
    client, server = ({one.case for one in results[role]} for role in ROLES)
    if missing := client ^ server:
        _say(f"only one role has run these cases: {', '.join(sorted(missing))}")
    return not missing


def _write_page(output: Path, results: dict[str, list[Found]], python: str) -> None:
    interpreter = _output(python, "-c", "import platform; print(platform.python_version())")
    suite = SUITE.replace("==", " ")
    output.write_text(
        page(
            results,
            versions=f"{suite} under Python {interpreter}",
            limits=f"messages of {MAX_MESSAGE_BYTES // 2**20} MiB (the wire's default) and of "
            f"{MAX_MESSAGE_FRAMES:,} frames (its default is 1,024, and 9.3 and 9.4 cut 4 MiB into 65,536)",
        )
    )
    _say(f"{output}: written")


if __name__ == "__main__":
    sys.exit(main())
