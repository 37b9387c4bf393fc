"""Newton's method on faces: for L1 penalties and bounds.

    v = residual(w, ∇F(w))                       the gradient of F + R on the face of w (term.py)
    s ≈ argmin v·s + ½ s·H s,   l ≤ s ≤ u        the model of F + R on the face: l = lower − w, u = upper − w
    w ← w + t s

A parameter is held where it lies at a bound of the face and v does not lead inside: with an L1 penalty a zero whose
gradient is below the threshold. So those that move are those that are not zero and those that should not be; one that
would change sides stops at zero, and leaves it on the other side in the next step, if at all. Lee, Sun & Saunders,
*SIAM J. Optim.* 24 (2014), Algorithm 1, with inexact steps; faces: Andrew & Gao (ICML 2007); both together: Byrd, Chin,
Nocedal & Oztoprak, *Math. Program.* 157 (2016), section 3.

The model is minimised by products with H, each a pass over the data (box_model.py), as well as η of newton_cg.py says.
When no step along s lowers F + R, one of the proximal gradient is made, scaled by D = diag H:

    w ← prox(w − t D⁻¹ ∇F(w), t D⁻¹)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from blockdot.errors import SpecError
from blockdot.solvers.box_model import Box, Metric, Part, least
from blockdot.solvers.line_search import Accepted, NoStep, Reason
from blockdot.solvers.minimize import Status
from blockdot.solvers.preconditioner import STALE, Curved, is_stale, positive
from blockdot.solvers.term import Composite, Face, Term, allowed, can_move, face_of, require_faces, search, term_of
from blockdot.vectors import Vector, inner, norm

_SUFFICIENT = 1e-4
_NOISE = 1e-12
_TRIALS = 40
_TINY = float(np.finfo(np.float64).tiny)
# The diagonal is made again when the value has fallen by this share since it was made; the head, which only lends its
# correlations, later (preconditioner.STALE).
_STALE = 0.01


class CurvedComposite(Composite, Curved, Protocol):
    """A smooth objective with products by its Hessian, and the R that is to be added."""

    def sampled_hessian(self, w: Vector, m: int, /) -> Sequence[Part]:
        """For each output some of its parameters, ``m`` or fewer, and an estimate of the Hessian at w in them."""
        ...


class ProximalNewtonState(NamedTuple):
    """A point, the value of F + R, the residual, the gradient of F, the first norm of the residual, and diag H."""

    w: Vector
    value: float
    grad: Vector
    iteration: int
    evaluations: int
    smooth_grad: Vector
    first_norm: float
    diagonal: Vector
    diagonal_value: float
    """The value where the diagonal was made."""
    head: tuple[Part, ...] = ()
    """The Hessian over a sample of the rows, for the most frequent features of each output."""
    head_value: float = math.inf
    """The value where the head was made."""
    status: Status | None = None


@dataclass(frozen=True)
class ProximalNewton:
    """Newton's method for a smooth objective plus a term that is linear on faces.

    ``forcing``: η₀; ``head``: how many features the correlations are of, 0 for the diagonal alone; ``max_products``:
    the most products of one model.
    """

    forcing: float = 0.3
    head: int = 1024
    max_products: int = 250

    name: ClassVar[str] = "proximal Newton"
    vectors: ClassVar[int] = 24
    """Vectors of the size of w that it holds at most, those of the objective's answers included."""
    needs: ClassVar[frozenset[str]] = frozenset({"value_and_grad", "value", "hess_vec", "hess_diag", "sampled_hessian"})
    proximal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0.0 < self.forcing < 1.0:
            raise SpecError(
                f"ProximalNewton(forcing={self.forcing!r}): a number between 0 and 1, both excluded, is needed"
            )
        for field, lowest in (("head", 0), ("max_products", 1)):
            if not getattr(self, field) >= lowest:
                raise SpecError(f"ProximalNewton({field}={getattr(self, field)!r}): {lowest} or more is needed")

    def init(self, objective: CurvedComposite, w: Vector) -> ProximalNewtonState:
        term = term_of(objective)
        require_faces(self.name, term, w)
        w = allowed(term, w)
        smooth, grad = objective.value_and_grad(w)
        value, residual = float(smooth) + term.value(w), term.residual(w, grad)
        diagonal = positive(objective.hess_diag(w))
        return ProximalNewtonState(w, value, residual, 0, 2, grad, norm(residual), diagonal, diagonal_value=value)

    def step(self, objective: CurvedComposite, state: ProximalNewtonState) -> ProximalNewtonState:
        term = term_of(objective)
        face = face_of(term, state.w, state.grad)
        state = self._with_head(objective, _with_diagonal(objective, state))
        end, products = self._minimum(objective, state, face)
        found = search(objective, term, _segment(state.w, end, face), state.w, state.value, state.grad)
        evaluations = state.evaluations + products + found.evaluations
        if isinstance(found, NoStep):
            found = _scaled_gradient_step(objective, term, state)
            evaluations += found.evaluations
        if isinstance(found, NoStep):
            return state._replace(evaluations=evaluations, status=Status.STALLED)
        return state._replace(
            w=found.w,
            value=found.value,
            grad=term.residual(found.w, found.grad),
            iteration=state.iteration + 1,
            evaluations=evaluations,
            smooth_grad=found.grad,
        )

    def _minimum(self, objective: CurvedComposite, state: ProximalNewtonState, face: Face) -> tuple[Vector, int]:
        """Where the model is about least, and the products it took."""
        w = state.w
        free = can_move(face, w, state.grad)
        box = Box(np.where(free, face.lower - w, 0.0), np.where(free, face.upper - w, 0.0))
        metric = Metric(state.diagonal, state.head, free)
        eta = min(self.forcing, math.sqrt(norm(state.grad) / max(state.first_norm, _TINY)))
        v = np.where(free, state.grad, 0.0)
        s, products = least(
            lambda u: np.where(free, objective.hess_vec(w, u), 0.0), v, box, metric, eta, self.max_products
        )
        # w + (lower − w) need not be lower in floating point
        end = np.where(s <= box.lower, face.lower, np.where(s >= box.upper, face.upper, w + s))
        return np.where(free, end, w), products

    def _with_head(self, objective: CurvedComposite, state: ProximalNewtonState) -> ProximalNewtonState:
        """The state with the head made at w, where there is none or the one there is stale."""
        if not self.head or not is_stale(state.head_value, state.value, STALE):
            return state
        return state._replace(head=tuple(objective.sampled_hessian(state.w, self.head)), head_value=state.value)


def _with_diagonal(objective: CurvedComposite, state: ProximalNewtonState) -> ProximalNewtonState:
    """The state with diag H made again at w, where it is stale."""
    if not is_stale(state.diagonal_value, state.value, _STALE):
        return state
    diagonal = positive(objective.hess_diag(state.w))
    return state._replace(diagonal=diagonal, diagonal_value=state.value, evaluations=state.evaluations + 1)


def _segment(w: Vector, end: Vector, face: Face) -> Callable[[float], Vector]:
    """t ↦ w + t (end − w)."""
    return lambda t: end if t == 1.0 else np.clip(w + t * (end - w), face.lower, face.upper)


def _scaled_gradient_step(objective: CurvedComposite, term: Term, state: ProximalNewtonState) -> Accepted | NoStep:
    """The longest t, halved from 1, whose step lowers F + R by c ‖s‖²/t in the norm of D."""
    t = 1.0
    for evaluations in range(_TRIALS):
        metric = t / state.diagonal
        end = term.prox(state.w - metric * state.smooth_grad, metric)
        step = end - state.w
        if not np.any(step):
            return NoStep(Reason.TOO_SMALL, evaluations)
        trial = objective.value(end) + term.value(end)
        demand = _SUFFICIENT * inner(step, step / metric)
        if trial <= state.value - demand + _NOISE * abs(state.value):
            _, grad = objective.value_and_grad(end)
            return Accepted(t, float(trial), end, grad, evaluations + 2)
        t *= 0.5
    return NoStep(Reason.TOO_MANY, _TRIALS)
