"""From feature ids to a block's own columns: dense columns first, then by frequency, then by id.

    column of id  =  its rank by (not dense, −rows it occurs in, id)

A column is *dense* when it occurs in more than half of the rows, has a value other than 1, and no explicit zero (which
could not be told from an absent entry): stored in full it then takes no more bytes than its entries and their indices
would, and its products run over contiguous numbers. The features
that occur most share the fastest cache lines. The entries of a row ascend, so that the same rows give the same bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.batch_kernel import enter
from blockdot.blocks.kernel_types import Stored
from blockdot.errors import DataError

# In a block of fewer rows no column is dense: there is nothing to gain.
_ROWS_FOR_DENSE = 64
# Longer rows are sorted by a sort, shorter ones by insertion.
_FEW = np.int64(48)


class Packed(NamedTuple):
    """Rows in the block's own numbering: ``dense`` holds the first columns in full, the CSR part the others."""

    columns: NDArray[np.int64]
    indptr: NDArray[np.int32]
    indices: NDArray[np.uint32]
    values: Stored | None
    dense: Stored | None


def pack(indptr: NDArray[np.integer], ids: NDArray[np.int64], values: Stored | None) -> Packed:
    """Number the features of some rows (CSR, no id twice in a row; ``values`` None when all are 1)."""
    if ids.size and ids.min() < 0:
        raise DataError(f"feature id {ids.min()} is negative; ids start at 0")
    rows = np.asarray(indptr, np.int64)
    if rows.size == 0 or rows[0] != 0 or rows[-1] != len(ids) or np.any(rows[1:] < rows[:-1]):
        raise DataError(f"the row offsets do not ascend from 0 to {len(ids)}, the number of entries")
    if values is not None and len(values) != len(ids):
        raise DataError(f"there are {len(values)} values for {len(ids)} feature ids; needed one for each")
    width = int(ids.max(initial=-1)) + 1
    occurring = None
    if width > 4 * ids.size + 1024:  # counting beats sorting while the table of counts is no larger than the data
        occurring, ids = _distinct(ids)
        width = len(occurring)
    count, mixed, zero = np.zeros(width, np.int64), np.zeros(width, np.bool_), np.zeros(width, np.bool_)
    _tally(ids, values, count, mixed, zero)
    present = np.flatnonzero(count)
    n = len(rows) - 1
    is_dense = mixed[present] & ~zero[present] & (2 * count[present] > n) & (n >= _ROWS_FOR_DENSE)
    order = np.lexsort((-count[present], ~is_dense))  # stable: equal counts stay in the order of ids
    place = np.empty(width, np.uint32)
    place[present[order]] = np.arange(len(order), dtype=np.uint32)
    n_dense = int(np.count_nonzero(is_dense))
    plain = values is None or not np.any(np.delete(mixed[present[order]], np.s_[:n_dense]))
    size = len(ids) - int(np.sum(count[present[is_dense]]))
    dtype = np.dtype(np.float32) if values is None else values.dtype
    packed = Packed(
        present[order] if occurring is None else occurring[present[order]],
        np.zeros(n + 1, np.int32),
        np.empty(size, np.uint32),
        None if plain else np.empty(size, dtype),
        np.zeros((n, n_dense), dtype) if n_dense else None,
    )
    _fill(rows, ids, values, place, packed.indptr, packed.indices, packed.values, packed.dense)
    return packed


def _distinct(ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct ids, ascending, and the place of each id among them: ``np.unique``, which sorts all of the ids."""
    table = np.full(1 << (2 * ids.size).bit_length(), -1, np.int32)
    found, places = np.empty(ids.size, np.int64), np.empty(ids.size, np.int64)
    found = found[: enter(ids, table, found, 0, places)]
    order = np.argsort(found)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return found[order], rank[places]


@numba.njit(nogil=True, cache=True)
def _tally(
    ids: NDArray[np.int64],
    values: Stored | None,
    count: NDArray[np.int64],
    mixed: NDArray[np.bool_],
    zero: NDArray[np.bool_],
) -> None:
    """How often each id occurs, and whether with a value other than 1, and with the value 0."""
    for k in range(ids.size):
        count[ids[k]] += 1
        if values is not None and values[k] != 1:
            mixed[ids[k]] = True
            zero[ids[k]] |= values[k] == 0


@numba.njit(nogil=True, cache=True)
def _fill(
    rows: NDArray[np.int64],
    ids: NDArray[np.int64],
    values: Stored | None,
    place: NDArray[np.uint32],
    indptr: NDArray[np.int32],
    indices: NDArray[np.uint32],
    kept: Stored | None,
    dense: Stored | None,
) -> None:
    """Translate every entry, and sort the sparse ones of each row."""
    end = 0
    for i in range(rows.size - 1):
        start = end
        for k in range(rows[i], rows[i + 1]):
            column = place[ids[k]]
            if dense is not None and column < dense.shape[1]:
                dense[i, column] = 1 if values is None else values[k]
                continue
            indices[end] = column
            if kept is not None:
                kept[end] = 1 if values is None else values[k]
            end += 1
        indptr[i + 1] = end
        if end - start <= _FEW:
            for a in range(start + 1, end):
                column, b = indices[a], a
                if kept is not None:
                    value = kept[a]
                while b > start and indices[b - 1] > column:
                    indices[b] = indices[b - 1]
                    if kept is not None:
                        kept[b] = kept[b - 1]
                    b -= 1
                indices[b] = column
                if kept is not None:
                    kept[b] = value
        else:
            order = np.argsort(indices[start:end])
            indices[start:end] = indices[start:end][order]
            if kept is not None:
                kept[start:end] = kept[start:end][order]
