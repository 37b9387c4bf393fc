"""The objective: a mean over all rows plus a penalty, as a solver sees it.

    F(w) = (1/S) Σᵢ sᵢ ℓ(yᵢ, zᵢ) + penalty(w),      S = Σᵢ sᵢ

Sums over blocks are made by ``blocks``; they are divided by S once, here. The parameter vector is flat, over the
features that occur in the data set (see blocks/layout.py); the intercept, where there is one, comes last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blockdot.blocks.sums import Blocks
from blockdot.errors import DataError, SpecError
from blockdot.objective import passes
from blockdot.objective.losses import Loss
from blockdot.objective.penalties import Penalty
from blockdot.objective.predictors import Predictor
from blockdot.vectors import Vector


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
        total = self.blocks.sum(passes.ValueAndGrad(self.loss, self.predictor), self._fitting(w))
        layout = self.predictor.layout
        value = total.value / _positive(total.weight) + self.penalty.value(w, layout)
        return value, self._mean(total) + self.penalty.grad(w, layout)

    def hess_vec(self, w: Vector, v: Vector) -> Vector:
        """The product of the Hessian of F at w with v."""
        total = self.blocks.sum(passes.HessVec(self.loss, self.predictor), self._fitting(w), self._fitting(v))
        return self._mean(total) + self.penalty.hess_dot(v, self.predictor.layout)

    def hess_diag(self, w: Vector) -> Vector:
        """The diagonal of the Hessian of F at w (of a penalty whose Hessian is diagonal)."""
        total = self.blocks.sum(passes.HessDiag(self.loss, self.predictor), self._fitting(w))
        return self._mean(total) + self.penalty.hess_dot(np.ones(self.size), self.predictor.layout)

    def _fitting(self, w: Vector) -> Vector:
        if np.shape(w) != (self.size,):
            raise SpecError(
                f"the parameter vector has the shape {np.shape(w)}; needed ({self.size},): "
                f"{self.blocks.n_features} features occur, and {self.predictor.layout.tail} parameters belong to none"
            )
        return w

    def _mean(self, total: passes.Partial) -> Vector:
        assert total.vector is not None
        return total.vector.dense(self.blocks.n_features) / _positive(total.weight)


def _positive(weight: float) -> float:
    if not weight > 0:
        raise DataError(f"the weights of all rows add up to {weight:g}; needed more than 0")
    return weight
