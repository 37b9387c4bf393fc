"""The softmax loss, compiled: some rows at a time, in vector registers, without the interpreter's lock.

    e_c = e^{z_c − max z},   T = Σ_c e_c,   O = Σ_{c≠y} e_c

    ℓ          log(1 + [O + (e_y − 1)]) − (z_y − max z)
    ∂ℓ/∂z      e_c / T,  and −O / T for the row's class
    product    p∘(u − p·u),   p = e / T

Differences that cancel are not formed: a row on the right side keeps the digits of O (multiclass.py). All arrays of
cells are (n, K), C-contiguous; s is (n,), or None where all weights are 1.
"""

from __future__ import annotations

import numba
import numpy as np

from blockdot.objective.elementary_kernel import LN2, Floats, exp, log1p, total

_CELLS = 1024  # numbers of a piece, which stays in the first-level cache


@numba.njit(nogil=True, cache=True, error_model="numpy")
def value_and_grad(y: Floats, z: Floats, s: Floats | None, grad: Floats | None) -> float:
    """Σ s ℓ; its derivatives are written to ``grad``, where it is given. IndexError where y is no class."""
    n, k, value = z.shape[0], z.shape[1], 0.0
    step = max(_CELLS // k, 1)
    e, top, losses, excess = np.empty(step * k), np.empty(step), np.empty(step), np.empty(step)
    for start in range(0, n, step):
        rows = min(step, n - start)
        _exponentials(z, start, rows, e, top)
        for i in range(rows):
            if not 0.0 <= y[start + i] < k:
                raise IndexError("a target is not among the classes")
            own = np.int64(y[start + i])
            at_own = e[i * k + own]
            e[i * k + own] = 0.0
            others = total(e, i * k, i * k + k)
            excess[i], losses[i] = others + (at_own - 1.0), top[i] - z[start + i, own]
            if grad is not None:
                scale = (1.0 if s is None else s[start + i]) / (others + at_own)
                for c in range(k):
                    grad[start + i, c] = e[i * k + c] * scale
                grad[start + i, own] = -others * scale
        _add_logarithms(excess, losses, rows)
        if s is not None:
            for i in range(rows):
                losses[i] *= s[start + i]
        value += total(losses, 0, rows)
    return value


@numba.njit(nogil=True, cache=True, error_model="numpy")
def hess_dot(z: Floats, s: Floats | None, u: Floats, out: Floats) -> None:
    """Write s (p∘u − p (p·u)) to ``out``."""
    n, k = z.shape
    step = max(_CELLS // k, 1)
    e, top, terms = np.empty(step * k), np.empty(step), np.empty(k)
    for start in range(0, n, step):
        rows = min(step, n - start)
        _exponentials(z, start, rows, e, top)
        for i in range(rows):
            for c in range(k):
                terms[c] = e[i * k + c] * u[start + i, c]
            share = 1.0 / total(e, i * k, i * k + k)
            mean, scale = total(terms, 0, k) * share, (1.0 if s is None else s[start + i]) * share
            for c in range(k):
                out[start + i, c] = e[i * k + c] * scale * (u[start + i, c] - mean)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def probabilities(z: Floats, out: Floats) -> None:
    """Write p to ``out``."""
    n, k = z.shape
    step = max(_CELLS // k, 1)
    e, top = np.empty(step * k), np.empty(step)
    for start in range(0, n, step):
        rows = min(step, n - start)
        _exponentials(z, start, rows, e, top)
        for i in range(rows):
            whole = total(e, i * k, i * k + k)
            for c in range(k):
                out[start + i, c] = e[i * k + c] / whole


@numba.njit(inline="always", error_model="numpy")
def _exponentials(z: Floats, start: int, rows: int, e: Floats, top: Floats) -> None:
    """Write e^{z − max z} of some rows to ``e``, one row after another, and max z; what is no number stays none."""
    k = z.shape[1]
    for i in range(rows):
        most = z[start + i, 0]
        for c in range(1, k):
            most = z[start + i, c] if z[start + i, c] > most else most
        top[i] = most
        for c in range(k):
            e[i * k + c] = z[start + i, c] - most
    for j in range(rows * k):
        x = e[j]
        e[j] = exp(x) if x == x else x


@numba.njit(inline="always", error_model="numpy")
def _add_logarithms(excess: Floats, out: Floats, rows: int) -> None:
    """Add log(1 + excess) to ``out``: the whole powers of 2 in 1 + excess apart, and the rest in one loop."""
    for i in range(rows):
        if excess[i] > 1.0:
            rest, powers = 1.0 + excess[i], 0.0
            while rest >= 2.0:
                rest, powers = 0.5 * rest, powers + 1.0
            excess[i] = rest - 1.0
            out[i] += powers * LN2
    for i in range(rows):
        out[i] += log1p(excess[i])
