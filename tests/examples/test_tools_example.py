"""The example of the tools runs, and shows what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tools() -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "tools.py")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},  # also where the package is not installed
    )
    assert result.returncode == 0, result.stderr
    turns = result.stdout.split("You: ")[1:]
    # Calls of one reply run at once: within a turn any order is right.
    assert [sorted(turn.splitlines()) for turn in turns] == [
        [
            '  [{"number":4,"seats":4},{"number":7,"seats":6}]',
            '  {"error":"argument `seats`: expected `int`, got `str`"}',
            "A table for four?",
            "Model: Tables four and seven are free.",
        ],
        [
            "  Table 4 is booked for Ada.",
            '  {"error":"book_table was not run: only Ada may book"}',
            "Book one for Ada and one for Bob.",
            "Model: Ada has a table.",
            "book_table({'number': 4, 'name': 'Ada'}): approved",
            "book_table({'number': 7, 'name': 'Bob'}): denied",
        ],
        [
            '  {"error":"print_menu took longer than 0.1 seconds"}',
            '  {"error":"there is no tool called \'order_pizza\'; the tools are: '
            'book_table, find_tables, print_menu"}',
            "Model: Sorry, that does not work.",
            "The menu, and pizza!",
        ],
    ]
    assert "Traceback" not in result.stderr
