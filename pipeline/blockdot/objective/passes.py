"""Passes: what is done with one block, tile by tile.

    ValueAndGrad   Σ s ℓ(y, z),   Jᵀ (s ∂ℓ/∂z)
    HessVec        Jᵀ (s ∂²ℓ/∂z² · J v)
    HessDiag       diag(Jᵀ diag(s ∂²ℓ/∂z²) J)
    Raw            z, for each row

with z = predictor(w, X) + offset. Three loops over a tile that fits the cache are faster than one fused loop over rows,
because each of them runs at the speed of its own kernel. HessVec is exact for predictors that are linear in w, and the
Gauss–Newton product for others. A pass is picklable and holds no data; its results are sums, which can be added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blockdot.blocks.block import Block
from blockdot.blocks.layout import FeatureSum, Layout
from blockdot.errors import DataError, SpecError
from blockdot.objective.losses import Loss, Weights
from blockdot.objective.predictors import Linearization, Predictor
from blockdot.vectors import Vector


@dataclass(frozen=True, eq=False)
class Partial:
    """Sums over some rows: of the weights, of the weighted losses, and of a vector over the features."""

    weight: float
    value: float
    vector: FeatureSum | None = None

    def __add__(self, other: Partial) -> Partial:
        vector = None
        if self.vector is not None and other.vector is not None:
            vector = self.vector + other.vector
        return Partial(self.weight + other.weight, self.value + other.value, vector)


@dataclass(frozen=True)
class _LossPass:
    loss: Loss
    predictor: Predictor

    @property
    def layout(self) -> Layout:
        return self.predictor.layout


class Value(_LossPass):
    """Σ s ℓ."""

    def __call__(self, block: Block, w: Vector) -> Partial:
        value = 0.0
        for tile in block.tiles():
            value += self.loss.value(targets(tile), raw(self.predictor, tile, w), weights(tile))
        return Partial(block.weight, value)


class ValueAndGrad(_LossPass):
    """Σ s ℓ, and its gradient with respect to the block's parameters."""

    def __call__(self, block: Block, w: Vector) -> Partial:
        value, grad = 0.0, np.zeros_like(w)
        for tile in block.tiles():
            at = linearize(self.predictor, tile, w)
            tile_value, u = self.loss.value_and_grad(targets(tile), at.z, weights(tile))
            value += tile_value
            at.vjp(_one_a_row(u, tile), grad)
        return Partial(block.weight, value, FeatureSum.of(block, grad, self.layout))


class HessVec(_LossPass):
    """The product of the Hessian of Σ s ℓ at w with v."""

    def __call__(self, block: Block, w: Vector, v: Vector) -> Partial:
        product = np.zeros_like(w)
        for tile in block.tiles():
            at = linearize(self.predictor, tile, w)
            u = self.loss.hess_dot(targets(tile), at.z, weights(tile), at.jvp(v))
            at.vjp(_one_a_row(u, tile), product)
        return Partial(block.weight, 0.0, FeatureSum.of(block, product, self.layout))


class HessDiag(_LossPass):
    """The diagonal of the Hessian of Σ s ℓ at w."""

    def __call__(self, block: Block, w: Vector) -> Partial:
        diagonal = np.zeros_like(w)
        for tile in block.tiles():
            z = raw(self.predictor, tile, w)
            curvature = self.loss.hess_dot(targets(tile), z, weights(tile), np.ones(tile.n_rows))
            self.predictor.add_hess_diag(tile.X, _one_a_row(curvature, tile), diagonal)
        return Partial(block.weight, 0.0, FeatureSum.of(block, diagonal, self.layout))


@dataclass(frozen=True)
class Raw:
    """z for each row of a block."""

    predictor: Predictor

    @property
    def layout(self) -> Layout:
        return self.predictor.layout

    def __call__(self, block: Block, w: Vector) -> Vector:
        return raw(self.predictor, block, w)


def _one_a_row(u: Vector, block: Block) -> Vector:
    """What a loss returned, which may be anyone's: the compiled products check no bounds."""
    column = np.ascontiguousarray(u, np.float64)
    if column.shape != (block.n_rows,):
        raise SpecError(f"the loss returned an array of the shape {column.shape}; needed ({block.n_rows},), one a row")
    return column


def raw(predictor: Predictor, block: Block, w: Vector) -> Vector:
    """z = predictor(w, X) + offset."""
    z = predictor.raw(w, block.X)
    return z if block.offset is None else z + block.offset


def linearize(predictor: Predictor, block: Block, w: Vector) -> Linearization:
    """The predictor linearised at w, its z with the offset added."""
    at = predictor.linearize(w, block.X)
    return at if block.offset is None else at._replace(z=at.z + block.offset)


def targets(block: Block) -> Vector:
    """The block's y."""
    if block.y is None:
        raise DataError("these rows have no targets y: ingest them with a label, or hand y in, to learn or evaluate")
    return block.y


def weights(block: Block) -> Weights:
    """The block's weights, 1.0 where it has none."""
    return 1.0 if block.sample_weight is None else block.sample_weight
