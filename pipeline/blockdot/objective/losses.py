"""Losses ℓ(y, z), pointwise in the raw prediction z, weighted by s.

    squared    ½ (y − z)²              prediction z        y real
    logistic   log(1 + eᶻ) − y z       prediction σ(z)     y in {0, 1}

More of them: families.py (generalised linear models), robust.py (piecewise quadratic), multiclass.py (K outputs).

A loss returns sums, never means: sums over blocks can be added, and the division by Σ s happens once, in the
objective. Nothing overflows at |z| = 1e4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.objective import logistic_kernel
from blockdot.vectors import Vector

Weights = Vector | float
"""One weight a row, or 1.0 for all."""


class Loss(Protocol):
    """A loss pointwise in z. Bring your own: any object with these four methods, picklable for a cluster.

    It may have more, which is used where it is there:

    outputs : int or None
        None, as without it: z is (n,). K: z, and with it the gradient and u, is (n, K).
    is_convex : bool
        Whether ℓ is convex in z: without that no fit reports a bound on how far it is from the minimum.
    self_concordance : float or None
        An M with |ℓ‴| ≤ M ℓ″ in z, for a convex loss: it makes that bound hold with an intercept (see certificate.py).
        None where there is no such constant.
    conjugate(y, u) -> array shaped as u
        ℓ*(y, u) = max_z u z − ℓ(y, z), for u between 0 and a slope of the loss: the same by duality (see duality.py).
    hess_diag(y, z, s) -> (n, K)
        The diagonal of a row's Hessian times s, for a loss that couples the outputs of a row; its ``hess_dot`` is then
        the product with a full matrix. Losses without it are pointwise in each of the outputs.
    check(y) -> Fault or None
        The first of the targets of some rows that the loss cannot take; None where all are good.
    start_z(y_mean) -> float
        The constant z that minimises the loss where the weighted mean of y is ``y_mean``, for losses of which the mean
        is all that matters; a finite z to start from where there is no such constant. Of K classes the mean is their
        shares, (K,), and so is z.
    bias_bound : float
        For a loss that smooths another one: how far below it a row's loss is, at most.
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


class Fault(NamedTuple):
    """A target that a loss cannot take: where in y, what it is, and what the loss needed."""

    place: tuple[int, ...]
    found: float
    needed: str

    def __str__(self) -> str:
        return f"y[{', '.join(map(str, self.place))}] is {self.found:g}: {self.needed}"


def first_fault(y: Vector, good: NDArray[np.bool_], loss: str, needed: str) -> Fault | None:
    """Where ``y`` first is not ``good``; None where all of it is."""
    if good.all():
        return None
    place = np.unravel_index(int(np.argmin(good)), y.shape)
    return Fault(tuple(map(int, place)), float(y[place]), f"{loss} needed {needed}")


@dataclass(frozen=True)
class Squared:
    """½ (y − z)²."""

    outputs = None
    is_convex = True
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

    def conjugate(self, y: Vector, u: Vector) -> Vector:
        """½ u² + u y."""
        return u * (0.5 * u + y)

    def predict(self, z: Vector) -> Vector:
        """The prediction is z."""
        return z

    def check(self, y: Vector) -> Fault | None:
        """Any finite y will do."""
        return first_fault(y, np.isfinite(y), "Squared", "finite numbers")

    def start_z(self, y_mean: float) -> float:
        """The mean."""
        return y_mean


@dataclass(frozen=True)
class Logistic:
    """log(1 + eᶻ) − y z, with y in {0, 1}."""

    outputs = None
    is_convex = True
    self_concordance = 1.0

    def value(self, y: Vector, z: Vector, s: Weights) -> float:
        """Σ s [log(1 + eᶻ) − y z], from e^−|z| so that no exponential overflows."""
        value: float = logistic_kernel.value_and_grad(_like(y, z), np.ravel(z), _weights(s, z), None)
        return value

    def value_and_grad(self, y: Vector, z: Vector, s: Weights) -> tuple[float, Vector]:
        """The value, and s (σ(z) − y)."""
        grad = np.empty(z.size)
        value = logistic_kernel.value_and_grad(_like(y, z), np.ravel(z), _weights(s, z), grad)
        return value, grad.reshape(z.shape)

    def hess_dot(self, y: Vector, z: Vector, s: Weights, u: Vector) -> Vector:  # noqa: ARG002
        """S σ(z) (1 − σ(z)) u."""
        product = np.empty(z.size)
        logistic_kernel.hess_dot(np.ravel(z), _weights(s, z), _like(u, z), product)
        return product.reshape(z.shape)

    def conjugate(self, y: Vector, u: Vector) -> Vector:
        """P log p + (1 − p) log(1 − p), p = u + y."""
        from scipy.special import xlogy

        p = np.clip(u + y, 0.0, 1.0)
        return np.asarray(xlogy(p, p) + xlogy(1.0 - p, 1.0 - p))

    def predict(self, z: Vector) -> Vector:
        """σ(z), the probability of y = 1."""
        e = np.exp(-np.abs(z))
        return np.where(z >= 0, 1.0, e) / (1.0 + e)

    def check(self, y: Vector) -> Fault | None:
        """Only 0 and 1 are classes."""
        return first_fault(y, (y == 0.0) | (y == 1.0), "Logistic", "0 or 1")

    def start_z(self, y_mean: float) -> float:
        """log(ȳ/(1 − ȳ)); 0 where all rows are of one class."""
        return math.log(y_mean / (1.0 - y_mean)) if 0.0 < y_mean < 1.0 else 0.0


def _like(y: Vector, z: Vector) -> Vector:
    """``y`` for each number of z, flat."""
    return np.ravel(y if y.shape == z.shape else np.broadcast_to(y, z.shape))


def _weights(s: Weights, z: Vector) -> Vector | None:
    return None if isinstance(s, float) and s == 1.0 else _like(np.asarray(s, np.float64), z)
