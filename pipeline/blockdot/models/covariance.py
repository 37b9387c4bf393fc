"""The covariance of estimates, V = H⁻¹ M H⁻¹, and the errors of single features without a matrix.

H = Σ s E∂²ℓ + S α ridge             M = φ Σ s Cov(u), or Σ s u uᵀ x xᵀ (robust), or Σ_g u_g u_gᵀ (clustered)
of one parameter:   φ xᵀ J x,  H x = e,   by conjugate gradients, a product with H being a pass over the data
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.sums import Blocks
from blockdot.errors import DataError, SpecError
from blockdot.models.information import (
    Clusters,
    ClusterScores,
    FindGroups,
    GivenClusters,
    Kind,
    Moment,
    Pairs,
    Parameters,
    Weights,
)
from blockdot.models.likelihood import Likelihood
from blockdot.objective.objective import Objective
from blockdot.vectors import Cholesky, SquareMatrix, Vector

_FEW = 2048  # parameters: up to so many the matrices are made
_CLUSTER_ROOM = 50_000_000  # numbers in the matrix of the clusters' scores


@dataclass(frozen=True, eq=False)
class Point:
    """Where a model's estimates are, on some rows.

    ``objective`` is their mean loss without a penalty; its loss has the information for a second derivative. ``ridge``
    (k,) is what the penalty adds to it for each feature, ``weight`` is Σ s, ``dispersion`` φ.
    """

    likelihood: Likelihood
    parameters: Parameters
    objective: Objective
    w: Vector
    weight: float
    ridge: Vector
    dispersion: float
    weights: Weights

    @property
    def size(self) -> int:
        """R m."""
        return len(self.parameters.free) * self.parameters.each

    def covariance(self, kind: Kind, data: Dataset, clusters: ArrayLike | None) -> SquareMatrix:
        """V, (R m, R m); DataError where features are linearly dependent, SpecError for too many parameters."""
        if self.size > _FEW:
            raise SpecError(
                f"{self.size:,} parameters are too many for a matrix of their covariances (at most {_FEW:,}): "
                "name the features whose standard errors are needed"
            )
        factor = Cholesky.of(self._matrix("information") + self.weight * self._penalised(np.eye(self.size)))
        if factor is None:
            raise DataError(
                "the features are linearly dependent on these rows: drop one of them, or fit with alpha > 0"
            )
        covariance = factor.solve(factor.solve(self._meat(kind, data, clusters)).T)
        return np.asarray(0.5 * (covariance + covariance.T))

    def _meat(self, kind: Kind, data: Dataset, clusters: ArrayLike | None) -> SquareMatrix:
        if kind == "model":
            return self.dispersion * self._matrix("variance")
        if kind == "robust":
            return self._matrix("scores")
        found = _clusters(clusters, data, self.objective.blocks)
        if found.count * self.size > _CLUSTER_ROOM:
            raise SpecError(
                f"{found.count:,} clusters times {self.size:,} parameters are too many to hold their scores"
            )
        task = ClusterScores(self.likelihood, self.parameters.predictor, found)
        scores = self.objective.blocks.sum(task, self.w).matrix
        return np.asarray(np.einsum("gi,gj->ij", scores, scores))

    def _matrix(self, moment: Moment) -> SquareMatrix:
        task = Pairs(self.likelihood, self.parameters.predictor, moment, self.weights)
        return task.assembled(self.objective.blocks.sum(task, self.w).matrix)

    def errors(self, places: NDArray[np.intp], names: Sequence[object]) -> Vector:
        """√(φ xᵀ J x) with x = H⁻¹ e, for each of the ``places`` among the R m parameters."""
        from scipy.sparse.linalg import LinearOperator, cg

        ridge = np.append(self.ridge, np.zeros(self.parameters.each - len(self.ridge)))
        diagonal = self.parameters.gather(self.objective.hess_diag(self.w))
        diagonal += np.outer(np.diag(self.likelihood.ridge), ridge).ravel()
        shape = (self.size, self.size)
        product = LinearOperator(shape, matvec=lambda v: self._information(v) + self._penalised(v), dtype=np.float64)
        inverse = LinearOperator(shape, matvec=lambda v: np.ravel(v) / diagonal, dtype=np.float64)
        errors = np.empty(len(places))
        for i, place in enumerate(places):
            unit = np.zeros(self.size)
            unit[place] = 1.0
            x, code = cg(product, unit, rtol=1e-8, maxiter=10 * self.size, M=inverse)
            if code != 0:
                raise DataError(f"feature {names[i]}: no standard error was found; fit with alpha > 0")
            errors[i] = np.sqrt(self.dispersion * float(x @ self._information(x)) / self.weight)
        return errors

    def _information(self, v: Vector) -> Vector:
        """J v/S, a pass over the data."""
        full = self.parameters.scatter(np.ravel(v))
        return self.parameters.gather(self.objective.hess_vec(self.w, full))

    def _penalised(self, v: Vector) -> Vector:
        """The penalty's second derivative times v, (…, R m)."""
        rows = v.reshape(*v.shape[:-1], -1, self.parameters.each)
        out, k = np.zeros_like(rows), len(self.ridge)
        out[..., :k] = np.einsum("ab,...bj->...aj", self.likelihood.ridge, rows[..., :k] * self.ridge)
        return out.reshape(v.shape)


def _clusters(clusters: ArrayLike | None, data: Dataset, blocks: Blocks) -> Clusters:
    """Those that are given, or the groups of the rows."""
    if clusters is None:
        groups = blocks.sum(FindGroups())
        if not groups.count:
            raise SpecError(
                "kind='clustered' needs clusters, one label a row, or data with groups: a store that was ingested with "
                "row_id, or Dataset.from_arrays(..., groups=...)"
            )
        return groups
    if data.path is not None:
        raise SpecError("clusters go with data in memory; those of a store are its groups: ingest it with row_id")
    labels, place = np.unique(np.asarray(clusters), return_inverse=True)
    if place.shape != (data.n_rows,):
        raise SpecError(f"clusters has the shape {place.shape}; needed ({data.n_rows},), one label a row")
    return GivenClusters(place, len(labels))
