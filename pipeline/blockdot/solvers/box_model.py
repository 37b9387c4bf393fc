"""A quadratic over a box, by products with its matrix: the model of a proximal Newton step.

    s ≈ argmin v·s + ½ s·H s,   l ≤ s ≤ u                 from s = 0, with q = v + H s

    x = argmin q·(x − s) + σ/2 (x − s)·M (x − s),   l ≤ x ≤ u
    s ← s + a (x − s)                       where x meets other bounds than s: a = 1, unless that is twice too far
    s ← s + a p,   p = x − s + β p₋         where it meets the same: conjugate gradients, preconditioned by M
    until ‖σ (x − s)‖ ≤ η ‖σ (x − s)‖ at s = 0, in the norm of M

Each step lowers the model and stays in the box. M is that of preconditioner.py: the diagonal of H, and on the
head the correlations of a sample. It is used from the start, for it tells what a parameter that stops at a bound leaves
to the others; by the diagonal alone, bounds are met one after the other. x costs no product, but a small bounded least
squares problem (:class:`Head`). σ is the curvature of H relative to M along the last step that met bounds, the spectral
step of Birgin, Martínez & Raydan (*SIAM J. Optim.* 10 (2000), section 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockdot.solvers.newton_cg import FLAT
from blockdot.solvers.preconditioner import correlations
from blockdot.vectors import Cholesky, SquareMatrix, Vector, inner

Product = Callable[[Vector], Vector]
Mask = NDArray[np.bool_]
Part = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Some parameters, and a matrix over them."""

_TINY = float(np.finfo(np.float64).tiny)
# A full step to a bound lowers a quadratic when the best one is at least half as long; this leaves some of the fall.
_HALF = 0.55
# σ stays between this and its inverse.
_LEAST = 1e-4
# The share of its own step by which x may miss the minimum over the head.
_CLOSE = 0.05
_EXCHANGES = 50
_PATIENCE = 3


class Box(NamedTuple):
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


def least(product: Product, v: Vector, box: Box, metric: Metric, eta: float, most: int) -> tuple[Vector, int]:
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


def _conjugate(s: Vector, q: Vector, d: Vector, before: tuple[Vector, Vector] | None, box: Box) -> tuple[Vector, float]:
    """d made conjugate to the direction before, where that leads down and is not cut short, and the room along it."""
    if before is not None:
        p, hp = before
        u = d - (inner(d, hp) / inner(p, hp)) * p
        room = box.room(s, u)
        if room >= 1.0 and inner(q, u) < 0.0:
            return u, room
    return d, max(box.room(s, d), 1.0)


class Metric:
    """M: D^½ C D^½ on the free parameters of each part, D elsewhere."""

    def __init__(self, diagonal: Vector, parts: Sequence[Part], free: Mask) -> None:
        self._diagonal = diagonal
        self._heads = []
        for places, matrix in parts:
            kept = np.flatnonzero(free[places])
            at = places[kept]
            head = Head(correlations(matrix[np.ix_(kept, kept)]))
            if head.is_definite:
                self._heads.append((at, np.sqrt(diagonal[at]), head))

    def square(self, d: Vector) -> float:
        """The square of d in the norm of M."""
        square = inner(d, self._diagonal * d)
        for at, root, head in self._heads:
            e = root * d[at]
            square += inner(e, head.times(e)) - inner(e, e)
        return square

    def minimum(self, s: Vector, q: Vector, box: Box, scale: float, guess: Vector) -> Vector:
        """The x in the box where q·(x − s) + scale/2 (x − s)·M (x − s) is least."""
        x = np.clip(s - q / (scale * self._diagonal), box.lower, box.upper)
        for at, root, head in self._heads:
            slope = q[at] / (scale * root)
            found = head.minimum(root * s[at], slope, root * box.lower[at], root * box.upper[at], root * guess[at])
            if found is not None:
                x[at] = np.clip(found / root, box.lower[at], box.upper[at])
        return x


class Head:
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
