"""What the losses of generalised linear models share: distributions and links (families.py, binomial.py)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from blockdot.errors import SpecError
from blockdot.objective.link import Link, quiet
from blockdot.objective.losses import Fault, Weights, first_fault
from blockdot.vectors import Vector


class Family(ABC):
    """A family with its link: a loss, and what is known of the distribution. ``lowest`` < μ < ``highest``."""

    outputs = None
    highest = math.inf

    def __post_init__(self) -> None:
        if not isinstance(self.link, Link):
            raise SpecError(
                f"link is {self.link!r}; needed a Link of blockdot.objective.links, as Log() or link_named('log')"
            )

    @property
    def lowest(self) -> float:
        """0."""
        return 0.0

    @property
    @abstractmethod
    def link(self) -> Link:
        """What μ depends on z by."""

    @abstractmethod
    def variance(self, mu: Vector) -> Vector:
        """V(μ)."""

    @abstractmethod
    def targets_start(self, y: Vector) -> Vector:
        """A mean to start from for each row: near y, and such that the link of it is finite."""

    @property
    @abstractmethod
    def self_concordance(self) -> float | None:
        """M, where there is one."""

    @property
    @abstractmethod
    def is_convex(self) -> bool:
        """Whether the loss is known to be convex in z."""

    @property
    @abstractmethod
    def _needed(self) -> str: ...

    @abstractmethod
    def _takes(self, y: Vector) -> NDArray[np.bool_]: ...

    @abstractmethod
    def _losses_and_slopes(self, y: Vector, z: Vector) -> tuple[Vector, Vector]: ...

    @abstractmethod
    def _curvatures(self, y: Vector, z: Vector) -> Vector: ...

    @abstractmethod
    def _half_deviance(self, y: Vector, mu: Vector) -> Vector: ...

    @quiet
    def value(self, y: Vector, z: Vector, s: Weights) -> float:
        """Σ s ℓ(y, z); ∞ where a row's z is outside of the domain."""
        losses, _ = self._losses_and_slopes(y, z)
        return total(losses, s)

    @quiet
    def value_and_grad(self, y: Vector, z: Vector, s: Weights) -> tuple[float, Vector]:
        """The value, and s dℓ/dz."""
        losses, slopes = self._losses_and_slopes(y, z)
        return total(losses, s), weighted(slopes, s)

    @quiet
    def hess_dot(self, y: Vector, z: Vector, s: Weights, u: Vector) -> Vector:
        """s d²ℓ/dz² u."""
        return weighted(self._curvatures(y, z), s) * u

    def predict(self, z: Vector) -> Vector:
        """μ."""
        return self.link.inverse(z)

    def check(self, y: Vector) -> Fault | None:
        """What y must be is in the table above."""
        return first_fault(y, np.isfinite(y) & self._takes(y), type(self).__name__, self._needed)

    def start_z(self, y_mean: float) -> float:
        """g(ȳ); of ``targets_start(ȳ)`` where ȳ is no mean of the family."""
        mean = np.array([y_mean])
        if not (max(self.lowest, self.link.lowest) < y_mean < min(self.highest, self.link.highest)):
            mean = self.targets_start(mean)
        return float(self.link.link(mean)[0])

    @quiet
    def information(self, z: Vector) -> Vector:
        """E d²ℓ/dz², which is μ′²/V(μ)."""
        return np.asarray(self.link.d1(z) ** 2 / self.variance(self.predict(z)))

    @quiet
    def pearson(self, y: Vector, z: Vector, s: Weights) -> float:
        """Σ s (y − μ)²/V(μ)."""
        mu = self.predict(z)
        return total((y - mu) ** 2 / self.variance(mu), s)

    @abstractmethod
    def loglik(self, y: Vector, z: Vector, s: Weights, dispersion: float = 1.0) -> float:
        """Σ s log f(y; μ, φ): a weight is so many rows."""

    def prior_loglik(self, y: Vector, z: Vector, s: Vector, dispersion: float = 1.0) -> float:
        """The same of weights that are the precision of one row, as R has it: of most families the same number."""
        return self.loglik(y, z, s, dispersion)

    def deviance_at(self, y: Vector, z: Vector, s: Weights) -> float:
        """The deviance of the means that z stands for."""
        return self.deviance(y, self.predict(z), s)

    @quiet
    def deviance(self, y: Vector, mu: Vector, s: Weights) -> float:
        """2 Σ s [log f(y; y) − log f(y; μ)], at dispersion 1: 0 for μ = y; ∞ for a μ that is no mean of the family."""
        inside = (self.lowest < mu) & (mu < self.highest)
        half = np.where(inside | (y == mu), np.maximum(self._half_deviance(y, mu), 0.0), np.inf)
        return 2.0 * total(half, s)


def times(y: Vector, v: Vector) -> Vector:
    """y v, and 0 for y = 0, even where v is infinite."""
    return np.where(y == 0.0, 0.0, y * v)


def relative_entropy(y: Vector, mu: Vector) -> Vector:
    """y log(y/μ) − y + μ, with 0 log 0 = 0."""
    from scipy.special import kl_div

    return np.asarray(kl_div(y, mu))


def weighted(v: Vector, s: Weights) -> Vector:
    """s v, and 0 for s = 0, even where v is infinite or NaN."""
    return s * v if isinstance(s, float) else np.where(s > 0.0, s * v, 0.0)


def total(losses: Vector, s: Weights) -> float:
    """Σ s ℓ, a NaN of which stands for a z outside of the domain."""
    return float(np.sum(weighted(np.where(np.isnan(losses), np.inf, losses), s)))
