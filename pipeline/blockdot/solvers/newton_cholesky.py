"""Newton's method by factoring the Hessian: for few features, where the whole matrix is one cheap pass.

    H = L Lᵀ,   s = −H⁻¹ ∇F(w)

H may be block diagonal, as that of several models of their own is: each block is factored by itself. Where one is not
positive definite to rounding (collinear features without a penalty, or an objective that is not convex) the direction
is made from its eigenvalues: −Σ vᵢ (vᵢ·∇F)/|λᵢ| over those that are not lost in rounding, the shortest of the
directions that solve the system (Nocedal & Wright, *Numerical Optimization*, 2nd ed., section 3.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.solvers.minimize import PointState, Status
from blockdot.solvers.newton import SmoothAlong, advance
from blockdot.vectors import Cholesky, Vector, solve_by_eigenvalues


class WithHessian(SmoothAlong, Protocol):
    """An objective whose Hessian is small enough to be a matrix."""

    def hessians(self, w: Vector, /) -> Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """The blocks of the Hessian: some parameters, and the matrix of these."""
        ...


@dataclass(frozen=True)
class NewtonCholesky:
    """Newton steps by Cholesky factors; memory grows with the square of the number of parameters."""

    name: ClassVar[str] = "Newton-Cholesky"
    vectors: ClassVar[int] = 8
    """Vectors of the size of w that it holds at most, those of the objective's answers included."""
    needs: ClassVar[frozenset[str]] = frozenset({"value_and_grad", "value_along", "hessians"})

    def init(self, objective: WithHessian, w: Vector) -> PointState:
        value, grad = objective.value_and_grad(w)
        return PointState(w, float(value), grad, iteration=0, evaluations=1)

    def step(self, objective: WithHessian, state: PointState) -> PointState:
        direction = np.zeros_like(state.grad)
        for places, hessian in objective.hessians(state.w):
            if not np.all(np.isfinite(hessian)):
                return state._replace(evaluations=state.evaluations + 1, status=Status.DIVERGED)
            factor, downhill = Cholesky.of(hessian), -state.grad[places]
            direction[places] = solve_by_eigenvalues(hessian, downhill) if factor is None else factor.solve(downhill)
        found = advance(objective, state.w, state.value, state.grad, direction)
        if isinstance(found, Status):
            return state._replace(evaluations=state.evaluations + 1, status=found)
        evaluations = state.evaluations + 1 + found.evaluations
        return PointState(found.w, found.value, found.grad, state.iteration + 1, evaluations)
