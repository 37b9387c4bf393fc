"""Penalties on the parameters of features; what belongs to no feature (the intercept) is never penalised.

    L2:   α/2 Σⱼ wⱼ²       prox_t(v) = v / (1 + t α)

A penalty sees the whole parameter vector and how it is laid out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from blockdot.blocks.layout import Layout
from blockdot.errors import SpecError
from blockdot.vectors import Vector, inner


class Penalty(Protocol):
    """A smooth penalty."""

    @property
    def strong_convexity(self) -> float:
        """The largest α for which the penalty less α/2 ‖w‖² (w without the tail) is convex; 0 if there is none."""
        ...

    def value(self, w: Vector, layout: Layout) -> float: ...

    def grad(self, w: Vector, layout: Layout) -> Vector: ...

    def hess_dot(self, v: Vector, layout: Layout) -> Vector: ...

    def prox(self, v: Vector, step: float, layout: Layout) -> Vector:
        """The w that minimises ½‖w − v‖² + step · penalty(w)."""
        ...


@dataclass(frozen=True)
class L2:
    """α/2 ‖w‖², the squared norm that shrinks parameters towards 0."""

    alpha: float = 0.0

    def __post_init__(self) -> None:
        if not (isinstance(self.alpha, (int, float, np.number)) and math.isfinite(self.alpha) and self.alpha >= 0):
            raise SpecError(f"alpha is {self.alpha!r}; needed a finite number, at least 0")

    @property
    def strong_convexity(self) -> float:
        """α."""
        return float(self.alpha)

    def value(self, w: Vector, layout: Layout) -> float:
        """α/2 Σ w²."""
        rows = w[: len(w) - layout.tail]
        return 0.5 * self.alpha * inner(rows, rows)

    def grad(self, w: Vector, layout: Layout) -> Vector:
        """α w, and 0 for the tail."""
        return self.hess_dot(w, layout)

    def hess_dot(self, v: Vector, layout: Layout) -> Vector:
        """α v, and 0 for the tail."""
        out = self.alpha * v
        out[len(v) - layout.tail :] = 0.0
        return out

    def prox(self, v: Vector, step: float, layout: Layout) -> Vector:
        """v / (1 + step α), and the tail as it is."""
        scale = np.full(len(v), 1.0 / (1.0 + step * self.alpha))
        scale[len(v) - layout.tail :] = 1.0
        scale *= v
        return scale
