"""Sums over the rows of each fold: what its model is fitted to, and what it is judged by.

    Σ s  of the rows that model m is fitted to, class by class          Σ s ℓ(y, z_m)  of those that it is judged by

each by one pass for all models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blockdot.blocks.block import Block
from blockdot.blocks.layout import Layout
from blockdot.blocks.sums import RowPass
from blockdot.models.folds import Folds, fold_weights
from blockdot.objective.columns import Columns
from blockdot.objective.passes import raw, targets
from blockdot.objective.predictors import Predictor
from blockdot.vectors import Vector


@dataclass(frozen=True, eq=False)
class Sums:
    """Numbers that add."""

    values: Vector

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.values + other.values)


@dataclass(frozen=True)
class FoldWeights(RowPass):
    """(C, M) Σ s of the rows that each model is fitted to, of each of ``n_classes`` classes.

    C = 1 where there are no classes, and 2 L for rows with any number of L labels: those with each of the labels, then
    those without each. The last of the M models is fitted to all rows.
    """

    folds: Folds
    n_classes: int = 0

    def __call__(self, block: Block) -> Sums:
        s = fold_weights(block, self.folds)
        if not self.n_classes:
            return Sums(np.sum(s, axis=0, keepdims=True))
        y = targets(block)
        if y.ndim == 2:
            return Sums(np.concatenate([np.einsum("ic,im->cm", y, s), np.einsum("ic,im->cm", 1.0 - y, s)]))
        place = y.astype(np.intp)
        return Sums(np.stack([np.bincount(place, column, self.n_classes) for column in s.T], axis=1))


@dataclass(frozen=True)
class HeldOut:
    """(2, n_folds) Σ s, and Σ s ℓ, of the rows that each fold's model is judged by."""

    columns: Columns
    predictor: Predictor
    folds: Folds

    @property
    def layout(self) -> Layout:
        return self.predictor.layout

    def __call__(self, block: Block, w: Vector) -> Sums:
        test, loss = self.folds.test(block), self.columns.loss
        out, end = np.zeros((2, self.folds.n_folds)), 0
        for tile in block.tiles():
            start, end = end, end + tile.n_rows
            z, y = self.columns.of_models(raw(self.predictor, tile, w)), targets(tile)
            # the last model's weights are those of the rows as they were, since it is fitted to all of them
            s = np.ones(tile.n_rows) if tile.sample_weight is None else tile.sample_weight[:, -1]
            for m, judged in enumerate(test[start:end].T):
                weight = s[judged]
                out[:, m] += np.sum(weight), loss.value(y[judged], np.ascontiguousarray(z[judged, m]), weight)
        return Sums(out)
