"""Losses ℓ(y, z), pointwise in the raw prediction z, weighted by s.

    squared    ½ (y − z)²              prediction z        y real
    logistic   log(1 + eᶻ) − y z       prediction σ(z)     y in {0, 1}

A loss returns sums, never means: sums over blocks can be added, and the division by Σ s happens once, in the
objective. Nothing overflows at |z| = 1e4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from blockdot.vectors import Vector

Weights = Vector | float
"""One weight a row, or 1.0 for all."""


class Loss(Protocol):
    """A loss pointwise in z. Bring your own: any object with these four methods, picklable for a cluster.

    A convex loss may also have ``self_concordance``, an M with |ℓ‴| ≤ M ℓ″ in z: then fits report a bound on how far
    they are from the minimum (see certificate.py).
    """

    def value(self, y: Vector, z: Vector, s: Weights) -> float:
        """Σᵢ sᵢ ℓ(yᵢ, zᵢ)."""
        ...

    def value_and_grad(self, y: Vector, z: Vector, s: Weights) -> tuple[float, Vector]:
        """The value, and sᵢ ∂ℓ/∂zᵢ for each row."""
        ...

    def hess_dot(self, y: Vector, z: Vector, s: Weights, u: Vector) -> Vector:
        """sᵢ (∂²ℓ/∂zᵢ²) uᵢ for each row."""
        ...

    def predict(self, z: Vector) -> Vector:
        """The mean of y that z stands for."""
        ...


@dataclass(frozen=True)
class Squared:
    """½ (y − z)²."""

    self_concordance = 0.0

    def value(self, y: Vector, z: Vector, s: Weights) -> float:
        """½ Σ s (y − z)²."""
        return 0.5 * float(np.sum(s * (y - z) ** 2))

    def value_and_grad(self, y: Vector, z: Vector, s: Weights) -> tuple[float, Vector]:
        """The value, and s (z − y)."""
        r = z - y
        return 0.5 * float(np.sum(s * r**2)), s * r

    def hess_dot(self, y: Vector, z: Vector, s: Weights, u: Vector) -> Vector:  # noqa: ARG002
        """S u."""
        return s * u

    def predict(self, z: Vector) -> Vector:
        """The prediction is z."""
        return z


@dataclass(frozen=True)
class Logistic:
    """log(1 + eᶻ) − y z, with y in {0, 1}."""

    self_concordance = 1.0

    def value(self, y: Vector, z: Vector, s: Weights) -> float:
        """Σ s [log(1 + eᶻ) − y z], from e^−|z| so that no exponential overflows."""
        return float(np.sum(s * (np.log1p(np.exp(-np.abs(z))) + (np.maximum(z, 0.0) - y * z))))

    def value_and_grad(self, y: Vector, z: Vector, s: Weights) -> tuple[float, Vector]:
        """The value, and s (σ(z) − y)."""
        # a = min(1, eᶻ) and b = min(1, e⁻ᶻ), without a branch: one of them is 1, and σ(z) = a/(1 + ab)
        positive = np.maximum(z, 0.0)
        a, b = np.exp(z - positive), np.exp(-positive)
        e = a * b
        # σ(z) − y over a common denominator: no digits are lost where σ(z) is close to y
        residual = ((1.0 - y) * a - y * b) / (1.0 + e)
        return float(np.sum(s * (np.log1p(e) + (positive - y * z)))), s * residual

    def hess_dot(self, y: Vector, z: Vector, s: Weights, u: Vector) -> Vector:  # noqa: ARG002
        """S σ(z) (1 − σ(z)) u."""
        e = np.exp(-np.abs(z))
        return s * (e / (1.0 + e) ** 2) * u

    def predict(self, z: Vector) -> Vector:
        """σ(z), the probability of y = 1."""
        e = np.exp(-np.abs(z))
        return np.where(z >= 0, 1.0, e) / (1.0 + e)
