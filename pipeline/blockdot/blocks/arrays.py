"""Arrays that hold one row after another: checked at the door, and cut into blocks.

    rows a block = min(⌈n / blocks⌉, 131 072),     blocks = 16, or 8, 4, 2, 1 where they would be small

A block is small with less than a quarter of a million entries, where a row counts for 8 of them: below that a pass
spends more on the block than on what is in it (docs/design.md). The cut depends on the rows alone, so that results
depend neither on the machine nor on how the rows came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from blockdot.blocks.block import Block
from blockdot.blocks.matrix import Floats
from blockdot.blocks.soundness import csr_of
from blockdot.errors import DataError

Targets = sp.sparray | sp.spmatrix | ArrayLike


_ENTRIES, _A_ROW = 1 << 18, 8


def rows_a_block(n: int, entries: int) -> int:
    """How many rows a block has, of n with so many numbers other than 0 in all."""
    blocks = 16
    while blocks > 1 and entries + _A_ROW * n < blocks * _ENTRIES:
        blocks //= 2
    return min(max(-(-n // blocks), 1), 131_072)


@dataclass(frozen=True, eq=False)
class Columns:
    """What goes with each row, beside its features; None for what there is not."""

    y: Floats | None = None
    """(n,), or (n, L) of 0 and 1."""
    sample_weight: Floats | None = None
    offset: Floats | None = None
    group: NDArray[np.int64] | None = None

    @classmethod
    def checked(
        cls,
        n: int,
        y: Targets | None = None,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Of n rows; DataError, with the row, for what is no finite number, a negative weight, another length."""
        weights = _column("sample_weight", sample_weight, n)
        if weights is not None and weights.size and weights.min() < 0:
            row = int(np.argmin(weights))
            raise DataError(f"sample_weight[{row}] is {weights[row]:g}; needed at least 0")
        return cls(_targets(y, n), weights, _column("offset", offset, n), _places("groups", groups, n))

    def rows(self, start: int, stop: int) -> Columns:
        """The rows start … stop−1, views."""

        def part(column: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if column is None else column[start:stop]

        return Columns(part(self.y), part(self.sample_weight), part(self.offset), part(self.group))


def require_weight(total: float) -> None:
    """DataError where the weights of all rows add up to nothing."""
    if not total > 0:
        raise DataError("every sample_weight is zero: there is nothing to learn from")


@dataclass(frozen=True, eq=False)
class Arrays:
    """Rows in CSR form, canonical, with what goes with them. ``ids`` are ids of features. Never written to."""

    indptr: NDArray[np.integer]
    ids: NDArray[np.integer]
    values: NDArray[np.floating]
    columns: Columns

    @classmethod
    def checked(cls, X: Targets, columns: Columns) -> Self:
        """Of a matrix (n, d) of any kind; DataError for what is no finite number, with row and column."""
        matrix = csr_of(X)
        return cls(matrix.indptr, matrix.indices, matrix.data, columns)

    @classmethod
    def joined(cls, parts: Sequence[Arrays], columns: Columns) -> Self:
        """The rows of all parts, in order; float64 where one of them is."""
        counts = [np.diff(part.indptr).astype(np.int64) for part in parts]
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(counts))])
        ids = np.concatenate([part.ids for part in parts], dtype=np.int64)  # as a block wants them: one copy, not two
        return cls(indptr, ids, np.concatenate([part.values for part in parts]), columns)

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    @property
    def n_entries(self) -> int:
        """How many numbers other than 0 there are: what lies here as a zero does not count."""
        return int(np.count_nonzero(self.values))

    def rows(self, start: int, stop: int) -> Arrays:
        """The rows start … stop−1, views of the entries."""
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        indptr = self.indptr[start : stop + 1] - self.indptr[start]
        return Arrays(indptr, self.ids[first:last], self.values[first:last], self.columns.rows(start, stop))

    def block(self, first: int) -> Block:
        """A block of all these rows, the first of which is row ``first`` of the data set."""
        row_id = np.arange(first, first + self.n_rows, dtype=np.int64)
        columns = self.columns
        return Block.from_rows(
            self.indptr,
            self.ids,
            self.values,
            y=columns.y,
            sample_weight=columns.sample_weight,
            offset=columns.offset,
            group=columns.group,
            row_id=row_id,
            dtype=self.values.dtype,
        )


def _targets(y: Targets | None, n: int) -> Floats | None:
    """(n,) numbers; or (n, L) of 0 and 1, one row after another in memory."""
    if y is None:
        return None
    array = _numbers("y", y)
    if array.ndim != 2 or array.shape[1] < 2 or len(array) != n:
        return _column("y", array, n, f" or ({n}, L), one of 0 and 1 for each of L >= 2 labels")
    strange = np.argwhere((array != 0.0) & (array != 1.0))
    if strange.size:
        row, label = strange[0]
        raise DataError(
            f"y[{row}, {label}] is {array[row, label]:g}; needed 0 or 1, whether the row has the label of that column"
        )
    return np.ascontiguousarray(array)


def _column(name: str, values: ArrayLike | None, n: int, also: str = "") -> Floats | None:
    if values is None:
        return None
    column = _numbers(name, values)
    if column.shape != (n,):
        raise DataError(f"{name} has the shape {column.shape}; needed ({n},), one number for each row of X{also}")
    bad = np.flatnonzero(~np.isfinite(column))
    if bad.size:
        raise DataError(f"{name}[{bad[0]}] is {column[bad[0]]}; needed finite numbers")
    return column


def _numbers(name: str, values: Any) -> Floats:
    try:
        return np.asarray(values.toarray() if hasattr(values, "toarray") else values, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} cannot be read as numbers: {error}") from None


def _places(name: str, labels: ArrayLike | None, n: int) -> NDArray[np.int64] | None:
    """The number of each row's label among the distinct ones, ascending."""
    if labels is None:
        return None
    array = np.asarray(labels)
    if array.shape != (n,):
        raise DataError(f"{name} has the shape {array.shape}; needed ({n},), one label for each row of X")
    return np.unique(array, return_inverse=True)[1].astype(np.int64)
