"""Newton's method: what its two ways to find a direction share, the step along it.

    w ← w + t s,   s ≈ −H⁻¹ ∇F(w),   H = ∇²F(w)
    decrease     F(w + t s) ≤ F(w) + c t ∇F(w)·s + ε |F(w)|

The full step t = 1 is tried first, by the value and the gradient that the next iteration needs anyway. Only when it is
refused are shorter ones tried, by values along the ray: for a predictor that is affine in w these cost no product, as z
is known at both ends. ε stands for the rounding error of a sum over very many rows (see line_search.py).
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np

from blockdot.buffers import empty
from blockdot.solvers.minimize import Smooth, Status
from blockdot.vector_kernel import add_scaled, are_equal
from blockdot.vectors import Vector, inner

_SUFFICIENT = 1e-4
_NOISE = 1e-12
_TRIALS = 40


class SmoothAlong(Smooth, Protocol):
    """An objective that is cheap to evaluate along a ray."""

    def value_along(self, w: Vector, direction: Vector, t: float, /) -> float:
        """F(w + t direction)."""
        ...


class Point(NamedTuple):
    """Where a step led, and how many passes it took."""

    w: Vector
    value: float
    grad: Vector
    evaluations: int


def advance(objective: SmoothAlong, w: Vector, value: float, grad: Vector, direction: Vector) -> Point | Status:
    """The point one step along ``direction``; STALLED when no step lowers the value, DIVERGED when it has no end."""
    slope = inner(grad, direction)
    if not slope < 0.0 or not math.isfinite(slope):
        return Status.STALLED

    def decreases(trial: float, t: float) -> bool:
        return trial <= value + _SUFFICIENT * t * slope + _NOISE * abs(value)

    end: Vector = np.add(w, direction, out=empty(w.shape))
    if are_equal(end, w):
        return Status.STALLED
    trial, new_grad = objective.value_and_grad(end)
    if decreases(trial, 1.0) and np.all(np.isfinite(new_grad)):
        return Point(end, float(trial), new_grad, 1)
    t, trials = 1.0, 1
    while not decreases(trial, t):
        if trials == _TRIALS:
            return Status.STALLED
        # the minimum of the parabola through value, slope and trial, kept between a tenth and a half of t
        curve = trial - value - slope * t
        best = -0.5 * slope * t * t / curve if math.isfinite(curve) and curve > 0.0 else 0.0
        t = min(max(best, 0.1 * t), 0.5 * t)
        trial = objective.value_along(w, direction, t)
        trials += 1
    end[:] = w
    add_scaled(t, direction, end)
    if are_equal(end, w):
        return Status.STALLED
    trial, new_grad = objective.value_and_grad(end)
    return Point(end, float(trial), new_grad, trials + 1)
