"""Changes of variables: the solver works on v, the data see w = T v, and no value of X is touched.

    z = ((x − μ)/σ)·v + c  =  x·w + b,        w = v/σ,   b = c − μ·w

So standardising, with centring, is linear algebra on the parameters alone: what is sparse stays sparse, and the
coefficients that come back are in the units of the data. Gradients and Hessians follow by the chain rule,

    ∇_v = Tᵀ ∇_w,     ∇²_v = Tᵀ ∇²_w T,     T = [ diag(1/σ)          0 ]
                                                [ −(μ/σ)ᵀ (row)      1 ]

for each output alike. Without an intercept nothing is centred: μ = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.block import Block
from blockdot.blocks.layout import FeatureSum, Layout
from blockdot.blocks.sums import Blocks
from blockdot.objective.passes import Partial, weights
from blockdot.vectors import Vector

# A variance below this share of the mean square is rounding: the column is constant.
_CONSTANT = 1e-12


class Scaling(Protocol):
    """A linear, invertible T."""

    def outward(self, v: Vector, layout: Layout) -> Vector:
        """T v."""
        ...

    def inward(self, w: Vector, layout: Layout) -> Vector:
        """T⁻¹ w."""
        ...

    def gradient(self, g: Vector, layout: Layout) -> Vector:
        """Tᵀ g."""
        ...

    def diagonal(self, h: Vector, border: Vector, layout: Layout) -> Vector:
        """diag(Tᵀ H T), from diag H and the border, the column of H that belongs to a parameter's intercept."""
        ...

    def matrix(self, H: NDArray[np.float64], has_tail: bool) -> NDArray[np.float64]:
        """Tᵀ H T for one output's parameters of the first features, and of the intercept (last)."""
        ...

    @property
    def needs_border(self) -> bool: ...


@dataclass(frozen=True)
class AsIs:
    """T = 1."""

    needs_border = False

    def outward(self, v: Vector, layout: Layout) -> Vector:  # noqa: ARG002
        """V itself."""
        return v

    def inward(self, w: Vector, layout: Layout) -> Vector:  # noqa: ARG002
        """W itself."""
        return w

    def gradient(self, g: Vector, layout: Layout) -> Vector:  # noqa: ARG002
        """G itself."""
        return g

    def diagonal(self, h: Vector, border: Vector, layout: Layout) -> Vector:  # noqa: ARG002
        """H itself."""
        return h

    def matrix(self, H: NDArray[np.float64], has_tail: bool) -> NDArray[np.float64]:  # noqa: ARG002
        """H itself."""
        return H


@dataclass(frozen=True, eq=False)
class Standardized:
    """T for features of mean ``mean`` (k,), zeros where nothing is centred, and standard deviation ``sd`` (k,)."""

    mean: Vector
    sd: Vector

    needs_border = True

    def outward(self, v: Vector, layout: Layout) -> Vector:
        """W = v/σ, b = c − Σ μ w."""
        rows, tail = layout.split(v)
        w = rows / self.sd[:, np.newaxis]
        return np.concatenate([w.ravel(), tail - self._centre(w) if len(tail) else tail])

    def inward(self, w: Vector, layout: Layout) -> Vector:
        """V = σ w, c = b + Σ μ w."""
        rows, tail = layout.split(w)
        v = rows * self.sd[:, np.newaxis]
        return np.concatenate([v.ravel(), tail + self._centre(rows) if len(tail) else tail])

    def gradient(self, g: Vector, layout: Layout) -> Vector:
        """(g_w − μ g_b)/σ, and g_b."""
        rows, tail = layout.split(g)
        centred = rows - self.mean[:, np.newaxis] * tail if len(tail) else rows
        return np.concatenate([(centred / self.sd[:, np.newaxis]).ravel(), tail])

    def diagonal(self, h: Vector, border: Vector, layout: Layout) -> Vector:
        """(h − 2 μ h_b + μ² h_bb)/σ², and h_bb."""
        rows, tail = layout.split(h)
        if not len(tail):
            return (rows / self.sd[:, np.newaxis] ** 2).ravel()
        mean, cross = self.mean[:, np.newaxis], layout.split(border)[0]
        # by Cauchy–Schwarz at least 0; rounding may say otherwise where a column hardly varies
        centred = np.maximum(rows - 2.0 * mean * cross + mean**2 * tail, 0.0)
        return np.concatenate([(centred / self.sd[:, np.newaxis] ** 2).ravel(), tail])

    def matrix(self, H: NDArray[np.float64], has_tail: bool) -> NDArray[np.float64]:
        """The same for each pair of the first features."""
        m = len(H) - has_tail
        out = H.copy()
        if has_tail:
            out[:m] -= self.mean[:m, np.newaxis] * out[m]
            out[:, :m] -= out[:, m, np.newaxis] * self.mean[:m]
        out[:m] /= self.sd[:m, np.newaxis]
        out[:, :m] /= self.sd[:m]
        return out

    def _centre(self, w: Vector) -> Vector:
        return np.asarray(np.einsum("j,jc->c", self.mean, w))


@dataclass(frozen=True)
class Moments:
    """Σ s, and Σ s xⱼ and Σ s xⱼ² of each feature."""

    layout: Layout = field(default_factory=lambda: Layout(width=2))

    def __call__(self, block: Block) -> Partial:
        first, second, k = np.zeros(len(block.columns)), np.zeros(len(block.columns)), len(block.columns)
        for tile in block.tiles():
            s = np.broadcast_to(np.asarray(weights(tile), np.float64), (tile.n_rows,)).copy()
            tile.X.add_tdot(s, first)
            tile.X.add_tdot(s, second, squared=True)
        both = np.stack([first, second], axis=1).reshape(2 * k)
        return Partial(block.weight, 0.0, FeatureSum.of(block, both, self.layout))


def standardized(blocks: Blocks, *, centre: bool) -> Standardized:
    """The weighted mean and population standard deviation of each feature; 1 for the deviation of a constant one."""
    total = blocks.sum(Moments())
    assert total.vector is not None
    first, second = total.vector.dense().reshape(-1, 2).T / total.weight
    variance = second - first**2
    varies = variance > _CONSTANT * second
    sd = np.sqrt(np.where(varies, variance, 1.0))
    return Standardized(first.copy() if centre else np.zeros_like(first), sd)
