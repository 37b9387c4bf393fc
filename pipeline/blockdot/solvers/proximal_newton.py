"""Newton's method on faces, by conjugate gradients: for L1 penalties and bounds.

    v = residual(w, ∇F(w))         the gradient of F + R on the face of w (term.py)
    H_ff s = −v_f                  f: the parameters that can move; s is 0 for the others
    w ← P(w + t s)                 P the projection on the face

A parameter is held where it lies at a bound of the face and v does not lead inside: with an L1 penalty a zero whose
gradient is below the threshold. So the free ones are those that are not zero and those that should not be; a parameter
that would change sides stops at zero, and leaves it on the other side in the next step, if at all. Once the free set is
that of the minimum the steps are Newton's, and converge as fast. Bertsekas, *SIAM J. Control Optim.* 20 (1982),
eqs. 32–37 (two-metric projection); Andrew & Gao (ICML 2007) for the faces of L1; Byrd, Chin, Nocedal & Oztoprak,
*Math. Program.* 157 (2016), section 3, for both together.

The equations are solved as in newton_cg.py, with the same preconditioners, on the free parameters. A product costs a
pass over the data however few they are, so all that can move does. Where no step along the projected path lowers F + R,
one step of the proximal gradient, scaled by the diagonal D of the Hessian, is made:

    w ← prox(w − t D⁻¹ ∇F(w), t D⁻¹)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from blockdot.solvers.line_search import Accepted, NoStep, Reason
from blockdot.solvers.minimize import Status
from blockdot.solvers.newton_cg import Curved, InexactNewton, positive
from blockdot.solvers.term import Composite, Term, allowed, can_move, face_of, require_faces, search, term_of
from blockdot.vectors import Vector, inner, norm

_SUFFICIENT = 1e-4
_NOISE = 1e-12
_TRIALS = 40


class CurvedComposite(Composite, Curved, Protocol):
    """A smooth objective with products by its Hessian, and the R that is to be added."""


class ProximalNewtonState(NamedTuple):
    """A point, the value of F + R, the residual, the gradient of F, and what NewtonCGState has besides."""

    w: Vector
    value: float
    grad: Vector
    iteration: int
    evaluations: int
    smooth_grad: Vector
    first_norm: float
    diagonal: Vector
    is_hard: bool = False
    status: Status | None = None


@dataclass(frozen=True)
class ProximalNewton(InexactNewton):
    """Newton–CG for a smooth objective plus a term that is linear on faces."""

    name: ClassVar[str] = "proximal Newton"
    needs: ClassVar[frozenset[str]] = frozenset({"value_and_grad", "value", "hess_vec", "hess_diag", "sampled_hessian"})
    proximal: ClassVar[bool] = True

    def init(self, objective: CurvedComposite, w: Vector) -> ProximalNewtonState:
        term = term_of(objective)
        require_faces(self.name, term, w)
        w = allowed(term, w)
        value, grad = objective.value_and_grad(w)
        residual = term.residual(w, grad)
        return ProximalNewtonState(
            w,
            float(value) + term.value(w),
            residual,
            0,
            2,
            smooth_grad=grad,
            first_norm=norm(residual),
            diagonal=positive(objective.hess_diag(w)),
        )

    def step(self, objective: CurvedComposite, state: ProximalNewtonState) -> ProximalNewtonState:
        term = term_of(objective)
        face = face_of(term, state.w, state.grad)
        free = can_move(face, state.w, state.grad)
        v = np.where(free, state.grad, 0.0)
        way = self.direction(objective, state.w, v, state.first_norm, state.diagonal, state.is_hard, free)
        evaluations = state.evaluations + way.passes
        state = state._replace(diagonal=way.diagonal, is_hard=way.is_hard)
        found = search(objective, term, face, state.w, state.value, v, way.s)
        evaluations += found.evaluations
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
