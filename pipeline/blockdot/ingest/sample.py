"""How many rows raw files have, about, from their first bytes alone.

    rows  ≈  lines of what was looked at · bytes of the file / bytes that were read to see it

Parquet files say it exactly. A quoted line end counts as a line: the number is an estimate, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from blockdot.errors import DataError
from blockdot.ingest.files import is_compressed, open_text
from blockdot.ingest.inputs import resolve
from blockdot.ingest.plan import parquet_file
from blockdot.ingest.spec import DataSpec

_LOOK = 1 << 20
# Text to compressed bytes, where a file is too long for its compressed position to be known: gzip on such text.
_RATIO = 4.0


class Sampled(NamedTuple):
    """What was found: files, bytes, rows, the bytes of text that were looked at, and whether rows were counted."""

    files: int
    nbytes: int
    rows: int
    looked_at: int
    is_exact: bool


def sampled(inputs: str | Sequence[str], spec: DataSpec) -> Sampled:
    """Estimate the rows of raw files.

    Raises SpecError for inputs that lead to no file, DataError for a file that cannot be read.
    """
    paths = [path for path, _ in resolve(inputs)]
    nbytes = sum(path.stat().st_size for path in paths)
    if spec.format == "parquet":
        return Sampled(len(paths), nbytes, sum(parquet_file(path).metadata.num_rows for path in paths), 0, True)
    looked, lines, bytes_looked = 0, 0, 0.0
    whole = True
    for path in paths[:8]:
        text, ended = _first(path)
        whole &= ended
        looked += len(text)
        lines += text.count(b"\n") + (ended and not text.endswith(b"\n"))
        if ended:
            bytes_looked += path.stat().st_size
        else:
            bytes_looked += len(text) / (_RATIO if is_compressed(path) else 1.0)
    if bytes_looked == 0.0:
        raise DataError(f"{paths[0]}: the file is empty; remove it from the inputs, or write it again")
    whole &= len(paths) <= 8
    rows = lines if whole else round(lines * nbytes / bytes_looked)
    headers = len(paths) if spec.format in ("csv", "tsv") and spec.columns is None else 0
    return Sampled(len(paths), nbytes, max(rows - headers, 0), looked, False)


def _first(path: Path) -> tuple[bytes, bool]:
    """The first bytes of text, and whether they are all."""
    with open_text(path) as file:
        text = file.read(_LOOK)
        return text, not file.read(1)
