"""Compiled loops over batches: rows in a random order, a batch's own columns, parameters taken out and put back.

    shuffled    rows start … stop − 1 of a random order of n rows, none of the others looked at
    renumber    rows of a block, some at a time, over the columns that occur in these rows alone
    take, put   out[s, i C + c] = table[place_i, s, c], and back

The order is a permutation by a Feistel network over pairs of half words (Luby & Rackoff, SIAM J. Comput. 17 (1988)), of
which what falls outside of 0 … n − 1 is sent through again until it does not (Black & Rogaway, CT-RSA 2002, section 4):
row i of the order is a function of i, n and the key, so nothing is kept, and no two places of a cluster can differ.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.kernel_types import Index, Values

_ROUNDS = 6
_ONE = np.uint64(1)
_GOLDEN, _FIRST, _SECOND = (np.uint64(i) for i in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)


@numba.njit(nogil=True, cache=True, inline="always")
def _mixed(x: np.uint64) -> np.uint64:
    """Splitmix64: Steele, Lea & Flood, OOPSLA 2014."""
    x += _GOLDEN
    x = (x ^ (x >> _S30)) * _FIRST
    x = (x ^ (x >> _S27)) * _SECOND
    return x ^ (x >> _S31)


@numba.njit(nogil=True, cache=True)
def shuffled(n: int, key: np.uint64, start: int, stop: int) -> NDArray[np.int64]:
    """Places start … stop − 1 of the random order of 0 … n − 1 that ``key`` names."""
    half = np.uint64(4)  # fewer would leave some orders out
    while (_ONE << (half + half)) < np.uint64(n):
        half += _ONE
    mask = (_ONE << half) - _ONE
    out = np.empty(stop - start, np.int64)
    for i in range(start, stop):
        x = np.uint64(i)
        while True:
            left, right = x >> half, x & mask
            for turn in range(_ROUNDS):
                left, right = right, left ^ (_mixed(right + _mixed(key + np.uint64(turn))) & mask)
            x = (left << half) | right
            if x < np.uint64(n):
                break
        out[i - start] = np.int64(x)
    return out


@numba.njit(nogil=True, cache=True)
def renumber(
    indptr: NDArray[np.int32],
    indices: Index,
    values: Values,
    rows: NDArray[np.int64],
    size: int,
    n_dense: int,
    stamp: NDArray[np.int64],
    first: int,
    out_indptr: NDArray[np.int32],
    out_indices: Index,
    out_values: Values,
    columns: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> None:
    """Copy ``rows``, numbering the sparse columns of each ``size`` of them from ``n_dense`` on as they come.

    ``columns`` gets the column of each number, batch after batch, and ``ends`` where those of each batch end.
    ``stamp[c]`` says when column c was last numbered, counted from ``first``; all of it must be below.
    """
    end, count = 0, 0
    out_indptr[0] = 0
    for a in range(rows.size):
        if a % size == 0:
            if a > 0:
                ends[a // size - 1] = count
            begin = count
        for k in range(np.uint64(indptr[rows[a]]), np.uint64(indptr[rows[a] + 1])):
            column = indices[k]
            place = stamp[column] - first
            if place < begin:
                place = count
                stamp[column] = first + count
                columns[count] = column
                count += 1
            out_indices[end] = np.uint32(place - begin + n_dense)
            if values is not None and out_values is not None:
                out_values[end] = values[k]
            end += 1
        out_indptr[a + 1] = end
    if rows.size > 0:
        ends[(rows.size - 1) // size] = count


@numba.njit(nogil=True, cache=True)
def take(table: NDArray[np.float64], places: NDArray[np.int64], out: NDArray[np.float64]) -> None:
    """The rows at ``places`` of ``table`` (k, S, C), as S vectors: ``out`` (S, at least m C)."""
    for i in range(places.size):
        p = np.uint64(places[i])
        for s in range(table.shape[1]):
            for c in range(table.shape[2]):
                out[s, i * table.shape[2] + c] = table[p, s, c]


@numba.njit(nogil=True, cache=True)
def put(own: NDArray[np.float64], places: NDArray[np.int64], count: int, table: NDArray[np.float64]) -> None:
    """The first ``count`` of the vectors back to their places."""
    for i in range(places.size):
        p = np.uint64(places[i])
        for s in range(count):
            for c in range(table.shape[2]):
                table[p, s, c] = own[s, i * table.shape[2] + c]


@numba.njit(nogil=True, cache=True)
def enter(
    ids: NDArray[np.int64], slots: NDArray[np.integer], known: NDArray[np.int64], count: int, places: NDArray[np.int64]
) -> int:
    """The places of ``ids`` among the ``known`` ones, of which there are ``count``; those not known are added.

    ``slots`` is a hash table of places, a power of two of them, −1 where there is none; it must stay half empty, and
    ``known`` must have room. Returns how many are known then.
    """
    last = np.uint64(slots.size - 1)
    for k in range(ids.size):
        slot = _mixed(np.uint64(ids[k])) & last
        while slots[slot] >= 0 and known[slots[slot]] != ids[k]:
            slot = (slot + _ONE) & last
        if slots[slot] < 0:
            slots[slot] = count
            known[count] = ids[k]
            count += 1
        places[k] = slots[slot]
    return count
