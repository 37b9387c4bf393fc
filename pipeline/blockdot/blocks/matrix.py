"""The rows of a block: its first D columns in full, the others as compressed sparse rows.

    X = [ dense | sparse ],      columns 0 … D−1  |  D … k−1

Columns that are mostly full cost half the bytes this way and are multiplied at the speed of contiguous memory; what is
left is often all ones (one-hot and hashed categories), and then no value is stored at all. A zero of a dense column is
an absent entry, so a w or u that is not finite there makes a NaN, where a sparse column makes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from blockdot.blocks import products
from blockdot.blocks.kernel_types import Stored, Values
from blockdot.blocks.merge_kernel import keep_entries
from blockdot.buffers import empty
from blockdot.vectors import one_blas_thread

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Matrix:
    """n rows over ``n_columns`` columns; ``values`` is None when all sparse entries are 1. Never written to."""

    indptr: NDArray[np.int32]
    indices: NDArray[np.uint32]
    values: Values
    n_columns: int
    dense: Stored | None = None
    """(n, D), the columns 0 … D−1; the indices of sparse entries are then at least D."""

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    @property
    def n_dense(self) -> int:
        """D."""
        return 0 if self.dense is None else self.dense.shape[1]

    @property
    def nnz(self) -> int:
        """Sparse entries, and numbers other than 0 in the dense columns."""
        sparse = int(self.indptr[-1]) - int(self.indptr[0])
        return sparse if self.dense is None else sparse + int(np.count_nonzero(self.dense))

    @property
    def nbytes(self) -> int:
        """Bytes that a product reads of these rows."""
        entries = int(self.indptr[-1]) - int(self.indptr[0])
        each = 4 if self.values is None else 4 + self.values.itemsize
        return self.indptr.nbytes + entries * each + (0 if self.dense is None else self.dense.nbytes)

    def add_dot(self, w: Floats, out: Floats) -> None:
        """Add X w to ``out``: w (k,) and out (n,), or w (k, K) and out (n, K)."""
        add = products.add_dot if w.ndim == 1 else products.add_dot_columns
        add(self.dense, self.indptr, self.indices, self.values, w, out)

    def dot(self, w: Floats) -> Floats:
        """X w, float64: (n,) for w (k,), (n, K) for w (k, K)."""
        out = np.zeros((self.n_rows, *w.shape[1:]))
        self.add_dot(w, out)
        return out

    def add_tdot(self, u: Floats, out: Floats, *, squared: bool = False) -> None:
        """Add Xᵀ u, or (X∘X)ᵀ u, to ``out``: u (n,) and out (k,), or u (n, K) and out (k, K)."""
        add = products.add_tdot if u.ndim == 1 else products.add_tdot_columns
        add(self.dense, self.indptr, self.indices, self.values, u, out, squared)

    def add_normal(self, v: Floats, shift: float, c: Floats, out: Floats) -> float:
        """Add Xᵀ u to ``out`` (k,), u = c ∘ (X v + shift), for v (k,) and c (n,); Σ u."""
        u = empty(self.n_rows)
        parts = self.dense, self.indptr, self.indices, self.values
        return float(products.add_normal(*parts, v, shift, c, u, out))

    def add_gram(self, place: NDArray[np.int64], u: Floats, out: Floats) -> None:
        """Add Xᵀ diag(u) X to ``out`` (m, m), for the columns j with a place ``place[j]`` ≥ 0 there.

        Of two entries that mirror each other one is added to, so the sum of ``out`` and its transpose, less the
        diagonal, is what counts.
        """
        if self.dense is None:
            none = np.empty((0, 0))
            products.add_gram(self.indptr, self.indices, self.values, None, place, u, out, none)
            return
        kept = np.flatnonzero(place[: self.n_dense] >= 0)
        dense, at = self.dense[:, kept].astype(np.float64), place[kept]
        beside, cross = dense * u[:, np.newaxis], np.zeros((len(out), len(kept)))
        products.add_gram(self.indptr, self.indices, self.values, beside, place, u, out, cross)
        out[:, at] += cross
        with one_blas_thread():
            out[np.ix_(at, at)] += np.triu(dense.T @ beside)

    def counts(self) -> NDArray[np.int64]:
        """(k,) in how many rows each column occurs."""
        sparse = self.indices[self.indptr[0] : self.indptr[-1]]
        count = np.bincount(sparse, minlength=self.n_columns)
        if self.dense is not None:
            count[: self.n_dense] = np.count_nonzero(self.dense, axis=0)
        return count

    def rows(self, start: int, stop: int) -> Matrix:
        """The rows start … stop−1, a view."""
        dense = None if self.dense is None else self.dense[start:stop]
        return Matrix(self.indptr[start : stop + 1], self.indices, self.values, self.n_columns, dense)

    def take(self, rows: NDArray[np.int64]) -> Matrix:
        """The given rows, a copy."""
        length = np.diff(self.indptr)[rows].astype(np.int64)
        end = np.cumsum(length)
        entries = np.repeat(self.indptr[rows].astype(np.int64) - end + length, length) + np.arange(np.sum(length))
        return Matrix(
            np.concatenate([[0], end]).astype(np.int32),
            self.indices[entries],
            None if self.values is None else self.values[entries],
            self.n_columns,
            None if self.dense is None else self.dense[rows],
        )

    def keep(self, kept: NDArray[np.bool_]) -> Matrix:
        """The columns that are ``kept`` (k,), in their order; a copy."""
        number = np.where(kept, np.cumsum(kept) - 1, -1)
        size = int(np.count_nonzero(kept[self.indices[self.indptr[0] : self.indptr[-1]]]))
        indptr, indices = np.zeros(self.n_rows + 1, np.int32), np.empty(size, np.uint32)
        values = None if self.values is None else np.empty(size, self.values.dtype)
        keep_entries(self.indptr, self.indices, self.values, number, indptr, indices, values)
        in_full = kept[: self.n_dense]
        dense = None if self.dense is None or not np.any(in_full) else self.dense[:, in_full].copy(order="C")
        return Matrix(indptr, indices, values, int(np.count_nonzero(kept)), dense)

    def squared(self) -> Matrix:
        """X∘X, a copy with float64 values."""
        start, stop = int(self.indptr[0]), int(self.indptr[-1])
        return Matrix(
            self.indptr - self.indptr[0],
            self.indices[start:stop],
            None if self.values is None else np.square(self.values[start:stop], dtype=np.float64),
            self.n_columns,
            None if self.dense is None else np.square(self.dense, dtype=np.float64),
        )

    def sparse(self) -> Matrix:
        """The same with no column in full; a copy where there are some."""
        if self.dense is None:
            return self
        rows = self.to_scipy()
        return Matrix(rows.indptr.astype(np.int32), rows.indices.astype(np.uint32), rows.data, self.n_columns)

    def to_scipy(self) -> sp.csr_array:
        """A scipy matrix in the block's own columns: a copy, its values float64 where none are stored."""
        start, stop = int(self.indptr[0]), int(self.indptr[-1])
        values = np.ones(stop - start) if self.values is None else self.values[start:stop].copy()
        indices, ends = self.indices[start:stop].astype(np.int64), self.indptr.astype(np.int64) - start
        if self.dense is not None:
            row, column = np.nonzero(self.dense)
            before = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=self.n_rows))])
            to_dense = np.arange(len(row)) + ends[row]  # the full columns come first in each row
            to_sparse = np.arange(len(values)) + np.repeat(before[1:], np.diff(ends))
            values = _dealt((self.dense[row, column], values), (to_dense, to_sparse))
            indices, ends = _dealt((column, indices), (to_dense, to_sparse)), ends + before
        return sp.csr_array((values, indices, ends), shape=(self.n_rows, self.n_columns))


def _dealt(
    parts: tuple[NDArray[Any], NDArray[Any]], places: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> NDArray[Any]:
    """One array of both parts, each at its places."""
    out = np.empty(sum(len(part) for part in parts), np.result_type(*parts))
    for part, place in zip(parts, places, strict=True):
        out[place] = part
    return out
