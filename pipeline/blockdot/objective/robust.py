"""Piecewise quadratic losses: a line with a corner, the corner rounded.

    φ(m) = c m − ½ h c²,   c = clip(m/h, a, b)        ℓ(y, z) = φ(m(y, z))

    Huber                   m = z − y          a, b = −δ, δ       h = 1
    quantile                m = y − z          a, b = τ − 1, τ    h = smoothing
    hinge                   m = 1 − t z        a, b = 0, 1        h = smoothing     t = 2y − 1,  y in {0, 1}
    squared hinge           m = 1 − t z        a, b = 0, ∞        h = ½
    ε-insensitive           m = |y − z| − ε    a, b = 0, 1        h = smoothing
    squared ε-insensitive   m = |y − z| − ε    a, b = 0, ∞        h = ½

φ is the Moreau envelope, with parameter h, of ρ(m) = max(a m, b m): the quadratic m²/(2h) between m = a h and m = b h,
and lines of the slopes a and b outside of it. Its slope is c, and

    0 ≤ ρ(m) − φ(m) ≤ ½ h max(a², b²)

(Beck & Teboulle, *SIAM J. Optim.* 22 (2012)). So a smoothed loss is below the one it stands for by at most
its ``bias_bound``, and so are the minima. Huber's loss and the squared ones are what they say, without a bias.

The second derivative is 1/h within and 0 outside; at the two seams, where there is none, it is 1/h: an element of
Clarke's generalised Hessian.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from blockdot.errors import SpecError
from blockdot.objective.losses import Fault, Weights, first_fault
from blockdot.vectors import Vector


@dataclass(frozen=True)
class Corner:
    """φ: the slopes a = ``low`` and b = ``high`` on both sides of the corner, and the ``width`` h of its rounding."""

    low: float
    high: float
    width: float

    def near(self, m: Vector) -> Vector:
        """h c, the m nearest to m in [a h, b h]; not m/h, which can overflow."""
        return np.clip(m, self.low * self.width, self.high * self.width)

    def value(self, m: Vector, near: Vector) -> Vector:
        """φ(m)."""
        return near / self.width * (m - 0.5 * near)

    @property
    def bias(self) -> float:
        """½ h max(a², b²)."""
        return 0.5 * self.width * max(self.low**2, self.high**2)


class _Rounded(ABC):
    """φ of a margin m that moves with z at the rate of ±1."""

    outputs = None
    is_convex = True

    @property
    @abstractmethod
    def _corner(self) -> Corner: ...

    @abstractmethod
    def _margin(self, y: Vector, z: Vector) -> tuple[Vector, Weights]:
        """m, and ∂m/∂z."""

    def value(self, y: Vector, z: Vector, s: Weights) -> float:
        """Σ s φ(m)."""
        m, _ = self._margin(y, z)
        corner = self._corner
        return float(np.sum(s * corner.value(m, corner.near(m))))

    def value_and_grad(self, y: Vector, z: Vector, s: Weights) -> tuple[float, Vector]:
        """The value, and s c ∂m/∂z."""
        m, sign = self._margin(y, z)
        corner = self._corner
        near = corner.near(m)
        return float(np.sum(s * corner.value(m, near))), s * (near / corner.width * sign)

    def hess_dot(self, y: Vector, z: Vector, s: Weights, u: Vector) -> Vector:
        """s u/h between the seams, and 0 outside."""
        m, _ = self._margin(y, z)
        corner = self._corner
        within: NDArray[np.bool_] = corner.near(m) == m
        return s * (within / corner.width) * u

    def conjugate(self, y: Vector, u: Vector) -> Vector:
        """½ h u² + u y: φ*(c) = ½ h c² on [a, b], and z is y where m is 0."""
        return u * (0.5 * self._corner.width * u + y)

    def predict(self, z: Vector) -> Vector:
        """The prediction is z."""
        return z

    def check(self, y: Vector) -> Fault | None:
        """Any finite y will do."""
        return first_fault(y, np.isfinite(y), type(self).__name__, "finite numbers")


class _Smoothing(_Rounded):
    """A loss that is another one with its kink rounded."""

    def smoothed(self, width: float) -> Self:
        """The same with its corner rounded over another ``width``."""
        other: Self = replace(self, smoothing=width)  # type: ignore[type-var]
        return other

    @property
    def bias_bound(self) -> float:
        """½ h for slopes up to 1, ½ h max(τ, 1 − τ)² for the pinball loss: a row's loss is at most so far too low."""
        return self._corner.bias


@dataclass(frozen=True)
class Huber(_Rounded):
    """½ r² for |r| ≤ δ, δ (|r| − ½ δ) beyond; r = z − y.

    Huber, *Annals of Mathematical Statistics* 35 (1964), section 4. The default δ is 95 % efficient for normal
    errors of the variance 1.
    """

    delta: float = 1.35

    def __post_init__(self) -> None:
        _positive("delta", self.delta)

    @property
    def _corner(self) -> Corner:
        return Corner(-self.delta, self.delta, 1.0)

    def _margin(self, y: Vector, z: Vector) -> tuple[Vector, Weights]:
        return z - y, 1.0


@dataclass(frozen=True)
class Quantile(_Smoothing):
    """The pinball loss max(τ r, (τ − 1) r), r = y − z, its corner rounded over ``smoothing``, in units of y.

    A constant that minimises it without smoothing is a τ-quantile of y (Koenker & Bassett, *Econometrica* 46 (1978)).
    """

    quantile: float = 0.5
    smoothing: float = 0.01

    def __post_init__(self) -> None:
        if not 0.0 < self.quantile < 1.0:
            raise SpecError(f"quantile is {self.quantile!r}; needed a number between 0 and 1, neither of them")
        _positive("smoothing", self.smoothing)

    @property
    def _corner(self) -> Corner:
        return Corner(self.quantile - 1.0, self.quantile, self.smoothing)

    def _margin(self, y: Vector, z: Vector) -> tuple[Vector, Weights]:
        return y - z, -1.0


class _Classifying(_Rounded):
    """Of the margin 1 − t z, t = 2y − 1 = ±1: nothing is lost on rows on their side of t z = 1."""

    def _margin(self, y: Vector, z: Vector) -> tuple[Vector, Weights]:
        minus_t = 1.0 - 2.0 * y
        return 1.0 + minus_t * z, minus_t

    def conjugate(self, y: Vector, u: Vector) -> Vector:
        """½ h u² + u t."""
        return super().conjugate(2.0 * y - 1.0, u)

    def predict(self, z: Vector) -> Vector:
        """1 where z > 0, else 0; z itself is the score."""
        return (z > 0.0).astype(np.float64)

    def check(self, y: Vector) -> Fault | None:
        """Only 0 and 1 are classes."""
        return first_fault(y, (y == 0.0) | (y == 1.0), type(self).__name__, "0 or 1")


@dataclass(frozen=True)
class Hinge(_Classifying, _Smoothing):
    """The loss max(0, 1 − t z) of the support vector machine, its corner rounded over ``smoothing``."""

    smoothing: float = 0.01

    def __post_init__(self) -> None:
        _positive("smoothing", self.smoothing)

    @property
    def _corner(self) -> Corner:
        return Corner(0.0, 1.0, self.smoothing)


@dataclass(frozen=True)
class SquaredHinge(_Classifying):
    """max(0, 1 − t z)²."""

    @property
    def _corner(self) -> Corner:
        return Corner(0.0, math.inf, 0.5)


class _Tube(_Rounded):
    """Of the margin |y − z| − ε: nothing is lost on rows in a tube of that radius around y."""

    epsilon: float

    def __post_init__(self) -> None:
        _not_negative("epsilon", self.epsilon)

    def _margin(self, y: Vector, z: Vector) -> tuple[Vector, Weights]:
        r = z - y
        return np.abs(r) - self.epsilon, np.sign(r)

    def conjugate(self, y: Vector, u: Vector) -> Vector:
        """½ h u² + u y + ε |u|."""
        return super().conjugate(y, u) + self.epsilon * np.abs(u)


@dataclass(frozen=True)
class EpsilonInsensitive(_Tube, _Smoothing):
    """The loss max(0, |y − z| − ε) of support vector regression, its corners rounded over ``smoothing``."""

    epsilon: float = 0.0
    smoothing: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive("smoothing", self.smoothing)

    @property
    def _corner(self) -> Corner:
        return Corner(0.0, 1.0, self.smoothing)


@dataclass(frozen=True)
class SquaredEpsilonInsensitive(_Tube):
    """max(0, |y − z| − ε)²."""

    epsilon: float = 0.0

    @property
    def _corner(self) -> Corner:
        return Corner(0.0, math.inf, 0.5)


def _positive(name: str, number: float) -> None:
    if not (math.isfinite(number) and number > 0.0):
        raise SpecError(f"{name} is {number!r}; needed a finite number above 0")


def _not_negative(name: str, number: float) -> None:
    if not (math.isfinite(number) and number >= 0.0):
        raise SpecError(f"{name} is {number!r}; needed a finite number, at least 0")
