"""Compressed sparse rows with float64 values, as scipy has them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Sparse: TypeAlias = "sp.csr_array[np.float64, tuple[int, int]]"
Entries: TypeAlias = "sp.coo_array[np.float64, tuple[int, int]]"


def csr(content: Any, shape: tuple[int, int] | None = None) -> Sparse:
    """What scipy makes of ``content``: a matrix, (values, (rows, columns)), or (values, columns, offsets)."""
    made: Sparse = sp.csr_array(content, shape=shape)
    return made


def coo(content: Any, shape: tuple[int, int] | None = None) -> Entries:
    """The same as entries with a row and a column each, which cost nothing for rows that have none."""
    made: Entries = sp.coo_array(content, shape=shape)
    return made


def entries_of(other: Any) -> Entries | None:
    """The entries of a scipy matrix of any format and of real numbers, as float64; None for anything else."""
    return coo(other).astype(np.float64) if sp.issparse(other) else None


def empty(n_rows: int, n_columns: int) -> Sparse:
    """No entry at all."""
    return csr((n_rows, n_columns))


def stacked(parts: list[Sparse], n_columns: int) -> Sparse:
    """The rows of all parts, one below the other."""
    return csr(sp.vstack(parts, format="csr")) if parts else empty(0, n_columns)


def row_numbers(rows: Sparse) -> NDArray[np.int64]:
    """(entries,) the row of each entry."""
    return np.repeat(np.arange(rows.shape[0], dtype=np.int64), np.diff(rows.indptr))


def scale_rows(rows: Sparse, factor: NDArray[np.float64] | None) -> None:
    """Multiply each row by its factor, in place; None is 1."""
    if factor is not None:
        rows.data *= np.repeat(factor, np.diff(rows.indptr))


def scale_columns(rows: Sparse, factor: NDArray[np.float64] | None) -> None:
    """Multiply each column by its factor, in place; None is 1."""
    if factor is not None:
        rows.data *= factor[rows.indices]
