"""Deviances of generalised linear models: of a model, and of the best one without features.

    D = 2 Σ s [log f(y; y) − log f(y; μ)],    D² = 1 − D/D₀,    D₀ of μ₀ = ȳ, or g(μ₀) = b* + o where rows have offsets

With offsets the null model has them, too, as in R's glm and in glmnet: what the exposures alone say of y is not the
merit of a model. A Poisson model of counts with log exposures for offsets so has the D² of the model of rates, y over
exposure, with exposures for weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from blockdot.blocks.block import Block
from blockdot.blocks.layout import Layout
from blockdot.blocks.sums import Blocks, RowPass
from blockdot.models.null_model import null_parameters
from blockdot.models.targets import Tally
from blockdot.objective.objective import Objective
from blockdot.objective.passes import raw, targets, weights
from blockdot.objective.penalties import L2
from blockdot.objective.predictors import Linear, Predictor
from blockdot.vectors import Vector


@dataclass(frozen=True)
class DevianceSum:
    """Σ s, and twice the log likelihood that is missing to a perfect fit."""

    weight: float
    deviance: float

    def __add__(self, other: DevianceSum) -> DevianceSum:
        return DevianceSum(self.weight + other.weight, self.deviance + other.deviance)


@dataclass(frozen=True)
class DeviancePass:
    """The deviance of a GLM."""

    loss: Any
    predictor: Predictor

    @property
    def layout(self) -> Layout:
        return self.predictor.layout

    def __call__(self, block: Block, w: Vector) -> DevianceSum:
        z = raw(self.predictor, block, w)
        return DevianceSum(block.weight, self.loss.deviance_at(targets(block), z, weights(block)))


@dataclass(frozen=True)
class NullDeviancePass(RowPass):
    """The deviance of one mean for all rows."""

    loss: Any
    mean: float

    def __call__(self, block: Block) -> DevianceSum:
        y = targets(block)
        return DevianceSum(block.weight, self.loss.deviance(y, np.full(len(y), self.mean), weights(block)))


def null_deviance(loss: Any, mean: float, found: Tally, blocks: Blocks) -> float:
    """D₀, for a ``loss`` that knows its deviance; ``mean`` is that of y, ``found`` the tally of the rows."""
    if not found.has_offset or not loss.lowest < mean < loss.highest:  # a mean that no finite b* has
        return blocks.sum(NullDeviancePass(loss, mean)).deviance
    plain = Linear(True)
    null = null_parameters(Objective(loss, plain, L2(0.0), blocks), found)
    return blocks.sum(DeviancePass(loss, plain), null).deviance
