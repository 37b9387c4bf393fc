"""What is known of a Hessian without products: M, an approximation that is cheap to invert.

    diagonal   M = D = diag H
    head       M = D, and for each output on its m most frequent features (and the tail) the matrix D^½ C D^½,
               C the correlation matrix of the outputs' mean Hessian over a sample of the rows;
               what lies between two outputs is left out

On power-law data the most frequent features hold most of the non-zeros and nearly all of what makes H ill-conditioned
(docs/design.md). Outputs differ in which rows are curved, and much less in which features go together: one C serves
them all as well as one each would, and as it costs less it can be larger. Correlations change less than curvature does,
so the head serves for a while as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.buffers import empty
from blockdot.vectors import Cholesky, SquareMatrix, Vector

Apply = Callable[[Vector], Vector]
Places = NDArray[np.int64]

# Correlations are shrunk by this much, so that the factor exists whatever the sample holds.
_SHRINK = 1e-3
# The head is old when the value has fallen by this share since it was made.
STALE = 0.1


class Curved(Protocol):
    """Products by a Hessian, and what preconditions them."""

    def hess_vec(self, w: Vector, v: Vector, /) -> Vector: ...

    def hess_diag(self, w: Vector, /) -> Vector: ...

    def mean_hessian(self, w: Vector, m: int, /) -> tuple[Places, SquareMatrix]:
        """For each output ``m`` or fewer of its features and its tail, the same ones, and an estimate of their Hessian.

        (K, p) places in w, a row an output, and (p, p), the mean over the outputs.
        """
        ...


class Preconditioner(NamedTuple):
    """M, as it was made at one point."""

    inverse_diagonal: Vector
    """1/D: there is a product by it in each step of a solve, and a division takes twice as long."""
    places: Places = np.zeros((0, 0), np.int64)
    """Where the head of each output lies; none where M is the diagonal."""
    factor: SquareMatrix = np.zeros((0, 0))
    """The Cholesky factor of C."""
    value: float = math.inf
    """The value of the objective where the head, and the diagonal with it, were made."""

    @classmethod
    def at(cls, objective: Curved, w: Vector) -> Preconditioner:
        """The diagonal at w: one pass."""
        return cls(np.reciprocal(positive(objective.hess_diag(w))))

    @classmethod
    def with_head(cls, objective: Curved, w: Vector, value: float, m: int) -> Preconditioner:
        """The diagonal at w, where the objective has that value, and the head: one pass, and some over a sample."""
        places, matrix = objective.mean_hessian(w, m)
        factor = Cholesky.of(correlations(matrix)) if places.size else None
        plain = cls.at(objective, w)._replace(value=value)
        return plain if factor is None else plain._replace(places=places, factor=factor.lower)  # None: indefinite

    def is_old(self, value: float) -> bool:
        """Whether no head was made yet, or the value has fallen much since."""
        return is_stale(self.value, value, STALE)

    def inverse(self) -> Apply:
        """M⁻¹: D^−½ C⁻¹ D^−½ on the head of each output, 1/D elsewhere."""
        inverse, places, factor = self.inverse_diagonal, self.places, Cholesky(self.factor)
        root = np.sqrt(inverse[places])

        def apply(r: Vector) -> Vector:
            q: Vector = np.multiply(r, inverse, out=empty(r.shape))
            if places.size:
                q[places] = factor.solve((r[places] * root).T).T * root
            return q

        return apply


def correlations(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """C of an estimated Hessian, shrunk."""
    scale = np.sqrt(positive(np.diag(matrix).copy()))
    correlation: SquareMatrix = np.divide(matrix, scale, out=empty(matrix.shape))
    correlation /= scale[:, np.newaxis]
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
