"""A block: some rows of a data set, their targets, and the block's own columns.

    X[i, j] = value of row i at feature columns[j],     columns = ids of the features that occur, most frequent first

So a block's parameters are ``w[positions]``, its gradient has ``len(columns)`` numbers, local indices always fit 32
bits, and the features that occur most share the fastest cache lines. Ties in frequency go to the smaller id, and the
entries of a row ascend in the block's own numbering: the same rows give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import DTypeLike, NDArray

from blockdot.blocks import products
from blockdot.errors import DataError

Floats = NDArray[np.float64]

TILE_ROWS = 16_384  # z, u and the rows' targets of a tile stay in the second-level cache between the loops


@dataclass(frozen=True, eq=False)
class CSR:
    """Compressed sparse rows, 32-bit indices; ``values`` is None when all are 1. Its arrays are never written to."""

    indptr: NDArray[np.int32]
    indices: NDArray[np.uint32]
    values: products.Values
    n_columns: int

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    @property
    def nnz(self) -> int:
        return int(self.indptr[-1]) - int(self.indptr[0])

    def dot(self, w: Floats) -> Floats:
        """X w, float64, one number a row."""
        out = np.empty(self.n_rows)
        products.dot(self.indptr, self.indices, self.values, w, out)
        return out

    def add_tdot(self, u: Floats, out: Floats) -> None:
        """Add Xᵀ u to ``out``."""
        products.add_tdot(self.indptr, self.indices, self.values, u, out)

    def add_tdot_sq(self, u: Floats, out: Floats) -> None:
        """Add (X∘X)ᵀ u to ``out``."""
        products.add_tdot_sq(self.indptr, self.indices, self.values, u, out)

    def rows(self, start: int, stop: int) -> CSR:
        """The rows start … stop−1, a view."""
        return replace(self, indptr=self.indptr[start : stop + 1])

    def to_scipy(self) -> sp.csr_array:
        """A scipy matrix in the block's own columns (values copied when they are absent)."""
        start, stop = int(self.indptr[0]), int(self.indptr[-1])
        values = np.ones(stop - start) if self.values is None else self.values[start:stop]
        parts = (values, self.indices[start:stop].astype(np.int64), self.indptr - start)
        return sp.csr_array(parts, shape=(self.n_rows, self.n_columns))


@dataclass(frozen=True, eq=False)
class Block:
    """Rows with their targets. Optional arrays are None when absent: no targets, weights 1, offsets 0, no row ids."""

    X: CSR
    columns: NDArray[np.int64]
    positions: NDArray[np.int64] | None = None
    """Where ``columns`` lie among the features that occur in the data set; None until the block belongs to one."""
    y: Floats | None = None
    sample_weight: Floats | None = None
    offset: Floats | None = None
    row_id: NDArray[np.int64] | None = None
    order: NDArray[np.int64] | None = None
    """What sorts ``positions``; found once, because every pass sends its sums in ascending positions."""

    @classmethod
    def from_rows(
        cls,
        indptr: NDArray[np.integer],
        ids: NDArray[np.integer],
        values: NDArray[np.floating] | None,
        *,
        y: Floats | None = None,
        sample_weight: Floats | None = None,
        offset: Floats | None = None,
        row_id: NDArray[np.int64] | None = None,
        dtype: DTypeLike = np.float32,
    ) -> Block:
        """Number the features of some rows by their frequency here, and drop values that are all 1.

        Parameters
        ----------
        indptr, ids, values
            Rows in CSR form; ``ids`` are global feature ids, no id twice in a row; ``values`` None when all are 1.
        y, sample_weight, offset, row_id
            One number a row, or None.
        dtype
            float32 or float64, for the values.
        """
        if len(ids) > np.iinfo(np.int32).max:
            raise DataError(
                f"a block has {len(ids):,} non-zeros; at most 2^31 - 1 fit: cut the data into smaller blocks"
            )
        columns, local = _number_by_frequency(np.asarray(ids, np.int64))
        if values is not None:
            values = np.array(values, dtype)  # a copy: the sort below is in place
            if np.all(values == 1):
                values = None
        n = len(indptr) - 1
        carried = np.ones(len(local), np.int8) if values is None else values
        rows = sp.csr_array((carried, local, np.asarray(indptr, np.int32)), shape=(n, max(len(columns), 1)))
        rows.sort_indices()
        matrix = CSR(rows.indptr, rows.indices.view(np.uint32), None if values is None else rows.data, len(columns))
        return cls(matrix, columns, None, y, sample_weight, offset, row_id)

    @property
    def n_rows(self) -> int:
        return self.X.n_rows

    @property
    def weight(self) -> float:
        """Σ sᵢ over the block's rows."""
        return float(self.n_rows) if self.sample_weight is None else float(np.sum(self.sample_weight))

    def placed(self, positions: NDArray[np.int64]) -> Block:
        """The block with the places of its columns among the features that occur in a data set."""
        return replace(self, positions=positions, order=np.argsort(positions))

    def tiles(self, rows: int = TILE_ROWS) -> Iterator[Block]:
        """The block in ranges of rows small enough for the cache: views, in order."""
        for start in range(0, self.n_rows, rows):
            stop = min(start + rows, self.n_rows)
            yield replace(
                self,
                X=self.X.rows(start, stop),
                y=_part(self.y, start, stop),
                sample_weight=_part(self.sample_weight, start, stop),
                offset=_part(self.offset, start, stop),
                row_id=None,
            )


def _part(array: Floats | None, start: int, stop: int) -> Floats | None:
    return None if array is None else array[start:stop]


def _number_by_frequency(ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The ids that occur, most frequent first, and each entry's place among them (a fresh array)."""
    if ids.size == 0:
        return np.empty(0, np.int64), np.empty(0, np.int32)
    if ids.min() < 0:
        raise DataError(f"feature id {ids.min()} is negative; ids start at 0")
    width = int(ids.max()) + 1
    if width <= 4 * ids.size + 1024:  # counting beats sorting while the table of counts is no larger than the data
        count = np.bincount(ids, minlength=width)
        occurring = np.flatnonzero(count)
        order = np.argsort(-count[occurring], kind="stable")
        columns = occurring[order]
        place = np.empty(width, np.int32)
        place[columns] = np.arange(len(columns), dtype=np.int32)
        return columns, place[ids]
    occurring, inverse, count = np.unique(ids, return_inverse=True, return_counts=True)
    order = np.argsort(-count, kind="stable")
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return occurring[order], place[inverse]
