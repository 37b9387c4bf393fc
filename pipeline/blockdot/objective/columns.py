"""M models at once, as the columns of one coefficient matrix: one read of a block serves them all.

    F(W) = (1/M) Σ_m F_m(W_m),     F_m(W) = (1/S) Σᵢ s_{im} ℓ(yᵢ, xᵢ·W) + α R(W),     S = Σᵢ s_{im} for every m

The models differ in the weights of the rows alone: for the model that leaves a fold out, the rows of that fold weigh
nothing. Their sum is one objective of M outputs, or of M K where a model has K, whose Hessian has no entries between
two models, so any solver of the house minimises all of them together, by products X W of that many columns. The weights
of a block are (n, M); those of each model are scaled to the same sum S. The sums are divided by all weights, M S, as
always: so α is divided by M, too.

    z[i, m K + c] = raw prediction c of model m for row i

To the loss, a row of M models is M rows with the same target: seen so, z is (n M, K), and nothing is copied but y.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from blockdot.objective.losses import Loss, Weights
from blockdot.objective.passes import is_coupled
from blockdot.vectors import Vector


@dataclass(frozen=True)
class Columns:
    """A loss for M ``models`` with weights of their own: z is (n, M K), K = 1 for a loss of one output, s is (n, M)."""

    loss: Loss
    models: int

    @classmethod
    def of(cls, loss: Loss, models: int) -> Columns:
        """The columns of a loss, which can what the loss can."""
        if is_coupled(loss):
            return CoupledColumns(loss, models)
        return SmoothedColumns(loss, models) if hasattr(loss, "smoothing") else cls(loss, models)

    @property
    def is_convex(self) -> bool:
        """Whether the loss is."""
        return bool(getattr(self.loss, "is_convex", False))

    @property
    def outputs(self) -> int:
        """M K."""
        return self.models * (getattr(self.loss, "outputs", None) or 1)

    def value(self, y: Vector, z: Vector, s: Weights) -> float:
        """Σ_m Σᵢ s_{im} ℓ(yᵢ, z_{im})."""
        return self.loss.value(*self._as_rows(y, z, s))

    def value_and_grad(self, y: Vector, z: Vector, s: Weights) -> tuple[float, Vector]:
        """The value, and s ∂ℓ/∂z."""
        value, grad = self.loss.value_and_grad(*self._as_rows(y, z, s))
        return value, grad.reshape(z.shape)

    def hess_dot(self, y: Vector, z: Vector, s: Weights, u: Vector) -> Vector:
        """S ∂²ℓ/∂z² u."""
        return self.loss.hess_dot(*self._as_rows(y, z, s), self._joined(u)).reshape(z.shape)

    def predict(self, z: Vector) -> Vector:
        """Means, shaped as z."""
        return self.loss.predict(self._joined(z)).reshape(z.shape)

    def of_models(self, z: Vector) -> Vector:
        """A view of what is shaped as z, with an axis for the models: (n, M), or (n, M, K)."""
        several = getattr(self.loss, "outputs", None) is not None
        return z.reshape(len(z), self.models, -1) if several else z

    def _as_rows(self, y: Vector, z: Vector, s: Weights) -> tuple[Vector, Vector, Weights]:
        return np.repeat(y, self.models, axis=0), self._joined(z), s if isinstance(s, float) else s.reshape(-1)

    def _joined(self, z: Vector) -> Vector:
        """A view with a row for each row and model: (n M,), or (n M, K)."""
        return z.reshape(-1, *self.of_models(z).shape[2:])


class CoupledColumns(Columns):
    """Of a loss that couples the outputs of a row: within each model, and no two models."""

    def hess_diag(self, y: Vector, z: Vector, s: Weights) -> Vector:
        """The diagonal of the Hessian in z times s; (n, M K)."""
        loss: Any = self.loss
        return np.asarray(loss.hess_diag(*self._as_rows(y, z, s)).reshape(z.shape))


class SmoothedColumns(Columns):
    """Of a loss that smooths another one."""

    @property
    def smoothing(self) -> float:
        """How wide the corner is rounded."""
        loss: Any = self.loss
        return float(loss.smoothing)

    @property
    def bias_bound(self) -> float:
        """How far below the loss that is meant a row's loss is, at most."""
        loss: Any = self.loss
        return float(loss.bias_bound)

    @property
    def conjugate(self) -> Callable[[Vector, Vector], Vector] | None:
        """That of the loss, of each model; None where it has none."""
        loss: Any = self.loss
        if not callable(getattr(loss, "conjugate", None)):
            return None
        return lambda y, u: loss.conjugate(np.repeat(y, self.models), self._joined(u)).reshape(u.shape)

    def smoothed(self, width: float) -> SmoothedColumns:
        """The same with corners of another width."""
        loss: Any = self.loss
        return replace(self, loss=loss.smoothed(width))
