"""Compiled sums of rows of numbers at positions: what is left of vectors when blocks are added up.

add_sorted       the sum of two sparse sets of rows, each with ascending positions
add_rows         some rows added to those of a full set
spread_rows      a full set of some rows, 0 elsewhere
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(nogil=True, cache=True)
def add_sorted(
    a: NDArray[np.int64], a_rows: NDArray[np.float64], b: NDArray[np.int64], b_rows: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Merge two sets of rows at ascending positions ``a`` and ``b``; rows at the same position are added, a + b."""
    shared, i, j = 0, 0, 0
    while i < a.size and j < b.size:
        shared += a[i] == b[j]
        step_a, step_b = a[i] <= b[j], b[j] <= a[i]
        i += step_a
        j += step_b
    size = a.size + b.size - shared
    positions, rows = np.empty(size, np.int64), np.empty((size, a_rows.shape[1]))
    i, j = 0, 0
    for n in range(size):
        from_a = i < a.size and (j >= b.size or a[i] <= b[j])
        from_b = j < b.size and (i >= a.size or b[j] <= a[i])
        positions[n] = a[i] if from_a else b[j]
        for c in range(rows.shape[1]):
            if from_a and from_b:
                rows[n, c] = a_rows[i, c] + b_rows[j, c]
            else:
                rows[n, c] = a_rows[i, c] if from_a else b_rows[j, c]
        i += from_a
        j += from_b
    return positions, rows


@numba.njit(nogil=True, cache=True)
def add_rows(positions: NDArray[np.int64], rows: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Add ``rows[i]`` to ``out[positions[i]]`` for each i; positions are distinct."""
    for i in range(positions.size):
        target = out[np.uint64(positions[i])]
        for c in range(rows.shape[1]):
            target[c] += rows[i, c]


@numba.njit(nogil=True, cache=True)
def spread_rows(positions: NDArray[np.int64], rows: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Make ``out[positions[i]]`` ``rows[i]`` for each i, and the other rows 0; positions are distinct."""
    out[:] = 0.0
    for i in range(positions.size):
        target = out[np.uint64(positions[i])]
        for c in range(rows.shape[1]):
            target[c] = rows[i, c]
