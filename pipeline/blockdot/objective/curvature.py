"""Two views of an objective whose z is not linear in w, for solvers of second order: F and ∇F as they are, and

    H = Jᵀ (∂²ℓ/∂z²) J + Σᵢ (∂ℓ/∂zᵢ) ∂²zᵢ/∂w²

    GaussNewton   the first term, which is never indefinite where the loss is convex in z: each step descends
    FullNewton    both: fast near a minimum also where rows are fitted badly; may be indefinite on the way there

plus the penalty's Hessian. Both are preconditioned by the diagonal of the first. Schraudolph, *Neural Computation* 14
(2002); Martens, *ICML* (2010). For z that is linear in w the two are the same, and the objective itself does as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockdot.objective.objective import Objective
from blockdot.objective.terms import Term
from blockdot.vectors import Vector


@dataclass(frozen=True)
class _Curvature:
    """``objective`` as a solver of second order is to see it."""

    objective: Objective

    @property
    def term(self) -> Term | None:
        """What is not smooth in the penalty."""
        return self.objective.term

    def value(self, w: Vector) -> float:
        """F(w)."""
        return self.objective.value(w)

    def value_and_grad(self, w: Vector) -> tuple[float, Vector]:
        """F(w) and its gradient."""
        return self.objective.value_and_grad(w)

    def value_along(self, w: Vector, direction: Vector, t: float) -> float:
        """F(w + t direction)."""
        return self.objective.value_along(w, direction, t)

    def hess_diag(self, w: Vector) -> Vector:
        """The Gauss–Newton diagonal, what preconditions the products."""
        return self.objective.gauss_newton_diag(w)

    def mean_hessian(self, w: Vector, m: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:  # noqa: ARG002
        """Of no parameters: no small part of the matrix is known to help."""
        return np.zeros((0, 0), np.int64), np.zeros((0, 0))


class GaussNewton(_Curvature):
    """Curvature by Gauss–Newton products."""

    def hess_vec(self, w: Vector, v: Vector) -> Vector:
        """The Gauss–Newton product."""
        return self.objective.gauss_newton_vec(w, v)


class FullNewton(_Curvature):
    """Curvature by products with the Hessian."""

    def hess_vec(self, w: Vector, v: Vector) -> Vector:
        """The Hessian's product."""
        return self.objective.hess_vec(w, v)
