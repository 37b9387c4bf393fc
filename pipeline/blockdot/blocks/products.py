"""Compiled inner products on raw arrays: compressed sparse rows, and dense rows beside them.

    add_dot          outᵢ  +=  Σⱼ xᵢⱼ wⱼ              z += X w
    add_tdot         outⱼ  +=  Σᵢ xᵢⱼ uᵢ              g += Xᵀ u         (squared: xᵢⱼ², the diagonal of Xᵀ diag(u) X)
    …_columns        the same with K columns at once:   Z += X W,   G += Xᵀ U       (K < 8: narrow_kernel.py)
    sparse_…         the same without dense rows
    dense_…          the same for rows that are stored in full
    add_row_sums     outₖ  +=  Σᵢ uᵢₖ
    add_normal       outⱼ  +=  Σᵢ xᵢⱼ cᵢ (Σₗ xᵢₗ vₗ + b)
    add_gram         outⱼₗ +=  Σᵢ uᵢ xᵢⱼ xᵢₗ          of some of the columns; one entry for each pair
    unsound_row      the first row whose indices are out of range or do not ascend

Row i of sparse rows has the entries ``indptr[i] … indptr[i+1]`` of ``indices`` (uint32) and ``values`` (float32 or
float64, or None when all are 1). ``indptr`` may be a slice of a longer one, so a range of rows is a view. Sums are
float64 whatever the values are; that, and the absent values, is what scipy cannot do without a copy of the matrix. The
order of additions is fixed by the arguments (and the vector instructions of the CPU), and the GIL is released. No index
is checked here: blocks are checked where they enter.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from blockdot.blocks import narrow_kernel
from blockdot.blocks.kernel_types import Floats, Index, Pointers, Stored, Values

# Unsigned 64-bit counters need no wrap-around check, which halves the cost of an indexed load in compiled loops.
_ONE, _TWO, _THREE, _FOUR = (np.uint64(i) for i in (1, 2, 3, 4))

# So many numbers are summed before their sum is added to others: it loses fewer digits.
_RUN = 128

# Bytes of rows that are still in the second-level cache when they are multiplied for the second time.
_CACHED = 1 << 19

# Sums over contiguous numbers may be split over the lanes of a vector register; a gather gains nothing by it and loses.
_LANES = {"reassoc", "contract", "nsz"}


@numba.njit(nogil=True, cache=True)
def sparse_add_dot(indptr: Pointers, indices: Index, values: Values, w: Floats, out: Floats) -> None:
    """Add X w to ``out`` (one number a row)."""
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
        out[i] += (s0 + s1) + (s2 + s3)


@numba.njit(nogil=True, cache=True)
def sparse_add_tdot(
    indptr: Pointers, indices: Index, values: Values, u: Floats, out: Floats, squared: bool = False
) -> None:
    """Add Xᵀ u, or (X∘X)ᵀ u, to ``out`` (one number a column)."""
    for i in range(u.shape[0]):
        k, end, s = np.uint64(indptr[i]), np.uint64(indptr[i + 1]), u[i]
        while k < end:
            if values is None:
                out[indices[k]] += s
            else:
                v = np.float64(values[k])
                out[indices[k]] += s * v * v if squared else s * v
            k += _ONE


@numba.njit(nogil=True, cache=True)
def sparse_add_dot_columns(indptr: Pointers, indices: Index, values: Values, w: Floats, out: Floats) -> None:
    """Add X W to ``out`` (a row of K numbers a row)."""
    columns = out.shape[1]
    sums = np.empty(columns)  # an array of its own: the compiler need not fear that a store changes w
    for i in range(out.shape[0]):
        sums[:] = out[i]
        k, end = np.uint64(indptr[i]), np.uint64(indptr[i + 1])
        while k + _FOUR <= end:  # a quarter of the loads and stores of the sums, which would wait for each other
            a, b, c, d = w[indices[k]], w[indices[k + _ONE]], w[indices[k + _TWO]], w[indices[k + _THREE]]
            p, q, r, s = 1.0, 1.0, 1.0, 1.0
            if values is not None:
                p, q = np.float64(values[k]), np.float64(values[k + _ONE])
                r, s = np.float64(values[k + _TWO]), np.float64(values[k + _THREE])
            for j in range(columns):
                sums[j] += (p * a[j] + q * b[j]) + (r * c[j] + s * d[j])
            k += _FOUR
        while k < end:
            a, p = w[indices[k]], 1.0 if values is None else np.float64(values[k])
            for j in range(columns):
                sums[j] += p * a[j]
            k += _ONE
        out[i] = sums


@numba.njit(nogil=True, cache=True)
def sparse_add_tdot_columns(
    indptr: Pointers, indices: Index, values: Values, u: Floats, out: Floats, squared: bool = False
) -> None:
    """Add Xᵀ U, or (X∘X)ᵀ U, to ``out`` (a row of K numbers a column)."""
    for i in range(u.shape[0]):
        row = u[i]
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            target = out[indices[k]]
            if values is None:
                for c in range(row.shape[0]):
                    target[c] += row[c]
            else:
                v = np.float64(values[k])
                if squared:
                    v *= v
                for c in range(row.shape[0]):
                    target[c] += v * row[c]


@numba.njit(nogil=True, cache=True)
def add_row_sums(u: Floats, out: Floats) -> None:
    """Add the sum of the rows of U to ``out``: NumPy's own is several times slower where rows are short."""
    sums = np.zeros(u.shape[1])
    for i in range(u.shape[0]):
        for c in range(u.shape[1]):
            sums[c] += u[i, c]
    out += sums


@numba.njit(nogil=True, cache=True, fastmath=_LANES)
def dense_add_dot(x: Stored, w: Floats, out: Floats) -> None:
    """Add X w to ``out`` for rows in full."""
    for i in range(x.shape[0]):
        total = 0.0
        for j in range(x.shape[1]):
            total += x[i, j] * w[j]
        out[i] += total


@numba.njit(nogil=True, cache=True)
def dense_add_tdot(x: Stored, u: Floats, out: Floats, squared: bool = False) -> None:
    """Add Xᵀ u, or (X∘X)ᵀ u, to ``out`` for rows in full; four rows at a time, for a quarter of the stores."""
    rows, i = x.shape[0], 0
    while i + 4 <= rows and not squared:
        a, b, c, d = u[i], u[i + 1], u[i + 2], u[i + 3]
        for j in range(x.shape[1]):
            out[j] += (a * x[i, j] + b * x[i + 1, j]) + (c * x[i + 2, j] + d * x[i + 3, j])
        i += 4
    while i < rows:
        s = u[i]
        for j in range(x.shape[1]):
            v = np.float64(x[i, j])
            out[j] += s * v * v if squared else s * v
        i += 1


@numba.njit(nogil=True, cache=True)
def dense_add_dot_columns(x: Stored, w: Floats, out: Floats) -> None:
    """Add X W to ``out`` for rows in full."""
    fours = x.shape[1] - x.shape[1] % 4
    for i in range(x.shape[0]):
        row, target = x[i], out[i]
        for j in range(0, fours, 4):
            p, q, r, s = row[j], row[j + 1], row[j + 2], row[j + 3]
            for c in range(target.shape[0]):
                target[c] += (p * w[j, c] + q * w[j + 1, c]) + (r * w[j + 2, c] + s * w[j + 3, c])
        for j in range(fours, x.shape[1]):
            for c in range(target.shape[0]):
                target[c] += row[j] * w[j, c]


@numba.njit(nogil=True, cache=True)
def dense_add_tdot_columns(x: Stored, u: Floats, out: Floats, squared: bool = False) -> None:
    """Add Xᵀ U, or (X∘X)ᵀ U, to ``out`` for rows in full."""
    rows, i = x.shape[0], 0
    while i < rows:
        step = 4 if i + 4 <= rows else 1
        for j in range(x.shape[1]):
            target, p = out[j], np.float64(x[i, j])
            if squared:
                p *= p
            if step == 4:
                q, r, s = np.float64(x[i + 1, j]), np.float64(x[i + 2, j]), np.float64(x[i + 3, j])
                if squared:
                    q, r, s = q * q, r * r, s * s
                for c in range(u.shape[1]):
                    target[c] += (p * u[i, c] + q * u[i + 1, c]) + (r * u[i + 2, c] + s * u[i + 3, c])
            else:
                for c in range(u.shape[1]):
                    target[c] += p * u[i, c]
        i += step


@numba.njit(nogil=True, cache=True)
def add_dot(dense: Values, indptr: Pointers, indices: Index, values: Values, w: Floats, out: Floats) -> None:
    """Add X w to ``out`` (one number a row)."""
    if dense is not None:
        dense_add_dot(dense, w, out)
    sparse_add_dot(indptr, indices, values, w, out)


@numba.njit(nogil=True, cache=True)
def add_tdot(
    dense: Values,
    indptr: Pointers,
    indices: Index,
    values: Values,
    u: Floats,
    out: Floats,
    squared: bool = False,
) -> None:
    """Add Xᵀ u, or (X∘X)ᵀ u, to ``out`` (one number a column)."""
    if dense is not None:
        dense_add_tdot(dense, u, out, squared)
    sparse_add_tdot(indptr, indices, values, u, out, squared)


@numba.njit(nogil=True, cache=True)
def add_dot_columns(dense: Values, indptr: Pointers, indices: Index, values: Values, w: Floats, out: Floats) -> None:
    """Add X W to ``out`` (a row of K numbers a row)."""
    if dense is not None:
        dense_add_dot_columns(dense, w, out)
    if out.shape[1] < narrow_kernel.NARROW:
        narrow_kernel.add_dot(indptr, indices, values, w, out)
    else:
        sparse_add_dot_columns(indptr, indices, values, w, out)


@numba.njit(nogil=True, cache=True)
def add_tdot_columns(
    dense: Values,
    indptr: Pointers,
    indices: Index,
    values: Values,
    u: Floats,
    out: Floats,
    squared: bool = False,
) -> None:
    """Add Xᵀ U, or (X∘X)ᵀ U, to ``out`` (a row of K numbers a column)."""
    if dense is not None:
        dense_add_tdot_columns(dense, u, out, squared)
    if out.shape[1] < narrow_kernel.NARROW:
        narrow_kernel.add_tdot(indptr, indices, values, u, out, squared)
    else:
        sparse_add_tdot_columns(indptr, indices, values, u, out, squared)


@numba.njit(nogil=True, cache=True)
def add_normal(
    dense: Values,
    indptr: Pointers,
    indices: Index,
    values: Values,
    v: Floats,
    shift: float,
    c: Floats,
    u: Floats,
    out: Floats,
) -> float:
    """Make ``u`` c ∘ (X v + shift), add Xᵀ u to ``out``, and give Σ u; ``dense`` are rows in full beside the others.

    The same as its parts one by one (to the bit without rows in full), but rows come from memory once, and the GIL is
    let go of once: when it is taken again, a thread may wait.
    """
    u[:] = shift
    total, rows = 0.0, _cached_rows(dense, indptr, values)
    for start in range(0, u.shape[0], rows):
        stop = min(start + rows, u.shape[0])
        full, ends, sums = None if dense is None else dense[start:stop], indptr[start : stop + 1], u[start:stop]
        add_dot(full, ends, indices, values, v, sums)
        for first in range(start, stop, _RUN):
            part = 0.0
            for i in range(first, min(first + _RUN, stop)):
                u[i] *= c[i]
                part += u[i]
            total += part
        add_tdot(full, ends, indices, values, sums, out)
    return total


@numba.njit(nogil=True, cache=True)
def _cached_rows(dense: Values, indptr: Pointers, values: Values) -> int:
    """How many rows stay in the cache: whole runs of them, so that sums are those of all rows at once."""
    rows = max(indptr.shape[0] - 1, 1)
    a_row = (indptr[-1] - indptr[0]) * (4 if values is None else 4 + values.itemsize) // rows + 1
    if dense is not None:
        a_row += dense.shape[1] * dense.itemsize
    runs: int = max(_CACHED // (_RUN * a_row), 1)
    return _RUN * runs


@numba.njit(nogil=True, cache=True)
def add_gram(
    indptr: Pointers,
    indices: Index,
    values: Values,
    beside: Floats | None,
    place: NDArray[np.int64],
    u: Floats,
    out: Floats,
    cross: Floats,
) -> None:
    """Add Xᵀ diag(u) X to ``out`` (m, m), and Xᵀ B to ``cross`` (m, D), for the columns B (n, D) ``beside`` X.

    Column j of X belongs to row ``place[j]``, or to none where that is negative. Of the two entries of a pair of
    columns, out[a, b] and out[b, a], one is added to: which depends on the places, so the sum of ``out`` and its
    transpose is what counts.
    """
    flat, width, longest = out.reshape(-1), np.uint64(out.shape[1]), 0
    for i in range(u.shape[0]):
        longest = max(longest, indptr[i + 1] - indptr[i])
    row, value = np.empty(longest, np.uint64), np.empty(longest)  # a row's places are looked up once, not for each pair
    for i in range(u.shape[0]):
        n = np.uint64(0)
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            p = place[indices[k]]
            if p >= 0:
                row[n] = np.uint64(p)
                value[n] = 1.0 if values is None else np.float64(values[k])
                n += _ONE
        if beside is not None:
            for a in range(n):
                target, v = cross[row[a]], value[a]
                for j in range(beside.shape[1]):
                    target[j] += v * beside[i, j]
        for a in range(n):
            start, v = row[a] * width, u[i] * value[a]
            for b in range(a, n):
                flat[start + row[b]] += v if values is None else v * value[b]


@numba.njit(nogil=True, cache=True)
def unsound_row(indptr: NDArray[np.integer], indices: NDArray[np.integer], low: int, high: int) -> int:
    """The first row that has an index below ``low``, from ``high`` on, or not above the one before it; −1 for none.

    ``indptr`` must ascend from 0 to at most ``len(indices)``.
    """
    for i in range(indptr.size - 1):
        start, end = np.uint64(indptr[i]), np.uint64(indptr[i + 1])
        if start == end:
            continue
        unsound = np.int64(indices[start]) < low or np.int64(indices[end - _ONE]) >= high
        for k in range(start + _ONE, end):  # without a way out, so that it runs over whole vector registers
            unsound |= indices[k] <= indices[k - _ONE]
        if unsound:
            return i
    return -1
