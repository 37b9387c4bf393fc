"""Compiled inner products on raw CSR arrays.

    dot            outᵢ  =  Σⱼ xᵢⱼ wⱼ             z = X w
    add_tdot       outⱼ +=  Σᵢ xᵢⱼ uᵢ             g += Xᵀ u
    add_tdot_sq    outⱼ +=  Σᵢ xᵢⱼ² uᵢ            the diagonal of Xᵀ diag(u) X
    add_sorted     the sum of two sparse sets of rows, each with ascending positions

Row i has the entries ``indptr[i] … indptr[i+1]`` of ``indices`` (uint32) and ``values`` (float32 or float64, or None
when all are 1). ``indptr`` may be a slice of a longer one, so a range of rows is a view. Sums are float64 whatever the
values are; that, and the absent values, is what scipy cannot do without a copy of the matrix. The order of additions
is fixed by the arguments alone, and the GIL is released. No index is checked here: blocks are checked where they enter.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.uint32]
Floats = NDArray[np.float64]
Values = NDArray[np.float32] | NDArray[np.float64] | None

# Unsigned 64-bit counters need no wrap-around check, which halves the cost of an indexed load in compiled loops.
_ONE, _TWO, _THREE, _FOUR = (np.uint64(i) for i in (1, 2, 3, 4))


@numba.njit(nogil=True, cache=True)
def dot(indptr: NDArray[np.int32], indices: Index, values: Values, w: Floats, out: Floats) -> None:
    """Write X w into ``out`` (one number a row)."""
    for i in range(out.shape[0]):
        k, end = np.uint64(indptr[i]), np.uint64(indptr[i + 1])
        s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0  # four chains hide the latency of the addition
        while k + _FOUR <= end:
            if values is None:
                s0 += w[indices[k]]
                s1 += w[indices[k + _ONE]]
                s2 += w[indices[k + _TWO]]
                s3 += w[indices[k + _THREE]]
            else:
                s0 += values[k] * w[indices[k]]
                s1 += values[k + _ONE] * w[indices[k + _ONE]]
                s2 += values[k + _TWO] * w[indices[k + _TWO]]
                s3 += values[k + _THREE] * w[indices[k + _THREE]]
            k += _FOUR
        while k < end:
            if values is None:
                s0 += w[indices[k]]
            else:
                s0 += values[k] * w[indices[k]]
            k += _ONE
        out[i] = (s0 + s1) + (s2 + s3)


@numba.njit(nogil=True, cache=True)
def add_tdot(indptr: NDArray[np.int32], indices: Index, values: Values, u: Floats, out: Floats) -> None:
    """Add Xᵀ u to ``out`` (one number a column)."""
    for i in range(u.shape[0]):
        k, end, s = np.uint64(indptr[i]), np.uint64(indptr[i + 1]), u[i]
        while k < end:
            if values is None:
                out[indices[k]] += s
            else:
                out[indices[k]] += s * values[k]
            k += _ONE


@numba.njit(nogil=True, cache=True)
def add_tdot_sq(indptr: NDArray[np.int32], indices: Index, values: Values, u: Floats, out: Floats) -> None:
    """Add (X∘X)ᵀ u to ``out`` (one number a column)."""
    for i in range(u.shape[0]):
        k, end, s = np.uint64(indptr[i]), np.uint64(indptr[i + 1]), u[i]
        while k < end:
            if values is None:
                out[indices[k]] += s
            else:
                v = np.float64(values[k])
                out[indices[k]] += s * v * v
            k += _ONE


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
