"""Mutants, how they ended, and the reasons why some are not noticed."""

from __future__ import annotations

import difflib
import io
import json
import re
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "mutation"
REASONS = Path(__file__).with_name("equivalents.toml")

SEED = 6
"""What draws the sample of a module where nobody asks for another one."""
EQUIVALENT, SLOW, EITHER = KINDS = ("equivalent", "slow", "either")
"""Of reasons: nobody could notice; only tests that are left out do; neither way is wrong."""
KILLED, SURVIVED, SKIPPED = "killed", "survived", "skipped"


@dataclass(frozen=True)
class Mutant:
    """One change of one function.

    Attributes:
        name: mutmut's name of it.
        function: The function or `Class.method`.
        was: The lines that it takes out, stripped and joined.
        now: The lines that it puts in.
        end: How it ended: `killed`, `survived`, or `skipped` (not in the sample).
    """

    name: str
    function: str
    was: str
    now: str
    end: str = SKIPPED


@dataclass(frozen=True)
class Results:
    """What became of a module's mutants.

    Attributes:
        module: The module.
        mutants: All of its mutants.
        seconds: How long running them took.
        seed: What drew the sample, where not all were run.
    """

    module: str
    mutants: tuple[Mutant, ...]
    seconds: float
    seed: int = SEED

    @property
    def path(self) -> Path:
        return results_path(self.module)

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def ended(self, end: str) -> list[Mutant]:
        return [mutant for mutant in self.mutants if mutant.end == end]


def results_path(module: str) -> Path:
    return WORK / "results" / f"{module}.json"


def read_results(module: str) -> Results | None:
    try:
        stored = json.loads(results_path(module).read_text())
    except FileNotFoundError:
        return None
    tried = tuple(Mutant(**each) for each in stored["mutants"])
    return Results(module, tried, stored["seconds"], stored.get("seed", SEED))


def mutants_of(code: str, spans: dict[str, tuple[int, int]], prefix: str) -> Iterator[Mutant]:
    """The mutants in a file that mutmut has written.

    Args:
        code: The file, which has each mutated function once for each of its mutants.
        spans: First and last line of each of these, by name, beginning with 1.
        prefix: The module's dotted name and a dot, which mutmut's names begin with.
    """
    lines = code.splitlines()

    def body(name: str) -> list[str]:
        first, last = spans[name]
        # The name stands in the `def` line only: a function that calls itself calls the original.
        return [line.replace(name, "") for line in lines[first - 1 : last]]

    for name in spans:
        stem, _, number = name.rpartition("__mutmut_")
        if not number.isdigit():
            continue
        changed = [
            line
            for line in difflib.ndiff(body(f"{stem}__mutmut_orig"), body(name))
            if line[0] in "-+"
        ]
        was = " ".join(line[2:].strip() for line in changed if line[0] == "-")
        now = " ".join(line[2:].strip() for line in changed if line[0] == "+")
        function = re.sub(r"^x_?", "", stem).strip("ǁ").replace("ǁ", ".")
        yield Mutant(f"{prefix}{name}", function, was, now)


def only_words(mutant: Mutant) -> bool:
    """True if nothing but the wording of a sentence for humans was changed."""
    was, now = tokens(mutant.was), tokens(mutant.now)
    if was is None or now is None or len(was) != len(now):
        return False
    changed = [(old, new) for old, new in zip(was, now, strict=True) if old != new]
    if len(changed) != 1:
        return False
    [(old, new)] = changed
    return old[0] in "\"'" and new[0] in "\"'" and " " in old


def tokens(line: str) -> list[str] | None:
    try:
        found = tokenize.generate_tokens(io.StringIO(f"({line}\n)").readline)
        return [token.string for token in found if token.string.strip()]
    except (tokenize.TokenError, SyntaxError):
        return None


@dataclass(frozen=True)
class Reason:
    """Why no test that is run here notices some mutants.

    Attributes:
        module: Their module.
        function: Their function, or `*`.
        was: What they take out, or `*`.
        now: What they put in, one of several, or `*`.
        why: The reason.
        kind: One of `KINDS`.
    """

    module: str
    function: str
    was: str
    now: tuple[str, ...]
    why: str
    kind: str = EQUIVALENT

    def explains(self, module: str, mutant: Mutant) -> bool:
        return (
            module == self.module
            and self.function in ("*", mutant.function)
            and self.was in ("*", mutant.was)
            and (self.now == ("*",) or mutant.now in self.now)
        )


def read_reasons(path: Path = REASONS) -> list[Reason]:
    """The reasons in `equivalents.toml`, module by module."""
    found: list[Reason] = []
    for module, entries in tomllib.loads(path.read_text("utf-8")).items():
        for entry in entries:
            now = entry["now"]
            several = (now,) if isinstance(now, str) else tuple(now)
            kind = entry.get("kind", EQUIVALENT)
            found.append(Reason(module, entry["in"], entry["was"], several, entry["why"], kind))
    return found
