"""Steepest descent, with a fixed step and with a search.

    w ← w − t ∇F(w)

:class:`GradientDescent` takes the t that it is given, in exactly these operations: the textbook recursion, which
converges when t < 2/L, L the Lipschitz constant of ∇F. :class:`Backtracking` shrinks t until the value falls enough
(Armijo 1966; Nocedal & Wright, *Numerical Optimization*, 2nd ed., Algorithm 3.1):

    F(w − t∇F) ≤ F(w) − c t ‖∇F‖²

and starts the next search a little above the t that was last accepted, so that a cautious start is not paid for ever.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from blockdot.errors import SpecError
from blockdot.solvers.minimize import PointState, Smooth, Status
from blockdot.vectors import Vector, inner


@dataclass(frozen=True)
class GradientDescent:
    """Fixed steps of ``step_size`` times the gradient."""

    step_size: float

    name: ClassVar[str] = "gradient descent"
    vectors: ClassVar[int] = 7
    """Vectors of the size of w that it holds at most, those of the objective's answers included."""
    needs: ClassVar[frozenset[str]] = frozenset({"value_and_grad"})

    def __post_init__(self) -> None:
        _require_positive("GradientDescent", "step_size", self.step_size)

    def init(self, objective: Smooth, w: Vector) -> PointState:
        value, grad = objective.value_and_grad(w)
        return PointState(w, float(value), grad, iteration=0, evaluations=1)

    def step(self, objective: Smooth, state: PointState) -> PointState:
        w = state.w - self.step_size * state.grad
        if np.array_equal(w, state.w):
            return state._replace(status=Status.STALLED)
        value, grad = objective.value_and_grad(w)
        return PointState(w, float(value), grad, state.iteration + 1, state.evaluations + 1)


class BacktrackingState(NamedTuple):
    """A point, its value and its gradient, and the step size that the next search tries first."""

    w: Vector
    value: float
    grad: Vector
    iteration: int
    evaluations: int
    trial: float
    status: Status | None = None


@dataclass(frozen=True)
class Backtracking:
    """Steepest descent with Armijo's search.

    ``step_size``: the first trial of the first search; ``shrink``: the factor after a refused trial; ``sufficient``: c
    above; ``grow``: the factor from an accepted step size to the next first trial. Avoid ``shrink · grow = 1``:
    the step sizes then come back to the same few for ever, and those may all lie near 2/L, where a step overshoots.
    """

    step_size: float = 1.0
    shrink: float = 0.5
    sufficient: float = 1e-4
    grow: float = 1.5

    name: ClassVar[str] = "gradient descent with backtracking"
    vectors: ClassVar[int] = 8
    """Vectors of the size of w that it holds at most, those of the objective's answers included."""
    needs: ClassVar[frozenset[str]] = frozenset({"value_and_grad"})

    def __post_init__(self) -> None:
        _require_positive("Backtracking", "step_size", self.step_size)
        for field, value in (("shrink", self.shrink), ("sufficient", self.sufficient)):
            if not 0.0 < value < 1.0:
                raise SpecError(f"Backtracking({field}={value!r}): a number between 0 and 1, both excluded, is needed")
        if not 1.0 <= self.grow < math.inf:
            raise SpecError(f"Backtracking(grow={self.grow!r}): a finite number, 1 or more, is needed")

    def init(self, objective: Smooth, w: Vector) -> BacktrackingState:
        value, grad = objective.value_and_grad(w)
        return BacktrackingState(w, float(value), grad, iteration=0, evaluations=1, trial=self.step_size)

    def step(self, objective: Smooth, state: BacktrackingState) -> BacktrackingState:
        slope = inner(state.grad, state.grad)
        t = state.trial
        evaluations = state.evaluations
        while True:
            w = state.w - t * state.grad
            if np.array_equal(w, state.w):
                return state._replace(evaluations=evaluations, status=Status.STALLED)
            value, grad = objective.value_and_grad(w)
            evaluations += 1
            # The strict second test counts where the demanded decrease is lost in rounding. A NaN fails both, −inf
            # passes and is found by the loop: an objective without a minimum.
            if value <= state.value - self.sufficient * t * slope and value < state.value:
                break
            t *= self.shrink
        trial = min(t * self.grow, sys.float_info.max)  # never inf, which no shrinking would bring back
        return BacktrackingState(w, float(value), grad, state.iteration + 1, evaluations, trial)


def _require_positive(owner: str, field: str, value: float) -> None:
    if not 0.0 < value < math.inf:
        raise SpecError(f"{owner}({field}={value!r}): a finite number above 0 is needed")
