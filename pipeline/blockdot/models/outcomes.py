"""What a raw prediction z says of a row: a number, one of two classes, one of K, any of L labels.

    Numbers      ŷ = predict(z)
    TwoClasses   the second class where z > 0                   probabilities (1 − σ(z), σ(z))
    Classes      the class of the largest z_c                   predict(z), brought to the sum 1
    Labels       each label c for itself: there where z_c > 0   σ(z_c), which do not add up to 1

Everything that differs between these, a model, its metrics and its predictions ask of one object: what is predicted,
how sure it is, what the best model without features is, which targets it can be judged by, and by which metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.dataset import Dataset
from blockdot.errors import DataError
from blockdot.models.kinds import kind_of
from blockdot.models.metrics import ClassificationSums, MetricSums, MulticlassSums, MultilabelSums, RegressionSums
from blockdot.objective.losses import Loss
from blockdot.objective.passes import is_coupled
from blockdot.vectors import Vector


class Outcome(Protocol):
    """What a model's z stand for. ``names`` are its classes, as the user knows them."""

    def decide(self, z: Vector, names: NDArray[Any]) -> NDArray[Any]:
        """What is predicted of each row: (n,), or (n, L) of 0 and 1."""
        ...

    def probabilities(self, z: Vector) -> Vector:
        """(n, K) of the classes or labels; DataError where there are none."""
        ...

    def log_probabilities(self, z: Vector) -> Vector:
        """Their logarithms, finite wherever z is."""
        ...

    def certainty(self, z: Vector) -> dict[str, Vector]:
        """By its name, what says how sure a prediction is: nothing, (n,), or (n, K)."""
        ...

    def constant(self, mean: float, shares: Vector) -> Vector:
        """The intercepts of the best model without features, by the mean of y and the shares of its classes."""
        ...

    def judged(self, data: Dataset) -> Dataset:
        """The data with y as the loss has it; DataError where it is of another kind, or is not there."""
        ...

    def named(self, y: Vector, names: NDArray[Any]) -> NDArray[Any]:
        """Targets of a store as the raw files have them."""
        ...

    def sums(self, y: Vector, z: Vector, weight: Vector | None) -> MetricSums:
        """What the metrics of some rows are made of, their y as the loss has it."""
        ...


@dataclass(frozen=True)
class Numbers:
    """A number is predicted, by ``loss``."""

    loss: Loss

    def decide(self, z: Vector, names: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG002
        """(n,) the mean of y that z stands for."""
        return self.loss.predict(z)

    def probabilities(self, z: Vector) -> Vector:  # noqa: ARG002
        """None."""
        raise DataError("this model is a regression: it has no classes, and so no probabilities; use predict")

    log_probabilities = probabilities

    def certainty(self, z: Vector) -> dict[str, Vector]:  # noqa: ARG002
        """Nothing."""
        return {}

    def constant(self, mean: float, shares: Vector) -> Vector:  # noqa: ARG002
        """z at the mean."""
        at_mean = getattr(self.loss, "start_z", None)
        return np.array([at_mean(mean) if callable(at_mean) else mean])

    def judged(self, data: Dataset) -> Dataset:
        """One number a row."""
        if data.n_labels is not None:
            raise DataError(
                f"{data.path or 'y'} has {data.n_labels} label columns; a regression needs one number a row"
            )
        return data

    def named(self, y: Vector, names: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG002
        """The numbers themselves."""
        return y

    def sums(self, y: Vector, z: Vector, weight: Vector | None) -> RegressionSums:
        """Errors, and moments of y."""
        return RegressionSums.of(y, self.loss.predict(z), weight)


@dataclass(frozen=True)
class _OneClass:
    """What models share that predict one class a row, whose ``labels`` are those of the stores."""

    loss: Loss
    labels: tuple[float, ...]
    has_names: bool

    def judged(self, data: Dataset) -> Dataset:
        """A label that the model knows in each row."""
        return data.encoded(self.labels)

    def named(self, y: Vector, names: NDArray[Any]) -> NDArray[Any]:
        """The names of the classes, where they have names."""
        return names[y.astype(np.intp)] if self.has_names else y


@dataclass(frozen=True)
class TwoClasses(_OneClass):
    """One of two classes is predicted; the loss ``name`` may know scores and no probabilities."""

    name: str
    has_probabilities: bool

    def decide(self, z: Vector, names: NDArray[Any]) -> NDArray[Any]:
        """(n,) the second class where z > 0."""
        return np.asarray(names[(z > 0).astype(np.intp)])

    def probabilities(self, z: Vector) -> Vector:
        """(n, 2)."""
        self._refuse_scores()
        p = self.loss.predict(z)
        return np.column_stack([1.0 - p, p])

    def log_probabilities(self, z: Vector) -> Vector:
        """(n, 2)."""
        self._refuse_scores()
        return np.column_stack([-np.logaddexp(0.0, z), -np.logaddexp(0.0, -z)])

    def certainty(self, z: Vector) -> dict[str, Vector]:
        """The probability of the second class, or z."""
        return {"probability": self.probabilities(z)[:, 1]} if self.has_probabilities else {"score": z}

    def constant(self, mean: float, shares: Vector) -> Vector:  # noqa: ARG002
        """The log odds of the mean of 0 and 1; for scores their mean as ±1."""
        at_mean = getattr(self.loss, "start_z", None)
        return np.array([at_mean(mean) if callable(at_mean) else 2.0 * mean - 1.0])

    def sums(self, y: Vector, z: Vector, weight: Vector | None) -> ClassificationSums:
        """With the ranking of the rows."""
        return ClassificationSums.of(y, z, weight)

    def _refuse_scores(self) -> None:
        if not self.has_probabilities:
            raise DataError(f"the loss {self.name} knows scores and no probabilities; use decision_function")


@dataclass(frozen=True)
class Classes(_OneClass):
    """One of K classes is predicted."""

    def decide(self, z: Vector, names: NDArray[Any]) -> NDArray[Any]:
        """(n,) the class of the largest z."""
        return np.asarray(names[np.argmax(z, axis=1)])

    def probabilities(self, z: Vector) -> Vector:
        """(n, K); the sum is 1 for softmax, and one-vs-rest is brought to it."""
        p = self.loss.predict(z)
        total = np.sum(p, axis=1, keepdims=True)
        if np.all(total > 0.0):
            return np.asarray(p / total)
        # no class of some row has a probability that is a number: only their ratios are
        ratios = np.exp(self.log_probabilities(z))
        return np.asarray(np.where(total > 0.0, p / np.where(total > 0.0, total, 1.0), ratios))

    def log_probabilities(self, z: Vector) -> Vector:
        """(n, K)."""
        log_p = z if is_coupled(self.loss) else -np.logaddexp(0.0, -z)
        top = np.max(log_p, axis=1, keepdims=True)
        return np.asarray(log_p - top - np.log(np.sum(np.exp(log_p - top), axis=1, keepdims=True)))

    def certainty(self, z: Vector) -> dict[str, Vector]:
        """The probabilities."""
        return {"probability": self.probabilities(z)}

    def constant(self, mean: float, shares: Vector) -> Vector:  # noqa: ARG002
        """The logarithms of the shares, or their log odds."""
        loss: Any = self.loss
        return np.asarray(loss.start_z(shares))

    def sums(self, y: Vector, z: Vector, weight: Vector | None) -> MulticlassSums:
        """By the probabilities."""
        return MulticlassSums.of(y, self.probabilities(z), weight)


@dataclass(frozen=True)
class Labels:
    """Any of ``n_labels`` labels are predicted, each for itself."""

    loss: Loss
    n_labels: int

    def decide(self, z: Vector, names: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG002
        """(n, L) of 1 and 0: whether the row has the label."""
        return (z > 0).astype(np.int64)

    def probabilities(self, z: Vector) -> Vector:
        """(n, L)."""
        return self.loss.predict(z)

    def log_probabilities(self, z: Vector) -> Vector:
        """(n, L)."""
        return -np.logaddexp(0.0, -z)

    def certainty(self, z: Vector) -> dict[str, Vector]:
        """The probabilities."""
        return {"probability": self.probabilities(z)}

    def constant(self, mean: float, shares: Vector) -> Vector:  # noqa: ARG002
        """The log odds of the shares."""
        loss: Any = self.loss
        return np.asarray(loss.start_z(shares))

    def judged(self, data: Dataset) -> Dataset:
        """A column for each of the labels."""
        where = data.path or "y"
        if not data.has_y:
            raise DataError(f"{where}: there are no targets y; ingest them with labels, or hand y in")
        if data.n_labels != self.n_labels:
            found = "one target a row" if data.n_labels is None else f"{data.n_labels} label columns"
            raise DataError(
                f"{where} has {found}; the model needs {self.n_labels} label columns, as it was fitted with"
            )
        return data

    def named(self, y: Vector, names: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG002
        """(n, L) of 1 and 0."""
        return y.astype(np.int64)

    def sums(self, y: Vector, z: Vector, weight: Vector | None) -> MultilabelSums:
        """Those of each label, and the rows that are wholly right."""
        return MultilabelSums.of(y, z, weight)


def outcome_of(name: str, loss: Loss, labels: tuple[float, ...] | None, *, has_names: bool) -> Outcome:
    """What the z of ``loss``, by its ``name``, stand for; ``labels`` are those of the stores, None for numbers."""
    kind = kind_of(name)
    if labels is None:
        return Numbers(loss)
    if kind.targets == "labels":
        return Labels(loss, len(labels))
    if kind.targets == "classes":
        return Classes(loss, labels, has_names)
    return TwoClasses(loss, labels, has_names, name, kind.has_probabilities)
