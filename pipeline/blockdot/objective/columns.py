"""M models at once, as the columns of one coefficient matrix: one read of a block serves them all.

    F(W) = (1/M) Σ_m F_m(w_m),     F_m(w) = (1/S) Σᵢ s_{im} ℓ(yᵢ, xᵢ·w) + α R(w),     S = Σᵢ s_{im} for every m

The models differ in the weights of the rows alone: for the model that leaves a fold out, the rows of that fold weigh
nothing. Their sum is one objective of M outputs whose Hessian has no entries between two of them, so any solver of the
house minimises all of them together, by products X W of M columns. The weights of a block are (n, M); those of each
model are scaled to the same sum S. The sums are divided by all weights, M S, as always: so α is divided by M, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blockdot.objective.losses import Loss, Weights
from blockdot.vectors import Vector


@dataclass(frozen=True)
class Columns:
    """A loss of one output for ``outputs`` models with weights of their own: y is (n,), z and s are (n, M)."""

    loss: Loss
    outputs: int

    def value(self, y: Vector, z: Vector, s: Weights) -> float:
        """Σ_m Σᵢ s_{im} ℓ(yᵢ, z_{im})."""
        return self.loss.value(y[:, np.newaxis], z, s)

    def value_and_grad(self, y: Vector, z: Vector, s: Weights) -> tuple[float, Vector]:
        """The value, and s ∂ℓ/∂z."""
        return self.loss.value_and_grad(y[:, np.newaxis], z, s)

    def hess_dot(self, y: Vector, z: Vector, s: Weights, u: Vector) -> Vector:
        """S ∂²ℓ/∂z² u."""
        return self.loss.hess_dot(y[:, np.newaxis], z, s, u)

    def predict(self, z: Vector) -> Vector:
        """(n, M) means."""
        return self.loss.predict(z)
