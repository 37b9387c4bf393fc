"""Sums over blocks that a fit is described by: Pearson's χ², deviance, likelihood, and the moments of the score.

Fisher's information   Σ s μ'²/Var(μ) x xᵀ          Σ (s ∂ℓ/∂z)² x xᵀ,    u_g = Σ_{i in g} sᵢ ∂ℓ/∂z xᵢ
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from blockdot.blocks.block import Block
from blockdot.blocks.layout import Layout
from blockdot.objective.passes import MatrixPartial, raw, targets, weights
from blockdot.objective.predictors import Linear
from blockdot.vectors import Vector


@dataclass(frozen=True)
class Fisher:
    """A GLM whose second derivative is its expected value, s μ'²/Var(μ)."""

    family: Any

    def value(self, y: Vector, z: Vector, s: Vector | float) -> float:
        """Of the family."""
        return float(self.family.value(y, z, s))

    def value_and_grad(self, y: Vector, z: Vector, s: Vector | float) -> tuple[float, Vector]:
        """Of the family."""
        value, grad = self.family.value_and_grad(y, z, s)
        return value, grad

    def hess_dot(self, y: Vector, z: Vector, s: Vector | float, u: Vector) -> Vector:  # noqa: ARG002
        """S μ'²/Var(μ) u."""
        return np.asarray(s * self.family.link.d1(z) ** 2 / self.family.variance(self.family.predict(z)) * u)

    def predict(self, z: Vector) -> Vector:
        """μ."""
        return np.asarray(self.family.predict(z))


@dataclass(frozen=True, eq=False)
class Totals:
    """Σ s, Pearson's χ², the deviance and Σ s y; or a log likelihood."""

    numbers: Vector

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.numbers + other.numbers)


@dataclass(frozen=True)
class Describe:
    """The totals of one block."""

    family: Any
    predictor: Linear

    @property
    def layout(self) -> Layout:
        return self.predictor.layout

    def __call__(self, block: Block, w: Vector) -> Totals:
        y, s = targets(block), weights(block)
        mean = self.family.predict(raw(self.predictor, block, w))
        pearson = float(np.sum(s * (y - mean) ** 2 / self.family.variance(mean)))
        weighted_y = float(np.sum(s * y))
        deviance = float(self.family.deviance(y, mean, s))
        return Totals(np.array([block.weight, pearson, deviance, weighted_y]))


@dataclass(frozen=True)
class LogLikelihood:
    """The log likelihood of one block."""

    family: Any
    predictor: Linear
    dispersion: float

    @property
    def layout(self) -> Layout:
        return self.predictor.layout

    def __call__(self, block: Block, w: Vector) -> Totals:
        mean = self.family.predict(raw(self.predictor, block, w))
        return Totals(np.array([self.family.loglik(targets(block), mean, weights(block), self.dispersion)]))


@dataclass(frozen=True)
class ScoreGram:
    """Σ (s ∂ℓ/∂z)² [x, 1] [x, 1]ᵀ."""

    family: Any
    predictor: Linear

    @property
    def layout(self) -> Layout:
        return self.predictor.layout

    def __call__(self, block: Block, w: Vector) -> MatrixPartial:
        assert block.positions is not None
        size = block.n_features + self.layout.tail
        out = np.zeros((1, size, size))
        _, u = self.family.value_and_grad(targets(block), raw(self.predictor, block, w), weights(block))
        self.predictor.add_gram(block.X, block.positions, u**2, out)
        return MatrixPartial(block.weight, out)


@dataclass(frozen=True, eq=False)
class ClusterScores:
    """(G, p) Σ s ∂ℓ/∂z [x, 1] over the rows of each cluster; ``place`` (n_rows,) is the cluster 0 … G−1 of a row."""

    family: Any
    predictor: Linear
    place: NDArray[np.intp]
    n_clusters: int

    @property
    def layout(self) -> Layout:
        return self.predictor.layout

    def __call__(self, block: Block, w: Vector) -> MatrixPartial:
        assert block.positions is not None
        assert block.row_id is not None
        _, u = self.family.value_and_grad(targets(block), raw(self.predictor, block, w), weights(block))
        cluster = self.place[block.row_id]
        by_cluster = sp.csr_array((u, (cluster, np.arange(len(u)))), shape=(self.n_clusters, len(u)))
        out = np.zeros((self.n_clusters, block.n_features + self.layout.tail))
        out[:, block.positions] = (by_cluster @ block.X.to_scipy()).toarray()
        if self.predictor.intercept:
            out[:, -1] = np.bincount(cluster, u, self.n_clusters)
        return MatrixPartial(block.weight, out)
