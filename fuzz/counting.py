"""Coverage, noted by a store where atheris makes a call.

At each branch atheris calls a function, which takes four times as long as a store. So what it inserts
into the bytecode becomes `_passed[NUMBER] = 1`, and libFuzzer is shown the array, by the interface that
compilers use for theirs ("inline-8bit-counters" and "pc-table" in Clang's documentation of
SanitizerCoverage).

How often a branch is passed does not count, only whether: most of the inputs that differ by that alone
teach nothing, and each of them is worked on further.
"""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import atheris
from atheris import instrument_bytecode

_atheris: Any = atheris  # which has no types
_bytecode: Any = instrument_bytecode
_MOST_BRANCHES = 1 << 16
_memory = mmap.mmap(-1, _MOST_BRANCHES)
_passed = memoryview(_memory)
_branches: list[int] = []
_table = (ctypes.c_size_t * (2 * _MOST_BRANCHES))()
"""libFuzzer keeps its address: for each branch a number that is its own, and flags, which are 0."""


class _Instrumentor(_bytecode.Instrumentor):  # type: ignore[misc]
    """Inserts a store for each branch."""

    def _generate_trace_branch_invocation(self, copyfrom_instruction: Any) -> list[Any]:
        number = len(_branches)
        _branches.append(number)
        places = [at for at, constant in enumerate(self.consts) if constant is _passed]
        if not places:
            places = [len(self.consts)]
            self.consts.append(_passed)
        inserted = (
            ("LOAD_CONST", self._get_const(1)),
            ("LOAD_CONST", places[0]),
            ("LOAD_CONST", self._get_const(number)),
            ("STORE_SUBSCR", None),
        )
        make = _bytecode._generate_instruction
        return [make(name, argument, copyfrom_instruction) for name, argument in inserted]


@contextmanager
def counted(packages: Sequence[str], without: Sequence[str], *, compared: bool) -> Iterator[None]:
    """What is imported within counts.

    Args:
        packages: Where.
        without: Modules of them that do not count.
        compared: Whether the values of comparisons are told, too, so that the fuzzer tries them.
    """
    replaced, _bytecode.Instrumentor = _bytecode.Instrumentor, _Instrumentor
    hook = _atheris.instrument_imports(include=packages, exclude=without)
    hook._trace_dataflow = compared
    try:
        with hook:
            yield
    finally:
        _bytecode.Instrumentor = replaced


def show_counters() -> None:
    """Shows libFuzzer what counts; once, behind `atheris.Setup` and all imports."""
    count = len(_branches)
    assert count <= _MOST_BRANCHES, f"{count} branches: make room for more"
    for number in _branches:
        _table[2 * number] = number + 1
    found = importlib.util.find_spec("atheris.core_with_libfuzzer")
    assert found is not None
    library = ctypes.CDLL(found.origin)  # which `atheris.Setup` has loaded
    counters = ctypes.addressof(ctypes.c_char.from_buffer(_memory))
    table = ctypes.addressof(_table)
    _call(library, "__sanitizer_cov_8bit_counters_init", counters, count)
    _call(library, "__sanitizer_cov_pcs_init", table, 2 * count * ctypes.sizeof(ctypes.c_size_t))


def _call(library: ctypes.CDLL, name: str, start: int, size: int) -> None:
    library[name](ctypes.c_void_p(start), ctypes.c_void_p(start + size))
