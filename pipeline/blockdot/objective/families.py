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
family those of both tails (binomial.py, links.py).

A z that stands for no mean of the family has the loss ∞ and no derivative (NaN). A row of weight 0 counts for nothing
wherever its z is.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockdot.errors import SpecError
from blockdot.objective import log_link
from blockdot.objective.family import Family, relative_entropy, times, total
from blockdot.objective.link import Link, quiet
from blockdot.objective.links import Identity, Inverse, Log, Power
from blockdot.objective.losses import Weights
from blockdot.vectors import Vector

_IDENTITY, _LOG = Identity(), Log()


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
    def is_convex(self) -> bool:
        """With the canonical link, z = μ¹⁻ᵖ; with the logarithm for 1 ≤ p ≤ 2; and μ − y log μ in μ itself."""
        if _is_log(self.link):
            return 1.0 <= self.power <= 2.0
        if isinstance(self.link, Identity):
            return self.power in (0.0, 1.0)
        canonical = -1.0 if isinstance(self.link, Inverse) else getattr(self.link, "power", None)
        return canonical is not None and math.isclose(canonical, 1.0 - self.power)

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
        return np.power(mu, 2.0 - p) / (2.0 - p) - times(y, np.power(mu, 1.0 - p)) / (1.0 - p)

    def _half_deviance(self, y: Vector, mu: Vector) -> Vector:
        p = self.power
        if p == 0.0:
            return 0.5 * (y - mu) ** 2
        if p == 1.0:
            return relative_entropy(y, mu)
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
    def loglik(self, y: Vector, z: Vector, s: Weights, dispersion: float = 1.0) -> float:
        """Σ s log f(y; μ, φ), the dispersion φ the variance."""
        square = (y - self.predict(z)) ** 2 / dispersion
        return -total(0.5 * (square + math.log(2.0 * math.pi * dispersion)), s)

    def prior_loglik(self, y: Vector, z: Vector, s: Vector, dispersion: float = 1.0) -> float:
        """Σ log f(y; μ, φ/s), over the rows with a weight."""
        counted = s[s > 0.0]
        whole = self.loglik(y, z, s, dispersion)  # as if a weight were so many rows, each with the spread log 2πφ
        return whole + 0.5 * float(np.sum((counted - 1.0) * math.log(2.0 * math.pi * dispersion) + np.log(counted)))


@dataclass(frozen=True)
class Poisson(_PowerFamily):
    """Counts; or rates, with the exposures as weights."""

    link: Link = _LOG

    power = 1.0
    _needed = "counts, at least 0"

    @property
    def conjugate(self) -> Callable[[Vector, Vector], Vector] | None:
        """Μ log μ − μ, μ = u + y, of the logarithmic link; None for others."""
        return _poisson_conjugate if _is_log(self.link) else None

    @quiet
    def loglik(self, y: Vector, z: Vector, s: Weights, dispersion: float = 1.0) -> float:  # noqa: ARG002
        """Σ s log f(y; μ); the dispersion is 1, whatever was estimated."""
        from scipy.special import gammaln, xlogy

        mu = self.predict(z)
        return -total(np.asarray(mu - xlogy(y, mu) + gammaln(y + 1.0)), s)


@dataclass(frozen=True)
class Gamma(_PowerFamily):
    """Positive targets of constant coefficient of variation."""

    link: Link = _LOG

    power = 2.0

    @quiet
    def loglik(self, y: Vector, z: Vector, s: Weights, dispersion: float = 1.0) -> float:
        """Σ s log f(y; μ, φ), with the shape k = 1/φ and the scale μ/k."""
        from scipy.special import gammaln

        k, mu = 1.0 / dispersion, self.predict(z)
        return -total(k * (y / mu - np.log(k * y / mu)) + np.log(y) + float(gammaln(k)), s)


@dataclass(frozen=True)
class InverseGaussian(_PowerFamily):
    """Positive targets of variance φ μ³: first passage times. With the logarithmic link the loss is not convex."""

    link: Link = _LOG

    power = 3.0

    @quiet
    def loglik(self, y: Vector, z: Vector, s: Weights, dispersion: float = 1.0) -> float:
        """Σ s log f(y; μ, φ), with the shape λ = 1/φ."""
        mu = self.predict(z)
        spread = np.log(2.0 * math.pi * dispersion * y**3)
        return -total(0.5 * ((y - mu) ** 2 / (dispersion * y * mu**2) + spread), s)


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

    def loglik(self, y: Vector, z: Vector, s: Weights, dispersion: float = 1.0) -> float:
        """Σ s log f(y; μ, φ).

        NaN for p < 0 and p > 2, but for p = 3, and for p = 1: counts whose variance is φ μ have no likelihood.
        """
        named = self._named
        if named is not None:
            return named.loglik(y, z, s, dispersion)
        s = np.broadcast_to(np.asarray(s, np.float64), y.shape)
        kept = s > 0.0
        return float(np.sum(s[kept] * self._logs(y[kept], z[kept], np.full(len(y), dispersion)[kept])))

    def prior_loglik(self, y: Vector, z: Vector, s: Vector, dispersion: float = 1.0) -> float:
        """Σ log f(y; μ, φ/s), over the rows with a weight."""
        named = self._named
        if named is not None:
            return named.prior_loglik(y, z, s, dispersion)
        kept = s > 0.0
        return float(np.sum(self._logs(y[kept], z[kept], dispersion / s[kept])))

    @property
    def _named(self) -> Gaussian | Gamma | InverseGaussian | None:
        kind = _NAMED.get(self.power)
        return None if kind is None else kind(self.link)

    def _logs(self, y: Vector, z: Vector, phi: Vector) -> Vector:
        """Log f(y; μ, φ) of each row."""
        if not 1.0 < self.power < 2.0:
            return np.full(len(y), np.nan)
        if not np.all(phi > 0.0):
            return np.full(len(y), np.inf)
        from blockdot.objective import tweedie_density

        return tweedie_density.log_density(y, self.predict(z), phi, self.power)


_NAMED: dict[float, type[Gaussian | Gamma | InverseGaussian]] = {0.0: Gaussian, 2.0: Gamma, 3.0: InverseGaussian}


def _poisson_conjugate(y: Vector, u: Vector) -> Vector:
    from scipy.special import xlogy

    mu = np.maximum(u + y, 0.0)
    return np.asarray(xlogy(mu, mu) - mu)


def _is_log(link: Link) -> bool:
    return isinstance(link, Log) or (isinstance(link, Power) and link.power == 0.0)
