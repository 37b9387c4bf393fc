"""Newton's method on faces: for L1 penalties and bounds.

    v = residual(w, ∇F(w))                       the gradient of F + R on the face of w (term.py)
    s ≈ argmin v·s + ½ s·H s,   l ≤ s ≤ u        the model of F + R on the face: l = lower − w, u = upper − w
    w ← w + t s

A parameter is held where it lies at a bound of the face and v does not lead inside: with an L1 penalty a zero whose
gradient is below the threshold. So those that move are those that are not zero and those that should not be; one that
would change sides stops at zero, and leaves it on the other side in the next step, if at all. Lee, Sun & Saunders,
*SIAM J. Optim.* 24 (2014), Algorithm 1, with inexact steps; faces: Andrew & Gao (ICML 2007); both together: Byrd, Chin,
Nocedal & Oztoprak, *Math. Program.* 157 (2016), section 3.

The model is minimised by products with H, each a pass over the data, from s = 0, with q = v + H s:

    x = argmin q·(x − s) + σ/2 (x − s)·M (x − s),   l ≤ x ≤ u
    s ← s + a (x − s)                       where x meets other bounds than s: a = 1, unless that is twice too far
    s ← s + a p,   p = x − s + β p₋         where it meets the same: conjugate gradients, preconditioned by M
    until ‖σ (x − s)‖ ≤ η ‖σ (x − s)‖ at s = 0, in the norm of M

Each step lowers the model and stays in the box. M and η are those of newton_cg.py: the diagonal of H, and on the head
the correlations of a sample. They are used from the start, for they tell what a parameter that stops at zero leaves to
the others; by the diagonal alone, bounds are met one after the other. x costs no pass, but a small bounded least
squares problem (:class:`_Head`). σ is the curvature of H relative to M along the last step that met bounds, the
spectral step of Birgin, Martínez & Raydan (*SIAM J. Optim.* 10 (2000), section 2). When no step along s lowers F + R,
one of the proximal gradient is made, scaled by D = diag H: w ← prox(w − t D⁻¹ ∇F(w), t D⁻¹).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.errors import SpecError
from blockdot.solvers.line_search import Accepted, NoStep, Reason
from blockdot.solvers.minimize import Status
from blockdot.solvers.newton_cg import FLAT, Curved, Mask, Part, correlations, positive
from blockdot.solvers.term import Composite, Face, Term, allowed, can_move, face_of, require_faces, search, term_of
from blockdot.vectors import Cholesky, SquareMatrix, Vector, inner, norm

Product = Callable[[Vector], Vector]

_SUFFICIENT = 1e-4
_NOISE = 1e-12
_TRIALS = 40
_TINY = float(np.finfo(np.float64).tiny)
# The diagonal is made again when the value has fallen by this share since it was made.
_STALE = 0.01
# A full step to a bound lowers a quadratic when the best one is at least half as long; this leaves some of the fall.
_HALF = 0.55
# σ stays between this and its inverse.
_LEAST = 1e-4
# The share of its own step by which x may miss the minimum over the head.
_CLOSE = 0.05
_EXCHANGES = 50
_PATIENCE = 3


class CurvedComposite(Composite, Curved, Protocol):
    """A smooth objective with products by its Hessian, and the R that is to be added."""


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
    needs: ClassVar[frozenset[str]] = frozenset({"value_and_grad", "value", "hess_vec", "hess_diag", "sampled_hessian"})
    proximal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0.0 < self.forcing < 1.0:
            raise SpecError(
                f"ProximalNewton(forcing={self.forcing!r}): a number between 0 and 1, both excluded, is needed"
            )
        for field, least in (("head", 0), ("max_products", 1)):
            if not getattr(self, field) >= least:
                raise SpecError(f"ProximalNewton({field}={getattr(self, field)!r}): {least} or more is needed")

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
        state = _with_diagonal(objective, state)
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
        box = _Box(np.where(free, face.lower - w, 0.0), np.where(free, face.upper - w, 0.0))
        parts = objective.sampled_hessian(w, self.head) if self.head else ()
        metric = _Metric(state.diagonal, parts, free)
        eta = min(self.forcing, math.sqrt(norm(state.grad) / max(state.first_norm, _TINY)))
        v = np.where(free, state.grad, 0.0)
        s, products = _least(
            lambda u: np.where(free, objective.hess_vec(w, u), 0.0), v, box, metric, eta, self.max_products
        )
        # w + (lower − w) need not be lower in floating point
        end = np.where(s <= box.lower, face.lower, np.where(s >= box.upper, face.upper, w + s))
        return np.where(free, end, w), products


class _Box(NamedTuple):
    """Bounds of s."""

    lower: Vector
    upper: Vector

    def is_met(self, s: Vector) -> Mask:
        return (s <= self.lower) | (s >= self.upper)

    def advance(self, s: Vector, u: Vector, a: float) -> Vector:
        """The point s + a u, where a is no longer than there is room: what reaches a bound lies on it."""
        ahead = np.where(u > 0.0, self.upper, np.where(u < 0.0, self.lower, s))
        return np.where(self._steps(s, u) <= a, ahead, np.clip(s + a * u, self.lower, self.upper))

    def room(self, s: Vector, u: Vector) -> float:
        """The longest step from s along u."""
        return float(np.min(self._steps(s, u), initial=np.inf))

    def _steps(self, s: Vector, u: Vector) -> Vector:
        ahead = np.where(u > 0.0, self.upper, self.lower)
        return np.divide(ahead - s, u, out=np.full_like(s, np.inf), where=u != 0.0)


def _least(product: Product, v: Vector, box: _Box, metric: _Metric, eta: float, most: int) -> tuple[Vector, int]:
    """The s in the box where v·s + ½ s·H s is about least, and the products it took."""
    s, q, scale = np.zeros_like(v), v, 1.0
    x, goal = s, math.inf
    before: tuple[Vector, Vector] | None = None  # p and H p, while the same bounds are met
    for products in range(most):
        x = metric.minimum(s, q, box, scale, x)
        d = x - s
        size = scale * scale * metric.square(d)
        goal = eta * eta * size if products == 0 else goal
        if size <= goal or not inner(q, d) < 0.0:
            return s, products
        meets = not np.array_equal(box.is_met(s), box.is_met(x))
        u, room = d, 1.0
        if not meets:
            u, room = _conjugate(s, q, d, before, box)
        hu = product(u)
        curvature = inner(u, hu)
        if not curvature > FLAT * metric.square(u):
            return (box.advance(s, u, room) if math.isfinite(room) else s + u), products + 1
        best = a = -inner(q, u) / curvature
        if meets:
            a = 1.0 if best >= _HALF else best
            scale = min(max(curvature / max(metric.square(u), _TINY), _LEAST), 1.0 / _LEAST)
        a = min(a, room)
        s = x if meets and a == 1.0 else box.advance(s, u, a)
        q = q + a * hu
        before = None if meets or a < best else (u, hu)
    return s, most


def _conjugate(
    s: Vector, q: Vector, d: Vector, before: tuple[Vector, Vector] | None, box: _Box
) -> tuple[Vector, float]:
    """d made conjugate to the direction before, where that leads down and is not cut short, and the room along it."""
    if before is not None:
        p, hp = before
        u = d - (inner(d, hp) / inner(p, hp)) * p
        room = box.room(s, u)
        if room >= 1.0 and inner(q, u) < 0.0:
            return u, room
    return d, max(box.room(s, d), 1.0)


class _Metric:
    """M: D^½ C D^½ on the free parameters of each part, D elsewhere."""

    def __init__(self, diagonal: Vector, parts: Sequence[Part], free: Mask) -> None:
        self._diagonal = diagonal
        self._heads = []
        for places, matrix in parts:
            kept = np.flatnonzero(free[places])
            at = places[kept]
            head = _Head(correlations(matrix[np.ix_(kept, kept)]))
            if head.is_definite:
                self._heads.append((at, np.sqrt(diagonal[at]), head))

    def square(self, d: Vector) -> float:
        """The square of d in the norm of M."""
        square = inner(d, self._diagonal * d)
        for at, root, head in self._heads:
            e = root * d[at]
            square += inner(e, head.times(e)) - inner(e, e)
        return square

    def minimum(self, s: Vector, q: Vector, box: _Box, scale: float, guess: Vector) -> Vector:
        """The x in the box where q·(x − s) + scale/2 (x − s)·M (x − s) is least."""
        x = np.clip(s - q / (scale * self._diagonal), box.lower, box.upper)
        for at, root, head in self._heads:
            slope = q[at] / (scale * root)
            found = head.minimum(root * s[at], slope, root * box.lower[at], root * box.upper[at], root * guess[at])
            if found is not None:
                x[at] = np.clip(found / root, box.lower[at], box.upper[at])
        return x


class _Head:
    """argmin slope·(x − s) + ½ (x − s)·C (x − s) over lower ≤ x ≤ upper, by exchanging what is held at a bound.

    With a guess of which are held, the others are solved for (Cholesky); those that leave the box are held next, and
    those held whose gradient leads inside are let go: block principal pivoting (Júdice & Pires, *Comput. Oper. Res.* 21
    (1994)). When their number has not fallen for some exchanges, one is exchanged at a time until it does. The factor
    is kept, as the next guess is often the same.
    """

    def __init__(self, C: SquareMatrix) -> None:
        self._C = C
        self._solved: NDArray[np.bool_] = np.ones(len(C), bool)
        self._factor = Cholesky.of(C)
        self.is_definite = self._factor is not None

    def times(self, e: Vector) -> Vector:
        """The product C e, added up in one order on any machine."""
        return np.asarray(np.einsum("ij,j->i", self._C, e))

    def minimum(self, s: Vector, slope: Vector, lower: Vector, upper: Vector, guess: Vector) -> Vector | None:
        """None where the exchanges do not end, or a factor is lost in rounding."""
        b = self.times(s) - slope
        low, high = guess <= lower, guess >= upper
        fewest, patience = len(b) + 1, _PATIENCE
        for _ in range(_EXCHANGES):
            free = ~(low | high)
            x = self._solve(b, np.where(low, lower, np.where(high, upper, 0.0)), free)
            if x is None:
                return None
            g = self.times(x) - b
            goes = (low & (g < 0.0)) | (high & (g > 0.0))
            below, above = free & (x < lower), free & (x > upper)
            inside = np.clip(x, lower, upper)
            wrong = below | above | goes
            if not wrong.any() or self._is_close(s, slope, inside, x - inside, g[goes]):
                return inside
            count = int(np.count_nonzero(wrong))
            patience = _PATIENCE if count < fewest else patience - 1
            fewest = min(fewest, count)
            if patience < 0:
                wrong[: np.flatnonzero(wrong)[-1]] = False
            low = (low & ~(goes & wrong)) | (below & wrong)
            high = (high & ~(goes & wrong)) | (above & wrong)
        return None

    def _is_close(self, s: Vector, slope: Vector, x: Vector, over: Vector, pull: Vector) -> bool:
        """Whether x misses the minimum by little, and lies lower than s."""
        step = x - s
        if inner(over, over) + inner(pull, pull) > _CLOSE * _CLOSE * inner(step, step):
            return False
        return inner(slope, step) + 0.5 * inner(step, self.times(step)) < 0.0

    def _solve(self, b: Vector, held: Vector, free: Mask) -> Vector | None:
        """The x that is ``held`` where it is not free, with C x = b where it is."""
        if not np.any(free):
            return held
        if not np.array_equal(free, self._solved):
            at = np.flatnonzero(free)
            self._solved, self._factor = free, Cholesky.of(self._C[np.ix_(at, at)])
        if self._factor is None:
            return None
        x = held.copy()
        x[free] = self._factor.solve((b - self.times(held))[free])
        return x


def _with_diagonal(objective: CurvedComposite, state: ProximalNewtonState) -> ProximalNewtonState:
    """The state with diag H made again at w, where it is stale."""
    if not state.diagonal_value - state.value > _STALE * abs(state.value):
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
