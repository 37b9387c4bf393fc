"""Limited-memory BFGS: curvature learnt from the last m steps.

    w ← w − t H ∇F(w),   H ≈ (∇²F)⁻¹ from the pairs  s = w₊ − w,  y = ∇F₊ − ∇F

Nocedal & Wright, *Numerical Optimization*, 2nd ed.: H∇F by the two-loop recursion (Algorithm 7.4), started from γI with
γ = s·y / y·y of the newest pair (eq. 7.20); t by the strong Wolfe search of :mod:`blockdot.solvers.line_search`, which
makes s·y positive. A pair whose s·y is lost in rounding is not kept. When a search finds no step, the pairs are
forgotten and steepest descent is tried once; when that finds none either, the solver has stalled.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from blockdot.errors import SpecError
from blockdot.solvers.line_search import NoStep, Reason, StrongWolfe
from blockdot.solvers.minimize import Smooth, Status
from blockdot.vectors import Vector, inner, norm

_SEARCH = StrongWolfe()


class Pair(NamedTuple):
    """A step s, the change y of the gradient over it, and their inner product."""

    s: Vector
    y: Vector
    sy: float


class LBFGSState(NamedTuple):
    """A point, its value and its gradient, and the curvature pairs, oldest first."""

    w: Vector
    value: float
    grad: Vector
    iteration: int
    evaluations: int
    pairs: tuple[Pair, ...] = ()
    status: Status | None = None


@dataclass(frozen=True)
class LBFGS:
    """L-BFGS that remembers ``memory`` pairs: 2 · memory vectors the size of w."""

    memory: int = 10

    name: ClassVar[str] = "L-BFGS"
    needs: ClassVar[frozenset[str]] = frozenset({"value_and_grad"})

    @property
    def vectors(self) -> int:
        """Vectors of the size of w that it holds at most, those of the objective's answers included."""
        return 2 * self.memory + 8

    def __post_init__(self) -> None:
        if not self.memory >= 1:
            raise SpecError(f"LBFGS(memory={self.memory!r}): a whole number, 1 or more, is needed (10 is usual)")

    def init(self, objective: Smooth, w: Vector) -> LBFGSState:
        value, grad = objective.value_and_grad(w)
        return LBFGSState(w, float(value), grad, iteration=0, evaluations=1)

    def step(self, objective: Smooth, state: LBFGSState) -> LBFGSState:
        direction = -apply_inverse(state.pairs, state.grad)
        first = 1.0 if state.pairs else _unit_step(state.grad)
        found = _SEARCH.search(objective, state.w, state.value, state.grad, direction, first)
        evaluations = state.evaluations + found.evaluations
        if isinstance(found, NoStep):
            if state.pairs:
                return self.step(objective, state._replace(pairs=(), evaluations=evaluations))
            unbounded = found.reason is Reason.UNBOUNDED
            return state._replace(evaluations=evaluations, status=Status.DIVERGED if unbounded else Status.STALLED)
        pairs = remember(state.pairs, found.w - state.w, found.grad - state.grad, self.memory)
        return LBFGSState(found.w, found.value, found.grad, state.iteration + 1, evaluations, pairs)


def remember(pairs: tuple[Pair, ...], s: Vector, y: Vector, memory: int) -> tuple[Pair, ...]:
    """The last ``memory`` pairs with the new one, which is kept where its curvature is not lost in rounding."""
    sy = inner(s, y)
    # Relative to the lengths, so that the units of w and F do not matter; a NaN is not kept either.
    if not sy > sys.float_info.epsilon * norm(s) * norm(y):
        return pairs
    return (*pairs, Pair(s, y, sy))[-memory:]


def apply_inverse(pairs: tuple[Pair, ...], v: Vector) -> Vector:
    """H v, the inverse Hessian that the pairs describe, times a vector; a copy of v when there are none."""
    q = v.copy()
    weights = []
    for s, y, sy in reversed(pairs):
        weight = inner(s, q) / sy
        weights.append(weight)
        q -= weight * y
    if pairs:
        newest = pairs[-1]
        q *= newest.sy / inner(newest.y, newest.y)
    for (s, y, sy), weight in zip(pairs, reversed(weights), strict=True):
        q += (weight - inner(y, q) / sy) * s
    return q


def _unit_step(grad: Vector) -> float:
    """The t for which t∇F has length 1: a first guess where nothing is known of the curvature."""
    length = norm(grad)
    return 1.0 / length if length > 0.0 else 1.0
