"""Compiled steps of vectors, in place.

    add_scaled      out += a x
    scale_and_add   out = a out + x
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
def are_equal(a: Floats, b: Floats) -> bool:
    """Whether all numbers are the same; the first that is not ends it."""
    for i in range(a.shape[0]):  # noqa: SIM110  compiled, it needs no generator
        if a[i] != b[i]:
            return False
    return True
