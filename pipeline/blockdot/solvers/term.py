"""What a solver asks of a part that is not smooth, and the search for a step on one of its faces.

    minimise  F(w) + R(w),     F smooth, R = ``objective.term``, convex

    residual(w, ∇F(w))   the element of least norm of ∇F(w) + ∂R(w): zero exactly at a minimum
    face(w, residual)    a box around w in which R is linear with the gradient ``slope``, where −residual leads

On a face F + R is smooth, with bounds: F(w) + slope·w over lower ≤ w ≤ upper, and the residual is its gradient in every
parameter that can move. A step follows the projected path w(t) = P(w + t d), P the projection on the box (Bertsekas,
*SIAM J. Control Optim.* 20 (1982), eq. 14), until

    (F + R)(w(t)) ≤ (F + R)(w) + c residual·(w(t) − w) + ε |(F + R)(w)|,      residual·(w(t) − w) < 0

ε stands for the rounding error of a sum over very many rows, as in line_search.py. Where the last product is not
negative, w(t) lies no lower than w when F is convex, and costs no pass to be refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from blockdot.errors import SpecError
from blockdot.solvers.line_search import Accepted, NoStep, Reason
from blockdot.solvers.minimize import Smooth
from blockdot.vectors import Vector, inner

_SUFFICIENT = 1e-4
_NOISE = 1e-12
_TRIALS = 40
_TINY = float(np.finfo(np.float64).tiny)


class Face(Protocol):
    """A box lower ≤ w ≤ upper in which R has the gradient ``slope``."""

    @property
    def lower(self) -> Vector: ...

    @property
    def upper(self) -> Vector: ...

    @property
    def slope(self) -> Vector: ...


class Term(Protocol):
    """A convex R that need not be smooth. No array that is handed in is written to."""

    @property
    def name(self) -> str: ...

    def value(self, w: Vector, /) -> float:
        """R(w); infinite where w is not allowed."""
        ...

    def prox(self, v: Vector, step: Vector | float, /) -> Vector:
        """The minimum over w of ½ Σⱼ (wⱼ − vⱼ)²/stepⱼ + R(w)."""
        ...

    def residual(self, w: Vector, grad: Vector, /) -> Vector:
        """The element of least norm of ``grad`` + ∂R(w)."""
        ...

    def face(self, w: Vector, residual: Vector, /) -> Face | None:
        """The face of w towards −residual; None for an R that has none (group lasso)."""
        ...


class Composite(Smooth, Protocol):
    """A smooth objective F with its values alone, and the R that is to be added."""

    @property
    def term(self) -> Term | None:
        """R; None for 0."""
        ...

    def value(self, w: Vector, /) -> float:
        """F(w)."""
        ...


class _Everywhere(NamedTuple):
    """The face of R = 0."""

    lower: Vector
    upper: Vector
    slope: Vector


@dataclass(frozen=True)
class Zero:
    """R = 0."""

    name: str = "nothing"

    def value(self, w: Vector) -> float:  # noqa: ARG002
        """0."""
        return 0.0

    def prox(self, v: Vector, step: Vector | float) -> Vector:  # noqa: ARG002
        """The v that was handed in."""
        return v

    def residual(self, w: Vector, grad: Vector) -> Vector:  # noqa: ARG002
        """The gradient."""
        return grad

    def face(self, w: Vector, residual: Vector) -> Face:  # noqa: ARG002
        """The whole space."""
        return _Everywhere(np.full_like(w, -np.inf), np.full_like(w, np.inf), np.zeros_like(w))


def term_of(objective: object) -> Term:
    """R; 0 for an objective that has no ``term``, or None."""
    term: Term | None = getattr(objective, "term", None)
    return Zero() if term is None else term


def allowed(term: Term, w: Vector) -> Vector:
    """``w``, or where R is infinite there, the nearest point where it is not."""
    return w if math.isfinite(term.value(w)) else term.prox(w, _TINY)


def require_faces(solver: str, term: Term, w: Vector) -> None:
    """Refuse a term without faces."""
    if term.face(w, np.zeros_like(w)) is None:
        raise SpecError(
            f"solver {solver} moves on faces where the penalty is linear, and {term.name} has none: "
            "choose ProximalGradient()"
        )


def face_of(term: Term, w: Vector, residual: Vector) -> Face:
    """The face of w, from a term that has them."""
    face = term.face(w, residual)
    assert face is not None, "refused when the solver began"
    return face


def can_move(face: Face, w: Vector, residual: Vector) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which parameters are not held by a bound: those inside the box, or with a way into it that leads down."""
    held_below = (w <= face.lower) & (residual >= 0.0)
    held_above = (w >= face.upper) & (residual <= 0.0)
    return ~(held_below | held_above)


def search(
    objective: Composite,
    term: Term,
    path: Callable[[float], Vector],
    w: Vector,
    value: float,
    residual: Vector,
    first: float = 1.0,
) -> Accepted | NoStep:
    """A step from ``w``, where F + R has ``value``, along ``path``, a way in the face of w; tries ``first``.

    The first trial takes the gradient too, which the next iteration needs when it is accepted; further trials take
    values, and the gradient once, at the end. The gradient returned is that of F.
    """
    t, evaluations = first, 0
    for _ in range(_TRIALS):
        end = path(t)
        if np.array_equal(end, w):
            return NoStep(Reason.TOO_SMALL, evaluations)
        slope = inner(residual, end - w)
        if not slope < 0.0:
            t *= 0.5
            continue
        grad: Vector | None = None
        if evaluations == 0:
            smooth, grad = objective.value_and_grad(end)
        else:
            smooth = objective.value(end)
        evaluations += 1
        trial = float(smooth) + term.value(end)
        if trial <= value + _SUFFICIENT * slope + _NOISE * abs(value):
            if grad is None:
                _, grad = objective.value_and_grad(end)
                evaluations += 1
            if np.all(np.isfinite(grad)):
                return Accepted(t, trial, end, grad, evaluations)
        t *= _shorter(value, slope, trial)
    return NoStep(Reason.TOO_MANY, evaluations)


def projected_path(face: Face, w: Vector, direction: Vector) -> Callable[[float], Vector]:
    """t ↦ P(w + t direction)."""
    return lambda t: np.clip(w + t * direction, face.lower, face.upper)


def _shorter(value: float, slope: float, trial: float) -> float:
    """The next trial as a share of this one: the minimum of the parabola, kept between a tenth and a half."""
    curve = trial - value - slope
    best = -0.5 * slope / curve if math.isfinite(curve) and curve > 0.0 else 0.0
    return min(max(best, 0.1), 0.5)
