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
head is factored (Cholesky) and the solve goes on with it. Later solves begin with it as it is: correlations change less
than curvature does. It is made again, and the diagonal with it, when a solve does not end with it after some products,
or after many where the value has hardly fallen since. On power-law data the most frequent features hold most of the
non-zeros and nearly all of what makes H ill-conditioned (docs/design.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.buffers import empty, zeros
from blockdot.errors import SpecError
from blockdot.solvers.minimize import Status
from blockdot.solvers.newton import SmoothAlong, advance
from blockdot.vector_kernel import add_scaled, scale_and_add
from blockdot.vectors import Cholesky, Vector, inner, norm

Apply = Callable[[Vector], Vector]
Mask = NDArray[np.bool_]
Part = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Some parameters, and a matrix over them."""

# Correlations are shrunk by this much, so that the factor exists whatever the sample holds.
_SHRINK = 1e-3
_TINY = float(np.finfo(np.float64).tiny)
# The head is old when the value has fallen by this share since it was made; one that is not is given so many times
# the patience before it is made again.
STALE = 0.1
_LONGER = 10
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
    head: tuple[Part, ...] = ()
    """The Cholesky factor of C for each output; none before a solve has outlasted the diagonal."""
    head_value: float = math.inf
    """The value where the head and the diagonal were made."""
    status: Status | None = None


@dataclass(frozen=True)
class NewtonCG:
    """Newton–CG.

    ``forcing``: η₀; ``patience``: products of a solve before the head is made; ``head``: m, 0 for the diagonal alone;
    ``max_products``: the most products of one solve with one preconditioner.
    """

    forcing: float = 0.1
    patience: int = 5
    head: int = 1024
    max_products: int = 250

    name: ClassVar[str] = "Newton-CG"
    vectors: ClassVar[int] = 12
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
        if not self.head:
            solve.go_on(_inverse(state), eta, self.max_products)
            return state._replace(evaluations=state.evaluations + solve.products), solve.s
        is_old = is_stale(state.head_value, state.value, STALE)
        solve.go_on(_inverse(state), eta, self.patience if is_old else _LONGER * self.patience)
        if not solve.has_ended:
            state = self._with_head(objective, state)
            solve.go_on(_inverse(state), eta, self.max_products)
        # Where H is indefinite a solve that went on with another preconditioner may end uphill; both of its parts have
        # lowered the model g·s + ½ s·Hs, so s·Hs is below 0 then, and the model is lower still the other way.
        downhill = solve.s if inner(state.grad, solve.s) <= 0.0 else -solve.s
        return state._replace(evaluations=state.evaluations + solve.products), downhill

    def _with_head(self, objective: TwiceSmooth, state: NewtonCGState) -> NewtonCGState:
        """The state with the diagonal and the head made at w."""
        parts = objective.sampled_hessian(state.w, self.head)
        factors = [(places, Cholesky.of(correlations(matrix))) for places, matrix in parts]
        return state._replace(
            diagonal=positive(objective.hess_diag(state.w)),
            head=tuple((places, factor.lower) for places, factor in factors if factor is not None),  # not indefinite
            head_value=state.value,
            evaluations=state.evaluations + 1,
        )


class _Solve:
    """Conjugate gradients on H s = −g, which can go on with another preconditioner."""

    def __init__(self, product: Apply, g: Vector) -> None:
        self._product = product
        self._g = g
        self.s = zeros(g.shape)
        self._r = np.negative(g, out=empty(g.shape))
        self.products = 0
        self.has_ended = False

    def go_on(self, apply_inverse: Apply, eta: float, most: int) -> None:
        """Iterate until the residual is small enough, curvature is not positive, or ``most`` products are used up."""
        q = apply_inverse(self._r)
        p = empty(q.shape)
        p[:] = q
        rq = inner(self._r, q)
        goal = eta * eta * (inner(self._g, apply_inverse(self._g)) if self.products else rq)  # r is −g before the first
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
            add_scaled(a, p, self.s)
            add_scaled(-a, hp, self._r)
            del hp, q  # the next ones are made in their memory
            q = apply_inverse(self._r)
            rq, before = inner(self._r, q), rq
            beta = rq / before
            scale_and_add(beta, p, q)
            size = rq + beta * beta * size
        self.has_ended = rq <= goal


def _inverse(state: NewtonCGState) -> Apply:
    """M⁻¹: D^−½ C⁻¹ D^−½ on each part of the head, 1/D elsewhere."""
    diagonal = state.diagonal
    head = [(places, np.sqrt(diagonal[places]), Cholesky(lower)) for places, lower in state.head]

    def apply(r: Vector) -> Vector:
        q: Vector = np.divide(r, diagonal, out=empty(r.shape))
        for places, root, factor in head:
            q[places] = factor.solve(r[places] / root) / root
        return q

    return apply


def correlations(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """C of an estimated Hessian, shrunk."""
    scale = np.sqrt(positive(np.diag(matrix).copy()))
    correlation = matrix / scale / scale[:, np.newaxis]
    correlation *= 1.0 - _SHRINK
    np.fill_diagonal(correlation, 1.0)
    return correlation


def is_stale(before: float, now: float, share: float) -> bool:
    """Whether the value has fallen by that share since something was made."""
    return before - now > share * abs(now)


def positive(diagonal: Vector) -> Vector:
    """The diagonal with entries that are not positive (no row, no penalty; concave) replaced by the largest one."""
    if np.min(diagonal, initial=1.0) > 0.0:
        return diagonal
    largest = float(np.max(diagonal, initial=0.0))
    return np.where(diagonal > 0.0, diagonal, largest if largest > 0.0 else 1.0)
