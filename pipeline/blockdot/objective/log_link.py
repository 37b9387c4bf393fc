"""Families of the variance V = μᵖ with the logarithmic link, in z: no mean is formed that could overflow.

    ℓ = e^{(2−p)z}/(2 − p) − y e^{(1−p)z}/(1 − p)
    dℓ/dz = e^{(2−p)z} − y e^{(1−p)z}
    d²ℓ/dz² = (2 − p) e^{(2−p)z} − (1 − p) y e^{(1−p)z}

    p = 1 (Poisson): ℓ = eᶻ − y z          p = 2 (gamma): ℓ = y e⁻ᶻ + z

Convex for 1 ≤ p ≤ 2, where |ℓ‴| ≤ max(2 − p, p − 1) ℓ″. What is beyond the numbers is ∞, never ∞ − ∞ or 0 · ∞; the
caller keeps NumPy from warning of it.
"""

from __future__ import annotations

import numpy as np

from blockdot.vectors import Vector


def losses_and_slopes(p: float, y: Vector, z: Vector) -> tuple[Vector, Vector]:
    """ℓ and dℓ/dz of each row."""
    if p == 1.0:
        mu = np.exp(z)
        return mu - y * z, mu - y
    if p == 2.0:
        ratio = y * np.exp(-z)
        return ratio + z, 1.0 - ratio
    lead, a, b = _leading(p, y, z)
    return lead * (a / (2.0 - p) - b / (1.0 - p)), lead * (a - b)


def curvatures(p: float, y: Vector, z: Vector) -> Vector:
    """d²ℓ/dz² of each row."""
    if p == 1.0:
        return np.exp(z)
    if p == 2.0:
        return y * np.exp(-z)
    lead, a, b = _leading(p, y, z)
    return lead * (a * (2.0 - p) - b * (1.0 - p))


def _leading(p: float, y: Vector, z: Vector) -> tuple[Vector, Vector, Vector]:
    """L, a and b, with L a = e^{(2−p)z} and L b = y e^{(1−p)z}: L is the larger power, and a and b do not overflow."""
    falling = np.exp(-np.abs(z))
    above = z >= 0.0
    first = above | (y == 0.0)
    lead = np.exp(np.where(first, 2.0 - p, 1.0 - p) * z)
    return lead, np.where(first, 1.0, falling), np.where(above, y * falling, y)
