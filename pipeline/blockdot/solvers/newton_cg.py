"""Newton's method by conjugate gradients: curvature by products, never as a matrix.

    H s = −∇F(w)   until   ‖r‖ ≤ η ‖∇F(w)‖ in the norm of M⁻¹,     η = min(η₀, √(‖∇F(w)‖ / ‖∇F(w₀)‖))

Nocedal & Wright, *Numerical Optimization*, 2nd ed., Algorithm 7.1 (line-search Newton–CG) with preconditioner M
(Algorithm 5.3; preconditioner.py); the forcing term is that of eq. 7.3 with a cap. Along a direction of negative
curvature the solve stops with what it has.

M is the diagonal at first, made at w₀: far from the minimum a few products suffice, and it does. When a solve has not
ended after some products, the head is factored and the solve goes on with it. Later solves begin with it as it is. It
is made again, and the diagonal with it, when a solve does not end with it after some products, or after many where the
value has hardly fallen since.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from blockdot.buffers import empty, zeros
from blockdot.errors import SpecError
from blockdot.solvers.minimize import Status
from blockdot.solvers.newton import SmoothAlong, advance
from blockdot.solvers.preconditioner import Apply, Curved, Preconditioner
from blockdot.vector_kernel import add_scaled, scale_and_add
from blockdot.vectors import Vector, inner, norm

_TINY = float(np.finfo(np.float64).tiny)
# A head that is not old is given so many times the patience before it is made again.
_LONGER = 10
# Curvature below this, relative to the preconditioner's, is rounding: H is singular there (intercepts of several
# classes, of which only the differences matter; rows on a linear piece of their loss).
FLAT = 1e-13


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
    preconditioner: Preconditioner
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
        {"value_and_grad", "value_along", "hess_vec", "hess_diag", "mean_hessian"}
    )

    def __post_init__(self) -> None:
        if not 0.0 < self.forcing < 1.0:
            raise SpecError(f"NewtonCG(forcing={self.forcing!r}): a number between 0 and 1, both excluded, is needed")
        for field, least in (("patience", 1), ("head", 0), ("max_products", 1)):
            if not getattr(self, field) >= least:
                raise SpecError(f"NewtonCG({field}={getattr(self, field)!r}): {least} or more is needed")

    def init(self, objective: TwiceSmooth, w: Vector) -> NewtonCGState:
        value, grad = objective.value_and_grad(w)
        known = Preconditioner.at(objective, w)
        return NewtonCGState(w, float(value), grad, 0, 2, norm(grad), known)

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
            solve.go_on(state.preconditioner.inverse(), eta, self.max_products)
            return state._replace(evaluations=state.evaluations + solve.products), solve.s
        is_old = state.preconditioner.is_old(state.value)
        solve.go_on(state.preconditioner.inverse(), eta, self.patience if is_old else _LONGER * self.patience)
        if not solve.has_ended:
            state = self._with_head(objective, state)
            solve.go_on(state.preconditioner.inverse(), eta, self.max_products)
        # Where H is indefinite a solve that went on with another preconditioner may end uphill; both of its parts have
        # lowered the model g·s + ½ s·Hs, so s·Hs is below 0 then, and the model is lower still the other way.
        downhill = solve.s if inner(state.grad, solve.s) <= 0.0 else -solve.s
        return state._replace(evaluations=state.evaluations + solve.products), downhill

    def _with_head(self, objective: TwiceSmooth, state: NewtonCGState) -> NewtonCGState:
        """The state with the diagonal and the head made at w."""
        known = Preconditioner.with_head(objective, state.w, state.value, self.head)
        return state._replace(preconditioner=known, evaluations=state.evaluations + 1)


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
