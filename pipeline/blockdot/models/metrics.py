"""Exact metrics of any number of blocks: sums of one block, added, finished once.

    log loss = (1/S) Σᵢ sᵢ [log(1 + e^{zᵢ}) − yᵢ zᵢ]        accuracy = (1/S) Σᵢ sᵢ [yᵢ = 1 if zᵢ > 0 else 0]
    ROC AUC  = (1/PN) Σ_{i: y=1} Σ_{j: y=0} sᵢ sⱼ ([zᵢ > zⱼ] + ½ [zᵢ = zⱼ]),   P, N: weight of positives, negatives
    average precision = Σₜ (recallₜ − recallₜ₋₁) precisionₜ,   one threshold t a distinct score, falling
    RMSE = √((1/S) Σᵢ sᵢ (yᵢ − ŷᵢ)²)     MAE = (1/S) Σᵢ sᵢ |yᵢ − ŷᵢ|     R² = 1 − Σᵢ sᵢ (yᵢ − ŷᵢ)² / Σᵢ sᵢ (yᵢ − ȳ)²

S = Σᵢ sᵢ. These are scikit-learn's definitions; integer weights equal repeated rows. Ranks do not add, but the weights
of positives and of negatives at each distinct score do, and they hold all that AUC and average precision need: 24 bytes
a distinct score. Moments are merged by Chan, Golub & LeVeque (The American Statistician 37 (1983), eq. 2.1), without
the cancellation of Σy² − (Σy)²/S.

Of L labels a row: log loss is the sum over the labels, accuracy the share of rows with every label right (the subset
accuracy), the Hamming loss the share of labels that are wrong, F1 = 2 TP/(2 TP + FP + FN). "micro" pools the labels of
all rows, "macro" is the mean over those labels that have a value; rankings are kept for each label.

What has no value (AUC of one class, R² of a constant y, anything of zero weight) is None, never a warning or an error.
Rows that no metric can use (not finite, labels other than 0 and 1, negative weights) are a DataError.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blockdot.errors import DataError
from blockdot.vectors import Vector, inner

Metrics = dict[str, float | None]


class MetricSums(Protocol):
    """What the metrics of some rows are made of."""

    def __add__(self, other: Any, /) -> Self: ...

    def finish(self) -> Metrics:
        """The metrics of the rows that were added up."""
        ...


@dataclass(frozen=True, eq=False)
class Ranking:
    """The distinct scores, rising, with the weight of the positive and of the negative rows at each."""

    scores: Vector
    positive: Vector
    negative: Vector

    @classmethod
    def empty(cls) -> Ranking:
        return cls(np.empty(0), np.empty(0), np.empty(0))

    @classmethod
    def of(cls, y: Vector, z: Vector, weight: Vector) -> Ranking:
        """The ranking of rows with labels 0 or 1 by their scores z."""
        return cls._merge(z, weight * y, weight * (1.0 - y))

    def __add__(self, other: Ranking) -> Ranking:
        return self.pooled([self, other])

    @classmethod
    def pooled(cls, parts: Sequence[Ranking]) -> Ranking:
        """The ranking of the rows of all ``parts``."""
        return cls._merge(
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.positive for part in parts]),
            np.concatenate([part.negative for part in parts]),
        )

    @classmethod
    def _merge(cls, scores: Vector, positive: Vector, negative: Vector) -> Ranking:
        if scores.size == 0:
            return cls.empty()
        order = np.argsort(scores, kind="stable")  # linear time for the rising runs of a sum
        ranked = scores[order]
        starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
        return cls(ranked[starts], np.add.reduceat(positive[order], starts), np.add.reduceat(negative[order], starts))

    def roc_auc(self) -> float | None:
        """The probability that a positive row scores above a negative one, ties counting half."""
        total = float(self.positive.sum()) * float(self.negative.sum())
        if total == 0.0:
            return None
        below = np.cumsum(self.negative) - self.negative
        return inner(self.positive, below + 0.5 * self.negative) / total

    def average_precision(self) -> float | None:
        """The mean over positive rows of the precision at their score."""
        total = float(self.positive.sum())
        if total == 0.0:
            return None
        positive, negative = self.positive[::-1], self.negative[::-1]
        found = np.cumsum(positive)
        counts = positive > 0.0  # and so the precision's denominator is not zero either
        precision = found[counts] / (found + np.cumsum(negative))[counts]
        return inner(positive[counts], precision) / total

    def confusion(self) -> Vector:
        """The weights of true positives, false positives and false negatives, where a score above 0 predicts 1."""
        above = self.scores > 0.0
        return np.array([self.positive[above].sum(), self.negative[above].sum(), self.positive[~above].sum()])


@dataclass(frozen=True)
class Moments:
    """Weight, mean and sum of squared deviations from the mean."""

    weight: float
    mean: float
    squares: float

    @classmethod
    def empty(cls) -> Moments:
        return cls(0.0, 0.0, 0.0)

    @classmethod
    def of(cls, y: Vector, weight: Vector) -> Moments:
        y, weight = y[weight > 0.0], weight[weight > 0.0]
        if y.size == 0:
            return cls.empty()
        total = float(weight.sum())
        # Taken from the first value, so that a constant y has exactly its own mean, and exactly no deviations.
        mean = float(y[0]) + inner(weight, y - y[0]) / total
        return cls(total, mean, inner(weight, (y - mean) ** 2))

    def __add__(self, other: Moments) -> Moments:
        total = self.weight + other.weight
        if total == 0.0:
            return Moments.empty()
        share = other.weight / total
        delta = other.mean - self.mean
        squares = self.squares + other.squares + delta * delta * self.weight * share
        return Moments(total, self.mean + delta * share, squares)


@dataclass(frozen=True, eq=False)
class ClassificationSums:
    """What log loss, accuracy, ROC AUC and average precision of two classes need of some rows."""

    rows: int
    weight: float
    loss: float
    correct: float
    ranking: Ranking

    @classmethod
    def empty(cls) -> ClassificationSums:
        """The sums of no rows."""
        return cls(0, 0.0, 0.0, 0.0, Ranking.empty())

    @classmethod
    def of(cls, y: ArrayLike, z: ArrayLike, weight: ArrayLike | None = None) -> ClassificationSums:
        """The sums of one block: labels y (0 or 1), raw scores z (log odds), weights (1 without); each (rows,).

        z is the raw score, not the probability, which has lost the tails: the loss is accurate at |z| = 1e4.
        """
        y, z, s = _columns("z", y, z, weight)
        strange = (y != 0.0) & (y != 1.0)
        if strange.any():
            raise DataError(f"labels must be 0 or 1, but y has {_first(y, strange)}: encode them first")
        loss = np.logaddexp(0.0, (1.0 - 2.0 * y) * z)  # log(1 + e^z) − yz for y in {0, 1}, without its cancellation
        correct = (z > 0.0) == (y == 1.0)
        return cls(y.size, float(s.sum()), inner(s, loss), float(s[correct].sum()), Ranking.of(y, z, s))

    def __add__(self, other: ClassificationSums) -> ClassificationSums:
        return ClassificationSums(
            self.rows + other.rows,
            self.weight + other.weight,
            self.loss + other.loss,
            self.correct + other.correct,
            self.ranking + other.ranking,
        )

    def finish(self) -> Metrics:
        """rows, weight, log_loss, accuracy, roc_auc, average_precision."""
        return {
            "rows": self.rows,
            "weight": self.weight,
            "log_loss": _ratio(self.loss, self.weight),
            "accuracy": _ratio(self.correct, self.weight),
            "roc_auc": self.ranking.roc_auc(),
            "average_precision": self.ranking.average_precision(),
        }


@dataclass(frozen=True)
class MulticlassSums:
    """What log loss and accuracy of K classes need of some rows."""

    rows: int
    weight: float
    loss: float
    correct: float

    @classmethod
    def of(cls, y: Vector, p: Vector, weight: Vector | None = None) -> MulticlassSums:
        """The sums of one block: classes y (0 … K−1), probabilities p (rows, K), weights (1 without)."""
        s = np.ones(len(y)) if weight is None else weight
        place = y.astype(np.intp)
        own = np.maximum(p[np.arange(len(y)), place], np.finfo(np.float64).tiny)
        correct = np.argmax(p, axis=1) == place
        return cls(len(y), float(s.sum()), -inner(s, np.log(own)), float(s[correct].sum()))

    def __add__(self, other: MulticlassSums) -> MulticlassSums:
        return MulticlassSums(
            self.rows + other.rows, self.weight + other.weight, self.loss + other.loss, self.correct + other.correct
        )

    def finish(self) -> Metrics:
        """rows, weight, log_loss, accuracy."""
        return {
            "rows": self.rows,
            "weight": self.weight,
            "log_loss": _ratio(self.loss, self.weight),
            "accuracy": _ratio(self.correct, self.weight),
        }


@dataclass(frozen=True)
class MultilabelSums:
    """The sums of each of L labels, as of two classes, and the weight of the rows with every label right."""

    labels: tuple[ClassificationSums, ...]
    exact: float

    @classmethod
    def of(cls, y: Vector, z: Vector, weight: Vector | None = None) -> MultilabelSums:
        """The sums of one block: y (0 or 1) and raw scores z, (rows, L), weights (1 without)."""
        s = np.ones(len(y)) if weight is None else weight
        right = np.all((z > 0.0) == (y == 1.0), axis=1)
        labels = (ClassificationSums.of(*columns, s) for columns in zip(y.T, z.T, strict=True))
        return cls(tuple(labels), float(s[right].sum()))

    def __add__(self, other: MultilabelSums) -> MultilabelSums:
        added = (mine + theirs for mine, theirs in zip(self.labels, other.labels, strict=True))
        return MultilabelSums(tuple(added), self.exact + other.exact)

    def finish(self) -> Metrics:
        """rows, weight, log_loss, accuracy, hamming_loss; of f1, roc_auc and average_precision, _micro and _macro."""
        rows, weight = self.labels[0].rows, self.labels[0].weight
        rankings = [label.ranking for label in self.labels]
        confusions, pooled = [ranking.confusion() for ranking in rankings], Ranking.pooled(rankings)
        wrong = sum(weight - label.correct for label in self.labels)
        return {
            "rows": rows,
            "weight": weight,
            "log_loss": _ratio(sum(label.loss for label in self.labels), weight),
            "accuracy": _ratio(self.exact, weight),
            "hamming_loss": _ratio(wrong, weight * len(self.labels)),
            "f1_micro": _f1(np.sum(confusions, axis=0)),
            "f1_macro": _mean(map(_f1, confusions)),
            "roc_auc_micro": pooled.roc_auc(),
            "roc_auc_macro": _mean(ranking.roc_auc() for ranking in rankings),
            "average_precision_micro": pooled.average_precision(),
            "average_precision_macro": _mean(ranking.average_precision() for ranking in rankings),
        }


@dataclass(frozen=True)
class RegressionSums:
    """What RMSE, MAE and R² need of some rows."""

    rows: int
    targets: Moments
    squared: float
    absolute: float

    @classmethod
    def empty(cls) -> RegressionSums:
        """The sums of no rows."""
        return cls(0, Moments.empty(), 0.0, 0.0)

    @classmethod
    def of(cls, y: ArrayLike, prediction: ArrayLike, weight: ArrayLike | None = None) -> RegressionSums:
        """The sums of one block: targets y, predictions, weights (1 without); each (rows,)."""
        y, prediction, s = _columns("prediction", y, prediction, weight)
        error = y - prediction
        return cls(y.size, Moments.of(y, s), inner(s, error * error), inner(s, np.abs(error)))

    def __add__(self, other: RegressionSums) -> RegressionSums:
        return RegressionSums(
            self.rows + other.rows,
            self.targets + other.targets,
            self.squared + other.squared,
            self.absolute + other.absolute,
        )

    def finish(self) -> Metrics:
        """rows, weight, rmse, mae, r2."""
        mean_squared = _ratio(self.squared, self.targets.weight)
        unexplained = _ratio(self.squared, self.targets.squares)
        return {
            "rows": self.rows,
            "weight": self.targets.weight,
            "rmse": None if mean_squared is None else math.sqrt(mean_squared),
            "mae": _ratio(self.absolute, self.targets.weight),
            "r2": None if unexplained is None else 1.0 - unexplained,
        }


def _f1(confusion: Vector) -> float | None:
    found, false, missed = confusion.tolist()
    return _ratio(2.0 * found, 2.0 * found + false + missed)


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that there are."""
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present else None


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator > 0.0 else None


def _columns(name: str, y: ArrayLike, other: ArrayLike, weight: ArrayLike | None) -> tuple[Vector, Vector, Vector]:
    """The three columns of a block as float64, checked."""
    target, values = np.asarray(y, np.float64), np.asarray(other, np.float64)
    s = np.ones(target.shape) if weight is None else np.asarray(weight, np.float64)
    if target.ndim != 1 or not target.shape == values.shape == s.shape:
        raise DataError(
            f"y, {name} and weight must be columns of the same length, but have shapes "
            f"{target.shape}, {values.shape} and {s.shape}"
        )
    for label, column in (("y", target), (name, values), ("weight", s)):
        if not np.isfinite(column).all():
            raise DataError(f"{label} must be finite, but has {_first(column, ~np.isfinite(column))}")
    if (s < 0.0).any():
        raise DataError(f"weights must be 0 or more, but weight has {_first(s, s < 0.0)}")
    return target, values, s


def _first(column: Vector, where: NDArray[np.bool_]) -> str:
    row = int(np.flatnonzero(where)[0])
    return f"{column[row]} in row {row} of its block"
