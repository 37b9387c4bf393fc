"""Sums over blocks that standard errors are made of, and the matrices of them.

    Σ s E∂²ℓ/∂z_a∂z_b x xᵀ        Σ s Cov(u_a, u_b) x xᵀ        Σ s u_a u_b x xᵀ        u = ∂ℓ/∂z (likelihood.py)
    Σ_{i in g} s u_a x            for each cluster g of rows

for all pairs of the R outputs that are parameters, as symmetric matrices of R m numbers, output by output: m = k + 1,
the features in the order of the table, then the intercept (if there is one). Where a weight is the precision of one row
("prior"), and not a number of equal rows ("frequency"), the third has s² for s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from blockdot.blocks.block import Block
from blockdot.blocks.layout import Layout
from blockdot.blocks.sums import RowPass
from blockdot.models.likelihood import Likelihood, pairs
from blockdot.objective.family import weighted
from blockdot.objective.passes import MatrixPartial, raw, targets, weights
from blockdot.objective.predictors import Linear
from blockdot.vectors import SquareMatrix, Vector

Moment = Literal["information", "variance", "scores"]
Kind = Literal["model", "robust", "clustered"]
Weights = Literal["frequency", "prior"]


@dataclass(frozen=True)
class Parameters:
    """Which numbers of a parameter vector w are estimated, and how: those of ``free`` outputs, less the reference's.

    ``k`` features occur; β is (R m,), output by output.
    """

    predictor: Linear
    k: int
    free: NDArray[np.intp]
    reference: int | None

    @property
    def each(self) -> int:
        """The parameters of an output, m."""
        return self.k + self.predictor.intercept

    def estimates(self, w: Vector) -> Vector:
        """Β, the differences to the reference where there is one."""
        columns = self._columns(w)
        found = columns[:, self.free]
        return (found if self.reference is None else found - columns[:, [self.reference]]).T.ravel()

    def gather(self, w: Vector) -> Vector:
        """The numbers of w that belong to free outputs."""
        return self._columns(w)[:, self.free].T.ravel()

    def scatter(self, b: Vector) -> Vector:
        """A parameter vector with the numbers ``b`` in the free outputs, and 0 in the others."""
        columns = np.zeros((self.each, self.predictor.layout.width))
        columns[:, self.free] = b.reshape(len(self.free), -1).T
        return columns.ravel()

    def _columns(self, w: Vector) -> Vector:
        # the rows of the features and the tail, which has as many numbers as a row, lie one after the other
        return w.reshape(self.each, self.predictor.layout.width)


@dataclass(frozen=True, eq=False)
class Totals:
    """Numbers that add."""

    numbers: Vector

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.numbers + other.numbers)


@dataclass(frozen=True)
class _RowPass:
    likelihood: Likelihood
    predictor: Linear

    @property
    def layout(self) -> Layout:
        return self.predictor.layout


class Describe(_RowPass):
    """Σ s, the rows that have a weight, Pearson's χ² and the deviance of one block."""

    def __call__(self, block: Block, w: Vector) -> Totals:
        y, s = targets(block), weights(block)
        pearson, deviance = self.likelihood.totals(y, raw(self.predictor, block, w), s)
        return Totals(np.array([block.weight, len(block.counted), pearson, deviance]))


@dataclass(frozen=True)
class LogLikelihood(_RowPass):
    """The log likelihood of one block; NaN where there is none."""

    dispersion: float
    weights: Weights = "frequency"

    def __call__(self, block: Block, w: Vector) -> Totals:
        y, z, s, prior = targets(block), raw(self.predictor, block, w), weights(block), self.weights == "prior"
        found = self.likelihood.log_likelihood(y, z, s, self.dispersion, prior=prior)
        return Totals(np.array([np.nan if found is None else found]))


@dataclass(frozen=True)
class Pairs(_RowPass):
    """(P, m, m) Σ c_ab [x, 1] [x, 1]ᵀ for each pair of outputs; of two entries that mirror each other one is added to.

    c is the information, the variance of the scores, or their squares and products.
    """

    moment: Moment
    weights: Weights = "frequency"

    def __call__(self, block: Block, w: Vector) -> MatrixPartial:
        assert block.positions is not None
        n_pairs, size = len(pairs(len(self.likelihood.free))[0]), block.n_features + self.predictor.intercept
        outputs, out = Linear(self.predictor.intercept, n_pairs), np.zeros((n_pairs, size, size))
        for tile in block.tiles():
            outputs.add_gram(tile.X, block.positions, self._of_rows(tile, w), out)
        return MatrixPartial(block.weight, out)

    def _of_rows(self, block: Block, w: Vector) -> Vector:
        """C, (n, P)."""
        z, s = raw(self.predictor, block, w), weights(block)
        if self.moment != "scores":
            return np.asarray(getattr(self.likelihood, self.moment)(z, s))
        a, b = pairs(len(self.likelihood.free))
        u = self.likelihood.scores(targets(block), z, 1.0)
        power = 1 if self.weights == "frequency" else 2
        return weighted(u[:, a] * u[:, b], s if isinstance(s, float) else s[:, np.newaxis] ** power)

    def assembled(self, halves: NDArray[np.float64]) -> SquareMatrix:
        """(R m, R m), of what the blocks add up to."""
        r, m = len(self.likelihood.free), halves.shape[1]
        whole = np.empty((r, m, r, m))
        for a, b, half in zip(*pairs(r), halves, strict=True):
            matrix = half + half.T
            np.fill_diagonal(matrix, np.diag(half))
            whole[a, :, b], whole[b, :, a] = matrix, matrix
        return whole.reshape(r * m, r * m)


class Clusters(Protocol):
    """Which rows depend on each other."""

    @property
    def count(self) -> int:
        """G."""
        ...

    def of(self, block: Block) -> NDArray[np.intp]:
        """(n,) the cluster 0 … G−1 of each row."""
        ...


@dataclass(frozen=True, eq=False)
class GivenClusters:
    """``place`` (n_rows,) is the cluster of each row of a data set in memory."""

    place: NDArray[np.intp]
    count: int

    def of(self, block: Block) -> NDArray[np.intp]:
        """By the place of the rows among all."""
        assert block.row_id is not None
        return self.place[block.row_id]


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups that occur, ascending: each a cluster. They add to those of all blocks."""

    values: NDArray[np.int64]

    def __add__(self, other: Groups) -> Groups:
        return Groups(np.union1d(self.values, other.values))

    @property
    def count(self) -> int:
        """G."""
        return len(self.values)

    def of(self, block: Block) -> NDArray[np.intp]:
        """By the groups of the rows."""
        assert block.group is not None
        return np.searchsorted(self.values, block.group)


@dataclass(frozen=True)
class FindGroups(RowPass):
    """The groups of one block; none where rows have no groups."""

    def __call__(self, block: Block) -> Groups:
        return Groups(np.zeros(0, np.int64) if block.group is None else np.unique(block.group))


@dataclass(frozen=True, eq=False)
class ClusterScores(_RowPass):
    """(G, R m) Σ s ∂ℓ/∂z [x, 1] over the rows of each cluster."""

    clusters: Clusters

    def __call__(self, block: Block, w: Vector) -> MatrixPartial:
        assert block.positions is not None
        u = self.likelihood.scores(targets(block), raw(self.predictor, block, w), weights(block))
        cluster, n_clusters, X = self.clusters.of(block), self.clusters.count, block.X.to_scipy()
        out = np.zeros((n_clusters, u.shape[1], block.n_features + self.predictor.intercept))
        for a, column in enumerate(u.T):
            by_cluster = sp.csr_array((column, (cluster, np.arange(len(u)))), shape=(n_clusters, len(u)))
            out[:, a, block.positions] = (by_cluster @ X).toarray()
            if self.predictor.intercept:
                out[:, a, -1] = np.bincount(cluster, column, n_clusters)
        return MatrixPartial(block.weight, out.reshape(n_clusters, -1))
