"""Newton's method by conjugate gradients: curvature by products, never as a matrix.

    H s = −∇F(w)   until   ‖r‖ ≤ η ‖∇F(w)‖ in the norm of M⁻¹,     η = min(η₀, √(‖∇F(w)‖ / ‖∇F(w₀)‖))

Nocedal & Wright, *Numerical Optimization*, 2nd ed., Algorithm 7.1 (line-search Newton–CG) with preconditioner M
(Algorithm 5.3); the forcing term is that of eq. 7.3 with a cap. Along a direction of negative curvature the solve stops
with what it has.

Two preconditioners, the cheap one first:

    diagonal   M = diag H, made at w₀
    head       M = diag H, and on the m most frequent features (and the tail) the matrix D^½ C D^½,
               D the diagonal of H, C the correlation matrix of the Hessian over a sample of the rows;
               one such matrix an output, what lies between two outputs being left out

Far from the minimum a few products suffice, and the diagonal does; when a solve has not ended after some products, the
head is factored (Cholesky) and the solve goes on with it, then and in all later steps. On power-law data the most
frequent features hold most of the non-zeros and nearly all of what makes H ill-conditioned (docs/design.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.errors import SpecError
from blockdot.solvers.minimize import Status
from blockdot.solvers.newton import SmoothAlong, advance
from blockdot.vectors import Cholesky, Vector, inner, norm

Apply = Callable[[Vector], Vector]
Mask = NDArray[np.bool_]
Part = tuple[NDArray[np.int64], NDArray[np.float64]]

# Correlations are shrunk by this much, so that the factor exists whatever the sample holds.
_SHRINK = 1e-3
_TINY = float(np.finfo(np.float64).tiny)
# Curvature below this, relative to the preconditioner's, is rounding: H is singular there (two intercepts that only
# matter by their difference; rows in a linear part of their loss).
_FLAT = 1e-13


class Curved(Protocol):
    """Products with a Hessian, and what preconditions them."""

    def hess_vec(self, w: Vector, v: Vector, /) -> Vector: ...

    def hess_diag(self, w: Vector, /) -> Vector: ...

    def sampled_hessian(self, w: Vector, m: int, /) -> Sequence[Part]:
        """For each output some of its parameters, about ``m`` in all for one output, and an estimate of the Hessian
        at w with respect to them."""
        ...


class TwiceSmooth(SmoothAlong, Curved, Protocol):
    """An objective with products by its Hessian."""


class NewtonCGState(NamedTuple):
    """A point, its value and gradient, the gradient norm at the start, and what is known for preconditioning."""

    w: Vector
    value: float
    grad: Vector
    iteration: int
    evaluations: int
    first_norm: float
    diagonal: Vector
    is_hard: bool = False
    """Whether a solve has outlasted the diagonal preconditioner."""
    status: Status | None = None


class Direction(NamedTuple):
    """An approximate Newton direction, the passes that it took, and what was learnt for preconditioning on the way."""

    s: Vector
    passes: int
    diagonal: Vector
    is_hard: bool


@dataclass(frozen=True)
class InexactNewton:
    """How Newton's equations are solved.

    ``forcing``: η₀; ``patience``: products of a solve before the head is factored; ``head``: m, 0 for the diagonal
    alone; ``max_products``: the most products of one solve.
    """

    forcing: float = 0.1
    patience: int = 5
    head: int = 1024
    max_products: int = 250

    def __post_init__(self) -> None:
        owner = type(self).__name__
        if not 0.0 < self.forcing < 1.0:
            raise SpecError(f"{owner}(forcing={self.forcing!r}): a number between 0 and 1, both excluded, is needed")
        for field, least in (("patience", 1), ("head", 0), ("max_products", 1)):
            if not getattr(self, field) >= least:
                raise SpecError(f"{owner}({field}={getattr(self, field)!r}): {least} or more is needed")

    def direction(
        self,
        objective: Curved,
        w: Vector,
        grad: Vector,
        first_norm: float,
        diagonal: Vector,
        is_hard: bool,
        free: Mask | None = None,
    ) -> Direction:
        """Solve H s = −grad, or of H the rows and columns of the parameters that are ``free``; s is 0 elsewhere.

        ``grad`` is 0 where a parameter is not free.
        """
        eta = min(self.forcing, math.sqrt(norm(grad) / max(first_norm, _TINY)))
        solve = _Solve(_product(objective, w, free), grad)
        if not is_hard:
            solve.go_on(lambda r: r / diagonal, eta, self.patience if self.head else self.max_products)
            if solve.has_ended or not self.head:
                return Direction(solve.s, solve.products, diagonal, is_hard=False)
        diagonal = positive(objective.hess_diag(w))
        parts = objective.sampled_hessian(w, self.head)
        solve.go_on(_head_preconditioner(diagonal, parts, free), eta, self.max_products)
        return Direction(solve.s, solve.products + 1, diagonal, is_hard=True)


@dataclass(frozen=True)
class NewtonCG(InexactNewton):
    """Newton–CG."""

    name: ClassVar[str] = "Newton-CG"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"value_and_grad", "value_along", "hess_vec", "hess_diag", "sampled_hessian"}
    )

    def init(self, objective: TwiceSmooth, w: Vector) -> NewtonCGState:
        value, grad = objective.value_and_grad(w)
        diagonal = positive(objective.hess_diag(w))
        return NewtonCGState(w, float(value), grad, 0, 2, first_norm=norm(grad), diagonal=diagonal)

    def step(self, objective: TwiceSmooth, state: NewtonCGState) -> NewtonCGState:
        way = self.direction(objective, state.w, state.grad, state.first_norm, state.diagonal, state.is_hard)
        evaluations = state.evaluations + way.passes
        state = state._replace(evaluations=evaluations, diagonal=way.diagonal, is_hard=way.is_hard)
        found = advance(objective, state.w, state.value, state.grad, way.s)
        if isinstance(found, Status):
            return state._replace(status=found)
        return state._replace(
            w=found.w,
            value=found.value,
            grad=found.grad,
            iteration=state.iteration + 1,
            evaluations=evaluations + found.evaluations,
        )


def _product(objective: Curved, w: Vector, free: Mask | None) -> Apply:
    """V ↦ H v, on the free parameters."""
    if free is None:
        return lambda v: objective.hess_vec(w, v)
    return lambda v: np.where(free, objective.hess_vec(w, v), 0.0)


class _Solve:
    """Conjugate gradients on H s = −g, which can go on with another preconditioner."""

    def __init__(self, product: Apply, g: Vector) -> None:
        self._product = product
        self._g = g
        self.s = np.zeros_like(g)
        self._r = -g
        self.products = 0
        self.has_ended = False

    def go_on(self, apply_inverse: Apply, eta: float, most: int) -> None:
        """Iterate until the residual is small enough, curvature is not positive, or ``most`` products are used up."""
        q = apply_inverse(self._r)
        goal = eta * eta * inner(self._g, apply_inverse(self._g))
        p, rq = q, inner(self._r, q)
        size = rq  # p·M p
        for _ in range(most):
            if rq <= goal:
                self.has_ended = True
                return
            hp = self._product(p)
            self.products += 1
            curvature = inner(p, hp)
            if not curvature > _FLAT * size:
                if not np.any(self.s):
                    self.s = p * (rq / abs(curvature)) if curvature < -_FLAT * size else p
                self.has_ended = True
                return
            a = rq / curvature
            self.s = self.s + a * p
            self._r = self._r - a * hp
            q = apply_inverse(self._r)
            rq, before = inner(self._r, q), rq
            beta = rq / before
            p, size = q + beta * p, rq + beta * beta * size


def _head_preconditioner(diagonal: Vector, parts: Sequence[Part], free: Mask | None) -> Apply:
    """M⁻¹: D^−½ C⁻¹ D^−½ on the free parameters of each part, 1/D elsewhere."""
    factors = []
    for head, matrix in parts:
        kept = np.arange(len(head)) if free is None else np.flatnonzero(free[head])
        factor = _correlation_factor(matrix[np.ix_(kept, kept)])
        if factor is not None:  # of an indefinite Hessian there is none
            factors.append((head[kept], np.sqrt(diagonal[head[kept]]), factor))

    def apply(r: Vector) -> Vector:
        q = r / diagonal
        for places, root, factor in factors:
            q[places] = factor.solve(r[places] / root) / root
        return q

    return apply


def _correlation_factor(matrix: NDArray[np.float64]) -> Cholesky | None:
    scale = np.sqrt(positive(np.diag(matrix).copy()))
    correlation = matrix / scale / scale[:, np.newaxis]
    correlation *= 1.0 - _SHRINK
    np.fill_diagonal(correlation, 1.0)
    return Cholesky.of(correlation)


def positive(diagonal: Vector) -> Vector:
    """The diagonal with entries that are not positive (no row, no penalty; concave) replaced by the largest one."""
    largest = float(np.max(diagonal, initial=0.0))
    return np.where(diagonal > 0.0, diagonal, largest if largest > 0.0 else 1.0)
