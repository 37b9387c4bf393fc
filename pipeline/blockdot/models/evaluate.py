"""Exact metrics of a model on a data set, by one pass and one sum over blocks."""

from __future__ import annotations

from dataclasses import dataclass

from blockdot.blocks.block import Block
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.layout import Layout
from blockdot.blocks.tree import Pool
from blockdot.errors import StoreError
from blockdot.models.metrics import ClassificationSums, Metrics, RegressionSums
from blockdot.models.model import Model
from blockdot.objective.losses import Loss
from blockdot.objective.passes import raw, targets
from blockdot.objective.predictors import Predictor
from blockdot.vectors import Vector


@dataclass(frozen=True)
class ClassificationPass:
    """The sums that metrics of a binary classifier are made of."""

    predictor: Predictor

    @property
    def layout(self) -> Layout:
        return self.predictor.layout

    def __call__(self, block: Block, w: Vector) -> ClassificationSums:
        return ClassificationSums.of(targets(block), raw(self.predictor, block, w), block.sample_weight)


@dataclass(frozen=True)
class RegressionPass:
    """The sums that metrics of a regression are made of."""

    predictor: Predictor
    loss: Loss

    @property
    def layout(self) -> Layout:
        return self.predictor.layout

    def __call__(self, block: Block, w: Vector) -> RegressionSums:
        prediction = self.loss.predict(raw(self.predictor, block, w))
        return RegressionSums.of(targets(block), prediction, block.sample_weight)


def evaluate(model: Model, data: Dataset, pool: Pool) -> Metrics:
    """Metrics of ``model`` on ``data``, exact however the rows are cut into blocks.

    Raises DataError for rows without targets, and for a label that the model was not fitted with (block and row).
    """
    w = model.parameters(data)
    if model.info.labels is None:
        with data.on(pool) as blocks:
            return blocks.sum(RegressionPass(model.predictor, model.loss), w).finish()
    if data.classes is not None and model.info.classes is not None and data.classes != model.info.classes:
        raise StoreError(
            f"{data.path or 'this data set'} has the classes {', '.join(data.classes)}, the model "
            f"{', '.join(model.info.classes)}; ingest the raw files with the model's feature spec"
        )
    with data.encoded(model.info.labels).on(pool) as blocks:
        return blocks.sum(ClassificationPass(model.predictor), w).finish()
