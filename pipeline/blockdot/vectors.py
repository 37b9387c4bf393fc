"""Inner products of the driver's vectors, the same bits on any machine with the same CPU features.

    inner(a, b) = Σⱼ aⱼ bⱼ        norm(a) = √inner(a, a)

BLAS sums in an order that depends on its number of threads, and its threads spin on the cores that the block kernels
need. So the vectors of a solver are reduced here, by NumPy's own loops, and nowhere through BLAS.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def inner(a: Vector, b: Vector) -> float:
    """The inner product of two vectors of the same length."""
    return float(np.einsum("i,i->", a, b))


def norm(a: Vector) -> float:
    """The Euclidean norm of a vector."""
    return math.sqrt(inner(a, a))
