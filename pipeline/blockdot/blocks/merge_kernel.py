"""Compiled loops over rows some of whose entries are merged into one, or left out (objective/merging.py, screening.py).

find_entries     the entries of some columns, each of which has one
merge_rows       the rows without them, and at the end of each row that had any one entry in their place
keep_entries     the rows without the entries of some columns
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.kernel_types import Floats, Index, Pointers, Values


@numba.njit(nogil=True, cache=True)
def find_entries(
    indptr: Pointers,
    indices: Index,
    values: Values,
    is_one: NDArray[np.bool_],
    column: NDArray[np.int64],
    row: NDArray[np.int64],
    value: Floats,
) -> int:
    """Put column, row and value of the entries of the columns that ``is_one`` marks, row by row; how many there are.

    More than the arrays have room for are counted, and not put anywhere.
    """
    n = 0
    for i in range(indptr.shape[0] - 1):
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            if is_one[indices[k]]:
                if n >= column.shape[0]:
                    n += 1
                    continue
                column[n], row[n] = indices[k], i
                value[n] = 1.0 if values is None else np.float64(values[k])
                n += 1
    return n


@numba.njit(nogil=True, cache=True)
def merge_rows(
    indptr: Pointers,
    indices: Index,
    values: Values,
    number: NDArray[np.int64],
    has: NDArray[np.bool_],
    size: Floats,
    first: int,
    out_indptr: Pointers,
    out_indices: Index,
    out_values: Floats,
) -> int:
    """Fill the arrays of rows whose columns are ``number``, without those where it is negative; the entries filled.

    A row that ``has`` such entries ends with one of the next column from ``first`` on, of the value ``size``.
    """
    n, column = 0, first
    for i in range(has.shape[0]):
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            if number[indices[k]] >= 0:
                out_indices[n] = number[indices[k]]
                out_values[n] = 1.0 if values is None else np.float64(values[k])
                n += 1
        if has[i]:
            out_indices[n], out_values[n] = column, size[i]
            column += 1
            n += 1
        out_indptr[i + 1] = n
    return n


@numba.njit(nogil=True, cache=True)
def keep_entries(
    indptr: Pointers,
    indices: Index,
    values: Values,
    number: NDArray[np.int64],
    out_indptr: Pointers,
    out_indices: Index,
    out_values: Values,
) -> int:
    """Fill the arrays of rows whose columns are ``number``, without those where it is negative; the entries filled.

    ``out_values`` is None where ``values`` is.
    """
    n = 0
    for i in range(indptr.shape[0] - 1):
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            column = number[indices[k]]
            if column >= 0:
                out_indices[n] = column
                if values is not None and out_values is not None:
                    out_values[n] = values[k]
                n += 1
        out_indptr[i + 1] = n
    return n
