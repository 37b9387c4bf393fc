"""Where the next minimum of a path is likely to be: on the line through the last two.

    w(α_{k+1})  ≈  w_k + (t_{k+1} − t_k)/(t_k − t_{k−1}) (w_k − w_{k−1}),      t = log α

It saves up to two fifths of the passes of a path (docs/design.md, "Knobs"). The points are minima to a tolerance: a
line through two makes their errors up to three times as large, a parabola through three seven times. What is at zero
stays there, and what would change its sign stops at zero: an L1 penalty keeps most parameters there, and a
minimisation lets go of those that it must.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blockdot.vectors import Vector

Points = NDArray[np.float64]
"""(m, n): the last minima, the latest last."""

_FARTHEST = 1.5
"""The step to the next α, over the last one, in log α: beyond it a line says little."""


def later(points: Points, w: Vector) -> Points:
    """The points with another one, the last two of them."""
    return np.concatenate([points, w[np.newaxis]])[-2:]


def ahead(points: Points, alphas: Sequence[float], alpha: float) -> Vector:
    """Where to start at ``alpha`` after minima at the last of ``alphas``: the last point if nothing better is known."""
    last: Vector = points[-1]
    if len(points) < 2 or len(alphas) < 2 or min(alphas[-2], alphas[-1], alpha) <= 0.0:
        return last
    before, now, following = (math.log(a) for a in (*alphas[-2:], alpha))
    if before == now or not 0.0 < (step := (following - now) / (now - before)) <= _FARTHEST:
        return last
    w: Vector = last + step * (last - points[-2])
    w[(last == 0.0) | (w * last < 0.0)] = 0.0
    return w
