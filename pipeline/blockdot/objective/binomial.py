"""The loss of shares of successes: of the binomial family, by the logarithms of both tails of its link.

    ℓ = −y log μ − (1 − y) log(1 − μ),       V(μ) = μ (1 − μ),       0 ≤ y ≤ 1

What log μ and log(1 − μ) say is finite where μ is 0 or 1 to rounding. With the logit it is the logistic loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockdot.objective.family import Family, relative_entropy, times, total
from blockdot.objective.link import Link, quiet
from blockdot.objective.links import CLogLog, Logit, Probit
from blockdot.objective.losses import Logistic, Weights
from blockdot.vectors import Vector

_LOGIT, _LOGISTIC = Logit(), Logistic()


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
    def information(self, z: Vector) -> Vector:
        """μ′²/(μ (1 − μ)), from both tails: finite where μ is 0 or 1 to rounding."""
        up, down = self.link.log_tails_d1(z)
        return -up * down

    @quiet
    def pearson(self, y: Vector, z: Vector, s: Weights) -> float:
        """Σ s (y − μ)²/(μ (1 − μ)) = Σ s [y² (1 − μ)/μ − 2 y (1 − y) + (1 − y)² μ/(1 − μ)]."""
        up, down = self.link.log_tails(z)
        parts = times(y, y * np.exp(down - up)) + times(1.0 - y, (1.0 - y) * np.exp(up - down))
        return total(parts - 2.0 * y * (1.0 - y), s)

    @quiet
    def deviance_at(self, y: Vector, z: Vector, s: Weights) -> float:
        """From both tails: finite where μ is 0 or 1 to rounding, and y the other."""
        from scipy.special import xlogy

        of_y = np.asarray(xlogy(y, y) + xlogy(1.0 - y, 1.0 - y))
        return 2.0 * total(np.maximum(of_y + _blend(y, self.link.log_tails(z)), 0.0), s)

    @quiet
    def loglik(self, y: Vector, z: Vector, s: Weights, dispersion: float = 1.0) -> float:  # noqa: ARG002
        """Σ s [y log μ + (1 − y) log(1 − μ)]: of the trials in their order."""
        return -total(_blend(y, self.link.log_tails(z)), s)

    @quiet
    def prior_loglik(self, y: Vector, z: Vector, s: Vector, dispersion: float = 1.0) -> float:  # noqa: ARG002
        """With the binomial coefficients, of the whole numbers nearest to s trials and s y successes, as R's."""
        from scipy.special import gammaln

        trials, successes = np.rint(s), np.rint(s * y)
        failures, (up, down) = trials - successes, self.link.log_tails(z)
        coefficients = gammaln(trials + 1.0) - gammaln(successes + 1.0) - gammaln(failures + 1.0)
        return float(np.sum(coefficients + times(successes, up) + times(failures, down)))

    @property
    def is_convex(self) -> bool:
        """With the logit, the probit, and the complementary log-log: logarithms of both tails are concave."""
        return isinstance(self.link, (Logit, Probit, CLogLog))

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
        return relative_entropy(y, mu) + relative_entropy(1.0 - y, 1.0 - mu)


def _blend(y: Vector, tails: tuple[Vector, Vector]) -> Vector:
    """−y up − (1 − y) down."""
    up, down = tails
    return times(y, -up) + times(1.0 - y, -down)
