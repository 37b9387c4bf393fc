"""Compiled inner products whose additions may come in any order: the same bits for any.

    dot        Z = X W,  a sum within each row of X
    add_tdot   the parts of Xᵀ U, sums over rows that are met in parts

Each term t is cut into parts q that lie on fixed grids, the first as coarse as its sum can be held exactly:

    q = (σ + t) − σ,    t ← t − q,    σ ← 2^(L−53) σ,        at first σ = 2^L · a power of two above every |t|

for less than 2^(L−1) terms. Each q is a multiple of 2^−53 σ and the sum of all is at most σ, so the sum of the parts on
one grid (a "fold") is exact, in any order; what is left of a term after F folds is below 2^(−F(53−L)) of the power of
two. Rump, Ogita & Oishi, *Accurate floating-point summation*, SIAM J. Sci. Comput. 31 (2008), section 3; for sums that
do not depend on the order, Demmel & Nguyen, *Fast reproducible floating-point summation*, IEEE Symp. Computer
Arithmetic (2013). The rows are those of blocks/matrix.py: D columns in full, the others compressed.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.kernel_types import Floats, Index, Stored, Values


@numba.njit(nogil=True, cache=True)
def dot(
    indptr: NDArray[np.integer], indices: Index, values: Values, dense: Stored | None, w: Floats, out: Floats
) -> None:
    """Set ``out`` (n, K) to X W, whatever the order of a row's entries; each term good to 2^−79 of the largest.

    ``dense`` (n, D) are the first D columns in full, the sparse entries lie in others.
    """
    columns, longest, full = out.shape[1], 0, 0 if dense is None else dense.shape[1]
    for i in range(out.shape[0]):
        longest = max(longest, int(indptr[i + 1]) - int(indptr[i]) + full)
    column, value, terms = np.empty(longest, np.uint32), np.empty(longest), np.empty((longest, columns))
    ceiling, total = np.empty(columns), np.empty((3, columns))
    for i in range(out.shape[0]):
        size = 0
        if dense is not None:
            for j in range(full):
                if dense[i, j] != 0.0:  # how many entries there are must not depend on how they are stored
                    column[size], value[size] = j, dense[i, j]
                    size += 1
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            column[size], value[size] = indices[k], 1.0 if values is None else np.float64(values[k])
            size += 1
        lost = 1
        while size >> (lost - 1) > 0:
            lost += 1
        shrink, n_folds = math.ldexp(1.0, lost - 53), 2 if lost <= 13 else 3
        if columns == 1:
            out[i, 0] = _binned_sum(column[:size], value[:size], w, lost, n_folds)
            continue
        for c in range(columns):
            ceiling[c] = 0.0
        for m in range(size):
            v, j = value[m], column[m]
            for c in range(columns):
                t = v * w[j, c]
                terms[m, c] = t
                ceiling[c] = max(ceiling[c], abs(t))
        for c in range(columns):
            ceiling[c] = math.ldexp(1.0, math.frexp(ceiling[c])[1] + lost)
            out[i, c] = 0.0
        for f in range(n_folds):  # of all terms the first fold, then of what is left of them the next
            for c in range(columns):
                total[f, c] = 0.0
            for m in range(size):
                for c in range(columns):
                    q = (ceiling[c] + terms[m, c]) - ceiling[c]
                    total[f, c] += q
                    terms[m, c] -= q
            for c in range(columns):
                ceiling[c] *= shrink
        for f in range(n_folds - 1, -1, -1):
            for c in range(columns):
                out[i, c] += total[f, c]


@numba.njit(nogil=True, cache=True)
def _binned_sum(column: Index, value: Floats, w: Floats, lost: int, n_folds: int) -> float:
    """The same for one column, in registers."""
    largest = 0.0
    for m in range(value.shape[0]):
        t = value[m] * w[column[m], 0]
        value[m] = t
        largest = max(largest, abs(t))
    s1 = math.ldexp(1.0, math.frexp(largest)[1] + lost)
    s2 = math.ldexp(s1, lost - 53)
    s3 = math.ldexp(s2, lost - 53)
    first, second, third = 0.0, 0.0, 0.0
    for m in range(value.shape[0]):
        t = value[m]
        q = (s1 + t) - s1
        first += q
        t -= q
        q = (s2 + t) - s2
        second += q
        if n_folds > 2:
            t -= q
            third += (s3 + t) - s3
    return (third + second) + first


@numba.njit(nogil=True, cache=True)
def add_tdot(
    indptr: NDArray[np.integer],
    indices: Index,
    values: Values,
    dense: Stored | None,
    u: Floats,
    ceiling: Floats,
    factor: Floats,
    shrink: float,
    out: Floats,
) -> None:
    """Add the folds of Xᵀ U, U (n, K), to ``out`` (k, F, K).

    The σ of the first fold of out[j, ·, c] is ``ceiling[j] * factor[c]``, powers of two; ``shrink`` is 2^(L−53).
    """
    columns, full = out.shape[2], 0 if dense is None else dense.shape[1]
    term, grid = np.empty(columns), np.empty(columns)
    for i in range(u.shape[0]):
        row = u[i]
        if dense is not None:
            for j in range(full):
                _scale(dense[i, j], row, ceiling[j], factor, term, grid)
                _fold(term, grid, shrink, out[j])
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            j = indices[k]
            _scale(1.0 if values is None else np.float64(values[k]), row, ceiling[j], factor, term, grid)
            _fold(term, grid, shrink, out[j])


@numba.njit(nogil=True, cache=True, inline="always")
def _scale(v: float, row: Floats, ceiling: float, factor: Floats, term: Floats, grid: Floats) -> None:
    for c in range(row.shape[0]):
        term[c], grid[c] = v * row[c], ceiling * factor[c]


@numba.njit(nogil=True, cache=True, inline="always")
def _fold(term: Floats, grid: Floats, shrink: float, folds: Floats) -> None:
    """Cut ``term`` (K,) into parts on grids that begin with ``grid``, and add them to ``folds`` (F, K)."""
    if term.shape[0] == 1:  # in registers: a third of the time
        t, s = term[0], grid[0]
        for f in range(folds.shape[0]):
            q = (s + t) - s
            folds[f, 0] += q
            t -= q
            s *= shrink
        return
    for f in range(folds.shape[0]):
        total = folds[f]
        for c in range(term.shape[0]):
            q = (grid[c] + term[c]) - grid[c]
            total[c] += q
            term[c] -= q
            grid[c] *= shrink
