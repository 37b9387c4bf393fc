"""The accelerated proximal gradient method: for any term with a prox.

    y = w + β (w − w₋),   β = (θ₋ − 1)/θ,   θ = (1 + √(1 + 4 θ₋²))/2
    w₊ = prox(y − t ∇F(y), t)
    restart (θ₋ = 1) when   (y − w₊)·(w₊ − w) > 0

FISTA: Beck & Teboulle, *SIAM J. Imaging Sci.* 2 (2009), eqs. 4.1–4.3; restarted by the gradient as O'Donoghue & Candès,
*Found. Comput. Math.* 15 (2015), section 3.2, which finds a linear rate where there is one. A step is short enough when

    L t ≤ 1,     L = 2 [F(w₊) − F(y) − ∇F(y)·(w₊ − y)] / ‖w₊ − y‖²

is the curvature between y and w₊. Near a minimum those values have no digits left to be told apart, and L is taken from
the gradients, (∇F(w₊) − ∇F(y))·(w₊ − y) / ‖w₊ − y‖², which for a quadratic is the same (Becker, Candès & Grant, *Math.
Program. Comput.* 3 (2011), section 5.3). Under momentum a step may only shrink, as the rate of FISTA demands; a restart
doubles it, and the first steps are lengthened until they are right.

The gradient at w₊ makes the residual; a step with momentum takes another one at y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from blockdot.errors import SpecError
from blockdot.solvers.minimize import Status
from blockdot.solvers.term import Composite, allowed, term_of
from blockdot.vectors import Vector, inner, norm

# The share of F below which a difference of two values is not used: the rounding error of a long sum is 1 % of it.
_DIGITS = 1e-10
# A first step is lengthened by no more than this at once, and any step shortened by no more than its inverse.
_MOST = 10.0
_TRIALS = 100
_TINY = float(np.finfo(np.float64).tiny)


class ProximalGradientState(NamedTuple):
    """A point, the value of F + R, the residual, F and its gradient, the point before, θ, and the step to try next."""

    w: Vector
    value: float
    grad: Vector
    iteration: int
    evaluations: int
    smooth_value: float
    smooth_grad: Vector
    before: Vector
    trial: float
    theta: float = 1.0
    is_settled: bool = False
    """Whether the first steps have become as long as they can be."""
    status: Status | None = None


class _Point(NamedTuple):
    """A point with F and its gradient."""

    w: Vector
    value: float
    grad: Vector


@dataclass(frozen=True)
class ProximalGradient:
    """FISTA with a searched step and adaptive restarts.

    ``step_size``: what the first step tries; None for a step of length 1.
    """

    step_size: float | None = None

    name: ClassVar[str] = "proximal gradient"
    vectors: ClassVar[int] = 14
    """Vectors of the size of w that it holds at most, those of the objective's answers included."""
    needs: ClassVar[frozenset[str]] = frozenset({"value_and_grad"})
    proximal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.step_size is not None and not 0.0 < self.step_size < math.inf:
            raise SpecError(
                f"ProximalGradient(step_size={self.step_size!r}): a finite number above 0 is needed, or None"
            )

    def init(self, objective: Composite, w: Vector) -> ProximalGradientState:
        term = term_of(objective)
        w = allowed(term, w)
        value, grad = objective.value_and_grad(w)
        trial = 1.0 / max(norm(grad), _TINY) if self.step_size is None else self.step_size
        total = float(value) + term.value(w)
        return ProximalGradientState(w, total, term.residual(w, grad), 0, 1, float(value), grad, w, trial)

    def step(self, objective: Composite, state: ProximalGradientState) -> ProximalGradientState:
        term = term_of(objective)
        theta, y, evaluations = _extrapolate(objective, state)
        t, is_settled = state.trial, state.is_settled
        for _ in range(_TRIALS):
            end = term.prox(y.w - t * y.grad, t)
            if np.array_equal(end, y.w):
                break
            value, grad = objective.value_and_grad(end)
            evaluations += 1
            reach = t * _curvature(y, _Point(end, float(value), grad))
            if reach <= 1.0:
                state = state._replace(
                    w=end,
                    value=float(value) + term.value(end),
                    grad=term.residual(end, grad),
                    iteration=state.iteration + 1,
                    evaluations=evaluations,
                    smooth_value=float(value),
                    smooth_grad=grad,
                    before=state.w,
                    is_settled=is_settled,
                )
                return _prepare(state, y.w, t, reach, theta)
            # not a number where F is not finite: much too long
            t *= min(max(1.0 / reach, 1.0 / _MOST), 0.5) if math.isfinite(reach) else 1.0 / _MOST
            is_settled = True
        if state.theta == 1.0:
            return state._replace(evaluations=evaluations, status=Status.STALLED)
        return self.step(objective, state._replace(evaluations=evaluations, theta=1.0))


def _extrapolate(objective: Composite, state: ProximalGradientState) -> tuple[float, _Point, int]:
    """θ, y with F and its gradient, and the evaluations so far."""
    theta = 0.5 * (1.0 + math.sqrt(1.0 + 4.0 * state.theta * state.theta))
    if state.theta == 1.0:
        return theta, _Point(state.w, state.smooth_value, state.smooth_grad), state.evaluations
    y = state.w + ((state.theta - 1.0) / theta) * (state.w - state.before)
    value, grad = objective.value_and_grad(y)
    return theta, _Point(y, float(value), grad), state.evaluations + 1


def _prepare(state: ProximalGradientState, y: Vector, t: float, reach: float, theta: float) -> ProximalGradientState:
    """The state after a step t from y with what the next one starts from; ``reach`` is L t."""
    if not state.is_settled and reach <= 0.5:
        return state._replace(trial=t * (min(1.0 / reach, _MOST) if reach > 0.0 else _MOST), theta=1.0)
    if inner(y - state.w, state.w - state.before) > 0.0:
        return state._replace(trial=2.0 * t, theta=1.0, is_settled=True)
    return state._replace(trial=t, theta=theta, is_settled=True)


def _curvature(y: _Point, end: _Point) -> float:
    """L between two points: by their values, or where those are too close by their gradients."""
    step = end.w - y.w
    square = max(inner(step, step), _TINY)
    if not math.isfinite(end.value):
        return math.nan
    bend = end.value - y.value - inner(y.grad, step)
    if abs(bend) > _DIGITS * max(abs(end.value), abs(y.value)):
        return 2.0 * bend / square
    return inner(end.grad - y.grad, step) / square
