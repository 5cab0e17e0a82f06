"""Coverage-guided fuzzing of `sansio_rt`: `python -m fuzz TARGET --seconds N`; see docs/fuzzing.md.

A target is a plain function of bytes (`fuzz.targets`). It needs no fuzzer to be called, so that the test
suite runs it over the corpus and over every past finding, and another fuzzer can take it as it is.
"""

from __future__ import annotations


class Refused(Exception):
    """What was asked for cannot be done; the text says why, in a sentence."""
