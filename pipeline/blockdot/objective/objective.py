"""The objective: a mean over all rows plus a penalty, as a solver sees it.

    F(w) = (1/S) Σᵢ sᵢ ℓ(yᵢ, zᵢ) + penalty(w),      S = Σᵢ sᵢ

Sums over blocks are made by ``blocks``; they are divided by S once, here. The parameter vector is flat, over the
features that occur in the data set (see blocks/layout.py); the intercept, where there is one, comes last.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import xxhash
from numpy.typing import NDArray

from blockdot.blocks.dataset import MemorySource
from blockdot.blocks.sums import Blocks
from blockdot.blocks.threads import ThreadPool
from blockdot.errors import DataError, SpecError
from blockdot.objective import passes
from blockdot.objective.losses import Loss
from blockdot.objective.penalties import Penalty
from blockdot.objective.predictors import Predictor
from blockdot.vectors import Vector

# Rows that a Hessian is estimated from: 16 for each of 1,024 features.
_SAMPLE_ROWS = 16_384


@dataclass(frozen=True)
class Objective:
    """``loss`` of ``predictor`` over ``blocks``, plus ``penalty``.

    ``w[i]`` belongs to the feature ``dataset.table.ids[i]``: features are numbered by frequency, most frequent first.

    Examples
    --------
    >>> import blockdot as bd                                                       # doctest: +SKIP
    >>> with dataset.on(bd.ThreadPool()) as blocks:                                 # doctest: +SKIP
    ...     objective = bd.Objective(bd.Logistic(), bd.Linear(), bd.L2(1e-6), blocks)
    ...     result = bd.minimize(objective, bd.LBFGS(), objective.zeros())
    """

    loss: Loss
    predictor: Predictor
    penalty: Penalty
    blocks: Blocks
    _token: bytes = field(default_factory=lambda: uuid.uuid4().bytes, init=False, repr=False, compare=False)

    @property
    def size(self) -> int:
        """The length of the parameter vector."""
        return self.predictor.layout.size(self.blocks.n_features)

    def zeros(self) -> Vector:
        """The starting point 0."""
        return np.zeros(self.size)

    def value(self, w: Vector) -> float:
        """F(w)."""
        total = self.blocks.sum(passes.Value(self.loss, self.predictor), self._fitting(w))
        return total.value / _positive(total.weight) + self.penalty.value(w, self.predictor.layout)

    def value_and_grad(self, w: Vector) -> tuple[float, Vector]:
        """F(w) and its gradient."""
        total = self.blocks.sum(passes.ValueAndGrad(self.loss, self.predictor, self._key(w)), self._fitting(w))
        layout = self.predictor.layout
        value = total.value / _positive(total.weight) + self.penalty.value(w, layout)
        return value, self._mean(total) + self.penalty.grad(w, layout)

    def value_along(self, w: Vector, direction: Vector, t: float) -> float:
        """F(w + t direction): one product for the first t, and none for others, where the predictor is affine."""
        end = w + t * direction
        if not self.predictor.is_affine:
            return self.value(end)
        task = passes.ValueAlong(self.loss, self.predictor, self._key(w), t, self._key(direction))
        total = self.blocks.sum(task, self._fitting(w), self._fitting(direction))
        return total.value / _positive(total.weight) + self.penalty.value(end, self.predictor.layout)

    def hess_vec(self, w: Vector, v: Vector) -> Vector:
        """The product of the Hessian of F at w with v."""
        task = passes.HessVec(self.loss, self.predictor, self._key(w))
        total = self.blocks.sum(task, self._fitting(w), self._fitting(v))
        return self._mean(total) + self.penalty.hess_dot(v, self.predictor.layout)

    def hess_diag(self, w: Vector) -> Vector:
        """The diagonal of the Hessian of F at w (of a penalty whose Hessian is diagonal)."""
        total = self.blocks.sum(passes.HessDiag(self.loss, self.predictor, self._key(w)), self._fitting(w))
        return self._mean(total) + self.penalty.hess_dot(np.ones(self.size), self.predictor.layout)

    def hessian(self, w: Vector, m: int | None = None) -> NDArray[np.float64]:
        """The Hessian of F at w as a matrix, of the ``m`` most frequent features (default: all), then of the tail."""
        m = min(self.blocks.n_features, self.blocks.n_features if m is None else m)
        total = self.blocks.sum(passes.Gram(self.loss, self.predictor, self._key(w), m), self._fitting(w))
        layout = self.predictor.layout
        penalty, tail = layout.split(self.penalty.hess_dot(np.ones(self.size), layout))
        diagonal = np.concatenate([penalty[:m].ravel(), tail])
        half = total.matrix / _positive(total.weight)
        matrix: NDArray[np.float64] = half + half.T
        np.fill_diagonal(matrix, np.diag(half) + diagonal)
        return matrix

    def sample(self, n_rows: int) -> Objective:
        """The objective over about ``n_rows`` of the rows, in the memory of this process; the same parameters.

        The rows are spread evenly over each block and do not depend on the number of workers.
        """
        rows = self.blocks.sum(passes.CountRows())
        parts = self.blocks.sum(passes.TakeRows(min(1.0, n_rows / max(rows, 1))))
        block = passes.joined(parts, self.blocks.n_features)
        source = MemorySource((block,), self.blocks.n_features)
        return replace(self, blocks=Blocks(source, ThreadPool(1)))

    def sampled_hessian(self, w: Vector, m: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The parameters of the ``m`` most frequent features and the tail, and their Hessian at w over a sample."""
        m = min(m, self.blocks.n_features)
        tail = np.arange(self.size - self.predictor.layout.tail, self.size)
        return np.concatenate([np.arange(m), tail]), self._sampled.hessian(w, m)

    @cached_property
    def _sampled(self) -> Objective:
        return self.sample(_SAMPLE_ROWS)

    def _key(self, w: Vector) -> bytes:
        """Names w among all vectors of all objectives: what is remembered at one is never taken for another."""
        return xxhash.xxh3_128_digest(np.ascontiguousarray(w).data) + self._token

    def _fitting(self, w: Vector) -> Vector:
        if np.shape(w) != (self.size,):
            raise SpecError(
                f"the parameter vector has the shape {np.shape(w)}; needed ({self.size},): "
                f"{self.blocks.n_features} features occur, and {self.predictor.layout.tail} parameters belong to none"
            )
        return w

    def _mean(self, total: passes.Partial) -> Vector:
        assert total.vector is not None
        return total.vector.dense() / _positive(total.weight)


def _positive(weight: float) -> float:
    if not weight > 0:
        raise DataError(f"the weights of all rows add up to {weight:g}; needed more than 0")
    return weight
