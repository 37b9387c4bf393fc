"""Exact metrics of a model on a data set, by one pass and one sum over blocks (more for D²: see deviance.py)."""

from __future__ import annotations

from dataclasses import dataclass

from blockdot.blocks.block import Block
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.layout import Layout
from blockdot.blocks.tree import Pool
from blockdot.errors import StoreError
from blockdot.models.deviance import DeviancePass, null_deviance
from blockdot.models.metrics import Metrics, MetricSums, RegressionSums
from blockdot.models.model import Model
from blockdot.models.outcomes import Outcome
from blockdot.models.targets import checked
from blockdot.objective.passes import raw, targets
from blockdot.objective.predictors import Predictor
from blockdot.vectors import Vector


@dataclass(frozen=True)
class MetricPass:
    """The sums that a model's metrics are made of."""

    predictor: Predictor
    outcome: Outcome

    @property
    def layout(self) -> Layout:
        return self.predictor.layout

    def __call__(self, block: Block, w: Vector) -> MetricSums:
        return self.outcome.sums(targets(block), raw(self.predictor, block, w), block.sample_weight)


def evaluate(model: Model, data: Dataset, pool: Pool) -> Metrics:
    """Metrics of ``model`` on ``data``, exact however the rows are cut into blocks.

    Raises DataError for rows without targets, for a target that the loss cannot take, and for a label that the model
    was not fitted with (block and row).
    """
    w = model.parameters(data)
    if not model.is_classifier:
        return _of_regression(model, model.outcome.judged(data), pool, w)
    if data.classes is not None and model.info.classes is not None and data.classes != model.info.classes:
        raise StoreError(
            f"{data.path or 'this data set'} has the classes {', '.join(data.classes)}, the model "
            f"{', '.join(model.info.classes)}; ingest the raw files with the model's feature spec"
        )
    with model.outcome.judged(data).on(pool) as blocks:
        metrics = blocks.sum(MetricPass(model.predictor, model.outcome), w).finish()
    if not model.has_probabilities:
        del metrics["log_loss"]  # a score is no log odds
    return metrics


def _of_regression(model: Model, data: Dataset, pool: Pool, w: Vector) -> Metrics:
    with data.on(pool) as blocks:
        tally = checked(data, blocks, model.loss)
        sums = blocks.sum(MetricPass(model.predictor, model.outcome), w)
        assert isinstance(sums, RegressionSums)
        metrics = sums.finish()
        if not callable(getattr(model.loss, "deviance", None)):
            return metrics
        if not tally.weight > 0.0:
            return metrics
        found = blocks.sum(DeviancePass(model.loss, model.predictor), w)
        null = null_deviance(model.loss, sums.targets.mean, tally, blocks)
    return metrics | {
        "deviance": found.deviance / found.weight,
        "d2": 1.0 - found.deviance / null if null > 0.0 else None,
    }
