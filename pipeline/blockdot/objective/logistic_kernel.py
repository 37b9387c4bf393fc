"""The logistic loss, compiled: one sweep over the rows, in vector registers, without the interpreter's lock.

    e = e^{−|z|}          by 2ⁿ eʳ, n = round(−|z| / ln 2), |r| ≤ ln 2 / 2, and the Taylor polynomial of degree 13
    log(1 + e) = 2 artanh(e/(2 + e))                          and the series of artanh up to the power 33, at most 1/3

Both are within two units in the last place (their tests say so). They consist of additions, multiplications and
divisions in one order, so, unlike the exponentials of libraries, they have the same bits on every CPU, with and without
AVX-512. The loops of NumPy are as fast on one thread; but there are nineteen of them, and a thread takes the
interpreter's lock again after each (docs/design.md).
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # the first has 21 bits of zeros (fdlibm)
_LEAST = -745.5  # below it e^x is 0
_POWERS = np.ldexp(1.0, -np.arange(1080))
_ROWS = 512  # a piece that stays in the first-level cache


@numba.njit(inline="always", error_model="numpy")
def _exp(x: float) -> float:
    """Eˣ for x ≤ 0."""
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
def _log1p(e: float) -> float:
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


@numba.njit(nogil=True, cache=True, error_model="numpy")
def value_and_grad(y: Floats, z: Floats, s: Floats | None, grad: Floats | None) -> float:
    """Σ s [log(1 + eᶻ) − y z]; s (σ(z) − y) is written to ``grad``, where it is given. All of them (n,)."""
    n, total = z.shape[0], 0.0
    e, losses = np.empty(_ROWS), np.empty(_ROWS)
    for start in range(0, n, _ROWS):  # three short loops, each of which the compiler turns into vector instructions
        rows = min(_ROWS, n - start)
        for j in range(rows):
            e[j] = _exp(-abs(z[start + j]))
        for j in range(rows):
            x = z[start + j]
            losses[j] = _log1p(e[j]) + (max(x, 0.0) - y[start + j] * x)
            if s is not None:
                losses[j] *= s[start + j]
        total += _sum(losses, rows)
        if grad is not None:
            for j in range(rows):
                # σ(z) − y over a common denominator: no digits are lost where σ(z) is close to y
                x, t = z[start + j], y[start + j]
                a, b = (1.0 if x > 0.0 else e[j]), (e[j] if x > 0.0 else 1.0)
                residual = ((1.0 - t) * a - t * b) / (1.0 + e[j]) + 0.0 * x  # what is no number stays none
                grad[start + j] = residual if s is None else s[start + j] * residual
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def hess_dot(z: Floats, s: Floats | None, u: Floats, out: Floats) -> None:
    """Write s σ(z) (1 − σ(z)) u to ``out``."""
    for i in range(z.shape[0]):
        e = _exp(-abs(z[i]))
        d = 1.0 + e
        c = e / (d * d) + 0.0 * z[i]
        out[i] = c * u[i] if s is None else s[i] * c * u[i]


@numba.njit(inline="always", error_model="numpy")
def _sum(x: Floats, n: int) -> float:
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    fours = n - n % 4
    for j in range(0, fours, 4):
        s0 += x[j]
        s1 += x[j + 1]
        s2 += x[j + 2]
        s3 += x[j + 3]
    for j in range(fours, n):
        s0 += x[j]
    return (s0 + s1) + (s2 + s3)
