"""Losses of generalised linear models: half the unit deviance of a family, its mean μ given by a link, z = g(μ).

    family             variance V(μ)    ℓ, less what depends on y alone        y
    Gaussian           1                ½ (y − μ)²                             any
    Poisson            μ                μ − y log μ                            y ≥ 0
    Gamma              μ²               y/μ + log μ                            y > 0
    inverse Gaussian   μ³               y/(2μ²) − 1/μ                          y > 0
    Tweedie(p)         μᵖ               μ²⁻ᵖ/(2 − p) − y μ¹⁻ᵖ/(1 − p)          any; ≥ 0 for 1 ≤ p < 2; > 0 for p ≥ 2
    binomial           μ (1 − μ)        −y log μ − (1 − y) log(1 − μ)          0 ≤ y ≤ 1

    dℓ/dz = (μ − y)/V(μ) μ′          d²ℓ/dz² = [1/V − (μ − y) V′/V²] μ′² + (μ − y)/V μ″

(McCullagh & Nelder, *Generalized Linear Models*, 2nd ed. (1989), sections 2.2 and 2.5; Jørgensen, *J. R. Stat. Soc. B*
49 (1987), for Tweedie's.) The second derivative is the observed one, not its expectation: it is negative in places
where the link is not the canonical one. The logarithmic link has its own formulas in z (log_link.py), and the binomial
family those of both tails (links.py).

A z that stands for no mean of the family has the loss ∞ and no derivative (NaN). A row of weight 0 counts for nothing
wherever its z is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockdot.errors import SpecError
from blockdot.objective import log_link
from blockdot.objective.links import Identity, Link, Log, Logit, Power, quiet
from blockdot.objective.losses import Fault, Logistic, Weights, first_fault
from blockdot.vectors import Vector

_IDENTITY, _LOG, _LOGIT = Identity(), Log(), Logit()
_LOGISTIC = Logistic()


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
        return _total(losses, s)

    @quiet
    def value_and_grad(self, y: Vector, z: Vector, s: Weights) -> tuple[float, Vector]:
        """The value, and s dℓ/dz."""
        losses, slopes = self._losses_and_slopes(y, z)
        return _total(losses, s), _weighted(slopes, s)

    @quiet
    def hess_dot(self, y: Vector, z: Vector, s: Weights, u: Vector) -> Vector:
        """s d²ℓ/dz² u."""
        return _weighted(self._curvatures(y, z), s) * u

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
    def deviance(self, y: Vector, mu: Vector, s: Weights) -> float:
        """2 Σ s [log f(y; y) − log f(y; μ)], at dispersion 1: 0 for μ = y; ∞ for a μ that is no mean of the family."""
        inside = (self.lowest < mu) & (mu < self.highest)
        half = np.where(inside | (y == mu), np.maximum(self._half_deviance(y, mu), 0.0), np.inf)
        return 2.0 * _total(half, s)


class _PowerFamily(Family):
    """V = μᵖ, p = ``power``."""

    @property
    @abstractmethod
    def power(self) -> float:
        """p."""

    @property
    def lowest(self) -> float:
        """0; −∞ for p = 0, a normal mean."""
        return 0.0 if self.power else -math.inf

    def variance(self, mu: Vector) -> Vector:
        """μᵖ."""
        return np.power(mu, self.power)

    def variance_slope(self, mu: Vector) -> Vector:
        """V′, p μᵖ⁻¹."""
        if self.power == 0.0:  # and not 0 times 1/μ, which is not a number at μ = 0
            return np.zeros_like(mu)
        return self.power * np.power(mu, self.power - 1.0)

    def targets_start(self, y: Vector) -> Vector:
        """y; 0.1 above it where y may be 0; into the middle of (0, 1) for a link that takes shares only."""
        if self.link.highest == 1.0:
            return 0.5 * np.clip(y, 0.0, 1.0) + 0.25
        if self.power >= 2.0:
            return y
        if self.power >= 1.0:
            return y + 0.1
        return y if max(self.lowest, self.link.lowest) < 0.0 else np.where(y > 0.0, y, 0.1)

    @property
    def self_concordance(self) -> float | None:
        """max(2 − p, p − 1) for 1 ≤ p ≤ 2 with the logarithmic link; 0 for least squares."""
        if self.power == 0.0 and isinstance(self.link, Identity):
            return 0.0
        convex = 1.0 <= self.power <= 2.0 and _is_log(self.link)
        return max(2.0 - self.power, self.power - 1.0) if convex else None

    @property
    def _needed(self) -> str:
        if self.power >= 2.0:
            return "numbers above 0"
        return "numbers, at least 0" if self.power >= 1.0 else "finite numbers"

    def _takes(self, y: Vector) -> NDArray[np.bool_]:
        if self.power >= 2.0:
            return y > 0.0
        return y >= 0.0 if self.power >= 1.0 else np.ones(y.shape, np.bool_)

    def _losses_and_slopes(self, y: Vector, z: Vector) -> tuple[Vector, Vector]:
        if _is_log(self.link) and self.power != 0.0:
            return log_link.losses_and_slopes(self.power, y, z)
        mu = self._mean(z)
        return self._losses(y, mu), (mu - y) / self.variance(mu) * self.link.d1(z)

    def _curvatures(self, y: Vector, z: Vector) -> Vector:
        if _is_log(self.link) and self.power != 0.0:
            return log_link.curvatures(self.power, y, z)
        mu, d1 = self._mean(z), self.link.d1(z)
        v, r = self.variance(mu), mu - y
        return ((1.0 - r * self.variance_slope(mu) / v) * d1**2 + r * self.link.d2(z)) / v

    def _mean(self, z: Vector) -> Vector:
        """μ, NaN where it is no mean of the family."""
        mu = self.link.inverse(z)
        return np.where((self.lowest < mu) & (mu < self.highest), mu, np.nan)

    def _losses(self, y: Vector, mu: Vector) -> Vector:
        p = self.power
        if p == 0.0:
            return 0.5 * (y - mu) ** 2
        if p == 1.0:
            return mu - y * np.log(mu)
        if p == 2.0:
            return y / mu + np.log(mu)
        return np.power(mu, 2.0 - p) / (2.0 - p) - _times(y, np.power(mu, 1.0 - p)) / (1.0 - p)

    def _half_deviance(self, y: Vector, mu: Vector) -> Vector:
        p = self.power
        if p == 0.0:
            return 0.5 * (y - mu) ** 2
        if p == 1.0:
            return _relative_entropy(y, mu)
        if p == 2.0:
            r = (y - mu) / mu
            return r - np.log1p(r)
        if p == 3.0:
            return 0.5 * (y - mu) ** 2 / (y * mu**2)
        of_y = np.power(np.maximum(y, 0.0), 2.0 - p) / ((1.0 - p) * (2.0 - p))
        return of_y + self._losses(y, mu)


@dataclass(frozen=True)
class Gaussian(_PowerFamily):
    """Normal targets of constant variance. ``self_concordance`` and convexity: with the identity only."""

    link: Link = _IDENTITY

    power = 0.0

    @quiet
    def loglik(self, y: Vector, mu: Vector, s: Weights, dispersion: float = 1.0) -> float:
        """Σ s log f(y; μ, φ), the dispersion φ the variance."""
        return -_total(0.5 * ((y - mu) ** 2 / dispersion + math.log(2.0 * math.pi * dispersion)), s)


@dataclass(frozen=True)
class Poisson(_PowerFamily):
    """Counts; or rates, with the exposures as weights."""

    link: Link = _LOG

    power = 1.0
    _needed = "counts, at least 0"

    @quiet
    def loglik(self, y: Vector, mu: Vector, s: Weights, dispersion: float = 1.0) -> float:  # noqa: ARG002
        """Σ s log f(y; μ); the dispersion is 1, whatever was estimated."""
        from scipy.special import gammaln, xlogy

        return -_total(np.asarray(mu - xlogy(y, mu) + gammaln(y + 1.0)), s)


@dataclass(frozen=True)
class Gamma(_PowerFamily):
    """Positive targets of constant coefficient of variation."""

    link: Link = _LOG

    power = 2.0

    @quiet
    def loglik(self, y: Vector, mu: Vector, s: Weights, dispersion: float = 1.0) -> float:
        """Σ s log f(y; μ, φ), with the shape k = 1/φ and the scale μ/k."""
        from scipy.special import gammaln

        k = 1.0 / dispersion
        return -_total(k * (y / mu - np.log(k * y / mu)) + np.log(y) + float(gammaln(k)), s)


@dataclass(frozen=True)
class InverseGaussian(_PowerFamily):
    """Positive targets of variance φ μ³: first passage times. With the logarithmic link the loss is not convex."""

    link: Link = _LOG

    power = 3.0

    @quiet
    def loglik(self, y: Vector, mu: Vector, s: Weights, dispersion: float = 1.0) -> float:
        """Σ s log f(y; μ, φ), with the shape λ = 1/φ."""
        spread = np.log(2.0 * math.pi * dispersion * y**3)
        return -_total(0.5 * ((y - mu) ** 2 / (dispersion * y * mu**2) + spread), s)


@dataclass(frozen=True)
class Tweedie(_PowerFamily):
    """V = μᵖ: sums of gamma variables, a Poisson number of them, for 1 < p < 2, and the families above in between.

    p = 0, 1, 2 and 3 are the Gaussian, Poisson, gamma and inverse Gaussian families. There is none for 0 < p < 1.
    """

    power: float = 1.5
    link: Link = _LOG

    def __post_init__(self) -> None:
        if not math.isfinite(self.power) or 0.0 < self.power < 1.0:
            raise SpecError(
                f"power is {self.power!r}; needed a finite number, at most 0 or at least 1: "
                "no distribution has a variance of a power in between"
            )
        super().__post_init__()


@dataclass(frozen=True)
class Binomial(Family):
    """Shares of successes, with the numbers of trials as weights; 0 and 1 for one trial a row."""

    link: Link = _LOGIT

    highest = 1.0
    _needed = "shares, 0 to 1"

    def value(self, y: Vector, z: Vector, s: Weights) -> float:
        """Σ s ℓ(y, z)."""
        return _LOGISTIC.value(y, z, s) if self._is_logistic else super().value(y, z, s)

    def value_and_grad(self, y: Vector, z: Vector, s: Weights) -> tuple[float, Vector]:
        """The value, and s dℓ/dz."""
        return _LOGISTIC.value_and_grad(y, z, s) if self._is_logistic else super().value_and_grad(y, z, s)

    def hess_dot(self, y: Vector, z: Vector, s: Weights, u: Vector) -> Vector:
        """s d²ℓ/dz² u."""
        return _LOGISTIC.hess_dot(y, z, s, u) if self._is_logistic else super().hess_dot(y, z, s, u)

    def variance(self, mu: Vector) -> Vector:
        """μ (1 − μ)."""
        return mu * (1.0 - mu)

    def targets_start(self, y: Vector) -> Vector:
        """Halfway between y and ½."""
        return 0.5 * y + 0.25

    @quiet
    def loglik(self, y: Vector, mu: Vector, s: Weights, dispersion: float = 1.0) -> float:  # noqa: ARG002
        """Σ s [y log μ + (1 − y) log(1 − μ)]: of the trials in their order, without the binomial coefficient."""
        return -_total(_times(y, -np.log(mu)) + _times(1.0 - y, -np.log1p(-mu)), s)

    @property
    def self_concordance(self) -> float | None:
        """1 with the logit, otherwise none."""
        return _LOGISTIC.self_concordance if self._is_logistic else None

    @property
    def _is_logistic(self) -> bool:
        return isinstance(self.link, Logit)

    def _takes(self, y: Vector) -> NDArray[np.bool_]:
        return (y >= 0.0) & (y <= 1.0)

    def _losses_and_slopes(self, y: Vector, z: Vector) -> tuple[Vector, Vector]:
        return _blend(y, self.link.log_tails(z)), _blend(y, self.link.log_tails_d1(z))

    def _curvatures(self, y: Vector, z: Vector) -> Vector:
        return _blend(y, self.link.log_tails_d2(z))

    def _half_deviance(self, y: Vector, mu: Vector) -> Vector:
        return _relative_entropy(y, mu) + _relative_entropy(1.0 - y, 1.0 - mu)


def _blend(y: Vector, tails: tuple[Vector, Vector]) -> Vector:
    """−y up − (1 − y) down."""
    up, down = tails
    return _times(y, -up) + _times(1.0 - y, -down)


def _times(y: Vector, v: Vector) -> Vector:
    """y v, and 0 for y = 0, even where v is infinite."""
    return np.where(y == 0.0, 0.0, y * v)


def _relative_entropy(y: Vector, mu: Vector) -> Vector:
    """y log(y/μ) − y + μ, with 0 log 0 = 0."""
    from scipy.special import kl_div

    return np.asarray(kl_div(y, mu))


def _weighted(v: Vector, s: Weights) -> Vector:
    """s v, and 0 for s = 0, even where v is infinite or NaN."""
    return s * v if isinstance(s, float) else np.where(s > 0.0, s * v, 0.0)


def _total(losses: Vector, s: Weights) -> float:
    """Σ s ℓ, a NaN of which stands for a z outside of the domain."""
    return float(np.sum(_weighted(np.where(np.isnan(losses), np.inf, losses), s)))


def _is_log(link: Link) -> bool:
    return isinstance(link, Log) or (isinstance(link, Power) and link.power == 0.0)
