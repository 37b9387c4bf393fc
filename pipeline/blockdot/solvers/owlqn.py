"""Orthant-wise limited-memory quasi-Newton: L-BFGS on one face after the other.

    v = residual(w, ∇F(w))         the gradient of F + R on the face of w
    d = −H v,   dⱼ = 0 unless dⱼ vⱼ < 0
    w ← P(w + t d)                 P the projection on the face

Andrew & Gao, *Scalable training of L1-regularized log-linear models* (ICML 2007), section 3.2, with faces in place of
orthants, so that bounds are served too: v is their pseudo-gradient, a face what they call an orthant. H is made as in
lbfgs.py from the pairs s = w₊ − w, y = ∇F₊ − ∇F of the smooth part alone, as R has no curvature. A parameter that would
change sides stops at the border; a zero leaves it towards −v in a later step. The step is that of term.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from blockdot.errors import SpecError
from blockdot.solvers.lbfgs import Pair, apply_inverse, remember
from blockdot.solvers.line_search import NoStep
from blockdot.solvers.minimize import Status
from blockdot.solvers.term import Composite, allowed, face_of, projected_path, require_faces, search, term_of
from blockdot.vectors import Vector, norm

_TINY = float(np.finfo(np.float64).tiny)


class OWLQNState(NamedTuple):
    """A point, the value of F + R, the residual, the gradient of F, and the curvature pairs, oldest first."""

    w: Vector
    value: float
    grad: Vector
    iteration: int
    evaluations: int
    smooth_grad: Vector
    pairs: tuple[Pair, ...] = ()
    status: Status | None = None


@dataclass(frozen=True)
class OWLQN:
    """OWL-QN that remembers ``memory`` pairs: 2 · memory vectors the size of w."""

    memory: int = 10

    name: ClassVar[str] = "OWL-QN"
    needs: ClassVar[frozenset[str]] = frozenset({"value_and_grad", "value"})
    proximal: ClassVar[bool] = True

    @property
    def vectors(self) -> int:
        """Vectors of the size of w that it holds at most, those of the objective's answers included."""
        return 2 * self.memory + 14

    def __post_init__(self) -> None:
        if not self.memory >= 1:
            raise SpecError(f"OWLQN(memory={self.memory!r}): a whole number, 1 or more, is needed (10 is usual)")

    def init(self, objective: Composite, w: Vector) -> OWLQNState:
        term = term_of(objective)
        require_faces(self.name, term, w)
        w = allowed(term, w)
        value, grad = objective.value_and_grad(w)
        return OWLQNState(w, float(value) + term.value(w), term.residual(w, grad), 0, 1, smooth_grad=grad)

    def step(self, objective: Composite, state: OWLQNState) -> OWLQNState:
        term = term_of(objective)
        direction = -apply_inverse(state.pairs, state.grad)
        direction[direction * state.grad >= 0.0] = 0.0
        path = projected_path(face_of(term, state.w, state.grad), state.w, direction)
        first = 1.0 if state.pairs else 1.0 / max(norm(state.grad), _TINY)
        found = search(objective, term, path, state.w, state.value, state.grad, first)
        evaluations = state.evaluations + found.evaluations
        if isinstance(found, NoStep):
            if state.pairs:
                return self.step(objective, state._replace(pairs=(), evaluations=evaluations))
            return state._replace(evaluations=evaluations, status=Status.STALLED)
        return OWLQNState(
            found.w,
            found.value,
            term.residual(found.w, found.grad),
            state.iteration + 1,
            evaluations,
            smooth_grad=found.grad,
            pairs=remember(state.pairs, found.w - state.w, found.grad - state.smooth_grad, self.memory),
        )
