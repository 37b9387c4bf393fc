"""Compiled steps of vectors.

    add_scaled      out += a x
    scale_and_add   out = a out + x
    inner           Σⱼ aⱼ bⱼ
    are_equal       whether a = b

NumPy makes an array between for each of them: as much memory again as what is computed, and as much to read and write.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@numba.njit(nogil=True, cache=True)
def add_scaled(a: float, x: Floats, out: Floats) -> None:
    """Add a x to ``out``, with no array between."""
    for i in range(x.shape[0]):
        out[i] += a * x[i]


@numba.njit(nogil=True, cache=True)
def scale_and_add(a: float, out: Floats, x: Floats) -> None:
    """Make ``out`` a out + x, with no array between."""
    for i in range(x.shape[0]):
        out[i] = a * out[i] + x[i]


@numba.njit(nogil=True, cache=True)
def inner(a: Floats, b: Floats) -> float:
    """Σⱼ aⱼ bⱼ of vectors of the same length, in eight chains: one order of additions on any CPU."""
    s0, s1, s2, s3, s4, s5, s6, s7 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    eights = a.shape[0] - a.shape[0] % 8
    for i in range(0, eights, 8):
        s0 += a[i] * b[i]
        s1 += a[i + 1] * b[i + 1]
        s2 += a[i + 2] * b[i + 2]
        s3 += a[i + 3] * b[i + 3]
        s4 += a[i + 4] * b[i + 4]
        s5 += a[i + 5] * b[i + 5]
        s6 += a[i + 6] * b[i + 6]
        s7 += a[i + 7] * b[i + 7]
    for i in range(eights, a.shape[0]):
        s0 += a[i] * b[i]
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))


@numba.njit(nogil=True, cache=True)
def are_equal(a: Floats, b: Floats) -> bool:
    """Whether all numbers are the same; the first that is not ends it."""
    for i in range(a.shape[0]):  # noqa: SIM110  compiled, it needs no generator
        if a[i] != b[i]:
            return False
    return True
