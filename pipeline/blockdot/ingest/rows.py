"""Rows: what a reader makes of a piece of a file, before it becomes a block.

``row_id`` of a stored row is (index of the file << 40) | line, so a row of a store leads back to its line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.block import Block
from blockdot.errors import DataError

LINE_BITS = 40

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows in CSR form with global ids; optional arrays are None when absent.

    Attributes
    ----------
    place
        The file, for messages.
    lines
        The line of each row in its file, from 1; for Parquet the number of the row.
    group
        What the rows of one ``row_id`` have in common: a hash of its value.
    y
        One target a row, or (rows, L): 1 where a row has the label of the column, else 0.
    test
        Which rows are held out for testing.
    read, dropped
        How many rows were read, and how many of them were dropped for which reason.
    """

    place: str
    lines: Ints
    indptr: Ints
    ids: Ints
    values: Floats | None
    y: Floats | None = None
    weight: Floats | None = None
    offset: Floats | None = None
    group: Ints | None = None
    test: NDArray[np.bool_] | None = None
    read: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)

    def take(self, mask: NDArray[np.bool_]) -> Rows:
        """The rows where ``mask`` is true."""
        lengths = np.diff(self.indptr)
        entries = np.repeat(mask, lengths)
        indptr = np.concatenate(([0], np.cumsum(lengths[mask])))
        values = None if self.values is None else self.values[entries]
        return replace(
            self,
            lines=self.lines[mask],
            indptr=indptr,
            ids=self.ids[entries],
            values=values,
            y=None if self.y is None else self.y[mask],
            weight=None if self.weight is None else self.weight[mask],
            offset=None if self.offset is None else self.offset[mask],
            group=None if self.group is None else self.group[mask],
            test=None if self.test is None else self.test[mask],
        )

    def to_block(self, file: int, dtype: str, *, once: bool = False) -> Block:
        """The rows as a block, which is gone through ``once`` only, or again and again.

        Raises DataError for a value that is too large for ``dtype``.
        """
        if self.values is not None:
            self._refuse_overflow(self.values, dtype)
        return Block.from_rows(
            self.indptr,
            self.ids,
            self.values,
            y=self.y,
            sample_weight=self.weight,
            offset=self.offset,
            row_id=(np.int64(file) << LINE_BITS) | self.lines,
            group=self.group,
            dtype=np.dtype(dtype),
            once=once,
        )

    def _refuse_overflow(self, values: Floats, dtype: str) -> None:
        largest = float(np.finfo(dtype).max)
        if values.size and max(values.max(), -values.min()) > largest:
            k = int(np.argmax(np.abs(values) > largest))
            line = self.lines[np.searchsorted(self.indptr, k, side="right") - 1]
            raise DataError(
                f"{self.place}:{line}: found the value {values[k]:g} of feature {self.ids[k]}, needed at most "
                f'{largest:.4g} in size; scale the feature, or set dtype = "float64"'
            )
