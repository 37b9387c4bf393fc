"""What is not smooth in a penalty: R(w), by its value, its prox, its least subgradient, and its faces.

    prox(v, t)    = argmin_w ½ Σⱼ (wⱼ − vⱼ)²/tⱼ + R(w)
    residual(w,g) = the element of least norm of g + ∂R(w): zero exactly where w minimises F + R, g = ∇F(w)
    face(w, r)    = a box around w in which R is linear, on the side to which −r points

    Separable   Σⱼ λⱼ|wⱼ|,  wⱼ in [lⱼ, uⱼ]      prox: soft threshold, then clip      (one dimension at a time)
    Groups      λ Σ_G √|G| ‖w_G‖                  prox: shrink the length of each w_G  (Yuan & Lin 2006, eq. 2.4)

Parikh & Boyd, *Proximal Algorithms* (2014), sections 6.5.1 and 6.5.4. The tail (an intercept) is free of it all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.errors import SpecError
from blockdot.vectors import Vector, inner


class Face(NamedTuple):
    """A box lower ≤ w ≤ upper in which R has the gradient ``slope``."""

    lower: Vector
    upper: Vector
    slope: Vector


class Term(Protocol):
    """A convex R that is not smooth."""

    @property
    def name(self) -> str: ...

    def value(self, w: Vector) -> float:
        """R(w); infinite outside of the bounds."""
        ...

    def prox(self, v: Vector, step: Vector | float) -> Vector: ...

    def residual(self, w: Vector, grad: Vector) -> Vector: ...

    def face(self, w: Vector, residual: Vector) -> Face | None:
        """None for an R that is linear in no box."""
        ...

    def dual_norm(self, grad: Vector) -> float:
        """The least t for which g·w + t R(w) is least at w = 0, of what R weighs alone, and bounds aside."""
        ...


@dataclass(frozen=True, eq=False)
class Separable:
    """Σ λⱼ |wⱼ| over the box [lower, upper]; all (size,)."""

    l1: Vector
    lower: Vector
    upper: Vector

    @property
    def name(self) -> str:
        """L1, bounds, or both."""
        parts = ["L1"] * bool(np.any(self.l1))
        return " with ".join([*parts, *["bounds"] * self.is_bounded]) or "nothing"

    @property
    def is_bounded(self) -> bool:
        """Whether there is a bound."""
        return bool(np.any(np.isfinite(self.lower)) or np.any(np.isfinite(self.upper)))

    def value(self, w: Vector) -> float:
        """Σ λ |w|; infinite outside of the box."""
        if np.any(w < self.lower) or np.any(w > self.upper):
            return float("inf")
        return inner(self.l1, np.abs(w))

    def prox(self, v: Vector, step: Vector | float) -> Vector:
        """The soft threshold of v, clipped: in one dimension the constrained minimum is the nearest point."""
        soft = np.sign(v) * np.maximum(np.abs(v) - step * self.l1, 0.0)
        return np.asarray(np.clip(soft, self.lower, self.upper))

    def residual(self, w: Vector, grad: Vector) -> Vector:
        """The point nearest to 0 of [a, b], the subgradients: open to one side at a bound."""
        a = np.where(w <= self.lower, -np.inf, grad + np.where(w > 0.0, self.l1, -self.l1))
        b = np.where(w >= self.upper, np.inf, grad + np.where(w < 0.0, -self.l1, self.l1))
        return np.asarray(np.clip(0.0, a, b))

    def face(self, w: Vector, residual: Vector) -> Face:
        """The orthant that w lies in or is about to enter, cut by the box; a weight of 0 knows no orthants."""
        sign = np.where(w != 0.0, np.sign(w), -np.sign(residual))
        plain = self.l1 == 0.0
        lower = np.where(plain | (sign < 0), self.lower, np.maximum(self.lower, 0.0))
        upper = np.where(plain | (sign > 0), self.upper, np.minimum(self.upper, 0.0))
        return Face(lower, upper, self.l1 * sign)

    def dual_norm(self, grad: Vector) -> float:
        """max |gⱼ|/λⱼ."""
        kinks = self.l1 > 0.0
        return float(np.max(np.abs(grad[kinks]) / self.l1[kinks], initial=0.0))


@dataclass(frozen=True, eq=False)
class Groups:
    """λ Σ √|G| ‖w_G‖: ``groups[i]`` is the group of parameter i; those after the last are in none."""

    strength: float
    groups: NDArray[np.int64]
    size: int
    roots: Vector | None = None
    """√|G| of each group; None for those of the parameters that are here."""

    name = "group lasso"

    def value(self, w: Vector) -> float:
        """λ Σ √|G| ‖w_G‖."""
        return inner(self._thresholds, self._lengths(w))

    def prox(self, v: Vector, step: Vector | float) -> Vector:
        """w_G = v_G max(0, 1 − t λ √|G| / ‖v_G‖); one step t for all."""
        if np.ndim(step):
            raise SpecError("the prox of a group lasso takes one step for all parameters")
        return self._shrink(v, float(step))

    def residual(self, w: Vector, grad: Vector) -> Vector:
        """g_G + λ √|G| w_G/‖w_G‖ where w_G is not zero; else g_G, shrunk by as much."""
        length = self._lengths(w)
        active = (length > 0.0)[self.groups]
        unit = (self._thresholds / np.where(length > 0.0, length, 1.0))[self.groups] * w[: len(self.groups)]
        out = self._shrink(grad, 1.0)
        out[: len(self.groups)] = np.where(active, grad[: len(self.groups)] + unit, out[: len(self.groups)])
        return out

    def face(self, w: Vector, residual: Vector) -> None:
        """None: a norm is linear in no box."""

    def dual_norm(self, grad: Vector) -> float:
        """max ‖g_G‖/(λ √|G|)."""
        return float(np.max(self._lengths(grad) / self._thresholds, initial=0.0))

    def _shrink(self, v: Vector, step: float) -> Vector:
        length = self._lengths(v)
        kept = np.maximum(1.0 - step * self._thresholds / np.where(length > 0.0, length, 1.0), 0.0)
        out = v.copy()
        out[: len(self.groups)] *= kept[self.groups]
        return out

    def _lengths(self, w: Vector) -> Vector:
        return np.sqrt(np.bincount(self.groups, w[: len(self.groups)] ** 2))

    @property
    def _thresholds(self) -> Vector:
        return self.strength * (np.sqrt(np.bincount(self.groups)) if self.roots is None else self.roots)
