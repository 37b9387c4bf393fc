"""What all links share (links.py): how the mean μ of y and the raw prediction z belong together, z = g(μ)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np

from blockdot.vectors import Vector

Tails = tuple[Vector, Vector]
"""Something of log μ, and the same of log(1 − μ)."""

quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")
"""Around what may leave its domain: ∞ and NaN are answers there, not accidents."""


class Link(ABC):
    """A link; ``lowest`` and ``highest`` are the ends of the open interval of the means that it takes."""

    lowest = 0.0
    highest = math.inf

    @property
    @abstractmethod
    def name(self) -> str:
        """What job specs and model files call it."""

    @abstractmethod
    def link(self, mu: Vector) -> Vector:
        """z = g(μ)."""

    @abstractmethod
    def inverse(self, z: Vector) -> Vector:
        """μ."""

    @abstractmethod
    def d1(self, z: Vector) -> Vector:
        """dμ/dz."""

    @abstractmethod
    def d2(self, z: Vector) -> Vector:
        """d²μ/dz²."""

    @quiet
    def log_tails(self, z: Vector) -> Tails:
        """log μ and log(1 − μ)."""
        mu = self._share(z)
        return np.log(mu), np.log1p(-mu)

    @quiet
    def log_tails_d1(self, z: Vector) -> Tails:
        """Their first derivatives by z."""
        mu, d1 = self._share(z), self.d1(z)
        return d1 / mu, -d1 / (1.0 - mu)

    @quiet
    def log_tails_d2(self, z: Vector) -> Tails:
        """Their second derivatives by z."""
        mu, d1, d2 = self._share(z), self.d1(z), self.d2(z)
        return d2 / mu - (d1 / mu) ** 2, -d2 / (1.0 - mu) - (d1 / (1.0 - mu)) ** 2

    def _share(self, z: Vector) -> Vector:
        mu = self.inverse(z)
        return np.where((mu > 0.0) & (mu < 1.0), mu, np.nan)
