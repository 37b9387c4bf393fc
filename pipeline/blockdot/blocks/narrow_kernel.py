"""Compiled products of sparse rows with few columns at once, K < 8.

    add_dot     Z += X W        add_tdot     G += Xᵀ U  or  (X∘X)ᵀ U         W, G (k, K);  Z, U (n, K)

A loop over K columns for each entry is a loop of a few rounds, and costs more than what it does. Here the columns are
taken four, two and one at a time, and for each of these groups the entries of a row once: the sums stay in registers,
and after the first time the entries come from the first-level cache (docs/design.md, "Knobs").

These are compiled into those of products.py, whose cache does not notice a change here: remove ``__pycache__`` then.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from blockdot.blocks.kernel_types import Floats, Index, Pointers, Values

NARROW = 8
"""From so many columns on a loop over them is quicker."""

_ONE, _TWO, _THREE, _FOUR = (np.uint64(i) for i in (1, 2, 3, 4))


@numba.njit(nogil=True, cache=True)
def add_dot(indptr: Pointers, indices: Index, values: Values, w: Floats, out: Floats) -> None:
    """Add X W to ``out``: the same bits as by a loop over the columns (products.sparse_add_dot_columns).

    One long function: with its parts in others, inlined, it takes nearly three times as long.
    """
    columns, numbers, sums = np.uint64(out.shape[1]), w.reshape(-1), out.reshape(-1)
    for i in range(out.shape[0]):
        start, end = np.uint64(indptr[i]), np.uint64(indptr[i + 1])
        to = np.uint64(i) * columns
        j = np.uint64(0)
        while j + _FOUR <= columns:
            r = to + j
            s0 = sums[r]
            s1 = sums[r + _ONE]
            s2 = sums[r + _TWO]
            s3 = sums[r + _THREE]
            k = start
            while k + _FOUR <= end:
                a = np.uint64(indices[k]) * columns + j
                b = np.uint64(indices[k + _ONE]) * columns + j
                c = np.uint64(indices[k + _TWO]) * columns + j
                d = np.uint64(indices[k + _THREE]) * columns + j
                if values is None:
                    s0 += (numbers[a] + numbers[b]) + (numbers[c] + numbers[d])
                    s1 += (numbers[a + _ONE] + numbers[b + _ONE]) + (numbers[c + _ONE] + numbers[d + _ONE])
                    s2 += (numbers[a + _TWO] + numbers[b + _TWO]) + (numbers[c + _TWO] + numbers[d + _TWO])
                    s3 += (numbers[a + _THREE] + numbers[b + _THREE]) + (numbers[c + _THREE] + numbers[d + _THREE])
                else:
                    v = np.float64(values[k])
                    x = np.float64(values[k + _ONE])
                    y = np.float64(values[k + _TWO])
                    z = np.float64(values[k + _THREE])
                    s0 += (v * numbers[a] + x * numbers[b]) + (y * numbers[c] + z * numbers[d])
                    s1 += (v * numbers[a + _ONE] + x * numbers[b + _ONE]) + (
                        y * numbers[c + _ONE] + z * numbers[d + _ONE]
                    )
                    s2 += (v * numbers[a + _TWO] + x * numbers[b + _TWO]) + (
                        y * numbers[c + _TWO] + z * numbers[d + _TWO]
                    )
                    s3 += (v * numbers[a + _THREE] + x * numbers[b + _THREE]) + (
                        y * numbers[c + _THREE] + z * numbers[d + _THREE]
                    )
                k += _FOUR
            while k < end:
                a = np.uint64(indices[k]) * columns + j
                last = 1.0 if values is None else np.float64(values[k])
                s0 += last * numbers[a]
                s1 += last * numbers[a + _ONE]
                s2 += last * numbers[a + _TWO]
                s3 += last * numbers[a + _THREE]
                k += _ONE
            sums[r] = s0
            sums[r + _ONE] = s1
            sums[r + _TWO] = s2
            sums[r + _THREE] = s3
            j += _FOUR
        while j + _TWO <= columns:
            r = to + j
            s0 = sums[r]
            s1 = sums[r + _ONE]
            k = start
            while k + _FOUR <= end:
                a = np.uint64(indices[k]) * columns + j
                b = np.uint64(indices[k + _ONE]) * columns + j
                c = np.uint64(indices[k + _TWO]) * columns + j
                d = np.uint64(indices[k + _THREE]) * columns + j
                if values is None:
                    s0 += (numbers[a] + numbers[b]) + (numbers[c] + numbers[d])
                    s1 += (numbers[a + _ONE] + numbers[b + _ONE]) + (numbers[c + _ONE] + numbers[d + _ONE])
                else:
                    v = np.float64(values[k])
                    x = np.float64(values[k + _ONE])
                    y = np.float64(values[k + _TWO])
                    z = np.float64(values[k + _THREE])
                    s0 += (v * numbers[a] + x * numbers[b]) + (y * numbers[c] + z * numbers[d])
                    s1 += (v * numbers[a + _ONE] + x * numbers[b + _ONE]) + (
                        y * numbers[c + _ONE] + z * numbers[d + _ONE]
                    )
                k += _FOUR
            while k < end:
                a = np.uint64(indices[k]) * columns + j
                last = 1.0 if values is None else np.float64(values[k])
                s0 += last * numbers[a]
                s1 += last * numbers[a + _ONE]
                k += _ONE
            sums[r] = s0
            sums[r + _ONE] = s1
            j += _TWO
        while j < columns:
            r = to + j
            s0 = sums[r]
            k = start
            while k + _FOUR <= end:
                a = np.uint64(indices[k]) * columns + j
                b = np.uint64(indices[k + _ONE]) * columns + j
                c = np.uint64(indices[k + _TWO]) * columns + j
                d = np.uint64(indices[k + _THREE]) * columns + j
                if values is None:
                    s0 += (numbers[a] + numbers[b]) + (numbers[c] + numbers[d])
                else:
                    v = np.float64(values[k])
                    x = np.float64(values[k + _ONE])
                    y = np.float64(values[k + _TWO])
                    z = np.float64(values[k + _THREE])
                    s0 += (v * numbers[a] + x * numbers[b]) + (y * numbers[c] + z * numbers[d])
                k += _FOUR
            while k < end:
                a = np.uint64(indices[k]) * columns + j
                last = 1.0 if values is None else np.float64(values[k])
                s0 += last * numbers[a]
                k += _ONE
            sums[r] = s0
            j += _ONE


@numba.njit(nogil=True, cache=True)
def add_tdot(indptr: Pointers, indices: Index, values: Values, u: Floats, out: Floats, squared: bool) -> None:
    """Add Xᵀ U, or (X∘X)ᵀ U, to ``out``."""
    columns, numbers, sums = np.uint64(u.shape[1]), u.reshape(-1), out.reshape(-1)
    for i in range(u.shape[0]):
        start, end, at = np.uint64(indptr[i]), np.uint64(indptr[i + 1]), np.uint64(i) * columns
        j = np.uint64(0)
        if j + _FOUR <= columns:
            _four_rows(start, end, indices, values, columns, numbers, at, sums, squared)
            j += _FOUR
        if j + _TWO <= columns:
            _two_rows(start, end, indices, values, columns, j, numbers, at + j, sums, squared)
            j += _TWO
        if j < columns:
            a = numbers[at + j]
            for k in range(start, end):
                sums[np.uint64(indices[k]) * columns + j] += _weight(values, k, squared) * a


@numba.njit(nogil=True, inline="always")
def _weight(values: Values, k: Any, squared: bool) -> Any:
    v = 1.0 if values is None else np.float64(values[k])
    return v * v if squared else v


@numba.njit(nogil=True, inline="always")
def _four_rows(
    start: Any,
    end: Any,
    indices: Index,
    values: Values,
    columns: Any,
    u: Floats,
    at: Any,
    out: Floats,
    squared: bool,
) -> None:
    """To the first four columns: all are loaded before one is stored, for the compiler knows not that they differ."""
    a, b, c, d = u[at], u[at + _ONE], u[at + _TWO], u[at + _THREE]
    for k in range(start, end):
        p, v = np.uint64(indices[k]) * columns, _weight(values, k, squared)
        e, f, g, h = out[p] + v * a, out[p + _ONE] + v * b, out[p + _TWO] + v * c, out[p + _THREE] + v * d
        out[p] = e
        out[p + _ONE] = f
        out[p + _TWO] = g
        out[p + _THREE] = h


@numba.njit(nogil=True, inline="always")
def _two_rows(
    start: Any,
    end: Any,
    indices: Index,
    values: Values,
    columns: Any,
    j: Any,
    u: Floats,
    at: Any,
    out: Floats,
    squared: bool,
) -> None:
    """To the columns j and j + 1."""
    a, b = u[at], u[at + _ONE]
    for k in range(start, end):
        p, v = np.uint64(indices[k]) * columns + j, _weight(values, k, squared)
        e, f = out[p] + v * a, out[p + _ONE] + v * b
        out[p] = e
        out[p + _ONE] = f
