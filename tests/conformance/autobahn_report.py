"""What Autobahn|Testsuite found, as one page of Markdown."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Found", "page", "read_results"]

GROUPS = {
    "1": "framing",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "closing",
    "9": "limits and performance",
    "10": "misc",
    "12": "compression, payloads",
    "13": "compression, parameters",
}
BEHAVIOURS = ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED")
"""What is no failure, in the order of the table's columns."""

_ONE_READ = (
    "The suite sends a good message and a broken frame back to back. Where both come in one read, the "
    "wire gives the message and then the failure, and an echo could no longer be sent. The strict "
    "expectation is that the message is echoed before the broken frame is looked at. Which of these cases "
    "are concerned differs from run to run with the timing of the reads."
)
_FAIL_FAST = (
    "Invalid UTF-8 is refused (1007) at the end of its frame, not in the middle of it: a frame's payload "
    "is looked at when it is whole."
)
WIDTH = 108
REASONS = {"3": _ONE_READ, "4": _ONE_READ, "5": _ONE_READ, "6": _FAIL_FAST}
"""Why a case of a group is not strict."""


@dataclass(frozen=True)
class Found:
    """What became of one case in one role.

    Attributes:
        case: Its number in the suite, such as `7.1.6`.
        behaviour: The suite's verdict on what was done.
        close: The suite's verdict on how the connection was closed.
        result: The suite's words.
        description: What the case does, in the suite's words.
    """

    case: str
    behaviour: str
    close: str
    result: str = ""
    description: str = ""

    @property
    def group(self) -> str:
        """The first part of its number."""
        return self.case.partition(".")[0]

    @property
    def verdict(self) -> str:
        """The worse of the two verdicts."""
        if self.close in (*BEHAVIOURS, self.behaviour):
            return self.behaviour
        return self.close

    @property
    def failed(self) -> bool:
        """Whether either verdict is a failure."""
        return self.verdict not in BEHAVIOURS


def read_results(folder: Path, agent: str) -> list[Found]:
    """Reads the JSON reports that the suite wrote.

    Args:
        folder: The suite's `outdir`.
        agent: Whose results.

    Returns:
        One for each case, in the suite's order; none where there is no report.
    """
    try:
        index = json.loads((folder / "index.json").read_text())[agent]
    except (FileNotFoundError, KeyError):
        return []
    found: list[Found] = []
    for case, entry in index.items():
        details = json.loads((folder / entry["reportfile"]).read_text())
        found.append(
            Found(
                case,
                entry["behavior"],
                entry["behaviorClose"],
                _one_line(details["result"]),
                _one_line(details["description"]),
            )
        )
    return sorted(found, key=lambda one: [int(part) for part in one.case.split(".")])


def page(results: Mapping[str, list[Found]], *, versions: str, limits: str) -> str:
    """The page.

    Args:
        results: What was found, by role.
        versions: Of the suite and its interpreter, for people.
        limits: The limits that the wire was given, for people.
    """
    parts = [
        _INTRODUCTION,
        _wrapped(
            f"This page is written by `python tests/conformance/autobahn.py` ({versions}). Limits of its "
            f"run: {limits}."
        ),
    ]
    for role, found in results.items():
        parts.append(f"## As a {role}\n\n{_table(found)}")
        parts.append(_named(found))
    parts.append(_REST)
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _table(found: Iterable[Found]) -> str:
    counts: dict[str, Counter[str]] = {}
    for one in found:
        kind = "FAILED" if one.failed else one.verdict
        counts.setdefault(one.group, Counter())[kind] += 1
    columns = [*BEHAVIOURS, "FAILED"]
    total: Counter[str] = sum(counts.values(), Counter())
    lines = [
        f"| cases | {' | '.join(column.lower() for column in columns)} |",
        f"|---|{'---:|' * len(columns)}",
        *(
            _row(f"{group}.\\* {GROUPS.get(group, '')}", counts[group], columns)
            for group in sorted(counts, key=int)
        ),
        _row(f"all {total.total()}", total, columns),
    ]
    return "\n".join(lines)


def _row(name: str, counts: Counter[str], columns: list[str]) -> str:
    return f"| {name} | {' | '.join(str(counts[column] or '') for column in columns)} |"


def _named(found: Iterable[Found]) -> str:
    """Every case that is neither fine nor left out as a whole, with the reason."""
    sections: list[str] = []
    failed = [one for one in found if one.failed]
    if failed:
        sections.append("**Failed**:\n")
        sections += [f"- {one.case} ({one.verdict}): {one.result}" for one in failed]
    for reason in dict.fromkeys(REASONS.values()):
        cases = [
            one.case
            for one in found
            if REASONS.get(one.group) == reason and one.verdict == "NON-STRICT"
        ]
        if cases:
            sections.append(f"- Non-strict: {', '.join(cases)}. {reason}")
    sections += [
        f"- Non-strict: {one.case}. {one.result}"
        for one in found
        if one.verdict == "NON-STRICT" and one.group not in REASONS
    ]
    sections += [
        f"- Informational: {one.case} ({one.description.rstrip('.')}). {one.result}"
        for one in found
        if one.verdict == "INFORMATIONAL"
    ]
    return "\n".join(_wrapped(section) for section in sections)


def _wrapped(text: str) -> str:
    """Text or a point of a list in lines that fit into an editor."""
    return textwrap.fill(
        text,
        WIDTH,
        subsequent_indent="  " if text.startswith("- ") else "",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _one_line(text: str) -> str:
    return " ".join(text.replace("<br>", " ").replace("<b>", "").replace("</b>", "").split())


_INTRODUCTION = """
# Conformance

The wire (`sansio_rt._wire`, RFC 6455) against
[Autobahn|Testsuite](https://github.com/crossbario/autobahn-testsuite), as a client and as a server.

The suite wants every message back. The wire sends text messages only, since the Realtime API has no other;
for the suite, `tests/conformance/wire_echo.py` sends binary messages back through the same frame writer.
"""

_REST = """
## What is left out, and why

- **12.\\*, 13.\\***: the extension permessage-deflate is never offered and never accepted, so that there
  is no compression bomb; the API's messages are full of audio in base64, which compresses badly. The suite
  calls that unimplemented.
- TLS is not the wire's: these runs are on plain sockets of the loopback device.

## Running it

```sh
python tests/conformance/autobahn.py                    # both roles, every case, writes this page
python tests/conformance/autobahn.py --cases '7.*'      # some cases; writes no page
python tests/conformance/autobahn.py --python /path/to/python2.7
```

The suite runs on Python 2.7 only. The script looks for one at `--python`, as `python2.7` or `python2` on
the `PATH`, and under pyenv (`pyenv install 2.7.18`); where it finds none it says so and ends with exit
code 2. It installs the suite once, into a virtual environment of that interpreter in a cache folder
(`--cache`), with a `virtualenv` that still knows Python 2.7. A failed case gives exit code 1. The suite's
own reports (HTML and JSON, with the bytes of each case) stay in the cache folder.
"""
