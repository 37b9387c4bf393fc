"""Rows on their way from a file to a block, and the identity that decides on which side of a split a row falls."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import xxhash
from numpy.typing import NDArray

from blockdot.ingest.spec import Split

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

LINE_BITS = 40  # a row id is (number of the file << LINE_BITS) | line


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows in CSR form over feature ids. ``line`` counts from 1 in the file; ``is_test`` is None without a split."""

    indptr: NDArray[np.int64]
    ids: NDArray[np.int64]
    values: Floats | None
    line: NDArray[np.int64]
    y: Floats | None = None
    weight: Floats | None = None
    offset: Floats | None = None
    is_test: Mask | None = None
    rows_read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def select(self, keep: Mask) -> Rows:
        """The rows where ``keep`` holds."""
        if np.all(keep):
            return self
        entries = np.repeat(keep, np.diff(self.indptr))
        indptr = np.concatenate([[0], np.cumsum(np.diff(self.indptr)[keep])])

        def part(column: Floats | None) -> Floats | None:
            return None if column is None else column[keep]

        return Rows(
            indptr,
            self.ids[entries],
            None if self.values is None else self.values[entries],
            self.line[keep],
            part(self.y),
            part(self.weight),
            part(self.offset),
            None if self.is_test is None else self.is_test[keep],
            self.rows_read,
            self.dropped,
        )


def in_test_by_line(split: Split, file_name: str, line: NDArray[np.int64]) -> Mask:
    """Whether each line of a file is in the test set: a hash of file and line, compared with the fraction."""
    start = np.uint64(xxhash.xxh3_64_intdigest(file_name.encode(), seed=split.seed))
    return _below(_mixed(line.astype(np.uint64) + start), split)


def in_test_by_value(split: Split, values: list[str]) -> Mask:
    """The same for rows that are identified by a value: equal values fall on the same side."""
    hashes = [xxhash.xxh3_64_intdigest(value.encode(), seed=split.seed) for value in values]
    return _below(_mixed(np.array(hashes, np.uint64)), split)


def _below(hashes: NDArray[np.uint64], split: Split) -> Mask:
    assert split.fraction is not None
    return hashes < np.uint64(split.fraction * 2.0**64)


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of SplitMix64 (Steele, Lea & Flood 2014): neighbouring numbers become unrelated ones."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
