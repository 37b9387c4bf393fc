"""Where the next minimum of a path is likely to be: the polynomial through the last ones.

    w(α_{k+1})  ≈  Σ_i c_i w(α_i),      c_i = Π_{j≠i} (t − t_j)/(t_i − t_j),      t = log α        (Lagrange)

over the last three α, or fewer. Along a path of equal ratios the parabola is 3 w_k − 3 w_{k−1} + w_{k−2}. It saves a
third to a half of the passes of a path (docs/design.md, "Knobs"). What is at zero stays there, and what would change
its sign stops at zero: an L1 penalty keeps most parameters there, and a minimisation lets go of those that it must.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blockdot.vectors import Vector

Points = NDArray[np.float64]
"""(m, n): the last minima, the latest last."""

_ORDER = 3  # points that a polynomial goes through
# Σ |c| may be this much: errors of the points are made larger by it, and a grid with a leap wants it much larger.
_WILDEST = 8.0


def later(points: Points, w: Vector) -> Points:
    """The points with another one, without those that are too old."""
    return np.concatenate([points, w[np.newaxis]])[-_ORDER:]


def ahead(points: Points, alphas: Sequence[float], alpha: float) -> Vector:
    """Where to start at ``alpha`` after minima at the last of ``alphas``: the last point if nothing better is known."""
    last: Vector = points[-1]
    for m in range(min(len(points), len(alphas), _ORDER), 1, -1):
        c = _coefficients([*alphas[-m:], alpha])
        if c is not None and np.sum(np.abs(c)) <= _WILDEST:
            w: Vector = np.einsum("i,ij->j", c, points[-m:])
            w[(last == 0.0) | (w * last < 0.0)] = 0.0
            return w
    return last


def _coefficients(alphas: Sequence[float]) -> Vector | None:
    """Those of all but the last, at the last; None where one is not above 0, or two are the same."""
    if min(alphas) <= 0.0 or len(set(alphas)) < len(alphas):
        return None
    *known, t = (math.log(alpha) for alpha in alphas)
    factors = [math.prod((t - b) / (a - b) for b in known if b != a) for a in known]
    return np.array(factors)
