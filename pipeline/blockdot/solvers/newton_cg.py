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
# Curvature below this, relative to the preconditioner's, is rounding: H is singular there (intercepts of several
# classes, of which only the differences matter; rows on a linear piece of their loss).
FLAT = 1e-13


class Curved(Protocol):
    """Products by a Hessian, and what preconditions them."""

    def hess_vec(self, w: Vector, v: Vector, /) -> Vector: ...

    def hess_diag(self, w: Vector, /) -> Vector: ...

    def sampled_hessian(self, w: Vector, m: int, /) -> Sequence[Part]:
        """For each output some of its parameters, ``m`` or fewer, and an estimate of the Hessian at w in them."""
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


@dataclass(frozen=True)
class NewtonCG:
    """Newton–CG.

    ``forcing``: η₀; ``patience``: products of a solve before the head is factored; ``head``: m, 0 for the diagonal
    alone; ``max_products``: the most products of one solve.
    """

    forcing: float = 0.1
    patience: int = 5
    head: int = 1024
    max_products: int = 250

    name: ClassVar[str] = "Newton-CG"
    vectors: ClassVar[int] = 13
    """Vectors of the size of w that it holds at most, those of the objective's answers included."""
    needs: ClassVar[frozenset[str]] = frozenset(
        {"value_and_grad", "value_along", "hess_vec", "hess_diag", "sampled_hessian"}
    )

    def __post_init__(self) -> None:
        if not 0.0 < self.forcing < 1.0:
            raise SpecError(f"NewtonCG(forcing={self.forcing!r}): a number between 0 and 1, both excluded, is needed")
        for field, least in (("patience", 1), ("head", 0), ("max_products", 1)):
            if not getattr(self, field) >= least:
                raise SpecError(f"NewtonCG({field}={getattr(self, field)!r}): {least} or more is needed")

    def init(self, objective: TwiceSmooth, w: Vector) -> NewtonCGState:
        value, grad = objective.value_and_grad(w)
        diagonal = positive(objective.hess_diag(w))
        return NewtonCGState(w, float(value), grad, 0, 2, first_norm=norm(grad), diagonal=diagonal)

    def step(self, objective: TwiceSmooth, state: NewtonCGState) -> NewtonCGState:
        state, direction = self._direction(objective, state)
        found = advance(objective, state.w, state.value, state.grad, direction)
        if isinstance(found, Status):
            return state._replace(status=found)
        return state._replace(
            w=found.w,
            value=found.value,
            grad=found.grad,
            iteration=state.iteration + 1,
            evaluations=state.evaluations + found.evaluations,
        )

    def _direction(self, objective: TwiceSmooth, state: NewtonCGState) -> tuple[NewtonCGState, Vector]:
        """An approximate Newton direction; the state with the passes it took and what was learnt on the way."""
        eta = min(self.forcing, math.sqrt(norm(state.grad) / max(state.first_norm, _TINY)))
        solve = _Solve(lambda v: objective.hess_vec(state.w, v), state.grad)
        if not state.is_hard:
            diagonal = state.diagonal
            solve.go_on(lambda r: r / diagonal, eta, self.patience if self.head else self.max_products)
            if solve.has_ended or not self.head:
                return state._replace(evaluations=state.evaluations + solve.products), solve.s
        diagonal = positive(objective.hess_diag(state.w))
        parts = objective.sampled_hessian(state.w, self.head)
        solve.go_on(_head_preconditioner(diagonal, parts), eta, self.max_products)
        evaluations = state.evaluations + solve.products + 1
        return state._replace(evaluations=evaluations, diagonal=diagonal, is_hard=True), solve.s


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
            if not curvature > FLAT * size:
                if not np.any(self.s):
                    self.s = p * (rq / abs(curvature)) if curvature < -FLAT * size else p
                self.has_ended = True
                return
            a = rq / curvature
            self.s = self.s + a * p
            self._r = self._r - a * hp
            q = apply_inverse(self._r)
            rq, before = inner(self._r, q), rq
            beta = rq / before
            p, size = q + beta * p, rq + beta * beta * size


def _head_preconditioner(diagonal: Vector, parts: Sequence[Part]) -> Apply:
    """M⁻¹: D^−½ C⁻¹ D^−½ on each part, 1/D elsewhere."""
    factors = [(head, np.sqrt(diagonal[head]), Cholesky.of(correlations(matrix))) for head, matrix in parts]

    def apply(r: Vector) -> Vector:
        q = r / diagonal
        for head, root, factor in factors:
            if factor is not None:  # of an indefinite Hessian there is none
                q[head] = factor.solve(r[head] / root) / root
        return q

    return apply


def correlations(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """C of an estimated Hessian, shrunk."""
    scale = np.sqrt(positive(np.diag(matrix).copy()))
    correlation = matrix / scale / scale[:, np.newaxis]
    correlation *= 1.0 - _SHRINK
    np.fill_diagonal(correlation, 1.0)
    return correlation


def positive(diagonal: Vector) -> Vector:
    """The diagonal with entries that are not positive (no row, no penalty; concave) replaced by the largest one."""
    largest = float(np.max(diagonal, initial=0.0))
    return np.where(diagonal > 0.0, diagonal, largest if largest > 0.0 else 1.0)
