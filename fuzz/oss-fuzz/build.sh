#!/bin/bash -eu
# Makes one fuzzer of every target, with its corpus and the dictionary, in $OUT as OSS-Fuzz wants them.
# Run by the base image; $SRC, $OUT and compile_python_fuzzer are its own.
cd "$SRC/trio-rt"
pip3 install --constraint constraints.txt .
python3 -m fuzz record >/dev/null
python3 -c 'from pathlib import Path; from fuzz import dictionary; dictionary.write(Path("events.dict"))'

for target in $(python3 -m fuzz --list | awk '{ print $1 }'); do
    # One file each: PyInstaller follows the import of the target.
    cat >"fuzz_$target.py" <<PYTHON
import sys

import atheris

from fuzz.targets import not_counted

with atheris.instrument_imports(include=["sansio_rt"], exclude=not_counted("$target")):
    from fuzz.targets.$target import fuzz

atheris.Setup(sys.argv, fuzz)
atheris.Fuzz()
PYTHON
    compile_python_fuzzer "fuzz_$target.py" --add-data "sansio_rt:sansio_rt"
    cp events.dict "$OUT/fuzz_$target.dict"
    most=$(python3 -c "from fuzz import targets; print(targets.load('$target').max_bytes)")
    printf '[libfuzzer]\nmax_len = %s\n' "$most" >"$OUT/fuzz_$target.options"

    corpus=$(mktemp -d)
    for archive in "fuzz/corpus/$target.zip" "fuzz/seeds/$target.zip"; do
        [[ -e $archive ]] && unzip -qo "$archive" -d "$corpus"
    done
    [[ -d fuzz/regressions/$target ]] && cp "fuzz/regressions/$target"/* "$corpus"
    (cd "$corpus" && zip -qr "$OUT/fuzz_${target}_seed_corpus.zip" .)
done
