"""Elementary functions, compiled into the loops of losses: the same bits on every CPU.

    eˣ, x ≤ 0             by 2⁻ⁿ eʳ, n = round(−x / ln 2), |r| ≤ ln 2 / 2, and the Taylor polynomial of degree 13
    log(1 + e) = 2 artanh(e/(2 + e)), 0 ≤ e ≤ 1               and the series of artanh up to the power 33, at most 1/3

Both are within two units in the last place (their tests say so). They consist of additions, multiplications and
divisions in one order, so, unlike the exponentials of libraries, they have the same bits with and without AVX-512, and
the compiler turns loops of them into vector instructions.

Numba's cache of a loop that has them does not notice a change here: remove ``__pycache__`` then.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LN2 = 0.6931471805599453
_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # the first has 21 bits of zeros (fdlibm)
_LEAST = -745.5  # below it e^x is 0
_POWERS = np.ldexp(1.0, -np.arange(1080))


@numba.njit(inline="always", error_model="numpy")
def exp(x: float) -> float:
    """Eˣ for x ≤ 0; 0 for what is no number."""
    x = x if x > _LEAST else _LEAST  # max() is not compiled to a vector instruction
    n = np.floor(x * _LOG2_E + 0.5)
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    power: float = ((p * r * r + r) + 1.0) * _POWERS[np.uint32(np.int32(-n))]
    return power


@numba.njit(inline="always", error_model="numpy")
def log1p(e: float) -> float:
    """log(1 + e) for 0 ≤ e ≤ 1."""
    s = e / (2.0 + e)
    t = s * s
    p = 1.0 / 33.0
    p = p * t + 1.0 / 31.0
    p = p * t + 1.0 / 29.0
    p = p * t + 1.0 / 27.0
    p = p * t + 1.0 / 25.0
    p = p * t + 1.0 / 23.0
    p = p * t + 1.0 / 21.0
    p = p * t + 1.0 / 19.0
    p = p * t + 1.0 / 17.0
    p = p * t + 1.0 / 15.0
    p = p * t + 1.0 / 13.0
    p = p * t + 1.0 / 11.0
    p = p * t + 1.0 / 9.0
    p = p * t + 1.0 / 7.0
    p = p * t + 1.0 / 5.0
    p = p * t + 1.0 / 3.0
    return 2.0 * (s + s * t * p)


@numba.njit(inline="always", error_model="numpy")
def total(x: Floats, start: int, stop: int) -> float:
    """The sum of x[start … stop−1] in four chains, which hide the latency of the addition."""
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    fours = stop - (stop - start) % 4
    for j in range(start, fours, 4):
        s0 += x[j]
        s1 += x[j + 1]
        s2 += x[j + 2]
        s3 += x[j + 3]
    for j in range(fours, stop):
        s0 += x[j]
    return (s0 + s1) + (s2 + s3)
