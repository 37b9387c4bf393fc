"""The logistic loss, compiled: one sweep over the rows, in vector registers, without the interpreter's lock.

    ℓ = log(1 + e) + max(z, 0) − y z,   ∂ℓ/∂z = σ(z) − y,   ∂²ℓ/∂z² = e / (1 + e)²,          e = e^{−|z|}

The loops of NumPy are as fast on one thread; but there are nineteen of them, and a thread takes the interpreter's lock
again after each (docs/design.md).
"""

from __future__ import annotations

import numba
import numpy as np

from blockdot.objective.elementary_kernel import Floats, exp, log1p, total

_ROWS = 512  # a piece that stays in the first-level cache


@numba.njit(nogil=True, cache=True, error_model="numpy")
def value_and_grad(y: Floats, z: Floats, s: Floats | None, grad: Floats | None) -> float:
    """Σ s [log(1 + eᶻ) − y z]; s (σ(z) − y) is written to ``grad``, where it is given. All of them (n,)."""
    n, value = z.shape[0], 0.0
    e, losses = np.empty(_ROWS), np.empty(_ROWS)
    for start in range(0, n, _ROWS):  # three short loops, each of which the compiler turns into vector instructions
        rows = min(_ROWS, n - start)
        for j in range(rows):
            e[j] = exp(-abs(z[start + j]))
        for j in range(rows):
            x = z[start + j]
            losses[j] = log1p(e[j]) + (max(x, 0.0) - y[start + j] * x)
            if s is not None:
                losses[j] *= s[start + j]
        value += total(losses, 0, rows)
        if grad is not None:
            for j in range(rows):
                # σ(z) − y over a common denominator: no digits are lost where σ(z) is close to y
                x, t = z[start + j], y[start + j]
                a, b = (1.0 if x > 0.0 else e[j]), (e[j] if x > 0.0 else 1.0)
                residual = ((1.0 - t) * a - t * b) / (1.0 + e[j]) + 0.0 * x  # what is no number stays none
                grad[start + j] = residual if s is None else s[start + j] * residual
    return value


@numba.njit(nogil=True, cache=True, error_model="numpy")
def hess_dot(z: Floats, s: Floats | None, u: Floats, out: Floats) -> None:
    """Write s σ(z) (1 − σ(z)) u to ``out``."""
    for i in range(z.shape[0]):
        e = exp(-abs(z[i]))
        d = 1.0 + e
        c = e / (d * d) + 0.0 * z[i]
        out[i] = c * u[i] if s is None else s[i] * c * u[i]
