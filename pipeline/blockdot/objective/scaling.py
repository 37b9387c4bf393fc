"""Changes of variables: the solver works on v, the data see w = T v, and no value of X is touched.

    z = ((x − μ)/σ)·v + c  =  x·w + b,        w = v/σ,   b = c − μ·w

So standardising, with centring, is linear algebra on the parameters alone: what is sparse stays sparse, and the
coefficients that come back are in the units of the data. Gradients and Hessians follow by the chain rule,

    ∇_v = Tᵀ ∇_w,     ∇²_v = Tᵀ ∇²_w T,     T = [ diag(1/σ)          0 ]
                                                [ −(μ/σ)ᵀ (row)      1 ]

for all outputs alike, or for each with μ and σ of its own: the models of a cross-validation, which are the outputs of
columns.py, have each those of the rows that it is fitted to. Without an intercept nothing is centred: μ = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
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

    def matrix(self, H: NDArray[np.float64], output: int, has_tail: bool) -> NDArray[np.float64]:
        """Tᵀ H T for the parameters that the first features, and the intercept (last), have in one output."""
        ...

    @property
    def needs_border(self) -> bool: ...

    def taken(self, kept: NDArray[np.int64]) -> Scaling:
        """That of some of the features alone."""
        ...


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

    def matrix(self, H: NDArray[np.float64], output: int, has_tail: bool) -> NDArray[np.float64]:  # noqa: ARG002
        """H itself."""
        return H

    def taken(self, kept: NDArray[np.int64]) -> AsIs:  # noqa: ARG002
        """The same."""
        return self


@dataclass(frozen=True, eq=False)
class Standardized:
    """T for features of mean ``mean``, zeros where nothing is centred, and standard deviation ``sd``.

    Both (k, 1), for all outputs alike, or (k, K) for each of K outputs.
    """

    mean: Vector
    sd: Vector

    @property
    def needs_border(self) -> bool:
        """Where something is centred."""
        return bool(np.any(self.mean))

    def outward(self, v: Vector, layout: Layout) -> Vector:
        """W = v/σ, b = c − Σ μ w."""
        rows, tail = layout.split(v)
        w, out = rows / self.sd, tail.copy()
        if len(tail):
            layout.intercepts(out)[:] -= self._centre(w)
        return np.concatenate([w.ravel(), out])

    def inward(self, w: Vector, layout: Layout) -> Vector:
        """V = σ w, c = b + Σ μ w."""
        rows, tail = layout.split(w)
        v, out = rows * self.sd, tail.copy()
        if len(tail):
            layout.intercepts(out)[:] += self._centre(rows)
        return np.concatenate([v.ravel(), out])

    def gradient(self, g: Vector, layout: Layout) -> Vector:
        """(g_w − μ g_b)/σ, and g_b."""
        rows, tail = layout.split(g)
        centred = rows - self.mean * layout.intercepts(tail) if len(tail) else rows
        return np.concatenate([(centred / self.sd).ravel(), tail])

    def diagonal(self, h: Vector, border: Vector, layout: Layout) -> Vector:
        """(h − 2 μ h_b + μ² h_bb)/σ², and h_bb."""
        rows, tail = layout.split(h)
        if not (len(tail) and self.needs_border):
            return np.concatenate([(rows / self.sd**2).ravel(), tail])
        cross = layout.split(border)[0]
        # by Cauchy–Schwarz at least 0; rounding may say otherwise where a column hardly varies
        centred = np.maximum(rows - 2.0 * self.mean * cross + self.mean**2 * layout.intercepts(tail), 0.0)
        return np.concatenate([(centred / self.sd**2).ravel(), tail])

    def matrix(self, H: NDArray[np.float64], output: int, has_tail: bool) -> NDArray[np.float64]:
        """The same for each pair of the first features."""
        m = len(H) - has_tail
        own = self.of(slice(output, output + 1)) if self.sd.shape[1] > 1 else self
        mean, sd = own.mean[:m, 0], own.sd[:m, 0]
        out = H.copy()
        if has_tail:
            out[:m] -= mean[:, np.newaxis] * out[m]
            out[:, :m] -= out[:, m, np.newaxis] * mean
        out[:m] /= sd[:, np.newaxis]
        out[:, :m] /= sd
        return out

    def of(self, outputs: slice) -> Standardized:
        """That of some of the outputs."""
        return Standardized(self.mean[:, outputs], self.sd[:, outputs])

    def taken(self, kept: NDArray[np.int64]) -> Standardized:
        """That of some of the features."""
        return Standardized(self.mean[kept], self.sd[kept])

    def repeated(self, times: int) -> Standardized:
        """Each output's for so many outputs in its place."""
        return Standardized(np.repeat(self.mean, times, axis=1), np.repeat(self.sd, times, axis=1))

    def _centre(self, w: Vector) -> Vector:
        return np.asarray(np.einsum("jc,jc->c", np.broadcast_to(self.mean, w.shape), w))


@dataclass(frozen=True)
class Moments:
    """Σ s xⱼ and Σ s xⱼ² of each feature, and in the tail Σ s, for each of the M ``models`` that have weights."""

    models: int = 1

    @property
    def layout(self) -> Layout:
        return Layout(width=2 * self.models, tail=self.models)

    def __call__(self, block: Block) -> Partial:
        first, second = np.zeros((2, len(block.columns), self.models))
        total = np.zeros(self.models)
        for tile in block.tiles():
            s = np.empty((tile.n_rows, self.models))
            s.T[:] = np.asarray(weights(tile)).T
            tile.X.add_tdot(s, first)
            tile.X.add_tdot(s, second, squared=True)
            total += np.sum(s, axis=0)
        sums = np.concatenate([np.concatenate([first, second], axis=1).ravel(), total])
        return Partial(block.weight, 0.0, FeatureSum.of(block, sums, self.layout))


def standardized(blocks: Blocks, *, centre: bool, models: int = 1) -> Standardized:
    """The weighted mean and population standard deviation of each feature; 1 for the deviation of a constant one.

    For ``models`` with weights of their own, (n, M), those of each by its weights: all by one pass.
    """
    task = Moments(models)
    total = blocks.sum(task)
    assert total.vector is not None
    rows, weight = task.layout.split(total.vector.dense())
    first, second = rows[:, :models] / weight, rows[:, models:] / weight
    variance = second - first**2
    varies = variance > _CONSTANT * second
    return Standardized(first if centre else np.zeros_like(first), np.sqrt(np.where(varies, variance, 1.0)))
