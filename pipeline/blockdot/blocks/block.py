"""A block: some rows of a data set, their targets, and the block's own columns.

    X[i, j] = value of row i at feature columns[j],     columns = ids of the features that occur, most frequent first

So a block's parameters are ``w[positions]``, its gradient has ``len(columns)`` numbers, local indices always fit 32
bits, and the features that occur most share the fastest cache lines (see numbering.py and matrix.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import DTypeLike, NDArray

from blockdot.blocks.matrix import Floats, Matrix
from blockdot.blocks.memo import Memo
from blockdot.blocks.numbering import pack
from blockdot.errors import DataError

TILE_ROWS = (
    32_768  # few calls a pass, and z, u and the targets of a tile still fit the second-level cache (docs/design.md)
)
# Ids below this can be columns of rows that are gone through once.
_NARROW = 1 << 22


@dataclass(frozen=True, eq=False)
class Block:
    """Rows with their targets. Optional arrays are None when absent: no targets, weights 1, offsets 0, no row ids."""

    X: Matrix
    columns: NDArray[np.int64]
    positions: NDArray[np.int64] | None = None
    """Where ``columns`` lie among the features that occur in the data set; None until the block belongs to one."""
    y: Floats | None = None
    """(n,), or (n, L): 1 where a row has the label of the column, else 0."""
    sample_weight: Floats | None = None
    offset: Floats | None = None
    row_id: NDArray[np.int64] | None = None
    """Where the rows are among all rows: ascending."""
    group: NDArray[np.int64] | None = None
    """Equal for rows that belong together, such as those of one customer; absent where each row is by itself."""
    order: NDArray[np.int64] | None = None
    """What sorts ``positions``; found once, because every pass sends its sums in ascending positions."""
    n_features: int = 0
    """k, how many features occur in the data set that the positions belong to."""
    in_order: bool = False
    """Whether its columns are all the features of the data set, in their order: vectors over them are the block's."""
    memo: Memo | None = None
    """What this process remembers of the block in the fit at hand."""
    copied: int = 0
    """Bytes of X that were made for the fit, where it is not as it is stored."""

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
        group: NDArray[np.int64] | None = None,
        dtype: DTypeLike = np.float32,
        once: bool = False,
    ) -> Block:
        """Number the features of some rows by their frequency here, and drop values that are all 1.

        Parameters
        ----------
        indptr, ids, values
            Rows in CSR form; ``ids`` are global feature ids, no id twice in a row; ``values`` None when all are 1.
        y, sample_weight, offset, row_id, group
            One number a row, or None; of y also L of them.
        dtype
            float32 or float64, for the values.
        once
            Whether the rows are gone through once only: then, in a space of ids that is not wide, the ids are the
            columns, for numbering them would take longer than it saves.
        """
        if len(ids) > np.iinfo(np.int32).max:
            raise DataError(
                f"a block has {len(ids):,} non-zeros; at most 2^31 - 1 fit: cut the data into smaller blocks"
            )
        stored = None if values is None else np.asarray(values, dtype)
        width = int(ids.max(initial=-1)) + 1
        if once and width <= _NARROW and (ids.size == 0 or ids.min() >= 0):
            width = 1 << width.bit_length()  # so that many blocks have the same
            plain = stored is None or bool(np.all(stored == 1))
            parts = indptr.astype(np.int32), ids.astype(np.uint32), None if plain else stored
            return cls(Matrix(*parts, width), numbers(width), None, y, sample_weight, offset, row_id, group)
        packed = pack(indptr, np.asarray(ids, np.int64), stored)
        matrix = Matrix(packed.indptr, packed.indices, packed.values, len(packed.columns), packed.dense)
        return cls(matrix, packed.columns, None, y, sample_weight, offset, row_id, group)

    @property
    def n_rows(self) -> int:
        return self.X.n_rows

    @property
    def n_labels(self) -> int | None:
        """L, the columns of y; None where y is one number a row, or absent."""
        return None if self.y is None or self.y.ndim == 1 else self.y.shape[1]

    @property
    def weight(self) -> float:
        """Σ sᵢ over the block's rows."""
        return float(self.n_rows) if self.sample_weight is None else float(np.sum(self.sample_weight))

    @property
    def counted(self) -> NDArray[np.intp]:
        """The rows that have a weight: of several models (n, M), in one of them."""
        s = self.sample_weight
        return np.arange(self.n_rows) if s is None else np.flatnonzero(s if s.ndim == 1 else np.any(s, axis=1))

    @property
    def places(self) -> NDArray[np.int64]:
        """``positions``, which every block of a data set has."""
        if self.positions is None:
            raise ValueError("this block belongs to no data set yet: its columns have no positions")
        return self.positions

    def placed(self, positions: NDArray[np.int64], n_features: int) -> Block:
        """The block with the places of its columns among the ``n_features`` that occur in a data set."""
        if len(positions) == n_features and np.array_equal(positions, np.arange(n_features)):
            return replace(self, positions=positions, order=positions, n_features=n_features, in_order=True)
        order = np.argsort(positions)
        again = np.flatnonzero(np.diff(positions[order]) == 0)
        if again.size:
            raise DataError(f"two columns of a block are the feature {self.columns[order[again[0]]]}; needed one")
        return replace(self, positions=positions, order=order, n_features=n_features, in_order=False)

    def tiles(self, rows: int = TILE_ROWS) -> Iterator[Block]:
        """The block in ranges of rows small enough for the cache: views, in order, without what names its rows."""
        for start in range(0, self.n_rows, rows):
            stop = min(start + rows, self.n_rows)
            yield Block(  # a pass makes many: ``replace`` takes twice as long
                self.X.rows(start, stop),
                self.columns,
                self.positions,
                _part(self.y, start, stop),
                _part(self.sample_weight, start, stop),
                _part(self.offset, start, stop),
                order=self.order,
                n_features=self.n_features,
            )


@lru_cache(maxsize=4)
def numbers(n: int) -> NDArray[np.int64]:
    """0 … n−1, one array for all that have need of it."""
    every = np.arange(n)
    every.flags.writeable = False
    return every


def _part(array: Floats | None, start: int, stop: int) -> Floats | None:
    return None if array is None else array[start:stop]
