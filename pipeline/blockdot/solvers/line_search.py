"""The length of a step: a search for the strong Wolfe conditions that works down to rounding error.

    φ(t) = F(w + t d),   φ'(t) = ∇F(w + t d)·d,   φ'(0) < 0
    decrease     φ(t) ≤ φ(0) + c₁ t φ'(0) + ε |φ(0)|
    curvature    |φ'(t)| ≤ −c₂ φ'(0)                          0 < c₁ < c₂ ≤ 1 − 2c₁

Nocedal & Wright, *Numerical Optimization*, 2nd ed., eq. 3.7 and Algorithms 3.5 and 3.6; cubic interpolation: eq. 3.59.
Near a minimum the decrease that Armijo's condition demands drowns in the rounding error of φ, while φ' still has
digits. The term ε |φ(0)| stands for that error: where it outweighs the demand, the two conditions are the approximate
Wolfe condition of Hager & Zhang (SIAM J. Optim. 16 (2005), eq. 4.1): (2c₁ − 1) φ'(0) ≥ φ'(t) ≥ c₂ φ'(0), the left
side being Armijo's condition for a quadratic, and implied here by c₂ ≤ 1 − 2c₁.

The bracket [low, high] is kept in this order: ``low`` has the decrease and falls too steeply, ``high`` lacks the
decrease, or rises, or is not finite. The minimum over the bracket of ψ(t) = φ(t) − c₁ t φ'(0) (Moré & Thuente, ACM TOMS
20 (1994), section 2) then lies inside, and there both conditions hold: the bracket always holds a step to be found.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from blockdot.errors import SpecError
from blockdot.solvers.minimize import Smooth
from blockdot.vectors import Vector, inner

# The relative rounding error of a sum over very many rows, with some room: ε above.
_NOISE = 1e-12
# The share of the bracket, at either end, that interpolation must keep clear of.
_MARGIN = 0.01
# The share of the bracket that is tried next where its upper end is not finite.
_RETREAT = 0.1
# While nothing bounds the step from above it grows by a factor between these.
_GROWTH = (2.0, 10.0)


class Reason(enum.StrEnum):
    """Why no step was found."""

    NOT_DESCENT = "the direction does not lead downwards"
    TOO_SMALL = "the steps left are too small to change w"
    TOO_MANY = "the allowed number of evaluations was used up"
    UNBOUNDED = "the value falls however long the step"


class Accepted(NamedTuple):
    """A step that satisfies both conditions: w is the point it leads to."""

    step: float
    value: float
    w: Vector
    grad: Vector
    evaluations: int


class NoStep(NamedTuple):
    """A search without a result."""

    reason: Reason
    evaluations: int


class _Trial(NamedTuple):
    """φ and φ' at t."""

    t: float
    value: float
    slope: float

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.value) and math.isfinite(self.slope)


@dataclass(frozen=True)
class StrongWolfe:
    """The search: ``sufficient`` is c₁, ``curvature`` is c₂; the defaults suit quasi-Newton directions."""

    sufficient: float = 1e-4
    curvature: float = 0.9
    max_evaluations: int = 40

    def __post_init__(self) -> None:
        if not 0.0 < self.sufficient < self.curvature <= 1.0 - 2.0 * self.sufficient:
            raise SpecError(
                f"StrongWolfe(sufficient={self.sufficient!r}, curvature={self.curvature!r}): "
                "0 < sufficient < curvature <= 1 - 2 sufficient is needed, as in the defaults 1e-4 and 0.9"
            )
        if not self.max_evaluations >= 1:
            raise SpecError(f"StrongWolfe(max_evaluations={self.max_evaluations!r}): 1 or more is needed")

    def search(
        self, objective: Smooth, w: Vector, value: float, grad: Vector, direction: Vector, first: float = 1.0
    ) -> Accepted | NoStep:
        """A step from ``w``, where the objective has ``value`` and ``grad``, along ``direction``; tries ``first``.

        Each trial is one evaluation. A trial that is not finite is too long. Nothing handed in is written to.
        """
        start = _Trial(0.0, float(value), inner(grad, direction))
        if not (start.is_finite and start.slope < 0.0):
            return NoStep(Reason.NOT_DESCENT, 0)
        before, low, high = start, start, None
        t = float(first)
        for evaluations in range(1, self.max_evaluations + 1):
            w_trial = w + t * direction
            if np.array_equal(w_trial, w):
                return NoStep(Reason.TOO_SMALL, evaluations - 1)
            value_trial, grad_trial = objective.value_and_grad(w_trial)
            trial = _Trial(t, float(value_trial), inner(grad_trial, direction))
            decreases = trial.is_finite and self._decreases(start, trial)
            if decreases and abs(trial.slope) <= -self.curvature * start.slope:
                return Accepted(t, trial.value, w_trial, grad_trial, evaluations)
            if decreases and trial.slope < 0.0:
                before, low = low, trial
            else:
                high = trial
            t = _beyond(before, low) if high is None else _between(low, high)
            if not (math.isfinite(t) and t > low.t and (high is None or t < high.t)):
                return NoStep(Reason.UNBOUNDED if high is None else Reason.TOO_SMALL, evaluations)
        return NoStep(Reason.UNBOUNDED if high is None else Reason.TOO_MANY, self.max_evaluations)

    def _decreases(self, start: _Trial, trial: _Trial) -> bool:
        demand = self.sufficient * trial.t * start.slope
        return trial.value <= start.value + demand + _NOISE * abs(start.value)


def _between(low: _Trial, high: _Trial) -> float:
    """The next trial inside the bracket."""
    width = high.t - low.t
    if not high.is_finite:
        return low.t + _RETREAT * width
    return _clip(
        _minimizer(low, high), low.t + _MARGIN * width, high.t - _MARGIN * width, otherwise=low.t + 0.5 * width
    )


def _beyond(before: _Trial, low: _Trial) -> float:
    """The next trial while no step has been too long."""
    least, most = _GROWTH
    return _clip(_minimizer(before, low), least * low.t, most * low.t, otherwise=most * low.t)


def _clip(t: float, least: float, most: float, *, otherwise: float) -> float:
    return otherwise if math.isnan(t) else min(max(t, least), most)


def _minimizer(a: _Trial, b: _Trial) -> float:
    """Where the cubic that fits values and slopes at a and b has its minimum; NaN where it has none.

    Where the two values cannot be told apart, their difference says nothing, and the secant of the slopes is used.
    """
    if abs(a.value - b.value) <= _NOISE * abs(a.value):
        return b.t - (b.t - a.t) * _divide(b.slope, b.slope - a.slope)
    d1 = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0.0:
        return math.nan
    d2 = math.sqrt(square)
    return b.t - (b.t - a.t) * _divide(b.slope + d2 - d1, b.slope - a.slope + 2.0 * d2)


def _divide(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator != 0.0 else math.nan
