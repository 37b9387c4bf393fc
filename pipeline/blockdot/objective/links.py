"""Links g: how the mean μ of y and the raw prediction z belong together, z = g(μ).

    name              z = g(μ)             μ             z
    identity          μ                    any           any
    log               log μ                μ > 0         any
    logit             log(μ/(1 − μ))       0 < μ < 1     any
    probit            Φ⁻¹(μ)               0 < μ < 1     any
    cloglog           log(−log(1 − μ))     0 < μ < 1     any
    inverse           1/μ                  μ ≠ 0         z ≠ 0
    inverse-squared   1/μ²                 μ > 0         z > 0
    power(p)          μᵖ, log μ for p = 0  μ > 0         z > 0 (any for p = 0 and p = 1)

McCullagh & Nelder, *Generalized Linear Models*, 2nd ed. (1989), sections 2.2.3 and 4.3. Each link has the inverse μ(z)
and its two derivatives d1 = dμ/dz and d2 = d²μ/dz². A z outside of the domain gives NaN, one beyond the numbers ∞ or 0,
and neither a warning.

A share y of successes needs more: log μ and log(1 − μ), the logarithms of the two tails, and their derivatives. Where μ
is 1 to rounding they still have all their digits.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from blockdot.errors import SpecError
from blockdot.objective.link import Link, Tails, quiet
from blockdot.vectors import Vector

_ROOT_2 = math.sqrt(2.0)
_ROOT_2_PI = math.sqrt(2.0 * math.pi)


@dataclass(frozen=True)
class Identity(Link):
    """z = μ."""

    name = "identity"
    lowest = -math.inf

    def link(self, mu: Vector) -> Vector:
        """μ."""
        return mu

    def inverse(self, z: Vector) -> Vector:
        """z."""
        return z

    def d1(self, z: Vector) -> Vector:
        """1."""
        return np.ones_like(z)

    def d2(self, z: Vector) -> Vector:
        """0."""
        return np.zeros_like(z)


@dataclass(frozen=True)
class Log(Link):
    """z = log μ."""

    name = "log"

    @quiet
    def link(self, mu: Vector) -> Vector:
        """log μ."""
        return np.log(mu)

    @quiet
    def inverse(self, z: Vector) -> Vector:
        """eᶻ."""
        return np.exp(z)

    def d1(self, z: Vector) -> Vector:
        """eᶻ."""
        return self.inverse(z)

    def d2(self, z: Vector) -> Vector:
        """eᶻ."""
        return self.inverse(z)

    @quiet
    def log_tails(self, z: Vector) -> Tails:
        """z and log(1 − eᶻ)."""
        z = np.where(z < 0.0, z, np.nan)
        return z, _log_of_rest(z)

    @quiet
    def log_tails_d1(self, z: Vector) -> Tails:
        """1 and −eᶻ/(1 − eᶻ)."""
        odds = self._odds(z)
        return np.ones_like(z), -odds

    @quiet
    def log_tails_d2(self, z: Vector) -> Tails:
        """0 and −eᶻ/(1 − eᶻ)²."""
        odds = self._odds(z)
        return np.zeros_like(z), -odds * (1.0 + odds)

    def _odds(self, z: Vector) -> Vector:
        """μ/(1 − μ)."""
        return 1.0 / np.expm1(-np.where(z < 0.0, z, np.nan))


@dataclass(frozen=True)
class Logit(Link):
    """z = log(μ/(1 − μ)), the canonical link of a share."""

    name = "logit"
    highest = 1.0

    @quiet
    def link(self, mu: Vector) -> Vector:
        """log(μ/(1 − μ))."""
        return np.log(mu) - np.log1p(-mu)

    def inverse(self, z: Vector) -> Vector:
        """σ(z), from e^−|z| so that nothing overflows."""
        e = np.exp(-np.abs(z))
        return np.where(z >= 0.0, 1.0, e) / (1.0 + e)

    def d1(self, z: Vector) -> Vector:
        """σ(z) (1 − σ(z))."""
        e = np.exp(-np.abs(z))
        return e / (1.0 + e) ** 2

    def d2(self, z: Vector) -> Vector:
        """d1 (1 − 2σ(z))."""
        return -self.d1(z) * np.tanh(0.5 * z)

    def log_tails(self, z: Vector) -> Tails:
        """log σ(z) and log σ(−z)."""
        return -np.logaddexp(0.0, -z), -np.logaddexp(0.0, z)

    def log_tails_d1(self, z: Vector) -> Tails:
        """σ(−z) and −σ(z)."""
        return self.inverse(-z), -self.inverse(z)

    def log_tails_d2(self, z: Vector) -> Tails:
        """−d1, both."""
        d1 = self.d1(z)
        return -d1, -d1


@dataclass(frozen=True)
class Probit(Link):
    """z = Φ⁻¹(μ), Φ the distribution function of a standard normal variable."""

    name = "probit"
    highest = 1.0

    def link(self, mu: Vector) -> Vector:
        """Φ⁻¹(μ)."""
        from scipy.special import ndtri

        return np.asarray(ndtri(mu))

    def inverse(self, z: Vector) -> Vector:
        """Φ(z)."""
        from scipy.special import ndtr

        return np.asarray(ndtr(z))

    def d1(self, z: Vector) -> Vector:
        """φ(z), the normal density."""
        return np.exp(-0.5 * z**2) / _ROOT_2_PI

    def d2(self, z: Vector) -> Vector:
        """−z φ(z)."""
        return -z * self.d1(z)

    def log_tails(self, z: Vector) -> Tails:
        """log Φ(z) and log Φ(−z)."""
        from scipy.special import log_ndtr

        return np.asarray(log_ndtr(z)), np.asarray(log_ndtr(-z))

    def log_tails_d1(self, z: Vector) -> Tails:
        """λ(z) and −λ(−z)."""
        return _mills(z), -_mills(-z)

    def log_tails_d2(self, z: Vector) -> Tails:
        """−λ(z) (λ(z) + z) and −λ(−z) (λ(−z) − z)."""
        up, down = _mills(z), _mills(-z)
        return -up * (up + z), -down * (down - z)


def _mills(z: Vector) -> Vector:
    """λ = φ/Φ, the inverse of Mills' ratio, by the scaled complementary error function: exact in both tails."""
    from scipy.special import erfcx

    return 2.0 / (_ROOT_2_PI * np.asarray(erfcx(-z / _ROOT_2)))


@dataclass(frozen=True)
class CLogLog(Link):
    """z = log(−log(1 − μ)): t = eᶻ is the rate at which something happens that is then seen to have happened, or not.

    log μ = log(1 − e⁻ᵗ), with a = (log μ)′ = t/(eᵗ − 1) and a′ = a (1 − t − a).
    """

    name = "cloglog"
    highest = 1.0

    @quiet
    def link(self, mu: Vector) -> Vector:
        """log(−log(1 − μ))."""
        return np.log(-np.log1p(-mu))

    def inverse(self, z: Vector) -> Vector:
        """1 − e⁻ᵗ."""
        return -np.expm1(-self._rate(z))

    def d1(self, z: Vector) -> Vector:
        """t e⁻ᵗ."""
        t = self._rate(z)
        return t * np.exp(-t)

    def d2(self, z: Vector) -> Vector:
        """t (1 − t) e⁻ᵗ."""
        t = self._rate(z)
        return t * (1.0 - t) * np.exp(-t)

    @quiet
    def log_tails(self, z: Vector) -> Tails:
        """log(1 − e⁻ᵗ), which is z where t is tiny, and −t."""
        t = np.exp(z)
        return np.where(z < -40.0, z, _log_of_rest(-t)), -t

    @quiet
    def log_tails_d1(self, z: Vector) -> Tails:
        """a and −t."""
        t, a = self._hazard(z)
        return a, -t

    @quiet
    def log_tails_d2(self, z: Vector) -> Tails:
        """a′ and −t."""
        t, a = self._hazard(z)
        # 1 − t − a cancels for a small t, where it is −t/2 − t²/12 + …
        bend = np.where(t < 1e-3, -t * (0.5 + t / 12.0), 1.0 - t - a)
        return np.where(a == 0.0, 0.0, a * bend), -t

    def _rate(self, z: Vector) -> Vector:
        # where t is above e¹⁰, e⁻ᵗ is 0
        return np.exp(np.minimum(z, 10.0))

    def _hazard(self, z: Vector) -> Tails:
        t = np.exp(z)
        some = np.maximum(t, np.finfo(np.float64).tiny)  # 0/0 is 1 here
        return t, np.where(t < 700.0, some / np.expm1(some), 0.0)


@dataclass(frozen=True)
class Inverse(Link):
    """z = 1/μ, the canonical link of the gamma family."""

    name = "inverse"

    @quiet
    def link(self, mu: Vector) -> Vector:
        """1/μ."""
        return 1.0 / mu

    def inverse(self, z: Vector) -> Vector:
        """1/z."""
        return 1.0 / np.where(z == 0.0, np.nan, z)

    def d1(self, z: Vector) -> Vector:
        """−1/z²."""
        return -(self.inverse(z) ** 2)

    def d2(self, z: Vector) -> Vector:
        """2/z³."""
        return 2.0 * self.inverse(z) ** 3


@dataclass(frozen=True)
class Power(Link):
    """z = μᵖ, and log μ for p = 0."""

    power: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.power):
            raise SpecError(f"the power of a link is {self.power!r}; needed a finite number (0 for the logarithm)")

    @property
    def name(self) -> str:
        """power(p)."""
        return f"power({self.power:g})"

    @quiet
    def link(self, mu: Vector) -> Vector:
        """μᵖ."""
        return np.log(mu) if self.power == 0.0 else np.power(self._inside(mu), self.power)

    def inverse(self, z: Vector) -> Vector:
        """z^(1/p)."""
        return self._derivative(z, 0)

    def d1(self, z: Vector) -> Vector:
        """z^(1/p − 1) / p."""
        return self._derivative(z, 1)

    def d2(self, z: Vector) -> Vector:
        """(1/p − 1) z^(1/p − 2) / p."""
        return self._derivative(z, 2)

    @quiet
    def _derivative(self, z: Vector, order: int) -> Vector:
        if self.power == 0.0:
            return np.exp(z)
        exponent = 1.0 / self.power
        factor = (1.0, exponent, exponent * (exponent - 1.0))[order]
        if factor == 0.0:  # the identity
            return np.zeros_like(z)
        return factor * np.power(self._inside(z), exponent - order)

    def _inside(self, values: Vector) -> Vector:
        # the identity alone has no edge at 0
        return values if self.power == 1.0 else np.where(values > 0.0, values, np.nan)


@dataclass(frozen=True)
class InverseSquared(Power):
    """z = 1/μ², the canonical link of the inverse Gaussian family."""

    power: float = field(default=-2.0, init=False)
    name = "inverse-squared"


def _log_of_rest(x: Vector) -> Vector:
    """log(1 − eˣ) for x < 0, on either side of −log 2 by what keeps the digits (Mächler 2012)."""
    return np.where(x < -math.log(2.0), np.log1p(-np.exp(x)), np.log(-np.expm1(x)))


LINKS: dict[str, Link] = {
    link.name: link for link in (Identity(), Log(), Logit(), Probit(), CLogLog(), Inverse(), InverseSquared())
}


def link_named(name: str) -> Link:
    """The link called ``name``, as in the table above, or ``power(p)``; SpecError for one that is not known."""
    if name in LINKS:
        return LINKS[name]
    if name.startswith("power(") and name.endswith(")"):
        with suppress(ValueError):
            return Power(float(name[len("power(") : -1]))
    raise SpecError(f"link is {name!r}; needed one of {', '.join(LINKS)}, or power(p) with a number p")
